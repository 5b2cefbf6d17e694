//! What `/metrics` says, in OpenMetrics text.
//!
//! What belongs to a Rollout is made from its newest status at each scrape and is gone when the object is; version strings are labels of
//! `haldane_rollout_info` alone.

mod rollouts;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::api::{AnyReason, Outcome, RolloutStatus};
use crate::link::Age;
use rollouts::Rollouts;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why a query to Prometheus gives nothing, in nearly every case.
const FAILURES: [&str; 4] = ["Timeout", "Unreachable", "Status", "Warnings"];

/// What may become of a span.
const SPANS: [&str; 4] = ["sent", "refused", "failed", "dropped"];
/// Why a source of models gives nothing.
const SOURCE_FAILURES: [&str; 4] = ["Timeout", "Unreachable", "Status", "Answer"];

/// All metrics; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Mutex<Registry>,
    rollouts: Rollouts,
    ended: Family<OutcomeLabels, Counter>,
    rollbacks: Family<ReasonLabels, Counter>,
    exposed: Family<OutcomeLabels, Counter>,
    reconcile: Family<ResultLabels, Histogram>,
    verdict_to_routed: Histogram,
    queries: Family<ProviderLabels, Histogram>,
    waits: Family<ProviderLabels, Histogram>,
    query_failures: Family<QueryLabels, Counter>,
    source_failures: Family<ServerLabels, Counter>,
    notifications: Family<SinkLabels, Counter>,
    events: Family<ResultLabels, Counter>,
    spans: Family<ResultLabels, Counter>,
    config_error: Gauge,
    config_version: Gauge<u64, AtomicU64>,
    leader: Gauge,
    watches: Family<WatchLabels, Gauge<f64, AtomicU64>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ProviderLabels {
    provider: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueryLabels {
    provider: String,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServerLabels {
    server: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SinkLabels {
    sink: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WatchLabels {
    resource: String,
    namespace: String,
}

fn result(ok: bool) -> &'static str {
    if ok { "ok" } else { "error" }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("haldane");
        let rollouts = Rollouts::default();
        registry.register_collector(Box::new(rollouts.clone()));
        let ended: Family<OutcomeLabels, Counter> = Family::default();
        registry.register("rollouts", "Rollouts that have ended, by outcome", ended.clone());
        let rollbacks = Family::default();
        registry.register("rollbacks", "Rollouts rolled back on evidence or by policy, by reason", rollbacks.clone());
        let exposed: Family<OutcomeLabels, Counter> = Family::default();
        registry.register("exposed_requests", "Requests that the canary answered in rollouts that have ended, by outcome", exposed.clone());
        for outcome in [Outcome::Promoted, Outcome::Passed, Outcome::Failed, Outcome::RolledBack, Outcome::Aborted] {
            let labels = OutcomeLabels { outcome: format!("{outcome:?}") };
            ended.get_or_create(&labels).inc_by(0); // there from the start: `increase` does not see a counter's first sample
            exposed.get_or_create(&labels).inc_by(0);
        }
        let reconcile = Family::new_with_constructor(passes as fn() -> Histogram);
        registry.register("reconcile_duration_seconds", "How long a pass took", reconcile.clone());
        let verdict_to_routed = Histogram::new(exponential_buckets(0.005, 2.0, 14));
        registry.register("verdict_to_routed_seconds", "From the verdict Fail to the patch of the route", verdict_to_routed.clone());
        let queries = Family::new_with_constructor(asked as fn() -> Histogram);
        registry.register("prometheus_query_duration_seconds", "How long a query to Prometheus took, by provider", queries.clone());
        let waits = Family::new_with_constructor(asked as fn() -> Histogram);
        registry.register(
            "prometheus_wait_seconds",
            "How long a query to Prometheus waited until it was among the concurrency of its provider, by provider",
            waits.clone(),
        );
        let query_failures = Family::default();
        registry.register(
            "prometheus_query_failures",
            "Queries to Prometheus without a usable answer, by provider and reason (Timeout, Unreachable, Status, Warnings)",
            query_failures.clone(),
        );
        let source_failures = Family::default();
        registry.register(
            "source_failures",
            "Questions to a source of models without a usable answer, by server and reason (Timeout, Unreachable, Status, Answer)",
            source_failures.clone(),
        );
        let notifications = Family::default();
        registry.register("notifications", "Tries to deliver an alert, by sink and result", notifications.clone());
        let events = Family::default();
        registry.register("events", "Kubernetes events written, by result", events.clone());
        let spans = Family::default();
        registry.register("spans", "Spans of traces, by result (sent, refused, failed, dropped)", spans.clone());
        let config_error = Gauge::default();
        registry.register(
            "config_error",
            "1: the configuration file as it is now is not in force, because it has faults",
            config_error.clone(),
        );
        let config_version = Gauge::default();
        registry.register("config_version", "Number of the configuration in force, from 1", config_version.clone());
        let leader = Gauge::default();
        registry.register("leader", "1: this replica acts", leader.clone());
        let watches = Family::default();
        registry.register(
            "watch_age_seconds",
            "Since the newest answer of a watch of the API server, by resource and namespace",
            watches.clone(),
        );
        let registry = Mutex::new(registry);
        Self {
            inner: Arc::new(Inner {
                registry,
                rollouts,
                ended,
                rollbacks,
                exposed,
                reconcile,
                verdict_to_routed,
                queries,
                waits,
                query_failures,
                source_failures,
                notifications,
                events,
                spans,
                config_error,
                config_version,
                leader,
                watches,
            }),
        }
    }

    /// Everything as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        let registry = self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String does not fail; what a collector could not say is left out.
        let _ = text::encode(&mut out, &registry);
        out
    }

    /// The newest status of a Rollout.
    pub fn rollout(&self, namespace: &str, name: &str, status: &RolloutStatus) {
        self.inner.rollouts.set(namespace, name, status);
    }

    /// The Rollout is gone.
    pub fn gone(&self, namespace: &str, name: &str) {
        self.inner.rollouts.remove(namespace, name);
    }

    /// A rollout has ended: once for each end, with the requests that the canary answered.
    pub fn ended(&self, outcome: Outcome, reason: &AnyReason, exposed: i64) {
        let labels = OutcomeLabels { outcome: format!("{outcome:?}") };
        self.inner.ended.get_or_create(&labels).inc();
        self.inner.exposed.get_or_create(&labels).inc_by(u64::try_from(exposed).unwrap_or_default());
        if outcome == Outcome::RolledBack {
            self.inner.rollbacks.get_or_create(&ReasonLabels { reason: reason.to_string() }).inc();
        }
    }

    /// A pass is over.
    pub fn reconciled(&self, took: Duration, ok: bool) {
        self.inner.reconcile.get_or_create(&ResultLabels { result: result(ok) }).observe(took.as_secs_f64());
    }

    /// A verdict Fail has reached the route.
    pub fn routed(&self, after: Duration) {
        self.inner.verdict_to_routed.observe(after.as_secs_f64());
    }

    /// A query to Prometheus is over; `failure` is a short word.
    pub fn queried(&self, provider: &str, [waited, took]: [Duration; 2], failure: Option<&str>) {
        self.inner.waits.get_or_create(&ProviderLabels { provider: provider.into() }).observe(waited.as_secs_f64());
        self.inner.queries.get_or_create(&ProviderLabels { provider: provider.into() }).observe(took.as_secs_f64());
        let failures = |reason: &str| QueryLabels { provider: provider.into(), reason: reason.into() };
        for reason in FAILURES {
            self.inner.query_failures.get_or_create(&failures(reason)).inc_by(0);
        }
        if let Some(reason) = failure {
            self.inner.query_failures.get_or_create(&failures(reason)).inc();
        }
    }

    /// A source of models was asked; `failure` is a short word.
    pub fn sourced(&self, server: &str, failure: Option<&'static str>) {
        for reason in SOURCE_FAILURES {
            let labels = ServerLabels { server: server.into(), reason };
            self.inner.source_failures.get_or_create(&labels).inc_by(u64::from(failure == Some(reason)));
        }
    }

    /// An alert was tried.
    pub fn notified(&self, sink: &str, ok: bool) {
        for each in [true, false] {
            let labels = SinkLabels { sink: sink.into(), result: result(each) };
            self.inner.notifications.get_or_create(&labels).inc_by(u64::from(each == ok));
        }
    }

    /// An event was tried.
    pub fn event(&self, ok: bool) {
        for each in [true, false] {
            self.inner.events.get_or_create(&ResultLabels { result: result(each) }).inc_by(u64::from(each == ok));
        }
    }

    /// So many spans of traces were sent, refused by the collector, given up, or dropped because too many wait.
    pub fn spans(&self, result: &'static str, count: usize) {
        for each in SPANS {
            self.inner.spans.get_or_create(&ResultLabels { result: each }).inc_by(0);
        }
        self.inner.spans.get_or_create(&ResultLabels { result }).inc_by(u64::try_from(count).unwrap_or_default());
    }

    /// The state of the configuration.
    pub fn config(&self, version: u64, error: bool) {
        self.inner.config_version.set(version);
        self.inner.config_error.set(i64::from(error));
    }

    /// Whether this replica acts. One that does not knows no Rollout's newest status, and says nothing of any.
    pub fn leader(&self, leads: bool) {
        self.inner.leader.set(i64::from(leads));
        if !leads {
            self.inner.rollouts.clear();
        }
    }

    /// How old the newest answer of each watch is.
    pub fn watches(&self, ages: &[Age]) {
        for Age { key, age } in ages {
            let labels = WatchLabels { resource: key.resource.clone(), namespace: key.namespace.clone() };
            self.inner.watches.get_or_create(&labels).set(age.as_secs_f64());
        }
    }
}

fn asked() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 12))
}

fn passes() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

#[cfg(test)]
mod tests;
