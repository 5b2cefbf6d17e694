//! Design section 4, "Up", and section 2, "Clocks".

use serde_json::json;

use super::world::World;
use crate::api::{Outcome, Phase, Reason, Verdict};
use crate::command::Verb;
use crate::counts::{Counts, History};
use crate::judge::{Evidence, Slowest};
use crate::plan::Plan;
use crate::seen::Problem;
use crate::state::brief::terms;
use crate::state::{Stance, project};

#[test]
fn a_healthy_canary_goes_5_20_50_100_and_is_promoted() {
    let mut world = World::new();
    world.reach(100);
    world.verdict = Verdict::Inconclusive;
    world.wait(61);
    assert_eq!(world.weights, [0, 5, 20, 50, 100]);
    assert_eq!(world.phase(), Phase::Promoted);
    assert_eq!(world.state.stable.as_ref().unwrap().name, "v2");
    assert_eq!(world.writes, 4, "one write to the route for each step, none for the promotion");
    assert!(!world.finalizer, "the finalizer goes with the promotion");
    assert_eq!(world.route["spec"]["http"][0]["timeout"], "3s");
}

#[test]
fn nothing_starts_while_a_model_is_on_its_way_to_the_canary() {
    let mut world = World::new();
    world.pending = Some("Deployment fraud-v2 has models:/fraud/7; its pods are not there yet".into());
    let stance = world.wait(3600).stance;
    assert_eq!((stance.phase, stance.reason, stance.stalled), (Phase::Waiting, Reason::ModelPending, false));
    assert_eq!((world.writes, world.state.run.is_none()), (0, true));
    world.pending = None;
    world.settle();
    assert_eq!(world.share("v2"), 5);
    world.pending = Some("the source of models is asked first".into());
    world.reach(20);
    assert_eq!(world.share("v2"), 20, "what is under way goes on");
}

#[test]
fn nothing_is_written_at_the_fixpoint() {
    let mut world = World::new();
    world.reach(20);
    let (state, writes) = (world.state.clone(), world.writes);
    world.settle();
    assert_eq!((world.state, world.writes), (state, writes));
}

#[test]
fn a_hold_needs_its_time_and_four_windows() {
    let mut world = World::new();
    world.reach(5);
    world.verdict = Verdict::Pass;
    world.windows = 3;
    world.wait(3600 - 60);
    assert_eq!(world.share("v2"), 5, "a clock jump alone satisfies nothing");
    world.windows = 4;
    world.wait(1);
    assert_eq!(world.share("v2"), 20);
}

#[test]
fn no_step_begins_without_a_pass() {
    let mut world = World::new();
    world.reach(5);
    world.wait(300);
    assert_eq!(world.share("v2"), 5);
}

#[test]
fn an_intent_expires_two_windows_after_its_evidence() {
    let mut world = World::new();
    world.reach(5);
    world.verdict = Verdict::Pass;
    world.now += jiff::SignedDuration::from_secs(61);
    world.pass();
    assert!(world.state.run.as_ref().unwrap().intent.is_some(), "the intent is in status before the route is written");
    assert_eq!(world.share("v2"), 5);
    world.verdict = Verdict::Inconclusive;
    world.wait(120);
    assert_eq!(world.share("v2"), 5, "evidence that is too old raises nothing");
    assert!(world.state.run.as_ref().unwrap().intent.is_none());
}

#[test]
fn a_weight_needs_room() {
    let mut world = World::new();
    world.pods("v2", "bbb", 2, 2);
    world.reach(20);
    world.verdict = Verdict::Pass;
    let stance = world.wait(61).stance;
    assert_eq!(world.share("v2"), 20);
    assert_eq!(stance.reason, Reason::CanaryCapacity);
    assert!(stance.message.contains("kubectl -n ml scale deployment fraud-v2 --replicas=3"), "{}", stance.message);
    world.pods("v2", "bbb", 3, 3);
    world.wait(10);
    world.wait(61);
    assert_eq!(world.share("v2"), 50);
}

#[test]
fn with_capacity_any_one_ready_pod_is_enough() {
    let mut world = World::new();
    world.pods("v2", "bbb", 1, 1);
    world.spec["traffic"]["capacity"] = json!("Any");
    world.reach(100);
    assert_eq!(world.share("v2"), 100);
}

#[test]
fn no_user_sees_the_canary_before_stable_can_be_measured() {
    let mut world = World::new();
    world.problem = Some(Problem { reason: Reason::MetricsUnavailable, message: "Prometheus does not answer".into(), unavailable: true });
    let stance = world.settle().stance;
    assert_eq!((stance.phase, stance.reason), (Phase::Waiting, Reason::MetricsUnavailable));
    assert_eq!(world.writes, 0);
}

#[test]
fn missing_data_holds_and_decides_nothing() {
    let mut world = World::new();
    world.reach(20);
    world.verdict = Verdict::Pass;
    world.problem = Some(Problem { reason: Reason::MetricsUnavailable, message: "Prometheus does not answer".into(), unavailable: true });
    world.wait(30);
    assert!(!world.records.iter().any(|record| record.1 == Reason::MetricsUnavailable), "a hiccup is not reported");
    let stance = world.wait(300).stance;
    assert_eq!((stance.phase, stance.reason, world.share("v2")), (Phase::Holding, Reason::MetricsUnavailable, 20));
    assert!(world.records.contains(&(Outcome::Held, Reason::MetricsUnavailable.into())), "reported once it lasts");
    world.problem = None;
    world.wait(1);
    assert_eq!(world.share("v2"), 50, "it continues automatically");
}

#[test]
fn an_approval_is_asked_before_the_step_and_answered_by_promote_alone() {
    let mut world = World::new();
    world.spec["strategy"] =
        json!({"steps": [{"weight": 5, "hold": "1m"}, {"weight": 50, "hold": "1m", "approval": true}, {"weight": 100, "hold": "1m"}]});
    world.reach(5);
    world.verdict = Verdict::Pass;
    let stance = world.wait(61).stance;
    assert_eq!((stance.phase, stance.reason, world.share("v2")), (Phase::Paused, Reason::ApprovalRequired, 5));
    world.say(Verb::Resume, "1");
    world.settle();
    assert_eq!(world.share("v2"), 5);
    assert!(world.records.contains(&(Outcome::CommandRefused, Reason::CommandRefused.into())));
    world.say(Verb::Promote, "2");
    world.settle();
    assert_eq!(world.share("v2"), 50);
    world.verdict = Verdict::Inconclusive;
    world.wait(61);
    assert_eq!(world.share("v2"), 50, "a promote is one step, once");
}

#[test]
fn holds_alone_decide_where_nothing_is_measured() {
    let mut world = World::new();
    world.spec["analysis"] = json!({"metrics": []});
    world.settle();
    assert_eq!(world.share("v2"), 5);
    world.wait(61);
    assert_eq!(world.share("v2"), 5, "four passes as well");
    world.passes = 4;
    world.wait(1);
    assert_eq!(world.share("v2"), 20);
}

#[test]
fn a_pause_stops_advancing_and_nothing_else() {
    let mut world = World::new();
    world.reach(20);
    world.say(Verb::Pause, "1");
    world.verdict = Verdict::Pass;
    assert_eq!(world.wait(600).stance.phase, Phase::Paused);
    assert_eq!(world.share("v2"), 20);
    world.verdict = Verdict::Fail;
    world.settle();
    assert_eq!(world.phase(), Phase::RolledBack);
}

#[test]
fn the_deadline_brings_what_the_step_says() {
    for (policy, share, phase) in
        [("Hold", 5, Phase::Holding), ("Rollback", 0, Phase::RolledBack), ("PromoteIfNoHarm", 20, Phase::Progressing)]
    {
        let mut world = World::new();
        world.spec["strategy"]["canary"]["onInconclusive"] = json!(policy);
        world.reach(5);
        world.no_harm = true;
        let stance = world.wait(601).stance;
        assert_eq!((stance.phase, world.share("v2")), (phase, share), "{policy}");
    }
}

#[test]
fn a_hold_past_its_deadline_is_reported_once_and_still_advances_on_a_pass() {
    let mut world = World::new();
    world.reach(5);
    world.wait(601);
    world.wait(3600);
    let told = world.records.iter().filter(|record| record.1 == Reason::DeadlineExceeded).count();
    assert_eq!(told, 1);
    world.verdict = Verdict::Pass;
    world.wait(1);
    assert_eq!(world.share("v2"), 20);
}

#[test]
fn the_deadline_stands_still_while_paused() {
    let mut world = World::new();
    world.spec["strategy"]["canary"]["onInconclusive"] = json!("Rollback");
    world.reach(5);
    world.say(Verb::Pause, "1");
    world.settle();
    world.wait(3600);
    world.say(Verb::Resume, "2");
    world.settle();
    assert_eq!(world.share("v2"), 5);
    world.wait(601);
    assert_eq!(world.phase(), Phase::RolledBack);
}

#[test]
fn a_limit_that_holds_beats_a_pass_until_a_person_accepts_it() {
    let mut world = World::new();
    world.reach(5);
    (world.verdict, world.hold_limit) = (Verdict::Pass, true);
    let stance = world.wait(61).stance;
    assert_eq!((stance.phase, stance.reason, world.share("v2")), (Phase::Holding, Reason::HoldLimit, 5));
    world.say(Verb::Promote, "1");
    world.settle();
    assert_eq!(world.share("v2"), 20);
    world.wait(61);
    assert_eq!(world.share("v2"), 50, "accepted for this revision");
}

#[test]
fn what_a_person_accepted_of_one_metric_is_not_accepted_of_another() {
    let mut world = World::new();
    world.reach(5);
    (world.verdict, world.hold_limit) = (Verdict::Pass, true);
    world.wait(61);
    world.say(Verb::Promote, "1");
    world.settle();
    assert_eq!(world.share("v2"), 20);
    world.crossing = "gpu";
    let stance = world.wait(61).stance;
    assert_eq!((stance.reason, world.share("v2")), (Reason::HoldLimit, 20));
    assert!(world.said.last().unwrap().contains("gpu is beyond its limit"), "reported again: {:?}", world.said);
    world.say(Verb::Promote, "2");
    world.settle();
    assert_eq!(world.share("v2"), 50);
}

#[test]
fn the_last_step_is_baked_and_needs_requests_and_no_fail() {
    let mut world = World::new();
    world.reach(100);
    world.verdict = Verdict::Fail;
    world.settle();
    assert_eq!(world.phase(), Phase::RolledBack);
    assert_eq!(world.share("v1"), 100);
}

#[test]
fn crash_after_every_write_changes_nothing() {
    // `World::pass` goes through the stored state alone: a crash between two writes is a crash between two passes.
    let mut world = World::new();
    world.pass_all_twice(400);
    assert_eq!(world.weights, [0, 5, 20, 50, 100]);
    assert_eq!(world.phase(), Phase::Promoted);
}

#[test]
fn the_example_of_the_readme_is_a_plan() {
    let world = World::new();
    assert!(Plan::parse(&serde_json::from_value(world.spec).unwrap()).is_ok());
}

#[test]
fn without_room_nothing_is_shown_as_advanced_and_a_person_is_asked_once() {
    let mut world = World::new();
    world.pods("v2", "bbb", 1, 1);
    world.reach(20);
    world.verdict = Verdict::Pass;
    let before = world.records.len();
    for _ in 0..20 {
        let stance = world.wait(61).stance;
        if world.now < "2026-01-01T00:08:00Z".parse().unwrap() {
            assert_eq!((stance.phase, stance.reason), (Phase::Holding, Reason::CanaryCapacity));
            assert!(stance.message.contains("kubectl -n ml scale deployment fraud-v2 --replicas=3"), "{}", stance.message);
        }
    }
    let told: Vec<_> = world.records[before..].iter().map(|record| (record.0, record.1.as_str())).collect();
    assert_eq!(told, [(Outcome::Held, "CanaryCapacity"), (Outcome::Held, "DeadlineExceeded")]);
    world.pods("v2", "bbb", 3, 3);
    world.wait(1);
    assert_eq!(world.share("v2"), 50);
}

#[test]
fn feasible_looks_at_the_deadline_and_at_the_hold_of_the_step() {
    let mut world = World::new(); // hold 1 min, deadline 10 min
    world.reach(5);
    let mut feasible = |minutes: Option<f64>| {
        world.slowest = minutes.map(|more| Slowest {
            metric: "errorRate".into(),
            weight: 0.05,
            share: crate::plan::Share::weight(5),
            rps: 40.0,
            shown: 0.5,
            minutes: Some(more),
        });
        let stance = Stance {
            phase: world.phase(),
            reason: Reason::AsPlanned,
            message: String::new(),
            stalled: false,
            traffic: (true, Reason::AsPlanned, String::new()),
        };
        let status = project(&world.state, &stance, &world.seen(false), Vec::new(), None, world.now);
        let found = status.conditions.into_iter().find(|condition| condition.type_ == "Feasible").unwrap();
        (found.status, found.reason, found.message)
    };
    let as_planned = |words: &str| ("True".to_owned(), "AsPlanned".to_owned(), words.to_owned());
    assert_eq!(feasible(None), as_planned("the traffic is enough for the plan"));
    assert_eq!(feasible(Some(0.5)), as_planned("the traffic is enough for the plan"));
    let (status, reason, message) = feasible(Some(5.0));
    assert_eq!((status.as_str(), reason.as_str()), ("True", "AsPlanned"));
    assert!(message.contains("later than the hold of 1m: the weight waits for the proof"), "{message}");
    let (status, reason, message) = feasible(Some(30.0));
    assert_eq!((status.as_str(), reason.as_str()), ("False", "TrafficTooLow"));
    assert!(message.contains("needs about 30m more, beyond the deadline of 10m; a weight of "), "{message}");
}

#[test]
fn a_shadow_step_first_is_proposed_until_a_step_has_begun() {
    let mut world = World::new(); // hold 1 min, deadline 10 min
    world.reach(5);
    let plan = world.state.run.as_ref().unwrap().plan.clone();
    let pods = || [("a".to_owned(), [("errorRate".to_owned(), Counts::Events { total: 60, bad: 0 })].into())].into();
    let past = History { interval_seconds: 30.0, windows: (0..60).map(|_| pods()).collect(), by_pod: true };
    let mut evidence = Evidence::new(&plan.analysis.metrics, 30.0);
    evidence.calibrate(&plan.analysis.metrics, &past, &terms(&plan), 5);
    let mut infeasible = |step: Option<usize>| {
        world.state.run.as_mut().unwrap().step = step;
        let mut seen = world.seen(false);
        seen.look.as_mut().unwrap().evidence = evidence.clone().into();
        let stance = Stance {
            phase: Phase::Waiting,
            reason: Reason::AsPlanned,
            message: String::new(),
            stalled: false,
            traffic: (true, Reason::AsPlanned, String::new()),
        };
        let status = project(&world.state, &stance, &seen, Vec::new(), None, world.now);
        status.conditions.into_iter().find(|condition| condition.type_ == "Feasible" && condition.status == "False").unwrap().message
    };
    let before = infeasible(None);
    assert!(before.contains("the step at 5 % needs about ") && before.contains("; a shadow step of "), "{before}");
    let begun = infeasible(Some(0));
    assert!(begun.contains("the step at 20 % needs about ") && begun.contains("; a deadline of "), "{begun}");
}
