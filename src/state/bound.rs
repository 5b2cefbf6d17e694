//! Status has a bound: what is known elsewhere, or of interest to few, goes first.

use crate::api::{MetricEvidence, Outcome, RolloutStatus};

/// Most bytes of a status, as JSON (design section 2).
pub(super) const MOST_BYTES: usize = 32 * 1024;
/// What stays of a message of the past.
const SHORT: usize = 120;
/// What stays of the sentence of an alert that waits.
const SENTENCE: usize = 240;

/// Makes a status that is too large smaller, step by step, until it fits: first the numbers in alerts that wait (the newest ones last), then
/// long messages of past rollouts, then details of the newest look, then long sentences of alerts that wait, then those of them that are not
/// about a rollback.
pub fn bounded(mut status: RolloutStatus) -> RolloutStatus {
    let fits = |status: &RolloutStatus| serde_json::to_vec(status).is_ok_and(|json| json.len() <= MOST_BYTES);
    if fits(&status) {
        return status;
    }
    for at in 0..status.outbox.len() {
        if let Some(entry) = status.outbox.get_mut(at) {
            // The sentence of the record quotes the metric that decided.
            entry.record.why.clear();
        }
        if fits(&status) {
            return status;
        }
    }
    status.history.iter_mut().for_each(|entry| shorten(&mut entry.message));
    status.refused.iter_mut().for_each(|entry| shorten(&mut entry.message));
    if fits(&status) {
        return status;
    }
    status.evidence.iter_mut().chain(status.decision.iter_mut().flat_map(|decision| &mut decision.why)).for_each(plain);
    for at in 0..status.outbox.len() {
        if fits(&status) {
            return status;
        }
        if let Some(entry) = status.outbox.get_mut(at) {
            entry.record.load = None;
            cut_to(&mut entry.record.message, SENTENCE);
        }
    }
    while !fits(&status) {
        let spoken = |outcome: Outcome| matches!(outcome, Outcome::RolledBack | Outcome::Aborted);
        let Some(at) = status.outbox.iter().position(|entry| !spoken(entry.record.outcome)) else { break };
        status.outbox.remove(at);
    }
    status
}

fn shorten(message: &mut String) {
    cut_to(message, SHORT);
}

fn cut_to(message: &mut String, most: usize) {
    if message.chars().count() > most {
        *message = message.chars().take(most).chain("…".chars()).collect();
    }
}

fn plain(metric: &mut MetricEvidence) {
    (metric.query, metric.forecast, metric.noise, metric.distances) = (None, None, None, None);
    for arm in metric.stable.iter_mut().chain(&mut metric.canary) {
        arm.quantiles.clear();
        arm.text.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{HistoryEntry, OutboxEntry, Reason};
    use crate::tell::text::tests::{drift_rollback, held, promoted};

    fn entry(record: crate::api::DecisionRecord, key: usize) -> OutboxEntry {
        OutboxEntry {
            key: format!("uid/{key}/{:?}", record.outcome),
            sinks: vec!["default".into()],
            record,
            ended_at: None,
            attempts: 9,
            error: Some("503".into()),
        }
    }

    fn size(status: &RolloutStatus) -> usize {
        serde_json::to_vec(status).unwrap().len()
    }

    /// A checkpoint of so many bytes, and as many alerts as the ring holds.
    fn full(checkpoint: usize) -> RolloutStatus {
        let records = |at: usize| if at.is_multiple_of(5) { drift_rollback() } else { held(Reason::DeadlineExceeded) };
        let waiting = (0..20).map(|at| {
            let mut record = records(at);
            record.why = drift_rollback().why;
            entry(record, at)
        });
        RolloutStatus {
            decision: Some(promoted()),
            evidence: drift_rollback().why,
            checkpoint: Some(serde_json::json!({"run": "x".repeat(checkpoint)})),
            outbox: waiting.collect(),
            ..RolloutStatus::default()
        }
    }

    #[test]
    fn a_status_that_fits_stays_as_it_is() {
        let small = RolloutStatus { outbox: vec![entry(drift_rollback(), 1)], ..RolloutStatus::default() };
        assert_eq!(bounded(small.clone()), small);
    }

    #[test]
    fn numbers_in_waiting_alerts_go_before_any_alert_does() {
        let status = full(6_000);
        assert!(size(&status) > MOST_BYTES, "{}", size(&status));
        let found = bounded(status.clone());
        assert!(size(&found) <= MOST_BYTES, "{}", size(&found));
        assert_eq!(found.outbox.len(), 20);
        assert_eq!((found.evidence.len(), &found.checkpoint), (status.evidence.len(), &status.checkpoint));
        assert!(found.outbox[0].record.why.is_empty() && !found.outbox[19].record.why.is_empty(), "the newest keep theirs");
        assert_eq!(bounded(found.clone()), found);
    }

    #[test]
    fn alerts_about_rollbacks_are_the_last_to_go() {
        let mut status = full(22_000);
        let version = promoted().canary.unwrap();
        let long = HistoryEntry {
            canary: version.clone(),
            stable: version,
            outcome: Outcome::RolledBack,
            reason: Reason::AnalysisFailed.into(),
            message: "ü".repeat(600),
            started: promoted().at,
            ended: promoted().at,
            exposure: None,
        };
        status.history = vec![long; 10];
        let found = bounded(status);
        assert!(size(&found) <= MOST_BYTES, "{}", size(&found));
        assert_eq!(found.history[0].message.chars().count(), SHORT + 1);
        let kept = found.outbox.iter().filter(|entry| entry.record.outcome == Outcome::RolledBack).count();
        assert_eq!(kept, 4, "every rollback is still told");
        assert!(found.outbox.len() < 20);
    }
}
