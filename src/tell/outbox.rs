//! The alerts that are not delivered yet: their keys, and the ring of them. Pure.
//!
//! An alert is news of a transition, not of a state: the caller enqueues when a decision is made, not when it is looked at again. The ring
//! is in status, so a crash between the decision and its delivery loses nothing; receivers drop duplicates by the key.

use super::meaning::of;
use crate::api::{DecisionRecord, OutboxEntry, Outcome};

/// Entries kept in status (the schema's limit).
pub const RING: usize = 20;

/// The key of a transition: `<uid>/<epoch>/<outcome>/<reason>`, and for holds and pauses the day (UTC) behind it.
///
/// Several holds can follow each other at one epoch, so the reason is in it. The day makes the daily reminder of a hold that lasts another
/// alert than the first, and at the same time bounds a hold that comes and goes to one alert a day.
pub fn key(uid: &str, record: &DecisionRecord) -> String {
    let key = format!("{uid}/{}/{:?}/{}", record.epoch, record.outcome, record.reason);
    match record.outcome {
        Outcome::Held | Outcome::Paused => format!("{key}/{}", record.at.0.strftime("%F")),
        _ => key,
    }
}

/// Adds an alert for a decision. Returns whether it did: not if the decision [does not alert](of), if there is no sink, or if the key is
/// there already. A full ring loses its least severe entry, of those the oldest.
pub fn enqueue(outbox: &mut Vec<OutboxEntry>, key: String, sinks: &[String], record: &DecisionRecord) -> bool {
    if of(record).alert.is_none() || sinks.is_empty() || outbox.iter().any(|e| e.key == key) {
        return false;
    }
    outbox.push(OutboxEntry { key, sinks: sinks.to_vec(), record: record.clone(), attempts: 0, error: None });
    while outbox.len() > RING {
        let least = outbox.iter().enumerate().min_by_key(|(i, e)| (of(&e.record).alert.map(|alert| alert.severity), *i)).map(|(i, _)| i);
        outbox.remove(least.unwrap_or_default());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::tell::text::tests::{drift_rollback, held, promoted};

    fn sinks(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_transition_is_one_entry() {
        let mut outbox = Vec::new();
        let record = drift_rollback();
        let key = key("u-1", &record);
        assert_eq!(key, "u-1/7/RolledBack/AnalysisFailed");
        assert!(enqueue(&mut outbox, key.clone(), &sinks(&["default", "oncall"]), &record));
        assert!(!enqueue(&mut outbox, key, &sinks(&["default"]), &record));
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox[0].sinks, ["default", "oncall"]);
        assert_eq!((outbox[0].attempts, outbox[0].error.as_ref()), (0, None));
    }

    #[test]
    fn another_epoch_or_another_reason_is_another_key() {
        let first = held(Reason::DeadlineExceeded);
        let second = DecisionRecord { epoch: first.epoch + 1, ..first.clone() };
        let third = held(Reason::HoldLimit);
        let keys: std::collections::BTreeSet<_> = [&first, &second, &third].iter().map(|r| key("u", r)).collect();
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn a_hold_is_reported_again_the_next_day_and_not_sooner() {
        let at = |text: &str| {
            let mut record = held(Reason::DeadlineExceeded);
            record.at.0 = text.parse().unwrap();
            key("u", &record)
        };
        assert_eq!(at("2026-11-23T14:00:00Z"), "u/7/Held/DeadlineExceeded/2026-11-23");
        assert_eq!(at("2026-11-23T14:00:00Z"), at("2026-11-23T18:00:00Z"));
        assert_ne!(at("2026-11-23T14:00:00Z"), at("2026-11-24T14:00:00Z"));
    }

    #[test]
    fn without_a_sink_nothing_is_kept() {
        let mut outbox = Vec::new();
        assert!(!enqueue(&mut outbox, "k".into(), &[], &drift_rollback()));
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_full_ring_loses_the_least_severe_first() {
        let mut outbox = Vec::new();
        for i in 0..RING {
            let record = if i == 3 { promoted() } else { drift_rollback() };
            assert!(enqueue(&mut outbox, format!("k{i}"), &sinks(&["a"]), &record));
        }
        assert!(enqueue(&mut outbox, "new".into(), &sinks(&["a"]), &drift_rollback()));
        assert_eq!(outbox.len(), RING);
        assert!(!outbox.iter().any(|e| e.key == "k3"), "the promotion went");
        assert!(enqueue(&mut outbox, "newer".into(), &sinks(&["a"]), &drift_rollback()));
        assert!(!outbox.iter().any(|e| e.key == "k0"), "then the oldest rollback");
        assert_eq!(outbox.last().map(|e| e.key.as_str()), Some("newer"));
    }
}
