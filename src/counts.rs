//! Raw counters to windows of counts. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod dropped;
mod glance;
mod history;
mod identity;
mod labels;
mod meter;
mod pace;
mod series;
mod share;
mod snapshot;
mod tracker;
mod unanswered;
mod window;

pub use dropped::Dropped;
pub use glance::{Begin, Gained, Glance, Glances};
pub use history::{chosen, identity, past};
pub use identity::{Doubled, Mixed};
pub use labels::{Label, Labels, Words};
pub use meter::gain;
use series::host;
pub use series::{NAME, Series, Target, pod_of};
pub use share::{Programmed, ShareFault, Shares};
pub use snapshot::{Family, Pod, Reading, Scope, Side};
pub use tracker::{Delta, Deltas, Outcome, Tracker};
pub use unanswered::{Background, Blame, ByFlags, Charge, NOT_REACHED, Seen, Unanswered};
pub use window::is_error;

/// Counts of one metric of one arm (or one pod) in one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Counts {
    /// Requests, and how many of them were bad.
    Events {
        /// Requests.
        total: u64,
        /// Bad ones among them.
        bad: u64,
    },
    /// A histogram: `above[j]` observations were greater than `bounds[j]`, of `total`. Bounds ascend and are finite.
    Histogram {
        /// Upper bounds of the buckets, ascending, without +Inf.
        bounds: Vec<f64>,
        /// Observations greater than the bound.
        above: Vec<u64>,
        /// All observations.
        total: u64,
    },
    /// A count for each class.
    Classes(BTreeMap<String, u64>),
}

/// Key in a [`Sample`] of all requests of the mesh and the errors among them, where no metric counts them: by them exposure is counted. No
/// metric has an empty name.
pub const REQUESTS: &str = "";

/// What one arm (or one pod) did in one window: metric name to counts. A metric that could not be read is absent.
pub type Sample = BTreeMap<String, Counts>;

/// One window of both arms, same minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Begin, exclusive.
    pub start: Timestamp,
    /// End, inclusive.
    pub end: Timestamp,
    /// Canary's programmed share, 0 to 1, the same over the whole window.
    pub weight: f64,
    /// Stable's counts.
    pub stable: Sample,
    /// Canary's counts.
    pub canary: Sample,
    /// Ready pods of stable in the window.
    pub stable_pods: u32,
    /// Ready pods of the canary in the window.
    pub canary_pods: u32,
}

/// Stable alone, before the rollout: for calibration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Length of a window in seconds.
    pub interval_seconds: f64,
    /// Windows in order of time, each with the counts of each pod. Where pods cannot be told apart there is one entry, "".
    pub windows: Vec<BTreeMap<String, Sample>>,
    /// Whether the entries are pods (else the gateway's or client's view: dispersion from consecutive windows).
    pub by_pod: bool,
}
