//! What the controller says of the source of models.
#![allow(unreachable_pub)] // the derived schema has a private copy of each type

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the source of models stands.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The model that the source names: `models:/fraud/7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its version, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it is in the canary's Deployment.
    pub state: SourceState,
    /// Why.
    pub reason: SourceReason,
    /// In one sentence, with what to do.
    pub message: String,
    /// Generation of the spec that this speaks of.
    pub observed_generation: i64,
    /// Since when.
    pub since: Time,
}

impl SourceStatus {
    /// Whether a rollout of what the canary has now would be one of the model before.
    pub fn holds(&self) -> bool {
        use SourceReason::{RollbackWindow, RouteUnknown, Starting};
        self.state == SourceState::Waiting && matches!(self.reason, Starting | RollbackWindow | RouteUnknown)
    }
}

/// Whether the model that a source names is in the canary's Deployment.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceState {
    /// It is.
    InPlace,
    /// It will be, once the reason is gone.
    Waiting,
    /// A person has to write it: an event has the command.
    Announced,
    /// The source gives no answer.
    Unavailable,
}

/// Why a source stands where it does.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceReason {
    /// The Deployment has the model.
    AsWanted,
    /// The Deployment has the model, and its pods do not have it yet.
    Starting,
    /// The manifest has faults.
    ManifestInvalid,
    /// The source names no model yet.
    NothingYet,
    /// The version is not ready in the registry.
    NotReady,
    /// The server is not in the controller's configuration.
    ServerNotFound,
    /// The server, or the API server, gives no usable answer.
    NoAnswer,
    /// The controller lacks a right.
    NoRight,
    /// The Deployment is not there.
    DeploymentNotFound,
    /// The Deployment has no such container, or the variable comes from elsewhere.
    PlaceNotFound,
    /// The digest is not one, or an image would not be pinned.
    NotPinned,
    /// The Deployment's pods are stable's.
    StableNow,
    /// The Deployment's pods are not the canary's.
    OtherPods,
    /// Requests reach the Deployment's pods.
    ServesTraffic,
    /// A rollout is under way.
    RolloutActive,
    /// `spec.paused`.
    Paused,
    /// The Deployment is the way back of `haldane rollback`.
    RollbackWindow,
    /// The route or its versions are not known.
    RouteUnknown,
    /// Somebody removed what was written.
    Reverted,
    /// The API server, or a webhook, refuses the write.
    Refused,
}
