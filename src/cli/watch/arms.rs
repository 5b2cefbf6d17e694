//! Both versions side by side, the steps, and how long still.

use ratatui::text::{Line, Span};

use super::app::App;
use super::frame::Look;
use crate::{
    api::{RolloutStatus, StepStatus, names::condition},
    view::{Mark, Terminal, Tone, moving, steps as progress, weight, width},
    words::{shortened, whole},
};

/// Width of labels, as below the table.
const LABEL: usize = 12;
/// Longest name of a version.
const VERSION: usize = 18;
/// Widest bar.
const BAR: usize = 60;

/// Everything above the table.
pub(super) fn lines(app: &App, look: Look, columns: usize) -> Vec<Line<'static>> {
    let empty = RolloutStatus::default();
    let status = app.rollout.status.as_ref().unwrap_or(&empty);
    let mut lines = versions(app, status, look, columns);
    lines.extend(steps(app, look));
    let waits = app.view.facts.iter().filter(|fact| ["hold", "waiting"].contains(&fact.label.as_str())).cloned().collect::<Vec<_>>();
    let text = Terminal { columns, colour: false }.facts(&waits);
    lines.extend(text.lines().map(|line| Line::from(line.to_owned())));
    lines
}

fn versions(app: &App, status: &RolloutStatus, look: Look, columns: usize) -> Vec<Line<'static>> {
    let Some(stable) = &app.view.stable else { return Vec::new() };
    let step = status.step.as_ref().filter(|step| step.index >= 0 && moving(status.phase));
    let canary_has = weight(status);
    let beside = step.and_then(|step| step.traffic.clone()).unwrap_or_else(|| format!("{canary_has} %"));
    let name = |name: &str| shortened(name, VERSION);
    let shown = app.view.canary.as_ref();
    let longest = [Some(stable), shown].into_iter().flatten().map(|one| width(&name(one))).max().unwrap_or_default();
    let indent = (longest + 10).max(LABEL);
    let bar = columns.saturating_sub(indent + 2 + width(&beside).max(5) + 1).min(BAR);
    let line = |arm: &str, version: &str, share: i32, text: String, tone: Tone| {
        let label = format!("{arm} {}", name(version));
        let full = bar * usize::try_from(share.clamp(0, 100)).unwrap_or_default() / 100;
        let full = if share > 0 { full.max(1) } else { 0 };
        let pad = " ".repeat(indent.saturating_sub(width(&label)));
        let filled = Span::styled("#".repeat(full), look.tone(tone));
        Line::from(vec![
            Span::raw(format!("{label}{pad}")),
            filled,
            Span::raw(format!("{}  {text:>5}", ".".repeat(bar.saturating_sub(full)))),
        ])
    };
    let rest = 100 - canary_has;
    let mut lines = vec![line("stable", stable, rest, format!("{rest} %"), Tone::Plain)];
    if let Some(canary) = shown {
        lines.push(line("canary", canary, canary_has, beside, app.view.tone));
        let shares = step.map(|step| shares(app, status, step, look)).unwrap_or_default();
        if !shares.is_empty() {
            lines.push(Line::from([vec![Span::raw(" ".repeat(indent))], shares].concat()));
        }
    }
    lines
}

/// What the mesh was given, and what was counted.
fn shares(app: &App, status: &RolloutStatus, step: &StepStatus, look: Look) -> Vec<Span<'static>> {
    let wanted = step.traffic.clone().unwrap_or_else(|| format!("{} %", step.weight));
    let unset = status.conditions.iter().any(|one| one.type_ == condition::TRAFFIC_PROGRAMMED && one.status == "False");
    let programmed = match unset {
        true => Span::styled(format!("{wanted} wanted, not programmed"), look.tone(Tone::Waiting)),
        false => Span::raw(format!("programmed {wanted}")),
    };
    // Copies and the users of a match are no share of what is counted, and at 100 % there is nothing beside it.
    if step.traffic.is_some() || step.weight >= 100 {
        return vec![programmed];
    }
    let observed = match app.view.observed() {
        Some((share, all)) => Span::raw(format!("   observed {:.1} % of {} requests", 100.0 * share, whole(all))),
        None => Span::styled("   observed NO DATA", look.tone(Tone::Waiting)),
    };
    vec![programmed, observed]
}

/// The steps: those behind, the present one, and those to come.
fn steps(app: &App, look: Look) -> Option<Line<'static>> {
    let steps = progress(&app.rollout);
    if steps.is_empty() {
        return None;
    }
    let mut spans = vec![Span::raw(format!("{:LABEL$}", "steps"))];
    for step in steps {
        let own = step.name.map_or_else(String::new, |name| format!("{} ", shortened(&name, VERSION)));
        let (mark, tone) = match step.mark {
            Mark::Behind => ("x", Tone::Plain),
            Mark::Present => (">", app.view.tone),
            Mark::Ahead => (" ", Tone::Plain),
        };
        let mut style = look.tone(tone);
        if step.mark == Mark::Present {
            style = style.bold();
        }
        spans.push(Span::styled(format!("[{mark}] {own}{}", step.share), style));
        spans.push(Span::raw("  "));
    }
    Some(Line::from(spans))
}
