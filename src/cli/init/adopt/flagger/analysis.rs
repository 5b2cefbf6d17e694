//! Metrics of a Canary as metrics of ours. Pure.

#![allow(clippy::indexing_slicing, reason = "what is indexed is JSON: a name that is not there answers null")]

use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use super::super::{
    super::model::There,
    metrics::{Limit, Metrics, duration},
};

/// Window of a metric where nothing is said.
const WINDOW: &str = "1m";

/// The metrics of a Canary.
pub(super) fn read(there: There<'_>, canary: &Value, analysis: &Value, metrics: &mut Metrics) {
    let interval = duration(&analysis["interval"]).unwrap_or(Duration::from_secs(60));
    let failures = u32::try_from(analysis["threshold"].as_i64().unwrap_or(1).clamp(1, 1000)).unwrap_or(1);
    // So many ticks may fail before it rolls back there.
    let lasting = interval.saturating_mul(failures.saturating_sub(1));
    let all = analysis["metrics"].as_array().map(Vec::as_slice).unwrap_or_default();
    for metric in all {
        let name = metric["name"].as_str().unwrap_or_default();
        let window = metric["interval"].as_str().unwrap_or(WINDOW);
        let (mut min, mut max) = (metric["thresholdRange"]["min"].as_f64(), metric["thresholdRange"]["max"].as_f64());
        if let Some(old) = metric["threshold"].as_f64().filter(|_| min.is_none() && max.is_none()) {
            if name == "request-success-rate" { min = Some(old) } else { max = Some(old) }
        }
        let limit = |query: String, rolls_back: bool| Limit {
            name: name.to_owned(),
            query,
            min,
            max,
            lasting: Some(lasting),
            rolls_back,
            shown_only: false,
        };
        let reference = &metric["templateRef"];
        if min.is_none() && max.is_none() {
            metrics.lost.push(format!("Metric {name}: it has no thresholdRange. errorRate and latency need none: stable is the limit."));
        } else if reference.is_object() {
            let template = reference["name"].as_str().unwrap_or_default();
            let namespace = reference["namespace"].as_str().or(there.namespace);
            let Some(found) = There { namespace, ..there }.find("MetricTemplate", template) else {
                metrics.lost.push(format!("MetricTemplate {template} of metric {name} was not read: give its file with -f too."));
                continue;
            };
            let provider = found["spec"]["provider"]["type"].as_str().unwrap_or_default();
            if provider != "prometheus" {
                metrics.lost.push(format!("Metric {name}: its provider is {provider}. haldane asks Prometheus alone, or what speaks its language: export the number there and give it a threshold."));
                continue;
            }
            let query = filled(found["spec"]["query"].as_str().unwrap_or_default(), canary, metric, window);
            metrics.limit(limit(query, true));
            address(found["spec"]["provider"]["address"].as_str(), metrics);
        } else if let Some(query) = metric["query"].as_str() {
            metrics.limit(limit(filled(query, canary, metric, window), true));
        } else if let Some(query) = built_in(name, window) {
            // A fixed limit on the canary alone: errorRate and latency compare it with stable, and roll back.
            metrics.limit(limit(query, false));
            metrics.lost.push(format!("{name}: errorRate and latency compare the canary with stable on the same minutes, and roll back. The fixed limit stands beside them and asks a person."));
        } else {
            metrics.lost.push(format!("Metric {name}: neither a query, nor a template, nor one of Flagger's own."));
        }
    }
    address(canary["spec"]["metricsServer"].as_str(), metrics);
    if failures > 1 {
        metrics.lost.push(format!("threshold {failures}: failed checks are not counted here. What compares with stable rolls back on evidence; a fixed limit must be crossed for `for`."));
    }
}

fn address(address: Option<&str>, metrics: &mut Metrics) {
    let Some(address) = address else { return };
    let line = format!(
        "Queries go to the provider `default` of the controller's configuration. Is that {address}? Users name a provider, never an address."
    );
    if !metrics.questions.contains(&line) {
        metrics.questions.push(line);
    }
}

/// A template with its names filled in; those of the versions become placeholders.
fn filled(query: &str, canary: &Value, metric: &Value, window: &str) -> String {
    let target = canary["spec"]["targetRef"]["name"].as_str().unwrap_or_default();
    let service = canary["spec"]["service"]["name"].as_str().unwrap_or(target);
    let mut text = query.to_owned();
    let mut put = |pattern: &str, value: &str| {
        if let Ok(pattern) = Regex::new(pattern) {
            text = pattern.replace_all(&text, regex::NoExpand(value)).into_owned();
        }
    };
    // The primary is what serves; so is stable.
    put(r"\{\{-?\s*target\s*-?\}\}-primary", "{{stableWorkload}}");
    put(r"\{\{-?\s*target\s*-?\}\}", "{{canaryWorkload}}");
    put(r"\{\{-?\s*namespace\s*-?\}\}", "{{namespace}}");
    put(r"\{\{-?\s*name\s*-?\}\}", "{{name}}");
    put(r"\{\{-?\s*service\s*-?\}\}", service);
    put(r"\{\{-?\s*interval\s*-?\}\}", window);
    for (name, value) in metric["templateVariables"].as_object().into_iter().flatten() {
        put(&format!(r"\{{\{{-?\s*variables\.{}\s*-?\}}\}}", regex::escape(name)), value.as_str().unwrap_or_default());
    }
    text
}

/// A query of our own for what Flagger has built in, about the canary's Deployment.
fn built_in(name: &str, window: &str) -> Option<String> {
    let of = |more: &str| {
        format!(
            "reporter=\"destination\",destination_workload_namespace=\"{{{{namespace}}}}\",destination_workload=\"{{{{canaryWorkload}}}}\"{more}"
        )
    };
    match name {
        "request-success-rate" => Some(format!(
            "100 - 100 * (sum(rate(istio_requests_total{{{}}}[{window}])) or vector(0)) / sum(rate(istio_requests_total{{{}}}[{window}]))",
            of(",response_code=~\"5..\""),
            of("")
        )),
        "request-duration" => Some(format!(
            "histogram_quantile(0.99, sum by (le) (rate(istio_request_duration_milliseconds_bucket{{{}}}[{window}])))",
            of("")
        )),
        _ => None,
    }
}
