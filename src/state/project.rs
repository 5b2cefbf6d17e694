//! State to status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Map, Value};

use super::brief::terms;
use super::{Run, State, is_running};
use crate::api::names::condition;
use crate::api::{OutboxEntry, Phase, Reason, RolloutStatus, StepStatus, Verdict};
use crate::judge::{Late, Limit, Slowest, StepTerms, equal_pods, forecast_plan, late_rest};
use crate::plan::Share;
use crate::say;
use crate::seen::{Limits, Look, Observation};

/// Where a rollout stands: what the phase and the conditions are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Stance {
    /// One word.
    pub phase: Phase,
    /// Why.
    pub reason: Reason,
    /// What it stands at, and what ends it.
    pub message: String,
    /// A person is needed.
    pub stalled: bool,
    /// Whether the mesh object carries what is wanted: reason and message if not, or of the drain.
    pub traffic: (bool, Reason, String),
}

/// The status that says all this, with the checkpoint's [outline](State::outline) and not yet [`bounded`](super::bounded). `old` gives the
/// transition times and what only `tell` changes.
pub fn project(
    state: &State,
    stance: &Stance,
    seen: &Observation,
    outbox: Vec<OutboxEntry>,
    old: Option<&RolloutStatus>,
    now: Timestamp,
) -> RolloutStatus {
    let look = seen.look.as_ref().filter(|look| state.run.as_ref().is_some_and(|run| run.key() == look.key));
    let step = state.run.as_ref().map(|run| StepStatus {
        index: run.step.and_then(|step| i32::try_from(step).ok()).unwrap_or(-1),
        name: run.present().map_or_else(|| "-".to_owned(), |step| step.name.clone()),
        weight: i32::from(run.share.weight),
        traffic: beyond_weight(run.share),
        since: run.since.map(Time),
        held_seconds: run.held(now).as_secs(),
        hold_seconds: run.present().map_or(0, |step| i64::try_from(step.hold.as_secs()).unwrap_or(i64::MAX)),
        windows: look.map_or(0, |look| i32::try_from(look.judgement.windows).unwrap_or(i32::MAX)),
    });
    let same_step = |old: &RolloutStatus| {
        let place = |step: &Option<StepStatus>| step.as_ref().map(|step| (step.index, step.weight));
        state.run.is_none() || place(&old.step) == place(&step)
    };
    let (verdict, evidence, load) = match (look, old) {
        (Some(look), _) => (Some(look.judgement.verdict), look.judgement.metrics.clone(), look.judgement.load.clone()),
        // A restart continues with what was said; of a new step nothing is known before its first look.
        (None, Some(old)) if same_step(old) => (old.verdict, old.evidence.clone(), old.load.clone()),
        (None, Some(old)) => (Some(Verdict::Inconclusive), old.evidence.clone(), None),
        (None, None) => (None, Vec::new(), None),
    };
    let plan = state.run.as_ref().map(|run| &run.plan).or_else(|| state.ended.as_ref()?.plan.as_ref());
    RolloutStatus {
        preset: plan.and_then(|plan| plan.analysis.preset.clone()),
        source: seen.source.clone(),
        observed_generation: Some(seen.generation),
        phase: Some(stance.phase),
        verdict,
        epoch: state.epoch,
        stable: state.stable.clone().or_else(|| state.run.as_ref().map(|run| run.stable.clone())),
        canary: state.run.as_ref().map(|run| run.canary.clone()).or_else(|| state.ended.as_ref().map(|ended| ended.canary.clone())),
        step,
        decision: state.decision.clone(),
        evidence,
        load,
        checkpoint: state.outline(),
        refused: state.refused.clone(),
        history: state.history.clone(),
        handled: state.handled.clone(),
        rejected: state.rejected.clone(),
        outbox,
        alerting: old.map(|old| old.alerting.clone()).unwrap_or_default(),
        conditions: conditions(state, stance, seen, look, old, now),
    }
}

/// A share in words, where a weight does not say it all.
pub fn beyond_weight(share: Share) -> Option<String> {
    (share != Share::weight(share.weight)).then(|| share.words())
}

fn conditions(
    state: &State,
    stance: &Stance,
    seen: &Observation,
    look: Option<&Look>,
    old: Option<&RolloutStatus>,
    now: Timestamp,
) -> Vec<Condition> {
    let ready = matches!(stance.phase, Phase::Idle | Phase::Promoted | Phase::Passed) && stance.traffic.0;
    let working = matches!(stance.phase, Phase::Waiting | Phase::Progressing | Phase::RollingBack | Phase::Paused | Phase::Holding)
        && !stance.stalled;
    let paused = matches!(stance.phase, Phase::Paused | Phase::Holding);
    let said = (stance.reason, stance.message.as_str());
    let mut rows = vec![
        (condition::READY, ready, said.0, said.1.to_owned()),
        (condition::RECONCILING, working, said.0, said.1.to_owned()),
        (condition::STALLED, stance.stalled, said.0, said.1.to_owned()),
        (condition::PAUSED, paused, said.0, said.1.to_owned()),
        (condition::TRAFFIC_PROGRAMMED, stance.traffic.0, stance.traffic.1, stance.traffic.2.clone()),
    ];
    if let Some(run) = &state.run {
        let config = seen.config_problem.as_ref().filter(|problem| problem.unavailable);
        if let Some(problem) = config.or_else(|| seen.look.as_ref().and_then(|look| look.problem.as_ref())) {
            rows.push((condition::METRICS_AVAILABLE, !problem.unavailable, problem.reason, problem.message.clone()));
        } else if run.plan.analysis.metrics.is_empty() {
            rows.push((condition::METRICS_AVAILABLE, true, Reason::AsPlanned, "no metric is judged: the holds alone decide".to_owned()));
        } else if let Some(look) = look {
            let note = look.note.as_deref().map_or_else(String::new, |note| format!("; {note}"));
            rows.push((condition::METRICS_AVAILABLE, true, Reason::AsPlanned, format!("every metric returns data{note}")));
        }
        let unequal = look.and_then(|look| unequal(run, look, seen));
        let with = |words: String| unequal.as_ref().map_or_else(|| words.clone(), |unequal| format!("{words}; {unequal}"));
        let usual = if unequal.is_some() { Reason::UnequalLoad } else { Reason::AsPlanned };
        match look.and_then(|look| late(run, look, now)) {
            Some(late) if late.limit == Limit::Deadline => {
                rows.push((condition::FEASIBLE, false, Reason::TrafficTooLow, with(say::late(&late))));
            }
            Some(late) => rows.push((condition::FEASIBLE, true, usual, with(say::late(&late)))),
            None if look.is_some_and(|look| look.problem.is_none() && look.judgement.windows > 0) => {
                rows.push((condition::FEASIBLE, true, usual, with("the traffic is enough for the plan".to_owned())));
            }
            None => {}
        }
    }
    let before = old.map(|old| old.conditions.as_slice()).unwrap_or_default();
    let mut made: Vec<Condition> = rows
        .into_iter()
        .map(|(type_, status, reason, message)| {
            let status = if status { "True" } else { "False" };
            let known = before.iter().find(|known| known.type_ == type_ && known.status == status);
            Condition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: reason.to_string(),
                message: message.chars().take(2000).collect(),
                last_transition_time: known.map_or(Time(now), |known| known.last_transition_time.clone()),
                observed_generation: Some(seen.generation),
            }
        })
        .collect();
    // Metrics and feasibility are spoken of while something is judged; what was said last stays until the next rollout.
    let ended = state.run.is_none();
    for known in before {
        let keep = ended || matches!(known.type_.as_str(), condition::METRICS_AVAILABLE | condition::FEASIBLE);
        if keep && !made.iter().any(|made| made.type_ == known.type_) {
            made.push(known.clone());
        }
    }
    made
}

/// That latency is compared at unequal load, with what would make it equal.
fn unequal(run: &Run, look: &Look, seen: &Observation) -> Option<String> {
    let load = look.judgement.load.as_ref()?;
    look.judgement.metrics.iter().find(|metric| metric.under_unequal_load)?;
    let pods = |pods: i32| u32::try_from(pods).unwrap_or_default();
    let (stable, canary) = (pods(load.stable.pods), pods(load.canary.pods));
    let terms = terms(&run.plan).into_iter().nth(run.step?)?;
    let [to_stable, to_canary] = terms.split();
    // Whom a match picks is known only from what was counted.
    let counted = load.ratio() * f64::from(canary) / f64::from(stable.max(1));
    let need = equal_pods(stable, if terms.share.matched { counted } else { to_canary / to_stable });
    let scale = (need != canary).then(|| seen.scale_line(&run.canary.name, need));
    Some(say::unequal(load, scale.as_deref()))
}

/// Which step the traffic is not enough for: the present one by what it has shown, later ones by the forecast. A deadline comes before a hold.
fn late(run: &Run, look: &Look, now: Timestamp) -> Option<Late> {
    let step = run.present();
    let short = |slowest: &Slowest| {
        let step = step?;
        slowest.late(run.spent(now) / 60.0, step.hold.as_secs_f64() / 60.0, step.deadline.as_secs_f64() / 60.0)
    };
    let present = look.judgement.slowest.as_ref().and_then(short);
    if present.as_ref().is_some_and(|present| present.limit == Limit::Deadline) {
        return present;
    }
    let (metrics, from) = (&run.plan.analysis.metrics, run.step.map_or(0, |step| step + 1));
    let later = |(rps, errors): (f64, f64), limits: &Limits| {
        let terms: Vec<StepTerms> = terms(&run.plan).into_iter().skip(from).collect();
        let (holds, deadlines): (Vec<f64>, Vec<f64>) = limits.iter().copied().unzip();
        let interval = run.plan.analysis.interval.as_secs_f64();
        match run.step {
            None => forecast_plan(metrics, &terms, interval, rps, &holds, &deadlines, errors).late,
            Some(_) => late_rest(metrics, &terms, interval, (rps, errors), &holds, &deadlines),
        }
    };
    let limits = run.plan.steps.iter().skip(from).map(|step| (step.hold.as_secs_f64(), step.deadline.as_secs_f64())).collect();
    let later = look.later.at(limits, |limits| later(look.evidence.usual(metrics)?, limits));
    match (present, later) {
        (Some(present), Some(later)) if present.limit == Limit::Hold && later.limit == Limit::Deadline => Some(later),
        (present, later) => present.or(later),
    }
}

/// Whether two statuses say the same. Left out is what rides on the next write: numbers and verdict, which change at every look, and,
/// while a rollout is under way, which alerts were delivered.
pub fn same_but_for_time(one: &RolloutStatus, other: &RolloutStatus) -> bool {
    unchanged(one, other) || plain(one) == plain(other)
}

/// Whether they say the same in the same words, as they nearly always do between two writes. It is seen without writing either of them out.
fn unchanged(one: &RolloutStatus, other: &RolloutStatus) -> bool {
    let running = is_running(one);
    let RolloutStatus {
        verdict: _,
        evidence: _,
        load: _,
        preset,
        source,
        checkpoint,
        outbox,
        alerting,
        observed_generation,
        phase,
        epoch,
        stable,
        canary,
        step,
        decision,
        refused,
        history,
        handled,
        rejected,
        conditions,
    } = one;
    let same_condition = |(one, other): (&Condition, &Condition)| {
        let counts_on = running && one.type_ != condition::TRAFFIC_PROGRAMMED;
        one.type_ == other.type_
            && one.status == other.status
            && one.reason == other.reason
            && one.last_transition_time == other.last_transition_time
            && one.observed_generation == other.observed_generation
            && (counts_on || one.message == other.message)
    };
    running == is_running(other)
        && *phase == other.phase
        && *epoch == other.epoch
        && *observed_generation == other.observed_generation
        && same_place(step.as_ref(), other.step.as_ref())
        && conditions.len() == other.conditions.len()
        && conditions.iter().zip(&other.conditions).all(same_condition)
        && *decision == other.decision
        && (*stable == other.stable && *canary == other.canary)
        && (*preset == other.preset && *source == other.source)
        && (running || *outbox == other.outbox)
        && (*alerting == other.alerting && *history == other.history && *refused == other.refused)
        && (*handled == other.handled && *rejected == other.rejected)
        && match (checkpoint, &other.checkpoint) {
            (Some(one), Some(other)) => same_fields(one, other, &[], |name, one, other| match name {
                "run" => same_fields(one, other, &OF_A_LOOK, |_, one, other| same_value(one, other)),
                _ => same_value(one, other),
            }),
            (one, other) => one == other,
        }
}

/// But for what counts on.
fn same_place(one: Option<&StepStatus>, other: Option<&StepStatus>) -> bool {
    let Some((one, other)) = one.zip(other) else { return one == other };
    let StepStatus { index, name, weight, traffic, since, held_seconds: _, hold_seconds, windows: _ } = one;
    (*index, *weight, *hold_seconds) == (other.index, other.weight, other.hold_seconds)
        && *name == other.name
        && *traffic == other.traffic
        && same_second(since.as_ref(), other.since.as_ref())
}

/// The API server keeps whole seconds.
fn same_second(one: Option<&Time>, other: Option<&Time>) -> bool {
    one.map(|time| time.0.as_second()) == other.map(|time| time.0.as_second())
}

/// Fields of a run in the checkpoint that are numbers of the newest look.
const OF_A_LOOK: [&str; 2] = ["evidence", "evidenceUntil"];

/// Two values with the same fields but for those that are `left_out`, each of which is the same as `same` says.
fn same_fields(one: &Value, other: &Value, left_out: &[&str], same: impl Fn(&str, &Value, &Value) -> bool) -> bool {
    let (Some(ours), Some(theirs)) = (one.as_object(), other.as_object()) else { return same_value(one, other) };
    let counts = |fields: &Map<String, Value>| fields.keys().filter(|name| !left_out.contains(&name.as_str())).count();
    let mut ours_left = ours.iter().filter(|(name, _)| !left_out.contains(&name.as_str()));
    counts(ours) == counts(theirs) && ours_left.all(|(name, one)| theirs.get(name).is_some_and(|other| same(name, one, other)))
}

/// The API server gives 1 back for what was stored as 1.0.
fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_value(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|((a, one), (b, other))| a == b && same_value(one, other))
        }
        (one, other) => one == other,
    }
}

/// As the API server keeps it: times in whole seconds, numbers without their point.
fn plain(status: &RolloutStatus) -> Value {
    let running = is_running(status);
    // What is left out is not copied: it is the larger part.
    let mut status = RolloutStatus {
        verdict: None,
        evidence: Vec::new(),
        load: None,
        preset: status.preset.clone(),
        source: status.source.clone(),
        checkpoint: status.checkpoint.as_ref().map(without_evidence),
        outbox: if running { Vec::new() } else { status.outbox.clone() },
        alerting: status.alerting.clone(),
        observed_generation: status.observed_generation,
        phase: status.phase,
        epoch: status.epoch,
        stable: status.stable.clone(),
        canary: status.canary.clone(),
        step: status.step.clone(),
        decision: status.decision.clone(),
        refused: status.refused.clone(),
        history: status.history.clone(),
        handled: status.handled.clone(),
        rejected: status.rejected.clone(),
        conditions: status.conditions.clone(),
    };
    // What is said of a rollout under way has times and counts in it. What is said before and after one must not grow old.
    for condition in status.conditions.iter_mut().filter(|condition| running && condition.type_ != condition::TRAFFIC_PROGRAMMED) {
        condition.message = String::new();
    }
    if let Some(step) = &mut status.step {
        (step.held_seconds, step.windows) = (0, 0);
    }
    let mut value = serde_json::to_value(&status).unwrap_or_default();
    as_floats(&mut value);
    value
}

/// A checkpoint without the numbers of the newest look.
fn without_evidence(checkpoint: &Value) -> Value {
    let Some(fields) = checkpoint.as_object() else { return checkpoint.clone() };
    let told = |name: &str| !OF_A_LOOK.contains(&name);
    let run = |run: &Value| match run.as_object() {
        Some(run) => run.iter().filter(|(name, _)| told(name)).map(|(name, value)| (name.clone(), value.clone())).collect(),
        None => run.clone(),
    };
    fields.iter().map(|(name, value)| (name.clone(), if name == "run" { run(value) } else { value.clone() })).collect()
}

/// The API server gives 1 back for what was stored as 1.0, and JSON values tell the two apart.
fn as_floats(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().and_then(serde_json::Number::from_f64) {
                *number = float;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(as_floats),
        Value::Object(fields) => fields.values_mut().for_each(as_floats),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{RolloutStatus, same_but_for_time, unchanged};
    use crate::api::{OutboxEntry, StepStatus, Verdict};
    use crate::tell::text::tests::promoted;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    #[test]
    fn a_time_that_the_api_server_keeps_in_whole_seconds_is_no_news() {
        let ours = RolloutStatus { step: Some(step("2026-01-02T03:04:05.678901234Z")), ..RolloutStatus::default() };
        let stored = serde_json::from_value::<RolloutStatus>(serde_json::to_value(&ours).unwrap()).unwrap();
        assert!(same_but_for_time(&ours, &stored));
        let later = RolloutStatus { step: Some(step("2026-01-02T03:04:06Z")), ..RolloutStatus::default() };
        assert!(!same_but_for_time(&ours, &later));
    }

    #[test]
    fn what_the_api_server_gives_back_is_seen_to_be_the_same_without_writing_it_out() {
        let ours = RolloutStatus {
            step: Some(step("2026-01-02T03:04:05.678901234Z")),
            decision: Some(promoted()),
            checkpoint: Some(json!({"run": {"evidence": [1, 2], "plan": {"margins": [1.0, 0.5]}, "frozen": 0.0}, "epoch": 3})),
            ..RolloutStatus::default()
        };
        let mut stored = serde_json::from_value::<RolloutStatus>(serde_json::to_value(&ours).unwrap()).unwrap();
        stored.checkpoint = Some(json!({"run": {"plan": {"margins": [1, 0.5]}, "frozen": 0}, "epoch": 3}));
        assert!(unchanged(&ours, &stored));
        for news in [
            json!({"run": {"plan": {"margins": [1]}, "frozen": 0}, "epoch": 3}),
            json!({"run": null, "epoch": 3}),
            json!({"epoch": 3}),
            json!({"run": {"plan": {"margins": [1, 0.5]}, "frozen": 0}, "epoch": 3, "evidence": 1}),
        ] {
            let other = RolloutStatus { checkpoint: Some(news), ..stored.clone() };
            assert!(!unchanged(&ours, &other) && !same_but_for_time(&ours, &other));
        }
    }

    #[test]
    fn another_text_is_news_unless_it_only_counts_on() {
        let with = |run, type_: &str, message: &str| {
            let condition = json!({"type": type_, "status": "False", "reason": "RouteNotFound", "message": message,
                                   "lastTransitionTime": "2026-01-02T03:04:05Z"});
            let conditions = vec![serde_json::from_value(condition).unwrap()];
            RolloutStatus { checkpoint: Some(json!({ "run": run })), conditions, ..RolloutStatus::default() }
        };
        let same = |run: serde_json::Value, type_| same_but_for_time(&with(run.clone(), type_, "it has a"), &with(run, type_, "it has b"));
        assert!(!same(json!(null), "Stalled"), "nothing else will ever write it");
        assert!(same(json!({}), "Stalled"));
        assert!(!same(json!({}), "TrafficProgrammed"));
    }

    fn step(since: &str) -> StepStatus {
        let since = Some(Time(since.parse().unwrap()));
        StepStatus { index: 0, name: "1".into(), weight: 5, traffic: None, since, held_seconds: 1, hold_seconds: 60, windows: 1 }
    }

    #[test]
    fn a_whole_number_that_the_api_server_gives_back_without_its_point_is_no_news() {
        let with = |checkpoint| RolloutStatus { checkpoint: Some(checkpoint), ..RolloutStatus::default() };
        let ours = with(json!({ "run": { "evidence": 1, "plan": { "margins": [1.0, 0.5], "steps": 4 } } }));
        let theirs = with(json!({ "run": { "plan": { "margins": [1, 0.5], "steps": 4 } } }));
        assert!(same_but_for_time(&ours, &theirs));
        assert!(!same_but_for_time(&ours, &with(json!({ "run": { "plan": { "margins": [1.5, 0.5], "steps": 4 } } }))));
    }

    #[test]
    fn verdict_and_delivered_alerts_ride_on_the_next_write_while_a_rollout_is_under_way() {
        let with = |run: serde_json::Value, verdict, outbox| RolloutStatus {
            verdict: Some(verdict),
            checkpoint: Some(json!({ "run": run })),
            outbox,
            ..RolloutStatus::default()
        };
        let entry = || {
            vec![OutboxEntry {
                key: "k".into(),
                sinks: vec!["default".into()],
                record: promoted(),
                ended_at: None,
                attempts: 0,
                error: None,
            }]
        };
        let (run, none) = (json!({"weight": 5}), json!(null));
        let before = with(run.clone(), Verdict::Inconclusive, entry());
        assert!(same_but_for_time(&before, &with(run, Verdict::Pass, Vec::new())));
        assert!(
            !same_but_for_time(&with(none.clone(), Verdict::Pass, entry()), &with(none, Verdict::Pass, Vec::new())),
            "at rest no other write comes"
        );
    }
}
