//! `status` of a Rollout: what the controller says, and what a restart needs.
#![allow(unreachable_pub)] // the derived schema has a private copy of each type

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AnyReason;

mod evidence;
mod source;

use super::Version;

pub use evidence::{
    ArmLoad, ArmValue, Distances, Effect, EvidenceReason, Forecast, Load, Measure, MeasureKind, MetricEvidence, Noise, Quantile,
};
pub use source::{SourceReason, SourceState, SourceStatus};

/// What the controller says of a Rollout.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for humans. Programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Newest verdict, for the printer column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// +1 with every start, rollback, abort, retry, override and every other change of traffic.
    #[serde(default)]
    pub epoch: i64,
    /// The version that serves everybody when nothing is rolled out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Version>,
    /// The version wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Version>,
    /// The present step, as read back from the mesh object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepStatus>,
    /// The newest decision: the same text as in events, alerts and `haldane explain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRecord>,
    /// The newest look, one entry for each metric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub evidence: Vec<MetricEvidence>,
    /// Requests per pod in the present step, as counted at the newest look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// The preset of the rollout under way, or of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<AppliedPreset>,
    /// Where the source of models stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceStatus>,
    /// What a restart needs; versioned, of no interest to users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved")]
    pub checkpoint: Option<serde_json::Value>,
    /// Revisions that were rolled back or aborted: not retried until the pods change or `haldane retry`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub refused: Vec<RefusedRevision>,
    /// Past rollouts, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<HistoryEntry>,
    /// Id of the last command handled, by verb.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub handled: BTreeMap<String, String>,
    /// Commands that were refused, by verb, the newest of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<String, RejectedCommand>,
    /// Alerts not delivered yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub outbox: Vec<OutboxEntry>,
    /// Alerts whose states still last. A sink is notified when they end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub alerting: Vec<OpenAlert>,
    /// Conditions, kstatus first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// A preset as a rollout took it over. It stays as it is until the rollout ends, whatever a newer controller's preset of that name has.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedPreset {
    /// Its name.
    pub name: String,
    /// Its version: another one judges other metrics, or by other limits.
    pub version: i32,
    /// Metrics that came from it.
    #[schemars(length(max = 16))]
    pub metrics: Vec<String>,
}

impl AppliedPreset {
    /// Whether both are the same version of one preset.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, self.version) == (&other.name, other.version)
    }
}

impl std::fmt::Display for AppliedPreset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} version {}", self.name, self.version)
    }
}

fn preserved(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// One word for humans.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The version wanted is what is stable.
    Idle,
    /// A rollout is wanted but cannot start yet.
    Waiting,
    /// Stepping.
    Progressing,
    /// Waiting for a person.
    Paused,
    /// Past its deadline without evidence either way, or held by a limit: the weight stays.
    Holding,
    /// The canary is the new stable.
    Promoted,
    /// It ended well and was not to become stable (a shadow, an A/B test that reverts): everybody is at stable.
    Passed,
    /// It ended badly and was not to become stable: everybody is at stable.
    Failed,
    /// Traffic is on its way back.
    RollingBack,
    /// Traffic is back because the version was worse, or because a person took a promotion back.
    RolledBack,
    /// Traffic is back at stable because a person said so.
    Aborted,
    /// The manifest has faults.
    Invalid,
}

/// A three-valued judgement.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Evidence that the canary is not worse by the margin of this step.
    Pass,
    /// Evidence for neither, or a limit that holds.
    Inconclusive,
    /// Evidence that the canary is worse by more than the margin.
    Fail,
}

/// The step whose weight the mesh object carries.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// From 0; -1 before the first.
    pub index: i32,
    /// Name of the step.
    pub name: String,
    /// Canary's share in percent, as read back.
    pub weight: i32,
    /// All that the canary gets, where that is more than a weight: `match`, `mirror of 100 %`, `5 % + match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<String>,
    /// When the weight was read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Seconds of the hold that have been used.
    #[serde(default)]
    pub held_seconds: i64,
    /// Seconds that the hold asks for.
    #[serde(default)]
    pub hold_seconds: i64,
    /// Windows of counts used in this step.
    #[serde(default)]
    pub windows: i32,
}

/// What was decided, and why.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// What was decided.
    pub outcome: Outcome,
    /// One of the reason constants.
    pub reason: AnyReason,
    /// The decision in one sentence with its numbers.
    pub message: String,
    /// When.
    pub at: Time,
    /// Epoch at which it was decided.
    pub epoch: i64,
    /// The version judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Version>,
    /// The version it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<Version>,
    /// Name of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Canary's share in percent when it was decided.
    pub weight: i32,
    /// All that the canary got then, where that is more than a weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<String>,
    /// Why: the metrics with their numbers, the deciding one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub why: Vec<MetricEvidence>,
    /// Requests per pod in that step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// Who was touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    /// Who said so, for commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// What comes next, with the command.
    pub next: String,
}

/// Kinds of decisions.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A rollout began.
    Started,
    /// On to the next step.
    Advanced,
    /// The weight stays; the reason says what for.
    Held,
    /// Waiting for a person.
    Paused,
    /// Going on after a pause.
    Resumed,
    /// The canary is the new stable.
    Promoted,
    /// Ended well, and was not to become stable.
    Passed,
    /// Ended badly, and was not to become stable.
    Failed,
    /// Taken back, on evidence or after the promotion.
    RolledBack,
    /// Taken back because a person said so.
    Aborted,
    /// Canary's weight lowered without a verdict.
    Lowered,
    /// Back to the weight of the present step.
    Restored,
    /// A command was refused.
    CommandRefused,
    /// A refused revision may be retried.
    Retried,
    /// An edit of the manifest was taken over, or counts from the next rollout.
    Edited,
}

/// A command that was not run.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedCommand {
    /// Its id.
    pub id: String,
    /// Why, in words.
    pub message: String,
    /// When.
    pub at: Time,
}

/// Who said so.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    /// As said by the caller.
    pub name: String,
    /// The field manager that wrote the annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// The reason given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Who was touched by the canary.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exposure {
    /// Requests of users that the canary answered since the start, counted.
    pub canary_requests: i64,
    /// Copies of requests that it answered: no user saw those answers. In a step with users beside them their number is reckoned from what
    /// stable had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored_requests: Option<i64>,
    /// Requests that stable answered in the same windows.
    pub stable_requests: i64,
    /// Errors that the canary gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_errors: Option<i64>,
    /// Seconds since the canary got its first share.
    pub seconds: i64,
}

/// A revision that will not be retried automatically.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedRevision {
    /// The pods' hash.
    pub revision: String,
    /// Its subset, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Its Service, where each version has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// A reason constant.
    pub reason: AnyReason,
    /// In words.
    pub message: String,
    /// When.
    pub at: Time,
    /// Epoch of the latch.
    pub epoch: i64,
}

impl RefusedRevision {
    /// Name of its subset or Service.
    pub fn name(&self) -> &str {
        self.subset.as_deref().or(self.service.as_deref()).unwrap_or_default()
    }
}

/// A past rollout.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The version tried.
    pub canary: Version,
    /// The version it was compared with.
    pub stable: Version,
    /// How it ended.
    pub outcome: Outcome,
    /// A reason constant.
    pub reason: AnyReason,
    /// In words.
    pub message: String,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
    /// Who was touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
}

/// An alert that is not delivered yet.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxEntry {
    /// One key for each transition: receivers drop duplicates by it.
    pub key: String,
    /// Sinks that have not got it yet.
    pub sinks: Vec<String>,
    /// What was decided, as far as an alert says it.
    pub record: DecisionRecord,
    /// When the state behind an earlier alert ended; this entry says so. Absent: it is news of the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// Deliveries tried.
    #[serde(default)]
    pub attempts: i32,
    /// What the last try said, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An alert whose state still lasts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenAlert {
    /// Key of the alert.
    pub key: String,
    /// Sinks to notify when it ends.
    pub sinks: Vec<String>,
    /// What was decided, without its words and numbers.
    pub record: DecisionRecord,
}
