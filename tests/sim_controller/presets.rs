//! Presets: a language model that exports what vLLM does, judged by `preset: vllm`.

use haldane::{
    api::{Phase, Reason, RolloutStatus, Verdict},
    sim::traffic::{Behaviour, Tokens},
};
use serde_json::{Value, json};

use crate::stage::{Stage, better, rollout};

/// A controller, a stable version, and a Rollout with the preset and these metrics.
async fn set(seed: u64, metrics: Value) -> Stage {
    let mut stage = Stage::set(seed).await;
    stage.control(false);
    stage.world.behave("v1", Behaviour::default().with_tokens(Tokens::default()));
    stage.seconds(300).await;
    let analysis = json!({"preset": "vllm", "metrics": metrics});
    stage.world.apply(&rollout("v2", json!({"analysis": analysis}))).await.unwrap();
    stage
}

/// A version whose answers are these.
fn model(tokens: Tokens) -> Behaviour {
    better().with_tokens(tokens)
}

fn at_5(status: &RolloutStatus) -> bool {
    status.step.as_ref().is_some_and(|step| step.weight == 5)
}

/// Not comparable yet, and why.
fn waits(why: &'static str) -> impl Fn(&RolloutStatus) -> bool {
    move |status| {
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let said = ready.is_some_and(|ready| ready.reason == Reason::NotComparable.as_str() && ready.message.contains(why));
        status.phase == Some(Phase::Holding) && said
    }
}

async fn fails_by(seed: u64, tokens: Tokens, metrics: &[&str]) {
    let stage = set(seed, Value::Null).await;
    stage.world.deploy("v2", model(tokens));
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    let why = &status.decision.unwrap().why[0];
    assert!(metrics.contains(&why.metric.as_str()) && why.verdict == Verdict::Fail, "{why:?}");
    assert_eq!(stage.weights_of("v2"), [0, 5, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_healthy_language_model_is_promoted_by_its_preset() {
    let stage = set(61, Value::Null).await;
    stage.world.deploy("v2", model(Tokens::default().with_first(175.0, 880.0).with_each(21.5, 59.0)));
    let status = stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
    let preset = status.preset.unwrap();
    assert_eq!(preset.to_string(), "vllm version 1");
    assert_eq!(preset.metrics, ["errorRate", "ttft", "tpot", "finishReason", "outputLength", "aborts", "queue", "cache"]);
}

#[tokio::test(start_paused = true)]
async fn a_time_to_first_token_that_is_60_percent_longer_is_rolled_back() {
    fails_by(62, Tokens::default().with_first(288.0, 1440.0), &["ttft"]).await;
}

#[tokio::test(start_paused = true)]
async fn slower_tokens_are_rolled_back() {
    fails_by(63, Tokens::default().with_each(35.0, 96.0), &["tpot"]).await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_run_into_their_limit_are_rolled_back_as_drift() {
    fails_by(64, Tokens::default().with_reasons(0.55, 0.44, 0.01), &["finishReason"]).await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_users_break_off_are_rolled_back() {
    fails_by(65, Tokens::default().with_reasons(0.77, 0.13, 0.10), &["aborts", "finishReason"]).await;
}

#[tokio::test(start_paused = true)]
async fn longer_answers_are_rolled_back_as_drift() {
    fails_by(66, Tokens::default().with_length(420.0, 3500.0), &["outputLength"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_holds_with_its_reason_and_then_it_goes_on() {
    let stage = set(67, Value::Null).await;
    let slow = Tokens::default().with_first(400.0, 2000.0);
    stage.world.deploy("v2", model(slow.with_waiting(40.0)));
    stage.until("waiting", waits("queue 40 is above 10")).await;
    stage.seconds(120).await;
    let status = stage.world.status();
    assert!(at_5(&status) && status.phase == Some(Phase::Holding), "times of a full queue are no evidence: {:?}", status.decision);
    assert_eq!(stage.weights_of("v2"), [0, 5]);
    stage.world.behave("v2", model(Tokens::default()));
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_about_time_rolls_back_while_a_queue_is_full() {
    fails_by(68, Tokens::default().with_reasons(0.55, 0.44, 0.01).with_waiting(40.0), &["finishReason"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_cold_cache_is_not_comparable_until_it_is_warm() {
    let stage = set(69, Value::Null).await;
    stage.world.deploy("v2", model(Tokens::default().with_first(300.0, 1500.0).with_hits(0.1)));
    let status = stage.until("waiting", waits("cache 0.5 is above 0.1")).await;
    assert!(at_5(&status));
    stage.seconds(60).await;
    assert_eq!(stage.weights_of("v2"), [0, 5]);
    stage.world.behave("v2", model(Tokens::default()));
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_metric_of_ones_own_stands_in_the_place_of_the_preset_s() {
    let ttft = json!({"name": "ttft", "gate": false, "latency": {"histogram": "vllm:time_to_first_token_seconds"}});
    let stage = set(70, json!([ttft])).await;
    stage.world.deploy("v2", model(Tokens::default().with_first(400.0, 2000.0).with_each(21.5, 59.0)));
    let status = stage.until_phase("v2", Phase::Promoted).await;
    assert!(!status.preset.unwrap().metrics.contains(&"ttft".to_owned()), "it is shown only, as its own entry says");
}
