//! Statistics 2f: what hits both versions.

use serde_json::json;

use super::world::{Hand, World};
use crate::api::{Outcome, Phase, Reason, Verdict};
use crate::command::Verb;
use crate::judge::incident::Incident;

fn incident(world: &World, after_raise: bool) -> Option<Incident> {
    let message = "stable's own errors are 10.0 % of 5,700 requests".to_owned();
    Some(Incident { since: world.now, after_raise, message })
}

#[test]
fn an_incident_that_hits_both_versions_freezes_the_weight_and_says_what_it_waits_for() {
    let mut world = World::new();
    world.reach(20);
    (world.verdict, world.incident) = (Verdict::Pass, incident(&world, false));
    let stance = world.wait(300).stance;
    assert_eq!((stance.phase, stance.reason, world.share("v2")), (Phase::Holding, Reason::GlobalIncident, 20));
    for part in ["stable's own errors are 10.0 %", "5 windows in a row are clean", "`haldane abort --reason TEXT fraud -n ml` ends it"] {
        assert!(stance.message.contains(part), "{}", stance.message);
    }
    world.wait(300);
    let told = world.records.iter().filter(|record| record.1 == Reason::GlobalIncident).count();
    assert_eq!(told, 1, "reported once");
    world.incident = None;
    world.wait(1);
    world.wait(61);
    assert_eq!(world.share("v2"), 50, "it continues automatically");
    assert!(world.records.contains(&(Outcome::Resumed, Reason::GlobalIncident.into())));
}

#[test]
fn hold_and_deadline_stand_still_in_an_incident() {
    let mut world = World::new();
    world.spec["strategy"]["canary"]["onInconclusive"] = json!("Rollback");
    world.reach(5);
    world.wait(30);
    world.incident = incident(&world, false);
    world.wait(3600);
    world.incident = None;
    world.wait(1);
    assert_eq!(world.phase(), Phase::Progressing, "an hour of incident is none of the deadline's ten minutes");
    world.verdict = Verdict::Pass;
    world.wait(20);
    assert_eq!(world.share("v2"), 5, "the hold needs its whole minute without the incident");
    world.wait(15);
    assert_eq!(world.share("v2"), 20);
    world.verdict = Verdict::Inconclusive;
    world.wait(601);
    assert_eq!(world.phase(), Phase::RolledBack);
}

#[test]
fn a_pause_and_an_incident_at_once_are_counted_once() {
    let mut world = World::new();
    world.spec["strategy"]["canary"]["onInconclusive"] = json!("Rollback");
    world.reach(5);
    world.say(Verb::Pause, "1");
    world.settle();
    world.wait(100);
    world.incident = incident(&world, false);
    world.wait(1000);
    world.incident = None;
    world.wait(100);
    world.say(Verb::Resume, "2");
    world.settle();
    world.wait(590);
    assert_eq!((world.share("v2"), world.phase()), (5, Phase::Progressing));
    world.wait(20);
    assert_eq!(world.phase(), Phase::RolledBack, "ten minutes of its own, and no more");
}

#[test]
fn a_canary_that_is_worse_in_an_incident_is_rolled_back() {
    let mut world = World::new();
    world.reach(20);
    (world.verdict, world.incident) = (Verdict::Fail, incident(&world, true));
    world.settle();
    assert_eq!((world.phase(), world.share("v2")), (Phase::RolledBack, 0));
}

#[test]
fn right_after_a_raise_it_goes_one_weight_back_and_up_again_afterwards() {
    let mut world = World::new();
    world.reach(20);
    world.incident = incident(&world, true);
    world.settle();
    assert_eq!((world.weights.as_slice(), world.state.run.as_ref().unwrap().step), ([0, 5, 20, 5].as_slice(), Some(0)));
    assert!(world.records.contains(&(Outcome::Lowered, Reason::GlobalIncident.into())));
    (world.verdict, world.incident) = (Verdict::Pass, incident(&world, false));
    let stance = world.wait(600).stance;
    assert_eq!((stance.phase, stance.reason, world.share("v2")), (Phase::Holding, Reason::GlobalIncident, 5));
    world.incident = None;
    world.wait(1);
    world.wait(61);
    assert_eq!(world.share("v2"), 20, "the step before is judged again, and so is the way up");
    assert_eq!(world.phase(), Phase::Progressing);
}

#[test]
fn from_the_first_weight_it_goes_back_to_nothing_until_the_incident_is_over() {
    let mut world = World::new();
    world.reach(5);
    world.incident = incident(&world, true);
    world.settle();
    assert_eq!(world.share("v2"), 0);
    world.incident = incident(&world, false);
    world.wait(600);
    assert_eq!((world.share("v2"), world.phase()), (0, Phase::Holding));
    world.incident = None;
    world.wait(1);
    assert_eq!((world.share("v2"), world.phase()), (5, Phase::Progressing));
}

#[test]
fn a_look_that_is_not_there_yet_ends_no_incident() {
    let mut world = World::new();
    world.reach(5);
    world.incident = incident(&world, true);
    world.settle();
    world.blind = true;
    world.incident = None;
    world.wait(60);
    assert_eq!((world.share("v2"), world.phase()), (0, Phase::Holding));
}

#[test]
fn the_second_time_right_after_a_raise_a_person_is_asked() {
    let mut world = World::new();
    world.reach(20);
    world.incident = incident(&world, true);
    world.settle();
    world.incident = None;
    world.wait(1);
    world.reach(20);
    world.incident = incident(&world, true);
    world.settle();
    assert_eq!((world.share("v2"), world.phase()), (5, Phase::Paused));
    (world.verdict, world.incident) = (Verdict::Pass, None);
    let stance = world.wait(3600).stance;
    assert_eq!((stance.reason, world.share("v2")), (Reason::GlobalIncident, 5));
    assert!(stance.message.contains("`haldane resume fraud -n ml` continues"), "{}", stance.message);
    world.say(Verb::Resume, "1");
    world.settle();
    world.wait(61);
    assert_eq!(world.share("v2"), 20);
}

#[test]
fn what_was_proved_before_the_incident_raises_nothing_in_it() {
    let mut world = World::new();
    world.reach(5);
    world.verdict = Verdict::Pass;
    world.now += jiff::SignedDuration::from_secs(61);
    world.pass();
    assert!(world.state.run.as_ref().unwrap().intent.is_some());
    world.incident = incident(&world, false);
    world.settle();
    assert_eq!(world.share("v2"), 5);
}

#[test]
fn a_person_may_go_on_in_spite_of_an_incident() {
    let mut world = World::new();
    world.reach(5);
    world.incident = incident(&world, false);
    world.wait(1);
    world.say(Verb::Promote, "1");
    world.settle();
    assert_eq!(world.share("v2"), 20);
    assert_eq!(world.phase(), Phase::Holding, "and there it holds again");
}

#[test]
fn an_incident_right_after_a_raise_steps_back_while_the_manifest_is_invalid_or_the_route_is_in_doubt() {
    let hinder: [(Reason, Hand); 2] = [
        (Reason::Invalid, |world| world.spec["strategy"]["canary"]["weights"] = json!([50, 20, 100])),
        (Reason::RouteAmbiguous, World::add_route_to_canary),
    ];
    for (why, hinder) in hinder {
        let mut world = World::new();
        world.reach(20);
        hinder(&mut world);
        world.incident = incident(&world, true);
        let stance = world.settle().stance;
        assert_eq!((world.share("v2"), stance.phase, stance.reason), (5, Phase::Holding, why));
        assert!(world.records.contains(&(Outcome::Lowered, Reason::GlobalIncident.into())), "{why}: {:?}", world.records);
        world.incident = None;
        world.verdict = Verdict::Pass;
        world.wait(600);
        assert_eq!(world.share("v2"), 5, "{why}: nothing is raised meanwhile");
    }
}
