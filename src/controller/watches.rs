//! Opens watches. What ends them when nothing answers, and what keeps them short while something is under way, is the [`Link`].

use std::{fmt::Debug, time::Duration};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Client, Resource,
    core::{DynamicResourceScope, discovery::ApiResource},
    runtime::{WatchStreamExt, utils::ResetTimerBackoff, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::together::Together;
use crate::link::{Key, Link};

/// Longest watch: what API servers close on their own is longer.
const LONG_SECONDS: u32 = 290;
/// Pauses between two tries of a list or a watch, from, to. An abort waits for the longest one after an outage.
const PAUSE: (Duration, Duration) = (Duration::from_millis(800), Duration::from_secs(8));

/// What a watch tells.
pub(super) type Changes<K> = futures::stream::BoxStream<'static, Result<watcher::Event<K>, watcher::Error>>;

/// Opens watches, in all namespaces or in each that was named.
pub(super) struct Watches {
    link: Link,
    namespaces: Vec<String>,
    busy: watch::Receiver<bool>,
}

impl Watches {
    /// `busy` says whether a rollout is under way.
    pub(super) fn new(link: &Link, namespaces: Vec<String>, busy: watch::Receiver<bool>) -> Self {
        Self { link: link.clone(), namespaces, busy }
    }

    fn config() -> watcher::Config {
        watcher::Config::default().timeout(LONG_SECONDS)
    }

    /// A kind that every cluster has alike. `trim` takes away what is not kept.
    pub(super) fn fixed<K>(&self, trim: fn(&mut K)) -> Changes<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Send + DeserializeOwned + 'static,
    {
        let open = move |api| watcher(api, Self::config()).backoff(pauses()).modify(trim).boxed();
        self.each(&K::plural(&()), Api::all, Api::namespaced, open)
    }

    /// A kind in the version that was found.
    pub(super) fn found<K>(&self, resource: &ApiResource) -> Changes<K>
    where
        K: Resource<Scope = DynamicResourceScope, DynamicType = ApiResource> + Clone + Debug + Send + DeserializeOwned + 'static,
    {
        let (all, one) = (resource.clone(), resource.clone());
        self.each(
            &resource.plural,
            move |client| Api::all_with(client, &all),
            move |client, namespace| Api::namespaced_with(client, namespace, &one),
            |api| watcher(api, Self::config()).backoff(pauses()).boxed(),
        )
    }

    fn each<K, E>(
        &self,
        resource: &str,
        all: impl Fn(Client) -> Api<K>,
        one: impl Fn(Client, &str) -> Api<K>,
        open: impl Fn(Api<K>) -> Changes<E>,
    ) -> Changes<E>
    where
        E: Resource + Clone + Send + 'static,
    {
        let client = |namespace: &str| {
            let key = Key { resource: resource.to_owned(), namespace: namespace.to_owned() };
            self.link.watching(key, self.busy.clone())
        };
        match self.namespaces.as_slice() {
            [] => open(all(client(""))),
            [single] => open(one(client(single), single)),
            several => {
                let each = several.iter().enumerate();
                let each = each.map(|(at, namespace)| open(one(client(namespace), namespace)).map(move |event| (at, event)).boxed());
                let mut together = Together::new(several.len());
                let joined = futures::stream::select_all(each).map(move |(at, event)| match event {
                    Ok(event) => together.take(at, event).into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                });
                joined.flat_map(futures::stream::iter).boxed()
            }
        }
    }
}

fn pauses() -> ResetTimerBackoff<watcher::ExponentialBackoff> {
    let (shortest, longest) = PAUSE;
    let pauses =
        backon::ExponentialBuilder::default().with_min_delay(shortest).with_max_delay(longest).with_factor(2.0).without_max_times();
    ResetTimerBackoff::new(pauses.with_jitter().into(), Duration::from_secs(120))
}
