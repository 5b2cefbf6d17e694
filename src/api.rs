//! The outside of haldane as data: the custom resource, what its status says, and the constants that users script against.
//!
//! Nothing here decides anything. `spec` is what a user wrote (raw: [`crate::plan::Plan`] is what it means), `status` is what the
//! controller says.

pub mod names;
mod reason;
mod spec;
mod status;
mod strategy;
mod version;

pub use reason::{AnyReason, Reason};
pub use spec::{
    Analysis, Capacity, DestinationSpec, DriftSpec, EnvTarget, ErrorRateSpec, ImageTarget, JobSelector, JobSpec, LatencySpec, MetricSpec,
    MlflowSpec, RatioSpec, Rollout, RolloutSpec, SourceSpec, ThresholdAction, ThresholdSpec, TimeUnit, Traffic, WriteSpec,
};
pub use status::{
    Actor, AppliedPreset, ArmLoad, ArmValue, DecisionRecord, Distances, Effect, EvidenceReason, Exposure, Forecast, HistoryEntry, Load,
    Measure, MeasureKind, MetricEvidence, Noise, OpenAlert, OutboxEntry, Outcome, Phase, Quantile, RefusedRevision, RejectedCommand,
    RolloutStatus, SourceReason, SourceState, SourceStatus, StepStatus, Verdict,
};
pub use strategy::{
    AbTestStrategy, BlueGreenStrategy, CanaryStrategy, Match, OnInconclusive, ShadowStrategy, StepSpec, Strategy, StringMatch, Then,
};
pub use version::{Destination, RouteKind, RouteRef, Version};
