//! A decision as people see it.

use super::because::{self, deciding};
use super::{Fact, Tone, View, clauses, text::visible};
use crate::api::{DecisionRecord, Exposure, HistoryEntry, MetricEvidence, Outcome, Reason, Version};
use crate::say;
use crate::words::{NOTHING_WRITTEN, number, time, whole};

impl View {
    /// A decision about the Rollout `namespace/name`.
    pub fn decided(namespace: &str, name: &str, record: &DecisionRecord) -> Self {
        let mut view = Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            outcome: outcome(record),
            because: because::of(record),
            tone: tone(record.outcome),
            stable: record.stable.as_ref().map(|version| version.name.clone()),
            canary: record.canary.as_ref().map(|version| version.name.clone()),
            facts: why(record).into_iter().collect(),
            exposed: record.exposure.clone(),
            now: now(record),
            ..Self::default()
        };
        view.shows(&record.why);
        view.next = view.comes(record);
        view.facts.extend(record.load.as_ref().map(|load| Fact::new("load", say::load(load))));
        let written = record.by.as_ref().and_then(|by| Some((by, by.manager.as_ref()?)));
        view.facts.extend(written.map(|(by, manager)| Fact::new("by", visible(&format!("{}, written by {manager}", by.name)))));
        view
    }

    /// A rollout of the past, of which the end alone is kept.
    pub fn past(namespace: &str, name: &str, entry: &HistoryEntry) -> Self {
        let record = DecisionRecord {
            outcome: entry.outcome,
            reason: entry.reason.clone(),
            message: entry.message.clone(),
            at: entry.ended.clone(),
            epoch: 0,
            canary: Some(entry.canary.clone()),
            stable: Some(entry.stable.clone()),
            step: None,
            weight: 0,
            traffic: None,
            why: Vec::new(),
            load: None,
            exposure: entry.exposure.clone(),
            by: None,
            next: String::new(),
        };
        Self { now: None, next: Vec::new(), ..Self::decided(namespace, name, &record) }
    }

    /// `haldane VERB NAME -n NAMESPACE`.
    pub(super) fn command(&self, verb: &str) -> String {
        format!("haldane {verb} {} -n {}", self.name, self.namespace)
    }

    /// What to do next: commands where a rollout has ended, else what the decision says.
    pub(super) fn comes(&self, record: &DecisionRecord) -> Vec<String> {
        match record.outcome {
            Outcome::RolledBack | Outcome::Failed | Outcome::Aborted if !record.message.ends_with(NOTHING_WRITTEN) => {
                vec![self.command("explain"), self.command("retry")]
            }
            _ => clauses(&record.next).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        }
    }
}

/// What was decided, with the share that the canary had then.
fn outcome(record: &DecisionRecord) -> String {
    let canary = record.canary.as_ref().map_or("the canary", |version| version.name.as_str());
    let did = match record.outcome {
        Outcome::Started => return format!("{canary} started"),
        Outcome::Advanced => "passed its step",
        Outcome::Held => "holding",
        Outcome::Paused => "paused",
        Outcome::Resumed => "resumed",
        Outcome::Promoted => return format!("{canary} promoted"),
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::RolledBack => "rolled back",
        Outcome::Aborted => "aborted",
        Outcome::Lowered => "lowered",
        Outcome::Restored => "restored",
        Outcome::CommandRefused => return "command refused".to_owned(),
        Outcome::Retried => return format!("{canary} may be retried"),
        Outcome::Edited => return "manifest edited".to_owned(),
    };
    match place(record) {
        Some(place) => format!("{canary} {did} {place}"),
        None => format!("{canary} {did}"),
    }
}

/// What the canary had; nothing outside of a rollout.
fn place(record: &DecisionRecord) -> Option<String> {
    if record.weight == 0 && record.step.is_none() {
        return None;
    }
    Some(shared(record.traffic.as_deref(), record.weight))
}

/// What the canary gets: `at 5 %`, `on copies of 100 %`, `at 5 % and for the matched users`.
pub fn shared(traffic: Option<&str>, weight: i32) -> String {
    let Some(traffic) = traffic else { return format!("at {weight} %") };
    let part = |part: &str| match (part, part.strip_prefix("mirror of ")) {
        ("match", _) => "for the matched users".to_owned(),
        (_, Some(copies)) => format!("on copies of {copies}"),
        (weight, None) => format!("at {weight}"),
    };
    traffic.split(" + ").map(part).collect::<Vec<_>>().join(" and ")
}

fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Promoted | Outcome::Passed => Tone::Good,
        Outcome::Failed | Outcome::RolledBack | Outcome::Aborted | Outcome::CommandRefused => Tone::Bad,
        Outcome::Held | Outcome::Paused | Outcome::Lowered => Tone::Waiting,
        Outcome::Started | Outcome::Advanced | Outcome::Resumed | Outcome::Restored | Outcome::Retried | Outcome::Edited => Tone::Plain,
    }
}

/// Clauses of a message, a line for each, without what the table says of these metrics.
pub(super) fn without_metrics(message: &str, metrics: &[MetricEvidence]) -> String {
    let mut text = message.to_owned();
    for metric in metrics.iter().filter(|metric| !metric.message.is_empty()) {
        text = text.replace(&metric.message, "");
    }
    if text.len() == message.len() {
        return clauses(message);
    }
    let clauses = clauses(&text);
    let left = clauses.lines().map(|line| line.trim_end_matches([':', ' '])).filter(|line| !line.is_empty());
    left.collect::<Vec<_>>().join("\n")
}

/// The sentence of the decision, without the metric that the table shows.
fn why(record: &DecisionRecord) -> Option<Fact> {
    let judged = deciding(record).filter(|metric| !metric.message.is_empty());
    let rest = judged.and_then(|metric| record.message.split_once(metric.message.as_str()));
    let message = match (rest, record.reason.known()) {
        (Some((_, rest)), _) => rest.trim_start_matches([';', ' ', '.']),
        // Who aborted it and why is in the first line.
        (None, Some(Reason::Aborted)) if record.outcome == Outcome::Aborted && record.by.is_some() => {
            record.message.split_once("; ").map_or("", |(_, rest)| rest)
        }
        (None, _) => record.message.as_str(),
    };
    let harm = deciding(record).filter(|_| rest.is_some() && record.reason == Reason::AnalysisFailed).and_then(harm);
    let message = without_metrics(message, &record.why);
    let lines: Vec<String> = harm.into_iter().chain((!message.is_empty()).then_some(message)).collect();
    (!lines.is_empty()).then(|| Fact::new("why", lines.join("\n")))
}

/// The evidence that led to a rollback.
fn harm(metric: &MetricEvidence) -> Option<String> {
    let (evidence, at) = (metric.fail_evidence?, metric.fail_at?);
    let name = visible(&metric.metric);
    let (reached, needed) = (number((10.0 * evidence).round() / 10.0), number((10.0 * at).round() / 10.0));
    Some(match evidence >= at {
        true => format!("{name}: evidence of harm {reached}, {needed} rolls back"),
        false => format!("{name}: evidence of harm {reached}, with the other metrics more than the {needed} that roll back"),
    })
}

/// Who serves whom, and what happens without a person.
fn now(record: &DecisionRecord) -> Option<String> {
    let named = |version: &Option<Version>, other: &str| version.as_ref().map_or_else(|| other.to_owned(), |version| version.name.clone());
    let (stable, canary) = (named(&record.stable, "stable"), record.canary.as_ref().map_or_else(|| "the canary".into(), called));
    Some(match (record.outcome, record.reason.known()) {
        (_, Some(Reason::Drifted)) => "nothing is written while no rollout runs".to_owned(),
        (Outcome::RolledBack | Outcome::Aborted | Outcome::Failed, _) if record.message.ends_with(NOTHING_WRITTEN) => {
            format!("no weight was set; {canary} will not be retried automatically")
        }
        (Outcome::RolledBack | Outcome::Aborted | Outcome::Failed, _) => {
            format!("100 % at {stable}; {canary} will not be retried automatically")
        }
        (Outcome::Passed, _) => format!("100 % at {stable}, as before"),
        (Outcome::Promoted, _) => format!("100 % at {canary}, the new stable"),
        (Outcome::Held, Some(Reason::StableUnavailable)) => "no traffic was moved; it moves once a stable pod is ready".to_owned(),
        (Outcome::Held, Some(Reason::RouteRefused)) => "the decision is recorded; the write will be retried".to_owned(),
        (Outcome::Held | Outcome::Paused, _) if place(record).is_some() => {
            let keeps = record.traffic.clone().unwrap_or_else(|| format!("{} %", record.weight));
            format!("{} keeps its {keeps}", named(&record.canary, "the canary"))
        }
        _ => return None,
    })
}

/// `v2 (m9nrqqfxj)`.
pub fn called(version: &Version) -> String {
    if version.revision.is_empty() { version.name.clone() } else { format!("{} ({})", version.name, version.revision) }
}

/// Who was touched: `806 requests in 12s (5.0 % of traffic), none failed`.
pub fn exposed(exposure: &Exposure) -> String {
    let lasted = time(exposure.seconds as f64);
    let copies = exposure.mirrored_requests.filter(|copies| *copies > 0);
    if let (Some(copies), 0) = (copies, exposure.canary_requests) {
        return format!("{} copies of requests in {lasted}, no user saw an answer", whole(copies));
    }
    let all = exposure.canary_requests.saturating_add(exposure.stable_requests);
    let share =
        if all > 0 { format!(" ({:.1} % of traffic)", exposure.canary_requests as f64 * 100.0 / all as f64) } else { String::new() };
    let failed = match exposure.canary_errors {
        _ if exposure.canary_requests == 0 => String::new(),
        Some(0) => ", none failed".to_owned(),
        Some(errors) => format!(", {} failed", whole(errors)),
        None => String::new(),
    };
    let requests = if exposure.canary_requests == 1 { "request" } else { "requests" };
    let also =
        copies.map_or_else(String::new, |copies| format!("; and {} copies of requests, of which no user saw an answer", whole(copies)));
    format!("{} {requests} in {lasted}{share}{failed}{also}", whole(exposure.canary_requests))
}
