//! `latency`: how long requests take, as the mesh counts it or a histogram of the user's own does.

use serde::{Deserialize, Serialize};

use super::{Counted, Kind, Limits, Parser, StretchLimits};
use crate::api::{LatencySpec, MetricSpec, TimeUnit};
use crate::plan::Fault;

/// How long requests take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// A histogram of the user's own; `None`: the mesh's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<Times>,
    /// Its limits.
    #[serde(flatten)]
    pub limits: StretchLimits,
}

/// A histogram of times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Its name without `_bucket`.
    pub name: String,
    /// Unit of its bounds.
    pub unit: TimeUnit,
}

impl Times {
    fn parse(parser: &mut Parser, path: &str, spec: &LatencySpec) -> Option<Self> {
        let Some(name) = &spec.histogram else {
            if spec.unit.is_some() {
                parser.fault(&format!("{path}.unit"), "has no histogram beside it", "leave it out: the mesh counts in milliseconds");
            }
            return None;
        };
        let path = format!("{path}.histogram");
        parser.prometheus_name(&path, name, true);
        if let Some(short) = name.strip_suffix("_bucket") {
            parser.fault(&path, format!("is {name}"), format!("the name without _bucket: {short}"));
        }
        Some(Self { name: name.clone(), unit: spec.unit.unwrap_or_default() })
    }

    /// The unit that its name says it has, if that is another one.
    fn other_unit(&self) -> Option<TimeUnit> {
        let ends = |ends: &[&str]| ends.iter().any(|end| self.name.ends_with(end));
        let named = if ends(&["_milliseconds", "_millis", "_ms"]) {
            TimeUnit::Ms
        } else if ends(&["_microseconds", "_micros", "_us"]) {
            TimeUnit::Us
        } else if ends(&["_seconds", "_secs"]) {
            TimeUnit::S
        } else {
            return None;
        };
        (named != self.unit).then_some(named)
    }
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
            load: parser.number(&format!("{path}.load"), spec.load, default.load, 0.0..=1.0),
        };
        Some(Self { histogram: Times::parse(parser, path, spec), limits })
    }

    fn counted(&self) -> Counted<'_> {
        self.histogram.as_ref().map_or(Counted::Durations, |times| Counted::Histogram(&times.name))
    }

    fn limits(&self) -> Limits {
        Limits::Stretch(self.limits)
    }

    fn tighten(&mut self, other: &Self) {
        self.limits.stretch = self.limits.stretch.min(other.limits.stretch);
        self.limits.pass = self.limits.pass.min(other.limits.pass);
        self.limits.load = self.limits.load.min(other.limits.load);
    }

    fn source(&self) -> Option<(&'static str, String)> {
        self.histogram.as_ref().map(|times| ("source", format!("histogram {} in {}", times.name, times.unit.symbol())))
    }

    fn noun(&self) -> Option<&str> {
        Some(self.histogram.as_ref().map_or("requests", |times| &times.name))
    }

    fn unit(&self) -> Option<TimeUnit> {
        Some(self.histogram.as_ref().map_or(TimeUnit::Ms, |times| times.unit))
    }

    fn doubt(&self, _gates: bool) -> Option<Fault> {
        let times = self.histogram.as_ref()?;
        let named = times.other_unit()?.symbol();
        let message = format!("is {}, but {} is named as if its bounds were in {named}", times.unit.symbol(), times.name);
        Some(Fault::new("unit", message, format!("`unit: {named}`, if they are")))
    }
}
