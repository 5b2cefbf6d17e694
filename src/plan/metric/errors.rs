//! `errorRate`: the share of the mesh's requests that fail.

use serde::{Deserialize, Serialize};

use super::{Counted, Kind, Limits, Parser, ShareLimits};
use crate::api::{ErrorRateSpec, MetricSpec};

/// Share of requests that fail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorRate(pub ShareLimits);

impl Kind for ErrorRate {
    const FIELD: &'static str = "errorRate";
    type Spec = ErrorRateSpec;

    fn spec(spec: &MetricSpec) -> Option<&ErrorRateSpec> {
        spec.error_rate.as_ref()
    }

    fn parse(parser: &mut Parser, path: &str, spec: &ErrorRateSpec) -> Option<Self> {
        Some(Self(ShareLimits::parse(parser, path, spec)))
    }

    fn counted(&self) -> Counted<'_> {
        Counted::Requests
    }

    fn limits(&self) -> Limits {
        Limits::Share(self.0)
    }

    fn tighten(&mut self, other: &Self) {
        self.0.tighten(&other.0);
    }

    fn noun(&self) -> Option<&str> {
        Some("errors")
    }
}
