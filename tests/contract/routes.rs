//! HTTPRoutes and GRPCRoutes of many shapes on a real kube-apiserver with the CRDs of the Gateway API: it takes every object that we patch,
//! fills its defaults in, and what it keeps is found again as we wanted it.

use std::{path::Path, time::Duration};

use haldane::{
    api::{Destination, RouteKind},
    plan::Share,
    route::{Claim, Fence, Original, OwnRoute, Sought, View, Wanted, find, patch, release},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams, ValidationDirective},
    core::{DynamicObject, GroupVersionKind, discovery::ApiResource},
};
use serde_json::{Value, json};

/// The CRDs as tests/stack/build took them from their module.
fn crds() -> Vec<Value> {
    let home = std::env::var("HOME").unwrap_or_default();
    let stack = std::env::var("HALDANE_STACK_DIR").unwrap_or(format!("{home}/.cache/haldane-stack"));
    let text = std::fs::read_to_string(Path::new(&stack).join("share/gateway-api-crds.yaml")).unwrap();
    let all: Vec<Value> = serde_yaml::from_multiple(&text).unwrap();
    all.into_iter().filter(|crd| ["HTTPRoute", "GRPCRoute"].iter().any(|kind| crd["spec"]["names"]["kind"] == *kind)).collect()
}

/// Rules of many shapes; the managed one is `primary`.
fn shapes(kind: RouteKind) -> Vec<Value> {
    let backend = |name: &str, weight: Option<u64>| {
        let mut backend = json!({"name": name, "port": 80});
        if let Some(weight) = weight {
            backend["weight"] = weight.into();
        }
        backend
    };
    let path = |word: &str, value: &str| json!({"path": {"type": word, "value": value}});
    let matches = match kind {
        RouteKind::GrpcRoute => vec![
            json!(null),
            json!([{"method": {"service": "scoring.Scorer"}}]),
            json!([{"headers": [{"name": "x-tenant", "value": "a"}]}, {"method": {"service": "scoring.Scorer", "method": "Score"}}]),
        ],
        _ => vec![
            json!(null),
            json!([path("Exact", "/v1/score"), path("PathPrefix", "/api")]),
            json!([{"path": {"value": "/api"}, "method": "POST", "headers": [{"name": "x-tenant", "value": "[ab]", "type": "RegularExpression"}]}]),
            json!([{"queryParams": [{"name": "lang", "value": "en"}]}]),
        ],
    };
    let set = json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-a", "value": "b"}]}});
    let audit = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "audit", "port": 80}}});
    let part = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "audit", "port": 80}, "fraction": {"numerator": 1, "denominator": 3}}});
    let filters = [json!(null), json!([set]), json!([audit, set]), json!([part])];
    let weights = [[Some(100), Some(0)], [Some(1), None], [None, None], [Some(7), Some(0)]];
    let mut found = Vec::new();
    for (at, one) in matches.iter().enumerate() {
        for (filter, filters) in filters.iter().enumerate() {
            for (pair, [stable, canary]) in weights.into_iter().enumerate() {
                let mut refs = vec![backend("fraud-v1", stable)];
                if canary.is_some() {
                    refs.push(backend("fraud-v2", canary));
                }
                let mut rule = json!({"name": "primary", "backendRefs": refs});
                for (field, value) in [("matches", one), ("filters", filters)] {
                    if !value.is_null() {
                        rule[field] = value.clone();
                    }
                }
                if kind == RouteKind::HttpRoute && pair == 1 {
                    rule["timeouts"] = json!({"request": "3s"});
                }
                let others = (0..(at + filter + pair) % 4).map(|other| json!({"name": format!("other-{other}"), "matches": other_match(kind, other), "backendRefs": [backend("other", None)]}));
                let mut rules: Vec<Value> = others.collect();
                rules.insert(rules.len() / 2, rule);
                found.push(json!(rules));
            }
        }
    }
    found
}

fn other_match(kind: RouteKind, at: usize) -> Value {
    match kind {
        RouteKind::GrpcRoute => json!([{"method": {"service": format!("other.S{at}")}}]),
        _ => json!([{"path": {"type": "Exact", "value": format!("/other/{at}")}}]),
    }
}

fn wanted(view: &View, canary: &Destination, share: Share) -> Wanted {
    let matches = json!([{"headers": {"x-group": {"exact": "beta"}}}, {"headers": {"x-tenant": {"prefix": "a"}}}]);
    let claim = Claim {
        rollout: "fraud".into(),
        uid: "u".into(),
        epoch: 3,
        canary: canary.clone(),
        revision: "abc".into(),
        step: None,
        share,
        own: None,
        lowered: None,
        latch: None,
        original: view.claim.as_ref().map_or_else(Original::default, |claim| claim.original.clone()),
    };
    let matches = if share.matched { serde_json::from_value(matches).unwrap() } else { Vec::new() };
    Wanted { stable: "fraud-v1".into(), canary: canary.name().into(), matches, claim }
}

/// All shapes through several shares, there and back. Gives how many writes were taken.
pub(crate) async fn there_and_back(client: &Client) -> usize {
    let definitions: Api<DynamicObject> = Api::all_with(
        client.clone(),
        &ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition")),
    );
    for crd in crds() {
        definitions.create(&PostParams::default(), &serde_json::from_value(crd).unwrap()).await.unwrap();
    }
    let canary = Destination::Service("fraud-v2".into());
    let shares = [
        Share::weight(5),
        Share { weight: 20, mirror: 37, matched: true },
        Share { mirror: 100, ..Share::NONE },
        Share { matched: true, ..Share::NONE },
        Share::weight(100),
        Share::NONE,
    ];
    let mut written = 0;
    for kind in [RouteKind::HttpRoute, RouteKind::GrpcRoute] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(kind.group(), "v1", kind.kind()));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "ml", &resource);
        for _ in 0..100 {
            if api.list(&Default::default()).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for (at, rules) in shapes(kind).into_iter().enumerate() {
            let name = format!("shape-{at}");
            let parents = json!([{"name": "public"}]);
            let object = DynamicObject::new(&name, &resource).data(json!({"spec": {"parentRefs": parents, "rules": rules}}));
            let before = api.create(&PostParams::default(), &object).await.unwrap_or_else(|error| panic!("{kind:?} {rules}: {error}"));
            let before = serde_json::to_value(before).unwrap();
            let mut now = before.clone();
            let sought = Sought { kind, route: Some("primary"), canary: &canary };
            for share in shares {
                let view = find(&now, sought).unwrap();
                let wanted = wanted(&view, &canary, share);
                let Ok(ops) = patch(&view, &wanted, Fence::Version) else { continue };
                let answer = api.patch(&name, &PatchParams::default(), &Patch::Json::<DynamicObject>(ops)).await;
                now = serde_json::to_value(answer.unwrap_or_else(|error| panic!("{kind:?} {share:?} {rules}: {error}"))).unwrap();
                written += 1;
                let view = find(&now, sought).unwrap();
                assert_eq!((view.found("fraud-v2"), view.sum()), (share, 100), "{rules}");
                if share.matched {
                    assert_eq!(view.own_route("fraud-v2", &wanted.matches), Ok(OwnRoute::AsWanted), "{now}");
                }
                let again = patch(&view, &Wanted { claim: view.claim.clone().unwrap(), ..wanted }, Fence::Version).unwrap();
                assert!(again.0.iter().all(|op| matches!(op, json_patch::PatchOperation::Test(_))), "written twice: {again:?}");
            }
            let ops = release(&find(&now, sought).unwrap(), "fraud-v1", Some("fraud-v2"));
            let after = api.patch(&name, &PatchParams::default(), &Patch::Json::<DynamicObject>(ops)).await.unwrap();
            let after = serde_json::to_value(after).unwrap();
            assert_eq!(after["spec"], before["spec"], "{rules}");
            assert!(after["metadata"].get("annotations").is_none_or(|annotations| annotations == &json!({})), "{after}");
        }
    }
    written
}

/// A CRD without the percent of a mirror, as older ones are: a write up asks the server to be strict, so that it refuses the field by its name
/// instead of dropping it, which would copy every request.
pub(crate) async fn an_older_crd_refuses_the_percent_of_a_mirror(client: &Client) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
    let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let mut crd = definitions.get("httproutes.gateway.networking.k8s.io").await.unwrap();
    let below = "/schema/openAPIV3Schema/properties/spec/properties/rules/items/properties/filters/items/properties/requestMirror";
    for version in crd.data["spec"]["versions"].as_array_mut().unwrap() {
        let mirror = version.pointer_mut(below).and_then(Value::as_object_mut).unwrap();
        mirror.remove("x-kubernetes-validations");
        assert!(mirror["properties"].as_object_mut().unwrap().remove("percent").is_some());
    }
    definitions.replace("httproutes.gateway.networking.k8s.io", &PostParams::default(), &crd).await.unwrap();
    let routes = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "ml", &routes);
    let rules = json!([{"name": "primary", "backendRefs": [{"name": "fraud-v1", "port": 80}]}]);
    let object = DynamicObject::new("older", &routes).data(json!({"spec": {"parentRefs": [{"name": "public"}], "rules": rules}}));
    let made = serde_json::to_value(api.create(&PostParams::default(), &object).await.unwrap()).unwrap();
    let canary = Destination::Service("fraud-v2".into());
    let view = find(&made, Sought { kind: RouteKind::HttpRoute, route: Some("primary"), canary: &canary }).unwrap();
    let share = Share { mirror: 37, ..Share::NONE };
    let ops = patch(&view, &wanted(&view, &canary, share), Fence::Identity).unwrap();
    let strict = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::default() };
    for _ in 0..100 {
        // The server takes the new schema a moment later.
        match api.patch("older", &PatchParams { dry_run: true, ..strict.clone() }, &Patch::Json::<DynamicObject>(ops.clone())).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(kube::Error::Api(status)) => {
                assert_eq!(status.code, 422, "{status:?}");
                assert!(status.message.contains("unknown field \"spec.rules[0].filters[0].requestMirror.percent\""), "{}", status.message);
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a field that the schema does not have was taken");
}
