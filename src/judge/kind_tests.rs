//! Copies, users of a match and users at random are three kinds of traffic: evidence of one says nothing of another.

use super::tests::{CLASSES, found, history, metrics, sample, step, usual, window};
use super::*;
use crate::plan::Share;

/// Copies of everything: as many requests as stable has.
fn shadow() -> StepTerms {
    StepTerms { share: Share { mirror: 100, ..Share::NONE }, next_weight: 0.05, kind: 0, ..step(0.5) }
}

/// A match, before it is known how many users it picks.
fn cohort() -> StepTerms {
    StepTerms { share: Share { matched: true, ..Share::NONE }, without: vec!["drift".into()], kind: 1, ..step(0.05) }
}

fn weighted(weight: f64) -> StepTerms {
    StepTerms { kind: 2, ..step(weight) }
}

fn composed() -> Evidence {
    let mut evidence = Evidence::new(&metrics(), 30.0);
    evidence.calibrate(&metrics(), &history(120), &[shadow(), cohort(), weighted(0.05), weighted(0.5), weighted(1.0)], 2);
    evidence.begin_step(&metrics(), &shadow());
    evidence
}

#[test]
fn what_a_cohort_showed_is_not_held_against_users_drawn_at_random() {
    let mut evidence = composed();
    evidence.begin_step(&metrics(), &cohort());
    // Users who err a little more often by themselves: evidence, but not enough.
    let mut k = 0;
    while evidence.told(&metrics(), &cohort()).fail_evidence < 8.0 {
        evidence.add(&metrics(), &cohort(), &window(k, usual(19_000), sample(1_000, 0.003, 0.05, &CLASSES)));
        k += 1;
        assert!(k < 200);
    }
    assert_eq!(evidence.told(&metrics(), &cohort()).verdict, Verdict::Inconclusive);
    evidence.begin_step(&metrics(), &weighted(0.05));
    let judgement = evidence.told(&metrics(), &weighted(0.05));
    // But for the tenth of the errors' half that is for what is plain.
    assert!((judgement.fail_evidence - (1.0 - 0.1 / 6.0)).abs() < 1e-6, "{}", judgement.fail_evidence);
    evidence.add(&metrics(), &weighted(0.05), &window(k, usual(19_000), usual(1_000)));
    assert!(evidence.told(&metrics(), &weighted(0.05)).fail_evidence <= 1.0);
    // Between weights it continues.
    evidence.add(&metrics(), &weighted(0.05), &window(k + 1, usual(19_000), sample(1_000, 0.004, 0.05, &CLASSES)));
    let before = evidence.told(&metrics(), &weighted(0.05)).fail_evidence;
    evidence.begin_step(&metrics(), &weighted(0.5));
    assert_eq!(evidence.told(&metrics(), &weighted(0.5)).fail_evidence, before);
}

#[test]
fn all_kinds_together_stay_within_one_error_budget() {
    assert_eq!(composed().told(&metrics(), &shadow()).fail_at, 3.0 * FAIL_AT);
    let mut alone = Evidence::new(&metrics(), 30.0);
    alone.calibrate(&metrics(), &history(120), &[step(0.05), step(0.5), step(1.0)], 2);
    assert_eq!(alone.told(&metrics(), &step(0.05)).fail_at, FAIL_AT);
}

#[test]
fn a_failure_of_one_kind_stands_in_the_next() {
    let mut evidence = composed();
    for k in 0..4 {
        evidence.add(&metrics(), &shadow(), &window(k, usual(10_000), sample(10_000, 0.05, 0.05, &CLASSES)));
    }
    assert_eq!(evidence.told(&metrics(), &shadow()).verdict, Verdict::Fail);
    evidence.begin_step(&metrics(), &cohort());
    assert_eq!(evidence.told(&metrics(), &cohort()).verdict, Verdict::Fail);
}

#[test]
fn copies_are_told_apart_from_what_users_saw() {
    let mut evidence = composed();
    for k in 0..10 {
        evidence.add(&metrics(), &shadow(), &window(k, usual(10_000), sample(10_000, 0.001, 0.05, &CLASSES)));
    }
    let exposure = evidence.told(&metrics(), &shadow()).exposure;
    assert_eq!((exposure.canary_requests, exposure.mirrored_requests, exposure.canary_errors), (0, Some(100_000), Some(0)));
    evidence.begin_step(&metrics(), &cohort());
    evidence.add(&metrics(), &cohort(), &window(11, usual(19_000), sample(1_000, 0.002, 0.05, &CLASSES)));
    let exposure = evidence.told(&metrics(), &cohort()).exposure;
    assert_eq!((exposure.canary_requests, exposure.mirrored_requests, exposure.canary_errors), (1_000, Some(100_000), Some(2)));
    assert_eq!(exposure.stable_requests, 119_000);
}

#[test]
fn copies_beside_users_are_not_said_to_have_been_seen_by_them() {
    let share = Share { weight: 5, mirror: 20, matched: false };
    let mixed = StepTerms { share, kind: 1, ..step(0.25 / 1.2) };
    let mut evidence = composed();
    evidence.begin_step(&metrics(), &mixed);
    evidence.add(&metrics(), &mixed, &window(0, usual(19_000), sample(5_000, 0.01, 0.05, &CLASSES)));
    let exposure = evidence.told(&metrics(), &mixed).exposure;
    assert_eq!((exposure.canary_requests, exposure.mirrored_requests, exposure.canary_errors), (1_000, Some(4_000), Some(10)));
}

#[test]
fn a_healthy_shadow_passes_on_all_of_its_metrics() {
    let mut evidence = composed();
    for k in 0..10 {
        evidence.add(&metrics(), &shadow(), &window(k, usual(10_000), usual(10_000)));
    }
    let judgement = evidence.told(&metrics(), &shadow());
    assert_eq!(judgement.verdict, Verdict::Pass, "{:?}", judgement.metrics);
    assert_eq!(judgement.slowest, None);
}

#[test]
fn drift_of_a_cohort_is_shown_and_does_not_gate() {
    let mut evidence = composed();
    evidence.begin_step(&metrics(), &cohort());
    let other = [("cat", 0.3), ("dog", 0.5), ("bird", 0.2)];
    for k in 0..40 {
        evidence.add(&metrics(), &cohort(), &window(k, usual(19_000), sample(1_000, 0.001, 0.05, &other)));
    }
    let judgement = evidence.told(&metrics(), &cohort());
    assert_eq!((judgement.verdict, judgement.hold_limit), (Verdict::Pass, false), "{:?}", judgement.metrics);
    let drift = found(&judgement, "drift");
    assert!(drift.message.contains("total variation 0.3"), "{}", drift.message);
    assert!(drift.message.contains("users were picked by a match, so it is shown and does not gate"), "{}", drift.message);
    // Where the spec says so it gates.
    let gating = StepTerms { without: Vec::new(), ..cohort() };
    let mut evidence = composed();
    evidence.begin_step(&metrics(), &gating);
    for k in 0..40 {
        evidence.add(&metrics(), &gating, &window(k, usual(19_000), sample(1_000, 0.001, 0.05, &other)));
    }
    assert_ne!(evidence.told(&metrics(), &gating).verdict, Verdict::Pass);
}

#[test]
fn errors_and_latency_of_a_cohort_count() {
    for canary in [sample(1_000, 0.05, 0.05, &CLASSES), sample(1_000, 0.001, 0.30, &CLASSES)] {
        let mut evidence = composed();
        evidence.begin_step(&metrics(), &cohort());
        for k in 0..20 {
            evidence.add(&metrics(), &cohort(), &window(k, usual(19_000), canary.clone()));
        }
        assert_eq!(evidence.told(&metrics(), &cohort()).verdict, Verdict::Fail);
    }
}

#[test]
fn how_many_users_a_match_picks_decides_what_it_can_prove() {
    let gates = |canary: u64| {
        let mut evidence = composed();
        evidence.begin_step(&metrics(), &cohort());
        for k in 0..5 {
            evidence.add(&metrics(), &cohort(), &window(k, usual(20_000 - canary), usual(canary)));
        }
        found(&evidence.told(&metrics(), &cohort()), "latency").message.clone()
    };
    assert!(!gates(1_000).contains("cannot be proved"), "{}", gates(1_000));
    assert!(gates(40).contains("above 500 ms cannot be proved"), "{}", gates(40));
}
