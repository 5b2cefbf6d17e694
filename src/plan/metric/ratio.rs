//! `ratio`: a share of two counters of the user's own, judged as errors are.

use serde::{Deserialize, Serialize};

use super::{Counted, Counter, Kind, Limits, Parser, ShareLimits};
use crate::api::{MetricSpec, RatioSpec};

/// A share of two counters of the user's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Counter of what is bad.
    pub bad: Counter,
    /// Counter of all.
    pub total: Counter,
    /// Its limits.
    #[serde(flatten)]
    pub limits: ShareLimits,
}

fn counter(parser: &mut Parser, path: &str, text: &str) -> Option<Counter> {
    parser.text(path, text, 500);
    match Counter::read(text) {
        Ok(counter) => Some(counter),
        Err(_) if text.is_empty() => None,
        Err(error) => {
            parser.fault(path, error.message, error.fix);
            None
        }
    }
}

impl Kind for Ratio {
    const FIELD: &'static str = "ratio";
    type Spec = RatioSpec;

    fn spec(spec: &MetricSpec) -> Option<&RatioSpec> {
        spec.ratio.as_ref()
    }

    fn inner_name(spec: &RatioSpec) -> Option<&String> {
        spec.name.as_ref()
    }

    fn parse(parser: &mut Parser, path: &str, spec: &RatioSpec) -> Option<Self> {
        let limits = ShareLimits::parse(parser, path, &spec.limits);
        let (bad, total) = (counter(parser, &format!("{path}.bad"), &spec.bad), counter(parser, &format!("{path}.total"), &spec.total));
        let (bad, total) = (bad?, total?);
        if bad == total {
            parser.fault(&format!("{path}.bad"), format!("is {bad}, as total is"), "a part of what total counts");
        }
        Some(Self { bad, total, limits })
    }

    fn counted(&self) -> Counted<'_> {
        Counted::Share { bad: &self.bad, total: &self.total }
    }

    fn limits(&self) -> Limits {
        Limits::Share(self.limits)
    }

    fn tighten(&mut self, other: &Self) {
        self.limits.tighten(&other.limits);
    }

    fn source(&self) -> Option<(&'static str, String)> {
        Some(("source", format!("{} of {}", self.bad, self.total)))
    }
}
