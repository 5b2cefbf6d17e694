//! Ways by which traffic could stay with a canary: all of them are closed, in each kind of step (design section 4, "Who moved it").

use serde_json::{Value, json};

use super::{super::world::World, COHORT, MIRROR, ab_test, composed, in_each_kind, shadow, world};
use crate::api::{Outcome, Phase, Reason, Verdict};
use crate::command::Verb;
use crate::plan::Share;

/// The route without our leaves: weights, an entry of the canary that was not there before, our annotation.
fn without_ours(world: &World) -> Value {
    let mut spec = world.route["spec"].clone();
    for route in spec["http"].as_array_mut().unwrap() {
        let entries = route["route"].as_array_mut().unwrap();
        entries.retain(|entry| entry["destination"]["subset"] == "v1");
        entries.iter_mut().for_each(|entry| {
            entry.as_object_mut().unwrap().remove("weight");
        });
    }
    spec
}

#[test]
fn an_abort_in_each_kind_of_step_leaves_the_route_as_it_was() {
    for (kind, mut world, share) in in_each_kind() {
        assert_eq!(world.found("v2"), share, "{kind}");
        let mut fresh = World::new();
        fresh.spec = world.spec.clone();
        let before = without_ours(&fresh);
        let writes = world.writes;
        world.say(Verb::Abort, "99");
        world.settle();
        assert_eq!((world.found("v2"), world.writes), (Share::NONE, writes + 1), "{kind}: one write");
        assert_eq!(without_ours(&world), before, "{kind}");
        assert_eq!(world.phase(), Phase::Aborted, "{kind}");
        assert!(world.finalizer, "{kind}: the latch is in the route");
        world.deleting = true;
        world.settle();
        assert_eq!(world.route["spec"], fresh.route["spec"], "{kind}: as it was");
        assert_eq!((world.route["metadata"]["annotations"].clone(), world.finalizer), (json!({}), false), "{kind}");
    }
}

#[test]
fn deleting_in_each_kind_of_step_puts_the_route_back_byte_for_byte() {
    for (kind, mut world, _) in in_each_kind() {
        let before = World::new().route["spec"].clone();
        world.deleting = true;
        world.settle();
        assert_eq!(world.route["spec"], before, "{kind}");
        assert!(!world.finalizer, "{kind}");
        assert_eq!(world.route["metadata"]["annotations"], json!({}), "{kind}");
    }
}

#[test]
fn deleting_finds_what_is_ours_even_without_our_annotation() {
    for (kind, mut world, _) in in_each_kind() {
        world.route["metadata"]["annotations"] = json!({});
        world.touch();
        world.deleting = true;
        world.settle();
        assert_eq!(world.found("v2"), Share::NONE, "{kind}");
        assert!(!world.route["spec"].to_string().contains("haldane.dev"), "{kind}");
        assert!(!world.finalizer, "{kind}");
    }
}

#[test]
fn a_third_version_in_each_kind_of_step_starts_at_the_first_one_and_nothing_of_the_second_stays() {
    for (kind, mut world, _) in in_each_kind() {
        world.pods("v3", "ddd", 5, 5);
        world.spec["canary"]["subset"] = json!("v3");
        let first = if kind.contains("composed") || kind == "shadow" { MIRROR } else { COHORT };
        world.settle();
        assert_eq!((world.found("v2"), world.found("v3")), (Share::NONE, first), "{kind}");
        assert_eq!(world.share("v1"), 100, "{kind}");
        assert!(!world.route["spec"]["http"][0]["mirrors"].to_string().contains("v2"), "{kind}");
    }
}

#[test]
fn argo_4534_4775_a_restart_of_the_canary_in_each_kind_of_step_takes_its_traffic_before_it_starts_over() {
    for (kind, mut world, _) in in_each_kind() {
        world.settling("v2", "ccc");
        world.settle();
        assert_eq!(world.found("v2"), Share::NONE, "{kind}: nothing reaches pods of two builds");
        assert_eq!(world.wait(60).stance.reason, Reason::Settling, "{kind}");
        world.pods("v2", "ccc", 5, 5);
        world.settle();
        assert!(!world.found("v2").is_none() && world.found("v2").weight == 0, "{kind}: the first step again");
        assert_eq!(world.state.run.as_ref().unwrap().canary.revision, "ccc", "{kind}");
    }
}

#[test]
fn argo_4561_4716_a_mirror_or_match_route_that_somebody_removed_is_noticed_in_every_later_pass() {
    for (kind, mut world, share) in in_each_kind().into_iter().filter(|(_, _, share)| share.mirror > 0 || share.matched) {
        let managed = world.managed();
        managed.as_object_mut().unwrap().remove("mirrors");
        world.route["spec"]["http"].as_array_mut().unwrap().retain(|route| route["name"] == "primary");
        world.touch();
        world.verdict = Verdict::Pass;
        let stance = world.wait(61).stance;
        assert_eq!((stance.phase, stance.reason), (Phase::Paused, Reason::ManualOverride), "{kind}");
        world.wait(3600);
        assert_eq!(world.found("v2"), Share::weight(share.weight), "{kind}: never raised again without resume");
        world.say(Verb::Resume, "7");
        world.verdict = Verdict::Inconclusive;
        world.settle();
        assert_eq!(world.found("v2"), share, "{kind}: back to the traffic of the step");
    }
}

#[test]
fn one_part_that_somebody_removed_is_not_brought_back_with_the_others() {
    let all = Share { weight: 5, mirror: 10, matched: true };
    let mut world = composed();
    world.reach_share(all);
    world.managed().as_object_mut().unwrap().remove("mirrors");
    world.touch();
    assert_eq!(world.settle().stance.reason, Reason::ManualOverride);
    let left = Share { mirror: 0, ..all };
    assert_eq!((world.found("v2"), world.state.run.as_ref().unwrap().share), (left, left));
    // Raised in one part, lowered in another: down to what is in both, and what was lowered waits for a person.
    let mut world = composed();
    world.reach_share(all);
    world.managed().as_object_mut().unwrap().remove("mirrors");
    world.by_hand(50, 50);
    world.settle();
    assert_eq!(world.found("v2"), left);
    assert_eq!(world.phase(), Phase::Paused);
    assert!(world.records.contains(&(Outcome::Lowered, Reason::ShareRaised.into())));
}

#[test]
fn a_mirror_that_somebody_raised_is_lowered_at_once() {
    let mut world = composed();
    let all = Share { weight: 5, mirror: 10, matched: true };
    world.reach_share(all);
    world.managed()["mirrors"][0].as_object_mut().unwrap().remove("percentage");
    world.touch();
    world.settle();
    assert_eq!(world.found("v2"), all, "without a number Istio copies everything");
    assert!(world.records.contains(&(Outcome::Lowered, Reason::ShareRaised.into())));
    let mut world = shadow();
    world.reach_share(MIRROR);
    let canary = json!({"destination": {"host": "fraud", "subset": "v2"}, "weight": 30});
    world.managed()["route"].as_array_mut().unwrap().push(canary);
    world.managed()["route"][0]["weight"] = json!(70);
    world.touch();
    world.settle();
    assert_eq!(world.found("v2"), MIRROR, "a shadow gives no user away");
}

#[test]
fn a_match_route_that_somebody_widened_is_written_again_and_a_narrower_one_is_left() {
    let two = json!([{"headers": {"x-user-group": {"exact": "beta"}}}, {"headers": {"x-user-group": {"exact": "staff"}}}]);
    let mut world = world(json!({"abTest": {"match": two, "hold": "1m", "deadline": "10m"}}));
    world.reach_share(COHORT);
    let ours = world.route["spec"]["http"][0]["match"].clone();
    world.route["spec"]["http"][0]["match"] = json!([{"uri": {"prefix": "/"}}]);
    world.touch();
    world.settle();
    assert_eq!(world.route["spec"]["http"][0]["match"], ours);
    assert!(world.said.last().unwrap().contains("changed the route of its match"), "{:?}", world.said);
    assert_ne!(world.phase(), Phase::Paused);
    world.route["spec"]["http"][0]["match"].as_array_mut().unwrap().pop();
    world.touch();
    assert_eq!(world.settle().stance.reason, Reason::ManualOverride);
    world.wait(600);
    assert_eq!(world.route["spec"]["http"][0]["match"].as_array().unwrap().len(), 1);
    world.say(Verb::Resume, "1");
    world.settle();
    assert_eq!(world.route["spec"]["http"][0]["match"], ours);
}

#[test]
fn argo_3773_nothing_is_written_at_the_fixpoint_of_any_kind_of_step_nor_after_it() {
    for (kind, mut world, _) in in_each_kind() {
        let writes = world.writes;
        for _ in 0..5 {
            world.touch();
            world.settle();
        }
        assert_eq!(world.writes, writes, "{kind}");
        world.say(Verb::Abort, "99");
        world.settle();
        let writes = world.writes;
        for _ in 0..5 {
            world.touch();
            world.wait(60);
        }
        assert_eq!(world.writes, writes, "{kind}, ended");
    }
}

#[test]
fn argo_3854_the_match_route_follows_an_edit_of_the_route_that_it_is_a_copy_of() {
    let mut world = ab_test("Hold");
    world.reach_share(COHORT);
    let (writes, epoch) = (world.writes, world.state.epoch);
    world.managed()["timeout"] = json!("9s");
    world.touch();
    world.settle();
    assert_eq!(world.route["spec"]["http"][0]["timeout"], "9s");
    assert_eq!((world.writes, world.state.epoch, world.found("v2")), (writes + 1, epoch, COHORT), "nobody's share has changed");
    assert_eq!(world.phase(), Phase::Progressing);
}

#[test]
fn an_edit_of_the_route_that_the_match_cannot_be_joined_with_holds_and_still_leads_down() {
    let mut world = ab_test("Hold");
    world.reach_share(COHORT);
    world.managed()["match"] = json!([{"headers": {"x-user-group": {"exact": "gold"}}}]);
    world.touch();
    world.verdict = Verdict::Pass;
    let stance = world.wait(61).stance;
    assert_eq!((stance.reason, stance.stalled, world.found("v2")), (Reason::MatchConflict, true, COHORT));
    assert!(stance.message.ends_with("; or `haldane abort --reason TEXT fraud -n ml` ends it"), "{}", stance.message);
    world.verdict = Verdict::Fail;
    world.settle();
    assert_eq!(world.found("v2"), Share::NONE);
}

#[test]
fn a_restored_object_with_routes_of_a_refused_version_is_cleaned_at_once() {
    for (kind, mut world, share) in in_each_kind() {
        let old = world.route["spec"].clone();
        world.verdict = Verdict::Fail;
        world.settle();
        assert_eq!(world.found("v2"), Share::NONE, "{kind}");
        world.route["spec"] = old;
        world.touch();
        assert_eq!(world.found("v2"), share, "{kind}");
        world.settle();
        assert_eq!(world.found("v2"), Share::NONE, "{kind}: zero means zero");
    }
}

#[test]
fn a_canary_without_pods_gets_neither_users_nor_copies_and_comes_back_once() {
    for (kind, mut world, share) in in_each_kind() {
        world.pods("v2", "bbb", 5, 0);
        world.settle();
        assert_eq!(world.found("v2"), Share::NONE, "{kind}");
        assert!(world.records.contains(&(Outcome::Lowered, Reason::CanaryUnavailable.into())), "{kind}");
        world.wait(10);
        world.pods("v2", "bbb", 5, 5);
        world.wait(61);
        assert_eq!(world.found("v2"), share, "{kind}: back to the same step");
    }
}

#[test]
fn copies_end_at_once_even_where_stable_is_not_there_and_users_do_not_move() {
    for (kind, mut world, share) in in_each_kind() {
        world.pods("v1", "aaa", 10, 0);
        world.say(Verb::Abort, "99");
        let stance = world.settle().stance;
        if share.reaches_users() {
            assert_eq!((stance.reason, world.found("v2")), (Reason::StableUnavailable, share), "{kind}");
            world.pods("v1", "aaa", 10, 1);
            world.settle();
        }
        assert_eq!((world.found("v2"), world.phase()), (Share::NONE, Phase::Aborted), "{kind}");
    }
}

#[test]
fn an_object_restored_from_before_the_way_back_is_cleaned_although_it_has_no_latch() {
    for (kind, mut world, share) in in_each_kind() {
        world.gone = true;
        world.say(Verb::Abort, "1");
        world.settle();
        world.gone = false;
        world.touch();
        assert_eq!((world.phase(), world.found("v2")), (Phase::Aborted, Share::NONE), "{kind}: {}", share.words());
    }
}

#[test]
fn a_subset_that_was_taken_away_is_not_called_lost_pods() {
    let mut world = ab_test("Hold");
    world.reach_share(COHORT);
    world.versions.insert("v2".into(), crate::seen::Deployed::default());
    let stance = world.settle().stance;
    assert_eq!((stance.reason, world.found("v2")), (Reason::CanaryUnavailable, Share::NONE));
    assert!(stance.message.starts_with("v2 (bbb) is a subset that no DestinationRule has any more; "), "{}", stance.message);
}

#[test]
fn a_hold_names_what_it_waits_for_and_the_command_that_ends_it() {
    let mut world = shadow();
    world.reach_share(MIRROR);
    let (reason, message) = (Reason::MetricsUnavailable, "Prometheus did not answer within 10 s".to_owned());
    world.problem = Some(crate::seen::Problem { reason, message, unavailable: true });
    let abort = "`haldane abort --reason TEXT fraud -n ml`";
    let stance = world.settle().stance;
    let wanted =
        format!("did not answer within 10 s: mirror of 100 % stays, it continues automatically; {abort} returns the traffic to stable");
    assert!(stance.message.ends_with(&wanted), "{}", stance.message);
    assert!(world.wait(30).stance.message.contains("within 10 s for 30s: mirror of 100 % stays"));
    world.pods("v2", "bbb", 5, 0);
    let stance = world.settle().stance;
    assert!(stance.message.ends_with(&format!("failed after 10m more; bring them back, or {abort}")), "{}", stance.message);
    let newest = world.state.decision.as_ref().unwrap();
    assert!(newest.next.starts_with("bring its pods back"), "{}", newest.next);
}

#[test]
fn a_second_mirror_for_the_canary_is_taken_away_at_once() {
    let mut world = shadow();
    world.reach_share(MIRROR);
    let twice = json!({"destination": {"host": "fraud", "subset": "v2"}, "percentage": {"value": 100}});
    world.managed()["mirrors"].as_array_mut().unwrap().push(twice);
    world.touch();
    world.settle();
    assert_eq!(world.managed()["mirrors"].as_array().unwrap().len(), 1);
    assert!(world.records.contains(&(Outcome::Lowered, Reason::ShareRaised.into())));
}

#[test]
fn another_route_to_the_canary_in_the_middle_holds_and_is_named() {
    let mut world = ab_test("Hold");
    world.reach_share(COHORT);
    world.add_route_to_canary();
    world.verdict = Verdict::Pass;
    let stance = world.wait(61).stance;
    assert_eq!((stance.phase, stance.reason), (Phase::Holding, Reason::RouteAmbiguous));
    assert!(stance.message.contains("route mine leads to v2 too") && stance.message.contains("haldane abort"), "{}", stance.message);
    let mut rebuilt = ab_test("Hold");
    rebuilt.reach_share(COHORT);
    rebuilt.add_route_to_canary();
    rebuilt.pods("v2", "ccc", 5, 5);
    let stance = rebuilt.settle().stance;
    assert_eq!((stance.phase, rebuilt.found("v2")), (Phase::Waiting, Share::NONE), "another build is not left with the old one's traffic");
    world.say(Verb::Abort, "1");
    let stance = world.settle().stance;
    assert_eq!((stance.phase, world.found("v2")), (Phase::Aborted, Share::NONE));
    assert!(stance.message.contains("mine of VirtualService fraud still lead to v2"), "{}", stance.message);
}

#[test]
fn a_route_above_that_takes_every_request_in_the_middle_holds_and_is_named() {
    for (kind, mut world, share) in in_each_kind() {
        let all = json!({"name": "all", "route": [{"destination": {"host": "fraud", "subset": "v1"}}]});
        world.route["spec"]["http"].as_array_mut().unwrap().insert(0, all);
        world.spec["traffic"]["route"] = json!("primary");
        world.state.run.as_mut().unwrap().plan.route = Some("primary".into());
        world.touch();
        world.verdict = Verdict::Pass;
        let stance = world.wait(301).stance;
        assert_eq!((stance.phase, stance.reason, world.found("v2")), (Phase::Holding, Reason::RouteUnreachable, share), "{kind}");
        let words = "http route all of VirtualService fraud stands above route primary and takes every request";
        assert!(stance.message.starts_with(words) && stance.message.contains("haldane abort"), "{}", stance.message);
    }
}

#[test]
fn a_finalizer_that_somebody_took_away_is_put_back_before_anything_else_goes_up() {
    for (kind, mut world, share) in in_each_kind() {
        world.finalizer = false;
        world.settle();
        assert_eq!((world.finalizer, world.found("v2")), (true, share), "{kind}: a deleted Rollout must not leave it behind");
    }
}

#[test]
fn a_route_that_is_lost_in_the_middle_names_the_command_that_ends_it() {
    let mut world = shadow();
    world.reach_share(MIRROR);
    world.managed()["route"] = json!([{"destination": {"host": "fraud"}}]);
    world.touch();
    let stance = world.settle().stance;
    assert_eq!(stance.reason, Reason::RouteNotFound);
    assert!(stance.message.ends_with("until the route is there again, or `haldane abort --reason TEXT fraud -n ml`"), "{}", stance.message);
}

#[test]
fn what_is_left_of_ours_on_an_idle_route_is_named() {
    let mut world = ab_test("Revert");
    world.reach_share(COHORT);
    let old = world.route["spec"].clone();
    world.verdict = Verdict::Pass;
    world.wait(61);
    assert_eq!(world.phase(), Phase::Passed);
    world.route["spec"] = old;
    world.touch();
    let stance = world.settle().stance;
    assert_eq!(stance.reason, Reason::Drifted);
    assert!(stance.message.ends_with("take http route haldane.dev/primary away"), "{}", stance.message);
}

#[test]
fn a_cohort_whose_requests_arrive_nowhere_is_not_offered_to_everybody_at_its_deadline() {
    let mut world = ab_test("Hold");
    world.reach_share(COHORT);
    let message = "no request fitted the match in 600 s".to_owned();
    world.problem = Some(crate::seen::Problem { reason: Reason::NoCanaryTraffic, message, unavailable: false });
    let stance = world.wait(86_000).stance;
    assert_eq!((stance.phase, stance.reason, stance.stalled), (Phase::Holding, Reason::NoCanaryTraffic, true));
    assert!(!stance.message.contains("promote") && stance.message.contains("haldane abort"), "{}", stance.message);
    assert!(world.records.contains(&(Outcome::Held, Reason::NoCanaryTraffic.into())), "{:?}", world.records);
    assert!(!world.state.decision.as_ref().unwrap().next.contains("promote"));
}
