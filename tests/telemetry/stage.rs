//! A simulated world with the real program in it, and a real collector beside it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
    time::Duration,
};

use haldane::{
    api::{Rollout, RolloutStatus},
    clock::Clock,
    sim::{World, WorldConfig, traffic::Behaviour},
};
use serde_json::{Value, json};

pub(crate) struct Stage {
    pub(crate) world: World,
    folder: PathBuf,
}

/// A program of ours that is running.
pub(crate) struct Program {
    child: Child,
    listen: SocketAddr,
    log: Option<JoinHandle<()>>,
}

/// A collector that is running.
pub(crate) struct Collector {
    child: Child,
    folder: PathBuf,
    listen: SocketAddr,
}

/// An address that nobody has.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

impl Stage {
    pub(crate) async fn set() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("telemetry-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(folder.join("pods/haldane-system_haldane-0_0f1e2d3c-4b5a/controller")).unwrap();
        let mut config = WorldConfig::new(Clock::system(), 7);
        (config.rps, config.history) = (1000.0, Duration::from_secs(300));
        let world = World::start(config).await.unwrap();
        world.apply(&rollout("v1")).await.unwrap();
        Self { world, folder }
    }

    /// Where a kubelet would keep the log of the controller's container.
    fn log(&self) -> PathBuf {
        self.folder.join("pods/haldane-system_haldane-0_0f1e2d3c-4b5a/controller/0.log")
    }

    /// `haldane controller`, with traces to a collector. Its log is kept as a container runtime keeps it.
    pub(crate) fn control(&mut self, otlp: &str) -> Program {
        let (config, kubeconfig, listen) = (self.folder.join("haldane.yaml"), self.folder.join("kubeconfig"), free());
        let prometheus = &self.world.controller_config(Duration::from_secs(1)).prometheus["default"].url;
        let text = format!("prometheus: {{default: {{url: \"{prometheus}\", scrapeInterval: 1s, lag: 1s}}}}\ntraces: {{otlp: {otlp}}}\n");
        fs::write(&config, text).unwrap();
        fs::write(&kubeconfig, self.world.kubeconfig()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_haldane"));
        command.arg("controller").arg("--config").arg(config).arg("--kubeconfig").arg(kubeconfig).arg("--listen").arg(listen.to_string());
        let mut child = command.arg("-n").arg(haldane::sim::NAMESPACE).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut kept = fs::File::create(self.log()).unwrap();
        let log = std::thread::spawn(move || {
            for line in lines {
                writeln!(kept, "{} stderr F {}", Clock::system().now(), line.unwrap()).unwrap();
            }
        });
        Program { child, listen, log: Some(log) }
    }

    /// Once v1 serves, a v2 is wanted whose predictions are others.
    pub(crate) async fn roll_out_what_drifts(&self) {
        self.until("at rest", |status| status.stable.is_some()).await;
        let drifting = Behaviour::default().with_classes(&[("legit", 0.62), ("review", 0.10), ("fraud", 0.28)]);
        self.world.deploy("v2", drifting);
        self.world.apply(&rollout("v2")).await.unwrap();
    }

    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&RolloutStatus) -> bool) {
        for _ in 0..480 {
            if wanted(&self.world.status()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("not {what} within two minutes: {:?}; {:?}", self.world.status().decision, fs::read_to_string(self.log()));
    }

    /// The lines of the log as the program wrote them: each is JSON.
    pub(crate) fn logged(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.log()).unwrap();
        text.lines().map(|line| serde_json::from_str(line.splitn(4, ' ').nth(3).unwrap()).unwrap()).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Two steps and the end; the first lasts.
fn rollout(subset: &str) -> Rollout {
    let spec = json!({
        "traffic": {"virtualService": "fraud"}, "canary": {"subset": subset},
        "strategy": {"canary": {"weights": [20, 60, 100], "hold": "30m"}},
        "analysis": {"interval": "2s", "warmUp": "1s", "metrics": [
            {"errorRate": {}}, {"latency": {}}, {"drift": {"counter": "model_prediction_class_total", "class": "class"}},
        ]},
    });
    let object = json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "fraud"}, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// SIGTERM, and the end of the process.
fn terminate(child: &mut Child) {
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    for _ in 0..200 {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("still there 20 s after SIGTERM");
}

impl Program {
    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        haldane::tls::install();
        reqwest::get(format!("http://{}/metrics", self.listen)).await.unwrap().text().await.unwrap()
    }

    /// Ends it as a kubelet does. All of its log is kept then.
    pub(crate) fn stop(mut self) {
        terminate(&mut self.child);
        self.log.take().unwrap().join().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of a series.
pub(crate) fn metric(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

impl Collector {
    /// The configuration that we ship, with the paths and ports of here, and files instead of a backend.
    pub(crate) fn start(stage: &Stage) -> Self {
        let (folder, listen) = (stage.folder.clone(), free());
        let shipped = fs::read_to_string(root("examples/telemetry/otel-collector.yaml")).unwrap();
        let mut config: Value = serde_yaml::from_str(&shipped).unwrap();
        config["receivers"]["otlp"]["protocols"]["http"]["endpoint"] = json!(listen.to_string());
        let pods = folder.join("pods/haldane-system_*/*/*.log");
        config["receivers"]["file_log"]["include"] = json!([pods]);
        config["receivers"]["file_log"]["start_at"] = json!("beginning");
        config["exporters"] = json!({
            "file/traces": {"path": folder.join("traces.json"), "flush_interval": "100ms"},
            "file/logs": {"path": folder.join("logs.json"), "flush_interval": "100ms"},
        });
        for signal in ["traces", "logs"] {
            config["service"]["pipelines"][signal]["exporters"] = json!([format!("file/{signal}")]);
        }
        let file = folder.join("collector.yaml");
        fs::write(&file, config.to_string()).unwrap();
        let program = programs().join("otelcol");
        assert!(program.exists(), "no {}: tests/stack/build otelcol makes it", program.display());
        let said = fs::File::create(folder.join("collector.log")).unwrap();
        let child = Command::new(program).arg("--config").arg(file).stdout(Stdio::null()).stderr(said).spawn().unwrap();
        let mut collector = Self { child, folder, listen };
        for _ in 0..200 {
            if std::net::TcpStream::connect(listen).is_ok() {
                return collector;
            }
            assert!(collector.child.try_wait().unwrap().is_none(), "{}", collector.said());
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the collector does not listen: {}", collector.said());
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.join("collector.log")).unwrap_or_default()
    }

    /// What it has received of traces and of logs, once so many lines of the log are there.
    pub(crate) async fn received(mut self, lines: usize) -> (Vec<Value>, Vec<Value>) {
        for _ in 0..240 {
            if records(&read(&self.folder.join("logs.json")), "resourceLogs", "scopeLogs", "logRecords").len() >= lines {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        terminate(&mut self.child);
        let complaints: Vec<String> = self.said().lines().filter(|line| line.contains("\"level\":\"error\"")).map(str::to_owned).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
        (read(&self.folder.join("traces.json")), read(&self.folder.join("logs.json")))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where tests/stack/build puts the programs.
fn programs() -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    let stack = std::env::var("HALDANE_STACK_DIR").unwrap_or(format!("{home}/.cache/haldane-stack"));
    Path::new(&stack).join("bin")
}

/// The messages in a file, one on each line; the last may not be whole yet.
fn read(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What is in messages: spans or log records, as they came.
pub(crate) fn records(received: &[Value], resource: &str, scope: &str, record: &str) -> Vec<Value> {
    let all = received.iter().flat_map(|message| message[resource].as_array().cloned().unwrap_or_default());
    let scopes = all.flat_map(|all| all[scope].as_array().cloned().unwrap_or_default());
    scopes.flat_map(|scope| scope[record].as_array().cloned().unwrap_or_default()).collect()
}
