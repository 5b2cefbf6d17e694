//! Events have two faces, core/v1 and events.k8s.io/v1, and one table. They are stored as core/v1.

use serde_json::{Map, Value, json};

/// (events.k8s.io, core).
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reportingController", "reportingComponent"),
];

/// An event as it is stored, from its newer face.
pub(super) fn stored(event: Value) -> Value {
    renamed(event, "v1", |key| NAMES.iter().find(|(new, _)| *new == key).map(|(_, core)| *core))
}

/// The newer face of a stored event.
pub(super) fn shown(event: &Value) -> Value {
    renamed(event.clone(), "events.k8s.io/v1", |key| NAMES.iter().find(|(_, core)| *core == key).map(|(new, _)| *new))
}

fn renamed(event: Value, api_version: &str, name: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(map) = event else { return event };
    let mut map: Map<String, Value> = map.into_iter().map(|(key, value)| (name(&key).map_or(key, str::to_owned), value)).collect();
    map.insert("apiVersion".into(), json!(api_version));
    Value::Object(map)
}
