//! Label and field selectors.

use serde_json::Value;

use super::answer::Refusal;
use crate::sim::kinds::Kind;

/// Which objects are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Reads `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// 400 for what cannot be read, and for fields that cannot be selected by.
    pub(super) fn parse(kind: &Kind, labels: Option<&str>, fields: Option<&str>, name: &str) -> Result<Self, Refusal> {
        let labels = terms(labels.unwrap_or_default()).iter().map(|t| requirement(t)).collect::<Result<_, _>>()?;
        let mut found = Vec::new();
        for term in fields.unwrap_or_default().split(',').filter(|t| !t.is_empty()) {
            let (key, equal, value) = term
                .split_once("!=")
                .map(|(k, v)| (k, false, v))
                .or_else(|| term.split_once("==").or_else(|| term.split_once('=')).map(|(k, v)| (k, true, v)))
                .ok_or_else(|| Refusal::bad_request(format!("invalid selector: '{term}'; can't understand '{term}'")))?;
            if !known(kind, key) {
                let message = if kind.custom {
                    format!("field label not supported: {key}")
                } else {
                    format!("\"{key}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
                };
                return Err(Refusal::bad_request(message));
            }
            found.push((key.to_owned(), equal, value.to_owned()));
        }
        if !name.is_empty() {
            found.push(("metadata.name".into(), true, name.to_owned()));
        }
        Ok(Self { labels, fields: found })
    }

    /// Whether an object, as it is stored, is wanted.
    pub(super) fn matches(&self, object: &Value) -> bool {
        let field = |path: &str| {
            let path = path.replace("regarding.", "involvedObject.");
            let found = path.split('.').try_fold(object, |at, key| at.get(key));
            found.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default()
        };
        let label = |key: &str| object.pointer("/metadata/labels").and_then(|l| l.get(key)).and_then(Value::as_str);
        self.fields.iter().all(|(path, equal, value)| (field(path) == *value) == *equal)
            && self.labels.iter().all(|r| match (&r.rule, label(&r.key)) {
                (Rule::In(values), Some(found)) => values.iter().any(|v| v == found),
                (Rule::NotIn(values), Some(found)) => values.iter().all(|v| v != found),
                (Rule::Exists, found) => found.is_some(),
                (Rule::Absent, found) => found.is_none(),
                (Rule::In(_), None) => false,
                (Rule::NotIn(_), None) => true,
            })
    }
}

fn known(kind: &Kind, field: &str) -> bool {
    match field {
        "metadata.name" => true,
        "metadata.namespace" => kind.namespaced,
        "spec.nodeName" | "status.phase" | "status.podIP" => kind.kind == "Pod",
        "reason" | "type" => kind.kind == "Event",
        other => kind.kind == "Event" && (other.starts_with("involvedObject.") || other.starts_with("regarding.")),
    }
}

/// Splits at commas outside of parentheses.
fn terms(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut depth = 0_i32;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        match (c, found.last_mut()) {
            (',', _) if depth == 0 => found.push(String::new()),
            (c, Some(last)) => last.push(c),
            _ => {}
        }
    }
    found.into_iter().map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect()
}

fn requirement(term: &str) -> Result<Requirement, Refusal> {
    let unreadable = || Refusal::bad_request(format!("unable to parse requirement: found '{term}', expected: identifier"));
    let made = |key: &str, rule| {
        let key = key.trim().to_owned();
        if key.is_empty() || key.contains(' ') { Err(unreadable()) } else { Ok(Requirement { key, rule }) }
    };
    if let Some((head, list)) = term.strip_suffix(')').and_then(|t| t.split_once('(')) {
        let values: Vec<String> = list.split(',').map(|v| v.trim().to_owned()).collect();
        return match head.trim().rsplit_once(' ') {
            Some((key, "in")) => made(key, Rule::In(values)),
            Some((key, "notin")) => made(key, Rule::NotIn(values)),
            _ => Err(unreadable()),
        };
    }
    if let Some(key) = term.strip_prefix('!') {
        return made(key, Rule::Absent);
    }
    if let Some((key, value)) = term.split_once("!=") {
        return made(key, Rule::NotIn(vec![value.trim().to_owned()]));
    }
    match term.split_once("==").or_else(|| term.split_once('=')) {
        Some((key, value)) => made(key, Rule::In(vec![value.trim().to_owned()])),
        None => made(term, Rule::Exists),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn picks(labels: &str) -> bool {
        let pods = Kind::named("pods").unwrap();
        let object = json!({"metadata": {"name": "a", "labels": {"version": "v1", "app": "fraud"}}});
        Selector::parse(pods, Some(labels), None, "").unwrap().matches(&object)
    }

    #[test]
    fn label_selectors_read_as_kubectl_writes_them() {
        for wanted in ["app=fraud", "app==fraud,version!=v2", "version in (v1,v2)", "version notin (v3), app", "!missing", "missing!=x"] {
            assert!(picks(wanted), "{wanted}");
        }
        for unwanted in ["app=other", "version notin (v1)", "!app", "missing", "missing in (a)"] {
            assert!(!picks(unwanted), "{unwanted}");
        }
    }

    #[test]
    fn fields_that_cannot_be_selected_by_are_refused() {
        let rollouts = Kind::named("rollouts.haldane.dev").unwrap();
        let refused = Selector::parse(rollouts, None, Some("spec.paused=true"), "").unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (400, "field label not supported: spec.paused"));
    }
}
