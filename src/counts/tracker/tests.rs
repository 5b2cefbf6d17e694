use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::counts::{Counts, Pod, Series};
use crate::plan::{DistanceLimits, Drift, DriftSource, ErrorRate, Latency, Metric, MetricKind};

mod properties;
mod stores;

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn pod(side: Side, created: i64) -> Pod {
    Pod { side, created: t(created), ready_since: Some(t(created)) }
}

fn scope() -> Scope {
    Scope {
        label: "destination_workload".into(),
        stable: "m-v1".into(),
        canary: "m-v2".into(),
        namespace: "ml".into(),
        pod_jobs: BTreeSet::from(["mesh".to_owned()]),
        pods: BTreeMap::from([("v1-a".to_owned(), pod(Side::Stable, -9000)), ("v2-a".to_owned(), pod(Side::Canary, -9000))]),
        by_pod: false,
        named: false,
        needs_stable: true,
        warm_up: Duration::ZERO,
        aside: BTreeSet::new(),
    }
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    Series { labels: labels.iter().copied().collect(), samples: samples.iter().map(|(at, value)| (t(*at), *value)).collect() }
}

fn requests(version: &str, code: &str, samples: &[(i64, f64)]) -> Series {
    let (workload, pod, instance) = (format!("m-{version}"), format!("{version}-a"), format!("{version}:15020"));
    series(
        &[("destination_workload", &workload), ("pod", &pod), ("instance", &instance), ("job", "mesh"), ("response_code", code)],
        samples,
    )
}

fn up(version: &str, samples: &[(i64, f64)]) -> Series {
    let (pod, instance) = (format!("{version}-a"), format!("{version}:15020"));
    series(&[("pod", &pod), ("instance", &instance), ("job", "mesh")], samples)
}

fn reading(requests: Vec<Series>, ups: Vec<Series>) -> Reading {
    Reading { families: vec![(Family::Up, ups), (Family::Requests, requests)] }
}

/// As far back as the look before, as a look asks.
fn both_up(at: i64) -> Vec<Series> {
    let answered = [(at - 31, 1.0), (at - 16, 1.0), (at - 1, 1.0)];
    vec![up("v1", &answered), up("v2", &answered)]
}

fn errors() -> Vec<Metric> {
    vec![Metric::new("errorRate", MetricKind::ErrorRate(ErrorRate::default()))]
}

fn events(outcome: &Outcome) -> [(u64, u64); 2] {
    let Outcome::Counted(deltas) = outcome else { panic!("{outcome:?}") };
    let window = deltas.window(&errors(), 0.05, [1, 1]);
    [&window.stable, &window.canary].map(|sample| match sample.get("errorRate") {
        Some(Counts::Events { total, bad }) => (*total, *bad),
        other => panic!("{other:?}"),
    })
}

fn tracker() -> Tracker {
    Tracker::new(Duration::from_secs(300))
}

fn plain(at: i64, v1: f64, v2: f64) -> Reading {
    reading(vec![requests("v1", "200", &[(at - 1, v1)]), requests("v2", "200", &[(at - 1, v2)])], both_up(at))
}

#[test]
fn the_first_look_is_a_baseline_and_the_next_one_counts() {
    let mut tracker = tracker();
    assert_eq!(tracker.look(&plain(0, 1000.0, 50.0), &scope(), t(0)), Outcome::Baseline);
    let outcome = tracker.look(&plain(30, 1100.0, 55.0), &scope(), t(30));
    assert_eq!(events(&outcome), [(100, 0), (5, 0)]);
    let Outcome::Counted(deltas) = outcome else { unreachable!() };
    assert_eq!((deltas.start, deltas.end), (t(0), t(30)));
}

#[test]
fn a_decrease_is_a_reset_also_in_the_middle_of_a_window() {
    // Golden vectors inc-01 and inc-02.
    let mut tracker = tracker();
    tracker.look(&reading(vec![requests("v1", "200", &[(-1, 100.0)]), requests("v2", "200", &[(-1, 7.0)])], both_up(0)), &scope(), t(0));
    let v1 = requests("v1", "200", &[(6, 130.0), (12, 150.0), (18, 5.0), (29, 12.0)]);
    let v2 = requests("v2", "200", &[(10, 7.0), (29, 19.0)]);
    let outcome = tracker.look(&reading(vec![v1, v2], both_up(30)), &scope(), t(30));
    assert_eq!(events(&outcome), [(62, 0), (12, 0)]);
}

#[test]
fn the_first_error_of_a_pod_that_was_read_before_counts_from_zero() {
    let mut tracker = tracker();
    tracker.look(&plain(0, 1000.0, 50.0), &scope(), t(0));
    let mut next = plain(30, 1100.0, 60.0);
    next.families[1].1.push(requests("v2", "500", &[(29, 3.0)]));
    assert_eq!(events(&tracker.look(&next, &scope(), t(30))), [(100, 0), (13, 3)]);
}

#[test]
fn up_alone_shows_that_a_target_was_read_before_its_first_request() {
    let mut tracker = tracker();
    tracker.look(&reading(vec![requests("v1", "200", &[(-1, 10.0)])], both_up(0)), &scope(), t(0));
    assert_eq!(events(&tracker.look(&plain(30, 20.0, 4.0), &scope(), t(30))), [(10, 0), (4, 0)]);
}

#[test]
fn a_pod_created_since_the_look_before_counts_from_zero_and_an_older_one_does_not() {
    for (created, counted) in [(10, true), (-10, false)] {
        let mut tracker = tracker();
        let mut before = scope();
        before.pods.remove("v2-a");
        tracker.look(&reading(vec![requests("v1", "200", &[(-1, 10.0)])], vec![up("v1", &[(-1, 1.0)])]), &before, t(0));
        let mut now = scope();
        now.pods.insert("v2-a".into(), pod(Side::Canary, created));
        now.pods.get_mut("v2-a").unwrap().ready_since = Some(t(-9000));
        let outcome = tracker.look(&plain(30, 20.0, 4.0), &now, t(30));
        if counted {
            assert_eq!(events(&outcome), [(10, 0), (4, 0)]);
        } else {
            assert!(matches!(outcome, Outcome::Dropped(Dropped::NoBaseline { .. })), "{outcome:?}");
            assert_eq!(events(&tracker.look(&plain(60, 30.0, 9.0), &now, t(60))), [(10, 0), (5, 0)], "it was the baseline");
        }
    }
}

#[test]
fn a_series_that_comes_back_goes_on_from_its_last_value() {
    let mut tracker = tracker();
    let with = |at: i64, errors: f64| {
        let mut all = plain(at, 100.0 + at as f64, 10.0 + at as f64);
        all.families[1].1.push(requests("v2", "500", &[(at - 1, errors)]));
        all
    };
    tracker.look(&with(0, 40.0), &scope(), t(0));
    assert_eq!(events(&tracker.look(&plain(30, 130.0, 40.0), &scope(), t(30))), [(30, 0), (30, 0)]);
    assert_eq!(events(&tracker.look(&with(60, 41.0), &scope(), t(60))), [(30, 0), (31, 1)]);
    assert_eq!(events(&tracker.look(&with(90, 43.0), &scope(), t(90))), [(30, 0), (32, 2)]);
}

#[test]
fn a_missed_scrape_of_one_arm_drops_the_window_of_both_and_its_counts_come_with_the_next() {
    let mut tracker = tracker();
    tracker.look(&plain(0, 100.0, 10.0), &scope(), t(0));
    let missed = reading(
        vec![requests("v1", "200", &[(29, 200.0)]), requests("v2", "200", &[(-1, 10.0)])],
        vec![up("v1", &[(29, 1.0)]), up("v2", &[(-1, 1.0)])],
    );
    assert!(matches!(tracker.look(&missed, &scope(), t(30)), Outcome::Dropped(Dropped::Stale { .. })));
    let outcome = tracker.look(&plain(60, 300.0, 20.0), &scope(), t(60));
    assert_eq!(events(&outcome), [(200, 0), (10, 0)], "same minutes of both arms");
    let Outcome::Counted(deltas) = outcome else { unreachable!() };
    assert_eq!(deltas.start, t(0));
}

#[test]
fn a_target_that_is_down_is_not_read_although_its_old_samples_are_there() {
    let mut tracker = tracker();
    tracker.look(&plain(0, 100.0, 10.0), &scope(), t(0));
    let mut down = plain(30, 200.0, 20.0);
    down.families[0].1 = vec![up("v1", &[(29, 1.0)]), up("v2", &[(20, 1.0), (29, 0.0)])];
    let outcome = tracker.look(&down, &scope(), t(30));
    assert!(matches!(&outcome, Outcome::Dropped(Dropped::NotScraped { side: Side::Canary, pod, .. }) if pod == "v2-a"), "{outcome:?}");
}

#[test]
fn a_ready_pod_without_a_target_drops_the_window_and_an_unready_one_does_not() {
    let mut tracker = tracker();
    let mut scope = scope();
    scope.pods.insert("v2-b".into(), Pod { side: Side::Canary, created: t(-100), ready_since: None });
    assert_eq!(tracker.look(&plain(0, 100.0, 10.0), &scope, t(0)), Outcome::Baseline);
    scope.pods.get_mut("v2-b").unwrap().ready_since = Some(t(5));
    let outcome = tracker.look(&plain(30, 200.0, 20.0), &scope, t(30));
    assert!(matches!(&outcome, Outcome::Dropped(Dropped::NotScraped { pod, .. }) if pod == "v2-b"), "{outcome:?}");
}

#[test]
fn at_100_percent_stable_need_not_be_read() {
    let mut tracker = tracker();
    let scope = Scope { needs_stable: false, ..scope() };
    let only = |at: i64, v2: f64| reading(vec![requests("v2", "200", &[(at - 1, v2)])], vec![up("v2", &[(at - 1, 1.0)])]);
    assert_eq!(tracker.look(&only(0, 10.0), &scope, t(0)), Outcome::Baseline);
    assert_eq!(events(&tracker.look(&only(30, 90.0), &scope, t(30))), [(0, 0), (80, 0)]);
}

#[test]
fn nothing_is_counted_while_a_canary_pod_warms_up() {
    let mut tracker = tracker();
    let mut scope = Scope { warm_up: Duration::from_secs(60), ..scope() };
    scope.pods.get_mut("v2-a").unwrap().ready_since = Some(t(-40));
    tracker.look(&plain(0, 100.0, 10.0), &scope, t(0));
    let outcome = tracker.look(&plain(30, 200.0, 20.0), &scope, t(30));
    assert_eq!(outcome, Outcome::Dropped(Dropped::WarmUp { pod: "v2-a".into(), until: t(20) }));
    assert_eq!(events(&tracker.look(&plain(60, 300.0, 35.0), &scope, t(60))), [(100, 0), (15, 0)], "only what came after");
}

#[test]
fn two_targets_of_one_pod_are_reported_with_their_jobs() {
    let mut tracker = tracker();
    let mut twice = plain(0, 100.0, 10.0);
    let mut copy = requests("v1", "200", &[(-1, 100.0)]);
    copy.labels.insert("job", "other");
    twice.families[1].1.push(copy);
    let outcome = tracker.look(&twice, &scope(), t(0));
    let Outcome::Dropped(Dropped::Duplicate { pod, jobs }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((pod.as_str(), BTreeSet::from(jobs)), ("v1-a", BTreeSet::from(["mesh".to_owned(), "other".to_owned()])));
}

#[test]
fn a_step_begins_with_a_look_whose_samples_are_all_newer_than_its_weight() {
    let mut tracker = tracker();
    tracker.look(&plain(0, 100.0, 10.0), &scope(), t(0));
    tracker.restart(Some(t(31)));
    assert!(matches!(tracker.look(&plain(31, 200.0, 20.0), &scope(), t(31)), Outcome::Dropped(Dropped::Stale { .. })));
    assert_eq!(tracker.look(&plain(46, 300.0, 30.0), &scope(), t(46)), Outcome::Baseline);
    assert_eq!(events(&tracker.look(&plain(76, 340.0, 33.0), &scope(), t(76))), [(40, 0), (3, 0)]);
}

#[test]
fn after_too_long_a_gap_counting_restarts() {
    let mut tracker = tracker();
    tracker.look(&plain(0, 100.0, 10.0), &scope(), t(0));
    assert_eq!(tracker.look(&plain(301, 900.0, 90.0), &scope(), t(301)), Outcome::Baseline);
}

#[test]
fn an_empty_answer_is_a_drop_and_nothing_else() {
    let mut tracker = tracker();
    tracker.look(&plain(0, 100.0, 10.0), &scope(), t(0));
    assert_eq!(tracker.look(&Reading::default(), &scope(), t(30)), Outcome::Dropped(Dropped::NothingRead));
    assert_eq!(events(&tracker.look(&plain(60, 300.0, 20.0), &scope(), t(60))), [(200, 0), (10, 0)]);
}

#[test]
fn a_gateway_that_vanishes_costs_one_window() {
    let gateway = |at: i64, instance: &str, workload: &str, value: f64| {
        series(&[("destination_workload", workload), ("instance", instance), ("job", "gw"), ("response_code", "200")], &[(at - 1, value)])
    };
    let all = |at: i64, instances: &[&str], value: f64| Reading {
        families: vec![(
            Family::Requests,
            instances.iter().flat_map(|name| [gateway(at, name, "m-v1", value), gateway(at, name, "m-v2", value / 10.0)]).collect(),
        )],
    };
    let scope = Scope { pod_jobs: BTreeSet::new(), ..scope() };
    let mut tracker = tracker();
    tracker.look(&all(0, &["a:1", "b:1"], 100.0), &scope, t(0));
    assert_eq!(events(&tracker.look(&all(30, &["a:1", "b:1"], 200.0), &scope, t(30))), [(200, 0), (20, 0)]);
    let outcome = tracker.look(&all(60, &["a:1"], 300.0), &scope, t(60));
    assert!(matches!(&outcome, Outcome::Dropped(Dropped::Stale { what, .. }) if what == "target b:1 of job gw"), "{outcome:?}");
    assert_eq!(events(&tracker.look(&all(90, &["a:1"], 400.0), &scope, t(90))), [(200, 0), (20, 0)]);
}

#[test]
fn a_metric_that_does_not_gate_costs_no_window() {
    let own = |at: i64, labels: &[(&str, &str)], value: f64| {
        let target = [("pod", "v2-a"), ("instance", "v2:8080"), ("job", "models")];
        series(&[&target, labels].concat(), &[(at - 1, value)])
    };
    let with = |at: i64, k: f64, more: Vec<Series>| {
        let mut reading = plain(at, 100.0 * k, 10.0 * k);
        reading.families.push((Family::Total(1), more));
        reading
    };
    let (total, of) = (Family::Total(1), |outcome: &Outcome| match outcome {
        Outcome::Counted(deltas) => deltas.of.iter().filter(|delta| delta.family == Family::Total(1)).count(),
        other => panic!("{other:?}"),
    });
    let (gating, aside) = (scope(), Scope { aside: BTreeSet::from([total]), ..scope() });
    for (scope, counted) in [(gating, false), (aside, true)] {
        let mut tracker = tracker();
        tracker.look(&with(0, 1.0, vec![own(0, &[("a", "1")], 5.0)]), &scope, t(0));
        // A series that comes from nowhere, and a second target that counts the same pod.
        let twice = series(&[("pod", "v2-a"), ("instance", "v2:9090"), ("job", "twice")], &[(29, 7.0)]);
        let outcome = tracker.look(&with(30, 2.0, vec![own(30, &[("a", "1")], 9.0), twice]), &scope, t(30));
        assert_eq!(matches!(outcome, Outcome::Counted(_)), counted, "{outcome:?}");
        if counted {
            assert_eq!(events(&outcome), [(100, 0), (10, 0)]);
            assert_eq!(of(&outcome), 0, "what is not known for certain is not counted");
        }
    }
}

fn bucket(version: &str, code: &str, le: &str, at: i64, value: f64) -> Series {
    let mut series = requests(version, code, &[(at - 1, value)]);
    series.labels.insert("le", le);
    series
}

fn latency() -> Vec<Metric> {
    vec![Metric::new("latency", MetricKind::Latency(Latency::default()))]
}

#[test]
fn latency_is_compared_on_the_bounds_of_both_arms_read_as_numbers() {
    let at = |at: i64, k: f64| {
        let v1 = [("5", 4.0), ("10", 8.0), ("25", 9.0), ("+Inf", 10.0)].map(|(le, v)| bucket("v1", "200", le, at, v * k));
        // Written as Prometheus 3 does, with one bound more and one less, and one bucket that decreases.
        let v2 = [("5.0", 2.0), ("7.5", 1.0), ("10.0", 3.0), ("+Inf", 5.0)].map(|(le, v)| bucket("v2", "200", le, at, v * k));
        Reading { families: vec![(Family::Up, both_up(at)), (Family::Latency, v1.into_iter().chain(v2).collect())] }
    };
    let mut tracker = tracker();
    tracker.look(&at(0, 1.0), &scope(), t(0));
    let Outcome::Counted(deltas) = tracker.look(&at(30, 11.0), &scope(), t(30)) else { panic!() };
    let window = deltas.window(&latency(), 0.05, [1, 1]);
    assert_eq!(window.stable.get("latency"), Some(&Counts::Histogram { bounds: vec![5.0, 10.0], above: vec![60, 20], total: 100 }));
    assert_eq!(window.canary.get("latency"), Some(&Counts::Histogram { bounds: vec![5.0, 10.0], above: vec![30, 20], total: 50 }));
}

#[test]
fn a_histogram_that_restarted_counts_whole_even_if_one_bucket_has_grown() {
    let at = |at: i64, values: [f64; 3]| {
        let all = ["1", "5", "+Inf"].iter().zip(values).map(|(le, value)| bucket("v2", "200", le, at, value)).collect();
        Reading { families: vec![(Family::Up, both_up(at)), (Family::Latency, all)] }
    };
    let mut tracker = tracker();
    tracker.look(&at(0, [0.0, 50.0, 100.0]), &scope(), t(0));
    let Outcome::Counted(deltas) = tracker.look(&at(30, [5.0, 20.0, 30.0]), &scope(), t(30)) else { panic!() };
    assert_eq!(deltas.of[0].counts, [5, 20, 30]);
}

#[test]
fn drift_is_counted_by_class_for_the_pods_of_each_arm() {
    let class = |pod: &str, class: &str, at: i64, value: f64| {
        series(&[("pod", pod), ("instance", pod), ("job", "models"), ("class", class)], &[(at - 1, value)])
    };
    let source = DriftSource::Counter { metric: "c".into(), class: "class".into() };
    let metrics = vec![Metric::new("drift", MetricKind::Drift(Drift { source, limits: DistanceLimits::default() }))];
    let at = |at: i64, k: f64| {
        let all =
            vec![class("v1-a", "cat", at, 9.0 * k), class("v1-a", "dog", at, k), class("v2-a", "cat", at, k), class("x", "cat", at, k)];
        Reading { families: vec![(Family::Own(0), all)] }
    };
    let scope = Scope { pod_jobs: BTreeSet::from(["models".to_owned()]), ..scope() };
    let mut tracker = tracker();
    tracker.look(&at(0, 1.0), &scope, t(0));
    let Outcome::Counted(deltas) = tracker.look(&at(30, 11.0), &scope, t(30)) else { panic!() };
    let window = deltas.window(&metrics, 0.05, [1, 1]);
    let classes = |all: &[(&str, u64)]| Counts::Classes(all.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect());
    assert_eq!(window.stable.get("drift"), Some(&classes(&[("cat", 90), ("dog", 10)])));
    assert_eq!(window.canary.get("drift"), Some(&classes(&[("cat", 10)])));
}

#[test]
fn the_past_is_cut_into_windows_by_pod_with_the_rules_of_live_counts() {
    let ends: Vec<Timestamp> = (0..=4).map(|k| t(30 * k)).collect();
    let samples: Vec<(i64, f64)> = (-2..=8).map(|k| (15 * k - 1, 100.0 + 10.0 * k as f64)).collect();
    // Born in the second window at 3, in the middle of the target's life.
    let born = requests("v1", "500", &[(44, 3.0), (59, 4.0), (74, 4.0), (89, 4.0), (104, 4.0), (119, 4.0)]);
    let reading = Reading { families: vec![(Family::Requests, vec![requests("v1", "200", &samples), born])] };
    let windows = super::super::past(&reading, &scope(), &ends, &errors(), true).unwrap();
    let counts: Vec<_> = windows.iter().map(|window| window["v1-a"]["errorRate"].clone()).collect();
    let events = |total, bad| Counts::Events { total, bad };
    assert_eq!(counts, [events(20, 0), events(24, 4), events(20, 0), events(20, 0)]);
    let gateway = super::super::past(&reading, &scope(), &ends, &errors(), false).unwrap();
    assert_eq!(gateway[1][""]["errorRate"], events(24, 4));
}

#[test]
fn windows_of_the_past_without_scrapes_or_requests_are_left_out() {
    let ends: Vec<Timestamp> = (0..=4).map(|k| t(30 * k)).collect();
    let samples = [(-16, 10.0), (-1, 20.0), (14, 30.0), (29, 40.0), (104, 90.0), (119, 100.0)];
    let reading = Reading { families: vec![(Family::Requests, vec![requests("v1", "200", &samples)])] };
    let windows = super::super::past(&reading, &scope(), &ends, &errors(), true).unwrap();
    assert_eq!(windows.len(), 1, "only the first: then there is a gap");
}

#[test]
fn chosen_pods_are_the_same_every_time() {
    let names: Vec<String> = (0..100).map(|n| format!("pod-{n}")).collect();
    let some = super::super::chosen(names.iter().map(String::as_str), 20);
    assert_eq!(some.len(), 20);
    assert_eq!(some, super::super::chosen(names.iter().rev().map(String::as_str), 20));
}
