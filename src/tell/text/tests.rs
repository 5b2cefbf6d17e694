use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::meaning::of as of_record;
use super::*;
use crate::api::{Actor, Destination, Exposure, Reason, Verdict, Version};
use crate::view::tests::{cases, long};

fn of(subset: &str, revision: &str) -> Option<Version> {
    Some(Version::new("fraud", &Destination::Subset(subset.into()), revision))
}

fn metric(name: &str, verdict: Verdict, message: &str) -> MetricEvidence {
    let n = [2_204, 118];
    let word = format!("{verdict:?}");
    let made = match name {
        "errorRate" if verdict == Verdict::Fail => cases::errors(&word, [0.001_1, 0.102], [8.7, 11.5], [59_204, 3_120]),
        "errorRate" => cases::errors(&word, [0.002_1, 0.0], [-0.9, 1.1], n),
        "latency" => cases::latency(&word, [[100.0, 250.0], [100.0, 250.0]], [0.4, -1.2, 2.0], n),
        _ => cases::drift(&word, [0.032, 0.297], [0.31, 0.16, 0.46], n),
    };
    let [made] = <[MetricEvidence; 1]>::try_from(cases::evidence(serde_json::json!([made]))).unwrap();
    MetricEvidence { metric: name.to_owned(), message: message.to_owned(), ..made }
}

pub(crate) fn promoted() -> DecisionRecord {
    DecisionRecord {
        outcome: Outcome::Promoted,
        reason: Reason::AsPlanned.into(),
        message: "All 4 steps passed, and 100 % was kept for 5m.".into(),
        at: Time("2026-11-23T14:02:11Z".parse().unwrap()),
        epoch: 6,
        canary: of("v2", "66f7c9d8b4"),
        stable: of("v1", "5b4d8f7c6d"),
        step: Some("4".into()),
        weight: 100,
        traffic: None,
        why: vec![metric("errorRate", Verdict::Pass, "errors 0.21 % against 0.20 %, n 4,812 / 19,104")],
        load: None,
        exposure: Some(Exposure {
            canary_requests: 48_120,
            mirrored_requests: None,
            stable_requests: 51_880,
            canary_errors: Some(101),
            seconds: 1_980,
        }),
        by: None,
        next: "nothing: v1 may be scaled down".into(),
    }
}

pub(crate) fn drift_rollback() -> DecisionRecord {
    DecisionRecord {
        outcome: Outcome::RolledBack,
        reason: Reason::AnalysisFailed.into(),
        message: "drift: total variation 0.31 (limit 0.15; stable against itself: 0.02), n = 118 canary / 2,204 stable.".into(),
        epoch: 7,
        canary: of("v3", "7d9c4b6f5"),
        stable: of("v2", "66f7c9d8b4"),
        step: Some("1".into()),
        weight: 5,
        traffic: None,
        why: vec![
            metric("drift", Verdict::Fail, "total variation 0.31 (limit 0.15; stable against itself: 0.02), n = 118 canary / 2,204 stable"),
            metric("errorRate", Verdict::Inconclusive, "errors 0.00 % against 0.21 %, n 118 / 2,204"),
            metric("latency", Verdict::Pass, "p99 in (100, 250] ms against (100, 250] ms"),
        ],
        load: None,
        exposure: Some(Exposure {
            canary_requests: 118,
            mirrored_requests: None,
            stable_requests: 2_204,
            canary_errors: None,
            seconds: 47,
        }),
        next: "haldane explain fraud -n ml; deploy a better v3, or haldane retry fraud -n ml".into(),
        ..promoted()
    }
}

fn error_rollback() -> DecisionRecord {
    DecisionRecord {
        message: "The canary is worse: traffic is back at stable 1.1 s after the verdict".into(),
        weight: 20,
        traffic: None,
        why: vec![
            metric("errorRate", Verdict::Fail, "errors 10.2 % against 0.11 % (limit 0.17 %), n 3,120 / 59,204"),
            metric("latency", Verdict::Inconclusive, "p99 in (100, 250] ms against (100, 250] ms"),
        ],
        load: None,
        exposure: Some(Exposure {
            canary_requests: 3_120,
            mirrored_requests: None,
            stable_requests: 59_204,
            canary_errors: Some(318),
            seconds: 432,
        }),
        ..drift_rollback()
    }
}

pub(crate) fn held(reason: Reason) -> DecisionRecord {
    DecisionRecord {
        outcome: Outcome::Held,
        reason: reason.into(),
        message: "1h at 20 % have brought evidence neither way: 41 of about 3,000 canary requests that the step needs".into(),
        weight: 20,
        traffic: None,
        why: Vec::new(),
        load: None,
        exposure: Some(Exposure {
            canary_requests: 41,
            mirrored_requests: None,
            stable_requests: 163,
            canary_errors: Some(0),
            seconds: 3_600,
        }),
        next: "haldane promote fraud -n ml (on without proof), haldane abort fraud -n ml (back), or wait: a later pass still advances"
            .into(),
        ..drift_rollback()
    }
}

fn metrics_missing() -> DecisionRecord {
    DecisionRecord {
        message: "Prometheus provider \"default\" has not answered for 2m10s: no connection".into(),
        next: "bring Prometheus back: the rollout continues automatically; haldane abort fraud -n ml returns the traffic to stable".into(),
        load: None,
        exposure: None,
        ..held(Reason::MetricsUnavailable)
    }
}

pub(crate) fn aborted() -> DecisionRecord {
    DecisionRecord {
        outcome: Outcome::Aborted,
        reason: Reason::Aborted.into(),
        message: "A person returned the traffic to stable".into(),
        by: Some(Actor {
            name: "oncall@example.com".into(),
            manager: Some("kubectl-annotate".into()),
            reason: Some("scores look wrong".into()),
        }),
        why: Vec::new(),
        next: "haldane retry fraud -n ml allows v3 again".into(),
        ..error_rollback()
    }
}

fn shown(record: &DecisionRecord) -> String {
    Text::of("ml", "fraud", record).plain()
}

#[test]
fn a_rollback_on_drift_reads_well() {
    insta::assert_snapshot!(shown(&drift_rollback()));
}

#[test]
fn a_rollback_on_errors_reads_well() {
    insta::assert_snapshot!(shown(&error_rollback()));
}

#[test]
fn a_hold_that_needs_a_person_reads_well() {
    insta::assert_snapshot!(shown(&held(Reason::DeadlineExceeded)));
}

#[test]
fn missing_metrics_read_well() {
    insta::assert_snapshot!(shown(&metrics_missing()));
}

#[test]
fn a_promotion_reads_well() {
    insta::assert_snapshot!(shown(&promoted()));
}

#[test]
fn an_abort_by_a_person_reads_well() {
    insta::assert_snapshot!(shown(&aborted()));
}

#[test]
fn the_note_of_an_event_is_one_line() {
    insta::assert_snapshot!(Text::of("ml", "fraud", &drift_rollback()).note());
}

#[test]
fn outside_of_a_rollout_there_is_no_share() {
    let record = DecisionRecord { weight: 0, step: None, canary: None, exposure: None, ..held(Reason::Drifted) };
    let text = Text::of("ml", "fraud", &record);
    assert_eq!(text.title(), "Weights drifted: ml/fraud");
    assert!(text.plain().contains("\nnow         nothing is written while no rollout runs"), "{}", text.plain());
}

#[test]
fn nothing_that_a_user_wrote_calls_people_or_makes_a_link_in_slack() {
    let mut record = aborted();
    record.by = Some(Actor {
        name: "<!channel> @here a@b.example".into(),
        manager: None,
        reason: Some("see <https://evil.example|the runbook> & \u{202e}reverse\r\nNext     run this".into()),
    });
    let text = Text::of("ml", "fraud", &record).slack();
    assert!(!text.contains("<!channel>") && !text.contains("<https") && !text.contains('\u{202e}'), "{text}");
    assert!(text.contains("&lt;!channel&gt; @\u{200b}here a@b.example"), "{text}");
    assert!(text.contains("&amp; reverse Next run this"), "no line of its own: {text}");
    assert_eq!(text.lines().filter(|l| l.starts_with("*next*")).count(), 1, "{text}");
    assert!(text.starts_with(":warning: Aborted: ml/fraud v3 (7d9c4b6f5) at 20 %, by &lt;!channel&gt;"), "{text}");
}

#[test]
fn every_form_is_bounded_and_cut_between_characters() {
    let mut record = drift_rollback();
    record.message = "ü&<>".repeat(5_000);
    record.next = "ß".repeat(5_000);
    record.why = (0..16).map(|i| metric(&format!("m{i}"), Verdict::Fail, &"é<".repeat(4_000))).collect();
    let text = Text::of("ml", &"n".repeat(300), &record);
    assert!(text.note().len() <= 1_000, "{}", text.note().len());
    assert!(text.plain().len() <= TEXT_MAX);
    assert!(text.body().len() <= TEXT_MAX);
    assert!(text.slack().len() <= 3 * TEXT_MAX, "{}", text.slack().len());
    assert!(!text.slack().contains("&l…"));
    assert!(text.title().len() <= TITLE_MAX);
}

#[test]
fn the_difference_that_decided_is_reported_and_what_decides_nothing_is_not() {
    let mut record = error_rollback();
    let text = "+10.1 points".to_owned();
    record.why[0].effect = Some(crate::api::Effect { value: 0.101, low: Some(0.087), high: Some(0.115), by_chance: None, text });
    record.why.push(MetricEvidence { advisory: true, ..metric("scores", Verdict::Fail, "Kolmogorov-Smirnov distance 0.4") });
    let plain = Text::of("ml", "fraud", &record).plain();
    assert!(plain.contains("+10.1 pp") && plain.contains("+8.7 .. +11.5 pp"), "{plain}");
    assert!(!plain.contains("scores"), "{plain}");
    let note = Text::of("ml", "fraud", &record).note();
    assert!(note.contains("(+10.1 pp, limit"), "{note}");
}

#[test]
fn every_alert_reads_well_and_says_its_numbers() {
    for case in cases::cases() {
        let Some(record) = case.rollout.status.and_then(|status| status.decision) else { continue };
        if of_record(&record).alert.is_none() {
            continue;
        }
        let text = Text::of("ml", "fraud", &record);
        insta::assert_snapshot!(format!("alert_{}", case.name), text.plain());
        let message = &text.message;
        let said = message.fields.iter().map(|field| field.text.clone());
        let said = [message.title.clone()].into_iter().chain(said).chain(message.footnotes.clone()).chain(message.next.clone());
        let long: Vec<String> = said.flat_map(|text| long(&text)).collect();
        assert!(long.is_empty(), "{}: {}", case.name, long.join("\n"));
        assert!(record.why.is_empty() || !message.table.is_empty(), "{}", case.name);
    }
}

#[test]
fn one_message_about_many_names_the_first_few_and_the_command_that_lists_all() {
    let names: Vec<String> = (1..=50).map(|at| format!("model-{at}")).collect();
    let rollouts: Vec<(&str, &str)> = names.iter().map(|name| ("ml", name.as_str())).collect();
    let text = Text::together(&rollouts, &metrics_missing());
    insta::assert_snapshot!("alert_of_many", text.plain());
}

#[test]
fn the_end_of_a_state_says_how_long_it_lasted() {
    let text = Text::of("ml", "fraud", &held(Reason::MetricsUnavailable));
    let began = "2026-11-23T14:02:11Z".parse().unwrap();
    let text = text.ended(began, "2026-11-23T14:14:11Z".parse().unwrap());
    assert_eq!(text.title(), "Over after 12m: Holding, metrics are missing: ml/fraud v3 (7d9c4b6f5) at 20 %");
    assert_eq!(text.plain(), text.title());
}
