//! More than one controller.

use std::time::Duration;

use serde_json::json;

use super::world::{LATER, SOON, Shape, holds_alone, story};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_frozen_and_woken_writes_nothing_twice_and_raises_nothing_over_a_latch() {
    story("frozen", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let mut first = world.controller();
        let record = world.record().await;
        world.apply(&holds_alone("12s"));
        world.until("the first step", SOON, |r| r["status"]["step"]["weight"] == 5).await;
        let mut second = world.controller();
        tokio::time::sleep(Duration::from_secs(2)).await;
        first.signal("STOP"); // with its hold half over: it wakes with an intent to raise
        world.order("abort", "wrong model").await;
        world.until_phase("Aborted", SOON).await;
        let writes = record.seen().len();
        first.signal("CONT");
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(record.weights(), [0, 5, 0]);
        assert_eq!(record.seen().len(), writes, "nothing was written after the latch");
        assert!(second.running());
        // Whichever of the two leads now, it works: the same version again, because a person says so.
        world.order("retry", "it was the wrong model after all").await;
        world.until_weight(5, SOON).await;
        assert!(first.running() || second.running());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_terminated_leader_ends_within_ten_seconds_and_the_other_goes_on_at_once() {
    story("handover", async |world| {
        world.models(Shape::Gateway, &[]).await;
        let mut first = world.controller();
        let record = world.record().await;
        let mut rollout = holds_alone("4s");
        rollout["spec"]["strategy"]["canary"]["weights"] = json!([5, 50, 100]);
        world.apply(&rollout);
        world.until_weight(5, SOON).await;
        let second = world.controller();
        tokio::time::sleep(Duration::from_secs(2)).await;
        for path in ["/healthz", "/readyz"] {
            assert_eq!(second.get(path).await.map(|(status, _)| status), Some(200), "{path} of the replica that waits");
        }
        assert!(first.get("/metrics").await.is_some_and(|(status, text)| status == 200 && text.contains("haldane_")));
        let took = first.terminate();
        assert!(took < Duration::from_secs(10), "{took:?}");
        world.until_phase("Promoted", LATER).await;
        assert_eq!(record.weights(), [0, 5, 50, 100]);
    })
    .await;
}
