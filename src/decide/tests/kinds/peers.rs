//! What other controllers are known to get wrong where copies, match routes, a switch at once and the way back are concerned, and the test
//! that keeps it out of here. Numbers are those of issues of Argo Rollouts and Flagger.
//!
//! | defect | test |
//! |---|---|
//! | Argo 4716, 4561: a header or mirror route that somebody removed stays gone, and the rollout ends well | `escapes` argo_4561_4716_a_mirror_or_match_route_that_somebody_removed_is_noticed_in_every_later_pass |
//! | Argo 2463, 3773: a GitOps sync prunes header and mirror routes, and both write for ever | here argo_2463_routes_that_a_sync_prunes_are_reported_with_who_did_it_and_not_fought_over |
//! | Argo 1838, 2526, 2769: header and mirror routes are left behind | `route/tests` argo_1838_2526_2769_zero_means_zero_for_header_and_mirror_routes_too |
//! | Argo 3773: with a header or mirror step the VirtualService is written in every pass, also after the end | `escapes` argo_3773_nothing_is_written_at_the_fixpoint_of_any_kind_of_step_nor_after_it |
//! | Argo 2266, 2767, 3125: destinations that it does not know are removed | here argo_2266_2767_3125_destinations_that_it_does_not_know_stay_in_each_kind_of_step |
//! | Argo 3854: an edit of the route is not seen in its header route | `escapes` argo_3854_the_match_route_follows_an_edit_of_the_route_that_it_is_a_copy_of |
//! | Argo 1216: blue-green switches a Service and knows no traffic router | `kinds` argo_1216_blue_green_goes_from_0_to_100_in_one_write_of_the_route_and_bakes |
//! | Argo 1978: nothing is analysed after the promotion of a canary | `kinds` argo_1978_a_switch_that_fails_in_its_bake_is_switched_back_in_one_write |
//! | Argo 4534, 4775: another build in the middle meets users before the old one's traffic is gone | `escapes` argo_4534_4775_a_restart_of_the_canary_in_each_kind_of_step_takes_its_traffic_before_it_starts_over |
//! | Argo 4787: nobody says how long the old version is needed | `undo` argo_4787_it_is_said_for_how_long_the_version_before_is_needed |
//! | Flagger 901, 1272, 1777: A/B and weights exclude each other | `kinds` flagger_901_1272_1777_mirror_match_and_weight_combine_in_one_object_and_one_step |
//! | Flagger 635: an approval counts for the next build too | `kinds` flagger_635_an_approval_is_asked_for_again_for_another_build |
//! | Flagger, drift check: a mirror that somebody raised is adopted | `escapes` a_mirror_that_somebody_raised_is_lowered_at_once |
//! | Flagger 1588, 1692: traffic is written, the phase is lost, and it is stuck | `kinds` flagger_1588_1692_a_crash_between_the_write_that_ends_a_shadow_and_its_status_loses_nothing; `undo` a_crash_between_the_write_and_the_status_loses_no_rollback_after_a_promotion |
//! | Flagger 1898: the way back leads to a version that is not there | `undo` it_is_refused_with_the_reason_when_there_is_nothing_to_go_back_to; in the simulator flagger_1898_the_way_back_is_refused_when_the_version_before_is_gone |
//! | Flagger 453, 616: a promotion cannot be undone | `undo` flagger_453_616_a_promotion_is_rolled_back_in_one_write_with_the_latch_on_it |
//! | Flagger 773, 826: a rollback scales to zero at once | here flagger_773_826_nothing_but_the_route_is_written_on_the_way_back |
//! | Istio 11093, 23496: senders count no copy, so that a mirror looks healthy | `sampler` istio_11093_23496_where_only_senders_count_no_copy_is_judged_by_them |

use serde_json::json;

use super::{COHORT, MIRROR, composed, in_each_kind, shadow};
use crate::api::{Phase, Reason, Verdict};
use crate::command::Verb;
use crate::decide::Act;
use crate::judge::incident::Incident;
use crate::plan::Share;

#[test]
fn argo_2463_routes_that_a_sync_prunes_are_reported_with_who_did_it_and_not_fought_over() {
    for (kind, mut world, share) in in_each_kind().into_iter().filter(|(_, _, share)| share.mirror > 0 || share.matched) {
        world.managed().as_object_mut().unwrap().remove("mirrors");
        world.route["spec"]["http"].as_array_mut().unwrap().retain(|route| route["name"] == "primary");
        world.route["metadata"]["managedFields"] =
            json!([{"manager": "argocd-controller", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:http": {}}}}]);
        world.touch();
        let stance = world.settle().stance;
        assert_eq!((stance.phase, stance.reason), (Phase::Paused, Reason::Contended), "{kind}");
        assert!(stance.message.contains("argocd-controller applies this object"), "{kind}: {}", stance.message);
        let writes = world.writes;
        world.wait(3600);
        assert_eq!((world.writes, world.found("v2")), (writes, Share::weight(share.weight)), "{kind}");
    }
}

#[test]
fn argo_2266_2767_3125_destinations_that_it_does_not_know_stay_in_each_kind_of_step() {
    for (kind, mut world, share) in in_each_kind() {
        let third = json!({"destination": {"host": "fraud", "subset": "v0"}, "weight": 0, "headers": {"response": {"set": {"x": "y"}}}});
        world.managed()["route"].as_array_mut().unwrap().push(third.clone());
        world.touch();
        world.settle();
        assert_eq!(world.found("v2"), share, "{kind}");
        world.say(Verb::Abort, "99");
        world.settle();
        assert_eq!((world.phase(), world.found("v2")), (Phase::Aborted, Share::NONE), "{kind}");
        let left = world.managed()["route"].as_array().unwrap().clone();
        assert!(left.contains(&third), "{kind}: {left:?}");
    }
}

#[test]
fn flagger_773_826_nothing_but_the_route_is_written_on_the_way_back() {
    for (kind, mut world, _) in in_each_kind() {
        world.say(Verb::Abort, "99");
        let decision = world.pass();
        // There is no act that scales, and none is needed: the pods serve until the proxies have heard of it.
        assert!(matches!(decision.act, Act::Lower(_)), "{kind}: {:?}", decision.act);
    }
}

#[test]
fn copies_right_after_which_both_versions_are_hit_are_taken_away_until_it_is_over() {
    let mut world = shadow();
    world.reach_share(Share { mirror: 100, ..Share::NONE });
    world.incident = Some(Incident { since: world.now, after_raise: true, message: "stable itself is degraded".into() });
    let stance = world.settle().stance;
    assert_eq!((world.found("v2"), stance.reason), (Share::NONE, Reason::GlobalIncident));
    world.incident = None;
    world.wait(60);
    assert_eq!(world.found("v2"), Share { mirror: 100, ..Share::NONE }, "and come back by themselves");
}

#[test]
fn a_cohort_right_after_which_both_versions_are_hit_goes_back_to_the_copies_before_it() {
    let mut world = composed();
    world.reach_share(COHORT);
    world.incident = Some(Incident { since: world.now, after_raise: true, message: "stable itself is degraded".into() });
    world.settle();
    assert_eq!((world.found("v2"), world.state.run.as_ref().unwrap().step), (MIRROR, Some(0)));
    world.incident = None;
    world.wait(1); // over: the hold begins to run
    world.verdict = Verdict::Pass;
    world.wait(61);
    assert_eq!(world.found("v2"), COHORT, "after a Pass of its own");
    // A mirror that somebody took away meanwhile is not brought back by this.
    let mut world = composed();
    world.reach_share(COHORT);
    world.route["spec"]["http"].as_array_mut().unwrap().retain(|route| route["name"] == "primary");
    world.touch();
    world.incident = Some(Incident { since: world.now, after_raise: true, message: "stable itself is degraded".into() });
    world.settle();
    assert_eq!((world.found("v2"), world.phase()), (Share::NONE, Phase::Paused));
}

#[test]
fn every_test_of_the_table_is_there() {
    let places = [
        include_str!("peers.rs"),
        include_str!("escapes.rs"),
        include_str!("../kinds.rs"),
        include_str!("../undo.rs"),
        include_str!("../../../route/tests.rs"),
        include_str!("../../../observe/sampler/run/tests.rs"),
        include_str!("../../../../tests/sim_controller/strategies.rs"),
    ];
    let table = places[0].lines().take_while(|line| line.starts_with("//!"));
    let names: Vec<&str> = table.flat_map(|line| line.split([' ', ';', ','])).filter(|word| word.matches('_').count() > 4).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(places.iter().any(|text| text.contains(&format!("fn {name}("))), "{name}");
    }
}
