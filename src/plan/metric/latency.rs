//! `latency`: how long requests take.

use serde::{Deserialize, Serialize};

use super::{Counted, Kind, Limits, Parser, StretchLimits};
use crate::api::{LatencySpec, MetricSpec};

/// How long requests take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Its limits.
    #[serde(flatten)]
    pub limits: StretchLimits,
}

impl Kind for Latency {
    const FIELD: &'static str = "latency";
    type Spec = LatencySpec;

    fn spec(spec: &MetricSpec) -> Option<&LatencySpec> {
        spec.latency.as_ref()
    }

    fn parse(parser: &mut Parser, path: &str, spec: &LatencySpec) -> Option<Self> {
        let default = StretchLimits::default();
        let limits = StretchLimits {
            stretch: parser.number(&format!("{path}.stretch"), spec.stretch, default.stretch, 0.0..=10.0),
            pass: parser.number(&format!("{path}.pass"), spec.pass, default.pass, 0.001..=10.0),
        };
        Some(Self { limits })
    }

    fn counted(&self) -> Counted<'_> {
        Counted::Durations
    }

    fn limits(&self) -> Limits {
        Limits::Stretch(self.limits)
    }

    fn tighten(&mut self, other: &Self) {
        self.limits.stretch = self.limits.stretch.min(other.limits.stretch);
        self.limits.pass = self.limits.pass.min(other.limits.pass);
    }

    fn noun(&self) -> Option<&str> {
        Some("requests")
    }

    fn unit(&self) -> &'static str {
        " ms"
    }
}
