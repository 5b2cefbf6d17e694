//! What others do to a rollout: Prometheus, pods, people.

use std::time::Duration;

use haldane::{
    api::{Phase, Rollout},
    sim::{
        NAMESPACE,
        faults::{Fault, Rule, Verb},
        prometheus::Mode,
        traffic::Behaviour,
    },
};
use jiff::SignedDuration;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::stage::{Stage, better};

/// A healthy v2 that has got to 20 %.
pub(crate) async fn half_way(seed: u64) -> Stage {
    let mut stage = Stage::set(seed).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
    stage
}

pub(crate) async fn annotate(stage: &Stage, verb: &str) {
    let api: Api<Rollout> = Api::default_namespaced(stage.world.client());
    let rollout = stage.world.rollout().unwrap();
    let epoch = rollout.status.as_ref().unwrap().epoch;
    let command = json!({"id": format!("{verb}-{epoch}"), "uid": rollout.metadata.uid, "epoch": epoch, "reason": "a test", "by": "tester"});
    let patch = json!({"metadata": {"annotations": {format!("haldane.dev/{verb}"): command.to_string()}}});
    api.patch("fraud", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

fn set_weights(stage: &Stage, v1: i64, v2: i64) {
    let mut route = stage.world.virtual_service();
    route["spec"]["http"][0]["route"][0]["weight"] = json!(v1);
    route["spec"]["http"][0]["route"][1]["weight"] = json!(v2);
    stage.world.objects().put(route).unwrap();
}

async fn waits_for_prometheus(seed: u64, mode: Mode) {
    let stage = half_way(seed).await;
    stage.world.prometheus().set_mode(mode);
    stage.seconds(120).await;
    assert_eq!(stage.weights_of("v2").last(), Some(&20), "{mode:?}");
    let unavailable = |s: &haldane::api::RolloutStatus| s.conditions.iter().any(|c| c.type_ == "MetricsAvailable" && c.status == "False");
    assert!(unavailable(&stage.world.status()), "{mode:?}");
    stage.world.prometheus().set_mode(Mode::Up);
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100], "{mode:?}");
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_hangs_is_waited_for() {
    waits_for_prometheus(11, Mode::Hang).await;
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_is_down_or_broken_is_waited_for() {
    waits_for_prometheus(12, Mode::Down).await;
    waits_for_prometheus(12, Mode::Unavailable).await;
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_that_answers_nothing_or_nonsense_is_waited_for() {
    waits_for_prometheus(13, Mode::Empty).await;
    waits_for_prometheus(13, Mode::Html).await;
    waits_for_prometheus(13, Mode::Warning).await;
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_with_another_clock_is_asked_in_its_own_time() {
    for seconds in [-40, 40] {
        let mut stage = Stage::set(17).await;
        stage.world.prometheus().set_ahead(SignedDuration::from_secs(seconds));
        stage.control(false);
        stage.world.deploy("v2", better());
        stage.apply("v2").await;
        let status = stage.until_phase("v2", Phase::Promoted).await;
        assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100], "{seconds} s");
        let exposure = status.decision.unwrap().exposure.unwrap();
        // 5, 20 and 50 % of 1000 requests a second for ten seconds each, then all of them: windows of the weight before would be few of them.
        assert!(exposure.canary_requests > 10_000, "{seconds} s: {exposure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_on_clocks_that_are_minutes_apart_and_the_reason_is_reported() {
    let mut stage = Stage::set(18).await;
    stage.world.prometheus().set_ahead(SignedDuration::from_mins(-7));
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    let skewed = |s: &haldane::api::RolloutStatus| s.conditions.iter().any(|c| c.type_ == "MetricsAvailable" && c.reason == "ClockSkew");
    let status = stage.until("told", skewed).await;
    let told = status.conditions.iter().find(|c| c.reason == "ClockSkew").unwrap();
    assert!(told.message.contains("is 7m") && told.message.contains("behind the controller's"), "{}", told.message);
    stage.seconds(60).await;
    assert_eq!(stage.weights_of("v2"), [0]);
    stage.world.prometheus().set_ahead(SignedDuration::ZERO);
    stage.until_phase("v2", Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn an_abort_needs_no_prometheus() {
    let stage = half_way(14).await;
    stage.world.prometheus().set_mode(Mode::Hang);
    stage.seconds(3).await;
    annotate(&stage, "abort").await;
    stage.seconds(1).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 0]);
    stage.until_phase("v2", Phase::Aborted).await;
}

#[tokio::test(start_paused = true)]
async fn a_canary_without_pods_gets_no_traffic_and_comes_back_once() {
    let stage = half_way(15).await;
    stage.world.crash("v2", Duration::from_secs(20));
    stage.seconds(1).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 0]);
    stage.seconds(60).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 0], "not before a minute of readiness");
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 0, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_sent_to_a_stable_version_that_is_not_there() {
    let stage = half_way(16).await;
    stage.world.set_healthy("v1", false);
    stage.seconds(1).await;
    stage.world.behave("v2", Behaviour::default().with_errors(0.5));
    annotate(&stage, "abort").await;
    stage.seconds(20).await;
    assert_eq!(stage.weights_of("v2").last(), Some(&20));
    stage.world.set_healthy("v1", true);
    stage.seconds(2).await;
    assert_eq!(stage.weights_of("v2").last(), Some(&0));
    stage.until_phase("v2", Phase::Aborted).await;
}

#[tokio::test(start_paused = true)]
async fn a_share_lowered_by_hand_is_not_raised_again_without_resume() {
    let stage = half_way(17).await;
    set_weights(&stage, 90, 10);
    stage.seconds(120).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 10]);
    assert_eq!(stage.world.status().phase, Some(Phase::Paused));
    annotate(&stage, "resume").await;
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 10, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_share_raised_by_hand_is_lowered_at_once() {
    let stage = half_way(18).await;
    set_weights(&stage, 10, 90);
    stage.seconds(2).await;
    let seen = stage.weights_of("v2");
    assert!(seen.starts_with(&[0, 5, 20, 90]) && *seen.last().unwrap() <= 20, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_is_deployed_again_starts_at_the_first_step() {
    let stage = half_way(19).await;
    let hash = stage.world.redeploy("v2");
    stage.seconds(2).await;
    let status = stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(status.stable.unwrap().revision, hash);
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn the_spec_set_back_to_stable_is_an_abort() {
    let stage = half_way(20).await;
    stage.apply("v1").await;
    stage.seconds(2).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 0]);
}

#[tokio::test(start_paused = true)]
async fn deleting_a_rollout_leaves_the_route_as_it_was() {
    let stage = half_way(21).await;
    let api: Api<Rollout> = Api::default_namespaced(stage.world.client());
    api.delete("fraud", &DeleteParams::default()).await.unwrap();
    stage.seconds(5).await;
    assert!(stage.world.rollout().is_none(), "the finalizer is gone");
    let route = stage.world.virtual_service();
    assert_eq!(stage.world.weights().get("v1"), Some(&100));
    assert_eq!(route["spec"]["http"][0]["timeout"], "2s");
    assert_eq!(route.pointer("/metadata/annotations/haldane.dev~1managed").unwrap_or(&Value::Null), &Value::Null);
    assert!(stage.world.objects().get("virtualservices.networking.istio.io", NAMESPACE, "fraud").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_pause_stops_going_up_and_nothing_else() {
    let stage = half_way(22).await;
    annotate(&stage, "pause").await;
    stage.seconds(90).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20]);
    stage.world.behave("v2", Behaviour::default().with_errors(0.2));
    stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 0]);
}

/// The seconds from the end of the hole until the route is lowered. Without an election nothing asks the API server now and then.
async fn lowered_after(seed: u64, hole: u64, election: bool) -> u64 {
    let mut stage = Stage::set(seed).await;
    stage.control(election);
    stage.world.deploy("v2", better());
    stage.world.apply(&crate::stage::rollout("v2", json!({"strategy": {"canary": {"hold": "10m"}}}))).await.unwrap();
    stage.until("at 5 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 5 && step.windows > 2)).await;
    stage.world.api().freeze();
    stage.seconds(hole).await;
    assert_eq!(stage.weights_of("v2"), [0, 5]);
    stage.world.api().thaw();
    annotate(&stage, "abort").await;
    for second in 0..600 {
        if stage.weights_of("v2") == [0, 5, 0] {
            return second;
        }
        stage.seconds(1).await;
    }
    panic!("never lowered");
}

#[tokio::test(start_paused = true)]
async fn an_abort_is_served_within_a_minute_of_the_end_of_a_hole_in_the_network() {
    for (election, hole) in [(true, 60), (false, 1), (false, 45)] {
        let seconds = lowered_after(40, hole, election).await;
        assert!(seconds <= 60, "election {election}, a hole of {hole} s: lowered after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_of_several_namespaces_keeps_the_objects_of_each_when_another_is_listed_again() {
    let mut stage = Stage::set(37).await;
    for resource in ["rollouts.haldane.dev", "virtualservices.networking.istio.io", "endpointslices.discovery.k8s.io", "pods"] {
        stage.world.api().faults().add(Rule::on(Verb::Watch, resource, Fault::gone()).times(5));
    }
    stage.control_in(&["batch", NAMESPACE, "staging"]);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}
