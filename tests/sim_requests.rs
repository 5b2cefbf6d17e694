//! The true controller against the simulated world.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::{collections::BTreeMap, time::Duration};

use haldane::{
    api::{Phase, Rollout},
    clock::Clock,
    config::ConfigHandle,
    controller::{self, Options},
    sim::{NAMESPACE, World, WorldConfig, apiserver::Verb, traffic::Behaviour},
};
use kube::Client;
use serde_json::json;

async fn world() -> World {
    let mut config = WorldConfig::new(Clock::system(), 7);
    config.rps = 1000.0;
    World::start(config).await.unwrap()
}

fn control(world: &World) -> tokio::task::JoinHandle<()> {
    let mut config = world.kube_config();
    config.default_retry = false;
    let client = Client::try_from(config).unwrap();
    let handle = ConfigHandle::fixed(world.controller_config(Duration::from_secs(1)));
    let options = Options { namespaces: vec![NAMESPACE.into()], ..Options::default() };
    tokio::spawn(async move { controller::run(client, handle, options, std::future::pending()).await.unwrap() })
}

fn rollout() -> Rollout {
    let metrics = json!([{"errorRate": {}}, {"latency": {}}, {"drift": {"counter": "model_prediction_class_total", "class": "class"}}]);
    let spec = json!({
        "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {"hold": "10s"}},
        "analysis": {"interval": "2s", "warmUp": "1s", "metrics": metrics},
    });
    serde_json::from_value(json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "fraud"}, "spec": spec}))
        .unwrap()
}

/// Waits until the Rollout is in this phase.
async fn until(world: &World, what: &str, done: impl Fn(&World) -> bool) {
    for _ in 0..1200 {
        if done(world) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("waited two minutes for {what}: {:#?}", world.status());
}

/// Requests of the controller by verb, resource and subresource; watches, and what is asked at the start, left out.
fn requests(world: &World) -> BTreeMap<(&'static str, String), usize> {
    let mut counts = BTreeMap::new();
    for record in world.api().faults().log() {
        if !matches!(record.verb, Verb::Watch | Verb::List | Verb::Other) {
            let resource = record.resource.split('.').next().unwrap_or_default();
            *counts.entry((record.verb.as_str(), format!("{resource}/{}", record.subresource))).or_insert(0) += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_four_step_update_needs_few_requests_and_skips_nothing() {
    let world = world().await;
    let task = control(&world);
    // A little better than stable, so that no step needs longer than its hold.
    world.deploy("v2", Behaviour::default().with_errors(0.0005).with_latency(37.0, 165.0));
    world.apply(&rollout()).await.unwrap();
    world.api().faults().forget();
    until(&world, "the promotion", |world| world.status().phase == Some(Phase::Promoted)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut counts = requests(&world);
    println!("requests of a four-step update: {counts:#?}");
    // Waits for pods; waits for stable's metrics; starts; read back four times; three steps passed; promoted; the last alert delivered.
    // On a busy machine a scrape may be missed, which is reported and withdrawn. With as many pods of each version the load per pod is unequal,
    // which is reported once for each of the two weights where it is; and the first steps begin before stable's past is known, which is
    // reported too.
    let status = counts.remove(&("patch", "rollouts/status".to_owned())).unwrap_or_default();
    assert!((11..=20).contains(&status), "{status} writes of status");
    // The record: with each of the five decisions, the first of which creates it, and with windows where half a minute has gone by without one.
    let record = counts.remove(&("patch", "configmaps/".to_owned())).unwrap_or_default();
    assert!((4..=6).contains(&record), "{record} writes of the record");
    let fixed = [
        (("create", "configmaps/"), 1),
        (("get", "configmaps/"), 1),
        (("create", "events/"), 5),
        (("get", "virtualservices/"), 4),
        (("patch", "rollouts/"), 2), // the finalizer comes and goes
        (("patch", "virtualservices/"), 4),
    ];
    assert_eq!(counts, fixed.map(|((verb, what), count)| ((verb, what.to_owned()), count)).into());
    for record in world.api().faults().log().iter().filter(|record| record.subresource == "status") {
        let status = &record.body[1]["value"];
        let blank = status["step"]["weight"].as_i64().is_some_and(|weight| weight > 0) && status["step"]["windows"] == 0;
        assert!(!blank || status["verdict"] == "Inconclusive", "a step has no verdict before its first look: {status:#}");
    }
    let before = requests(&world);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(requests(&world), before, "nothing is asked at rest");
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_is_served_while_prometheus_does_not_answer() {
    let world = world().await;
    let task = control(&world);
    world.deploy("v2", Behaviour::default());
    world.apply(&rollout()).await.unwrap();
    until(&world, "the first step", |world| world.weights().get("v2") == Some(&5)).await;
    world.set_scraping(false);
    let live = world.rollout().unwrap();
    let value = json!({"id": "1", "uid": live.metadata.uid, "reason": "a test", "by": "a test"}).to_string();
    let patch = json!({"metadata": {"annotations": {"haldane.dev/abort": value}}});
    let rollouts: kube::Api<Rollout> = kube::Api::namespaced(world.client(), NAMESPACE);
    rollouts.patch("fraud", &kube::api::PatchParams::default(), &kube::api::Patch::Merge(patch)).await.unwrap();
    until(&world, "stable at 100 %", |world| world.weights().get("v2").copied().unwrap_or(0) == 0).await;
    until(&world, "the phase", |world| world.status().phase == Some(Phase::Aborted)).await;
    assert_eq!(world.weights().get("v1"), Some(&100));
    task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_killed_at_each_weight_skips_no_step_and_loses_no_rollback() {
    let world = world().await;
    world.deploy("v2", Behaviour::default());
    world.apply(&rollout()).await.unwrap();
    let mut seen = Vec::new();
    let mut task = control(&world);
    for _ in 0..6000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let weight = world.weights().get("v2").copied().unwrap_or(0);
        if seen.last() != Some(&weight) {
            seen.push(weight);
            // Right after the write to the route, often before its status.
            task.abort();
            task = control(&world);
        }
        if weight == 50 && world.status().step.is_some_and(|step| step.weight == 50) {
            world.behave("v2", Behaviour::default().with_errors(0.3));
        }
        if world.status().phase == Some(Phase::RolledBack) {
            break;
        }
    }
    assert_eq!(seen, [0, 5, 20, 50, 0], "{:#?}", world.status());
    assert_eq!(world.status().phase, Some(Phase::RolledBack));
    task.abort();
}

/// A Prometheus of its own, which scrapes what the simulated one has. It ends when this is dropped.
struct RealPrometheus {
    child: tokio::process::Child,
    folder: std::path::PathBuf,
    url: String,
    exporter: tokio::task::JoinHandle<()>,
}

impl Drop for RealPrometheus {
    fn drop(&mut self) {
        self.exporter.abort();
        let _ = self.child.start_kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The newest sample of every series, in the text format that is scraped.
async fn exposition(simulated: &str) -> String {
    let answer = reqwest::Client::new().get(format!("{simulated}/api/v1/query")).query(&[("query", "{__name__=~\".+\"}")]).send().await;
    let Ok(answer) = answer else { return String::new() };
    let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or_default();
    let rows = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let row = |row: serde_json::Value| {
        let labels = row["metric"].as_object()?.clone();
        let own = labels.iter().filter(|(name, _)| *name != "__name__");
        let own: Vec<String> = own.map(|(name, value)| format!("{name}={value}")).collect();
        Some(format!("{}{{{}}} {}\n", labels["__name__"].as_str()?, own.join(","), row["value"][1].as_str()?))
    };
    rows.into_iter().filter_map(row).collect()
}

impl RealPrometheus {
    async fn start(simulated: String) -> Self {
        let home = std::env::var("HOME").unwrap_or_default();
        let stack = std::env::var("HALDANE_STACK_DIR").unwrap_or(format!("{home}/.cache/haldane-stack"));
        let app = axum::Router::new().route("/metrics", axum::routing::get(move || async move { exposition(&simulated).await }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let exporter = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        let folder = std::env::temp_dir().join(format!("haldane-store-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let config = json!({"scrape_configs": [{
            "job_name": "simulated", "scrape_interval": "1s", "scrape_timeout": "1s", "honor_labels": true,
            "static_configs": [{"targets": [target.to_string()]}],
        }]});
        std::fs::write(folder.join("prometheus.yml"), config.to_string()).unwrap();
        let port = free_port();
        let child = tokio::process::Command::new(format!("{stack}/bin/prometheus"))
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        for _ in 0..300 {
            if reqwest::get(format!("{url}/-/ready")).await.is_ok_and(|answer| answer.status().is_success()) {
                return Self { child, folder, url, exporter };
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("Prometheus was not ready within 30 s");
    }

    /// Queries so far, and the milliseconds that the engine says they took.
    async fn cost(&self) -> (f64, f64) {
        let text = reqwest::get(format!("{}/metrics", self.url)).await.unwrap().text().await.unwrap();
        let sum = |part: &str, slices: &[&str]| -> f64 {
            let of = |slice: &&str| {
                let name = format!("prometheus_engine_query_duration_seconds_{part}{{slice=\"{slice}\"}} ");
                text.lines().find_map(|line| line.strip_prefix(name.as_str())).and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0)
            };
            slices.iter().map(of).sum()
        };
        (sum("count", &["inner_eval"]), 1000.0 * sum("sum", &["prepare_time", "inner_eval", "result_sort"]))
    }
}

/// `cargo test --test sim_requests -- --ignored --nocapture a_real_prometheus`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes three minutes, and the real parts of tests/stack/build"]
async fn what_a_start_and_ten_looks_cost_a_real_prometheus() {
    haldane::tls::install();
    let mut config = WorldConfig::new(Clock::system(), 7);
    (config.rps, config.replicas) = (1000.0, 5);
    let world = World::start(config).await.unwrap();
    let real = RealPrometheus::start(world.prometheus().url()).await;
    // A minute of history.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut settings = world.controller_config(Duration::from_secs(3));
    settings.prometheus.get_mut("default").unwrap().url = real.url.clone();
    let mut kube = world.kube_config();
    kube.default_retry = false;
    let (client, handle) = (Client::try_from(kube).unwrap(), ConfigHandle::fixed(settings));
    let options = Options { namespaces: vec![NAMESPACE.into()], ..Options::default() };
    let task = tokio::spawn(async move { controller::run(client, handle, options, std::future::pending()).await.unwrap() });
    let (queries, milliseconds) = real.cost().await;
    world.deploy("v2", Behaviour::default().with_errors(0.0005).with_latency(37.0, 165.0));
    let metrics = json!([{"errorRate": {}}, {"latency": {}}]);
    let mut rollout = rollout();
    rollout.spec = serde_json::from_value(json!({
        "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {"hold": "10s"}},
        "analysis": {"interval": "10s", "warmUp": "1s", "metrics": metrics},
    }))
    .unwrap();
    world.apply(&rollout).await.unwrap();
    until(&world, "the first step", |world| world.weights().get("v2") == Some(&5)).await;
    // Ten looks: an update of four steps needs as many, or a few more.
    tokio::time::sleep(Duration::from_secs(100)).await;
    let (now, took) = real.cost().await;
    println!("a start and ten looks: {} queries, {:.1} ms of Prometheus' evaluation", now - queries, took - milliseconds);
    // Scrapes are a second apart here, and each is glanced at.
    assert!(now > queries && now - queries < 150.0, "{}", now - queries);
    task.abort();
}
