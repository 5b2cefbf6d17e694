//! One Rollout: where it stands and why, the numbers, what happened before, and what can be done.

use maud::{Markup, html};

use super::{
    actions::{buttons, offered},
    arms, class, course,
    frame::Frame,
    metrics, spread,
};
use crate::api::{DecisionRecord, HistoryEntry, MetricEvidence, Rollout, RolloutStatus};
use crate::command::Verb;
use crate::record::{Record, Run};
use crate::view::{Fact, View, age, visible};
use crate::words::{time, whole};

/// What is kept of the last rollouts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept<'a> {
    /// The record; none: nothing is kept yet.
    pub record: Option<&'a Record>,
    /// Which of its rollouts is shown; 0: the newest.
    pub run: usize,
    /// Why the record cannot be read.
    pub missing: Option<&'a str>,
}

/// The page of one Rollout.
pub fn rollout(frame: &Frame<'_>, rollout: &Rollout, kept: &Kept<'_>) -> String {
    let empty = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&empty);
    let view = View::standing(rollout, frame.now);
    let place = frame.rollout(&view.namespace, &view.name);
    let runs = kept.record.map(|record| record.runs.as_slice()).unwrap_or_default();
    let run = runs.get(kept.run);
    let main = html! {
        p.up { a href=(frame.at("/")) { "Rollouts" } }
        section.panel.hero {
            div.title #title data-live="" {
                h1 { span.ns { (view.namespace) "/" } (view.name) }
                p.outcome { span class=(format!("badge {}", class(view.tone))) { (phase(status)) } " " b { (view.outcome) } @if let Some(because) = &view.because { " " (because) } }
            }
            div #actions data-live="" { (buttons(frame, rollout, &place)) }
            div.progress #progress data-live="" { (arms::arms(rollout, &view)) (arms::plan(rollout, &view)) }
        }
        div #numbers data-live="" {
            @if !view.rows.is_empty() { section.panel { h2 { "Metrics" } (metrics::table(&view)) } }
        }
        div #course data-live="" {
            (course::runs(&place, runs, kept.run, frame.now))
            @if let Some(run) = run { (course::course(run, frame.now)) (spread::spreads(run)) }
            @if let Some(missing) = kept.missing { p.note { "The course of this rollout cannot be shown: " (visible(missing)) } }
        }
        div.columns {
            div #facts data-live="" { (facts(&view)) }
            div #decisions data-live="" { (decisions(frame, status, &view, run)) }
        }
        div #more data-live="" { (metrics::statistics_and_queries(frame, shown(status))) }
        p.keys { kbd { "u" } " all Rollouts" @if frame.form.is_some() && offered(rollout).iter().any(|offer| offer.verb == Verb::Abort) { kbd { "a" } " abort" } }
    };
    frame.page(&view.subject(), Some(&format!("{place}/events")), &main)
}

fn phase(status: &RolloutStatus) -> String {
    status.phase.map_or_else(|| "Unseen".to_owned(), |phase| format!("{phase:?}"))
}

/// What the numbers on the page rest on: the newest look, or what decided.
fn shown(status: &RolloutStatus) -> &[MetricEvidence] {
    match &status.decision {
        Some(decision) if status.evidence.is_empty() => &decision.why,
        _ => &status.evidence,
    }
}

fn facts(view: &View) -> Markup {
    let facts: Vec<Fact> = view.said().into_iter().filter(|fact| fact.label != "hold").collect();
    html! {
        @if !facts.is_empty() || !view.next.is_empty() {
            section.panel {
                h2 { "Where it stands" }
                dl.facts {
                    @for fact in &facts { div { dt { (fact.label) } dd { @for line in fact.text.lines() { p { (prose(line)) } } } } }
                    @if !view.next.is_empty() {
                        div { dt { "next" } dd { @for next in &view.next { p { @if next.starts_with("haldane ") { code { (next) } } @else { (prose(next)) } } } } }
                    }
                }
            }
        }
    }
}

/// A sentence; what stands between backticks is a command.
fn prose(text: &str) -> Markup {
    let text = visible(text);
    html! {
        @for (at, part) in text.split('`').enumerate() { @if at % 2 == 1 { code { (part) } } @else { (part) } }
    }
}

/// What was decided: the newest decision, then the rollouts of the past.
fn decisions(frame: &Frame<'_>, status: &RolloutStatus, view: &View, run: Option<&Run>) -> Markup {
    let mut records: Vec<&DecisionRecord> = run.iter().flat_map(|run| &run.decisions).rev().collect();
    let is_shown = |record: &DecisionRecord| records.iter().any(|one| one.at == record.at && one.outcome == record.outcome);
    if let Some(newest) = status.decision.as_ref().filter(|newest| !is_shown(newest)) {
        records.insert(0, newest);
    }
    // The end of a rollout is a decision too, which says more.
    let ends = |entry: &&HistoryEntry| records.iter().any(|one| one.at == entry.ended);
    let past: Vec<&HistoryEntry> = status.history.iter().filter(|entry| !ends(entry)).collect();
    html! {
        @if !records.is_empty() || !past.is_empty() {
            section.panel {
                h2 { "Decisions" }
                ol.decisions {
                    @for record in records {
                        @let told = View::decided(&view.namespace, &view.name, record);
                        (decision(frame, record.at.0, &told, None))
                    }
                    @for entry in past {
                        @let told = View::past(&view.namespace, &view.name, entry);
                        @let took = time(entry.ended.0.duration_since(entry.started.0).as_secs_f64());
                        (decision(frame, entry.ended.0, &told, Some(&took)))
                    }
                }
                @if !status.refused.is_empty() {
                    p.refused {
                        "Refused until retried: "
                        @for (at, refused) in status.refused.iter().enumerate() { @if at > 0 { ", " } b { (visible(refused.name())) } " (" (visible(&refused.revision)) ")" }
                    }
                }
            }
        }
    }
}

fn decision(frame: &Frame<'_>, at: jiff::Timestamp, told: &View, took: Option<&str>) -> Markup {
    let exposed = told.exposed.as_ref().filter(|exposure| exposure.canary_requests > 0);
    html! {
        li {
            time datetime=(at.to_string()) title=(at.strftime("%F %T UTC")) { (age(at, frame.now)) " ago" }
            div {
                b class=(class(told.tone)) { (told.outcome) }
                @if let Some(because) = &told.because { " " (because) }
                @if took.is_some() || exposed.is_some() {
                    span.small {
                        @if let Some(took) = took { "took " (took) }
                        @if let Some(exposed) = exposed {
                            @if took.is_some() { ", " }
                            (whole(exposed.canary_requests)) " requests"
                            @match exposed.canary_errors { Some(0) => { ", none failed" } Some(errors) => { ", " (whole(errors)) " failed" } None => {} }
                        }
                    }
                }
                @if !told.rows.is_empty() {
                    details id=(format!("why-{}-{}", at.as_millisecond(), told.outcome.len())) { summary { "why" } (metrics::table(told)) }
                }
            }
        }
    }
}
