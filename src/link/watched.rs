//! What each watch last heard: the age of a cache, and the words for one that is stale.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;

use crate::clock::Clock;

/// One watch: of what, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `virtualservices`.
    pub resource: String,
    /// Empty: all namespaces.
    pub namespace: String,
}

/// How old the newest answer of a watch is.
#[derive(Clone, Debug, PartialEq)]
pub struct Age {
    /// Which watch.
    pub key: Key,
    /// How old; before the first answer, since the watch was asked for.
    pub age: Duration,
}

/// What is known of all watches; cheap to clone.
#[derive(Clone, Debug)]
pub struct Watched {
    clock: Clock,
    unanswered: Duration,
    stale: Duration,
    entries: Arc<Mutex<BTreeMap<Key, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    heard: Duration,
    /// Since when a list or a watch has been asked for without an answer that can be used.
    asked: Option<Duration>,
    said: String,
}

impl Watched {
    /// `unanswered`: a question may be open for this long. `stale`: the newest answer may be this old.
    pub(crate) fn new(clock: Clock, unanswered: Duration, stale: Duration) -> Self {
        Self { clock, unanswered, stale, entries: Arc::default() }
    }

    pub(super) fn begin(&self, key: &Key) {
        let heard = self.clock.elapsed();
        self.entries().insert(key.clone(), Entry { heard, asked: None, said: String::new() });
    }

    pub(super) fn asked(&self, key: &Key) {
        let now = self.clock.elapsed();
        if let Some(entry) = self.entries().get_mut(key) {
            entry.asked.get_or_insert(now);
        }
    }

    pub(super) fn answered(&self, key: &Key) {
        let now = self.clock.elapsed();
        if let Some(entry) = self.entries().get_mut(key) {
            *entry = Entry { heard: now, asked: None, said: String::new() };
        }
    }

    pub(super) fn failed(&self, key: &Key, said: &str) {
        if let Some(entry) = self.entries().get_mut(key) {
            entry.said = said.chars().take(200).collect();
        }
    }

    /// How old each watch's newest answer is.
    pub fn ages(&self) -> Vec<Age> {
        let now = self.clock.elapsed();
        self.entries().iter().map(|(key, entry)| Age { key: key.clone(), age: now.saturating_sub(entry.heard) }).collect()
    }

    /// The watches whose caches are stale, a sentence each.
    pub fn stale(&self) -> Vec<String> {
        let (now, wall) = (self.clock.elapsed(), self.clock.now());
        let entries = self.entries();
        let stale = entries.iter().filter(|(_, entry)| {
            let unanswered = entry.asked.is_some_and(|asked| now.saturating_sub(asked) > self.unanswered);
            unanswered || now.saturating_sub(entry.heard) > self.stale
        });
        stale
            .map(|(key, entry)| {
                let age = now.saturating_sub(entry.heard);
                let since = wall.saturating_sub(SignedDuration::from_secs(age.as_secs() as i64)).unwrap_or(wall).round(jiff::Unit::Second);
                let place = if key.namespace.is_empty() { String::new() } else { format!(" in {}", key.namespace) };
                let said = if entry.said.is_empty() { String::new() } else { format!(": {}", entry.said) };
                let since = since.unwrap_or(wall);
                format!("the watch of {}{place} has had no answer for {} s, since {since}{said}", key.resource, age.as_secs())
            })
            .collect()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
