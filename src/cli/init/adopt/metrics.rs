//! Metrics of another controller as `spec.analysis`. Pure.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Map, Value, json};

use crate::{
    plan::{Plan, read_span},
    words::span,
};

/// Most metrics of a plan.
const MOST: usize = 10;
/// Longest `for` of a threshold.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A query with its limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) query: String,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    /// For how long it must be beyond the limit.
    pub(super) lasting: Option<Duration>,
    /// It returns the traffic, where it otherwise asks a person.
    pub(super) rolls_back: bool,
    /// It is shown and decides nothing.
    pub(super) shown_only: bool,
}

/// Metrics as they are found.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    thresholds: Vec<Value>,
    names: BTreeSet<String>,
    /// Nothing is judged: the holds alone decide.
    none: bool,
    /// What has no equivalent, and what to use in its place.
    pub(super) lost: Vec<String>,
    pub(super) questions: Vec<String>,
}

impl Metrics {
    /// Metrics of an analysis that is not skipped.
    pub(super) fn unless(skipped: bool) -> Self {
        Self { none: skipped, ..Self::default() }
    }

    /// Whether nothing is judged.
    pub(super) fn is_skipped(&self) -> bool {
        self.none
    }

    /// Adds a threshold, or says why it cannot be one.
    pub(super) fn limit(&mut self, limit: Limit) {
        let name = self.free(&limit.name);
        let mut threshold = Map::new();
        threshold.insert("query".into(), limit.query.trim().into());
        for (field, value) in [("min", limit.min), ("max", limit.max)] {
            if let Some(value) = value {
                threshold.insert(field.into(), whole(value));
            }
        }
        if let Some(lasting) = limit.lasting {
            threshold.insert("for".into(), span(lasting.min(LONGEST)).into());
        }
        if limit.rolls_back && !limit.shown_only {
            threshold.insert("action".into(), "Rollback".into());
        }
        let mut metric = json!({"name": name, "threshold": threshold});
        if let (true, Some(metric)) = (limit.shown_only, metric.as_object_mut()) {
            metric.insert("gate".into(), false.into());
        }
        match faults(&metric) {
            Some(fault) => {
                self.lost.push(format!("Metric {}: its query is no threshold as it stands ({fault}). Write it by hand.", limit.name))
            }
            None if self.thresholds.len() + 2 >= MOST => {
                self.lost.push(format!("Metric {}: a plan has at most {MOST} metrics, errorRate and latency among them.", limit.name));
            }
            None => {
                if !limit.query.contains("{{canary") {
                    self.questions.push(format!(
                        "How does the query of {name} find the canary? It names neither version: a matcher such as pod=~\"{{{{canaryPods}}}}\" is missing."
                    ));
                }
                self.names.insert(name);
                self.thresholds.push(metric);
            }
        }
    }

    /// `spec.analysis`, where the defaults are not enough.
    pub(super) fn analysis(&self) -> Option<Value> {
        if self.none {
            return Some(json!({"metrics": []}));
        }
        let usual = [json!({"errorRate": {}}), json!({"latency": {}})];
        let metrics: Vec<&Value> = usual.iter().chain(&self.thresholds).collect();
        (!self.thresholds.is_empty()).then(|| json!({ "metrics": metrics }))
    }

    /// A name that a metric may have, and that none has yet.
    fn free(&self, name: &str) -> String {
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' }).collect();
        let plain = plain.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let plain = if plain.starts_with(|c: char| c.is_ascii_alphabetic()) { plain.to_owned() } else { format!("metric-{plain}") };
        let plain = plain.get(..plain.len().min(58)).unwrap_or_default().trim_end_matches(['.', '_', '-']).to_owned();
        let taken = |name: &String| self.names.contains(name) || matches!(name.as_str(), "errorRate" | "latency");
        let mut number = 1;
        let mut free = plain.clone();
        while taken(&free) {
            number += 1;
            free = format!("{plain}-{number}");
        }
        free
    }
}

/// A number as people write it: 99, not 99.0.
fn whole(value: f64) -> Value {
    serde_json::from_str(&value.to_string()).unwrap_or_else(|_| value.into())
}

/// What a plan with this metric alone has against it.
fn faults(metric: &Value) -> Option<String> {
    let spec = json!({"traffic": {"virtualService": "x"}, "canary": {"subset": "x"}, "strategy": {"canary": {}}, "analysis": {"metrics": [metric]}});
    let spec = match serde_json::from_value(spec) {
        Ok(spec) => spec,
        Err(error) => return Some(error.to_string()),
    };
    let faults = Plan::parse(&spec).err()?;
    Some(faults.0.iter().map(|fault| format!("it {}", fault.message)).collect::<Vec<_>>().join("; "))
}

/// A duration of Go, or a number of seconds.
pub(super) fn duration(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok().or_else(|| read_span(text.trim()))?,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_with_a_limit_stands_beside_the_comparison_with_stable() {
        let mut metrics = Metrics::default();
        assert_eq!(metrics.analysis(), None, "the defaults are enough");
        let query = "sum(rate(x{pod=~\"{{canaryPods}}\"}[1m]))".to_owned();
        let limit = Limit {
            name: "success rate".into(),
            query,
            min: Some(99.0),
            rolls_back: true,
            lasting: Some(Duration::from_secs(300)),
            ..Limit::default()
        };
        metrics.limit(limit.clone());
        metrics.limit(Limit { max: Some(0.5), min: None, shown_only: true, lasting: None, ..limit });
        let analysis = metrics.analysis().unwrap();
        let names: Vec<&Value> = analysis["metrics"].as_array().unwrap().iter().map(|metric| &metric["name"]).collect();
        assert_eq!(names, [&Value::Null, &Value::Null, &json!("success-rate"), &json!("success-rate-2")]);
        assert_eq!(analysis["metrics"][2]["threshold"]["min"], json!(99));
        assert_eq!(
            (&analysis["metrics"][2]["threshold"]["for"], &analysis["metrics"][2]["threshold"]["action"]),
            (&json!("5m"), &json!("Rollback"))
        );
        assert_eq!((&analysis["metrics"][3]["gate"], &analysis["metrics"][3]["threshold"]["action"]), (&json!(false), &Value::Null));
        assert!(metrics.lost.is_empty() && metrics.questions.is_empty());
    }

    #[test]
    fn a_query_that_cannot_be_one_is_named_and_one_without_the_canary_is_asked_about() {
        let mut metrics = Metrics::default();
        metrics.limit(Limit { name: "odd".into(), query: "{{ .Target }}".into(), max: Some(1.0), ..Limit::default() });
        metrics.limit(Limit { name: "both".into(), query: "vector(1)".into(), max: Some(2.0), ..Limit::default() });
        assert!(metrics.lost.len() == 1 && metrics.lost[0].starts_with("Metric odd: "), "{:?}", metrics.lost);
        assert!(metrics.questions.len() == 1 && metrics.questions[0].contains("the query of both"), "{:?}", metrics.questions);
    }

    #[test]
    fn durations_are_of_go_or_in_seconds() {
        for (value, seconds) in [(json!("5m"), 300), (json!(30), 30), (json!("45"), 45), (json!("1h30m"), 5400)] {
            assert_eq!(duration(&value), Some(Duration::from_secs(seconds)), "{value}");
        }
        assert_eq!((duration(&json!("soon")), duration(&json!(null))), (None, None));
    }
}
