//! Why a window was not counted.

use jiff::Timestamp;

use super::{Doubled, Side};

/// Why a window was not counted: missing data is never a failure and never a pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// No target of either arm has a sample in the window.
    #[error(
        "no target of either arm was scraped in this window (or the clocks of Prometheus and the controller differ by more than the lag)"
    )]
    NothingRead,
    /// A ready pod has no target that answered its newest scrape.
    #[error("{side} pod {pod} is ready, but has no scraped target in job {job}")]
    NotScraped {
        /// Arm of the pod.
        side: Side,
        /// Name.
        pod: String,
        /// Scrape job.
        job: String,
    },
    /// No newer sample than at the look before, or than the begin of the step.
    #[error("{what} was not scraped in this window; newest sample {newest}")]
    Stale {
        /// Pod or target.
        what: String,
        /// Time of its newest sample.
        newest: Timestamp,
    },
    /// Two scrape targets count the same pod.
    #[error("pod {pod} is scraped twice (jobs {} and {}): every count is double", jobs[0], jobs[1])]
    Duplicate {
        /// Name.
        pod: String,
        /// Their jobs.
        jobs: [String; 2],
    },
    /// A series of which it is not known where it began: only its value is kept.
    #[error("pod {pod} has a new series in job {job} that did not begin in this window; counting continues from its value")]
    NoBaseline {
        /// Name of the pod, or the target's host.
        pod: String,
        /// Scrape job.
        job: String,
    },
    /// A label was added, taken away or changed on all series of a target: where the new ones began is not known.
    #[error("the series of pod {pod} in job {job} have other labels than before; counting continues from their values")]
    Renamed {
        /// Name of the pod, or the target's host.
        pod: String,
        /// Scrape job.
        job: String,
    },
    /// A counter fell a little and stayed there.
    #[error(
        "a counter of pod {pod} in job {job} fell and stayed lower, and its process did not restart; counting continues from its new value"
    )]
    Fell {
        /// Name of the pod, or the target's host.
        pod: String,
        /// Scrape job.
        job: String,
    },
    /// A value that a restart of that process cannot give.
    #[error("a counter of pod {pod} in job {job} fell from {before} to {after}, more than a restarted process can have counted since")]
    Unbelievable {
        /// Name of the pod, or the target's host.
        pod: String,
        /// Scrape job.
        job: String,
        /// Highest value before.
        before: u64,
        /// Value after the fall.
        after: u64,
    },
    /// A gain that the target cannot have had.
    #[error("pod {pod} counted {gained} in job {job} where {usual} is the most it had in as long a time, and nothing else confirms that")]
    Jump {
        /// Name of the pod, or the target's host.
        pod: String,
        /// Scrape job.
        job: String,
        /// In this window.
        gained: u64,
        /// The most so far, for a window as long.
        usual: u64,
    },
    /// Requests and durations of the same target that cannot both be right.
    #[error("pod {pod} counted {requests} requests and the durations of {durations} in job {job}: one of the two is wrong")]
    Apart {
        /// Name of the pod, or the target's host.
        pod: String,
        /// Scrape job.
        job: String,
        /// Requests of this window.
        requests: u64,
        /// Durations of this window.
        durations: u64,
    },
    /// A pod that keeps serving has lost all series of one metric.
    #[error("pod {pod} keeps serving, but all its series of one metric in job {job} are missing from the answer")]
    Missing {
        /// Name of the pod, or the target's host.
        pod: String,
        /// Scrape job.
        job: String,
    },
    /// Every series is there once for each value of a label.
    #[error("{0}")]
    Doubled(Doubled),
    /// A histogram has other bounds than at the look before.
    #[error("the histogram of pod {pod} has other bounds than at {at}")]
    BoundsChanged {
        /// Name of the pod, or the target's host.
        pod: String,
        /// Time of the sample before.
        at: Timestamp,
    },
    /// A canary pod is warming up.
    #[error("canary pod {pod} warms up until {until}")]
    WarmUp {
        /// Name.
        pod: String,
        /// When it is over.
        until: Timestamp,
    },
    /// More series than one rollout may hold.
    #[error("more than {most} series")]
    TooManySeries {
        /// The bound.
        most: usize,
    },
}
