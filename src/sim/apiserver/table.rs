//! Objects in the shape that was asked for: as they are, metadata alone, or rows for `kubectl get`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{events, request::Shape};
use crate::sim::kinds::Kind;

/// One object in the shape wanted.
pub(super) fn object(kind: &Kind, object: &Value, shape: Shape, now: Timestamp) -> Value {
    match shape {
        Shape::Object if kind.is_new_event() => events::shown(object),
        Shape::Object => object.clone(),
        Shape::Metadata => partial(object),
        Shape::Table => table(kind, &[object], object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default(), now),
    }
}

/// A list in the shape wanted.
pub(super) fn list(kind: &Kind, objects: &[&Value], shape: Shape, revision: u64, now: Timestamp) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let (true, Value::Object(map)) = (kind.custom && shape == Shape::Object, &mut metadata) {
        map.insert("continue".into(), json!(""));
    }
    match shape {
        Shape::Object => {
            let items: Vec<Value> = objects.iter().map(|o| object(kind, o, shape, now)).collect();
            json!({"apiVersion": kind.api_version(), "kind": format!("{}List", kind.kind), "metadata": metadata, "items": items})
        }
        Shape::Metadata => {
            let items: Vec<Value> = objects.iter().map(|o| partial(o)).collect();
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": metadata, "items": items})
        }
        Shape::Table => table(kind, objects, json!(revision.to_string()), now),
    }
}

fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.get("metadata")})
}

fn table(kind: &Kind, objects: &[&Value], revision: Value, now: Timestamp) -> Value {
    let name = ("Name".to_owned(), "string".to_owned(), ".metadata.name".to_owned());
    let columns: Vec<_> = std::iter::once(name).chain(kind.columns()).collect();
    let definitions: Vec<Value> = columns
        .iter()
        .map(|(name, kind, _)| {
            let format = if name == "Name" { "name" } else { "" };
            json!({"name": name, "type": kind, "format": format, "description": "", "priority": 0})
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|o| {
            let cells: Vec<Value> = columns.iter().map(|(_, kind, path)| cell(o, kind, path, now)).collect();
            json!({"cells": cells, "object": partial(o)})
        })
        .collect();
    let metadata = json!({"resourceVersion": revision});
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": definitions, "rows": rows})
}

fn cell(object: &Value, kind: &str, path: &str, now: Timestamp) -> Value {
    let found = path.trim_start_matches('.').split('.').try_fold(object, |at, key| at.get(key));
    match (found, kind) {
        (None | Some(Value::Null), "date") => json!("<unknown>"),
        (None | Some(Value::Null), _) => Value::Null,
        (Some(at), "date") => at.as_str().and_then(|t| t.parse().ok()).map_or(json!("<invalid>"), |at| json!(age(at, now))),
        (Some(Value::String(text)), _) => json!(text),
        (Some(value), "string") => json!(value.to_string()),
        (Some(value), _) => value.clone(),
    }
}

/// An age as kubectl writes it: `45s`, `3m20s`, `2h`, `5d`.
fn age(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(at.as_second());
    let pair = |a: i64, x: &str, b: i64, y: &str| if b == 0 { format!("{a}{x}") } else { format!("{a}{x}{b}{y}") };
    match seconds {
        ..-1 => "<invalid>".into(),
        -1..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(seconds / 60, "m", seconds % 60, "s"),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..28_800 => pair(seconds / 3600, "h", seconds / 60 % 60, "m"),
        28_800..172_800 => format!("{}h", seconds / 3600),
        172_800..691_200 => pair(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_in_kubectl() {
        let now = Timestamp::from_second(10_000_000).unwrap();
        let before = |s: i64| age(Timestamp::from_second(10_000_000 - s).unwrap(), now);
        let seen: Vec<String> = [0, 119, 200, 120, 3000, 10_860, 100_000, 180_000, 900_000].map(before).to_vec();
        assert_eq!(seen, ["0s", "119s", "3m20s", "2m", "50m", "3h1m", "27h", "2d2h", "10d"]);
    }
}
