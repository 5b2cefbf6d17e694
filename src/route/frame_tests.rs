//! Nothing outside our leaves changes, and what we did can be undone: for thousands of generated VirtualServices, and for the shapes that
//! Istio's own samples have.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{tests::claim, *};
use crate::{
    api::{Destination, Match, names::MANAGED},
    plan::Share,
};

const CANARY: &str = "v2";

fn matches(pick: usize) -> Vec<Match> {
    let all = [
        json!([{"headers": {"x-user-group": {"exact": "beta"}}}]),
        json!([{"headers": {"cookie": {"regex": "^(.*; )?group=beta(;.*)?$"}}}, {"queryParams": {"model": {"exact": "v2"}}}]),
        json!([{"uri": {"exact": "/api/beta"}}]),
        json!([{"headers": {"x-region": {"prefix": "eu"}}, "uri": {"prefix": "/api"}}]),
    ];
    serde_json::from_value(all[pick % all.len()].clone()).unwrap()
}

fn wanted(view: &View, canary: &Destination, share: Share, pick: usize) -> Wanted {
    let original = view.claim.as_ref().map(|claim| claim.original.clone()).unwrap_or_default();
    let claim = Claim { share, original, canary: canary.clone(), ..claim(0) };
    Wanted { stable: "v1".into(), canary: CANARY.into(), matches: if share.matched { matches(pick) } else { Vec::new() }, claim }
}

fn apply(object: &Value, patch: &json_patch::Patch) -> Value {
    let mut object = object.clone();
    json_patch::patch(&mut object, patch).unwrap();
    object
}

/// The API server keeps no empty map of annotations.
fn stored(mut object: Value) -> Value {
    if object["metadata"]["annotations"] == json!({}) {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    object
}

/// Everything but our leaves: weights of the managed route and what was not there before of the canary, our route, our annotation.
fn without_ours(object: &Value, before: &Value, managed: &str) -> Value {
    let mut object = object.clone();
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(MANAGED);
    }
    let routes = object["spec"]["http"].as_array_mut().unwrap();
    routes.retain(|route| !route["name"].as_str().unwrap_or_default().starts_with("haldane.dev/"));
    for (index, route) in routes.iter_mut().enumerate() {
        let old = &before["spec"]["http"][index];
        let is = |entry: &Value, version: &str| {
            let host = entry["destination"]["host"].as_str().and_then(|host| host.split('.').next());
            (host == Some("fraud") && entry["destination"]["subset"] == version) || host == Some(version)
        };
        let stable = |entry: &Value| is(entry, "v1");
        let unnamed = managed.is_empty() && route["route"].as_array().is_some_and(|list| list.iter().any(stable));
        if route["name"] != managed && !unnamed {
            continue;
        }
        let canary = |entry: &Value| is(entry, CANARY);
        let had = old["route"].as_array().unwrap().iter().any(canary);
        let entries = route["route"].as_array_mut().unwrap();
        entries.retain(|entry| had || !canary(entry));
        entries.iter_mut().for_each(|entry| {
            entry.as_object_mut().unwrap().remove("weight");
        });
        if let Some(mirrors) = route.get_mut("mirrors").and_then(Value::as_array_mut) {
            mirrors.retain(|mirror| !canary(mirror));
            if mirrors.is_empty() && old.get("mirrors").is_none() {
                route.as_object_mut().unwrap().remove("mirrors");
            }
        }
    }
    stored(object)
}

/// The same with a Service for each version: `fraud` with subset `v1` becomes the Service `v1`.
fn with_services(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let version = fields.get("host").zip(fields.get("subset")).and_then(|(host, subset)| Some((host.as_str()?, subset.as_str()?)));
            let mut fields: serde_json::Map<_, _> = fields.iter().map(|(name, value)| (name.clone(), with_services(value))).collect();
            if let Some((host, subset)) = version.filter(|(host, _)| host.split('.').next() == Some("fraud")) {
                fields.remove("subset");
                fields.insert("host".into(), host.replacen("fraud", subset, 1).into());
            }
            Value::Object(fields)
        }
        Value::Array(list) => list.iter().map(with_services).collect(),
        other => other.clone(),
    }
}

/// Goes through the shares one after the other, down to nothing, and is taken out. Whether all of them could be written.
fn there_and_back(before: &Value, managed: &str, canary: &Destination, shares: &[(Share, usize)]) -> Result<bool, TestCaseError> {
    let name = Some(managed).filter(|name| !name.is_empty());
    let sought = Sought { canary, ..Sought::subsets(name) };
    let mut now = before.clone();
    let mut all = true;
    for (share, pick) in shares.iter().copied().chain([(Share::NONE, 0)]) {
        let view = find(&now, sought).unwrap();
        let wanted = wanted(&view, canary, share, pick);
        let Ok(ops) = patch(&view, &wanted, if share.is_none() { Fence::Identity } else { Fence::Version }) else {
            prop_assert!(share.matched, "only a match can be in the way");
            all = false;
            continue;
        };
        now = apply(&now, &ops);
        let view = find(&now, sought).unwrap();
        prop_assert_eq!(view.found(CANARY), share);
        prop_assert_eq!(view.sum(), 100);
        prop_assert_eq!(view.claim.as_ref().unwrap().share, share);
        prop_assert_eq!(without_ours(&now, before, managed), without_ours(before, before, managed), "outside our leaves");
        if share.matched {
            prop_assert_eq!(view.own_route(CANARY, &wanted.matches), Ok(OwnRoute::AsWanted));
        }
        let again = patch(&view, &Wanted { claim: view.claim.clone().unwrap(), ..wanted }, Fence::Version).unwrap();
        prop_assert!(again.0.iter().all(|op| matches!(op, json_patch::PatchOperation::Test(_))), "written twice: {:?}", again);
    }
    let view = find(&now, sought).unwrap();
    let after = stored(apply(&now, &release(&view, "v1", Some(CANARY))));
    prop_assert_eq!(&after, &stored(before.clone()), "there and back");
    Ok(all)
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!({"exact": "a"})), Just(json!({"prefix": "/api"})), Just(json!({"regex": "a.*"}))]
}

fn some(field: &'static str, value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    (any::<bool>(), value).prop_map(move |(there, value)| if there { json!({field: value}) } else { json!({}) })
}

fn merged(parts: Vec<Value>) -> Value {
    parts.into_iter().filter_map(|part| part.as_object().cloned()).flatten().collect()
}

fn fields(parts: Vec<BoxedStrategy<Value>>) -> BoxedStrategy<Value> {
    parts.prop_map(merged).boxed()
}

fn one_match() -> BoxedStrategy<Value> {
    let uri = prop_oneof![Just(json!({"prefix": "/api"})), Just(json!({"exact": "/v1/score"})), Just(json!({"regex": "/[a-z]+"}))];
    let headers = prop_oneof![
        text().prop_map(|text| json!({"x-tenant": text})),
        Just(json!({"x-region": {"prefix": "eu"}})),
        Just(json!({"x-user-group": {"exact": "gold"}})),
    ];
    fields(vec![
        some("name", Just(json!("a match"))).boxed(),
        some("uri", uri).boxed(),
        some("headers", headers).boxed(),
        some("method", Just(json!({"exact": "POST"}))).boxed(),
        some("queryParams", Just(json!({"lang": {"exact": "en"}}))).boxed(),
        some("withoutHeaders", Just(json!({"x-internal": {}}))).boxed(),
        some("sourceLabels", Just(json!({"app": "web"}))).boxed(),
        Just(json!({"port": 8080})).boxed(),
    ])
}

fn settings() -> BoxedStrategy<Value> {
    fields(vec![
        some("timeout", Just(json!("3s"))).boxed(),
        some("retries", Just(json!({"attempts": 2, "perTryTimeout": "1s", "retryOn": "5xx"}))).boxed(),
        some("rewrite", prop_oneof![Just(json!({"uri": "/"})), Just(json!({"authority": "fraud.ml"}))]).boxed(),
        some("headers", Just(json!({"request": {"set": {"x-a": "b"}}, "response": {"remove": ["server"]}}))).boxed(),
        some("fault", Just(json!({"delay": {"percentage": {"value": 0.1}, "fixedDelay": "5s"}}))).boxed(),
        some("corsPolicy", Just(json!({"allowOrigins": [{"exact": "https://example.com"}], "maxAge": "24h"}))).boxed(),
        some("a-field-of-tomorrow", Just(json!({"nested": [1, 2.5, null, {"deep": true}]}))).boxed(),
    ])
}

fn mirrors() -> BoxedStrategy<Value> {
    let log = json!({"destination": {"host": "log", "port": {"number": 80}}, "percentage": {"value": 12.5}});
    let other = json!({"destination": {"host": "fraud", "subset": "v3"}});
    prop_oneof![
        3 => Just(json!({})),
        1 => Just(json!({"mirrors": [log]})),
        1 => Just(json!({"mirrors": [log, other]})),
        1 => Just(json!({"mirrors": []})),
        1 => Just(json!({"mirror": {"host": "log"}, "mirrorPercentage": {"value": 5.0}})),
    ]
    .boxed()
}

fn destinations() -> BoxedStrategy<Value> {
    let port = json!({"number": 80});
    let to = move |subset: &str, with_port: bool| {
        if with_port { json!({"host": "fraud", "subset": subset, "port": port}) } else { json!({"host": "fraud", "subset": subset}) }
    };
    // What is alone gets everything, whatever its weight; beside others a missing one is nothing, and any sum will do.
    let alone = proptest::sample::select(vec![None, None, Some(100), Some(0), Some(1)]);
    let beside = proptest::sample::select(vec![(100, Some(0)), (100, None), (1000, Some(0)), (7, None)]);
    (any::<[bool; 5]>(), alone, beside)
        .prop_map(move |([port, full, canary, third, headers], alone, (most, rest))| {
            let mut list = vec![json!({"destination": to("v1", port)})];
            if let Some(weight) = if canary || third { Some(most) } else { alone } {
                list[0]["weight"] = json!(weight);
            }
            if headers {
                list[0]["headers"] = json!({"response": {"set": {"x-version": "v1"}}});
            }
            let with = |mut entry: Value| {
                if let Some(rest) = rest {
                    entry["weight"] = json!(rest);
                }
                entry
            };
            if third {
                list.insert(0, with(json!({"destination": to("v3", port)})));
            }
            if canary {
                list.push(with(json!({"destination": to(CANARY, port), "headers": {"request": {"add": {"x-canary": "1"}}}})));
            }
            if full {
                let last = list.len() - 1;
                list[last]["destination"]["host"] = json!("fraud.ml.svc.cluster.local");
            }
            Value::from(list)
        })
        .boxed()
}

/// A route that is not the managed one.
fn other_route() -> BoxedStrategy<Value> {
    let leads = prop_oneof![
        Just(json!({"route": [{"destination": {"host": "health"}}]})),
        Just(json!({"redirect": {"uri": "/new", "authority": "example.com"}})),
        Just(json!({"directResponse": {"status": 503, "body": {"string": "closed"}}})),
        Just(json!({"delegate": {"name": "reviews", "namespace": "shop"}})),
    ];
    (leads, proptest::collection::vec(one_match(), 1..3), settings(), some("name", Just(json!("another"))))
        .prop_map(|(leads, matches, settings, name)| merged(vec![settings, leads, json!({"match": matches}), name]))
        .boxed()
}

/// An object, and the name of its managed route; empty where it has none.
fn virtual_service() -> BoxedStrategy<(Value, String)> {
    let managed = (destinations(), proptest::collection::vec(one_match(), 0..3), settings(), mirrors(), any::<bool>(), any::<bool>());
    let around = (proptest::collection::vec(other_route(), 0..3), proptest::collection::vec(other_route(), 0..2));
    (managed, around, any::<[bool; 4]>())
        .prop_map(|((route, list, settings, mirrors, named, listed), (above, below), [annotated, ours, gateways, tcp])| {
            let matches = if listed { json!({"match": list}) } else { json!({}) };
            let name = if named { "primary" } else { "" };
            let named = if named { json!({"name": name}) } else { json!({}) };
            let managed = merged(vec![settings, mirrors, matches, named, json!({"route": route})]);
            let http: Vec<Value> = above.into_iter().chain([managed]).chain(below).collect();
            let mut object = json!({
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
                "metadata": {"name": "fraud", "namespace": "ml", "resourceVersion": "41", "labels": {"team": "risk"}},
                "spec": {"hosts": ["fraud", "fraud.example.com"], "http": http}, "status": {"conditions": []},
            });
            if annotated {
                object["metadata"]["annotations"] = json!({"note": "kept"});
                if ours {
                    let other =
                        json!({"elsewhere": {"rollout": "x", "uid": "9", "epoch": 1, "subset": "v9", "revision": "r", "weight": 0}});
                    object["metadata"]["annotations"][MANAGED] = json!(other.to_string());
                }
            }
            if gateways {
                object["spec"]["gateways"] = json!(["mesh", "istio-system/public"]);
            }
            if tcp {
                object["spec"]["tcp"] = json!([{"match": [{"port": 27017}], "route": [{"destination": {"host": "mongo"}, "weight": 100}]}]);
            }
            (object, name.to_owned())
        })
        .boxed()
}

fn share() -> BoxedStrategy<(Share, usize)> {
    let weight = proptest::sample::select(vec![0_u8, 1, 5, 50, 99, 100]);
    let mirror = proptest::sample::select(vec![0_u8, 0, 1, 37, 100]);
    (weight, mirror, any::<bool>(), any::<usize>())
        .prop_map(|(weight, mirror, matched, pick)| (Share { weight, mirror, matched }, pick))
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
    #[test]
    fn there_and_back_is_the_identity_and_nothing_else_changes((object, managed) in virtual_service(), shares in proptest::collection::vec(share(), 1..5)) {
        // A claim of another route may stand in the annotation: it is somebody else's, and stays.
        there_and_back(&object, &managed, &Destination::Subset(CANARY.into()), &shares)?;
        let (object, service) = (with_services(&object), Destination::Service(CANARY.into()));
        // A route without a name is found because it alone leads to the canary, or to Services at all.
        let clear = find(&object, Sought { canary: &service, ..Sought::subsets(Some(managed.as_str()).filter(|name| !name.is_empty())) });
        if clear.is_ok_and(|view| view.entries.iter().any(|entry| entry.name == "v1")) {
            there_and_back(&object, &managed, &service, &shares)?;
        }
    }
}

/// The shapes of Istio's samples and tasks, in our own words: name of the managed route and the object's `spec.http`.
fn shapes() -> Vec<(&'static str, Value)> {
    let v1 = json!({"destination": {"host": "fraud", "subset": "v1"}});
    let weighted = |weight: u8| json!({"destination": {"host": "fraud", "subset": "v1"}, "weight": weight});
    vec![
        // Everything to one version.
        ("", json!([{"route": [v1]}])),
        // Two versions by weight; three of them.
        ("", json!([{"route": [weighted(100), {"destination": {"host": "fraud", "subset": CANARY}, "weight": 0}]}])),
        ("", json!([{"route": [{"destination": {"host": "fraud", "subset": "v3"}, "weight": 0}, weighted(100)]}])),
        // One user by a header before everybody else.
        (
            "all",
            json!([
                {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "route": [{"destination": {"host": "ratings", "subset": "v2"}}]},
                {"name": "all", "route": [v1]},
            ]),
        ),
        // A login by a cookie.
        (
            "all",
            json!([
                {"match": [{"headers": {"cookie": {"regex": "^(.*?;)?(user=tester)(;.*)?$"}}}], "route": [{"destination": {"host": "login"}}]},
                {"name": "all", "route": [v1]},
            ]),
        ),
        // Paths of a product page at a gateway.
        (
            "",
            json!([{"match": [{"uri": {"exact": "/page"}}, {"uri": {"prefix": "/static"}}, {"uri": {"prefix": "/api/v1"}}],
                    "route": [{"destination": {"host": "fraud", "subset": "v1", "port": {"number": 9080}}}]}]),
        ),
        // A delay and an abort for one user.
        (
            "all",
            json!([
                {"match": [{"headers": {"end-user": {"exact": "jason"}}}],
                 "fault": {"delay": {"percentage": {"value": 100.0}, "fixedDelay": "7s"}}, "route": [{"destination": {"host": "ratings"}}]},
                {"name": "all", "fault": {"abort": {"percentage": {"value": 0.5}, "httpStatus": 500}}, "route": [v1]},
            ]),
        ),
        // Timeout and retries.
        ("", json!([{"route": [v1], "timeout": "0.5s", "retries": {"attempts": 3, "perTryTimeout": "2s"}}])),
        // A mirror of the user's own, in both spellings.
        ("", json!([{"route": [weighted(100)], "mirrors": [{"destination": {"host": "audit"}, "percentage": {"value": 100.0}}]}])),
        ("", json!([{"route": [weighted(100)], "mirror": {"host": "audit"}, "mirrorPercentage": {"value": 100.0}}])),
        // A rewrite of a prefix, headers that are set, cross origin.
        (
            "",
            json!([{"match": [{"uri": {"prefix": "/ratings"}}], "rewrite": {"uri": "/v1/ratings"}, "route": [v1],
                    "headers": {"response": {"set": {"x-served-by": "fraud"}}},
                    "corsPolicy": {"allowOrigins": [{"exact": "example.com"}], "allowMethods": ["POST", "GET"], "allowCredentials": false}}]),
        ),
        // A redirect, a direct answer and a delegate beside it.
        (
            "primary",
            json!([
                {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/new"}},
                {"match": [{"uri": {"prefix": "/closed"}}], "directResponse": {"status": 503}},
                {"match": [{"uri": {"prefix": "/reviews"}}], "delegate": {"name": "reviews", "namespace": "shop"}},
                {"name": "primary", "route": [v1]},
            ]),
        ),
        // One namespace and one gateway only.
        (
            "",
            json!([{"match": [{"sourceNamespace": "shop", "gateways": ["mesh"]}, {"port": 8443, "gateways": ["public"]}], "route": [v1]}]),
        ),
    ]
}

#[test]
fn the_shapes_of_the_public_samples_come_back_as_they_were() {
    let mut written = 0;
    for (managed, http) in shapes() {
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "fraud", "resourceVersion": "1"},
            "spec": {"hosts": ["*"], "gateways": ["gateway"], "http": http},
        });
        for weight in [0, 5, 100] {
            for mirror in [0, 100] {
                for matched in [false, true] {
                    for pick in 0..4 {
                        let share = Share { weight, mirror, matched };
                        let shares = [(share, pick), (Share::weight(100), 0)];
                        let subset = Destination::Subset(CANARY.into());
                        written += usize::from(there_and_back(&object, managed, &subset, &shares).unwrap());
                        let service = Destination::Service(CANARY.into());
                        written += usize::from(there_and_back(&with_services(&object), managed, &service, &shares).unwrap());
                    }
                }
            }
        }
    }
    assert!(written > 800, "{written}");
}
