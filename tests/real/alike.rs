//! Like with like: a healthy version is promoted and one that is slower by 30 % is rolled back, with as many pods on both sides and with few of
//! the canary.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    climb::{climb, until_ended},
    load::failed,
    promote::{baseline, condition},
    world::{LATER, Shape, World, judged, pretty, story},
};

/// Requests a second.
const RATE: f64 = 150.0;
/// The model takes 20 ms: so much more is 30 %.
const SLOWER: [(&str, &str); 1] = [("SLOW_MS", "6")];
/// As many of stable as of the canary: at 5 % a pod of the canary gets a nineteenth of the load of one of stable.
const AS_MANY: [u32; 2] = [2, 2];
/// Three of stable, one of the canary: a sixth at 5 %, three times as much at 50 %.
const FEW: [u32; 2] = [3, 1];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_healthy_version_with_as_many_pods_is_promoted() {
    story("as-many", async |world| promoted(world, AS_MANY).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_healthy_version_with_few_pods_is_promoted() {
    story("few", async |world| promoted(world, FEW).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_version_slower_by_30_percent_with_as_many_pods_is_rolled_back() {
    story("as-many-slow", async |world| rolled_back(world, AS_MANY).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_version_slower_by_30_percent_with_few_pods_is_rolled_back() {
    story("few-slow", async |world| rolled_back(world, FEW).await).await;
}

async fn promoted(world: &World, pods: [u32; 2]) {
    let (rollout, way) = rolled_out(world, pods, &[], "Promoted").await;
    assert_eq!(way, ["0 %", "5 %", "20 %", "50 %", "100 %"]);
    assert_eq!(rollout["status"]["stable"]["subset"], "v2", "{}", pretty(&rollout["status"]));
}

/// At 5 % load may explain that much; at 20 % (of few pods) or 50 % (of as many) it does not.
async fn rolled_back(world: &World, pods: [u32; 2]) {
    let (rollout, way) = rolled_out(world, pods, &SLOWER, "RolledBack").await;
    let found = &rollout["status"]["decision"]["why"][0];
    assert_eq!((&found["metric"], &found["verdict"]), (&json!("latency"), &json!("Fail")), "{}", pretty(&rollout["status"]));
    assert!(!way.contains(&"100 %".to_owned()), "{way:?}");
    println!("a version slower by 30 % with {pods:?} pods: {way:?}: {}", found["message"]);
}

/// Rolls out v2 with so many pods of stable and of the canary, until it has ended in this phase. What v2 had in turn, without steps back.
async fn rolled_out(world: &World, pods: [u32; 2], faults: &[(&str, &str)], end: &str) -> (Value, Vec<String>) {
    world.models(Shape::Sidecars, faults).await;
    for (deployment, pods) in ["fraud-v1", "fraud-v2"].into_iter().zip(pods) {
        world.kubectl(&["scale", &format!("deployment/{deployment}"), &format!("--replicas={pods}")]);
        world.ready(deployment).await;
    }
    let _controller = world.controller();
    let load = world.load(RATE);
    baseline().await;
    let record = world.record().await;
    world.apply(&plan());
    let unequal = |r: &Value| condition(r, "Feasible").is_some_and(|c| c["reason"] == "UnequalLoad");
    let begun = world.until("what each pod gets", LATER, unequal).await;
    says_what_each_pod_gets(&begun, pods);
    if end == "Promoted" && pods[1] < pods[0] {
        // A third of the pods does not get everybody: the weight waits, and says which line ends that.
        let asked =
            |r: &Value| r["status"]["step"]["weight"] == 50 && r["status"].to_string().contains("scale deployment fraud-v2 --replicas=2");
        world.until("the pods that everybody needs", Duration::from_secs(300), asked).await;
        world.kubectl(&["scale", "deployment/fraud-v2", "--replicas=3"]);
    }
    let rollout = until_ended(world, end).await;
    let answers = load.stop().await;
    assert!(failed(&answers).is_empty(), "{} of {}: {:?}", failed(&answers).len(), answers.len(), failed(&answers).first());
    (rollout, climb(&record))
}

/// Slower by 15 % fails, by 50 % does not pass: half of the 30 %, and what a minute of test traffic on a machine with other work can prove.
fn plan() -> Value {
    let mut rollout = judged("10s");
    rollout["spec"]["analysis"]["metrics"].as_array_mut().unwrap().push(json!({ "latency": { "stretch": 0.15, "pass": 0.5 } }));
    rollout
}

/// At 5 %: the pods of both, what one of each gets, and what would make that equal.
fn says_what_each_pod_gets(rollout: &Value, [stable, canary]: [u32; 2]) {
    let load = &rollout["status"]["load"];
    assert_eq!((&load["stable"]["pods"], &load["canary"]["pods"]), (&json!(stable), &json!(canary)), "{}", pretty(load));
    let of = |arm: &str| load[arm]["requestsPerPod"].as_f64().unwrap();
    assert!(of("canary") > 0.0 && of("canary") < of("stable") / 2.0, "{}", pretty(load));
    let message = condition(rollout, "Feasible").unwrap()["message"].as_str().unwrap();
    let fix = if canary == 1 {
        "whole pods come no nearer"
    } else {
        "scale deployment fraud-v2 --replicas=1` makes it as equal as whole pods can"
    };
    assert!(message.contains("load per pod is unequal") && message.contains(fix), "{message}");
}
