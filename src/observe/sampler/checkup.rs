//! Prometheus asked once, as a sampler would ask it, for `haldane doctor`: the clock, the preflight, and what it has of stable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::ask::{DURATIONS, REQUESTS, Who, names};
use super::preflight::{Found, Trouble, preflight};
use crate::clock::Clock;
use crate::counts::{Series, Target, is_error};
use crate::doctor::presets::{self, Exported};
use crate::doctor::{self, Histogram, LABELS, Measured, Offered, Silence};
use crate::observe::prometheus::{Prometheus, QueryError, Selector};
use crate::plan::{Counted, Metric};
use crate::seen::{Brief, Problem};

/// So much of the past is read.
const SECONDS: u64 = 300;

/// How far the server's clock is ahead of ours: whether it answers at all.
///
/// # Errors
/// Why there is no answer.
pub async fn answers(prometheus: &Prometheus, clock: &Clock) -> Result<SignedDuration, Silence> {
    prometheus.read_clock(clock).await.map_err(Silence::from)
}

/// What it has for this brief, or what the preflight says.
///
/// # Errors
/// Why there is no answer.
pub async fn checkup(prometheus: &Prometheus, brief: &Brief, clock: &Clock) -> Result<Result<Measured, Problem>, Silence> {
    let now = clock.now();
    let at = now.saturating_sub(SignedDuration::try_from(prometheus.lag()).unwrap_or_default()).unwrap_or(now);
    match preflight(prometheus, brief, SECONDS, at).await {
        Ok(found) => Ok(Ok(measured(prometheus, &found, brief, now).await?)),
        Err(Trouble::Found(problem)) => Ok(Err(problem)),
        Err(Trouble::Query(error)) => Err(error.into()),
    }
}

/// Which series of presets the pods of a namespace export, or only these pods; a histogram's without `_bucket`.
///
/// # Errors
/// Why there is no answer.
pub async fn exported(prometheus: &Prometheus, namespace: &str, pods: Option<&[&str]>, clock: &Clock) -> Result<Exported, Silence> {
    let named = || -> Result<Selector, QueryError> {
        let selector = Selector::named_like(&presets::pattern()).is("namespace", namespace)?;
        Ok(if let Some(pods) = pods { selector.any_of("pod", pods)? } else { selector })
    };
    let found = prometheus.names(&named()?, &[], clock.now()).await?;
    let name = |labels: &BTreeMap<String, String>| labels.get("__name__").map(|name| name.trim_end_matches("_bucket").to_owned());
    Ok(found.iter().filter_map(name).collect())
}

impl From<QueryError> for Silence {
    fn from(error: QueryError) -> Self {
        let said = error.to_string();
        match error {
            QueryError::Unreachable(_) | QueryError::Timeout => Self::Unreachable(said),
            _ => Self::Refused(said),
        }
    }
}

async fn measured(prometheus: &Prometheus, found: &Found, brief: &Brief, now: Timestamp) -> Result<Measured, QueryError> {
    let requests = prometheus.raw(&found.mesh(REQUESTS, brief, &Who::both())?, SECONDS, now).await?;
    let of = |value: &str| requests.iter().filter(|series| series.label(found.label) == value).collect::<Vec<_>>();
    let (stable, canary) = (of(&found.stable), of(&found.canary));
    let seconds = seconds(&requests);
    let rate = |series: &[&Series]| if seconds > 0.0 { series.iter().map(|one| gained(one)).sum::<f64>() / seconds } else { 0.0 };
    let failed: Vec<&Series> = stable.iter().copied().filter(|series| is_error(&series.labels)).collect();
    let rates = [rate(&stable), rate(&canary)];
    let newest = requests.iter().filter_map(|series| series.samples.last()).map(|(at, _)| *at).max();
    let offered = Selector::named_like(&doctor::names()).is("namespace", &brief.namespace)?.any_of("pod", names(&brief.stable))?;
    let offered = Offered::of(&prometheus.names(&offered, &LABELS, now).await?);
    let mut histograms = Vec::new();
    for metric in &brief.analysis.metrics {
        histograms.extend(histogram(prometheus, found, brief, metric, now).await?);
    }
    Ok(Measured {
        reporter: found.reporter.to_owned(),
        label: found.label.to_owned(),
        values: [found.stable.clone(), found.canary.clone()],
        series: [stable.len(), canary.len()],
        rates,
        errors: if rates[0] > 0.0 { rate(&failed) / rates[0] } else { 0.0 },
        scrape: scrape(&requests),
        age: newest.and_then(|newest| Duration::try_from(now.duration_since(newest)).ok()),
        configured: prometheus.scrape_interval(),
        lag: prometheus.lag(),
        histograms,
        offered,
    })
}

/// The histogram that a metric is judged on, as stable has filled it.
async fn histogram(
    prometheus: &Prometheus,
    found: &Found,
    brief: &Brief,
    metric: &Metric,
    now: Timestamp,
) -> Result<Option<Histogram>, QueryError> {
    let stable = Who::Stable { pods: names(&brief.stable).map(str::to_owned).collect(), bounds: Vec::new() };
    let (name, mesh) = match metric.kind.counted() {
        Counted::Durations => (DURATIONS, true),
        Counted::Histogram(name) => (name, false),
        Counted::Requests | Counted::Classes { .. } | Counted::Share { .. } | Counted::Value(_) => return Ok(None),
    };
    let native = found.native.contains(name);
    let mut below = BTreeMap::new();
    if !native {
        let series = found.histogram(name);
        let selector = match mesh {
            true => found.mesh(&series, brief, &stable)?,
            false => Selector::new(&series)?.is("namespace", &brief.namespace)?.any_of("pod", names(&brief.stable))?,
        };
        for one in prometheus.raw(&selector, SECONDS, now).await? {
            let Ok(bound) = one.label("le").parse::<f64>() else { continue };
            below.entry(bound.to_bits()).or_insert((bound, 0.0)).1 += gained(&one);
        }
    }
    let mut below: Vec<(f64, f64)> = below.into_values().collect();
    below.sort_by(|one, other| one.0.total_cmp(&other.0));
    let unit = if mesh { Some(crate::api::TimeUnit::Ms) } else { metric.kind.unit() };
    Ok(Some(Histogram { metric: metric.name.clone(), name: name.to_owned(), unit, native, mesh, below }))
}

/// What a counter has gained; a fall is a restart.
fn gained(series: &Series) -> f64 {
    let pairs = series.samples.iter().zip(series.samples.iter().skip(1));
    pairs.map(|((_, before), (_, after))| if after >= before { after - before } else { *after }).sum()
}

/// From the first sample of all to the last one.
fn seconds(all: &[Series]) -> f64 {
    let times = || all.iter().flat_map(|series| series.samples.iter().map(|(at, _)| *at));
    match (times().min(), times().max()) {
        (Some(first), Some(last)) => last.duration_since(first).as_secs_f64(),
        _ => 0.0,
    }
}

/// The usual time between two samples of one target.
fn scrape(all: &[Series]) -> Option<Duration> {
    let mut times: BTreeMap<Target, BTreeSet<Timestamp>> = BTreeMap::new();
    for series in all {
        times.entry(Target::of(&series.labels)).or_default().extend(series.samples.iter().map(|(at, _)| *at));
    }
    let pauses = |times: &BTreeSet<Timestamp>| {
        times.iter().zip(times.iter().skip(1)).map(|(one, next)| next.duration_since(*one)).collect::<Vec<_>>()
    };
    let mut pauses: Vec<SignedDuration> = times.values().flat_map(pauses).collect();
    pauses.sort_unstable();
    pauses.get(pauses.len() / 2).and_then(|middle| Duration::try_from(*middle).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(instance: &str, samples: &[(i64, f64)]) -> Series {
        let at = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
        Series { labels: [("instance", instance)].into(), samples: samples.iter().map(|(second, value)| (at(*second), *value)).collect() }
    }

    #[test]
    fn the_pace_of_scrapes_is_the_usual_pause_of_one_target() {
        let all = [series("a", &[(0, 1.0), (15, 2.0), (30, 3.0), (60, 4.0)]), series("b", &[(7, 1.0), (22, 2.0)])];
        assert_eq!(scrape(&all), Some(Duration::from_secs(15)));
        assert_eq!(scrape(&[series("a", &[(0, 1.0)])]), None);
        assert_eq!(seconds(&all), 60.0);
    }

    #[test]
    fn a_counter_that_fell_began_again_at_zero() {
        assert_eq!(gained(&series("a", &[(0, 100.0), (15, 130.0), (30, 5.0), (45, 10.0)])), 40.0);
    }
}
