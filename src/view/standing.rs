//! Where a Rollout stands, as people see it.

use std::time::Duration;

use jiff::Timestamp;

use super::record::{shared, without_metrics};
use super::terminal::age;
use super::{Fact, Tone, View, clauses};
use crate::api::{
    EvidenceReason, MetricEvidence, Phase, Reason, Rollout, RolloutStatus, SourceState, StepStatus, Verdict, names::condition,
};
use crate::plan::Plan;
use crate::say;
use crate::words::{number, span, time};

/// Cells of the bar of a hold.
const BAR: i64 = 20;

impl View {
    /// Where a Rollout stands: what it has seen, what it waits for, what to do next.
    pub fn standing(rollout: &Rollout, now: Timestamp) -> Self {
        let empty = RolloutStatus::default();
        let status = rollout.status.as_ref().unwrap_or(&empty);
        let ended = matches!(
            status.phase,
            Some(Phase::Promoted | Phase::Passed | Phase::Failed | Phase::RollingBack | Phase::RolledBack | Phase::Aborted)
        );
        let mut view = match &status.decision {
            Some(decision) if ended && tells(status.phase, decision.outcome) => {
                let mut view = Self::decided(&namespace(rollout), &name(rollout), decision);
                view.facts.insert(0, Fact::new("when", format!("{} ago", age(decision.at.0, now))));
                if status.phase == Some(Phase::RollingBack) {
                    (view.outcome, view.tone) = (standing(status, view.canary.as_deref().unwrap_or("the canary")), tone(status.phase));
                }
                view
            }
            _ => Self::under_way(rollout, status, ended, now),
        };
        view.facts.extend(conditions(status, &view));
        view.facts.extend(source(status, now));
        view.facts.extend(notes(rollout, status, now));
        view
    }

    fn under_way(rollout: &Rollout, status: &RolloutStatus, ended: bool, now: Timestamp) -> Self {
        // Where nothing is rolled out, status still speaks of the last one.
        let canary = status.canary.as_ref().filter(|_| !matches!(status.phase, Some(Phase::Waiting | Phase::Idle)));
        let canary = canary.map_or_else(|| rollout.spec.canary.destination().name().to_owned(), |canary| canary.name.clone());
        let stable = status.stable.as_ref().map(|stable| stable.name.clone());
        let mut view = Self {
            namespace: namespace(rollout),
            name: name(rollout),
            outcome: standing(status, &canary),
            tone: tone(status.phase),
            canary: Some(canary).filter(|canary| stable.as_ref() != Some(canary)),
            stable,
            ..Self::default()
        };
        if !matches!(status.phase, Some(Phase::Progressing | Phase::Idle) | None) {
            view.stands(status.phase, standing_reason(status), &status.evidence);
        }
        let moving = matches!(status.phase, Some(Phase::Progressing | Phase::Paused | Phase::Holding));
        if moving || ended {
            view.shows(&status.evidence);
        }
        if let Some(step) = status.step.as_ref().filter(|_| moving) {
            view.facts.extend(stepped(rollout, step, now));
            view.facts.extend(forecast(status, step));
            view.facts.extend(load(status));
            let preset = status.preset.as_ref().map(|preset| format!("{preset}: {}", preset.metrics.join(", ")));
            view.facts.extend(preset.map(|preset| Fact::new("preset", preset)));
        }
        if let Some(decision) = &status.decision {
            let ago = age(decision.at.0, now);
            view.facts.push(Fact::new("last", format!("{ago} ago: {}", without_metrics(&decision.message, &decision.why))));
            view.next = view.comes(decision);
        }
        if status.phase == Some(Phase::Idle) {
            view.now = Some("nothing is rolled out".to_owned());
            view.next = vec!["set spec.canary to the version that should be rolled out".to_owned()];
        }
        view
    }
}

fn name(rollout: &Rollout) -> String {
    rollout.metadata.name.clone().unwrap_or_default()
}

fn namespace(rollout: &Rollout) -> String {
    rollout.metadata.namespace.clone().unwrap_or_default()
}

/// Whether the newest decision is the one that led to this phase.
fn tells(phase: Option<Phase>, outcome: crate::api::Outcome) -> bool {
    use crate::api::Outcome as O;
    matches!(
        (phase, outcome),
        (Some(Phase::Promoted), O::Promoted)
            | (Some(Phase::Passed), O::Passed)
            | (Some(Phase::Failed), O::Failed)
            | (Some(Phase::RolledBack), O::RolledBack)
            | (Some(Phase::Aborted), O::Aborted)
            | (Some(Phase::RollingBack), O::Held)
    )
}

/// Where it stands, in a few words.
fn standing(status: &RolloutStatus, canary: &str) -> String {
    let place = status.step.as_ref().filter(|step| step.index >= 0);
    let place = place.map_or_else(String::new, |step| format!(" {}", shared(step.traffic.as_deref(), step.weight)));
    let word = match status.phase {
        None => return "not seen by a controller yet".to_owned(),
        Some(Phase::Idle) => {
            return status.stable.as_ref().map_or_else(|| "idle".to_owned(), |stable| format!("{} serves 100 %", stable.name));
        }
        Some(Phase::Invalid) => return "manifest invalid".to_owned(),
        Some(Phase::Waiting) => return format!("{canary} waiting to start"),
        Some(Phase::Promoted) => return format!("{canary} promoted"),
        Some(Phase::RollingBack) => return format!("{canary} rolling back"),
        Some(Phase::Progressing) => "progressing",
        Some(Phase::Paused) => "paused",
        Some(Phase::Holding) => "holding",
        Some(Phase::Passed) => "passed",
        Some(Phase::Failed) => "failed",
        Some(Phase::RolledBack) => "rolled back",
        Some(Phase::Aborted) => "aborted",
    };
    format!("{canary} {word}{place}")
}

/// Requests per pod, and where they are unequal the line that makes them equal.
fn load(status: &RolloutStatus) -> Option<Fact> {
    let load = status.load.as_ref()?;
    let unequal = status.conditions.iter().find(|known| Reason::find(&known.reason) == Some(Reason::UnequalLoad));
    Some(Fact::new("load", unequal.map_or_else(|| say::load(load), |unequal| clauses(&unequal.message))))
}

/// Where the source of models stands, if there is one.
pub fn source(status: &RolloutStatus, now: Timestamp) -> Option<Fact> {
    let source = status.source.as_ref()?;
    let (words, age) = (&source.message, age(source.since.0, now));
    // A command is copied to the end of its line.
    let text = if source.state == SourceState::Announced { format!("for {age}: {words}") } else { format!("{words}, for {age}") };
    Some(Fact::new("source", text))
}

/// Colour of a phase.
pub fn tone(phase: Option<Phase>) -> Tone {
    match phase {
        Some(Phase::Promoted | Phase::Passed) => Tone::Good,
        Some(Phase::Failed | Phase::RollingBack | Phase::RolledBack | Phase::Aborted | Phase::Invalid) => Tone::Bad,
        Some(Phase::Paused | Phase::Holding | Phase::Waiting) => Tone::Waiting,
        Some(Phase::Idle | Phase::Progressing) | None => Tone::Plain,
    }
}

/// Ready, Reconciling, Stalled and Paused carry one reason: where it stands.
fn standing_reason(status: &RolloutStatus) -> Option<Reason> {
    let ready = status.conditions.iter().find(|condition| condition.type_ == condition::READY && condition.status == "False");
    match ready {
        Some(ready) => Reason::find(&ready.reason),
        None => status.decision.as_ref().and_then(|decision| decision.reason.known()),
    }
}

/// The step, and how much of its hold is over.
fn stepped(rollout: &Rollout, step: &StepStatus, now: Timestamp) -> Vec<Fact> {
    let number = step.index + 1;
    let of = Plan::parse(&rollout.spec).map_or_else(|_| String::new(), |plan| format!(" of {}", plan.steps.len()));
    let name = if step.name == number.to_string() { String::new() } else { format!(" ({})", step.name) };
    let since = step.since.as_ref().map_or_else(String::new, |since| format!(", since {}", age(since.0, now)));
    let traffic = step.traffic.clone().unwrap_or_else(|| format!("{} %", step.weight));
    let mut facts = vec![Fact::new("step", format!("{number}{of}{name}: {traffic} to the canary{since}"))];
    if step.hold_seconds > 0 {
        let held = step.held_seconds.clamp(0, step.hold_seconds);
        let done = usize::try_from(held * BAR / step.hold_seconds).unwrap_or_default();
        let rest = usize::try_from(BAR).unwrap_or_default().saturating_sub(done);
        let seconds = |value: i64| span(Duration::from_secs(value.max(0).unsigned_abs()));
        let words = format!("{} of {}, {} windows", seconds(held), seconds(step.hold_seconds), step.windows);
        facts.push(Fact::new("hold", format!("[{}{}] {words}", "#".repeat(done), ".".repeat(rest))));
    }
    facts
}

/// What it waits for, and for how long.
fn forecast(status: &RolloutStatus, step: &StepStatus) -> Option<Fact> {
    if status.phase == Some(Phase::Paused) {
        return None;
    }
    let open = |metric: &&MetricEvidence| {
        let shown = metric.advisory || metric.reason == Some(EvidenceReason::NotGating);
        metric.verdict == Verdict::Inconclusive && !shown
    };
    // What has no forecast is told below the table.
    if status.evidence.iter().filter(open).any(|metric| metric.forecast.is_none()) {
        return None;
    }
    let slowest = status.evidence.iter().filter(open).filter_map(|metric| Some((metric, metric.forecast.as_ref()?.minutes_to_pass)));
    let slowest = slowest.max_by(|(_, one), (_, other)| one.unwrap_or(f64::MAX).total_cmp(&other.unwrap_or(f64::MAX)));
    let rps = status.evidence.iter().find_map(|metric| metric.measure.as_ref()?.rps);
    let rps = rps.map_or_else(String::new, |rps| {
        format!(" at {} requests a second", number(if rps >= 10.0 { rps.round() } else { (rps * 10.0).round() / 10.0 }))
    });
    let left = step.hold_seconds - step.held_seconds;
    let text = match slowest {
        Some((metric, None)) => format!("{} is never proved{rps}: it needs more traffic or a longer step", metric.metric),
        Some((metric, Some(minutes))) if 60.0 * minutes > left as f64 => {
            format!("about {} to a verdict{rps}; {} takes longest", time(60.0 * minutes), metric.metric)
        }
        _ if left > 0 && status.phase == Some(Phase::Progressing) => {
            format!("the rest of the hold, {}", span(Duration::from_secs(left.unsigned_abs())))
        }
        _ => return None,
    };
    Some(Fact::new("waiting", text))
}

/// Conditions that are not as they should be; nothing is said twice.
fn conditions(status: &RolloutStatus, view: &View) -> Vec<Fact> {
    let find = |kind: &str, value: &str| status.conditions.iter().find(|condition| condition.type_ == kind && condition.status == value);
    let mut said: Vec<&str> = status.decision.iter().map(|decision| decision.message.as_str()).collect();
    let mut facts = Vec::new();
    // A hold that only takes its time is shown by the bar.
    let standing = find(condition::READY, "False").filter(|standing| Reason::find(&standing.reason) != Some(Reason::HoldTime));
    // That a version which was rolled back is refused is what `now` says.
    let standing = standing.filter(|standing| view.now.is_none() || Reason::find(&standing.reason) != Some(Reason::Refused));
    if let Some(standing) = standing.filter(|standing| !said.contains(&standing.message.as_str())) {
        said.push(&standing.message);
        let waits = Reason::find(&standing.reason) == Some(Reason::NotEnoughData) && view.facts.iter().any(|fact| fact.label == "waiting");
        if !waits {
            facts.push(Fact::new("because", without_metrics(&standing.message, &status.evidence)));
        }
    }
    for (kind, label) in
        [(condition::TRAFFIC_PROGRAMMED, "route"), (condition::METRICS_AVAILABLE, "metrics"), (condition::FEASIBLE, "traffic")]
    {
        if let Some(condition) = find(kind, "False").filter(|condition| !said.iter().any(|said| said.contains(&condition.message))) {
            facts.push(Fact::new(label, clauses(&condition.message)));
        }
    }
    facts
}

fn notes(rollout: &Rollout, status: &RolloutStatus, now: Timestamp) -> Vec<Fact> {
    let mut facts = Vec::new();
    if status.observed_generation.is_none() {
        facts.push(Fact::new("note", "no controller has seen this Rollout yet: is it running, and does it watch this namespace?"));
    } else if status.observed_generation < rollout.metadata.generation {
        facts.push(Fact::new("note", "the controller has not seen the newest edit of the spec yet"));
    }
    let since = status.decision.as_ref().map(|decision| decision.at.0);
    for rejected in status.rejected.values().filter(|rejected| since.is_none_or(|since| rejected.at.0 >= since)) {
        facts.push(Fact::new("refused", format!("{} ago: {}", age(rejected.at.0, now), clauses(&rejected.message))));
    }
    facts
}
