//! A manifest with faults moves nothing.

use std::time::Duration;

use serde_json::json;

use super::{
    promote::condition,
    world::{SOON, Shape, holds_alone, rollout, story},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_api_server_refuses_a_wrong_manifest_with_all_its_faults() {
    story("wrong", async |world| {
        let analysis = json!({ "interval": "500h", "metrics": [{}, { "drift": { "counter": "c", "histogram": "h" } }] });
        let wrong = rollout(json!({ "canary": { "weights": [20, 5, 90] }, "steps": [{ "weight": 50 }] }), analysis);
        let output = world.try_apply(&wrong);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        for part in [
            "spec.strategy: ",
            "spec.strategy.canary.weights: ",
            "must be strictly increasing",
            "the last weight must be 100",
            "spec.strategy.steps: ",
            "spec.analysis.interval: ",
            "spec.analysis.metrics[0]: ",
            "spec.analysis.metrics[1].drift: ",
        ] {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_only_the_controller_can_know_is_shown_in_one_condition_and_moves_nothing() {
    story("unknown", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        let record = world.record().await;
        let mut wrong = holds_alone("2s");
        wrong["spec"]["analysis"] = json!({ "prometheus": "nowhere" });
        wrong["spec"]["alerts"] = json!(["nobody"]);
        world.apply(&wrong);
        let rollout = world.until("Stalled", SOON, |r| condition(r, "Stalled").is_some_and(|c| c["status"] == "True")).await;
        let message = condition(&rollout, "Stalled").unwrap()["message"].as_str().unwrap().to_owned();
        for part in ["spec.analysis.prometheus", "nowhere", "spec.alerts", "nobody", "default"] {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(record.seen().len(), 1, "nothing was written to the VirtualService");
        // Mended, it starts.
        world.edit(json!({ "spec": { "analysis": { "prometheus": "default", "metrics": [] }, "alerts": ["default"] } })).await;
        world.until_weight(5, SOON).await;
    })
    .await;
}
