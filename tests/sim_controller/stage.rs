//! A world in virtual time with controllers in it, and what the route went through.

use std::{net::SocketAddr, time::Duration};

use haldane::{
    api::{self, Destination, Phase, Rollout, RolloutStatus},
    clock::Clock,
    config::{Config, ConfigHandle, Sink, WebhookFormat},
    controller::{self, Options},
    plan::Share,
    route::{Sought, find},
    sim::{
        APP, NAMESPACE, RouteKind, World, WorldConfig,
        faults::{Fault, Rule},
        traffic::Behaviour,
    },
};
use jiff::Timestamp;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

pub(crate) struct Stage {
    pub world: World,
    pub kind: RouteKind,
    clock: Clock,
    replicas: Vec<(String, tokio::task::JoinHandle<()>)>,
    begin: u64,
    /// Where the next controller serves probes and webhooks.
    pub listen: Option<SocketAddr>,
}

impl Stage {
    pub(crate) async fn set(seed: u64) -> Self {
        Self::with(seed, |_| {}).await
    }

    pub(crate) async fn with(seed: u64, change: impl FnOnce(&mut WorldConfig)) -> Self {
        let clock = Clock::virtual_from("2026-11-23T12:00:00Z".parse::<Timestamp>().unwrap());
        let mut config = WorldConfig::new(clock, seed);
        (config.rps, config.history) = (1000.0, Duration::from_secs(300));
        change(&mut config);
        let kind = config.route;
        let world = World::start(config).await.unwrap();
        let begin = world.objects().store().read(|t| t.revision());
        Self { world, kind, clock, replicas: Vec::new(), begin, listen: None }
    }

    /// Starts a controller; with an election if there shall be several.
    pub(crate) fn control(&mut self, election: bool) {
        self.begin(election, Duration::from_secs(1), &[NAMESPACE], |_| {});
    }

    /// Starts the only controller, with another configuration.
    pub(crate) fn control_configured(&mut self, change: impl FnOnce(&mut Config)) {
        self.begin(false, Duration::from_secs(1), &[NAMESPACE], change);
    }

    /// Starts the only controller, for these namespaces.
    pub(crate) fn control_in(&mut self, namespaces: &[&str]) {
        self.begin(false, Duration::from_secs(1), namespaces, |_| {});
    }

    /// Starts the only controller, whose windows end so far behind now.
    pub(crate) fn control_late(&mut self, lag: Duration) {
        self.begin(false, lag, &[NAMESPACE], |_| {});
    }

    /// Starts the only controller, whose alerts have this form.
    pub(crate) fn control_telling(&mut self, format: WebhookFormat) {
        self.control_configured(|config| {
            for sink in config.alerts.values_mut() {
                if let Sink::Webhook(webhook) = sink {
                    webhook.format = format;
                }
            }
        });
    }

    fn begin(&mut self, election: bool, lag: Duration, namespaces: &[&str], change: impl FnOnce(&mut Config)) {
        let name = format!("replica-{}", self.replicas.len() + 1);
        // Without sockets: under paused time a byte that the kernel delivers late would let hours go by.
        let client = self.world.client_named(&name);
        let mut config = self.world.controller_config(lag);
        change(&mut config);
        let handle = ConfigHandle::fixed(config);
        let options = Options {
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            election: election.then(|| ("haldane-system".to_owned(), name.clone())),
            clock: Some(self.clock),
            listen: self.listen,
            ..Options::default()
        };
        let task = tokio::spawn(async move {
            controller::run(client, handle, options, std::future::pending()).await.unwrap();
        });
        self.replicas.push((name, task));
    }

    /// Kills the newest controller: no pass of it continues, and nothing that it sends is answered any more.
    pub(crate) fn kill(&mut self) {
        let (name, task) = self.replicas.last().unwrap();
        task.abort();
        self.world.api().faults().add(Rule::always(Fault::Hang).agent(&format!("{name} ")).forever());
        self.world.api().faults().add(Rule::always(Fault::Hang).agent(name).forever());
    }

    pub(crate) async fn apply(&self, subset: &str) {
        self.world.apply(&rollout(subset, json!({}))).await.unwrap();
    }

    pub(crate) async fn seconds(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&RolloutStatus) -> bool) -> RolloutStatus {
        for _ in 0..2400 {
            let status = self.world.status();
            if wanted(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        let status = self.world.status();
        panic!("not {what} within ten minutes: {:?} {:?} {:?}", status.phase, status.step, status.decision.map(|d| d.message));
    }

    pub(crate) async fn until_phase(&self, version: &str, phase: Phase) -> RolloutStatus {
        let arm = self.kind.arm(APP, version);
        let about = |s: &RolloutStatus| s.decision.as_ref().and_then(|d| d.canary.as_ref()).is_some_and(|c| c.name == arm);
        self.until(&format!("{phase:?}"), |s| s.phase == Some(phase) && about(s)).await
    }

    /// Canary's weight after each write of the route that changed it.
    pub(crate) fn weights_of(&self, version: &str) -> Vec<i64> {
        let changes = self.world.objects().store().read(|t| t.since(self.begin)).unwrap();
        let mut seen: Vec<i64> = vec![0];
        for change in changes.iter().filter(|c| c.key.table == self.kind.plural()) {
            let weight = self.kind.weights(APP, &change.after).get(version).copied().unwrap_or(0);
            if seen.last() != Some(&weight) {
                seen.push(weight);
            }
        }
        seen
    }

    /// All that a version had after each write of the route that changed it: `0 %`, `match`, `mirror of 100 %`.
    pub(crate) fn shares_of(&self, version: &str) -> Vec<String> {
        let changes = self.world.objects().store().read(|t| t.since(self.begin)).unwrap();
        let mut seen = vec![Share::NONE];
        let arm = self.kind.arm(APP, version);
        let (kind, canary) = match self.kind {
            RouteKind::Subsets => (api::RouteKind::VirtualService, Destination::Subset(arm.clone())),
            RouteKind::Services => (api::RouteKind::VirtualService, Destination::Service(arm.clone())),
            RouteKind::HttpRoute => (api::RouteKind::HttpRoute, Destination::Service(arm.clone())),
            RouteKind::GrpcRoute => (api::RouteKind::GrpcRoute, Destination::Service(arm.clone())),
        };
        for change in changes.iter().filter(|c| c.key.table == self.kind.plural()) {
            let share = find(&change.after, Sought { kind, route: Some("primary"), canary: &canary }).unwrap().found(&arm);
            if seen.last() != Some(&share) {
                seen.push(share);
            }
        }
        seen.into_iter().map(Share::words).collect()
    }

    /// The Rollout after each write of it, oldest first.
    pub(crate) fn rollouts(&self) -> Vec<Value> {
        let changes = self.world.objects().store().read(|t| t.since(self.begin)).unwrap();
        changes.iter().filter(|c| c.key.table == "rollouts" && !c.deleted).map(|c| Value::clone(&c.after)).collect()
    }

    /// Writes a command as the command line does.
    pub(crate) async fn say(&self, verb: &str, step: Option<&str>) {
        self.say_as(&format!("{verb}-{}", self.world.status().epoch), verb, step).await;
    }

    /// The same with an id of its own: the second of a verb within one epoch.
    pub(crate) async fn say_as(&self, id: &str, verb: &str, step: Option<&str>) {
        let api: Api<Rollout> = Api::default_namespaced(self.world.client());
        let rollout = self.world.rollout().unwrap();
        let epoch = rollout.status.as_ref().unwrap().epoch;
        let mut command = json!({"id": id, "uid": rollout.metadata.uid, "epoch": epoch, "reason": "a test", "by": "tester"});
        if let Some(step) = step {
            command["step"] = json!(step);
        }
        let patch = json!({"metadata": {"annotations": {format!("haldane.dev/{verb}"): command.to_string()}}});
        api.patch("fraud", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Texts of the alerts so far.
    pub(crate) fn alerts(&self) -> Vec<String> {
        self.world.alerts().received().iter().map(|d| d.text()).collect()
    }
}

/// The Rollout of the stories, with fields of its spec replaced.
pub(crate) fn rollout(subset: &str, spec: Value) -> Rollout {
    let metrics = json!([{"errorRate": {}}, {"latency": {}}, {"drift": {"counter": "model_prediction_class_total", "class": "class"}}]);
    let mut whole = json!({
        "traffic": {"virtualService": "fraud"}, "canary": {"subset": subset}, "strategy": {"canary": {"hold": "10s"}},
        "analysis": {"interval": "2s", "warmUp": "1s", "metrics": metrics},
    });
    json_patch::merge(&mut whole, &spec);
    let metadata = json!({"name": "fraud"});
    serde_json::from_value(json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": metadata, "spec": whole})).unwrap()
}

/// A healthy version: a little better than stable, so that no story ends by the judge's one false alarm in a hundred.
pub(crate) fn better() -> Behaviour {
    Behaviour::default().with_errors(0.0005).with_latency(37.0, 165.0)
}
