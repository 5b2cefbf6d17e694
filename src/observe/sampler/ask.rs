//! Which series are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::preflight::Found;
use super::thresholds;
use crate::counts::{Family, NAME, Pod, Reading, Scope, Series, Side};
use crate::observe::prometheus::{BadName, Prometheus, QueryError, Selector};
use crate::plan::promql::label_name;
use crate::plan::{Counted, MetricKind};
use crate::seen::{Arm, Brief};

pub(super) const REQUESTS: &str = "istio_requests_total";
pub(super) const DURATIONS: &str = "istio_request_duration_milliseconds";

/// Who counts requests, the best first: the model's pod, the waypoint before it, the gateway or client. Each counts the same requests, so that
/// never two are added.
pub(super) const REPORTERS: [&str; 3] = ["destination", "waypoint", "source"];

/// The best of the reporters that these series have; `None`: none of them.
pub(super) fn reporter<'a>(rows: impl Iterator<Item = &'a Series> + Clone) -> Option<&'static str> {
    REPORTERS.into_iter().find(|reporter| rows.clone().any(|row| row.label("reporter") == *reporter))
}

/// Whom to ask about.
#[derive(Clone, Debug)]
pub(super) enum Who {
    /// Both arms, all their pods.
    Both {
        /// Pods that were theirs at the look before: what they still counted is not lost.
        before: BTreeSet<String>,
        /// Buckets of request durations, as they are written; none named: all.
        bounds: Vec<String>,
    },
    /// Stable alone.
    Stable {
        /// These pods.
        pods: Vec<String>,
        /// Buckets of request durations, as they are written; none named: all.
        bounds: Vec<String>,
    },
}

impl Who {
    /// Both arms as they are now.
    pub(super) fn both() -> Self {
        Self::Both { before: BTreeSet::new(), bounds: Vec::new() }
    }

    fn bounds(&self) -> &[String] {
        let (Self::Both { bounds, .. } | Self::Stable { bounds, .. }) = self;
        bounds
    }
}

/// One question: what to ask for, and of which metric each family is.
struct Question {
    selector: Selector,
    of: Vec<(Family, String)>,
}

impl Question {
    fn one(family: Family, selector: Selector) -> Self {
        Self { of: vec![(family, selector.metric().to_owned())], selector }
    }
}

impl Found {
    /// Name of the series of a histogram: its buckets, or itself where it is a native one.
    pub(super) fn histogram(&self, metric: &str) -> String {
        if self.native.contains(metric) { metric.to_owned() } else { format!("{metric}_bucket") }
    }

    /// Mesh series of one or both arms.
    pub(super) fn mesh(&self, metric: &str, brief: &Brief, who: &Who) -> Result<Selector, BadName> {
        self.of_mesh(Selector::new(metric)?, brief, who)
    }

    /// Only those of one or both arms.
    pub(super) fn of_mesh(&self, all: Selector, brief: &Brief, who: &Who) -> Result<Selector, BadName> {
        let mut selector = all.is("reporter", self.reporter)?.is("destination_workload_namespace", &brief.namespace)?;
        if let Some(service) = &self.service {
            selector = selector.is("destination_canonical_service", service)?;
        }
        match who {
            Who::Both { .. } => selector.any_of(self.label, [&self.stable, &self.canary]),
            Who::Stable { pods, .. } => {
                let selector = selector.is(self.label, &self.stable)?;
                if self.by_pod && self.named { selector.any_of("pod", pods) } else { Ok(selector) }
            }
        }
    }

    /// Metrics of the mesh that are counted, by name.
    pub(super) fn counted(&self, brief: &Brief) -> Vec<(Family, String)> {
        let mut of = vec![(Family::Requests, REQUESTS.to_owned())];
        if brief.analysis.metrics.iter().any(|metric| metric.kind.counted() == Counted::Durations) {
            of.push((Family::Latency, self.histogram(DURATIONS)));
        }
        of
    }

    /// Of request durations only the buckets that are named; what has no buckets is not meant. Native ones are in one piece.
    fn thinned(&self, selector: Selector, who: &Who) -> Result<Selector, BadName> {
        match who.bounds() {
            [] => Ok(selector),
            _ if self.native.contains(DURATIONS) => Ok(selector),
            bounds => selector.any_of("le", std::iter::once("").chain(bounds.iter().map(String::as_str))),
        }
    }

    /// `up` and all that these pods count, in one question. A pod that is chosen by its name needs no other
    /// label, and no label that `up` has not got is asked for: what is not wanted is left out here. `None`: not every series has the pod's
    /// name and job, or the store does not take it.
    fn at_pods(&self, brief: &Brief, who: &Who) -> Result<Option<Question>, BadName> {
        let Who::Both { before, .. } = who else { return Ok(None) };
        let of: Vec<(Family, String)> = [(Family::Up, "up".to_owned())].into_iter().chain(self.counted(brief)).collect();
        let pods: BTreeSet<&str> = names(&brief.stable).chain(names(&brief.canary)).chain(before.iter().map(String::as_str)).collect();
        if self.apart || !self.mesh_in_pod_jobs || pods.is_empty() {
            return Ok(None);
        }
        let metrics: Vec<&str> = of.iter().map(|(_, metric)| metric.as_str()).collect();
        let selector = Selector::any(&metrics).any_of("job", &self.pod_jobs)?.any_of("pod", pods)?;
        Ok(Some(Question { selector: self.thinned(selector, who)?.is_not("reporter", "source")?, of }))
    }

    /// Whether a series that was chosen by its pod is one that is wanted.
    fn is_wanted(&self, family: Family, series: &Series, brief: &Brief) -> bool {
        let ours = |pod: &str| names(&brief.stable).chain(names(&brief.canary)).any(|name| name == pod);
        if family == Family::Up {
            return ours(series.label("pod"));
        }
        family.metric().is_some()
            || series.label("reporter") == self.reporter
                && series.label("destination_workload_namespace") == brief.namespace
                && self.service.as_ref().is_none_or(|service| series.label("destination_canonical_service") == service)
                && [&self.stable, &self.canary].iter().any(|arm| series.label(self.label) == arm.as_str())
    }

    /// All that one look, or one stretch of the past, needs.
    fn questions(&self, brief: &Brief, who: &Who) -> Result<Vec<Question>, BadName> {
        let pods: Vec<&str> = match who {
            Who::Both { .. } => names(&brief.stable).chain(names(&brief.canary)).collect(),
            Who::Stable { pods, .. } => pods.iter().map(String::as_str).collect(),
        };
        let mut all = Vec::new();
        if let Some(question) = self.at_pods(brief, who)? {
            all.push(question);
        } else {
            if matches!(who, Who::Both { .. }) && self.has_up && !pods.is_empty() {
                all.push(Question::one(Family::Up, Selector::new("up")?.any_of("job", &self.pod_jobs)?.any_of("pod", &pods)?));
            }
            let of = self.counted(brief);
            if of.len() > 1 && !self.apart {
                let metrics: Vec<&str> = of.iter().map(|(_, metric)| metric.as_str()).collect();
                let selector = self.of_mesh(Selector::any(&metrics), brief, who)?;
                all.push(Question { selector: self.thinned(selector, who)?, of });
            } else {
                for (family, metric) in of {
                    all.push(Question::one(family, self.thinned(self.mesh(&metric, brief, who)?, who)?));
                }
            }
        }
        let own = |selector: Selector| selector.is("namespace", &brief.namespace)?.any_of("pod", &pods);
        for (index, metric) in brief.analysis.metrics.iter().enumerate().filter(|_| !pods.is_empty()) {
            match metric.kind.counted() {
                Counted::Histogram(name) => all.push(Question::one(Family::Own(index), own(Selector::new(&self.histogram(name))?)?)),
                Counted::Classes { counter, .. } => all.push(Question::one(Family::Own(index), own(Selector::new(counter)?)?)),
                Counted::Share { bad, total, .. } => {
                    all.push(Question::one(Family::Total(index), own(Selector::of(total))?));
                    all.push(Question::one(Family::Bad(index), own(Selector::of(bad))?));
                }
                Counted::Requests | Counted::Durations | Counted::Value(_) => {}
            }
        }
        Ok(all)
    }

    /// Asks for everything at one time, one query after the other.
    pub(super) async fn read(
        &self,
        prometheus: &Prometheus,
        brief: &Brief,
        who: &Who,
        seconds: u64,
        at: Timestamp,
    ) -> Result<Reading, QueryError> {
        let mut reading = Reading::default();
        let advisory = aside(brief);
        for Question { selector, of } in self.questions(brief, who)? {
            if let [(family, _)] = of.as_slice() {
                let series = match prometheus.raw(&selector, seconds, at).await {
                    // A metric that decides nothing stops nothing.
                    Err(error) if advisory.contains(family) && !matches!(error, QueryError::Unreachable(_) | QueryError::Busy { .. }) => {
                        tracing::debug!(?family, %error, "a metric that does not gate could not be read");
                        Vec::new()
                    }
                    other => other?,
                };
                reading.families.push((*family, series));
            } else {
                reading.families.extend(self.sorted(prometheus.raw_named(&selector, seconds, at).await?, of, brief));
            }
        }
        Ok(reading)
    }

    /// The answer to one question about several metrics, by family.
    pub(super) fn sorted(&self, all: Vec<Series>, of: Vec<(Family, String)>, brief: &Brief) -> Vec<(Family, Vec<Series>)> {
        let mut sorted: Vec<(Family, String, Vec<Series>)> = of.into_iter().map(|(family, metric)| (family, metric, Vec::new())).collect();
        for series in all {
            let name = series.label(NAME);
            let of = sorted.iter_mut().find(|(family, metric, _)| metric == name && self.is_wanted(*family, &series, brief));
            if let Some((.., of)) = of {
                of.push(series);
            }
        }
        sorted.into_iter().map(|(family, _, series)| (family, series)).collect()
    }

    /// Who is who. Where nothing is judged (`counted` false) nothing must be there either.
    pub(super) fn scope(&self, brief: &Brief, counted: bool) -> Scope {
        let mut pods = BTreeMap::new();
        for (side, arm) in [(Side::Stable, &brief.stable), (Side::Canary, &brief.canary)] {
            pods.extend(arm.pods.iter().map(|pod| (pod.name.clone(), Pod { side, created: pod.created, ready_since: pod.ready_since })));
        }
        Scope {
            label: self.label.to_owned(),
            stable: self.stable.clone(),
            canary: self.canary.clone(),
            namespace: brief.namespace.clone(),
            pod_jobs: if counted { self.pod_jobs.clone() } else { Default::default() },
            pods,
            by_pod: self.by_pod,
            named: self.named,
            needs_stable: brief.key.share.weight < 100,
            warm_up: if counted { brief.analysis.warm_up } else { Duration::ZERO },
            aside: aside(brief),
        }
    }

    /// A query to paste into Prometheus that shows what a metric is judged on.
    pub(super) fn shown(&self, prometheus: &Prometheus, brief: &Brief, kind: &MetricKind) -> Option<String> {
        let own = |selector: Selector| selector.is("namespace", &brief.namespace).ok();
        let (selector, by) = match kind.counted() {
            Counted::Requests => (self.mesh(REQUESTS, brief, &Who::both()).ok()?, format!("{}, response_code", self.label)),
            Counted::Durations => {
                let selector = self.mesh(&self.histogram(DURATIONS), brief, &Who::both()).ok()?;
                (selector, if self.native.contains(DURATIONS) { self.label.to_owned() } else { format!("{}, le", self.label) })
            }
            Counted::Histogram(name) => {
                let by = if self.native.contains(name) { "pod" } else { "pod, le" };
                (own(Selector::new(&self.histogram(name)).ok()?)?, by.to_owned())
            }
            Counted::Classes { counter, class } => (own(Selector::new(counter).ok()?)?, format!("pod, {}", label_name(class))),
            Counted::Share { bad, total, apart } => {
                let own = |counter| prometheus.own(&own(Selector::of(counter))?).ok();
                let gained = |of: Selector| format!("sum by (pod) (increase({of}[5m]))");
                let (bad, total) = (gained(own(bad)?), gained(own(total)?));
                return Some(if apart { format!("{bad} / ({bad} + {total})") } else { format!("{bad} / {total}") });
            }
            Counted::Value(query) => return Some(thresholds::shown(query, brief)),
        };
        let selector = prometheus.own(&selector).ok()?;
        Some(format!("sum by ({by}) (increase({selector}[5m]))"))
    }
}

/// Families that only metrics need which decide nothing.
fn aside(brief: &Brief) -> BTreeSet<Family> {
    let metrics = brief.analysis.metrics.iter().enumerate().filter(|(_, metric)| !metric.gate);
    metrics.flat_map(|(index, _)| [Family::Own(index), Family::Bad(index), Family::Total(index)]).collect()
}

/// Names of the pods of an arm.
pub(super) fn names(arm: &Arm) -> impl Iterator<Item = &str> {
    arm.pods.iter().map(|pod| pod.name.as_str())
}

/// Selector of what tells the arms apart, before that is known.
pub(super) fn requests_where(namespace: &str, label: &str, values: &[&str]) -> Result<Selector, BadName> {
    Selector::new(REQUESTS)?.any_of("reporter", REPORTERS)?.is("destination_workload_namespace", namespace)?.any_of(label, values)
}

/// Selector of request durations.
pub(super) fn durations(found: &Found, brief: &Brief) -> Result<Selector, BadName> {
    found.mesh(&found.histogram(DURATIONS), brief, &Who::both())
}
