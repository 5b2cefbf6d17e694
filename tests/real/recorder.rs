//! Every state that the object that splits the traffic was in, as the API server reported it.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    api::{DynamicObject, WatchEvent, WatchParams},
};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::ways::{claim, share, weights};

/// One state of the object.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// When its event came.
    pub at: Instant,
    /// Weights of v1 and v2 in the rule `primary`.
    pub weights: (i64, i64),
    /// The whole object.
    pub object: Value,
}

/// What v2 had from a time on.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// When it was first seen.
    pub at: Instant,
    /// In words.
    pub words: String,
    /// Why it was lowered without a verdict, as the write says.
    pub lowered: Option<String>,
}

/// Watches until it is dropped.
pub(super) struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Begins with the present state.
    pub(super) async fn start(api: Api<DynamicObject>, name: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let first = api.get(name).await.unwrap();
        let mut version = first.metadata.resource_version.clone().unwrap();
        seen.lock().unwrap().push(state(&first));
        let (log, params) = (seen.clone(), WatchParams::default().fields(&format!("metadata.name={name}")).timeout(200));
        let task = tokio::spawn(async move {
            loop {
                let Ok(stream) = api.watch(&params, &version).await else {
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    continue;
                };
                let mut stream = stream.boxed();
                while let Ok(Some(event)) = stream.try_next().await {
                    if let WatchEvent::Added(object) | WatchEvent::Modified(object) = event {
                        version = object.metadata.resource_version.clone().unwrap();
                        log.lock().unwrap().push(state(&object));
                    }
                }
            }
        });
        Self { seen, task }
    }

    /// Every state so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The canary's weights in turn, each change once, and when each was first seen.
    pub(super) fn changes(&self) -> Vec<(Instant, i64)> {
        let mut changes: Vec<(Instant, i64)> = Vec::new();
        for seen in self.seen() {
            assert_eq!(seen.weights.0 + seen.weights.1, 100, "the weights of one state do not add up: {:?}", seen.weights);
            if changes.last().is_none_or(|(_, weight)| *weight != seen.weights.1) {
                changes.push((seen.at, seen.weights.1));
            }
        }
        changes
    }

    /// All that v2 had in turn, each change once: `0 %`, `mirror of 100 %`, `match`.
    pub(super) fn shares(&self) -> Vec<Shared> {
        let mut shares: Vec<Shared> = Vec::new();
        for seen in self.seen() {
            let words = share(&seen.object);
            if shares.last().is_none_or(|before| before.words != words) {
                let lowered = claim(&seen.object)["lowered"].as_str().map(str::to_owned);
                shares.push(Shared { at: seen.at, words, lowered });
            }
        }
        shares
    }

    /// The canary's weights in turn, each change once.
    pub(super) fn weights(&self) -> Vec<i64> {
        self.changes().into_iter().map(|(_, weight)| weight).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn state(object: &DynamicObject) -> Seen {
    let object = serde_json::to_value(object).unwrap();
    Seen { at: Instant::now(), weights: weights(&object), object }
}
