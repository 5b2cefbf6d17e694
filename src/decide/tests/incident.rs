//! Statistics 2f: an incident that hits both versions.

use jiff::Timestamp;

use super::world::World;
use crate::api::{Outcome, Phase, Verdict};
use crate::judge::incident::Incident;

fn incident(after_raise: bool) -> Option<Incident> {
    Some(Incident { since: Timestamp::UNIX_EPOCH, after_raise, message: "stable itself is degraded: errors 10 % against 0.1 %".into() })
}

#[test]
fn in_an_incident_that_hits_both_versions_nothing_advances_and_it_is_told_once() {
    let mut world = World::new();
    world.reach(20);
    world.verdict = Verdict::Inconclusive;
    world.incident = incident(false);
    for _ in 0..5 {
        let stance = world.wait(60).stance;
        assert_eq!((stance.phase, stance.reason, stance.stalled), (Phase::Holding, "GlobalIncident", false));
        assert!(stance.message.contains("stable itself is degraded") && stance.message.contains("haldane abort"), "{}", stance.message);
    }
    assert_eq!(world.records.iter().filter(|record| record.1 == "GlobalIncident").count(), 1);
    world.incident = None;
    world.verdict = Verdict::Pass;
    world.wait(1);
    assert_eq!(world.weights, [0, 5, 20, 50]);
}

#[test]
fn the_deadline_stands_still_in_an_incident_that_hits_both_versions() {
    let mut world = World::new();
    world.spec["strategy"]["canary"]["onInconclusive"] = serde_json::json!("Rollback");
    world.reach(20);
    world.wait(120);
    world.incident = incident(false);
    world.settle();
    world.wait(3600);
    world.incident = None;
    world.settle();
    assert_eq!(world.wait(300).stance.phase, Phase::Progressing, "420 of 600 s are spent");
    assert_eq!(world.wait(200).stance.phase, Phase::RolledBack);
}

#[test]
fn an_incident_right_after_a_raise_steps_back_one_weight_which_must_be_passed_again() {
    let mut world = World::new();
    world.reach(50);
    world.incident = incident(true);
    let decision = world.pass();
    assert!(decision.stance.message.contains("right after the canary got 50 %"), "{}", decision.stance.message);
    world.incident = incident(false);
    world.settle();
    assert_eq!((world.share("v2"), world.state.run.as_ref().unwrap().step), (20, Some(1)));
    assert!(world.records.contains(&(Outcome::Lowered, "GlobalIncident".into())));
    world.wait(3600);
    assert_eq!(world.share("v2"), 20);
    world.incident = None;
    world.settle();
    assert_eq!(world.share("v2"), 20, "nothing has passed yet");
    world.verdict = Verdict::Pass;
    world.wait(61);
    assert_eq!(world.weights, [0, 5, 20, 50, 20, 50]);
}

#[test]
fn an_incident_right_after_the_first_raise_holds_there() {
    let mut world = World::new();
    world.reach(5);
    world.incident = incident(true);
    assert_eq!(world.settle().stance.reason, "GlobalIncident");
    assert_eq!(world.weights, [0, 5]);
}

#[test]
fn a_canary_that_fails_in_an_incident_is_rolled_back() {
    let mut world = World::new();
    world.reach(20);
    world.incident = incident(true);
    world.verdict = Verdict::Fail;
    world.settle();
    assert_eq!(world.weights, [0, 5, 20, 0]);
    assert!(world.records.contains(&(Outcome::RolledBack, "AnalysisFailed".into())));
}
