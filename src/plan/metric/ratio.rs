//! `ratio`: a share of two counters of the user's own, judged as errors are.

use serde::{Deserialize, Serialize};

use super::{Counted, Counter, Kind, Limits, Parser, ShareLimits};
use crate::api::{MetricSpec, RatioSpec};

/// A share of two counters of the user's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Counter of what is bad.
    pub bad: Counter,
    /// Counter of all, or of all that is not bad.
    pub total: Counter,
    /// What is bad is no part of `total`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
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
        let bad = counter(parser, &format!("{path}.bad"), &spec.bad);
        let (apart, total) = match (&spec.total, &spec.good) {
            (Some(total), None) => (false, counter(parser, &format!("{path}.total"), total)),
            (None, Some(good)) => (true, counter(parser, &format!("{path}.good"), good)),
            (total, _) => {
                let message = if total.is_some() { "has both total and good" } else { "has neither total nor good" };
                parser.fault(path, message, "exactly one of total and good");
                (false, None)
            }
        };
        let (bad, total) = (bad?, total?);
        if bad == total {
            let (field, fix) = if apart { ("good", "what is not bad") } else { ("total", "a part of what total counts") };
            parser.fault(&format!("{path}.bad"), format!("is {bad}, as {field} is"), fix);
        }
        Some(Self { bad, total, apart, limits })
    }

    fn counted(&self) -> Counted<'_> {
        Counted::Share { bad: &self.bad, total: &self.total, apart: self.apart }
    }

    fn limits(&self) -> Limits {
        Limits::Share(self.limits)
    }

    fn tighten(&mut self, other: &Self) {
        self.limits.tighten(&other.limits);
    }

    fn source(&self) -> Option<(&'static str, String)> {
        let beside = if self.apart { "beside" } else { "of" };
        Some(("source", format!("{} {beside} {}", self.bad, self.total)))
    }
}
