//! Others write the weights too: people, and tools that apply what git says.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    promote::condition,
    world::{SOON, Shape, World, holds_alone, run, story},
};

/// Waits at 20 %, without an end.
async fn at_twenty(world: &World) {
    world.models(Shape::Gateway, &[]).await;
    let mut rollout = holds_alone("300s");
    rollout["spec"]["strategy"]["canary"]["weights"] = json!([20, 100]);
    world.apply(&rollout);
    world.until("the first step", SOON, |r| r["status"]["step"]["weight"] == 20).await;
}

pub(super) fn paused_for(rollout: &Value, reason: &str) -> bool {
    rollout["status"]["phase"] == "Paused" && condition(rollout, "Paused").is_some_and(|c| c["status"] == "True" && c["reason"] == reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_weight_lowered_by_hand_is_not_raised_again_without_resume() {
    story("lowered", async |world| {
        let _controller = world.controller();
        at_twenty(world).await;
        let record = world.record().await;
        world.set_weights("kubectl-edit", 93, 7).await;
        let rollout = world.until("Paused(ManualOverride)", SOON, |r| paused_for(r, "ManualOverride")).await;
        assert!(rollout["status"].to_string().contains("haldane resume"), "a hold names the command that ends it: {}", rollout["status"]);
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(record.weights(), [20, 7]);
        world.order("resume", "checked").await;
        world.until_weight(20, SOON).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(record.weights(), [20, 7, 20], "back at the present step, nothing skipped");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_weight_raised_by_hand_is_lowered_at_once_also_after_an_abort() {
    story("raised", async |world| {
        let _controller = world.controller();
        at_twenty(world).await;
        let record = world.record().await;
        world.set_weights("kubectl-edit", 10, 90).await;
        world.until_weight(20, SOON).await;
        world.order("abort", "wrong model").await;
        world.until_phase("Aborted", SOON).await;
        world.set_weights("kubectl-edit", 40, 60).await;
        world.until_weight(0, SOON).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(record.weights(), [20, 90, 20, 0, 60, 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_applier_that_forces_its_weights_is_reported_and_not_fought() {
    story("contended", async |world| {
        let _controller = world.controller();
        at_twenty(world).await;
        let mut git = world.route().await;
        git["metadata"] = json!({ "name": "fraud", "namespace": world.namespace });
        git.as_object_mut().unwrap().remove("status");
        for (index, weight) in [(0, 100), (1, 0)] {
            git["spec"]["http"][1]["route"][index]["weight"] = json!(weight);
        }
        let record = world.record().await;
        let sync = || {
            let args = ["apply", "--server-side", "--force-conflicts", "--field-manager=argocd-controller", "-f", "-"];
            let output = run("kubectl", &args, &git.to_string());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        sync();
        world.until("Paused(Contended)", SOON, |r| paused_for(r, "Contended")).await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            sync();
        }
        assert_eq!(record.weights(), [20, 0], "git's weights stand");
        world.until_alert("that names the applier", SOON, |alert| alert.to_string().contains("argocd-controller")).await;
    })
    .await;
}
