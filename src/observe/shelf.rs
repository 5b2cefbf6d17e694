//! A cache of one kind of object. What a pass needs is found by what it is about, however many others there are.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use kube::{Resource, runtime::watcher::Event};
use tokio::sync::watch;

/// Namespace and name of an object.
pub type Place = (Box<str>, Box<str>);

/// What is about the same things.
#[derive(Debug, Default)]
pub struct Index {
    places: HashMap<String, BTreeSet<Place>>,
    topics: HashMap<Place, Vec<String>>,
}

/// An object that is looked for by more than its name.
pub trait About {
    /// What it is about.
    fn topics(&self) -> Vec<String>;
}

/// The cache; cheap to clone.
#[derive(Debug)]
pub struct Shelf<K>(Arc<Shared<K>>);

#[derive(Debug)]
struct Shared<K> {
    kept: RwLock<Kept<K>>,
    ready: watch::Sender<bool>,
    /// Objects that were handed out.
    #[cfg(test)]
    handed: std::sync::atomic::AtomicUsize,
}

#[derive(Debug)]
struct Kept<K> {
    objects: HashMap<Place, Arc<K>>,
    index: Index,
    /// A list that has not come to its end.
    coming: HashMap<Place, Arc<K>>,
}

impl Index {
    /// What an object is about now.
    pub fn set(&mut self, place: Place, topics: Vec<String>) {
        if self.topics.get(&place).is_some_and(|known| *known == topics) {
            return;
        }
        self.remove(&place);
        if topics.is_empty() {
            return;
        }
        for topic in &topics {
            self.places.entry(topic.clone()).or_default().insert(place.clone());
        }
        self.topics.insert(place, topics);
    }

    /// An object is gone.
    pub fn remove(&mut self, place: &Place) {
        for topic in self.topics.remove(place).into_iter().flatten() {
            if let Some(places) = self.places.get_mut(&topic) {
                places.remove(place);
                if places.is_empty() {
                    self.places.remove(&topic);
                }
            }
        }
    }

    /// Forgets the objects for which this is not true.
    pub fn retain(&mut self, stays: impl Fn(&Place) -> bool) {
        let gone: Vec<Place> = self.topics.keys().filter(|place| !stays(place)).cloned().collect();
        gone.iter().for_each(|place| self.remove(place));
    }

    /// The objects about any of these, each once, in order of their places.
    pub fn about<'t>(&self, topics: impl IntoIterator<Item = &'t str>) -> BTreeSet<&Place> {
        topics.into_iter().filter_map(|topic| self.places.get(topic)).flatten().collect()
    }
}

impl<K> Clone for Shelf<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        let kept = Kept { objects: HashMap::new(), index: Index::default(), coming: HashMap::new() };
        Self(Arc::new(Shared {
            kept: RwLock::new(kept),
            ready: watch::Sender::new(false),
            #[cfg(test)]
            handed: std::sync::atomic::AtomicUsize::new(0),
        }))
    }
}

impl<K> Shelf<K> {
    /// The object of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.read().objects.get(&(namespace.into(), name.into())).cloned()
    }

    /// The objects about any of these, in order of their places.
    pub fn about<'t>(&self, topics: impl IntoIterator<Item = &'t str>) -> Vec<Arc<K>> {
        let kept = self.read();
        let found: Vec<_> = kept.index.about(topics).into_iter().filter_map(|place| kept.objects.get(place)).cloned().collect();
        #[cfg(test)]
        self.0.handed.fetch_add(found.len(), std::sync::atomic::Ordering::Relaxed);
        found
    }

    /// How many objects were handed out for what they are about.
    #[cfg(test)]
    pub(super) fn handed(&self) -> usize {
        self.0.handed.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Ready once all objects of the first list are here.
    pub async fn ready(&self) {
        // The sender is ours: it lives as long as this.
        let _ = self.0.ready.subscribe().wait_for(|ready| *ready).await;
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept<K>> {
        self.0.kept.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Resource + About> Shelf<K> {
    /// Takes what a watch tells, and gives the object that came, changed or went.
    pub fn take(&self, event: Event<K>) -> Option<Arc<K>> {
        let mut kept = self.0.kept.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Apply(object) => {
                let (place, topics, object) = (place(&object), object.topics(), Arc::new(object));
                kept.objects.insert(place.clone(), object.clone());
                kept.index.set(place, topics);
                Some(object)
            }
            Event::Delete(object) => {
                let place = place(&object);
                kept.objects.remove(&place);
                kept.index.remove(&place);
                Some(Arc::new(object))
            }
            Event::Init => {
                kept.coming = HashMap::new();
                None
            }
            Event::InitApply(object) => {
                kept.coming.insert(place(&object), Arc::new(object));
                None
            }
            Event::InitDone => {
                let objects = std::mem::take(&mut kept.coming);
                kept.index.retain(|place| objects.contains_key(place));
                for (place, object) in &objects {
                    kept.index.set(place.clone(), object.topics());
                }
                kept.objects = objects;
                drop(kept);
                self.0.ready.send_replace(true);
                None
            }
        }
    }

    /// One that has these objects, and is ready.
    pub fn of(objects: impl IntoIterator<Item = K>) -> Self {
        let shelf = Self::default();
        for event in std::iter::once(Event::Init).chain(objects.into_iter().map(Event::InitApply)).chain([Event::InitDone]) {
            shelf.take(event);
        }
        shelf
    }
}

/// Namespace and name of an object.
pub fn place(object: &impl Resource) -> Place {
    let meta = object.meta();
    (meta.namespace.as_deref().unwrap_or_default().into(), meta.name.as_deref().unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observe::kept::Slice;

    fn slice(name: &str, service: &str) -> Slice {
        let labels = json!({"kubernetes.io/service-name": service});
        serde_json::from_value(json!({"metadata": {"namespace": "ml", "name": name, "labels": labels}, "endpoints": null})).unwrap()
    }

    fn names(shelf: &Shelf<Slice>, service: &str) -> Vec<String> {
        shelf.about([Slice::of("ml", service).as_str()]).iter().map(|slice| slice.meta().name.clone().unwrap()).collect()
    }

    #[test]
    fn objects_are_found_by_what_they_are_about_now() {
        let shelf = Shelf::of([slice("b", "fraud"), slice("a", "fraud"), slice("c", "churn")]);
        assert_eq!(names(&shelf, "fraud"), ["a", "b"]);
        shelf.take(Event::Apply(slice("a", "churn")));
        assert_eq!((names(&shelf, "fraud"), names(&shelf, "churn")), (vec!["b".to_owned()], vec!["a".to_owned(), "c".to_owned()]));
        shelf.take(Event::Delete(slice("c", "churn")));
        assert_eq!(names(&shelf, "churn"), ["a"]);
        assert!(shelf.get("ml", "c").is_none() && shelf.get("ml", "a").is_some());
    }

    #[test]
    fn a_new_list_replaces_everything_once_it_is_whole() {
        let shelf = Shelf::of([slice("a", "fraud"), slice("b", "fraud")]);
        shelf.take(Event::Init);
        shelf.take(Event::InitApply(slice("b", "churn")));
        assert_eq!(names(&shelf, "fraud"), ["a", "b"], "half a list is none");
        shelf.take(Event::InitDone);
        assert_eq!((names(&shelf, "fraud"), names(&shelf, "churn")), (Vec::new(), vec!["b".to_owned()]));
        let index = &shelf.read().index;
        assert_eq!((index.places.len(), index.topics.len()), (1, 1), "nothing is left of what is gone");
    }
}
