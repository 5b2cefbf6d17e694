//! Writes the record of each Rollout into its ConfigMap, in the background: no pass waits for it, and nothing is decided on it.
//!
//! There is one task for each rollout under way, which ends once the end of it is written. What could not be written is written later with what came since.

mod desk;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource, ResourceExt};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::{self, Instant},
};

use crate::api::{Rollout, names};
use crate::record::News;
use crate::tell::event::Events;
use desk::{Desk, Unkept};

/// What was decided is written so soon: several decisions in a row are one write.
const SOON: Duration = Duration::from_secs(1);
/// Windows are written this often, and less often in a longer rollout: after [`LONG`] times that.
const PACE: Duration = Duration::from_secs(30);
const SLOWEST: Duration = Duration::from_secs(300);
const LONG: u32 = 60;
/// Pause after a write that failed; doubled each time.
const BACKOFF: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_secs(600);
/// Failures in a row after which an event reports it. A refusal is reported at once.
const TOLD_AFTER: u32 = 3;
/// Reads and writes at the same time.
const AT_ONCE: usize = 4;

/// Keeps records. Only the leader notes anything. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    events: Events,
    turns: Arc<Semaphore>,
    desks: Mutex<HashMap<String, Open>>,
}

/// A rollout that is being recorded.
struct Open {
    news: mpsc::UnboundedSender<News>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Nothing is recorded yet.
    pub fn new(client: Client, events: Events) -> Self {
        Self { inner: Arc::new(Inner { client, events, turns: Arc::new(Semaphore::new(AT_ONCE)), desks: Mutex::default() }) }
    }

    /// Takes over what is new of a Rollout. Never waits. Must be called within a runtime.
    pub fn note(&self, rollout: &Rollout, news: News) {
        let Some(uid) = rollout.uid() else { return };
        let mut desks = self.inner.desks();
        let mut news = news;
        if let Some(open) = desks.get(&uid) {
            match open.news.send(news) {
                Ok(()) => return,
                Err(unsent) => news = unsent.0,
            }
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = sender.send(news);
        let keeper = Keeper {
            desk: Desk::new(self.inner.client.clone(), rollout, &uid),
            news: receiver,
            regarding: rollout.object_ref(&()),
            events: self.inner.events.clone(),
            turns: self.inner.turns.clone(),
            inner: Arc::downgrade(&self.inner),
        };
        let task = tokio::spawn(keeper.keep());
        desks.insert(uid, Open { news: sender, task });
    }

    /// Forgets everything: this replica does not lead any more.
    pub fn step_down(&self) {
        self.inner.desks().drain().for_each(|(_, open)| open.task.abort());
    }

    /// Writes what is not written yet, for at most so long.
    pub async fn close(&self, most: Duration) {
        // A task without a sender writes what it has, and ends.
        let tasks: Vec<JoinHandle<()>> = self.inner.desks().drain().map(|(_, open)| open.task).collect();
        let aborts: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        if time::timeout(most, futures::future::join_all(tasks)).await.is_err() {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

impl Inner {
    fn desks(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.desks().drain().for_each(|(_, open)| open.task.abort());
    }
}

/// Records one rollout.
struct Keeper {
    desk: Desk,
    news: mpsc::UnboundedReceiver<News>,
    regarding: ObjectReference,
    events: Events,
    turns: Arc<Semaphore>,
    /// It must not keep the recorder alive.
    inner: Weak<Inner>,
}

impl Keeper {
    /// Until the end of the rollout is written, or nobody is left to say more.
    async fn keep(mut self) {
        let (mut due, mut written): (Option<Instant>, Option<Instant>) = (None, None);
        let (mut failures, mut told) = (0_u32, false);
        loop {
            let open = tokio::select! {
                biased;
                new = self.news.recv() => match new {
                    Some(new) => {
                        let soon = Instant::now() + SOON;
                        let later = written.map_or(soon, |written| (written + pace(&self.desk)).max(soon));
                        let wanted = if new.decisions.is_empty() && new.head.end.is_none() { later } else { soon };
                        self.desk.note(new);
                        // While it fails, the pause of the failure holds.
                        due = Some(due.map_or(wanted, |due| if failures > 0 { due } else { due.min(wanted) }));
                        continue;
                    }
                    None => false,
                },
                () = time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => true,
            };
            if due.is_none() {
                return;
            }
            let kept = match self.turns.acquire().await {
                Ok(_turn) => self.desk.write().await,
                Err(_) => return,
            };
            match kept {
                Ok(()) => {
                    (due, written, failures) = (None, Some(Instant::now()), 0);
                    if self.desk.is_over() && self.leave() {
                        return;
                    }
                }
                Err(why) => {
                    failures = failures.saturating_add(1);
                    let refused = matches!(why, Unkept::Refused(_));
                    tracing::warn!(namespace = self.desk.namespace(), rollout = self.desk.rollout(), error = %why, "record not written");
                    if !told && (refused || failures >= TOLD_AFTER) {
                        told = true;
                        self.events.warned(self.regarding.clone(), names::RECORD_NOT_KEPT, &why.to_string());
                    }
                    let pause = BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_MAX);
                    due = Some(Instant::now() + if refused { BACKOFF_MAX } else { pause });
                    if refused && self.desk.is_over() && self.leave() {
                        return; // nothing of it is kept in memory at rest
                    }
                }
            }
            if !open {
                return;
            }
        }
    }

    /// Ends the recording of a rollout that is over, unless something new came meanwhile.
    fn leave(&mut self) -> bool {
        let Some(inner) = self.inner.upgrade() else { return true };
        let mut desks = inner.desks();
        let over = self.news.is_empty();
        if over {
            self.news.close();
            desks.remove(self.desk.uid());
        }
        over
    }
}

/// How often windows are written: the record of a longer rollout is coarser, and what a crash loses of it is as small a part.
fn pace(desk: &Desk) -> Duration {
    (desk.lasted() / LONG).clamp(PACE, SLOWEST)
}
