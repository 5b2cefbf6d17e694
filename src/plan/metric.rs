//! Metrics: what is counted, and the limits it is judged by.
//!
//! A kind of metric is one file here, a line in the list of [`MetricKind`], and a field of the schema. Everything outside works from what the
//! kind answers: [`Counted`] says what is asked of Prometheus and how it is summed, [`Limits`] which statistics judge it.

mod drift;
mod errors;
mod latency;
mod limits;
mod ratio;
mod threshold;

use serde::{Deserialize, Serialize};

use super::Fault;
use super::parse::Parser;
use super::promql::Counter;
use crate::api::{MetricSpec, TimeUnit};

pub use drift::{Drift, DriftSource};
pub use errors::ErrorRate;
pub use latency::{Latency, Times};
pub use limits::{DistanceLimits, Limits, RangeLimits, ShareLimits, StretchLimits};
pub use ratio::Ratio;
pub use threshold::Threshold;

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

/// What a metric is counted from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Counted<'a> {
    /// Requests of the mesh, the failed ones among all.
    Requests,
    /// Durations of the mesh's requests.
    Durations,
    /// A histogram of the model's own; the name without `_bucket`.
    Histogram(&'a str),
    /// A counter of the model's own.
    Classes {
        /// Name of the counter.
        counter: &'a str,
        /// Label that tells the classes apart.
        class: &'a str,
    },
    /// Two counters of the model's own.
    Share {
        /// What is bad.
        bad: &'a Counter,
        /// All; of `apart`: those that are not bad.
        total: &'a Counter,
        /// What is bad is no part of `total`.
        apart: bool,
    },
    /// The one value of a query with placeholders, checked.
    Value(&'a str),
}

impl Counted<'_> {
    /// Whether the mesh counts it, and not the model.
    pub fn is_of_mesh(self) -> bool {
        matches!(self, Self::Requests | Self::Durations)
    }
}

/// What a kind of metric answers.
trait Kind: Sized {
    /// Its field in the manifest, and the name of a metric that has none.
    const FIELD: &'static str;
    /// What the field holds.
    type Spec;

    /// The field of a metric, if it is of this kind.
    fn spec(spec: &MetricSpec) -> Option<&Self::Spec>;
    /// A name within the field.
    fn inner_name(_: &Self::Spec) -> Option<&String> {
        None
    }
    /// What the field means, with every default; `None` after a fault that leaves nothing to judge.
    fn parse(parser: &mut Parser, path: &str, spec: &Self::Spec) -> Option<Self>;
    /// What is counted.
    fn counted(&self) -> Counted<'_>;
    /// What it is judged by.
    fn limits(&self) -> Limits;
    /// Lowers each limit to the other's where that one is lower.
    fn tighten(&mut self, other: &Self);
    /// What of it is not a limit, as a field and its value in words.
    fn source(&self) -> Option<(&'static str, String)> {
        None
    }
    /// What a share of it is a share of; `None`: of what the metric is called by.
    fn noun(&self) -> Option<&str> {
        None
    }
    /// Unit of its bounds.
    fn unit(&self) -> Option<TimeUnit> {
        None
    }
    /// What works, but perhaps not as meant, at a field within its own.
    fn doubt(&self, _gates: bool) -> Option<Fault> {
        None
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident,)+) => {
        /// What is counted, and its limits (statistics 2a to 2c, 2j).
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub enum MetricKind {
            $($(#[$doc])* $kind($kind),)+
        }

        impl MetricKind {
            const FIELDS: &[&str] = &[$($kind::FIELD),+];

            /// What is counted.
            pub fn counted(&self) -> Counted<'_> {
                match self { $(Self::$kind(kind) => kind.counted(),)+ }
            }

            /// What it is judged by.
            pub fn limits(&self) -> Limits {
                match self { $(Self::$kind(kind) => kind.limits(),)+ }
            }

            /// Lowers each limit to the other's where that one is lower. What counts something else is another metric.
            pub(super) fn tighten(&mut self, other: &Self) {
                match (self, other) {
                    $((Self::$kind(mine), Self::$kind(other)) if mine.counted() == other.counted() => mine.tighten(other),)+
                    _ => {}
                }
            }

            /// Its fields in words, the source first.
            pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
                let source = match self { $(Self::$kind(kind) => kind.source(),)+ };
                source.into_iter().chain(self.limits().fields()).collect()
            }

            /// Unit of its bounds, if they are times.
            pub fn unit(&self) -> Option<TimeUnit> {
                match self { $(Self::$kind(kind) => kind.unit(),)+ }
            }

            fn noun(&self) -> Option<&str> {
                match self { $(Self::$kind(kind) => kind.noun(),)+ }
            }

            /// What works, but perhaps not as meant; the path begins with the field of the kind.
            pub fn doubt(&self, gates: bool) -> Option<Fault> {
                let (field, doubt) = match self { $(Self::$kind(kind) => ($kind::FIELD, kind.doubt(gates)?),)+ };
                Some(Fault { path: format!("{field}.{}", doubt.path), ..doubt })
            }

            /// What a spec means that has exactly one kind: with the name within it, if there is one.
            fn parse<'a>(parser: &mut Parser, path: &str, spec: &'a MetricSpec) -> Option<(Self, &'static str, Option<&'a String>)> {
                $(if let Some(own) = $kind::spec(spec) {
                    let kind = $kind::parse(parser, &format!("{path}.{}", $kind::FIELD), own)?;
                    return Some((Self::$kind(kind), $kind::FIELD, $kind::inner_name(own)));
                })+
                None
            }

            /// How many kinds a spec has.
            fn count(spec: &MetricSpec) -> usize {
                [$($kind::spec(spec).is_some()),+].into_iter().filter(|given| *given).count()
            }
        }
    };
}

kinds! {
    /// Share of requests that fail.
    ErrorRate,
    /// How long requests take, or a histogram of times of the user's own.
    Latency,
    /// Distance between the distributions of answers.
    Drift,
    /// A share of two counters of the user's own, with the limits of an error rate.
    Ratio,
    /// The one value of a query must stay within limits.
    Threshold,
}

impl MetricKind {
    /// Whether it is one value against limits, without a comparison with stable.
    pub fn is_threshold(&self) -> bool {
        matches!(self.counted(), Counted::Value(_))
    }

    /// Whether it counts bad events among all.
    pub fn is_events(&self) -> bool {
        matches!(self.limits(), Limits::Share(_))
    }
}

impl Metric {
    /// A metric that gates.
    pub fn new(name: impl Into<String>, kind: MetricKind) -> Self {
        Self { name: name.into(), kind, gate: true }
    }

    /// Whether it is the error rate: it counts every request of the mesh.
    pub fn counts_requests(&self) -> bool {
        self.kind.counted() == Counted::Requests
    }

    /// Whether it is judged as times.
    pub fn is_timed(&self) -> bool {
        matches!(self.kind.limits(), Limits::Stretch(_))
    }

    /// What a share is a share of: `errors`, `requests above 250 ms`.
    pub fn subject(&self, bound: Option<f64>) -> String {
        let noun = self.kind.noun().unwrap_or(&self.name);
        bound.map_or_else(|| noun.to_owned(), |bound| format!("{noun} above {bound}{}", self.unit()))
    }

    /// What stands behind a bound: the unit, with the space before it.
    pub fn unit(&self) -> &'static str {
        match self.kind.unit() {
            Some(TimeUnit::Ms) => " ms",
            Some(TimeUnit::S) => " s",
            Some(TimeUnit::Us) => " us",
            None => "",
        }
    }

    /// What a spec means; `None` after a fault that leaves nothing to judge.
    pub(super) fn parse(parser: &mut Parser, path: &str, spec: &MetricSpec) -> Option<Self> {
        let kinds = || match MetricKind::FIELDS {
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
            [] => String::new(),
        };
        match MetricKind::count(spec) {
            0 => parser.fault(path, "has no kind", format!("exactly one of {}, for example `errorRate: {{}}`", kinds())),
            1 => {
                let (kind, field, inner) = MetricKind::parse(parser, path, spec)?;
                if let Some(inner) = inner {
                    let path = format!("{path}.{field}.name");
                    parser.name(&path, inner);
                    if spec.name.is_some() {
                        parser.fault(&path, "is a second name", "one name is enough");
                    }
                }
                let name = spec.name.as_ref().or(inner).cloned().unwrap_or_else(|| field.to_owned());
                return Some(Self { name, kind, gate: spec.gate.unwrap_or(true) });
            }
            _ => parser.fault(path, "has several kinds", format!("exactly one of {}; another kind is another metric", kinds())),
        }
        None
    }
}
