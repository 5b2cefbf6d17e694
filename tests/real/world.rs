//! One story's part of the stack: a namespace with two versions of a model, and what is done to it.

use std::{
    io::Write,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::FutureExt;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{
    controller::{Controller, configuration},
    load::{CLIENT, Load, Target},
    recorder::Recorder,
    ways::{Way, service, weights},
    webhook::Webhook,
};

/// How to start what is missing.
const NO_STACK: &str = "no running stack: tests/stack/build && tests/stack/up, then \
    tests/stack/enter cargo test --offline --test real -- --test-threads=1 (tests/run does all of it)";
/// Components are killed and ports are fixed, so one story at a time, however many threads the test runner has.
pub(super) static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// No story lasts longer.
const LONGEST: Duration = Duration::from_secs(720);
/// How long to wait for what takes a few seconds on an idle machine.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// How long to wait for a whole rollout.
pub(super) const LATER: Duration = Duration::from_secs(180);

/// Where Prometheus listens.
pub(super) const PROMETHEUS: &str = "http://127.0.0.1:9090";

/// One story's part of the stack.
pub(super) struct World {
    /// Its namespace.
    pub namespace: String,
    /// Host that users ask for.
    pub host: String,
    /// What splits the traffic.
    pub way: Way,
    /// What Alertmanager delivered.
    pub webhook: Webhook,
    client: Client,
    directory: PathBuf,
    replicas: AtomicUsize,
}

/// Tells a story in a world of its own. When it fails, what the controller said and what the API server has is printed.
pub(super) async fn story<T>(name: &str, body: impl AsyncFnOnce(&World) -> T) {
    story_by(Way::Subsets, name, body).await;
}

/// The same with something else that splits the traffic.
pub(super) async fn story_by<T>(way: Way, name: &str, body: impl AsyncFnOnce(&World) -> T) {
    let _turn = TURN.lock().await;
    let world = World::new(name, way).await;
    let outcome = AssertUnwindSafe(tokio::time::timeout(LONGEST, body(&world))).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(_))) {
        world.dump();
    }
    world.clean().await;
    match outcome {
        Err(panic) => std::panic::resume_unwind(panic),
        Ok(ended) => drop(ended.expect("the story ended in time")),
    }
}

impl World {
    async fn new(name: &str, way: Way) -> Self {
        let run = stack_run();
        assert!(run.join("pids/kube-apiserver").exists(), "{NO_STACK}");
        assert!(std::net::TcpStream::connect("127.0.0.1:6443").is_ok(), "{NO_STACK}");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.expect(NO_STACK);
        let namespace = format!("{name}-{:08x}", unique() & 0xffff_ffff);
        let directory = run.join("stories").join(&namespace);
        std::fs::create_dir_all(&directory).unwrap();
        kubectl(&["create", "namespace", &namespace]);
        install(&directory);
        let host = if way == Way::Mesh { service(&namespace) } else { format!("fraud.{namespace}.test") };
        Self { namespace, host, way, webhook: Webhook::start().await, client, directory, replicas: AtomicUsize::new(0) }
    }

    /// Applies both versions and the mesh objects, and waits until a request is answered. `faults` are variables of v2.
    pub(super) async fn models(&self, shape: Shape, faults: &[(&str, &str)]) {
        for document in self.way.manifests(shape, &self.namespace, faults) {
            self.apply(&document);
        }
        self.ready("fraud-v1").await;
        self.ready("fraud-v2").await;
        if shape == Shape::Mesh {
            self.ready("client").await;
            self.answered(CLIENT, &service(&self.namespace)).await;
        }
        if self.way != Way::Grpc {
            self.answered(self.way.proxy(), &self.host).await;
        }
    }

    /// Waits until a request is answered through a proxy.
    async fn answered(&self, proxy: &str, host: &str) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let begin = Instant::now();
        loop {
            let answer = client.get(format!("{proxy}/healthz")).header("host", host).send().await;
            if answer.is_ok_and(|a| a.status() == 200) {
                return;
            }
            assert!(begin.elapsed() < SOON, "no request was answered through {proxy}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until a Deployment is rolled out and its Pods are ready.
    pub(super) async fn ready(&self, deployment: &str) {
        self.kubectl(&["rollout", "status", &format!("deployment/{deployment}"), "--timeout=90s"]);
    }

    /// New Pods of a version, with other variables.
    pub(super) async fn redeploy(&self, deployment: &str, variables: &[(&str, &str)]) {
        let mut args = vec!["set".to_owned(), "env".to_owned(), format!("deployment/{deployment}")];
        args.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
        self.kubectl(&args.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// The process ids of a version's models, as podrunner wrote them down.
    pub(super) fn processes(&self, version: &str) -> Vec<u32> {
        let names = self.kubectl(&["get", "pods", "-l", &format!("version={version}"), "-o", "jsonpath={.items[*].metadata.name}"]);
        let file = |pod: &str| stack_run().join("logs").join(format!("pod-{pod}.pid"));
        names.split_whitespace().filter_map(|pod| std::fs::read_to_string(file(pod)).ok()?.trim().parse().ok()).collect()
    }

    /// Another store than Prometheus for the controllers that start from now on.
    pub(super) fn provider(&self, url: &str, lag: &str) {
        self.file("haldane.yaml", &configuration(url, lag));
    }

    /// Starts a replica of the controller.
    pub(super) fn controller(&self) -> Controller {
        let number = self.replicas.fetch_add(1, Ordering::Relaxed);
        Controller::start(&self.directory, &self.directory.join("kubeconfig"), &self.namespace, number)
    }

    /// Traffic at `rate` requests a second.
    pub(super) fn load(&self, rate: f64) -> Load {
        self.load_with(rate, &[])
    }

    /// The same with headers.
    pub(super) fn load_with(&self, rate: f64, headers: &[(&str, &str)]) -> Load {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let target = Target { proxy: self.way.proxy(), host: self.host.clone(), headers };
        if self.way == Way::Grpc { Load::start_grpc(&target, rate) } else { Load::start(target, rate) }
    }

    /// Traffic of the client in the mesh ([`Shape::Mesh`]).
    pub(super) fn client_load(&self, rate: f64) -> Load {
        Load::start(Target { proxy: CLIENT, host: service(&self.namespace), headers: Vec::new() }, rate)
    }

    /// Writes down every state of what splits the traffic from now on.
    pub(super) async fn record(&self) -> Recorder {
        Recorder::start(self.routes(), "fraud").await
    }

    fn routes(&self) -> Api<DynamicObject> {
        let (version, kind) = self.way.kind();
        self.api(version, kind)
    }

    /// Objects of one kind in this namespace.
    pub(super) fn api(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&kube::api::GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    fn rollouts(&self) -> Api<DynamicObject> {
        self.api("haldane.dev/v1alpha1", "Rollout")
    }

    /// The Rollout as it is, or nothing.
    pub(super) async fn rollout(&self) -> Option<Value> {
        self.rollouts().get_opt("fraud").await.unwrap().map(|object| serde_json::to_value(object).unwrap())
    }

    /// What splits the traffic, as it is.
    pub(super) async fn route(&self) -> Value {
        serde_json::to_value(self.routes().get("fraud").await.unwrap()).unwrap()
    }

    /// The weight of v2 in it.
    pub(super) async fn weight(&self) -> i64 {
        weights(&self.route().await).1
    }

    /// Changes the VirtualService by a JSON Patch, as the field manager `manager`.
    pub(super) async fn patch_virtual_service(&self, manager: &str, patch: Value) {
        let patch: json_patch::Patch = serde_json::from_value(patch).unwrap();
        let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        self.api("networking.istio.io/v1", "VirtualService").patch("fraud", &params, &Patch::Json::<()>(patch)).await.unwrap();
    }

    /// Changes both weights by hand.
    pub(super) async fn set_weights(&self, manager: &str, stable: i64, canary: i64) {
        let patch = json!([
            { "op": "replace", "path": "/spec/http/1/route/0/weight", "value": stable },
            { "op": "replace", "path": "/spec/http/1/route/1/weight", "value": canary },
        ]);
        self.patch_virtual_service(manager, patch).await;
    }

    /// Merges into the Rollout.
    pub(super) async fn edit(&self, patch: Value) {
        self.rollouts().patch("fraud", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Gives a command as the command line does: an annotation with this rollout's uid and epoch.
    pub(super) async fn order(&self, verb: &str, reason: &str) {
        let rollout = self.rollout().await.expect("the Rollout is there");
        let value = json!({
            "id": format!("{:016x}", unique()),
            "uid": rollout["metadata"]["uid"],
            "epoch": rollout["status"]["epoch"].as_i64().unwrap_or(0),
            "step": rollout["status"]["step"]["name"],
            "reason": reason,
            "by": "rosa",
        });
        self.edit(json!({ "metadata": { "annotations": { (format!("haldane.dev/{verb}")): value.to_string() } } })).await;
    }

    /// Waits until the Rollout satisfies `done`, and gives it. A Rollout that is not there is `null`.
    pub(super) async fn until(&self, what: &str, limit: Duration, done: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let rollout = self.rollout().await.unwrap_or(Value::Null);
            if done(&rollout) {
                return rollout;
            }
            let status = &rollout["status"];
            assert!(begin.elapsed() < limit, "waited {limit:?} for: {what}\nstatus: {}", pretty(status));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for a phase.
    pub(super) async fn until_phase(&self, phase: &str, limit: Duration) -> Value {
        self.until(&format!("phase {phase}"), limit, |r| r["status"]["phase"] == phase).await
    }

    /// Waits for a weight of v2, and says when it was seen.
    pub(super) async fn until_weight(&self, weight: i64, limit: Duration) -> Instant {
        let begin = Instant::now();
        while self.weight().await != weight {
            if begin.elapsed() >= limit {
                let status = self.rollout().await.unwrap_or_default()["status"].take();
                panic!("waited {limit:?} for weight {weight}\nstatus: {}", pretty(&status));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Instant::now()
    }

    /// Waits until the webhook has an alert of this namespace that satisfies `wanted`.
    pub(super) async fn until_alert(&self, what: &str, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let alerts = self.webhook.of(&self.namespace);
            if let Some(alert) = alerts.iter().find(|a| wanted(a)) {
                return alert.clone();
            }
            assert!(begin.elapsed() < limit, "waited {limit:?} for an alert: {what}\nalerts: {}", pretty(&json!(alerts)));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Applies an object. The API server must have nothing to say about it.
    pub(super) fn apply(&self, object: &Value) {
        let output = self.try_apply(object);
        assert!(output.status.success() && output.stderr.is_empty(), "kubectl apply: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Applies an object, whatever comes of it.
    pub(super) fn try_apply(&self, object: &Value) -> Output {
        run("kubectl", &["--namespace", &self.namespace, "apply", "-f", "-"], &object.to_string())
    }

    /// `kubectl` in this namespace.
    pub(super) fn kubectl(&self, args: &[&str]) -> String {
        kubectl(&[&["--namespace", self.namespace.as_str()], args].concat())
    }

    /// A file of this story.
    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn dump(&self) {
        let show = |what: &str| {
            String::from_utf8_lossy(&run("kubectl", &["-n", &self.namespace, "get", what, "-o", "yaml"], "").stdout).into_owned()
        };
        let events = run("kubectl", &["-n", &self.namespace, "get", "events", "--sort-by=.metadata.creationTimestamp"], "").stdout;
        let pods = run("kubectl", &["-n", &self.namespace, "get", "pods", "-o", "wide"], "").stdout;
        eprintln!("\n---- Rollout\n{}\n---- routes\n{}", show("rollouts.haldane.dev"), show("virtualservices,httproutes,grpcroutes"));
        eprintln!("---- events\n{}\n---- pods\n{}", String::from_utf8_lossy(&events), String::from_utf8_lossy(&pods));
        eprintln!("---- alerts\n{}", pretty(&json!(self.webhook.of(&self.namespace))));
        for number in 0..self.replicas.load(Ordering::Relaxed) {
            let text = std::fs::read_to_string(self.directory.join(format!("controller-{number}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            eprintln!(
                "---- controller {number}, the last of {} lines\n{}",
                lines.len(),
                lines[lines.len().saturating_sub(80)..].join("\n")
            );
        }
    }

    /// The controllers have ended with the story, so nobody takes a finalizer away.
    async fn clean(&self) {
        if self.rollout().await.is_some() {
            let _ = self.rollouts().patch("fraud", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await;
        }
        kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}

/// How a model's requests are measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// By the gateway alone.
    Gateway,
    /// By an Envoy beside each model too.
    Sidecars,
    /// And there is a client in the mesh, with an Envoy of its own.
    Mesh,
}

/// A Rollout of v2 with this strategy and analysis.
pub(super) fn rollout(strategy: Value, analysis: Value) -> Value {
    json!({
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": { "name": "fraud" },
        "spec": {
            "traffic": { "virtualService": "fraud", "route": "primary" },
            "canary": { "subset": "v2" },
            "strategy": strategy,
            "analysis": analysis,
        },
    })
}

/// 5, 20, 50, 100 % with this hold, judged by nothing but the holds.
pub(super) fn holds_alone(hold: &str) -> Value {
    rollout(json!({ "canary": { "hold": hold } }), json!({ "interval": "2s", "warmUp": "0s", "metrics": [] }))
}

/// 5, 20, 50, 100 % with this hold, judged by errors and predictions, with margins that a minute of test traffic can prove. Not by latency: where
/// the machine stalls, every answer is late, stable's too, and the rollout rightly waits for that to end.
pub(super) fn judged(hold: &str) -> Value {
    let metrics = json!([
        { "errorRate": { "pass": 0.02 } },
        { "drift": { "counter": "model_prediction_class_total", "class": "class", "pass": 0.3 } },
    ]);
    rollout(json!({ "canary": { "hold": hold } }), json!({ "interval": "2s", "warmUp": "1s", "metrics": metrics }))
}

/// The same with latency, which may be half as much again: a process with a twentieth of the requests is colder.
pub(super) fn with_latency(hold: &str, gate: bool) -> Value {
    let mut rollout = judged(hold);
    let metrics = rollout["spec"]["analysis"]["metrics"].as_array_mut().unwrap();
    metrics.push(json!({ "latency": { "stretch": 0.5, "pass": 1.0 }, "gate": gate }));
    rollout
}

/// The CRD, the ServiceAccount and its roles as they are shipped; and a kubeconfig with a token of that account.
fn install(directory: &Path) {
    let shipped = [kubectl(&["kustomize", &root("deploy/crd")]), kubectl(&["kustomize", &root("deploy/controller")])].join("\n---\n");
    let wanted = ["CustomResourceDefinition", "Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    let objects: Vec<Value> = parsed(&shipped).into_iter().filter(|d| wanted.iter().any(|kind| d["kind"] == *kind)).collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let applied = run("kubectl", &["apply", "-f", "-"], &list.to_string());
    assert!(applied.status.success() && applied.stderr.is_empty(), "deploy/: {}", String::from_utf8_lossy(&applied.stderr));
    kubectl(&["wait", "--for=condition=Established", "crd/rollouts.haldane.dev", "--timeout=30s"]);
    let account = objects.iter().find(|d| d["kind"] == "ServiceAccount").expect("deploy/controller has a ServiceAccount");
    let (name, namespace) = (account["metadata"]["name"].as_str().unwrap(), account["metadata"]["namespace"].as_str().unwrap());
    std::fs::write(directory.join("kubeconfig"), kubeconfig(name, namespace)).unwrap();
}

/// A kubeconfig with a token of a ServiceAccount.
pub(super) fn kubeconfig(account: &str, namespace: &str) -> String {
    let token = kubectl(&["create", "token", account, "--namespace", namespace, "--duration=2h"]);
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "stack", "cluster": {
            "server": "https://127.0.0.1:6443", "certificate-authority": stack_run().join("certs/apiserver.crt"),
        } }],
        "users": [{ "name": "haldane", "user": { "token": token.trim() } }],
        "contexts": [{ "name": "stack", "context": { "cluster": "stack", "user": "haldane", "namespace": namespace } }],
        "current-context": "stack",
    });
    kubeconfig.to_string()
}

/// A number that no other call gives.
fn unique() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Directory of the running stack.
pub(super) fn stack_run() -> PathBuf {
    PathBuf::from(std::env::var("HALDANE_STACK_RUN").expect(NO_STACK))
}

/// A path of the repository.
pub(super) fn root(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// A text of the repository.
pub(super) fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap()
}

/// The objects of a text of several documents.
pub(super) fn parsed(text: &str) -> Vec<Value> {
    let parts = text.split("\n---\n").map(|part| serde_yaml::from_str::<Value>(part).unwrap());
    parts.filter(Value::is_object).collect()
}

/// `kubectl`, which must succeed.
pub(super) fn kubectl(args: &[&str]) -> String {
    command("kubectl", args)
}

/// A program, which must succeed; what it printed.
pub(super) fn command(program: &str, args: &[&str]) -> String {
    let output = run(program, args, "");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A program, whatever comes of it.
pub(super) fn run(program: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}. {NO_STACK}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// JSON for people.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}
