use kube::{
    core::GroupVersionKind,
    runtime::{reflector, watcher::Event},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;

fn read<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

/// So many models of two versions in one namespace, each with its route, rule, pods and Rollout.
fn caches(models: usize) -> Caches {
    let (rollouts, mut writer) = reflector::store();
    let (mut routes, mut rules, mut slices, mut pods) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for model in 0..models {
        let name = format!("model-{model}");
        let meta = json!({"namespace": "ml", "name": name});
        let entries = json!([{"destination": {"host": name, "subset": "v1"}, "weight": 100}]);
        routes.push(read(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta,
                                "spec": {"hosts": [name], "http": [{"route": entries}]}})));
        let subset = |version: &str| json!({"name": version, "labels": {"version": version}});
        rules.push(read(json!({"metadata": meta, "spec": {"host": name, "subsets": [subset("v1"), subset("v2")]}})));
        let own = ["v1", "v2"].map(|version| (format!("{name}-{version}-0"), version));
        let endpoint = |pod: &str| json!({"targetRef": {"kind": "Pod", "name": pod}});
        let slice = json!({"namespace": "ml", "name": format!("{name}-x"), "labels": {"kubernetes.io/service-name": name}});
        slices.push(read(json!({"metadata": slice, "endpoints": own.each_ref().map(|(pod, _)| endpoint(pod))})));
        for (pod, version) in own {
            pods.push(read(json!({"metadata": {"namespace": "ml", "name": pod, "labels": {"version": version}}})));
        }
        writer.apply_watcher_event(&Event::Apply(rollout(&name)));
    }
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
    let known = RouteCaches::default();
    known.add(RouteKind::VirtualService, Routes { resource, shelf: Shelf::of(routes) });
    Caches { rollouts, routes: known, destination_rules: Shelf::of(rules), slices: Shelf::of(slices), pods: Shelf::of(pods) }
}

fn rollout(name: &str) -> Rollout {
    let spec = json!({"traffic": {"virtualService": name}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}});
    let metadata = json!({"namespace": "ml", "name": name, "uid": name});
    read(json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": metadata, "spec": spec}))
}

/// What one pass sees, and how many objects it was handed for what they are about.
fn observe(caches: &Caches, name: &str) -> (Observation, usize) {
    let (mut ready, config) = (ReadyLog::default(), Config::default());
    let known = Known {
        route: None,
        fresh: false,
        look: None,
        passes: 1,
        refusal: None,
        raise_refused: None,
        source: None,
        ready: &mut ready,
        config: &config,
    };
    let handed = || {
        let routes = caches.routes.get(RouteKind::VirtualService).map_or(0, |routes| routes.shelf.handed());
        routes + caches.destination_rules.handed() + caches.slices.handed() + caches.pods.handed()
    };
    let before = handed();
    let seen = caches.observe(&rollout(name), &State::default(), known, Timestamp::UNIX_EPOCH);
    (seen, handed() - before)
}

#[test]
fn a_pass_is_handed_as_many_objects_among_a_thousand_models_as_beside_none() {
    let (alone, few) = observe(&caches(4), "model-3");
    let (among, many) = observe(&caches(1000), "model-3");
    assert_eq!(alone.versions, among.versions);
    assert_eq!(alone.versions.values().map(|version| version.arm.pods.len()).collect::<Vec<_>>(), [1, 1]);
    assert!(few > 0 && few == many, "{few} beside 3, {many} beside 999");
}

#[test]
fn what_has_to_do_with_a_route_is_found_among_many() {
    let caches = caches(20);
    let shelf = caches.routes.get(RouteKind::VirtualService).unwrap().shelf;
    let to = json!([{"route": [{"destination": {"host": "model-3.ml.svc.cluster.local", "subset": "v1"}}]}]);
    let other = |name: &str, spec: Value| {
        shelf.take(Event::Apply(read(json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
                                            "metadata": {"namespace": "shop", "name": name}, "spec": spec}))));
    };
    other("front", json!({"hosts": ["front"], "http": to}));
    other("second", json!({"hosts": ["model-3.ml.svc.cluster.local"], "http": [{"route": [{"destination": {"host": "other"}}]}]}));
    let (seen, _) = observe(&caches, "model-3");
    assert_eq!(seen.elsewhere, [("VirtualService shop/front".to_owned(), "v1".to_owned())]);
    assert!(matches!(seen.rivals.as_slice(), [rival] if rival.contains("shop/second")), "{:?}", seen.rivals);
    caches
        .destination_rules
        .take(Event::Apply(read(json!({"metadata": {"namespace": "ml", "name": "model-3"}, "spec": {"host": "model-3"}}))));
    let all = json!({"host": "*.ml.svc.cluster.local", "subsets": [{"name": "v2"}]});
    caches.destination_rules.take(Event::Apply(read(json!({"metadata": {"namespace": "ml", "name": "all"}, "spec": all}))));
    let (seen, _) = observe(&caches, "model-3");
    assert!(seen.versions["v2"].undeclared.ends_with("put the subset into model-3"), "{:?}", seen.versions["v2"].undeclared);
}
