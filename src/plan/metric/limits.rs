//! What a metric is judged by, whatever is counted: four forms of limits, one for each kind of statistics.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::api::{ErrorRateSpec, ThresholdAction};
use crate::plan::{parse::Parser, seconds, span};

/// The limits of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limits {
    /// A share of events.
    Share(ShareLimits),
    /// A distribution that must not be slower.
    Stretch(StretchLimits),
    /// A distribution that must be the same.
    Distance(DistanceLimits),
    /// One value.
    Range(RangeLimits),
}

/// Fail: canary > relative x stable + absolute. Pass: canary < stable + pass / next weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareLimits {
    /// At least 1.
    pub relative: f64,
    /// Share of what is counted.
    pub absolute: f64,
    /// Share of what is counted.
    pub pass: f64,
}

/// Limits as a stretch of stable's distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StretchLimits {
    /// Fail margin.
    pub stretch: f64,
    /// Pass margin, divided by the next weight.
    pub pass: f64,
    /// Slow-down that each doubling or halving of the load per pod may explain, where stable's own past does not say it; 0: load explains
    /// nothing.
    #[serde(default = "usual_load", skip_serializing_if = "is_usual")]
    pub load: f64,
}

fn is_usual(load: &f64) -> bool {
    *load == usual_load()
}

fn usual_load() -> f64 {
    StretchLimits::default().load
}

/// Limits as a distance between distributions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DistanceLimits {
    /// Holds above.
    pub hold: f64,
    /// Rolls back above.
    pub rollback: f64,
    /// Pass margin, divided by the next weight.
    pub pass: f64,
}

/// Limits of one value. At least one of `min` and `max` is there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeLimits {
    /// The value must not be less.
    pub min: Option<f64>,
    /// The value must not be greater.
    pub max: Option<f64>,
    /// For so long it must be beyond at every look.
    #[serde(with = "seconds")]
    pub lasting: Duration,
    /// What then happens.
    pub action: ThresholdAction,
}

impl Default for ShareLimits {
    fn default() -> Self {
        Self { relative: 1.1, absolute: 0.0005, pass: 0.002 }
    }
}

impl Default for StretchLimits {
    fn default() -> Self {
        Self { stretch: 0.05, pass: 0.10, load: 0.10 }
    }
}

impl Default for DistanceLimits {
    fn default() -> Self {
        Self { hold: 0.05, rollback: 0.15, pass: 0.10 }
    }
}

impl Limits {
    /// Each limit in words, by its field.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let text = f64::to_string;
        match self {
            Self::Share(limits) => {
                vec![("relative", text(&limits.relative)), ("absolute", text(&limits.absolute)), ("pass", text(&limits.pass))]
            }
            Self::Stretch(limits) => vec![("stretch", text(&limits.stretch)), ("pass", text(&limits.pass)), ("load", text(&limits.load))],
            Self::Distance(limits) => {
                vec![("hold", text(&limits.hold)), ("rollback", text(&limits.rollback)), ("pass", text(&limits.pass))]
            }
            Self::Range(limits) => {
                let limit = |value: &Option<f64>| value.as_ref().map_or_else(|| "none".to_owned(), text);
                let (lasting, action) = (span(limits.lasting), format!("{:?}", limits.action));
                vec![("min", limit(&limits.min)), ("max", limit(&limits.max)), ("for", lasting), ("action", action)]
            }
        }
    }
}

impl ShareLimits {
    /// What the fields of a share mean.
    pub(super) fn parse(parser: &mut Parser, path: &str, spec: &ErrorRateSpec) -> Self {
        let default = Self::default();
        Self {
            relative: parser.number(&format!("{path}.relative"), spec.relative, default.relative, 1.0..=10.0),
            absolute: parser.number(&format!("{path}.absolute"), spec.absolute, default.absolute, 0.0..=0.5),
            pass: parser.number(&format!("{path}.pass"), spec.pass, default.pass, 0.0001..=0.5),
        }
    }

    /// Lowers each limit to the other's where that one is lower.
    pub(super) fn tighten(&mut self, other: &Self) {
        self.relative = self.relative.min(other.relative);
        self.absolute = self.absolute.min(other.absolute);
        self.pass = self.pass.min(other.pass);
    }
}
