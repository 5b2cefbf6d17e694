//! `threshold`: the one value of a query of the user's own, which must stay within limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Counted, Kind, Limits, Parser, RangeLimits};
use crate::api::{MetricSpec, ThresholdAction, ThresholdSpec};
use crate::plan::Fault;
use crate::plan::promql::Query;

/// How long a threshold must be broken where it is not said.
const LASTING: Duration = Duration::from_secs(60);
/// The longest that can be asked for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Limits beyond this are no limits.
const WIDEST: f64 = 1e15;

/// The one value of a query must stay within limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Query with placeholders, checked.
    pub query: String,
    /// Its limits.
    #[serde(flatten)]
    pub limits: RangeLimits,
}

impl Kind for Threshold {
    const FIELD: &'static str = "threshold";
    type Spec = ThresholdSpec;

    fn spec(spec: &MetricSpec) -> Option<&ThresholdSpec> {
        spec.threshold.as_ref()
    }

    fn inner_name(spec: &ThresholdSpec) -> Option<&String> {
        spec.name.as_ref()
    }

    fn parse(parser: &mut Parser, path: &str, spec: &ThresholdSpec) -> Option<Self> {
        parser.text(&format!("{path}.query"), &spec.query, 1000);
        for (message, fix) in Query::read(&spec.query).err().unwrap_or_default() {
            parser.fault(&format!("{path}.query"), message, fix);
        }
        for (field, limit) in [("min", spec.min), ("max", spec.max)] {
            parser.number(&format!("{path}.{field}"), limit, 0.0, -WIDEST..=WIDEST);
        }
        match (spec.min, spec.max) {
            (None, None) => parser.fault(path, "has no limit", "at least one of min and max"),
            (Some(min), Some(max)) if min >= max => {
                parser.fault(&format!("{path}.min"), format!("is {min}"), format!("must be less than max ({max})"));
            }
            _ => {}
        }
        let lasting = parser.duration(&format!("{path}.for"), spec.lasting.as_deref(), Duration::ZERO..=LONGEST);
        let action = spec.action.unwrap_or_default();
        let usual = if action == ThresholdAction::Wait { Duration::ZERO } else { LASTING };
        let limits = RangeLimits { min: spec.min, max: spec.max, lasting: lasting.unwrap_or(usual), action };
        Some(Self { query: spec.query.clone(), limits })
    }

    fn counted(&self) -> Counted<'_> {
        Counted::Value(&self.query)
    }

    fn limits(&self) -> Limits {
        Limits::Range(self.limits)
    }

    fn tighten(&mut self, other: &Self) {
        let (mine, other) = (&mut self.limits, &other.limits);
        // None is no limit at all.
        mine.min = mine.min.into_iter().chain(other.min).reduce(f64::max);
        mine.max = mine.max.into_iter().chain(other.max).reduce(f64::min);
        mine.lasting = mine.lasting.min(other.lasting);
        // Wait comes before Hold, and Hold before Rollback.
        mine.action = mine.action.max(other.action);
    }

    fn source(&self) -> Option<(&'static str, String)> {
        Some(("query", self.query.clone()))
    }

    fn doubt(&self, gates: bool) -> Option<Fault> {
        let message = "is Rollback, but the metric has gate: false and decides nothing";
        let vain = self.limits.action == ThresholdAction::Rollback && !gates;
        vain.then(|| Fault::new("action", message, "leave one of the two out"))
    }
}
