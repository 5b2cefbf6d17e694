//! Rules that CustomResourceDefinitions of others state in CEL, for the objects that a rollout patches. Those of our own are repeated by
//! `Plan::parse`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::answer::Cause;
use crate::sim::kinds::Kind;

/// Matches that all rules of a route may have together.
const MATCHES: usize = 128;

/// What the rules of an HTTPRoute or a GRPCRoute forbid.
pub(super) fn faults(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut found = Vec::new();
    if !matches!(kind.kind, "HTTPRoute" | "GRPCRoute") {
        return found;
    }
    let rules = entries(object.pointer("/spec/rules"));
    let mut names = BTreeSet::new();
    if !rules.iter().filter_map(|rule| rule["name"].as_str()).all(|name| names.insert(name)) {
        found.push(cause("spec.rules".into(), "Rule name must be unique within the route"));
    }
    if rules.iter().map(|rule| entries(rule.get("matches")).len()).sum::<usize>() > MATCHES {
        let why = "While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a route must be \
                   less than 128";
        found.push(cause("spec.rules".into(), why));
    }
    for (index, rule) in rules.iter().enumerate() {
        about_rule(rule, &format!("spec.rules[{index}]"), &mut found);
    }
    found
}

fn about_rule(rule: &Value, at: &str, found: &mut Vec<Cause>) {
    let (refs, filters) = (entries(rule.get("backendRefs")), entries(rule.get("filters")));
    if !refs.is_empty() && filters.iter().any(|filter| filter.get("requestRedirect").is_some()) {
        found.push(cause(at.to_owned(), "RequestRedirect filter must not be used together with backendRefs"));
    }
    for (index, backend) in refs.iter().enumerate() {
        needs_port(backend, &format!("{at}.backendRefs[{index}]"), found);
    }
    for (index, filter) in filters.iter().enumerate() {
        about_mirror(filter, &format!("{at}.filters[{index}]"), found);
    }
    for (index, one) in entries(rule.get("matches")).iter().enumerate() {
        let at = format!("{at}.matches[{index}]");
        let path = &one["path"];
        if matches!(path["type"].as_str(), Some("Exact" | "PathPrefix"))
            && !path["value"].as_str().is_some_and(|text| text.starts_with('/'))
        {
            let why = "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']";
            found.push(cause(format!("{at}.path"), why));
        }
        let method = &one["method"];
        if method.is_object() && method.get("service").is_none() && method.get("method").is_none() {
            found.push(cause(format!("{at}.method"), "One or both of 'service' or 'method' must be specified"));
        }
    }
}

fn about_mirror(filter: &Value, at: &str, found: &mut Vec<Cause>) {
    let Some(mirror) = filter.get("requestMirror") else {
        if filter["type"] == "RequestMirror" {
            found.push(cause(at.to_owned(), "filter.requestMirror must be specified for RequestMirror filter.type"));
        }
        return;
    };
    if filter["type"] != "RequestMirror" {
        found.push(cause(at.to_owned(), "filter.requestMirror must be nil if the filter.type is not RequestMirror"));
    }
    let at = format!("{at}.requestMirror");
    let fraction = &mirror["fraction"];
    if fraction.is_object() && mirror.get("percent").is_some() {
        found.push(cause(at.clone(), "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter"));
    }
    needs_port(&mirror["backendRef"], &format!("{at}.backendRef"), found);
    if fraction["numerator"].as_i64() > fraction["denominator"].as_i64() {
        found.push(cause(format!("{at}.fraction"), "numerator must be less than or equal to denominator"));
    }
}

fn needs_port(backend: &Value, at: &str, found: &mut Vec<Cause>) {
    if backend["group"] == "" && backend["kind"] == "Service" && backend.get("port").is_none() {
        found.push(cause(at.to_owned(), "Must have port for Service reference"));
    }
}

fn entries(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn cause(field: String, why: &str) -> Cause {
    Cause { reason: "FieldValueInvalid", message: format!("Invalid value: {why}"), field }
}
