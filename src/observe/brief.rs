//! What a sampler is told, from the state and the pods. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Arm, Brief, StepKey, Subset};
use crate::api::{Outcome, Version};
use crate::judge::{Evidence, StepTerms};
use crate::plan::{AnalysisPlan, Plan};
use crate::state::State;

/// For so long after a rollout its canary's traffic is watched until it has gone.
const DRAIN: SignedDuration = SignedDuration::from_mins(10);

/// Terms of every step of a plan.
pub fn terms(plan: &Plan) -> Vec<StepTerms> {
    let interval = plan.analysis.interval.as_secs_f64().max(0.001);
    let share = |weight: u8| f64::from(weight) / 100.0;
    plan.steps
        .iter()
        .enumerate()
        .map(|(index, step)| StepTerms {
            weight: share(step.weight),
            next_weight: plan.steps.get(index + 1).map_or(1.0, |next| share(next.weight)),
            planned_windows: (step.hold.as_secs_f64() / interval).ceil().clamp(1.0, 1e6) as u32,
            without: step.without.clone(),
        })
        .collect()
}

/// What the sampler of this Rollout is told; `None`: nothing to measure.
pub fn brief(state: &State, subsets: &BTreeMap<String, Subset>, namespace: &str, name: &str, now: Timestamp) -> Option<Brief> {
    let arm = |version: &Version| {
        let arm = subsets.get(&version.subset).map(|subset| subset.arm.clone()).unwrap_or_default();
        Arm { subset: version.subset.clone(), revision: version.revision.clone(), ..arm }
    };
    if let Some(run) = &state.run {
        let evidence = run.evidence.clone();
        return Some(Brief {
            evidence: evidence.unwrap_or_else(|| fresh(&run.plan.analysis)),
            steps: terms(&run.plan),
            stable: arm(&run.stable),
            canary: arm(&run.canary),
            since: run.since,
            resume_after: run.evidence_until,
            ..base(namespace, name, run.key(), &run.plan.analysis)?
        });
    }
    let ended = state.ended.as_ref().filter(|ended| ended.outcome != Outcome::Promoted && !ended.drained)?;
    if now.duration_since(ended.at) > DRAIN {
        return None;
    }
    let key = StepKey { epoch: state.epoch, step: None, weight: 0 };
    Some(Brief {
        stable: arm(&ended.stable),
        canary: arm(&ended.canary),
        since: Some(ended.at),
        ..base(namespace, name, key, &ended.analysis)?
    })
}

fn base(namespace: &str, name: &str, key: StepKey, analysis: &AnalysisPlan) -> Option<Brief> {
    (!analysis.metrics.is_empty()).then(|| Brief {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        key,
        analysis: analysis.clone(),
        steps: Vec::new(),
        stable: Arm::default(),
        canary: Arm::default(),
        since: None,
        evidence: fresh(analysis),
        resume_after: None,
    })
}

fn fresh(analysis: &AnalysisPlan) -> Evidence {
    Evidence::new(&analysis.metrics, analysis.interval.as_secs_f64())
}
