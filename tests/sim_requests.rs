//! The true controller against the simulated world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::{collections::BTreeMap, time::Duration};

use haldane::{
    api::{Phase, Rollout},
    clock::Clock,
    config::ConfigHandle,
    controller::{self, Options},
    sim::{NAMESPACE, World, WorldConfig, apiserver::Verb, traffic::Behaviour},
};
use kube::Client;
use serde_json::json;

async fn world() -> World {
    let mut config = WorldConfig::new(Clock::system(), 7);
    config.rps = 1000.0;
    World::start(config).await.unwrap()
}

fn control(world: &World) -> tokio::task::JoinHandle<()> {
    let mut config = world.kube_config();
    config.default_retry = false;
    let client = Client::try_from(config).unwrap();
    let handle = ConfigHandle::fixed(world.controller_config(Duration::from_secs(1)));
    let options = Options { namespaces: vec![NAMESPACE.into()], ..Options::default() };
    tokio::spawn(async move { controller::run(client, handle, options, std::future::pending()).await.unwrap() })
}

fn rollout() -> Rollout {
    let metrics = json!([{"errorRate": {}}, {"latency": {}}, {"drift": {"counter": "model_prediction_class_total", "class": "class"}}]);
    let spec = json!({
        "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {"hold": "10s"}},
        "analysis": {"interval": "2s", "warmUp": "1s", "metrics": metrics},
    });
    serde_json::from_value(json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "fraud"}, "spec": spec}))
        .unwrap()
}

/// Waits until the Rollout is in this phase.
async fn until(world: &World, what: &str, done: impl Fn(&World) -> bool) {
    for _ in 0..1200 {
        if done(world) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited two minutes for {what}: {:#?}", world.status());
}

/// Requests of the controller by verb, resource and subresource; watches, and what is asked at the start, left out.
fn requests(world: &World) -> BTreeMap<(&'static str, String), usize> {
    let mut counts = BTreeMap::new();
    for record in world.api().faults().log() {
        if !matches!(record.verb, Verb::Watch | Verb::List | Verb::Other) {
            let resource = record.resource.split('.').next().unwrap_or_default();
            *counts.entry((record.verb.as_str(), format!("{resource}/{}", record.subresource))).or_insert(0) += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_four_step_update_needs_few_requests_and_skips_nothing() {
    let world = world().await;
    let task = control(&world);
    // A little better than stable, so that no step needs longer than its hold.
    world.deploy("v2", Behaviour::default().with_errors(0.0005).with_latency(37.0, 165.0));
    world.apply(&rollout()).await.unwrap();
    world.api().faults().forget();
    until(&world, "the promotion", |world| world.status().phase == Some(Phase::Promoted)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut counts = requests(&world);
    println!("requests of a four-step update: {counts:#?}");
    // Waits for pods; waits for stable's metrics; starts; read back four times; three steps passed; promoted; the last alert delivered.
    // On a busy machine a scrape may be missed, which is reported and withdrawn. With as many pods of each version the load per pod is unequal,
    // which is reported once for each of the two weights where it is; and the first steps begin before stable's past is known, which is
    // reported too.
    let status = counts.remove(&("patch", "rollouts/status".to_owned())).unwrap_or_default();
    assert!((11..=20).contains(&status), "{status} writes of status");
    // The record: with each of the five decisions, the first of which creates it, and with windows where half a minute has gone by without one.
    let record = counts.remove(&("patch", "configmaps/".to_owned())).unwrap_or_default();
    assert!((4..=6).contains(&record), "{record} writes of the record");
    let fixed = [
        (("create", "configmaps/"), 1),
        (("get", "configmaps/"), 1),
        (("create", "events/"), 5),
        (("get", "virtualservices/"), 4),
        (("patch", "rollouts/"), 2), // the finalizer comes and goes
        (("patch", "virtualservices/"), 4),
    ];
    assert_eq!(counts, fixed.map(|((verb, what), count)| ((verb, what.to_owned()), count)).into());
    for record in world.api().faults().log().iter().filter(|record| record.subresource == "status") {
        let status = &record.body[1]["value"];
        let blank = status["step"]["weight"].as_i64().is_some_and(|weight| weight > 0) && status["step"]["windows"] == 0;
        assert!(!blank || status["verdict"] == "Inconclusive", "a step has no verdict before its first look: {status:#}");
    }
    let before = requests(&world);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(requests(&world), before, "nothing is asked at rest");
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_is_served_while_prometheus_does_not_answer() {
    let world = world().await;
    let task = control(&world);
    world.deploy("v2", Behaviour::default());
    world.apply(&rollout()).await.unwrap();
    until(&world, "the first step", |world| world.weights().get("v2") == Some(&5)).await;
    world.set_scraping(false);
    let live = world.rollout().unwrap();
    let value = json!({"id": "1", "uid": live.metadata.uid, "reason": "a test", "by": "a test"}).to_string();
    let patch = json!({"metadata": {"annotations": {"haldane.dev/abort": value}}});
    let rollouts: kube::Api<Rollout> = kube::Api::namespaced(world.client(), NAMESPACE);
    rollouts.patch("fraud", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
    until(&world, "stable at 100 %", |world| world.weights().get("v2").copied().unwrap_or(0) == 0).await;
    until(&world, "the phase", |world| world.status().phase == Some(Phase::Aborted)).await;
    assert_eq!(world.weights().get("v1"), Some(&100));
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_at_each_weight_skips_no_step_and_loses_no_rollback() {
    let world = world().await;
    world.deploy("v2", Behaviour::default());
    world.apply(&rollout()).await.unwrap();
    let mut seen = Vec::new();
    let mut task = control(&world);
    for _ in 0..6000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let weight = world.weights().get("v2").copied().unwrap_or(0);
        if seen.last() != Some(&weight) {
            seen.push(weight);
            // Right after the write to the route, often before its status.
            task.abort();
            task = control(&world);
        }
        if weight == 50 && world.status().step.is_some_and(|step| step.weight == 50) {
            world.behave("v2", Behaviour::default().with_errors(0.3));
        }
        if world.status().phase == Some(Phase::RolledBack) {
            break;
        }
    }
    assert_eq!(seen, [0, 5, 20, 50, 0], "{:#?}", world.status());
    assert_eq!(world.status().phase, Some(Phase::RolledBack));
    task.abort();
}
