//! A canary with ready pods whose subset no proxy knows: few users get an error, and not for long.

use serde_json::json;

use super::{
    load::failed,
    promote::baseline,
    world::{LATER, Shape, pretty, rollout, story},
};

/// Requests a second.
const RATE: f64 = 200.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_canary_whose_subset_no_proxy_knows_is_rolled_back_on_what_the_gateway_counts() {
    story("unreached", async |world| {
        world.models(Shape::Gateway, &[]).await;
        // The gateway is in another namespace: it has the rule of v1 and not the one of v2.
        let stable = json!({"spec": {"subsets": [{"name": "v1", "labels": {"version": "v1"}}]}});
        world.kubectl(&["patch", "destinationrule", "fraud", "--type", "merge", "-p", &stable.to_string()]);
        world.apply(&json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "fraud-next"},
            "spec": {"host": "fraud", "exportTo": ["."], "subsets": [{"name": "v2", "labels": {"version": "v2"}}]},
        }));
        let _controller = world.controller();
        let load = world.load(RATE);
        baseline().await;
        let canary = json!({"canary": {"weights": [25, 100], "hold": "1m"}});
        world.apply(&rollout(canary, json!({"interval": "2s", "warmUp": "0s", "metrics": [{"errorRate": {}}]})));
        let ended = world.until_phase("RolledBack", LATER).await;
        let answers = load.stop().await;
        let decision = &ended["status"]["decision"];
        assert_eq!(decision["reason"], "NoWorkloadAnswered", "{}", pretty(decision));
        assert!(decision["message"].as_str().unwrap().contains("response_flags NC"), "{}", pretty(decision));
        // Until it is rolled back a quarter of the requests fail: a scrape, a baseline, a window and the lag, doubled for a busy machine.
        let lost = failed(&answers).len();
        assert!(lost > 0 && (lost as f64) < RATE * 0.25 * 24.0, "{lost} users got an error");
        assert_eq!(world.weight().await, 0);
    })
    .await;
}
