//! Is the canary worse than stable? The statistics. Pure.

use serde::{Deserialize, Serialize};

use crate::api::{Exposure, MetricEvidence, Verdict};
use crate::counts::{History, Window};
use crate::plan::Metric;

/// What the judge must know of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepTerms {
    /// Canary's share in this step, 0 to 1. At 1 there is no stable arm: the bake (statistics 2k).
    pub weight: f64,
    /// Share that a Pass opens the way to, 0 to 1; 1 for the step before 100 % and for the last step.
    pub next_weight: f64,
    /// Windows that the hold is planned to show.
    pub planned_windows: u32,
    /// Names of metrics that do not gate this step.
    pub without: Vec<String>,
}

/// All evidence of one rollout: a value that goes into the checkpoint as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Length of a window in seconds.
    pub interval_seconds: f64,
}

/// What the evidence says at one look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// All metrics together. `Pass` at weight 1 is never given: there `Inconclusive` means "did not fail".
    pub verdict: Verdict,
    /// One entry for each metric of the plan, the deciding one first.
    pub metrics: Vec<MetricEvidence>,
    /// Merged fail evidence (statistics 2d); 1 is none.
    pub fail_evidence: f64,
    /// Where it fails.
    pub fail_at: f64,
    /// Whether a limit that holds was crossed (drift's first limit).
    pub hold_limit: bool,
    /// Nothing points to harm: fail evidence below 2, estimates within the fail margins, 200 canary requests (PromoteIfNoHarm).
    pub no_harm: bool,
    /// Windows used in this step.
    pub windows: u32,
    /// Canary requests counted in this step.
    pub step_requests: u64,
    /// Requests counted over the whole rollout.
    pub exposure: Exposure,
    /// Why the plan cannot be decided at this traffic, with the numbers and the change that would do.
    pub infeasible: Option<String>,
}

impl Evidence {
    /// Evidence of nothing yet.
    pub fn new(_metrics: &[Metric], interval_seconds: f64) -> Self {
        Self { interval_seconds }
    }

    /// Freezes margins, watched bounds and dispersion from stable's past. With too little history it is left open, and the first 20
    /// windows of the rollout do it; until then neither side accrues.
    pub fn calibrate(&mut self, _metrics: &[Metric], _history: &History, _steps: &[StepTerms], _canary_pods: u32) {}

    /// Whether margins are frozen.
    pub fn calibrated(&self) -> bool {
        false
    }

    /// Restarts the pass side, at the begin of a step (or when a person resumes).
    pub fn begin_step(&mut self, _metrics: &[Metric], _step: &StepTerms) {}

    /// Adds one window.
    pub fn add(&mut self, _metrics: &[Metric], _step: &StepTerms, _window: &Window) {}

    /// What it says now.
    pub fn judge(&self, _metrics: &[Metric], _step: &StepTerms) -> Judgement {
        Judgement {
            verdict: Verdict::Inconclusive,
            metrics: Vec::new(),
            fail_evidence: 1.0,
            fail_at: 1.0,
            hold_limit: false,
            no_harm: false,
            windows: 0,
            step_requests: 0,
            exposure: Exposure::default(),
            infeasible: None,
        }
    }
}
