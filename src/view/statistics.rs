//! The statistics of a metric, for those who want to check the table.

use super::Fact;
use super::rows::label;
use super::text::visible;
use crate::api::{MeasureKind, MetricEvidence, Quantile, Verdict};
use crate::words::{number, percent, time, whole};

/// What stands behind the numbers of a metric, a line for each thought.
pub fn statistics(metric: &MetricEvidence) -> Fact {
    let kind = metric.measure.as_ref().map(|measure| measure.kind);
    let mut lines = Vec::new();
    if let (Some(measure), Some(effect), Some(MeasureKind::Latency)) = (&metric.measure, &metric.effect, kind) {
        let unit = measure.unit.map_or_else(String::new, |unit| format!(" {}", unit.symbol()));
        let above = measure.above.map_or_else(String::new, |above| format!(" slower than {}{unit}", number(above)));
        lines.push(format!("the difference is of requests{above}: {:+.3} points", 100.0 * effect.value));
    }
    for (arm, value) in [("stable", &metric.stable), ("canary", &metric.canary)] {
        if let Some(value) = value.as_ref().filter(|value| !value.quantiles.is_empty()) {
            let quantiles: Vec<String> = value.quantiles.iter().map(quantile).collect();
            lines.push(format!("{arm}: {}", quantiles.join(", ")));
        } else if let Some(value) = value.as_ref().filter(|value| !value.text.is_empty()) {
            lines.push(format!("{arm}: {}", visible(&value.text)));
        }
    }
    if let Some(chance) = metric.effect.as_ref().and_then(|effect| effect.by_chance) {
        let chance = if metric.distances.is_some() { format!("{chance:.3}") } else { format!("{:.3} points", 100.0 * chance) };
        lines.push(format!("stable against itself: {chance}"));
    }
    if let Some(distances) = &metric.distances {
        let (tv, js, psi) = (distances.total_variation, distances.jensen_shannon, distances.psi);
        lines.push(format!("total variation {tv:.3}, Jensen-Shannon {js:.3}, PSI {psi:.3}"));
    }
    if let Some(noise) = &metric.noise {
        let windows = whole(i64::from(noise.windows));
        lines.push(format!("noise: {} times that of independent requests, from {windows} windows of stable", noise.dispersion));
    }
    if let (Some(evidence), Some(at)) = (metric.fail_evidence, metric.fail_at) {
        lines.push(format!("evidence of harm: {}, rolls back at {}", number(round(evidence)), number(round(at))));
    }
    lines.extend(forecast(metric, kind));
    if lines.is_empty() && !metric.message.is_empty() {
        lines.extend(super::clauses(&metric.message).lines().map(str::to_owned));
    }
    Fact::new(&label(&metric.metric, kind), lines.join("\n"))
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn quantile(quantile: &Quantile) -> String {
    let bucket = match (quantile.above, quantile.up_to) {
        (Some(above), Some(up_to)) => format!("{}-{}", number(above), number(up_to)),
        (Some(above), None) => format!("> {}", number(above)),
        (None, Some(up_to)) => format!("<= {}", number(up_to)),
        (None, None) => "unknown".to_owned(),
    };
    format!("p{:.0} {bucket}", 100.0 * quantile.quantile)
}

/// How long it takes, and what can be found.
fn forecast(metric: &MetricEvidence, kind: Option<MeasureKind>) -> Vec<String> {
    let Some(forecast) = metric.forecast.as_ref().filter(|_| metric.verdict == Verdict::Inconclusive) else { return Vec::new() };
    let mut lines = Vec::new();
    match forecast.minutes_to_pass {
        Some(minutes) if minutes > 0.0 => lines.push(format!("a healthy canary passes in about {}", time(60.0 * minutes))),
        Some(_) => {}
        None => lines.push("a healthy canary never passes at this traffic".to_owned()),
    }
    if let Some(smallest) = forecast.smallest_found {
        let found = match kind {
            Some(MeasureKind::Latency) => format!("{} slower", percent(smallest)),
            Some(MeasureKind::Classes | MeasureKind::Scores) => format!("a distance of {smallest:.3}"),
            _ => percent(smallest),
        };
        lines.push(format!("smallest regression that the rest of the plan finds: {found}"));
    }
    lines
}
