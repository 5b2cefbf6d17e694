//! Requests that no workload answers: to a canary that no proxy finds, and beside one that is well.

use haldane::{
    api::{AnyReason, Phase, Reason, RolloutStatus},
    sim::{WorldConfig, traffic::Lost},
};
use serde_json::{Value, json};

use crate::stage::{Stage, better, rollout};

/// A healthy v2 that starts at 25 %; its windows are two seconds.
async fn begin(seed: u64, change: impl FnOnce(&mut WorldConfig), lost: Option<Lost>, metrics: Value) -> Stage {
    let mut stage = Stage::with(seed, change).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.lose("v2", lost);
    let spec = json!({"strategy": {"canary": {"weights": [25, 100], "hold": "10s"}}, "analysis": {"metrics": metrics}});
    stage.world.apply(&rollout("v2", spec)).await.unwrap();
    stage
}

fn errors() -> Value {
    json!([{"errorRate": {}}])
}

/// The reason of the rollback, and what was decided.
fn decided(status: &RolloutStatus) -> (AnyReason, String) {
    let decision = status.decision.clone().unwrap();
    (decision.reason, decision.message)
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_no_proxy_finds_is_at_0_within_two_looks_and_says_why() {
    let cases = [
        (Lost::NoEndpoint, true, "response_flags UH"),
        (Lost::NoCluster, true, "response_flags NC"),
        (Lost::NoEndpoint, false, "response_flags UH"),
        (Lost::NoCluster, false, "response_flags NC"),
    ];
    for (seed, (lost, sidecars, flags)) in (41..).zip(cases) {
        let stage = begin(seed, |config| config.sidecars = sidecars, Some(lost), errors()).await;
        let status = stage.until_phase("v2", Phase::RolledBack).await;
        assert_eq!(stage.weights_of("v2"), [0, 25, 0], "{lost:?}");
        let (why, message) = decided(&status);
        assert_eq!(why, Reason::NoWorkloadAnswered, "{lost:?}: {message}");
        assert!(message.contains(flags) && message.contains("fraud.ml.svc.cluster.local"), "{message}");
        let exposure = status.decision.unwrap().exposure.unwrap();
        assert!(exposure.canary_requests > 100 && Some(exposure.canary_requests) == exposure.canary_errors, "{exposure:?}");
        // A scrape, a baseline, one window, the lag, and what proxies and watches take: a quarter of a thousand a second for so long.
        let failed = stage.world.served()[""].requests;
        assert!(failed < 250 * 9, "{lost:?}: {failed} users got an error");
        stage.seconds(5).await;
        assert!(stage.alerts().iter().any(|text| text.contains("no workload answered")), "{:?}", stage.alerts());
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_no_proxy_finds_goes_back_without_an_error_rate_too() {
    let stage = begin(45, |_| {}, Some(Lost::NoEndpoint), json!([{"latency": {}}])).await;
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(decided(&status).0, Reason::NoWorkloadAnswered);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_dies_in_the_middle_of_a_step_goes_back() {
    let stage = begin(46, |_| {}, None, errors()).await;
    stage.until("at 25 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 25)).await;
    stage.seconds(7).await;
    stage.world.lose("v2", Some(Lost::NoEndpoint));
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.weights_of("v2"), [0, 25, 0]);
    assert!(decided(&status).1.contains("no workload answered"), "{}", decided(&status).1);
    assert!(stage.world.served()[""].requests < 250 * 9);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_the_gateway_alone_does_not_find_is_worse_by_its_errors() {
    let stage = begin(47, |_| {}, Some(Lost::NoEndpointAtGateway), errors()).await;
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    let (why, message) = decided(&status);
    assert_eq!(why, Reason::AnalysisFailed, "{message}");
    assert!(message.contains("no workload answered") && message.contains("response_flags UH"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn errors_without_a_workload_from_before_the_raise_are_not_held_against_a_healthy_canary() {
    let mut stage = Stage::set(48).await;
    stage.world.set_stray(100.0);
    stage.seconds(120).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    let status = stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
    assert!(stage.world.served()["v2"].requests > 0, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_blip_of_such_errors_while_the_canary_has_its_share_takes_nothing_back() {
    let stage = begin(49, |_| {}, None, errors()).await;
    stage.until("at 25 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 25)).await;
    stage.seconds(4).await;
    stage.world.set_stray(300.0);
    stage.seconds(5).await;
    stage.world.set_stray(0.0);
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 25, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_whose_traffic_nobody_counts_is_rolled_back_after_two_minutes_and_promote_is_not_offered() {
    let stage = begin(50, |_| {}, Some(Lost::Uncounted), errors()).await;
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.weights_of("v2"), [0, 25, 0]);
    let decision = status.decision.unwrap();
    assert_eq!(decision.reason, Reason::NoCanaryTraffic);
    let said = format!("{} {}", decision.message, decision.next);
    assert!(said.contains("no canary request in the 12") && said.contains("haldane retry") && !said.contains("promote"), "{said}");
    stage.world.lose("v2", None);
    stage.say("retry", None).await;
    stage.until_phase("v2", Phase::Promoted).await;
}
