//! What cannot work is reported with its reason before anything is written, and starts automatically once it is fixed.

use haldane::api::{Phase, Reason, RolloutStatus};
use serde_json::{Value, json};

use crate::{
    stage::{Stage, better},
    strategies::shadow,
};

/// A Rollout on a VirtualService that was changed like this: the message with the reason, and the stage, on which nothing was written.
async fn told(seed: u64, why: Reason, change: impl Fn(&Stage, &mut Value)) -> (Stage, String) {
    let mut stage = Stage::with(seed, |_| {}).await;
    let mut route = stage.world.virtual_service();
    change(&stage, &mut route);
    stage.world.objects().put(route.clone()).unwrap();
    stage.control(false);
    stage.world.deploy("v2", better());
    stage.world.apply(&shadow("v2")).await.unwrap();
    let stalled = |s: &RolloutStatus| s.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True" && c.reason == why.as_str());
    let status = stage.until(why.as_str(), stalled).await;
    assert_eq!(status.phase, Some(Phase::Waiting), "{why}");
    let message = status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap().message.clone();
    stage.seconds(60).await;
    assert_eq!(stage.world.virtual_service()["spec"], route["spec"], "{why}: nothing is written");
    (stage, message)
}

#[tokio::test(start_paused = true)]
async fn two_virtual_services_for_one_host_start_nothing_until_one_is_gone() {
    let (stage, message) = told(241, Reason::HostShared, |stage, route| {
        let hosts = route["spec"]["hosts"].clone();
        let spec = json!({"hosts": hosts, "http": [{"route": [{"destination": {"host": "fraud"}}]}]});
        let metadata = json!({"name": "legacy", "namespace": "ml"});
        let other = json!({"apiVersion": route["apiVersion"], "kind": "VirtualService", "metadata": metadata, "spec": spec});
        stage.world.objects().put(other).unwrap();
    })
    .await;
    assert!(message.contains("VirtualService legacy is for host"), "{message}");
    stage.world.objects().remove("virtualservices.networking.istio.io", "ml", "legacy").unwrap();
    stage.until_phase("v2", Phase::Passed).await;
}

#[tokio::test(start_paused = true)]
async fn a_route_below_one_that_takes_every_request_starts_nothing() {
    let (_, message) = told(242, Reason::RouteUnreachable, |_, route| {
        let catch_all = json!({"name": "first", "route": [{"destination": {"host": "other"}}]});
        route["spec"]["http"].as_array_mut().unwrap().insert(0, catch_all);
    })
    .await;
    assert!(message.contains("http route first of VirtualService fraud stands above route primary"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn weights_in_a_delegate_are_named() {
    let (_, message) = told(243, Reason::RouteDelegated, |_, route| {
        route["spec"]["http"] = json!([{"name": "primary", "delegate": {"name": "fraud-weights"}}]);
    })
    .await;
    assert!(message.contains("name it in spec.traffic.virtualService"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_service_of_another_namespace_is_named() {
    let (_, message) = told(244, Reason::HostElsewhere, |_, route| {
        route["spec"]["http"][0]["route"][0]["destination"]["host"] = "fraud.prod.svc.cluster.local".into();
    })
    .await;
    assert!(message.contains("fraud.prod.svc.cluster.local, which is no Service of namespace ml"), "{message}");
}
