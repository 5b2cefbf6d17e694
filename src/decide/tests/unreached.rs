//! Requests that do not reach a canary whose pods are ready.

use serde_json::json;

use super::world::World;
use crate::api::{Outcome, Phase, Reason, Verdict};
use crate::command::Verb;
use crate::plan::Share;
use crate::seen::{Problem, Unanswered};

fn lost(dead: bool) -> Option<Unanswered> {
    let (flags, service) = ("UH".into(), "fraud.ml.svc.cluster.local".into());
    Some(Unanswered { requests: 490, stable: 1510, flags, service, dead })
}

fn nobody() -> Option<Problem> {
    let message = "no canary request in the 120 s since the weight was set, while stable had 2000".into();
    Some(Problem { reason: Reason::NoCanaryTraffic, message, unavailable: false })
}

#[test]
fn a_canary_that_answers_none_of_its_requests_goes_back_at_the_look_that_says_so() {
    let mut world = World::new();
    world.reach(20);
    world.unanswered = lost(true);
    assert_eq!(world.phase(), Phase::RolledBack);
    assert_eq!(world.weights, [0, 5, 20, 0]);
    assert!(world.records.contains(&(Outcome::RolledBack, Reason::NoWorkloadAnswered.into())));
    let said = world.said.last().unwrap();
    assert!(said.contains("no workload answered 490 of them (response_flags UH") && said.contains("stable answered 1510"), "{said}");
    let decision = world.state.decision.clone().unwrap();
    assert!(decision.next.contains("haldane retry fraud -n ml"), "{}", decision.next);
    world.unanswered = None;
    world.wait(600);
    assert_eq!(world.share("v2"), 0, "it is not retried automatically");
    world.say(Verb::Retry, "r1");
    world.reach(5);
}

#[test]
fn a_canary_that_answers_none_goes_back_while_it_is_paused_too() {
    let mut world = World::new();
    world.reach(20);
    world.say(Verb::Pause, "p1");
    assert_eq!(world.phase(), Phase::Paused);
    world.unanswered = lost(true);
    assert_eq!(world.phase(), Phase::RolledBack);
}

#[test]
fn requests_lost_beside_others_that_are_answered_are_left_to_the_judge_who_says_so() {
    let mut world = World::new();
    world.reach(20);
    world.unanswered = lost(false);
    world.settle();
    assert_eq!(world.share("v2"), 20);
    world.verdict = Verdict::Fail;
    assert_eq!(world.phase(), Phase::RolledBack);
    assert!(world.records.contains(&(Outcome::RolledBack, Reason::AnalysisFailed.into())));
    let said = world.said.last().unwrap();
    assert!(said.contains("no workload answered 490 of them (response_flags UH"), "{said}");
}

#[test]
fn no_canary_traffic_at_a_weight_is_no_hold_but_goes_back_with_that_reason_and_offers_no_promote() {
    for deadline in ["10m", "61s"] {
        let mut world = World::new();
        world.spec["strategy"]["canary"] = json!({"hold": "1m", "deadline": deadline});
        world.reach(20);
        world.problem = nobody();
        world.wait(120);
        assert_eq!(world.weights, [0, 5, 20, 0], "{deadline}");
        assert!(world.records.contains(&(Outcome::RolledBack, Reason::NoCanaryTraffic.into())), "{deadline}");
        assert!(!world.records.iter().any(|(_, why)| *why == Reason::DeadlineExceeded), "{deadline}");
        let decision = world.state.decision.clone().unwrap();
        assert!(decision.message.contains("no canary request in the 120 s"), "{}", decision.message);
        let said = format!("{} {}", decision.message, decision.next);
        assert!(said.contains("haldane retry fraud -n ml") && !said.contains("promote"), "{said}");
    }
}

#[test]
fn a_cohort_or_a_mirror_without_traffic_holds() {
    let matches = json!([{"headers": {"x-user-group": {"exact": "beta"}}}]);
    for (step, share) in [
        (json!({"match": matches, "hold": "1m"}), Share { matched: true, ..Share::NONE }),
        (json!({"mirror": 100, "acknowledgeSideEffects": true, "hold": "1m"}), Share { mirror: 100, ..Share::NONE }),
    ] {
        let mut world = World::new();
        world.spec["strategy"] = json!({"steps": [step, {"weight": 100}]});
        world.reach_share(share);
        world.problem = nobody();
        let decision = world.wait(130);
        assert_eq!((decision.stance.reason, world.found("v2")), (Reason::NoCanaryTraffic, share));
    }
}

#[test]
fn a_dead_cohort_goes_back_and_copies_that_nobody_takes_do_not() {
    let matches = json!([{"headers": {"x-user-group": {"exact": "beta"}}}]);
    let mut world = World::new();
    world.spec["strategy"] = json!({"steps": [{"match": matches, "hold": "1m"}, {"weight": 100}]});
    world.reach_share(Share { matched: true, ..Share::NONE });
    world.unanswered = lost(true);
    assert_eq!((world.phase(), world.found("v2")), (Phase::RolledBack, Share::NONE));
}
