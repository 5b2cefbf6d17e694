//! `haldane doctor`, `init`, `completion` and `version` as programs against the simulated API server, mesh and Prometheus.
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests

use std::{path::PathBuf, process::Stdio, time::Duration};

use haldane::{
    api::{Rollout, RouteKind},
    clock::Clock,
    sim::{
        APP, NAMESPACE, World, WorldConfig,
        prometheus::Mode,
        traffic::{Behaviour, Tokens},
    },
};
use jiff::SignedDuration;
use kube::CustomResourceExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const HOME: &str = "haldane-system";

/// A healthy cluster with v1, v2, a Rollout to v2 and a controller as far as one can see from outside.
struct Stage {
    world: World,
    kubeconfig: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

impl Stage {
    async fn set(seed: u64) -> Self {
        let clock = Clock::system();
        let mut config = WorldConfig::new(clock, seed);
        (config.rps, config.history, config.start_up) = (400.0, Duration::from_secs(330), Duration::ZERO);
        let world = World::start(config).await.unwrap();
        world.deploy("v2", Behaviour::default());
        let objects = world.objects();
        objects.put(serde_json::to_value(Rollout::crd()).unwrap()).unwrap();
        let metadata = |name: &str| json!({"name": name, "namespace": HOME});
        let renewed = (clock.now() + SignedDuration::from_hours(1)).to_string();
        let mut lease = metadata("haldane");
        lease["annotations"] = json!({"haldane.dev/version": env!("CARGO_PKG_VERSION")});
        objects.put(json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": lease,
            "spec": {"holderIdentity": "haldane-7c9f", "renewTime": renewed, "leaseDurationSeconds": 15}}));
        let mut deployment = metadata("haldane");
        deployment["labels"] = json!({"app.kubernetes.io/name": "haldane"});
        let container = json!({"image": "haldane:0.1.0", "args": ["controller", "--config", "/etc/haldane/haldane.yaml"]});
        objects.put(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": deployment, "status": {"readyReplicas": 1},
            "spec": {"replicas": 1, "template": {"spec": {"serviceAccountName": "haldane", "containers": [container]}}}}));
        let settings =
            json!({"prometheus": {"default": {"url": world.prometheus().url(), "scrapeInterval": "1s", "lag": "30s"}}, "alerts": {}});
        objects.put(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("haldane"), "data": {"haldane.yaml": settings.to_string()}}));
        let istiod = json!({"name": "istiod-1", "namespace": "istio-system", "labels": {"app": "istiod"}});
        objects.put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": istiod,
            "spec": {"containers": [{"name": "discovery", "image": "docker.io/istio/pilot:1.29.2"}]}}));
        objects.put(rollout());
        let port = world.api().url().rsplit(':').next().unwrap().to_owned();
        let kubeconfig = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("doctor-{port}"));
        std::fs::write(&kubeconfig, world.kubeconfig()).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        Self { world, kubeconfig }
    }

    async fn run(&self, arguments: &str) -> (i32, String, String) {
        self.with(arguments, &[]).await
    }

    async fn with(&self, arguments: &str, environment: &[(&str, &str)]) -> (i32, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_haldane"));
        command.args(arguments.split(' ')).env("KUBECONFIG", &self.kubeconfig).envs(environment.iter().copied());
        let output = command.output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// The findings that are not ok, as `check: fact | fix`.
    async fn wrong(&self, arguments: &str) -> (i32, Vec<String>) {
        let (code, stdout, stderr) = self.run(&format!("{arguments} -o json")).await;
        let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
        assert_eq!((&report["apiVersion"], &report["kind"]), (&json!("cli.haldane.dev/v1"), &json!("DoctorReport")));
        let rollouts = report["rollouts"].as_array().unwrap().iter().flat_map(|rollout| rollout["findings"].as_array().unwrap());
        let all: Vec<&Value> = report["cluster"].as_array().unwrap().iter().chain(rollouts).collect();
        for finding in &all {
            let words = finding["fact"].as_str().unwrap().split_whitespace().count();
            assert!(words <= 25, "{words} words: {finding}");
        }
        let bad = all.into_iter().filter(|finding| finding["level"] != "ok");
        (code, bad.map(|one| format!("{}: {} | {}", one["check"], one["fact"], one["fix"]).replace('"', "")).collect())
    }
}

fn rollout() -> Value {
    let drift = json!({"drift": {"counter": "model_prediction_class_total", "class": "class"}});
    json!({
        "apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": APP, "namespace": NAMESPACE, "generation": 1},
        "spec": {"traffic": {"virtualService": APP}, "canary": {"subset": "v2"}, "strategy": {"canary": {}},
                 "analysis": {"metrics": [{"errorRate": {}}, drift]}},
        "status": {"observedGeneration": 99, "phase": "Waiting", "epoch": 0},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_healthy_cluster_nothing_is_wrong() {
    let stage = Stage::set(1).await;
    let (code, wrong) = stage.wrong("doctor fraud").await;
    assert_eq!((code, wrong), (0, vec![]));
    let (code, stdout, _) = stage.run("doctor fraud").await;
    assert_eq!(code, 0);
    for line in [
        "ok    crd         rollouts.haldane.dev v1alpha1 is served with the schema of this version",
        "ok    controller  controller haldane-7c9f leads",
        "ok    istio       Istio 1.29.2, VirtualService v1",
        "ok    config      ConfigMap haldane in haldane-system is valid: providers default, sinks none",
        "ok    route       route primary of VirtualService fraud fits: v1 100 %",
        "ok    proxies     sidecars on 6 of 6 pods (1.29.2)",
        "ok    start       nothing stands in the way: a rollout starts with the next pass",
        "ok    labels      destination_workload tells the versions apart: fraud-v1 and fraud-v2",
        "ok    scrape      targets are scraped every 1s, for windows of 30s",
        "ok    answers     model_prediction_class_total is there and judged (class: ",
        "\nml/fraud\n",
    ] {
        assert!(stdout.contains(line), "{line}\n{stdout}");
    }
    assert!(stdout.ends_with("\nnothing is wrong\n"), "{stdout}");
    let (code, stdout, _) = stage.run("doctor").await;
    assert!(code == 0 && stdout.contains("ok    status      the controller has seen it: Waiting"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subset_that_is_gone_is_named_with_the_yaml_that_declares_it() {
    let stage = Stage::set(2).await;
    let rule = stage.world.objects().get("destinationrules.networking.istio.io", NAMESPACE, APP).unwrap();
    let mut rule = Value::clone(&rule);
    rule["spec"]["subsets"].as_array_mut().unwrap().retain(|subset| subset["name"] != "v2");
    stage.world.objects().put(rule).unwrap();
    let (code, wrong) = stage.wrong("doctor fraud").await;
    assert_eq!((code, wrong.len()), (1, 1), "{wrong:?}");
    assert!(wrong[0].starts_with("versions: canary is subset v2, which no DestinationRule of ml has for host fraud"), "{wrong:?}");
    assert!(wrong[0].contains("{name: v2, labels: {version: v2}}"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_in_a_rollout_is_told_one_by_one() {
    let stage = Stage::set(3).await;
    let objects = stage.world.objects();
    let change = |pointer: &str, value: Value| {
        let mut rollout = rollout();
        *rollout.pointer_mut(pointer).unwrap() = value;
        objects.put(rollout).unwrap();
    };
    change("/spec/traffic/virtualService", json!("other"));
    let (code, wrong) = stage.wrong("doctor fraud").await;
    assert!(code == 1 && wrong[0].starts_with("route: VirtualService other does not exist"), "{wrong:?}");
    change("/spec/analysis/metrics/1/drift/counter", json!("model_nothing_total"));
    let (_, wrong) = stage.wrong("doctor fraud").await;
    assert!(wrong.len() == 1 && wrong[0].contains("stable's pods have no model_nothing_total"), "{wrong:?}");
    change("/spec/analysis", json!({"prometheus": "elsewhere"}));
    let (_, wrong) = stage.wrong("doctor fraud").await;
    assert!(wrong[0].starts_with("config: ") && wrong[0].contains("elsewhere"), "{wrong:?}");
    change("/status/observedGeneration", Value::Null);
    let (_, wrong) = stage.wrong("doctor").await;
    assert!(wrong[0].starts_with("status: no controller has seen this Rollout"), "{wrong:?}");
    objects.put(rollout()).unwrap();
    let mut route = stage.world.virtual_service();
    route["metadata"]["managedFields"] = json!([{"manager": "argocd-controller", "operation": "Apply", "apiVersion": "networking.istio.io/v1",
        "time": "2026-11-29T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:http": {}}}}]);
    objects.put(route).unwrap();
    let (code, wrong) = stage.wrong("doctor fraud").await;
    assert_eq!((code, wrong.len()), (0, 1), "{wrong:?}");
    assert!(wrong[0].contains("argocd-controller applies the routes") && wrong[0].contains("ignoreDifferences"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_in_the_cluster_is_told_one_by_one() {
    let stage = Stage::set(4).await;
    stage.world.api().deny("patch", "virtualservices");
    let (code, wrong) = stage.wrong("doctor fraud").await;
    assert_eq!((code, wrong.len()), (1, 1), "{wrong:?}");
    assert!(wrong[0].contains("may not patch virtualservices.networking.istio.io in ml"), "{wrong:?}");
    stage.world.prometheus().set_mode(Mode::Html);
    let (_, wrong) = stage.wrong("doctor fraud").await;
    assert!(wrong.iter().any(|one| one.starts_with("prometheus: provider default at http://127.0.0.1")), "{wrong:?}");
    assert!(wrong.iter().any(|one| one.starts_with("series: the series of both versions were not checked")), "{wrong:?}");
    let url = format!("doctor fraud --prometheus {}", stage.world.prometheus().url());
    stage.world.prometheus().set_mode(Mode::Up);
    stage.world.objects().remove("configmaps", HOME, "haldane").unwrap();
    let (_, wrong) = stage.wrong(&url).await;
    assert_eq!(wrong.len(), 1, "the flag says where Prometheus is: {wrong:?}");
    let (_, wrong) = stage.wrong("doctor fraud").await;
    assert!(wrong.iter().any(|one| one.starts_with("config: ") && one.contains("--prometheus URL")), "{wrong:?}");
    stage.world.objects().remove("leases.coordination.k8s.io", HOME, "haldane").unwrap();
    stage.world.api().set_served("haldane.dev", false);
    let (code, wrong) = stage.wrong("doctor fraud").await;
    assert!(code == 1 && wrong[0].starts_with("crd: this cluster does not know rollouts.haldane.dev"), "{wrong:?}");
    assert!(wrong[1].starts_with("controller: no controller has ever led"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_is_the_only_finding() {
    let stage = Stage::set(5).await;
    std::fs::write(&stage.kubeconfig, stage.world.kubeconfig().replace(&stage.world.api().url(), "http://127.0.0.1:1")).unwrap();
    let (code, wrong) = stage.wrong("doctor fraud --request-timeout 2s").await;
    assert_eq!((code, wrong.len()), (1, 1), "{wrong:?}");
    assert!(wrong[0].starts_with("server: the API server at http://127.0.0.1:1"), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_prints_of_a_cluster_passes_lint() {
    let stage = Stage::set(6).await;
    for start in ["service/fraud", "deployment/fraud-v1", "virtualservice/fraud"] {
        let (code, manifests, stderr) = stage.run(&format!("init {start}")).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{start}");
        assert!(manifests.starts_with("# Rollout fraud: v1 is stable, v2 is the canary. Nothing has been applied.\n"), "{manifests}");
        let mut lint = tokio::process::Command::new(env!("CARGO_BIN_EXE_haldane"));
        let mut lint = lint.args(["lint", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        lint.stdin.take().unwrap().write_all(manifests.as_bytes()).await.unwrap();
        let output = lint.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{manifests}{}", String::from_utf8_lossy(&output.stdout));
    }
    let (code, _, stderr) = stage.run("init service/other").await;
    assert!(code == 7 && stderr.contains("there is no Service other") && stderr.contains("one of fraud"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_completed_from_the_cluster() {
    let stage = Stage::set(7).await;
    let kubectl = [("HALDANE_COMPLETE", "kubectl")];
    for (line, wanted) in [
        ("status fr", "fraud\n:4\n"),
        ("doctor fr", "fraud\n:4\n"),
        ("list -n istio", ":4\n"),
        ("status -n m", "ml\n:4\n"),
        ("status x", ":4\n"),
    ] {
        let (code, stdout, _) = stage.with(line, &kubectl).await;
        assert_eq!((code, stdout.as_str()), (0, wanted), "{line}");
    }
    let bash = [("COMPLETE", "bash"), ("_CLAP_IFS", "\n"), ("_CLAP_COMPLETE_INDEX", "2")];
    let (_, stdout, _) = stage.with("-- haldane abort fr", &bash).await;
    assert_eq!(stdout.trim(), "fraud");
    for (shell, wanted) in [
        ("bash", "complete -o"),
        ("zsh", "compdef"),
        ("fish", "complete --"),
        ("powershell", "Register-ArgumentCompleter"),
        ("kubectl", "#!/bin/sh"),
    ] {
        let (code, stdout, _) = stage.run(&format!("completion {shell}")).await;
        assert!(code == 0 && stdout.contains(wanted), "{shell}: {stdout}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn version_tells_both_sides_and_warns_where_they_are_far_apart() {
    let stage = Stage::set(8).await;
    let own = env!("CARGO_PKG_VERSION");
    let (code, stdout, stderr) = stage.run("version").await;
    assert_eq!((code, stdout, stderr), (0, format!("haldane {own}\ncontroller {own}\n"), String::new()));
    let lease = stage.world.objects().get("leases.coordination.k8s.io", HOME, "haldane").unwrap();
    let mut lease = Value::clone(&lease);
    lease["metadata"]["annotations"]["haldane.dev/version"] = json!("9.9.0");
    stage.world.objects().put(lease).unwrap();
    let (code, stdout, stderr) = stage.run("version -o json").await;
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &answer["controller"], &answer["skew"]), (0, &json!("9.9.0"), &json!("far")));
    assert!(stderr.starts_with("warning: more than one minor version apart"), "{stderr}");
    let (_, stdout, stderr) = stage.run("version --client").await;
    assert_eq!((stdout, stderr), (format!("haldane {own}\n"), String::new()));
}

#[test]
fn every_kind_of_route_has_the_plural_of_its_path() {
    assert_eq!(RouteKind::ALL.map(RouteKind::plural), ["virtualservices", "httproutes", "grpcroutes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preset_is_proposed_for_what_the_pods_of_both_versions_export() {
    let stage = Stage::set(9).await;
    let (code, stdout, _) = stage.run("presets detect fraud -n ml").await;
    assert!(code == 7 && stdout.contains("no series of a known model server"), "{code} {stdout}");
    for version in ["v1", "v2"] {
        stage.world.behave(version, Behaviour::default().with_tokens(Tokens::default()));
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (code, stdout, stderr) = stage.run("presets detect fraud -n ml").await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.starts_with("ml/fraud: 3 pods of stable v1, 3 pods of canary v2\n"), "{stdout}");
    assert!(stdout.contains("\npreset vllm, version 1, fits: vLLM 0.11 and newer\n"), "{stdout}");
    assert!(stdout.contains("  judged          ttft, tpot, finishReason, outputLength, aborts, queue, cache\n"), "{stdout}");
    assert!(stdout.ends_with("\nspec:\n  analysis:\n    preset: vllm\n"), "{stdout}");
    let (code, stdout, _) = stage.run("presets detect -n ml -o json").await;
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &found["kind"], &found["items"][0]["preset"]), (0, &json!("PresetDetection"), &json!("vllm")));
    assert_eq!(found["of"], "all pods of namespace ml");
    let (_, stdout, _) = stage.run("doctor fraud -n ml").await;
    assert!(stdout.contains("stable exports what preset vllm judges: ttft, tpot"), "{stdout}");
    let (code, _, stderr) = stage.run("presets detect fraud -n ml --prometheus http://127.0.0.1:1").await;
    assert!(code == 1 && stderr.contains("Prometheus was not reached"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_of_models_is_asked_and_a_right_that_is_missing_is_named() {
    let stage = Stage::set(9).await;
    let mlflow = wiremock::MockServer::start().await;
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mlflow/alias-found.http")).unwrap();
    let answer = wiremock::ResponseTemplate::new(200).set_body_raw(text.split_once("\r\n\r\n").unwrap().1, "application/json");
    let asked = wiremock::matchers::path("/api/2.0/mlflow/registered-models/alias");
    wiremock::Mock::given(asked).respond_with(answer).mount(&mlflow).await;
    let objects = stage.world.objects();
    let mut settings = Value::clone(&objects.get("configmaps", HOME, "haldane").unwrap());
    let mut config: Value = serde_json::from_str(settings["data"]["haldane.yaml"].as_str().unwrap()).unwrap();
    config["mlflow"] = json!({"default": {"url": mlflow.uri()}});
    settings["data"]["haldane.yaml"] = json!(config.to_string());
    objects.put(settings).unwrap();
    let write = json!({"env": {"container": "model", "name": "MODEL_URI"}});
    let with = |reason: &str| {
        let mut rollout = rollout();
        rollout["spec"]["source"] = json!({"mlflow": {"model": "fraud"}, "deployment": "fraud-v2", "write": write});
        let said = "Deployment fraud-v2 has models:/fraud/2; its pods are not there yet";
        rollout["status"]["source"] = json!({"state": "Waiting", "reason": reason, "message": said, "observedGeneration": 1,
            "since": "2026-11-29T00:00:00Z", "uri": "models:/fraud/2", "version": "2"});
        objects.remove("rollouts.haldane.dev", NAMESPACE, APP);
        objects.put(rollout).unwrap();
    };
    with("NothingYet");
    let (code, stdout, _) = stage.run("doctor fraud").await;
    for line in [
        "ok    source      MLflow default names models:/fraud/2 by fraud@challenger",
        "ok    source      Deployment fraud-v2 has nothing yet where models are written",
        "ok    source      the controller may write Deployments in ml",
    ] {
        assert!(code == 0 && stdout.contains(line), "{line}\n{stdout}");
    }
    with("Starting");
    stage.world.api().deny("patch", "deployments");
    let (code, wrong) = stage.wrong("doctor fraud").await;
    assert_eq!((code, wrong.len()), (0, 2), "{wrong:?}");
    assert!(wrong[0].starts_with("start: Deployment fraud-v2 has models:/fraud/2"), "{wrong:?}");
    assert!(
        wrong[1].starts_with("source: new models are announced and not written") && wrong[1].contains("deploy/model-source"),
        "{wrong:?}"
    );
    let (_, stdout, _) = stage.run("status fraud").await;
    assert!(stdout.contains("source      Deployment fraud-v2 has models:/fraud/2; its pods are not there yet,"), "{stdout}");
}
