//! Create, update, patch, delete: what a real API server does to an object between the request and the store.

use std::sync::Arc;

use axum::body::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    answer::{Cause, Refusal},
    check::{check_finalizers, check_name, finalizers, refuse_weights, suffix, uid},
    events, managed,
    request::{Options, Target, Verb},
    rules, schema,
};
use crate::sim::{
    kinds::Kind,
    objects::seconds_text,
    store::{Key, Store, Tables},
};

/// What a write led to.
#[derive(Debug)]
pub(super) struct Written {
    /// HTTP status code.
    pub code: u16,
    /// The object, or a Status.
    pub body: Value,
    /// Warnings for the caller.
    pub warnings: Vec<String>,
}

/// One write under way.
pub(super) struct Writer<'a> {
    /// Where it goes.
    pub store: &'a Store,
    /// What it is for.
    pub target: &'a Target,
    /// Its options.
    pub options: &'a Options,
    /// When.
    pub now: Timestamp,
}

const CONTENT_TYPES: &str = "application/json-patch+json, application/merge-patch+json";

impl Writer<'_> {
    /// Does what the verb says.
    ///
    /// # Errors
    /// What a real API server refuses.
    pub(super) fn run(&self, body: &Bytes) -> Result<Written, Refusal> {
        match self.target.verb {
            Verb::Create => self.create(self.decode(body)?, &self.target.name),
            Verb::Update => {
                let wanted = self.decode(body)?;
                let name = text(&wanted, "/metadata/name");
                if name != self.target.name {
                    let message = format!("the name of the object ({name}) does not match the name on the URL ({})", self.target.name);
                    return Err(Refusal::bad_request(message));
                }
                let missing = self.store.read(|t| t.get(&self.key(&self.target.name)).is_none());
                if missing && self.target.kind.create_by_put {
                    return self.create(wanted, &self.target.name);
                }
                self.update(|_| Ok(wanted))
            }
            Verb::Patch => self.patch(body),
            Verb::Delete => self.delete(body),
            _ => Err(Refusal::method_not_allowed()),
        }
    }

    fn key(&self, name: &str) -> Key {
        Key { table: self.target.kind.table(), namespace: self.target.namespace.clone(), name: name.to_owned() }
    }

    fn decode(&self, body: &Bytes) -> Result<Value, Refusal> {
        if !matches!(self.options.content_type.as_str(), "application/json" | "" | "*/*") {
            return Err(Refusal::unsupported_media("application/json"));
        }
        let mut object: Value = serde_json::from_slice(body).map_err(|e| {
            Refusal::bad_request(format!("the object provided is unrecognized (must be of type {}): {e}", self.target.kind.kind))
        })?;
        let kind = self.target.kind;
        let Some(map) = object.as_object_mut() else {
            return Err(Refusal::bad_request("the object provided is unrecognized: not an object"));
        };
        for (field, words, own) in [("apiVersion", "API version", kind.api_version()), ("kind", "kind", kind.kind.to_owned())] {
            let found = map.entry(field).or_insert_with(|| json!(own));
            if found.as_str() != Some(own.as_str()) {
                let message =
                    format!("the {words} in the data ({}) does not match the expected {words} ({own})", found.as_str().unwrap_or_default());
                return Err(Refusal::bad_request(message));
            }
        }
        map.entry("metadata").or_insert_with(|| json!({}));
        let namespace = text(&object, "/metadata/namespace");
        if !namespace.is_empty() && namespace != self.target.namespace {
            return Err(Refusal::bad_request("the namespace of the provided object does not match the namespace sent on the request"));
        }
        Ok(if kind.is_new_event() { events::stored(object) } else { object })
    }

    fn create(&self, mut object: Value, name: &str) -> Result<Written, Refusal> {
        let kind = self.target.kind;
        let mut name = if name.is_empty() { text(&object, "/metadata/name") } else { name.to_owned() };
        let prefix = text(&object, "/metadata/generateName");
        if name.is_empty() && !prefix.is_empty() {
            name = format!("{prefix}{}", suffix(self.store.number()));
        }
        if name.is_empty() {
            let message = "Required value: name or generateName is required".to_owned();
            let cause = Cause { reason: "FieldValueRequired", message, field: "metadata.name".into() };
            return Err(Refusal::invalid(kind, "", &[cause]));
        }
        check_name(kind, &name)?;
        if kind.status
            && let Some(map) = object.as_object_mut().filter(|_| kind.custom)
        {
            map.remove("status");
        }
        let warnings = self.admit(&mut object, &name)?;
        let uid = uid(self.store.number());
        if let Some(metadata) = metadata(&mut object) {
            for servers in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"] {
                metadata.remove(servers);
            }
            metadata.insert("name".into(), json!(name));
            metadata.insert("uid".into(), json!(uid));
            metadata.insert("creationTimestamp".into(), json!(seconds_text(self.now)));
            if kind.namespaced {
                metadata.insert("namespace".into(), json!(self.target.namespace));
            }
            if kind.generation {
                metadata.insert("generation".into(), json!(1));
            }
        }
        self.sign(None, &mut object);
        let stored = self.store.write(|tables| {
            if kind.namespaced && kind.kind != "Namespace" {
                let namespace = Key { table: "namespaces", namespace: String::new(), name: self.target.namespace.clone() };
                let spaces = Kind::named("namespaces");
                if let (None, Some(spaces)) = (tables.get(&namespace), spaces) {
                    return Err(Refusal::not_found(spaces, &self.target.namespace));
                }
            }
            if let Some(present) = tables.get(&self.key(&name)) {
                let mut refusal = Refusal::already_exists(kind, &name);
                if present.pointer("/metadata/deletionTimestamp").is_some() {
                    refusal.message.insert_str(0, "object is being deleted: ");
                }
                return Err(refusal);
            }
            Ok(if self.options.dry_run() { Arc::new(object) } else { tables.put(self.key(&name), object) })
        })?;
        Ok(Written { code: 201, body: Value::clone(&stored), warnings })
    }

    fn patch(&self, body: &Bytes) -> Result<Written, Refusal> {
        let invalid = |e: serde_json::Error| Refusal::bad_request(format!("error decoding patch: {e}"));
        match self.options.content_type.as_str() {
            "application/json-patch+json" => {
                let operations: Value = serde_json::from_slice(body).map_err(invalid)?;
                let patch: json_patch::Patch = serde_json::from_value(operations).map_err(|_| Refusal::patch_failed())?;
                self.update(|current| {
                    let mut object = current.clone();
                    json_patch::patch(&mut object, &patch).map_err(|_| Refusal::patch_failed())?;
                    Ok(object)
                })
            }
            "application/merge-patch+json" => self.merge(serde_json::from_slice(body).map_err(invalid)?),
            // The built-in kinds here have no lists that a strategic patch would join, as long as it touches none.
            "application/strategic-merge-patch+json" if !self.target.kind.custom => {
                let patch: Value = serde_json::from_slice(body).map_err(invalid)?;
                if has_list(&patch) {
                    return Err(Refusal::unsupported_media(&format!("{CONTENT_TYPES} (a strategic merge of lists is not simulated)")));
                }
                self.merge(patch)
            }
            "application/apply-patch+yaml" => {
                Err(Refusal::unsupported_media(&format!("{CONTENT_TYPES} (server-side apply is not simulated)")))
            }
            _ => Err(Refusal::unsupported_media(&format!("{CONTENT_TYPES}, application/apply-patch+yaml"))),
        }
    }

    fn merge(&self, patch: Value) -> Result<Written, Refusal> {
        if !patch.is_object() {
            let message = "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}";
            return Err(Refusal::bad_request(message));
        }
        self.update(|current| {
            let mut object = current.clone();
            json_patch::merge(&mut object, &patch);
            Ok(object)
        })
    }

    /// Reads, changes, checks and stores in one step.
    fn update(&self, change: impl FnOnce(&Value) -> Result<Value, Refusal>) -> Result<Written, Refusal> {
        let (kind, name) = (self.target.kind, self.target.name.as_str());
        self.store.write(|tables| {
            let key = self.key(name);
            let current = tables.get(&key).ok_or_else(|| Refusal::not_found(kind, name))?;
            let mut wanted = change(&current)?;
            if !wanted.is_object() || !wanted.get("metadata").is_some_and(Value::is_object) {
                return Err(Refusal::patch_failed());
            }
            self.preconditions(&current, &wanted)?;
            self.keep_servers_fields(&current, &mut wanted);
            let warnings = self.admit(&mut wanted, name)?;
            check_finalizers(kind, name, &current, &wanted)?;
            if *current == wanted {
                return Ok(Written { code: 200, body: Value::clone(&current), warnings });
            }
            if kind.generation && self.target.subresource.is_empty() && counted(&current) != counted(&wanted) {
                let next = current.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0) + 1;
                if let Some(metadata) = metadata(&mut wanted) {
                    metadata.insert("generation".into(), json!(next));
                }
            }
            self.sign(Some(&current), &mut wanted);
            let body = if self.options.dry_run() { wanted } else { Value::clone(&self.store_or_finish(tables, key, wanted)) };
            Ok(Written { code: 200, body, warnings })
        })
    }

    /// Stores the object, or deletes it when nothing holds it any more.
    fn store_or_finish(&self, tables: &mut Tables, key: Key, object: Value) -> Arc<Value> {
        let deleting = object.pointer("/metadata/deletionTimestamp").is_some();
        if deleting && finalizers(&object).is_empty() {
            let last = Arc::new(object);
            // Watches get the state before: the finalizer is still in it.
            tables.remove(&key, None);
            return last;
        }
        tables.put(key, object)
    }

    fn preconditions(&self, current: &Value, wanted: &Value) -> Result<(), Refusal> {
        let (kind, name) = (self.target.kind, self.target.name.as_str());
        let (asked, have) = (text(wanted, "/metadata/resourceVersion"), text(current, "/metadata/resourceVersion"));
        if asked.is_empty() && kind.custom && self.target.verb == Verb::Update {
            return Err(Refusal::no_version(kind, name));
        }
        let (uid, wanted_uid) = (text(current, "/metadata/uid"), text(wanted, "/metadata/uid"));
        if !wanted_uid.is_empty() && uid != wanted_uid {
            if self.target.verb == Verb::Update {
                let group = if kind.group.is_empty() { String::new() } else { format!("{}/", kind.group) };
                let why = format!(
                    "StorageError: invalid object, Code: 4, Key: /registry/{group}{}/{}/{name}, ResourceVersion: 0, AdditionalErrorMsg: \
                     Precondition failed: UID in precondition: {wanted_uid}, UID in object meta: {uid}",
                    kind.plural, self.target.namespace
                );
                return Err(Refusal::conflict(kind, name, &why));
            }
            let message = format!("Invalid value: \"{wanted_uid}\": field is immutable");
            let cause = Cause { reason: "FieldValueInvalid", message, field: "metadata.uid".into() };
            return Err(Refusal::invalid_update(kind, name, &cause));
        }
        if !asked.is_empty() && asked != have {
            return Err(Refusal::stale(kind, name));
        }
        Ok(())
    }

    /// What a client cannot change, and what the endpoint it used does not change.
    fn keep_servers_fields(&self, current: &Value, wanted: &mut Value) {
        let was = current.get("metadata").and_then(Value::as_object);
        if self.target.subresource == "status" {
            let status = wanted.get("status").cloned();
            *wanted = current.clone();
            set(wanted, "status", status);
            return;
        }
        if self.target.kind.status {
            set(wanted, "status", current.get("status").cloned());
        }
        for field in ["apiVersion", "kind"] {
            set(wanted, field, current.get(field).cloned());
        }
        let Some(is) = metadata(wanted) else { return };
        for field in [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "resourceVersion",
            "managedFields",
        ] {
            match was.and_then(|m| m.get(field)) {
                Some(value) => is.insert(field.into(), value.clone()),
                None => is.remove(field),
            };
        }
    }

    /// Pruning, defaults, validation.
    fn admit(&self, object: &mut Value, name: &str) -> Result<Vec<String>, Refusal> {
        let kind = self.target.kind;
        for field in ["annotations", "labels", "finalizers", "ownerReferences"] {
            let empty = |v: &Value| v.is_null() || v.as_object().is_some_and(Map::is_empty) || v.as_array().is_some_and(Vec::is_empty);
            if let Some(metadata) = metadata(object).filter(|m| m.get(field).is_some_and(empty)) {
                metadata.remove(field);
            }
        }
        for field in ["annotations", "labels"] {
            let texts = object.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
            if let Some((key, value)) = texts.into_iter().flatten().find(|(_, v)| !v.is_string()) {
                let message = format!("patch: Invalid value: metadata.{field}.{key}: not a string: {value}");
                return Err(Refusal::new(422, "Invalid", format!(" \"\" is invalid: {message}")));
            }
        }
        let Some(schema) = kind.schema() else {
            return if kind.kind == "VirtualService" { refuse_weights(object) } else { Ok(Vec::new()) };
        };
        let strict = self.options.get("fieldValidation") == Some("Strict");
        let patched = (strict && self.target.verb == Verb::Patch).then(|| object.to_string());
        let unknown: Vec<String> = schema::prune(schema, object).iter().map(|path| format!("unknown field \"{path}\"")).collect();
        if !unknown.is_empty() && strict {
            // A patch is refused with the whole object that would have come of it.
            if let Some(patched) = patched {
                let said = format!("patch: Invalid value: {patched:?}: strict decoding error: {}", unknown.join(", "));
                return Err(Refusal::new(422, "Invalid", format!(" \"\" is invalid: {said}")));
            }
            let message = format!(
                "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
                kind.kind,
                kind.version,
                kind.kind,
                unknown.join(", ")
            );
            return Err(Refusal::bad_request(message));
        }
        schema::set_defaults(schema, object);
        let mut faults = schema::faults(schema, object);
        if faults.is_empty() {
            faults = rules::faults(kind, object);
        }
        match faults.as_slice() {
            [] if self.options.get("fieldValidation") == Some("Ignore") => Ok(Vec::new()),
            [] => Ok(unknown),
            faults => Err(Refusal::invalid(kind, name, faults)),
        }
    }

    fn sign(&self, old: Option<&Value>, new: &mut Value) {
        let manager = self.options.manager();
        let write = managed::Write { manager: &manager, subresource: &self.target.subresource, now: self.now };
        managed::record(self.target.kind, old, new, &write);
    }

    fn delete(&self, body: &Bytes) -> Result<Written, Refusal> {
        let (kind, name) = (self.target.kind, self.target.name.as_str());
        let options: Value = if body.is_empty() { json!({}) } else { serde_json::from_slice(body).unwrap_or_default() };
        self.store.write(|tables| {
            let key = self.key(name);
            let current = tables.get(&key).ok_or_else(|| Refusal::not_found(kind, name))?;
            for (field, label, what) in [("uid", "UID", "deleted and then recreated"), ("resourceVersion", "ResourceVersion", "modified")] {
                let wanted = text(&options, &format!("/preconditions/{field}"));
                let have = text(&current, &format!("/metadata/{field}"));
                if !wanted.is_empty() && wanted != have {
                    let why = format!(
                        "the {label} in the precondition ({wanted}) does not match the {label} in record ({have}). The object might have been \
                         {what}"
                    );
                    return Err(Refusal::other_object(kind, name, &why));
                }
            }
            let uid = text(&current, "/metadata/uid");
            if finalizers(&current).is_empty() {
                if !self.options.dry_run() {
                    tables.remove(&key, None);
                }
                let mut details = json!({"name": name, "kind": kind.plural, "uid": uid});
                if let (Value::Object(map), false) = (&mut details, kind.group.is_empty()) {
                    map.insert("group".into(), json!(kind.group));
                }
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
                let body = if kind.kind == "Pod" { Value::clone(&current) } else { status };
                return Ok(Written { code: 200, body, warnings: Vec::new() });
            }
            let mut marked = Value::clone(&current);
            if marked.pointer("/metadata/deletionTimestamp").is_none() {
                let generation = marked.pointer("/metadata/generation").and_then(Value::as_i64);
                if let Some(metadata) = metadata(&mut marked) {
                    metadata.insert("deletionTimestamp".into(), json!(seconds_text(self.now)));
                    metadata.insert("deletionGracePeriodSeconds".into(), json!(0));
                    if let Some(generation) = generation {
                        metadata.insert("generation".into(), json!(generation + 1));
                    }
                }
                marked = Value::clone(&tables.put(key, marked));
            }
            Ok(Written { code: 200, body: marked, warnings: Vec::new() })
        })
    }
}

/// The part whose changes `metadata.generation` counts.
fn counted(object: &Value) -> Map<String, Value> {
    let map = object.as_object().cloned().unwrap_or_default();
    map.into_iter().filter(|(key, _)| key != "metadata" && key != "status").collect()
}

fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata").and_then(Value::as_object_mut)
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(map) = object.as_object_mut() {
        match value {
            Some(value) => map.insert(field.to_owned(), value),
            None => map.remove(field),
        };
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn has_list(value: &Value) -> bool {
    match value {
        Value::Array(_) => true,
        Value::Object(map) => map.values().any(has_list),
        _ => false,
    }
}
