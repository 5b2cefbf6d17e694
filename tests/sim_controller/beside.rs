//! What else changes pods in a cluster while a rollout is under way: autoscalers, nodes without room, volumes, quotas.

use haldane::api::{Phase, Reason, RolloutStatus};
use serde_json::json;

use crate::stage::{Stage, better, rollout};

fn at_weight(weight: i32) -> impl Fn(&RolloutStatus) -> bool {
    move |status| status.step.as_ref().is_some_and(|step| step.weight == weight)
}

fn because(reason: Reason) -> impl Fn(&RolloutStatus) -> bool {
    move |status| status.decision.as_ref().is_some_and(|decision| decision.reason == reason)
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_that_doubles_stable_and_halves_it_again_stops_no_healthy_version() {
    let mut stage = Stage::set(81).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    stage.until("at 5 %", at_weight(5)).await;
    stage.world.scale("v1", 6);
    stage.until("at 20 %", at_weight(20)).await;
    stage.world.scale("v1", 3);
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_an_autoscaler_lets_grow_with_its_share_is_promoted() {
    let mut stage = Stage::with(82, |config| config.replicas = 6).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.scale("v2", 1);
    stage.world.apply(&rollout("v2", json!({"traffic": {"capacity": "Any"}}))).await.unwrap();
    for (weight, replicas) in [(5, 2), (20, 3), (50, 6)] {
        stage.until(&format!("at {weight} %"), at_weight(weight)).await;
        stage.world.scale("v2", replicas);
    }
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn pods_that_a_quota_or_a_full_node_keeps_out_hold_the_next_weight_until_they_are_there() {
    let mut stage = Stage::with(83, |config| config.replicas = 6).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.scale("v2", 1); // the other pods wait for a GPU
    stage.apply("v2").await;
    let status = stage.until("short of pods", because(Reason::CanaryCapacity)).await;
    let message = status.decision.unwrap().message;
    assert!(message.ends_with("50 % needs 2 ready pods of v2, 1 are: kubectl -n ml scale deployment fraud-v2 --replicas=2"), "{message}");
    stage.seconds(120).await;
    let held = stage.weights_of("v2");
    assert!(held.last().is_some_and(|weight| *weight < 100), "{held:?}");
    assert!(stage.alerts().iter().any(|text| text.contains("scale deployment fraud-v2 --replicas=2")), "{:?}", stage.alerts());
    stage.world.scale("v2", 6);
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_whose_volume_another_node_has_mounted_gets_no_user_and_starts_once_it_runs() {
    let mut stage = Stage::set(84).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.set_healthy("v2", false); // Multi-Attach error: the pods stay in ContainerCreating
    stage.apply("v2").await;
    let named = |s: &RolloutStatus| s.conditions.iter().any(|c| c.reason == "NoCanaryEndpoint");
    stage.until("without an endpoint", |s| s.phase == Some(Phase::Waiting) && named(s)).await;
    stage.seconds(120).await;
    assert_eq!(stage.weights_of("v2"), [0]);
    stage.world.set_healthy("v2", true);
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn pods_of_both_versions_that_nodes_lose_one_by_one_fail_no_healthy_version() {
    let mut stage = Stage::set(85).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    for (weight, version) in [(5, "v1"), (20, "v2"), (50, "v1")] {
        stage.until(&format!("at {weight} %"), at_weight(weight)).await;
        stage.world.scale(version, 2); // a drained node takes a pod
        stage.seconds(3).await;
        stage.world.scale(version, 3); // and its replacement runs elsewhere
    }
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}
