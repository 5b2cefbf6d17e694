//! Design section 2, "What an edit does" and "Revision".

use serde_json::json;

use super::world::{Hand, World};
use crate::api::{Outcome, Phase, Reason, Verdict};
use crate::command::Verb;
use crate::decide::{Hindered, Leads};
use crate::seen::Problem;

#[test]
fn an_edit_of_the_steps_sends_traffic_to_stable_and_starts_again() {
    let mut world = World::new();
    world.reach(20);
    world.spec["strategy"]["canary"]["weights"] = json!([10, 100]);
    world.settle();
    assert_eq!(world.weights, [0, 5, 20, 0, 10]);
}

#[test]
fn a_hold_is_taken_over_in_place() {
    let mut world = World::new();
    world.reach(20);
    world.spec["strategy"]["canary"]["hold"] = json!("5m");
    world.verdict = Verdict::Pass;
    world.wait(120);
    assert_eq!(world.share("v2"), 20);
    world.wait(200);
    assert_eq!(world.share("v2"), 50);
    assert_eq!(world.weights, [0, 5, 20, 50]);
}

#[test]
fn the_canary_set_back_to_stable_is_an_abort_at_once() {
    let mut world = World::new();
    world.reach(50);
    world.spec["canary"]["subset"] = json!("v1");
    world.settle();
    assert_eq!(world.share("v2"), 0);
    assert!(world.records.contains(&(Outcome::Aborted, Reason::SpecReverted.into())));
}

#[test]
fn an_invalid_edit_in_the_middle_advances_nothing_and_still_leads_down() {
    let mut world = World::new();
    world.reach(20);
    world.spec["strategy"]["canary"]["weights"] = json!([50, 20, 100]);
    world.verdict = Verdict::Pass;
    let stance = world.wait(120).stance;
    assert_eq!((stance.reason, stance.stalled, world.share("v2")), (Reason::Invalid, true, 20));
    world.verdict = Verdict::Fail;
    world.settle();
    assert_eq!(world.share("v2"), 0);
}

#[test]
fn a_route_that_the_spec_names_and_somebody_renames_advances_nothing_and_still_leads_down() {
    let mut world = World::new();
    world.spec["traffic"]["route"] = json!("primary");
    world.reach(20);
    world.route["spec"]["http"][0]["name"] = json!("main");
    world.touch();
    world.verdict = Verdict::Pass;
    let stance = world.wait(120).stance;
    assert_eq!((stance.reason, stance.stalled, world.share("v2")), (Reason::RouteNotFound, true, 20));
    assert!(stance.message.contains("primary was renamed to main") && stance.message.contains("abort"), "{}", stance.message);
    world.verdict = Verdict::Fail;
    world.settle();
    assert_eq!(world.share("v2"), 0);
    assert!(world.records.contains(&(Outcome::RolledBack, Reason::AnalysisFailed.into())));
}

#[test]
fn a_route_that_the_spec_does_not_name_may_be_renamed() {
    let mut world = World::new();
    world.reach(20);
    world.route["spec"]["http"][0]["name"] = json!("main");
    world.touch();
    world.verdict = Verdict::Pass;
    world.wait(120);
    assert_eq!(world.weights, [0, 5, 20, 50]);
}

#[test]
fn a_wrong_object_is_stalled_with_all_its_faults_and_moves_nothing() {
    let mut world = World::new();
    world.spec["strategy"]["canary"] = json!({"weights": [50, 20], "hold": "5m", "deadline": "1m"});
    let stance = world.settle().stance;
    assert_eq!((stance.phase, stance.reason, world.writes), (Phase::Invalid, Reason::Invalid, 0));
    for path in ["spec.strategy.canary.weights[1]", "spec.strategy.canary"] {
        assert!(stance.message.contains(path), "{}", stance.message);
    }
}

#[test]
fn a_third_version_in_the_middle_goes_down_first_and_starts_at_the_first_step() {
    let mut world = World::new();
    world.pods("v3", "ddd", 5, 5);
    world.reach(50);
    world.spec["canary"]["subset"] = json!("v3");
    world.settle();
    assert_eq!((world.share("v1"), world.share("v2"), world.share("v3")), (95, 0, 5));
}

#[test]
fn a_canary_redeployed_in_the_middle_goes_to_0_settles_and_starts_again() {
    let mut world = World::new();
    world.reach(50);
    world.settling("v2", "ccc");
    world.settle();
    assert_eq!(world.share("v2"), 0);
    assert_eq!(world.wait(60).stance.reason, Reason::Settling);
    world.pods("v2", "ccc", 5, 5);
    world.settle();
    assert_eq!(world.weights, [0, 5, 20, 50, 0, 5]);
    assert_eq!(world.state.run.as_ref().unwrap().canary.revision, "ccc");
}

#[test]
fn stable_redeployed_while_idle_is_reported_and_starts_nothing() {
    let mut world = World::new();
    world.reach(100);
    world.wait(61);
    world.pods("v2", "ccc", 5, 5);
    let writes = world.writes;
    world.settle();
    assert_eq!((world.writes, world.share("v2")), (writes, 100));
    assert!(world.records.contains(&(Outcome::Held, Reason::StableRedeployed.into())));
}

#[test]
fn stable_settling_in_the_middle_holds_and_then_counts_again() {
    let mut world = World::new();
    world.reach(20);
    world.settling("v1", "eee");
    world.verdict = Verdict::Pass;
    assert_eq!(world.wait(61).stance.reason, Reason::Settling);
    assert_eq!(world.share("v2"), 20);
    let before = world.state.run.as_ref().unwrap().key();
    world.pods("v1", "eee", 10, 10);
    world.verdict = Verdict::Inconclusive;
    world.settle();
    assert_ne!(world.state.run.as_ref().unwrap().key(), before);
    assert_eq!(world.share("v2"), 20);
}

#[test]
fn a_canary_without_pods_starts_nothing() {
    let mut world = World::new();
    world.pods("v2", "bbb", 0, 0);
    let stance = world.settle().stance;
    assert_eq!((stance.phase, stance.reason, world.writes), (Phase::Waiting, Reason::NoCanaryEndpoint, 0));
}

#[test]
fn spec_paused_stops_advancing_until_an_edit() {
    let mut world = World::new();
    world.reach(20);
    world.spec["paused"] = json!(true);
    world.verdict = Verdict::Pass;
    assert_eq!(world.wait(600).stance.phase, Phase::Paused);
    world.spec["paused"] = json!(false);
    world.wait(1);
    assert_eq!(world.share("v2"), 50);
}

#[test]
fn a_provider_that_is_not_configured_stalls_the_start_and_once_fixed_the_new_manifest_counts_whole() {
    let mut world = World::new();
    world.spec["analysis"]["prometheus"] = json!("nowhere");
    let message = "spec.analysis.prometheus is nowhere, which is not in the controller's configuration".to_owned();
    world.config_problem = Some(Problem { reason: Reason::ProviderNotFound, message, unavailable: true });
    let stance = world.settle().stance;
    assert_eq!((stance.phase, stance.reason, stance.stalled, world.writes), (Phase::Waiting, Reason::ProviderNotFound, true, 0));
    world.spec["analysis"]["prometheus"] = json!("default");
    world.config_problem = None;
    world.settle();
    assert_eq!(world.share("v2"), 5);
    assert_eq!(world.state.run.as_ref().unwrap().plan.analysis.prometheus, "default");
}

#[test]
fn the_deadline_stands_still_while_spec_paused_is_true() {
    let mut world = World::new();
    world.spec["strategy"]["canary"]["onInconclusive"] = json!("Rollback");
    world.reach(20);
    world.wait(120);
    world.spec["paused"] = json!(true);
    world.settle();
    world.say(Verb::Pause, "1");
    world.wait(3600);
    world.spec["paused"] = json!(false);
    world.wait(3600);
    world.say(Verb::Resume, "1");
    world.settle();
    assert_eq!(world.wait(300).stance.phase, Phase::Progressing, "420 of 600 s are spent");
    assert_eq!(world.wait(200).stance.phase, Phase::RolledBack, "620 s");
}

#[test]
fn an_edit_that_pauses_is_not_reported_as_going_on() {
    let mut world = World::new();
    world.reach(20);
    world.spec["paused"] = json!(true);
    world.settle();
    assert_eq!(world.records.last(), Some(&(Outcome::Paused, Reason::ManualPause.into())));
    world.spec["paused"] = json!(false);
    world.settle();
    assert_eq!(world.records.last(), Some(&(Outcome::Resumed, Reason::AsPlanned.into())));
    world.spec["strategy"]["canary"]["hold"] = json!("2m");
    world.settle();
    assert_eq!(world.records.last(), Some(&(Outcome::Edited, Reason::PlanAdopted.into())));
}

#[test]
fn an_edit_that_counts_from_the_next_rollout_alone_is_reported_once() {
    let mut world = World::new();
    world.reach(20);
    world.spec["analysis"] = json!({"interval": "2m"});
    world.settle();
    world.wait(30);
    let told: Vec<_> = world.said.iter().filter(|message| message.contains("counts from the next rollout")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("analysis.interval"), "{told:?}");
}

#[test]
fn a_second_route_that_fits_in_the_middle_holds_and_keeps_nobody_from_going_back() {
    let mut world = World::new();
    world.reach(20);
    let second = json!({"name": "second", "route": [{"destination": {"host": "fraud", "subset": "v1"}}]});
    world.route["spec"]["http"].as_array_mut().unwrap().push(second);
    world.touch();
    world.verdict = Verdict::Pass;
    let stance = world.wait(120).stance;
    assert_eq!((stance.reason, stance.stalled, world.share("v2")), (Reason::RouteAmbiguous, true, 20));
    assert!(
        stance.message.contains("second") && stance.message.contains("`haldane abort --reason TEXT fraud -n ml`"),
        "{}",
        stance.message
    );
    world.say(Verb::Abort, "1");
    world.settle();
    assert_eq!(world.share("v2"), 0);
    assert!(world.records.contains(&(Outcome::Aborted, Reason::Aborted.into())));
}

#[test]
fn a_deadline_with_rollback_takes_the_traffic_back_while_the_manifest_is_invalid_or_the_route_is_in_doubt() {
    let hinder: [(Reason, Hand); 2] = [
        (Reason::Invalid, |world| world.spec["strategy"]["canary"]["weights"] = json!([50, 20, 100])),
        (Reason::RouteAmbiguous, World::add_route_to_canary),
    ];
    for (why, hinder) in hinder {
        let mut world = World::new();
        world.spec["strategy"]["canary"]["onInconclusive"] = json!("Rollback");
        world.reach(20);
        hinder(&mut world);
        let stance = world.wait(500).stance;
        assert_eq!((stance.phase, stance.reason, world.share("v2")), (Phase::Holding, why, 20), "not before its deadline");
        world.verdict = Verdict::Pass;
        assert_eq!((world.wait(120).stance.reason, world.share("v2")), (why, 20), "what passes is not inconclusive");
        world.verdict = Verdict::Inconclusive;
        world.settle();
        assert_eq!(world.share("v2"), 0, "{why}");
        assert!(world.records.contains(&(Outcome::RolledBack, Reason::DeadlineExceeded.into())), "{why}: {:?}", world.records);
    }
}

#[test]
fn a_deadline_with_hold_or_without_harm_raises_nothing_while_the_manifest_is_invalid() {
    for policy in ["Hold", "PromoteIfNoHarm"] {
        let mut world = World::new();
        world.spec["strategy"]["canary"]["onInconclusive"] = json!(policy);
        world.reach(20);
        (world.no_harm, world.spec["strategy"]["canary"]["weights"]) = (true, json!([50, 20, 100]));
        let stance = world.wait(1200).stance;
        assert_eq!((stance.reason, world.share("v2")), (Reason::Invalid, 20), "{policy}");
    }
}

#[test]
fn each_rule_is_in_the_file_that_the_table_names_and_the_manual_has_the_table() {
    for rule in &crate::decide::RULES {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/decide").join(rule.file);
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.contains(&format!("pub(super) fn {}(", rule.name)), "{} is not in {}", rule.name, rule.file);
    }
    let manual = include_str!("../../../docs/architecture.md");
    let rows: Vec<&str> = manual.lines().filter(|line| line.contains("` | `src/decide/")).collect();
    let told = crate::decide::RULES.each_ref().map(|rule| {
        let leads = match rule.leads {
            Leads::Down => "down",
            Leads::Nowhere => "waits",
            Leads::Up => "up",
        };
        let hindered = match rule.hindered {
            Hindered::Runs => "runs",
            Hindered::OnlyBack => "only back",
            Hindered::Skipped => "skipped",
        };
        format!("| `{}` | `src/decide/{}` | {leads} | {hindered} |", rule.name, rule.file)
    });
    assert_eq!(rows, told);
    let raises = crate::decide::RULES.iter().filter(|rule| rule.leads == Leads::Up);
    assert!(raises.clone().count() > 0 && raises.clone().all(|rule| rule.hindered != Hindered::Runs));
}
