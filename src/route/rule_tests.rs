//! Rules of HTTPRoutes and GRPCRoutes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    tests::{apply, claim, patched},
    *,
};
use crate::api::{Destination, Match, RouteKind, names::MANAGED};
use crate::gateway_api::status::Programmed;
use crate::plan::Share;

fn canary() -> Destination {
    Destination::Service("fraud-v2".into())
}

fn route(kind: RouteKind, rules: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind.kind(),
        "metadata": {"name": "fraud", "namespace": "ml", "resourceVersion": "41", "generation": 1},
        "spec": {"parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"}], "rules": rules},
    })
}

fn backend(name: &str, weight: u64) -> Value {
    json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight})
}

fn everything() -> Value {
    json!([{"path": {"type": "PathPrefix", "value": "/"}}])
}

fn matches(value: Value) -> Vec<Match> {
    serde_json::from_value(value).unwrap()
}

fn beta() -> Vec<Match> {
    matches(json!([{"headers": {"x-group": {"exact": "beta"}}}]))
}

fn wanted(view: &View, share: Share, matches: Vec<Match>) -> Wanted {
    let original = view.claim.as_ref().map(|claim| claim.original.clone()).unwrap_or_default();
    let claim = Claim { share, original, canary: canary(), ..claim(0) };
    Wanted { stable: "fraud-v1".into(), canary: "fraud-v2".into(), matches: if share.matched { matches } else { Vec::new() }, claim }
}

fn look(kind: RouteKind, object: &Value, rule: Option<&str>) -> Result<View, RouteFault> {
    find(object, Sought { kind, route: rule, canary: &canary() })
}

#[test]
fn weights_of_any_sum_are_read_and_sums_of_100_are_written() {
    let before = route(
        RouteKind::HttpRoute,
        json!([{"name": "all", "matches": everything(), "backendRefs": [backend("fraud-v1", 1), backend("fraud-v2", 0)]}]),
    );
    let view = look(RouteKind::HttpRoute, &before, None).unwrap();
    assert_eq!((view.key.as_str(), view.sole(), view.words().as_str()), ("all", Some("fraud-v1"), "fraud-v1 100 %, fraud-v2 0 %"));
    let after = apply(&before, &patched(&view, &wanted(&view, Share::weight(5), Vec::new()), Fence::Version));
    assert_eq!(after["spec"]["rules"][0]["backendRefs"], json!([backend("fraud-v1", 95), backend("fraud-v2", 5)]));
    let view = look(RouteKind::HttpRoute, &after, None).unwrap();
    assert_eq!(view.found("fraud-v2"), Share::weight(5));
    assert_eq!(stored(apply(&after, &release(&view, "fraud-v1", Some("fraud-v2")))), before);
}

#[test]
fn a_reference_without_a_weight_has_1() {
    let bare = |name: &str| json!({"name": name, "port": 80});
    let before = route(RouteKind::HttpRoute, json!([{"backendRefs": [bare("fraud-v1"), bare("fraud-v2")]}]));
    let view = look(RouteKind::HttpRoute, &before, None).unwrap();
    assert_eq!((view.share("fraud-v1"), view.share("fraud-v2"), view.sole()), (50, 50, None));
    let alone = route(RouteKind::HttpRoute, json!([{"backendRefs": [bare("fraud-v1")]}]));
    let view = look(RouteKind::HttpRoute, &alone, None).unwrap();
    let after = apply(&alone, &patched(&view, &wanted(&view, Share::weight(20), Vec::new()), Fence::Version));
    let stable = json!({"name": "fraud-v1", "port": 80, "weight": 80});
    assert_eq!(after["spec"]["rules"][0]["backendRefs"], json!([stable, backend("fraud-v2", 20)]));
    assert_eq!(stored(apply(&after, &release(&look(RouteKind::HttpRoute, &after, None).unwrap(), "fraud-v1", None))), alone);
}

#[test]
fn a_cohort_takes_nothing_from_a_more_specific_rule() {
    let tenant = |name: &str| json!({"name": "tenant", "matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [{"name": name, "value": "a"}]}], "backendRefs": [backend("tenant", 1)]});
    let all = json!({"name": "all", "matches": everything(), "backendRefs": [backend("fraud-v1", 1)]});
    let two = || matches(json!([{"headers": {"x-group": {"exact": "beta"}, "x-region": {"exact": "eu"}}}]));
    let told = |rules: Value, ours: Vec<Match>| {
        let object = route(RouteKind::HttpRoute, rules);
        look(RouteKind::HttpRoute, &object, Some("all")).unwrap().own_route("fraud-v2", &ours).map_err(|conflict| conflict.what)
    };
    let words = |fix: &str| {
        Err(format!(
            "rule tenant asks for more than the rule that is stepped, and with the step's match its requests would reach the canary: {fix}"
        ))
    };
    assert_eq!(told(json!([tenant("x-tenant"), all]), beta()), Ok(OwnRoute::Absent), "of two that ask for as much the first is reached");
    assert_eq!(told(json!([all, tenant("x-tenant")]), beta()), words("put rule tenant above it"));
    assert_eq!(told(json!([tenant("x-tenant"), all]), two()), words("ask for less in the step, or for more in rule tenant"));
    assert_eq!(told(json!([tenant("x-group"), all]), two()), Ok(OwnRoute::Absent), "no request has both values");
    let path = json!({"name": "batch", "matches": [{"path": {"type": "Exact", "value": "/batch"}}], "backendRefs": [backend("batch", 1)]});
    assert_eq!(told(json!([all, path]), two()), Ok(OwnRoute::Absent), "a longer path comes before any header");
}

#[test]
fn the_canarys_reference_gets_the_filters_of_stables() {
    let filters =
        json!([{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "authorization", "value": "models"}]}}]);
    let stable = json!({"name": "fraud-v1", "port": 80, "weight": 1, "filters": filters});
    let before = route(RouteKind::HttpRoute, json!([{"name": "all", "matches": everything(), "backendRefs": [stable]}]));
    let view = look(RouteKind::HttpRoute, &before, Some("all")).unwrap();
    let share = Share { weight: 20, matched: true, ..Share::NONE };
    let after = apply(&before, &patched(&view, &wanted(&view, share, beta()), Fence::Version));
    let rules = after["spec"]["rules"].as_array().unwrap();
    let canary: Vec<&Value> =
        rules.iter().flat_map(|rule| rule["backendRefs"].as_array().unwrap()).filter(|to| to["name"] == "fraud-v2").collect();
    assert_eq!(canary.iter().map(|to| &to["filters"]).collect::<Vec<_>>(), [&filters, &filters], "by weight, and for the cohort");
    let view = look(RouteKind::HttpRoute, &after, Some("all")).unwrap();
    assert_eq!(stored(apply(&after, &release(&view, "fraud-v1", Some("fraud-v2")))), before);
}

#[test]
fn a_mirror_is_a_filter_with_a_percent() {
    let own = json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-a", "value": "b"}]}});
    let before = route(
        RouteKind::HttpRoute,
        json!([{"name": "all", "matches": everything(), "filters": [own], "backendRefs": [backend("fraud-v1", 1)]}]),
    );
    let view = look(RouteKind::HttpRoute, &before, Some("all")).unwrap();
    let share = Share { mirror: 25, ..Share::NONE };
    let after = apply(&before, &patched(&view, &wanted(&view, share, Vec::new()), Fence::Version));
    let backend_ref = json!({"group": "", "kind": "Service", "name": "fraud-v2", "port": 80});
    let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": backend_ref, "percent": 25}});
    assert_eq!(after["spec"]["rules"][0]["filters"], json!([own, mirror]));
    let mut fraction = after.clone();
    fraction["spec"]["rules"][0]["filters"][1]["requestMirror"] =
        json!({"backendRef": backend_ref, "fraction": {"numerator": 1, "denominator": 2}});
    let view = look(RouteKind::HttpRoute, &fraction, Some("all")).unwrap();
    assert_eq!(view.found("fraud-v2"), Share { mirror: 50, ..Share::NONE });
    assert_eq!(apply(&fraction, &patched(&view, &wanted(&view, share, Vec::new()), Fence::Version))["spec"], after["spec"]);
    let view = look(RouteKind::HttpRoute, &after, Some("all")).unwrap();
    assert_eq!(stored(apply(&after, &release(&view, "fraud-v1", Some("fraud-v2")))), before);
}

#[test]
fn a_cohort_has_a_rule_of_ours_that_asks_for_the_header_too() {
    let get = json!({"path": {"type": "Exact", "value": "/v1/score"}, "method": "POST"});
    let before = route(
        RouteKind::HttpRoute,
        json!([{"name": "score", "matches": [get], "timeouts": {"request": "2s"}, "backendRefs": [backend("fraud-v1", 1)]}]),
    );
    let view = look(RouteKind::HttpRoute, &before, None).unwrap();
    let asked = matches(json!([{"headers": {"x-group": {"prefix": "be.ta"}}}]));
    let share = Share { matched: true, ..Share::NONE };
    let after = apply(&before, &patched(&view, &wanted(&view, share, asked.clone()), Fence::Version));
    let header = json!({"name": "x-group", "type": "RegularExpression", "value": "be\\.ta.*"});
    let ours = json!({
        "name": "haldane.dev.score", "timeouts": {"request": "2s"}, "backendRefs": [backend("fraud-v2", 100)],
        "matches": [{"path": {"type": "Exact", "value": "/v1/score"}, "method": "POST", "headers": [header]}],
    });
    assert_eq!(after["spec"]["rules"], json!([ours, before["spec"]["rules"][0]]));
    let view = look(RouteKind::HttpRoute, &after, Some("score")).unwrap();
    assert_eq!((view.found("fraud-v2"), view.own_route("fraud-v2", &asked)), (share, Ok(OwnRoute::AsWanted)));
    assert_eq!(stored(apply(&after, &release(&view, "fraud-v1", Some("fraud-v2")))), before);
}

#[test]
fn what_a_rule_cannot_ask_for_is_named() {
    let told = |kind: RouteKind, theirs: Value, ours: Value| {
        let object = route(kind, json!([{"name": "all", "matches": [theirs], "backendRefs": [backend("fraud-v1", 1)]}]));
        let view = look(kind, &object, None).unwrap();
        view.own_route("fraud-v2", &matches(json!([ours]))).map_err(|conflict| conflict.what)
    };
    let header = |value: &str| json!({"headers": [{"name": "X-Group", "type": "Exact", "value": value}]});
    let ours = json!({"headers": {"x-group": {"exact": "beta"}}});
    assert_eq!(told(RouteKind::HttpRoute, header("gold"), ours.clone()), Err("header x-group".into()));
    assert_eq!(told(RouteKind::HttpRoute, header("beta"), ours), Ok(OwnRoute::Absent));
    let query = json!({"queryParams": {"model": {"exact": "v2"}}});
    let never =
        |what: &str| Err(format!("a GRPCRoute cannot ask for a {what}: ask for headers in the step, the metadata of a call are headers"));
    assert_eq!(told(RouteKind::GrpcRoute, json!({}), query), never("query parameter"));
    let uri = |value: &str| json!({"uri": {"prefix": value}});
    assert_eq!(told(RouteKind::GrpcRoute, json!({}), uri("/a")), never("uri"));
    let under = json!({"path": {"type": "PathPrefix", "value": "/api"}});
    assert_eq!(told(RouteKind::HttpRoute, under.clone(), uri("/api/beta")), Ok(OwnRoute::Absent));
    assert_eq!(told(RouteKind::HttpRoute, under, uri("/apibeta")), Err("uri".into()));
}

#[test]
fn a_full_object_is_refused_before_anything_is_written() {
    let rule = |at: usize| json!({"name": format!("r{at}"), "matches": [{"path": {"type": "Exact", "value": format!("/{at}")}}], "backendRefs": [backend(&format!("s{at}"), 1)]});
    let mut rules: Vec<Value> = (1..16).map(rule).collect();
    rules.push(json!({"name": "all", "matches": everything(), "backendRefs": [backend("fraud-v1", 1)]}));
    let view = look(RouteKind::HttpRoute, &route(RouteKind::HttpRoute, json!(rules)), Some("all")).unwrap();
    assert_eq!(view.too_full("fraud-v2", true, false), None);
    assert_eq!(view.too_full("fraud-v2", false, true).unwrap(), "HTTPRoute fraud has 16 rules, and the API server takes no more");
    let refs: Vec<Value> = (0..16).map(|at| backend(&format!("fraud-v{}", at + 3), 0)).collect();
    let view =
        look(RouteKind::HttpRoute, &route(RouteKind::HttpRoute, json!([{"name": "all", "backendRefs": refs}])), Some("all")).unwrap();
    assert_eq!(
        view.too_full("fraud-v2", false, false).unwrap(),
        "route all of HTTPRoute fraud has 16 backendRefs, and the API server takes no more"
    );
}

#[test]
fn a_cohort_needs_a_rule_with_a_name() {
    let object = route(RouteKind::HttpRoute, json!([{"backendRefs": [backend("fraud-v1", 1)]}]));
    let view = look(RouteKind::HttpRoute, &object, None).unwrap();
    assert_eq!(view.too_full("fraud-v2", true, false), None);
    let told = view.too_full("fraud-v2", false, true).unwrap();
    assert!(told.contains("spec.rules[0].name"), "{told}");
}

#[test]
fn rules_without_a_name_are_not_told_apart_by_their_first_service() {
    let under = |path: &str, canary: &str| json!({"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": [backend("fraud-v1", 1), backend(canary, 0)]});
    let object = route(RouteKind::HttpRoute, json!([under("/a", "fraud-v2"), under("/b", "fraud-v3")]));
    let fault = look(RouteKind::HttpRoute, &object, None).unwrap_err().to_string();
    assert!(fault.contains("give each of them a name"), "{fault}");
}

#[test]
fn another_rule_that_leads_to_the_canary_goes_around_the_weights_and_one_with_the_same_matches_is_never_reached() {
    let rules = json!([
        {"name": "first", "matches": everything(), "backendRefs": [backend("other", 1), backend("fraud-v2", 1)]},
        {"name": "all", "matches": everything(), "backendRefs": [backend("fraud-v1", 1)]},
    ]);
    let view = look(RouteKind::HttpRoute, &route(RouteKind::HttpRoute, rules), Some("all")).unwrap();
    let told: Vec<String> = view.around("fraud-v2").map(|other| other.words(&view.host, "fraud-v2", "fraud-v1")).collect();
    assert_eq!(
        told,
        ["route first leads to fraud-v2 too, and its requests go around the weights: set spec.rules[0].backendRefs[1].name to fraud-v1"]
    );
    assert_eq!(view.above.as_deref(), Some("first"));
}

#[test]
fn what_the_gateways_say_is_part_of_what_is_found() {
    let mut object = route(RouteKind::HttpRoute, json!([{"name": "all", "backendRefs": [backend("fraud-v1", 1)]}]));
    assert_eq!(look(RouteKind::HttpRoute, &object, None).unwrap().programmed, Programmed::NotYet(vec!["Gateway ml/public".to_owned()]));
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "BackendNotFound", "message": "no fraud-v2", "observedGeneration": 1});
    object["status"] = json!({"parents": [{"parentRef": object["spec"]["parentRefs"][0], "conditions": [condition("Accepted", "True"), condition("ResolvedRefs", "False")]}]});
    let found = look(RouteKind::HttpRoute, &object, None).unwrap().programmed;
    assert!(matches!(found, Programmed::Refused { condition: "ResolvedRefs", .. }), "{found:?}");
}

#[test]
fn what_is_no_service_of_the_namespace_is_no_version() {
    for bad in [
        json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "fraud-v1"}),
        json!({"name": "fraud-v1", "namespace": "web", "port": 80}),
    ] {
        let object = route(RouteKind::HttpRoute, json!([{"name": "all", "backendRefs": [bad]}]));
        let fault = look(RouteKind::HttpRoute, &object, Some("all")).unwrap_err().to_string();
        assert_eq!(
            fault,
            "rule all of HTTPRoute fraud cannot be stepped: every destination needs a Service of this namespace of its own and no subset"
        );
    }
}

fn some(field: &'static str, values: Vec<Value>) -> impl Strategy<Value = Value> {
    proptest::option::of(proptest::sample::select(values)).prop_map(move |value| value.map_or(json!({}), |value| json!({ field: value })))
}

fn merged(parts: impl IntoIterator<Item = Value>) -> Value {
    parts.into_iter().filter_map(|part| part.as_object().cloned()).flatten().collect()
}

/// What one rule asks for and does beside its destinations.
fn around(kind: RouteKind) -> BoxedStrategy<Value> {
    let mirror =
        json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"group": "", "kind": "Service", "name": "audit", "port": 80}}});
    let third = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"group": "", "kind": "Service", "name": "fraud-v3", "port": 80}, "fraction": {"numerator": 1, "denominator": 3}}});
    let set = json!({"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "x-a", "value": "b"}]}});
    let filters = some("filters", vec![json!([mirror]), json!([set, third]), json!([set])]);
    let path = |word: &str, value: &str| json!({"path": {"type": word, "value": value}});
    let matches = match kind {
        RouteKind::GrpcRoute => vec![
            json!([{"method": {"type": "Exact", "service": "scoring.Scorer"}}]),
            json!([{"headers": [{"name": "x-tenant", "type": "Exact", "value": "a"}]}, {"method": {"type": "Exact", "method": "Score"}}]),
        ],
        _ => vec![
            everything(),
            json!([path("PathPrefix", "/api"), path("Exact", "/v1/score")]),
            json!([merged([
                path("PathPrefix", "/api"),
                json!({"method": "POST", "headers": [{"name": "x-tenant", "type": "RegularExpression", "value": "[ab]"}]})
            ])]),
        ],
    };
    let timeouts = some("timeouts", vec![json!({"request": "3s", "backendRequest": "1s"})]);
    let tomorrow = some("aFieldOfTomorrow", vec![json!({"nested": [1, 2.5, null, {"deep": true}]})]);
    (filters, some("matches", matches), timeouts, tomorrow).prop_map(|(a, b, c, d)| merged([a, b, c, d])).boxed()
}

/// An object, and the name of its managed rule.
fn generated(kind: RouteKind) -> BoxedStrategy<(Value, &'static str)> {
    // Stable has everything before a rollout starts, by whatever weight.
    let stable = proptest::sample::select(vec![Some(1), Some(7), Some(100), Some(1_000_000), None]);
    let idle = || proptest::option::of(Just(Some(0)));
    let managed = (around(kind), stable, idle(), idle(), any::<bool>());
    (managed, proptest::collection::vec(around(kind), 0..15), 0usize..15, any::<[bool; 2]>())
        .prop_map(move |((settings, stable, second, third, named), others, place, [annotated, foreign])| {
            let entry = |name: &str, weight: Option<u64>| {
                let mut entry = backend(name, 0);
                match weight {
                    Some(weight) => entry["weight"] = json!(weight),
                    None => drop(entry.as_object_mut().unwrap().remove("weight")),
                }
                entry
            };
            let mut refs = vec![entry("fraud-v1", stable)];
            refs.extend(third.map(|weight| entry("fraud-v3", weight)));
            refs.extend(second.map(|weight| entry("fraud-v2", weight)));
            let name = if named || !others.is_empty() { "primary" } else { "" };
            let naming = if name.is_empty() { json!({}) } else { json!({"name": name}) };
            let managed = merged([settings, naming, json!({"backendRefs": refs})]);
            let mut rules: Vec<Value> = others
                .into_iter()
                .enumerate()
                .map(|(at, rule)| merged([rule, json!({"backendRefs": [backend(&format!("other-{at}"), 1)]})]))
                .collect();
            rules.insert(place.min(rules.len()), managed);
            let mut object = route(kind, json!(rules));
            if annotated {
                object["metadata"]["annotations"] = json!({"note": "kept"});
                if foreign {
                    let other =
                        json!({"elsewhere": {"rollout": "x", "uid": "9", "epoch": 1, "service": "v9", "revision": "r", "weight": 0}});
                    object["metadata"]["annotations"][MANAGED] = json!(other.to_string());
                }
            }
            (object, name)
        })
        .boxed()
}

fn share() -> impl Strategy<Value = Share> {
    let part = || proptest::sample::select(vec![0_u8, 0, 1, 5, 37, 50, 99, 100]);
    (part(), part(), any::<bool>()).prop_map(|(weight, mirror, matched)| Share { weight, mirror, matched })
}

fn stored(mut object: Value) -> Value {
    if object["metadata"]["annotations"] == json!({}) {
        object["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    object
}

fn there_and_back(kind: RouteKind, before: &Value, name: &str, shares: &[Share]) -> Result<(), TestCaseError> {
    let rule = Some(name).filter(|name| !name.is_empty());
    let asked = matches(json!([{"headers": {"x-group": {"exact": "beta"}}}, {"headers": {"x-tenant": {"exact": "a"}}}]));
    let mut now = before.clone();
    for share in shares.iter().copied().chain([Share::NONE]) {
        let view = look(kind, &now, rule).unwrap();
        if view.too_full("fraud-v2", share.mirror > 0, share.matched).is_some() {
            continue;
        }
        // Refused before anything is written: the cohort would take requests of another rule.
        if share.matched && view.own_route("fraud-v2", &asked).is_err() {
            continue;
        }
        let wanted = wanted(&view, share, asked.clone());
        now = apply(&now, &patch(&view, &wanted, if share.is_none() { Fence::Identity } else { Fence::Version }).unwrap());
        let view = look(kind, &now, rule).unwrap();
        prop_assert_eq!((view.found("fraud-v2"), view.sum()), (share, 100));
        if share.matched {
            prop_assert_eq!(view.own_route("fraud-v2", &asked), Ok(OwnRoute::AsWanted));
        }
        let rules = now["spec"]["rules"].as_array().unwrap();
        let refs = rules.iter().map(|rule| rule["backendRefs"].as_array().unwrap().len()).max();
        prop_assert!(rules.len() <= 16 && refs <= Some(16));
        let again = patch(&view, &Wanted { claim: view.claim.clone().unwrap(), ..wanted }, Fence::Version).unwrap();
        prop_assert!(again.0.iter().all(|op| matches!(op, json_patch::PatchOperation::Test(_))), "written twice: {:?}", again);
    }
    let view = look(kind, &now, rule).unwrap();
    prop_assert_eq!(stored(apply(&now, &release(&view, "fraud-v1", Some("fraud-v2")))), stored(before.clone()));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn an_http_route_is_there_and_back_as_it_was((object, name) in generated(RouteKind::HttpRoute), shares in proptest::collection::vec(share(), 1..5)) {
        there_and_back(RouteKind::HttpRoute, &object, name, &shares)?;
    }

    #[test]
    fn a_grpc_route_is_there_and_back_as_it_was((object, name) in generated(RouteKind::GrpcRoute), shares in proptest::collection::vec(share(), 1..5)) {
        there_and_back(RouteKind::GrpcRoute, &object, name, &shares)?;
    }
}

#[test]
fn what_does_not_fit_is_reported_with_the_places_of_its_kind() {
    let told = |kind: RouteKind, rules: Value| look(kind, &route(kind, rules), None).unwrap_err().to_string();
    let nameless = |stable: &str| json!({"backendRefs": [backend(stable, 1), backend("fraud-v2", 0)]});
    let several = told(RouteKind::HttpRoute, json!([nameless("fraud-v1"), nameless("fraud-v0")]));
    assert!(several.contains("(rules[0] without a name, rules[1] without a name)"), "{several}");
    assert!(several.contains("for example spec.rules[0].name: stepped"), "{several}");
    let none = told(RouteKind::GrpcRoute, json!([{"name": "all"}]));
    assert!(none.starts_with("no rule of GRPCRoute fraud can be stepped: every destination of one needs a Service"), "{none}");
    let object = json!({"metadata": {"name": "fraud"}, "spec": {"http": []}});
    let none = find(&object, Sought::subsets(None)).unwrap_err().to_string();
    assert!(
        none.starts_with("no http route of VirtualService fraud can be stepped: every destination of one needs the same host"),
        "{none}"
    );
}
