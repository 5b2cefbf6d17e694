//! Evidence to rows.

use super::text::visible;
use super::{Requests, Row, Scale, Value, View, Word};
use crate::api::{ArmValue, EvidenceReason, Measure, MeasureKind, MetricEvidence, Quantile, Verdict};
use crate::say::counts_in;
use crate::words::number;

impl View {
    /// The same with these metrics alone.
    #[must_use]
    pub fn with_metrics(mut self, metrics: &[&MetricEvidence]) -> Self {
        (self.rows, self.footnotes) = (Vec::new(), Vec::new());
        self.shows(metrics.iter().copied());
        self
    }

    /// Shows these metrics.
    pub(super) fn shows<'a>(&mut self, evidence: impl IntoIterator<Item = &'a MetricEvidence>) {
        for metric in evidence {
            let mut row = row(metric);
            if let (Some(Measure { kind: MeasureKind::Latency, above: Some(above), unit, .. }), Some(_)) = (&metric.measure, row.difference)
            {
                let unit = unit.map_or_else(String::new, |unit| format!(" {}", unit.symbol()));
                row.mark = self.marked(format!("requests slower than {}{unit}", number(*above)));
            }
            self.footnotes.extend(remarks(metric, &row));
            self.rows.push(row);
        }
        self.footnotes = grouped(std::mem::take(&mut self.footnotes));
    }

    /// The number of this footnote, which is new or there already.
    fn marked(&mut self, text: String) -> usize {
        let marked: Vec<&String> = self.footnotes.iter().filter(|note| note.starts_with('*')).collect();
        if let Some(at) = marked.iter().position(|note| note.trim_start_matches('*').trim_start() == text) {
            return at + 1;
        }
        let mark = marked.len() + 1;
        self.footnotes.push(format!("{} {text}", "*".repeat(mark)));
        mark
    }
}

/// What must be known beside the numbers of this metric.
fn remarks(metric: &MetricEvidence, row: &Row) -> Vec<String> {
    let mut notes = Vec::new();
    let label = &row.label;
    match (metric.reason, &metric.measure) {
        (Some(EvidenceReason::NotGating), _) if row.canary.is_some() => {
            notes.push(format!("{label}: nothing can be proved at this traffic, so it does not decide here"));
        }
        (
            Some(
                EvidenceReason::Beyond
                | EvidenceReason::HoldLimit
                | EvidenceReason::FailLimit
                | EvidenceReason::NoValue
                | EvidenceReason::NotComparable,
            ),
            Some(measure),
        ) if matches!(measure.kind, MeasureKind::AtMost | MeasureKind::AtLeast) => {
            notes.extend(said(metric, label));
        }
        (Some(EvidenceReason::Bake), _) => notes.push(format!("{label}: compared with stable before the switch")),
        _ if row.canary.is_none() => notes.extend(said(metric, label)),
        _ => {}
    }
    if let Some(missing) = metric.measure.as_ref().map(|measure| measure.missing).filter(|missing| *missing > 0 && row.canary.is_some()) {
        notes.push(format!("{label}: no data in the newest {missing} windows"));
    }
    if metric.under_unequal_load {
        let part = metric.load_margin.map_or_else(String::new, |part| format!("; it may explain {:.1} points of the limit", 100.0 * part));
        notes.push(format!("{label}: compared at unequal load per pod{part}"));
    }
    if let Some(seconds) = metric.warm_in_seconds {
        notes.push(format!("{label}: the canary's pods may still be cold, a slow-down counts {}", counts_in(seconds)));
    }
    if metric.advisory {
        notes.push(format!("{label}: shown only, decides nothing"));
    }
    notes
}

/// What the judge says of a metric without numbers.
fn said(metric: &MetricEvidence, label: &str) -> Option<String> {
    let message = match metric.message.strip_prefix(&metric.metric).and_then(|rest| rest.strip_prefix(": ")) {
        Some(rest) => format!("{label}: {rest}"),
        None => metric.message.clone(),
    };
    (!message.is_empty()).then(|| super::clauses(&message))
}

/// Marked ones first, in their order; what is said of several metrics is said once: `errors, p99: no window counted yet`.
fn grouped(notes: Vec<String>) -> Vec<String> {
    let (mut marked, others): (Vec<String>, Vec<String>) = notes.into_iter().partition(|note| note.starts_with('*'));
    let mut groups: Vec<(String, String)> = Vec::new();
    for note in others {
        let (label, rest) =
            note.split_once(": ").map_or_else(|| (String::new(), note.clone()), |(label, rest)| (label.into(), rest.into()));
        match groups.iter_mut().find(|(known, said)| *said == rest && !known.is_empty() && !label.is_empty()) {
            Some((known, _)) => *known += &format!(", {label}"),
            None => groups.push((label, rest)),
        }
    }
    marked.extend(groups.into_iter().map(|(label, rest)| if label.is_empty() { rest } else { format!("{label}: {rest}") }));
    marked
}

/// The row of one metric.
fn row(metric: &MetricEvidence) -> Row {
    let measure = metric.measure.as_ref();
    let kind = measure.map(|measure| measure.kind);
    let scale = match kind {
        Some(MeasureKind::Errors | MeasureKind::Latency | MeasureKind::Share) => Scale::Share,
        Some(MeasureKind::Classes) => Scale::TotalVariation,
        Some(MeasureKind::Scores) => Scale::KolmogorovSmirnov,
        Some(MeasureKind::AtMost) => Scale::AtMost,
        Some(MeasureKind::AtLeast) => Scale::AtLeast,
        None if metric.distances.is_some() || metric.effect.is_none() => Scale::Unknown,
        None => Scale::Share,
    };
    let arms = metric.stable.as_ref().zip(metric.canary.as_ref());
    let effect = metric.effect.as_ref();
    Row {
        metric: metric.metric.clone(),
        label: label(&metric.metric, kind),
        kind,
        stable: metric.stable.as_ref().and_then(|arm| value(arm, measure, measure.and_then(|measure| measure.stable_share), scale)),
        canary: metric.canary.as_ref().and_then(|arm| value(arm, measure, measure.and_then(|measure| measure.canary_share), scale)),
        difference: effect.map(|effect| effect.value),
        interval: effect.and_then(|effect| Some([effect.low?, effect.high?])),
        limit: metric.limit,
        scale,
        requests: arms.map(|(stable, canary)| Requests { stable: stable.n, canary: canary.n }),
        verdict: word(metric),
        gates: !metric.advisory && metric.reason != Some(EvidenceReason::NotGating),
        mark: 0,
    }
}

/// What a metric is called in a table. One that has a name of its own keeps it.
pub fn label(name: &str, kind: Option<MeasureKind>) -> String {
    match (name, kind) {
        ("errorRate", _) => "errors".to_owned(),
        ("latency", None | Some(MeasureKind::Latency)) => "p99".to_owned(),
        _ => visible(name),
    }
}

fn value(arm: &ArmValue, measure: Option<&Measure>, share: Option<f64>, scale: Scale) -> Option<Value> {
    if let Some(Quantile { above, up_to, .. }) = arm.quantiles.last() {
        let unit = measure.and_then(|measure| measure.unit).map_or("ms", |unit| unit.symbol());
        return Some(Value::Bucket { above: *above, up_to: *up_to, unit });
    }
    let Some(measure) = measure else { return arm.value.map(if scale == Scale::Share { Value::Share } else { Value::Number }) };
    match (measure.kind, share) {
        (MeasureKind::Classes, Some(share)) => {
            Some(Value::Class { class: measure.class.as_deref().map_or_else(|| "other".to_owned(), visible), share })
        }
        (MeasureKind::Scores, Some(share)) => Some(Value::Above { bound: measure.above.unwrap_or_default(), share }),
        (MeasureKind::Classes | MeasureKind::Scores, None) => None,
        (MeasureKind::AtMost | MeasureKind::AtLeast, _) => arm.value.map(Value::Number),
        (MeasureKind::Errors | MeasureKind::Share | MeasureKind::Latency, _) => arm.value.map(Value::Share),
    }
}

/// Whether it is one value against limits.
fn is_value(metric: &MetricEvidence) -> bool {
    metric.measure.as_ref().is_some_and(|measure| matches!(measure.kind, MeasureKind::AtMost | MeasureKind::AtLeast))
}

fn word(metric: &MetricEvidence) -> Word {
    use EvidenceReason as R;
    match (metric.verdict, metric.reason) {
        (Verdict::Pass, _) => Word::Ok,
        (Verdict::Fail, _) => Word::Worse,
        (_, Some(R::HoldLimit | R::FailLimit | R::Beyond)) => Word::OverLimit,
        (_, Some(R::NoData | R::NoValue)) => Word::NoData,
        (_, Some(R::Calibrating)) => Word::Calibrating,
        (_, Some(R::Bake)) if metric.canary.is_some() => Word::Watched,
        (_, Some(R::NotGating | R::Bake)) => Word::NotJudged,
        (_, Some(R::NotComparable)) if is_value(metric) => Word::OverLimit,
        (_, Some(R::NotComparable)) => Word::NotComparable,
        (_, Some(R::NotEnoughData | R::ColdStart) | None) => Word::Undecided,
    }
}
