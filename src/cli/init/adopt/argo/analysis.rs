//! AnalysisTemplates as metrics of ours. Pure.

#![allow(clippy::indexing_slicing, reason = "what is indexed is JSON: a name that is not there answers null")]

use std::{collections::BTreeMap, time::Duration};

use regex::Regex;
use serde_json::Value;

use super::super::{
    super::model::{There, named},
    condition::{self, Range},
    metrics::{Limit, Metrics, duration},
};

/// How deep templates may name templates.
const DEPTH: usize = 4;

/// What an analysis takes, beside its metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Analysis {
    /// The longest of its metrics, as far as the templates say it.
    pub(super) lasts: Duration,
    /// What it waits before its first look.
    pub(super) delay: Option<Duration>,
}

/// The metrics of an analysis of a Rollout.
pub(super) fn read(there: There<'_>, rollout: &Value, analysis: &Value, metrics: &mut Metrics) -> Analysis {
    let mut read = Reading { there, rollout, analysis, metrics, found: Analysis::default() };
    read.templates(&analysis["templates"], DEPTH);
    read.found
}

struct Reading<'a> {
    there: There<'a>,
    rollout: &'a Value,
    analysis: &'a Value,
    metrics: &'a mut Metrics,
    found: Analysis,
}

impl Reading<'_> {
    fn templates(&mut self, templates: &Value, depth: usize) {
        for reference in templates.as_array().into_iter().flatten() {
            let name = reference["templateName"].as_str().unwrap_or_default();
            let kind = if reference["clusterScope"] == true { "ClusterAnalysisTemplate" } else { "AnalysisTemplate" };
            // A template of the cluster has no namespace.
            let there = There { namespace: self.there.namespace.filter(|_| kind == "AnalysisTemplate"), ..self.there };
            let Some(template) = there.find(kind, name) else {
                self.metrics.lost.push(format!("{kind} {name} was not read: give its file with -f too."));
                continue;
            };
            if depth > 0 {
                self.templates(&template["spec"]["templates"], depth - 1);
            }
            for metric in template["spec"]["metrics"].as_array().into_iter().flatten() {
                self.metric(template, metric);
            }
        }
    }

    fn metric(&mut self, template: &Value, metric: &Value) {
        let name = metric["name"].as_str().unwrap_or_default();
        let provider = metric["provider"].as_object().and_then(|provider| provider.keys().next()).map_or("none", String::as_str);
        let interval = duration(&metric["interval"]);
        let count = metric["count"].as_u64().or_else(|| metric["count"].as_str().and_then(|count| count.parse().ok()));
        if let Some(interval) = interval {
            let times = u32::try_from(count.unwrap_or(1).clamp(1, 10_000)).unwrap_or(1);
            self.found.lasts = self.found.lasts.max(interval.saturating_mul(times));
        }
        self.found.delay = self.found.delay.max(duration(&metric["initialDelay"]));
        if provider != "prometheus" {
            self.metrics.lost.push(format!("Metric {name} of {}: {}.", named(template), instead(provider)));
            return;
        }
        let prometheus = &metric["provider"]["prometheus"];
        if prometheus["rangeQuery"].is_object() {
            self.metrics.lost.push(format!("Metric {name}: a range query; a threshold looks at one value at the end of each window."));
            return;
        }
        let Some(query) = self.query(template, name, prometheus["query"].as_str().unwrap_or_default()) else { return };
        let dry =
            self.analysis["dryRun"].as_array().into_iter().flatten().chain(template["spec"]["dryRun"].as_array().into_iter().flatten());
        let dry = dry.filter_map(|dry| dry["metricName"].as_str());
        let shown_only = dry.filter_map(|pattern| Regex::new(&format!("^(?:{pattern})$")).ok()).any(|pattern| pattern.is_match(name));
        let failures =
            metric["failureLimit"].as_i64().or_else(|| metric["failureLimit"].as_str().and_then(|limit| limit.parse().ok())).unwrap_or(0);
        // So many looks may fail before it aborts there.
        let lasting = interval.map(|interval| interval.saturating_mul(u32::try_from(failures.clamp(0, 1000)).unwrap_or(0)));
        let limit = |range: Range, rolls_back: bool| Limit {
            name: name.to_owned(),
            query: query.clone(),
            min: range.min,
            max: range.max,
            lasting,
            rolls_back,
            shown_only: shown_only || failures < 0,
        };
        let conditions = [("successCondition", condition::success as fn(&str) -> Option<Range>), ("failureCondition", condition::failure)];
        let mut read: Vec<(&str, Option<Range>, &str)> = Vec::new();
        for (field, parse) in conditions {
            if let Some(text) = metric[field].as_str().filter(|text| !text.trim().is_empty()) {
                read.push((field, parse(text), text));
            }
        }
        if read.is_empty() {
            self.metrics
                .lost
                .push(format!("Metric {name}: it has no condition, so every value is a success there. A threshold needs min or max."));
        }
        let two = read.iter().filter(|(_, range, _)| range.is_some()).count() == 2;
        for (field, range, text) in read {
            match range {
                None => self
                    .metrics
                    .lost
                    .push(format!("Metric {name}: {field} `{text}` cannot be said with min and max as it stands. Write them by hand.")),
                Some(range) => {
                    if range.of_missing {
                        self.metrics.lost.push(format!(
                            "Metric {name}: what {field} says of a missing value. No value decides nothing here: the step waits."
                        ));
                    }
                    // Between the two conditions it is inconclusive there, and waits for a person.
                    self.metrics.limit(limit(range, field == "failureCondition" || !two));
                }
            }
        }
        if let Some(address) = prometheus["address"].as_str() {
            let line = format!(
                "Queries go to the provider `default` of the controller's configuration. Is that {address}? Users name a provider, never an address."
            );
            if !self.metrics.questions.contains(&line) {
                self.metrics.questions.push(line);
            }
        }
    }

    /// A query with its arguments; the canary's names become placeholders.
    fn query(&mut self, template: &Value, metric: &str, query: &str) -> Option<String> {
        let mut text = query.to_owned();
        for (name, value) in self.args(template) {
            let Ok(pattern) = Regex::new(&format!(r"\{{\{{\s*args\.{}\s*\}}\}}", regex::escape(&name))) else { continue };
            match value {
                Some(value) => text = pattern.replace_all(&text, regex::NoExpand(&value)).into_owned(),
                None if pattern.is_match(&text) => {
                    self.metrics
                        .lost
                        .push(format!("Metric {metric}: its argument {name} has no value that can be read here. Write the query by hand."));
                    return None;
                }
                None => {}
            }
        }
        if text.contains("rollouts_pod_template_hash") {
            self.metrics.questions.push(format!("Metric {metric} asks for the label rollouts_pod_template_hash: pods of a Deployment have pod_template_hash. Is that label scraped?"));
            text = text.replace("rollouts_pod_template_hash", "pod_template_hash");
        }
        let spec = &self.rollout["spec"]["strategy"]["canary"];
        for (service, placeholder) in [(&spec["canaryService"], "{{canarySubset}}"), (&spec["stableService"], "{{stableSubset}}")] {
            text = replaced(&text, r"service[a-z_]*", service.as_str(), placeholder);
        }
        let rollout = self.rollout["metadata"]["name"].as_str();
        Some(replaced(&text, r"workload|deployment|app_kubernetes_io_instance", rollout, "{{canaryWorkload}}"))
    }

    /// Arguments: what the Rollout says comes before what the template says.
    fn args(&self, template: &Value) -> BTreeMap<String, Option<String>> {
        let both = [&template["spec"]["args"], &self.analysis["args"]];
        let all = both.into_iter().flat_map(|args| args.as_array().into_iter().flatten());
        let mut args: BTreeMap<String, Option<String>> = BTreeMap::new();
        for arg in all {
            let Some(name) = arg["name"].as_str() else { continue };
            let from = &arg["valueFrom"];
            let value = match (arg["value"].as_str(), from["podTemplateHashValue"].as_str(), from["fieldRef"]["fieldPath"].as_str()) {
                (Some(value), ..) => Some(value.to_owned()),
                (_, Some("Latest"), _) => Some("{{canaryRevision}}".to_owned()),
                (_, Some("Stable"), _) => Some("{{stableRevision}}".to_owned()),
                (.., Some("metadata.name")) => self.rollout["metadata"]["name"].as_str().map(str::to_owned),
                (.., Some("metadata.namespace")) => Some("{{namespace}}".to_owned()),
                (.., Some(path)) => field(self.rollout, path),
                _ => args.get(name).cloned().flatten(),
            };
            args.insert(name.to_owned(), value);
        }
        args
    }
}

/// A field of an object by its path, as `metadata.labels['app']`.
fn field(object: &Value, path: &str) -> Option<String> {
    let pointer: String = path
        .split(['.', '[', ']'])
        .map(|part| part.trim_matches(['\'', '"']))
        .filter(|part| !part.is_empty())
        .map(|part| format!("/{}", part.replace('/', "~1")))
        .collect();
    object.pointer(&pointer)?.as_str().map(str::to_owned)
}

/// A query in whose matchers of such labels a name stands for a version: the name of today becomes a placeholder.
fn replaced(query: &str, labels: &str, name: Option<&str>, placeholder: &str) -> String {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return query.to_owned() };
    let pattern = format!(r#"(?P<label>\b[a-z_]*(?:{labels})\s*=~?\s*["'])(?:\^)?{}(?P<end>["'.$])"#, regex::escape(name));
    let Ok(pattern) = Regex::new(&pattern) else { return query.to_owned() };
    pattern.replace_all(query, format!("${{label}}{placeholder}${{end}}")).into_owned()
}

/// What to use in the place of another provider.
fn instead(provider: &str) -> &'static str {
    match provider {
        "kayenta" => "a score of Kayenta; haldane compares errors, latency and drift with stable on the same minutes itself",
        "job" => "a Job; run it before the release, or let it export a metric and give that a threshold",
        "web" => {
            "an answer over HTTP; export the number as a metric and give that a threshold, or use an approval step and `haldane promote`"
        }
        "plugin" => "a metric plugin; haldane runs none. Export the number to Prometheus and give it a threshold",
        "none" => "it has no provider",
        _ => "haldane asks Prometheus alone, or what speaks its language. Export the number there and give it a threshold",
    }
}
