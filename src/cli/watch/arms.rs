//! Both versions side by side, the steps, and how long still.

use ratatui::text::{Line, Span};

use super::app::App;
use super::frame::Look;
use crate::{
    api::{Phase, RolloutStatus, StepStatus, names::condition},
    plan::Plan,
    view::{Terminal, Tone, width},
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
    lines.extend(steps(app, status, look));
    let waits = app.view.facts.iter().filter(|fact| ["hold", "waiting"].contains(&fact.label.as_str())).cloned().collect::<Vec<_>>();
    let text = Terminal { columns, colour: false }.facts(&waits);
    lines.extend(text.lines().map(|line| Line::from(line.to_owned())));
    lines
}

/// What the canary has as a weight.
fn weight(status: &RolloutStatus) -> i32 {
    match status.phase {
        Some(Phase::Promoted) => 100,
        None | Some(Phase::Passed | Phase::Failed | Phase::RolledBack | Phase::Aborted | Phase::Idle | Phase::Waiting) => 0,
        _ => status.step.as_ref().map_or(0, |step| step.weight),
    }
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

fn moving(phase: Option<Phase>) -> bool {
    matches!(phase, Some(Phase::Progressing | Phase::Paused | Phase::Holding | Phase::RollingBack))
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
    let counted = app.view.rows.iter().filter_map(|row| row.requests).max_by_key(|n| n.stable.saturating_add(n.canary));
    let all = counted.map_or(0, |n| n.stable.saturating_add(n.canary));
    let observed = match counted.filter(|_| all > 0) {
        Some(n) => {
            let share = 100.0 * n.canary as f64 / all as f64;
            Span::raw(format!("   observed {share:.1} % of {} requests", whole(all)))
        }
        None => Span::styled("   observed NO DATA", look.tone(Tone::Waiting)),
    };
    vec![programmed, observed]
}

/// The steps: those behind, the present one, and those to come.
fn steps(app: &App, status: &RolloutStatus, look: Look) -> Option<Line<'static>> {
    let plan = Plan::parse(&app.rollout.spec).ok()?;
    let present = status.step.as_ref().filter(|_| moving(status.phase)).and_then(|step| usize::try_from(step.index).ok());
    let all = status.phase == Some(Phase::Promoted) || status.phase == Some(Phase::Passed);
    if present.is_none() && !all {
        return None;
    }
    let mut spans = vec![Span::raw(format!("{:LABEL$}", "steps"))];
    for (at, step) in plan.steps.iter().enumerate() {
        let own = if step.name == (at + 1).to_string() { String::new() } else { format!("{} ", shortened(&step.name, VERSION)) };
        let text = format!("{own}{}", step.share().words());
        let (mark, tone) = match present {
            _ if all => ("x", Tone::Plain),
            Some(present) if at < present => ("x", Tone::Plain),
            Some(present) if at == present => (">", app.view.tone),
            _ => (" ", Tone::Plain),
        };
        let mut style = look.tone(tone);
        if mark == ">" {
            style = style.bold();
        }
        spans.push(Span::styled(format!("[{mark}] {text}"), style));
        spans.push(Span::raw("  "));
    }
    Some(Line::from(spans))
}
