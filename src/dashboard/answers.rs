//! Answers that count for a time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::Clock;

/// Answers that are kept.
const MOST: usize = 2048;

/// Answers that count for a time.
pub(super) struct Answers<K, V> {
    clock: Clock,
    kept: Mutex<HashMap<K, (Duration, V)>>,
}

impl<K: Eq + Hash, V: Clone> Answers<K, V> {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let now = self.clock.elapsed();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(until, _)| now < *until).map(|(_, value)| value.clone())
    }

    pub(super) fn put(&self, key: K, value: V, lasts: Duration) {
        let now = self.clock.elapsed();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST {
            kept.retain(|_, (until, _)| now < *until);
        }
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(key, (now + lasts, value));
    }
}
