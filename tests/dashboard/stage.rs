//! The simulated world with a controller that serves its page, and the dashboard of the command line.

use std::{
    io::{BufRead, BufReader, Lines},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use haldane::{
    api::{Rollout, RolloutStatus},
    clock::Clock,
    config::{ConfigHandle, Dashboard},
    controller::{self, Options},
    sim::{
        NAMESPACE, World, WorldConfig,
        faults::{Fault, Rule, Verb},
    },
};
use serde_json::json;

/// A token that the API server knows.
pub(crate) const TOKEN: &str = "kims-token";

/// The world, and a rollout at its first step, which lasts.
pub(crate) struct Stage {
    pub(crate) world: World,
    /// Where the controller serves its page.
    pub(crate) page: String,
    kubeconfig: PathBuf,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let mut config = WorldConfig::new(Clock::system(), 7);
        (config.rps, config.history) = (500.0, Duration::from_secs(300));
        let world = World::start(config).await.unwrap();
        world.api().know(TOKEN, "kim");
        let listen = free();
        let mut config = world.controller_config(Duration::from_secs(1));
        config.dashboard = Some(Dashboard { listen, path_prefix: String::new(), cluster: None, prometheus_url: None });
        let options = Options { namespaces: vec![NAMESPACE.into()], ..Options::default() };
        let mut kube = world.kube_config();
        kube.default_retry = false;
        let client = kube::Client::try_from(kube).unwrap();
        tokio::spawn(async move {
            controller::run(client, ConfigHandle::fixed(config), options, std::future::pending()).await.unwrap();
        });
        let name = format!("dashboard-{}.kubeconfig", listen.port());
        let kubeconfig = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&kubeconfig, world.kubeconfig()).unwrap();
        let stage = Self { world, page: format!("http://{listen}"), kubeconfig };
        stage.world.apply(&rollout("v1")).await.unwrap();
        stage.until("at rest", |status| status.stable.is_some()).await;
        stage.world.deploy("v2", haldane::sim::traffic::Behaviour::default());
        stage.world.apply(&rollout("v2")).await.unwrap();
        stage.until("at the first step", |status| status.step.as_ref().is_some_and(|step| step.weight == 20)).await;
        stage
    }

    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&RolloutStatus) -> bool) {
        for _ in 0..240 {
            if wanted(&self.world.status()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("not {what} within a minute: {:?}", self.world.status().decision);
    }

    /// From now on the API server lets nobody order anything.
    pub(crate) fn refuse_patches(&self) {
        let rule = Rule::on(Verb::Patch, "rollouts.haldane.dev", Fault::forbidden()).subresource("").forever();
        self.world.api().faults().add(rule);
    }

    /// Changes something that a page shows.
    pub(crate) async fn redescribe(&self) {
        let mut rollout = self.world.rollout().unwrap();
        rollout.metadata.managed_fields = None;
        rollout.spec.paused = true;
        self.world.apply(&rollout).await.unwrap();
    }

    /// `haldane dashboard`.
    pub(crate) fn dashboard(&self, more: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haldane"));
        command.arg("dashboard").arg("--kubeconfig").arg(&self.kubeconfig).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Program { child, lines, last: String::new() }
    }
}

/// The command, and what it prints.
pub(crate) struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    last: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// The next link.
    pub(crate) fn link(&mut self) -> String {
        self.last = self.lines.next().unwrap().unwrap();
        self.last.clone()
    }

    /// The link before.
    pub(crate) fn used(&self) -> String {
        self.last.clone()
    }

    /// An address of it.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.last.split("/?token=").next().unwrap())
    }
}

/// An address that nobody has.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
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
    serde_json::from_value(json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "fraud"}, "spec": spec}))
        .unwrap()
}
