//! Other hands in the middle of a shadow, a cohort, a preview: a third version, another label of the subset, a controller that is killed,
//! somebody who edits the route.

use haldane::{
    api::{Phase, Rollout},
    route::{Sought, find},
    sim::WorldConfig,
};
use serde_json::Value;

use crate::{
    stage::{Stage, better},
    strategies::{COMPOSED, at, blue_green, composed, copies_to, stage, users_of},
};

const SWITCHED: [&str; 3] = ["0 %", "match", "100 %"];

/// A step, the manifest that has it, and what a healthy version goes through.
type Middle = (&'static str, fn(&str) -> Rollout, Vec<&'static str>);

/// One of each kind that gives no weight.
fn in_the_middle() -> Vec<Middle> {
    vec![("shadow", composed, COMPOSED.to_vec()), ("beta", composed, COMPOSED.to_vec()), ("preview", blue_green, SWITCHED.to_vec())]
}

/// Of the revision that is gone nothing is left: no copy, no user, no route, no word in our annotation.
async fn nothing_reaches(stage: &Stage, subset: &str, step: &str) {
    let found = find(&stage.world.virtual_service(), Sought::subsets(None)).unwrap();
    assert!(found.found(subset).is_none(), "{step}: {}", found.words());
    stage.seconds(2).await;
    let then = (users_of(stage, subset), copies_to(stage, subset));
    stage.seconds(20).await;
    assert_eq!((users_of(stage, subset), copies_to(stage, subset)), then, "{step}: nothing reaches {subset} any more");
}

#[tokio::test(start_paused = true)]
async fn a_third_version_in_the_middle_of_a_preview_leaves_nothing_of_the_second() {
    let stage = stage(221, better(), &blue_green("v2")).await;
    stage.until("preview", at("preview")).await;
    stage.world.deploy("v3", better());
    stage.world.apply(&blue_green("v3")).await.unwrap();
    stage.until("the third is previewed", |s| at("preview")(s) && s.canary.as_ref().is_some_and(|c| c.name == "v3")).await;
    nothing_reaches(&stage, "v2", "preview").await;
    stage.until_phase("v3", Phase::Promoted).await;
    assert_eq!((stage.shares_of("v2"), stage.shares_of("v3")), (vec!["0 %".into(), "match".into(), "0 %".into()], owned(&SWITCHED)));
}

fn owned(shares: &[&str]) -> Vec<String> {
    shares.iter().map(|share| (*share).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_subset_that_is_pointed_at_other_pods_in_the_middle_starts_over_at_the_first_step() {
    for (seed, (step, manifest, whole)) in (222..).zip(in_the_middle()) {
        let stage = stage(seed, better(), &manifest("v2")).await;
        stage.until(step, at(step)).await;
        let first = stage.world.status().canary.unwrap().revision;
        let other = stage.world.deploy("v3", better());
        stage.seconds(5).await;
        let rules = stage.world.objects().list("destinationrules.networking.istio.io", "ml");
        let mut rule = Value::clone(rules.first().unwrap());
        let subsets = rule["spec"]["subsets"].as_array_mut().unwrap();
        subsets.retain(|subset| subset["name"] != "v3");
        subsets.iter_mut().find(|subset| subset["name"] == "v2").unwrap()["labels"]["version"] = "v3".into();
        stage.world.objects().put(rule).unwrap();
        let status = stage.until_phase("v2", Phase::Promoted).await;
        let stable = status.stable.unwrap();
        assert_eq!((stable.name.as_str(), &stable.revision), ("v2", &other), "{step}");
        assert_ne!(first, other, "{step}");
        let shares = stage.shares_of("v2");
        assert_eq!(shares[shares.len() - whole.len()..], owned(&whole), "{step}: from the first step on, {shares:?}");
        let begun = whole.iter().position(|share| *share == shares[shares.len() - whole.len() - 1]);
        assert!(begun.is_some() && shares.iter().filter(|share| *share == "0 %").count() == 2, "{step}: {shares:?}");
        assert!(!status.history.iter().any(|entry| entry.canary.revision == first && entry.outcome == haldane::api::Outcome::Promoted));
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_killed_in_the_middle_is_followed_by_one_that_skips_and_repeats_nothing() {
    for (seed, (step, manifest, whole)) in (225..).zip(in_the_middle()) {
        let mut stage = stage(seed, better(), &manifest("v2")).await;
        stage.until(step, at(step)).await;
        stage.seconds(3).await;
        stage.kill();
        stage.seconds(10).await;
        stage.control(false);
        stage.until_phase("v2", Phase::Promoted).await;
        assert_eq!(stage.shares_of("v2"), whole, "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_killed_as_another_build_comes_leaves_nothing_of_the_old_one() {
    for (seed, (step, manifest, whole)) in (228..).zip(in_the_middle()) {
        let mut stage = stage(seed, better(), &manifest("v2")).await;
        stage.until(step, at(step)).await;
        stage.kill();
        stage.world.deploy("v3", better());
        stage.world.apply(&manifest("v3")).await.unwrap();
        stage.seconds(5).await;
        stage.control(false);
        stage.until("the third is at its first step", |s| s.step.is_some() && s.canary.as_ref().is_some_and(|c| c.name == "v3")).await;
        nothing_reaches(&stage, "v2", step).await;
        stage.until_phase("v3", Phase::Promoted).await;
        assert_eq!(stage.shares_of("v3"), whole, "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_preview_route_that_somebody_removes_holds_the_switch_until_a_person_resumes() {
    let stage = stage(231, better(), &blue_green("v2")).await;
    stage.until("preview", at("preview")).await;
    let mut route = stage.world.virtual_service();
    route["spec"]["http"].as_array_mut().unwrap().retain(|route| route["name"] == "primary");
    stage.world.objects().put(route).unwrap();
    stage.seconds(60).await;
    assert_eq!(stage.world.status().phase, Some(Phase::Paused));
    assert_eq!(stage.shares_of("v2"), ["0 %", "match", "0 %"], "it does not switch without its preview");
    stage.say("resume", None).await;
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "match", "0 %", "match", "100 %"]);
}

#[tokio::test(start_paused = true)]
async fn more_copies_than_the_step_asks_for_are_removed_at_once() {
    let mut rollout = composed("v2");
    rollout.spec.strategy.steps.iter_mut().flatten().next().unwrap().mirror = Some(10);
    let stage = Stage::with(232, |config: &mut WorldConfig| config.rps = 1_000.0).await;
    let mut stage = stage;
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.apply(&rollout).await.unwrap();
    stage.until("shadow", at("shadow")).await;
    let mut route = stage.world.virtual_service();
    route["spec"]["http"][0]["mirrors"][0]["percentage"]["value"] = 100.into();
    stage.world.objects().put(route).unwrap();
    stage.seconds(2).await;
    assert_eq!(stage.shares_of("v2"), ["0 %", "mirror of 10 %", "mirror of 100 %", "mirror of 10 %"]);
    let told = stage.world.status().decision.unwrap();
    assert!(told.message.contains("somebody raised the canary's share"), "{}", told.message);
}
