//! What a real Prometheus is asked, and what that costs it: it scrapes the simulated mesh, and the true controller asks it.
//! `cargo test --test queries -- --nocapture` prints the figures; `tests/stack/build prometheus` makes what it needs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::time::Duration;

use haldane::{
    api::Rollout,
    clock::Clock,
    config::ConfigHandle,
    controller::{self, Options},
    sim::{NAMESPACE, World, WorldConfig, traffic::Behaviour},
};
use kube::Client;
use serde_json::json;

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

#[tokio::test(flavor = "multi_thread")]
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
    let spec = json!({
        "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {"hold": "10s"}},
        "analysis": {"interval": "10s", "warmUp": "1s", "metrics": metrics},
    });
    let object = json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "fraud"}, "spec": spec});
    let rollout: Rollout = serde_json::from_value(object).unwrap();
    world.apply(&rollout).await.unwrap();
    let begun = async {
        while world.weights().get("v2") != Some(&5) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), begun).await.unwrap_or_else(|_| panic!("no first step: {:#?}", world.status()));
    // Ten looks: an update of four steps needs as many, or a few more.
    tokio::time::sleep(Duration::from_secs(100)).await;
    let (now, took) = real.cost().await;
    println!("a start and ten looks: {} queries, {:.1} ms of Prometheus' evaluation", now - queries, took - milliseconds);
    // Scrapes are a second apart here, and each is glanced at.
    assert!(now > queries && now - queries < 150.0, "{}", now - queries);
    task.abort();
}
