//! What hits both versions, and what becomes of the plan.

use super::*;

/// Windows in which both versions fail this share, from window `from` on.
fn hit(evidence: &mut Evidence, from: i64, errors: f64, windows: i64) -> Judgement {
    for k in from..from + windows {
        let arm = |n: u64| sample(n, errors, 0.05, &CLASSES);
        evidence.add(&metrics(), &step(0.05), &window(k, arm(19_000), arm(1_000)));
    }
    evidence.told(&metrics(), &step(0.05))
}

#[test]
fn what_hits_both_versions_proves_nothing_and_what_is_proved_starts_over_afterwards() {
    let mut evidence = calibrated();
    assert_eq!(hit(&mut evidence, 0, 0.001, 40).verdict, Verdict::Pass);
    let judgement = hit(&mut evidence, 40, 0.10, 2);
    assert_eq!((judgement.verdict, judgement.no_harm), (Verdict::Inconclusive, false));
    let incident = judgement.incident.clone().unwrap();
    assert!(!incident.after_raise);
    let said = "stable itself is degraded since 22:34:20 UTC: errors 10.0 % against 0.10 % before the rollout (limit 0.70 %); 0 of 5 windows as before";
    assert_eq!(incident.message, said);
    let (windows, requests) = (judgement.windows, judgement.step_requests);
    let judgement = hit(&mut evidence, 42, 0.10, 10);
    assert_eq!((judgement.windows, judgement.step_requests), (windows, requests), "windows of the incident are not counted for the step");
    assert!(hit(&mut evidence, 52, 0.001, 4).incident.is_some());
    let judgement = hit(&mut evidence, 56, 0.001, 1);
    assert_eq!((judgement.incident, judgement.verdict, judgement.windows), (None, Verdict::Inconclusive, 0));
    assert_eq!(hit(&mut evidence, 57, 0.001, 40).verdict, Verdict::Pass);
}

#[test]
fn evidence_of_harm_goes_on_in_an_incident_and_fails_the_canary() {
    let mut evidence = calibrated();
    hit(&mut evidence, 0, 0.10, 3);
    for k in 3..12 {
        evidence.add(&metrics(), &step(0.05), &window(k, sample(19_000, 0.10, 0.05, &CLASSES), sample(1_000, 0.60, 0.05, &CLASSES)));
    }
    let judgement = evidence.told(&metrics(), &step(0.05));
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(judgement.incident.is_some() && evidence.in_incident());
    assert_eq!(judgement.metrics[0].reason, Some(EvidenceReason::FailLimit));
}

#[test]
fn an_incident_right_after_a_raise_is_reported_until_the_canary_has_less() {
    let mut evidence = calibrated();
    assert!(hit(&mut evidence, 0, 0.10, 2).incident.unwrap().after_raise);
    for k in 2..5 {
        evidence.rest(&metrics(), &step(0.05), &window(k, sample(20_000, 0.10, 0.05, &CLASSES), Sample::new()));
    }
    assert!(!evidence.told(&metrics(), &step(0.05)).incident.unwrap().after_raise);
    let again: Evidence = serde_json::from_str(&serde_json::to_string(&evidence).unwrap()).unwrap();
    assert_eq!(again, evidence, "a restart in an incident changes nothing");
    for k in 5..10 {
        evidence.rest(&metrics(), &step(0.05), &window(k, sample(20_000, 0.001, 0.05, &CLASSES), Sample::new()));
    }
    assert!(!evidence.in_incident());
    assert!(hit(&mut evidence, 10, 0.10, 2).incident.unwrap().after_raise, "the way back up is a raise too");
}

#[test]
fn windows_of_an_incident_use_nothing_of_the_plan() {
    let mut evidence = calibrated();
    let found = |judgement: &Judgement| found(judgement, "errorRate").forecast.clone().unwrap().found_by_end.unwrap();
    let before = found(&hit(&mut evidence, 0, 0.001, 1));
    let after = found(&hit(&mut evidence, 1, 0.10, 30));
    assert!(after > 0.0 && before > 0.0, "{before} {after}: the budget is not spent by windows that are not of the plan");
}

#[test]
fn a_plan_that_has_ended_finds_nothing_more_by_its_budget() {
    let mut evidence = Evidence::new(&metrics(), 30.0);
    evidence.calibrate(&metrics(), &history(120), &[step(0.05)], 2);
    evidence.begin_step(&metrics(), &step(0.05));
    let by_end = |judgement: &Judgement| found(judgement, "errorRate").forecast.clone().unwrap().found_by_end;
    assert!(by_end(&hit(&mut evidence, 0, 0.001, 1)).unwrap() > 0.0);
    hit(&mut evidence, 1, 0.001, 8);
    let evidence_of = |judgement: &Judgement| judgement.fail_evidence;
    let before = evidence_of(&evidence.told(&metrics(), &step(0.05)));
    let after = hit(&mut evidence, 9, 0.001, 1);
    assert_eq!(by_end(&after), Some(0.0));
    assert!(evidence_of(&after) <= before);
}

#[test]
fn a_state_without_a_budget_never_starts_one() {
    let mut evidence = calibrated();
    hit(&mut evidence, 0, 0.001, 2);
    let mut stored = serde_json::to_value(&evidence).unwrap();
    for metric in stored["metrics"].as_array_mut().unwrap() {
        for track in metric.pointer_mut("/processes/shares/tracks").and_then(|tracks| tracks.as_array_mut()).into_iter().flatten() {
            assert!(track.as_object_mut().unwrap().remove("rho").is_some());
        }
        if let Some(drift) = metric.pointer_mut("/processes/drift").and_then(|drift| drift.as_object_mut()) {
            assert!(drift.remove("rho").is_some());
        }
    }
    let mut again: Evidence = serde_json::from_value(stored).unwrap();
    let judgement = hit(&mut again, 2, 0.001, 1);
    assert_eq!(found(&judgement, "errorRate").forecast.clone().unwrap().found_by_end, Some(0.0));
    assert!(judgement.fail_evidence < 0.6, "{}: the half of the budget is gone", judgement.fail_evidence);
}

#[test]
fn the_end_of_a_long_incident_is_no_new_one() {
    let mut evidence = calibrated();
    let mut few = |from: i64, errors: f64, windows: i64| {
        let mut seen = None;
        for k in from..from + windows {
            let arm = |n: u64| sample(n, errors, 0.05, &CLASSES);
            evidence.add(&metrics(), &step(0.05), &window(k, arm(1_900), arm(100)));
            seen = evidence.told(&metrics(), &step(0.05)).incident.or(seen);
        }
        (seen.is_some(), evidence.in_incident())
    };
    assert_eq!(few(0, 0.10, 120), (true, true));
    assert_eq!(few(120, 0.001, 5), (true, false));
    assert_eq!(few(125, 0.001, 20), (false, false), "what was collected in the incident is not held against stable afterwards");
}
