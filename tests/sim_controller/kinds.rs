//! The same rollouts where each version has a Service of its own: in a VirtualService, an HTTPRoute and a GRPCRoute.

use std::time::Duration;

use haldane::{
    api::{Phase, Reason, Rollout, RolloutStatus},
    sim::{
        APP, RouteKind, WorldConfig,
        faults::{Fault, Rule, Verb},
        mesh::{conditions::Refusal, routes::Cohort},
        traffic::{Behaviour, Lost},
    },
};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use crate::{
    stage::{Stage, better, rollout},
    strategies::beta,
};

const KINDS: [RouteKind; 3] = [RouteKind::Services, RouteKind::HttpRoute, RouteKind::GrpcRoute];

/// The manifest for a kind of route, with a strategy.
fn manifest(kind: RouteKind, version: &str, strategy: Value) -> Rollout {
    let field = match kind {
        RouteKind::Subsets | RouteKind::Services => "virtualService",
        RouteKind::HttpRoute => "httpRoute",
        RouteKind::GrpcRoute => "grpcRoute",
    };
    let mut strategy = strategy;
    if strategy.get("canary").is_none() {
        strategy["canary"] = Value::Null;
    }
    let traffic = json!({"virtualService": null, (field): "fraud"});
    rollout("v1", json!({"traffic": traffic, "canary": {"subset": null, "service": kind.arm(APP, version)}, "strategy": strategy}))
}

fn weights() -> Value {
    json!({"canary": {"hold": "10s"}})
}

async fn stage(kind: RouteKind, seed: u64) -> Stage {
    let change = |config: &mut WorldConfig| {
        config.route = kind;
        config.cohorts = vec![Cohort::with_header(0.10, "x-user-group", "beta")];
    };
    let mut stage = Stage::with(seed, change).await;
    stage.control(false);
    stage
}

async fn begin(kind: RouteKind, seed: u64, behaviour: Behaviour, strategy: Value) -> Stage {
    let stage = stage(kind, seed).await;
    stage.world.deploy("v2", behaviour);
    stage.world.apply(&manifest(kind, "v2", strategy)).await.unwrap();
    stage
}

/// What users wrote: the spec, without what the server and we keep beside it.
fn spec(stage: &Stage) -> Value {
    stage.world.route()["spec"].clone()
}

/// The traffic that the weights of v1 and v2 give within the time since both were told, as a share of v2's.
fn served(stage: &Stage) -> (u64, u64) {
    let served = stage.world.served();
    let of = |version: &str| served.get(version).map_or(0, |served| served.requests);
    (of("v1"), of("v2"))
}

#[tokio::test(start_paused = true)]
async fn a_healthy_version_with_a_service_of_its_own_is_promoted_and_the_next_is_compared_with_it() {
    for (seed, kind) in (200..).zip(KINDS) {
        let stage = begin(kind, seed, better(), weights()).await;
        let status = stage.until_phase("v2", Phase::Promoted).await;
        assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100], "{kind:?}");
        let stable = status.stable.unwrap();
        assert_eq!((stable.name.as_str(), stable.subset), ("fraud-v2", None), "{kind:?}");
        assert!(!stage.world.served().contains_key(""), "{kind:?}: no request found nobody");
        stage.world.deploy("v3", Behaviour::default().with_errors(0.05));
        stage.world.apply(&manifest(kind, "v3", weights())).await.unwrap();
        let status = stage.until_phase("v3", Phase::RolledBack).await;
        assert_eq!((stage.weights_of("v3"), status.stable.unwrap().name.as_str()), (vec![0, 5, 0], "fraud-v2"), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_split_that_users_see_is_the_one_that_the_route_has() {
    for (seed, kind) in (210..).zip(KINDS) {
        let stage = begin(kind, seed, better(), json!({"canary": {"weights": [20, 100], "hold": "2m"}})).await;
        stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
        stage.seconds(2).await;
        let before = served(&stage);
        stage.seconds(60).await;
        let after = served(&stage);
        let (stable, canary) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
        let (n, share) = (stable + canary, canary / (stable + canary));
        // Three and a third standard deviations: a hold of a thousand such stories would leave it once.
        let band = 3.29 * (0.2 * 0.8 / n).sqrt();
        assert!(n > 10_000.0 && (share - 0.2).abs() < band, "{kind:?}: {share} of {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_erring_version_with_a_service_of_its_own_is_rolled_back_at_its_first_step() {
    for (seed, kind) in (220..).zip(KINDS) {
        let before = stage(kind, seed).await;
        let spec_before = spec(&before);
        before.world.deploy("v2", Behaviour::default().with_errors(0.10));
        before.world.apply(&manifest(kind, "v2", weights())).await.unwrap();
        let status = before.until_phase("v2", Phase::RolledBack).await;
        assert_eq!(before.weights_of("v2"), [0, 5, 0], "{kind:?}");
        assert_eq!(status.decision.unwrap().reason, Reason::AnalysisFailed, "{kind:?}");
        assert_eq!(spec(&before), spec_before, "{kind:?}: both versions were in the route, at 100 and 0");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_reaches_no_user_and_a_cohort_alone_gets_the_canary() {
    for (seed, kind) in (230..).zip(KINDS) {
        let shadow = json!({"shadow": {"percent": 100, "acknowledgeSideEffects": true, "hold": "10s"}});
        let manifest_of = |strategy: Value| manifest(kind, "v2", strategy);
        let stage = stage(kind, seed).await;
        let before = spec(&stage);
        stage.world.deploy("v2", better());
        stage.world.apply(&manifest_of(shadow)).await.unwrap();
        stage.until_phase("v2", Phase::Passed).await;
        assert_eq!(stage.shares_of("v2"), ["0 %", "mirror of 100 %", "0 %"], "{kind:?}");
        let served = stage.world.served();
        assert!(served["v2"].requests == 0 && served["v2"].mirrored > 1_000, "{kind:?}: {:?}", served["v2"]);
        assert_eq!(spec(&stage), before, "{kind:?}");
        let api: Api<Rollout> = Api::default_namespaced(stage.world.client());
        api.delete("fraud", &DeleteParams::default()).await.unwrap();
        stage.seconds(5).await;
        stage.world.apply(&manifest_of(json!({"abTest": {"match": beta(), "hold": "10s", "then": "Revert"}}))).await.unwrap();
        stage.until_phase("v2", Phase::Passed).await;
        assert_eq!(stage.shares_of("v2")[2..], ["0 %", "match", "0 %"], "{kind:?}");
        let served = stage.world.served();
        assert!(served["v2"].requests > 1_000 && served["v2"].requests < served["v1"].requests / 5, "{kind:?}: {:?}", served["v2"]);
        assert_eq!(spec(&stage), before, "{kind:?}: our rule is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_switch_loses_no_request_and_can_be_rolled_back() {
    for (seed, kind) in (240..).zip(KINDS) {
        let stage = begin(kind, seed, better(), json!({"blueGreen": {"preview": beta(), "hold": "10s", "bake": "10s"}})).await;
        stage.until_phase("v2", Phase::Promoted).await;
        assert_eq!(stage.shares_of("v2"), ["0 %", "match", "100 %"], "{kind:?}");
        assert!(!stage.world.served().contains_key(""), "{kind:?}: no request found nobody");
        stage.say("rollback", None).await;
        let status = stage.until_phase("v2", Phase::RolledBack).await;
        assert_eq!((stage.weights_of("v2"), status.stable.unwrap().name.as_str()), (vec![0, 100, 0], "fraud-v1"), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abort_and_a_delete_leave_the_object_as_it_was() {
    for (seed, kind) in (250..).zip(KINDS) {
        let strategy = json!({"steps": [{"name": "few", "weight": 5, "match": beta(), "mirror": 20, "acknowledgeSideEffects": true, "hold": "10m"}, {"name": "all", "weight": 100, "hold": "8s"}]});
        let stage = stage(kind, seed).await;
        let before = stage.world.route();
        stage.world.deploy("v2", better());
        stage.world.apply(&manifest(kind, "v2", strategy)).await.unwrap();
        stage.until("at its step", |s| s.step.as_ref().is_some_and(|step| step.name == "few")).await;
        assert_eq!(stage.shares_of("v2"), ["0 %", "5 % + match + mirror of 20 %"], "{kind:?}");
        stage.say("abort", None).await;
        stage.until_phase("v2", Phase::Aborted).await;
        assert_eq!(spec(&stage), before["spec"], "{kind:?}");
        let api: Api<Rollout> = Api::default_namespaced(stage.world.client());
        api.delete("fraud", &DeleteParams::default()).await.unwrap();
        stage.seconds(5).await;
        let after = stage.world.route();
        assert_eq!((&after["spec"], &after["metadata"]["annotations"]), (&before["spec"], &before["metadata"]["annotations"]), "{kind:?}");
        assert!(stage.world.rollout().is_none(), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_errors_of_a_dead_service_count_against_the_canary() {
    for (seed, kind) in (260..).zip(KINDS) {
        let stage = stage(kind, seed).await;
        stage.world.deploy("v2", better());
        stage.world.lose("v2", Some(Lost::NoEndpoint));
        stage.world.apply(&manifest(kind, "v2", json!({"canary": {"weights": [25, 100], "hold": "10s"}}))).await.unwrap();
        let status = stage.until_phase("v2", Phase::RolledBack).await;
        assert_eq!(stage.weights_of("v2"), [0, 25, 0], "{kind:?}");
        let decision = status.decision.unwrap();
        assert_eq!(decision.reason, Reason::NoWorkloadAnswered, "{kind:?}: {}", decision.message);
        assert!(decision.message.contains("fraud-v2"), "{kind:?}: {}", decision.message);
    }
}

#[tokio::test(start_paused = true)]
async fn pods_that_go_away_take_the_share_with_them() {
    for (seed, kind) in (270..).zip(KINDS) {
        let stage = begin(kind, seed, better(), json!({"canary": {"weights": [25, 100], "hold": "10m"}})).await;
        stage.until("at 25 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 25)).await;
        stage.world.scale("v2", 0);
        let lowered = |s: &RolloutStatus| s.conditions.iter().any(|c| c.reason == Reason::CanaryUnavailable.as_str());
        stage.until("at 0 %", lowered).await;
        assert_eq!(stage.weights_of("v2"), [0, 25, 0], "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_that_somebody_raises_is_reset_and_one_that_somebody_lowers_stays() {
    for (seed, kind) in (280..).zip(KINDS) {
        let stage = begin(kind, seed, better(), json!({"canary": {"weights": [20, 100], "hold": "10m"}})).await;
        stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
        stage.seconds(5).await;
        set(&stage, [10, 90]);
        stage.seconds(5).await;
        assert_eq!(stage.weights_of("v2"), [0, 20, 90, 20], "{kind:?}");
        set(&stage, [95, 5]);
        stage.until("paused", |s| s.phase == Some(Phase::Paused)).await;
        assert_eq!(stage.weights_of("v2"), [0, 20, 90, 20, 5], "{kind:?}");
    }
}

/// Somebody writes the weights of v1 and v2.
fn set(stage: &Stage, weights: [u64; 2]) {
    let mut route = stage.world.route();
    let list = match stage.kind {
        RouteKind::Subsets | RouteKind::Services => &mut route["spec"]["http"][0]["route"],
        RouteKind::HttpRoute | RouteKind::GrpcRoute => &mut route["spec"]["rules"][0]["backendRefs"],
    };
    for (entry, weight) in list.as_array_mut().unwrap().iter_mut().zip(weights) {
        entry["weight"] = weight.into();
    }
    stage.world.objects().put(route);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_refuses_the_route_is_heard_before_the_start_and_in_the_middle() {
    let refusal = || Some(Refusal { reason: "NotAllowedByListeners".to_owned(), message: "no listener takes it".to_owned() });
    for (seed, kind) in (290..).zip([RouteKind::HttpRoute, RouteKind::GrpcRoute]) {
        let stage = stage(kind, seed).await;
        stage.world.refuse(refusal());
        stage.seconds(5).await;
        stage.world.deploy("v2", better());
        stage.world.apply(&manifest(kind, "v2", json!({"canary": {"weights": [20, 50, 100], "hold": "20s"}}))).await.unwrap();
        let told = |s: &RolloutStatus| s.conditions.iter().any(|c| c.reason == Reason::RouteNotAccepted.as_str());
        let status = stage.until("told", told).await;
        let condition = status.conditions.iter().find(|c| c.reason == Reason::RouteNotAccepted.as_str()).unwrap();
        assert!(condition.message.contains("Accepted is False, NotAllowedByListeners: no listener takes it"), "{}", condition.message);
        assert_eq!(stage.weights_of("v2"), [0], "{kind:?}");
        stage.world.refuse(None);
        stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
        stage.world.refuse(refusal());
        stage.until("told in the middle", told).await;
        stage.seconds(60).await;
        assert_eq!(stage.weights_of("v2"), [0, 20], "{kind:?}: nothing advances");
        stage.say("abort", None).await;
        stage.until_phase("v2", Phase::Aborted).await;
        assert_eq!(stage.weights_of("v2"), [0, 20, 0], "{kind:?}: the way down is open");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_the_kind_says_so_and_one_that_gets_it_is_noticed() {
    for (seed, (kind, group)) in (300..).zip([
        (RouteKind::HttpRoute, "gateway.networking.k8s.io"),
        (RouteKind::GrpcRoute, "gateway.networking.k8s.io"),
        (RouteKind::Services, "networking.istio.io"),
    ]) {
        let mut stage = Stage::with(seed, |config| config.route = kind).await;
        stage.world.api().set_served(group, false);
        stage.control(false);
        stage.world.deploy("v2", better());
        stage.world.apply(&manifest(kind, "v2", weights())).await.unwrap();
        let told = |s: &RolloutStatus| s.conditions.iter().any(|c| c.message.contains("it is looked for every minute"));
        stage.until("told", told).await;
        stage.world.api().set_served(group, true);
        stage.until_phase("v2", Phase::Promoted).await;
        assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100], "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_dies_in_the_middle_goes_on_with_a_service_per_version() {
    for (seed, kind) in (310..).zip(KINDS) {
        let mut stage = begin(kind, seed, better(), weights()).await;
        stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
        stage.kill();
        tokio::time::sleep(Duration::from_secs(5)).await;
        stage.control(false);
        stage.until_phase("v2", Phase::Promoted).await;
        assert_eq!(stage.weights_of("v2"), [0, 5, 20, 50, 100], "{kind:?}");
    }
}

/// Somebody edits the route: pointer of JSON and value.
fn edit(stage: &Stage, change: impl FnOnce(&mut Value)) {
    let mut route = stage.world.route();
    change(&mut route["spec"]);
    stage.world.objects().put(route);
}

/// The list of routes or rules of the object.
fn routes(spec: &mut Value) -> &mut Vec<Value> {
    let list = if spec.get("http").is_some() { "http" } else { "rules" };
    spec[list].as_array_mut().unwrap()
}

fn reason_of(status: &RolloutStatus, reason: Reason) -> Option<String> {
    status.conditions.iter().find(|c| c.reason == reason.as_str()).map(|c| c.message.clone())
}

#[tokio::test(start_paused = true)]
async fn a_renamed_route_takes_its_cohort_along_and_an_abort_ends_it() {
    for (seed, kind) in (320..).zip(KINDS) {
        let strategy = json!({"steps": [{"name": "cohort", "match": beta(), "hold": "30m"}, {"name": "all", "weight": 100, "hold": "8s"}]});
        let stage = stage(kind, seed).await;
        // The canary has no entry of its own in the route.
        edit(&stage, |spec| {
            let list = if spec.get("http").is_some() { "route" } else { "backendRefs" };
            routes(spec)[0][list].as_array_mut().unwrap().truncate(1);
        });
        let before = spec(&stage);
        stage.world.deploy("v2", better());
        stage.world.apply(&manifest(kind, "v2", strategy)).await.unwrap();
        stage.until("the cohort", |s| s.step.as_ref().is_some_and(|step| step.name == "cohort")).await;
        edit(&stage, |spec| {
            let renamed = routes(spec).iter_mut().find(|route| route["name"] == "primary").unwrap();
            renamed["name"] = "main".into();
        });
        stage.seconds(10).await;
        let status = stage.world.status();
        assert_ne!(status.phase, Some(Phase::Paused), "{kind:?}: nobody lowered it");
        stage.say("abort", None).await;
        stage.until_phase("v2", Phase::Aborted).await;
        let mut wanted = before;
        routes(&mut wanted)[0]["name"] = "main".into();
        assert_eq!(spec(&stage), wanted, "{kind:?}: our route is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_waits_while_the_route_is_not_clear_and_says_how_it_ends() {
    for (seed, kind) in (330..).zip(KINDS) {
        let stage = begin(kind, seed, better(), json!({"canary": {"weights": [20, 100], "hold": "30m"}})).await;
        stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
        let with_both = stage.world.route();
        edit(&stage, |spec| {
            let (list, elsewhere) = match spec.get("http") {
                Some(_) => ("route", json!({"destination": {"host": "fraud", "subset": "v1"}, "weight": 80})),
                None => ("backendRefs", json!({"group": "x", "kind": "InferencePool", "name": "pool", "weight": 80})),
            };
            routes(spec)[0][list][0] = elsewhere;
        });
        let api: Api<Rollout> = Api::default_namespaced(stage.world.client());
        api.delete("fraud", &DeleteParams::default()).await.unwrap();
        let told = |s: &RolloutStatus| s.conditions.iter().any(|c| c.message.contains("deletion waits"));
        let status = stage.until("told", told).await;
        let message = status.conditions.iter().find(|c| c.message.contains("deletion waits")).unwrap().message.clone();
        assert!(message.contains("haldane.dev/restore-traffic"), "{message}");
        edit(&stage, |spec| *spec = with_both["spec"].clone());
        stage.seconds(40).await;
        assert!(stage.world.rollout().is_none(), "{kind:?}");
        assert_eq!(stage.world.weights().get("v2").copied().unwrap_or(0), 0, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_that_only_has_a_name_like_ours_is_a_route_like_every_other() {
    for (seed, kind) in (340..).zip(KINDS) {
        let stage = stage(kind, seed).await;
        edit(&stage, |spec| {
            let mut leftover = routes(spec)[0].clone();
            let (list, name) =
                if kind == RouteKind::Services { ("route", "haldane.dev/before") } else { ("backendRefs", "haldane.dev.before") };
            leftover["name"] = name.into();
            leftover[list][0]["weight"] = 0.into();
            leftover[list][1]["weight"] = 100.into();
            routes(spec).insert(0, leftover);
        });
        stage.world.deploy("v2", better());
        let mut manifest = manifest(kind, "v2", weights());
        manifest.spec.traffic.route = Some("primary".into());
        stage.world.apply(&manifest).await.unwrap();
        let status = stage.until("told", |s| reason_of(s, Reason::RouteAmbiguous).is_some()).await;
        assert!(reason_of(&status, Reason::RouteAmbiguous).unwrap().contains("before leads to fraud-v2 too"), "{kind:?}");
        assert_eq!(status.phase, Some(Phase::Waiting), "{kind:?}: nothing has started");
    }
}

#[tokio::test(start_paused = true)]
async fn another_object_in_the_manifest_leaves_the_one_before_as_it_was() {
    let kind = RouteKind::HttpRoute;
    let stage = stage(kind, 350).await;
    edit(&stage, |spec| {
        routes(spec)[0]["backendRefs"].as_array_mut().unwrap().truncate(1);
        routes(spec)[0]["backendRefs"][0]["weight"] = 1.into();
    });
    // The gateway has accepted it, and the other one, which is as it.
    stage.seconds(2).await;
    let before = stage.world.route();
    let mut other = before.clone();
    other["metadata"] = json!({"name": "other", "namespace": "ml"});
    other["spec"]["hostnames"] = json!(["other.example.com"]);
    stage.world.objects().put(other);
    stage.world.deploy("v2", better());
    let strategy = json!({"canary": {"weights": [20, 100], "hold": "30m"}});
    stage.world.apply(&manifest(kind, "v2", strategy.clone())).await.unwrap();
    stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
    let mut moved = manifest(kind, "v2", strategy);
    moved.spec.traffic.http_route = Some("other".into());
    stage.world.apply(&moved).await.unwrap();
    let other = || {
        let object = stage.world.objects().get(&kind.resource(), "ml", "other").unwrap();
        kind.weights(APP, &object).get("v2").copied().unwrap_or(0)
    };
    for _ in 0..120 {
        if other() == 20 {
            break;
        }
        stage.seconds(1).await;
    }
    assert_eq!(other(), 20, "{:?}", stage.world.status().conditions);
    let after = stage.world.route();
    assert_eq!((&after["spec"], &after["metadata"]["annotations"]), (&before["spec"], &before["metadata"]["annotations"]));
}

#[tokio::test(start_paused = true)]
async fn a_raise_that_the_api_server_refuses_alerts_once_and_is_retried() {
    for (seed, kind) in (360..).zip(KINDS) {
        let stage = stage(kind, seed).await;
        stage.world.api().faults().add(Rule::on(Verb::Patch, &kind.resource(), Fault::denied(422, "no")).times(2));
        stage.world.deploy("v2", better());
        stage.world.apply(&manifest(kind, "v2", weights())).await.unwrap();
        let status = stage.until("held", |s| reason_of(s, Reason::RaiseRefused).is_some()).await;
        let message = reason_of(&status, Reason::RaiseRefused).unwrap();
        assert!(message.contains("policy.example.com") && message.contains("retried every 30 s"), "{message}");
        stage.until_phase("v2", Phase::Promoted).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_leads_to_stable_stops_nothing_and_an_older_rule_that_asks_for_the_same_does() {
    for (seed, kind) in (370..).zip([RouteKind::HttpRoute, RouteKind::GrpcRoute]) {
        let stage = stage(kind, seed).await;
        edit(&stage, |spec| {
            let mut legacy = routes(spec)[0].clone();
            legacy["name"] = "legacy".into();
            legacy["matches"] = match kind {
                RouteKind::GrpcRoute => json!([{"method": {"type": "Exact", "service": "legacy.Scorer"}}]),
                _ => json!([{"path": {"type": "PathPrefix", "value": "/legacy"}}]),
            };
            legacy["backendRefs"].as_array_mut().unwrap().truncate(1);
            routes(spec).push(legacy);
        });
        stage.world.deploy("v2", better());
        stage.world.apply(&manifest(kind, "v2", weights())).await.unwrap();
        stage.until_phase("v2", Phase::Promoted).await;
        let mut older = stage.world.route();
        older["metadata"] = json!({"name": "a-twin", "namespace": "ml", "creationTimestamp": "2020-01-01T00:00:00Z"});
        stage.world.objects().put(older);
        stage.world.deploy("v3", better());
        stage.world.apply(&manifest(kind, "v3", weights())).await.unwrap();
        let status = stage.until("told", |s| reason_of(s, Reason::HostShared).is_some()).await;
        let message = reason_of(&status, Reason::HostShared).unwrap();
        assert!(message.contains("a-twin is older, and has a rule at"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_http_route_that_comes_in_the_middle_holds_a_virtual_service() {
    let stage = begin(RouteKind::Services, 380, better(), json!({"canary": {"weights": [20, 100], "hold": "10s"}})).await;
    stage.until("at 20 %", |s| s.step.as_ref().is_some_and(|step| step.weight == 20)).await;
    let http = RouteKind::HttpRoute.objects(APP, "ml").pop().unwrap();
    stage.world.objects().put(http);
    let status = stage.until("told", |s| reason_of(s, Reason::HostShared).is_some()).await;
    let message = reason_of(&status, Reason::HostShared).unwrap();
    assert!(message.contains("HTTPRoute fraud is for host fraud.ml.svc.cluster.local in the mesh too"), "{message}");
    stage.seconds(120).await;
    assert_eq!(stage.weights_of("v2"), [0, 20], "nothing advances");
}
