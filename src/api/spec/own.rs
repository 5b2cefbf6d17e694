//! Metrics of the user's own: a share of two counters, and a query with limits.
#![allow(unreachable_pub)] // the derived schema has a private copy of each type

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ErrorRateSpec;

/// A share of two counters that the pods of both versions export, compared as errors are. Exactly one of `total` and `good`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.total) != has(self.good)").message("exactly one of total and good"))]
pub struct RatioSpec {
    /// Name of the metric, if it does not stand beside `ratio`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$"))]
    pub name: Option<String>,
    /// Counter of what is bad, for example `model_prediction_invalid_total` or `grpc_server_handled_total{grpc_code!="OK"}`; a part of what
    /// `total` counts, or what `good` does not. Namespace and pods are added.
    #[schemars(length(min = 1, max = 500), regex(pattern = r#"^[^\s(){}\[\]"'=~!,\\]*[ ]*([{].*[}])?[ ]*$"#))]
    pub bad: String,
    /// Counter of all, for example `model_prediction_class_total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500), regex(pattern = r#"^[^\s(){}\[\]"'=~!,\\]*[ ]*([{].*[}])?[ ]*$"#))]
    pub total: Option<String>,
    /// Counter of the rest, where a server counts successes and failures apart: `nv_inference_request_success`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500), regex(pattern = r#"^[^\s(){}\[\]"'=~!,\\]*[ ]*([{].*[}])?[ ]*$"#))]
    pub good: Option<String>,
    /// Limits, as of the error rate.
    #[serde(flatten)]
    pub limits: ErrorRateSpec,
}

/// A query whose one value must stay within limits, whatever stable's is. At least one of `min` and `max`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.min) || has(self.max)").message("at least one of min and max"))]
#[x_kube(validation = Rule::new("!has(self.min) || !has(self.max) || self.min < self.max").message("min must be less than max"))]
pub struct ThresholdSpec {
    /// Name of the metric, if it does not stand beside `threshold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$"))]
    pub name: Option<String>,
    /// PromQL whose answer is one number: `max(DCGM_FI_DEV_FB_USED{namespace="{{namespace}}",pod=~"{{canaryPods}}"})`. In the matchers of
    /// labels stand {{namespace}}, {{name}}, {{canaryPods}}, {{stablePods}} (both with =~), {{canarySubset}}, {{stableSubset}},
    /// {{canaryWorkload}}, {{stableWorkload}}, {{canaryRevision}} and {{stableRevision}}.
    #[schemars(length(min = 1, max = 1000))]
    #[x_kube(validation = Rule::new("self.matches('^([^{]|[{][^{]|[{][{] *(namespace|name|canaryPods|stablePods|canarySubset|stableSubset|canaryWorkload|stableWorkload|canaryRevision|stableRevision) *[}][}])*$')").message("in double braces stand namespace, name, canaryPods, stablePods, canarySubset, stableSubset, canaryWorkload, stableWorkload, canaryRevision or stableRevision"))]
    pub query: String,
    /// The value must not be less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1e15, max = 1e15))]
    pub min: Option<f64>,
    /// The value must not be greater.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1e15, max = 1e15))]
    pub max: Option<f64>,
    /// How long it must be beyond the limit, at every look, before anything happens. Default: 1m, with `action: Wait` 0s: once is enough.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('24h')").message("a duration from 0s to 24h"))]
    pub lasting: Option<String>,
    /// What then happens. Default: Hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ThresholdAction>,
}

/// What happens when a threshold is broken.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ThresholdAction {
    /// The versions cannot be compared yet: until the value is within its limits no step ends, and times of both versions are not judged. Then
    /// it goes on without a person.
    Wait,
    /// Keep the weight and ask a person, as drift's first limit does. The default: the query stands alone, without a comparison with
    /// stable on the same minutes, so it may as well be the cluster that is at fault.
    #[default]
    Hold,
    /// Take the traffic back.
    Rollback,
}
