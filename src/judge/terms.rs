//! What a step is to the judge.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::cold::Young;
use crate::plan::{Metric, Share};

/// What the judge must know of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepTerms {
    /// Canary's part of all that is counted in this step, copies among it, 0 to 1; of a match it is a guess. At 1 there is no stable arm: the
    /// bake (statistics 2k).
    pub weight: f64,
    /// Share that a Pass opens the way to, 0 to 1; 1 for the step before 100 % and for the last step.
    pub next_weight: f64,
    /// Windows that the hold is planned to show.
    pub planned_windows: u32,
    /// Names of metrics that do not gate this step.
    pub without: Vec<String>,
    /// What the canary gets.
    #[serde(default)]
    pub share: Share,
    /// Number of the kind of traffic: steps have the same one where users at random, users of a match and copies are the same. What was
    /// counted of one kind is no evidence of another.
    #[serde(default)]
    pub kind: u32,
}

impl StepTerms {
    /// A step that gives the canary this share of the users and judges everything.
    pub fn weighted(weight: f64, next_weight: f64, planned_windows: u32) -> Self {
        let percent = (100.0 * weight).round().clamp(0.0, 100.0) as u8;
        Self { weight, next_weight, planned_windows, without: Vec::new(), share: Share::weight(percent), kind: 0 }
    }

    /// Requests of stable and of the canary that are counted for one of a user.
    pub fn split(&self) -> [f64; 2] {
        [1.0 - self.weight, self.weight].map(|share| share * self.counted())
    }

    /// Requests that are counted for one of a user: copies count too.
    pub(super) fn counted(&self) -> f64 {
        1.0 + f64::from(self.share.mirror) / 100.0
    }

    /// Windows after which the test of a pass is planned. The last two of a hold are seen only after it: the first begins a scrape after the
    /// weight was read back, and each is read `lag` after its end, with the usual lag together less than two windows.
    pub(super) fn tested_windows(&self) -> u32 {
        self.planned_windows.saturating_sub(2).max(self.planned_windows.div_ceil(2))
    }

    /// Whether a metric has a say in this step.
    pub fn asks(&self, metric: &Metric) -> bool {
        metric.gate && !self.without.contains(&metric.name)
    }

    /// Whether the canary is compared with stable in this step by a metric that has a say in it.
    pub fn compares(&self, metric: &Metric) -> bool {
        self.weight < 1.0 && self.asks(metric) && !metric.kind.is_threshold()
    }
}

/// A planned step with two arms: canary's part of what is counted, windows, kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Planned(pub(super) f64, pub(super) u32, #[serde(default)] pub(super) u32);

impl Planned {
    pub(super) fn of(step: &StepTerms) -> Self {
        Self(step.weight, step.planned_windows, step.kind)
    }
}

pub(super) fn one() -> u32 {
    1
}

/// How many kinds of traffic are judged against a stable arm, at least one.
pub(super) fn kinds(steps: &[StepTerms]) -> u32 {
    let kinds: BTreeSet<u32> = steps.iter().filter(|step| step.weight < 1.0).map(|step| step.kind).collect();
    u32::try_from(kinds.len()).unwrap_or(u32::MAX).max(1)
}

/// What the parts must know of the whole.
pub(crate) struct Context<'a> {
    /// The steps with two arms.
    pub(crate) steps: &'a [Planned],
    /// Which of them is the present one.
    pub(crate) step: usize,
    /// A metric's part in the merge.
    pub(crate) part: f64,
    /// Terms of the present step.
    pub(crate) present: Option<&'a StepTerms>,
    /// Canary pods at the start.
    pub(crate) canary_pods: u32,
    /// Ready pods of stable and of the canary in the newest window; 0: not known.
    pub(crate) pods: [u32; 2],
    /// Pods can be told apart.
    pub(crate) by_pod: bool,
    /// Length of a window in seconds.
    pub(crate) interval_seconds: f64,
    /// The rollout has failed already: what holds is no longer of interest.
    pub(crate) failed: bool,
    /// Where fail evidence of the present kind of traffic fails the rollout.
    pub(crate) fail_at: f64,
    /// An incident hits stable too: what is counted now proves nothing.
    pub(crate) frozen: bool,
    /// Pods of the canary got their first requests a short time ago.
    pub(crate) young: Option<Young>,
}
