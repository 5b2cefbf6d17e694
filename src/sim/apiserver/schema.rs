//! Structural schemas: prune what is unknown, set defaults, say what is wrong. CEL rules are not evaluated here; `Plan::parse` repeats them.

use serde_json::{Map, Value};

use super::answer::Cause;

/// Removes fields that the schema does not know; their paths are returned.
pub(super) fn prune(schema: &Value, value: &mut Value) -> Vec<String> {
    let mut dropped = Vec::new();
    prune_at(schema, value, "", &mut dropped);
    dropped
}

fn prune_at(schema: &Value, value: &mut Value, path: &str, dropped: &mut Vec<String>) {
    if flag(schema, "x-kubernetes-preserve-unknown-fields") {
        return;
    }
    match value {
        Value::Object(map) => {
            let (known, others) = (schema.get("properties").and_then(Value::as_object), schema.get("additionalProperties"));
            if known.is_none() && others.is_none() && path.is_empty() {
                return;
            }
            map.retain(|key, _| {
                let root = path.is_empty() && matches!(key.as_str(), "apiVersion" | "kind" | "metadata");
                let keep = root || known.is_some_and(|k| k.contains_key(key)) || others.is_some_and(|o| *o != Value::Bool(false));
                if !keep {
                    dropped.push(join(path, key));
                }
                keep
            });
            for (key, below) in map.iter_mut() {
                if path.is_empty() && key == "metadata" {
                    continue;
                }
                if let Some(schema) = known.and_then(|k| k.get(key)).or(others) {
                    prune_at(schema, below, &join(path, key), dropped);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter_mut().enumerate() {
                    prune_at(schema, item, &format!("{path}[{index}]"), dropped);
                }
            }
        }
        _ => {}
    }
}

/// Sets defaults of fields that are absent.
pub(super) fn set_defaults(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let Some(known) = schema.get("properties").and_then(Value::as_object) else { return };
            for (key, below) in known {
                if let (None, Some(default)) = (map.get(key), below.get("default")) {
                    map.insert(key.clone(), default.clone());
                }
                if let Some(present) = map.get_mut(key) {
                    set_defaults(below, present);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| set_defaults(schema, item));
            }
        }
        _ => {}
    }
}

/// What is wrong with a value, in the words of the API server.
pub(super) fn faults(schema: &Value, value: &Value) -> Vec<Cause> {
    let mut found = Vec::new();
    check(schema, value, "", &mut found);
    found
}

fn check(schema: &Value, value: &Value, path: &str, found: &mut Vec<Cause>) {
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    if let Some(wanted) = schema.get("type").and_then(Value::as_str)
        && !is_of(value, wanted)
    {
        let is = kind_of(value);
        let message = format!("Invalid value: {is:?}: {path} in body must be of type {wanted}: {is:?}");
        return found.push(Cause { reason: "FieldValueTypeInvalid", message, field: path.to_owned() });
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
        let message = format!("Unsupported value: {}: supported values: {}", shown(value), list.join(", "));
        found.push(Cause { reason: "FieldValueNotSupported", message, field: path.to_owned() });
    }
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if let Some(low) = bound("minimum").filter(|low| number < *low) {
                found.push(invalid(path, &shown(value), format!("{path} in body should be greater than or equal to {low}")));
            }
            if let Some(high) = bound("maximum").filter(|high| number > *high) {
                found.push(invalid(path, &shown(value), format!("{path} in body should be less than or equal to {high}")));
            }
        }
        Value::String(text) => check_text(schema, text, path, found),
        Value::Array(items) => {
            let count = items.len() as f64;
            if let Some(low) = bound("minItems").filter(|low| count < *low) {
                found.push(invalid(path, &count.to_string(), format!("{path} in body should have at least {low} items")));
            }
            if let Some(high) = bound("maxItems").filter(|high| count > *high) {
                let message = format!("Too many: {count}: must have at most {high} items");
                found.push(Cause { reason: "FieldValueTooMany", message, field: path.to_owned() });
            }
            if let Some(below) = schema.get("items") {
                items.iter().enumerate().for_each(|(index, item)| check(below, item, &format!("{path}[{index}]"), found));
            }
            check_keys(schema, items, path, found);
        }
        Value::Object(map) => check_object(schema, map, path, found),
        _ => {}
    }
}

/// A list that is a map has no two entries with the same keys.
fn check_keys(schema: &Value, items: &[Value], path: &str, found: &mut Vec<Cause>) {
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let of = |item: &Value| -> Map<String, Value> { keys.iter().map(|key| ((*key).to_owned(), item[*key].clone())).collect() };
    let mut known = Vec::new();
    for (index, item) in items.iter().enumerate().filter(|_| !keys.is_empty()) {
        let key = of(item);
        if known.contains(&key) {
            let message = format!("Duplicate value: {}", Value::Object(key));
            found.push(Cause { reason: "FieldValueDuplicate", message, field: format!("{path}[{index}]") });
        } else {
            known.push(key);
        }
    }
}

fn check_text(schema: &Value, text: &str, path: &str, found: &mut Vec<Cause>) {
    let (length, bound) = (text.chars().count() as u64, |name: &str| schema.get(name).and_then(Value::as_u64));
    if let Some(low) = bound("minLength").filter(|low| length < *low) {
        found.push(invalid(path, &format!("{text:?}"), format!("{path} in body should be at least {low} chars long")));
    }
    if let Some(high) = bound("maxLength").filter(|high| length > *high) {
        let message = format!("Too long: may not be more than {high} bytes");
        found.push(Cause { reason: "FieldValueTooLong", message, field: path.to_owned() });
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && regex::Regex::new(pattern).is_ok_and(|r| !r.is_match(text))
    {
        found.push(invalid(path, &format!("{text:?}"), format!("{path} in body should match '{pattern}'")));
    }
    if schema.get("format").and_then(Value::as_str) == Some("date-time") && text.parse::<jiff::Timestamp>().is_err() {
        found.push(invalid(path, &format!("{text:?}"), format!("{path} in body must be of type date-time: {text:?}")));
    }
}

fn check_object(schema: &Value, map: &Map<String, Value>, path: &str, found: &mut Vec<Cause>) {
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(name) {
            found.push(Cause { reason: "FieldValueRequired", message: "Required value".into(), field: join(path, name) });
        }
    }
    let (count, bound) = (map.len() as u64, |name: &str| schema.get(name).and_then(Value::as_u64));
    if let Some(low) = bound("minProperties").filter(|low| count < *low) {
        found.push(invalid(path, &count.to_string(), format!("{path} in body should have at least {low} properties")));
    }
    if let Some(high) = bound("maxProperties").filter(|high| count > *high) {
        let message = format!("Too many: {count}: must have at most {high} items");
        found.push(Cause { reason: "FieldValueTooMany", message, field: path.to_owned() });
    }
    let known = schema.get("properties").and_then(Value::as_object);
    for (key, value) in map.iter().filter(|(key, _)| !(path.is_empty() && *key == "metadata")) {
        if let Some(below) = known.and_then(|k| k.get(key)).or_else(|| schema.get("additionalProperties")) {
            check(below, value, &join(path, key), found);
        }
    }
}

fn invalid(path: &str, value: &str, message: String) -> Cause {
    Cause { reason: "FieldValueInvalid", message: format!("Invalid value: {value}: {message}"), field: path.to_owned() }
}

fn is_of(value: &Value, wanted: &str) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0),
        "number" => value.is_number(),
        _ => true,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value as it is quoted in a refusal: JSON types by name.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "\"null\"".into(),
        Value::Bool(_) => "\"boolean\"".into(),
        Value::Object(_) => "\"object\"".into(),
        Value::Array(_) => "\"array\"".into(),
        other => other.to_string(),
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
