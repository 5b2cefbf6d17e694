//! Design section 4, "Down", "Where down needs one look", "Canary loses its pods".

use serde_json::json;

use super::world::World;
use crate::api::{Outcome, Phase, Reason, Verdict};
use crate::command::Verb;
use crate::decide::Act;
use crate::route::{Sought, find};

#[test]
fn a_fail_takes_the_traffic_back_in_one_write_with_the_latch_on_it() {
    let mut world = World::new();
    world.reach(20);
    world.verdict = Verdict::Fail;
    let before = world.writes;
    let decision = world.pass();
    assert!(matches!(decision.act, Act::Lower(_)));
    assert_eq!((world.share("v1"), world.share("v2"), world.writes), (100, 0, before + 1));
    let latch = find(&world.route, Sought::subsets(None)).unwrap().claim.unwrap().latch.unwrap();
    assert_eq!((latch.revision.as_str(), latch.outcome, latch.reason.as_str()), ("bbb", Outcome::RolledBack, "AnalysisFailed"));
    assert_eq!(world.phase(), Phase::RolledBack);
    assert_eq!(world.state.refused[0].revision, "bbb");
    assert_eq!(world.state.history[0].outcome, Outcome::RolledBack);
    assert!(world.finalizer, "the latch is in the route");
}

#[test]
fn a_crash_between_the_write_and_the_status_loses_no_rollback() {
    let mut world = World::new();
    world.reach(20);
    world.verdict = Verdict::Fail;
    world.pass();
    // The new process has seen no Fail.
    world.verdict = Verdict::Pass;
    world.wait(300);
    assert_eq!((world.phase(), world.share("v2")), (Phase::RolledBack, 0));
    assert!(world.records.contains(&(Outcome::RolledBack, Reason::AnalysisFailed.into())));
}

#[test]
fn a_refused_revision_is_not_retried_until_its_pods_change() {
    let mut world = World::new();
    world.reach(5);
    world.verdict = Verdict::Fail;
    world.settle();
    world.verdict = Verdict::Pass;
    assert_eq!(world.wait(3600).stance.reason, Reason::Refused);
    assert_eq!(world.share("v2"), 0);
    world.pods("v2", "ccc", 5, 5);
    world.settle();
    assert_eq!(world.share("v2"), 5, "other pods are another revision");
    assert_eq!(
        find(&world.route, Sought::subsets(None)).unwrap().claim.unwrap().latch,
        None,
        "the first raise of another revision takes the latch away"
    );
}

#[test]
fn retry_accepts_a_refused_revision_again() {
    let mut world = World::new();
    world.reach(5);
    world.verdict = Verdict::Fail;
    world.settle();
    world.verdict = Verdict::Inconclusive;
    world.say(Verb::Retry, "1");
    world.settle();
    assert_eq!(world.share("v2"), 5);
    world.verdict = Verdict::Fail;
    world.settle();
    assert_eq!((world.phase(), world.share("v2")), (Phase::RolledBack, 0), "and is rolled back again");
}

#[test]
fn abort_is_looked_at_first_and_dominates() {
    let mut world = World::new();
    world.reach(20);
    world.verdict = Verdict::Pass;
    world.say(Verb::Promote, "1");
    world.say(Verb::Abort, "2");
    world.wait(61);
    assert_eq!((world.phase(), world.share("v2")), (Phase::Aborted, 0));
    assert_eq!(world.state.handled.get("abort").map(String::as_str), Some("2"));
    assert_eq!(*world.weights.iter().max().unwrap(), 20);
}

#[test]
fn an_abort_before_the_first_step_ends_it_too() {
    let mut world = World::new();
    world.problem = Some(crate::seen::Problem { reason: Reason::MetricsUnavailable, message: String::new(), unavailable: true });
    world.settle();
    world.say(Verb::Abort, "1");
    world.settle();
    assert_eq!(world.phase(), Phase::Aborted);
}

#[test]
fn stable_without_a_ready_endpoint_is_not_sent_the_traffic_while_the_canary_has_some() {
    let mut world = World::new();
    world.reach(20);
    world.pods("v1", "aaa", 10, 0);
    world.verdict = Verdict::Fail;
    let stance = world.settle().stance;
    assert_eq!((stance.phase, stance.reason, world.share("v2")), (Phase::RollingBack, Reason::StableUnavailable, 20));
    assert!(world.records.contains(&(Outcome::Held, Reason::StableUnavailable.into())), "paged at once");
    world.verdict = Verdict::Pass;
    world.pods("v1", "aaa", 10, 1);
    world.settle();
    assert_eq!((world.phase(), world.share("v2")), (Phase::RolledBack, 0), "it moves in the pass in which a stable endpoint is ready");
}

#[test]
fn a_forced_abort_moves_although_stable_has_no_ready_endpoint() {
    let mut world = World::new();
    world.reach(20);
    world.pods("v1", "aaa", 10, 0);
    world.say(Verb::Abort, "1");
    world.settle();
    assert_eq!(world.share("v2"), 20);
    world.say(Verb::Abort, "2");
    world.commands.last_mut().unwrap().force = true;
    world.settle();
    assert_eq!((world.phase(), world.share("v2")), (Phase::Aborted, 0));
}

#[test]
fn with_no_endpoint_on_either_side_it_moves() {
    let mut world = World::new();
    world.reach(20);
    world.pods("v1", "aaa", 10, 0);
    world.pods("v2", "bbb", 5, 0);
    world.settle();
    assert_eq!(world.share("v2"), 0);
}

#[test]
fn while_the_route_refuses_the_write_the_decision_is_in_status() {
    let mut world = World::new();
    world.reach(20);
    world.verdict = Verdict::Fail;
    world.refusal = Some("denied by a webhook".into());
    for _ in 0..3 {
        world.pass();
    }
    assert_eq!(world.state.run.as_ref().unwrap().down.as_ref().unwrap().blocked, Some(Reason::RouteRefused.into()));
    world.verdict = Verdict::Pass;
    world.refusal = None;
    world.settle();
    assert_eq!((world.phase(), world.share("v2")), (Phase::RolledBack, 0));
}

#[test]
fn a_canary_without_ready_endpoints_gets_weight_0_at_once_and_comes_back_once() {
    let mut world = World::new();
    world.reach(20);
    world.pods("v2", "bbb", 5, 0);
    world.settle();
    assert_eq!(world.share("v2"), 0);
    assert!(world.records.contains(&(Outcome::Lowered, Reason::CanaryUnavailable.into())));
    world.wait(10);
    world.pods("v2", "bbb", 5, 5);
    world.wait(30);
    assert_eq!(world.share("v2"), 0, "sixty seconds of readiness");
    world.wait(31);
    assert_eq!(world.share("v2"), 20, "back to the same step");
    world.pods("v2", "bbb", 5, 0);
    world.settle();
    assert_eq!((world.phase(), world.share("v2")), (Phase::RolledBack, 0), "the second time is a Fail");
}

#[test]
fn ten_minutes_without_pods_is_a_fail() {
    let mut world = World::new();
    world.reach(20);
    world.pods("v2", "bbb", 5, 0);
    world.settle();
    world.wait(601);
    assert_eq!(world.phase(), Phase::RolledBack);
}

#[test]
fn a_rollout_made_again_takes_a_latch_over() {
    let mut world = World::new();
    world.reach(20);
    world.verdict = Verdict::Fail;
    world.settle();
    let mut text: serde_json::Value =
        serde_json::from_str(world.route["metadata"]["annotations"]["haldane.dev/managed"].as_str().unwrap()).unwrap();
    let epoch = text["primary"]["epoch"].as_i64().unwrap();
    text["primary"]["uid"] = json!("a Rollout that is gone");
    world.route["metadata"]["annotations"]["haldane.dev/managed"] = json!(text.to_string());
    world.state = crate::state::State::default();
    world.verdict = Verdict::Pass;
    world.settle();
    assert_eq!(world.phase(), Phase::RolledBack);
    assert_eq!(world.share("v2"), 0);
    assert!(world.state.epoch > epoch);
}

#[test]
fn deleting_in_the_middle_puts_the_route_back_as_it_was() {
    let mut world = World::new();
    let before = world.route["spec"].clone();
    world.reach(50);
    assert!(world.finalizer);
    world.deleting = true;
    world.settle();
    assert!(!world.finalizer);
    assert_eq!(world.route["spec"], before);
}

#[test]
fn deleting_after_the_promotion_never_goes_back_behind_it() {
    let mut world = World::new();
    world.reach(100);
    world.wait(61);
    world.deleting = true;
    world.settle();
    assert_eq!(world.share("v2"), 100);
}

#[test]
fn zero_means_zero_and_weights_always_sum_to_100() {
    for weight in [5, 20, 50, 100] {
        let mut world = World::new();
        world.reach(weight);
        assert_eq!(find(&world.route, Sought::subsets(None)).unwrap().sum(), 100);
        world.say(Verb::Abort, "1");
        world.settle();
        let view = find(&world.route, Sought::subsets(None)).unwrap();
        assert_eq!((view.sum(), view.share("v2")), (100, 0));
    }
}

#[test]
fn a_version_aborted_while_the_virtual_service_is_gone_stays_refused_when_it_is_restored() {
    let mut world = World::new();
    world.reach(20);
    let mut restored = world.route.clone();
    world.gone = true;
    world.say(Verb::Abort, "1");
    world.settle();
    assert!(world.records.contains(&(Outcome::Aborted, Reason::Aborted.into())));
    restored["metadata"].as_object_mut().unwrap().remove("annotations");
    world.route = restored;
    world.gone = false;
    world.by_hand(100, 0);
    assert_eq!(world.settle().stance.reason, Reason::Refused);
    assert_eq!(world.share("v2"), 0);
}

#[test]
fn a_refused_command_does_not_hide_why_the_traffic_went_back() {
    let mut world = World::new();
    world.reach(20);
    world.verdict = Verdict::Fail;
    world.settle();
    world.say(Verb::Abort, "1");
    world.settle();
    assert!(world.records.contains(&(Outcome::CommandRefused, Reason::CommandRefused.into())));
    assert_eq!(world.state.decision.as_ref().unwrap().outcome, Outcome::RolledBack);
    assert_eq!(world.state.rejected["abort"].id, "1");
    assert!(world.state.rejected["abort"].message.contains("nothing is being rolled out"));
}

#[test]
fn what_was_not_counted_is_not_reported_as_nobody() {
    let mut world = World::new();
    world.spec["analysis"] = json!({"metrics": []});
    world.settle();
    assert_eq!(world.share("v2"), 5);
    world.say(Verb::Abort, "1");
    world.settle();
    assert_eq!(world.state.decision.as_ref().unwrap().exposure, None);
}
