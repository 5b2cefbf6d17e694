//! A canary with ready pods whose subset no proxy knows together with stable's: no user gets an error.

use serde_json::{Value, json};

use super::{
    load::failed,
    promote::baseline,
    world::{LATER, Shape, rollout, story},
};

/// Requests a second.
const RATE: f64 = 200.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_canary_whose_subset_no_proxy_knows_beside_stables_is_refused_before_a_user_sees_it() {
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
        // Istio joins no rules that are exported otherwise: no proxy knows both subsets.
        let stalled = |rollout: &Value| {
            let conditions = rollout["status"]["conditions"].as_array().into_iter().flatten();
            conditions.clone().any(|one| one["type"] == "Stalled" && one["status"] == "True" && one["reason"] == "SubsetNotFound")
        };
        world.until("a subset that is not found", LATER, stalled).await;
        let answers = load.stop().await;
        assert_eq!(failed(&answers).len(), 0, "nobody got an error");
        assert_eq!(world.weight().await, 0);
    })
    .await;
}
