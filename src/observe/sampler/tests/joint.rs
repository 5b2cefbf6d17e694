//! Several metrics in one question.

use super::*;
use crate::clock::Clock;

#[tokio::test]
async fn a_store_that_takes_one_metric_at_a_time_is_asked_for_one_at_a_time() {
    let clock = Clock::system();
    let mut world = healthy(&clock, 60);
    world.one_metric = true;
    let (world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, step(brief(&clock, vec![errors()]), 0, 5, clock.now()));
    let look = wait(&sampler, "two windows", |look| look.judgement.windows >= 2).await;
    assert_eq!(look.problem, None);
    let asked = world.asked.lock().unwrap();
    assert!(asked.iter().any(|(query, _)| query.starts_with("up{")) && !asked.iter().any(|(query, _)| query.starts_with(LOOK)));
}

#[tokio::test]
async fn of_what_a_pod_counts_only_requests_to_the_arm_are_taken() {
    let clock = Clock::system();
    let mut world = healthy(&clock, 60);
    let target = [("job", "sidecars"), ("instance", "v2-a"), ("pod", "v2-a"), ("response_code", "200")];
    let of = |reporter, namespace, workload| {
        [("reporter", reporter), ("destination_workload_namespace", namespace), ("destination_workload", workload)]
    };
    // What the canary's pod asks of others, a pod of the same name elsewhere, and another workload behind the same proxy.
    for mesh in [of("source", "ml", "m-v2"), of("destination", "b", "m-v2"), of("destination", "ml", "m-v3")] {
        world.add("istio_requests_total", &[&target[..], &mesh[..]].concat(), |age| Some(9000.0 * age));
    }
    let (world, prometheus) = world.serve().await;
    let sampler = spawn(&prometheus, clock, step(brief(&clock, vec![errors()]), 0, 5, clock.now()));
    let look = wait(&sampler, "a window", |look| look.canary_in_window.is_some()).await;
    assert!(world.asked.lock().unwrap().iter().any(|(query, _)| query.starts_with(LOOK)));
    assert!(look.canary_in_window.unwrap() < 100, "{:?}", look.canary_in_window);
}

/// Cumulative shares of request durations up to each bound, of a version with so many requests a second.
macro_rules! buckets {
    ($world:expr, $version:literal, $pod:literal, $rps:literal, [$(($le:literal, $share:literal)),*]) => {
        $({
            let labels = [
                ("job", "sidecars"), ("instance", $pod), ("pod", $pod), ("reporter", "destination"), ("destination_workload_namespace", "ml"),
                ("destination_workload", concat!("m-", $version)), ("response_code", "200"), ("le", $le),
            ];
            let value: Value = |age| Some($rps * $share * age);
            $world.add("istio_request_duration_milliseconds_bucket", &labels, value);
        })*
    };
}

#[tokio::test]
async fn a_look_asks_only_for_buckets_that_are_compared_once_both_versions_were_seen_to_have_them() {
    let clock = Clock::system();
    let mut world = healthy(&clock, 60);
    buckets!(
        world,
        "v1",
        "v1-a",
        950.0,
        [
            ("5.0", 0.0),
            ("10.0", 0.02),
            ("25.0", 0.2),
            ("50.0", 0.6),
            ("100.0", 0.9),
            ("250.0", 0.97),
            ("500.0", 0.995),
            ("1000.0", 0.999),
            ("2500.0", 1.0),
            ("5000.0", 1.0),
            ("10000.0", 1.0),
            ("30000.0", 1.0),
            ("+Inf", 1.0)
        ]
    );
    buckets!(
        world,
        "v2",
        "v2-a",
        50.0,
        [
            ("5.0", 0.0),
            ("10.0", 0.02),
            ("25.0", 0.2),
            ("50.0", 0.6),
            ("100.0", 0.9),
            ("250.0", 0.97),
            ("500.0", 0.995),
            ("1000.0", 0.999),
            ("2500.0", 1.0),
            ("5000.0", 1.0),
            ("10000.0", 1.0),
            ("30000.0", 1.0),
            ("+Inf", 1.0)
        ]
    );
    let (world, prometheus) = world.serve().await;
    let metrics = vec![errors(), metric("latency", MetricKind::Latency(Latency::default()))];
    let sampler = spawn(&prometheus, clock, step(brief(&clock, metrics), 0, 5, clock.now()));
    let look = wait(&sampler, "twelve windows", |look| look.judgement.windows >= 12).await;
    assert_eq!((look.problem, look.note), (None, None));
    let asked = world.asked.lock().unwrap();
    let looks: Vec<&String> = asked.iter().map(|(query, _)| query).filter(|query| query.starts_with(LOOK)).collect();
    assert!(!looks[0].contains("le=~"), "until the canary was seen all are asked for: {}", looks[0]);
    let (_, bounds) = looks.last().unwrap().split_once("le=~\"").unwrap();
    let bounds = bounds.split_once('"').unwrap().0.replace('\\', "");
    let mut bounds: Vec<&str> = bounds.split('|').filter(|bound| bound.contains(['.', '+'])).collect();
    bounds.sort_by(|one, other| one.parse::<f64>().unwrap().total_cmp(&other.parse().unwrap()));
    // Around p50, p95 and p99, one beside them, and two of those above.
    assert_eq!(bounds, ["10.0", "25.0", "50.0", "100.0", "250.0", "500.0", "1000.0", "5000.0", "30000.0", "+Inf"]);
    let latency = look.judgement.metrics.iter().find(|metric| metric.metric == "latency").unwrap();
    assert!(latency.stable.is_some() && latency.canary.is_some(), "{latency:?}");
}
