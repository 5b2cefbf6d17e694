//! Findings on values: a broken cluster for each class of finding.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::api::RouteKind;
use crate::plan::Plan;

fn one(found: &[Finding], check: &str) -> Finding {
    found.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("{check} of {found:?}")).clone()
}

fn says(found: &[Finding], check: &str, level: Level, fact: &str, fix: &str) {
    let one = one(found, check);
    assert!(one.level == level && one.fact.contains(fact) && one.fix.contains(fix), "{one:?}");
}

fn now() -> Timestamp {
    "2026-11-29T12:00:00Z".parse().unwrap()
}

fn crd() -> Value {
    use kube::CustomResourceExt;
    serde_json::to_value(crate::api::Rollout::crd()).unwrap()
}

/// A cluster as it should be.
fn healthy() -> Control {
    let lease = json!({
        "metadata": {"annotations": {"haldane.dev/version": "0.4.0"}},
        "spec": {"holderIdentity": "haldane-7c9f", "renewTime": "2026-11-29T11:59:58.000000Z", "leaseDurationSeconds": 15},
    });
    let deployment = json!({
        "metadata": {"name": "haldane"}, "status": {"readyReplicas": 2},
        "spec": {"replicas": 2, "template": {"spec": {"serviceAccountName": "haldane",
            "volumes": [{"projected": {"sources": [{"configMap": {"name": "settings"}}, {"secret": {"name": "haldane"}}]}}], "containers": [
            {"image": "registry.example.com/haldane:0.4.0", "args": ["controller", "--config", "/etc/haldane/haldane.yaml"]}]}}},
    });
    Control {
        client: "0.4.0".into(),
        served: Read::Found(vec!["v1alpha1".into()]),
        crd: Read::Found(crd()),
        home: "haldane-system".into(),
        lease: Read::Found(Held::of(&lease)),
        deployments: Read::Found(vec![Deployment::of(&deployment)]),
        namespace: "ml".into(),
        now: now(),
    }
}

#[test]
fn a_healthy_controller_is_told_with_its_version() {
    let found = control(&healthy());
    assert!(found.iter().all(|finding| finding.level == Level::Ok && finding.fix.is_empty()), "{found:?}");
    says(&found, "controller", Level::Ok, "haldane-7c9f leads", "");
    says(&found, "version", Level::Ok, "this program and the controller are 0.4.0", "");
    let deployment = healthy().deployments.found().unwrap()[0].clone();
    assert_eq!((deployment.config.as_str(), deployment.config_map.as_str()), ("haldane.yaml", "settings"));
}

#[test]
fn a_resource_that_is_missing_or_of_another_version_is_told() {
    const INSTALL: &str = "haldane crd | kubectl apply";
    let told = |change: &dyn Fn(&mut Control)| {
        let mut read = healthy();
        change(&mut read);
        control(&read)
    };
    let missing = told(&|read| read.served = Read::Absent);
    says(&missing, "crd", Level::Fail, "does not know rollouts.haldane.dev", INSTALL);
    let other = told(&|read| read.served = Read::Found(vec!["v1".into()]));
    says(&other, "crd", Level::Fail, "serves rollouts.haldane.dev as v1, and this program speaks v1alpha1", INSTALL);
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let mut older = crd();
    older.pointer_mut(spec).unwrap().as_object_mut().unwrap().remove("rollbackWindow");
    let old = told(&|read| read.crd = Read::Found(older.clone()));
    says(&old, "crd", Level::Fail, "older than this program: it lacks spec.rollbackWindow", INSTALL);
    let mut newer = crd();
    newer.pointer_mut(spec).unwrap()["later"] = json!({"type": "string"});
    let new = told(&|read| read.crd = Read::Found(newer.clone()));
    says(&new, "crd", Level::Warn, "newer than this program: it also has spec.later", "haldane version");
    let hidden = told(&|read| read.crd = Read::Forbidden);
    says(&hidden, "crd", Level::Ok, "its schema was not compared", "");
    let down = told(&|read| read.served = Read::Failed("the API server answered 500: etcd".into()));
    says(&down, "crd", Level::Fail, "could not be read", "");
}

#[test]
fn a_controller_that_is_missing_silent_or_old_is_told() {
    let told = |change: &dyn Fn(&mut Control)| {
        let mut read = healthy();
        change(&mut read);
        control(&read)
    };
    let none = told(&|read| read.lease = Read::Absent);
    says(&none, "controller", Level::Fail, "no controller has ever led in namespace haldane-system", "kubectl apply -k deploy/controller");
    let hidden = told(&|read| read.lease = Read::Forbidden);
    says(&hidden, "controller", Level::Warn, "you may not read Lease haldane", "kubectl get lease");
    let stopped = told(&|read| read.lease = Read::Found(Held::default()));
    says(&stopped, "controller", Level::Fail, "no controller leads", "kubectl get pods -n haldane-system");
    let silent = told(&|read| read.now = now() + SignedDuration::from_mins(5));
    says(&silent, "controller", Level::Fail, "haldane-7c9f has not renewed its lease for 5m2s", "kubectl logs");
    let few = told(&|read| {
        let Read::Found(list) = &mut read.deployments else { panic!() };
        list[0].ready = 1;
        list[0].namespaces = vec!["prod".into()];
    });
    says(&few, "replicas", Level::Warn, "1 of 2 replicas", "kubectl describe pods");
    says(&few, "namespaces", Level::Fail, "serves only prod, and not ml", "--namespace ml");
    let far = told(&|read| read.client = "0.7.0".into());
    says(&far, "version", Level::Warn, "this program is 0.7.0 and the controller 0.4.0", "install haldane 0.4.0");
}

fn granted(who: Who, all: &[Right], granted: impl Fn(&Right) -> Read<bool>) -> Vec<Answer> {
    let user = if who == Who::Controller { "system:serviceaccount:haldane-system:haldane" } else { "" };
    all.iter().map(|right| Answer { who, user: user.into(), right: *right, namespace: "ml".into(), granted: granted(right) }).collect()
}

#[test]
fn a_right_that_is_missing_is_named_with_its_place() {
    let all = rights(&granted(Who::Controller, &CONTROLLER, |_| Read::Found(true)));
    says(&all, "rights", Level::Ok, "the controller has the 31 rights", "");
    let no_patch = granted(Who::Controller, &CONTROLLER, |right| Read::Found(right.resource != "virtualservices" || right.verb != "patch"));
    says(
        &rights(&no_patch),
        "rights",
        Level::Fail,
        "may not patch virtualservices.networking.istio.io in ml",
        "kubectl apply -k deploy/controller",
    );
    let none = granted(Who::Controller, &CONTROLLER, |_| Read::Found(false));
    says(&rights(&none), "rights", Level::Fail, "and 28 more in ml", "--as=system:serviceaccount:haldane-system:haldane");
    let no_record = granted(Who::Controller, &CONTROLLER, |right| Read::Found(right.resource != "configmaps"));
    says(&rights(&no_record), "rights", Level::Warn, "the course of rollouts is not recorded", "kubectl apply -k deploy/controller");
    let hidden = granted(Who::Controller, &CONTROLLER, |_| Read::Forbidden);
    says(&rights(&hidden), "rights", Level::Warn, "you may not ask about the controller's rights", "kubectl auth can-i --list -n ml --as=");
    let viewer = granted(Who::Viewer, &VIEWER, |right| Read::Found(right.verb != "patch"));
    says(&rights(&viewer), "rights", Level::Warn, "and not promote or abort them", "--clusterrole=haldane-operator");
    let stranger = granted(Who::Viewer, &VIEWER, |_| Read::Found(false));
    says(&rights(&stranger), "rights", Level::Fail, "you may not get rollouts.haldane.dev", "--clusterrole=haldane-viewer");
}

#[test]
fn the_rights_that_are_asked_about_are_those_of_the_manifest() {
    let manifest = include_str!("../../deploy/controller/rbac.yaml");
    let roles: Vec<Value> = serde_yaml::from_multiple(manifest).unwrap();
    let of = |name: &str| {
        let role = roles.iter().find(|role| role["metadata"]["name"] == name && role["rules"].is_array()).unwrap();
        let mut rights = Vec::new();
        for rule in role["rules"].as_array().unwrap() {
            for resource in rule["resources"].as_array().unwrap() {
                for verb in rule["verbs"].as_array().unwrap() {
                    let text = |value: &Value| value.as_str().unwrap().to_owned();
                    rights.push(format!("{} {}.{}", text(verb), text(resource), text(&rule["apiGroups"][0])));
                }
            }
        }
        rights.sort();
        rights
    };
    let asked = |list: &[Right]| {
        let sub = |right: &Right| if right.subresource.is_empty() { String::new() } else { format!("/{}", right.subresource) };
        let mut all: Vec<String> =
            list.iter().map(|right| format!("{} {}{}.{}", right.verb, right.resource, sub(right), right.group)).collect();
        all.sort();
        all
    };
    assert_eq!(asked(&CONTROLLER), of("haldane"));
    assert_eq!(asked(&LEASES), of("haldane-election"));
}

fn read_of(routes: [Read<Vec<String>>; 2]) -> Mesh {
    let [istio, gateway] = routes;
    let routes = [(RouteKind::VirtualService, istio), (RouteKind::HttpRoute, gateway.clone()), (RouteKind::GrpcRoute, gateway)];
    let notes = json!({"metadata": {"annotations": {"gateway.networking.k8s.io/bundle-version": "v1.4.0", "gateway.networking.k8s.io/channel": "standard"}}});
    Mesh { routes: routes.into(), istiod: Read::Found(vec!["docker.io/istio/pilot:1.29.2".into()]), gateway_crd: Read::Found(notes) }
}

#[test]
fn the_versions_of_istio_and_the_gateway_api_are_told_and_neither_is_needed() {
    let v1 = || Read::Found(vec!["v1".to_owned()]);
    let both = mesh(&read_of([v1(), v1()]));
    says(&both, "istio", Level::Ok, "Istio 1.29.2, VirtualService v1", "");
    says(&both, "gatewayApi", Level::Ok, "HTTPRoute v1 is served (v1.4.0, standard)", "");
    let gateway = mesh(&read_of([Read::Absent, v1()]));
    says(&gateway, "istio", Level::Ok, "routes of the Gateway API are there", "");
    let none = mesh(&read_of([Read::Absent, Read::Absent]));
    says(&none, "istio", Level::Fail, "no VirtualService (networking.istio.io), and no HTTPRoute", "istioctl install");
    let old = mesh(&read_of([v1(), Read::Found(vec!["v1beta1".into()])]));
    says(&old, "gatewayApi", Level::Warn, "HTTPRoute is served as v1beta1 alone", "v1.0 or newer");
}

#[test]
fn what_reads_the_requests_of_the_pods_is_told() {
    let sidecar =
        json!({"spec": {"initContainers": [{"name": "istio-proxy", "image": "istio/proxyv2:1.29.2"}], "containers": [{"name": "model"}]}});
    let ambient = json!({"metadata": {"annotations": {"ambient.istio.io/redirection": "enabled"}}, "spec": {"containers": []}});
    let none = json!({"spec": {"containers": [{"name": "model"}]}});
    let pods =
        |list: &[&Value]| list.iter().enumerate().map(|(index, pod)| (format!("pod-{index}"), Proxy::of(pod))).collect::<BTreeMap<_, _>>();
    let empty = BTreeMap::new();
    let waypoint = BTreeMap::from([("istio.io/use-waypoint".to_owned(), "waypoint".to_owned())]);
    let inside = json!({"kind": "VirtualService", "spec": {"hosts": ["fraud"]}});
    let outside = json!({"kind": "VirtualService", "spec": {"gateways": ["public"]}});
    let told = |list: &[&Value], labels: &BTreeMap<String, String>, route: &Value| {
        proxies(&pods(list), Ground { namespace: "ml", labels, service: &empty, route: Some(route) }).into_iter().collect::<Vec<_>>()
    };
    says(&told(&[&sidecar, &sidecar], &empty, &inside), "proxies", Level::Ok, "sidecars on 2 of 2 pods (1.29.2)", "");
    says(&told(&[&sidecar, &none], &empty, &inside), "proxies", Level::Fail, "sidecars on 1 of 2 pods", "kubectl delete pod -n ml pod-1");
    says(&told(&[&ambient], &waypoint, &inside), "proxies", Level::Ok, "read by waypoint waypoint", "");
    says(&told(&[&ambient], &empty, &inside), "proxies", Level::Fail, "no waypoint", "istioctl waypoint apply -n ml");
    says(&told(&[&none], &empty, &outside), "proxies", Level::Ok, "counted by the route's gateway", "");
    says(&told(&[&none], &empty, &inside), "proxies", Level::Fail, "no proxy on 1 pods", "istio-injection=enabled");
    assert!(told(&[], &empty, &inside).is_empty());
}

#[test]
fn a_provider_that_cannot_be_reached_from_here_is_not_called_wrong() {
    let of = |url: &str, origin, ahead| vec![provider(&Asked { name: "default".into(), url: url.into(), origin, ahead })];
    let away = || Err(Silence::Unreachable("dns error".into()));
    let inside = of("http://prometheus.monitoring:9090", Origin::Cluster, away());
    let forward = "kubectl port-forward -n monitoring svc/prometheus 9090:9090, then again with --prometheus http://localhost:9090";
    says(&inside, "prometheus", Level::Warn, "cannot be reached from here", forward);
    says(&of("http://localhost:9", Origin::Flag, away()), "prometheus", Level::Fail, "nothing that is a Prometheus answers", "dns error");
    let refused = of("https://prom.example.com", Origin::File, Err(Silence::Refused("401 Unauthorized".into())));
    says(&refused, "prometheus", Level::Fail, "401 Unauthorized", "");
    let seconds = |seconds| of("http://p.m:9090", Origin::File, Ok(SignedDuration::from_secs(seconds)));
    says(&seconds(0), "prometheus", Level::Ok, "its clock is right", "");
    says(&seconds(-90), "prometheus", Level::Warn, "1m30s behind ours", "time server");
    says(&seconds(900), "prometheus", Level::Fail, "15m ahead of ours", "time server");
}

fn plan(metrics: Value) -> Plan {
    let spec = json!({
        "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}, "analysis": {"metrics": metrics},
    });
    Plan::parse(&serde_json::from_value(spec).unwrap()).unwrap()
}

fn measured() -> Measured {
    Measured {
        reporter: "destination".into(),
        label: "destination_workload".into(),
        values: ["fraud-v1".into(), "fraud-v2".into()],
        series: [6, 0],
        rates: [400.0, 0.0],
        errors: 0.001,
        scrape: Some(Duration::from_secs(15)),
        age: Some(Duration::from_secs(9)),
        configured: Duration::from_secs(15),
        lag: Duration::from_secs(20),
        histograms: Vec::new(),
        offered: Vec::new(),
    }
}

#[test]
fn what_prometheus_has_of_both_versions_is_told() {
    let plan = plan(json!([{"errorRate": {}}]));
    let told = |share: bool, change: &dyn Fn(&mut Measured)| {
        let mut read = measured();
        change(&mut read);
        series(&read, &plan, share, true)
    };
    let fine = told(false, &|_| {});
    assert!(fine.iter().all(|finding| finding.level == Level::Ok), "{fine:?}");
    says(&fine, "series", Level::Ok, "stable has 400 requests/s at reporter destination; the canary none", "");
    says(&fine, "labels", Level::Ok, "destination_workload tells the versions apart: fraud-v1 and fraud-v2", "");
    says(
        &told(true, &|_| {}),
        "series",
        Level::Fail,
        "the canary none although its route gives it a share",
        "sum by (destination_workload",
    );
    says(&told(false, &|read| read.rates = [0.0, 0.0]), "series", Level::Fail, "no request in the last five minutes", "send requests");
    let slow = told(false, &|read| read.scrape = Some(Duration::from_secs(60)));
    says(&slow, "scrape", Level::Warn, "scraped every 1m, and provider default says 15s", "scrapeInterval: 1m");
    let rare = told(false, &|read| (read.scrape, read.configured) = (Some(Duration::from_secs(60)), Duration::from_secs(60)));
    says(&rare, "scrape", Level::Warn, "too rarely for windows of 30s", "spec.analysis.interval: 2m");
    says(&told(false, &|read| read.age = Some(Duration::from_secs(80))), "age", Level::Warn, "1m20s old", "lag: 1m25s");
}

#[test]
fn traffic_that_is_not_enough_is_told_with_what_would_be() {
    let plan = plan(json!([{"errorRate": {}}, {"latency": {}}]));
    let at = |rps: f64| traffic(&Measured { rates: [rps, 0.0], ..measured() }, &plan).into_iter().collect::<Vec<_>>();
    says(&at(400.0), "traffic", Level::Ok, "400 requests/s are enough", "");
    says(&at(0.5), "traffic", Level::Warn, "at 0.5 requests a second", "would be enough");
    assert!(at(0.0).is_empty());
}
