//! What a restart must know, and how it goes to and from status. Pure.

mod bound;
pub mod brief;
mod project;

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::api::{
    Actor, AnyReason, DecisionRecord, Destination, HistoryEntry, Outcome, RefusedRevision, RejectedCommand, RolloutStatus, RouteKind,
    RouteRef, Version,
};
use crate::judge::Evidence;
use crate::plan::{Plan, Share, Step};
use crate::seen::StepKey;

pub use bound::bounded;
pub use project::{Stance, beyond_weight, project, same_but_for_time};

/// The newest version of the checkpoint. A controller refuses one that is newer than its own.
const CHECKPOINT: u32 = 2;
/// That of a checkpoint in which every version is a subset and every route one of a VirtualService: a controller that knows nothing else reads
/// it too.
const OF_SUBSETS: u32 = 1;

/// Everything that is decided on beside what is observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// +1 with every change of traffic or of what is wanted. Never decreases.
    pub epoch: i64,
    /// What serves everybody when nothing is rolled out.
    pub stable: Option<Version>,
    /// The rollout under way.
    pub run: Option<Run>,
    /// The one that ended last.
    pub ended: Option<Ended>,
    /// The last promotion, for as long as `rollback` can undo it: a rollout that ended otherwise since then takes nothing from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Ended>,
    /// Retries recorded: revision to epoch. A latch of that revision with a lower epoch is void.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retried: BTreeMap<String, i64>,
    /// A drift of the idle route that was reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_told: Option<String>,
    /// In status as it is, not in the checkpoint.
    #[serde(skip)]
    pub refused: Vec<RefusedRevision>,
    /// In status as it is, not in the checkpoint.
    #[serde(skip)]
    pub history: Vec<HistoryEntry>,
    /// In status as it is, not in the checkpoint.
    #[serde(skip)]
    pub handled: BTreeMap<String, String>,
    /// In status as it is, not in the checkpoint.
    #[serde(skip)]
    pub rejected: BTreeMap<String, RejectedCommand>,
    /// In status as it is, not in the checkpoint.
    #[serde(skip)]
    pub decision: Option<DecisionRecord>,
}

/// A rollout under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The plan in force: the last valid one, as adopted.
    pub plan: Plan,
    /// Stable's side.
    pub stable: Version,
    /// Canary's side.
    pub canary: Version,
    /// When it began.
    pub started: Timestamp,
    /// When the canary got its first share.
    pub exposed: Option<Timestamp>,
    /// Stable's ready pods at the start: what room is measured by.
    pub stable_pods: u32,
    /// Index of the step whose weight was read back; `None` before the first.
    pub step: Option<usize>,
    /// What the canary gets, as last read back.
    #[serde(flatten)]
    pub share: Share,
    /// Epoch of the write that was last read back; 0 before the first.
    pub read_back: i64,
    /// Epoch at which the present evidence key began.
    pub key_epoch: i64,
    /// When the present weight was read back.
    pub since: Option<Timestamp>,
    /// Time of the step in which its deadline stood still.
    pub stopped: f64,
    /// Since when it stands still: a command or `spec.paused` paused it.
    #[serde(default)]
    pub standing: Option<Timestamp>,
    /// An incident hits both versions: the step's clock stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<InIncident>,
    /// Time at the present weight in which hold and deadline stood still for such incidents, seconds.
    #[serde(default)]
    pub frozen: f64,
    /// Times that the canary went one weight back for one.
    #[serde(default)]
    pub stepped_back: u32,
    /// A raise that is decided and not read back yet.
    pub intent: Option<Intent>,
    /// A way down that is decided and could not be written yet.
    pub down: Option<Down>,
    /// Why a person or an edit keeps it from advancing.
    pub pause: Option<Pause>,
    /// The canary lost its pods.
    pub unavailable: Option<Unavailable>,
    /// Times that it lost them.
    pub losses: u32,
    /// Foreign lowerings seen, newest last (at most two kept).
    pub lowered: Vec<Timestamp>,
    /// Metrics whose limit that holds was crossed when a person promoted past it: that difference is accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted_limits: Vec<String>,
    /// When the deadline's hold was last reported.
    pub deadline_told: Option<Timestamp>,
    /// The limit that holds was reported.
    pub hold_told: bool,
    /// That the canary has too few pods was reported.
    #[serde(default)]
    pub room_told: bool,
    /// That the route refuses the next step was reported.
    #[serde(default)]
    pub refusal_told: bool,
    /// Generation of the spec whose changes that count from the next rollout were reported.
    #[serde(default)]
    pub edit_told: i64,
    /// Since when there are no metrics.
    pub metrics_lost: Option<Timestamp>,
    /// That was reported.
    pub metrics_told: bool,
    /// Evidence at the newest look.
    pub evidence: Option<Arc<Evidence>>,
    /// End of the newest window in it.
    pub evidence_until: Option<Timestamp>,
}

/// An incident that hits both versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InIncident {
    /// Since when the step's clock stands still.
    pub since: Timestamp,
    /// What was last seen of it.
    pub message: String,
    /// The canary went one weight back for it.
    pub stepped_back: bool,
}

/// A raise that is decided. It is in status before the route is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Index of the step.
    pub step: usize,
    /// Epoch of the write to come.
    pub epoch: i64,
    /// After this the evidence is too old: judge again. `None`: not on evidence, fenced by its epoch alone.
    pub expires: Option<Timestamp>,
    /// Back to the weight of the present step, which continues.
    pub restores: bool,
}

/// A way down that could not be written yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Down {
    /// RolledBack, Failed or Aborted.
    pub outcome: Outcome,
    /// Why.
    pub reason: AnyReason,
    /// In words.
    pub message: String,
    /// Who, for a command.
    pub by: Option<Actor>,
    /// Id of the command.
    pub command: Option<String>,
    /// Go even if stable has no ready endpoint.
    pub force: bool,
    /// Why it is not written: StableUnavailable or RouteRefused.
    #[serde(with = "text_or_empty")]
    pub blocked: Option<AnyReason>,
}

/// No reason is an empty text in the checkpoint.
mod text_or_empty {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::api::AnyReason;

    #[expect(clippy::ref_option, reason = "serde asks for a reference")]
    pub(super) fn serialize<S: Serializer>(reason: &Option<AnyReason>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(reason.as_ref().map_or("", AnyReason::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<AnyReason>, D::Error> {
        let word = String::deserialize(from)?;
        Ok((!word.is_empty()).then(|| word.into()))
    }
}

/// Why it does not advance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pause {
    /// Why: ManualPause, ApprovalRequired, ManualOverride, Contended.
    pub reason: AnyReason,
    /// In words.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
    /// Who, for a command.
    pub by: Option<Actor>,
}

/// The canary lost its pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unavailable {
    /// Since when.
    pub since: Timestamp,
}

/// How the last rollout ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Promoted, Passed, Failed, RolledBack, Aborted, or Lowered (nothing was decided).
    pub outcome: Outcome,
    /// Why.
    pub reason: AnyReason,
    /// In words.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// The version that stayed.
    pub stable: Version,
    /// The version tried.
    pub canary: Version,
    /// The plan that it followed: for watching the canary's traffic drain, and for whether the same is asked for again. Not there in what
    /// an older controller stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// No canary request was seen any more.
    pub drained: bool,
}

impl Run {
    /// A rollout of which nothing is written yet.
    pub fn new(plan: Plan, stable: Version, canary: Version, started: Timestamp, epoch: i64) -> Self {
        let evidence = Evidence::new(&plan.analysis.metrics, plan.analysis.interval.as_secs_f64());
        Self {
            plan,
            stable,
            canary,
            started,
            exposed: None,
            stable_pods: 0,
            step: None,
            share: Share::NONE,
            read_back: 0,
            key_epoch: epoch,
            since: None,
            stopped: 0.0,
            standing: None,
            intent: None,
            down: None,
            pause: None,
            unavailable: None,
            losses: 0,
            lowered: Vec::new(),
            accepted_limits: Vec::new(),
            deadline_told: None,
            hold_told: false,
            room_told: false,
            refusal_told: false,
            edit_told: 0,
            incident: None,
            frozen: 0.0,
            stepped_back: 0,
            metrics_lost: None,
            metrics_told: false,
            evidence: Some(Arc::new(evidence)),
            evidence_until: None,
        }
    }

    /// Another step: what holds it is reported again.
    pub fn say_again(&mut self) {
        (self.deadline_told, self.hold_told, self.room_told, self.refusal_told) = (None, false, false, false);
    }

    /// The step whose weight is programmed, if one is.
    pub fn present(&self) -> Option<&Step> {
        self.plan.steps.get(self.step?)
    }

    /// Whether copies are all that the canary gets: no user sees what it answers.
    pub fn unseen(&self) -> bool {
        self.share.mirror > 0 && !self.share.reaches_users()
    }

    /// The step after it (the first, before the first).
    pub fn coming(&self) -> Option<(usize, &Step)> {
        let index = self.step.map_or(0, |step| step + 1);
        self.plan.steps.get(index).map(|step| (index, step))
    }

    /// Identity of what is being watched.
    pub fn key(&self) -> StepKey {
        StepKey { epoch: self.key_epoch, step: self.step, share: self.share }
    }

    /// How long the present weight has been there, incidents that hit both versions left out.
    pub fn held(&self, now: Timestamp) -> SignedDuration {
        let whole = self.since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
        let present = self.incident.as_ref().map_or(0.0, |incident| now.duration_since(incident.since).as_secs_f64().max(0.0));
        let frozen = SignedDuration::try_from_secs_f64(self.frozen + present).unwrap_or(SignedDuration::ZERO);
        (whole - frozen).max(SignedDuration::ZERO)
    }

    /// How much of the step's deadline is spent: the clock stands while paused.
    pub fn spent(&self, now: Timestamp) -> f64 {
        let standing = self.standing.map_or(0.0, |since| now.duration_since(since).as_secs_f64().max(0.0));
        (self.held(now).as_secs_f64() - self.stopped - standing).max(0.0)
    }
}

impl State {
    /// What is stored of it. Its version is the oldest one whose controllers understand all that is in it.
    pub fn checkpoint(&self) -> Option<Value> {
        let mut value = serde_json::to_value(self).ok()?;
        let version = if self.is_of_subsets() { OF_SUBSETS } else { CHECKPOINT };
        value.as_object_mut()?.insert("version".to_owned(), version.into());
        Some(value)
    }

    /// The same without the evidence, which is most of it.
    pub fn outline(&self) -> Option<Value> {
        let run = self.run.as_ref().map(|run| Run { evidence: None, evidence_until: None, ..run.clone() });
        Self { run, ..self.clone() }.checkpoint()
    }

    fn is_of_subsets(&self) -> bool {
        let (run, ended) = (self.run.as_ref(), || [&self.ended, &self.promoted].into_iter().flatten());
        let mut plans = run.map(|run| &run.plan).into_iter().chain(ended().filter_map(|ended| ended.plan.as_ref()));
        let ran = run.into_iter().flat_map(|run| [&run.stable, &run.canary]);
        let mut versions = ran.chain(ended().flat_map(|ended| [&ended.stable, &ended.canary])).chain(&self.stable);
        let known = |plan: &Plan| !plan.object.kind().is_gateway_api() && matches!(plan.canary, Destination::Subset(_));
        plans.all(known) && versions.all(|version| version.subset.is_some())
    }

    /// Whether a latch of this revision and epoch is in force.
    pub fn in_force(&self, revision: &str, epoch: i64) -> bool {
        self.retried.get(revision).is_none_or(|retried| *retried <= epoch)
    }

    /// The refusal of this revision, if there is one.
    pub fn refusal(&self, revision: &str) -> Option<&RefusedRevision> {
        self.refused.iter().find(|refused| refused.revision == revision)
    }
}

/// Why a stored status cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CheckpointError {
    /// Written by a newer controller.
    #[error(
        "status.checkpoint has version {0}, this controller knows up to {CHECKPOINT}: run the newer controller again, or delete the Rollout and create it again"
    )]
    Newer(u64),
    /// Not ours.
    #[error("status.checkpoint cannot be read: {0}")]
    Malformed(String),
}

/// Status to state. No checkpoint: nothing was ever done.
///
/// # Errors
/// When the checkpoint was written by a newer controller or is not ours.
pub fn restore(status: Option<&RolloutStatus>) -> Result<State, CheckpointError> {
    let Some(status) = status else { return Ok(State::default()) };
    let mut state = match &status.checkpoint {
        None => State { epoch: status.epoch, stable: status.stable.clone(), ..State::default() },
        Some(value) => {
            let version = value["version"].as_u64().unwrap_or_default();
            if version > u64::from(CHECKPOINT) {
                return Err(CheckpointError::Newer(version));
            }
            State::deserialize(value).map_err(|error| CheckpointError::Malformed(error.to_string()))?
        }
    };
    state.epoch = state.epoch.max(status.epoch);
    state.refused = status.refused.clone();
    state.history = status.history.clone();
    state.handled = status.handled.clone();
    state.rejected = status.rejected.clone();
    state.decision = status.decision.clone();
    Ok(state)
}

/// Whether a rollout is under way, as status says.
pub fn is_running(status: &RolloutStatus) -> bool {
    status.checkpoint.as_ref().is_some_and(|checkpoint| !checkpoint["run"].is_null())
}

/// The object with the route of the rollout under way, as status says.
pub fn running_route(status: &RolloutStatus) -> Option<RouteRef> {
    let plan = status.checkpoint.as_ref()?.pointer("/run/plan")?;
    RouteKind::ALL.into_iter().find_map(|kind| Some(RouteRef::new(kind, plan.get(kind.field())?.as_str()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(traffic: &Value, canary: &Value) -> Plan {
        let spec = json!({"traffic": traffic, "canary": canary, "strategy": {"canary": {}}});
        Plan::parse(&serde_json::from_value(spec).unwrap()).unwrap()
    }

    fn under_way(traffic: &Value, canary: &Value) -> State {
        let plan = plan(traffic, canary);
        let version = |name: &str| Version::new("fraud", &plan.canary.other(name), "77f");
        let run = Run::new(plan.clone(), version("v1"), version("v2"), Timestamp::UNIX_EPOCH, 1);
        State { stable: Some(version("v1")), run: Some(run), ..State::default() }
    }

    fn stored(state: &State) -> RolloutStatus {
        RolloutStatus { checkpoint: state.checkpoint(), ..RolloutStatus::default() }
    }

    #[test]
    fn a_checkpoint_has_the_oldest_version_that_understands_it() {
        let subset = json!({"subset": "v2"});
        let service = json!({"service": "v2"});
        for (traffic, canary, version) in [
            (json!({"virtualService": "fraud"}), &subset, 1),
            (json!({"virtualService": "fraud"}), &service, 2),
            (json!({"httpRoute": "fraud"}), &service, 2),
            (json!({"grpcRoute": "fraud"}), &service, 2),
        ] {
            let mut state = under_way(&traffic, canary);
            let status = stored(&state);
            assert_eq!(status.checkpoint.as_ref().unwrap()["version"], version, "{traffic} {canary}");
            assert_eq!(restore(Some(&status)).unwrap(), state);
            state.run = None;
            assert_eq!(state.checkpoint().unwrap()["version"], version, "{traffic} {canary}: stable alone");
        }
        assert_eq!(State::default().checkpoint().unwrap()["version"], 1);
    }

    #[test]
    fn a_checkpoint_of_a_newer_controller_is_refused_before_it_is_read() {
        let newer = RolloutStatus { checkpoint: Some(json!({"version": 3, "run": "something else"})), ..RolloutStatus::default() };
        assert_eq!(restore(Some(&newer)), Err(CheckpointError::Newer(3)));
    }
}
