//! The course of one rollout: weights, and for each metric the difference with its band and its limit.

use jiff::Timestamp;
use maud::{Markup, html};

use super::plot::{HEIGHT, Scale, Span, WIDTH, plot, points, stairs};
use crate::api::{MeasureKind, Verdict};
use crate::record::{Measured, Point, Run, Window};
use crate::view::{called, label, visible};
use crate::words::{number, time, whole};

/// All drawings of a rollout.
pub(super) fn course(run: &Run, now: Timestamp) -> Markup {
    let span = span(run, now);
    html! {
        section.panel {
            h2 { "Course" }
            (weights(run, span))
            div.charts { @for (at, metric) in run.metrics.iter().enumerate() { (difference(run, at, metric, span)) } }
        }
    }
}

/// From the start to the end, or to now.
fn span(run: &Run, now: Timestamp) -> Span {
    let last = run.windows.last().map(|window| window.end).into_iter().chain(run.changes.last().map(|change| change.at)).max();
    let end = run.end.as_ref().map(|end| end.at);
    let to = match (end, last) {
        (Some(end), Some(last)) => end.max(last),
        (Some(end), None) => end,
        (None, _) => now,
    };
    let first = run.changes.first().map_or(run.started, |change| change.at.min(run.started));
    Span { from: first, to: to.max(first) }
}

/// What the canary got, and what it was seen to have.
fn weights(run: &Run, span: Span) -> Markup {
    let scale = Scale { low: 0.0, high: 100.0, step: 25.0 };
    let given: Vec<(f64, f64)> = run.changes.iter().map(|change| (span.x(change.at), scale.y(f64::from(change.weight)))).collect();
    let end = span.x(span.to);
    let line = stairs(&given, end);
    let area: Vec<(f64, f64)> = match (line.first(), line.last()) {
        (Some((first, _)), Some((last, _))) => {
            std::iter::once((*first, HEIGHT)).chain(line.iter().copied()).chain([(*last, HEIGHT)]).collect()
        }
        _ => Vec::new(),
    };
    let seen = |window: &Window| Some((span.x(middle(window)), scale.y(100.0 * window.observed()?)));
    // Copies are counted with the requests of users.
    let plain = run.steps.iter().all(|step| step.traffic.is_none());
    let observed: Vec<(f64, f64)> = if plain { run.windows.iter().filter_map(seen).collect() } else { Vec::new() };
    let most = run.changes.iter().map(|change| change.weight).max().unwrap_or_default();
    let says = format!("{} had up to {most} % of the traffic", called(&run.canary));
    let drawn = html! {
        polygon.given points=(points(&area)) {}
        polyline.given points=(points(&line)) {}
        @if observed.len() > 1 { polyline.observed points=(points(&observed)) {} }
        @for change in &run.changes {
            @let x = span.x(change.at);
            line.hit x1=(x) x2=(x) y1="0" y2=(HEIGHT) {
                title { (change.at.strftime("%T UTC")) ": " (change.traffic.clone().unwrap_or_else(|| format!("{} %", change.weight))) }
            }
        }
    };
    let numbers: Vec<String> = scale.numbers().into_iter().map(|number| format!("{number:.0} %")).collect();
    html! {
        figure.chart.wide {
            figcaption {
                b { "canary " (visible(&run.canary.name)) }
                span.legend { span.given { "programmed" } @if observed.len() > 1 { span.observed { "observed" } } }
            }
            (plot(&says, &numbers, &span.labels(), &drawn))
        }
    }
}

fn middle(window: &Window) -> Timestamp {
    let length = window.end.duration_since(window.start);
    window.start.saturating_add(length / 2).unwrap_or(window.end)
}

/// What is drawn of a metric in one window.
struct Look {
    x: f64,
    at: Timestamp,
    step: usize,
    value: f64,
    interval: Option<[f64; 2]>,
    limit: Option<f64>,
    n: Option<(u64, u64)>,
}

fn is_threshold(kind: Option<MeasureKind>) -> bool {
    matches!(kind, Some(MeasureKind::AtMost | MeasureKind::AtLeast))
}

fn looks(run: &Run, at: usize, kind: Option<MeasureKind>, span: Span) -> Vec<Look> {
    let look = |(window, point): (&Window, &Point)| {
        let value = if is_threshold(kind) { point.canary.as_ref().and_then(|arm| arm.value) } else { point.difference };
        let value = value.filter(|value| value.is_finite())?;
        Some(Look {
            x: span.x(window.end),
            at: window.end,
            step: window.step,
            value,
            interval: point.interval.filter(|bounds| bounds.iter().all(|bound| bound.is_finite())),
            limit: point.limit.filter(|limit| limit.is_finite()),
            n: point.stable.as_ref().zip(point.canary.as_ref()).map(|(stable, canary)| (stable.n, canary.n)),
        })
    };
    run.points(at).filter_map(look).collect()
}

/// The difference of a metric over time. Evidence begins anew with each step, and so does the line.
fn difference(run: &Run, at: usize, metric: &Measured, span: Span) -> Markup {
    let kind = Some(metric.kind);
    let looks = looks(run, at, kind, span);
    let name = label(&metric.name, kind);
    let last = run.points(at).last().map(|(_, point)| point);
    let verdict = match last.and_then(|point| point.verdict) {
        Some(Verdict::Pass) => Some(("good", "ok")),
        Some(Verdict::Fail) => Some(("bad", "worse")),
        Some(Verdict::Inconclusive) => Some(("plain", "undecided")),
        None => None,
    };
    let Some(scale) = scale(&looks, is_threshold(kind)) else {
        return html! {
            figure.chart { figcaption { b { (name) } } p.empty { "no window counted yet" } }
        };
    };
    let text = |value: f64| said(kind, value, &scale);
    let finely = |value: f64| said(kind, value, &fine(kind, &scale));
    let groups: Vec<&[Look]> = looks.chunk_by(|one, next| one.step == next.step).collect();
    let says = looks.last().map_or_else(String::new, |look| {
        let limit = look.limit.map_or_else(String::new, |limit| format!(", limit {}", finely(limit)));
        format!("{name}: {}{limit}", finely(look.value))
    });
    let drawn = html! {
        @if !is_threshold(kind) && scale.low < 0.0 && scale.high > 0.0 { line.zero x1="0" x2=(WIDTH) y1=(scale.y(0.0)) y2=(scale.y(0.0)) {} }
        @for group in &groups { polygon.band points=(points(&band(group, &scale))) {} }
        @for group in &groups {
            @let limits: Vec<(f64, f64)> = group.iter().filter_map(|look| Some((look.x, scale.y(look.limit?)))).collect();
            polyline.limit points=(points(&limits)) {}
            @let line: Vec<(f64, f64)> = group.iter().map(|look| (look.x, scale.y(look.value))).collect();
            polyline.difference points=(points(&line)) {}
            @if let Some((x, y)) = line.last() { polyline.last points=(points(&[(*x, *y), (*x, *y)])) {} }
        }
        @for (before, next) in groups.iter().zip(groups.iter().skip(1)) {
            @if let (Some(before), Some(next)) = (before.last(), next.first()) {
                @let x = super::svg::round((before.x + next.x) / 2.0);
                line.border x1=(x) x2=(x) y1="0" y2=(HEIGHT) {}
            }
        }
        @for (at, look) in looks.iter().enumerate() {
            @let from = at.checked_sub(1).and_then(|at| looks.get(at)).map_or(0.0, |before| before.x);
            rect.hit x=(from) y="0" width=(super::svg::round(look.x - from)) height=(HEIGHT) { title { (told(look, kind, &scale)) } }
        }
    };
    let numbers: Vec<String> = scale.numbers().into_iter().map(text).collect();
    html! {
        figure.chart {
            figcaption {
                b { (name) }
                @if let Some(look) = looks.last() { span.now { (finely(look.value)) @if let Some(limit) = look.limit { span.soft { " limit " (finely(limit)) } } } }
                @if let Some((class, word)) = verdict { span class=(format!("badge {class}")) { (word) } }
            }
            (plot(&says, &numbers, &span.labels(), &drawn))
        }
    }
}

/// The band of one step: its upper side, and its lower side back.
fn band(group: &[Look], scale: &Scale) -> Vec<(f64, f64)> {
    let side = |of: usize| group.iter().filter_map(move |look| Some((look.x, scale.y(*look.interval?.get(of)?))));
    let mut lower: Vec<(f64, f64)> = side(0).collect();
    lower.reverse();
    side(1).chain(lower).collect()
}

/// A scale on which the end of each step can be read: the band of its first looks may be wider than the drawing.
fn scale(looks: &[Look], threshold: bool) -> Option<Scale> {
    let mut values: Vec<f64> = looks.iter().flat_map(|look| [Some(look.value), look.limit]).flatten().collect();
    if !threshold {
        values.push(0.0);
    }
    for group in looks.chunk_by(|one, next| one.step == next.step) {
        let settled = group.iter().skip(group.len() / 2).filter_map(|look| look.interval);
        values.extend(settled.flatten());
    }
    (!looks.is_empty()).then(|| Scale::around(values))?
}

/// A number of a scale, in the unit of the metric.
fn said(kind: Option<MeasureKind>, value: f64, scale: &Scale) -> String {
    match kind {
        Some(MeasureKind::Errors | MeasureKind::Latency | MeasureKind::Share) => {
            let digits = scale.digits(100.0);
            let points = 100.0 * value;
            let points = if points.abs() < 0.5 * 0.1f64.powi(i32::try_from(digits).unwrap_or(0)) { 0.0 } else { points };
            if points == 0.0 { "0 pp".to_owned() } else { format!("{points:+.digits$} pp") }
        }
        Some(MeasureKind::Classes | MeasureKind::Scores) => format!("{value:.*}", scale.digits(1.0).max(2)),
        _ => number(value),
    }
}

/// The same scale for a number that stands alone.
fn fine(kind: Option<MeasureKind>, scale: &Scale) -> Scale {
    let finer = if matches!(kind, Some(MeasureKind::Classes | MeasureKind::Scores)) { 10.0 } else { 100.0 };
    Scale { step: scale.step / finer, ..scale.clone() }
}

fn told(look: &Look, kind: Option<MeasureKind>, scale: &Scale) -> String {
    let text = |value: f64| said(kind, value, &fine(kind, scale));
    let band = look.interval.map_or_else(String::new, |[low, high]| format!(" ({} .. {})", text(low), text(high)));
    let limit = look.limit.map_or_else(String::new, |limit| format!(", limit {}", text(limit)));
    let n = look.n.map_or_else(String::new, |(stable, canary)| {
        let count = |n: u64| whole(i64::try_from(n).unwrap_or(i64::MAX));
        format!(", {} / {} requests in this window", count(stable), count(canary))
    });
    format!("{}: {}{band}{limit}{n}", look.at.strftime("%T UTC"), text(look.value))
}

/// Which rollout is shown, and the others that are kept.
pub(super) fn runs(place: &str, runs: &[Run], shown: usize, now: Timestamp) -> Markup {
    html! {
        @if runs.len() > 1 {
            nav.runs aria-label="Rollouts that are kept" {
                @for (at, run) in runs.iter().enumerate() {
                    @let ago = time(now.duration_since(run.started).as_secs_f64());
                    a href=(if at == 0 { place.to_owned() } else { format!("{place}?run={at}") }) aria-current=[(at == shown).then_some("page")] {
                        (visible(&run.stable.name)) " → " (visible(&run.canary.name)) span.soft { " " (ago) " ago" }
                    }
                }
            }
        }
    }
}
