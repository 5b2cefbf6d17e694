//! The fleet: a line for each Rollout, what needs a person first.

use std::{borrow::Borrow, collections::BTreeMap};

use maud::{Markup, html};

use super::{class, frame::Frame, svg};
use crate::api::{Rollout, RolloutStatus};
use crate::view::{Rank, View, age, moving, place_in_fleet, rank, tone, visible, weight};

/// The page of all Rollouts; with `search`, of those that have all its words in them.
pub fn fleet<R: Borrow<Rollout>>(frame: &Frame<'_>, rollouts: &[R], search: &str) -> String {
    let mut shown: Vec<&Rollout> = rollouts.iter().map(Borrow::borrow).collect();
    let all = shown.len();
    let mut counts: BTreeMap<Rank, usize> = BTreeMap::new();
    for rollout in &shown {
        *counts.entry(rank(rollout.status.as_ref().and_then(|status| status.phase))).or_default() += 1;
    }
    shown.retain(|rollout| has(rollout, search));
    shown.sort_by_cached_key(|rollout| place_in_fleet(rollout));
    let main = html! {
        div.head {
            h1 { "Rollouts" }
            p.counts #counts data-live="" { (summary(&counts)) }
            form.search role="search" method="get" action=(frame.at("/")) {
                input type="search" name="q" value=(search) placeholder="name, version or phase" aria-label="Search" autocomplete="off";
                button.button type="submit" { "Search" }
            }
        }
        div #fleet data-live="" {
            @if shown.is_empty() { (nothing(frame, all, search)) } @else { (table(frame, &shown)) }
        }
        p.keys { kbd { "/" } " search" kbd { "j" } kbd { "k" } " move" kbd { "Enter" } " open" }
    };
    frame.page("Rollouts", Some(&frame.at("/events")), &main)
}

fn summary(counts: &BTreeMap<Rank, usize>) -> Markup {
    let of = |rank: Rank| counts.get(&rank).copied().unwrap_or_default();
    let parts = [
        (Rank::Failed, "bad", "ended badly"),
        (Rank::Waiting, "wait", "waiting"),
        (Rank::Moving, "move", "progressing"),
        (Rank::Calm, "plain", "at rest"),
    ];
    html! {
        @for (rank, class, word) in parts {
            @if of(rank) > 0 { span class=(format!("count {class}")) { b { (of(rank)) } " " (word) } }
        }
    }
}

/// Whether every word of a search is in what the line says.
fn has(rollout: &Rollout, search: &str) -> bool {
    let status = rollout.status.as_ref();
    let names = [&rollout.metadata.namespace, &rollout.metadata.name].map(|name| name.clone().unwrap_or_default());
    let versions = status.into_iter().flat_map(|status| [&status.stable, &status.canary]).flatten().map(|version| version.name.clone());
    let phase = phase(status);
    let text = names.into_iter().chain(versions).chain([phase]).collect::<Vec<_>>().join(" ").to_lowercase();
    search.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

fn phase(status: Option<&RolloutStatus>) -> String {
    status.and_then(|status| status.phase).map_or_else(|| "Unseen".to_owned(), |phase| format!("{phase:?}"))
}

fn nothing(frame: &Frame<'_>, all: usize, search: &str) -> Markup {
    html! {
        section.panel.empty {
            @if all > 0 {
                p { "No Rollout fits " b { (search) } ". " a href=(frame.at("/")) { "Show all " (all) } }
            } @else {
                p { "No Rollouts " @if let Some(namespace) = frame.namespace { "in namespace " b { (namespace) } } @else { "in any namespace" } " yet." }
                p.fix { code { "haldane init service/NAME" } " prints the manifests of the first one." }
            }
        }
    }
}

fn table(frame: &Frame<'_>, rollouts: &[&Rollout]) -> Markup {
    html! {
        table.fleet {
            thead {
                tr {
                    th scope="col" { "Rollout" }
                    th scope="col" { "State" }
                    th scope="col" { "Canary's share" }
                    th scope="col" { "Versions" }
                    th scope="col" { "Metrics" }
                    th.num scope="col" { "Since" }
                }
            }
            tbody { @for rollout in rollouts { (line(frame, rollout)) } }
        }
    }
}

fn line(frame: &Frame<'_>, rollout: &Rollout) -> Markup {
    let empty = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&empty);
    let view = View::standing(rollout, frame.now);
    let share = weight(status);
    let traffic = status.step.as_ref().filter(|step| step.index >= 0 && moving(status.phase)).and_then(|step| step.traffic.clone());
    let since = status.decision.as_ref().map(|decision| age(decision.at.0, frame.now));
    html! {
        tr {
            td.name { a href=(frame.rollout(&view.namespace, &view.name)) { span.ns { (view.namespace) "/" } b { (view.name) } } }
            td.state {
                span class=(format!("badge {}", class(tone(status.phase)))) { (phase(rollout.status.as_ref())) }
                @if let Some(because) = &view.because { span.why { (because.trim_start_matches("because ")) } }
            }
            td.share {
                @if status.stable.is_some() { (svg::share(share, class(view.tone))) span.num { (traffic.unwrap_or_else(|| format!("{share} %"))) } }
            }
            td.versions {
                @match (&view.stable, &view.canary) {
                    (Some(stable), Some(canary)) => { (visible(stable)) span.arrow { " → " } (visible(canary)) }
                    (Some(one), None) | (None, Some(one)) => { (visible(one)) }
                    (None, None) => {}
                }
            }
            td.chips {
                @for row in &view.rows {
                    span class=(format!("chip {}", class(row.verdict.tone()))) { (row.label) " " i { (row.verdict.text()) } }
                }
            }
            td.num.since { @if let Some(since) = since { (since) } }
        }
    }
}
