//! Queries of the user's own: filled with the names of today's pods, asked at the time of the look.

use std::time::Duration;

use jiff::Timestamp;

use super::ask::names;
use crate::clock::Clock;
use crate::judge::Seen;
use crate::observe::prometheus::{Prometheus, QueryError};
use crate::plan::Counted;
use crate::plan::promql::{Placeholder, Query};
use crate::seen::{Arm, Brief};

/// All queries of one look together take at most so long, and half a window: the next window is asked for in time.
const BUDGET: Duration = Duration::from_secs(10);
/// A longer query is shown as the user wrote it: status is small.
const LONGEST_SHOWN: usize = 1000;

/// One threshold at one look.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sighting {
    /// Index of the metric.
    pub(super) metric: usize,
    /// What was asked, or would have been.
    pub(super) query: String,
    /// What came.
    pub(super) seen: Seen,
}

/// Asks for every threshold at `at`, one after the other. While a canary pod warms up nothing is asked, as nothing is counted.
pub(super) async fn sightings(prometheus: &Prometheus, brief: &Brief, interval: Duration, at: Timestamp, clock: &Clock) -> Vec<Sighting> {
    let end = clock.elapsed() + BUDGET.min(interval / 2);
    let mut all = Vec::new();
    if warming(brief, at) {
        return all;
    }
    for (index, metric) in brief.analysis.metrics.iter().enumerate() {
        let Counted::Value(written) = metric.kind.counted() else { continue };
        let seen = match filled(written, brief) {
            Err(why) => Seen::Nothing(why),
            Ok(query) => {
                let left = end.saturating_sub(clock.elapsed());
                let answer = tokio::time::timeout(left, prometheus.value(&query, at)).await;
                answer.map_or_else(|_| Seen::Unanswered(format!("no answer within {} s", left.as_secs_f64().ceil())), seen)
            }
        };
        all.push(Sighting { metric: index, query: shown(written, brief), seen });
    }
    all
}

/// A query as people see it: to be pasted into Prometheus, unless that would be too long.
pub(super) fn shown(written: &str, brief: &Brief) -> String {
    filled(written, brief).ok().filter(|query| query.len() <= LONGEST_SHOWN).unwrap_or_else(|| written.to_owned())
}

/// The query with its names.
fn filled(written: &str, brief: &Brief) -> Result<String, String> {
    let query = Query::read(written).map_err(|faults| faults.into_iter().map(|(message, _)| message).collect::<Vec<_>>().join("; "))?;
    query.fill(|of| values(of, brief)).map_err(|of| format!("there is nothing to put for {of}: is there a pod?"))
}

fn values(of: Placeholder, brief: &Brief) -> Vec<String> {
    let pods = |arm: &Arm| names(arm).map(str::to_owned).collect();
    match of {
        Placeholder::Namespace => vec![brief.namespace.clone()],
        Placeholder::Name => vec![brief.name.clone()],
        Placeholder::CanaryPods => pods(&brief.canary),
        Placeholder::StablePods => pods(&brief.stable),
        Placeholder::CanarySubset => vec![brief.canary.name.clone()],
        Placeholder::StableSubset => vec![brief.stable.name.clone()],
        Placeholder::CanaryWorkload => vec![brief.canary.workload.clone()],
        Placeholder::StableWorkload => vec![brief.stable.workload.clone()],
        Placeholder::CanaryRevision => vec![brief.canary.revision.clone()],
        Placeholder::StableRevision => vec![brief.stable.revision.clone()],
    }
}

/// Whether a canary pod is warming up.
fn warming(brief: &Brief, at: Timestamp) -> bool {
    let warm = |since: Timestamp| since.checked_add(brief.analysis.warm_up).is_ok_and(|until| at >= until);
    brief.canary.pods.iter().filter_map(|pod| pod.ready_since).any(|since| !warm(since))
}

/// What Prometheus said of the query is an answer; what kept it from answering is none.
fn seen(answer: Result<f64, QueryError>) -> Seen {
    match answer {
        Ok(value) => Seen::Value(value),
        Err(error) if is_answer(&error) => Seen::Nothing(error.to_string()),
        Err(error) => Seen::Unanswered(error.to_string()),
    }
}

fn is_answer(error: &QueryError) -> bool {
    matches!(
        error,
        QueryError::Nothing
            | QueryError::Several(_)
            | QueryError::NotFinite(_)
            | QueryError::WrongType { .. }
            | QueryError::Warnings(_)
            | QueryError::NotSuccess(_)
            | QueryError::Status(400 | 422, _)
    )
}

/// What is wrong with a query whatever the canary does, reported before it gets traffic. A value that is not there yet may come with it.
pub(super) async fn preflight(prometheus: &Prometheus, written: &str, brief: &Brief, at: Timestamp) -> Result<(), QueryError> {
    let Ok(query) = filled(written, brief) else { return Ok(()) };
    match prometheus.value(&query, at).await {
        Ok(_) | Err(QueryError::Nothing | QueryError::NotFinite(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
