//! What a sampler works from, made of the state and the pods. Pure.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::State;
use crate::api::{Outcome, Version};
use crate::judge::{Evidence, StepTerms};
use crate::plan::{AnalysisPlan, Plan, Share, Split};
use crate::seen::{Arm, Brief, Deployed, StepKey};

/// For so long after a rollout its canary's traffic is watched until it has gone.
const DRAIN: SignedDuration = SignedDuration::from_mins(10);

/// Share of the users that a match is taken for before any is seen, 0 to 1.
const COHORT: f64 = 0.05;

/// Terms of every step of a plan.
pub fn terms(plan: &Plan) -> Vec<StepTerms> {
    let interval = plan.analysis.interval.as_secs_f64().max(0.001);
    plan.steps
        .iter()
        .enumerate()
        .map(|(index, step)| StepTerms {
            weight: counted(&step.split),
            next_weight: opens_to(plan, index),
            planned_windows: (step.hold.as_secs_f64() / interval).ceil().clamp(1.0, 1e6) as u32,
            without: step.without.clone(),
            share: step.share(),
            kind: kind(plan, index),
        })
        .collect()
}

/// Number of a kind of traffic: how often it has changed up to this step. One that comes back is another one: what was counted before is gone.
fn kind(plan: &Plan, index: usize) -> u32 {
    let pairs = plan.steps.iter().zip(plan.steps.iter().skip(1)).take(index);
    u32::try_from(pairs.filter(|(before, after)| !before.split.same_kind(&after.split)).count()).unwrap_or(u32::MAX)
}

fn share(percent: u8) -> f64 {
    f64::from(percent) / 100.0
}

/// Canary's share of all requests that are counted in a step, copies among them.
fn counted(split: &Split) -> f64 {
    let cohort = if split.matches.is_empty() { 0.0 } else { COHORT };
    let (users, copies) = (cohort + (1.0 - cohort) * share(split.weight), share(split.mirror));
    (users + copies) / (1.0 + copies)
}

/// The weight that a Pass of a step opens the way to: the next one there is, 1 if none comes after (statistics 2j).
fn opens_to(plan: &Plan, index: usize) -> f64 {
    let later = plan.steps.iter().skip(index + 1).map(|step| step.split.weight);
    later.into_iter().find(|weight| *weight > 0).map_or(1.0, share)
}

/// What the sampler of this Rollout works from; `None`: nothing to measure.
pub fn brief(state: &State, versions: &BTreeMap<String, Deployed>, namespace: &str, name: &str, now: Timestamp) -> Option<Brief> {
    let arm = |version: &Version| {
        let arm = versions.get(&version.name).map(|deployed| deployed.arm.clone()).unwrap_or_default();
        let service = version.subset.is_none().then(|| version.name.clone());
        Arm { host: version.host.clone(), name: version.name.clone(), service, revision: version.revision.clone(), ..arm }
    };
    if let Some(run) = &state.run {
        return Some(Brief {
            steps: terms(&run.plan),
            stable: arm(&run.stable),
            canary: arm(&run.canary),
            since: run.since,
            resume_after: run.evidence_until,
            ..base(namespace, name, run.key(), &run.plan.analysis, run.evidence.as_ref())?
        });
    }
    let ended = state.ended.as_ref().filter(|ended| ended.outcome != Outcome::Promoted && !ended.drained)?;
    if now.duration_since(ended.at) > DRAIN {
        return None;
    }
    let key = StepKey { epoch: state.epoch, step: None, share: Share::NONE };
    Some(Brief {
        stable: arm(&ended.stable),
        canary: arm(&ended.canary),
        since: Some(ended.at),
        ..base(namespace, name, key, &ended.plan.as_ref()?.analysis, None)?
    })
}

fn base(namespace: &str, name: &str, key: StepKey, analysis: &AnalysisPlan, evidence: Option<&Arc<Evidence>>) -> Option<Brief> {
    let fresh = || Arc::new(Evidence::new(&analysis.metrics, analysis.interval.as_secs_f64()));
    (!analysis.metrics.is_empty()).then(|| Brief {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        key,
        analysis: analysis.clone(),
        steps: Vec::new(),
        stable: Arm::default(),
        canary: Arm::default(),
        since: None,
        evidence: evidence.cloned().unwrap_or_else(fresh),
        resume_after: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(strategy: Value) -> Vec<StepTerms> {
        let spec = json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": strategy});
        terms(&Plan::parse(&serde_json::from_value(spec).unwrap()).unwrap())
    }

    #[test]
    fn a_step_without_a_weight_opens_to_the_next_one_that_has_one() {
        let beta = json!([{"headers": {"x-user-group": {"exact": "beta"}}}]);
        let steps = of(json!({"steps": [
            {"mirror": 100, "acknowledgeSideEffects": true}, {"match": beta}, {"weight": 5}, {"weight": 50}, {"weight": 100},
        ]}));
        assert_eq!(steps.iter().map(|step| step.next_weight).collect::<Vec<_>>(), [0.05, 0.05, 0.5, 1.0, 1.0]);
        assert_eq!(steps.iter().map(|step| step.kind).collect::<Vec<_>>(), [0, 1, 2, 2, 2]);
        let alone = of(json!({"shadow": {"acknowledgeSideEffects": true}}));
        assert_eq!((alone[0].next_weight, alone[0].weight), (1.0, 0.5), "copies of everything are half of what is counted");
        assert_eq!(of(json!({"abTest": {"match": beta, "then": "Revert"}}))[0].next_weight, 1.0);
    }

    #[test]
    fn the_users_of_another_match_are_another_kind() {
        let group = |name: &str| json!({"match": [{"headers": {"x-user-group": {"exact": name}}}], "name": name});
        let steps = of(json!({"steps": [group("beta"), group("gold"), {"weight": 5}, {"weight": 100}]}));
        assert_eq!(steps.iter().map(|step| step.kind).collect::<Vec<_>>(), [0, 1, 2, 2]);
    }
}
