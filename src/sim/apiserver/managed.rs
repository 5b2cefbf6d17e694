//! Who wrote which field: `metadata.managedFields`, as far as people and our own code read it. Lists are one field each, but for
//! finalizers and owner references, whose entries are told apart as the real server does.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::sim::{kinds::Kind, objects::seconds_text};

/// A set of fields, in the form of `fieldsV1`: `f:name` to what is below; `.` is the field itself.
type Fields = Map<String, Value>;

/// Who writes what, when.
pub(super) struct Write<'a> {
    /// Field manager.
    pub manager: &'a str,
    /// `status`, or empty.
    pub subresource: &'a str,
    /// Time of the write.
    pub now: Timestamp,
}

/// Brings the managed fields of `new` up to date with the change from `old`.
pub(super) fn record(kind: &Kind, old: Option<&Value>, new: &mut Value, write: &Write<'_>) {
    let mut entries = old.and_then(|o| o.pointer("/metadata/managedFields")).and_then(Value::as_array).cloned().unwrap_or_default();
    let empty = json!({});
    let (was, is) = (owned(old.unwrap_or(&empty)), owned(new));
    let (mut changed, mut gone) = (Fields::new(), Fields::new());
    compare(&was, &is, &mut changed, &mut gone);
    let lost = union(changed.clone(), gone.clone());
    for entry in &mut entries {
        let lost = if is_by(entry, kind, write) { &gone } else { &lost };
        if let Some(Value::Object(fields)) = entry.get_mut("fieldsV1") {
            *fields = without(std::mem::take(fields), lost);
        }
    }
    if !changed.is_empty() {
        let own = entries.iter_mut().find(|e| is_by(e, kind, write));
        let before = own.as_ref().and_then(|e| e.get("fieldsV1")).and_then(Value::as_object).cloned().unwrap_or_default();
        let entry = entry(kind, write, union(before, changed));
        match own {
            Some(place) => *place = entry,
            None => entries.push(entry),
        }
    }
    entries.retain(|e| e.get("fieldsV1").and_then(Value::as_object).is_some_and(|f| !f.is_empty()));
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("managedFields".into(), Value::Array(entries));
    }
}

fn is_by(entry: &Value, kind: &Kind, write: &Write<'_>) -> bool {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    text("manager") == write.manager && text("subresource") == write.subresource && text("apiVersion") == kind.api_version()
}

fn entry(kind: &Kind, write: &Write<'_>, fields: Fields) -> Value {
    let mut entry = json!({
        "manager": write.manager, "operation": "Update", "apiVersion": kind.api_version(), "time": seconds_text(write.now),
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    });
    if let (Value::Object(map), false) = (&mut entry, write.subresource.is_empty()) {
        map.insert("subresource".into(), json!(write.subresource));
    }
    entry
}

/// An object as a tree of its fields: leaves hold the value.
fn owned(object: &Value) -> Fields {
    const SERVERS: [&str; 10] = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
        "deletionTimestamp",
    ];
    let mut fields = Fields::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                let mut below = Fields::new();
                for (key, value) in value.as_object().into_iter().flatten() {
                    if !SERVERS.contains(&key.as_str()) && key != "deletionGracePeriodSeconds" {
                        below.insert(format!("f:{key}"), metadata(key, value));
                    }
                }
                if !below.is_empty() {
                    fields.insert("f:metadata".into(), Value::Object(below));
                }
            }
            _ => {
                fields.insert(format!("f:{key}"), tree(value));
            }
        }
    }
    fields
}

fn metadata(key: &str, value: &Value) -> Value {
    let items = value.as_array().into_iter().flatten();
    let keyed: Fields = match key {
        "finalizers" => items.map(|v| (format!("v:{v}"), json!({"=": v}))).collect(),
        "ownerReferences" => {
            items.map(|v| (format!("k:{}", json!({"uid": v.get("uid").cloned().unwrap_or_default()})), json!({"=": v}))).collect()
        }
        _ => return tree(value),
    };
    Value::Object(with_self(keyed))
}

fn tree(value: &Value) -> Value {
    match value {
        Value::Object(map) if !map.is_empty() => {
            Value::Object(with_self(map.iter().map(|(key, below)| (format!("f:{key}"), tree(below))).collect()))
        }
        leaf => json!({ "=": leaf }),
    }
}

fn with_self(mut fields: Fields) -> Fields {
    fields.insert(".".into(), json!({}));
    fields
}

/// Splits the difference into fields added or changed, and fields gone.
fn compare(was: &Fields, is: &Fields, changed: &mut Fields, gone: &mut Fields) {
    for (key, now) in is {
        let before = was.get(key);
        match (before.and_then(Value::as_object), now.as_object()) {
            _ if key == "=" => {}
            (None, Some(below)) => {
                changed.insert(key.clone(), Value::Object(strip(below)));
            }
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) if old.contains_key("=") || new.contains_key("=") => {
                changed.insert(key.clone(), Value::Object(strip(new)));
            }
            (Some(old), Some(new)) => {
                let (mut changed_below, mut gone_below) = (Fields::new(), Fields::new());
                compare(old, new, &mut changed_below, &mut gone_below);
                for (fields, below) in [(&mut *changed, changed_below), (&mut *gone, gone_below)] {
                    if !below.is_empty() {
                        fields.insert(key.clone(), Value::Object(below));
                    }
                }
            }
            _ => {}
        }
    }
    for (key, old) in was.iter().filter(|(key, _)| !is.contains_key(*key) && *key != "=") {
        gone.insert(key.clone(), Value::Object(old.as_object().map(strip).unwrap_or_default()));
    }
}

/// Fields without the values at their leaves.
fn strip(fields: &Fields) -> Fields {
    let below = |value: &Value| Value::Object(value.as_object().map(strip).unwrap_or_default());
    fields.iter().filter(|(key, _)| *key != "=").map(|(key, value)| (key.clone(), below(value))).collect()
}

fn union(mut left: Fields, right: Fields) -> Fields {
    for (key, value) in right {
        match (left.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(more)) => *below = union(std::mem::take(below), more),
            (_, value) => {
                left.insert(key, value);
            }
        }
    }
    left
}

/// Takes fields away; a field itself (`.`) stays with its other owners unless it is gone altogether.
fn without(fields: Fields, lost: &Fields) -> Fields {
    let mut kept = Fields::new();
    for (key, value) in fields {
        match (lost.get(&key).and_then(Value::as_object), value) {
            (Some(lost), Value::Object(below)) if !lost.is_empty() && !below.is_empty() => {
                let below = without(below, lost);
                if !below.is_empty() {
                    kept.insert(key, Value::Object(below));
                }
            }
            (Some(_), _) => {}
            (None, value) => {
                kept.insert(key, value);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(manager: &str) -> Write<'_> {
        Write { manager, subresource: "", now: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn an_annotation_names_its_writer_and_nothing_else() {
        let kind = Kind::named("rollouts.haldane.dev").unwrap();
        let mut first = json!({"metadata": {"name": "a"}, "spec": {"canary": {"subset": "v1"}, "list": [1]}});
        record(kind, None, &mut first, &write("kubectl-create"));
        let mut second = first.clone();
        second["metadata"]["annotations"] = json!({"haldane.dev/abort": "{}"});
        record(kind, Some(&first), &mut second, &write("kubectl-annotate"));
        let entries = second["metadata"]["managedFields"].as_array().unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0]["fieldsV1"], json!({"f:spec": {".": {}, "f:canary": {".": {}, "f:subset": {}}, "f:list": {}}}));
        let expected = json!({"f:metadata": {"f:annotations": {".": {}, "f:haldane.dev/abort": {}}}});
        assert_eq!(entries[1]["fieldsV1"], expected);
        assert_eq!(entries[1]["manager"], "kubectl-annotate");
    }

    #[test]
    fn a_changed_field_goes_to_who_changed_it() {
        let kind = Kind::named("virtualservices.networking.istio.io").unwrap();
        let mut first = json!({"metadata": {"name": "a"}, "spec": {"http": [1], "hosts": ["a"]}});
        record(kind, None, &mut first, &write("git"));
        let mut second = first.clone();
        second["spec"]["http"] = json!([2]);
        record(kind, Some(&first), &mut second, &write("haldane"));
        let entries = second["metadata"]["managedFields"].as_array().unwrap();
        assert!(entries[0]["fieldsV1"]["f:spec"].get("f:http").is_none());
        assert_eq!(entries[1]["fieldsV1"], json!({"f:spec": {"f:http": {}}}));
    }
}
