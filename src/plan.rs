//! What a Rollout means: every default resolved, every strategy compiled to steps; or all its faults with their field paths. Pure.

#[cfg(test)]
mod cel_tests;
mod edit;
mod fault;
mod parse;
pub mod promql;
mod span;
mod split;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{Capacity, Destination, OnInconclusive, RouteRef, ThresholdAction};
use promql::Counter;

pub use crate::words::span;
pub use edit::{Change, Edit};
pub use fault::{Fault, Faults};
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
}

/// One metric with its limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metric {
    /// Unique in the plan.
    pub name: String,
    /// What is counted, and its limits.
    pub kind: MetricKind,
    /// False: it is judged and shown, and decides nothing.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub gate: bool,
}

fn yes() -> bool {
    true
}

fn is_yes(gate: &bool) -> bool {
    *gate
}

impl Metric {
    /// A metric that gates.
    pub fn new(name: impl Into<String>, kind: MetricKind) -> Self {
        Self { name: name.into(), kind, gate: true }
    }
}

impl Step {
    /// Whether a metric has a say in this step.
    pub fn asks(&self, metric: &Metric) -> bool {
        metric.gate && !self.without.contains(&metric.name)
    }
}

/// What is counted, and its limits (statistics 2a to 2c, 2j).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MetricKind {
    /// Fail: canary > relative x stable + absolute. Pass: canary < stable + pass / next weight.
    ErrorRate {
        /// At least 1.
        relative: f64,
        /// Share of requests.
        absolute: f64,
        /// Share of requests.
        pass: f64,
    },
    /// Limits as a stretch of stable's distribution.
    Latency {
        /// Fail margin.
        stretch: f64,
        /// Pass margin, divided by the next weight.
        pass: f64,
    },
    /// Limits as a distance between distributions.
    Drift {
        /// What is counted.
        source: DriftSource,
        /// Holds above.
        hold: f64,
        /// Rolls back above.
        rollback: f64,
        /// Pass margin, divided by the next weight.
        pass: f64,
    },
    /// A share of two counters of the user's own, with the limits of an error rate.
    Ratio {
        /// Counter of what is bad.
        bad: Counter,
        /// Counter of all.
        total: Counter,
        /// At least 1.
        relative: f64,
        /// Share of the total.
        absolute: f64,
        /// Share of the total.
        pass: f64,
    },
    /// The one value of a query must stay within limits. At least one of them is there.
    Threshold {
        /// Query with placeholders, checked.
        query: String,
        /// The value must not be less.
        min: Option<f64>,
        /// The value must not be greater.
        max: Option<f64>,
        /// For so long it must be beyond at every look.
        #[serde(with = "seconds")]
        lasting: Duration,
        /// What then happens.
        action: ThresholdAction,
    },
}

impl MetricKind {
    /// Whether it is one value against limits, without a comparison with stable.
    pub fn is_threshold(&self) -> bool {
        matches!(self, Self::Threshold { .. })
    }

    /// Whether it counts bad events among all.
    pub fn is_events(&self) -> bool {
        matches!(self, Self::ErrorRate { .. } | Self::Ratio { .. })
    }
}

/// Where the distribution of answers comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DriftSource {
    /// A counter with a label for the predicted class.
    Counter {
        /// Name of the counter.
        metric: String,
        /// Label of the class.
        class: String,
    },
    /// A histogram of scores; the name without `_bucket`.
    Histogram {
        /// Name of the histogram.
        metric: String,
    },
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
