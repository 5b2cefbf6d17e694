//! A manifest against the CRD's own schema: fields that are not there, wrong types, missing fields, words, durations. What a value must
//! be beyond that is for [`crate::plan::Plan::parse`], which knows the neighbours.

use serde_json::{Map, Value};

use crate::plan::{Fault, read_span};

/// Checks a value. What cannot be read is taken out, or if it must be there, replaced by something of its kind: so the rest can be read,
/// and all faults be reported at once.
pub(super) fn check(path: &str, schema: &Value, value: &mut Value, faults: &mut Vec<Fault>) {
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    let wanted = schema.get("type").and_then(Value::as_str).unwrap_or("object");
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        // 5.0 is an integer for the API server, but not for our reader.
        "integer" => value.is_i64() || value.is_u64(),
        _ => value.is_number(),
    };
    if !fits {
        let fix = match wanted {
            "string" if !value.is_null() => "must be a text: put it in quotes".into(),
            _ => format!("must be {}", called(wanted)),
        };
        faults.push(Fault::new(path, format!("is {}", said(value)), fix));
        return;
    }
    match value {
        Value::Object(fields) => object(path, schema, fields, faults),
        Value::Array(items) => {
            let none = Value::Null;
            let schema = schema.get("items").unwrap_or(&none);
            for (i, item) in items.iter_mut().enumerate() {
                check(&format!("{path}[{i}]"), schema, item, faults);
            }
        }
        Value::String(text) => string(path, schema, text, faults),
        _ => {}
    }
}

fn object(path: &str, schema: &Value, fields: &mut Map<String, Value>, faults: &mut Vec<Fault>) {
    let Some(Value::Object(known)) = schema.get("properties") else {
        return if let Some(each) = schema.get("additionalProperties") {
            entries(path, each, fields, faults)
        };
    };
    let required: Vec<&str> = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for name in &required {
        if !fields.contains_key(*name) {
            faults.push(Fault::new(join(path, name), "is missing", "it has no default"));
            if let Some(schema) = known.get(*name) {
                fields.insert((*name).to_owned(), stand_in(schema));
            }
        }
    }
    let names: Vec<String> = fields.keys().cloned().collect();
    for name in names {
        let field = join(path, &name);
        let Some(schema) = known.get(&name) else {
            let fix = match nearest(&name, known.keys()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("there are {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
            };
            faults.push(Fault::new(field, "is not a field", fix));
            fields.remove(&name);
            continue;
        };
        // For the API server as for our reader: not there.
        let nullable = schema.get("nullable") == Some(&Value::Bool(true));
        if nullable && fields.get(&name) == Some(&Value::Null) {
            fields.remove(&name);
            continue;
        }
        let before = faults.len();
        if let Some(value) = fields.get_mut(&name) {
            check(&field, schema, value, faults);
        }
        // A value that cannot be read would hide the faults of its neighbours.
        let broken = faults.iter().skip(before).any(|fault| fault.path == field && !fault.message.starts_with("is not a field"));
        if broken {
            fields.remove(&name);
            if required.contains(&name.as_str()) {
                fields.insert(name, stand_in(schema));
            }
        }
    }
}

/// Values under names that the user chose.
fn entries(path: &str, each: &Value, fields: &mut Map<String, Value>, faults: &mut Vec<Fault>) {
    let names: Vec<String> = fields.keys().cloned().collect();
    for name in names {
        let (field, before) = (join(path, &name), faults.len());
        if let Some(value) = fields.get_mut(&name) {
            check(&field, each, value, faults);
        }
        if faults.iter().skip(before).any(|fault| fault.path == field) {
            fields.remove(&name);
        }
    }
}

/// A value of the right kind, to read its neighbours by.
fn stand_in(schema: &Value) -> Value {
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let field = |name: &str| Some((name.to_owned(), stand_in(schema.get("properties")?.get(name)?)));
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => Value::Array(Vec::new()),
        Some("string") => "x".into(),
        Some("boolean") => false.into(),
        Some("integer" | "number") => 1.into(),
        _ => Value::Object(required.filter_map(field).collect()),
    }
}

fn string(path: &str, schema: &Value, text: &str, faults: &mut Vec<Fault>) {
    if let Some(Value::Array(words)) = schema.get("enum") {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        if !words.contains(&text) {
            let fix = match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
                Some(word) => format!("write {word}"),
                None => format!("must be one of {}", words.join(", ")),
            };
            faults.push(Fault::new(path, format!("is \"{text}\""), fix));
        }
    }
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
    let duration = rules.filter_map(|rule| rule.get("rule")?.as_str()).any(|rule| rule.starts_with("duration(self)"));
    if duration && read_span(text).is_none() {
        faults.push(Fault::new(path, format!("\"{text}\" is not a duration"), "write it as 90s, 5m or 1h30m"));
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.into() } else { format!("{path}.{name}") }
}

fn called(kind: &str) -> &'static str {
    match kind {
        "object" => "an object",
        "array" => "a list",
        "string" => "a text",
        "boolean" => "true or false",
        "integer" => "a whole number",
        _ => "a number",
    }
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => "empty".into(),
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "a list".into(),
        value => value.to_string(),
    }
}

/// The field that was meant, if one is near enough.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let (distance, near) = known.map(|known| (edits(&name.to_lowercase(), &known.to_lowercase()), known)).min()?;
    (distance <= 2 && distance < near.len()).then_some(near)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *cell;
            *cell = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_was_meant_is_found() {
        let known: Vec<String> = ["weights", "hold", "deadline"].map(str::to_owned).into();
        assert_eq!(nearest("weigths", known.iter()).map(String::as_str), Some("weights"));
        assert_eq!(nearest("Deadline", known.iter()).map(String::as_str), Some("deadline"));
        assert_eq!(nearest("colour", known.iter()), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
