//! The controller, the canary or stable dies.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    controller::signal,
    load::failed,
    world::{LATER, SOON, Shape, holds_alone, story},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_controller_killed_at_each_step_skips_and_repeats_no_weight() {
    story("killed", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let record = world.record().await;
        let mut controller = world.controller();
        world.apply(&holds_alone("3s"));
        for weight in [5, 20, 50, 100] {
            world.until_weight(weight, SOON).await;
            controller.kill();
            controller = world.controller();
        }
        world.until_phase("Promoted", LATER).await;
        assert_eq!(record.weights(), [0, 5, 20, 50, 100]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_abort_of_a_killed_controller_is_finished_by_the_next_one() {
    story("finished", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let record = world.record().await;
        let mut controller = world.controller();
        world.apply(&holds_alone("60s"));
        world.until("the first step", SOON, |r| r["status"]["step"]["weight"] == 5).await;
        // Dead in the moment in which the traffic is back: status may not know it yet.
        world.order("abort", "wrong model").await;
        world.until_weight(0, SOON).await;
        controller.kill();
        let _next = world.controller();
        let rollout = world.until_phase("Aborted", SOON).await;
        assert_eq!(rollout["status"]["refused"][0]["revision"], rollout["status"]["canary"]["revision"]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(record.weights(), [0, 5, 0]);
        world.until_alert("of the abort", SOON, |alert| alert.to_string().contains("wrong model")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_canary_whose_only_process_is_killed_in_a_loop_gets_no_traffic_and_no_503_lasts() {
    story("looping", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let _controller = world.controller();
        let load = world.load(200.0);
        let record = world.record().await;
        let mut rollout = holds_alone("90s");
        rollout["spec"]["strategy"]["canary"]["weights"] = json!([20, 100]);
        world.apply(&rollout);
        world.until("the first step", SOON, |r| r["status"]["step"]["weight"] == 20).await;
        let begin = Instant::now();
        let mut killed = std::collections::BTreeSet::new();
        while begin.elapsed() < Duration::from_secs(25) {
            for pid in world.processes("v2") {
                if killed.insert(pid) {
                    signal(pid, "KILL");
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(record.weights(), [0, 20, 0], "lowered once, and not raised while it dies again and again");
        assert!(!killed.is_empty());
        let rollout = world.rollout().await.unwrap();
        assert!(rollout["status"].to_string().contains("CanaryUnavailable"), "{}", rollout["status"]);
        let calm = load.between(record.changes().last().unwrap().0 + Duration::from_secs(2), Instant::now());
        assert!(calm.len() > 500 && failed(&calm).is_empty(), "{} of {} failed", failed(&calm).len(), calm.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_abort_waits_for_a_stable_pod_and_is_finished_by_another_controller() {
    story("nowhere", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let mut controller = world.controller();
        let record = world.record().await;
        let mut rollout = holds_alone("300s");
        rollout["spec"]["strategy"]["canary"]["weights"] = json!([50, 100]);
        world.apply(&rollout);
        world.until("the first step", SOON, |r| r["status"]["step"]["weight"] == 50).await;
        world.kubectl(&["scale", "deployment/fraud-v1", "--replicas=0"]);
        world.kubectl(&["wait", "--for=delete", "pod", "-l", "version=v1", "--timeout=60s"]);
        world.order("abort", "wrong model").await;
        let rollout = world.until_phase("RollingBack", SOON).await;
        assert!(rollout["status"].to_string().contains("StableUnavailable"), "{}", rollout["status"]);
        world.until_alert("of a stable without pods", SOON, |alert| alert.to_string().contains("StableUnavailable")).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(record.weights(), [0, 50], "nobody is sent to where nobody answers");
        controller.kill();
        controller = world.controller();
        tokio::time::sleep(Duration::from_secs(4)).await;
        world.kubectl(&["scale", "deployment/fraud-v1", "--replicas=1"]);
        world.until_phase("Aborted", SOON).await;
        assert_eq!(record.weights(), [0, 50, 0]);
        assert!(controller.running());
    })
    .await;
}
