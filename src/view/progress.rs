//! How far a rollout is: what each version has, which steps are behind, and which Rollout of many is looked at first.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::View;
use crate::api::{Phase, Rollout, RolloutStatus};
use crate::plan::Plan;

/// Which Rollouts of a fleet are looked at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Something went wrong.
    Failed,
    /// It waits for somebody or something.
    Waiting,
    /// It moves.
    Moving,
    /// Nothing is to be done.
    Calm,
}

/// How urgent a look is.
pub fn rank(phase: Option<Phase>) -> Rank {
    match phase {
        Some(Phase::RollingBack | Phase::RolledBack | Phase::Failed | Phase::Aborted | Phase::Invalid) => Rank::Failed,
        Some(Phase::Paused | Phase::Holding | Phase::Waiting) => Rank::Waiting,
        Some(Phase::Progressing) => Rank::Moving,
        Some(Phase::Promoted | Phase::Passed | Phase::Idle) | None => Rank::Calm,
    }
}

/// Where a Rollout stands in a fleet: what went wrong comes first, then what waits, then what moves; of these the newest.
pub fn place_in_fleet(rollout: &Rollout) -> impl Ord + use<> {
    let status = rollout.status.as_ref();
    let decided: Option<Timestamp> = status.and_then(|status| status.decision.as_ref()).map(|decision| decision.at.0);
    let names = (rollout.metadata.namespace.clone(), rollout.metadata.name.clone());
    (rank(status.and_then(|status| status.phase)), Reverse(decided), names)
}

/// Whether a canary may have traffic.
pub fn moving(phase: Option<Phase>) -> bool {
    matches!(phase, Some(Phase::Progressing | Phase::Paused | Phase::Holding | Phase::RollingBack))
}

/// What the canary has as a weight, in percent.
pub fn weight(status: &RolloutStatus) -> i32 {
    match status.phase {
        Some(Phase::Promoted) => 100,
        None | Some(Phase::Passed | Phase::Failed | Phase::RolledBack | Phase::Aborted | Phase::Idle | Phase::Waiting) => 0,
        _ => status.step.as_ref().map_or(0, |step| step.weight),
    }
}

/// Where a step is, seen from the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It is over.
    Behind,
    /// It is under way.
    Present,
    /// It comes later.
    Ahead,
}

/// One step of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepMark {
    /// Its name, where it has one of its own.
    pub name: Option<String>,
    /// What the canary gets: `20 %`, `mirror of 100 %`.
    pub share: String,
    /// A person must say so before it begins.
    pub approval: bool,
    /// Where it is.
    pub mark: Mark,
}

/// The steps of a rollout that is under way or has ended well; none otherwise.
pub fn steps(rollout: &Rollout) -> Vec<StepMark> {
    let Some(status) = &rollout.status else { return Vec::new() };
    let Ok(plan) = Plan::parse(&rollout.spec) else { return Vec::new() };
    let present = status.step.as_ref().filter(|_| moving(status.phase)).and_then(|step| usize::try_from(step.index).ok());
    let all = matches!(status.phase, Some(Phase::Promoted | Phase::Passed));
    if present.is_none() && !all {
        return Vec::new();
    }
    let mark = |at: usize| match present {
        _ if all => Mark::Behind,
        Some(present) if at < present => Mark::Behind,
        Some(present) if at == present => Mark::Present,
        _ => Mark::Ahead,
    };
    let steps = plan.steps.iter().enumerate();
    let steps = steps.map(|(at, step)| StepMark {
        name: (step.name != (at + 1).to_string()).then(|| step.name.clone()),
        share: step.share().words(),
        approval: step.approval,
        mark: mark(at),
    });
    steps.collect()
}

/// Names of the step that is under way, and of the one after it, with what the latter brings.
pub fn present_and_next(rollout: &Rollout) -> (Option<String>, Option<(String, String)>) {
    let present = rollout.status.as_ref().and_then(|status| status.step.as_ref()).filter(|step| step.index >= 0);
    let next = present.map_or(0, |step| usize::try_from(step.index + 1).unwrap_or(0));
    let coming =
        Plan::parse(&rollout.spec).ok().and_then(|plan| plan.steps.get(next).map(|step| (step.name.clone(), step.share().words())));
    (present.map(|step| step.name.clone()), coming)
}

impl View {
    /// The share of the requests that the canary had, 0 to 1, and the requests of both that were counted; nothing where none were.
    pub fn observed(&self) -> Option<(f64, i64)> {
        let counted = self.rows.iter().filter_map(|row| row.requests);
        let all = |stable: i64, canary: i64| stable.saturating_add(canary);
        let most = counted.max_by_key(|n| all(n.stable, n.canary)).filter(|n| all(n.stable, n.canary) > 0)?;
        let sum = all(most.stable, most.canary);
        Some((most.canary as f64 / sum as f64, sum))
    }
}
