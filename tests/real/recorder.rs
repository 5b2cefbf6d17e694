//! Every state that a VirtualService was in, as the API server told it.

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

/// One state of the VirtualService.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When its event came.
    pub at: Instant,
    /// Weights of stable and canary on the route `primary`.
    pub weights: (i64, i64),
    /// The whole object.
    pub object: Value,
}

/// What v2 had from a time on.
#[derive(Clone, Debug)]
pub struct Shared {
    /// When it was first seen.
    pub at: Instant,
    /// In words.
    pub words: String,
    /// Why it was lowered without a verdict, as the write says.
    pub lowered: Option<String>,
}

/// Watches until it is dropped.
pub struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Begins with the present state.
    pub async fn start(api: Api<DynamicObject>, name: &str) -> Self {
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
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The canary's weights in turn, each change once, and when each was first seen.
    pub fn changes(&self) -> Vec<(Instant, i64)> {
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
    pub fn shares(&self) -> Vec<Shared> {
        let mut shares: Vec<Shared> = Vec::new();
        for seen in self.seen() {
            let view = haldane::route::find(&seen.object, haldane::route::Sought::subsets(Some("primary"))).unwrap();
            let words = view.found("v2").words();
            if shares.last().is_none_or(|before| before.words != words) {
                shares.push(Shared { at: seen.at, words, lowered: view.claim.and_then(|claim| claim.lowered) });
            }
        }
        shares
    }

    /// The canary's weights in turn, each change once.
    pub fn weights(&self) -> Vec<i64> {
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

/// The http route of that name.
pub fn route<'a>(object: &'a Value, name: &str) -> &'a Value {
    let routes = object["spec"]["http"].as_array().expect("a VirtualService with http routes");
    routes.iter().find(|r| r["name"] == name).expect("the route is still there")
}

/// Weights of v1 and v2 on the route `primary`. A destination that is not there has none; one that is alone has all.
pub fn weights(object: &Value) -> (i64, i64) {
    let destinations = route(object, "primary")["route"].as_array().unwrap();
    let of = |subset: &str| {
        destinations
            .iter()
            .find(|d| d["destination"]["subset"] == subset)
            .map_or(0, |d| d["weight"].as_i64().unwrap_or(if destinations.len() == 1 { 100 } else { 0 }))
    };
    (of("v1"), of("v2"))
}
