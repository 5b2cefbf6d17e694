//! What comes after a cohort, before a switch, and after a promotion; what waits for a person.

use haldane::{
    api::{Phase, Reason, RolloutStatus},
    sim::traffic::Behaviour,
};
use serde_json::json;

use crate::{
    stage::{better, rollout},
    strategies::{COMPOSED, ab_test, at, beta, blue_green, composed, copies_to, shadow, stage, users_of, with, without_ours},
};

fn waits_for_approval(status: &RolloutStatus) -> bool {
    status.conditions.iter().any(|c| c.type_ == "Paused" && c.status == "True" && c.reason == Reason::ApprovalRequired.as_str())
}

fn says(text: &'static str) -> impl Fn(&RolloutStatus) -> bool {
    move |status| status.decision.as_ref().is_some_and(|decision| decision.message.contains(text))
}

#[tokio::test(start_paused = true)]
async fn a_cohort_that_has_passed_becomes_everybody_where_the_spec_says_promote() {
    let stage = stage(201, better(), &ab_test("v2", "Promote")).await;
    let status = stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "match", "100 %"]);
    assert_eq!(status.stable.unwrap().name, "v2");
    assert_eq!(stage.world.virtual_service()["spec"]["http"].as_array().unwrap().len(), 1, "the route of the match is gone");
    assert!(!stage.alerts().iter().any(|text| text.contains("Waiting for approval")), "nobody was asked");
}

#[tokio::test(start_paused = true)]
async fn a_cohort_that_has_passed_goes_back_where_the_spec_says_revert_and_the_route_is_as_before() {
    let stage = stage(202, better(), &ab_test("v2", "Revert")).await;
    let before = without_ours(&stage);
    let status = stage.until_phase("v2", Phase::Passed).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "match", "0 %"]);
    assert_eq!((without_ours(&stage), status.stable.unwrap().name.as_str()), (before, "v1"));
    let message = status.decision.unwrap().message;
    assert!(message.contains("cohorts differ"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn blue_green_with_copies_is_judged_on_them_and_then_switches() {
    let strategy = json!({"blueGreen": {"mirror": 100, "acknowledgeSideEffects": true, "hold": "10s", "bake": "10s"}});
    let stage = stage(203, better(), &with("v2", strategy)).await;
    stage.until("copied", at("preview")).await;
    stage.seconds(8).await;
    assert_eq!(users_of(&stage, "v2"), 0, "no user sees it before the switch");
    assert!(copies_to(&stage, "v2") > 1_000);
    stage.until("switched", |s| at("switch")(s) && says("mirrored, no user saw it")(s)).await;
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "mirror of 100 %", "100 %"]);
    assert!(!stage.world.served().contains_key(""), "no request found nobody");
}

#[tokio::test(start_paused = true)]
async fn blue_green_whose_copies_err_never_switches() {
    let strategy = json!({"blueGreen": {"preview": beta(), "mirror": 100, "acknowledgeSideEffects": true, "hold": "10s", "bake": "10s"}});
    let stage = stage(204, Behaviour::default().with_errors(0.10), &with("v2", strategy)).await;
    let before = without_ours(&stage);
    stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "match + mirror of 100 %", "0 %"]);
    assert_eq!((stage.weights_of("v2"), without_ours(&stage)), (vec![0], before));
}

#[tokio::test(start_paused = true)]
async fn blue_green_without_preview_and_mirror_says_that_nothing_was_judged_before_the_switch() {
    let stage = stage(205, better(), &with("v2", json!({"blueGreen": {"bake": "10s"}}))).await;
    stage.until("told", says("no comparison before the switch")).await;
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "100 %"]);
    assert!(!stage.world.served().contains_key(""), "no request found nobody");
}

#[tokio::test(start_paused = true)]
async fn blue_green_that_nothing_judged_before_is_judged_by_its_bake() {
    let stage = stage(206, Behaviour::default().with_errors(0.30), &with("v2", json!({"blueGreen": {"bake": "60s"}}))).await;
    let before = without_ours(&stage);
    stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "100 %", "0 %"]);
    assert_eq!(without_ours(&stage), before);
}

#[tokio::test(start_paused = true)]
async fn a_composed_rollout_asks_before_the_step_that_needs_approval_and_the_record_keeps_who_gave_it() {
    let mut rollout = composed("v2");
    let half = rollout.spec.strategy.steps.iter_mut().flatten().find(|step| step.name.as_deref() == Some("half")).unwrap();
    half.approval = true;
    let stage = stage(207, better(), &rollout).await;
    stage.until("asked", waits_for_approval).await;
    assert_eq!(stage.shares_of("v2"), COMPOSED[..4]);
    stage.say("promote", Some("all")).await;
    let status = stage.until("refused", |s| s.rejected.contains_key("promote")).await;
    assert!(status.rejected["promote"].message.contains("the next one half"), "{:?}", status.rejected);
    stage.seconds(60).await;
    assert_eq!(stage.shares_of("v2"), COMPOSED[..4], "the answer to another question is none");
    assert_eq!(stage.alerts().iter().filter(|text| text.contains("Waiting for approval")).count(), 1, "asked once");
    // Another id: the command's own is made of its epoch.
    let epoch = stage.world.status().epoch;
    stage.say_as(&format!("second-{epoch}"), "promote", Some("half")).await;
    let status = stage.until("approved", says("approved by tester")).await;
    let by = status.decision.unwrap().by.unwrap();
    assert_eq!((by.name.as_str(), by.reason.as_deref()), ("tester", Some("a test")));
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.shares_of("v2"), COMPOSED);
}

#[tokio::test(start_paused = true)]
async fn a_composed_rollout_whose_copies_err_is_rolled_back_before_any_user_sees_it() {
    let stage = stage(208, Behaviour::default().with_errors(0.10), &composed("v2")).await;
    let before = without_ours(&stage);
    let status = stage.until_phase("v2", Phase::RolledBack).await;
    assert_eq!(stage.shares_of("v2"), COMPOSED[..2].iter().chain(&["0 %"]).copied().collect::<Vec<_>>());
    assert_eq!((users_of(&stage, "v2"), without_ours(&stage)), (0, before));
    assert!(says("mirrored, no user saw it")(&status), "{:?}", status.decision);
}

#[tokio::test(start_paused = true)]
async fn an_abort_before_and_after_the_switch_leaves_the_route_as_it_was() {
    for (seed, step, shares) in [(209, "preview", vec!["0 %", "match", "0 %"]), (210, "switch", vec!["0 %", "match", "100 %", "0 %"])] {
        let stage = stage(seed, better(), &blue_green("v2")).await;
        let before = without_ours(&stage);
        stage.until(step, at(step)).await;
        stage.say("abort", None).await;
        stage.seconds(1).await;
        assert_eq!(stage.shares_of("v2"), shares, "{step}");
        assert_eq!(without_ours(&stage), before, "{step}");
        stage.until_phase("v2", Phase::Aborted).await;
        assert!(!stage.world.served().contains_key(""), "{step}: no request found nobody");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_too_can_be_rolled_back_after_its_promotion_and_is_refused_then() {
    let stage = stage(211, better(), &rollout("v2", json!({"rollbackWindow": "10m"}))).await;
    let status = stage.until_phase("v2", Phase::Promoted).await;
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert!(ready.message.contains("keep v1 running until"), "{}", ready.message);
    stage.say("rollback", None).await;
    stage.seconds(1).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100, 0]);
    stage.until_phase("v2", Phase::RolledBack).await;
    stage.seconds(120).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100, 0], "refused like any rolled-back one");
    stage.say("retry", None).await;
    stage.until_phase("v2", Phase::Promoted).await;
}

#[tokio::test(start_paused = true)]
async fn after_the_rollback_window_the_way_back_is_refused_with_what_to_do_instead() {
    let stage = stage(212, better(), &rollout("v2", json!({"rollbackWindow": "30s"}))).await;
    stage.until_phase("v2", Phase::Promoted).await;
    stage.seconds(40).await;
    stage.say("rollback", None).await;
    let status = stage.until("refused", |s| s.rejected.contains_key("rollback")).await;
    let refused = &status.rejected["rollback"].message;
    assert!(refused.contains("rollbackWindow is 30s: to have it again, set spec.canary.subset to v1"), "{refused}");
    stage.seconds(30).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_that_has_passed_is_no_promotion_to_take_back() {
    let stage = stage(213, better(), &shadow("v2")).await;
    stage.until_phase("v2", Phase::Passed).await;
    stage.say("rollback", None).await;
    let status = stage.until("refused", |s| s.rejected.contains_key("rollback")).await;
    assert!(status.rejected["rollback"].message.contains("there is no promotion to roll back"), "{:?}", status.rejected);
}
