//! Objects as other controllers write them: whole, without the checks of the API.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    apiserver::uid,
    kinds::{KINDS, Kind},
    store::{Key, Store},
};
use crate::clock::Clock;

/// A way to the objects behind the API's back. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Store,
    clock: Clock,
}

impl Objects {
    /// Over a store.
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// One object: `get("rollouts.haldane.dev", "ml", "fraud")`.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = key(Kind::named(resource)?, namespace, name);
        self.store.read(|t| t.get(&key))
    }

    /// Objects of a namespace.
    pub fn list(&self, resource: &str, namespace: &str) -> Vec<Arc<Value>> {
        Kind::named(resource).map(|kind| self.store.read(|t| t.list(kind.table(), Some(namespace)))).unwrap_or_default()
    }

    /// Pods or Services of a namespace that belong to an app, however many others there are.
    pub fn list_of_app(&self, resource: &str, namespace: &str, app: &str) -> Vec<Arc<Value>> {
        Kind::named(resource).map(|kind| self.store.read(|t| t.list_of_app(kind.table(), namespace, app))).unwrap_or_default()
    }

    /// Stores an object, status included, with the identity and the times that it lacks. Nothing is written if nothing but
    /// `resourceVersion` would change. `None` when the kind is not known or there is no metadata.
    pub fn put(&self, mut object: Value) -> Option<Arc<Value>> {
        let (api_version, kind) = (text(&object, "/apiVersion"), text(&object, "/kind"));
        let kind = KINDS.iter().find(|k| k.kind == kind && k.api_version() == api_version)?;
        let key = key(kind, &text(&object, "/metadata/namespace"), &text(&object, "/metadata/name"));
        let (now, uid) = (seconds_text(self.clock.now()), uid(self.store.number()));
        self.store.write(|tables| {
            let before = tables.get(&key);
            let had = |field: &str| before.as_ref().and_then(|b| b.get("metadata")).and_then(|m| m.get(field)).cloned();
            let metadata = object.get_mut("metadata").and_then(Value::as_object_mut)?;
            metadata.remove("resourceVersion");
            for (field, made) in [("uid", json!(uid)), ("creationTimestamp", json!(now))] {
                metadata.entry(field).or_insert_with(|| had(field).unwrap_or(made));
            }
            if kind.generation {
                metadata.insert("generation".into(), had("generation").unwrap_or(json!(1)));
            }
            if let Some(before) = &before {
                let bare = |object: &Value| {
                    let mut object = object.clone();
                    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                        metadata.remove("resourceVersion");
                    }
                    object
                };
                if bare(before) == bare(&object) {
                    return Some(Arc::clone(before));
                }
                let spec_changed = before.get("spec") != object.get("spec");
                if let Some(generation) = object.pointer_mut("/metadata/generation").filter(|_| spec_changed) {
                    *generation = json!(generation.as_i64().unwrap_or(0) + 1);
                }
            }
            Some(tables.put(key, object))
        })
    }

    /// Writes the status of an object, as a function of the object as it stands. `None` if it is not there.
    pub fn set_status(&self, resource: &str, namespace: &str, name: &str, status: impl FnOnce(&Value) -> Value) -> Option<Arc<Value>> {
        let key = key(Kind::named(resource)?, namespace, name);
        self.store.write(|tables| {
            let mut object = tables.get(&key).as_deref()?.clone();
            let status = status(&object);
            object.as_object_mut()?.insert("status".into(), status);
            Some(tables.put(key, object))
        })
    }

    /// Deletes an object.
    pub fn remove(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = key(Kind::named(resource)?, namespace, name);
        self.store.write(|t| t.remove(&key, None))
    }
}

fn key(kind: &Kind, namespace: &str, name: &str) -> Key {
    Key { table: kind.table(), namespace: namespace.to_owned(), name: name.to_owned() }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A time as Kubernetes writes it: RFC 3339 with whole seconds.
pub(super) fn seconds_text(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
