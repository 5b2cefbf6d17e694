use serde_json::{Value, json};

use super::*;
use crate::api::{Destination, Reason};
use crate::plan::Share;

pub(super) fn object(route: Value) -> Value {
    json!({
        "metadata": {"name": "fraud", "resourceVersion": "7", "annotations": {"team": "risk"}},
        "spec": {"hosts": ["fraud"], "http": [
            {"name": "health", "match": [{"uri": {"prefix": "/health"}}], "route": [{"destination": {"host": "health"}}]},
            {"name": "primary", "timeout": "3s", "retries": {"attempts": 2}, "route": route},
        ]}
    })
}

fn single() -> Value {
    object(json!([{"destination": {"host": "fraud", "subset": "v1", "port": {"number": 80}}}]))
}

pub(super) fn claim(weight: u8) -> Claim {
    Claim {
        rollout: "fraud".into(),
        uid: "u".into(),
        epoch: 3,
        canary: Destination::Subset("v2".into()),
        revision: "abc".into(),
        step: Some("1".into()),
        share: Share::weight(weight),
        own: None,
        lowered: None,
        latch: None,
        original: Original::default(),
    }
}

fn wanted(view: &View, weight: u8) -> Wanted {
    let mut claim = claim(weight);
    claim.original = view.claim.as_ref().map(|claim| claim.original.clone()).unwrap_or_default();
    Wanted { stable: "v1".into(), canary: "v2".into(), matches: Vec::new(), claim }
}

/// Without a match nothing can be in the way.
pub(super) fn patched(view: &View, wanted: &Wanted, fence: Fence) -> json_patch::Patch {
    patch(view, wanted, fence).unwrap()
}

pub(super) fn apply(object: &Value, patch: &json_patch::Patch) -> Value {
    let mut object = object.clone();
    json_patch::patch(&mut object, patch).unwrap();
    object
}

#[test]
fn a_canary_entry_is_added_beside_stable_with_the_same_host_and_port_and_nothing_else_changes() {
    let before = single();
    let view = find(&before, Sought::subsets(None)).unwrap();
    let after = apply(&before, &patched(&view, &wanted(&view, 5), Fence::Version));
    let mut expected = before.clone();
    expected["spec"]["http"][1]["route"] = json!([
        {"destination": {"host": "fraud", "subset": "v1", "port": {"number": 80}}, "weight": 95},
        {"destination": {"host": "fraud", "subset": "v2", "port": {"number": 80}}, "weight": 5},
    ]);
    let annotation = after["metadata"]["annotations"][crate::api::names::MANAGED].clone();
    expected["metadata"]["annotations"][crate::api::names::MANAGED] = annotation;
    assert_eq!(after, expected);
    let view = find(&after, Sought::subsets(None)).unwrap();
    assert_eq!((view.share("v1"), view.share("v2"), view.sum()), (95, 5, 100));
    let claim = view.claim.unwrap();
    assert_eq!(claim.original, Original { added: vec!["v2".into()], weights: [("v1".to_owned(), None)].into(), mirrorless: false });
}

#[test]
fn release_puts_the_original_shape_back() {
    let before = single();
    let view = find(&before, Sought::subsets(None)).unwrap();
    let during = apply(&before, &patched(&view, &wanted(&view, 50), Fence::Version));
    let after = apply(&during, &release(&find(&during, Sought::subsets(None)).unwrap(), "v1", Some("v2")));
    assert_eq!(after, before);
}

#[test]
fn release_takes_the_latch_too_and_keeps_the_users_own_entries() {
    let before = object(json!([
        {"destination": {"host": "fraud", "subset": "v1"}, "weight": 100},
        {"destination": {"host": "fraud", "subset": "v2"}, "weight": 0},
    ]));
    let view = find(&before, Sought::subsets(None)).unwrap();
    let mut wanted = wanted(&view, 0);
    wanted.claim.latch = Some(Latch {
        revision: "abc".into(),
        canary: Destination::Subset("v2".into()),
        epoch: 3,
        outcome: crate::api::Outcome::RolledBack,
        reason: Reason::AnalysisFailed.into(),
        message: "errors".into(),
        by: None,
        command: None,
    });
    let latched = apply(&before, &patched(&view, &wanted, Fence::Identity));
    let released = apply(&latched, &release(&find(&latched, Sought::subsets(None)).unwrap(), "v1", None));
    assert_eq!(released, before);
}

#[test]
fn a_downward_patch_survives_foreign_edits_elsewhere_but_not_of_our_annotation() {
    let before = single();
    let view = find(&before, Sought::subsets(None)).unwrap();
    let during = apply(&before, &patched(&view, &wanted(&view, 20), Fence::Version));
    let view = find(&during, Sought::subsets(None)).unwrap();
    let down = patched(&view, &wanted(&view, 0), Fence::Identity);
    let mut foreign = during.clone();
    foreign["metadata"]["resourceVersion"] = json!("99");
    foreign["spec"]["http"][1]["timeout"] = json!("9s");
    let after = apply(&foreign, &down);
    assert_eq!(find(&after, Sought::subsets(None)).unwrap().share("v1"), 100);
    assert_eq!(after["spec"]["http"][1]["timeout"], "9s");
    let mut promoted = during;
    promoted["metadata"]["annotations"][crate::api::names::MANAGED] = json!("{}");
    assert!(json_patch::patch(&mut promoted, &down).is_err(), "a woken old leader cannot undo what came after");
}

#[test]
fn an_upward_patch_loses_against_any_newer_version() {
    let mut object = single();
    let view = find(&object, Sought::subsets(None)).unwrap();
    let up = patched(&view, &wanted(&view, 5), Fence::Version);
    object["metadata"]["resourceVersion"] = json!("8");
    assert!(json_patch::patch(&mut object, &up).is_err());
}

#[test]
fn entries_of_ours_that_serve_nobody_go_when_the_next_version_comes() {
    let mut object = object(json!([
        {"destination": {"host": "fraud", "subset": "v1"}, "weight": 0},
        {"destination": {"host": "fraud", "subset": "v2"}, "weight": 0},
        {"destination": {"host": "fraud", "subset": "v3"}, "weight": 100},
    ]));
    let mut old = claim(100);
    old.original.added = vec!["v2".into(), "v3".into()];
    object["metadata"]["annotations"][crate::api::names::MANAGED] = json!(json!({ "primary": old }).to_string());
    let view = find(&object, Sought::subsets(None)).unwrap();
    let mut next = wanted(&view, 5);
    (next.stable, next.canary) = ("v3".into(), "v4".into());
    let after = apply(&object, &patched(&view, &next, Fence::Version));
    let view = find(&after, Sought::subsets(None)).unwrap();
    assert_eq!(view.words(), "v1 0 %, v3 95 %, v4 5 %");
    assert_eq!(view.claim.unwrap().original.added, ["v3", "v4"]);
}

#[test]
fn a_route_is_found_by_name_or_because_it_is_the_only_one() {
    assert_eq!(find(&single(), Sought::subsets(None)).unwrap().index, 1);
    assert_eq!(find(&single(), Sought::subsets(Some("primary"))).unwrap().index, 1);
    let fault = find(&single(), Sought::subsets(Some("other"))).unwrap_err();
    assert_eq!(fault.to_string(), "VirtualService fraud has no http route named other: it has health, primary");
    let mut two = single();
    let copy = two["spec"]["http"][1].clone();
    two["spec"]["http"].as_array_mut().unwrap().push(copy);
    let fault = find(&two, Sought::subsets(None)).unwrap_err();
    assert_eq!(fault.reason().as_str(), "RouteAmbiguous");
    assert_eq!(
        fault.to_string(),
        "2 http routes of VirtualService fraud fit (primary (http[1]), primary (http[2])): give the one that is to be stepped a name of its own \
         (for example spec.http[1].name: stepped), and set spec.traffic.route to it"
    );
    two["spec"]["http"][2]["name"] = json!("second");
    let told = find(&two, Sought::subsets(None)).unwrap_err().to_string();
    assert_eq!(told, "2 http routes of VirtualService fraud fit (primary, second): name one in spec.traffic.route");
}

#[test]
fn a_route_renamed_under_us_is_found_by_our_claim() {
    let before = single();
    let view = find(&before, Sought::subsets(None)).unwrap();
    let mut during = apply(&before, &patched(&view, &wanted(&view, 20), Fence::Version));
    during["spec"]["http"][1]["name"] = json!("main");
    // The spec names it: known again, and reported.
    let view = find(&during, Sought::subsets(Some("primary"))).unwrap();
    assert_eq!((view.key.as_str(), view.name.as_deref(), view.renamed), ("primary", Some("main"), true));
    assert_eq!(view.claim.as_ref().unwrap().share.weight, 20);
    let down = apply(&during, &patched(&view, &wanted(&view, 0), Fence::Identity));
    assert_eq!(find(&down, Sought::subsets(Some("primary"))).unwrap().share("v2"), 0);
    // The spec names none: the claim goes with the route, and the next write says so.
    let view = find(&during, Sought::subsets(None)).unwrap();
    assert_eq!((view.key.as_str(), view.renamed, view.claim.as_ref().unwrap().share.weight), ("main", false, 20));
    let down = apply(&during, &patched(&view, &wanted(&view, 0), Fence::Identity));
    let text = down["metadata"]["annotations"][crate::api::names::MANAGED].as_str().unwrap();
    assert!(text.starts_with("{\"main\""), "{text}");
}

#[test]
fn a_claim_is_not_taken_from_a_route_that_is_still_there() {
    let mut object = single();
    let mut second = object["spec"]["http"][1].clone();
    second["name"] = json!("second");
    object["spec"]["http"].as_array_mut().unwrap().push(second);
    let view = find(&object, Sought::subsets(Some("primary"))).unwrap();
    let during = apply(&object, &patched(&view, &wanted(&view, 20), Fence::Version));
    assert_eq!(find(&during, Sought::subsets(Some("second"))).unwrap().claim, None);
    let mut without = during;
    without["spec"]["http"][1]["name"] = json!("third");
    assert_eq!(find(&without, Sought::subsets(Some("second"))).unwrap().claim, None, "its entries are not what the claim speaks of");
}

#[test]
fn an_object_of_another_controller_is_refused() {
    let mut object = single();
    object["metadata"]["ownerReferences"] = json!([{"kind": "Route", "name": "fraud", "controller": true}]);
    assert_eq!(find(&object, Sought::subsets(None)).unwrap_err().reason().as_str(), "OwnedByAnotherController");
}

fn around(view: &View) -> Vec<&str> {
    view.around("v2").map(|other| other.route.as_str()).collect()
}

#[test]
fn other_routes_to_the_same_subsets_are_found() {
    let mut object = single();
    object["spec"]["http"][0]["route"] = json!([{"destination": {"host": "fraud", "subset": "v2"}}]);
    let view = find(&object, Sought::subsets(Some("primary"))).unwrap();
    assert_eq!(around(&view), ["health"]);
    let told = view.around("v2").next().unwrap().words("fraud", "v2", "v1");
    assert_eq!(
        told,
        "route health leads to v2 too, and its requests go around the weights: set spec.http[0].route[0].destination.subset to v1"
    );
    // Without a subset every pod of the host is meant, the canary's too.
    object["spec"]["http"][0]["route"] = json!([{"destination": {"host": "fraud"}}]);
    let view = find(&object, Sought::subsets(Some("primary"))).unwrap();
    let told = view.around("v2").next().unwrap().words("fraud", "v2", "v1");
    let wanted = "route health leads to fraud without a subset, so that its requests reach the pods of v2 at any weight: set \
                  spec.http[0].route[0].destination.subset to v1";
    assert_eq!(told, wanted);
    assert!(view.needed_by("v1").is_empty());
}

#[test]
fn a_patch_to_what_is_there_is_empty_but_for_its_tests() {
    let before = single();
    let view = find(&before, Sought::subsets(None)).unwrap();
    let first = wanted(&view, 5);
    let during = apply(&before, &patched(&view, &first, Fence::Version));
    let view = find(&during, Sought::subsets(None)).unwrap();
    let again = patched(&view, &wanted(&view, 5), Fence::Version);
    assert!(again.0.iter().all(|op| matches!(op, json_patch::PatchOperation::Test(_))), "{again:?}");
}

/// Everything that a step can have, written on a route with a mirror of the user's own.
fn everything() -> (Value, Value) {
    let mut before = object(json!([{"destination": {"host": "fraud", "subset": "v1", "port": {"number": 80}}}]));
    before["spec"]["http"][1]["mirrors"] = json!([{"destination": {"host": "audit"}, "percentage": {"value": 50.0}}]);
    let view = find(&before, Sought::subsets(None)).unwrap();
    let after = apply(&before, &patched(&view, &with_everything(&view), Fence::Version));
    (before, after)
}

fn with_everything(view: &View) -> Wanted {
    let mut wanted = wanted(view, 5);
    wanted.claim.share = Share { weight: 5, mirror: 10, matched: true };
    wanted.matches = serde_json::from_value(json!([{"headers": {"x-user-group": {"exact": "beta"}}}])).unwrap();
    wanted
}

fn down(view: &View) -> json_patch::Patch {
    patched(view, &wanted(view, 0), Fence::Identity)
}

#[test]
fn weight_mirror_and_match_go_in_one_patch_beside_the_users_own_mirror() {
    let (_, after) = everything();
    let http = &after["spec"]["http"];
    let canary = json!({"host": "fraud", "subset": "v2", "port": {"number": 80}});
    let audit = json!({"destination": {"host": "audit"}, "percentage": {"value": 50.0}});
    let own = json!({
        "name": "haldane.dev/primary", "match": [{"headers": {"x-user-group": {"exact": "beta"}}}], "timeout": "3s",
        "retries": {"attempts": 2}, "mirrors": [audit], "route": [{"destination": canary, "weight": 100}],
    });
    assert_eq!((http[0]["name"].as_str(), &http[1]), (Some("health"), &own));
    assert_eq!(http[2]["mirrors"], json!([audit, {"destination": canary, "percentage": {"value": 10.0}}]));
    assert_eq!(http[2]["route"][1], json!({"destination": canary, "weight": 5}));
    let view = find(&after, Sought::subsets(None)).unwrap();
    assert_eq!((view.index, view.found("v2")), (2, Share { weight: 5, mirror: 10, matched: true }));
    assert_eq!(view.words(), "v1 95 %, v2 5 %, match to v2, mirror of 10 % to v2");
    assert!(view.claim.as_ref().unwrap().own.is_some());
}

#[test]
fn argo_1838_2526_2769_zero_means_zero_for_header_and_mirror_routes_too() {
    let (before, after) = everything();
    let lowered = apply(&after, &down(&find(&after, Sought::subsets(None)).unwrap()));
    let view = find(&lowered, Sought::subsets(None)).unwrap();
    assert_eq!((view.found("v2"), view.own.len(), view.index), (Share::NONE, 0, 1));
    assert_eq!(lowered["spec"]["http"][1]["mirrors"], before["spec"]["http"][1]["mirrors"]);
}

#[test]
fn zero_means_zero_whatever_somebody_made_of_what_was_ours() {
    let (_, after) = everything();
    let cases: [fn(&mut Value); 6] = [
        // Copied, moved below the managed route, led elsewhere, renamed managed route.
        |object| {
            let own = object["spec"]["http"][1].clone();
            object["spec"]["http"].as_array_mut().unwrap().insert(0, own.clone());
            object["spec"]["http"].as_array_mut().unwrap().push(own);
        },
        |object| {
            let routes = object["spec"]["http"].as_array_mut().unwrap();
            let own = routes.remove(1);
            routes.push(own);
        },
        |object| object["spec"]["http"][1]["route"][0]["destination"]["subset"] = json!("v1"),
        |object| object["spec"]["http"][2]["name"] = json!("main"),
        // A second copy for the canary, and one that copies everything in the other field.
        |object| {
            let list = object["spec"]["http"][2]["mirrors"].as_array_mut().unwrap();
            list.insert(0, json!({"destination": {"host": "fraud", "subset": "v2"}}));
        },
        |object| {
            object["spec"]["http"][2]["mirror"] = json!({"host": "fraud", "subset": "v2"});
            object["spec"]["http"][2]["mirrorPercentage"] = json!({"value": 100});
        },
    ];
    for (index, change) in cases.iter().enumerate() {
        let mut object = after.clone();
        change(&mut object);
        let lowered = apply(&object, &down(&find(&object, Sought::subsets(None)).unwrap()));
        let view = find(&lowered, Sought::subsets(None)).unwrap();
        assert_eq!((view.found("v2"), view.own.len()), (Share::NONE, 0), "case {index}");
        assert_eq!(lowered.to_string().matches("haldane.dev/").count(), 1, "case {index}: the annotation alone");
        assert!(!lowered["spec"].to_string().contains("mirrorPercentage"), "case {index}");
    }
}

#[test]
fn copies_of_several_mirrors_add_up() {
    let (_, mut object) = everything();
    let list = object["spec"]["http"][2]["mirrors"].as_array_mut().unwrap();
    list.push(json!({"destination": {"host": "fraud", "subset": "v2"}, "percentage": {"value": 80.0}}));
    let view = find(&object, Sought::subsets(None)).unwrap();
    assert_eq!(view.found("v2").mirror, 90, "each entry makes copies of its own");
    assert_eq!(view.words(), "v1 95 %, v2 5 %, match to v2, mirror of 10 % to v2, mirror of 80 % to v2");
    let list = object["spec"]["http"][2]["mirrors"].as_array_mut().unwrap();
    list.extend([json!({"destination": {"host": "fraud", "subset": "v2"}}), json!({"destination": {"host": "fraud", "subset": "v2"}})]);
    assert_eq!(find(&object, Sought::subsets(None)).unwrap().found("v2").mirror, 255, "no number wraps around");
}

#[test]
fn a_short_host_is_the_same_service() {
    let text = everything().1.to_string().replace(r#""host":"fraud""#, r#""host":"fraud.ml.svc.cluster.local""#);
    let mut object: Value = serde_json::from_str(&text).unwrap();
    object["metadata"]["namespace"] = json!("ml");
    let list = object["spec"]["http"][2]["mirrors"].as_array_mut().unwrap();
    list.push(json!({"destination": {"host": "fraud", "subset": "v2"}, "percentage": {"value": 5.0}}));
    let routes = object["spec"]["http"].as_array_mut().unwrap();
    routes.insert(0, json!({"name": "vip", "match": [{"port": 1}], "route": [{"destination": {"host": "fraud", "subset": "v2"}}]}));
    let view = find(&object, Sought::subsets(None)).unwrap();
    assert_eq!(view.found("v2").mirror, 15);
    assert_eq!(around(&view), ["vip"]);
    let lowered = apply(&object, &down(&view));
    assert_eq!(find(&lowered, Sought::subsets(None)).unwrap().found("v2"), Share::NONE);
}

#[test]
fn a_mirror_in_the_other_field_is_named() {
    let mut object = object(json!([{"destination": {"host": "fraud", "subset": "v1"}}]));
    object["spec"]["http"][1]["mirror"] = json!({"host": "fraud", "subset": "v2"});
    assert_eq!(find(&object, Sought::subsets(None)).unwrap().words(), "v1 100 %, mirror of 100 % to v2");
}

#[test]
fn a_match_route_below_the_managed_one_or_to_another_version_gives_the_canary_nothing() {
    let (_, after) = everything();
    let mut below = after.clone();
    let routes = below["spec"]["http"].as_array_mut().unwrap();
    let own = routes.remove(1);
    routes.push(own);
    assert!(!find(&below, Sought::subsets(None)).unwrap().found("v2").matched);
    let mut elsewhere = after.clone();
    elsewhere["spec"]["http"][1]["route"][0]["destination"]["subset"] = json!("v1");
    assert!(!find(&elsewhere, Sought::subsets(None)).unwrap().found("v2").matched);
    // Wanted again, it is what it must be.
    for object in [below, elsewhere] {
        let view = find(&object, Sought::subsets(None)).unwrap();
        let fixed = apply(&object, &patched(&view, &with_everything(&view), Fence::Version));
        assert_eq!(fixed["spec"], after["spec"]);
    }
}

#[test]
fn our_route_follows_the_one_that_it_is_a_copy_of() {
    let (_, mut object) = everything();
    let matches = with_everything(&find(&object, Sought::subsets(None)).unwrap()).matches;
    let state = |object: &Value| find(object, Sought::subsets(None)).unwrap().own_route("v2", &matches).unwrap();
    assert_eq!(state(&object), OwnRoute::AsWanted);
    object["spec"]["http"][2]["timeout"] = json!("9s");
    object["spec"]["http"][2]["match"] = json!([{"uri": {"prefix": "/api"}}, {"uri": {"prefix": "/web"}}]);
    assert_eq!(state(&object), OwnRoute::Old, "the copy is old, nobody touched it");
    let view = find(&object, Sought::subsets(None)).unwrap();
    let after = apply(&object, &patched(&view, &with_everything(&view), Fence::Identity));
    let own = &after["spec"]["http"][1];
    assert_eq!((own["timeout"].as_str(), own["match"].as_array().unwrap().len()), (Some("9s"), 2));
    assert_eq!(own["match"][1], json!({"uri": {"prefix": "/web"}, "headers": {"x-user-group": {"exact": "beta"}}}));
    let mut narrower = after.clone();
    narrower["spec"]["http"][1]["match"].as_array_mut().unwrap().pop();
    assert_eq!(state(&narrower), OwnRoute::Narrower);
    object["spec"]["http"][1]["match"] = json!([{"uri": {"prefix": "/"}}]);
    assert_eq!(state(&object), OwnRoute::Changed);
    object["spec"]["http"].as_array_mut().unwrap().remove(1);
    assert_eq!(state(&object), OwnRoute::Absent);
}

#[test]
fn a_match_that_the_route_asks_for_in_another_way_is_not_written() {
    let mut object = single();
    object["spec"]["http"][1]["match"] = json!([{"uri": {"prefix": "/"}}, {"headers": {"x-user-group": {"prefix": "staff"}}}]);
    let view = find(&object, Sought::subsets(None)).unwrap();
    let conflict = patch(&view, &with_everything(&view), Fence::Version).unwrap_err();
    assert_eq!(
        conflict.to_string(),
        "match[1] of the route asks for header x-user-group in its own way, and a step's match asks for it too; ask for something else in \
         the step"
    );
    assert!(patch(&view, &wanted(&view, 0), Fence::Identity).is_ok(), "the way down has no match");
}

#[test]
fn a_downward_patch_loses_no_foreign_edit_and_takes_no_foreign_route() {
    let (_, during) = everything();
    let down = down(&find(&during, Sought::subsets(None)).unwrap());
    // Somebody put a route above: every index is another. The patch must not hit what stands there now.
    let mut moved = during.clone();
    moved["spec"]["http"].as_array_mut().unwrap().insert(0, json!({"name": "new", "match": [{"port": 1}], "redirect": {"uri": "/"}}));
    let mut copy = moved.clone();
    assert!(json_patch::patch(&mut copy, &down).is_err(), "a new look is needed");
    let after = apply(&moved, &self::down(&find(&moved, Sought::subsets(None)).unwrap()));
    assert_eq!(after["spec"]["http"][0]["name"], "new");
    assert_eq!(find(&after, Sought::subsets(None)).unwrap().found("v2"), Share::NONE);
}

#[test]
fn a_mirror_is_always_written_with_its_number() {
    let before = single();
    let view = find(&before, Sought::subsets(None)).unwrap();
    let mut wanted = wanted(&view, 0);
    wanted.claim.share = Share { mirror: 100, ..Share::NONE };
    let after = apply(&before, &patched(&view, &wanted, Fence::Version));
    assert_eq!(after["spec"]["http"][1]["mirrors"][0]["percentage"]["value"], 100.0, "what has none copies everything, today");
    let back = apply(&after, &release(&find(&after, Sought::subsets(None)).unwrap(), "v1", Some("v2")));
    assert_eq!(back, before);
}

#[test]
fn our_own_route_is_nobody_s_managed_route() {
    let (_, after) = everything();
    assert_eq!(
        find(&after, Sought::subsets(None)).unwrap().name.as_deref(),
        Some("primary"),
        "it has one host and a subset, but it is ours"
    );
    assert!(around(&find(&after, Sought::subsets(None)).unwrap()).is_empty());
    assert_eq!(find(&after, Sought::subsets(Some("haldane.dev/primary"))).unwrap_err().reason().as_str(), "RouteNotFound");
}

#[test]
fn a_route_below_one_that_takes_every_request_is_reported() {
    let above = |route: Value| {
        let mut object = single();
        object["spec"]["http"][0] = route;
        find(&object, Sought::subsets(Some("primary"))).unwrap().above
    };
    let to = json!([{"destination": {"host": "other"}}]);
    assert_eq!(above(json!({"name": "first", "route": to})), Some("first".into()));
    assert_eq!(above(json!({"match": [], "route": to})), Some("http[0]".into()));
    assert_eq!(
        above(json!({"match": [{"uri": {"exact": "/a"}}, {"name": "rest", "uri": {"prefix": "/"}}], "route": to})),
        Some("http[0]".into())
    );
    assert_eq!(above(json!({"match": [{"uri": {"regex": ".*"}}], "route": to})), Some("http[0]".into()));
    assert_eq!(above(json!({"match": [{"gateways": ["mesh"]}], "route": to})), Some("http[0]".into()), "the only gateway");
    for asks in
        [json!({"uri": {"prefix": "/a"}}), json!({"headers": {"a": {"exact": "b"}}}), json!({"port": 80}), json!({"gateways": ["edge/gw"]})]
    {
        assert_eq!(above(json!({"match": [asks], "route": to})), None);
    }
}

#[test]
fn a_route_that_delegates_is_reported_with_where_its_weights_are() {
    let mut object = single();
    object["spec"]["http"] = json!([{"name": "primary", "delegate": {"name": "fraud-routes", "namespace": "risk"}}]);
    for wanted in [None, Some("primary")] {
        let fault = find(&object, Sought::subsets(wanted)).unwrap_err();
        assert_eq!(fault.reason().as_str(), "RouteDelegated");
        assert!(fault.to_string().contains("leaves it to VirtualService risk/fraud-routes"), "{fault}");
    }
}
