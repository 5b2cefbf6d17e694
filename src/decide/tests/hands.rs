//! Design section 4, "Who moved it": the table.

use serde_json::json;

use super::world::World;
use crate::api::{Outcome, Phase, Reason, Verdict};
use crate::command::Verb;

#[test]
fn a_share_lowered_by_hand_is_never_raised_again_without_resume() {
    let mut world = World::new();
    world.reach(20);
    world.by_hand(97, 3);
    world.verdict = Verdict::Pass;
    let stance = world.settle().stance;
    assert_eq!((stance.phase, stance.reason), (Phase::Paused, Reason::ManualOverride));
    world.wait(3600);
    assert_eq!(world.share("v2"), 3);
    world.say(Verb::Resume, "1");
    world.verdict = Verdict::Inconclusive;
    world.settle();
    assert_eq!(world.share("v2"), 20, "back to the weight of the present step");
}

#[test]
fn a_second_lowering_in_ten_minutes_is_an_applier() {
    let mut world = World::new();
    world.reach(20);
    world.by_hand(100, 0);
    world.settle();
    world.say(Verb::Resume, "1");
    world.settle();
    assert_eq!(world.share("v2"), 20);
    world.by_hand(100, 0);
    assert_eq!(world.wait(60).stance.reason, Reason::Contended);
}

#[test]
fn a_known_applier_is_contended_at_once() {
    let mut world = World::new();
    world.reach(20);
    world.by_hand(100, 0);
    world.route["metadata"]["managedFields"] =
        json!([{"manager": "argocd-controller", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:http": {}}}}]);
    let stance = world.settle().stance;
    assert_eq!((stance.phase, stance.reason, world.share("v2")), (Phase::Paused, Reason::Contended, 0));
}

#[test]
fn a_known_applier_is_reported_before_it_moves_a_weight() {
    let mut world = World::new();
    world.route["metadata"]["managedFields"] =
        json!([{"manager": "argocd-controller", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:http": {}}}}]);
    world.reach(5);
    let started = world.said.iter().find(|message| message.contains("starts at")).unwrap();
    assert!(started.contains("argocd-controller applies spec.http as well: it must ignore the weights"), "{started}");
}

#[test]
fn a_share_raised_by_others_is_lowered_at_once_to_what_our_annotation_says() {
    let mut world = World::new();
    world.reach(20);
    world.by_hand(40, 60);
    world.settle();
    assert_eq!(world.share("v2"), 20);
    assert!(world.records.contains(&(Outcome::Lowered, Reason::ShareRaised.into())));
}

#[test]
fn a_refused_version_raised_by_others_is_lowered_at_once() {
    let mut world = World::new();
    world.reach(20);
    world.verdict = Verdict::Fail;
    world.settle();
    world.by_hand(50, 50);
    world.settle();
    assert_eq!((world.share("v1"), world.share("v2")), (100, 0));
    assert_eq!(world.phase(), Phase::RolledBack);
}

#[test]
fn drift_of_an_idle_route_is_reported_and_never_written() {
    let mut world = World::new();
    world.reach(100);
    world.wait(61);
    let writes = world.writes;
    world.by_hand(50, 50);
    let stance = world.settle().stance;
    assert_eq!((stance.traffic.0, stance.traffic.1), (false, Reason::Drifted));
    world.wait(600);
    assert_eq!((world.writes, world.share("v2")), (writes, 50));
    assert_eq!(world.records.iter().filter(|record| record.1 == Reason::Drifted).count(), 1);
}

#[test]
fn a_restored_older_object_counts_as_lowered() {
    let mut world = World::new();
    world.reach(5);
    let old = world.route.clone();
    world.reach(20);
    world.route["spec"] = old["spec"].clone();
    world.route["metadata"]["annotations"] = old["metadata"]["annotations"].clone();
    world.touch();
    let stance = world.settle().stance;
    assert_eq!((stance.reason, world.share("v2")), (Reason::ManualOverride, 5));
}

#[test]
fn an_annotation_taken_away_is_compared_with_status() {
    let mut world = World::new();
    world.reach(20);
    world.route["metadata"]["annotations"] = json!({});
    world.by_hand(30, 70);
    world.settle();
    assert_eq!(world.share("v2"), 20);
}

#[test]
fn a_second_rollout_on_the_route_writes_nothing() {
    let mut world = World::new();
    let claim = json!({"primary": {"rollout": "other", "uid": "9", "epoch": 4, "subset": "v2", "revision": "x", "weight": 0}});
    world.route["metadata"]["annotations"] = json!({"haldane.dev/managed": claim.to_string()});
    world.others.push(("other".into(), "9".into()));
    let stance = world.settle().stance;
    assert_eq!((stance.reason, stance.stalled, world.writes), (Reason::Conflict, true, 0));
    world.others.clear();
    world.settle();
    assert_eq!(world.share("v2"), 5, "a claim whose Rollout is gone is void");
}

#[test]
fn weights_that_are_nobodys_plan_start_nothing() {
    let mut world = World::new();
    world.route["spec"]["http"][0]["route"] = json!([
        {"destination": {"host": "fraud", "subset": "v1"}, "weight": 80},
        {"destination": {"host": "fraud", "subset": "v2"}, "weight": 20},
    ]);
    let stance = world.settle().stance;
    assert_eq!((stance.reason, stance.stalled, world.writes), (Reason::UnexpectedWeights, true, 0));
}

#[test]
fn an_abort_of_a_rollout_that_lost_the_route_leaves_the_other_one_alone() {
    let mut world = World::new();
    world.pass();
    assert!(world.state.run.is_some(), "both began before either had written");
    let claim = json!({"primary": {"rollout": "other", "uid": "9", "epoch": 4, "subset": "v2", "revision": "bbb", "weight": 5}});
    world.route["metadata"]["annotations"] = json!({"haldane.dev/managed": claim.to_string()});
    world.others.push(("other".into(), "9".into()));
    world.by_hand_added(95, 5);
    let stance = world.settle().stance;
    assert_eq!((stance.phase, stance.reason, world.writes), (Phase::Waiting, Reason::Conflict, 0));
    assert!(stance.message.contains("kubectl delete rollouts.haldane.dev fraud -n ml"), "{}", stance.message);
    world.say(Verb::Abort, "1");
    world.settle();
    assert_eq!((world.share("v2"), world.writes), (5, 0), "the other's share");
    assert!(world.records.contains(&(Outcome::Aborted, Reason::Aborted.into())));
    assert_eq!(world.state.handled.get("abort").map(String::as_str), Some("1"));
    world.others.clear();
    world.by_hand(100, 0);
    assert_eq!(world.settle().stance.reason, Reason::Refused, "what was aborted does not start automatically");
}

#[test]
fn an_epoch_far_ahead_of_ours_is_not_taken_over_and_an_abort_still_works() {
    let mut world = World::new();
    world.reach(20);
    let epoch = world.state.epoch;
    for far in [(1_i64 << 53) - 1, i64::MAX] {
        let claim = json!({"primary": {"rollout": "fraud", "uid": "uid", "epoch": far, "subset": "v2", "revision": "bbb", "weight": 20}});
        world.route["metadata"]["annotations"]["haldane.dev/managed"] = json!(claim.to_string());
        world.touch();
        world.settle();
        assert_eq!(world.state.epoch, epoch);
    }
    world.say(Verb::Abort, "1");
    assert_eq!((world.phase(), world.share("v2")), (Phase::Aborted, 0));
}
