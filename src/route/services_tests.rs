//! A Service for each version.

use serde_json::{Value, json};

use super::{
    tests::{apply, claim, object, patched},
    *,
};
use crate::api::Destination;
use crate::plan::Share;

fn services(route: Value) -> Value {
    let mut object = object(route);
    object["metadata"]["namespace"] = "ml".into();
    object
}

fn service(name: &str) -> Destination {
    Destination::Service(name.into())
}

#[test]
fn a_service_per_version_is_stepped_with_the_host_written_as_the_others() {
    for (stable, canary) in [("fraud-v1", "fraud-v2"), ("fraud-v1.ml.svc.cluster.local", "fraud-v2.ml.svc.cluster.local")] {
        let before = services(json!([{"destination": {"host": stable, "port": {"number": 80}}}]));
        let version = service("fraud-v2");
        let sought = Sought { canary: &version, ..Sought::subsets(Some("primary")) };
        let view = find(&before, sought).unwrap();
        assert_eq!((view.sole(), view.version("fraud-v2", "abc")), (Some("fraud-v1"), crate::api::Version::new(canary, &version, "abc")));
        let wanted = Wanted {
            stable: "fraud-v1".into(),
            canary: "fraud-v2".into(),
            matches: Vec::new(),
            claim: Claim { canary: version.clone(), ..claim(5) },
        };
        let after = apply(&before, &patched(&view, &wanted, Fence::Identity));
        let expected = json!([
            {"destination": {"host": stable, "port": {"number": 80}}, "weight": 95},
            {"destination": {"host": canary, "port": {"number": 80}}, "weight": 5},
        ]);
        assert_eq!(after["spec"]["http"][1]["route"], expected);
        let claim: Value = serde_json::from_str(after["metadata"]["annotations"][crate::api::names::MANAGED].as_str().unwrap()).unwrap();
        assert_eq!((&claim["primary"]["service"], &claim["primary"]["subset"]), (&json!("fraud-v2"), &Value::Null));
        let view = find(&after, sought).unwrap();
        assert_eq!((view.found("fraud-v2"), view.words().as_str()), (Share::weight(5), "fraud-v1 95 %, fraud-v2 5 %"));
        assert_eq!(apply(&after, &release(&view, "fraud-v1", Some("fraud-v2"))), before);
    }
}

#[test]
fn subsets_and_services_are_not_mixed_in_a_route() {
    let mixed = services(json!([{"destination": {"host": "fraud-v1"}}, {"destination": {"host": "fraud", "subset": "v2"}, "weight": 0}]));
    let version = service("fraud-v2");
    let fault = find(&mixed, Sought { canary: &version, ..Sought::subsets(Some("primary")) }).unwrap_err();
    assert!(fault.to_string().ends_with("every destination needs a Service of this namespace of its own and no subset"), "{fault}");
    let fault = find(&mixed, Sought::subsets(Some("primary"))).unwrap_err();
    assert!(fault.to_string().ends_with("every destination needs the same host and a subset of its own"), "{fault}");
    let elsewhere = services(json!([{"destination": {"host": "fraud-v1.web.svc.cluster.local"}}]));
    assert!(
        find(&elsewhere, Sought { canary: &version, ..Sought::subsets(Some("primary")) }).is_err(),
        "pods are read in this namespace alone"
    );
}

#[test]
fn of_routes_that_lead_to_services_the_one_with_the_canary_is_meant() {
    let both = json!([{"destination": {"host": "fraud-v1"}, "weight": 100}, {"destination": {"host": "fraud-v2"}, "weight": 0}]);
    let object = services(both);
    let (canary, third) = (service("fraud-v2"), service("fraud-v3"));
    assert_eq!(find(&object, Sought { canary: &canary, ..Sought::subsets(None) }).unwrap().key, "primary");
    let fault = find(&object, Sought { canary: &third, ..Sought::subsets(None) }).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "2 http routes of VirtualService fraud fit (health, primary): name one in spec.traffic.route",
        "health is a Service too"
    );
}

#[test]
fn another_route_to_the_service_of_the_canary_goes_around_the_weights() {
    let mut object = services(json!([{"destination": {"host": "fraud-v1"}}]));
    object["spec"]["http"][0]["route"][0]["destination"]["host"] = "fraud-v2.ml.svc.cluster.local".into();
    let canary = service("fraud-v2");
    let view = find(&object, Sought { canary: &canary, ..Sought::subsets(Some("primary")) }).unwrap();
    let told: Vec<String> = view.around("fraud-v2").map(|other| other.words(&view.host, "fraud-v2", "fraud-v1")).collect();
    let words = "route health leads to fraud-v2 too, and its requests go around the weights: set spec.http[0].route[0].destination.host to fraud-v1";
    assert_eq!(told, [words]);
    assert_eq!(view.around("fraud-v1").count(), 0);
}
