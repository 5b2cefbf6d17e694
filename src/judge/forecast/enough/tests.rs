//! What is proposed does what it promises: the proposed plan is built and forecast.

use super::*;
use crate::judge::{PlanForecast, forecast_plan, late_rest};
use crate::plan::{DistanceLimits, Drift, DriftSource, ErrorRate, Latency, MetricKind};

fn errors() -> Metric {
    Metric::new("errors", MetricKind::ErrorRate(ErrorRate::default()))
}

fn latency() -> Metric {
    Metric::new("latency", MetricKind::Latency(Latency::default()))
}

fn weights(weights: &[u8], hold: f64) -> Vec<StepTerms> {
    let next = weights.iter().skip(1).chain([&100]);
    let share = |weight: u8| f64::from(weight) / 100.0;
    weights.iter().zip(next).map(|(weight, next)| StepTerms::weighted(share(*weight), share(*next), (2.0 * hold) as u32)).collect()
}

/// As `{mirror: 100}` before other steps is planned, with 30 s windows.
fn shadow(next_weight: f64, hold: f64) -> StepTerms {
    let share = Share { mirror: 100, ..Share::NONE };
    StepTerms { share, kind: 7, ..StepTerms::weighted(0.5, next_weight, (2.0 * hold) as u32) }
}

/// Hold and deadline in minutes, one for each step.
fn forecast(metrics: &[Metric], steps: &[StepTerms], rps: f64, hold: &[f64], deadline: &[f64]) -> PlanForecast {
    let seconds = |minutes: &[f64]| minutes.iter().map(|minutes| 60.0 * minutes).collect::<Vec<_>>();
    forecast_plan(metrics, steps, 30.0, rps, &seconds(hold), &seconds(deadline), 0.001)
}

fn words(plan: &PlanForecast) -> String {
    plan.late.as_ref().map(crate::say::late).unwrap_or_default()
}

fn class_counter() -> DriftSource {
    DriftSource::Counter { metric: "m".into(), class: "class".into() }
}

/// Plans with requests a second, hold and deadline in minutes.
fn grid<'a>(plans: &'a [&'a [u8]]) -> impl Iterator<Item = (&'a [u8], f64, f64, f64)> {
    let traffic = [0.3, 1.0, 4.0, 10.0, 40.0].into_iter().flat_map(|rps| [(rps, 5.0, 60.0), (rps, 15.0, 20.0), (rps, 60.0, 600.0)]);
    plans.iter().flat_map(move |plan| traffic.clone().map(move |(rps, hold, deadline)| (*plan, rps, hold, deadline)))
}

/// The minutes that stand after these words.
fn minutes(text: &str, after: &str) -> f64 {
    let mut rest = text.split(after).nth(1).unwrap_or_else(|| panic!("{text}")).split([' ', ';', ',']);
    crate::plan::read_span(rest.next().unwrap()).unwrap() / 60.0
}

#[test]
fn a_shadow_step_first_is_proposed_with_the_weight_after_it_and_both_do() {
    // The step of 100 % has the last limit.
    let limits = |late: &str, n: usize, own: Option<f64>| -> (Vec<f64>, Vec<f64>) {
        let of = |minutes: f64| own.into_iter().chain([minutes].repeat(n)).collect();
        (of(18.0), of(if late == "deadline" { 18.0 } else { 120.0 }))
    };
    for late in ["deadline", "hold"] {
        let (hold, deadline) = limits(late, 4, None);
        let found = forecast(&[errors()], &weights(&[5, 26, 50, 100], 18.0), 10.0, &hold, &deadline);
        let text = words(&found);
        assert!(text.contains(&format!("the step at 5 % needs about 22m for errors, and its {late} is 18m; ")), "{text}");
        assert!(text.contains("; a weight of 10 % in its place, or a shadow step of 2m first "), "{text}");
        assert!(text.contains(" (mirror: 100, which no user waits for) and then 10 % as the first weight, or a "), "{text}");
        let held = minutes(&text, "a shadow step of ");
        let steps: Vec<StepTerms> = [shadow(0.1, held)].into_iter().chain(weights(&[10, 26, 50, 100], 18.0)).collect();
        let ((hold, _), (_, deadline)) = (limits(late, 4, Some(held)), limits(late, 4, Some(60.0)));
        assert_eq!(forecast(&[errors()], &steps, 10.0, &hold, &deadline).late, None, "{text}");
    }
}

#[test]
fn whatever_is_proposed_does() {
    let plans: [&[u8]; 5] = [&[5, 20, 50, 100], &[1, 5, 25, 50, 100], &[5, 100], &[10, 60, 100], &[2, 8, 100]];
    let drift = Metric::new("drift", MetricKind::Drift(Drift { source: class_counter(), limits: DistanceLimits::default() }));
    let mut told = [0; 4];
    for (plan, rps, hold, deadline) in grid(&plans) {
        for metrics in [vec![errors()], vec![errors(), latency()], vec![latency(), drift.clone()]] {
            // Minutes of the limits of every step but the shadow, which has 60 minutes or what it takes twice.
            let late = |weights: &[u8], own: Option<(f64, f64)>, hold: f64, deadline: f64| {
                let first = own.map(|(next, held)| shadow(next, held));
                let steps: Vec<StepTerms> = first.into_iter().chain(self::weights(weights, hold)).collect();
                let with = |own: Option<f64>, all: f64| own.into_iter().chain([all].repeat(weights.len())).collect::<Vec<_>>();
                let holds = with(own.map(|(_, held)| held), hold);
                forecast(&metrics, &steps, rps, &holds, &with(own.map(|(_, held)| held.max(30.0) * 2.0), deadline)).late
            };
            let Some(found) = late(plan, None, hold, deadline) else { continue };
            let (by_hold, text) = (found.limit == Limit::Hold, crate::say::late(&found));
            let does = |weights: &[u8], own: Option<(f64, f64)>, hold: f64, deadline: f64| match late(weights, own, hold, deadline) {
                Some(late) if late.limit == Limit::Deadline || by_hold => panic!("{plan:?}: {text}: {late:?}"),
                _ => 1,
            };
            let number = |after: &str| -> Option<u8> { text.split_once(after)?.1.split(' ').next()?.parse().ok() };
            let at = number("the step at ").unwrap();
            if let Some(weight) = number("; a weight of ") {
                let rest = plan.iter().copied().filter(|planned| *planned > weight);
                let weights: Vec<u8> = plan.iter().copied().filter(|planned| *planned < at).chain([weight]).chain(rest).collect();
                told[0] += does(&weights, None, hold, deadline);
            }
            if let Some(weight) = number(" and then ") {
                let rest = plan.iter().copied().filter(|planned| *planned > weight);
                let weights: Vec<u8> = [weight].into_iter().chain(rest).collect();
                let own = (f64::from(weight) / 100.0, minutes(&text, "a shadow step of "));
                told[1] += does(&weights, Some(own), hold, deadline);
            }
            if text.contains(" a hold of ") {
                told[2] += does(plan, None, minutes(&text, " a hold of "), 1e5);
            }
            if text.contains(" a deadline of ") {
                told[3] += does(plan, None, hold, minutes(&text, " a deadline of "));
            }
        }
    }
    assert!(told.into_iter().all(|times| times > 20), "{told:?}");
}

#[test]
fn a_weight_of_the_plan_that_has_the_time_is_the_first_after_the_shadow() {
    // A new weight has the limit of the step that it replaces, 3 minutes: 10 and 20 % are too small for it.
    let (metrics, deadlines) = ([errors()], [3.0, 60.0, 60.0, 60.0]);
    let found = forecast(&metrics, &weights(&[5, 26, 50, 100], 5.0), 10.0, &[5.0; 4], &deadlines);
    let text = words(&found);
    assert!(text.contains("; a weight of 26 % in its place, or a shadow step of "), "{text}");
    assert!(text.contains(" and then 26 % as the first weight, or a deadline of "), "{text}");
    let held = minutes(&text, "a shadow step of ");
    let steps: Vec<StepTerms> = [shadow(0.26, held)].into_iter().chain(weights(&[26, 50, 100], 5.0)).collect();
    let found = forecast(&metrics, &steps, 10.0, &[held, 5.0, 5.0, 5.0], &[60.0; 4]);
    assert!(
        found.late.as_ref().is_none_or(|late| late.limit == Limit::Hold) && found.steps[0].minutes_to_pass <= Some(held),
        "{text}: {found:?}"
    );
}

#[test]
fn where_no_weight_has_the_time_the_shadow_may_be_all_that_comes_before_everybody() {
    let metrics = [errors(), latency()];
    let found = forecast(&metrics, &weights(&[5, 20, 50, 100], 5.0), 1.0, &[5.0; 4], &[60.0; 4]);
    let text = words(&found);
    assert!(
        text.contains("; a shadow step of 1h19m first (mirror: 100, which no user waits for) and then 100 % at once, or a d"),
        "{text}"
    );
    let held = minutes(&text, "a shadow step of ");
    let late = |held: f64| {
        let steps = [shadow(1.0, held), StepTerms::weighted(1.0, 1.0, 10)];
        forecast(&metrics, &steps, 1.0, &[held, 5.0], &[2.0 * held, 60.0]).late
    };
    assert_eq!(late(held), None, "{text}");
    assert!(late(held - 12.0).is_some_and(|late| late.limit == Limit::Hold), "it is not longer than it must be: {text}");
    // A hold that is too short costs time alone: nobody skips the weights for that.
    let found = forecast(&metrics, &weights(&[5, 20, 50, 100], 5.0), 1.0, &[5.0; 4], &[600.0; 4]);
    assert!(words(&found).contains("its hold is 5m; a hold of ") && !words(&found).contains("shadow"), "{found:?}");
}

#[test]
fn no_shadow_is_proposed_to_a_plan_that_has_one_or_has_begun_or_to_the_users_of_a_match() {
    let (metrics, late) = ([errors(), latency()], weights(&[5, 100], 5.0));
    let text = |steps: &[StepTerms]| {
        let n = steps.len();
        let found = forecast(&metrics, steps, 5.0, &vec![5.0; n], &vec![60.0; n]);
        words(&found)
    };
    let begins = |text: &str| text.starts_with("at 5 requests a second the step at 5 % needs about 4h30m for errors, ");
    let plain = text(&late);
    assert!(begins(&plain) && plain.contains("a weight of 30 % in its place, or a shadow step of "), "{plain}");
    let with_shadow: Vec<StepTerms> = [shadow(0.05, 5.0)].into_iter().chain(late.clone()).collect();
    let has = text(&with_shadow);
    assert!(begins(&has) && has.contains("; a weight of 30 % in its place or a deadline of ") && !has.contains("shadow"), "{has}");
    let begun = late_rest(&metrics, &late, 30.0, (5.0, 0.001), &[300.0; 2], &[3600.0; 2]).unwrap();
    assert_eq!(crate::say::late(&begun), has);
    let matched = StepTerms { share: Share { matched: true, ..Share::NONE }, ..late[0].clone() };
    let matched = text(&[matched, late[1].clone()]);
    assert!(matched.contains(" the step at match needs about 4h30m for errors, and its deadline is 1h; a deadline of "), "{matched}");
}

#[test]
fn a_weight_in_its_place_has_the_time_and_so_have_the_steps_before_it() {
    // 5 % opens to 20 % in 16 minutes, which is all that it has: opening to more would take longer.
    let deadlines = [16.0, 10.0, 60.0, 60.0];
    let found = |weight: u8, deadlines: &[f64]| forecast(&[errors()], &weights(&[5, weight, 50, 100], 5.0), 10.0, &[5.0; 4], deadlines);
    let late = found(20, &deadlines);
    let text = words(&late);
    assert!(text.contains("the step at 20 % needs about 14m") && !text.contains(" in its place"), "{text}");
    let deadlines = [60.0, 10.0, 60.0, 60.0];
    let late = found(20, &deadlines);
    let text = words(&late);
    assert!(text.contains("; a weight of 30 % in its place or a deadline of "), "behind 5 % nothing is unproved: {text}");
    assert!(found(30, &deadlines).late.is_none_or(|late| late.limit != Limit::Deadline), "{text}");
}

#[test]
fn the_traffic_that_would_do_is_reported_where_no_time_does() {
    let late = |rps: f64, rate: f64| {
        let steps = weights(&[5, 20, 50, 100], 5.0);
        forecast_plan(&[errors()], &steps, 30.0, rps, &[300.0; 4], &[3600.0; 4], rate).late
    };
    let text = crate::say::late(&late(0.001, 0.001).filter(|late| late.limit == Limit::Deadline).unwrap());
    let rps = text.split("; only more traffic, about ").nth(1).and_then(|rest| rest.strip_suffix(" requests a second, would be enough"));
    let rps: f64 = rps.unwrap_or_else(|| panic!("{text}")).parse().unwrap();
    assert!(late(rps, 0.001).is_none_or(|late| late.limit != Limit::Deadline), "{text}");
    assert!(late(0.7 * rps, 0.001).is_some_and(|late| late.limit == Limit::Deadline), "{text}");
    let text = crate::say::late(&late(10.0, 0.96).filter(|late| late.limit == Limit::Deadline).unwrap());
    assert!(
        text.ends_with(
            "would never pass for errors, and its deadline is 1h; neither time nor traffic would be enough, only `without` for errors"
        ),
        "{text}"
    );
}

#[test]
fn minutes_are_shown_as_they_are() {
    assert_eq!([0.2, 12.0, 12.1, 89.0, 89.5, 97.0, 5990.0, 5995.0].map(told), [1.0, 12.0, 13.0, 89.0, 90.0, 97.0, 6000.0, 6000.0]);
    assert_eq!([102.0, 90.0, 7200.0].map(|minutes| crate::words::time(60.0 * minutes)), ["1h42m", "1h30m", "120h"]);
}
