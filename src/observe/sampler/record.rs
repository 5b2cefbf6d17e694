//! Recorded traffic of one workload, pod by pod, for playing a policy on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::ask::{REPORTERS, REQUESTS, Who, names, reporter};
use super::preflight::{Trouble, preflight};
use crate::counts::{History, Series, chosen, gain, past};
use crate::judge::Evidence;
use crate::observe::prometheus::{Prometheus, QueryError, Selector};
use crate::plan::{AnalysisPlan, Share};
use crate::seen::{Arm, ArmPod, Brief, StepKey};

/// Most windows that are read, and most pods, chosen by their hash.
const MOST_WINDOWS: u32 = 10_000;
const PODS: usize = 20;
/// Longest stretch of one query, and how many scrapes it may hold.
const STRETCH: Duration = Duration::from_secs(600);
const SCRAPES: u32 = 120;
/// Seconds before the end in which a workload must have had requests.
const LATELY: u64 = 300;

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Namespace of the workload.
    pub namespace: &'a str,
    /// Name of its service, to choose by where no workload is named.
    pub service: &'a str,
    /// Name of the workload, if it is named.
    pub workload: Option<&'a str>,
    /// What is measured.
    pub analysis: &'a AnalysisPlan,
    /// Begin.
    pub from: Timestamp,
    /// End.
    pub to: Timestamp,
}

/// What was read.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The workload.
    pub workload: String,
    /// Its share of the newest requests to the service; 1 where it is the only one.
    pub share: f64,
    /// Its windows. Where pods cannot be told apart there are none.
    pub history: History,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Prometheus did not answer as it must.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// What is asked for is not there, or cannot be trusted.
    #[error("{0}")]
    Found(String),
    /// More than is held in memory.
    #[error("from there to here are {windows} windows of {} s, at most {MOST_WINDOWS} are read", interval.as_secs_f64())]
    TooLong {
        /// Windows asked for.
        windows: u32,
        /// Length of one.
        interval: Duration,
    },
}

impl From<Trouble> for RecordError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Query(error) => Self::Query(error),
            Trouble::Found(problem) => Self::Found(problem.message),
        }
    }
}

/// Length of a window: as the controller would count, at least two scrapes.
pub fn interval(prometheus: &Prometheus, analysis: &AnalysisPlan) -> Duration {
    analysis.interval.max(prometheus.scrape_interval() * 2)
}

/// Reads a workload's windows, the newest first, one query after the other. `progress` hears which part of them is read.
///
/// # Errors
/// When Prometheus does not answer, or what it has cannot be compared.
pub async fn record(prometheus: &Prometheus, wanted: &Wanted<'_>, mut progress: impl FnMut(f64)) -> Result<Recorded, RecordError> {
    let interval = interval(prometheus, wanted.analysis);
    let seconds = wanted.to.duration_since(wanted.from).as_secs_f64().max(0.0);
    let windows = (seconds / interval.as_secs_f64()) as u32; // a float cast saturates
    if windows > MOST_WINDOWS {
        return Err(RecordError::TooLong { windows, interval });
    }
    let (workload, share, pods) = serving(prometheus, wanted).await?;
    let nothing = |workload| {
        let history = History { interval_seconds: interval.as_secs_f64(), windows: Vec::new(), by_pod: false };
        Recorded { workload, share, history }
    };
    if pods.is_empty() {
        return Ok(nothing(workload));
    }
    let brief = brief(wanted, &workload, &pods);
    let found = preflight(prometheus, &brief, 4 * prometheus.scrape_interval().as_secs().max(1), wanted.to).await?;
    if !found.by_pod {
        return Ok(nothing(workload));
    }
    let pods = chosen(names(&brief.stable), PODS);
    let mut scope = found.scope(&brief, false);
    scope.pods.retain(|name, _| pods.contains(name));
    let who = Who::Stable { pods, bounds: Vec::new() };
    let stretch = (prometheus.scrape_interval() * SCRAPES).clamp(Duration::from_secs(60), STRETCH);
    let mut each = ((stretch.as_secs_f64() / interval.as_secs_f64()) as u32).max(1);
    let (mut left, mut end) = (windows, wanted.to);
    let mut read = VecDeque::new();
    while left > 0 {
        let count = each.min(left);
        let ends: Vec<Timestamp> = (0..=count).rev().filter_map(|back| before(end, interval * back)).collect();
        let seconds = (interval * (count + 1)).as_secs_f64().ceil() as u64;
        let reading = match found.read(prometheus, &brief, &who, seconds, end).await {
            Ok(reading) => reading,
            // More than the server or we can take at once: a shorter stretch.
            Err(error) if error.is_too_much() && each > 1 => {
                each = (each / 2).max(1);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let older = past(&reading, &scope, &ends, &wanted.analysis.metrics, true)
            .map_err(|dropped| RecordError::Found(format!("stable's windows cannot be read: {dropped}")))?;
        older.into_iter().rev().for_each(|window| read.push_front(window));
        left -= count;
        let Some(next) = before(end, interval * count) else { break };
        end = next;
        progress(1.0 - f64::from(left) / f64::from(windows.max(1)));
    }
    let history = History { interval_seconds: interval.as_secs_f64(), windows: read.into(), by_pod: true };
    Ok(Recorded { workload, share, history })
}

/// The workload, its share, and its pods where requests are counted there: the one that is named; else of those behind the service the one
/// with the most requests lately.
async fn serving(prometheus: &Prometheus, wanted: &Wanted<'_>) -> Result<(String, f64, BTreeSet<String>), RecordError> {
    let mut selector = Selector::new(REQUESTS)
        .and_then(|s| s.any_of("reporter", REPORTERS))
        .and_then(|s| s.is("destination_workload_namespace", wanted.namespace))
        .map_err(QueryError::from)?;
    if let Some(workload) = wanted.workload {
        selector = selector.is("destination_workload", workload).map_err(QueryError::from)?;
    }
    let series = prometheus.raw(&selector, LATELY, wanted.to).await?;
    let of_service: Vec<&Series> = series.iter().filter(|one| one.label("destination_service_name") == wanted.service).collect();
    let series: Vec<&Series> = if wanted.workload.is_some() || of_service.is_empty() { series.iter().collect() } else { of_service };
    let reporter = reporter(series.iter().copied()).unwrap_or_default();
    let mut requests: BTreeMap<&str, (f64, BTreeSet<String>)> = BTreeMap::new();
    for one in series.iter().filter(|one| one.label("reporter") == reporter && !one.label("destination_workload").is_empty()) {
        let of = requests.entry(one.label("destination_workload")).or_default();
        of.0 += gain(one.samples.iter().map(|(_, value)| *value));
        if reporter == "destination" && !one.label("pod").is_empty() {
            of.1.insert(one.label("pod").to_owned());
        }
    }
    let all: f64 = requests.values().map(|(count, _)| count).sum();
    let most = requests.into_iter().max_by(|a, b| a.1.0.total_cmp(&b.1.0));
    let Some((workload, (count, pods))) = most.filter(|_| all > 0.0) else {
        let whose = wanted
            .workload
            .map_or_else(|| format!("namespace {}", wanted.namespace), |name| format!("workload {name} in namespace {}", wanted.namespace));
        return Err(RecordError::Found(format!("{REQUESTS} shows no request to {whose} in the {LATELY} s before {}", wanted.to)));
    };
    Ok((workload.to_owned(), count / all, pods))
}

/// What the sampler would learn about stable before a rollout. There is no canary yet; its name only must not be stable's.
fn brief(wanted: &Wanted<'_>, workload: &str, pods: &BTreeSet<String>) -> Brief {
    let begun = wanted.from.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(wanted.from);
    let pods = pods.iter().map(|name| ArmPod { name: name.clone(), created: begun, ready_since: Some(begun) }).collect();
    Brief {
        namespace: wanted.namespace.to_owned(),
        name: wanted.service.to_owned(),
        key: StepKey { epoch: 0, step: None, share: Share::NONE },
        analysis: wanted.analysis.clone(),
        steps: Vec::new(),
        stable: Arm { workload: workload.to_owned(), pods, ..Arm::default() },
        canary: Arm { workload: format!("{workload} as canary"), ..Arm::default() },
        since: None,
        evidence: Arc::new(Evidence::new(&wanted.analysis.metrics, wanted.analysis.interval.as_secs_f64())),
        resume_after: None,
    }
}

fn before(time: Timestamp, by: Duration) -> Option<Timestamp> {
    time.checked_sub(by).ok()
}
