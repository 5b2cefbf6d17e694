//! The true controller against the simulated world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use haldane::{
    api::{Phase, Rollout},
    clock::Clock,
    config::ConfigHandle,
    controller::{self, Options},
    sim::{NAMESPACE, World, WorldConfig, traffic::Behaviour},
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

#[tokio::test(flavor = "multi_thread")]
async fn debug() {
    tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::stderr).init();
    let world = world().await;
    let _task = control(&world);
    world.deploy("v2", Behaviour::default());
    world.apply(&rollout()).await.unwrap();
    for second in 0..40 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = world.status();
        eprintln!(
            "{second} {:?} {:?} {:?}",
            status.phase,
            status.step.as_ref().map(|s| s.windows),
            status.evidence.first().map(|e| &e.message)
        );
        if status.phase == Some(Phase::Promoted) {
            break;
        }
    }
    eprintln!("{:#?}", world.api().faults().counts());
    for r in world.api().faults().log().iter().rev().filter(|r| r.verb.writes()).take(6) {
        eprintln!("{} {:?} {} {} {:?} {}", r.at, r.verb, r.resource, r.subresource, r.code, r.body);
    }
}
