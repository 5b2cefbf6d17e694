//! `spec` of a Rollout, as users write it.
#![allow(unreachable_pub)] // the derived schema has a private copy of each type

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Destination, RouteKind, RouteRef, Strategy};

mod own;
mod source;

pub use own::{RatioSpec, ThresholdAction, ThresholdSpec};
pub use source::{EnvTarget, ImageTarget, JobSelector, JobSpec, MlflowSpec, SourceSpec, WriteSpec};

/// CEL: what the metric `m` (or `n`) is called: by its name, else by its kind.
macro_rules! called {
    ($m:literal) => {
        concat!(
            "(has(",
            $m,
            ".name) ? ",
            $m,
            ".name : has(",
            $m,
            ".errorRate) ? 'errorRate' : has(",
            $m,
            ".latency) ? 'latency' : has(",
            $m,
            ".drift) ? 'drift' : has(",
            $m,
            ".ratio) ? (has(",
            $m,
            ".ratio.name) ? ",
            $m,
            ".ratio.name : 'ratio') : has(",
            $m,
            ".threshold) && has(",
            $m,
            ".threshold.name) ? ",
            $m,
            ".threshold.name : 'threshold')"
        )
    };
}

/// CEL: which metrics a preset has is the controller's to say, and [`Plan::parse`](crate::plan::Plan::parse) says it.
const PRESET: &str = "has(self.analysis) && has(self.analysis.preset)";

/// CEL: names of all metrics of a spec.
const METRIC_NAMES: &str = concat!(
    "(has(self.analysis) && has(self.analysis.metrics) ? self.analysis.metrics.map(m, ",
    called!("m"),
    ") : ['errorRate', 'latency'])"
);

/// CEL: names of the drift metrics of a spec.
const DRIFT_NAMES: &str = "(has(self.analysis) && has(self.analysis.metrics) ? self.analysis.metrics.filter(m, has(m.drift)).map(m, has(m.name) ? m.name : 'drift') : [])";

/// A rollout of a new model version: which route to step, which subset is wanted, how to judge it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "haldane.dev",
    version = "v1alpha1",
    kind = "Rollout",
    plural = "rollouts",
    shortname = "hro",
    category = "all",
    namespaced,
    status = "crate::api::RolloutStatus",
    derive = "PartialEq",
    doc = "Steps a VirtualService, HTTPRoute or GRPCRoute from the stable to the canary version while comparing the two on the same minutes of traffic; returns the traffic to stable when the canary is worse.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name: at most 63 characters"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step.name"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.step.weight"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "Stable", type_ = "string", json_path = ".status.stable.name"),
    printcolumn(name = "Canary", type_ = "string", json_path = ".status.canary.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(format!("{PRESET} || (has(self.strategy.canary) && has(self.strategy.canary.without) ? self.strategy.canary.without : has(self.strategy.shadow) && has(self.strategy.shadow.without) ? self.strategy.shadow.without : has(self.strategy.abTest) && has(self.strategy.abTest.without) ? self.strategy.abTest.without : has(self.strategy.blueGreen) && has(self.strategy.blueGreen.without) ? self.strategy.blueGreen.without : []).all(w, w in {METRIC_NAMES})")).message("strategy: without names a metric that is not in analysis.metrics"))]
#[x_kube(validation = Rule::new(format!("{PRESET} || !has(self.strategy.steps) || self.strategy.steps.all(s, !has(s.without) || s.without.all(w, w in {METRIC_NAMES}))")).message("strategy.steps: without names a metric that is not in analysis.metrics"))]
#[x_kube(validation = Rule::new(format!("{PRESET} || (has(self.strategy.abTest) && has(self.strategy.abTest.with) ? self.strategy.abTest.with : has(self.strategy.blueGreen) && has(self.strategy.blueGreen.with) ? self.strategy.blueGreen.with : []).all(w, w in {DRIFT_NAMES})")).message("strategy: with names a metric that is no drift of analysis.metrics"))]
#[x_kube(validation = Rule::new(format!("{PRESET} || !has(self.strategy.steps) || self.strategy.steps.all(s, !has(s.with) || s.with.all(w, w in {DRIFT_NAMES}))")).message("strategy.steps: with names a metric that is no drift of analysis.metrics"))]
#[x_kube(validation = Rule::new("has(self.traffic.virtualService) || has(self.canary.service)").message("canary: an HTTPRoute or GRPCRoute leads to Services: set service, not subset"))]
pub struct RolloutSpec {
    /// The route whose weights are stepped.
    pub traffic: Traffic,
    /// The version wanted. Changing it, or the pods behind it, starts a rollout.
    pub canary: DestinationSpec,
    /// Where new models come from: each is written to the canary's Deployment, which starts a rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSpec>,
    /// How to get there: exactly one of `canary`, `shadow`, `abTest`, `blueGreen` and `steps`.
    pub strategy: Strategy,
    /// How the canary is compared with stable. Default: error rate and latency from the Prometheus provider `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
    /// Names of alert sinks in the controller's configuration. Default: the sink `default`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 63)))]
    pub alerts: Option<Vec<String>>,
    /// How long after a promotion `haldane rollback` goes back to the version before at once; that version must stay as it is. Default:
    /// 1h. `0s`: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('168h')").message("a duration from 0s to 168h"))]
    pub rollback_window: Option<String>,
    /// Stops advancing, and nothing else: rollback, readiness and drift guards go on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// The route whose weights are stepped: exactly one of `virtualService`, `httpRoute` and `grpcRoute`, in the namespace of the Rollout.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.virtualService), has(self.httpRoute), has(self.grpcRoute)].filter(x, x).size() == 1").message("exactly one of virtualService, httpRoute and grpcRoute"))]
pub struct Traffic {
    /// Name of the VirtualService.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub virtual_service: Option<String>,
    /// Name of the HTTPRoute (`gateway.networking.k8s.io/v1`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub http_route: Option<String>,
    /// Name of the GRPCRoute (`gateway.networking.k8s.io/v1`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub grpc_route: Option<String>,
    /// Name of the http route of the VirtualService, or of the rule. May be left out when exactly one fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub route: Option<String>,
    /// How many ready canary endpoints a weight needs. `Proportional` (default): half of its share of stable's pods.
    /// `Any`: one (an autoscaler brings the rest).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
}

impl Traffic {
    /// The objects that are named, of which there must be exactly one.
    pub fn objects(&self) -> impl Iterator<Item = RouteRef> {
        let named = [
            (RouteKind::VirtualService, &self.virtual_service),
            (RouteKind::HttpRoute, &self.http_route),
            (RouteKind::GrpcRoute, &self.grpc_route),
        ];
        named.into_iter().filter_map(|(kind, name)| Some(RouteRef::new(kind, name.as_ref()?)))
    }

    /// The object that holds the route. A VirtualService without a name where none is named, which nothing is called.
    pub fn object(&self) -> RouteRef {
        self.objects().next().unwrap_or_else(|| RouteRef::VirtualService(String::new()))
    }
}

/// How many ready canary endpoints a weight needs.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capacity {
    /// At least ceil(weight x stable's ready pods at the start / 2).
    #[default]
    Proportional,
    /// At least one.
    Any,
}

/// A version of the model, as the route names it: exactly one of `subset` and `service`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.subset) != has(self.service)").message("exactly one of subset and service"))]
pub struct DestinationSpec {
    /// A subset of the DestinationRule of the VirtualService's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub subset: Option<String>,
    /// A Service of this namespace that selects the pods of this version alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub service: Option<String>,
}

impl DestinationSpec {
    /// What is named; the subset without a name where nothing is, which no version has.
    pub fn destination(&self) -> Destination {
        match (&self.subset, &self.service) {
            (None, Some(service)) => Destination::Service(service.clone()),
            (subset, _) => Destination::Subset(subset.clone().unwrap_or_default()),
        }
    }
}

impl From<Destination> for DestinationSpec {
    fn from(destination: Destination) -> Self {
        match destination {
            Destination::Subset(name) => Self { subset: Some(name), service: None },
            Destination::Service(name) => Self { subset: None, service: Some(name) },
        }
    }
}

/// How the canary is compared with stable.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Analysis {
    /// A Prometheus provider named in the controller's configuration. Default: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub prometheus: Option<String>,
    /// Length of one window of counts. At least two scrapes, else raised to that. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('1h')").message("a duration from 1s to 1h"))]
    pub interval: Option<String>,
    /// How long after a canary pod becomes ready nothing of it is counted, and for three times as long after its first requests a slow-down counts
    /// only once it is known to stay. Default: 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('1h')").message("a duration from 0s to 1h"))]
    pub warm_up: Option<String>,
    /// Metrics of a known model server, as `haldane presets show NAME` prints them: those of `metrics` come on top, and one of the same name
    /// stands in place of the preset's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = super::names::PRESETS))]
    pub preset: Option<String>,
    /// What is compared. Default: what the preset has, else error rate and latency. An empty list without a preset: nothing, the holds alone
    /// decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    #[x_kube(validation = Rule::new(concat!("self.all(m, self.filter(n, ", called!("n"), " == ", called!("m"), ").size() == 1)")).message("names of metrics must differ; a metric without a name is called by its kind"))]
    pub metrics: Option<Vec<MetricSpec>>,
}

/// One metric: exactly one of `errorRate`, `latency`, `drift`, `ratio` and `threshold`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.errorRate), has(self.latency), has(self.drift), has(self.ratio), has(self.threshold)].filter(x, x).size() == 1").message("exactly one of errorRate, latency, drift, ratio and threshold"))]
#[x_kube(validation = Rule::new("!has(self.name) || !(has(self.ratio) && has(self.ratio.name) || has(self.threshold) && has(self.threshold.name))").message("one name is enough"))]
pub struct MetricSpec {
    /// Name used in `without`, in status and in messages. Default: the kind, for example `errorRate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$"))]
    pub name: Option<String>,
    /// `false`: it is measured, judged and shown, and decides nothing: no part in a Pass, no rollback, no hold, no alert. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<bool>,
    /// Share of requests that fail: HTTP 5xx, and for gRPC the status codes of server faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<ErrorRateSpec>,
    /// Request duration, or a histogram of times of your own, compared on its own bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencySpec>,
    /// The distribution of the model's answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftSpec>,
    /// A share of two counters of your own, compared as errors are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<RatioSpec>,
    /// A query of your own that must stay within limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<ThresholdSpec>,
}

/// Limits of the error rate. Fail: canary > relative x stable + absolute.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorRateSpec {
    /// Times stable's rate that is tolerated. Default: 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 10.0))]
    pub relative: Option<f64>,
    /// Share of requests tolerated on top. Default: 0.0005.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub absolute: Option<f64>,
    /// What a Pass must exclude, as a share of requests; divided by the next weight. Default: 0.002.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0001, max = 0.5))]
    // The API server cuts a bound to a whole number where the value is one: without the rule `pass: 0` would get through.
    #[x_kube(validation = Rule::new("self >= 0.0001").message("at least 0.0001"))]
    pub pass: Option<f64>,
}

/// Latency: the duration of requests, or a histogram of times of your own. Limits are a stretch of stable's distribution.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.unit) || has(self.histogram)").message("unit goes with histogram: the mesh counts in milliseconds"))]
pub struct LatencySpec {
    /// Name of a histogram of your own without `_bucket`, for example `vllm:time_to_first_token_seconds`, that the pods of both versions
    /// export. Default: the request duration that the mesh counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r#"^[^\s(){}\[\]"'=~!,\\]+$"#))]
    #[x_kube(validation = Rule::new("!self.endsWith('_bucket')").message("the name without _bucket"))]
    pub histogram: Option<String>,
    /// Unit of the bounds of your histogram. Default: s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<TimeUnit>,
    /// Fail: slower than stable stretched by this ratio. Default: 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub stretch: Option<f64>,
    /// What a Pass must exclude; divided by the next weight. Default: 0.10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 10.0))]
    // The API server cuts a bound to a whole number where the value is one: without the rule `pass: 0` would get through.
    #[x_kube(validation = Rule::new("self >= 0.001").message("at least 0.001"))]
    pub pass: Option<f64>,
    /// Where a pod of one version gets more than twice the requests of one of the other: the slow-down that each doubling or halving of the
    /// load may explain, unless the past of the stable version shows it. The limits widen by that. 0: latency does not depend on load.
    /// Default: 0.10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub load: Option<f64>,
}

/// Unit of the bounds of a histogram of times. Default: s.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds.
    #[default]
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
}

impl TimeUnit {
    /// As it is written behind a number.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::S => "s",
            Self::Ms => "ms",
            Self::Us => "us",
        }
    }
}

/// Drift of the model's answers: a counter by class, or a histogram of scores.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.counter), has(self.histogram)].filter(x, x).size() == 1").message("exactly one of counter and histogram"))]
#[x_kube(validation = Rule::new("has(self.counter) == has(self.class)").message("counter and class go together: class names the label that holds the predicted class"))]
pub struct DriftSpec {
    /// Name of a counter of predictions, for example `model_prediction_class_total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r#"^[^\s(){}\[\]"'=~!,\\]+$"#))]
    pub counter: Option<String>,
    /// The counter's label that holds the predicted class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r#"^[^\s(){}\[\]"'=~!,\\]+$"#))]
    pub class: Option<String>,
    /// Name of a histogram of scores without `_bucket`, for example `model_prediction_value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200), regex(pattern = r#"^[^\s(){}\[\]"'=~!,\\]+$"#))]
    pub histogram: Option<String>,
    /// Distance (total variation; for scores Kolmogorov-Smirnov) above which the rollout holds. Default: 0.05.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub hold: Option<f64>,
    /// Distance above which it rolls back. Default: 0.15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub rollback: Option<f64>,
    /// Distance that a Pass must exclude; divided by the next weight. Default: 0.10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1.0))]
    // The API server cuts a bound to a whole number where the value is one: without the rule `pass: 0` would get through.
    #[x_kube(validation = Rule::new("self >= 0.001").message("at least 0.001"))]
    pub pass: Option<f64>,
}
