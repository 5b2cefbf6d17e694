//! The Rollouts as one watch knows them, for all who look.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use kube::{
    Api,
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use tokio::sync::watch;

use crate::{
    api::Rollout,
    link::{Key, Link, Watched},
};

/// Longest watch.
const LONG_SECONDS: u32 = 290;

/// The Rollouts; cheap to clone.
#[derive(Clone)]
pub struct Live {
    rollouts: Store<Rollout>,
    changes: Arc<watch::Sender<u64>>,
    watched: Watched,
    /// That somebody looks: the watches of a cache of its own are short, so that a connection that died is noticed soon.
    looking: Arc<watch::Sender<bool>>,
}

impl Live {
    /// What a cache holds that somebody else keeps. Whoever keeps it says so when something [changed](Live::changed).
    pub fn new(rollouts: Store<Rollout>, watched: Watched) -> Self {
        Self { rollouts, changes: Arc::new(watch::Sender::new(0)), watched, looking: Arc::new(watch::Sender::new(true)) }
    }

    /// A cache of its own: of one namespace or of all, and what keeps it, which must be polled.
    pub fn watching(link: &Link, namespace: Option<&str>) -> (Self, impl Stream<Item = ()> + Send + use<>) {
        let (rollouts, writer) = reflector::store::<Rollout>();
        let live = Self::new(rollouts, link.watched());
        let key = Key { resource: "rollouts".to_owned(), namespace: namespace.unwrap_or_default().to_owned() };
        let client = link.watching(key, live.looking.subscribe());
        let api = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let events = reflector::reflector(writer, watcher(api, watcher::Config::default().timeout(LONG_SECONDS)).default_backoff());
        let told = live.clone();
        let keeping = events.map(move |event| match event {
            Ok(_) => told.changed(),
            Err(error) => tracing::debug!(%error, "the watch of Rollouts failed: it is opened again"),
        });
        (live, keeping)
    }

    /// Something is not as before.
    pub fn changed(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    /// Says so when something changed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Ready once the first list is there.
    pub async fn ready(&self) {
        let _ = self.rollouts.wait_until_ready().await;
    }

    pub(super) fn all(&self) -> Vec<Arc<Rollout>> {
        self.rollouts.state()
    }

    pub(super) fn one(&self, namespace: &str, name: &str) -> Option<Arc<Rollout>> {
        self.rollouts.get(&ObjectRef::new(name).within(namespace))
    }

    /// Why what is known may be old.
    pub(super) fn lost(&self) -> Option<String> {
        self.watched.stale().into_iter().find(|stale| stale.contains(" rollouts"))
    }
}
