//! What a turn adds to the record of its rollout.

use jiff::Timestamp;

use super::Turn;
use crate::api::{DecisionRecord, Exposure, Outcome};
use crate::record::{Change, Distribution, End, Measured, News, Planned, Run, Window};
use crate::state::{self, State, beyond_weight};

/// What is new of the rollouts that a turn is about: the one that ends with it, and the one that goes on after it. `windows` were counted
/// since the turn before; with no rollout under way there is no news.
pub fn news(before: &State, turn: &Turn<'_>, windows: Vec<Window>) -> Vec<News> {
    let after = &turn.decision.state;
    let started = |run: &Option<state::Run>| run.as_ref().map(|run| run.started);
    let gone = before.run.as_ref().filter(|_| started(&before.run) != started(&after.run));
    let starts = |record: &&DecisionRecord| record.outcome == Outcome::Started;
    let decided = || turn.decision.records.iter();
    let mut news = Vec::new();
    if let Some(run) = gone {
        let mut head = head(run, None);
        head.end = after.ended.as_ref().map(|ended| End {
            at: ended.at,
            outcome: ended.outcome,
            reason: ended.reason.clone(),
            message: ended.message.clone(),
        });
        let entry = after.history.iter().find(|entry| entry.started.0.as_second() == run.started.as_second());
        head.exposure = entry.and_then(|entry| entry.exposure.clone());
        let weight = if after.ended.as_ref().is_some_and(|ended| ended.outcome == Outcome::Promoted) { 100 } else { 0 };
        let at = after.ended.as_ref().map(|ended| ended.at);
        let last = at.map(|at| Change { at, step: None, weight, traffic: None });
        news.push(News {
            head,
            changes: change(run).into_iter().chain(last).collect(),
            windows: windows.clone(),
            distributions: distributions(run, turn),
            decisions: decided().filter(|record| after.run.is_none() || !starts(record)).cloned().collect(),
            history: before.history.clone(),
        });
    }
    if let Some(run) = &after.run {
        let exposure = run.evidence.as_ref().and_then(|evidence| evidence.exposure(&run.plan.analysis.metrics));
        news.push(News {
            head: head(run, exposure),
            changes: change(run).into_iter().collect(),
            windows: if gone.is_some() { Vec::new() } else { windows },
            distributions: distributions(run, turn),
            decisions: decided().filter(|record| gone.is_none() || starts(record)).cloned().collect(),
            history: after.history.clone(),
        });
    }
    news
}

/// The rollout itself.
fn head(run: &state::Run, exposure: Option<Exposure>) -> Run {
    let step =
        |step: &crate::plan::Step| Planned { name: step.name.clone(), weight: step.split.weight, traffic: beyond_weight(step.share()) };
    Run {
        started: run.started,
        stable: run.stable.clone(),
        canary: run.canary.clone(),
        interval: run.plan.analysis.interval.as_secs_f64(),
        steps: run.plan.steps.iter().map(step).collect(),
        metrics: run.plan.analysis.metrics.iter().map(Measured::of).collect(),
        changes: Vec::new(),
        windows: Vec::new(),
        distributions: Vec::new(),
        decisions: Vec::new(),
        exposure,
        end: None,
    }
}

/// What the canary gets since it was read back last.
fn change(run: &state::Run) -> Option<Change> {
    let (weight, traffic) = (run.share.weight, beyond_weight(run.share));
    run.since.map(|at: Timestamp| Change { at, step: run.step, weight, traffic })
}

/// Distributions at the newest look, if it is one of the step that this rollout is at.
fn distributions(run: &state::Run, turn: &Turn<'_>) -> Vec<Distribution> {
    let look = turn.seen.look.as_ref().filter(|look| look.key == run.key());
    let of = look.and_then(|look| Some(Distribution::all(&look.evidence, &run.plan.analysis.metrics, run.step?, look.window_end?)));
    of.unwrap_or_default()
}
