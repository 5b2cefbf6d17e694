//! The alerts that are not delivered yet: their keys, and the ring of them; and the alerts whose states still last. Pure.
//!
//! An alert is news of a transition, not of a state: the caller enqueues when a decision is made, not when it is looked at again. The ring
//! is in status, so a crash between the decision and its delivery loses nothing; receivers drop duplicates by the key.
//!
//! An entry holds what an alert says, once: no statistics, no query, no number beside the text of it. `status.decision` has all of it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::meaning::{lasts, of};
use crate::api::names::condition;
use crate::api::{DecisionRecord, MetricEvidence, OpenAlert, OutboxEntry, Outcome, RolloutStatus};
use crate::state::is_running;
use crate::words::cut;

/// Entries kept in status (the schema's limit).
pub const RING: usize = 20;
/// Open alerts kept in status (the schema's limit).
const OPEN: usize = 8;
/// Longest sentence of a record that waits, in bytes.
const SENTENCE: usize = 2_000;
/// What stands behind the key of an alert when its state is over.
const ENDED: &str = "/ended";

/// Who gets alerts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receivers {
    /// Of every alert.
    pub sinks: Vec<String>,
    /// Those that can close an alert: they are notified of its end too.
    pub of_ends: Vec<String>,
}

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
    if of(record).alert.is_none() {
        return false;
    }
    push(outbox, OutboxEntry { key, sinks: sinks.to_vec(), record: brief(record), ended_at: None, attempts: 0, error: None })
}

fn push(outbox: &mut Vec<OutboxEntry>, entry: OutboxEntry) -> bool {
    if entry.sinks.is_empty() || outbox.iter().any(|known| known.key == entry.key) {
        return false;
    }
    outbox.push(entry);
    while outbox.len() > RING {
        let rank = |entry: &OutboxEntry| (entry.ended_at.is_none(), of(&entry.record).alert.map(|alert| alert.severity));
        let least = outbox.iter().enumerate().min_by_key(|(i, entry)| (rank(entry), *i)).map(|(i, _)| i);
        outbox.remove(least.unwrap_or_default());
    }
    true
}

/// What an alert says of a decision: each number once.
fn brief(record: &DecisionRecord) -> DecisionRecord {
    let mut record = DecisionRecord { message: cut(&record.message, SENTENCE), next: cut(&record.next, SENTENCE), ..record.clone() };
    // What decides nothing has no place in an alert.
    record.why.retain(|metric| !metric.advisory);
    record.why.iter_mut().for_each(numbers_once);
    // A rollout that has ended has commands of its own.
    if matches!(record.outcome, Outcome::RolledBack | Outcome::Failed | Outcome::Aborted) {
        record.next = String::new();
    }
    record
}

fn numbers_once(metric: &mut MetricEvidence) {
    (metric.query, metric.forecast, metric.noise) = (None, None, None);
    metric.message = cut(&metric.message, SENTENCE);
    for arm in metric.stable.iter_mut().chain(&mut metric.canary) {
        arm.text = String::new();
        // The table shows the last one.
        arm.quantiles = arm.quantiles.split_off(arm.quantiles.len().saturating_sub(1));
    }
    if let Some(effect) = &mut metric.effect {
        (effect.by_chance, effect.text) = (None, String::new());
    }
    // Older statuses say by distances that it is drift; others have a measure.
    if metric.measure.is_some() {
        metric.distances = None;
    }
}

/// Notes an alert whose state lasts: its sinks are notified when it ends.
pub fn open(alerting: &mut Vec<OpenAlert>, key: String, sinks: &[String], record: &DecisionRecord) {
    if of(record).alert.is_none() || !lasts(record.outcome) || sinks.is_empty() || alerting.iter().any(|known| known.key == key) {
        return;
    }
    let (message, next) = (String::new(), String::new());
    let record = DecisionRecord { message, next, why: Vec::new(), load: None, exposure: None, by: None, ..record.clone() };
    // The same state on another day is the same alert.
    alerting.retain(|known| (known.record.outcome, &known.record.reason) != (record.outcome, &record.reason));
    alerting.push(OpenAlert { key, sinks: sinks.to_vec(), record });
    let excess = alerting.len().saturating_sub(OPEN);
    alerting.drain(..excess);
}

/// Alerts whose states are over by what status says now become entries that say so.
pub fn settle(status: &mut RolloutStatus, now: Timestamp) {
    let (still, over): (Vec<OpenAlert>, Vec<OpenAlert>) =
        std::mem::take(&mut status.alerting).into_iter().partition(|open| stands(status, &open.record));
    status.alerting = still;
    for entry in ends(over, now) {
        push(&mut status.outbox, entry);
    }
}

/// The entries that say that these alerts are over.
pub fn ends(over: Vec<OpenAlert>, now: Timestamp) -> impl Iterator<Item = OutboxEntry> {
    over.into_iter().map(move |OpenAlert { key, sinks, record }| {
        let ended_at = Some(Time(now));
        OutboxEntry { key: key + ENDED, sinks, record, ended_at, attempts: 0, error: None }
    })
}

/// The key of the alert whose end this one reports.
pub fn begun(key: &str) -> Option<&str> {
    key.strip_suffix(ENDED)
}

/// Whether the state of this decision lasts. Without metrics nothing is known of what they showed.
fn stands(status: &RolloutStatus, record: &DecisionRecord) -> bool {
    let running = is_running(status);
    let spoken = |condition: &&Condition| running || condition.type_ != condition::METRICS_AVAILABLE;
    let bad = |condition: &Condition| match condition.type_.as_str() {
        condition::STALLED | condition::PAUSED => condition.status == "True",
        condition::RECONCILING => false,
        _ => condition.status == "False",
    };
    let mut conditions = status.conditions.iter().filter(spoken).filter(|condition| bad(condition));
    conditions.any(|condition| {
        let blind = condition.type_ == condition::METRICS_AVAILABLE && record.outcome == Outcome::Held && of_metrics(record);
        condition.reason == record.reason.as_str() || blind
    })
}

/// Whether it is metrics that brought this about.
fn of_metrics(record: &DecisionRecord) -> bool {
    use crate::api::Reason as R;
    matches!(record.reason.known(), Some(R::DeadlineExceeded | R::HoldLimit | R::GlobalIncident | R::Bypass | R::ShareMismatch))
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
    fn an_entry_is_small_and_says_what_the_record_says() {
        use crate::tell::text::Text;
        for record in [drift_rollback(), promoted(), held(Reason::DeadlineExceeded)] {
            let mut outbox = Vec::new();
            enqueue(&mut outbox, "k".into(), &sinks(&["a"]), &record);
            let kept = &outbox[0].record;
            let said = |record: &DecisionRecord| Text::of("ml", "fraud", record).message;
            assert_eq!(said(kept), said(&record), "{:?}", record.outcome);
            let size = |record: &DecisionRecord| serde_json::to_vec(record).unwrap().len();
            assert!(size(kept) <= size(&record));
            assert!(size(kept) + 200 * kept.why.len() <= size(&record), "{} of {}", size(kept), size(&record));
        }
    }

    fn status(conditions: &[(&str, &str, &str)], running: bool) -> RolloutStatus {
        let condition = |(kind, status, reason): &(&str, &str, &str)| serde_json::json!({"type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-11-23T14:00:00Z"});
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        let checkpoint = if running { serde_json::json!({"run": {}}) } else { serde_json::json!({"run": null}) };
        serde_json::from_value(serde_json::json!({"conditions": conditions, "checkpoint": checkpoint})).unwrap()
    }

    /// The entries for the end of a state when status says this.
    fn ends(reason: Reason, outcome: Outcome, conditions: &[(&str, &str, &str)], running: bool) -> Vec<String> {
        let mut status = status(conditions, running);
        let record = DecisionRecord { outcome, ..held(reason) };
        open(&mut status.alerting, key("u", &record), &sinks(&["pager"]), &record);
        settle(&mut status, "2026-11-23T14:12:11Z".parse().unwrap());
        assert_eq!(status.alerting.len() + status.outbox.len(), 1);
        status.outbox.iter().map(|entry| entry.key.clone()).collect()
    }

    #[test]
    fn the_end_of_a_state_is_one_entry_and_what_lasts_has_none() {
        let missing = [("Ready", "False", "MetricsUnavailable"), ("MetricsAvailable", "False", "MetricsUnavailable")];
        let back = [("Ready", "False", "HoldTime"), ("MetricsAvailable", "True", "AsPlanned")];
        let key = "u/7/Held/MetricsUnavailable/2026-11-23/ended";
        assert_eq!(ends(Reason::MetricsUnavailable, Outcome::Held, &missing, true), Vec::<String>::new());
        assert_eq!(ends(Reason::MetricsUnavailable, Outcome::Held, &back, true), [key]);
        // Without metrics nobody knows whether a limit is crossed still.
        assert_eq!(ends(Reason::HoldLimit, Outcome::Held, &missing, true), Vec::<String>::new());
        assert_eq!(ends(Reason::HoldLimit, Outcome::Held, &back, true).len(), 1);
        // What was said last of a rollout that has ended stands in its conditions.
        assert_eq!(ends(Reason::MetricsUnavailable, Outcome::Held, &[missing[1]], false).len(), 1);
        let asked = [("Ready", "False", "ApprovalRequired"), ("Paused", "True", "ApprovalRequired")];
        assert_eq!(ends(Reason::ApprovalRequired, Outcome::Paused, &asked, true), Vec::<String>::new());
        assert_eq!(ends(Reason::ApprovalRequired, Outcome::Paused, &back, true).len(), 1);
        assert_eq!(ends(Reason::ApprovalRequired, Outcome::Paused, &missing, true).len(), 1, "approved, whatever the metrics say");
    }

    #[test]
    fn what_does_not_last_or_has_nobody_to_tell_is_not_open() {
        let mut alerting = Vec::new();
        open(&mut alerting, "a".into(), &sinks(&["pager"]), &drift_rollback());
        open(&mut alerting, "b".into(), &[], &held(Reason::DeadlineExceeded));
        open(&mut alerting, "c".into(), &sinks(&["pager"]), &held(Reason::HoldTime));
        assert!(alerting.is_empty(), "{alerting:?}");
        let next_day = |day: &str| {
            let mut record = held(Reason::DeadlineExceeded);
            record.at.0 = format!("{day}T14:00:00Z").parse().unwrap();
            record
        };
        for day in ["2026-11-23", "2026-11-24"] {
            open(&mut alerting, key("u", &next_day(day)), &sinks(&["pager"]), &next_day(day));
        }
        assert_eq!(alerting.iter().map(|open| open.key.as_str()).collect::<Vec<_>>(), ["u/7/Held/DeadlineExceeded/2026-11-24"]);
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
