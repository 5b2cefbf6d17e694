//! Metrics of each Rollout, made from its status when they are scraped.

use std::{
    collections::BTreeMap,
    fmt::Error,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::RolloutStatus;

/// The newest status by namespace and name, without what is not shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Rollouts {
    known: Arc<Mutex<Known>>,
}

/// A scrape takes what is known and writes it out while passes go on: the copy that it takes is one of pointers.
type Known = BTreeMap<Arc<(String, String)>, Arc<Told>>;

#[derive(Clone, Debug)]
struct Told {
    info: [(&'static str, String); 5],
    weight: i64,
    step: i64,
    undelivered: i64,
    conditions: Vec<Series>,
    guards: Vec<Guard>,
}

#[derive(Clone, Debug)]
struct Guard {
    metric: String,
    verdict: String,
    values: [Option<f64>; 2],
    samples: [Option<i64>; 2],
    limit: Option<f64>,
    fail_evidence: Option<f64>,
    fail_at: Option<f64>,
}

/// Labels beside namespace and name, and the value.
type Series = (Vec<(&'static str, String)>, f64);

const ROLES: [&str; 2] = ["stable", "canary"];

impl Rollouts {
    pub(super) fn set(&self, namespace: &str, name: &str, status: &RolloutStatus) {
        let named = |v: &Option<crate::api::Version>| v.as_ref().map(|v| v.name.clone()).unwrap_or_default();
        let revision = |v: &Option<crate::api::Version>| v.as_ref().map(|v| v.revision.clone()).unwrap_or_default();
        let told = Told {
            info: [
                ("phase", status.phase.map(|p| format!("{p:?}")).unwrap_or_default()),
                ("stable", named(&status.stable)),
                ("stable_revision", revision(&status.stable)),
                ("canary", named(&status.canary)),
                ("canary_revision", revision(&status.canary)),
            ],
            weight: status.step.as_ref().map(|s| i64::from(s.weight)).unwrap_or_default(),
            step: status.step.as_ref().map_or(-1, |s| i64::from(s.index)),
            undelivered: i64::try_from(status.outbox.len()).unwrap_or(i64::MAX),
            conditions: status.conditions.iter().map(condition).collect(),
            guards: status
                .evidence
                .iter()
                .map(|e| Guard {
                    metric: e.metric.clone(),
                    verdict: format!("{:?}", e.verdict),
                    values: [&e.stable, &e.canary].map(|a| a.as_ref().and_then(|a| a.value)),
                    samples: [&e.stable, &e.canary].map(|a| a.as_ref().map(|a| a.n)),
                    limit: e.limit,
                    fail_evidence: e.fail_evidence,
                    fail_at: e.fail_at,
                })
                .collect(),
        };
        self.lock().insert(Arc::new((namespace.into(), name.into())), Arc::new(told));
    }

    pub(super) fn remove(&self, namespace: &str, name: &str) {
        self.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Rollouts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let known = self.lock().clone();
        let of = |(namespace, name): &(String, String)| vec![("namespace", namespace.clone()), ("name", name.clone())];
        let mut family = |name: &str, help: &str, each: &dyn Fn(&Told) -> Vec<Series>| {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (key, told) in &known {
                for (labels, value) in each(told) {
                    let labels: Vec<_> = of(key).into_iter().chain(labels).collect();
                    ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
                }
            }
            Ok::<(), Error>(())
        };
        family("rollout_info", "1: phase and versions of a Rollout", &|t| vec![(t.info.to_vec(), 1.0)])?;
        family("rollout_weight", "The canary's programmed share in percent", &|t| {
            vec![(vec![("role", "canary".into()), ("kind", "programmed".into())], t.weight as f64)]
        })?;
        family("rollout_step", "Index of the present step, from 0; -1: none", &|t| vec![(vec![], t.step as f64)])?;
        family("rollout_undelivered_alerts", "Alerts that some sink has not got yet: entries of status.outbox", &|t| {
            vec![(vec![], t.undelivered as f64)]
        })?;
        let since = "When a condition took its status, in Unix time, by type, status and reason";
        family("rollout_condition_timestamp_seconds", since, &|t| t.conditions.clone())?;
        family("guard_verdict", "1: what a metric says at the newest look", &|t| {
            t.guards.iter().map(|g| (vec![("metric", g.metric.clone()), ("verdict", g.verdict.clone())], 1.0)).collect()
        })?;
        family("guard_value", "Value of a metric, by arm", &|t| {
            let arms =
                |g: &Guard| ROLES.into_iter().zip(g.values).filter_map(|(r, v)| Some((labels(&g.metric, r), v?))).collect::<Vec<_>>();
            t.guards.iter().flat_map(arms).collect()
        })?;
        family("guard_samples", "Requests counted, by arm", &|t| {
            let arms = |g: &Guard| {
                ROLES.into_iter().zip(g.samples).filter_map(|(r, n)| Some((labels(&g.metric, r), n? as f64))).collect::<Vec<_>>()
            };
            t.guards.iter().flat_map(arms).collect()
        })?;
        let plain = |value: fn(&Guard) -> Option<f64>| {
            move |t: &Told| t.guards.iter().filter_map(|g| Some((vec![("metric", g.metric.clone())], value(g)?))).collect::<Vec<_>>()
        };
        family("guard_limit", "Limit whose crossing fails, in the unit of the effect", &plain(|g| g.limit))?;
        family("guard_fail_evidence", "Fail evidence; 1 is none", &plain(|g| g.fail_evidence))?;
        family("guard_fail_at", "Fail evidence at which the canary is rolled back", &plain(|g| g.fail_at))
    }
}

/// What a condition says without its words, and since when.
fn condition(condition: &Condition) -> Series {
    let labels = [("type", &condition.type_), ("status", &condition.status), ("reason", &condition.reason)];
    let since = condition.last_transition_time.0.as_second();
    (labels.map(|(name, value)| (name, value.clone())).into(), since as f64)
}

fn labels(metric: &str, role: &str) -> Vec<(&'static str, String)> {
    vec![("metric", metric.into()), ("role", role.into())]
}
