//! What a namespace has beside a model: a quota, limits, a disruption budget, policies of the mesh, faults that somebody injects.

use serde_json::{Value, json};

use super::world::World;

/// Applies all of it, before the model: limits count for Pods that come later.
pub(super) fn furnish(world: &World) {
    let namespace = &world.namespace;
    let object = |version: &str, kind: &str, spec: Value| json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "beside", "namespace": namespace }, "spec": spec });
    let quota = json!({ "hard": { "pods": "6", "requests.cpu": "4", "requests.nvidia.com/gpu": "0" } });
    let limits = json!({ "limits": [{ "type": "Container", "defaultRequest": { "cpu": "100m" }, "default": { "cpu": "1" } }] });
    let budget = json!({ "maxUnavailable": 1, "selector": { "matchLabels": { "app": "fraud" } } });
    let inward = json!({ "podSelector": { "matchLabels": { "app": "fraud" } }, "policyTypes": ["Ingress"], "ingress": [{}] });
    let allowed = json!({
        "selector": { "matchLabels": { "app": "fraud" } }, "action": "ALLOW",
        "rules": [{ "to": [{ "operation": { "methods": ["GET", "POST"] } }] }],
    });
    for object in [
        object("v1", "ResourceQuota", quota),
        object("v1", "LimitRange", limits),
        object("policy/v1", "PodDisruptionBudget", budget),
        object("networking.k8s.io/v1", "NetworkPolicy", inward),
        object("security.istio.io/v1", "AuthorizationPolicy", allowed),
    ] {
        world.apply(&object);
    }
}

/// A circuit breaker for the host, and a delay for one request in fifty of both versions.
pub(super) async fn break_and_delay(world: &World) {
    let policy = json!({
        "connectionPool": { "http": { "http1MaxPendingRequests": 64, "http2MaxRequests": 256 } },
        "outlierDetection": { "consecutive5xxErrors": 5, "interval": "5s", "baseEjectionTime": "5s", "maxEjectionPercent": 50 },
    });
    world.kubectl(&[
        "patch",
        "destinationrule",
        "fraud",
        "--type=merge",
        "-p",
        &json!({ "spec": { "trafficPolicy": policy } }).to_string(),
    ]);
    let delay = json!([{ "op": "add", "path": "/spec/http/1/fault", "value": { "delay": { "percentage": { "value": 2 }, "fixedDelay": "0.05s" } } }]);
    world.patch_virtual_service("somebody", delay).await;
}
