//! The Rollout is deleted.

use std::time::Duration;

use serde_json::json;

use super::load::failed;
use super::world::{LATER, SOON, Shape, holds_alone, story};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rollout_deleted_in_the_middle_leaves_the_virtual_service_as_it_was() {
    story("deleted", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let before = world.route().await;
        let _controller = world.controller();
        let load = world.load(100.0);
        let mut rollout = holds_alone("300s");
        rollout["spec"]["strategy"]["canary"]["weights"] = json!([20, 100]);
        world.apply(&rollout);
        world.until("the first step", SOON, |r| r["status"]["step"]["weight"] == 20).await;
        world.kubectl(&["delete", "rollouts.haldane.dev", "fraud", "--timeout=60s"]);
        let after = world.route().await;
        assert_eq!(after["spec"], before["spec"]);
        assert_eq!(after["metadata"]["annotations"].get("haldane.dev/managed"), None, "{}", after["metadata"]["annotations"]);
        assert!(failed(&load.stop().await).is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_promoted_rollout_is_deleted_without_the_controller_and_the_promotion_stays() {
    story("kept", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let mut controller = world.controller();
        world.apply(&holds_alone("2s"));
        world.until_phase("Promoted", LATER).await;
        world.until("no finalizer", SOON, |r| r["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)).await;
        controller.terminate();
        world.kubectl(&["delete", "rollouts.haldane.dev", "fraud", "--timeout=30s"]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(world.weight().await, 100);
    })
    .await;
}
