//! What a decision is made of: the route, the pods and the newest look at the metrics, as values. Absence and error are values here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::{Reason, SourceStatus};
use crate::command::{Command, RefusedCommand};
use crate::judge::{Evidence, Judgement, Late, StepTerms};
use crate::plan::{AnalysisPlan, Plan, Share};
use crate::route::{RouteFault, View};

/// Everything that a decision is made of, beside the state.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Namespace of the Rollout.
    pub namespace: String,
    /// Name of the Rollout.
    pub name: String,
    /// Uid of the Rollout.
    pub uid: String,
    /// Generation of its spec.
    pub generation: i64,
    /// It is being deleted.
    pub deleting: bool,
    /// It carries our finalizer.
    pub finalizer: bool,
    /// What it means, or all its faults in words.
    pub plan: Result<Plan, String>,
    /// Commands not handled yet, abort first.
    pub commands: Vec<Result<Command, RefusedCommand>>,
    /// The managed route.
    pub route: Result<View, RouteFault>,
    /// Whose claim is on it.
    pub holder: Holder,
    /// By a claim of this Rollout a canary gets something in a route of the object, whether that route can be found or not.
    pub claimed: bool,
    /// Other VirtualServices that lead to a subset of the route's host, in words, with the subset. Looked for while stable or the canary may
    /// lose the last of this route.
    pub elsewhere: Vec<(String, String)>,
    /// The Service has one port.
    pub one_port: bool,
    /// Other VirtualServices for the same host, in words; looked for while nothing is rolled out, and those of the Gateway API always.
    pub rivals: Vec<String>,
    /// The versions that matter here, by name.
    pub versions: BTreeMap<String, Deployed>,
    /// The newest look at the metrics.
    pub look: Option<Look>,
    /// A provider or sink that the spec names is not in the configuration.
    pub config_problem: Option<Problem>,
    /// Passes of this process since the present weight was read back.
    pub passes: u32,
    /// What the API server or a webhook said when it refused the newest downward patch.
    pub refusal: Option<String>,
    /// What was said when the newest upward patch was refused, until it is time to try again.
    pub raise_refused: Option<String>,
    /// Where the source of models stands, if the spec has one.
    pub source: Option<SourceStatus>,
    /// What a source of models brings to the canary first, in words: until then nothing starts.
    pub pending: Option<String>,
    /// The route was read from the API server in this pass, not from the cache.
    pub fresh: bool,
}

impl Observation {
    /// `kubectl -n ml scale deployment fraud-v2 --replicas=3`, for a version by its name.
    pub fn scale_line(&self, name: &str, need: u32) -> String {
        let workload = self.versions.get(name).map(|seen| seen.arm.workload.as_str()).filter(|name| !name.is_empty());
        format!("kubectl -n {} scale deployment {} --replicas={need}", self.namespace, workload.unwrap_or(name))
    }
}

/// Whose claim is on the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody's.
    Nobody,
    /// This Rollout's.
    Us,
    /// Another Rollout's, by name; it exists.
    Other(String),
    /// A Rollout's that does not exist any more: void, but for its latch.
    Gone,
}

impl Holder {
    /// Whose claim is on a route that was looked for. `alive` says whether a Rollout of its namespace with that name and uid exists.
    pub fn of(route: &Result<View, RouteFault>, uid: &str, alive: impl Fn(&str, &str) -> bool) -> Self {
        match route.as_ref().ok().and_then(|view| view.claim.as_ref()) {
            None => Self::Nobody,
            Some(claim) if claim.uid == uid => Self::Us,
            Some(claim) if alive(&claim.rollout, &claim.uid) => Self::Other(claim.rollout.clone()),
            Some(_) => Self::Gone,
        }
    }
}

/// A version as it is deployed: what names it, and the pods behind it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployed {
    /// The DestinationRules that speak for the host have its subset; or its Service is there.
    pub declared: bool,
    /// Why a rule that has it does not count, with the fix; nothing if it is declared, or if no rule has it.
    pub undeclared: String,
    /// Labels that make its subset, by name.
    pub labels: BTreeMap<String, String>,
    /// pod-template-hash or controller-revision-hash of its pods that are not being deleted.
    pub revisions: BTreeSet<String>,
    /// What `haldane.dev/model` says on them.
    pub models: BTreeSet<String>,
    /// Names of the workloads that own them.
    pub workloads: BTreeSet<String>,
    /// Its pods that are not being deleted.
    pub arm: Arm,
}

impl Deployed {
    /// Pods whose endpoint is ready.
    pub fn ready(&self) -> u32 {
        u32::try_from(self.arm.pods.iter().filter(|pod| pod.ready_since.is_some()).count()).unwrap_or(u32::MAX)
    }

    /// The one revision, if there is exactly one.
    pub fn revision(&self) -> Option<&str> {
        self.revisions.first().filter(|_| self.revisions.len() == 1).map(String::as_str)
    }

    /// Since when as many pods as now are ready.
    pub fn ready_since(&self) -> Option<Timestamp> {
        self.arm.pods.iter().filter_map(|pod| pod.ready_since).max()
    }
}

/// What a sampler works from: whom to watch, since when, and the evidence so far.
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
    pub evidence: Arc<Evidence>,
    /// End of the newest window in `evidence`.
    pub resume_after: Option<Timestamp>,
}

impl Brief {
    /// The Service that is the canary's alone: what is sent to it is the canary's, whether or not anybody answers.
    pub fn canary_service(&self) -> Option<&str> {
        self.canary.service.as_deref().filter(|service| self.stable.service.as_deref() != Some(service))
    }
}

/// Identity of a step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepKey {
    /// Epoch at which the step's evidence began.
    pub epoch: i64,
    /// Index of the step; `None` before the first (preflight) and after the last word (drain).
    pub step: Option<usize>,
    /// What the canary gets, as programmed.
    #[serde(flatten)]
    pub share: Share,
}

/// The pods of one arm.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arm {
    /// Host of the route that leads to it, as written there.
    pub host: String,
    /// Name of the workload (Deployment, StatefulSet) that owns the pods: `destination_workload`.
    pub workload: String,
    /// Value of the pods' label `version`, if they have one.
    pub version: Option<String>,
    /// The subset or the Service that they are.
    pub name: String,
    /// Name of the Service that selects the pods of this version alone; `None`: the versions are subsets of one Service.
    pub service: Option<String>,
    /// Their revision, as it was when the rollout began.
    pub revision: String,
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
    pub evidence: Arc<Evidence>,
    /// What it says.
    pub judgement: Judgement,
    /// Preflight on stable is done: label, reporter and baseline are known.
    pub ready: bool,
    /// Why the newest look could not be used.
    pub problem: Option<Problem>,
    /// Canary requests in the newest window at all (for Drained), if it could be read.
    pub canary_in_window: Option<u64>,
    /// Requests of the canary's share that no workload answered; they are in its counts.
    pub unanswered: Option<Unanswered>,
    /// What is to be known of the counts although they can be used.
    pub note: Option<String>,
    /// What it means for the steps to come.
    pub later: Later,
}

/// Which of the steps to come the traffic is not enough for. It is worked out once for a look, however many passes go by it, and is no part
/// of what the look says.
#[derive(Clone, Debug, Default)]
pub struct Later(Arc<OnceLock<(Limits, Option<Late>)>>);

/// Hold and deadline of each step to come, in seconds.
pub type Limits = Vec<(f64, f64)>;

impl Later {
    /// As it was worked out; where these limits are others, worked out now.
    pub fn at(&self, limits: Limits, work_out: impl Fn(&Limits) -> Option<Late>) -> Option<Late> {
        let (known, late) = self.0.get_or_init(|| (limits.clone(), work_out(&limits)));
        if *known == limits { late.clone() } else { work_out(&limits) }
    }
}

impl PartialEq for Later {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Requests that no workload answered and that count against the canary, since its present share was set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unanswered {
    /// How many.
    pub requests: u64,
    /// Requests that stable answered meanwhile.
    pub stable: u64,
    /// Response flags of them, the most frequent first.
    pub flags: String,
    /// The service, as the senders name it.
    pub service: String,
    /// The canary answered none at all in the newest window.
    pub dead: bool,
}

/// Why there is nothing to decide on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub reason: Reason,
    /// In words, with numbers and the fix.
    pub message: String,
    /// Whether metrics are unavailable (`MetricsAvailable=False`) or there, but not to be trusted (share, bypass).
    pub unavailable: bool,
}
