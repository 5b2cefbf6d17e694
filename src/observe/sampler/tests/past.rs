//! Stable's past: how far back, in what pieces, of whom.

use super::*;
use crate::clock::Clock;
use crate::counts::Window;
use crate::judge::Past;
use crate::observe::sampler::{
    calibrate::{self, Failed, Reader},
    preflight::{Found, preflight},
};

/// The past as a sampler reads it, piece by piece, however often a piece is refused.
async fn history(prometheus: &Prometheus, found: &Found, brief: &Brief, interval: Duration, end: Timestamp) -> Past {
    let metrics = &brief.analysis.metrics;
    let mut reader = Reader::new(prometheus, found, brief, interval, end);
    while let Some(wanted) = reader.wanted() {
        match calibrate::read(prometheus, found, brief, &wanted).await {
            Ok(piece) => reader.take(&wanted, piece, metrics),
            Err(error) => match reader.failed(&error, false) {
                Failed::Ends => break,
                Failed::Later => tokio::time::sleep(Duration::from_millis(100)).await,
                Failed::Shorter => {}
            },
        }
    }
    reader.past(metrics)
}

/// A world with a scrape every 15 s in which these pods of stable have served for so many seconds.
pub(super) fn world(clock: &Clock, age: i64, pods: &[&str]) -> World {
    let mut world = World { scrape: 15_000, ..World::new(clock, age) };
    for pod in pods {
        world.sidecar("v1", pod, "200", |age| Some(100.0 * age));
        for (le, value) in
            [("25.0", (|age| Some(10.0 * age)) as Value), ("50.0", |age| Some(20.0 * age)), ("100.0", |age| Some(60.0 * age))]
        {
            bucket(&mut world, pod, le, value);
        }
        let more: [(&str, Value); 4] = [
            ("250.0", |age| Some(97.0 * age)),
            ("500", |age| Some(99.5 * age)),
            ("1000.0", |age| Some(99.9 * age)),
            ("+Inf", |age| Some(100.0 * age)),
        ];
        for (le, value) in more {
            bucket(&mut world, pod, le, value);
        }
    }
    world
}

fn bucket(world: &mut World, pod: &str, le: &str, value: Value) {
    let labels = [
        ("job", "sidecars"),
        ("instance", pod),
        ("pod", pod),
        ("reporter", "destination"),
        ("destination_workload_namespace", "ml"),
        ("destination_workload", "m-v1"),
        ("response_code", "200"),
        ("le", le),
    ];
    world.add("istio_request_duration_milliseconds_bucket", &labels, value);
}

fn latency() -> Metric {
    metric("latency", MetricKind::Latency(Latency::default()))
}

/// Reads the past as the sampler does before the first step, and what one window of both arms then says.
pub(super) async fn read(clock: &Clock, world: World, pods: &[&str]) -> (Arc<World>, crate::judge::Judgement) {
    let interval = Duration::from_secs(30);
    let (world, prometheus) = world.serve().await;
    let mut brief = brief(clock, vec![errors(), latency()]);
    (brief.analysis.interval, brief.stable) = (interval, arm("v1", pods, clock.now() - SignedDuration::from_hours(20)));
    let at = clock.now() - SignedDuration::from_secs(20);
    let found = preflight(&prometheus, &brief, 60, at).await.unwrap();
    let past = history(&prometheus, &found, &brief, interval, at).await;
    let mut evidence = Evidence::new(&brief.analysis.metrics, 30.0);
    evidence.calibrate_by(&brief.analysis.metrics, &past, &brief.steps, 1);
    evidence.begin_step(&brief.analysis.metrics, &brief.steps[0]);
    let sample = |n: u64| {
        let above = [0.9, 0.8, 0.4, 0.03, 0.005, 0.001].map(|share| (n as f64 * share).round() as u64).to_vec();
        let histogram = crate::counts::Counts::Histogram { bounds: vec![25.0, 50.0, 100.0, 250.0, 500.0, 1000.0], above, total: n };
        [("errorRate".to_owned(), crate::counts::Counts::Events { total: n, bad: 0 }), ("latency".to_owned(), histogram)].into()
    };
    let window =
        Window { start: at, end: clock.now(), weight: 0.05, stable: sample(2850), canary: sample(150), stable_pods: 2, canary_pods: 1 };
    evidence.add(&brief.analysis.metrics, &brief.steps[0], &window);
    (world, evidence.told(&brief.analysis.metrics, &brief.steps[0]))
}

pub(super) fn windows(judgement: &crate::judge::Judgement) -> Vec<i32> {
    judgement.metrics.iter().map(|metric| metric.noise.as_ref().map_or(0, |noise| noise.windows)).collect()
}

#[tokio::test]
async fn twelve_hours_are_read_in_pieces_and_of_older_ones_only_the_watched_buckets() {
    let clock = Clock::system();
    let pods = ["v1-a", "v1-b"];
    let (world, judgement) = read(&clock, world(&clock, 13 * 3600, &pods), &pods).await;
    assert_eq!(windows(&judgement), [1440, 1440]);
    let asked = world.asked.lock().unwrap();
    let past = asked.iter().map(|(query, _)| query).filter(|query| query.contains("istio_request") && query.contains("pod=~"));
    let durations: Vec<&String> = past.clone().filter(|query| query.contains("duration")).collect();
    // The hour that margins come from, with every bucket; and eleven hours in two pieces, the first not much longer than what is known to fit.
    assert_eq!(durations.len(), 3, "{durations:?}");
    assert!(!durations[0].contains("le=~") && durations[0].starts_with("{__name__"), "{durations:?}");
    for query in past {
        let (selector, range) = query.rsplit_once('[').unwrap();
        let scrapes = range.trim_end_matches("s]").parse::<usize>().unwrap() / 15;
        assert!(scrapes * world.matching(selector).len() < 80_000, "{query}");
    }
    for query in &durations[1..] {
        let (_, bounds) = query.split_once("le=~\"").unwrap();
        let bounds: Vec<&str> = bounds.split_once('"').unwrap().0.split('|').collect();
        for bound in ["50", "50\\\\.0", "100\\\\.0", "250\\\\.0", "500", "500\\\\.0", "\\\\+Inf"] {
            assert!(bounds.contains(&bound), "{bound}: {bounds:?}");
        }
        assert!(!bounds.iter().any(|bound| bound.starts_with("25\\") || *bound == "25"), "not around p50, p95 or p99: {bounds:?}");
    }
}

#[tokio::test]
async fn what_there_is_must_do_and_is_said() {
    let clock = Clock::system();
    let pods = ["v1-a", "v1-b"];
    let (_, judgement) = read(&clock, world(&clock, 1100, &pods), &pods).await;
    let counted = windows(&judgement)[0];
    assert!((33..=36).contains(&counted), "{counted}");
    for metric in &judgement.metrics {
        let words = format!("judged with {counted} of 120 windows of history: evidence counts 1/4");
        assert!(metric.message.ends_with(&words), "{}", metric.message);
    }
}

#[tokio::test]
async fn at_most_twenty_pods_are_asked_about() {
    let clock = Clock::system();
    let names: Vec<String> = (0..30).map(|pod| format!("v1-{pod}")).collect();
    let pods: Vec<&str> = names.iter().map(String::as_str).collect();
    let (world, judgement) = read(&clock, world(&clock, 2 * 3600, &pods), &pods).await;
    assert!(windows(&judgement)[0] > 200);
    let asked = world.asked.lock().unwrap();
    let past: Vec<_> = asked.iter().filter(|(query, _)| query.contains("istio_requests_total") && query.contains("pod=~")).collect();
    assert!(past.len() > 2, "{past:?}");
    for (query, _) in past {
        let (_, pods) = query.split_once("pod=~\"").unwrap();
        assert_eq!(pods.split_once('"').unwrap().0.split('|').count(), 20, "{query}");
    }
}

#[tokio::test]
async fn windows_are_in_memory_one_by_one_only_until_the_newest_hour_is_whole() {
    let clock = Clock::system();
    let names: Vec<String> = (0..20).map(|pod| format!("v1-{pod}")).collect();
    let pods: Vec<&str> = names.iter().map(String::as_str).collect();
    let interval = Duration::from_secs(30);
    let (_world, prometheus) = world(&clock, 3 * 3600, &pods).serve().await;
    let mut brief = brief(&clock, vec![errors(), latency()]);
    (brief.analysis.interval, brief.stable) = (interval, arm("v1", &pods, clock.now() - SignedDuration::from_hours(20)));
    let at = clock.now() - SignedDuration::from_secs(20);
    let found = preflight(&prometheus, &brief, 60, at).await.unwrap();
    let mut reader = Reader::new(&prometheus, &found, &brief, interval, at);
    let mut held = vec![reader.holds()];
    while let Some(wanted) = reader.wanted() {
        let piece = calibrate::read(&prometheus, &found, &brief, &wanted).await.unwrap();
        reader.take(&wanted, piece, &brief.analysis.metrics);
        held.push(reader.holds());
    }
    held.dedup();
    assert_eq!(held, [false, true, false], "no single windows are kept of the two hours before");
}

#[tokio::test]
async fn at_a_gateway_noise_comes_from_one_block_of_time_against_the_next() {
    let clock = Clock::system();
    let mut world = World { scrape: 15_000, ..World::new(&clock, 4 * 3600) };
    // Every 20 minutes the errors change: nothing that neighbouring windows show.
    let bad: Value = |age| {
        let (whole, rest) = ((age / 1200.0).floor(), age % 1200.0);
        let rate = |block: f64| if block % 2.0 < 1.0 { 1.0 } else { 3.0 };
        Some((whole / 2.0).floor() * 4800.0 + if whole % 2.0 >= 1.0 { 1200.0 } else { 0.0 } + rate(whole) * rest)
    };
    let codes: [(&str, Value); 2] = [("200", |age| Some(1000.0 * age)), ("500", bad)];
    for (code, value) in codes {
        let labels = [
            ("reporter", "source"),
            ("destination_workload_namespace", "ml"),
            ("destination_workload", "m-v1"),
            ("job", "envoy"),
            ("instance", "127.0.0.1:15000"),
            ("response_code", code),
        ];
        world.add("istio_requests_total", &labels, value);
    }
    let interval = Duration::from_secs(30);
    let (_world, prometheus) = world.serve().await;
    let mut brief = brief(&clock, vec![errors()]);
    brief.analysis.interval = interval;
    let at = clock.now() - SignedDuration::from_secs(20);
    let found = preflight(&prometheus, &brief, 60, at).await.unwrap();
    assert!(!found.by_pod);
    let past = history(&prometheus, &found, &brief, interval, at).await;
    let mut evidence = Evidence::new(&brief.analysis.metrics, 30.0);
    evidence.calibrate_by(&brief.analysis.metrics, &past, &brief.steps, 3);
    evidence.begin_step(&brief.analysis.metrics, &brief.steps[0]);
    let sample = |n: u64| [("errorRate".to_owned(), crate::counts::Counts::Events { total: n, bad: n / 500 })].into();
    let window =
        Window { start: at, end: clock.now(), weight: 0.05, stable: sample(28_500), canary: sample(1500), stable_pods: 1, canary_pods: 3 };
    evidence.add(&brief.analysis.metrics, &brief.steps[0], &window);
    let noise = evidence.told(&brief.analysis.metrics, &brief.steps[0]).metrics[0].noise.clone().unwrap();
    assert!(noise.windows > 450 && noise.dispersion > 20.0, "{noise:?}");
}
