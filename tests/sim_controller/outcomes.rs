//! How rollouts end.

use haldane::{
    api::{Phase, RolloutStatus},
    sim::traffic::{Behaviour, load::Load},
};
use serde_json::json;

use crate::stage::{Stage, better, rollout};

#[tokio::test(start_paused = true)]
async fn a_healthy_version_goes_up_step_by_step_and_is_promoted() {
    let mut stage = Stage::set(1).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    let status = stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
    assert_eq!(status.stable.unwrap().name, "v2");
    let served = stage.world.served();
    assert!(!served.contains_key(""), "no request found nobody");
    stage.seconds(5).await;
    let counts = stage.world.api().faults().counts();
    println!("requests of a four-step update: {counts:#?}");
    let routes = counts.get(&("patch", "virtualservices.networking.istio.io".to_owned()));
    assert_eq!(routes, Some(&4), "one write to the route for each step");
    let asked = requests(&stage);
    // The record's: a read, a create and four patches.
    let record: usize = counts.iter().filter(|((_, resource), _)| resource == "configmaps").map(|(_, count)| count).sum();
    assert!(record <= 6, "{record} requests for the record: {counts:?}");
    // A step whose evidence needs more windows than its hold has says so, with one write.
    let log = stage.world.api().faults().log();
    let longer = log.iter().filter(|record| record.body[1]["value"]["conditions"][0]["reason"] == "NotEnoughData").count();
    assert!(longer <= 3 && asked <= 32 + record + longer, "{asked} requests, two of them the user's, {longer} longer steps: {counts:?}");
    stage.seconds(600).await;
    assert_eq!(requests(&stage), asked, "nothing is asked at rest");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_slipped_through_the_server_stalls_alone_and_can_be_aborted_or_fixed() {
    let mut stage = Stage::set(8).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    stage.until("at 5 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 5)).await;
    stage.world.apply(&rollout("v2", json!({"strategy": {"canary": {"hold": "5min"}}}))).await.unwrap();
    let stalled = |s: &RolloutStatus| s.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True");
    let status = stage.until("stalled", stalled).await;
    let told = status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert!(told.message.contains("spec.strategy.canary.hold: is \"5min\"; a duration is written"), "{}", told.message);
    stage.seconds(120).await;
    assert_eq!(stage.weights_of("v2"), [0, 5], "nothing advances on a plan that nobody can read");
    stage.world.apply(&rollout("v2", json!({}))).await.unwrap();
    stage.until_phase("v2", Phase::Promoted).await;
}

/// Requests so far, lists and watches left out.
fn requests(stage: &Stage) -> usize {
    let counts = stage.world.api().faults().counts();
    counts.iter().filter(|((verb, _), _)| !matches!(*verb, "watch" | "list" | "other")).map(|(_, count)| count).sum()
}

#[tokio::test(start_paused = true)]
async fn the_versions_after_it_are_compared_with_it() {
    let mut stage = Stage::set(2).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    stage.until_phase("v2", Phase::Promoted).await;
    stage.world.deploy("v3", better());
    stage.apply("v3").await;
    let status = stage.until_phase("v3", Phase::Promoted).await;
    assert_eq!(status.history.len(), 2);
    assert_eq!(stage.weights_of("v3"), [0, 5, 20, 50, 100]);
}

async fn is_rolled_back(seed: u64, behaviour: Behaviour, because: &str) {
    let mut stage = Stage::set(seed).await;
    stage.control(false);
    stage.world.deploy("v2", behaviour);
    stage.apply("v2").await;
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 0]);
    let decision = status.decision.unwrap();
    assert_eq!(decision.why[0].metric, because);
    // Predictions and requests are counted by different programs, a scrape apart.
    let (judged, touched) = (decision.why[0].canary.as_ref().unwrap().n, decision.exposure.unwrap().canary_requests);
    assert!(10 * touched >= 9 * judged, "{judged} were judged, {touched} touched");
    stage.seconds(5).await;
    let alerts = stage.alerts();
    assert!(alerts.iter().any(|text| text.contains("Rolled back: ml/fraud v2")), "{alerts:?}");
    stage.seconds(120).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 0], "a refused revision is not retried");
    let hash = stage.world.deploy("v2", better());
    let status = stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(status.stable.unwrap().revision, hash, "other pods are");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_errs_is_rolled_back_at_its_first_step() {
    is_rolled_back(3, Behaviour::default().with_errors(0.10), "errorRate").await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_version_is_rolled_back_at_its_first_step() {
    is_rolled_back(4, Behaviour::default().with_latency(80.0, 400.0), "latency").await;
}

#[tokio::test(start_paused = true)]
async fn a_version_whose_answers_have_shifted_is_rolled_back_at_its_first_step() {
    is_rolled_back(5, Behaviour::default().with_classes(&[("legit", 0.6), ("review", 0.1), ("fraud", 0.3)]), "drift").await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_alone_is_enough_to_judge_by() {
    let mut stage = Stage::with(6, |c| c.sidecars = false).await;
    stage.control(false);
    stage.world.deploy("v2", Behaviour::default().with_errors(0.10));
    stage.apply("v2").await;
    stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 0]);
}

#[tokio::test(start_paused = true)]
async fn without_metrics_the_holds_alone_decide() {
    let mut stage = Stage::set(7).await;
    stage.control(false);
    stage.world.deploy("v2", Behaviour::default().with_errors(1.0));
    stage.world.apply(&rollout("v2", serde_json::json!({"analysis": {"metrics": []}}))).await.unwrap();
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
    assert!(stage.world.prometheus().asked().is_empty(), "nothing is asked where nothing is judged");
}

/// What durations owe to load, in a world of 1,000 requests a second and three pods on both sides.
const COLD: Load = Load { cold_cache: 0.6, queueing: 0.0 };
const BATCHES: Load = Load { cold_cache: 0.0, queueing: 0.5 };
const USUAL: f64 = 1000.0 / 3.0;

/// A version on three pods, and stable, answer as their load says.
async fn under_load(seed: u64, load: Load, slower: f64) -> Stage {
    let mut stage = Stage::with(seed, |_| {}).await;
    let behaviour = |slower: f64| Behaviour::default().with_latency(40.0 * slower, 180.0 * slower).with_load(load, USUAL);
    // At the usual load as it was: the past stays what it is.
    stage.world.behave("v1", behaviour(1.0));
    stage.control(false);
    stage.world.deploy("v2", behaviour(slower));
    stage.apply("v2").await;
    stage
}

#[tokio::test(start_paused = true)]
async fn a_healthy_version_on_as_many_pods_is_promoted_and_unequal_load_is_reported() {
    for (seed, load) in [(21, COLD), (22, BATCHES)] {
        let stage = under_load(seed, load, 1.0).await;
        let told = |s: &RolloutStatus| s.conditions.iter().any(|c| c.type_ == "Feasible" && c.reason == "UnequalLoad");
        let status = stage.until("told of unequal load", told).await;
        let words = &status.conditions.iter().find(|c| c.type_ == "Feasible").unwrap().message;
        assert!(words.contains("kubectl -n ml scale deployment fraud-v2 --replicas=1"), "{words}");
        let found = status.load.unwrap();
        assert_eq!((found.stable.pods, found.canary.pods), (3, 3));
        assert!((12.0..30.0).contains(&(1.0 / found.ratio())), "{found:?}");
        let passed = |s: &RolloutStatus| s.decision.as_ref().is_some_and(|d| d.weight == 20);
        let decision = stage.until("at 20 %", passed).await.decision.unwrap();
        assert!(decision.load.is_some() && decision.why.iter().any(|metric| metric.metric == "latency"), "{decision:?}");
        stage.until_phase("v2", Phase::Promoted).await;
        assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_slower_by_30_percent_is_rolled_back_on_as_many_pods_and_on_pods_in_proportion() {
    for (seed, load) in [(23, COLD), (24, BATCHES)] {
        let stage = under_load(seed, load, 1.3).await;
        let status = stage.until_phase("v2", Phase::RolledBack).await;
        assert_eq!(status.decision.unwrap().why[0].metric, "latency");
    }
    // One canary pod for nineteen of stable's at 5 %.
    let mut stage = Stage::with(25, |config| config.replicas = 19).await;
    stage.control(false);
    stage.world.deploy("v2", Behaviour::default().with_latency(52.0, 234.0));
    stage.world.scale("v2", 1);
    stage.apply("v2").await;
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    let decision = status.decision.unwrap();
    assert_eq!((decision.why[0].metric.as_str(), decision.why[0].under_unequal_load), ("latency", false));
    assert_eq!(stage.weights_of("v2"), [0, 5, 0]);
}
