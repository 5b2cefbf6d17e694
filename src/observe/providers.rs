//! The Prometheus providers of the configuration in force, opened once for each version of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::prometheus::{Counted, Prometheus};
use super::sampler::Source;
use crate::config::Snapshot;
use crate::metrics::Metrics;

/// Opened providers.
#[derive(Debug)]
pub struct Providers {
    metrics: Metrics,
    open: Mutex<(u64, BTreeMap<String, Arc<Prometheus>>)>,
}

impl Providers {
    /// None opened yet. Their queries are counted in `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, open: Mutex::default() }
    }

    /// The provider of this name, from this snapshot of the configuration.
    pub fn get(&self, snapshot: &Snapshot, name: &str) -> Source {
        let known = || Source::NotFound { name: name.to_owned(), known: snapshot.config.prometheus.keys().cloned().collect() };
        let Some(provider) = snapshot.config.prometheus.get(name) else { return known() };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.0 != snapshot.version {
            *open = (snapshot.version, BTreeMap::new());
        }
        if let Some(found) = open.1.get(name) {
            return Source::Found(found.clone());
        }
        match Prometheus::new(provider) {
            Ok(made) => {
                let counted = Counted { provider: name.to_owned(), metrics: self.metrics.clone() };
                let made = Arc::new(made.counted(counted));
                open.1.insert(name.to_owned(), made.clone());
                Source::Found(made)
            }
            Err(error) => {
                tracing::warn!(provider = name, error = %error, "the Prometheus provider cannot be used");
                Source::Unusable { name: name.to_owned(), why: error.to_string() }
            }
        }
    }
}
