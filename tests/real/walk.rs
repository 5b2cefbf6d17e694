//! What a new user does from `docs/install.md` alone: every command of that page, as the page prints it, with the time that it took.

use std::{
    fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use futures::FutureExt;
use serde_json::Value;

use super::{
    controller::Controller,
    load::{GATEWAY, Load, Target, failed, from_version},
    promote::baseline,
    world::{PROMETHEUS, SOON, TURN, kubeconfig, parsed, read, root, run, stack_run},
};

const PAGE: &str = "docs/install.md";
/// What differs here from what the page says: Prometheus is elsewhere and scrapes each second, so windows and holds may be short.
const HERE: [(&str, &str); 5] = [
    ("http://prometheus.monitoring:9090", PROMETHEUS),
    ("scrapeInterval=15s", "scrapeInterval=1s"),
    ("interval: 30s", "interval: 2s"),
    ("hold: 2m", "hold: 10s"),
    ("warmUp: 60s", "warmUp: 1s"),
];
/// Requests a second.
const RATE: f64 = 150.0;

/// A user's shell, with the time that each command took.
struct Shell {
    directory: PathBuf,
    took: Vec<(String, Duration)>,
}

impl Shell {
    /// Runs every command of one section of the page. What they printed, in their order.
    async fn section(&mut self, heading: &str) -> Vec<String> {
        let mut said = Vec::new();
        for command in commands(&read(PAGE), heading) {
            said.push(self.run(command).await);
        }
        said
    }

    async fn run(&mut self, command: String) -> String {
        let wanted = command.split_once("# exits ").map_or(0, |(_, code)| code.split(':').next().unwrap().parse().unwrap());
        let here = HERE.iter().fold(command.clone(), |text, (there, here)| text.replace(there, here));
        let (directory, begin) = (self.directory.clone(), Instant::now());
        let output = tokio::task::spawn_blocking(move || bash(&here, &directory).output().unwrap()).await.unwrap();
        let took = begin.elapsed();
        let [out, complaint] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        println!("$ {command}\n{out}{complaint}({:.1} s)\n", took.as_secs_f64());
        assert_eq!(output.status.code(), Some(wanted), "{command}\n{out}{complaint}");
        self.took.push((command, took));
        out
    }
}

/// A command in the user's directory, with the program, kubectl and Helm on the path.
fn bash(command: &str, directory: &Path) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_haldane")).parent().unwrap().display().to_string();
    let mut bash = Command::new("bash");
    bash.args(["-ec", command]).current_dir(directory).stdin(Stdio::null());
    bash.env("PATH", format!("{program}:{}", std::env::var("PATH").unwrap()));
    for (name, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "settings"), ("HELM_DATA_HOME", "data")] {
        bash.env(name, directory.join(folder));
    }
    bash
}

/// The commands of a section, down to the next heading of any kind. A command goes on after a backslash and within quotes.
fn commands(page: &str, heading: &str) -> Vec<String> {
    let section = page.split_once(&format!("# {heading}\n")).unwrap_or_else(|| panic!("{PAGE} has no section {heading}")).1;
    let section = section.split("\n#").next().unwrap();
    let mut all = Vec::new();
    for block in section.split("```sh\n").skip(1) {
        let mut command = String::new();
        for line in block.split("```").next().unwrap().lines() {
            command += line;
            if command.ends_with('\\') || command.matches('\'').count() % 2 == 1 {
                command.push('\n');
            } else {
                all.push(std::mem::take(&mut command));
            }
        }
        assert_eq!(command, "", "{PAGE}: a command without an end");
    }
    assert!(!all.is_empty(), "{PAGE}: no command in {heading}");
    all
}

/// A model as a user has it: a Service, the Deployment of v1, and a VirtualService that knows no versions. And the manifests of what comes later.
fn model(directory: &Path) {
    let text = read("tests/stack/models/fraud.yaml").replace("namespace: default", "namespace: ml");
    let documents = parsed(&text);
    let of = |kind: &str, name: &str| documents.iter().find(|d| d["kind"] == kind && d["metadata"]["name"] == name).unwrap().clone();
    let route = parsed(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: fraud, namespace: ml}\n\
         spec: {hosts: [fraud.ml.test], gateways: [istio-system/gw], http: [{route: [{destination: {host: fraud}}]}]}",
    );
    let mut wrong = of("Deployment", "fraud-v1");
    let env = wrong.pointer_mut("/spec/template/spec/containers/0/env").and_then(Value::as_array_mut).unwrap();
    env.push(serde_json::json!({ "name": "SHIFT", "value": "2.5" }));
    for (name, document) in [("fraud-v2", of("Deployment", "fraud-v2")), ("fraud-v1-wrong", wrong)] {
        fs::write(directory.join(format!("{name}.yaml")), document.to_string()).unwrap();
    }
    said("kubectl", &["create", "namespace", "ml"], "");
    for document in [of("Service", "fraud"), of("Deployment", "fraud-v1"), route[0].clone()] {
        said("kubectl", &["apply", "-f", "-"], &document.to_string());
    }
    said("kubectl", &["-n", "ml", "rollout", "status", "deployment/fraud-v1", "--timeout=90s"], "");
}

/// What a program that must succeed printed.
fn said(program: &str, args: &[&str], input: &str) -> String {
    let output = run(program, args, input);
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The cluster as it was before: nothing of haldane, whoever installed it, and no model.
fn clean(directory: &Path) {
    let free = "kubectl get rollouts.haldane.dev -A -o name --no-headers 2>/dev/null | grep -q . && \
                kubectl -n ml patch rollouts.haldane.dev fraud --type merge --patch '{\"metadata\": {\"finalizers\": null}}'";
    let (controller, crd) = (root("deploy/controller"), root("deploy/crd"));
    for command in [
        free,
        "helm uninstall haldane --namespace haldane-system",
        &format!("kubectl delete -k {controller} --ignore-not-found --timeout=60s"),
        &format!("kubectl delete -k {crd} --ignore-not-found --timeout=60s"),
        "kubectl delete namespace ml haldane-system --ignore-not-found --timeout=60s",
    ] {
        let _ = bash(command, directory).output().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_user_installs_the_chart_adopts_a_model_promotes_a_version_and_sees_one_rolled_back() {
    let _turn = TURN.lock().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = stack_run().join("stories/walk");
    fs::create_dir_all(&directory).unwrap();
    let _ = std::os::unix::fs::symlink(root("deploy"), directory.join("deploy"));
    clean(&directory);
    let outcome = AssertUnwindSafe(walk(&directory)).catch_unwind().await;
    if outcome.is_err() {
        println!("{}", fs::read_to_string(directory.join("controller-0.log")).unwrap_or_default());
    }
    clean(&directory);
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

async fn walk(directory: &Path) {
    let page = read(PAGE);
    for (there, _) in HERE {
        assert!(page.contains(there), "{there} is not in {PAGE}");
    }
    model(directory);
    let target = Target { proxy: GATEWAY, host: "fraud.ml.test".to_owned(), headers: Vec::new() };
    let load = Load::start(target, RATE);
    baseline().await; // a model that is adopted has had users for a while
    let adoption = Instant::now();
    let mut shell = Shell { directory: directory.to_owned(), took: Vec::new() };

    shell.section("Install with Helm").await;
    // No image is pulled here: what the pods would run is run beside them, with the chart's configuration and the rights of its ServiceAccount.
    let get = |what: &str| said("kubectl", &["-n", "haldane-system", "get", what, "haldane", "-o", "json"], "");
    let map: Value = serde_json::from_str(&get("configmap")).unwrap();
    fs::write(directory.join("haldane.yaml"), map["data"]["haldane.yaml"].as_str().unwrap()).unwrap();
    fs::write(directory.join("kubeconfig"), kubeconfig("haldane", "haldane-system")).unwrap();
    let mut controller = Controller::start(directory, &directory.join("kubeconfig"), "", 0);
    // What `rollout status` waits for.
    let begin = Instant::now();
    while controller.get("/readyz").await.is_none_or(|(status, _)| status != 200) {
        assert!(begin.elapsed() < SOON, "the controller is not ready");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let adopted = shell.section("Adopt the model").await;
    assert!(adopted[3].contains("v2") && adopted[3].contains("waiting"), "{}", adopted[3]);
    assert!(adopted[4].contains("model_prediction_class_total"), "{}", adopted[4]);
    assert_eq!(from_version(&load.answers(), "v2"), 0, "nothing has changed for users");

    let promoted = shell.section("A good version").await;
    assert!(promoted[2].to_lowercase().contains("promoted"), "{}", promoted[2]);
    let since = Instant::now();

    let back = shell.section("A bad version").await;
    assert!(back[4].contains("because predictions shifted"), "{}", back[4]);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let last = load.between(Instant::now() - Duration::from_secs(2), Instant::now());
    assert!(
        last.len() > 100 && from_version(&last, "v2") == last.len(),
        "everybody is at v2 again: {} of {}",
        from_version(&last, "v2"),
        last.len()
    );
    let mut answers = load.stop().await;
    answers.retain(|answer| answer.at > adoption);
    assert!(failed(&answers).is_empty(), "{} of {}: {:?}", failed(&answers).len(), answers.len(), failed(&answers).first());
    assert!(answers.iter().any(|a| a.at > since && a.version == "v1"), "the bad version had users");

    shell.section("Removal").await;
    assert!(controller.running());
    let left = run("kubectl", &["get", "crd,clusterrole,clusterrolebinding", "-o", "name"], "").stdout;
    let left = String::from_utf8(left).unwrap();
    assert!(!left.contains("haldane"), "{left}");
    for (command, took) in &shell.took {
        println!("| `{}` | {:.1} s |", command.lines().next().unwrap(), took.as_secs_f64());
    }
}
