//! What is printed passes `lint`, whatever it begins with.

use serde_json::{Value, json};

use super::*;
use crate::cli::{Known, check};

fn deployment(name: &str, version: Option<&str>) -> Value {
    let mut labels = json!({"app": "fraud"});
    if let Some(version) = version {
        labels["version"] = version.into();
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "ml", "creationTimestamp": name},
           "spec": {"template": {"metadata": {"labels": labels}}}})
}

fn service(name: &str, selector: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "ml", "uid": "u", "managedFields": []},
           "spec": {"selector": selector, "clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080}]}})
}

fn virtual_service_to(route: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "scorer", "namespace": "ml", "resourceVersion": "7"},
           "spec": {"hosts": ["fraud"], "http": [{"name": "primary", "timeout": "2s", "route": route}]}})
}

fn rule(subsets: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "fraud", "namespace": "ml"},
           "spec": {"host": "fraud", "subsets": subsets}})
}

fn http_route(backends: Value) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "fraud", "namespace": "ml"},
           "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "fraud"}], "rules": [{"name": "primary", "backendRefs": backends}]}})
}

fn made(objects: &[Value], start: &str) -> Draft {
    draft(objects, &Start::parse(start).unwrap(), Some("ml"), None).unwrap()
}

/// What lint says of the manifests beside what is there; the manifests replace it.
fn faults(objects: &[Value], made: &Draft) -> Vec<String> {
    let same = |one: &Value, other: &Value| one["kind"] == other["kind"] && named(one) == named(other);
    let kept = objects.iter().filter(|object| !made.documents.iter().any(|document| same(&document.object, object)));
    let all = made.documents.iter().map(|document| &document.object).chain(kept);
    let text: String = all.map(|object| format!("---\n{object}\n")).collect();
    let reports = check("init.yaml", &text, &Known::default());
    assert_eq!(reports.len(), 1, "{text}");
    reports.iter().flat_map(|report| &report.faults).map(|fault| format!("{}: {}; {}", fault.path, fault.message, fault.fix)).collect()
}

fn kinds(made: &Draft) -> Vec<String> {
    made.documents.iter().map(|document| format!("{} {}", document.object["kind"].as_str().unwrap(), named(&document.object))).collect()
}

#[test]
fn from_a_service_with_two_deployments_come_subsets_a_route_and_a_rollout() {
    let objects = [deployment("fraud-v1", Some("v1")), deployment("fraud-v2", Some("v2")), service("fraud", json!({"app": "fraud"}))];
    for start in ["service/fraud", "deployment/fraud-v1"] {
        let made = made(&objects, start);
        assert_eq!(kinds(&made), ["DestinationRule fraud", "VirtualService fraud", "Rollout fraud"]);
        assert_eq!(made.about, "Rollout fraud: v1 is stable, v2 is the canary.");
        assert_eq!(faults(&objects, &made), [""; 0]);
    }
    let other = made(&objects, "deployment/fraud-v2");
    assert_eq!(other.about, "Rollout fraud: v2 is stable, v1 is the canary.", "what it begins with serves");
}

#[test]
fn what_no_label_says_is_asked() {
    let objects = [deployment("fraud", None), service("fraud", json!({"app": "fraud"}))];
    let made = made(&objects, "service/fraud");
    assert_eq!(made.questions.len(), 4, "{:?}", made.questions);
    assert!(made.questions[0].starts_with("Which version serves now?") && made.questions[1].contains("`version: v2`"));
    assert_eq!(faults(&objects, &made), [""; 0]);
}

#[test]
fn a_route_to_the_whole_service_gets_a_destination_for_each_version() {
    let route = virtual_service_to(json!([{"destination": {"host": "fraud", "port": {"number": 80}}}]));
    let objects = [deployment("fraud-v1", Some("v1")), service("fraud", json!({"app": "fraud"})), route];
    for start in ["service/fraud", "virtualservice/scorer", "deployment/fraud-v1"] {
        let made = made(&objects, start);
        assert_eq!(kinds(&made), ["DestinationRule scorer", "VirtualService scorer", "Rollout scorer"]);
        let route = &made.documents[1].object;
        assert_eq!(route["spec"]["http"][0]["timeout"], "2s", "what is not ours stays");
        assert_eq!(route["spec"]["http"][0]["route"][1]["destination"], json!({"host": "fraud", "port": {"number": 80}, "subset": "v2"}));
        assert!(route["metadata"]["resourceVersion"].is_null());
        assert_eq!(faults(&objects, &made), [""; 0]);
    }
}

#[test]
fn of_what_is_there_already_nothing_is_printed_again() {
    let route = virtual_service_to(json!([{"destination": {"host": "fraud", "subset": "v1"}, "weight": 100}]));
    let subsets = json!([{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}]);
    let mut objects = vec![deployment("fraud-v1", Some("v1")), service("fraud", json!({"app": "fraud"})), route, rule(subsets)];
    let done = made(&objects, "virtualservice/scorer");
    assert_eq!(kinds(&done), ["Rollout scorer"]);
    assert_eq!(done.documents[0].object["spec"]["traffic"], json!({"virtualService": "scorer", "route": "primary"}));
    assert_eq!(faults(&objects, &done), [""; 0]);
    objects[3] = rule(json!([{"name": "v1", "labels": {"version": "v1"}}]));
    let more = made(&objects, "virtualservice/scorer");
    assert_eq!(kinds(&more), ["DestinationRule fraud", "Rollout scorer"]);
    assert_eq!(more.documents[0].object["spec"]["subsets"].as_array().unwrap().len(), 2);
    assert_eq!(faults(&objects, &more), [""; 0]);
}

#[test]
fn from_a_route_of_the_gateway_api_come_services_by_version() {
    let whole = http_route(json!([{"name": "fraud", "port": 80}]));
    let objects = [deployment("fraud-v1", Some("v1")), service("fraud", json!({"app": "fraud"})), whole];
    let made_of = made(&objects, "httproute/fraud");
    assert_eq!(kinds(&made_of), ["Service fraud-v1", "Service fraud-v2", "HTTPRoute fraud", "Rollout fraud"]);
    assert_eq!(made_of.documents[1].object["spec"]["selector"], json!({"app": "fraud", "version": "v2"}));
    assert!(
        made_of.documents[0].object["spec"]["clusterIP"].is_null() && made_of.documents[0].object["spec"]["ports"][0]["nodePort"].is_null()
    );
    assert_eq!(faults(&objects, &made_of), [""; 0]);
    let split = http_route(json!([{"name": "fraud-v1", "port": 80, "weight": 100}, {"name": "fraud-v2", "port": 80, "weight": 0}]));
    let made = made(&[split], "httproute/fraud");
    assert_eq!(kinds(&made), ["Rollout fraud"]);
    assert_eq!(made.documents[0].object["spec"]["canary"], json!({"service": "fraud-v2"}));
}

#[test]
fn what_cannot_be_begun_with_is_told_with_what_is_there() {
    let objects = [service("fraud", json!({"app": "fraud"})), deployment("lonely", Some("v1"))];
    let failure = |start: &str| draft(&objects, &Start::parse(start).unwrap(), Some("ml"), None).unwrap_err();
    assert_eq!((failure("service/other").exit, failure("service/other").fix), (Exit::NotFound, "one of fraud".to_owned()));
    let shapeless = json!({"kind": "Deployment", "metadata": {"name": "x"}, "spec": {"template": {"metadata": {"labels": {"app": "x"}}}}});
    let objects = [service("fraud", json!({"app": "fraud"})), shapeless];
    let failure = draft(&objects, &Start::parse("deployment/x").unwrap(), Some("ml"), None).unwrap_err();
    assert!(failure.message.starts_with("no Service selects the pods of Deployment x"), "{failure}");
}

#[test]
fn the_next_version_may_be_named() {
    let objects = [deployment("fraud-v1", Some("v1")), service("fraud", json!({"app": "fraud"}))];
    let made = draft(&objects, &Start::parse("service/fraud").unwrap(), Some("ml"), Some("v7")).unwrap();
    assert_eq!(made.about, "Rollout fraud: v1 is stable, v7 is the canary.");
    assert_eq!(faults(&objects, &made), [""; 0]);
}

#[test]
fn an_image_that_names_a_known_server_is_asked_for_by_its_preset() {
    let with = |image: &str| {
        let mut deployment = deployment("fraud-v1", Some("v1"));
        deployment["spec"]["template"]["spec"] = json!({"containers": [{"name": "model", "image": image}]});
        let made = made(&[deployment, service("fraud", json!({"app": "fraud"}))], "service/fraud");
        made.questions.join(" ")
    };
    assert!(with("docker.io/vllm/vllm-openai:v0.11.2").contains("`preset: vllm` in spec.analysis"));
    assert!(with("nvcr.io/nvidia/tritonserver:25.10-py3").contains("`haldane presets detect fraud -n ml`"));
    assert!(!with("registry.example.com/fraud:7").contains("preset"));
}
