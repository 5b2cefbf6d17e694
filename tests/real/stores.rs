//! The same rollouts on other stores than Prometheus: the real VictoriaMetrics, and two Prometheus servers behind the real Thanos.

use std::time::Duration;

use serde_json::Value;

use super::{
    between::{Late, Partial},
    climb::{climb, until_at, until_ended},
    controller::component,
    load::{Answer, failed},
    outage::{Frozen, while_away},
    promote::{baseline, condition},
    recorder::Recorder,
    world::{LATER, SOON, Shape, World, command, judged, pretty, root, story},
};

/// Requests a second.
const RATE: f64 = 150.0;
/// When a replica has not scraped for this long, Thanos switches to the other one.
const GAP: Duration = Duration::from_millis(3_500);

/// A store beside Prometheus, stopped when it goes.
struct Store(&'static str);

impl Store {
    fn start(name: &'static str, more: &[&str]) -> Self {
        command(&root("tests/stack/store"), &[&[name], more].concat());
        Self(name)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        command(&root("tests/stack/store"), &[self.0, "stop"]);
    }
}

/// Rolls out a version that errs, which is rolled back at its first step.
async fn bad(world: &World, record: &Recorder, meanwhile: impl AsyncFnOnce()) {
    world.apply(&judged("8s"));
    world.until_weight(5, LATER).await;
    meanwhile().await;
    let rollout = until_ended(world, "RolledBack").await;
    let why = &rollout["status"]["decision"]["why"][0];
    assert_eq!((why["metric"].as_str(), why["verdict"].as_str()), (Some("errorRate"), Some("Fail")), "{}", pretty(&rollout["status"]));
    assert_eq!(climb(record), ["0 %", "5 %", "0 %"]);
}

/// Rolls out its successor, which is healthy and is promoted.
async fn healthy(world: &World, record: &Recorder, at_5: impl AsyncFnOnce(), at_20: impl AsyncFnOnce()) {
    world.redeploy("fraud-v2", &[("ERRORS", "0")]).await;
    world.until("the next rollout", SOON, |r| r["status"]["phase"] != "RolledBack").await;
    world.until_weight(5, LATER).await;
    at_5().await;
    until_at(world, 20).await;
    at_20().await;
    until_ended(world, "Promoted").await;
    assert_eq!(climb(record), ["0 %", "5 %", "0 %", "5 %", "20 %", "50 %", "100 %"]);
}

/// One of stable's pods goes, and another one comes.
fn replace_a_stable_pod(world: &World) {
    let pod = world.kubectl(&["get", "pods", "-l", "version=v1", "-o", "jsonpath={.items[0].metadata.name}"]);
    world.kubectl(&["delete", "pod", pod.trim(), "--wait=false"]);
}

fn unavailable(rollout: &Value, cause: &str) -> bool {
    condition(rollout, "MetricsAvailable").is_some_and(|c| c["status"] == "False" && c["message"].to_string().contains(cause))
}

/// Nobody had an error but those that the bad version made itself.
fn no_other_errors(answers: &[Answer]) {
    let own = |a: &Answer| (a.version.as_str(), a.status) == ("v2", 500);
    let others: Vec<_> = failed(answers).into_iter().filter(|a| !own(a)).collect();
    assert!(others.is_empty(), "{} of {}: {:?}", others.len(), answers.len(), others.first());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn victoriametrics_partial_stopped_and_with_a_replaced_pod_gives_the_verdicts_of_prometheus() {
    story("victoriametrics", async |world| {
        let _store = Store::start("victoriametrics", &[]);
        let partial = Partial::start("http://127.0.0.1:8428").await;
        world.provider(Partial::AT, "4s"); // what is scraped can be asked for after about three
        world.models(Shape::Sidecars, &[("ERRORS", "0.1")]).await;
        world.kubectl(&["scale", "deployment/fraud-v1", "--replicas=2"]);
        world.ready("fraud-v1").await;
        let _controller = world.controller();
        let load = world.load(RATE);
        baseline().await;
        let record = world.record().await;
        bad(world, &record, async || {
            partial.set(true);
            world.until("a hold that names the cause", SOON, |r| unavailable(r, "isPartial")).await;
            tokio::time::sleep(Duration::from_secs(6)).await;
            assert!(climb(&record).len() <= 2, "partial data decides nothing: {:?}", record.shares());
            partial.set(false);
        })
        .await;
        let at_20 = async || while_away(world, &record, "victoria-metrics", "502").await;
        healthy(world, &record, async || replace_a_stable_pod(world), at_20).await;
        no_other_errors(&load.stop().await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thanos_with_a_replica_behind_and_a_sidecar_stopped_gives_the_verdicts_of_prometheus() {
    story("thanos", async |world| {
        let _late = Late::start(Duration::from_secs(2)).await;
        let _store = Store::start("thanos", &[Late::AT]);
        world.provider("http://127.0.0.1:10904", "3s");
        world.models(Shape::Gateway, &[("ERRORS", "0.1")]).await;
        let _controller = world.controller();
        let load = world.load(RATE);
        baseline().await;
        let record = world.record().await;
        // From the replica that is ahead to the one behind: counters fall. And back: they jump.
        let dip = async || {
            for replica in ["prometheus", "prometheus-b"] {
                let frozen = Frozen::new(component(replica));
                tokio::time::sleep(GAP).await;
                drop(frozen);
                tokio::time::sleep(GAP).await;
            }
        };
        bad(world, &record, dip).await;
        let at_20 = async || while_away(world, &record, "thanos-sidecar-b", "127.0.0.1:10902").await;
        healthy(world, &record, dip, at_20).await;
        no_other_errors(&load.stop().await);
    })
    .await;
}
