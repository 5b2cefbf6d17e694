//! Metrics of the user's own: `ratio` and `threshold`.

use std::time::Duration;

use super::{HOUR, Parser};
use crate::api::{MetricSpec, RatioSpec, ThresholdSpec};
use crate::plan::MetricKind;
use crate::plan::promql::{Counter, Query};

/// How long a threshold must be broken where it is not said.
const LASTING: Duration = Duration::from_secs(60);
/// Limits beyond this are no limits.
const WIDEST: f64 = 1e15;

impl Parser {
    /// The name of a metric, beside its kind or within.
    pub(super) fn own_name(&mut self, path: &str, spec: &MetricSpec) -> Option<String> {
        let (kind, inner) = match (&spec.ratio, &spec.threshold) {
            (Some(ratio), None) => ("ratio", ratio.name.as_ref()),
            (None, Some(threshold)) => ("threshold", threshold.name.as_ref()),
            _ => return spec.name.clone(),
        };
        if let Some(inner) = inner {
            self.name(&format!("{path}.{kind}.name"), inner);
            if spec.name.is_some() {
                self.fault(&format!("{path}.{kind}.name"), "is a second name", "one name is enough");
            }
        }
        spec.name.as_ref().or(inner).cloned()
    }

    pub(super) fn ratio(&mut self, path: &str, spec: &RatioSpec) -> Option<MetricKind> {
        let limits = &spec.limits;
        let relative = self.number(&format!("{path}.relative"), limits.relative, 1.1, 1.0..=10.0);
        let absolute = self.number(&format!("{path}.absolute"), limits.absolute, 0.0005, 0.0..=0.5);
        let pass = self.number(&format!("{path}.pass"), limits.pass, 0.002, 0.0001..=0.5);
        let (bad, total) = (self.counter(&format!("{path}.bad"), &spec.bad), self.counter(&format!("{path}.total"), &spec.total));
        let (bad, total) = (bad?, total?);
        if bad == total {
            self.fault(&format!("{path}.bad"), format!("is {bad}, as total is"), "a part of what total counts");
        }
        Some(MetricKind::Ratio { bad, total, relative, absolute, pass })
    }

    fn counter(&mut self, path: &str, text: &str) -> Option<Counter> {
        self.text(path, text, 500);
        match Counter::read(text) {
            Ok(counter) => Some(counter),
            Err(_) if text.is_empty() => None,
            Err(error) => {
                self.fault(path, error.message, error.fix);
                None
            }
        }
    }

    pub(super) fn threshold(&mut self, path: &str, spec: &ThresholdSpec) -> MetricKind {
        self.text(&format!("{path}.query"), &spec.query, 1000);
        for (message, fix) in Query::read(&spec.query).err().unwrap_or_default() {
            self.fault(&format!("{path}.query"), message, fix);
        }
        for (field, limit) in [("min", spec.min), ("max", spec.max)] {
            self.number(&format!("{path}.{field}"), limit, 0.0, -WIDEST..=WIDEST);
        }
        match (spec.min, spec.max) {
            (None, None) => self.fault(path, "has no limit", "at least one of min and max"),
            (Some(min), Some(max)) if min >= max => {
                self.fault(&format!("{path}.min"), format!("is {min}"), format!("must be less than max ({max})"));
            }
            _ => {}
        }
        let lasting = self.duration(&format!("{path}.for"), spec.lasting.as_deref(), Duration::ZERO..=HOUR * 24);
        MetricKind::Threshold {
            query: spec.query.clone(),
            min: spec.min,
            max: spec.max,
            lasting: lasting.unwrap_or(LASTING),
            action: spec.action.unwrap_or_default(),
        }
    }
}
