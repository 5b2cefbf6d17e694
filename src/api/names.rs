//! Names that other programs see: annotations, the finalizer, condition types, reasons of conditions and holds, event reasons.

/// Domain of every annotation and of the API group.
pub const GROUP: &str = "haldane.dev";
/// Field manager of every write.
pub const MANAGER: &str = "haldane";
/// Annotation on the VirtualService: JSON by route key, the claim and the latch.
pub const MANAGED: &str = "haldane.dev/managed";
/// Annotation on the controller's Lease: the version of the controller that leads.
pub const VERSION: &str = "haldane.dev/version";
/// Finalizer, present only while something of ours is in the VirtualService.
pub const FINALIZER: &str = "haldane.dev/restore-traffic";

/// Annotation of a pod template: JSON, the model that haldane wrote there.
pub const MODEL: &str = "haldane.dev/model";
/// Annotation of a Job: the URI of the model that it made.
pub const JOB_MODEL_URI: &str = "haldane.dev/model-uri";
/// Annotation of a Job: the digest of that model.
pub const JOB_MODEL_DIGEST: &str = "haldane.dev/model-digest";
/// Tag of a version in MLflow: how its rollout ended.
pub const OUTCOME_TAG: &str = "haldane.outcome";
/// Tag of a version in MLflow: why.
pub const REASON_TAG: &str = "haldane.reason";

/// Reason of the event which says that a model was written to the canary's Deployment.
pub const MODEL_WRITTEN: &str = "ModelWritten";
/// Reason of the event which says that a model waits for a person.
pub const MODEL_WAITING: &str = "ModelWaiting";

/// Reason of the event which says that the course of a rollout is not recorded.
pub const RECORD_NOT_KEPT: &str = "RecordNotKept";

/// Presets of metrics (`spec.analysis.preset`).
pub const PRESETS: [&str; 13] = [
    "bentoml",
    "kserve",
    "mlserver",
    "ray-serve",
    "seldon",
    "sglang",
    "tf-serving",
    "tgi",
    "torchserve",
    "triton",
    "trtllm",
    "vllm",
    "vllm-0.10",
];

/// Condition types, kstatus first.
pub mod condition {
    /// True: the wanted revision serves 100 %.
    pub const READY: &str = "Ready";
    /// True: work in progress.
    pub const RECONCILING: &str = "Reconciling";
    /// True: needs a person.
    pub const STALLED: &str = "Stalled";
    /// True: waiting for a person or for more data.
    pub const PAUSED: &str = "Paused";
    /// True: the mesh object carries the weights in status.
    pub const TRAFFIC_PROGRAMMED: &str = "TrafficProgrammed";
    /// True: every metric of the analysis returns data.
    pub const METRICS_AVAILABLE: &str = "MetricsAvailable";
    /// True: the traffic is enough for the plan.
    pub const FEASIBLE: &str = "Feasible";
}
