//! The simulated Kubernetes API against a real kube-apiserver: the same requests, the same answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "contract/real.rs"]
mod real;
#[path = "contract/routes.rs"]
mod routes;
#[path = "contract/side.rs"]
mod side;

use std::time::Duration;

use haldane::{api::Rollout, clock::Clock, sim::apiserver::ApiServer};
use kube::CustomResourceExt;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use real::Real;
use serde_json::{Value, json};
use side::{Ask, Side};

const ROLLOUTS: &str = "/apis/haldane.dev/v1alpha1/namespaces/ml/rollouts";
const ROUTES: &str = "/apis/networking.istio.io/v1/namespaces/ml/virtualservices";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/ml/leases";
const PODS: &str = "/api/v1/namespaces/ml/pods";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";

struct Both {
    real: Side,
    sim: Side,
    failures: Vec<String>,
    asked: usize,
    servers: (Real, ApiServer),
}

impl Both {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let real = Real::start().await;
        let server = ApiServer::start(Clock::system(), 0).await.unwrap();
        let mut config = server.config("ml");
        config.default_retry = false;
        let sim = Side::new(kube::Client::try_from(config).unwrap());
        let client = real.client().await;
        let mut both = Self { real: Side::new(client), sim, failures: Vec::new(), asked: 0, servers: (real, server) };
        let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        for crd in [serde_json::to_value(Rollout::crd()).unwrap(), istio_crd("VirtualService"), istio_crd("DestinationRule")] {
            let answer = both.real.ask(&post(crds, crd)).await;
            assert_eq!(answer["code"], 201, "{answer}");
        }
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ml"}});
        for side in [&mut both.real, &mut both.sim] {
            side.ask(&post("/api/v1/namespaces", namespace.clone())).await;
        }
        for path in [ROLLOUTS, ROUTES] {
            for _ in 0..100 {
                if both.real.ask(&get(path)).await["code"] == 200 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        both
    }

    async fn ask(&mut self, what: &str, ask: Ask) -> Value {
        self.compare(what, ask, |answer| answer).await
    }

    /// Asks both; `view` is what is compared.
    async fn compare(&mut self, what: &str, ask: Ask, view: impl Fn(Value) -> Value) -> Value {
        self.asked += 1;
        let (real, sim) = (view(self.real.ask(&ask).await), view(self.sim.ask(&ask).await));
        if real != sim {
            self.failures.push(format!(
                "{what}: {} {} {}\n  real {}\n  sim  {}",
                ask.method,
                ask.path,
                ask.body,
                serde_json::to_string(&real).unwrap(),
                serde_json::to_string(&sim).unwrap()
            ));
        }
        real
    }

    fn done(self) {
        assert!(self.failures.is_empty(), "{} of {} answers differ:\n{}", self.failures.len(), self.asked, self.failures.join("\n"));
    }
}

fn ask(method: &'static str, path: &str, content_type: &'static str, body: Value) -> Ask {
    Ask { method, path: path.to_owned(), content_type, accept: JSON, body }
}

fn get(path: &str) -> Ask {
    ask("GET", path, JSON, Value::Null)
}

fn post(path: &str, body: Value) -> Ask {
    ask("POST", path, JSON, body)
}

fn merge(path: &str, body: Value) -> Ask {
    ask("PATCH", path, MERGE, body)
}

fn patch(path: &str, body: Value) -> Ask {
    ask("PATCH", path, PATCH, body)
}

fn delete(path: &str) -> Ask {
    ask("DELETE", path, JSON, Value::Null)
}

fn istio_crd(kind: &str) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": free, "status": free}}});
    let version = json!({"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": schema});
    let names = json!({"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.networking.istio.io")},
        "spec": {"group": "networking.istio.io", "names": names, "scope": "Namespaced", "versions": [version]},
    })
}

fn rollout(name: &str) -> Value {
    let spec = json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}});
    json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": spec})
}

fn route(name: &str) -> Value {
    let to = |subset: &str, weight: i64| json!({"destination": {"host": "fraud", "subset": subset}, "weight": weight});
    let http = json!([{"name": "primary", "route": [to("v1", 100), to("v2", 0)], "timeout": "2s"}]);
    let spec = json!({"hosts": ["fraud"], "http": http});
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_requests_get_the_same_answers() {
    let mut both = Both::start().await;
    let one = format!("{ROLLOUTS}/a");
    creates_and_reads(&mut both, &one).await;
    writes(&mut both, &one).await;
    deletes(&mut both, &one).await;
    patches_of_routes(&mut both).await;
    other_kinds(&mut both).await;
    drawn(&mut both).await;
    kubectl(&mut both).await;
    let written = routes::there_and_back(&both.servers.0.client().await).await;
    assert!(written > 500, "{written} writes of routes");
    routes::an_older_crd_refuses_the_percent_of_a_mirror(&both.servers.0.client().await).await;
    both.done();
}

async fn creates_and_reads(both: &mut Both, one: &str) {
    both.ask("not there", get(one)).await;
    both.ask("empty list", get(ROLLOUTS)).await;
    both.ask("no such resource", get("/apis/haldane.dev/v1alpha1/namespaces/ml/nothings")).await;
    both.ask("create", post(ROLLOUTS, rollout("a"))).await;
    both.ask("create again", post(ROLLOUTS, rollout("a"))).await;
    both.ask("create with manager", post(&format!("{ROLLOUTS}?fieldManager=kubectl-create"), rollout("b"))).await;
    both.ask("create, dry run", post(&format!("{ROLLOUTS}?dryRun=All"), rollout("dry"))).await;
    both.ask("nothing was stored", get(&format!("{ROLLOUTS}/dry"))).await;
    both.ask("bad name", post(ROLLOUTS, rollout("Bad_Name"))).await;
    let mut object = rollout("");
    object["metadata"].as_object_mut().unwrap().remove("name");
    both.ask("no name", post(ROLLOUTS, object)).await;
    let code = |answer: Value| answer["code"].clone();
    both.ask("namespace not there", post(&ROLLOUTS.replace("/ml/", "/nowhere/"), rollout("a"))).await;
    let mut object = rollout("c");
    object["metadata"]["namespace"] = json!("other");
    both.ask("namespace differs", post(ROLLOUTS, object)).await;
    let mut object = rollout("c");
    object["spec"] = json!({"traffic": {"virtualService": ""}, "canary": {}, "strategy": {"canary": {}}, "paused": "yes"});
    both.ask("invalid", post(ROLLOUTS, object)).await;
    let mut object = rollout("c");
    object["spec"]["strategy"] = json!({"steps": [{"weight": 0}, {"weight": 101, "onInconclusive": "Never"}]});
    both.compare("out of bounds", post(ROLLOUTS, object), code).await;
    let mut object = rollout("c");
    object["spec"]["unknown"] = json!(1);
    both.ask("unknown field is pruned", post(ROLLOUTS, object.clone())).await;
    both.ask("unknown field, strict", post(&format!("{ROLLOUTS}?fieldValidation=Strict"), object)).await;
    both.ask("wrong kind", post(ROLLOUTS, route("x"))).await;
    both.ask("get", get(one)).await;
    both.ask("list", get(ROLLOUTS)).await;
    both.ask("list everywhere", get("/apis/haldane.dev/v1alpha1/rollouts")).await;
    both.ask("by name", get(&format!("{ROLLOUTS}?fieldSelector=metadata.name%3Da"))).await;
    both.ask("by a field that cannot be", get(&format!("{ROLLOUTS}?fieldSelector=spec.paused%3Dtrue"))).await;
    let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    both.ask("metadata", Ask { accept: metadata, ..get(ROLLOUTS) }).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let cells = |answer: Value| {
        let body = &answer["body"];
        let names: Vec<Value> = body["columnDefinitions"].as_array().unwrap().iter().map(|c| json!([c["name"], c["type"]])).collect();
        let rows: Vec<Value> = body["rows"].as_array().unwrap().iter().map(|r| json!([r["cells"][0], r["object"]["kind"]])).collect();
        json!([answer["code"], names, rows])
    };
    both.compare("table", Ask { accept: table, ..get(ROLLOUTS) }, cells).await;
    both.compare("what is not accepted", Ask { accept: "text/html", ..get(ROLLOUTS) }, code).await;
}

async fn writes(both: &mut Both, one: &str) {
    let status = format!("{one}/status");
    both.ask("merge", merge(one, json!({"spec": {"paused": true}, "status": {"epoch": 3}}))).await;
    both.ask("merge of the same", merge(one, json!({"spec": {"paused": true}}))).await;
    both.ask("merge of status", merge(&status, json!({"spec": {"paused": false}, "status": {"epoch": 4, "phase": "Idle"}}))).await;
    both.ask("status with metadata", merge(&status, json!({"metadata": {"labels": {"a": "b"}}, "status": {"epoch": 5}}))).await;
    both.ask("status that is wrong", merge(&status, json!({"status": {"phase": "Never"}}))).await;
    both.ask("status alone", get(&status)).await;
    let annotate = json!({"metadata": {"annotations": {"haldane.dev/abort": "{}"}}});
    both.ask("annotate", merge(&format!("{one}?fieldManager=kubectl-annotate"), annotate)).await;
    both.ask("annotation away", merge(one, json!({"metadata": {"annotations": {"haldane.dev/abort": null}}}))).await;
    let refused = |answer: Value| json!([answer["code"], answer["body"]["code"], answer["body"]["reason"]]);
    both.compare("annotation not a string", merge(one, json!({"metadata": {"annotations": {"a": 1}}})), refused).await;
    both.ask("merge, stale", merge(one, json!({"metadata": {"resourceVersion": "$old-a.rv"}, "spec": {"paused": false}}))).await;
    both.ask("merge, fresh", merge(one, json!({"metadata": {"resourceVersion": "$a.rv"}, "spec": {"paused": false}}))).await;
    both.ask("merge, other uid", merge(one, json!({"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}}))).await;
    both.ask("merge that is no object", merge(one, json!([1]))).await;
    both.ask("test holds", patch(one, json!([{"op": "test", "path": "/metadata/resourceVersion", "value": "$a.rv"}]))).await;
    both.ask("test fails", patch(one, json!([{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}]))).await;
    both.ask("path not there", patch(one, json!([{"op": "replace", "path": "/spec/nothing/x", "value": 1}]))).await;
    both.ask("test of what is absent", patch(one, json!([{"op": "test", "path": "/metadata/annotations/x", "value": "y"}]))).await;
    both.ask("json patch", patch(one, json!([{"op": "add", "path": "/spec/alerts", "value": ["x"]}]))).await;
    both.ask("json patch of status", patch(&status, json!([{"op": "replace", "path": "/status/epoch", "value": 9}]))).await;
    both.ask("json patch of a stale version", patch(one, json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}])))
        .await;
    both.ask("strategic", ask("PATCH", one, "application/strategic-merge-patch+json", json!({"spec": {}}))).await;
    both.ask("patch of nobody", merge(&format!("{ROLLOUTS}/zzz"), json!({"spec": {"paused": true}}))).await;
    let mut object = rollout("a");
    both.ask("put without a version", ask("PUT", one, JSON, object.clone())).await;
    object["metadata"]["resourceVersion"] = json!("1");
    both.ask("put, stale", ask("PUT", one, JSON, object.clone())).await;
    object["metadata"]["resourceVersion"] = json!("$a.rv");
    object["metadata"]["labels"] = json!({"team": "risk"});
    both.ask("put", ask("PUT", one, JSON, object.clone())).await;
    both.ask("put under another name", ask("PUT", &format!("{ROLLOUTS}/b"), JSON, object.clone())).await;
    object["metadata"]["resourceVersion"] = json!("$a.rv");
    object["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    both.ask("put, other uid", ask("PUT", one, JSON, object.clone())).await;
    object["metadata"].as_object_mut().unwrap().remove("uid");
    object["metadata"]["name"] = json!("zzz");
    both.ask("put of nobody", ask("PUT", &format!("{ROLLOUTS}/zzz"), JSON, object)).await;
    for selector in ["team%3Drisk", "team+in+(risk,x)", "!team", "team!%3Drisk", "team+notin+(risk)", "team"] {
        both.ask("selector", get(&format!("{ROLLOUTS}?labelSelector={selector}"))).await;
    }
    both.ask("post to an object", post(one, rollout("a"))).await;
    both.ask("put to a list", ask("PUT", ROLLOUTS, JSON, rollout("a"))).await;
}

async fn deletes(both: &mut Both, one: &str) {
    let two = format!("{ROLLOUTS}/b");
    let from = "&resourceVersion=$list.rv";
    both.ask("list", get(ROLLOUTS)).await;
    both.ask("finalizer", merge(one, json!({"metadata": {"finalizers": ["haldane.dev/restore-traffic"]}}))).await;
    let other = json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}});
    both.ask("delete of another", ask("DELETE", one, JSON, other)).await;
    both.ask("delete, held", delete(one)).await;
    both.ask("delete again", delete(one)).await;
    both.ask("still there", get(one)).await;
    both.ask("spec while held", merge(one, json!({"spec": {"paused": true}}))).await;
    both.ask("another finalizer", merge(one, json!({"metadata": {"finalizers": ["a.b/c", "haldane.dev/restore-traffic"]}}))).await;
    both.ask("let go", merge(one, json!({"metadata": {"finalizers": null}}))).await;
    both.ask("gone", get(one)).await;
    let options =
        json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background", "preconditions": {"uid": "$b.uid"}});
    both.ask("delete by uid", ask("DELETE", &two, JSON, options)).await;
    both.ask("delete of nobody", delete(&two)).await;
    both.ask("again with the same name", post(ROLLOUTS, rollout("b"))).await;
    for path in [ROLLOUTS, "/apis/haldane.dev/v1alpha1/rollouts"] {
        for selector in ["", "&fieldSelector=metadata.name%3Da", "&labelSelector=team%3Drisk"] {
            let path = format!("{path}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true{selector}{from}");
            let (real, sim) = (both.real.watch(&path).await, both.sim.watch(&path).await);
            both.asked += 1;
            if real != sim {
                let show =
                    |events: &[Value]| events.iter().map(|e| format!("    {} {}", e["type"], e["object"])).collect::<Vec<_>>().join("\n");
                both.failures.push(format!("watch {path}\n  real\n{}\n  sim\n{}", show(&real), show(&sim)));
            }
        }
    }
    let now = format!("{ROLLOUTS}?watch=true&timeoutSeconds=1");
    assert_eq!(both.real.watch(&now).await, both.sim.watch(&now).await, "a watch from nowhere begins with what is there");
    let listing =
        format!("{ROLLOUTS}?watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    assert_eq!(both.real.watch(&listing).await, both.sim.watch(&listing).await);
}

async fn patches_of_routes(both: &mut Both) {
    let one = format!("{ROUTES}/fraud");
    both.ask("create route", post(ROUTES, route("fraud"))).await;
    let weights = |v1: i64, v2: i64| {
        json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": "$fraud.rv"},
            {"op": "test", "path": "/spec/http/0/name", "value": "primary"},
            {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": v1},
            {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": v2},
        ])
    };
    both.ask("weights", patch(&format!("{one}?fieldManager=haldane"), weights(95, 5))).await;
    both.ask("weights again", patch(&format!("{one}?fieldManager=haldane"), weights(80, 20))).await;
    let annotation = json!([{"op": "add", "path": "/metadata/annotations", "value": {"haldane.dev/managed": "{}"}}]);
    both.ask("annotation", patch(&one, annotation)).await;
    let escaped = json!([{"op": "replace", "path": "/metadata/annotations/haldane.dev~1managed", "value": "{\"a\":1}"}]);
    both.ask("annotation by its escaped name", patch(&one, escaped)).await;
    both.ask("put into a list", patch(&one, json!([{"op": "add", "path": "/spec/http/0", "value": {"name": "beta"}}]))).await;
    both.ask("out of a list", patch(&one, json!([{"op": "remove", "path": "/spec/http/0"}]))).await;
    both.ask("beyond a list", patch(&one, json!([{"op": "remove", "path": "/spec/http/7"}]))).await;
    both.ask("at its end", patch(&one, json!([{"op": "add", "path": "/spec/http/-", "value": {"name": "last"}}]))).await;
    both.ask("move", patch(&one, json!([{"op": "move", "from": "/spec/http/1", "path": "/spec/http/0"}]))).await;
    both.ask("copy", patch(&one, json!([{"op": "copy", "from": "/spec/http/0", "path": "/spec/http/-"}]))).await;
    both.ask("test of a number", patch(&one, json!([{"op": "test", "path": "/spec/http/1/route/0/weight", "value": 80}]))).await;
    both.ask("no such operation", patch(&one, json!([{"op": "frobnicate", "path": "/spec"}]))).await;
    both.ask("status", merge(&format!("{one}/status"), json!({"status": {"observedGeneration": "1"}}))).await;
    both.ask("null takes away", merge(&one, json!({"spec": {"hosts": null}}))).await;
    both.ask("delete route", delete(&one)).await;
}

async fn other_kinds(both: &mut Both) {
    let code = |answer: Value| json!([answer["code"], answer["body"]["reason"], answer["body"]["spec"]["holderIdentity"]]);
    let lease = |version: &str, holder: &str| {
        let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 15});
        let mut lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "haldane"}, "spec": spec});
        if !version.is_empty() {
            lease["metadata"]["resourceVersion"] = json!(version);
        }
        lease
    };
    let one = format!("{LEASES}/haldane");
    both.compare("lease", post(LEASES, lease("", "a")), code).await;
    both.compare("lease twice", post(LEASES, lease("", "b")), code).await;
    both.compare("renew", ask("PUT", &one, JSON, lease("$haldane.rv", "a")), code).await;
    both.compare("take", ask("PUT", &one, JSON, lease("$haldane.rv", "b")), code).await;
    both.compare("late", ask("PUT", &one, JSON, lease("$old-haldane.rv", "c")), code).await;
    both.compare("merge", merge(&one, json!({"spec": {"holderIdentity": "d"}})), code).await;
    both.compare("delete", delete(&one), code).await;
    both.compare("put of nobody makes one", ask("PUT", &one, JSON, lease("", "e")), code).await;
    let containers = json!([{"name": "m", "image": "x", "imagePullPolicy": "Always", "resources": {}}]);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"version": "v1"}}, "spec": {"containers": containers},
    });
    let identity =
        |answer: Value| json!([answer["code"], answer["body"]["kind"], answer["body"]["reason"], answer["body"]["metadata"]["labels"]]);
    both.compare("pod", post(PODS, pod), identity).await;
    both.compare("pod by label", get(&format!("{PODS}?labelSelector=version%3Dv1")), |a| json!([a["code"], a["body"]["kind"]])).await;
    let metadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    both.compare("metadata", Ask { accept: metadata, ..get(&format!("{PODS}/p")) }, identity).await;
    both.compare("label", merge(&format!("{PODS}/p"), json!({"metadata": {"labels": {"version": "v2"}}})), identity).await;
    both.compare("delete pod", ask("DELETE", &format!("{PODS}/p"), JSON, json!({"gracePeriodSeconds": 0})), identity).await;
    both.compare("gone", get(&format!("{PODS}/p")), identity).await;
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "action": "Step", "reason": "Advanced",
        "type": "Normal", "note": "to 5 %", "eventTime": "2026-11-23T12:00:00.000000Z", "reportingController": "haldane",
        "reportingInstance": "a", "regarding": {"kind": "Rollout", "name": "b", "namespace": "ml", "uid": "1"},
    });
    let said = |answer: Value| {
        let items = answer["body"]["items"].as_array().cloned().unwrap_or(vec![answer["body"].clone()]);
        let fields = ["action", "reason", "note", "message", "reportingController", "reportingComponent", "type"];
        let one = |e: &Value| {
            let about = e.get("regarding").or(e.get("involvedObject")).cloned();
            json!([fields.map(|f| e[f].clone()), about])
        };
        json!([answer["code"], items.iter().map(one).collect::<Vec<_>>()])
    };
    both.compare("event", post("/apis/events.k8s.io/v1/namespaces/ml/events", event), said).await;
    let by = "fieldSelector=involvedObject.name%3Db,involvedObject.uid%3D1";
    both.compare("event in core", get(&format!("/api/v1/namespaces/ml/events?{by}")), said).await;
    both.compare("by regarding", get("/apis/events.k8s.io/v1/namespaces/ml/events?fieldSelector=regarding.name%3Db"), said).await;
}

/// Any order of writes: some hundred requests drawn at random, the same to both.
async fn drawn(both: &mut Both) {
    let mut rng = SmallRng::seed_from_u64(20261123);
    for _ in 0..1500 {
        let name = *["a", "b", "c"].choose(&mut rng).unwrap();
        let rollouts = rng.random_bool(0.5);
        let (list, object) = if rollouts { (ROLLOUTS, rollout(name)) } else { (ROUTES, route(name)) };
        let one = format!("{list}/{name}");
        let versions = ["1".to_owned(), format!("${name}.rv"), format!("$old-{name}.rv")];
        let version = versions.choose(&mut rng).unwrap().as_str();
        let request = match rng.random_range(0..12) {
            0 | 1 => post(list, object),
            2 => get(&one),
            3 => get(list),
            4 => {
                let mut object = object;
                object["metadata"]["resourceVersion"] = json!(version);
                object["spec"]["paused"] = json!(rng.random_bool(0.5));
                ask("PUT", &one, JSON, object)
            }
            5 => merge(&one, json!({"spec": {"paused": rng.random_bool(0.5)}})),
            6 => merge(&format!("{one}/status"), json!({"status": {"epoch": rng.random_range(0..3)}})),
            7 => merge(&one, json!({"metadata": {"annotations": {"x": if rng.random_bool(0.5) { "1" } else { "2" }}}})),
            8 => merge(&one, json!({"metadata": {"finalizers": if rng.random_bool(0.5) { json!(["a.b/c"]) } else { Value::Null }}})),
            9 => patch(
                &one,
                json!([{"op": "test", "path": "/metadata/resourceVersion", "value": version}, {"op": "add", "path": "/metadata/labels", "value": {"n": rng.random_range(0..3).to_string()}}]),
            ),
            10 => patch(&one, json!([{"op": "add", "path": "/spec/hosts", "value": [rng.random_range(0..3).to_string()]}])),
            _ => delete(&one),
        };
        both.ask("drawn", request).await;
    }
}

/// What people type, with the same kubectl on both: exit codes and words are compared.
async fn kubectl(both: &mut Both) {
    for kind in ["rollouts.haldane.dev", "virtualservices"] {
        for side in [&mut both.real, &mut both.sim] {
            let plural = if kind == "virtualservices" { ROUTES } else { ROLLOUTS };
            for name in ["a", "b", "c"] {
                side.ask(&merge(&format!("{plural}/{name}"), json!({"metadata": {"finalizers": null}}))).await;
                side.ask(&delete(&format!("{plural}/{name}"))).await;
            }
        }
    }
    for side in [&mut both.real, &mut both.sim] {
        side.ask(&post(ROLLOUTS, rollout("a"))).await;
        side.ask(&merge(
            &format!("{ROLLOUTS}/a/status"),
            json!({"status": {"epoch": 1, "phase": "Idle", "stable": {"host": "fraud", "subset": "v1", "revision": "x"}}}),
        ))
        .await;
        side.ask(&post(ROUTES, route("fraud"))).await;
    }
    let typed = [
        "get hro",
        "get hro a -o name",
        "get hro -o jsonpath={.items[*].status.phase}",
        "get rollouts.haldane.dev --no-headers",
        "get hro nobody",
        "get hro,virtualservices.networking.istio.io -o name",
        "get hro -l team=risk",
        "get hro --field-selector metadata.name=a -o name",
        "describe hro a",
        "annotate hro a haldane.dev/pause={}",
        "annotate hro a haldane.dev/pause={\"id\":1}",
        "annotate hro a --overwrite haldane.dev/pause={\"id\":1}",
        "annotate hro a haldane.dev/pause-",
        "label hro a team=risk",
        "patch hro a --type merge -p {\"spec\":{\"paused\":true}}",
        "patch hro a --type merge -p {\"spec\":{\"paused\":true}}",
        "patch hro a --type merge -p {\"spec\":{\"canary\":{\"subset\":\"\"}}}",
        "patch hro a --type json -p [{\"op\":\"replace\",\"path\":\"/spec/canary/subset\",\"value\":\"v3\"}]",
        "patch hro a --type json -p [{\"op\":\"test\",\"path\":\"/spec/canary/subset\",\"value\":\"v9\"}]",
        "patch hro a -p {\"spec\":{\"paused\":true}}",
        "patch hro a --subresource status --type merge -p {\"status\":{\"phase\":\"Waiting\"}}",
        "get hro a -o jsonpath={.status.phase}-{.spec.canary.subset}-{.metadata.generation}",
        "delete hro nobody",
        "delete hro a",
        "get hro",
    ];
    let files = std::env::temp_dir().join(format!("haldane-kubectl-{}", std::process::id()));
    std::fs::create_dir_all(&files).unwrap();
    let configs = [both.servers.0.kubeconfig(), both.servers.1.kubeconfig("ml")];
    let homes: Vec<_> = ["real", "sim"].map(|name| files.join(name)).into();
    for (home, config) in homes.iter().zip(configs) {
        std::fs::create_dir_all(home).unwrap();
        std::fs::write(home.join("config"), config).unwrap();
    }
    let mut reached = 0;
    for line in typed {
        both.asked += 1;
        let answers: Vec<String> = homes.iter().map(|home| real::kubectl(home, line)).collect();
        reached += usize::from(answers[1].starts_with("exit 0"));
        if answers[0] != answers[1] {
            both.failures.push(format!("kubectl {line}\n  real\n{}\n  sim\n{}", answers[0], answers[1]));
        }
    }
    assert!(reached >= 16, "{reached} of the commands reached what they should");
    for line in
        ["api-resources", "get events", "get pods,leases,endpointslices,deployments,replicasets,services", "version", "explain pods"]
    {
        let answer = real::kubectl(&homes[1], line);
        assert!(line == "explain pods" || answer.starts_with("exit 0"), "kubectl {line}: {answer}");
    }
    let _ = std::fs::remove_dir_all(&files);
}
