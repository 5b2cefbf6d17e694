//! How long it will take (statistics 2g): closed forms, from rates and traffic alone.

use serde::{Deserialize, Serialize};

use super::StepTerms;
use super::budget::{self, Ahead, PART, found, smallest};
use super::columns::Layout;
use super::drift::{chance_of_bounds, chance_of_classes, pass_limit, radius};
use super::kernel::{Margin, PASS_BETS, at_odds, divergence, project};
use super::late::Late;
use super::mixture::{CAP, ETA, GAMMA_FIRST, PASS_CAP};
use super::passing::{Hold, PARTS, PASS_AT, Passing};
use super::proportions::{LEAST_EVENTS, brackets, fail_margin, pass_margin, share_above, value_exceeded};
use crate::plan::{Counted, DistanceLimits, Limits, Metric, MetricKind};

mod enough;

use enough::Whole;

/// More windows than this is never.
const NEVER: f64 = 1e6;
/// The regression in latency that the forecast speaks of: slower by this.
pub(super) const SLOWER: f64 = 0.30;
/// Where no test is planned at the end of the hold, every other healthy canary takes longer than expected; of six, five are proved within
/// this many times as long.
const SPREAD: f64 = 1.5;
/// Dispersion that the forecast of a plan assumes.
const PLANNED_PHI: f64 = 1.1;
/// Istio's bounds, ms, and a service with p50 at 100 and p99 at 400 ms: what the forecast of a plan assumes of latency.
const BOUNDS: [f64; 14] = [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0];
/// Shares of the classes that the forecast of a plan assumes.
const CLASSES: [f64; 5] = [0.50, 0.25, 0.15, 0.07, 0.03];

/// Nats that one window adds for the bet `(theta_a, theta_b)` if the truth is `(p_a, p_b)`.
fn growth(n: (f64, f64), truth: (f64, f64), theta: (f64, f64), margin: Margin) -> f64 {
    let Some(at) = project(n.0, n.1, theta.0, theta.1, margin) else { return 0.0 };
    let part = |n: f64, p: f64, null: f64, theta: f64| n * (divergence(p, null) - divergence(p, theta));
    part(n.0, truth.0, at.a0, theta.0) + part(n.1, truth.1, at.b0, theta.1)
}

/// Windows until the fail side of a share would find the canary at `p_b`, stable being at `p_a`; `n` are requests of stable and canary
/// in a window, `weight` is the part of the metric in the merge, `fail_at` where the merge fails. `None`: never.
pub(super) fn windows_to_fail(n: (f64, f64), p_a: f64, p_b: f64, margin: Margin, phi: f64, weight: f64, fail_at: f64) -> Option<f64> {
    let (b, p_a) = (margin.at(p_a), p_a.max(1e-6));
    let best = ETA
        .iter()
        .map(|eta| at_odds(b.clamp(1e-9, 1.0 - 1e-9), eta.exp()))
        .filter(|theta_b| b < 1.0 && *theta_b > b)
        .map(|theta_b| growth(n, (p_a, p_b), (p_a, theta_b), margin))
        .fold(0.0, f64::max);
    let needed = (fail_at / weight.max(1e-9)).ln() + (ETA.len() as f64 / GAMMA_FIRST).ln() - 0.8;
    windows(needed, (best / phi).min(CAP)).map(|windows| windows.max(3.0))
}

/// Windows until the bets of the pass side of a share would prove a healthy canary, with `log_evidence` reached already. `None`: never.
pub(super) fn windows_to_pass(n: (f64, f64), p: f64, margin: Margin, phi: f64, log_evidence: f64) -> Option<f64> {
    let p = p.max(1e-6);
    let b = margin.at(p);
    let bet = |(way, part): (f64, f64)| {
        let theta_b = p + way * (b - p);
        let each = if b < 1.0 && theta_b < b { growth(n, (p, p), (p, theta_b), margin) } else { 0.0 };
        windows(PASS_AT.ln() - part.ln() - 0.5 - log_evidence.max(-20.0), (each / phi).min(PASS_CAP))
    };
    PASS_BETS.into_iter().zip(PARTS).filter_map(bet).min_by(f64::total_cmp)
}

fn windows(needed: f64, each: f64) -> Option<f64> {
    let windows = needed.max(0.0) / each;
    (each > 1e-9 && windows < NEVER).then(|| windows.ceil().max(1.0))
}

/// Windows until the upper bound of the distance of a healthy canary is below `limit`: `by_chance(precision)` is the distance that chance
/// shows, `radius(precision)` what is added. `each` is the precision that one window adds, `had` what is there.
pub(super) fn windows_to_bound(each: f64, had: f64, limit: f64, bound: impl Fn(f64) -> f64) -> Option<f64> {
    if each <= 0.0 || bound(had + each * NEVER) > limit {
        return None;
    }
    let (mut low, mut high) = (0.0, NEVER);
    while high - low > 0.5 {
        let middle = 0.5 * (low + high);
        if bound(had + each * middle) > limit { low = middle } else { high = middle }
    }
    Some(high.ceil())
}

/// The error rate that the forecast speaks of: twice stable's, or where the limit allows that, twice the limit.
pub(super) fn doubled(p: f64, margin: Margin) -> f64 {
    let limit = margin.at(p);
    let target = if 2.0 * p > 1.2 * limit { 2.0 * p } else { 2.0 * limit };
    target.min(0.5 * (1.0 + limit))
}

/// How long each step of a plan will take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanForecast {
    /// One for each step.
    pub steps: Vec<StepForecast>,
    /// One for each metric that gates a step with two arms.
    pub reach: Vec<Reach>,
    /// The first step whose deadline is shorter than what a healthy canary needs, or if there is none, whose hold is; with the change that
    /// would be enough.
    pub late: Option<Late>,
}

/// What of one metric is found by the end of the plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reach {
    /// Name of the metric.
    pub metric: String,
    /// Probability that a doubled error rate, a slow-down by 30 % or twice the drift limit is found.
    pub found_by_end: f64,
    /// Smallest regression found with 90 %: error rate, slow-down (0.1: by 10 %), distance; `None`: none.
    pub smallest_found: Option<f64>,
}

/// How long one step will take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepForecast {
    /// Minutes until a healthy canary passes; `None`: never. At 100 % the hold.
    pub minutes_to_pass: Option<f64>,
    /// Minutes until a doubled error rate, a slow-down by 30 % or twice the drift limit is seen, the slowest of them; `None`: never.
    pub minutes_to_detect: Option<f64>,
    /// The metric that passes last.
    pub slowest: Option<String>,
}

/// p50 100 ms and p99 400 ms, lognormal, on [`BOUNDS`].
fn usual_latency() -> Vec<f64> {
    let deviation = 4f64.ln() / 2.326;
    let above = |u: f64| 0.5 * statrs::function::erf::erfc((u / 100.0).ln() / deviation / std::f64::consts::SQRT_2);
    BOUNDS.iter().map(|u| above(*u)).collect()
}

/// What of one metric is found by the end of the plan (2i.5): `ahead` are the steps that judge it, `n` the requests of a window, `alpha` the
/// metric's part of the budget.
fn reach(metric: &Metric, ahead: &[Ahead], n: f64, errors: f64, alpha: f64) -> Reach {
    let limits = metric.kind.limits();
    let (found_by_end, smallest_found) = match limits {
        Limits::Share(_) => {
            let (margin, rho) = (fail_margin(limits, &[], &[errors], 0), budget::start(alpha));
            (found(rho, ahead, n, (errors, doubled(errors, margin)), margin), smallest(rho, ahead, n, errors, margin))
        }
        Limits::Stretch(_) => {
            let s0 = usual_latency();
            let one = |(column, weight): (usize, f64)| {
                let (bound, p) = BOUNDS.get(column).copied().zip(s0.get(column).copied())?;
                let (margin, rho) = (fail_margin(limits, &BOUNDS, &s0, column), budget::start(alpha * weight));
                let least = smallest(rho, ahead, n, p, margin).and_then(|p_b| value_exceeded(&BOUNDS, &s0, p_b));
                let slow = share_above(&BOUNDS, &s0, bound / (1.0 + SLOWER));
                Some((found(rho, ahead, n, (p, slow), margin), least.map(|value| bound / value - 1.0)))
            };
            let each: Vec<(f64, Option<f64>)> = brackets(&s0).into_iter().filter_map(one).collect();
            (each.iter().map(|(found, _)| *found).fold(0.0, f64::max), each.iter().filter_map(|(_, least)| *least).min_by(f64::total_cmp))
        }
        Limits::Distance(DistanceLimits { rollback, .. }) => {
            let (margin, rho, p) = (Margin { r: 1.0, d: rollback }, budget::start(alpha), 0.25);
            let worse = p + (2.0 * rollback).clamp(0.02, 0.7);
            (found(rho, ahead, n, (p, worse), margin), smallest(rho, ahead, n, p, margin).map(|p_b| p_b - p))
        }
        Limits::Range(_) => (0.0, None),
    };
    Reach { metric: metric.name.clone(), found_by_end, smallest_found }
}

/// Windows until one metric passes a step, and until it would see its regression, for typical latencies and classes. An outer `None` in
/// the first: nothing of it can be proved in the step, so that it does not gate.
fn step_windows(
    kind: &MetricKind,
    step: &StepTerms,
    requests: f64,
    errors: f64,
    weight: f64,
    fail_at: f64,
) -> (Option<Option<f64>>, Option<f64>) {
    let n = (requests * (1.0 - step.weight), requests * step.weight);
    let hold = Hold { windows: f64::from(step.tested_windows()), n };
    let to_pass = |d: f64, p: f64| {
        let side = Passing::begin(d, p, PLANNED_PHI, hold);
        let windows = side.windows(p, PLANNED_PHI, hold)?;
        Some(if side.planned() { windows } else { (SPREAD * windows).ceil() })
    };
    let limits = kind.limits();
    match limits {
        Limits::Share(_) => {
            let fail = fail_margin(limits, &[], &[errors], 0);
            let d = pass_margin(limits, &[], &[errors], 0, step.next_weight);
            let seen = windows_to_fail(n, errors, doubled(errors, fail), fail, PLANNED_PHI, weight, fail_at);
            (Some(to_pass(d, errors)), seen)
        }
        Limits::Stretch(_) => {
            let s0 = usual_latency();
            let planned = n.1 * f64::from(step.planned_windows);
            let mut pass: Option<Option<f64>> = None;
            let mut seen: Option<f64> = None;
            for (column, _) in brackets(&s0) {
                let Some((bound, share)) = BOUNDS.get(column).zip(s0.get(column)) else { continue };
                let fail = fail_margin(limits, &BOUNDS, &s0, column);
                let slow = share_above(&BOUNDS, &s0, bound / (1.0 + SLOWER));
                let found = windows_to_fail(n, *share, slow, fail, PLANNED_PHI, weight / 4.0, fail_at);
                seen = [seen, found].into_iter().flatten().min_by(f64::total_cmp);
                let d = pass_margin(limits, &BOUNDS, &s0, column, step.next_weight);
                if planned * share >= LEAST_EVENTS && share + d < 1.0 {
                    let need = to_pass(d, *share);
                    pass = Some(pass.unwrap_or(Some(0.0)).zip(need).map(|(a, b)| a.max(b)));
                }
            }
            (pass, seen)
        }
        Limits::Distance(DistanceLimits { rollback, pass, .. }) => {
            let layout = match kind.counted() {
                Counted::Classes { .. } => Layout::Classes((1..CLASSES.len()).map(|c| c.to_string()).collect()),
                _ => Layout::Bounds(vec![0.5]),
            };
            let each = requests * step.weight * (1.0 - step.weight);
            let planned = each * f64::from(step.planned_windows);
            let limit = pass_limit(pass, step.next_weight);
            let bound = |precision: f64| healthy_bound(&layout, precision, planned, PLANNED_PHI);
            let fail = Margin { r: 1.0, d: rollback };
            let seen = windows_to_fail(n, 0.25, 0.25 + (2.0 * rollback).clamp(0.02, 0.7), fail, PLANNED_PHI, 0.5 * weight, fail_at);
            (Some(windows_to_bound(each, 0.0, limit, bound)), seen)
        }
        Limits::Range(_) => (None, Some(0.0)),
    }
}

/// Upper bound of the distance that a healthy canary is expected to show at a precision.
pub(super) fn healthy_bound(layout: &Layout, precision: f64, planned: f64, phi: f64) -> f64 {
    let deviation = (phi / precision.max(1e-9)).sqrt();
    let chance = match layout {
        Layout::Classes(_) => chance_of_classes(CLASSES.iter().copied(), deviation),
        _ => chance_of_bounds([0.5].into_iter(), deviation),
    };
    (chance + radius(layout, precision, planned, phi)).min(1.0)
}

/// Forecast of a plan at `rps` requests a second and stable's error rate. `hold_seconds` and `deadline_seconds` belong to the steps.
/// Latency is taken as p50 100 ms and p99 400 ms on Istio's buckets, drift as five classes, dispersion as 1.1.
pub fn forecast_plan(
    metrics: &[Metric],
    steps: &[StepTerms],
    interval_seconds: f64,
    rps: f64,
    hold_seconds: &[f64],
    deadline_seconds: &[f64],
    baseline_error_rate: f64,
) -> PlanForecast {
    let plan = Whole { metrics, steps, interval_seconds, rps, errors: baseline_error_rate, begun: false };
    let mut found = plan.forecast(steps);
    for ((forecast, step), hold) in found.iter_mut().zip(steps).zip(hold_seconds) {
        if step.weight >= 1.0 {
            forecast.minutes_to_pass = Some(hold / 60.0);
        }
    }
    let fail_at = super::FAIL_AT * f64::from(super::kinds(steps));
    let late = plan.late(hold_seconds, deadline_seconds);
    PlanForecast { reach: reaches(metrics, steps, rps * interval_seconds, baseline_error_rate, fail_at), late, steps: found }
}

/// [`PlanForecast::late`] of the steps that are still to come of a rollout whose first step has begun: no shadow step can come before them.
pub fn late_rest(
    metrics: &[Metric],
    steps: &[StepTerms],
    interval_seconds: f64,
    (rps, errors): (f64, f64),
    hold_seconds: &[f64],
    deadline_seconds: &[f64],
) -> Option<Late> {
    Whole { metrics, steps, interval_seconds, rps, errors, begun: true }.late(hold_seconds, deadline_seconds)
}

/// What the plan can find of each metric: in that kind of traffic which shows the most of it.
fn reaches(metrics: &[Metric], steps: &[StepTerms], n: f64, errors: f64, fail_at: f64) -> Vec<Reach> {
    let gating: Vec<&Metric> = metrics.iter().filter(|metric| steps.iter().any(|step| step.compares(metric))).collect();
    let alpha = PART / gating.len().max(1) as f64 / fail_at;
    let best = |metric: &&Metric| {
        let of_kind = |kind: u32| {
            let steps: Vec<&StepTerms> = steps.iter().filter(|step| step.kind == kind && step.compares(metric)).collect();
            let counted = steps.first()?.counted();
            let ahead = |step: &&StepTerms| Ahead { windows: f64::from(step.planned_windows), weight: step.weight, phi: PLANNED_PHI };
            Some(reach(metric, &steps.iter().map(ahead).collect::<Vec<_>>(), n * counted, errors, alpha))
        };
        let kinds: std::collections::BTreeSet<u32> = steps.iter().map(|step| step.kind).collect();
        kinds.into_iter().filter_map(of_kind).max_by(|a, b| a.found_by_end.total_cmp(&b.found_by_end))
    };
    gating.iter().filter_map(best).collect()
}

fn forecast_step(metrics: &[Metric], step: &StepTerms, interval_seconds: f64, rps: f64, errors: f64, fail_at: f64) -> StepForecast {
    let gating: Vec<&Metric> = metrics.iter().filter(|metric| step.asks(metric) && !metric.kind.is_threshold()).collect();
    let at_once = (!gating.is_empty()).then_some(0.0); // nothing compared: nothing seen by it
    let mut forecast = StepForecast { minutes_to_pass: Some(0.0), minutes_to_detect: at_once, slowest: None };
    if step.weight >= 1.0 {
        return StepForecast { minutes_to_detect: None, ..forecast };
    }
    let weight = (1.0 - PART) / gating.len().max(1) as f64; // large regressions are the e-process' part
    let minutes = |windows: f64| windows * interval_seconds / 60.0;
    for metric in gating {
        let (pass, seen) = step_windows(&metric.kind, step, rps * interval_seconds * step.counted(), errors, weight, fail_at);
        forecast.minutes_to_detect = forecast.minutes_to_detect.zip(seen).map(|(most, w)| most.max(minutes(w)));
        let Some(pass) = pass else { continue };
        let slower = forecast.minutes_to_pass.zip(pass).is_none_or(|(most, w)| minutes(w) >= most);
        if slower && forecast.minutes_to_pass.is_some() {
            forecast.slowest = Some(metric.name.clone());
            forecast.minutes_to_pass = pass.map(minutes);
        }
    }
    forecast
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Limit;
    use crate::plan::{Drift, DriftSource, ErrorRate, Latency};

    const STRICT: Margin = Margin { r: 1.0, d: 0.0 };

    fn steps() -> Vec<StepTerms> {
        let step = |weight: f64, next_weight: f64| StepTerms::weighted(weight, next_weight, 10);
        vec![step(0.05, 0.2), step(0.2, 0.5), step(0.5, 1.0), step(1.0, 1.0)]
    }

    fn metrics() -> Vec<Metric> {
        let source = DriftSource::Counter { metric: "m".into(), class: "class".into() };
        vec![
            Metric::new("errors", MetricKind::ErrorRate(ErrorRate::default())),
            Metric::new("latency", MetricKind::Latency(Latency::default())),
            Metric::new("drift", MetricKind::Drift(Drift { source, limits: DistanceLimits::default() })),
        ]
    }

    #[test]
    fn canary_requests_to_detect_follow_the_table_of_2g() {
        // 0.1 -> 1 %, strict margin, alpha .05, a third of the weight: 483 canary requests at 5 %; with margins 650 (7 bets there).
        let windows = windows_to_fail((285.0, 15.0), 0.001, 0.01, STRICT, 1.0, 1.0 / 3.0, 20.0).unwrap();
        assert!((400.0..600.0).contains(&(windows * 15.0)), "{windows}");
        let wide = windows_to_fail((285.0, 15.0), 0.001, 0.01, Margin { r: 1.1, d: 0.0005 }, 1.0, 1.0 / 3.0, 20.0).unwrap();
        assert!((500.0..800.0).contains(&(wide * 15.0)), "{wide}");
    }

    #[test]
    fn a_difference_inside_the_margin_is_never_seen() {
        assert_eq!(windows_to_fail((2850.0, 150.0), 0.01, 0.0112, Margin { r: 1.1, d: 0.0005 }, 1.0, 1.0, 12.5), None);
    }

    #[test]
    fn a_plan_at_good_traffic_is_decided_within_the_holds() {
        let plan = forecast_plan(&metrics(), &steps(), 30.0, 100.0, &[300.0; 4], &[3600.0; 4], 0.001);
        assert_eq!(plan.late, None);
        assert!(plan.steps.iter().all(|step| step.minutes_to_pass.is_some_and(|m| m <= 10.0)), "{plan:?}");
    }

    #[test]
    fn a_plan_at_one_request_a_second_is_said_to_be_impossible_with_a_fix() {
        let plan = forecast_plan(&metrics(), &steps(), 30.0, 1.0, &[300.0; 4], &[3600.0; 4], 0.005);
        let text = crate::say::late(&plan.late.filter(|late| late.limit == Limit::Deadline).unwrap());
        assert!(text.contains("1 requests a second") && text.contains("would be enough"), "{text}");
    }

    #[test]
    fn a_hold_shorter_than_the_forecast_is_reported_and_what_would_do_does() {
        let plan = |steps: &[StepTerms], hold: f64| forecast_plan(&metrics(), steps, 30.0, 10.0, &[hold; 4], &[7200.0; 4], 0.001);
        let found = plan(&steps(), 300.0);
        let text = crate::say::late(&found.late.filter(|late| late.limit == Limit::Hold).unwrap());
        assert!(text.starts_with("at 10 requests a second the step at 5 % needs about ") && text.contains("its hold is 5m; "), "{text}");
        let seconds = offered(&text, "a hold of ");
        let longer: Vec<StepTerms> =
            steps().into_iter().map(|step| StepTerms { planned_windows: (seconds / 30.0) as u32, ..step }).collect();
        assert_eq!(plan(&longer, seconds).late, None, "{text}");
        assert!(plan(&steps(), 60.0).late.is_some());
    }

    #[test]
    fn a_deadline_shorter_than_the_forecast_is_reported_and_what_would_do_does() {
        let plan = |deadline: f64| forecast_plan(&metrics(), &steps(), 30.0, 10.0, &[300.0; 4], &[deadline; 4], 0.001);
        let text = crate::say::late(&plan(600.0).late.filter(|late| late.limit == Limit::Deadline).unwrap());
        let seconds = offered(&text, "a deadline of ");
        assert!(plan(seconds).late.is_none_or(|late| late.limit != Limit::Deadline), "{text}");
    }

    /// The seconds of the time that a message offers, which can be put into a manifest as it stands.
    fn offered(text: &str, before: &str) -> f64 {
        text.split(before).nth(1).and_then(|rest| rest.split(' ').next()).and_then(crate::plan::read_span).unwrap()
    }

    #[test]
    fn the_plan_finds_smaller_effects_with_more_traffic_and_says_what_it_finds() {
        let reach = |rps: f64| forecast_plan(&metrics(), &steps(), 30.0, rps, &[300.0; 4], &[3600.0; 4], 0.01).reach;
        let (few, many) = (reach(10.0), reach(1000.0));
        for (few, many) in few.iter().zip(&many) {
            assert!(few.smallest_found.is_none_or(|x| x > many.smallest_found.unwrap()), "{few:?} {many:?}");
            assert!(few.found_by_end <= many.found_by_end);
        }
        let words: Vec<String> = many.iter().zip(&metrics()).map(|(found, metric)| crate::say::reach(metric, found)).collect();
        assert!(words[0].starts_with("from 1.") && words[1].ends_with("% slower"), "{words:?}");
    }

    #[test]
    fn less_traffic_takes_longer() {
        let minutes =
            |rps: f64| forecast_plan(&metrics(), &steps(), 30.0, rps, &[300.0; 4], &[3600.0; 4], 0.001).steps[0].minutes_to_pass.unwrap();
        assert!(minutes(10.0) > minutes(50.0));
    }
}
