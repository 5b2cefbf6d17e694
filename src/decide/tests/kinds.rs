//! Copies, users of a match, a switch at once, and all of it in one plan (design sections 2 and 4).

mod escapes;
mod peers;

use serde_json::{Value, json};

use super::world::World;
use crate::api::{Outcome, Phase, Reason, Verdict};
use crate::command::Verb;
use crate::decide::Act;
use crate::plan::Share;
use crate::route::{Sought, find};

const MIRROR: Share = Share { weight: 0, mirror: 100, matched: false };
const COHORT: Share = Share { weight: 0, mirror: 0, matched: true };

fn beta() -> Value {
    json!([{"headers": {"x-user-group": {"exact": "beta"}}}])
}

fn world(strategy: Value) -> World {
    let mut world = World::new();
    world.spec["strategy"] = strategy;
    world
}

fn shadow() -> World {
    world(json!({"shadow": {"acknowledgeSideEffects": true, "hold": "1m", "deadline": "10m"}}))
}

fn ab_test(then: &str) -> World {
    world(json!({"abTest": {"match": beta(), "hold": "1m", "deadline": "10m", "then": then}}))
}

fn blue_green() -> World {
    world(json!({"blueGreen": {"preview": beta(), "hold": "1m", "bake": "1m", "deadline": "10m"}}))
}

fn composed() -> World {
    world(json!({"steps": [
        {"name": "shadow", "mirror": 100, "acknowledgeSideEffects": true, "hold": "1m"},
        {"name": "beta", "match": beta(), "hold": "1m"},
        {"name": "all-kinds", "weight": 5, "mirror": 10, "acknowledgeSideEffects": true, "match": beta(), "hold": "1m"},
        {"name": "half", "weight": 50, "hold": "1m", "approval": true},
        {"name": "all", "weight": 100, "hold": "1m"},
    ]}))
}

/// Each kind of step, and a world that stands in it.
fn in_each_kind() -> Vec<(&'static str, World, Share)> {
    let all = Share { weight: 5, mirror: 10, matched: true };
    let mut worlds = vec![
        ("shadow", shadow(), MIRROR),
        ("cohort", ab_test("Hold"), COHORT),
        ("preview", blue_green(), COHORT),
        ("switch", blue_green(), Share::weight(100)),
        ("composed shadow", composed(), MIRROR),
        ("composed cohort", composed(), COHORT),
        ("composed, all kinds", composed(), all),
    ];
    for (_, world, share) in &mut worlds {
        world.reach_share(*share);
    }
    worlds
}

#[test]
fn a_shadow_moves_no_user_and_ends_as_passed_with_its_mirror_gone() {
    let mut world = shadow();
    let before = world.route["spec"].clone();
    world.reach_share(MIRROR);
    assert!(world.finalizer);
    world.verdict = Verdict::Pass;
    let stance = world.wait(61).stance;
    assert_eq!((stance.phase, stance.stalled), (Phase::Passed, false), "{}", stance.message);
    assert_eq!((world.shares.as_slice(), world.weights.as_slice()), (&[Share::NONE, MIRROR, Share::NONE][..], &[0_u8][..]));
    assert_eq!(world.route["spec"], before, "nothing of it is left");
    assert_eq!(world.writes, 2);
    assert!(world.finalizer, "the claim is still in the route");
    assert!(world.said.iter().any(|said| said.contains("has passed (mirrored, no user saw it)")), "{:?}", world.said);
    assert_eq!(world.state.history[0].outcome, Outcome::Passed);
    assert_eq!(world.state.stable.as_ref().unwrap().name, "v1");
    assert!(world.state.refused.is_empty());
}

#[test]
fn copies_that_come_back_after_a_shadow_has_passed_are_reported() {
    let mut world = shadow();
    world.reach_share(MIRROR);
    let copies = world.managed()["mirrors"].clone();
    world.verdict = Verdict::Pass;
    world.wait(61);
    assert_eq!((world.phase(), world.found("v2").is_none()), (Phase::Passed, true));
    world.managed()["mirrors"] = copies;
    world.touch();
    let stance = world.pass().stance;
    assert_eq!((stance.phase, stance.reason), (Phase::Passed, Reason::Drifted));
    assert!(stance.message.contains("mirror of 100 % to v2") && stance.message.contains("take the mirror away"), "{}", stance.message);
    world.managed().as_object_mut().unwrap().remove("mirrors");
    world.touch();
    assert_eq!(world.pass().stance.reason, Reason::Passed);
}

#[test]
fn a_shadow_that_is_worse_ends_as_failed_and_is_not_retried() {
    let mut world = shadow();
    world.reach_share(MIRROR);
    world.verdict = Verdict::Fail;
    let decision = world.pass();
    assert!(matches!(decision.act, Act::Lower(_)));
    let latch = find(&world.route, Sought::subsets(None)).unwrap().claim.unwrap().latch.unwrap();
    assert_eq!((latch.outcome, latch.reason.as_str()), (Outcome::Failed, Reason::AnalysisFailed.as_str()));
    assert!(latch.message.contains("(mirrored, no user saw it)"), "{}", latch.message);
    world.verdict = Verdict::Pass;
    assert_eq!(world.phase(), Phase::Failed);
    let stance = world.wait(3600).stance;
    assert_eq!((stance.phase, stance.reason, world.found("v2")), (Phase::Failed, Reason::Refused, Share::NONE));
}

#[test]
fn what_has_passed_is_retried_only_with_other_pods_another_plan_or_retry() {
    let passed = || {
        let mut world = shadow();
        world.reach_share(MIRROR);
        world.verdict = Verdict::Pass;
        world.wait(61);
        world.verdict = Verdict::Inconclusive;
        assert_eq!(world.wait(7200).stance.phase, Phase::Passed);
        world
    };
    let mut world = passed();
    world.pods("v2", "ccc", 5, 5);
    world.settle();
    assert_eq!(world.found("v2"), MIRROR, "other pods");
    let mut world = passed();
    world.spec["strategy"] = json!({"canary": {"hold": "1m"}});
    world.settle();
    assert_eq!(world.share("v2"), 5, "the same version, now for users");
    let mut world = passed();
    world.say(Verb::Retry, "1");
    world.settle();
    assert_eq!(world.found("v2"), MIRROR, "retry");
    let mut world = passed();
    world.spec["strategy"]["shadow"]["hold"] = json!("2m");
    world.pods("v2", "bbb", 0, 0);
    assert_eq!(world.wait(60).stance.phase, Phase::Passed, "a longer hold is no other plan, and pods that are gone are no others");
}

#[test]
fn flagger_1588_1692_a_crash_between_the_write_that_ends_a_shadow_and_its_status_loses_nothing() {
    let mut world = shadow();
    world.reach_share(MIRROR);
    world.verdict = Verdict::Pass;
    world.now += jiff::SignedDuration::from_secs(61);
    let decision = world.pass();
    assert!(matches!(decision.act, Act::Lower(_)));
    // The new process has seen no Pass, and finds the mirror gone.
    world.verdict = Verdict::Inconclusive;
    assert_eq!((world.phase(), world.found("v2")), (Phase::Passed, Share::NONE));
}

#[test]
fn an_ab_test_asks_a_person_after_its_pass_and_keeps_its_cohort_meanwhile() {
    let mut world = ab_test("Hold");
    world.reach_share(COHORT);
    world.verdict = Verdict::Pass;
    let stance = world.wait(61).stance;
    assert_eq!((stance.phase, stance.reason, world.found("v2")), (Phase::Paused, Reason::ApprovalRequired, COHORT));
    assert!(world.said.last().unwrap().contains("(cohorts differ"), "{:?}", world.said);
    world.wait(3600);
    assert_eq!(world.records.iter().filter(|record| record.1 == Reason::ApprovalRequired).count(), 1, "reported once");
    let first = world_asking_first();
    assert!(first.contains("step few (5 %) asks for a person: nothing of it was seen yet"), "{first}");
    world.say(Verb::Promote, "1");
    world.commands.last_mut().unwrap().step = Some("everybody".into());
    world.settle();
    assert_eq!(world.shares, [Share::NONE, COHORT, Share::weight(100)], "from the cohort to everybody in one write");
    let approved = world.said.iter().find(|said| said.contains("approved")).unwrap();
    assert!(approved.contains("step everybody approved by ana"), "{approved}");
    world.wait(301);
    assert_eq!(world.phase(), Phase::Promoted);
}

/// What a plan says that asks before its first step.
fn world_asking_first() -> String {
    let mut world = world(json!({"steps": [{"name": "few", "weight": 5, "approval": true}, {"weight": 100}]}));
    world.settle().stance.message
}

#[test]
fn what_follows_an_ab_test_is_as_the_spec_says() {
    for (then, phase, share) in [("Promote", Phase::Promoted, Share::weight(100)), ("Revert", Phase::Passed, Share::NONE)] {
        let mut world = ab_test(then);
        world.reach_share(COHORT);
        world.verdict = Verdict::Pass;
        world.wait(61);
        world.verdict = Verdict::Inconclusive;
        world.wait(600);
        assert_eq!((world.phase(), world.found("v2")), (phase, share), "{then}");
    }
}

#[test]
fn a_cohort_that_fares_worse_is_back_at_stable_in_one_write() {
    for (then, phase) in [("Hold", Phase::RolledBack), ("Revert", Phase::Failed)] {
        let mut world = ab_test(then);
        let before = world.route["spec"].clone();
        world.reach_share(COHORT);
        world.verdict = Verdict::Fail;
        world.settle();
        assert_eq!((world.phase(), world.writes), (phase, 2), "{then}");
        assert_eq!(world.route["spec"], before);
    }
}

#[test]
fn a_question_that_an_edit_takes_away_is_not_waited_for() {
    let mut world = ab_test("Hold");
    world.reach_share(COHORT);
    world.verdict = Verdict::Pass;
    assert_eq!(world.wait(61).stance.reason, Reason::ApprovalRequired);
    world.spec["strategy"]["abTest"]["then"] = json!("Promote");
    world.wait(1);
    assert_eq!(world.found("v2"), Share::weight(100));
}

#[test]
fn promote_names_what_it_approves_or_is_refused() {
    let mut world = ab_test("Hold");
    world.reach_share(COHORT);
    world.verdict = Verdict::Pass;
    world.wait(61);
    world.say(Verb::Promote, "1");
    world.commands.last_mut().unwrap().step = Some("half".into());
    world.settle();
    assert_eq!(world.found("v2"), COHORT);
    assert!(
        world.said.last().unwrap().contains("names step half, but the present step is cohort and the next one everybody"),
        "{:?}",
        world.said
    );
    world.say(Verb::Resume, "2");
    world.settle();
    assert!(world.said.last().unwrap().contains("promote --step everybody"), "{:?}", world.said);
}

#[test]
fn argo_1216_blue_green_goes_from_0_to_100_in_one_write_of_the_route_and_bakes() {
    let mut world = blue_green();
    world.reach_share(COHORT);
    world.verdict = Verdict::Pass;
    world.wait(61);
    assert_eq!(world.shares, [Share::NONE, COHORT, Share::weight(100)]);
    assert_eq!(world.weights, [0, 100]);
    assert_eq!(world.writes, 2, "the preview and the switch");
    assert_eq!(find(&world.route, Sought::subsets(None)).unwrap().own.len(), 0, "the preview's route is gone in the write of the switch");
    assert_eq!(world.phase(), Phase::Progressing, "the bake");
    world.wait(61);
    assert_eq!(world.phase(), Phase::Promoted);
}

#[test]
fn argo_1978_a_switch_that_fails_in_its_bake_is_switched_back_in_one_write() {
    let mut world = blue_green();
    world.reach_share(Share::weight(100));
    let writes = world.writes;
    world.verdict = Verdict::Fail;
    world.pass();
    assert_eq!((world.share("v1"), world.share("v2"), world.writes), (100, 0, writes + 1));
    assert_eq!(world.phase(), Phase::RolledBack);
}

#[test]
fn blue_green_without_preview_and_mirror_says_that_nothing_is_judged_before_the_switch() {
    let mut world = world(json!({"blueGreen": {"bake": "1m"}}));
    world.settle();
    assert_eq!(world.weights, [0, 100], "stable's metrics are there, nothing else is waited for");
    let started = world.said.iter().find(|said| said.contains("starts at 100 %")).unwrap();
    assert!(started.contains("no comparison before the switch"), "{started}");
}

#[test]
fn a_preview_that_saw_too_little_by_its_deadline_asks_a_person() {
    let mut world = blue_green();
    world.reach_share(COHORT);
    let stance = world.wait(601).stance;
    assert_eq!((stance.phase, stance.reason, world.found("v2")), (Phase::Holding, Reason::DeadlineExceeded, COHORT));
    world.say(Verb::Promote, "1");
    world.settle();
    assert_eq!(world.found("v2"), Share::weight(100));
}

#[test]
fn flagger_901_1272_1777_mirror_match_and_weight_combine_in_one_object_and_one_step() {
    let mut world = composed();
    world.reach_share(Share { weight: 5, mirror: 10, matched: true });
    world.verdict = Verdict::Pass;
    assert_eq!(world.wait(61).stance.reason, Reason::ApprovalRequired);
    world.say(Verb::Promote, "1");
    world.settle();
    world.wait(61);
    world.wait(61);
    assert_eq!(world.phase(), Phase::Promoted);
    let all = Share { weight: 5, mirror: 10, matched: true };
    assert_eq!(world.shares, [Share::NONE, MIRROR, COHORT, all, Share::weight(50), Share::weight(100)]);
    assert_eq!(world.writes, 5, "one write for each step");
}

#[test]
fn flagger_635_an_approval_is_asked_for_again_for_another_build() {
    let mut world = ab_test("Hold");
    world.reach_share(COHORT);
    world.verdict = Verdict::Pass;
    world.wait(61);
    world.say(Verb::Promote, "1");
    world.settle();
    assert_eq!(world.found("v2"), Share::weight(100));
    world.pods("v2", "ccc", 5, 5);
    for _ in 0..4 {
        world.wait(61);
    }
    assert_eq!((world.phase(), world.found("v2")), (Phase::Paused, COHORT), "the old answer approves nothing new");
}

#[test]
fn a_mirror_needs_room_as_a_weight_does() {
    let mut world = shadow();
    world.pods("v2", "bbb", 4, 4);
    let stance = world.settle().stance;
    assert_eq!((stance.reason, world.writes), (Reason::CanaryCapacity, 0));
    assert!(stance.message.contains("mirror of 100 % needs 5 ready pods of v2, 4 are"), "{}", stance.message);
    let mut world = ab_test("Hold");
    world.pods("v2", "bbb", 1, 1);
    world.settle();
    assert_eq!(world.found("v2"), COHORT, "how many a match brings is not known: one pod is enough to begin with");
}

#[test]
fn what_cannot_work_on_this_route_is_reported_before_anything_is_written() {
    let stalled = |mut world: World, change: fn(&mut Value)| {
        change(&mut world.route["spec"]["http"]);
        let stance = world.settle().stance;
        assert_eq!((world.writes, stance.stalled, stance.phase), (0, true, Phase::Waiting));
        (stance.reason, stance.message)
    };
    let mirror = stalled(shadow(), |http| http[0]["mirror"] = json!({"host": "audit"}));
    assert_eq!(mirror.0, Reason::MirrorConflict);
    assert!(mirror.1.contains("write it as an entry of `mirrors`"), "{}", mirror.1);
    let own = stalled(ab_test("Hold"), |http| http[0]["mirrors"] = json!([{"destination": {"host": "fraud", "subset": "v2"}}]));
    assert_eq!(own.0, Reason::MirrorConflict);
    assert!(own.1.contains("already sends traffic to v2"), "{}", own.1);
    let joined = stalled(ab_test("Hold"), |http| http[0]["match"] = json!([{"headers": {"x-user-group": {"exact": "gold"}}}]));
    assert_eq!(joined.0, Reason::MatchConflict);
    assert!(
        joined.1.starts_with("step cohort on route primary of VirtualService fraud: match[0] of the route asks for header x-user-group"),
        "{}",
        joined.1
    );
    let mut below = ab_test("Hold");
    below.spec["traffic"]["route"] = json!("primary");
    let below = stalled(below, |http| {
        http.as_array_mut().unwrap().insert(0, json!({"name": "first", "route": [{"destination": {"host": "other"}}]}));
    });
    assert_eq!(below.0, Reason::RouteUnreachable);
    assert!(below.1.contains("http route first of VirtualService fraud stands above route primary"), "{}", below.1);
    let elsewhere = stalled(shadow(), |http| http[0]["route"][0]["destination"]["host"] = json!("fraud.prod.svc.cluster.local"));
    assert_eq!(elsewhere.0, Reason::HostElsewhere);
    assert!(elsewhere.1.contains("leads to fraud.prod.svc.cluster.local, which is no Service of namespace ml"), "{}", elsewhere.1);
    let delegated = stalled(shadow(), |http| {
        http[0].as_object_mut().unwrap().remove("route");
        http[0]["delegate"] = json!({"name": "fraud-weights"});
    });
    assert_eq!(delegated.0, Reason::RouteDelegated);
    assert!(delegated.1.contains("leaves it to VirtualService fraud-weights"), "{}", delegated.1);
    let mut two = shadow();
    two.rivals = vec!["VirtualService legacy is for host fraud.ml.svc in the mesh too, and sidecars take only one of the two".into()];
    let two = stalled(two, |_| {});
    assert_eq!(two.0, Reason::HostShared);
    assert!(two.1.contains("put the routes of both into one of them"), "{}", two.1);
    // A mirror of the user's own to somewhere else stands in nobody's way.
    let mut world = ab_test("Hold");
    world.route["spec"]["http"][0]["mirror"] = json!({"host": "audit"});
    world.settle();
    assert_eq!(world.found("v2"), COHORT);
    assert_eq!(world.route["spec"]["http"][0]["mirror"], json!({"host": "audit"}), "the copy has it too");
}

#[test]
fn a_crash_after_any_write_of_a_composed_rollout_changes_nothing() {
    let mut world = composed();
    world.spec["strategy"]["steps"][3]["approval"] = json!(false);
    world.pass_all_twice(500);
    let all = Share { weight: 5, mirror: 10, matched: true };
    assert_eq!(world.shares, [Share::NONE, MIRROR, COHORT, all, Share::weight(50), Share::weight(100)]);
    assert_eq!(world.phase(), Phase::Promoted);
}
