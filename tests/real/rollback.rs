//! A version that is worse is rolled back at its first step, and an alert says why.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    climb::{climb, until_ended},
    load::{failed, from_version},
    promote::baseline,
    world::{SOON, Shape, World, judged, pretty, story, with_latency},
};

/// Requests a second.
const RATE: f64 = 150.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_version_with_ten_percent_errors_is_rolled_back_at_its_first_step() {
    story("errors", async |world| rolled_back(world, Shape::Gateway, judged("10s"), ("ERRORS", "0.1"), "errorRate").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_version_is_rolled_back_at_its_first_step() {
    story("slow", async |world| rolled_back(world, Shape::Gateway, with_latency("10s", true), ("SLOW_MS", "60"), "latency").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_version_whose_answers_have_shifted_is_rolled_back_at_its_first_step() {
    story("shifted", async |world| {
        let answers = rolled_back(world, Shape::Gateway, judged("10s"), ("SHIFT", "2.5"), "drift").await;
        assert_eq!(answers, 0, "every request was answered with 200, and still it was seen");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_version_with_errors_behind_a_sidecar_is_rolled_back_at_its_first_step() {
    story("proxied", async |world| rolled_back(world, Shape::Sidecars, judged("10s"), ("ERRORS", "0.1"), "errorRate").await).await;
}

/// Rolls out a version with one fault. Gives how many requests failed.
async fn rolled_back(world: &World, shape: Shape, plan: Value, fault: (&str, &str), metric: &str) -> usize {
    world.models(shape, &[fault]).await;
    let _controller = world.controller();
    let load = world.load(RATE);
    baseline().await;
    let record = world.record().await;
    world.apply(&plan);
    let rollout = until_ended(world, "RolledBack").await;
    let alert = world.until_alert("of the rollback", SOON, |alert| alert["labels"]["alertname"] == "RolloutRolledBack").await;

    let status = &rollout["status"];
    assert_eq!(status["decision"]["why"][0]["metric"], metric, "{}", pretty(status));
    assert_eq!(status["decision"]["why"][0]["verdict"], "Fail", "{}", pretty(status));
    assert_eq!(status["refused"][0]["revision"], status["canary"]["revision"], "{}", pretty(status));
    assert!(status["decision"]["exposure"]["canaryRequests"].as_i64().is_some_and(|n| n > 0), "{}", pretty(status));
    let text = alert["annotations"].to_string();
    for part in ["Rolled back", "fraud", "v2", "because", "worse", "exposed", "haldane explain"] {
        assert!(text.contains(part), "{part:?} is not in the alert: {text}");
    }
    let latch = managed(&record.seen().last().unwrap().object);
    assert_eq!(
        latch["primary"]["latch"]["revision"].as_str().or(latch["primary"]["revision"].as_str()),
        status["canary"]["revision"].as_str(),
        "{latch}"
    );

    // It is not retried, and nobody is sent there any more.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(climb(&record), ["0 %", "5 %", "0 %"]);
    let back = record.changes().last().unwrap().0;
    let after = load.between(back + Duration::from_secs(2), Instant::now());
    assert!(after.len() > 500, "{} requests since", after.len());
    assert_eq!((from_version(&after, "v2"), failed(&after).len()), (0, 0));
    failed(&load.stop().await).len()
}

/// What our annotation on the VirtualService says.
pub(super) fn managed(object: &Value) -> Value {
    let text = object["metadata"]["annotations"]["haldane.dev/managed"].as_str().expect("our annotation is there");
    serde_json::from_str(text).unwrap()
}
