//! The simulated mesh, traffic and Prometheus, as the product asks them: over HTTP, with raw counters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{collections::BTreeMap, time::Duration};

use haldane::clock::Clock;
use haldane::gateway_api::status::{Programmed, programmed};
use haldane::sim::{
    NAMESPACE, RouteKind, World, WorldConfig,
    mesh::{conditions::Refusal, routes::Cohort},
    prometheus::Mode,
    traffic::Behaviour,
};
use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Pod, discovery::v1::EndpointSlice};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

async fn world(change: impl FnOnce(&mut WorldConfig)) -> World {
    let mut config = WorldConfig::new(Clock::virtual_from("2026-11-23T12:00:00Z".parse::<Timestamp>().unwrap()), 7);
    config.history = Duration::from_secs(300);
    change(&mut config);
    World::start(config).await.unwrap()
}

async fn ask(world: &World, query: &str) -> Value {
    let time = world.clock().now().as_millisecond() as f64 / 1000.0;
    let form = [("query", query.to_owned()), ("time", time.to_string())];
    let url = format!("{}/api/v1/query", world.prometheus().url());
    let response = reqwest::Client::new().post(url).form(&form).send().await.unwrap();
    response.json().await.unwrap()
}

/// Increase of each series over a range, summed by a label.
async fn increase(world: &World, selector: &str, range: &str, by: &str) -> BTreeMap<String, f64> {
    let answer = ask(world, &format!("{selector}[{range}]")).await;
    let mut sums = BTreeMap::new();
    for series in answer["data"]["result"].as_array().unwrap() {
        let number = |v: &Value| v[1].as_str().unwrap().parse::<f64>().unwrap();
        let values = series["values"].as_array().unwrap();
        let grown = number(values.last().unwrap()) - number(&values[0]);
        *sums.entry(series["metric"][by].as_str().unwrap_or_default().to_owned()).or_insert(0.0) += grown;
    }
    sums
}

/// Patches the world's route through the API.
async fn patch(world: &World, operations: Value) {
    let route = world.route();
    let (group, version) = route["apiVersion"].as_str().unwrap().split_once('/').unwrap();
    let kind = GroupVersionKind::gvk(group, version, route["kind"].as_str().unwrap());
    let api: Api<DynamicObject> = Api::default_namespaced_with(world.client(), &ApiResource::from_gvk(&kind));
    let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
    api.patch("fraud", &PatchParams::default(), &Patch::<()>::Json(patch)).await.unwrap();
}

async fn set_route(world: &World, route: Value) {
    patch(world, json!([{"op": "replace", "path": "/spec/http/0/route", "value": route}])).await;
}

/// Sets the weights of v1 and v2 where the route has both.
async fn set_weights(world: &World, v1: u64, v2: u64) {
    let list = if world.route()["kind"] == "VirtualService" { "/spec/http/0/route" } else { "/spec/rules/0/backendRefs" };
    let set = |index: usize, weight: u64| json!({"op": "replace", "path": format!("{list}/{index}/weight"), "value": weight});
    patch(world, json!([set(0, v1), set(1, v2)])).await;
}

fn split(v1: u64, v2: u64) -> Value {
    let to = |subset: &str, weight| json!({"destination": {"host": "fraud", "subset": subset}, "weight": weight});
    json!([to("v1", v1), to("v2", v2)])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_the_past_is_there_at_the_start() {
    let world = world(|c| c.history = Duration::from_secs(3600)).await;
    let selector = r#"istio_requests_total{reporter="destination",destination_workload="fraud-v1",response_code="200"}"#;
    let answer = ask(&world, &format!("{selector}[50m]")).await;
    let series = answer["data"]["result"].as_array().unwrap();
    assert_eq!(series.len(), 6, "three pods, two clients");
    for one in series {
        let samples = one["values"].as_array().unwrap().len();
        assert!((2900..=3001).contains(&samples), "{samples} of 3,000: a machine that stalls misses some scrapes");
        assert_eq!(one["metric"]["job"], "istio-proxies");
        assert_eq!(one["metric"]["destination_version"], "v1");
        assert!(one["metric"].get("grpc_response_status").is_none());
    }
    let total: f64 = increase(&world, selector, "50m", "pod").await.values().sum();
    let expected = 300.0 * 3000.0 * 0.999;
    assert!((total - expected).abs() < 5.0 * expected.sqrt() + 1000.0, "{total} of {expected}");
    let groups =
        ask(&world, r#"group by (reporter, destination_workload, job) (istio_requests_total{destination_workload=~"fraud-.*"})"#).await;
    assert_eq!(groups["data"]["result"].as_array().unwrap().len(), 2);
    let buckets = ask(&world, r#"group by (le) (istio_request_duration_milliseconds_bucket{reporter="source"})"#).await;
    let bounds: Vec<&str> = buckets["data"]["result"].as_array().unwrap().iter().map(|g| g["metric"]["le"].as_str().unwrap()).collect();
    assert!(bounds.len() == 20 && bounds.contains(&"1.0") && bounds.contains(&"+Inf") && bounds.contains(&"1.8e+06"), "{bounds:?}");
    let classes = increase(&world, "model_prediction_class_total", "50m", "class").await;
    assert!((classes["fraud"] / classes["legit"] - 0.03 / 0.90).abs() < 0.002, "{classes:?}");
    assert!(ask(&world, "model_prediction_value_bucket[1m]").await["data"]["result"].as_array().unwrap().len() == 63);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_weight_reaches_the_proxies_late_and_then_holds() {
    let world = world(|c| c.rps = 5000.0).await;
    world.deploy("v2", Behaviour::default().with_errors(0.1));
    tokio::time::sleep(Duration::from_millis(1300)).await;
    set_route(&world, split(80, 20)).await;
    assert_eq!(world.weights(), BTreeMap::from([("v1".into(), 80), ("v2".into(), 20)]));
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before = world.served();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = world.served();
    let grown = |version: &str| (after[version].requests - before.get(version).map_or(0, |s| s.requests)) as f64;
    let (v1, v2) = (grown("v1"), grown("v2"));
    let n = v1 + v2;
    assert!(n > 5000.0, "{n}");
    assert!((v2 - 0.2 * n).abs() < 5.0 * (n * 0.16).sqrt(), "{v2} of {n}");
    let errors = after["v2"].errors as f64 / after["v2"].requests as f64;
    assert!((0.07..0.13).contains(&errors), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subset_without_pods_is_seen_by_the_sender_only() {
    let world = world(|c| c.rps = 1000.0).await;
    set_route(&world, split(50, 50)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let failed = increase(&world, r#"istio_requests_total{response_flags="UH"}"#, "2s", "destination_workload").await;
    assert!(failed["unknown"] > 100.0, "{failed:?}");
    let reporters = ask(&world, r#"group by (reporter) (istio_requests_total{response_code="503"})"#).await;
    assert_eq!(reporters["data"]["result"].as_array().unwrap().len(), 1);
    assert_eq!(reporters["data"]["result"][0]["metric"]["reporter"], "source");
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_come_back_and_the_endpoints_say_so() {
    let world = world(|c| c.start_up = Duration::from_millis(300)).await;
    let pods: Api<Pod> = Api::default_namespaced(world.client());
    let slices: Api<EndpointSlice> = Api::default_namespaced(world.client());
    let names =
        || async { pods.list(&Default::default()).await.unwrap().items.into_iter().filter_map(|p| p.metadata.name).collect::<Vec<_>>() };
    let ready = || async {
        let slice = slices.list(&Default::default()).await.unwrap().items.remove(0);
        slice.endpoints.iter().filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true)).count()
    };
    let first = names().await;
    assert_eq!((first.len(), ready().await), (3, 3));
    pods.delete(&first[0], &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!((names().await.len(), ready().await), (3, 2));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(ready().await == 3 && names().await != first);

    world.crash("v1", Duration::from_millis(300));
    assert_eq!(ready().await, 0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(ready().await, 3);

    let hash = |pods: &[Pod]| -> Vec<String> {
        let mut all: Vec<String> = pods.iter().map(|p| p.metadata.labels.clone().unwrap()["pod-template-hash"].clone()).collect();
        all.sort();
        all.dedup();
        all
    };
    let old = hash(&pods.list(&Default::default()).await.unwrap().items);
    let new = world.redeploy("v1");
    assert_eq!(hash(&pods.list(&Default::default()).await.unwrap().items).len(), 2, "settling");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let now = hash(&pods.list(&Default::default()).await.unwrap().items);
    assert!(now == [new] && now != old);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_fails_in_the_ways_it_is_asked_to() {
    let world = world(|_| {}).await;
    let url = format!("{}/api/v1/query", world.prometheus().url());
    let get = || async { reqwest::Client::new().get(&url).query(&[("query", "up[30s]")]).timeout(Duration::from_millis(500)).send().await };
    assert_eq!(get().await.unwrap().json::<Value>().await.unwrap()["data"]["result"].as_array().unwrap().len(), 8);
    world.prometheus().set_mode(Mode::Hang);
    assert!(get().await.unwrap_err().is_timeout());
    world.prometheus().set_mode(Mode::Unavailable);
    assert_eq!(get().await.unwrap().status(), 503);
    world.prometheus().set_mode(Mode::Empty);
    assert_eq!(get().await.unwrap().json::<Value>().await.unwrap()["data"]["result"], json!([]));
    world.prometheus().set_mode(Mode::Warning);
    assert!(get().await.unwrap().json::<Value>().await.unwrap()["warnings"].is_array());
    world.prometheus().set_mode(Mode::Html);
    assert!(get().await.unwrap().json::<Value>().await.is_err());
    world.prometheus().set_mode(Mode::Down);
    assert!(match get().await {
        Ok(answer) => answer.text().await.is_err(),
        Err(_) => true,
    });
    world.prometheus().set_mode(Mode::Up);
    let refused = reqwest::Client::new().get(&url).query(&[("query", "deriv(up[1m])")]).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.json::<Value>().await.unwrap()["errorType"], "bad_data");
    assert!(world.prometheus().asked().iter().any(|a| a.query == "deriv(up[1m])"));

    world.set_reachable("v1", false);
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let up = ask(&world, "group by (pod) (istio_requests_total{reporter=\"destination\"})").await;
    assert_eq!(up["data"]["result"], json!([]), "series of a target that cannot be scraped are stale at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_kept_as_they_came() {
    let world = world(|_| {}).await;
    let mut count = world.alerts().subscribe();
    let post =
        || async { reqwest::Client::new().post(world.alerts().webhook()).json(&json!({"text": "rolled back"})).send().await.unwrap() };
    world.alerts().answer_with(500);
    assert_eq!(post().await.status(), 500);
    world.alerts().answer_with(200);
    assert_eq!(post().await.status(), 200);
    count.wait_for(|n| *n == 1).await.unwrap();
    let received = world.alerts().received();
    assert_eq!((received.len(), received[0].text().as_str(), received[0].path.as_str()), (1, "rolled back", "/webhook"));
}

#[tokio::test(start_paused = true)]
async fn the_world_runs_in_virtual_time() {
    let world = world(|c| c.start_up = Duration::from_secs(20)).await;
    world.deploy("v2", Behaviour::default());
    tokio::time::sleep(Duration::from_secs(120)).await;
    let served = world.served();
    let before = served["v1"].requests as f64;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let grown = world.served()["v1"].requests as f64 - before;
    assert!((grown - 18_000.0).abs() < 1000.0, "{grown}");
    assert_eq!(world.objects().list("pods", NAMESPACE).len(), 6);
}

const SERVICES: [RouteKind; 3] = [RouteKind::Services, RouteKind::HttpRoute, RouteKind::GrpcRoute];

fn requests(world: &World) -> BTreeMap<String, u64> {
    world.served().into_iter().map(|(version, served)| (version, served.requests)).collect()
}

/// Requests by version in the next so many seconds.
async fn grown(world: &World, seconds: u64) -> BTreeMap<String, f64> {
    let before = requests(world);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let gained = |(version, n): (String, u64)| (version.clone(), (n - before.get(&version).copied().unwrap_or(0)) as f64);
    requests(world).into_iter().map(gained).collect()
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_route_splits_the_requests_by_weight() {
    for kind in RouteKind::ALL {
        let world = world(|c| (c.route, c.rps) = (kind, 1000.0)).await;
        assert!(requests(&world)["v1"] > 250_000, "{kind:?}: v1 has had everything");
        world.deploy("v2", Behaviour::default());
        tokio::time::sleep(Duration::from_secs(2)).await;
        match kind {
            RouteKind::Subsets => set_route(&world, split(80, 20)).await,
            _ => set_weights(&world, 80, 20).await,
        }
        assert_eq!(world.weights(), BTreeMap::from([("v1".into(), 80), ("v2".into(), 20)]), "{kind:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let grown = grown(&world, 20).await;
        let n = grown["v1"] + grown["v2"];
        assert!((n - 20_000.0).abs() < 1000.0, "{kind:?}: {grown:?}");
        assert!((grown["v2"] - 0.2 * n).abs() < 5.0 * (n * 0.16).sqrt(), "{kind:?}: {grown:?}");
        assert_eq!(grown.get("").copied().unwrap_or(0.0), 0.0, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_service_has_the_pods_it_selects() {
    let world = world(|c| c.route = RouteKind::HttpRoute).await;
    world.deploy("v2", Behaviour::default());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let slices = world.objects().list("endpointslices.discovery.k8s.io", NAMESPACE);
    let pods = |slice: &Value| {
        let endpoints = slice["endpoints"].as_array().unwrap();
        endpoints.iter().filter(|endpoint| endpoint["conditions"]["ready"] == true).count()
    };
    let owner = |slice: &Value| slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap().to_owned();
    let found: BTreeMap<String, usize> = slices.iter().map(|slice| (owner(slice), pods(slice))).collect();
    let expected = [("fraud", 6), ("fraud-v1", 3), ("fraud-v2", 3), ("fraud-v3", 0)];
    assert_eq!(found, expected.map(|(name, pods)| (name.to_owned(), pods)).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_a_version_without_endpoints_is_named_by_who_sends() {
    for kind in SERVICES {
        let world = world(|c| (c.route, c.rps, c.history) = (kind, 1000.0, Duration::from_secs(10))).await;
        set_weights(&world, 50, 50).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let by = "destination_service_name, destination_workload, reporter, request_protocol, response_code, grpc_response_status";
        let answer = ask(&world, &format!(r#"group by ({by}) (istio_requests_total{{response_flags="UH"}})"#)).await;
        let (protocol, code, status) =
            if kind == RouteKind::GrpcRoute { ("grpc", "200", json!("14")) } else { ("http", "503", Value::Null) };
        let found = answer["data"]["result"].as_array().unwrap();
        assert_eq!(found.len(), 1, "{kind:?}: {answer}");
        let label = |name: &str| found[0]["metric"][name].clone();
        assert_eq!((label("destination_service_name"), label("destination_workload")), (json!("fraud-v2"), json!("unknown")), "{kind:?}");
        assert_eq!((label("reporter"), label("request_protocol"), label("response_code")), (json!("source"), json!(protocol), json!(code)));
        assert_eq!(label("grpc_response_status"), status, "{kind:?}");

        world.deploy("v2", Behaviour::default().with_errors(0.2));
        tokio::time::sleep(Duration::from_secs(4)).await;
        let services = |reporter: &str| format!(r#"istio_requests_total{{reporter="{reporter}",destination_workload="fraud-v2"}}"#);
        let sent = increase(&world, &services("source"), "2s", "destination_service_name").await;
        assert!(sent.len() == 1 && sent["fraud-v2"] > 100.0, "{kind:?}: {sent:?}");
        let got = increase(&world, &services("destination"), "2s", "destination_service_name").await;
        assert!(got.len() == 1 && got["fraud"] > 100.0, "{kind:?}: a pod's own proxy names the first Service that has it: {got:?}");
        if kind == RouteKind::GrpcRoute {
            let by = increase(&world, &services("source"), "2s", "grpc_response_status").await;
            assert!(by["0"] > by["13"] && by["13"] > 10.0, "{by:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_rule_takes_its_cohort_and_a_mirror_copies_without_an_answer() {
    for (kind, route) in [("HTTPRoute", RouteKind::HttpRoute), ("GRPCRoute", RouteKind::GrpcRoute)] {
        let world = world(|c| (c.route, c.cohorts) = (route, vec![Cohort::with_header(0.1, "x-group", "beta")])).await;
        world.deploy("v2", Behaviour::default());
        world.deploy("v3", Behaviour::default());
        let rule = world.route()["spec"]["rules"][0].clone();
        let mut beta = rule.clone();
        beta["name"] = json!("beta");
        beta["matches"][0]["headers"] = json!([{"name": "X-Group", "value": "beta"}]);
        beta["backendRefs"] = json!([{"name": "fraud-v2", "port": 80}]);
        let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "fraud-v3", "port": 80}, "percent": 50}});
        // After the rule that is for everybody: the order means nothing.
        patch(
            &world,
            json!([
                {"op": "add", "path": "/spec/rules/-", "value": beta},
                {"op": "add", "path": "/spec/rules/0/filters", "value": [mirror]},
            ]),
        )
        .await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mirrored = world.served()["v3"].mirrored;
        let grown = grown(&world, 20).await;
        let n = grown["v1"] + grown["v2"];
        assert!((grown["v2"] - 0.1 * n).abs() < 5.0 * (n * 0.09).sqrt(), "{kind}: {grown:?}");
        let copies = (world.served()["v3"].mirrored - mirrored) as f64;
        assert!(grown["v3"] == 0.0 && (copies - 0.5 * grown["v1"]).abs() < 5.0 * n.sqrt(), "{kind}: {copies} of {grown:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_gateways_say_a_moment_later_what_they_make_of_a_route() {
    let world = world(|c| c.route = RouteKind::HttpRoute).await;
    let said = || programmed(&world.route());
    assert_eq!(said(), Programmed::Accepted);
    set_weights(&world, 90, 10).await;
    assert!(matches!(said(), Programmed::NotYet(silent) if !silent.is_empty()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(said(), Programmed::Accepted);

    patch(&world, json!([{"op": "replace", "path": "/spec/rules/0/backendRefs/1/name", "value": "fraud-v9"}])).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = |parent: &str, condition: &'static str, reason: &str, message: &str| Programmed::Refused {
        parent: parent.into(),
        condition,
        reason: reason.into(),
        message: message.into(),
    };
    let missing = "backend(fraud-v9.ml.svc.cluster.local) not found";
    assert_eq!(said(), refused("Gateway istio-system/public", "ResolvedRefs", "BackendNotFound", missing));
    let failed = grown(&world, 10).await[""];
    assert!((200.0..400.0).contains(&failed), "a tenth is answered 500: {failed}");
    let service = json!({"name": "fraud-v9", "namespace": NAMESPACE});
    let spec = json!({"selector": {"app": "fraud", "version": "v1"}, "ports": [{"name": "http", "port": 80}]});
    world.objects().put(json!({"apiVersion": "v1", "kind": "Service", "metadata": service, "spec": spec}));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(said(), Programmed::Accepted);
    assert_eq!(grown(&world, 10).await[""], 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_refuses_a_route_stays_with_the_one_it_has() {
    let world = world(|c| c.route = RouteKind::HttpRoute).await;
    world.deploy("v2", Behaviour::default());
    world.refuse(Some(Refusal { reason: "NotAllowedByListeners".into(), message: "no listener takes it".into() }));
    set_weights(&world, 0, 100).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = Programmed::Refused {
        parent: "Gateway istio-system/public".into(),
        condition: "Accepted",
        reason: "NotAllowedByListeners".into(),
        message: "no listener takes it".into(),
    };
    assert_eq!(programmed(&world.route()), refused);
    let split = grown(&world, 10).await;
    let share = split["v2"] / (split["v1"] + split["v2"]);
    assert!((share - 0.3).abs() < 0.05, "the mesh's clients alone have the new one: {split:?}");
    world.refuse(None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(programmed(&world.route()), Programmed::Accepted);
    assert_eq!(grown(&world, 5).await["v1"], 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_rule_whose_weights_are_all_0_answers_500() {
    let world = world(|c| c.route = RouteKind::HttpRoute).await;
    set_weights(&world, 0, 0).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = grown(&world, 5).await;
    assert!(grown["v1"] == 0.0 && grown[""] > 1000.0, "{grown:?}");
}

#[tokio::test(start_paused = true)]
async fn a_route_is_for_the_proxies_that_are_among_its_parents() {
    let world = world(|c| c.route = RouteKind::HttpRoute).await;
    world.deploy("v2", Behaviour::default());
    tokio::time::sleep(Duration::from_secs(2)).await;
    patch(&world, json!([{"op": "remove", "path": "/spec/parentRefs/1"}])).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let split = grown(&world, 20).await;
    let share = split["v2"] / (split["v1"] + split["v2"]);
    assert!((share - 0.15).abs() < 0.03, "the mesh's clients call the Service of both: {split:?}");
    assert_eq!(world.route()["status"]["parents"].as_array().unwrap().len(), 1);
    set_weights(&world, 0, 100).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let split = grown(&world, 20).await;
    let share = split["v2"] / (split["v1"] + split["v2"]);
    assert!((share - 0.85).abs() < 0.03, "{split:?}");
}
