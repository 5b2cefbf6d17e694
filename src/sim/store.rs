//! Objects with a history, as etcd keeps them: every write has a revision, a watch reads on from a revision, old revisions are compacted.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::sync::watch;

/// Where an object is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Table: plural name of the kind.
    pub table: &'static str,
    /// Namespace; empty for objects of the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its revision.
    pub revision: u64,
    /// What was written.
    pub key: Key,
    /// The object before; `None`: it was created.
    pub before: Option<Arc<Value>>,
    /// The object after; of a delete, the last state with the revision of the delete.
    pub after: Arc<Value>,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// Why a revision cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Oldest revision after which every change is known.
    pub oldest: u64,
}

/// The objects and their history. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Store {
    tables: Arc<Mutex<Tables>>,
    revision: watch::Sender<u64>,
}

/// What is inside a [`Store`], under its lock.
#[derive(Debug)]
pub struct Tables {
    revision: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    /// What belongs to each app: pods by their label, Services by what they select.
    apps: BTreeSet<(Key, String)>,
    /// Revision of the newest write to each table.
    written: BTreeMap<&'static str, u64>,
    history: VecDeque<Change>,
    numbers: u64,
    keep: usize,
    compacted: u64,
}

impl Store {
    /// An empty store that remembers the last `keep` writes. Revisions start above 1 so that "0" and "1" are never a real one.
    pub fn new(keep: usize) -> Self {
        let tables = Tables {
            revision: 1,
            objects: BTreeMap::new(),
            apps: BTreeSet::new(),
            written: BTreeMap::new(),
            history: VecDeque::new(),
            numbers: 0,
            keep,
            compacted: 1,
        };
        Self { tables: Arc::new(Mutex::new(tables)), revision: watch::Sender::new(1) }
    }

    /// Reads under the lock.
    pub fn read<R>(&self, read: impl FnOnce(&Tables) -> R) -> R {
        read(&self.lock())
    }

    /// Writes under the lock, then wakes the watches.
    pub fn write<R>(&self, write: impl FnOnce(&mut Tables) -> R) -> R {
        let (result, revision) = {
            let mut tables = self.lock();
            (write(&mut tables), tables.revision)
        };
        self.revision.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
        result
    }

    /// A number that was not given before: identities are made of it.
    pub fn number(&self) -> u64 {
        let mut tables = self.lock();
        tables.numbers += 1;
        tables.numbers
    }

    /// Sees every new revision.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Forgets the history up to now: every watch that lags gets 410 Gone.
    pub fn compact(&self) {
        self.write(Tables::compact);
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// Newest revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.objects.get(key).cloned()
    }

    /// Objects of a table, in a namespace or in all, by namespace and name.
    pub fn list(&self, table: &'static str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let first = Key { table, namespace: namespace.unwrap_or_default().to_owned(), name: String::new() };
        let wanted = |key: &Key| key.table == table && namespace.is_none_or(|n| n == key.namespace);
        self.objects.range(first..).take_while(|(key, _)| wanted(key)).map(|(_, object)| Arc::clone(object)).collect()
    }

    /// Objects of a table and a namespace that belong to an app, by name: those that [`list`](Tables::list) has, without reading the others.
    pub fn list_of_app(&self, table: &'static str, namespace: &str, app: &str) -> Vec<Arc<Value>> {
        let first = (Key { table, namespace: namespace.to_owned(), name: app.to_owned() }, String::new());
        let own = self.apps.range(first..).take_while(|(key, _)| key.table == table && key.namespace == namespace && key.name == app);
        let key = |name: &String| Key { table, namespace: namespace.to_owned(), name: name.clone() };
        own.filter_map(|(_, name)| self.get(&key(name))).collect()
    }

    /// Revision of the newest write to any of these tables; 0 if there was none.
    pub fn newest(&self, tables: &[&str]) -> u64 {
        tables.iter().filter_map(|table| self.written.get(table)).copied().max().unwrap_or_default()
    }

    /// Objects of a table as they were at an old revision (for stale reads).
    pub fn list_at(&self, table: &str, namespace: Option<&str>, revision: u64) -> Vec<Arc<Value>> {
        let mut objects: BTreeMap<&Key, &Arc<Value>> = self.objects.iter().collect();
        for change in self.history.iter().rev().take_while(|c| c.revision > revision) {
            match &change.before {
                Some(before) => objects.insert(&change.key, before),
                None => objects.remove(&change.key),
            };
        }
        let wanted = |key: &Key| key.table == table && namespace.is_none_or(|n| n == key.namespace);
        objects.into_iter().filter(|(key, _)| wanted(key)).map(|(_, object)| Arc::clone(object)).collect()
    }

    /// Changes after a revision, oldest first.
    ///
    /// # Errors
    /// When some of them are forgotten.
    pub fn since(&self, revision: u64) -> Result<Vec<Change>, Compacted> {
        self.since_where(revision, |_| true)
    }

    /// Those of the changes after a revision for which this is true.
    ///
    /// # Errors
    /// When some of all changes are forgotten.
    pub fn since_where(&self, revision: u64, wanted: impl Fn(&Key) -> bool) -> Result<Vec<Change>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted { oldest: self.compacted });
        }
        let start = self.history.partition_point(|c| c.revision <= revision);
        Ok(self.history.range(start..).filter(|change| wanted(&change.key)).cloned().collect())
    }

    /// Stores an object at a new revision, which is written into its metadata.
    pub fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        stamp(&mut object, self.revision);
        let after = Arc::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&after));
        self.remember(Change { revision: self.revision, key, before, after: Arc::clone(&after), deleted: false });
        after
    }

    /// Deletes an object; its last state is returned, with the revision of the delete. `last` replaces what was stored.
    pub fn remove(&mut self, key: &Key, last: Option<Value>) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.revision += 1;
        let mut object = last.unwrap_or_else(|| Value::clone(&before));
        stamp(&mut object, self.revision);
        let after = Arc::new(object);
        self.remember(Change { revision: self.revision, key: key.clone(), before: Some(before), after: Arc::clone(&after), deleted: true });
        Some(after)
    }

    fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }

    fn remember(&mut self, change: Change) {
        self.written.insert(change.key.table, change.revision);
        let Change { key, before, after, deleted, .. } = &change;
        let (was, is) = (before.as_ref().and_then(|before| app(key, before)), app(key, after).filter(|_| !deleted));
        if was != is {
            was.map(|was| self.apps.remove(&was));
            is.map(|is| self.apps.insert(is));
        }
        self.history.push_back(change);
        while self.history.len() > self.keep {
            if let Some(gone) = self.history.pop_front() {
                self.compacted = gone.revision;
            }
        }
    }
}

/// The app that an object belongs to, and the object's name: an entry of the index.
fn app(key: &Key, object: &Value) -> Option<(Key, String)> {
    let pointer = match key.table {
        "pods" => "/metadata/labels/app",
        "services" => "/spec/selector/app",
        _ => return None,
    };
    let app = object.pointer(pointer)?.as_str()?.to_owned();
    Some((Key { table: key.table, namespace: key.namespace.clone(), name: app }, key.name.clone()))
}

fn stamp(object: &mut Value, revision: u64) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".into(), json!(revision.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(table: &'static str, namespace: &str, name: &str) -> Key {
        Key { table, namespace: namespace.into(), name: name.into() }
    }

    fn pod(name: &str, app: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {"app": app}}})
    }

    fn names(tables: &Tables, app: &str) -> Vec<String> {
        let of = |object: &Arc<Value>| object["metadata"]["name"].as_str().unwrap().to_owned();
        tables.list_of_app("pods", "ml", app).iter().map(of).collect()
    }

    #[test]
    fn the_pods_of_an_app_are_those_that_have_its_label_now() {
        let store = Store::new(2);
        store.write(|tables| {
            tables.put(key("pods", "ml", "b"), pod("b", "fraud"));
            tables.put(key("pods", "ml", "a"), pod("a", "fraud"));
            tables.put(key("pods", "ml", "c"), pod("c", "fraud-2"));
            tables.put(key("pods", "shop", "d"), pod("d", "fraud"));
            assert_eq!((names(tables, "fraud"), names(tables, "fraud-2")), (vec!["a".into(), "b".into()], vec!["c".into()]));
            tables.put(key("pods", "ml", "b"), pod("b", "fraud-2"));
            tables.remove(&key("pods", "ml", "a"), None);
            assert_eq!((names(tables, "fraud"), names(tables, "fraud-2")), (Vec::<String>::new(), vec!["b".into(), "c".into()]));
        });
    }

    #[test]
    fn a_table_says_when_it_was_written_last_and_a_watch_of_it_reads_no_other() {
        let store = Store::new(2);
        let written = store.write(|tables| {
            tables.put(key("pods", "ml", "a"), pod("a", "fraud"));
            let pods = tables.revision();
            tables.put(key("leases", "ml", "b"), json!({"metadata": {"name": "b"}}));
            assert_eq!((tables.newest(&["pods"]), tables.newest(&["pods", "leases"]), tables.newest(&["services"])), (pods, pods + 1, 0));
            tables.since_where(pods - 1, |key| key.table == "leases").unwrap()
        });
        assert_eq!(written.iter().map(|change| change.key.name.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
