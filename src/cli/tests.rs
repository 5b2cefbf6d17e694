//! Screens of several Rollouts, and of a decision, as a whole at 80 and 120 columns.

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{explain, history, list};
use crate::api::{DecisionRecord, HistoryEntry, MeasureKind, Outcome, Rollout};
use crate::record::{Change, Measured, News, Planned, Point, Record, Run, Window};
use crate::view::tests::cases::{cases, now};
use crate::view::{LONGEST, Terminal};

fn terminal(columns: usize) -> Terminal {
    Terminal { columns, colour: false }
}

fn rollout(name: &str) -> Rollout {
    cases().into_iter().find(|case| case.name == name).unwrap().rollout
}

fn past() -> Vec<HistoryEntry> {
    let version = |name: &str| json!({"host": "fraud", "subset": name, "revision": format!("{name}-5b4d8f7c6d")});
    let entry = |canary: &str, outcome: &str, reason: &str, message: &str, exposure: serde_json::Value| {
        json!({"canary": version(canary), "stable": version("v1"), "outcome": outcome, "reason": reason, "message": message,
               "started": "2026-01-01T10:00:00Z", "ended": "2026-01-01T10:33:00Z", "exposure": exposure})
    };
    let entries = json!([
        entry(
            "v4",
            "RolledBack",
            "CanaryUnavailable",
            "v4 at 20 % lost all of its pods a second time",
            json!({"canaryRequests": 3_120, "stableRequests": 59_204, "canaryErrors": 318, "seconds": 432})
        ),
        entry(
            "v3",
            "Promoted",
            "AsPlanned",
            "v3 is stable now: it served everybody for 5m",
            json!({"canaryRequests": 48_120, "stableRequests": 51_880, "canaryErrors": 101, "seconds": 1_980})
        ),
        entry("v2", "Aborted", "Aborted", "v2 at 5 % was aborted by kim: scores look wrong", json!(null)),
    ]);
    serde_json::from_value(entries).unwrap()
}

#[test]
fn a_fleet_shows_what_failed_first_and_then_what_waits() {
    let mut fleet: Vec<Rollout> = cases()
        .into_iter()
        .map(|case| {
            let mut rollout = case.rollout;
            rollout.metadata.name = Some(case.name.replace('_', "-"));
            rollout
        })
        .collect();
    list::sort(&mut fleet);
    for columns in [80, 120] {
        insta::assert_snapshot!(format!("fleet_{columns}"), list::table(&fleet, true, now(), &terminal(columns)));
    }
}

#[test]
fn past_rollouts_are_lines_with_their_outcome_and_who_was_exposed() {
    for columns in [80, 120] {
        insta::assert_snapshot!(format!("history_{columns}"), history::table(&past(), now(), &terminal(columns)));
    }
}

#[test]
fn a_decision_is_explained_from_what_happened_to_the_queries() {
    for case in cases().into_iter().filter(|case| case.rollout.status.as_ref().is_some_and(|status| status.decision.is_some())) {
        for columns in [80, 120] {
            let text = explain::text(&case.rollout, (None, None), None, &terminal(columns), now()).unwrap();
            insta::assert_snapshot!(format!("explain_{}_{columns}", case.name), text);
        }
    }
    for name in ["rolled_back_by_drift", "holding", "promoted", "shadow"] {
        insta::assert_snapshot!(format!("explain_{name}_markdown"), explain::markdown(&rollout(name), now()).unwrap());
    }
}

/// Everything but what is made to be pasted is read at one glance.
#[test]
fn no_sentence_of_an_explanation_has_more_than_25_words() {
    let mut faults = Vec::new();
    for case in cases() {
        let text = explain::text(&case.rollout, (None, None), None, &terminal(400), now()).unwrap();
        let prose = text.split("queries for Prometheus").next().unwrap_or_default();
        let sentences = prose.lines().filter(|line| !line.contains("   ") || line.split("   ").count() < 4);
        let sentences = sentences.flat_map(|line| line.split(". ")).flat_map(|part| part.split("; "));
        let long = sentences.filter(|sentence| sentence.split_whitespace().count() > LONGEST);
        faults.extend(long.map(|sentence| format!("{}: {sentence}", case.name)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_way_a_rollout_ends_is_a_line_of_its_history() {
    let entries = cases().into_iter().filter_map(|case| {
        let decision = case.rollout.status?.decision?;
        let ended = matches!(
            decision.outcome,
            Outcome::Promoted | Outcome::Passed | Outcome::Failed | Outcome::RolledBack | Outcome::Aborted | Outcome::Lowered
        );
        let (canary, stable) = (decision.canary.filter(|_| ended)?, decision.stable?);
        Some(HistoryEntry {
            canary,
            stable,
            outcome: decision.outcome,
            reason: decision.reason,
            message: decision.message,
            started: serde_json::from_value(json!("2026-01-02T02:31:05Z")).unwrap(),
            ended: decision.at,
            exposure: decision.exposure,
        })
    });
    let entries: Vec<HistoryEntry> = entries.collect();
    for columns in [80, 120] {
        insta::assert_snapshot!(format!("history_of_every_end_{columns}"), history::table(&entries, now(), &terminal(columns)));
    }
}

#[test]
fn one_metric_is_explained_alone_and_an_unknown_one_is_named() {
    let rollout = rollout("rolled_back_by_drift");
    let text = explain::text(&rollout, (None, Some("drift")), None, &terminal(80), now()).unwrap();
    assert!(text.contains("because predictions shifted") && text.contains("TV 0.296") && !text.contains("errors"), "{text}");
    let failure = explain::text(&rollout, (None, Some("gpu")), None, &terminal(80), now()).unwrap_err();
    assert_eq!((failure.message.as_str(), failure.fix.as_str()), ("no metric gpu", "one of errorRate, latency, drift"));
}

#[test]
fn a_past_rollout_is_explained_with_what_is_kept_of_it() {
    let mut rollout = rollout("rolled_back_by_drift");
    rollout.status.as_mut().unwrap().history = past();
    let text = explain::text(&rollout, (Some("v4"), None), None, &terminal(80), now()).unwrap();
    insta::assert_snapshot!("explain_past", text);
    let failure = explain::text(&rollout, (Some("v9"), None), None, &terminal(80), now()).unwrap_err();
    assert_eq!(failure.message, "ml/fraud keeps no rollout of v9");
    assert!(failure.fix.contains("v2 (m9nrqqfxj), v4 (v4-5b4d8f7c6d)"), "{}", failure.fix);
}

/// The record of a rollout of v2 that ended as the newest decision of this Rollout did.
pub(super) fn record(rollout: &Rollout) -> Record {
    let decision = rollout.status.as_ref().unwrap().decision.clone().unwrap();
    let ended = decision.at.0;
    let before = |seconds: i64| ended - SignedDuration::from_secs(seconds);
    let started = DecisionRecord { outcome: Outcome::Started, why: Vec::new(), weight: 0, step: None, ..decision.clone() };
    let point = |difference: f64| Some(Point { difference: Some(difference), ..Point::default() });
    let window = |at: i64| Window {
        start: before(30 * (at + 1)),
        end: before(30 * at),
        step: 0,
        weight: 5,
        stable: 1_900,
        canary: 100,
        joined: 1,
        points: vec![point(0.001 * at as f64)],
    };
    let mut record = Record::new("u-1");
    record.note(News {
        head: Run {
            started: before(300),
            stable: decision.stable.clone().unwrap(),
            canary: decision.canary.clone().unwrap(),
            interval: 30.0,
            steps: vec![Planned { name: "5".to_owned(), weight: 5, traffic: None }],
            metrics: vec![Measured { name: "errorRate".to_owned(), kind: MeasureKind::Errors, unit: None, advisory: false }],
            changes: Vec::new(),
            windows: Vec::new(),
            distributions: Vec::new(),
            decisions: Vec::new(),
            exposure: None,
            end: None,
        },
        changes: vec![
            Change { at: before(290), step: Some(0), weight: 5, traffic: None },
            Change { at: ended, step: None, weight: 0, traffic: None },
        ],
        windows: (0..8).rev().map(window).collect(),
        distributions: Vec::new(),
        decisions: vec![DecisionRecord { at: Time(before(300)), ..started }, decision],
        history: Vec::new(),
    });
    record
}

#[test]
fn the_course_of_a_rollout_is_its_weights_and_decisions_with_the_requests_so_far() {
    let record = record(&rollout("rolled_back_by_drift"));
    for columns in [80, 120] {
        let text = history::course(("ml", "fraud"), record.newest().unwrap(), &terminal(columns));
        insta::assert_snapshot!(format!("course_{columns}"), text);
    }
}

#[test]
fn a_past_rollout_that_was_recorded_is_explained_with_its_numbers() {
    let mut rollout = rollout("rolled_back_by_drift");
    let record = record(&rollout);
    let status = rollout.status.as_mut().unwrap();
    // Another one has ended since.
    let (decision, newer) = (status.decision.as_mut().unwrap(), past().remove(0));
    let revision = decision.canary.as_ref().unwrap().revision.clone();
    (decision.canary, decision.why) = (Some(newer.canary), Vec::new());
    let text = explain::text(&rollout, (Some(&revision), None), Some(&record), &terminal(80), now()).unwrap();
    insta::assert_snapshot!("explain_recorded", text);
}
