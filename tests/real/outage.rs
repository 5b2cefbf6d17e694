//! Prometheus is away, or hangs.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    climb::{climb, stalled, until_ended},
    controller::{component, signal},
    load::{failed, from_version},
    promote::{baseline, condition},
    recorder::Recorder,
    world::{LATER, SOON, Shape, World, holds_alone, judged, root, story},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_prometheus_is_stopped_the_weight_is_held_and_afterwards_it_goes_on() {
    story("stopped", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        let load = world.load(150.0);
        baseline().await;
        let record = world.record().await;
        world.apply(&judged("6s"));
        world.until_weight(5, LATER).await;
        while_away(world, &record, "prometheus", "").await;
        until_ended(world, "Promoted").await;
        assert_eq!(climb(&record), ["0 %", "5 %", "20 %", "50 %", "100 %"]);
        assert!(failed(&load.stop().await).is_empty());
    })
    .await;
}

/// Stops a part of the stack for 25 s, right after a raise: the weight is held, the reason names the cause, and it continues with what comes after.
pub(super) async fn while_away(world: &World, record: &Recorder, part: &str, cause: &str) {
    let (down, before) = (Instant::now(), climb(record));
    let mut restart =
        Command::new(root("tests/stack/restart")).args([part, "TERM", "25"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let available = |r: &Value, status: &str| condition(r, "MetricsAvailable").is_some_and(|c| c["status"] == status);
    let said = |r: &Value| available(r, "False") && condition(r, "MetricsAvailable").unwrap()["message"].to_string().contains(cause);
    world.until("MetricsAvailable to be False", Duration::from_secs(22), said).await;
    tokio::time::sleep(Duration::from_secs(24).saturating_sub(down.elapsed())).await;
    assert!(before.starts_with(&climb(record)), "no decision without data: {:?}", record.shares());
    tokio::task::spawn_blocking(move || restart.wait()).await.unwrap().unwrap();
    world.until("MetricsAvailable to be True", SOON, |r| available(r, "True")).await;
}

/// A process that is stopped. Sends SIGCONT when it goes, whatever became of the story.
pub(super) struct Frozen(u32);

impl Frozen {
    /// Stops it.
    pub(super) fn new(pid: u32) -> Self {
        signal(pid, "STOP");
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_abort_while_prometheus_hangs_puts_everybody_on_stable_within_two_seconds() {
    story("hangs", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        let load = world.load(100.0);
        let record = world.record().await;
        let mut rollout = judged("60s");
        rollout["spec"]["strategy"]["canary"]["weights"] = serde_json::json!([50, 100]);
        world.apply(&rollout);
        world.until_weight(50, LATER).await; // what is learnt from stable first takes twenty windows
        world.until("the step in status", SOON, |r| r["status"]["step"]["weight"] == 50).await;
        let prometheus = Frozen::new(component("prometheus"));
        tokio::time::sleep(Duration::from_secs(6)).await; // at least one question is hanging
        let (ordered, stalls) = (Instant::now(), stalled());
        world.order("abort", "wrong model").await;
        world.until_phase("Aborted", Duration::from_secs(20)).await;
        let back = record.changes().last().copied().unwrap();
        assert_eq!(back.1, 0);
        println!("abort to patch: {:?}", back.0 - ordered);
        let most = Duration::from_secs(2) + (stalled() - stalls);
        assert!(back.0 - ordered < most, "it took {:?}", back.0 - ordered);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = load.between(back.0 + Duration::from_secs(1), Instant::now());
        assert!(!after.is_empty() && from_version(&after, "v2") == 0 && failed(&after).is_empty());
        drop(prometheus);
        world.until_alert("of the abort", SOON, |alert| alert.to_string().contains("wrong model")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_alertmanager_is_down_a_rollout_goes_on_and_is_reported_afterwards() {
    story("silent", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        let alertmanager = Frozen::new(component("alertmanager"));
        world.apply(&holds_alone("2s"));
        world.until_phase("Promoted", LATER).await;
        assert!(world.webhook.of(&world.namespace).is_empty());
        drop(alertmanager);
        world.until_alert("of the promotion", SOON, |alert| alert.to_string().contains("romoted")).await;
        world.until("an empty outbox", SOON, |r| r["status"]["outbox"].as_array().is_none_or(Vec::is_empty)).await;
    })
    .await;
}
