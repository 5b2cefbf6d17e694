//! What is found of one metric, in numbers: [`crate::say`] makes text of it.

use super::Judgement;
use crate::api::MetricEvidence;

impl<M> Judgement<M> {
    /// The same with something else in place of what it says of each metric.
    pub fn map<N>(self, f: impl FnMut(M) -> N) -> Judgement<N> {
        Judgement {
            metrics: self.metrics.into_iter().map(f).collect(),
            verdict: self.verdict,
            fail_evidence: self.fail_evidence,
            fail_at: self.fail_at,
            hold_limit: self.hold_limit,
            no_harm: self.no_harm,
            windows: self.windows,
            step_requests: self.step_requests,
            exposure: self.exposure,
            slowest: self.slowest,
            incident: self.incident,
            load: self.load,
        }
    }
}

/// What is found of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Index of the metric in the plan.
    pub metric: usize,
    /// All of it but the text.
    pub evidence: MetricEvidence,
    /// What the text says.
    pub says: Says,
    /// The newest windows, so many in a row, had no data.
    pub missing: u32,
    /// Windows of history, where they are fewer than [`super::dispersion::ENOUGH_WINDOWS`].
    pub history: Option<usize>,
}

/// What there is to say of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// Nothing.
    Nothing,
    /// The two arms' counts do not fit each other: different buckets or kinds.
    NotComparable,
    /// No window was counted yet.
    NoWindow,
    /// No window with both arms was counted in this step yet.
    NoWindowOfStep,
    /// Margins are not known yet: so many windows of stable were counted.
    Calibrating(usize),
    /// At 100 %: no canary request was counted yet.
    NoneAtFull,
    /// At 100 %: stable was not counted before the switch.
    NoBaseline,
    /// At 100 %: there is nothing to compare.
    NothingAtFull,
    /// At 100 %: this kind of metric is not compared.
    NotAtFull,
    /// At 100 %: a share against that of stable before the switch.
    Switched(Switched),
    /// A share against stable's.
    Share(Box<Share>),
    /// A share at one scrape.
    Plain(Plain),
    /// A distance between distributions.
    Distance(Box<Distance>),
    /// A value against limits.
    Range {
        /// Where it is.
        range: Range,
        /// The newest value in this step.
        value: Option<f64>,
    },
}

/// What an estimate is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    /// It is proved to be below this.
    Proved(f64),
    /// The limit that fails.
    Limit(f64),
}

/// A number of each arm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Both {
    /// Of the canary.
    pub canary: f64,
    /// Of stable.
    pub stable: f64,
}

/// A share against stable's.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// It is the share above this bound; `None`: of bad requests.
    pub bound: Option<f64>,
    /// The shares.
    pub share: Both,
    /// What canary's share is held against.
    pub against: Against,
    /// Requests counted.
    pub n: Both,
    /// Confidence bounds of the difference.
    pub interval: (f64, f64),
    /// The difference that stable shows against itself.
    pub by_chance: f64,
    /// Bounds above which nothing can be proved in this step.
    pub left_out: Vec<f64>,
    /// Requests a second of both arms.
    pub rps: f64,
    /// Something of it can be proved.
    pub gates: bool,
}

/// What was plain at one scrape: the share of bad requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plain {
    /// The shares.
    pub share: Both,
    /// Requests counted.
    pub n: Both,
    /// Seconds over which they came.
    pub seconds: f64,
}

/// One column of a distribution.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// A class.
    Class(String),
    /// All classes that are not kept by name.
    Others,
    /// What is above a bound.
    Above(f64),
    /// Everything.
    All,
}

/// A distance between distributions.
#[derive(Clone, Debug, PartialEq)]
pub struct Distance {
    /// Of classes (total variation), not of a histogram (Kolmogorov-Smirnov).
    pub classes: bool,
    /// How far.
    pub value: f64,
    /// The distance of stable against itself.
    pub by_chance: f64,
    /// What it is held against.
    pub against: Against,
    /// Requests counted.
    pub n: Both,
    /// The column with the largest difference, and its shares.
    pub most: Option<(Column, Both)>,
    /// The largest columns of stable, and their shares.
    pub stable: Vec<(Column, f64)>,
    /// The largest columns of the canary, and their shares.
    pub canary: Vec<(Column, f64)>,
    /// Confidence bounds.
    pub interval: (f64, f64),
    /// Jensen-Shannon distance.
    pub jensen_shannon: f64,
    /// Population stability index.
    pub psi: f64,
    /// Users were picked by a match: it is shown and does not gate.
    pub picked: bool,
    /// The limit that holds, where it was crossed: distance, and factor and addend of a class' rate.
    pub crossed: Option<(f64, f64, f64)>,
}

/// At 100 %: a share against that of stable before the switch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Switched {
    /// It is the share above this bound; `None`: of bad requests.
    pub bound: Option<f64>,
    /// The shares; stable's before the switch.
    pub share: Both,
    /// The limit that fails.
    pub limit: f64,
    /// Requests counted.
    pub n: Both,
}

/// Which side of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Above its upper limit.
    Above,
    /// Below its lower limit.
    Below,
}

/// A value against limits.
#[derive(Clone, Debug, PartialEq)]
pub enum Range {
    /// It was beyond a limit for long enough.
    Broken {
        /// The value then.
        was: f64,
        /// The limit.
        limit: f64,
        /// Its side; `None`: the limits were edited since.
        side: Option<Side>,
        /// For how long.
        seconds: f64,
        /// At so many looks in a row.
        looks: u32,
        /// The value now, if it is within.
        now: Option<f64>,
    },
    /// There is no value: why, if it was asked.
    Absent(Option<String>),
    /// It is beyond a limit, but not for long enough.
    Beyond {
        /// The value.
        value: f64,
        /// The limit.
        limit: f64,
        /// Its side.
        side: Side,
        /// At so many looks in a row.
        looks: u32,
    },
    /// It is within.
    Within(f64),
}
