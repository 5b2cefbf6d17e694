//! Copies, cohorts, a switch at once, and all of it in one plan: what users see, what is judged, what is left of it.

use std::time::Duration;

use haldane::{
    api::{Phase, Reason, Rollout, RolloutStatus},
    sim::{
        WorldConfig,
        faults::{Fault, Rule},
        mesh::routes::Cohort,
        traffic::Behaviour,
    },
};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use crate::stage::{Stage, better, rollout};

pub(crate) fn beta() -> Value {
    json!([{"headers": {"x-user-group": {"exact": "beta"}}}])
}

/// The manifest with another strategy: a merge alone would leave `canary` beside it.
pub(crate) fn with(subset: &str, strategy: Value) -> Rollout {
    let mut strategy = strategy;
    strategy["canary"] = Value::Null;
    rollout(subset, json!({"strategy": strategy}))
}

pub(crate) fn shadow(subset: &str) -> Rollout {
    with(subset, json!({"shadow": {"percent": 100, "acknowledgeSideEffects": true, "hold": "10s"}}))
}

pub(crate) fn ab_test(subset: &str, then: &str) -> Rollout {
    with(subset, json!({"abTest": {"match": beta(), "hold": "10s", "then": then}}))
}

pub(crate) fn blue_green(subset: &str) -> Rollout {
    with(subset, json!({"blueGreen": {"preview": beta(), "hold": "10s", "bake": "10s"}}))
}

pub(crate) fn composed(subset: &str) -> Rollout {
    let steps = json!([
        {"name": "shadow", "mirror": 100, "acknowledgeSideEffects": true, "hold": "8s"},
        {"name": "beta", "match": beta(), "hold": "8s"},
        {"name": "few", "weight": 5, "match": beta(), "mirror": 20, "acknowledgeSideEffects": true, "hold": "8s"},
        {"name": "half", "weight": 50, "hold": "8s"},
        {"name": "all", "weight": 100, "hold": "8s"},
    ]);
    with(subset, json!({"steps": steps}))
}

/// One user in ten is of the beta group.
fn cohorts(config: &mut WorldConfig) {
    config.cohorts = vec![Cohort::with_header(0.10, "x-user-group", "beta")];
}

pub(crate) async fn stage(seed: u64, behaviour: Behaviour, rollout: &Rollout) -> Stage {
    let mut stage = Stage::with(seed, cohorts).await;
    stage.control(false);
    stage.world.deploy("v2", behaviour);
    stage.world.apply(rollout).await.unwrap();
    stage
}

/// The VirtualService without our leaves: our annotation, weights, an entry of the canary's.
pub(crate) fn without_ours(stage: &Stage) -> Value {
    let mut route = stage.world.virtual_service();
    for field in ["resourceVersion", "generation", "managedFields"] {
        route["metadata"].as_object_mut().unwrap().remove(field);
    }
    if let Some(annotations) = route.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("haldane.dev/managed");
        if annotations.is_empty() {
            route["metadata"].as_object_mut().unwrap().remove("annotations");
        }
    }
    for http in route["spec"]["http"].as_array_mut().unwrap() {
        let entries = http["route"].as_array_mut().unwrap();
        entries.retain(|entry| entry["destination"]["subset"] == "v1");
        entries.iter_mut().for_each(|entry| {
            entry.as_object_mut().unwrap().remove("weight");
        });
    }
    route
}

pub(crate) fn users_of(stage: &Stage, version: &str) -> u64 {
    stage.world.served().get(version).map_or(0, |served| served.requests)
}

pub(crate) fn copies_to(stage: &Stage, version: &str) -> u64 {
    stage.world.served().get(version).map_or(0, |served| served.mirrored)
}

pub(crate) fn at(step: &'static str) -> impl Fn(&RolloutStatus) -> bool {
    move |status| status.step.as_ref().is_some_and(|now| now.name == step)
}

#[tokio::test(start_paused = true)]
async fn a_good_shadow_passes_on_copies_alone_and_no_user_sees_it() {
    let stage = stage(101, better(), &shadow("v2")).await;
    let before = without_ours(&stage);
    let status = stage.until_phase("v2", Phase::Passed).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "mirror of 100 %", "0 %"]);
    assert_eq!(users_of(&stage, "v2"), 0, "every user's answer came from v1");
    assert!(copies_to(&stage, "v2") > 5_000, "{}", copies_to(&stage, "v2"));
    assert_eq!(without_ours(&stage), before);
    let decision = status.decision.unwrap();
    assert!(decision.message.contains("(mirrored, no user saw it)"), "{}", decision.message);
    let exposure = decision.exposure.unwrap();
    assert_eq!(exposure.canary_requests, 0);
    assert!(exposure.mirrored_requests.unwrap() > 5_000);
    stage.seconds(120).await;
    assert_eq!(stage.shares_of("v2").len(), 3, "once");
    let alerts = stage.alerts();
    assert!(alerts.iter().any(|text| text.contains("Passed: ml/fraud v2") && text.contains("no user saw it")), "{alerts:?}");
}

async fn a_shadow_fails(seed: u64, behaviour: Behaviour, because: &str) {
    let stage = stage(seed, behaviour, &shadow("v2")).await;
    let before = without_ours(&stage);
    let status = stage.until_phase("v2", Phase::Failed).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "mirror of 100 %", "0 %"]);
    assert_eq!((users_of(&stage, "v2"), without_ours(&stage)), (0, before));
    assert_eq!(status.decision.unwrap().why[0].metric, because);
    stage.seconds(60).await;
    assert_eq!(stage.shares_of("v2").len(), 3, "and is not retried");
}

#[tokio::test(start_paused = true)]
async fn a_shadow_that_errs_or_drifts_fails_before_any_user_sees_it() {
    a_shadow_fails(102, Behaviour::default().with_errors(0.10), "errorRate").await;
    a_shadow_fails(103, Behaviour::default().with_classes(&[("legit", 0.6), ("review", 0.1), ("fraud", 0.3)]), "drift").await;
}

#[tokio::test(start_paused = true)]
async fn istio_23496_a_gateway_alone_cannot_see_copies_so_nothing_is_mirrored() {
    let mut stage = Stage::with(104, |config| config.sidecars = false).await;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.apply(&shadow("v2")).await.unwrap();
    let unseen = |s: &RolloutStatus| s.conditions.iter().any(|c| c.reason == Reason::MirrorUnseen.as_str());
    let status = stage.until("told", unseen).await;
    assert_eq!(status.phase, Some(Phase::Waiting));
    stage.seconds(60).await;
    assert_eq!(stage.shares_of("v2"), ["0 %"]);
    // Judged by what the model itself counts, it can be.
    let mut own = shadow("v2");
    own.spec.strategy.shadow.as_mut().unwrap().without = vec!["errorRate".into(), "latency".into()];
    stage.world.apply(&own).await.unwrap();
    stage.until_phase("v2", Phase::Passed).await;
    assert_eq!(users_of(&stage, "v2"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_header_cohort_and_only_it_reaches_the_canary_until_a_person_says_that_everybody_shall() {
    let stage = stage(105, better(), &ab_test("v2", "Hold")).await;
    let asked = |s: &RolloutStatus| s.conditions.iter().any(|c| c.type_ == "Paused" && c.reason == Reason::ApprovalRequired.as_str());
    stage.until("asked", asked).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "match"]);
    let (before, others) = (users_of(&stage, "v2"), users_of(&stage, "v1"));
    stage.seconds(60).await;
    let (cohort, rest) = (users_of(&stage, "v2") - before, users_of(&stage, "v1") - others);
    let share = cohort as f64 / (cohort + rest) as f64;
    assert!((0.095..0.105).contains(&share), "{share}");
    assert_eq!(stage.alerts().iter().filter(|text| text.contains("Waiting for approval")).count(), 1);
    stage.say("promote", Some("everybody")).await;
    stage.seconds(2).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "match", "100 %"]);
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.world.virtual_service()["spec"]["http"].as_array().unwrap().len(), 1, "the route of the match is gone");
}

#[tokio::test(start_paused = true)]
async fn a_cohort_that_gets_errors_is_back_at_stable() {
    let stage = stage(106, Behaviour::default().with_errors(0.10), &ab_test("v2", "Promote")).await;
    let before = without_ours(&stage);
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "match", "0 %"]);
    assert_eq!(without_ours(&stage), before);
    assert!(status.decision.unwrap().message.contains("cohorts differ"));
}

#[tokio::test(start_paused = true)]
async fn other_answers_for_other_users_are_shown_and_do_not_gate_a_cohort() {
    let shifted = better().with_classes(&[("legit", 0.6), ("review", 0.1), ("fraud", 0.3)]);
    let stage = stage(107, shifted, &ab_test("v2", "Revert")).await;
    let status = stage.until_phase("v2", Phase::Passed).await;
    let drift = status.evidence.iter().find(|metric| metric.metric == "drift").unwrap();
    assert!(drift.message.contains("does not gate"), "{}", drift.message);
    assert_eq!(stage.shares_of("v2"), ["0 %", "match", "0 %"]);
}

#[tokio::test(start_paused = true)]
async fn a_match_that_nobody_fits_is_reported() {
    let nobody = json!([{"headers": {"x-user-group": {"exact": "nobody"}}}]);
    let stage = stage(108, better(), &with("v2", json!({"abTest": {"match": nobody, "hold": "10s"}}))).await;
    let told = |s: &RolloutStatus| s.conditions.iter().any(|c| c.reason == Reason::NoCanaryTraffic.as_str());
    let status = stage.until("told", told).await;
    let condition = status.conditions.iter().find(|c| c.reason == Reason::NoCanaryTraffic.as_str()).unwrap();
    assert!(condition.message.contains("no request fitted the match"), "{}", condition.message);
    assert_eq!(stage.shares_of("v2"), ["0 %", "match"], "it holds");
}

#[tokio::test(start_paused = true)]
async fn blue_green_previews_switches_at_once_and_can_be_rolled_back() {
    let stage = stage(109, better(), &blue_green("v2")).await;
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "match", "100 %"]);
    assert_eq!(stage.weights_of("v2"), [0, 100]);
    assert!(!stage.world.served().contains_key(""), "no request found nobody");
    stage.say("rollback", None).await;
    stage.seconds(1).await;
    assert_eq!(stage.weights_of("v2"), [0, 100, 0], "from the command to the route within a second");
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(status.stable.unwrap().name, "v1");
    assert_eq!(status.refused[0].reason, Reason::RolledBackAfterPromotion);
    stage.seconds(120).await;
    assert_eq!(stage.weights_of("v2"), [0, 100, 0], "it is refused");
    assert!(!stage.world.served().contains_key(""));
    let alerts = stage.alerts();
    assert!(alerts.iter().any(|text| text.contains("Rolled back after its promotion")), "{alerts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_breaks_is_switched_back() {
    let stage = stage(110, better(), &blue_green("v2")).await;
    stage.until("switched", at("switch")).await;
    stage.world.behave("v2", Behaviour::default().with_errors(0.5));
    stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "match", "100 %", "0 %"]);
}

#[tokio::test(start_paused = true)]
async fn flagger_1898_the_way_back_is_refused_when_the_version_before_is_gone() {
    let stage = stage(111, better(), &blue_green("v2")).await;
    stage.until_phase("v2", Phase::Promoted).await;
    stage.world.scale("v1", 0);
    stage.seconds(2).await;
    stage.say("rollback", None).await;
    let status = stage.until("refused", |s| s.rejected.contains_key("rollback")).await;
    let refused = &status.rejected["rollback"].message;
    assert!(refused.starts_with("rollback was refused") && refused.contains("has no pods any more"), "{refused}");
    stage.seconds(30).await;
    assert_eq!(stage.weights_of("v2"), [0, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_composed_rollout_goes_to_its_end() {
    let stage = stage(112, better(), &composed("v2")).await;
    let status = stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.shares_of("v2"), COMPOSED);
    let exposure = status.history[0].exposure.clone().unwrap();
    assert!(exposure.mirrored_requests.unwrap() > 1_000 && exposure.canary_requests > 1_000, "{exposure:?}");
    assert!(!stage.world.served().contains_key(""), "no request found nobody");
}

pub(crate) const COMPOSED: [&str; 6] = ["0 %", "mirror of 100 %", "match", "5 % + match + mirror of 20 %", "50 %", "100 %"];

#[tokio::test(start_paused = true)]
async fn an_abort_in_each_kind_of_step_leaves_the_route_as_it_was() {
    for (seed, step) in [(120, "shadow"), (121, "beta"), (122, "few"), (123, "half")] {
        let stage = stage(seed, better(), &composed("v2")).await;
        let before = without_ours(&stage);
        stage.until(step, at(step)).await;
        stage.say("abort", None).await;
        stage.seconds(1).await;
        assert_eq!(stage.shares_of("v2").last().map(String::as_str), Some("0 %"), "{step}");
        assert_eq!(without_ours(&stage), before, "{step}");
        stage.until_phase("v2", Phase::Aborted).await;
        let users = (users_of(&stage, "v2"), copies_to(&stage, "v2"));
        stage.seconds(30).await;
        assert_eq!((users_of(&stage, "v2"), copies_to(&stage, "v2")), users, "{step}: nothing reaches it any more");
    }
}

#[tokio::test(start_paused = true)]
async fn deleting_in_each_kind_of_step_leaves_nothing() {
    for (seed, step) in [(124, "shadow"), (125, "beta"), (126, "few")] {
        let stage = stage(seed, better(), &composed("v2")).await;
        let before = stage.world.virtual_service();
        stage.until(step, at(step)).await;
        let api: Api<Rollout> = Api::default_namespaced(stage.world.client());
        api.delete("fraud", &DeleteParams::default()).await.unwrap();
        stage.seconds(5).await;
        assert!(stage.world.rollout().is_none(), "{step}: the finalizer is gone");
        assert_eq!(stage.world.virtual_service()["spec"], before["spec"], "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn argo_4716_routes_that_somebody_removes_are_not_forgotten() {
    for (seed, step, share) in [(127, "shadow", "mirror of 100 %"), (128, "beta", "match")] {
        let stage = stage(seed, better(), &composed("v2")).await;
        stage.until(step, at(step)).await;
        let mut route = stage.world.virtual_service();
        let http = route["spec"]["http"].as_array_mut().unwrap();
        http.retain(|route| route["name"] == "primary");
        http[0].as_object_mut().unwrap().remove("mirrors");
        stage.world.objects().put(route).unwrap();
        stage.seconds(60).await;
        assert_eq!(stage.world.status().phase, Some(Phase::Paused), "{step}");
        assert_eq!(stage.shares_of("v2").last().map(String::as_str), Some("0 %"), "{step}: never again without resume");
        stage.say("resume", None).await;
        stage.seconds(2).await;
        assert_eq!(stage.shares_of("v2").last().map(String::as_str), Some(share), "{step}");
        stage.until_phase("v2", Phase::Promoted).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_third_version_in_the_middle_of_a_shadow_or_a_cohort_leaves_nothing_of_the_second() {
    for (seed, step) in [(129, "shadow"), (130, "beta")] {
        let stage = stage(seed, better(), &composed("v2")).await;
        stage.until(step, at(step)).await;
        stage.world.deploy("v3", better());
        stage.world.apply(&composed("v3")).await.unwrap();
        stage.until_phase("v3", Phase::Promoted).await;
        assert_eq!(stage.shares_of("v2").last().map(String::as_str), Some("0 %"), "{step}");
        assert_eq!(stage.shares_of("v3"), COMPOSED, "{step}");
        assert!(!stage.world.served().contains_key(""), "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_is_deployed_again_in_a_shadow_is_judged_again() {
    let stage = stage(131, better(), &shadow("v2")).await;
    stage.until("shadow", at("shadow")).await;
    let hash = stage.world.redeploy("v2");
    let status = stage.until_phase("v2", Phase::Passed).await;
    assert_eq!(status.canary.unwrap().revision, hash);
    assert_eq!(stage.shares_of("v2"), ["0 %", "mirror of 100 %", "0 %", "mirror of 100 %", "0 %"]);
}

/// The controller dies at its n-th write, before or after it is stored; another one continues.
async fn dies_at(n: u64, after: bool) -> bool {
    let mut stage = Stage::with(140 + n, |config| {
        (config.history, config.rps) = (Duration::from_secs(10), 50.0);
        cohorts(config);
    })
    .await;
    let fault = if after { Fault::HangAfter } else { Fault::Hang };
    let mut struck = stage.world.api().faults().add(Rule::on_write(fault).agent("replica-1").from(n));
    stage.control(false);
    stage.world.deploy("v2", better());
    // By the holds alone: what is judged survives a crash as it does in a canary.
    let mut by_holds = composed("v2");
    by_holds.spec.analysis.as_mut().unwrap().metrics = Some(Vec::new());
    stage.world.apply(&by_holds).await.unwrap();
    let died = tokio::select! {
        () = struck.struck(1) => true,
        _ = stage.until("promoted", |s| s.phase == Some(Phase::Promoted)) => false,
    };
    if died {
        stage.kill();
        stage.seconds(3).await;
        stage.control(false);
    }
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.shares_of("v2"), COMPOSED, "write {n}, after {after}");
    died
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_write_of_a_composed_rollout_skips_and_repeats_nothing() {
    let mut n = 1;
    while dies_at(n, true).await {
        n += 1;
        assert!(n < 90, "as many writes as that for five steps");
    }
    assert!(n > 12, "only {n} writes");
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_any_write_of_a_composed_rollout_skips_and_repeats_nothing() {
    let mut n = 1;
    while dies_at(n, false).await {
        n += 1;
        assert!(n < 90, "as many writes as that for five steps");
    }
    assert!(n > 12, "only {n} writes");
}
