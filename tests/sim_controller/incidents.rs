//! Incidents that hit both versions.

use haldane::{
    api::{Phase, RolloutStatus},
    sim::traffic::Behaviour,
};
use serde_json::json;

use crate::{
    outages::half_way,
    stage::{Stage, better, rollout},
};

/// A healthy v2, with a hold that is long enough for what happens in a step.
async fn begin(seed: u64, hold: &str) -> Stage {
    let mut stage = Stage::set(seed).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.apply(&rollout("v2", json!({"strategy": {"canary": {"hold": hold}}}))).await.unwrap();
    stage
}

/// A database that both versions use fails one request in ten.
fn breaks(stage: &Stage) {
    stage.world.behave("v1", Behaviour::default().with_errors(0.10));
    stage.world.behave("v2", better().with_errors(0.10));
}

fn heals(stage: &Stage) {
    stage.world.behave("v1", Behaviour::default());
    stage.world.behave("v2", better());
}

fn held(status: &RolloutStatus) -> bool {
    status.conditions.iter().any(|c| c.type_ == "Ready" && c.reason == "GlobalIncident")
}

#[tokio::test(start_paused = true)]
async fn an_incident_at_the_very_start_takes_the_canary_out_until_it_is_over() {
    let stage = begin(23, "30s").await;
    stage.until("at 5 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 5)).await;
    breaks(&stage);
    stage.until("back at nothing", |s| s.step.as_ref().is_some_and(|step| step.weight == 0) && held(s)).await;
    stage.seconds(60).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 0]);
    let ready = stage.world.status().conditions.into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert!(ready.message.contains("stable itself is degraded since") && ready.message.contains("haldane abort"), "{}", ready.message);
    heals(&stage);
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn an_incident_that_hits_both_versions_holds_the_weight_and_then_it_goes_on() {
    let stage = begin(31, "60s").await;
    stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
    stage.seconds(20).await; // ten windows: it cannot come from the raise
    breaks(&stage);
    stage.seconds(20).await;
    heals(&stage);
    let status = stage.world.status();
    assert_eq!((status.phase, status.decision.unwrap().reason.as_str()), (Some(Phase::Holding), "GlobalIncident"));
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
    assert!(
        stage.alerts().iter().any(|alert| alert.contains("stable itself is degraded since") && alert.contains("errors")),
        "{:?}",
        stage.alerts()
    );
}

#[tokio::test(start_paused = true)]
async fn an_incident_right_after_a_raise_takes_it_back_by_one_step_and_it_is_passed_again() {
    let stage = half_way(32).await;
    breaks(&stage);
    stage.seconds(10).await;
    heals(&stage);
    stage.until("back at 5 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 5)).await;
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 5, 20, 50, 100]);
    assert!(stage.alerts().iter().any(|alert| alert.contains("went back by one step")), "{:?}", stage.alerts());
}
