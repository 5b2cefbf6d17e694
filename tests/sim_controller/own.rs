//! Metrics of the user's own: thresholds that roll back, hold, or have no value; ratios; and what is only shown.

use haldane::{
    api::{Outcome, Phase, Reason, RolloutStatus, Verdict},
    sim::traffic::Behaviour,
};
use serde_json::{Value, json};

use crate::{
    outages::annotate,
    stage::{Stage, better, rollout},
};

/// The Rollout of the stories with these metrics beside the error rate.
async fn apply(stage: &Stage, more: &[Value]) {
    let metrics: Vec<Value> = [json!({"errorRate": {}})].iter().chain(more).cloned().collect();
    stage.world.apply(&rollout("v2", json!({"analysis": {"metrics": metrics}}))).await.unwrap();
}

fn gpu(action: &str) -> Value {
    let query = r#"max(DCGM_FI_DEV_FB_USED{namespace="{{namespace}}",pod=~"{{canaryPods}}"})"#;
    json!({"threshold": {"name": "gpu", "query": query, "max": 38000, "for": "10s", "action": action}})
}

fn at_weight(weight: i32) -> impl Fn(&RolloutStatus) -> bool {
    move |status| status.step.as_ref().is_some_and(|step| step.weight == weight)
}

#[tokio::test(start_paused = true)]
async fn a_threshold_that_is_broken_for_long_enough_rolls_back_with_its_numbers_and_query() {
    let mut stage = Stage::set(31).await;
    stage.control(false);
    stage.world.deploy("v2", better().with_memory(39_120.0));
    apply(&stage, &[gpu("Rollback")]).await;
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 0]);
    let decision = status.decision.unwrap();
    let why = &decision.why[0];
    assert_eq!((why.metric.as_str(), why.verdict, why.limit), ("gpu", Verdict::Fail, Some(38_000.0)));
    assert!(decision.message.contains("gpu 39,120 is above 38,000 for 10s, at 6 looks in a row"), "{}", decision.message);
    let query = why.query.as_ref().unwrap();
    assert!(query.starts_with(r#"max(DCGM_FI_DEV_FB_USED{namespace="ml",pod=~"(?:fraud-v2-"#), "{query}");
    stage.seconds(5).await;
    let alerts = stage.alerts();
    assert!(
        alerts.iter().any(|text| text.contains("Rolled back: ml/fraud v2") && text.contains("gpu 39,120 is above 38,000")),
        "{alerts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_spike_shorter_than_that_does_nothing() {
    let mut stage = Stage::set(32).await;
    stage.control(false);
    stage.world.deploy("v2", better().with_memory(30_000.0));
    apply(&stage, &[gpu("Rollback")]).await;
    stage.until("at 5 %", at_weight(5)).await;
    stage.seconds(4).await;
    stage.world.behave("v2", better().with_memory(39_000.0));
    let beyond =
        |s: &RolloutStatus| s.evidence.iter().any(|m| m.metric == "gpu" && m.message.contains("it rolls back when that lasts 10s"));
    stage.until("beyond", beyond).await;
    stage.world.behave("v2", better().with_memory(30_000.0));
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_threshold_that_holds_waits_for_a_person_who_accepts_it() {
    let mut stage = Stage::set(33).await;
    stage.control(false);
    stage.world.deploy("v2", better().with_memory(39_000.0));
    apply(&stage, &[gpu("Hold")]).await;
    let held = |s: &RolloutStatus| s.phase == Some(Phase::Holding) && s.decision.as_ref().is_some_and(|d| d.reason == Reason::HoldLimit);
    let status = stage.until("held", held).await;
    assert!(status.decision.unwrap().message.contains("gpu 39,000 is above 38,000"));
    stage.seconds(120).await;
    assert_eq!(stage.weights_of("v2"), [0, 5]);
    let alerts = stage.alerts();
    assert!(alerts.iter().any(|text| text.contains("Holding, a limit was crossed: ml/fraud v2")), "{alerts:?}");
    annotate(&stage, "promote").await;
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_threshold_that_is_broken_at_100_percent_holds_the_promotion() {
    let mut stage = Stage::set(34).await;
    stage.control(false);
    stage.world.deploy("v2", better().with_memory(30_000.0));
    apply(&stage, &[gpu("Hold")]).await;
    stage.until("at 100 %", at_weight(100)).await;
    stage.world.behave("v2", better().with_memory(39_000.0));
    stage.until("held", |s| s.decision.as_ref().is_some_and(|d| d.reason == Reason::HoldLimit)).await;
    stage.seconds(60).await;
    assert_eq!(stage.world.status().phase, Some(Phase::Holding));
    annotate(&stage, "promote").await;
    stage.until_phase("v2", Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn a_query_without_a_value_decides_nothing_and_is_reported_and_it_goes_on_when_there_is_one() {
    let mut stage = Stage::set(35).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    apply(&stage, &[gpu("Rollback")]).await;
    let missing = |s: &RolloutStatus| s.conditions.iter().any(|c| c.type_ == "MetricsAvailable" && c.status == "False");
    let status = stage.until("metrics missing", missing).await;
    let told = status.conditions.iter().find(|c| c.type_ == "MetricsAvailable").unwrap();
    assert!(told.message.starts_with("metric gpu has no value: the query gave nothing; the query is max(DCGM_FI"), "{}", told.message);
    stage.seconds(180).await;
    let status = stage.world.status();
    assert_eq!((stage.weights_of("v2"), status.phase), (vec![0, 5], Some(Phase::Holding)));
    let evidence = status.evidence.iter().find(|m| m.metric == "gpu").unwrap();
    assert_eq!((evidence.verdict, evidence.query.is_some()), (Verdict::Inconclusive, true));
    let alerts = stage.alerts();
    assert!(alerts.iter().any(|text| text.contains("Holding, metrics are missing") && text.contains("gpu has no value")), "{alerts:?}");
    stage.world.behave("v2", better().with_memory(30_000.0));
    stage.until_phase("v2", Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn a_query_that_prometheus_refuses_keeps_the_canary_from_its_first_user() {
    let mut stage = Stage::set(36).await;
    stage.control(false);
    stage.world.deploy("v2", better().with_memory(30_000.0));
    stage.seconds(5).await;
    for (query, why) in
        [("max(", "parse error"), ("DCGM_FI_DEV_FB_USED{pod=~\"{{canaryPods}}\"}", "gave 3 series"), ("m[1m]", "is a matrix")]
    {
        apply(&stage, &[json!({"threshold": {"name": "gpu", "query": query, "max": 1}})]).await;
        let told = |s: &RolloutStatus| {
            s.conditions.iter().any(|c| c.type_ == "Ready" && c.message.contains("metric gpu: ") && c.message.contains(why))
        };
        let status = stage.until(why, told).await;
        assert_eq!(status.phase, Some(Phase::Waiting));
    }
    assert_eq!(stage.weights_of("v2"), [0]);
    apply(&stage, &[gpu("Rollback")]).await;
    stage.until_phase("v2", Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn a_ratio_of_own_counters_is_judged_like_errors() {
    let ratio = json!({"ratio": {"name": "invalid", "bad": "model_prediction_invalid_total{kind=~\"nan|null\"}", "total": "model_prediction_class_total"}});
    let mut stage = Stage::set(37).await;
    stage.control(false);
    stage.world.deploy("v2", better().with_invalid(0.05));
    apply(&stage, &[ratio]).await;
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 0]);
    let decision = status.decision.unwrap();
    assert_eq!(decision.why[0].metric, "invalid");
    assert!(
        decision.why[0].message.starts_with("invalid ") && decision.why[0].message.contains(" % against 0 % (limit 0.050 %), n "),
        "{}",
        decision.message
    );
    assert!(decision.why[0].query.as_ref().unwrap().starts_with("sum by (pod) (increase(model_prediction_invalid_total{kind=~"));
    stage.world.deploy("v2", better());
    stage.until_phase("v2", Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn a_ratio_whose_parts_are_exchanged_is_reported_before_anybody_sees_the_canary() {
    let ratio = json!({"ratio": {"bad": "model_prediction_class_total", "total": "model_prediction_invalid_total"}});
    let mut stage = Stage::set(39).await;
    stage.control(false);
    stage.world.behave("v1", Behaviour::default().with_invalid(0.01));
    stage.world.deploy("v2", better().with_invalid(0.01));
    stage.seconds(10).await;
    apply(&stage, &[ratio]).await;
    let told = |s: &RolloutStatus| s.conditions.iter().any(|c| c.message.contains("bad must be a part of what total counts"));
    stage.until("told", told).await;
    assert_eq!(stage.weights_of("v2"), [0]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_gate_is_judged_and_shown_and_stops_nothing() {
    let drift = json!({"gate": false, "drift": {"counter": "model_prediction_class_total", "class": "class"}});
    let absent = json!({"gate": false, "name": "scores", "drift": {"histogram": "nobody_exports_this"}});
    let mut gpu = gpu("Rollback");
    gpu["gate"] = json!(false);
    let mut stage = Stage::set(38).await;
    stage.control(false);
    let shifted = Behaviour::default().with_errors(0.0005).with_classes(&[("legit", 0.6), ("review", 0.1), ("fraud", 0.3)]);
    stage.world.deploy("v2", shifted.with_memory(39_000.0));
    apply(&stage, &[drift, absent, gpu]).await;
    let failing =
        |s: &RolloutStatus| ["drift", "gpu"].iter().all(|name| s.evidence.iter().any(|m| m.metric == *name && m.verdict == Verdict::Fail));
    let status = stage.until("seen to fail", failing).await;
    assert!(status.evidence.iter().skip(1).all(|metric| metric.advisory) && !status.evidence[0].advisory, "{:?}", status.evidence);
    let status = stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
    assert_eq!(status.history[0].outcome, Outcome::Promoted);
    let alerts = stage.alerts();
    assert!(alerts.iter().all(|text| text.contains("Started") || text.contains("Promoted")), "{alerts:?}");
}
