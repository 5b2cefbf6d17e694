//! Whether a query asks for series and labels that somebody emits: haldane at `/metrics`, or Istio's proxies.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use haldane::{
    api::{Outcome, Reason, RolloutStatus},
    link::{Age, Key},
    metrics::Metrics,
};
use regex::Regex;
use serde_json::json;

/// Labels that a scrape or a server adds.
const ADDED: [&str; 2] = ["cluster", "instance"];
/// Labels of Istio's standard metrics that are not those of one protocol.
const ISTIO: [&str; 16] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_app",
    "source_version",
    "destination_workload",
    "destination_workload_namespace",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "response_code",
    "response_flags",
    "connection_security_policy",
];

/// Series by name, with their labels.
pub(crate) fn emitted() -> BTreeMap<String, BTreeSet<String>> {
    let text = filled().encode();
    let mut series: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let label = Regex::new(r#"(\w+)="#).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').unwrap_or_else(|| (line.split(' ').next().unwrap(), ""));
        let labels = label.captures_iter(labels).map(|found| found[1].to_owned());
        series.entry(name.to_owned()).or_default().extend(labels);
    }
    let istio: BTreeSet<String> = ISTIO.map(str::to_owned).into();
    for (name, more) in [("istio_requests_total", None), ("istio_request_duration_milliseconds_bucket", Some("le".to_owned()))] {
        series.insert(name.to_owned(), istio.iter().cloned().chain(more).collect());
    }
    for labels in series.values_mut() {
        labels.extend(ADDED.map(str::to_owned));
    }
    series
}

/// Metrics of which each has a series.
fn filled() -> Metrics {
    let metrics = Metrics::new();
    let arm = json!({"value": 1.0, "text": "", "n": 1});
    let evidence = json!({"metric": "errorRate", "verdict": "Pass", "message": "", "stable": arm, "canary": arm, "limit": 1.0, "failEvidence": 1.0, "failAt": 1.0});
    let condition = json!({"type": "Paused", "status": "True", "reason": "ApprovalRequired", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status: RolloutStatus = serde_json::from_value(json!({"evidence": [evidence], "conditions": [condition]})).unwrap();
    metrics.rollout("ml", "fraud", &status);
    metrics.ended(Outcome::RolledBack, &Reason::AnalysisFailed.into(), 1);
    metrics.watches(&[Age { key: Key { resource: "pods".into(), namespace: "ml".into() }, age: Duration::ZERO }]);
    metrics.notified("oncall", true);
    metrics.event(true);
    metrics.sourced("default", Some("Timeout"));
    metrics.queried("default", [Duration::ZERO; 2], Some("Timeout"));
    metrics.reconciled(Duration::ZERO, true);
    metrics
}

/// What a query asks for that nobody emits.
pub(crate) fn unknown(expr: &str, emitted: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let found = |pattern: &str, text: &str| -> Vec<(String, String)> {
        let captures = Regex::new(pattern).unwrap();
        let group = |found: &regex::Captures<'_>, n: usize| found.get(n).map_or_else(String::new, |text| text.as_str().to_owned());
        captures.captures_iter(text).map(|one| (group(&one, 1), group(&one, 2))).collect()
    };
    let unquoted = Regex::new(r#""[^"]*""#).unwrap().replace_all(expr, "\"\"");
    let mut wrong = Vec::new();
    let mut possible = BTreeSet::new();
    for (name, matchers) in found(r"\b([a-z]+_[a-z_]+)\b(?:\{([^}]*)\})?", &without_groups(&unquoted)) {
        if unquoted.contains(&format!("{name}(")) {
            continue; // a function
        }
        let Some(labels) = emitted.get(&name) else {
            wrong.push(name);
            continue;
        };
        possible.extend(labels.iter().cloned());
        wrong.extend(found(r#"(\w+)\s*[=!]"#, &matchers).into_iter().map(|(label, _)| label).filter(|label| !labels.contains(label)));
    }
    for (_, grouped) in found(r"\b(by|on|without|ignoring) \(([^)]*)\)", &unquoted) {
        wrong.extend(grouped.split(',').map(|label| label.trim().to_owned()).filter(|label| !possible.contains(label)));
    }
    wrong
}

/// A query without its lists of labels.
fn without_groups(expr: &str) -> String {
    Regex::new(r"\b(by|on|without|ignoring) \([^)]*\)").unwrap().replace_all(expr, "").into_owned()
}
