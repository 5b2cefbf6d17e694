//! How the answers of both versions spread, one over the other.

use maud::{Markup, html};

use super::plot::{HEIGHT, Scale, WIDTH, plot, points, stairs};
use super::svg::round;
use crate::record::{Columns, Distribution, Run};
use crate::view::{label, visible};
use crate::words::{number, shortened, whole};

/// Classes that have a line of their own.
const CLASSES: usize = 12;
/// Longest name of a class.
const NAME: usize = 28;

/// The distributions of the last step that has any.
pub(super) fn spreads(run: &Run) -> Markup {
    let last = run.distributions.iter().map(|one| one.step).max();
    let shown: Vec<&Distribution> = run.distributions.iter().filter(|one| Some(one.step) == last).collect();
    html! {
        @if !shown.is_empty() {
            section.panel {
                h2 { "Predictions" @if let Some(step) = last.and_then(|step| run.steps.get(step)) { " at step " (visible(&step.name)) } }
                div.charts { @for one in shown { (spread(run, one)) } }
            }
        }
    }
}

fn spread(run: &Run, one: &Distribution) -> Markup {
    let metric = run.metrics.get(one.metric);
    let name = metric.map_or_else(String::new, |metric| label(&metric.name, Some(metric.kind)));
    let count = |n: u64| whole(i64::try_from(n).unwrap_or(i64::MAX));
    html! {
        figure.chart {
            figcaption {
                b { (name) }
                span.legend {
                    span.stable { "stable " (visible(&run.stable.name)) ", " (count(one.stable_n)) }
                    span.canary { "canary " (visible(&run.canary.name)) ", " (count(one.canary_n)) }
                }
            }
            @match &one.columns {
                Columns::Classes(names) => { (classes(names, one)) }
                Columns::Bins(bounds) => { (bins(bounds, one, &name)) }
            }
        }
    }
}

/// A line for each class, those first that differ most.
fn classes(names: &[String], one: &Distribution) -> Markup {
    let names = names.iter().map(|name| shortened(&visible(name), NAME)).chain(["all others".to_owned()]);
    let mut lines: Vec<(String, f64, f64)> =
        names.zip(one.stable.iter().zip(&one.canary)).map(|(name, (stable, canary))| (name, *stable, *canary)).collect();
    lines.retain(|(_, stable, canary)| *stable > 0.0 || *canary > 0.0);
    lines.sort_by(|(_, stable, canary), (_, other_stable, other)| (other - other_stable).abs().total_cmp(&(canary - stable).abs()));
    let more = lines.len().saturating_sub(CLASSES);
    lines.truncate(CLASSES);
    let most = lines.iter().flat_map(|(_, stable, canary)| [*stable, *canary]).fold(f64::MIN_POSITIVE, f64::max);
    let width = |share: f64| round(100.0 * share / most);
    html! {
        table.classes {
            thead.hide { tr { th { "class" } th { "drawn" } th { "stable" } th { "canary" } } }
            tbody {
                @for (name, stable, canary) in &lines {
                    tr {
                        th scope="row" { (name) }
                        td.draw {
                            svg.pair viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true" {
                                rect.stable x="0" y="0" width=(width(*stable)) height="6" {}
                                rect.canary x="0" y="8" width=(width(*canary)) height="6" {}
                            }
                        }
                        td.num { (format!("{:.1} %", 100.0 * stable)) }
                        td.num { (format!("{:.1} %", 100.0 * canary)) }
                    }
                }
            }
        }
        @if more > 0 { p.soft { "and " (more) " more that differ less" } }
    }
}

/// Two outlines over the same bins, each bin as wide as the others.
fn bins(bounds: &[f64], one: &Distribution, name: &str) -> Markup {
    let count = one.stable.len().max(one.canary.len()).max(1);
    let most = one.stable.iter().chain(&one.canary).copied().fold(0.0, f64::max);
    let Some(scale) = Scale::around([0.0, most]) else { return html! {} };
    let x = |at: usize| round(WIDTH * at as f64 / count as f64);
    let outline = |shares: &[f64]| {
        let steps: Vec<(f64, f64)> = shares.iter().enumerate().map(|(at, share)| (x(at), scale.y(*share))).collect();
        let mut line = vec![(0.0, HEIGHT)];
        line.extend(stairs(&steps, WIDTH));
        line.push((WIDTH, HEIGHT));
        line
    };
    let range = |at: usize| match (at.checked_sub(1).and_then(|at| bounds.get(at)), bounds.get(at)) {
        (None, Some(to)) => format!("up to {}", number(*to)),
        (Some(from), Some(to)) => format!("{} to {}", number(*from), number(*to)),
        (Some(from), None) => format!("above {}", number(*from)),
        (None, None) => "all".to_owned(),
    };
    let share = |shares: &[f64], at: usize| format!("{:.1} %", 100.0 * shares.get(at).copied().unwrap_or_default());
    let drawn = html! {
        polygon.stable points=(points(&outline(&one.stable))) {}
        polygon.canary points=(points(&outline(&one.canary))) {}
        @for at in 0..count {
            rect.hit x=(x(at)) y="0" width=(round(x(at + 1) - x(at))) height=(HEIGHT) {
                title { (range(at)) ": stable " (share(&one.stable, at)) ", canary " (share(&one.canary, at)) }
            }
        }
    };
    let digits = scale.digits(100.0);
    let numbers: Vec<String> = scale.numbers().into_iter().map(|number| format!("{:.digits$} %", 100.0 * number)).collect();
    let middle = bounds.get(bounds.len() / 2).map(|bound| number(*bound));
    let below =
        [bounds.first().map(|bound| format!("≤ {}", number(*bound))), middle, bounds.last().map(|bound| format!("> {}", number(*bound)))];
    plot(&format!("{name}: both distributions"), &numbers, &below.into_iter().flatten().collect::<Vec<_>>(), &drawn)
}
