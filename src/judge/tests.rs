//! The evidence as a value: what it says, what it survives, what it costs.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::*;
use crate::counts::{History, Sample};
use crate::plan::{DistanceLimits, Drift, DriftSource, ErrorRate, Latency, MetricKind};

mod incidents;
mod load;
mod properties;

pub(super) fn metrics() -> Vec<Metric> {
    let source = DriftSource::Counter { metric: "class_total".into(), class: "class".into() };
    vec![
        Metric::new("errorRate", MetricKind::ErrorRate(ErrorRate::default())),
        Metric::new("latency", MetricKind::Latency(Latency::default())),
        Metric::new("drift", MetricKind::Drift(Drift { source, limits: DistanceLimits::default() })),
    ]
}

pub(super) fn step(weight: f64) -> StepTerms {
    StepTerms::weighted(weight, 1.0, 10)
}

/// Counts without noise: `n` requests, a share of errors, everything in fixed buckets and classes.
pub(super) fn sample(n: u64, errors: f64, slow: f64, classes: &[(&str, f64)]) -> Sample {
    let part = |share: f64| (n as f64 * share).round() as u64;
    BTreeMap::from([
        ("errorRate".into(), Counts::Events { total: n, bad: part(errors) }),
        (
            "latency".into(),
            Counts::Histogram {
                bounds: vec![50.0, 100.0, 250.0, 500.0],
                above: vec![part(0.9), part(0.5), part(slow), part(slow / 10.0)],
                total: n,
            },
        ),
        ("drift".into(), Counts::Classes(classes.iter().map(|(name, share)| ((*name).to_owned(), part(*share))).collect())),
    ])
}

pub(super) const CLASSES: [(&str, f64); 3] = [("cat", 0.6), ("dog", 0.3), ("bird", 0.1)];

pub(super) fn usual(n: u64) -> Sample {
    sample(n, 0.001, 0.05, &CLASSES)
}

pub(super) fn window(k: i64, stable: Sample, canary: Sample) -> Window {
    let time = |k: i64| Timestamp::from_second(1_700_000_000 + 30 * k).unwrap();
    Window { start: time(k), end: time(k + 1), weight: 0.05, stable, canary, stable_pods: 10, canary_pods: 1 }
}

pub(super) fn history(windows: usize) -> History {
    let pods = || [("a".to_owned(), usual(10_000)), ("b".to_owned(), usual(10_000))].into();
    History { interval_seconds: 30.0, windows: (0..windows).map(|_| pods()).collect(), by_pod: true }
}

fn calibrated() -> Evidence {
    let mut evidence = Evidence::new(&metrics(), 30.0);
    evidence.calibrate(&metrics(), &history(120), &[step(0.05), step(0.5)], 2);
    evidence.begin_step(&metrics(), &step(0.05));
    evidence
}

pub(super) fn found<'a>(judgement: &'a Judgement, name: &str) -> &'a MetricEvidence {
    judgement.metrics.iter().find(|metric| metric.metric == name).unwrap()
}

#[test]
fn messages_carry_the_numbers() {
    let mut evidence = calibrated();
    for k in 0..3 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), sample(1_000, 0.01, 0.05, &CLASSES)));
    }
    let judgement = evidence.told(&metrics(), &step(0.05));
    assert_eq!(judgement.verdict, Verdict::Fail);
    let errors = &judgement.metrics[0];
    assert_eq!((errors.metric.as_str(), errors.reason), ("errorRate", Some(EvidenceReason::FailLimit)));
    assert_eq!(errors.message, "errors 1.00 % against 0.10 % (limit 0.16 %), n 3,000 / 57,000");
    let latency = found(&judgement, "latency").message.clone();
    assert!(latency.contains("p99 in (250, 500] against in (250, 500] ms"), "{latency}");
    let drift = found(&judgement, "drift").message.clone();
    assert!(drift.starts_with("total variation 0.000 (limit 0.15; stable against itself: 0.0"), "{drift}");
    assert_eq!(judgement.exposure.canary_errors, Some(30));
    assert_eq!((judgement.exposure.canary_requests, judgement.exposure.stable_requests, judgement.exposure.seconds), (3_000, 57_000, 90));
    assert!(!judgement.no_harm);
}

#[test]
fn a_step_that_begins_before_the_past_is_known_shows_and_judges_the_same_numbers() {
    let mut evidence = Evidence::new(&metrics(), 30.0);
    evidence.begin_step(&metrics(), &step(0.05));
    evidence.calibrate(&metrics(), &history(120), &[step(0.05), step(0.5)], 2);
    let mut usual_order = calibrated();
    let shifted = [("cat", 0.3), ("dog", 0.6), ("bird", 0.1)];
    for evidence in [&mut evidence, &mut usual_order] {
        for k in 0..3 {
            evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), sample(1_000, 0.001, 0.05, &shifted)));
        }
    }
    let [late, early] = [evidence, usual_order].map(|evidence| evidence.told(&metrics(), &step(0.05)));
    for name in ["latency", "drift"] {
        assert_eq!(found(&late, name).message, found(&early, name).message);
    }
    assert!(found(&late, "drift").message.starts_with("total variation 0.300"), "{}", found(&late, "drift").message);
}

#[test]
fn everybody_at_the_canary_before_the_past_is_known_is_held_against_that_past() {
    let mut evidence = Evidence::new(&metrics(), 30.0);
    evidence.begin_step(&metrics(), &step(1.0));
    evidence.calibrate(&metrics(), &history(120), &[step(1.0)], 10);
    for k in 0..3 {
        evidence.add(&metrics(), &step(1.0), &window(k, Sample::new(), sample(20_000, 0.3, 0.05, &CLASSES)));
    }
    let judgement = evidence.told(&metrics(), &step(1.0));
    assert_eq!(judgement.verdict, Verdict::Fail, "{judgement:?}");
}

#[test]
fn effects_are_there_as_numbers() {
    let mut evidence = calibrated();
    let shifted = [("cat", 0.4), ("dog", 0.5), ("bird", 0.1)];
    for k in 0..3 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), sample(1_000, 0.01, 0.05, &shifted)));
    }
    let judgement = evidence.told(&metrics(), &step(0.05));
    let errors = found(&judgement, "errorRate");
    let effect = errors.effect.as_ref().unwrap();
    assert!(effect.low.unwrap() < 0.009 && effect.high.unwrap() > 0.009 && effect.by_chance.unwrap() > 0.0, "{effect:?}");
    assert_eq!(effect.text, "+0.90 points (95 %: +0.27 to +1.85; stable against itself: 0.05)");
    let n = |metric: &MetricEvidence| (metric.stable.as_ref().unwrap().n, metric.canary.as_ref().unwrap().n);
    let latency = found(&judgement, "latency");
    for arm in [&latency.stable, &latency.canary] {
        let quantiles: Vec<_> = arm.as_ref().unwrap().quantiles.iter().map(|q| (q.quantile, q.above, q.up_to)).collect();
        assert_eq!(quantiles, [(0.5, Some(50.0), Some(100.0)), (0.95, Some(100.0), Some(250.0)), (0.99, Some(250.0), Some(500.0))]);
    }
    let drift = found(&judgement, "drift");
    let distances = drift.distances.as_ref().unwrap();
    assert_eq!(distances.total_variation, 0.2);
    assert!((distances.jensen_shannon - 0.179).abs() < 0.01 && (distances.psi - 0.18).abs() < 0.02, "{distances:?}");
    assert!(drift.effect.as_ref().unwrap().text.contains("; stable against itself: 0.009)"), "{:?}", drift.effect);
    assert_eq!([n(errors), n(latency), n(drift)], [(57_000, 3_000); 3]);
    assert_eq!(errors.noise.as_ref().unwrap().windows, 120);
}

#[test]
fn a_drift_that_rolls_back_does_not_speak_of_the_limit_that_holds() {
    let mut evidence = calibrated();
    let shifted = [("cat", 0.1), ("dog", 0.8), ("bird", 0.1)];
    for k in 0..8 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), sample(1_000, 0.001, 0.05, &shifted)));
    }
    let judgement = evidence.told(&metrics(), &step(0.05));
    assert_eq!(judgement.verdict, Verdict::Fail);
    let drift = found(&judgement, "drift");
    assert_eq!(drift.reason, Some(EvidenceReason::FailLimit));
    assert!(!drift.message.contains("limit that holds"), "{}", drift.message);
}

#[test]
fn a_failure_stands_whatever_comes_after() {
    let mut evidence = calibrated();
    for k in 0..4 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), sample(1_000, 0.05, 0.05, &CLASSES)));
    }
    for k in 4..100 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), usual(1_000)));
    }
    evidence.begin_step(&metrics(), &step(0.05));
    assert_eq!(evidence.told(&metrics(), &step(0.05)).verdict, Verdict::Fail);
}

#[test]
fn a_healthy_canary_passes_and_shows_no_harm() {
    let mut evidence = calibrated();
    for k in 0..40 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), usual(1_000)));
    }
    let judgement = evidence.told(&metrics(), &step(0.05));
    assert_eq!(
        (judgement.verdict, judgement.no_harm, judgement.windows, judgement.step_requests),
        (Verdict::Pass, true, 40, 40_000),
        "{judgement:?}"
    );
    assert_eq!(found(&judgement, "errorRate").forecast.as_ref().unwrap().minutes_to_pass, Some(0.0));
    assert!(found(&judgement, "errorRate").effect.as_ref().unwrap().low.unwrap() < 0.0);
    evidence.begin_step(&metrics(), &step(0.5));
    assert_eq!(evidence.told(&metrics(), &step(0.5)).verdict, Verdict::Inconclusive, "the pass side restarts at every step");
}

#[test]
fn a_pass_says_what_was_proved_and_a_failure_which_limit_was_crossed() {
    // Three times stable's errors are within what 5 % of the users may risk, and the pass margin here is 0.2 points by 0.2.
    let terms = StepTerms { next_weight: 0.2, ..step(0.05) };
    let mut evidence = calibrated();
    evidence.begin_step(&metrics(), &terms);
    for k in 0..6 {
        evidence.add(&metrics(), &terms, &window(k, usual(19_000), sample(1_000, 0.002, 0.05, &CLASSES)));
    }
    let judgement = evidence.told(&metrics(), &terms);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement:?}");
    let message = |judgement: &Judgement, name: &str| found(judgement, name).message.clone();
    assert_eq!(message(&judgement, "errorRate"), "errors 0.20 % against 0.10 % (proved to be below 1.10 %), n 6,000 / 114,000");
    let latency = message(&judgement, "latency");
    assert!(latency.starts_with("requests above 100 ms 50.0 % against 50.0 % (proved to be below 7"), "{latency}");
    let drift = message(&judgement, "drift");
    assert!(drift.starts_with("total variation 0.000 (proved to be below 0.500; stable against itself: 0.0"), "{drift}");
    for k in 6..20 {
        evidence.add(&metrics(), &terms, &window(k, usual(19_000), sample(1_000, 0.05, 0.05, &CLASSES)));
    }
    let judgement = evidence.told(&metrics(), &terms);
    assert_eq!(judgement.verdict, Verdict::Fail);
    for metric in &judgement.metrics {
        assert!(!metric.message.contains("proved"), "{}", metric.message);
    }
}

#[test]
fn without_history_it_says_how_far_calibration_is_and_neither_side_accrues() {
    let mut evidence = Evidence::new(&metrics(), 30.0);
    evidence.calibrate(&metrics(), &History::default(), &[step(0.05)], 3);
    evidence.begin_step(&metrics(), &step(0.05));
    for k in 0..7 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), sample(1_000, 0.1, 0.05, &CLASSES)));
    }
    assert!(!evidence.calibrated());
    let judgement = evidence.told(&metrics(), &step(0.05));
    assert_eq!((judgement.verdict, judgement.fail_evidence), (Verdict::Inconclusive, 1.0));
    assert_eq!(judgement.metrics[0].reason, Some(EvidenceReason::Calibrating));
    assert!(judgement.metrics[0].message.contains("window 7 of 20"), "{}", judgement.metrics[0].message);
    for k in 7..20 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), sample(1_000, 0.1, 0.05, &CLASSES)));
    }
    assert!(evidence.calibrated());
    let start = evidence.told(&metrics(), &step(0.05)).fail_evidence;
    // A tenth of the errors' half is for what is plain.
    let all = 1.0 - 0.1 / 6.0;
    assert!((all - 1e-8..=all).contains(&start), "{start}: stored numbers are rounded to the safe side");
}

#[test]
fn a_short_history_counts_towards_calibration() {
    let mut evidence = Evidence::new(&metrics(), 30.0);
    evidence.calibrate(&metrics(), &history(15), &[step(0.05)], 2);
    assert!(!evidence.calibrated());
    evidence.begin_step(&metrics(), &step(0.05));
    for k in 0..5 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), usual(1_000)));
    }
    assert!(evidence.calibrated());
}

#[test]
fn missing_data_is_never_a_pass_and_never_a_failure() {
    let mut evidence = calibrated();
    for k in 0..40 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), usual(1_000)));
    }
    let mut without = usual(1_000);
    without.remove("latency");
    evidence.add(&metrics(), &step(0.05), &window(40, usual(19_000), without));
    let judgement = evidence.told(&metrics(), &step(0.05));
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert_eq!((judgement.metrics[0].metric.as_str(), judgement.metrics[0].reason), ("latency", Some(EvidenceReason::NoData)));
}

#[test]
fn nothing_counted_is_no_data() {
    let judgement = calibrated().told(&metrics(), &step(0.05));
    assert_eq!((judgement.verdict, judgement.metrics[0].reason), (Verdict::Inconclusive, Some(EvidenceReason::NoData)));
}

#[test]
fn a_metric_that_does_not_gate_a_step_neither_blocks_nor_passes_it() {
    let mut evidence = calibrated();
    let without = StepTerms { without: vec!["latency".into()], ..step(0.05) };
    evidence.begin_step(&metrics(), &without);
    for k in 0..40 {
        let mut canary = usual(1_000);
        canary.remove("latency");
        evidence.add(&metrics(), &without, &window(k, usual(19_000), canary));
    }
    assert_eq!(evidence.told(&metrics(), &without).verdict, Verdict::Pass);
}

#[test]
fn nothing_to_judge_is_a_pass_of_the_hold_alone() {
    let mut evidence = Evidence::new(&[], 30.0);
    evidence.calibrate(&[], &History::default(), &[step(0.05)], 1);
    evidence.begin_step(&[], &step(0.05));
    assert_eq!(evidence.told(&[], &step(0.05)).verdict, Verdict::Pass);
    assert!(evidence.calibrated());
}

#[test]
fn the_limit_that_holds_blocks_a_pass() {
    let mut evidence = calibrated();
    let shifted = [("cat", 0.5), ("dog", 0.4), ("bird", 0.1)];
    for k in 0..60 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), sample(1_000, 0.001, 0.05, &shifted)));
    }
    let judgement = evidence.told(&metrics(), &step(0.05));
    assert_eq!((judgement.verdict, judgement.hold_limit), (Verdict::Inconclusive, true));
    assert_eq!((judgement.metrics[0].metric.as_str(), judgement.metrics[0].reason), ("drift", Some(EvidenceReason::HoldLimit)));
}

#[test]
fn different_buckets_are_compared_where_they_agree_and_not_otherwise() {
    let histogram = |bounds: &[f64], above: &[u64], total: u64| Counts::Histogram { bounds: bounds.to_vec(), above: above.to_vec(), total };
    let mut evidence = calibrated();
    let mut canary = usual(1_000);
    canary.insert("latency".into(), histogram(&[100.0, 200.0, 250.0], &[500, 80, 50], 1_000));
    for k in 0..40 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), canary.clone()));
    }
    let judgement = evidence.told(&metrics(), &step(0.05));
    assert_ne!(found(&judgement, "latency").reason, Some(EvidenceReason::NotComparable));
    let mut evidence = calibrated();
    canary.insert("latency".into(), histogram(&[7.0], &[1_000], 1_000));
    evidence.add(&metrics(), &step(0.05), &window(0, usual(19_000), canary));
    let judgement = evidence.told(&metrics(), &step(0.05));
    assert_eq!(found(&judgement, "latency").reason, Some(EvidenceReason::NotComparable));
}

/// After a long step at this traffic, the step begun again.
fn at_traffic(stable: Sample, canary: Sample) -> Judgement {
    let mut evidence = calibrated();
    for k in 0..500 {
        evidence.add(&metrics(), &step(0.05), &window(k, stable.clone(), canary.clone()));
    }
    evidence.begin_step(&metrics(), &step(0.05));
    evidence.add(&metrics(), &step(0.05), &window(500, stable, canary));
    evidence.told(&metrics(), &step(0.05))
}

#[test]
fn a_bound_that_cannot_be_proved_is_named() {
    let judgement = at_traffic(usual(950), usual(50));
    let message = &found(&judgement, "latency").message;
    assert!(message.contains("above 500 ms cannot be proved at 33 requests a second in this step"), "{message}");
}

#[test]
fn too_little_traffic_is_reported_with_the_numbers() {
    let arm = |n: u64| sample(n, 0.001, 0.04, &CLASSES);
    let judgement = at_traffic(arm(190), arm(10));
    let slowest = judgement.slowest.unwrap();
    let late = slowest.late(0.5, 5.0, 30.0).unwrap();
    assert_eq!(late.limit, Limit::Deadline);
    let text = crate::say::late(&late);
    assert!(text.contains("at 5 % of 6.7 requests a second") && text.ends_with("would be enough"), "{text}");
    assert_eq!(slowest.late(0.5, 1e6, 1e6), None);
}

#[test]
fn a_canary_that_has_passed_waits_for_nothing() {
    let mut evidence = calibrated();
    let add = |evidence: &mut Evidence, k| evidence.add(&metrics(), &step(0.05), &window(k, usual(19_000), usual(1_000)));
    add(&mut evidence, 0);
    let slowest = evidence.told(&metrics(), &step(0.05)).slowest.unwrap();
    assert!(slowest.minutes.unwrap() > 0.0 && slowest.shown == 0.5 && (slowest.rps - 20_000.0 / 30.0).abs() < 1.0, "{slowest:?}");
    (1..40).for_each(|k| add(&mut evidence, k));
    assert_eq!(evidence.told(&metrics(), &step(0.05)).slowest, None);
    assert_eq!(evidence.usual(&metrics()).map(|(_, errors)| errors), Some(0.001));
}

#[test]
fn a_restart_from_json_changes_nothing_and_the_checkpoint_stays_small() {
    let classes: Vec<(String, f64)> = (0..30).map(|c| (format!("category-{c}"), if c < 10 { 0.09 } else { 0.005 })).collect();
    let named: Vec<(&str, f64)> = classes.iter().map(|(name, share)| (name.as_str(), *share)).collect();
    let bounds: Vec<f64> = (1..=20).map(|u| f64::from(u) * 37.5).collect();
    let sample = |n: u64, k: u64| {
        let mut sample = sample(n, 0.013, 0.05, &named);
        let above = (1..=20).map(|u| (n as f64 * (-0.31 * f64::from(u)).exp()) as u64 + k % 3).collect();
        sample.insert("latency".into(), Counts::Histogram { bounds: bounds.clone(), above, total: n });
        sample
    };
    let mut evidence = Evidence::new(&metrics(), 30.0);
    let history = History {
        interval_seconds: 30.0,
        windows: (0..120).map(|k| [("a".to_owned(), sample(9_973, k)), ("b".to_owned(), sample(9_871, k + 1))].into()).collect(),
        by_pod: true,
    };
    evidence.calibrate(&metrics(), &history, &[step(0.05), step(0.2), step(0.5), step(1.0)], 1);
    evidence.begin_step(&metrics(), &step(0.05));
    let mut again = evidence.clone();
    for k in 0..25 {
        let window = window(k, sample(18_997, k as u64), sample(1_003, k as u64 + 2));
        evidence.add(&metrics(), &step(0.05), &window);
        again.add(&metrics(), &step(0.05), &window);
        again = serde_json::from_str(&serde_json::to_string(&again).unwrap()).unwrap();
        assert_eq!(again, evidence);
    }
    let json = serde_json::to_string(&evidence).unwrap();
    assert!(json.len() <= 12 * 1024, "{} bytes", json.len());
    assert!(!json.contains("null,null"), "numbers are finite");
}

#[test]
fn the_checkpoint_stays_small_during_calibration_too() {
    let mut evidence = Evidence::new(&metrics(), 30.0);
    evidence.calibrate(&metrics(), &History::default(), &[step(0.05)], 1);
    evidence.begin_step(&metrics(), &step(0.05));
    for k in 0..19 {
        evidence.add(&metrics(), &step(0.05), &window(k, usual(189_973), usual(10_003)));
    }
    let json = serde_json::to_string(&evidence).unwrap();
    assert!(json.len() <= 12 * 1024, "{} bytes", json.len());
}

#[test]
fn a_late_step_of_the_same_plan_gets_its_own_start_weight_and_a_resume_gets_none() {
    let mut evidence = calibrated();
    evidence.add(&metrics(), &step(0.05), &window(0, usual(19_000), usual(1_000)));
    let resumed = {
        let mut evidence = evidence.clone();
        evidence.begin_step(&metrics(), &step(0.05));
        evidence
    };
    assert_eq!(resumed.told(&metrics(), &step(0.05)).fail_evidence, evidence.told(&metrics(), &step(0.05)).fail_evidence);
}
