use serde_json::{Value, json};

use super::*;

fn object(route: Value) -> Value {
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

fn claim(weight: u8) -> Claim {
    Claim {
        rollout: "fraud".into(),
        uid: "u".into(),
        epoch: 3,
        subset: "v2".into(),
        revision: "abc".into(),
        step: Some("1".into()),
        weight,
        lowered: None,
        latch: None,
        original: Original::default(),
    }
}

fn wanted(view: &View, weight: u8) -> Wanted {
    let mut claim = claim(weight);
    claim.original = view.claim.as_ref().map(|claim| claim.original.clone()).unwrap_or_default();
    Wanted { stable: "v1".into(), canary: "v2".into(), claim }
}

fn apply(object: &Value, patch: &json_patch::Patch) -> Value {
    let mut object = object.clone();
    json_patch::patch(&mut object, patch).unwrap();
    object
}

#[test]
fn a_canary_entry_is_added_beside_stable_with_the_same_host_and_port_and_nothing_else_changes() {
    let before = single();
    let view = find(&before, None).unwrap();
    let after = apply(&before, &patch(&view, &wanted(&view, 5), Fence::Version));
    let mut expected = before.clone();
    expected["spec"]["http"][1]["route"] = json!([
        {"destination": {"host": "fraud", "subset": "v1", "port": {"number": 80}}, "weight": 95},
        {"destination": {"host": "fraud", "subset": "v2", "port": {"number": 80}}, "weight": 5},
    ]);
    let annotation = after["metadata"]["annotations"][crate::api::names::MANAGED].clone();
    expected["metadata"]["annotations"][crate::api::names::MANAGED] = annotation;
    assert_eq!(after, expected);
    let view = find(&after, None).unwrap();
    assert_eq!((view.share("v1"), view.share("v2"), view.sum()), (95, 5, 100));
    let claim = view.claim.unwrap();
    assert_eq!(claim.original, Original { added: vec!["v2".into()], unweighted: true });
}

#[test]
fn release_puts_the_original_shape_back() {
    let before = single();
    let view = find(&before, None).unwrap();
    let during = apply(&before, &patch(&view, &wanted(&view, 50), Fence::Version));
    let after = apply(&during, &release(&find(&during, None).unwrap(), "v1"));
    assert_eq!(after, before);
}

#[test]
fn release_keeps_a_latch_and_the_users_own_entries() {
    let before = object(json!([
        {"destination": {"host": "fraud", "subset": "v1"}, "weight": 100},
        {"destination": {"host": "fraud", "subset": "v2"}, "weight": 0},
    ]));
    let view = find(&before, None).unwrap();
    let mut wanted = wanted(&view, 0);
    wanted.claim.latch = Some(Latch {
        revision: "abc".into(),
        subset: "v2".into(),
        epoch: 3,
        outcome: crate::api::Outcome::RolledBack,
        reason: "AnalysisFailed".into(),
        message: "errors".into(),
        by: None,
        command: None,
    });
    let latched = apply(&before, &patch(&view, &wanted, Fence::Identity));
    let released = apply(&latched, &release(&find(&latched, None).unwrap(), "v1"));
    assert_eq!(released["spec"], before["spec"]);
    assert_eq!(find(&released, None).unwrap().claim.unwrap().latch.unwrap().revision, "abc");
}

#[test]
fn a_downward_patch_survives_foreign_edits_elsewhere_but_not_of_our_annotation() {
    let before = single();
    let view = find(&before, None).unwrap();
    let during = apply(&before, &patch(&view, &wanted(&view, 20), Fence::Version));
    let view = find(&during, None).unwrap();
    let down = patch(&view, &wanted(&view, 0), Fence::Identity);
    let mut foreign = during.clone();
    foreign["metadata"]["resourceVersion"] = json!("99");
    foreign["spec"]["http"][1]["timeout"] = json!("9s");
    let after = apply(&foreign, &down);
    assert_eq!(find(&after, None).unwrap().share("v1"), 100);
    assert_eq!(after["spec"]["http"][1]["timeout"], "9s");
    let mut promoted = during;
    promoted["metadata"]["annotations"][crate::api::names::MANAGED] = json!("{}");
    assert!(json_patch::patch(&mut promoted, &down).is_err(), "a woken old leader cannot undo what came after");
}

#[test]
fn an_upward_patch_loses_against_any_newer_version() {
    let mut object = single();
    let view = find(&object, None).unwrap();
    let up = patch(&view, &wanted(&view, 5), Fence::Version);
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
    let view = find(&object, None).unwrap();
    let mut next = wanted(&view, 5);
    (next.stable, next.canary) = ("v3".into(), "v4".into());
    let after = apply(&object, &patch(&view, &next, Fence::Version));
    let view = find(&after, None).unwrap();
    assert_eq!(view.words(), "v1 0 %, v3 95 %, v4 5 %");
    assert_eq!(view.claim.unwrap().original.added, ["v3", "v4"]);
}

#[test]
fn a_route_is_found_by_name_or_because_it_is_the_only_one() {
    assert_eq!(find(&single(), None).unwrap().index, 1);
    assert_eq!(find(&single(), Some("primary")).unwrap().index, 1);
    let fault = find(&single(), Some("other")).unwrap_err();
    assert_eq!(fault.to_string(), "VirtualService fraud has no http route named other: it has health, primary");
    let mut two = single();
    let copy = two["spec"]["http"][1].clone();
    two["spec"]["http"].as_array_mut().unwrap().push(copy);
    assert_eq!(find(&two, None).unwrap_err().reason(), "RouteAmbiguous");
}

#[test]
fn a_route_renamed_under_us_is_found_by_our_claim() {
    let before = single();
    let view = find(&before, None).unwrap();
    let mut during = apply(&before, &patch(&view, &wanted(&view, 20), Fence::Version));
    during["spec"]["http"][1]["name"] = json!("main");
    // The spec names it: known again, and told.
    let view = find(&during, Some("primary")).unwrap();
    assert_eq!((view.key.as_str(), view.name.as_deref(), view.renamed), ("primary", Some("main"), true));
    assert_eq!(view.claim.as_ref().unwrap().weight, 20);
    let down = apply(&during, &patch(&view, &wanted(&view, 0), Fence::Identity));
    assert_eq!(find(&down, Some("primary")).unwrap().share("v2"), 0);
    // The spec names none: the claim goes with the route, and the next write says so.
    let view = find(&during, None).unwrap();
    assert_eq!((view.key.as_str(), view.renamed, view.claim.as_ref().unwrap().weight), ("main", false, 20));
    let down = apply(&during, &patch(&view, &wanted(&view, 0), Fence::Identity));
    let text = down["metadata"]["annotations"][crate::api::names::MANAGED].as_str().unwrap();
    assert!(text.starts_with("{\"main\""), "{text}");
}

#[test]
fn a_claim_is_not_taken_from_a_route_that_is_still_there() {
    let mut object = single();
    let mut second = object["spec"]["http"][1].clone();
    second["name"] = json!("second");
    object["spec"]["http"].as_array_mut().unwrap().push(second);
    let view = find(&object, Some("primary")).unwrap();
    let during = apply(&object, &patch(&view, &wanted(&view, 20), Fence::Version));
    assert_eq!(find(&during, Some("second")).unwrap().claim, None);
    let mut without = during;
    without["spec"]["http"][1]["name"] = json!("third");
    assert_eq!(find(&without, Some("second")).unwrap().claim, None, "its entries are not what the claim speaks of");
}

#[test]
fn an_object_of_another_controller_is_refused() {
    let mut object = single();
    object["metadata"]["ownerReferences"] = json!([{"kind": "Route", "name": "fraud", "controller": true}]);
    assert_eq!(find(&object, None).unwrap_err().reason(), "OwnedByAnotherController");
}

#[test]
fn other_routes_to_the_same_subsets_are_found() {
    let mut object = single();
    object["spec"]["http"][0]["route"] = json!([{"destination": {"host": "fraud", "subset": "v2"}}]);
    let view = find(&object, Some("primary")).unwrap();
    assert_eq!(other_routes(&object, &view, &["v1", "v2"]), ["health"]);
}

#[test]
fn a_patch_to_what_is_there_is_empty_but_for_its_tests() {
    let before = single();
    let view = find(&before, None).unwrap();
    let first = wanted(&view, 5);
    let during = apply(&before, &patch(&view, &first, Fence::Version));
    let view = find(&during, None).unwrap();
    let again = patch(&view, &wanted(&view, 5), Fence::Version);
    assert!(again.0.iter().all(|op| matches!(op, json_patch::PatchOperation::Test(_))), "{again:?}");
}

#[test]
fn a_claim_with_an_epoch_that_no_controller_wrote_is_no_claim() {
    for epoch in [-1, i64::MAX, 1 << 60] {
        let claim = json!({"primary": {"rollout": "fraud", "uid": "1", "epoch": epoch, "subset": "v2", "revision": "x", "weight": 5}});
        assert_eq!(super::claim::Claims::parse(Some(&claim.to_string())).get("primary"), None, "{epoch}");
    }
    let latch = json!({"revision": "x", "subset": "v2", "epoch": i64::MAX, "outcome": "Aborted", "reason": "Aborted", "message": ""});
    let claim =
        json!({"primary": {"rollout": "fraud", "uid": "1", "epoch": 5, "subset": "v2", "revision": "x", "weight": 5, "latch": latch}});
    assert_eq!(super::claim::Claims::parse(Some(&claim.to_string())).get("primary"), None);
}
