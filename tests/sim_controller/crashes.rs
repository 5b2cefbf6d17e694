//! Faults at the API server, and controllers that die: no weight is skipped, none is raised over a rollback.

use std::time::Duration;

use haldane::{
    api::Phase,
    sim::{
        apiserver::Verb,
        faults::{Fault, Rule},
    },
};
use serde_json::json;

use crate::stage::{Stage, better, rollout};

/// Two steps, short holds: few writes, and each of them can be the one.
fn short() -> haldane::api::Rollout {
    rollout("v2", json!({"strategy": {"canary": {"weights": [50, 100], "hold": "8s"}}}))
}

async fn lives_with(seed: u64, fault: Fault) {
    let name = format!("{fault:?}");
    let mut stage = Stage::set(seed).await;
    let armed = stage.world.api().faults().add(Rule::on_write(fault).agent("replica").every(2).times(40));
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100], "{name}");
    assert!(armed.hits() >= 8, "{name}: {} faults", armed.hits());
}

#[tokio::test(start_paused = true)]
async fn every_second_write_may_be_lost() {
    lives_with(31, Fault::DropBefore).await;
    lives_with(31, Fault::DropAfter).await;
}

#[tokio::test(start_paused = true)]
async fn every_second_write_may_be_refused() {
    lives_with(32, Fault::conflict()).await;
    lives_with(32, Fault::internal()).await;
    lives_with(32, Fault::denied(422, "not now")).await;
}

#[tokio::test(start_paused = true)]
async fn every_second_write_may_be_slowed_down() {
    lives_with(33, Fault::too_many(3600)).await;
    lives_with(33, Fault::unavailable()).await;
    lives_with(33, Fault::Delay(Duration::from_secs(3))).await;
}

#[tokio::test(start_paused = true)]
async fn every_second_write_may_hang() {
    lives_with(34, Fault::Hang).await;
    lives_with(34, Fault::HangAfter).await;
}

#[tokio::test(start_paused = true)]
async fn reads_may_be_old() {
    let mut stage = Stage::set(35).await;
    for resource in ["rollouts.haldane.dev", "virtualservices.networking.istio.io"] {
        stage.world.api().faults().add(Rule::on(Verb::Get, resource, Fault::Stale(4)).agent("replica").every(2).forever());
    }
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    stage.until_phase("v2", Phase::Promoted).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}

/// The controller dies at its n-th write, before or after it is stored; another one continues.
async fn dies_at(n: u64, after: bool, good: bool) -> bool {
    let mut stage = Stage::with(40 + n, |c| c.history = Duration::from_secs(120)).await;
    let fault = if after { Fault::HangAfter } else { Fault::Hang };
    let mut struck = stage.world.api().faults().add(Rule::on_write(fault).agent("replica-1").from(n));
    stage.control(false);
    stage.world.deploy("v2", if good { better() } else { better().with_errors(0.2) });
    stage.world.apply(&short()).await.unwrap();
    let ended = |s: &haldane::api::RolloutStatus| matches!(s.phase, Some(Phase::Promoted | Phase::RolledBack));
    let died = tokio::select! {
        () = struck.struck(1) => true,
        _ = stage.until("ended", ended) => false,
    };
    if died {
        stage.kill();
        stage.seconds(3).await;
        stage.control(false);
    }
    let case = format!("write {n}, after {after}, good {good}");
    if good {
        stage.until_phase("v2", Phase::Promoted).await;
        assert_eq!(stage.weights_of("v2"), [0, 50, 100], "{case}");
    } else {
        stage.until_phase("v2", Phase::RolledBack).await;
        stage.seconds(30).await;
        assert_eq!(stage.weights_of("v2"), [0, 50, 0], "{case}");
    }
    died
}

async fn dies_at_each(after: bool, good: bool) {
    let mut n = 1;
    while dies_at(n, after, good).await {
        n += 1;
        assert!(n < 60, "as many writes as that for two steps");
    }
    assert!(n > 6, "only {n} writes");
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_write_of_a_promotion_skips_and_repeats_nothing() {
    dies_at_each(true, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_any_write_of_a_promotion_skips_and_repeats_nothing() {
    dies_at_each(false, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_write_loses_no_rollback() {
    dies_at_each(true, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_any_write_loses_no_rollback() {
    dies_at_each(false, false).await;
}

#[tokio::test(start_paused = true)]
async fn a_raise_that_another_process_decided_is_made_on_a_fresh_read_of_the_rollout() {
    let mut stage = Stage::set(37).await;
    let hang = Rule::on(Verb::Patch, "virtualservices.networking.istio.io", Fault::Hang).agent("replica-1");
    let mut struck = stage.world.api().faults().add(hang);
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    struck.struck(1).await;
    stage.kill();
    stage.control(false);
    stage.until("at 5 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 5)).await;
    let log = stage.world.api().faults().log();
    let by = |name: &str| -> Vec<(&'static str, String)> {
        let own = log.iter().filter(|r| r.user_agent == name && (r.verb == Verb::Get || r.verb.writes()));
        own.map(|r| (r.verb.as_str(), format!("{}/{}", r.resource.split('.').next().unwrap(), r.subresource))).collect()
    };
    let raise = [("get", "virtualservices/".to_owned()), ("patch", "virtualservices/".to_owned())];
    let mut first = by("replica-1");
    first.retain(|(_, resource)| resource != "events/");
    assert!(
        first.ends_with(&raise) && !first.contains(&("get", "rollouts/".to_owned())),
        "the answer to its own write was newer: {first:?}"
    );
    assert_eq!(by("replica-2")[..3], [[("get", "rollouts/".to_owned())].as_slice(), &raise].concat()[..], "nothing else comes before");
}

#[tokio::test(start_paused = true)]
async fn of_two_replicas_one_acts_and_the_other_takes_over() {
    let mut stage = Stage::set(36).await;
    stage.control(true);
    stage.seconds(5).await;
    stage.control(true);
    stage.world.deploy("v2", better());
    stage.apply("v2").await;
    stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
    let faults = stage.world.api().faults();
    let by = |name: &str| {
        let log = faults.log();
        log.iter().filter(|r| r.user_agent == name && r.verb == Verb::Patch && r.resource.starts_with("virtualservices")).count()
    };
    assert_eq!((by("replica-1"), by("replica-2")), (2, 0));
    // The leader is frozen; when it wakes its requests come through again, and it has lost.
    let frozen = faults.add(Rule::always(Fault::Hang).agent("replica-1"));
    stage.until_phase("v2", Phase::Promoted).await;
    assert!(by("replica-2") >= 2);
    faults.remove(&frozen);
    stage.seconds(60).await;
    assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100]);
}
