//! Presets against what the pods of a model export: which of them would judge something, and what they lack.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::plan::{Counted, preset};

/// Names of series, a histogram's without `_bucket`.
pub type Exported = BTreeSet<String>;

/// How a preset fits what is exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fit {
    /// Name of the preset.
    pub preset: &'static str,
    /// Its version.
    pub version: i32,
    /// Which server it is for.
    pub server: String,
    /// Metrics whose series stable has; those of the mesh are not among them.
    pub present: Vec<String>,
    /// Metrics whose series stable lacks.
    pub missing: Vec<Missing>,
    /// Metrics whose series stable has and the canary does not have yet.
    pub not_at_canary: Vec<Missing>,
}

/// A metric, and the series that it lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Name of the metric.
    pub metric: String,
    /// What is not there.
    pub series: Vec<String>,
}

/// What a metric is judged from: names of series. What is bad may never have happened, so it is not among them.
fn needed(counted: Counted<'_>) -> Vec<String> {
    match counted {
        Counted::Requests | Counted::Durations => Vec::new(),
        Counted::Histogram(name) => vec![name.to_owned()],
        Counted::Classes { counter, .. } => vec![counter.to_owned()],
        Counted::Share { total, .. } => vec![total.metric.clone()],
        Counted::Value(query) => selected(query),
    }
}

/// Names of the metrics that a query selects.
fn selected(query: &str) -> Vec<String> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let before = query.match_indices('{').filter_map(|(at, _)| query.get(..at));
    let names = before.map(|before| before.rsplit(|c| !named(c)).next().unwrap_or_default());
    let names: BTreeSet<String> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.into_iter().collect()
}

/// Names of all series that a preset is judged from, as a regular expression.
pub fn pattern() -> String {
    let needed = preset::all().flat_map(|preset| preset.parsed()).flat_map(|metric| needed(metric.kind.counted()));
    let names: BTreeSet<String> = needed.collect();
    format!("({})(_bucket)?", names.into_iter().collect::<Vec<_>>().join("|"))
}

/// Whether a preset is judged from this series.
pub fn is_known(name: &str) -> bool {
    preset::all().flat_map(|preset| preset.parsed()).any(|metric| needed(metric.kind.counted()).iter().any(|known| known == name))
}

/// The presets of which stable exports anything: first those that lack nothing, and of these the one with the most metrics. `canary`: what it
/// exports, if it is there.
pub fn fits(stable: &Exported, canary: Option<&Exported>) -> Vec<Fit> {
    let mut found: Vec<Fit> = preset::all().map(|preset| fit(&preset, stable, canary)).filter(|fit| !fit.present.is_empty()).collect();
    found.sort_by_key(|fit| (!fit.missing.is_empty(), std::cmp::Reverse(fit.present.len()), fit.missing.len()));
    found
}

fn fit(preset: &preset::Preset, stable: &Exported, canary: Option<&Exported>) -> Fit {
    let lacks = |series: &[String], of: &Exported| series.iter().filter(|name| !of.contains(*name)).cloned().collect::<Vec<_>>();
    let mut fit = Fit {
        preset: preset.name,
        version: preset.version,
        server: preset.server.clone(),
        present: Vec::new(),
        missing: Vec::new(),
        not_at_canary: Vec::new(),
    };
    for metric in preset.parsed() {
        let series = needed(metric.kind.counted());
        if series.is_empty() {
            continue;
        }
        let (at_stable, at_canary) = (lacks(&series, stable), canary.map_or_else(Vec::new, |canary| lacks(&series, canary)));
        let name = metric.name;
        if !at_stable.is_empty() {
            fit.missing.push(Missing { metric: name, series: at_stable });
            continue;
        }
        if !at_canary.is_empty() {
            fit.not_at_canary.push(Missing { metric: name.clone(), series: at_canary });
        }
        fit.present.push(name);
    }
    fit
}

impl Fit {
    /// Whether stable has all that it is judged from.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty()
    }

    /// What goes into the manifest: the preset, or its metrics without those that are missing.
    pub fn yaml(&self) -> String {
        if self.is_whole() {
            return format!("spec:\n  analysis:\n    preset: {}\n", self.preset);
        }
        let Some(preset) = preset::find(self.preset) else { return String::new() };
        let lacks = |name: &str| self.missing.iter().any(|missing| missing.metric == name);
        let parsed = preset.parsed();
        let kept = preset.metrics.iter().zip(&parsed).filter(|(_, metric)| !lacks(&metric.name)).map(|(spec, _)| spec);
        let list = serde_yaml::to_string(&kept.collect::<Vec<_>>()).unwrap_or_default();
        let warm_up = preset.warm_up.map_or_else(String::new, |warm_up| format!("    warmUp: {warm_up}\n"));
        let list: String = list.lines().map(|line| format!("    {line}\n")).collect();
        format!("spec:\n  analysis:\n{warm_up}    metrics:\n{list}")
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    fn of(name: &str) -> Exported {
        preset::find(name).unwrap().parsed().iter().flat_map(|metric| needed(metric.kind.counted())).collect()
    }

    #[test]
    fn each_server_is_found_by_its_own_series() {
        for name in preset::NAMES {
            let found = fits(&of(name), None);
            assert!(found[0].is_whole() && found[0].preset == *name, "{name}: {found:?}");
        }
        assert!(fits(&Exported::new(), None).is_empty());
    }

    #[test]
    fn what_a_real_mlserver_exports_fits_its_preset() {
        let text = include_str!("../../tests/data/presets/mlserver.txt");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let exported: Exported = lines.map(|line| line.split(['{', ' ']).next().unwrap().trim_end_matches("_bucket").to_owned()).collect();
        let found = fits(&exported, None);
        assert!(found.len() == 1 && found[0].is_whole() && found[0].preset == "mlserver", "{found:?}");
        assert!(text.contains("model_infer_request_success_total{model=\"fraud\",version=\"None\"} 3.0"));
        assert!(text.contains("model_infer_request_failure_total{model=\"fraud\",version=\"None\"} 1.0"), "a failure is no success");
    }

    #[test]
    fn an_older_vllm_is_known_by_what_it_lacks() {
        let mut exported = of("vllm");
        exported.remove("vllm:request_time_per_output_token_seconds");
        let found = fits(&exported, Some(&of("vllm-0.10")));
        assert_eq!(found[0].preset, "vllm-0.10");
        let newer = found.iter().find(|fit| fit.preset == "vllm").unwrap();
        assert_eq!(newer.missing, [Missing { metric: "tpot".into(), series: vec!["vllm:request_time_per_output_token_seconds".into()] }]);
        assert!(newer.yaml().contains("warmUp: 2m") && newer.yaml().contains("ttft") && !newer.yaml().contains("tpot"), "{}", newer.yaml());
        assert_eq!(newer.not_at_canary[0].metric, "cache");
    }

    #[test]
    fn names_are_found_in_queries_and_in_the_pattern() {
        assert_eq!(selected(r#"avg(a:b{x="{{namespace}}"}) - rate(c_total{pod=~"{{canaryPods}}"}[2m])"#), ["a:b", "c_total"]);
        let pattern = Regex::new(&format!("^(?:{})$", pattern())).unwrap();
        for name in ["vllm:time_to_first_token_seconds_bucket", ":tensorflow:serving:request_count", "vllm:prefix_cache_hits_total"] {
            assert!(pattern.is_match(name), "{name}");
        }
        assert!(!pattern.is_match("istio_requests_total") && is_known("nv_inference_request_success") && !is_known("up"));
    }
}
