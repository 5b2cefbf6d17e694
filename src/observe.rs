//! What is known before a decision: caches and the newest look at the metrics. Absence and error are values here.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::judge::{Evidence, Judgement, StepTerms};
use crate::plan::AnalysisPlan;

pub mod prometheus;
pub mod sampler;

/// What a sampler is told: whom to watch, since when, and the evidence to go on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Brief {
    /// Namespace of the Rollout, and of both arms.
    pub namespace: String,
    /// Name of the Rollout.
    pub name: String,
    /// Identity of the step being watched: looks carry it back, and a look of another step is not used.
    pub key: StepKey,
    /// What is measured.
    pub analysis: AnalysisPlan,
    /// Terms of every step, for calibration and forecast.
    pub steps: Vec<StepTerms>,
    /// Stable's side.
    pub stable: Arm,
    /// Canary's side.
    pub canary: Arm,
    /// When the present weight was read back from the mesh object: counts start there. `None` before the first step.
    pub since: Option<Timestamp>,
    /// Evidence up to `resume_after`, from the checkpoint.
    pub evidence: Evidence,
    /// End of the newest window in `evidence`.
    pub resume_after: Option<Timestamp>,
}

/// Identity of a step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepKey {
    /// Epoch at which the step's evidence began.
    pub epoch: i64,
    /// Index of the step; `None` before the first (preflight) and after the last word (drain).
    pub step: Option<usize>,
    /// Canary's programmed share in percent.
    pub weight: u8,
}

/// The pods of one arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arm {
    /// Name of the workload (Deployment, StatefulSet) that owns the pods: `destination_workload`.
    pub workload: String,
    /// Value of the pods' label `version`, if they have one.
    pub version: Option<String>,
    /// Pods by name, sorted.
    pub pods: Vec<ArmPod>,
}

/// One pod.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmPod {
    /// Name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Since when its endpoint is ready (as seen by us; creation time if it was ready when first seen). `None`: not ready.
    pub ready_since: Option<Timestamp>,
}

/// The newest look at the metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The step that it belongs to.
    pub key: StepKey,
    /// End of the newest window used.
    pub window_end: Option<Timestamp>,
    /// Evidence up to there, for the checkpoint.
    pub evidence: Evidence,
    /// What it says.
    pub judgement: Judgement,
    /// Preflight on stable is done: label, reporter and baseline are known.
    pub ready: bool,
    /// Why the newest look could not be used.
    pub problem: Option<Problem>,
    /// Canary requests in the newest window at all (for Drained), if it could be read.
    pub canary_in_window: Option<u64>,
}

/// Why there is nothing to decide on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A reason constant of [`crate::api::names::reason`].
    pub reason: &'static str,
    /// In words, with numbers and the mend.
    pub message: String,
    /// Whether metrics are unavailable (`MetricsAvailable=False`) or there, but not to be trusted (share, bypass).
    pub unavailable: bool,
}
