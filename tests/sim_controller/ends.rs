//! States that alerted and have ended: a receiver that can close an alert is notified.

use haldane::{
    api::{Phase, Rollout},
    config::{CloudEventsSink, Config, HttpAccess, Sink},
    sim::{prometheus::Mode, traffic::Behaviour},
};
use kube::{Api, api::DeleteParams};
use serde_json::json;

use crate::stage::{Stage, better, rollout};

/// A stage whose alerts are CloudEvents.
async fn stage(seed: u64, v2: Behaviour) -> Stage {
    let mut stage = Stage::set(seed).await;
    let url = stage.world.alerts().webhook();
    let events = CloudEventsSink { url, mode: Default::default(), source: None, access: HttpAccess::default() };
    stage.control_configured(|config: &mut Config| config.alerts = [("default".to_owned(), Sink::CloudEvents(events))].into());
    stage.seconds(300).await;
    stage.world.deploy("v2", v2);
    stage
}

/// Type and reason of each event so far, with the key that it is the end of.
fn events(stage: &Stage) -> Vec<(String, String, String)> {
    let header = |headers: &[(String, String)], name: &str| headers.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let one = |delivery: haldane::sim::alerts::Delivery| {
        let word = header(&delivery.headers, "ce-type").replace("dev.haldane.rollout.", "").replace(".v1", "");
        (word, delivery.body["record"]["reason"].as_str().unwrap().to_owned(), header(&delivery.headers, "ce-id"))
    };
    stage.world.alerts().received().into_iter().map(one).collect()
}

async fn until_event(stage: &Stage, word: &str, reason: &str) -> String {
    for _ in 0..1200 {
        if let Some((.., id)) = events(stage).into_iter().find(|(known, why, _)| known == word && why == reason) {
            return id;
        }
        stage.seconds(1).await;
    }
    panic!("no {word} {reason}: {:?}", events(stage));
}

#[tokio::test(start_paused = true)]
async fn metrics_that_come_back_end_the_alert_that_they_were_missing() {
    let stage = stage(401, better()).await;
    stage.world.apply(&rollout("v2", json!({"strategy": {"canary": {"hold": "40s"}}}))).await.unwrap();
    stage.until("at 5 %", |status| status.step.as_ref().is_some_and(|step| step.weight == 5)).await;
    stage.world.prometheus().set_mode(Mode::Down);
    let begun = until_event(&stage, "held", "MetricsUnavailable").await;
    stage.seconds(120).await;
    assert!(!events(&stage).iter().any(|(word, ..)| word == "recovered"), "{:?}", events(&stage));
    assert_eq!(stage.world.status().alerting.len(), 1);
    stage.world.prometheus().set_mode(Mode::Up);
    assert_eq!(until_event(&stage, "recovered", "MetricsUnavailable").await, format!("{begun}/ended"));
    stage.until_phase("v2", Phase::Promoted).await;
    stage.seconds(60).await;
    let status = stage.world.status();
    assert!(status.alerting.is_empty() && status.outbox.is_empty(), "{:?} {:?}", status.alerting, status.outbox);
    let ends = events(&stage).iter().filter(|(word, ..)| word == "recovered").count();
    assert_eq!(ends, 1, "{:?}", events(&stage));
}

#[tokio::test(start_paused = true)]
async fn an_approval_and_an_abort_end_what_asked_for_a_person() {
    for (seed, verb, end) in [(402, "promote", Phase::Promoted), (403, "abort", Phase::Aborted)] {
        let stage = stage(seed, better()).await;
        let steps = json!([{"name": "few", "weight": 5, "hold": "8s"}, {"name": "all", "weight": 100, "hold": "8s", "approval": true}]);
        let spec = json!({"strategy": {"canary": null, "steps": steps}});
        stage.world.apply(&rollout("v2", spec)).await.unwrap();
        let begun = until_event(&stage, "paused", "ApprovalRequired").await;
        stage.say(verb, None).await;
        assert_eq!(until_event(&stage, "recovered", "ApprovalRequired").await, format!("{begun}/ended"));
        stage.until_phase("v2", end).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_is_deleted_ends_its_open_alerts() {
    let stage = stage(404, better()).await;
    let steps = json!([{"name": "few", "weight": 5, "hold": "8s"}, {"name": "all", "weight": 100, "hold": "8s", "approval": true}]);
    stage.world.apply(&rollout("v2", json!({"strategy": {"canary": null, "steps": steps}}))).await.unwrap();
    let begun = until_event(&stage, "paused", "ApprovalRequired").await;
    stage.seconds(5).await;
    let api: Api<Rollout> = Api::default_namespaced(stage.world.client());
    api.delete("fraud", &DeleteParams::default()).await.unwrap();
    assert_eq!(until_event(&stage, "recovered", "ApprovalRequired").await, format!("{begun}/ended"));
    stage.seconds(120).await;
    let ends = events(&stage).iter().filter(|(word, ..)| word == "recovered").count();
    assert_eq!(ends, 1, "{:?}", events(&stage));
}
