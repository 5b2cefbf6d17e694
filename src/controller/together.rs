//! The watches of several namespaces as one: it begins with one list that is whole, and a namespace that is listed again changes nothing in the
//! others. Pure.

use std::collections::HashMap;

use kube::{Resource, runtime::watcher::Event};

use crate::observe::shelf::{Place, place};

/// What each namespace has.
pub(super) struct Together<K> {
    namespaces: Vec<Namespace<K>>,
    whole: bool,
}

struct Namespace<K> {
    known: HashMap<Place, K>,
    /// A list that has not come to its end.
    coming: HashMap<Place, K>,
    listed: bool,
}

impl<K: Resource + Clone> Together<K> {
    /// Of so many namespaces.
    pub(super) fn new(namespaces: usize) -> Self {
        let empty = || Namespace { known: HashMap::new(), coming: HashMap::new(), listed: false };
        Self { namespaces: std::iter::repeat_with(empty).take(namespaces).collect(), whole: false }
    }

    /// What an event of one of the namespaces means for all of them: nothing until each was listed once.
    pub(super) fn take(&mut self, namespace: usize, event: Event<K>) -> Vec<Event<K>> {
        let Some(of) = self.namespaces.get_mut(namespace) else { return Vec::new() };
        let changes = of.take(event);
        if self.whole {
            return changes;
        }
        if !self.namespaces.iter().all(|of| of.listed) {
            return Vec::new();
        }
        self.whole = true;
        let objects = self.namespaces.iter().flat_map(|of| of.known.values().cloned());
        std::iter::once(Event::Init).chain(objects.map(Event::InitApply)).chain([Event::InitDone]).collect()
    }
}

impl<K: Resource + Clone> Namespace<K> {
    /// What changed in this namespace.
    fn take(&mut self, event: Event<K>) -> Vec<Event<K>> {
        match event {
            Event::Apply(object) => {
                self.known.insert(place(&object), object.clone());
                vec![Event::Apply(object)]
            }
            Event::Delete(object) => {
                self.known.remove(&place(&object));
                vec![Event::Delete(object)]
            }
            Event::Init => {
                self.coming.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.coming.insert(place(&object), object);
                Vec::new()
            }
            Event::InitDone => {
                self.listed = true;
                let before = std::mem::replace(&mut self.known, std::mem::take(&mut self.coming));
                let gone = before.into_iter().filter(|(place, _)| !self.known.contains_key(place)).map(|(_, object)| Event::Delete(object));
                gone.chain(self.known.values().cloned().map(Event::Apply)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str) -> ConfigMap {
        let (namespace, name) = name.split_once('/').unwrap();
        serde_json::from_value(serde_json::json!({"metadata": {"namespace": namespace, "name": name}})).unwrap()
    }

    fn shown(events: Vec<Event<ConfigMap>>) -> Vec<String> {
        let of = |sign: &str, object: &ConfigMap| {
            let (namespace, name) = place(object);
            format!("{sign}{namespace}/{name}")
        };
        let shown = events.iter().map(|event| match event {
            Event::Apply(object) => of("", object),
            Event::Delete(object) => of("-", object),
            Event::Init => "init".into(),
            Event::InitApply(object) => of("+", object),
            Event::InitDone => "done".into(),
        });
        let mut shown: Vec<String> = shown.collect();
        if let [first, inner @ .., last] = shown.as_mut_slice()
            && first == "init"
            && last == "done"
        {
            inner.sort();
        }
        shown
    }

    fn list(together: &mut Together<ConfigMap>, namespace: usize, names: &[&str]) -> Vec<String> {
        let events = std::iter::once(Event::Init).chain(names.iter().map(|name| Event::InitApply(object(name)))).chain([Event::InitDone]);
        events.flat_map(|event| shown(together.take(namespace, event))).collect()
    }

    #[test]
    fn the_first_list_is_that_of_all_namespaces() {
        let mut together = Together::new(2);
        assert_eq!(list(&mut together, 1, &["b/x"]), Vec::<String>::new());
        assert_eq!(shown(together.take(1, Event::Apply(object("b/y")))), Vec::<String>::new(), "it is in the list that follows");
        let mut all = list(&mut together, 0, &["a/x"]);
        all.sort();
        assert_eq!(all, ["+a/x", "+b/x", "+b/y", "done", "init"]);
    }

    #[test]
    fn a_namespace_that_is_listed_again_changes_nothing_in_the_others() {
        let mut together = Together::new(2);
        list(&mut together, 0, &["a/x", "a/y"]);
        list(&mut together, 1, &["b/x"]);
        let mut again = list(&mut together, 0, &["a/y", "a/z"]);
        again.sort();
        assert_eq!(again, ["-a/x", "a/y", "a/z"]);
        assert_eq!(shown(together.take(1, Event::Delete(object("b/x")))), ["-b/x"]);
        assert_eq!(list(&mut together, 1, &[]), Vec::<String>::new(), "it is not deleted twice");
    }
}
