//! Before anything moves: how the two arms are told apart in the metrics, by which reporter, and that nothing is counted twice. Asked on
//! stable, which has traffic; the canary's value follows from its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::ask::{DURATIONS, REQUESTS, Who, durations, names, reporter, requests_where};
use super::unanswered;
use crate::api::Reason;
use crate::clock::Clock;
use crate::counts::{Family, Mixed, Reading, Series, Target, identity, pod_of};
use crate::observe::prometheus::{Prometheus, QueryError, Selector};
use crate::plan::promql::Counter;
use crate::plan::{Counted, Metric, span};
use crate::seen::{Brief, Problem};

/// What preflight found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// One of [`super::ask::REPORTERS`].
    pub(super) reporter: &'static str,
    /// Label that tells the arms apart.
    pub(super) label: &'static str,
    pub(super) stable: String,
    pub(super) canary: String,
    /// Where versions are told apart and not workloads: the canonical service, so that other models of the namespace are left out.
    pub(super) service: Option<String>,
    /// The scrape target is the model's pod.
    pub(super) by_pod: bool,
    /// Series carry the name of the pod that was scraped.
    pub(super) named: bool,
    /// `up` of the pods can be read.
    pub(super) has_up: bool,
    /// Jobs in which every ready pod has a target.
    pub(super) pod_jobs: BTreeSet<String>,
    /// Names by which senders know the route's service; none: what nobody answered cannot be told apart.
    pub(super) hosts: BTreeSet<String>,
    /// The job in which the pods' mesh metrics are scraped is one of those, and their series say so under the same names as `up`.
    pub(super) mesh_in_pod_jobs: bool,
    /// The store takes no question about several metrics.
    pub(super) apart: bool,
    /// Pods that are not ours were in an answer: of another cluster, most likely.
    pub(super) mixed: Option<Mixed>,
    /// Histograms that are native ones: their series have no `_bucket` and no `le`.
    pub(super) native: BTreeSet<String>,
}

/// Why preflight did not end.
#[derive(Debug)]
pub(super) enum Trouble {
    Query(QueryError),
    Found(Problem),
}

impl From<QueryError> for Trouble {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

fn trouble(reason: Reason, unavailable: bool, message: String) -> Trouble {
    Trouble::Found(Problem { reason, message, unavailable })
}

/// Label, stable's value, canary's value.
type Candidate<'a> = (&'static str, &'a str, &'a str);

/// Clocks that differ by more than this are not corrected but reported: other times, of pods and of people, cannot be trusted either.
const MOST_SKEW: Duration = Duration::from_secs(300);

/// [`preflight`] of a Prometheus that continues being asked, from now on in its own time.
pub(super) async fn live(prometheus: &Prometheus, brief: &Brief, seconds: u64, at: Timestamp, clock: &Clock) -> Result<Found, Trouble> {
    same_time(prometheus, brief, clock).await?;
    preflight(prometheus, brief, seconds, at).await
}

/// Lets `prometheus` be asked in its own time; an error where the clocks are too far apart.
async fn same_time(prometheus: &Prometheus, brief: &Brief, clock: &Clock) -> Result<(), Trouble> {
    let ahead = prometheus.ahead(clock).await?;
    let apart = Duration::from_secs(ahead.unsigned_abs().as_secs_f64().round() as u64);
    if apart <= MOST_SKEW {
        return Ok(());
    }
    let message = format!(
        "provider {}: the clock of Prometheus is {} {} the controller's, and which of the two is wrong cannot be known from here: let both \
         follow one time server",
        brief.analysis.prometheus,
        span(apart),
        if ahead.is_negative() { "behind" } else { "ahead of" },
    );
    Err(trouble(Reason::ClockSkew, true, message))
}

/// Asks at `at`, with `seconds` of raw samples for `up`.
pub(super) async fn preflight(prometheus: &Prometheus, brief: &Brief, seconds: u64, at: Timestamp) -> Result<Found, Trouble> {
    let (label, stable, canary, rows) = separating(prometheus, brief, at).await?;
    // A workload and a Service belong to nobody else; other models of the namespace may have the same versions.
    let apart = ["destination_workload", "destination_service_name"].contains(&label);
    let service = if apart { None } else { Some(one_service(label, stable, &rows)?) };
    let reporter = reporter(rows.iter()).unwrap_or_default();
    let hosts = unanswered::hosts(&rows, reporter, brief);
    let rows: Vec<&Series> = rows.iter().filter(|row| row.label("reporter") == reporter).collect();
    let by_pod = reporter == "destination";
    let named = rows.iter().all(|row| !row.label("pod").is_empty());
    once_each("istio_requests_total", rows.iter().copied())?;

    // With several jobs it is not known which one a pod belongs to.
    let mesh: BTreeSet<String> = rows.iter().map(|row| row.label("job").to_owned()).collect();
    let mesh = mesh.into_iter().next().filter(|job| by_pod && named && rows.iter().all(|row| row.label("job") == job));
    let mut jobs: BTreeSet<String> = mesh.iter().cloned().collect();
    let mut found = Found {
        reporter,
        label,
        stable: stable.to_owned(),
        canary: canary.to_owned(),
        service,
        by_pod,
        named,
        has_up: false,
        pod_jobs: BTreeSet::new(),
        hosts,
        mesh_in_pod_jobs: false,
        apart: false,
        mixed: None,
        native: BTreeSet::new(),
    };
    let reading = together(prometheus, &mut found, brief, seconds, at).await?;
    let (doubled, mixed) = identity(&reading, &found.scope(brief, false), at);
    if let Some(doubled) = doubled {
        return Err(trouble(Reason::DuplicateSeries, false, format!("provider {}: {doubled}", brief.analysis.prometheus)));
    }
    found.mixed = mixed;
    let timed = reading.families.iter().any(|(family, series)| *family == Family::Latency && !series.is_empty());
    for metric in brief.analysis.metrics.iter().filter(|metric| metric.gate) {
        match metric.kind.counted() {
            Counted::Requests => {}
            Counted::Durations => {
                let selector = durations(&found, brief).map_err(QueryError::from)?;
                if !timed
                    && prometheus.groups(&selector, &["job"], at).await?.is_empty()
                    && !native_durations(prometheus, &mut found, brief, at).await?
                {
                    let message = format!(
                        "metric {}: stable has requests but no istio_request_duration_milliseconds, neither with buckets nor as a native \
                         histogram: is it switched off in the Telemetry resource, or dropped by the scrape configuration?",
                        metric.name
                    );
                    return Err(trouble(Reason::MetricsUnavailable, true, message));
                }
            }
            Counted::Histogram(name) => {
                let native = own_native(prometheus, &mut found, brief, name, at).await?;
                let selector = Selector::new(&found.histogram(name)).map_err(QueryError::from)?;
                jobs.extend(own_metric(prometheus, brief, metric, selector, Some("le").filter(|_| !native), at).await?);
            }
            Counted::Classes { counter, class } => {
                let selector = Selector::new(counter).map_err(QueryError::from)?;
                jobs.extend(own_metric(prometheus, brief, metric, selector, Some(class), at).await?);
            }
            // What is bad may never have happened.
            Counted::Share { bad, total, apart } => {
                jobs.extend(own_metric(prometheus, brief, metric, Selector::of(total), None, at).await?);
                if !apart {
                    part_of(prometheus, brief, metric, [bad, total], seconds, at).await?;
                }
            }
            Counted::Value(query) if brief.key.share.is_none() => {
                if let Err(error) = super::thresholds::preflight(prometheus, query, brief, at).await {
                    return Err(trouble(
                        Reason::MetricsUnavailable,
                        true,
                        format!("metric {}: {error}; the query is {query}", metric.name),
                    ));
                }
            }
            Counted::Value(_) => {}
        }
    }
    if !jobs.is_empty() {
        let selector = Selector::new("up")
            .and_then(|s| s.any_of("job", &jobs))
            .and_then(|s| s.any_of("pod", asked(brief)))
            .map_err(QueryError::from)?;
        let up = prometheus.raw(&selector, seconds, at).await?;
        found.has_up = jobs.iter().all(|job| up.iter().any(|series| series.label("job") == job));
        if found.has_up {
            found.mesh_in_pod_jobs = mesh.is_some_and(|job| jobs.contains(&job));
            found.pod_jobs = jobs;
        }
    }
    Ok(found)
}

/// Raw samples of all that the mesh counts, in one question; if the store refuses that, of requests alone, and it is not asked so again.
async fn together(prometheus: &Prometheus, found: &mut Found, brief: &Brief, seconds: u64, at: Timestamp) -> Result<Reading, QueryError> {
    let of = found.counted(brief);
    let metrics: Vec<&str> = of.iter().map(|(_, metric)| metric.as_str()).collect();
    let all = found.of_mesh(Selector::any(&metrics), brief, &Who::both())?;
    match prometheus.raw_named(&all, seconds, at).await {
        Ok(series) => Ok(Reading { families: found.sorted(series, of, brief) }),
        Err(error) if error.would_come_again() => {
            let requests = found.mesh(REQUESTS, brief, &Who::both())?;
            let series = prometheus.raw(&requests, seconds, at).await?;
            tracing::info!(namespace = brief.namespace, rollout = brief.name, %error, "the store is asked for one metric at a time");
            found.apart = true;
            Ok(Reading { families: vec![(Family::Requests, series)] })
        }
        Err(error) => Err(error),
    }
}

/// So many seconds of a native histogram show its bounds before the first look.
const BOUNDS: u64 = 300;

/// Whether the mesh's durations are a native histogram. If so that is kept, and its bounds are learned.
async fn native_durations(prometheus: &Prometheus, found: &mut Found, brief: &Brief, at: Timestamp) -> Result<bool, QueryError> {
    found.native.insert(DURATIONS.to_owned());
    let is = prometheus.raw(&durations(found, brief)?, BOUNDS, at).await?.iter().any(|series| series.labels.get("le").is_some());
    if !is {
        found.native.remove(DURATIONS);
    }
    Ok(is)
}

/// Whether a histogram of the model's own is there as a native one and not with buckets. If so that is kept, and its bounds are learned.
async fn own_native(prometheus: &Prometheus, found: &mut Found, brief: &Brief, metric: &str, at: Timestamp) -> Result<bool, QueryError> {
    let own = |name: &str| Selector::new(name)?.is("namespace", &brief.namespace)?.any_of("pod", asked(brief));
    if !prometheus.groups(&own(&found.histogram(metric))?, &["job"], at).await?.is_empty() {
        return Ok(found.native.contains(metric));
    }
    let is = prometheus.raw(&own(metric)?, BOUNDS, at).await?.iter().any(|series| series.labels.get("le").is_some());
    if is {
        found.native.insert(metric.to_owned());
    }
    Ok(is)
}

/// The first label that has stable's value and another one for the canary.
async fn separating<'a>(
    prometheus: &Prometheus,
    brief: &'a Brief,
    at: Timestamp,
) -> Result<(&'static str, &'a str, &'a str, Vec<Series>), Trouble> {
    let text = |value: &'a Option<String>| value.as_deref().unwrap_or("");
    let (stable, canary) = (&brief.stable, &brief.canary);
    let candidates: [Candidate<'a>; 4] = [
        ("destination_workload", &stable.workload, &canary.workload),
        ("destination_service_name", text(&stable.service), text(&canary.service)),
        ("destination_version", text(&stable.version), text(&canary.version)),
        ("destination_canonical_revision", text(&stable.version), text(&canary.version)),
    ];
    let usable: Vec<Candidate<'a>> =
        candidates.into_iter().filter(|(_, one, two)| !one.is_empty() && !two.is_empty() && one != two).collect();
    if usable.is_empty() {
        let message = format!(
            "nothing tells the two arms apart in the metrics: both belong to workload {:?}, and neither a Service of their own nor the \
             label version of their pods differs; give the canary a Deployment of its own, or a label version",
            stable.workload
        );
        return Err(trouble(Reason::ArmsInseparable, false, message));
    }
    for (label, one, two) in &usable {
        // Once it has traffic the canary may be all there is.
        let values: &[&str] = if !brief.key.share.is_none() { &[one, two] } else { &[one] };
        let selector = requests_where(&brief.namespace, label, values).map_err(QueryError::from)?;
        let by = ["reporter", "job", "instance", "pod", "destination_canonical_service", "destination_service"];
        let rows = prometheus.groups(&selector, &by, at).await?;
        if !rows.is_empty() {
            return Ok((*label, *one, *two, rows));
        }
    }
    if let Some(trouble) = no_proxy(prometheus, brief, &usable, at).await? {
        return Err(trouble);
    }
    let tried: Vec<String> = usable.iter().map(|(label, value, _)| format!("{label}={value:?}")).collect();
    let message = format!(
        "no istio_requests_total of stable in namespace {} at reporter destination, waypoint or source (tried {}): has stable had a \
         request in the last five minutes, are its sidecars, the waypoint or the gateway scraped, and do the provider's url and labels fit?",
        brief.namespace,
        tried.join(", ")
    );
    Err(trouble(Reason::MetricsUnavailable, true, message))
}

/// Whether nothing on the way of stable's requests reads them: the reason why there are no counts.
async fn no_proxy(prometheus: &Prometheus, brief: &Brief, usable: &[Candidate<'_>], at: Timestamp) -> Result<Option<Trouble>, Trouble> {
    for (label, stable, _) in usable {
        let connections = Selector::new("istio_tcp_connections_opened_total")
            .and_then(|s| s.is("destination_workload_namespace", &brief.namespace))
            .and_then(|s| s.is(label, stable))
            .map_err(QueryError::from)?;
        if !prometheus.groups(&connections, &["reporter"], at).await?.is_empty() {
            let message = format!(
                "stable ({label}={stable:?}) is counted in TCP connections alone: nothing on the way reads its requests, so that weights, matches \
                 and mirrors have no effect: it takes sidecars, a gateway or a waypoint, and a port whose name or appProtocol says http or grpc"
            );
            return Ok(Some(trouble(Reason::NoProxy, true, message)));
        }
    }
    Ok(None)
}

fn one_service(label: &str, value: &str, rows: &[Series]) -> Result<String, Trouble> {
    let services: BTreeSet<&str> = rows.iter().map(|row| row.label("destination_canonical_service")).collect();
    match services.iter().collect::<Vec<_>>().as_slice() {
        [service] if !service.is_empty() => Ok((**service).to_owned()),
        _ => {
            let message = format!(
                "only {label}={value:?} tells stable apart, and in this namespace it belongs to {} services ({}): \
                 destination_workload is needed",
                services.len(),
                services.iter().copied().collect::<Vec<_>>().join(", ")
            );
            Err(trouble(Reason::ArmsInseparable, false, message))
        }
    }
}

/// The model's own metric on stable: it is there, the label that it is read by too, and no pod is scraped twice. Gives its job.
async fn own_metric(
    prometheus: &Prometheus,
    brief: &Brief,
    metric: &Metric,
    selector: Selector,
    label: Option<&str>,
    at: Timestamp,
) -> Result<Option<String>, Trouble> {
    let name = selector.to_string();
    let name = name.trim_end_matches("{}");
    let selector = selector.is("namespace", &brief.namespace).and_then(|s| s.any_of("pod", asked(brief))).map_err(QueryError::from)?;
    let by: Vec<&str> = ["job", "instance", "pod"].into_iter().chain(label).collect();
    let rows = prometheus.groups(&selector, &by, at).await?;
    if rows.is_empty() {
        let message = format!(
            "metric {}: stable's pods have no {name} with labels namespace and pod: do they export it, are they scraped, and does the \
             scrape configuration set both labels?",
            metric.name
        );
        return Err(trouble(Reason::MetricsUnavailable, true, message));
    }
    if let Some(label) = label.filter(|label| rows.iter().all(|row| row.label(label).is_empty())) {
        let message = format!("metric {}: {name} of stable's pods has no label {label}", metric.name);
        return Err(trouble(Reason::MetricsUnavailable, true, message));
    }
    once_each(name, rows.iter())?;
    let jobs: BTreeSet<&str> = rows.iter().map(|row| row.label("job")).collect();
    Ok(match jobs.iter().collect::<Vec<_>>().as_slice() {
        [job] => Some((**job).to_owned()),
        _ => None,
    })
}

/// What is bad is a part of all: on no pod of stable has it counted more.
async fn part_of(
    prometheus: &Prometheus,
    brief: &Brief,
    metric: &Metric,
    counters: [&Counter; 2],
    seconds: u64,
    at: Timestamp,
) -> Result<(), Trouble> {
    let mut counted: [BTreeMap<String, f64>; 2] = Default::default();
    for (counter, counted) in counters.iter().zip(&mut counted) {
        let own = Selector::of(counter).is("namespace", &brief.namespace).and_then(|s| s.any_of("pod", names(&brief.stable)));
        for series in prometheus.raw(&own.map_err(QueryError::from)?, seconds, at).await? {
            *counted.entry(series.label("pod").to_owned()).or_default() += series.samples.last().map_or(0.0, |(_, value)| *value);
        }
    }
    let [bad, total] = &counted;
    let more = bad.iter().find(|(pod, bad)| total.get(*pod).is_some_and(|total| **bad > 1.01 * total + 10.0));
    let Some((pod, bad)) = more else { return Ok(()) };
    let all = total.get(pod).copied().unwrap_or_default();
    let message = format!(
        "metric {}: on pod {pod} {} has counted {bad} and {} only {all}: bad must be a part of what total counts",
        metric.name, counters[0], counters[1]
    );
    Err(trouble(Reason::MetricsUnavailable, false, message))
}

/// Pods to ask about: stable's, and the canary's too once it has traffic.
fn asked(brief: &Brief) -> impl Iterator<Item = &str> {
    names(&brief.stable).chain(names(&brief.canary).filter(|_| !brief.key.share.is_none()))
}

/// Every pod is counted by one target.
fn once_each<'a>(metric: &str, rows: impl Iterator<Item = &'a Series>) -> Result<(), Trouble> {
    let mut targets: BTreeMap<String, BTreeSet<Target>> = BTreeMap::new();
    for row in rows {
        let target = Target::of(&row.labels);
        // Without a pod's name only the host is known, and several targets of one job may share it.
        let key = pod_of(&row.labels).unwrap_or_else(|| target.host()).to_owned();
        let target = if pod_of(&row.labels).is_some() { target } else { Target { job: target.job, instance: "".into() } };
        targets.entry(key).or_default().insert(target);
    }
    let Some((pod, of)) = targets.iter().find(|(_, of)| of.len() > 1) else { return Ok(()) };
    let jobs: BTreeSet<&str> = of.iter().map(|target| &*target.job).collect();
    let message = format!(
        "{metric} of {pod} comes from {} scrape targets (jobs {}), so every count is a multiple: let one job scrape it",
        of.len(),
        jobs.into_iter().collect::<Vec<_>>().join(", ")
    );
    Err(trouble(Reason::DuplicateSeries, false, message))
}
