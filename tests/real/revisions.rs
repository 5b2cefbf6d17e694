//! The pods or the wish change.

use std::time::Duration;

use serde_json::json;

use super::world::{LATER, SOON, Shape, holds_alone, pretty, story};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_version_redeployed_in_the_middle_starts_again_at_the_first_step() {
    story("redeployed", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        let record = world.record().await;
        world.apply(&holds_alone("4s"));
        let first = world.until("the second step", SOON, |r| r["status"]["step"]["weight"] == 20).await;
        world.redeploy("fraud-v2", &[("BUILD", "2")]).await;
        let last = world.until_phase("Promoted", LATER).await;
        assert_eq!(record.weights(), [0, 5, 20, 0, 5, 20, 50, 100]);
        assert_ne!(first["status"]["canary"]["revision"], last["status"]["stable"]["revision"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_of_the_promoted_version_moves_nothing_and_is_reported() {
    story("restarted", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        world.apply(&holds_alone("2s"));
        let before = world.until_phase("Promoted", LATER).await;
        tokio::time::sleep(Duration::from_secs(3)).await; // whatever is still to be written
        let record = world.record().await;
        world.kubectl(&["rollout", "restart", "deployment/fraud-v2"]);
        world.ready("fraud-v2").await;
        let after = world
            .until("the new revision in status", SOON, |r| {
                let revision = &r["status"]["stable"]["revision"];
                revision.is_string() && *revision != before["status"]["stable"]["revision"]
            })
            .await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(record.seen().len(), 1, "nothing was written to the VirtualService");
        assert_eq!(world.weight().await, 100);
        assert_eq!(after["status"]["epoch"], before["status"]["epoch"], "{}", pretty(&after["status"]));
        let events = world.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
        assert!(events.contains("StableRedeployed"), "{events}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_spec_set_back_to_what_is_stable_is_an_abort() {
    story("setback", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        let record = world.record().await;
        let mut rollout = holds_alone("300s");
        rollout["spec"]["strategy"]["canary"]["weights"] = json!([20, 100]);
        world.apply(&rollout);
        world.until("the first step", SOON, |r| r["status"]["step"]["weight"] == 20).await;
        world.edit(json!({ "spec": { "canary": { "subset": "v1" } } })).await;
        world.until_weight(0, SOON).await;
        let rollout =
            world.until("v1 to be stable", SOON, |r| ["Aborted", "Idle"].iter().any(|phase| r["status"]["phase"] == *phase)).await;
        assert_eq!(rollout["status"]["stable"]["subset"], "v1");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(record.weights(), [0, 20, 0]);
    })
    .await;
}
