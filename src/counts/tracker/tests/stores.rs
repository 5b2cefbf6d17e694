//! What stores answer that is not what was scraped, each as it was reported.

use super::*;

/// `seconds` looks of 10 s, each with samples of both arms at every second, as `alter` changes them.
fn looks(count: i64, mut sample: impl FnMut(&str, i64) -> Vec<(&'static str, Vec<(i64, f64)>)>) -> Vec<Outcome> {
    let mut tracker = tracker();
    (0..=count).map(|look| tracker.look(&answer(10 * look, &mut sample), &scope(), t(10 * look))).collect()
}

fn answer(at: i64, sample: &mut impl FnMut(&str, i64) -> Vec<(&'static str, Vec<(i64, f64)>)>) -> Reading {
    let of = |version: &str, all: Vec<(&'static str, Vec<(i64, f64)>)>| -> Vec<Series> {
        all.into_iter().filter(|(_, samples)| !samples.is_empty()).map(|(code, samples)| requests(version, code, &samples)).collect()
    };
    let series = [("v1", sample("v1", at)), ("v2", sample("v2", at))].into_iter().flat_map(|(version, all)| of(version, all)).collect();
    let ups = |version| up(version, &(at - 10..=at).map(|second| (second, 1.0)).collect::<Vec<_>>());
    reading(series, vec![ups("v1"), ups("v2")])
}

/// Requests of 10 a second, of which `errors` in ten seconds failed.
fn steady(start: f64, errors: f64, at: i64) -> Vec<(&'static str, Vec<(i64, f64)>)> {
    let at_each = |rate: f64, start: f64| (at - 10..=at).map(|second| (second, start + (rate * (second + 10) as f64).floor())).collect();
    vec![("200", at_each(10.0, start)), ("500", at_each(errors / 10.0, 7.0))]
}

fn sums(outcomes: &[Outcome]) -> [(u64, u64); 2] {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Counted(_))).map(events).fold([(0, 0); 2], |sum, window| {
        [(sum[0].0 + window[0].0, sum[0].1 + window[0].1), (sum[1].0 + window[1].0, sum[1].1 + window[1].1)]
    })
}

fn counted(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Counted(_))).count()
}

#[test]
fn a_sample_that_is_lower_by_one_is_no_restart() {
    // thanos#7623, prometheus#13950.
    let dip = |version: &str, at: i64| {
        let mut all = steady(1_000_000.0, 1.0, at);
        if version == "v2" {
            for (_, samples) in &mut all {
                for (second, value) in samples.iter_mut().filter(|(second, _)| second % 7 == 3) {
                    let _ = second;
                    *value -= 1.0;
                }
            }
        }
        all
    };
    let outcomes = looks(12, dip);
    assert_eq!(counted(&outcomes), 12, "{outcomes:?}");
    let [stable, canary] = sums(&outcomes);
    assert_eq!(stable, (1200 + 12, 12));
    assert!(canary.0 <= stable.0 && canary.0 + 15 >= stable.0, "{canary:?}");
    assert!((11..=12).contains(&canary.1), "{canary:?}");
}

#[test]
fn a_lone_counter_of_one_that_dips_to_zero_counts_no_second_error() {
    let one = |version: &str, at: i64| {
        let mut all = steady(1_000_000.0, 0.0, at);
        if version == "v2" {
            all[1].1 = (at - 10..=at).map(|second| (second, if second % 5 == 0 { 0.0 } else { 1.0 })).collect();
        }
        all
    };
    let outcomes = looks(10, one);
    assert!(counted(&outcomes) >= 5, "{outcomes:?}");
    assert!(sums(&outcomes)[1].1 <= 1, "{:?}", sums(&outcomes));
}

#[test]
fn a_process_that_restarts_takes_all_its_series_along() {
    let restart = |version: &str, at: i64| {
        let mut all = steady(1_000.0, 2.0, at);
        if version == "v2" {
            for (_, samples) in &mut all {
                let before = samples.first().map_or(0.0, |first| first.1);
                for (second, value) in samples.iter_mut().filter(|(second, _)| *second >= 45) {
                    let _ = before;
                    *value = if *value > 900.0 { 10.0 * (*second - 44) as f64 } else { (0.2 * (*second - 44) as f64).floor() };
                }
            }
        }
        all
    };
    let outcomes = looks(9, restart);
    assert_eq!(counted(&outcomes), 9, "{outcomes:?}");
    let [stable, canary] = sums(&outcomes);
    assert_eq!(stable.0, 900 + 18);
    assert!(canary.0 <= stable.0 && canary.0 + 15 >= stable.0, "{canary:?} {stable:?}");
}

#[test]
fn a_fall_to_a_value_that_no_restart_can_give_drops_the_window() {
    // A replica of the store that is ten minutes behind answers: 1,000,000 falls to 400,000 within a second.
    let behind = |version: &str, at: i64| {
        let mut all = steady(1_000_000.0, 0.0, at);
        if version == "v2" {
            for (_, samples) in &mut all {
                samples.iter_mut().filter(|(second, value)| *second >= 65 && *value > 100.0).for_each(|(_, value)| *value -= 600_000.0);
            }
        }
        all
    };
    let outcomes = looks(9, behind);
    let dropped: Vec<_> = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Dropped(_))).collect();
    assert!(matches!(dropped.as_slice(), [Outcome::Dropped(Dropped::Unbelievable { before: 1_000_740, .. })]), "{dropped:?}");
    assert!(sums(&outcomes)[1].0 <= 900);
}

#[test]
fn a_counter_that_falls_a_little_and_stays_there_is_a_new_baseline_and_never_a_gain() {
    let lower = |version: &str, at: i64| {
        let mut all = steady(1_000_000.0, 0.0, at);
        if version == "v2" {
            all[0].1.iter_mut().filter(|(second, _)| *second >= 35).for_each(|(_, value)| *value -= 5_000.0);
        }
        all
    };
    let outcomes = looks(9, lower);
    let fell = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Dropped(Dropped::Fell { .. }))).count();
    assert_eq!((fell, counted(&outcomes)), (1, 8), "{outcomes:?}");
    assert!(sums(&outcomes)[1].0 <= 900, "{:?}", sums(&outcomes));
}

#[test]
fn a_label_added_in_the_middle_begins_no_series_at_zero() {
    // VictoriaMetrics#286: old values under new labels.
    let mut tracker = tracker();
    for look in 0..=6_i64 {
        let at = 10 * look;
        let mut answer = answer(at, &mut |_: &str, at: i64| steady(1_000.0, 2.0, at));
        let changed: Vec<Series> = answer.families[1]
            .1
            .drain(..)
            .flat_map(|series| {
                let (old, new): (Vec<_>, Vec<_>) = series.samples.iter().partition(|(time, _)| *time < t(35));
                let mut renamed = Series { samples: new, ..series.clone() };
                renamed.labels.insert("cluster", "prod");
                [Series { samples: old, ..series }, renamed].into_iter().filter(|series| !series.samples.is_empty())
            })
            .collect();
        answer.families[1].1 = changed;
        let outcome = tracker.look(&answer, &scope(), t(at));
        match look {
            0 => assert_eq!(outcome, Outcome::Baseline),
            4 => assert!(matches!(outcome, Outcome::Dropped(Dropped::Renamed { .. })), "{outcome:?}"),
            _ => assert_eq!(events(&outcome), [(102, 2), (102, 2)], "look {look}"),
        }
    }
}

#[test]
fn a_series_that_a_proxy_forgot_counts_from_zero_when_it_comes_back() {
    // istio#50419: each error is a series of its own life, gone after five seconds without another one.
    let forgotten = |version: &str, at: i64| {
        let mut all = steady(1_000_000.0, 0.0, at);
        if version == "v2" {
            all[1].1 = (at - 10..=at)
                .filter(|second| second.rem_euclid(20) >= 13 && second.rem_euclid(20) < 18)
                .map(|second| (second, 1.0))
                .collect();
        }
        all
    };
    let outcomes = looks(20, forgotten);
    let dropped = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Dropped(_))).count();
    assert_eq!(dropped, 0, "{outcomes:?}");
    assert_eq!(sums(&outcomes)[1].1, 10, "one error every twenty seconds");
}

#[test]
fn a_series_that_was_hidden_goes_on_from_its_last_value() {
    // A node of the store is away for a while: whole series are missing, and come back with all they counted.
    let hidden = |version: &str, at: i64| {
        let mut all = steady(1_000_000.0, 5.0, at);
        if version == "v2" && (20..50).contains(&at) {
            all[1].1.clear();
        }
        all
    };
    let outcomes = looks(9, hidden);
    let [stable, canary] = sums(&outcomes);
    assert!(canary.1 <= stable.1, "{canary:?} {stable:?}");
    assert!(canary.1 + 1 >= stable.1, "what was hidden is counted when it is there again: {canary:?} {stable:?}");
}

#[test]
fn a_pod_that_goes_on_serving_has_lost_no_metric() {
    let mut tracker = tracker();
    let with = |at: i64, latency: bool| {
        let mut all = plain(at, 100.0 + at as f64, 10.0 + at as f64);
        let buckets = [("5", 0.5), ("+Inf", 1.0)].map(|(le, part)| bucket("v2", "200", le, at, part * (10.0 + at as f64)));
        all.families.push((Family::Latency, if latency { buckets.into() } else { Vec::new() }));
        all
    };
    tracker.look(&with(0, true), &scope(), t(0));
    assert_eq!(events(&tracker.look(&with(30, true), &scope(), t(30))), [(30, 0), (30, 0)]);
    for at in [60, 90] {
        let outcome = tracker.look(&with(at, false), &scope(), t(at));
        assert!(matches!(&outcome, Outcome::Dropped(Dropped::Missing { pod, .. }) if pod == "v2-a"), "{outcome:?}");
    }
    assert_eq!(events(&tracker.look(&with(120, false), &scope(), t(120))), [(90, 0), (90, 0)], "the loss is bounded: then it is gone");
    assert_eq!(events(&tracker.look(&with(150, true), &scope(), t(150))), [(30, 0), (30, 0)]);
}

#[test]
fn series_that_a_replica_label_doubles_are_reported_with_the_label_and_the_line_that_ends_it() {
    // VictoriaMetrics#3207, prometheus-operator#5274.
    for (name, replicas) in [("prometheus_replica", ["prom-0", "prom-1"]), ("scraped_by", ["a", "b"])] {
        let mut twice = plain(0, 1000.0, 500.0);
        twice.families[1].1 = twice.families[1]
            .1
            .iter()
            .flat_map(|series| {
                replicas.map(|replica| {
                    let mut copy = series.clone();
                    copy.labels.insert(name, replica);
                    copy
                })
            })
            .collect();
        let outcome = tracker().look(&twice, &scope(), t(0));
        let Outcome::Dropped(Dropped::Doubled(doubled)) = &outcome else { panic!("{outcome:?}") };
        assert_eq!((doubled.label.as_str(), doubled.values.len()), (name, 2));
        assert!(doubled.to_string().contains(&format!("labels: {{{name}: {:?}}}", replicas[0])), "{doubled}");
    }
}

#[test]
fn a_label_that_splits_requests_doubles_nothing() {
    let mut split = plain(0, 1000.0, 500.0);
    split.families[1].1 = split.families[1]
        .1
        .iter()
        .flat_map(|series| {
            [("/a", 0.7), ("/b", 0.3)].map(|(path, part)| {
                let mut one = series.clone();
                one.labels.insert("request_path", path);
                one.samples.iter_mut().for_each(|(_, value)| *value = (*value * part).round());
                one
            })
        })
        .collect();
    assert_eq!(tracker().look(&split, &scope(), t(0)), Outcome::Baseline);
}

#[test]
fn only_pods_that_are_ours_are_counted_and_the_missing_label_is_named() {
    // istio#41871: the same namespace and workload in another cluster.
    let mut tracker = tracker();
    let scope = Scope { by_pod: true, named: true, ..scope() };
    let with = |at: i64, value: f64| {
        let mut all = plain(at, value, value / 10.0);
        all.families[1].1.iter_mut().for_each(|series| series.labels.insert("cluster", "eu"));
        let mut foreign = requests("v2", "500", &[(at - 1, 50.0 * value)]);
        for (name, value) in [("pod", "v2-z"), ("instance", "10.7.7.7:15020"), ("cluster", "us")] {
            foreign.labels.insert(name, value);
        }
        all.families[1].1.push(foreign);
        all
    };
    tracker.look(&with(0, 1000.0), &scope, t(0));
    let outcome = tracker.look(&with(30, 1100.0), &scope, t(30));
    assert_eq!(events(&outcome), [(100, 0), (10, 0)]);
    let Outcome::Counted(Deltas { mixed: Some(mixed), .. }) = outcome else { panic!("{outcome:?}") };
    assert!(mixed.to_string().contains("labels: {cluster: \"eu\"}"), "{mixed}");
}

#[test]
fn a_pod_that_was_deleted_counts_to_its_end() {
    let mut tracker = tracker();
    let scope = Scope { by_pod: true, named: true, ..scope() };
    tracker.look(&plain(0, 1000.0, 100.0), &scope, t(0));
    let mut after = scope.clone();
    after.pods.remove("v2-a");
    assert_eq!(events(&tracker.look(&plain(30, 1100.0, 130.0), &after, t(30))), [(100, 0), (30, 0)]);
}

#[test]
fn a_gain_that_a_target_cannot_have_had_drops_the_window_once() {
    let jump = |version: &str, at: i64| {
        let mut all = steady(1_000.0, 0.0, at);
        if version == "v2" {
            all[0].1.iter_mut().filter(|(second, _)| *second >= 65).for_each(|(_, value)| *value += 5_000_000.0);
        }
        all
    };
    let outcomes = looks(9, jump);
    let dropped: Vec<_> = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Dropped(_))).collect();
    assert!(matches!(dropped.as_slice(), [Outcome::Dropped(Dropped::Jump { gained: 5_000_100, usual: 100, .. })]), "{dropped:?}");
}

#[test]
fn errors_that_the_durations_of_the_same_target_contradict_are_not_counted() {
    let mut tracker = tracker();
    let outcomes: Vec<Outcome> = (0..4_i64)
        .map(|look| {
            let (at, n) = (10 * look, 300.0 * look as f64);
            let bump = if look >= 2 { 800.0 } else { 0.0 };
            let counters = [("v1", "200", n), ("v2", "200", n), ("v2", "500", 7.0 + bump)];
            let series = counters.map(|(version, code, value)| requests(version, code, &[(at - 1, 1_000.0 + value)]));
            let durations = ["v1", "v2"].map(|version| bucket(version, "200", "+Inf", at, 1_000.0 + n));
            let mut all = reading(series.to_vec(), both_up(at));
            all.families.push((Family::Latency, durations.to_vec()));
            tracker.look(&all, &scope(), t(at))
        })
        .collect();
    assert!(matches!(outcomes[2], Outcome::Dropped(Dropped::Apart { requests: 1_100, durations: 300, .. })), "{:?}", outcomes[2]);
    assert_eq!([events(&outcomes[1])[1], events(&outcomes[3])[1]], [(300, 0), (300, 0)], "800 errors that nobody waited for");
}

#[test]
fn durations_that_are_always_fewer_than_the_requests_drop_one_window() {
    let mut tracker = tracker();
    let looks = (0..5_i64).map(|look| {
        let (at, n) = (10 * look, 300.0 * look as f64);
        let mut all = reading(["v1", "v2"].map(|version| requests(version, "200", &[(at - 1, 1_000.0 + n)])).to_vec(), both_up(at));
        let durations = [("v1", n), ("v2", n / 10.0)].map(|(version, n)| bucket(version, "200", "+Inf", at, 1_000.0 + n));
        all.families.push((Family::Latency, durations.to_vec()));
        tracker.look(&all, &scope(), t(at))
    });
    let outcomes: Vec<Outcome> = looks.collect();
    assert!(matches!(outcomes[1], Outcome::Dropped(Dropped::Apart { requests: 300, durations: 30, .. })), "{:?}", outcomes[1]);
    assert_eq!(counted(&outcomes), 3, "{outcomes:?}");
}

#[test]
fn a_burst_that_is_nine_times_the_pace_of_both_arms_is_counted() {
    let burst = |_: &str, at: i64| {
        let mut all = steady(1_000.0, 0.0, at);
        all[0].1.iter_mut().filter(|(second, _)| *second > 61).for_each(|(_, value)| *value += 800.0);
        all
    };
    assert_eq!(counted(&looks(9, burst)), 9);
}

#[test]
fn a_burst_of_errors_far_above_the_pace_is_counted_the_second_time() {
    let bursts = |version: &str, at: i64| {
        let mut all = steady(1_000.0, 0.0, at);
        if version == "v2" {
            for (second, value) in &mut all[1].1 {
                *value += 900.0 * [45, 75].iter().filter(|burst| *second > **burst).count() as f64;
            }
        }
        all
    };
    let outcomes = looks(9, bursts);
    let dropped: Vec<_> = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Dropped(_))).collect();
    assert!(matches!(dropped.as_slice(), [Outcome::Dropped(Dropped::Jump { gained: 1_000, usual: 100, .. })]), "{dropped:?}");
    assert_eq!(sums(&outcomes)[1].1, 900, "one burst may be the store's, two are the canary's");
}

#[test]
fn a_burst_of_traffic_that_meets_both_arms_is_counted() {
    let burst = |_: &str, at: i64| {
        let mut all = steady(1_000.0, 0.0, at);
        all[0].1.iter_mut().filter(|(second, _)| *second >= 61).for_each(|(second, value)| *value += 20_000.0 * (*second - 60) as f64);
        all
    };
    let outcomes = looks(9, burst);
    assert_eq!(counted(&outcomes), 9, "{outcomes:?}");
}
