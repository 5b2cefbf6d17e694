//! `drift`: how far the distribution of the canary's answers is from stable's.

use serde::{Deserialize, Serialize};

use super::{Counted, DistanceLimits, Kind, Limits, Parser};
use crate::api::{DriftSpec, MetricSpec};
use crate::plan::Fault;

/// Distance between the distributions of answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// What is counted.
    pub source: DriftSource,
    /// Its limits.
    #[serde(flatten)]
    pub limits: DistanceLimits,
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

impl DriftSource {
    fn parse(parser: &mut Parser, path: &str, spec: &DriftSpec) -> Option<Self> {
        for (field, value, metric) in
            [("counter", &spec.counter, true), ("class", &spec.class, false), ("histogram", &spec.histogram, true)]
        {
            if let Some(value) = value {
                parser.prometheus_name(&format!("{path}.{field}"), value, metric);
            }
        }
        match (&spec.counter, &spec.class, &spec.histogram) {
            (Some(metric), Some(class), None) => Some(Self::Counter { metric: metric.clone(), class: class.clone() }),
            (None, None, Some(metric)) => Some(Self::Histogram { metric: metric.clone() }),
            (counter, class, histogram) => {
                if counter.is_some() == histogram.is_some() {
                    let message = if counter.is_some() { "has both counter and histogram" } else { "has neither counter nor histogram" };
                    parser.fault(path, message, "exactly one of counter (with class) and histogram");
                }
                match (counter, class) {
                    (Some(_), None) => {
                        parser.fault(path, "has a counter but no class", "class names the label that holds the predicted class")
                    }
                    (None, Some(_)) => parser.fault(path, "has a class but no counter", "class goes with counter; a histogram has none"),
                    _ => {}
                }
                None
            }
        }
    }
}

impl Kind for Drift {
    const FIELD: &'static str = "drift";
    type Spec = DriftSpec;

    fn spec(spec: &MetricSpec) -> Option<&DriftSpec> {
        spec.drift.as_ref()
    }

    fn parse(parser: &mut Parser, path: &str, spec: &DriftSpec) -> Option<Self> {
        let default = DistanceLimits::default();
        let limits = DistanceLimits {
            hold: parser.number(&format!("{path}.hold"), spec.hold, default.hold, 0.0..=1.0),
            rollback: parser.number(&format!("{path}.rollback"), spec.rollback, default.rollback, 0.0..=1.0),
            pass: parser.number(&format!("{path}.pass"), spec.pass, default.pass, 0.001..=1.0),
        };
        Some(Self { source: DriftSource::parse(parser, path, spec)?, limits })
    }

    fn counted(&self) -> Counted<'_> {
        match &self.source {
            DriftSource::Counter { metric, class } => Counted::Classes { counter: metric, class },
            DriftSource::Histogram { metric } => Counted::Histogram(metric),
        }
    }

    fn limits(&self) -> Limits {
        Limits::Distance(self.limits)
    }

    fn tighten(&mut self, other: &Self) {
        self.limits.hold = self.limits.hold.min(other.limits.hold);
        self.limits.rollback = self.limits.rollback.min(other.limits.rollback);
        self.limits.pass = self.limits.pass.min(other.limits.pass);
    }

    fn source(&self) -> Option<(&'static str, String)> {
        let source = match &self.source {
            DriftSource::Counter { metric, class } => format!("counter {metric} by {class}"),
            DriftSource::Histogram { metric } => format!("histogram {metric}"),
        };
        Some(("source", source))
    }

    fn noun(&self) -> Option<&str> {
        Some("scores")
    }

    fn doubt(&self, _gates: bool) -> Option<Fault> {
        let DistanceLimits { hold, rollback, .. } = self.limits;
        let message = || format!("{hold} is above the limit that rolls back ({rollback}), so it never holds");
        (hold > rollback).then(|| Fault::new("hold", message(), "usually a third of it"))
    }
}
