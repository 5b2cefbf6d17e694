//! How large a status gets: the API server stores it with every write, and etcd keeps old ones.

use haldane::{
    api::{Phase, RolloutStatus},
    sim::traffic::Behaviour,
};
use serde_json::json;

use crate::stage::{Stage, rollout};

/// Bound of the design.
const MOST: usize = 32 * 1024;

fn classes() -> Vec<(String, f64)> {
    (0..24).map(|class| (format!("product-category-{class:02}"), 1.0 / f64::from(class + 3))).collect()
}

fn behaviour() -> Behaviour {
    let classes = classes();
    let named: Vec<(&str, f64)> = classes.iter().map(|(name, share)| (name.as_str(), *share)).collect();
    Behaviour::default().with_classes(&named)
}

fn bytes(status: &RolloutStatus) -> usize {
    serde_json::to_string(status).unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn a_status_of_three_metrics_twenty_buckets_and_24_classes_stays_below_32_kib() {
    let mut stage = Stage::with(61, |config| config.rps = 3000.0).await;
    stage.world.behave("v1", behaviour());
    // Nobody takes the alerts: they wait in the status.
    stage.world.alerts().answer_with(503);
    stage.control(false);
    stage.seconds(300).await;
    // Five that are rolled back fill the history, the refused revisions and the newest decision.
    for round in 0..5 {
        stage.world.deploy("v2", behaviour().with_errors(0.10));
        stage.apply("v2").await;
        stage.until("rolled back", |s| s.history.len() == round + 1 && s.phase == Some(Phase::RolledBack)).await;
    }
    stage.world.deploy("v2", behaviour().with_errors(0.0005));
    stage.world.apply(&rollout("v2", json!({"strategy": {"canary": {"hold": "40s"}}}))).await.unwrap();
    let status = stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20) && s.evidence.len() == 3).await;
    stage.seconds(30).await;
    let now = stage.world.status();
    let most = bytes(&status).max(bytes(&now));
    let part = |name: &str| serde_json::to_value(&now).unwrap().get(name).map_or(0, |part| part.to_string().len());
    let parts: Vec<_> =
        ["checkpoint", "evidence", "decision", "history", "refused", "outbox", "conditions"].map(|name| (name, part(name))).into();
    println!("{most} bytes: {parts:?}");
    assert!(now.evidence.iter().any(|metric| metric.distances.is_some()), "{:?}", now.evidence);
    assert!(now.outbox.len() >= 10, "{} alerts wait", now.outbox.len());
    assert!(most < MOST, "{most} bytes: {parts:?}");
}
