//! What a record keeps, and what it does not grow beyond.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::{DecisionRecord, MeasureKind, MetricEvidence, Outcome, Reason, Verdict};
use crate::tell::text::tests::{drift_rollback, held, promoted};

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn version(name: &str) -> Version {
    serde_json::from_value(json!({"host": "fraud", "name": name, "subset": name, "revision": format!("{name}-77f")})).unwrap()
}

fn measured(count: usize) -> Vec<Measured> {
    let kind = |at: usize| [MeasureKind::Errors, MeasureKind::Latency, MeasureKind::Classes, MeasureKind::AtMost][at % 4];
    (0..count).map(|at| Measured { name: format!("metric-{at}"), kind: kind(at), unit: None, advisory: false }).collect()
}

fn head(started: i64, metrics: usize) -> Run {
    let steps = [5, 20, 50, 100].map(|weight| Planned { name: weight.to_string(), weight, traffic: None });
    Run {
        started: t(started),
        stable: version("v1"),
        canary: version("v2"),
        interval: 30.0,
        steps: steps.into(),
        metrics: measured(metrics),
        changes: Vec::new(),
        windows: Vec::new(),
        distributions: Vec::new(),
        decisions: Vec::new(),
        exposure: None,
        end: None,
    }
}

fn news(head: Run) -> News {
    News { head, changes: Vec::new(), windows: Vec::new(), distributions: Vec::new(), decisions: Vec::new(), history: Vec::new() }
}

fn point(n: u64) -> Point {
    Point {
        stable: Some(Arm { n: 19 * n, value: Some(0.001_23) }),
        canary: Some(Arm { n, value: Some(0.002_34) }),
        difference: Some(0.001_11),
        interval: Some([-0.000_987, 0.003_21]),
        limit: Some(0.000_5),
        above: Some(0.025),
        evidence: Some(1.234),
        fail_at: Some(12.5),
        verdict: Some(Verdict::Inconclusive),
    }
}

fn window(begin: i64, step: usize, n: u64, metrics: usize) -> Window {
    Window {
        start: t(begin),
        end: t(begin + 30),
        step,
        weight: 5,
        stable: 19 * n,
        canary: n,
        joined: 1,
        points: vec![Some(point(n)); metrics],
    }
}

fn counted(run: &Run) -> (u64, u64, u32) {
    let sum = |of: fn(&Window) -> u64| run.windows.iter().map(of).sum::<u64>();
    (sum(|window| window.stable), sum(|window| window.canary), run.windows.iter().map(|window| window.joined).sum())
}

/// The largest that a look may bring: 16 metrics, 24 classes with long names, long queries.
fn large_decision(at: i64, epoch: i64) -> DecisionRecord {
    let metric = MetricEvidence { query: Some("x".repeat(2_000)), ..drift_rollback().why[0].clone() };
    let mut record = DecisionRecord { why: vec![metric; 16], epoch, ..held(Reason::DeadlineExceeded) };
    (record.at.0, record.message) = (t(at), "ü".repeat(3_000));
    record
}

fn large_distribution(step: usize, metric: usize) -> Distribution {
    let names = (0..24).map(|class| format!("{class:0>80}")).collect();
    let shares = vec![0.041_234; 25];
    let (stable, canary) = (shares.clone(), shares);
    Distribution { step, metric, at: t(0), columns: Columns::Classes(names), stable_n: 190_000, canary_n: 10_000, stable, canary }
}

#[test]
fn a_record_comes_back_from_its_config_map_as_it_was() {
    let mut record = Record::new("u-1");
    let mut first = news(head(0, 3));
    first.windows = vec![window(0, 0, 50, 3), window(30, 0, 60, 3)];
    first.decisions = vec![drift_rollback()];
    first.distributions = vec![large_distribution(0, 2)];
    first.changes = vec![Change { at: t(0), step: Some(0), weight: 5, traffic: None }];
    record.note(first);
    let object = record.config_map("ml", "fraud");
    let back = Record::from_config_map(&object, "u-1").unwrap();
    // Numbers of decisions have more digits than JSON returns unchanged.
    let plain = |record: &Record| {
        let mut record = record.clone();
        record.runs.iter_mut().flat_map(|run| &mut run.decisions).for_each(|decision| decision.why.clear());
        record.data()
    };
    assert_eq!(plain(&back), plain(&record));
    assert_eq!(back.newest().unwrap().decisions[0].why.len(), record.newest().unwrap().decisions[0].why.len());
    assert_eq!(Record::from_config_map(&object, "u-2"), Err(RecordError::Foreign("fraud-haldane-record".to_owned())));
    let owner = &object.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.block_owner_deletion), ("Rollout", "u-1", None));
    let mut newer = object.clone();
    newer.data = Some([(FORM.to_owned(), "2".to_owned()), ("run-1.json".to_owned(), "something else".to_owned())].into());
    assert_eq!(Record::from_config_map(&newer, "u-1"), Err(RecordError::Newer(2)));
    let mut broken = object;
    broken.data = None;
    assert!(matches!(Record::from_config_map(&broken, "u-1"), Err(RecordError::Malformed(_))));
}

#[test]
fn the_name_of_a_config_map_fits_the_longest_name_of_a_rollout() {
    assert_eq!(name("fraud", "u-1"), "fraud-haldane-record");
    assert_eq!(name(&"x".repeat(253), "u-1"), "haldane-record-u-1");
}

#[test]
fn the_largest_rollouts_stay_within_their_bounds_and_keep_what_decided() {
    let mut record = Record::new("u-1");
    for run in 0..4_i64 {
        let begin = 1_000_000 * run;
        for look in 0..80 {
            let step = usize::try_from(look / 20).unwrap();
            let mut one = news(head(begin, 16));
            one.windows = vec![window(begin + 30 * look, step, 50, 16)];
            one.distributions = (0..16).map(|metric| large_distribution(step, metric)).collect();
            one.decisions = if look % 3 == 0 { vec![large_decision(begin + 30 * look, look)] } else { Vec::new() };
            record.note(one);
        }
        let mut last = news(head(begin, 16));
        let end = DecisionRecord { epoch: 1_000, ..drift_rollback() };
        last.decisions = vec![DecisionRecord { at: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(t(begin + 9_000)), ..end.clone() }];
        last.head.end = Some(End { at: t(begin + 9_000), outcome: end.outcome, reason: end.reason, message: end.message });
        record.note(last);
    }
    assert_eq!(record.runs.len(), RUNS);
    assert_eq!(record.newest().unwrap().started, t(3_000_000));
    let sizes: Vec<usize> = record.runs.iter().map(thin::bytes).collect();
    let whole = serde_json::to_vec(&record.config_map("ml", "fraud")).unwrap().len();
    println!("{sizes:?}, {whole} bytes as a ConfigMap");
    assert!(sizes.iter().all(|size| *size <= RUN_BYTES), "{sizes:?}");
    assert!(whole <= 256 * 1024, "{whole}");
    for run in &record.runs {
        let last = run.last_decision().unwrap();
        assert_eq!((last.outcome, last.why.len()), (Outcome::RolledBack, drift_rollback().why.len()), "with its numbers");
        assert!(run.windows.len() >= 2, "{}", run.windows.len());
    }
}

#[test]
fn three_metrics_for_a_day_keep_their_whole_course() {
    let mut record = Record::new("u-1");
    for look in 0..2_880 {
        record.note(News { windows: vec![window(30 * look, usize::try_from(look / 720).unwrap(), 50, 3)], ..news(head(0, 3)) });
    }
    let run = record.newest().unwrap();
    println!("{} windows, {} bytes", run.windows.len(), thin::bytes(run));
    assert_eq!(counted(run), (2_880 * 19 * 50, 2_880 * 50, 2_880), "no request is lost");
    assert_eq!((run.windows[0].start, run.windows.last().unwrap().end), (t(0), t(2_880 * 30)));
    assert!(run.windows.len() >= 60 && run.windows.iter().rev().take(20).all(|window| window.joined == 1), "the newest are whole");
}

#[test]
fn a_joined_window_has_the_mean_of_shares_and_the_worse_of_times() {
    let mut record = Record::new("u-1");
    let value = |n, value| Some(Arm { n, value });
    let mut windows = Vec::new();
    for (begin, n, shares, times) in [(0, 100, 0.01, Some(50.0)), (30, 300, 0.05, Some(100.0)), (60, 10, 0.0, None)] {
        let of = |x| Some(Point { canary: value(n, x), ..Point::default() });
        windows.push(Window { points: vec![of(Some(shares)), of(times)], ..window(begin, 0, n, 0) });
    }
    record.note(News { windows, ..news(head(0, 2)) });
    let mut run = record.newest().unwrap().clone();
    let kinds: Vec<_> = run.metrics.iter().map(|metric| metric.kind).collect();
    let (second, third) = (run.windows.remove(1), run.windows.remove(1));
    let arms = |window: &Window| [0, 1].map(|at| window.points[at].as_ref().unwrap().canary);
    run.windows[0].join(second, &kinds);
    assert_eq!(arms(&run.windows[0]), [value(400, Some(0.04)), value(400, Some(100.0))]);
    run.windows[0].join(third, &kinds);
    assert_eq!(arms(&run.windows[0]), [value(410, Some(0.0390244)), value(410, None)], "above the last bound is worse than any");
    assert_eq!((run.windows[0].joined, run.windows[0].start, run.windows[0].end), (3, t(0), t(90)));
}

#[test]
fn what_is_noted_twice_is_there_once() {
    let mut record = Record::new("u-1");
    let mut one = news(head(0, 3));
    one.windows = vec![window(0, 0, 50, 3), window(30, 0, 60, 3)];
    one.decisions = vec![held(Reason::DeadlineExceeded)];
    one.changes = vec![Change { at: t(0), step: Some(0), weight: 5, traffic: None }];
    record.note(one.clone());
    let once = record.clone();
    record.note(one);
    assert_eq!(record, once);
    record.merge(once.clone());
    assert_eq!(record, once);
    // Read again after a restart, a little moved, and without what the judge said then.
    let mut late = window(31, 0, 61, 3);
    late.points.iter_mut().flatten().for_each(|point| (point.difference, point.evidence, point.interval) = (None, None, None));
    record.note(News { windows: vec![late], ..news(head(0, 3)) });
    let windows = &record.newest().unwrap().windows;
    assert_eq!((windows.len(), windows[1].canary, windows[1].points[0].as_ref().unwrap().evidence), (2, 61, Some(1.234)));
}

#[test]
fn a_rollout_whose_end_was_not_written_down_ends_as_status_says() {
    let mut record = Record::new("u-1");
    record.note(news(head(0, 3)));
    assert!(record.newest().unwrap().is_under_way());
    let entry = HistoryEntry {
        canary: version("v2"),
        stable: version("v1"),
        outcome: Outcome::Promoted,
        reason: promoted().reason,
        message: "promoted".to_owned(),
        started: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(t(0)),
        ended: promoted().at,
        exposure: None,
    };
    assert!(record.settle(std::slice::from_ref(&entry)) && !record.settle(&[entry]));
    assert_eq!(record.newest().unwrap().end.as_ref().unwrap().outcome, Outcome::Promoted);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    #[test]
    fn no_request_is_lost_and_nothing_grows_beyond_its_bound(
        looks in prop::collection::vec((0usize..4, 1u64..5_000, 0usize..8), 1..60),
        metrics in 1usize..17,
        most in 1usize..4,
    ) {
        let mut record = Record::new("u-1");
        let (mut begin, mut canary) = (0, 0);
        let mut steps: Vec<usize> = looks.iter().map(|(step, ..)| *step).collect();
        steps.sort_unstable();
        for (at, ((_, n, decided), step)) in looks.iter().zip(steps).enumerate() {
            let mut one = news(head(0, metrics));
            for _ in 0..most {
                one.windows.push(window(begin, step, *n, metrics));
                (begin, canary) = (begin + 30, canary + n);
            }
            if *decided == 0 {
                one.decisions = vec![large_decision(begin, i64::try_from(at).unwrap())];
            }
            record.note(one);
            let run = record.newest().unwrap();
            prop_assert!(thin::bytes(run) <= RUN_BYTES);
            prop_assert!(run.windows.iter().zip(run.windows.iter().skip(1)).all(|(one, next)| one.end <= next.start));
            let last = run.windows.last().unwrap();
            prop_assert_eq!((last.end, last.canary), (t(begin), *n), "the newest one is whole");
            prop_assert!(metrics > 8 || counted(run).1 == canary, "no request is lost");
        }
        let object = record.config_map("ml", "fraud");
        let back = Record::from_config_map(&object, "u-1").unwrap();
        prop_assert_eq!(back.data(), record.data());
    }
}
