//! A Rollout in words, 80 columns wide.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::output::{Output, Tone};
use crate::{
    api::{DecisionRecord, EvidenceReason, MetricEvidence, Outcome, Phase, Reason, Rollout, RolloutStatus, Verdict, names::condition},
    plan::{Plan, span},
};

const WIDTH: usize = 80;
/// Width of the first column.
const LABEL: usize = 9;

/// Tone of a phase.
pub(super) fn tone(phase: Option<Phase>) -> Tone {
    match phase {
        Some(Phase::Promoted | Phase::Passed) => Tone::Good,
        Some(Phase::Failed | Phase::RollingBack | Phase::RolledBack | Phase::Aborted | Phase::Invalid) => Tone::Bad,
        Some(Phase::Paused | Phase::Holding | Phase::Waiting) => Tone::Waiting,
        Some(Phase::Idle | Phase::Progressing) | None => Tone::Plain,
    }
}

/// The phase as a word; a Rollout that no controller has seen has none.
pub(super) fn phase(status: &RolloutStatus) -> String {
    status.phase.map_or_else(|| "Unseen".into(), |phase| format!("{phase:?}"))
}

/// `3m12s ago`, whole seconds, the two largest units.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0).unsigned_abs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    match days {
        0 if seconds >= 36_000 => span(Duration::from_secs(seconds / 60 * 60)),
        0 => span(Duration::from_secs(seconds)),
        _ if hours == 0 => format!("{days}d"),
        _ => format!("{days}d{hours}h"),
    }
}

/// One labelled paragraph, wrapped.
pub(super) fn row(label: &str, text: &str) -> String {
    hang(&format!("{label:LABEL$} "), text)
}

/// Text behind a prefix, wrapped so that every line begins below its first.
fn hang(prefix: &str, text: &str) -> String {
    let indent = prefix.chars().count();
    let mut lines = wrap(text, WIDTH.saturating_sub(indent).max(WIDTH / 3)).into_iter();
    let mut out = format!("{prefix}{}\n", lines.next().unwrap_or_default());
    for line in lines {
        out += &format!("{:indent$}{line}\n", "");
    }
    out
}

/// Lines of at most `width` characters, broken at spaces; a longer word stays whole, so that it can be copied.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        lines.push(line);
    }
    lines
}

/// One screen: where it is, what it has seen, what it waits for, what to do next.
pub(super) fn status(rollout: &Rollout, now: Timestamp, output: &Output) -> String {
    let empty = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&empty);
    // Where nothing is rolled out, status still speaks of the last one.
    let canary = status.canary.as_ref().filter(|_| !matches!(status.phase, Some(Phase::Waiting | Phase::Idle)));
    let canary = canary.map_or_else(|| rollout.spec.canary.destination().name().to_owned(), |canary| canary.name.clone());
    let versions = match &status.stable {
        Some(stable) if stable.name != canary => format!("{} -> {canary}", stable.name),
        Some(stable) => stable.name.clone(),
        None => format!("-> {canary}"),
    };
    let word = output.paint(tone(status.phase), &phase(status));
    let mut text = format!("{}  {word}  {versions}\n", full_name(rollout));
    text += &step(rollout, status, now);
    if !status.evidence.is_empty() {
        if let Some(verdict) = status.verdict {
            text += &row("verdict", &format!("{verdict:?}"));
        }
        text += &metrics(&status.evidence);
    }
    text += &conditions(status);
    if status.observed_generation.is_none() {
        text += &row("note", "no controller has seen this Rollout yet: is it running, and does it watch this namespace?");
    } else if status.observed_generation < rollout.metadata.generation {
        text += &row("note", "the newest edit of the spec has not been seen by the controller yet");
    }
    if let Some(decision) = &status.decision {
        let at = age(decision.at.0, now);
        text += &row(&outcome(decision.outcome).to_lowercase(), &format!("{at} ago: {}", decision.message));
        text += &next(decision);
    }
    let since = status.decision.as_ref().map(|decision| decision.at.0);
    for rejected in status.rejected.values().filter(|rejected| since.is_none_or(|since| rejected.at.0 >= since)) {
        text += &row("refused", &format!("{} ago: {}", age(rejected.at.0, now), rejected.message));
    }
    text
}

/// `fraud -n ml`, for a command to be pasted.
pub(super) fn argument(rollout: &Rollout) -> String {
    format!("{} -n {}", rollout.name_any(), rollout.namespace().unwrap_or_default())
}

/// `ml/fraud`.
pub(super) fn full_name(rollout: &Rollout) -> String {
    format!("{}/{}", rollout.namespace().unwrap_or_default(), rollout.name_any())
}

fn step(rollout: &Rollout, status: &RolloutStatus, now: Timestamp) -> String {
    let Some(step) = &status.step else { return String::new() };
    let plan = Plan::parse(&rollout.spec).ok();
    let number = step.index + 1;
    let of = plan.map_or_else(String::new, |plan| format!(" of {}", plan.steps.len()));
    let name = if step.name == number.to_string() { String::new() } else { format!(" {}", step.name) };
    let since = step.since.as_ref().map_or_else(String::new, |since| format!(", since {}", age(since.0, now)));
    let traffic = step.traffic.clone().unwrap_or_else(|| format!("{} %", step.weight));
    let mut text = row("step", &format!("{number}{of}{name}: {traffic} to the canary{since}"));
    if step.hold_seconds > 0 && matches!(status.phase, Some(Phase::Progressing | Phase::Paused | Phase::Holding)) {
        let seconds = |value: i64| Duration::from_secs(value.max(0).unsigned_abs());
        let held = step.held_seconds.clamp(0, step.hold_seconds);
        let bar = usize::try_from(held * 20 / step.hold_seconds).unwrap_or_default();
        let windows = step.windows;
        let words = format!("{} of {}, {windows} windows", span(seconds(held)), span(seconds(step.hold_seconds)));
        text += &row("hold", &format!("[{}{}] {words}", "#".repeat(bar), ".".repeat(20 - bar.min(20))));
    }
    text
}

/// A line for each metric: verdict, then the numbers.
pub(super) fn metrics(evidence: &[MetricEvidence]) -> String {
    let width = evidence.iter().map(|metric| metric.metric.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for metric in evidence {
        let verdict = match metric.verdict {
            Verdict::Pass => "ok",
            Verdict::Inconclusive => "open",
            Verdict::Fail => "FAIL",
        };
        let forecast = metric
            .forecast
            .as_ref()
            .filter(|_| metric.verdict == Verdict::Inconclusive && metric.reason != Some(EvidenceReason::NotGating));
        let more = match forecast.map(|forecast| forecast.minutes_to_pass) {
            Some(Some(minutes)) => {
                format!("; about {} more to pass", span(Duration::from_secs_f64((minutes.clamp(0.0, 1e6) * 60.0).round())))
            }
            Some(None) => "; never passes at this traffic".into(),
            None => String::new(),
        };
        let shown = if metric.advisory { "; shown only" } else { "" };
        text += &hang(&format!("{:LABEL$} {verdict:4}  {:width$}  ", "", metric.metric), &format!("{}{more}{shown}", metric.message));
    }
    text
}

/// What it waits for, and conditions that are not as they should be; nothing is said twice.
fn conditions(status: &RolloutStatus) -> String {
    let find = |kind: &str, value: &str| status.conditions.iter().find(|condition| condition.type_ == kind && condition.status == value);
    let mut said: Vec<&str> = status.decision.iter().map(|decision| decision.message.as_str()).collect();
    let mut text = String::new();
    // Ready, Reconciling, Stalled and Paused carry one text: where it stands. A hold that only takes its time is told by the bar.
    if let Some(standing) = find(condition::READY, "False").filter(|standing| Reason::find(&standing.reason) != Some(Reason::HoldTime)) {
        let kinds: Vec<&str> = [condition::STALLED, condition::PAUSED].into_iter().filter(|kind| find(kind, "True").is_some()).collect();
        let what = if kinds.is_empty() { standing.reason.clone() } else { format!("{} ({})", kinds.join(", "), standing.reason) };
        if !said.contains(&standing.message.as_str()) {
            text += &row("because", &format!("{what}: {}", standing.message));
            said.push(&standing.message);
        }
    }
    for kind in [condition::TRAFFIC_PROGRAMMED, condition::METRICS_AVAILABLE, condition::FEASIBLE] {
        if let Some(condition) = find(kind, "False").filter(|condition| !said.iter().any(|said| said.contains(&condition.message))) {
            text += &row("because", &format!("not {kind} ({}): {}", condition.reason, condition.message));
        }
    }
    text
}

/// What comes next, with the command; nothing if the decision says nothing.
pub(super) fn next(decision: &DecisionRecord) -> String {
    if decision.next.is_empty() { String::new() } else { row("next", &decision.next) }
}

/// An outcome in words.
pub(super) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Started => "Started",
        Outcome::Advanced => "Advanced",
        Outcome::Held => "Held",
        Outcome::Paused => "Paused",
        Outcome::Resumed => "Resumed",
        Outcome::Promoted => "Promoted",
        Outcome::Passed => "Passed",
        Outcome::Failed => "Failed",
        Outcome::RolledBack => "Rolled back",
        Outcome::Aborted => "Aborted",
        Outcome::Lowered => "Lowered",
        Outcome::Restored => "Restored",
        Outcome::CommandRefused => "Refused",
        Outcome::Retried => "Retried",
        Outcome::Edited => "Edited",
    }
}
