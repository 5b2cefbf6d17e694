//! The simulated Kubernetes API as kube's own client, watcher and event recorder see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use haldane::{
    api::Rollout,
    clock::Clock,
    sim::{
        apiserver::{ApiServer, Verb},
        faults::{Fault, Rule},
    },
};
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    core::{ApiResource, GroupVersionKind, PartialObjectMeta},
    runtime::{WatchStreamExt, events, watcher},
};
use serde_json::json;

const ROLLOUTS: &str = "rollouts.haldane.dev";

async fn server() -> ApiServer {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = Clock::virtual_from("2026-11-23T12:00:00Z".parse::<Timestamp>().unwrap());
    let server = ApiServer::start(clock, 0).await.unwrap();
    server.objects().put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}})).unwrap();
    server
}

fn over_http(server: &ApiServer) -> Client {
    let mut config = server.config("ml");
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn rollout(name: &str) -> Rollout {
    let spec = json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}});
    serde_json::from_value(json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": spec}))
        .unwrap()
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    }
}

async fn created(server: &ApiServer) -> (Api<Rollout>, Rollout) {
    let api: Api<Rollout> = Api::default_namespaced(over_http(server));
    let made = api.create(&PostParams { field_manager: Some("test".into()), ..Default::default() }, &rollout("fraud")).await.unwrap();
    (api, made)
}

#[tokio::test]
async fn an_object_is_created_once_and_has_an_identity() {
    let server = server().await;
    let (api, made) = created(&server).await;
    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(made.namespace().as_deref(), Some("ml"));
    assert!(made.uid().is_some_and(|uid| uid.len() == 36));
    assert_eq!(made.managed_fields()[0].manager.as_deref(), Some("test"));
    let again = api.create(&PostParams::default(), &rollout("fraud")).await.unwrap_err();
    assert_eq!(code(&again), 409);
    assert_eq!(code(&api.get("other").await.unwrap_err()), 404);
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_wrong_object_is_refused_with_the_path_of_its_fault() {
    let server = server().await;
    let raw = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("haldane.dev", "v1alpha1", "Rollout"), "rollouts");
    let api: Api<DynamicObject> = Api::default_namespaced_with(over_http(&server), &raw);
    let spec =
        json!({"spec": {"traffic": {"virtualService": ""}, "canary": {"subset": "v2"}, "strategy": {"canary": {"weights": [0, "x"]}}}});
    let error = api.create(&PostParams::default(), &DynamicObject::new("bad", &raw).data(spec)).await.unwrap_err();
    let kube::Error::Api(status) = error else { panic!() };
    let text = status.message;
    assert_eq!(status.code, 422);
    for part in ["spec.traffic.virtualService", "spec.strategy.canary.weights[0]", "weights[1]"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test]
async fn status_and_spec_are_written_through_their_own_endpoints_only() {
    let server = server().await;
    let (api, made) = created(&server).await;
    let both = json!({"spec": {"paused": true}, "status": {"epoch": 7}});
    let after = api.patch_status("fraud", &PatchParams::default(), &Patch::Merge(&both)).await.unwrap();
    assert!(!after.spec.paused);
    assert_eq!((after.status.as_ref().unwrap().epoch, after.metadata.generation), (7, Some(1)));
    let more = json!({"spec": {"paused": true}, "status": {"epoch": 8}});
    let after = api.patch("fraud", &PatchParams::default(), &Patch::Merge(&more)).await.unwrap();
    assert!(after.spec.paused);
    assert_eq!((after.status.as_ref().unwrap().epoch, after.metadata.generation), (7, Some(2)));
    assert_eq!(after.uid(), made.uid());
    assert_ne!(after.resource_version(), made.resource_version());
}

#[tokio::test]
async fn a_stale_write_is_refused_and_a_write_of_the_same_is_none() {
    let server = server().await;
    let (api, made) = created(&server).await;
    let mut newer = made.clone();
    newer.spec.paused = true;
    let newer = api.replace("fraud", &PostParams::default(), &newer).await.unwrap();
    assert_eq!(code(&api.replace("fraud", &PostParams::default(), &made).await.unwrap_err()), 409);
    let same = api.patch("fraud", &PatchParams::default(), &Patch::Merge(json!({"spec": {"paused": true}}))).await.unwrap();
    assert_eq!(same.resource_version(), newer.resource_version());
    let test = json!([{"op": "test", "path": "/metadata/resourceVersion", "value": made.resource_version()}]);
    let patch: json_patch::Patch = serde_json::from_value(test).unwrap();
    let refused = api.patch("fraud", &PatchParams::default(), &Patch::<()>::Json(patch)).await.unwrap_err();
    assert_eq!(code(&refused), 422);
}

#[tokio::test]
async fn server_side_apply_is_refused_by_name() {
    let server = server().await;
    let (api, _) = created(&server).await;
    let refused = api.patch("fraud", &PatchParams::apply("x").force(), &Patch::Apply(json!({"kind": "Rollout"}))).await.unwrap_err();
    assert_eq!(code(&refused), 415);
    assert!(refused.to_string().contains("apply"), "{refused}");
}

#[tokio::test]
async fn an_object_with_a_finalizer_stays_until_the_finalizer_is_gone() {
    let server = server().await;
    let (api, _) = created(&server).await;
    let held = json!({"metadata": {"finalizers": ["haldane.dev/restore-traffic"]}});
    api.patch("fraud", &PatchParams::default(), &Patch::Merge(&held)).await.unwrap();
    api.delete("fraud", &DeleteParams::default()).await.unwrap();
    let marked = api.get("fraud").await.unwrap();
    assert!(marked.meta().deletion_timestamp.is_some());
    let more = json!({"metadata": {"finalizers": ["a/b", "haldane.dev/restore-traffic"]}});
    assert_eq!(code(&api.patch("fraud", &PatchParams::default(), &Patch::Merge(&more)).await.unwrap_err()), 422);
    api.patch("fraud", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await.unwrap();
    assert!(api.get_opt("fraud").await.unwrap().is_none());
}

#[tokio::test]
async fn a_watch_tells_every_change_in_order_and_410_when_history_is_gone() {
    let server = server().await;
    let (api, made) = created(&server).await;
    let from = made.resource_version().unwrap();
    let events = api.watch(&WatchParams::default().timeout(5), &from).await.unwrap().boxed();
    api.patch("fraud", &PatchParams::default(), &Patch::Merge(json!({"spec": {"paused": true}}))).await.unwrap();
    api.create(&PostParams::default(), &rollout("second")).await.unwrap();
    api.delete("fraud", &DeleteParams::default()).await.unwrap();
    let seen: Vec<String> = events
        .take(3)
        .map_ok(|e| match e {
            WatchEvent::Added(o) => format!("added {}", o.name_any()),
            WatchEvent::Modified(o) => format!("modified {}", o.name_any()),
            WatchEvent::Deleted(o) => format!("deleted {}", o.name_any()),
            other => format!("{other:?}"),
        })
        .try_collect()
        .await
        .unwrap();
    assert_eq!(seen, ["modified fraud", "added second", "deleted fraud"]);
    server.store().compact();
    let mut late = api.watch(&WatchParams::default(), &from).await.unwrap().boxed();
    let Some(Ok(WatchEvent::Error(status))) = late.next().await else { panic!("no error") };
    assert_eq!(status.code, 410);
}

#[tokio::test]
async fn the_watcher_of_kube_lives_through_cuts_compaction_and_both_ways_to_list() {
    let server = server().await;
    let (api, _) = created(&server).await;
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let stream = watcher(api.clone(), config).default_backoff().applied_objects();
        let mut stream = std::pin::pin!(stream);
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!(first.name_any(), "fraud");
        server.cut_watches();
        server.store().compact();
        let flip = json!({"spec": {"paused": !first.spec.paused}});
        api.patch("fraud", &PatchParams::default(), &Patch::Merge(&flip)).await.unwrap();
        loop {
            match tokio::time::timeout(Duration::from_secs(20), stream.next()).await.unwrap().unwrap() {
                Ok(o) if o.spec.paused != first.spec.paused => break,
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn metadata_alone_is_sent_when_it_is_asked_for() {
    let server = server().await;
    for (name, version) in [("a", "v1"), ("b", "v2")] {
        let metadata = json!({"name": name, "namespace": "ml", "labels": {"version": version}});
        server.objects().put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}})).unwrap();
    }
    let api: Api<Pod> = Api::default_namespaced(over_http(&server));
    let list = api.list_metadata(&ListParams::default().labels("version in (v2, v3)")).await.unwrap();
    assert_eq!(list.items.iter().map(ResourceExt::name_any).collect::<Vec<_>>(), ["b"]);
    let partial: Api<PartialObjectMeta<Pod>> = Api::default_namespaced(over_http(&server));
    let stream = watcher(partial, watcher::Config::default().labels("version=v1")).applied_objects();
    let seen = std::pin::pin!(stream).next().await.unwrap().unwrap();
    assert_eq!(seen.name_any(), "a");
}

#[tokio::test]
async fn an_event_is_found_under_both_of_its_groups() {
    let server = server().await;
    let (_, made) = created(&server).await;
    let client = over_http(&server);
    let recorder = events::Recorder::new(client.clone(), events::Reporter { controller: "haldane".into(), instance: None });
    let event = events::Event {
        type_: events::EventType::Normal,
        reason: "Advanced".into(),
        note: Some("to 5 %".into()),
        action: "Step".into(),
        secondary: None,
    };
    recorder.publish(&event, &made.object_ref(&())).await.unwrap();
    recorder.publish(&event, &made.object_ref(&())).await.unwrap();
    let core: Api<k8s_openapi::api::core::v1::Event> = Api::default_namespaced(client.clone());
    let selector = format!("involvedObject.uid={},involvedObject.name=fraud", made.uid().unwrap());
    let found = core.list(&ListParams::default().fields(&selector)).await.unwrap().items;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message.as_deref(), Some("to 5 %"));
    assert_eq!(found[0].reporting_component.as_deref(), Some("haldane"));
    let new: Api<k8s_openapi::api::events::v1::Event> = Api::default_namespaced(client);
    let found = new.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(found[0].note.as_deref(), Some("to 5 %"));
}

#[tokio::test]
async fn a_lease_is_taken_by_one_of_two() {
    let server = server().await;
    let api: Api<Lease> = Api::default_namespaced(over_http(&server));
    let lease = |holder: &str| -> Lease {
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-11-23T12:00:00.000000Z"});
        serde_json::from_value(json!({"metadata": {"name": "haldane"}, "spec": spec})).unwrap()
    };
    let mut first = api.create(&PostParams::default(), &lease("a")).await.unwrap();
    assert_eq!(code(&api.create(&PostParams::default(), &lease("b")).await.unwrap_err()), 409);
    let mut second = first.clone();
    first.spec.as_mut().unwrap().lease_transitions = Some(1);
    second.spec.as_mut().unwrap().holder_identity = Some("b".into());
    api.replace("haldane", &PostParams::default(), &first).await.unwrap();
    assert_eq!(code(&api.replace("haldane", &PostParams::default(), &second).await.unwrap_err()), 409);
}

#[tokio::test]
async fn faults_strike_the_request_they_were_made_for() {
    let server = server().await;
    let (api, made) = created(&server).await;
    let faults = server.faults();
    let pause = |on: bool| Patch::Merge(json!({"spec": {"paused": on}}));
    let params = PatchParams::default();

    let mut second = faults.add(Rule::on(Verb::Patch, ROLLOUTS, Fault::denied(422, "no")).from(2));
    api.patch("fraud", &params, &pause(true)).await.unwrap();
    let denied = api.patch("fraud", &params, &pause(false)).await.unwrap_err();
    assert!(code(&denied) == 422 && denied.to_string().contains("denied"), "{denied}");
    second.struck(1).await;
    faults.clear();

    faults.add(Rule::on(Verb::Patch, ROLLOUTS, Fault::DropAfter));
    assert!(api.patch("fraud", &params, &pause(false)).await.is_err());
    assert!(!api.get("fraud").await.unwrap().spec.paused, "it was done before the connection broke");

    faults.add(Rule::on(Verb::Patch, ROLLOUTS, Fault::DropBefore));
    assert!(api.patch("fraud", &params, &pause(true)).await.is_err());
    assert!(!api.get("fraud").await.unwrap().spec.paused);

    faults.add(Rule::on(Verb::Get, ROLLOUTS, Fault::Stale(2)));
    assert_eq!(api.get("fraud").await.unwrap().resource_version(), made.resource_version());

    faults.add(Rule::on(Verb::Get, ROLLOUTS, Fault::Hang));
    assert!(tokio::time::timeout(Duration::from_millis(200), api.get("fraud")).await.is_err());

    faults.add(Rule::on(Verb::Get, ROLLOUTS, Fault::too_many(7)));
    assert_eq!(code(&api.get("fraud").await.unwrap_err()), 429);
    assert!(api.get("fraud").await.is_ok());

    let counts = faults.counts();
    assert_eq!(counts[&("patch", ROLLOUTS.to_owned())], 4);
    assert_eq!(counts[&("create", ROLLOUTS.to_owned())], 1);
    let last = faults.log().into_iter().rfind(|r| r.verb == Verb::Patch).unwrap();
    assert_eq!((last.body, last.code), (json!({"spec": {"paused": true}}), None));
}

#[tokio::test(start_paused = true)]
async fn the_client_in_the_process_works_in_virtual_time() {
    let server = server().await;
    let api: Api<Rollout> = Api::default_namespaced(server.client("ml"));
    let made = api.create(&PostParams::default(), &rollout("fraud")).await.unwrap();
    let watching = api.watch(&WatchParams::default().timeout(120), &made.resource_version().unwrap()).await.unwrap();
    let seen: Vec<_> = watching.collect().await;
    assert!(seen.iter().all(|e| matches!(e, Ok(WatchEvent::Bookmark(_)))), "{seen:?}");
    let later = api.create(&PostParams::default(), &rollout("later")).await.unwrap();
    let age = later.creation_timestamp().unwrap().0 - made.creation_timestamp().unwrap().0;
    assert_eq!(age.total(jiff::Unit::Second).unwrap(), 120.0);
}

fn gateway_api(server: &ApiServer, kind: &str) -> (ApiResource, Api<DynamicObject>) {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind));
    let api = Api::default_namespaced_with(over_http(server), &kind);
    (kind, api)
}

#[tokio::test]
async fn routes_of_the_gateway_api_are_stored_with_their_defaults() {
    let server = server().await;
    let (kind, api) = gateway_api(&server, "HTTPRoute");
    let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b", "port": 80}, "fraction": {"numerator": 5}}});
    let rule = json!({
        "name": "primary", "matches": [{"headers": [{"name": "x", "value": "1"}]}], "filters": [mirror],
        "backendRefs": [{"name": "a", "port": 80, "weight": 100}, {"name": "b", "port": 80}], "timeouts": {"request": "2s"},
    });
    let spec = json!({"parentRefs": [{"name": "g"}, {"group": "", "kind": "Service", "name": "fraud"}], "rules": [rule], "other": 1});
    let made = api.create(&PostParams::default(), &DynamicObject::new("fraud", &kind).data(json!({ "spec": spec }))).await.unwrap();
    let backend = |name: &str| json!({"group": "", "kind": "Service", "name": name, "port": 80});
    let weighted = |name: &str, weight: u64| json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight});
    let fraction = json!({"numerator": 5, "denominator": 100});
    let expected = json!({
        "parentRefs": [
            {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"},
            {"group": "", "kind": "Service", "name": "fraud"},
        ],
        "rules": [{
            "name": "primary",
            "matches": [{
                "path": {"type": "PathPrefix", "value": "/"}, "headers": [{"name": "x", "type": "Exact", "value": "1"}],
            }],
            "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": backend("b"), "fraction": fraction}}],
            "backendRefs": [weighted("a", 100), weighted("b", 1)], "timeouts": {"request": "2s"},
        }],
    });
    assert_eq!(made.data["spec"], expected);
    assert_eq!(made.metadata.generation, Some(1));
    let operations = json!([
        {"op": "test", "path": "/spec/rules/0/backendRefs/1/weight", "value": 1},
        {"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 5},
    ]);
    let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
    let after = api.patch("fraud", &PatchParams::apply("haldane"), &Patch::<()>::Json(patch)).await.unwrap();
    assert_eq!((after.metadata.generation, &after.data["spec"]["rules"][0]["backendRefs"][1]["weight"]), (Some(2), &json!(5)));
    let fields = after.managed_fields().last().unwrap().fields_v1.clone().unwrap().0;
    assert_eq!(fields, json!({"f:spec": {"f:rules": {}}}), "the list is one field");
    let condition = json!({
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "lastTransitionTime": "2026-11-23T12:00:00Z",
        "observedGeneration": 2,
    });
    let parent = json!({"parentRef": {"name": "g"}, "controllerName": "istio.io/gateway-controller", "conditions": [condition]});
    let status = Patch::Merge(json!({"status": {"parents": [parent]}}));
    let after = api.patch_status("fraud", &PatchParams::default(), &status).await.unwrap();
    assert_eq!(after.metadata.generation, Some(2));
    assert_eq!(after.data["status"]["parents"][0]["parentRef"]["kind"], "Gateway");
}

#[tokio::test]
async fn routes_of_the_gateway_api_are_refused_in_the_words_of_a_real_server() {
    let server = server().await;
    let backend = |name: &str| json!({"name": name, "port": 80});
    let mirror = |mirror: serde_json::Value| json!({"rules": [{"filters": [{"type": "RequestMirror", "requestMirror": mirror}]}]});
    let some = |count: usize, one: serde_json::Value| vec![one; count];
    let paths: Vec<_> = (0..43).map(|index| json!({"path": {"value": format!("/{index}")}})).collect();
    let twice = json!([{"name": "x", "value": "1"}, {"name": "x", "value": "2"}]);
    let cases = [
        ("HTTPRoute", json!({"rules": []}), "spec.rules: Invalid value: 0: spec.rules in body should have at least 1 items"),
        ("HTTPRoute", json!({"rules": some(17, json!({}))}), "spec.rules: Too many: 17: must have at most 16 items"),
        (
            "HTTPRoute",
            json!({"rules": [{"backendRefs": some(17, backend("a"))}]}),
            "spec.rules[0].backendRefs: Too many: 17: must have at most 16 items",
        ),
        (
            "HTTPRoute",
            json!({"rules": [{"backendRefs": [{"name": "a", "port": 80, "weight": 1_000_001}]}]}),
            "spec.rules[0].backendRefs[0].weight: Invalid value: 1000001: spec.rules[0].backendRefs[0].weight in body should be less than or \
             equal to 1000000",
        ),
        (
            "GRPCRoute",
            json!({"rules": [{"backendRefs": [{"name": "a", "port": 80, "weight": -1}]}]}),
            "spec.rules[0].backendRefs[0].weight: Invalid value: -1: spec.rules[0].backendRefs[0].weight in body should be greater than or \
             equal to 0",
        ),
        (
            "HTTPRoute",
            json!({"rules": [{"name": "Bad_Name"}]}),
            "spec.rules[0].name: Invalid value: \"Bad_Name\": spec.rules[0].name in body should match '^[a-z0-9]",
        ),
        ("HTTPRoute", json!({"rules": [{"backendRefs": [{"port": 80}]}]}), "spec.rules[0].backendRefs[0].name: Required value"),
        (
            "HTTPRoute",
            json!({"rules": [{"name": "x"}, {"name": "x"}]}),
            "spec.rules: Invalid value: Rule name must be unique within the route",
        ),
        (
            "HTTPRoute",
            json!({"rules": [{"backendRefs": [{"name": "a"}]}]}),
            "spec.rules[0].backendRefs[0]: Invalid value: Must have port for Service reference",
        ),
        (
            "HTTPRoute",
            mirror(json!({"backendRef": backend("a"), "percent": 5, "fraction": {"numerator": 500}})),
            "[spec.rules[0].filters[0].requestMirror: Invalid value: Only one of percent or fraction may be specified in \
             HTTPRequestMirrorFilter, spec.rules[0].filters[0].requestMirror.fraction: Invalid value: numerator must be less than or equal \
             to denominator]",
        ),
        (
            "HTTPRoute",
            json!({"rules": [{"filters": [{"type": "RequestMirror"}]}]}),
            "spec.rules[0].filters[0]: Invalid value: filter.requestMirror must be specified for RequestMirror filter.type",
        ),
        (
            "HTTPRoute",
            json!({"rules": [{"matches": [{"headers": twice}]}]}),
            r#"spec.rules[0].matches[0].headers[1]: Duplicate value: {"name":"x"}"#,
        ),
        (
            "HTTPRoute",
            json!({"rules": [{"matches": [{"path": {"type": "Exact", "value": "a"}}]}]}),
            "spec.rules[0].matches[0].path: Invalid value: value must be an absolute path and start with '/' when type one of ['Exact', \
             'PathPrefix']",
        ),
        (
            "GRPCRoute",
            json!({"rules": [{"matches": [{"method": {}}]}]}),
            "spec.rules[0].matches[0].method: Invalid value: One or both of 'service' or 'method' must be specified",
        ),
        (
            "HTTPRoute",
            json!({"rules": some(3, json!({ "matches": paths }))}),
            "spec.rules: Invalid value: While 16 rules and 64 matches per rule are allowed, the total number of matches across all rules in a \
             route must be less than 128",
        ),
    ];
    for (kind, spec, words) in cases {
        let (resource, api) = gateway_api(&server, kind);
        let object = DynamicObject::new("c", &resource).data(json!({ "spec": spec }));
        let kube::Error::Api(status) = api.create(&PostParams::default(), &object).await.unwrap_err() else { panic!() };
        assert!(status.code == 422 && status.message.contains(words), "{words} is not in {}", status.message);
    }
}

#[tokio::test]
async fn a_group_that_nobody_installed_is_in_no_discovery_and_its_paths_are_404() {
    let server = server().await;
    let client = over_http(&server);
    let (_, routes) = gateway_api(&server, "HTTPRoute");
    let groups = || async { client.list_api_groups().await.unwrap().groups.into_iter().map(|group| group.name).collect::<Vec<String>>() };
    assert!(groups().await.contains(&"gateway.networking.k8s.io".to_owned()));
    let listed = client.list_api_group_resources("gateway.networking.k8s.io/v1").await.unwrap().resources;
    let names: Vec<&str> = listed.iter().map(|resource| resource.name.as_str()).collect();
    assert_eq!(names, ["httproutes", "httproutes/status", "grpcroutes", "grpcroutes/status"]);
    assert!(routes.list(&ListParams::default()).await.unwrap().items.is_empty());

    for group in ["gateway.networking.k8s.io", "networking.istio.io"] {
        server.set_served(group, false);
        assert!(!groups().await.contains(&group.to_owned()));
    }
    assert_eq!(code(&routes.list(&ListParams::default()).await.unwrap_err()), 404);
    assert!(client.list_api_group_resources("gateway.networking.k8s.io/v1").await.is_err());
    let rule = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule"));
    let rules: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &rule);
    assert_eq!(code(&rules.get("fraud").await.unwrap_err()), 404);

    server.set_served("gateway.networking.k8s.io", true);
    assert!(routes.list(&ListParams::default()).await.unwrap().items.is_empty());
    assert!(groups().await.contains(&"gateway.networking.k8s.io".to_owned()));
}
