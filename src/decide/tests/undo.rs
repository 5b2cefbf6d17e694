//! `rollback` after a promotion (design section 3, point "rollback").

use serde_json::json;

use super::world::World;
use crate::api::{Outcome, Phase, Reason, Verdict};
use crate::command::Verb;
use crate::decide::Act;
use crate::route::{Sought, find};

/// v2 has been promoted, v1 still has its pods.
fn promoted() -> World {
    let mut world = World::new();
    world.reach(100);
    world.wait(61);
    assert_eq!(world.phase(), Phase::Promoted);
    world
}

fn last(world: &World) -> &str {
    world.said.last().unwrap()
}

#[test]
fn flagger_453_616_a_promotion_is_rolled_back_in_one_write_with_the_latch_on_it() {
    let mut world = promoted();
    let writes = world.writes;
    world.say(Verb::Rollback, "1");
    let decision = world.pass();
    assert!(matches!(decision.act, Act::Lower(_)), "no write before it");
    assert_eq!((world.share("v1"), world.share("v2"), world.writes), (100, 0, writes + 1));
    let latch = find(&world.route, Sought::subsets(None)).unwrap().claim.unwrap().latch.unwrap();
    assert_eq!(
        (latch.revision.as_str(), latch.outcome, latch.reason.as_str()),
        ("bbb", Outcome::RolledBack, Reason::RolledBackAfterPromotion.as_str())
    );
    assert_eq!(world.phase(), Phase::RolledBack);
    assert_eq!(world.state.stable.as_ref().unwrap().name, "v1");
    assert_eq!(world.state.handled.get("rollback").map(String::as_str), Some("1"));
    assert!(last(&world).contains("was rolled back by ana, 0s after its promotion: a test"), "{}", last(&world));
    assert_eq!(world.state.decision.as_ref().unwrap().by.as_ref().unwrap().name, "ana");
    assert_eq!(world.state.history[0].outcome, Outcome::RolledBack);
    assert!(world.finalizer, "the latch is in the route");
}

#[test]
fn what_was_rolled_back_is_refused_like_any_other_until_its_pods_change_or_retry() {
    let mut world = promoted();
    world.say(Verb::Rollback, "1");
    world.settle();
    world.verdict = Verdict::Pass;
    let stance = world.wait(3600).stance;
    assert_eq!((stance.phase, stance.reason, world.share("v2")), (Phase::RolledBack, Reason::Refused, 0));
    world.verdict = Verdict::Inconclusive;
    world.say(Verb::Retry, "2");
    world.settle();
    assert_eq!(world.share("v2"), 5);
}

#[test]
fn a_crash_between_the_write_and_the_status_loses_no_rollback_after_a_promotion() {
    let mut world = promoted();
    world.say(Verb::Rollback, "1");
    world.pass();
    world.commands.clear();
    world.settle();
    assert_eq!((world.phase(), world.share("v1")), (Phase::RolledBack, 100));
    assert_eq!(world.state.stable.as_ref().unwrap().name, "v1");
    assert_eq!(world.state.refused[0].revision, "bbb");
}

#[test]
fn it_is_refused_with_the_reason_when_there_is_nothing_to_go_back_to() {
    let refused = |change: fn(&mut World), because: &str| {
        let mut world = promoted();
        change(&mut world);
        world.say(Verb::Rollback, "9");
        world.settle();
        assert_eq!(world.share("v2"), 100, "{because}");
        assert!(last(&world).starts_with("rollback was refused: ") && last(&world).contains(because), "{}", last(&world));
        world.pods("v1", "aaa", 10, 10);
        world.wait(60);
        assert_eq!(world.share("v2"), 100, "a command that was refused never runs later");
    };
    refused(
        |world| drop(world.wait(3601)),
        "was promoted 1h ago, and rollbackWindow is 1h: to have it again, set spec.canary.subset to v1",
    );
    refused(|world| world.spec["rollbackWindow"] = json!("0s"), "rollbackWindow is 0s");
    refused(
        |world| world.pods("v1", "aaa", 10, 2),
        "v1 (aaa) has 2 ready pods, 3 are needed to serve everybody: kubectl -n ml scale deployment fraud-v1 --replicas=3",
    );
    refused(|world| world.pods("v1", "aaa", 0, 0), "v1 (aaa) has no pods any more: scale its Deployment to 3 replicas, then retry");
    refused(|world| world.settling("v1", "ccc"), "v1 (aaa) has pods of several revisions: wait until they settle, then retry");
    refused(|world| world.pods("v1", "zzz", 10, 10), "v1 (aaa) is zzz now, another version");
    refused(|world| drop(world.versions.remove("v1")), "no DestinationRule has subset v1 any more");
}

#[test]
fn with_capacity_any_one_ready_pod_is_enough_to_go_back_to() {
    let mut world = promoted();
    world.spec["traffic"]["capacity"] = json!("Any");
    world.pods("v1", "aaa", 10, 1);
    world.say(Verb::Rollback, "1");
    world.settle();
    assert_eq!(world.share("v1"), 100);
    assert!(last(&world).contains("v1 has 1 ready pods, v2 had 5"), "{}", last(&world));
}

#[test]
fn without_a_promotion_there_is_nothing_to_take_back() {
    let mut world = World::new();
    world.reach(20);
    world.say(Verb::Rollback, "1");
    world.settle();
    assert_eq!(world.share("v2"), 20);
    assert!(last(&world).contains("a rollout is under way: `haldane abort"), "{}", last(&world));
    world.say(Verb::Abort, "2");
    world.settle();
    world.say(Verb::Rollback, "3");
    world.settle();
    assert!(last(&world).contains("there is no promotion to roll back"), "{}", last(&world));
}

#[test]
fn a_later_rollout_that_ended_otherwise_takes_nothing_from_it() {
    let mut world = promoted();
    world.pods("v3", "ccc", 5, 5);
    world.spec["canary"]["subset"] = json!("v3");
    world.settle();
    assert_eq!(world.share("v3"), 5);
    world.say(Verb::Abort, "1");
    world.settle();
    assert_eq!((world.share("v2"), world.share("v3")), (100, 0));
    world.say(Verb::Rollback, "2");
    world.settle();
    assert_eq!((world.share("v1"), world.share("v2"), world.share("v3")), (100, 0, 0));
    assert!(world.state.refused.iter().any(|refused| refused.revision == "bbb"));
}

#[test]
fn the_build_that_serves_now_is_the_one_that_is_refused() {
    let mut world = promoted();
    world.pods("v2", "new", 5, 5);
    world.settle();
    world.say(Verb::Rollback, "1");
    world.settle();
    assert_eq!(world.share("v1"), 100);
    assert_eq!(world.state.refused[0].revision, "new");
}

#[test]
fn while_the_route_refuses_the_write_the_way_back_is_in_status() {
    let mut world = promoted();
    world.say(Verb::Rollback, "1");
    world.refusal = Some("denied by a webhook".into());
    for _ in 0..3 {
        world.pass();
    }
    assert_eq!(world.state.run.as_ref().unwrap().down.as_ref().unwrap().blocked, Some(Reason::RouteRefused.into()));
    assert_eq!(world.records.iter().filter(|record| record.1 == Reason::RouteRefused).count(), 1, "reported once");
    world.refusal = None;
    world.settle();
    assert_eq!((world.phase(), world.share("v1")), (Phase::RolledBack, 100));
}

#[test]
fn argo_4787_it_is_said_for_how_long_the_version_before_is_needed() {
    let mut world = promoted();
    let stance = world.settle().stance;
    let needed = "keep v1 running until 2026-01-01T01:";
    assert!(stance.message.contains(needed) && stance.message.contains("haldane rollback --reason TEXT fraud -n ml"), "{}", stance.message);
    let said = world.state.decision.as_ref().unwrap().next.clone();
    assert!(said.starts_with("keep v1 (aaa) running until 2026-01-01T01:"), "{said}");
    let stance = world.wait(3601).stance;
    assert_eq!((stance.phase, stance.message.contains("running until")), (Phase::Promoted, false));
}

#[test]
fn going_back_twice_is_not_possible_and_deleting_afterwards_keeps_what_serves() {
    let mut world = promoted();
    world.say(Verb::Rollback, "1");
    world.settle();
    world.say(Verb::Rollback, "2");
    world.settle();
    assert!(last(&world).contains("there is no promotion to roll back"), "{}", last(&world));
    world.deleting = true;
    world.settle();
    assert_eq!((world.share("v1"), world.share("v2")), (100, 0));
}
