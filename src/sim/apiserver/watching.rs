//! Watches: one line of JSON for each change, from a revision on.

use std::{collections::VecDeque, future, io, sync::Arc, time::Duration};

use axum::body::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    Hole,
    answer::Refusal,
    request::{Options, Shape, Target},
    selector::Selector,
    table,
};
use crate::clock::Clock;
use crate::sim::store::{Change, Key, Store};

/// Real servers send a bookmark about once a minute.
const BOOKMARK: Duration = Duration::from_secs(60);
/// Without `timeoutSeconds` real servers close a watch after 30 to 60 minutes.
const LONGEST: u64 = 45 * 60;

/// A watch under way.
pub(super) struct Watching {
    store: Store,
    clock: Clock,
    target: Target,
    selector: Selector,
    shape: Shape,
    bookmarks: bool,
    cursor: u64,
    queue: VecDeque<Bytes>,
    revision: watch::Receiver<u64>,
    cut: watch::Receiver<u64>,
    hole: watch::Receiver<Hole>,
    deadline: Instant,
    next_bookmark: Instant,
    ended: bool,
}

impl Watching {
    /// Begins a watch.
    ///
    /// # Errors
    /// 400 for a resourceVersion that is no number.
    pub(super) fn begin(
        store: &Store,
        clock: Clock,
        target: &Target,
        options: &Options,
        selector: Selector,
        (cut, hole): (watch::Receiver<u64>, watch::Receiver<Hole>),
    ) -> Result<Self, Refusal> {
        let asked = options.get("resourceVersion").unwrap_or("0");
        let from: u64 = asked.parse().map_err(|_| Refusal::bad_request(format!("invalid resource version \"{asked}\"")))?;
        let initial = options.flag("sendInitialEvents");
        let seconds = options.get("timeoutSeconds").and_then(|s| s.parse().ok()).filter(|s| *s > 0).unwrap_or(LONGEST);
        let now = Instant::now();
        let mut watching = Self {
            store: store.clone(),
            clock,
            target: target.clone(),
            selector,
            shape: options.shape,
            bookmarks: options.flag("allowWatchBookmarks"),
            cursor: from,
            queue: VecDeque::new(),
            revision: store.subscribe(),
            cut,
            hole,
            deadline: now + Duration::from_secs(seconds),
            next_bookmark: now + BOOKMARK,
            ended: false,
        };
        if from == 0 || initial {
            watching.present();
            if initial {
                watching.bookmark(true);
            }
        }
        Ok(watching)
    }

    /// The lines, until the time is over or the connection is cut.
    pub(super) fn lines(self) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
        futures::stream::unfold(self, |mut watching| async move {
            let line = watching.next().await?;
            Some((line, watching))
        })
    }

    async fn next(&mut self) -> Option<Result<Bytes, io::Error>> {
        loop {
            if self.hole.has_changed().is_ok_and(|changed| changed) {
                return future::pending().await;
            }
            if let Some(line) = self.queue.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            self.revision.borrow_and_update();
            self.collect();
            if !self.queue.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.revision.changed() => self.ended = changed.is_err(),
                () = sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.bookmark(false);
                    self.next_bookmark = Instant::now() + BOOKMARK;
                }
                () = sleep_until(self.deadline) => {
                    if self.bookmarks {
                        self.bookmark(false);
                    }
                    self.ended = true;
                }
                _ = self.hole.changed() => return future::pending().await,
                _ = self.cut.changed() => {
                    self.ended = true;
                    return Some(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
        }
    }

    fn present(&mut self) {
        let space = (!self.target.namespace.is_empty()).then_some(self.target.namespace.as_str());
        let (objects, revision) = self.store.read(|t| (t.list(self.target.kind.table(), space), t.revision()));
        for object in &objects {
            if self.selector.matches(object) {
                self.event("ADDED", object);
            }
        }
        self.cursor = revision;
    }

    fn collect(&mut self) {
        let (table, space) = (self.target.kind.table(), &self.target.namespace);
        let ours = |key: &Key| key.table == table && (space.is_empty() || *space == key.namespace);
        let (changes, newest) = self.store.read(|t| (t.since_where(self.cursor, ours), t.revision()));
        match changes {
            Err(compacted) => {
                let status = Refusal::expired(self.cursor, compacted.oldest).status();
                self.line(&json!({"type": "ERROR", "object": status}));
                self.ended = true;
            }
            Ok(changes) => {
                for change in changes {
                    self.change(&change);
                }
                self.cursor = newest.max(self.cursor);
            }
        }
    }

    fn change(&mut self, change: &Change) {
        let was = change.before.as_ref().is_some_and(|o| self.selector.matches(o));
        let is = !change.deleted && self.selector.matches(&change.after);
        match (was, is) {
            (false, true) => self.event("ADDED", &change.after),
            (true, true) => self.event("MODIFIED", &change.after),
            (true, false) => self.event("DELETED", &change.after),
            (false, false) => {}
        }
    }

    fn event(&mut self, what: &str, object: &Arc<Value>) {
        let object = table::object(self.target.kind, object, self.shape, self.clock.now());
        self.line(&json!({"type": what, "object": object}));
    }

    fn bookmark(&mut self, initial_end: bool) {
        let mut metadata = json!({"resourceVersion": self.cursor.to_string(), "creationTimestamp": null});
        if let (true, Value::Object(map)) = (initial_end, &mut metadata) {
            map.insert("annotations".into(), json!({"k8s.io/initial-events-end": "true"}));
        }
        let kind = self.target.kind;
        let mut object = match self.shape {
            Shape::Metadata => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
            _ => json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata}),
        };
        if self.shape == Shape::Table {
            object = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": [], "rows": []});
        }
        self.line(&json!({"type": "BOOKMARK", "object": object}));
    }

    fn line(&mut self, event: &Value) {
        let mut line = event.to_string();
        line.push('\n');
        self.queue.push_back(Bytes::from(line));
    }
}
