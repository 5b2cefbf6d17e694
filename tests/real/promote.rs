//! A healthy version gets all the traffic, weight by weight.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    beside::{break_and_delay, furnish},
    climb::{climb, until_ended},
    load::{Answer, Load, band, failed, from_version},
    recorder::Recorder,
    ways::rule,
    world::{LATER, SOON, Shape, World, holds_alone, judged, pretty, story, with_latency},
};

/// Requests a second.
const RATE: f64 = 150.0;
/// Time from a weight in the API server to every request: istiod's debounce, and the watches on the way.
const PROPAGATION: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_healthy_version_is_promoted_with_each_weights_split_and_no_failed_request() {
    story("promote", async |world| promoted(world, Shape::Gateway, with_latency("6s", false)).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_healthy_version_with_sidecars_is_promoted_beside_quotas_policies_delays_and_a_circuit_breaker() {
    story("sidecars", async |world| {
        furnish(world);
        promoted(world, Shape::Sidecars, judged("6s")).await;
    })
    .await;
}

async fn promoted(world: &World, shape: Shape, plan: Value) {
    world.models(shape, &[]).await;
    if shape == Shape::Sidecars {
        break_and_delay(world).await;
    }
    let before = world.route().await;
    let _controller = world.controller();
    let load = world.load(RATE);
    baseline().await;
    let record = world.record().await;
    world.apply(&plan);
    let rollout = until_ended(world, "Promoted").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let answers = load.stop().await;

    assert_eq!(climb(&record), ["0 %", "5 %", "20 %", "50 %", "100 %"]);
    assert!(failed(&answers).is_empty(), "{} of {} requests failed: {:?}", failed(&answers).len(), answers.len(), failed(&answers).first());
    splits_are_as_programmed(&record, &load);
    let changes = record.changes();
    for (one, next) in changes.iter().zip(&changes[1..]).filter(|(one, next)| 0 < one.1 && one.1 < next.1) {
        assert!(next.0 - one.0 >= Duration::from_secs(6), "weight {} was held for {:?} only", one.1, next.0 - one.0);
    }
    assert_eq!(but_for_weights(&world.route().await), but_for_weights(&before));
    let status = &rollout["status"];
    assert_eq!(status["stable"]["subset"], "v2", "{}", pretty(status));
    if shape == Shape::Gateway {
        let shown = status["decision"]["why"].as_array().unwrap().iter().find(|why| why["metric"] == "latency").expect("it is shown");
        assert!(shown["canary"]["n"].as_i64().is_some_and(|n| n > 0), "{}", pretty(status));
    }
    assert_eq!(status["history"][0]["outcome"], "Promoted", "{}", pretty(status));
    assert!(condition(&rollout, "Ready").is_some_and(|c| c["status"] == "True"), "{}", pretty(status));
    world.until_alert("of the promotion", SOON, |alert| alert.to_string().contains("romoted")).await;
}

/// The hour before a rollout, in short: dispersion is learnt from it.
pub(super) async fn baseline() {
    tokio::time::sleep(Duration::from_secs(45)).await; // twenty windows
}

/// The condition of that type.
pub(super) fn condition<'a>(rollout: &'a Value, kind: &str) -> Option<&'a Value> {
    rollout["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// While a weight stood, the canary's share of the answers was that of a binomial law with that weight.
pub(super) fn splits_are_as_programmed(record: &Recorder, load: &Load) {
    let changes = record.changes();
    for (index, (at, weight)) in changes.iter().enumerate() {
        let end = changes.get(index + 1).map_or_else(Instant::now, |(next, _)| *next);
        let answers: Vec<Answer> = load.between(*at + PROPAGATION, end);
        if answers.is_empty() {
            continue;
        }
        let (canary, (low, high)) = (from_version(&answers, "v2"), band(answers.len(), *weight as f64 / 100.0));
        println!("weight {weight}: {canary} of {} requests, 99.9 % band {low}..={high}", answers.len());
        assert!((low..=high).contains(&canary), "weight {weight}: {canary} of {}, not in {low}..={high}", answers.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn timeouts_retries_and_a_foreign_route_stay_as_they_were() {
    story("untouched", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let before = world.route().await;
        let _controller = world.controller();
        let record = world.record().await;
        world.apply(&holds_alone("3s"));
        world.until_phase("Promoted", LATER).await;
        assert_eq!(record.weights(), [0, 5, 20, 50, 100]);
        for seen in record.seen() {
            assert_eq!(rule(&seen.object, "model-health"), rule(&before, "model-health"));
            assert_eq!(but_for_weights(&seen.object), but_for_weights(&before));
            assert_eq!(seen.object["metadata"]["labels"], before["metadata"]["labels"]);
        }
    })
    .await;
}

/// `spec` with every weight of the managed route taken out.
pub(super) fn but_for_weights(object: &Value) -> Value {
    let mut spec = object["spec"].clone();
    for route in spec["http"].as_array_mut().into_iter().flatten().filter(|r| r["name"] == "primary") {
        for destination in route["route"].as_array_mut().into_iter().flatten() {
            destination.as_object_mut().unwrap().remove("weight");
        }
    }
    spec
}
