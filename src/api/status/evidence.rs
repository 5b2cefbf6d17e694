//! What one metric says, with its numbers.
#![allow(unreachable_pub)] // the derived schema has a private copy of each type

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::api::TimeUnit;

/// One metric at the newest look.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricEvidence {
    /// Name of the metric.
    pub metric: String,
    /// What this metric says.
    pub verdict: Verdict,
    /// Why, where the verdict alone does not say it; one of the reason constants or a short word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EvidenceReason>,
    /// In words, with numbers: `errors 1.02 % against 0.11 % (limit 0.17 %), n 3,120 / 59,204`.
    pub message: String,
    /// True: it is shown and decides nothing (`gate: false`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub advisory: bool,
    /// Stable's side, over the same windows, weighted as the canary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<ArmValue>,
    /// Canary's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<ArmValue>,
    /// What the numbers are numbers of, so that they can be shown without the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// The difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// Of drift: distances that people know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distances: Option<Distances>,
    /// How noisy stable is against itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// The limit whose crossing fails, in the unit of the effect; of a threshold the limit itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// Of latency: the part of the limit that unequal load explains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_margin: Option<f64>,
    /// True: a pod of one version gets more than twice the requests of one of the other, so latency tells load as well as versions. A Pass may
    /// hide a slow-down then; later steps do not rest on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub under_unequal_load: bool,
    /// Of latency: seconds until a slow-down counts. Pods of the canary got their first requests a short time ago and may be cold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_in_seconds: Option<i32>,
    /// Fail evidence: 1 is none; the rollout fails when the weighted mean over the metrics reaches `failAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_evidence: Option<f64>,
    /// Where fail evidence leads to a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_at: Option<f64>,
    /// How long it will take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// A query to paste into Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl MetricEvidence {
    /// A verdict in words, without numbers yet.
    pub fn new(metric: &str, verdict: Verdict, reason: Option<EvidenceReason>, message: String) -> Self {
        Self {
            metric: metric.to_owned(),
            verdict,
            reason,
            message,
            advisory: false,
            stable: None,
            canary: None,
            measure: None,
            effect: None,
            distances: None,
            noise: None,
            limit: None,
            load_margin: None,
            under_unequal_load: false,
            warm_in_seconds: None,
            fail_evidence: None,
            fail_at: None,
            forecast: None,
            query: None,
        }
    }
}

/// Why a metric is where it is.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EvidenceReason {
    /// No window was counted yet.
    NoData,
    /// Margins and dispersion are not known yet.
    Calibrating,
    /// Counted, but not enough to say.
    NotEnoughData,
    /// Latency alone is not held against pods that got their first requests a short time ago: they may be cold.
    ColdStart,
    /// The limit that holds was crossed.
    HoldLimit,
    /// The limit that rolls back was crossed.
    FailLimit,
    /// Nothing of this metric can be proved in this step; it does not gate it.
    NotGating,
    /// The two arms cannot be compared (different bounds, missing labels), or not yet: a threshold waits.
    NotComparable,
    /// At 100 % there is no stable arm; compared with stable before the switch.
    Bake,
    /// The query of a threshold gave no single finite number.
    NoValue,
    /// Beyond a threshold's limit, but not for long enough.
    Beyond,
}

/// What the numbers of a metric are numbers of.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measure {
    /// What is compared.
    pub kind: MeasureKind,
    /// Of latency: the difference is that of the requests above this bound. Of scores: the largest difference is above this bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Unit of bounds and quantiles; absent: they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<TimeUnit>,
    /// Of drift: the class with the largest difference; absent with shares below: all classes that have no name of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Stable's share of what differs most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_share: Option<f64>,
    /// Canary's share of what differs most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_share: Option<f64>,
    /// Requests a second of both arms together in this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rps: Option<f64>,
    /// The newest windows, so many in a row, had no data.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: i32,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// What is compared.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MeasureKind {
    /// Share of requests that failed.
    Errors,
    /// How long requests took.
    Latency,
    /// A share of two counters of your own.
    Share,
    /// How the answers spread over classes.
    Classes,
    /// How scores are distributed.
    Scores,
    /// A value that must not exceed its limit.
    AtMost,
    /// A value that must not fall below its limit.
    AtLeast,
}

/// One arm's value.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmValue {
    /// The value, in the unit of the metric (a ratio for errors and drift; for latency the upper bound of the bucket, in milliseconds or in the unit of your histogram).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The value in words: `0.11 %`, `p99 in (250, 500] ms`.
    pub text: String,
    /// Requests counted; of a threshold the looks in this step.
    pub n: i64,
    /// Of latency: p50, p95 and p99.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub quantiles: Vec<Quantile>,
}

/// The bucket of a histogram that a quantile is in, in milliseconds or in the unit of your histogram. Nothing is interpolated.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantile {
    /// 0.5, 0.95 or 0.99.
    pub quantile: f64,
    /// It is greater than this bound; absent: the first bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// It is at most this bound; absent: above the last bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<f64>,
}

/// Distances between the canary's and stable's distribution, stable's weighted as the canary's windows were.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Distances {
    /// How many of all answers would have to change class, 0 to 1. Of scores: bin.
    pub total_variation: f64,
    /// Jensen-Shannon distance, base 2, 0 to 1.
    pub jensen_shannon: f64,
    /// Population stability index without the part that comes from the size of the samples.
    pub psi: f64,
}

/// How noisy stable is against itself.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Noise {
    /// Windows of stable that this comes from. With fewer than 120 the dispersion is taken as at least 5.
    pub windows: i32,
    /// Variance of stable's counts, as a multiple of that of independent requests: evidence counts so many times less.
    pub dispersion: f64,
}

/// A difference with its confidence bounds, which hold at all looks of the step.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    /// Canary minus stable.
    pub value: f64,
    /// Lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Size of the difference that two samples of stable as large as these would show by chance (stable against itself).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_chance: Option<f64>,
    /// In words, with the unit.
    pub text: String,
}

/// How long it will take at this weight and traffic.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Minutes until a healthy canary passes this step, from now; absent: never at this traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes_to_pass: Option<f64>,
    /// Minutes until twice the error rate (or the margin's regression) would be seen, from the start of the step; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes_to_detect: Option<f64>,
    /// Probability, 0 to 1, that such a regression is found by the end of the plan; absent where the plan is open-ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_by_end: Option<f64>,
    /// Smallest regression that the rest of the plan finds with 90 %: the canary's error rate, how much slower it is (0.1: by 10 %), or the
    /// distance of its predictions; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smallest_found: Option<f64>,
}

/// Requests per pod of both versions in the present step, over the same windows.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Stable's side.
    pub stable: ArmLoad,
    /// Canary's side.
    pub canary: ArmLoad,
}

/// What a pod of one version gets.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArmLoad {
    /// Ready pods.
    pub pods: i32,
    /// Requests a second that one of them got on average, copies among them.
    pub requests_per_pod: f64,
}

impl Load {
    /// What a pod of the canary gets, for each request that a pod of stable gets.
    pub fn ratio(&self) -> f64 {
        self.canary.requests_per_pod / self.stable.requests_per_pod
    }
}
