//! What a Rollout means: every default resolved, every strategy compiled to steps; or all its faults with their field paths. Pure.

#[cfg(test)]
mod cel_tests;
mod edit;
mod fault;
mod metric;
mod parse;
pub mod preset;
pub mod promql;
mod source;
mod span;
mod split;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{AppliedPreset, Capacity, Destination, OnInconclusive, RouteRef};

pub use crate::words::span;
pub use edit::{Change, Edit};
pub use fault::{Fault, Faults};
pub use metric::{
    Counted, DistanceLimits, Drift, DriftSource, ErrorRate, Latency, Limits, Metric, MetricKind, RangeLimits, Ratio, ShareLimits,
    StretchLimits, Threshold, Times,
};
pub use source::{Origin, Place, SourcePlan, selector};
pub use span::read_span;
pub use split::{Share, Split};

/// What a Rollout means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The object that holds the route, same namespace.
    #[serde(flatten)]
    pub object: RouteRef,
    /// Name of the route in it, if the spec names one.
    pub route: Option<String>,
    /// How many ready canary endpoints a weight needs.
    pub capacity: Capacity,
    /// The version wanted.
    #[serde(flatten)]
    pub canary: Destination,
    /// At least one. Those with a weight are the last ones, their weights strictly increasing to 100; where none has a weight, users stay
    /// with stable.
    pub steps: Vec<Step>,
    /// What is measured and judged.
    pub analysis: AnalysisPlan,
    /// Names of alert sinks; `None`: `default`, if the configuration has it.
    pub alerts: Option<Vec<String>>,
    /// For so long after a promotion `rollback` goes back.
    #[serde(with = "seconds", default)]
    pub rollback_window: Duration,
    /// `spec.paused`.
    pub paused: bool,
}

impl Plan {
    /// Whether it ends with the canary as the new stable; else it ends as Passed or Failed, with everybody at stable.
    pub fn promotes(&self) -> bool {
        self.steps.last().is_some_and(|step| step.split.weight == 100)
    }
}

/// One step with every default resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Unique in the plan.
    pub name: String,
    /// What the canary gets.
    #[serde(flatten)]
    pub split: Split,
    /// How long it is kept at least.
    #[serde(with = "seconds")]
    pub hold: Duration,
    /// After how long `on_inconclusive` applies.
    #[serde(with = "seconds")]
    pub deadline: Duration,
    /// A person must say so before the step's traffic is set.
    pub approval: bool,
    /// What the deadline brings.
    pub on_inconclusive: OnInconclusive,
    /// Names of metrics that do not gate this step.
    pub without: Vec<String>,
}

impl Step {
    /// Canary's work in percent of stable's: a copy is work like a request. How many a match brings is not known.
    pub fn load(&self) -> u32 {
        (u32::from(self.split.weight) + u32::from(self.split.mirror)).min(100)
    }

    /// What is there of the canary's traffic once all of this step's is.
    pub fn share(&self) -> Share {
        self.split.share()
    }

    /// Whether a metric has a say in this step.
    pub fn asks(&self, metric: &Metric) -> bool {
        metric.gate && !self.without.contains(&metric.name)
    }
}

/// What is measured and judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisPlan {
    /// Name of the Prometheus provider.
    pub prometheus: String,
    /// Length of one window.
    #[serde(with = "seconds")]
    pub interval: Duration,
    /// For so long after a canary pod becomes ready nothing of it is counted.
    #[serde(with = "seconds")]
    pub warm_up: Duration,
    /// May be empty: then the holds alone decide.
    pub metrics: Vec<Metric>,
    /// Where some of them come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<AppliedPreset>,
}

impl AnalysisPlan {
    /// The preset that a metric comes from.
    pub fn preset_of(&self, metric: &str) -> Option<&AppliedPreset> {
        self.preset.as_ref().filter(|preset| preset.metrics.iter().any(|name| name == metric))
    }
}

/// Durations as seconds in stored plans.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(value.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(value).map_err(serde::de::Error::custom)
    }
}
