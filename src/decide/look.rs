//! What a look says to a step: passed, held, or what is missing.

use jiff::{SignedDuration, Timestamp};

use crate::api::{EvidenceReason, MeasureKind, MetricEvidence, Verdict};
use crate::seen::Look;
use crate::state::Run;
use crate::words::time;

/// An intent lives two windows after the end of its evidence, and at least this long, so that a mesh of two-second windows can act.
const INTENT_SECONDS: f64 = 10.0;

/// Whether a look lets the next step begin.
pub(super) fn passes(look: &Look, run: &Run) -> bool {
    if !look.judgement.hold_limit {
        return look.judgement.verdict == Verdict::Pass;
    }
    let fine = |metric: &MetricEvidence| {
        metric.advisory
            || metric.verdict == Verdict::Pass
            || matches!(metric.reason, Some(EvidenceReason::NotGating | EvidenceReason::HoldLimit))
    };
    held(look, run).next().is_none() && look.judgement.metrics.iter().all(fine)
}

/// Metrics whose limit that holds was crossed.
pub(super) fn crossed(look: &Look) -> impl Iterator<Item = &MetricEvidence> {
    let metrics = look.judgement.metrics.iter().filter(|_| look.judgement.hold_limit);
    metrics.filter(|metric| metric.reason == Some(EvidenceReason::HoldLimit) && !metric.advisory)
}

/// Those of them that no person has accepted.
pub(super) fn held<'a>(look: &'a Look, run: &Run) -> impl Iterator<Item = &'a MetricEvidence> {
    crossed(look).filter(|metric| !run.accepted_limits.contains(&metric.metric))
}

/// A threshold that is not within its limits, or of which that is not known.
pub(super) fn open_threshold(look: &Look) -> Option<&MetricEvidence> {
    let open = |metric: &&MetricEvidence| matches!(metric.reason, Some(EvidenceReason::Beyond | EvidenceReason::NoValue));
    look.judgement.metrics.iter().filter(|metric| !metric.advisory).find(open)
}

/// What keeps the versions from being compared, until it is within its limits again.
pub(super) fn incomparable(look: &Look) -> Option<String> {
    let value = |metric: &&MetricEvidence| {
        let kind = metric.measure.as_ref().map(|measure| measure.kind);
        metric.reason == Some(EvidenceReason::NotComparable) && matches!(kind, Some(MeasureKind::AtMost | MeasureKind::AtLeast))
    };
    let open = look.judgement.metrics.iter().filter(|metric| !metric.advisory).filter(value);
    let open: Vec<&str> = open.map(|metric| metric.message.as_str()).collect();
    (!open.is_empty()).then(|| open.join("; "))
}

/// Until when a look may be acted on.
pub(super) fn expiry(look: &Look, run: &Run) -> Option<Timestamp> {
    let interval = run.plan.analysis.interval.as_secs_f64().max(look.evidence.interval_seconds);
    let life = SignedDuration::try_from_secs_f64((2.0 * interval).max(INTENT_SECONDS)).ok()?;
    look.window_end?.checked_add(life).ok()
}

/// What a step still waits for.
pub(super) fn waiting_for(look: Option<&Look>) -> String {
    let Some(look) = look else { return "no window was counted yet".to_owned() };
    let metrics = look.judgement.metrics.iter().filter(|metric| !metric.advisory);
    let open = metrics.filter(|metric| metric.verdict != Verdict::Pass && metric.reason != Some(EvidenceReason::NotGating));
    let open: Vec<String> = open
        .into_iter()
        .map(|metric| {
            let left = metric.forecast.as_ref().and_then(|forecast| forecast.minutes_to_pass);
            let left = left.map_or_else(String::new, |minutes| format!(" (about {} more)", time(minutes * 60.0)));
            format!("{}{left}", metric.message)
        })
        .collect();
    if open.is_empty() { "the newest look is too old".to_owned() } else { format!("not enough evidence yet: {}", open.join("; ")) }
}

/// What the metrics said as they passed.
pub(super) fn passed_words(look: &Look) -> String {
    let said: Vec<_> = look.judgement.metrics.iter().filter(|metric| !metric.advisory).map(|metric| metric.message.clone()).collect();
    if said.is_empty() { "the hold is over".to_owned() } else { said.join("; ") }
}
