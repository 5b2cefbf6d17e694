//! A simulated cluster with many models in one namespace, each with its own route, pods and traffic, and one Prometheus for all.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use haldane::{
    api::{Rollout, RolloutStatus},
    clock::Clock,
    sim::{
        RouteKind,
        alerts::AlertReceiver,
        apiserver::{ApiServer, Verb},
        cluster::Cluster,
        faults::Record,
        mesh::Watched,
        objects::Objects,
        prometheus::{Prometheus, series::Database},
        traffic::{Behaviour, Traffic, TrafficConfig},
    },
};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Namespace of all models.
pub(crate) const NAMESPACE: &str = "ml";
/// So many scrapes of the past are in Prometheus at the start.
const PAST_SCRAPES: i32 = 300;
const TICK: Duration = Duration::from_millis(100);

/// How a fleet begins.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// Models.
    pub models: usize,
    /// Requests a second of each; 0: no traffic at all.
    pub rps: f64,
    /// Pods of each version.
    pub replicas: usize,
    /// Time between two scrapes.
    pub scrape: Duration,
    /// How late Prometheus may be.
    pub lag: Duration,
    /// How many questions are in flight at once.
    pub concurrency: u32,
}

impl Size {
    /// Three pods of each version, scraped each second: what reacts soonest.
    pub(crate) fn quick(models: usize, rps: f64) -> Self {
        Self { models, rps, replicas: 3, scrape: Duration::from_secs(1), lag: Duration::from_secs(1), concurrency: 8 }
    }

    /// Five pods of each version, scraped every five seconds: as the others were measured.
    pub(crate) fn usual(models: usize, rps: f64) -> Self {
        Self { models, rps, replicas: 5, scrape: Duration::from_secs(5), lag: Duration::from_secs(1), concurrency: 8 }
    }
}

/// The cluster. Its traffic ends when this is dropped.
pub(crate) struct Fleet {
    pub api: ApiServer,
    pub prometheus: Prometheus,
    pub alerts: AlertReceiver,
    pub objects: Objects,
    pub clock: Clock,
    models: Arc<Vec<Mutex<Model>>>,
    size: Size,
    ending: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Model {
    cluster: Cluster,
    /// None where nobody sends requests.
    traffic: Option<Traffic>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Name of a model, of its route and of its Rollout.
pub(crate) fn name(index: usize) -> String {
    format!("model-{index:03}")
}

impl Fleet {
    /// Every model serves all its traffic from the pods of v1, and has as many of v2 that are ready.
    pub(crate) async fn start(size: Size) -> Self {
        haldane::tls::install();
        let clock = Clock::system();
        let api = ApiServer::start(clock, 0).await.unwrap();
        let objects = api.objects();
        for namespace in [NAMESPACE, "haldane-system"] {
            objects.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}, "status": {"phase": "Active"}}));
        }
        let now = clock.now();
        let scrape = SignedDuration::try_from(size.scrape).unwrap();
        let begin = now - scrape * PAST_SCRAPES;
        let mut database = Database::new(7200 * 1000);
        let mut models = Vec::new();
        for index in 0..size.models {
            let name = name(index);
            mesh(&name).into_iter().for_each(|object| drop(objects.put(object)));
            let mut cluster = Cluster::new(objects.clone(), NAMESPACE, &name, Duration::from_millis(100), false);
            for version in ["v1", "v2"] {
                cluster.deploy(version, size.replicas, now, Some(begin - SignedDuration::from_secs(60)));
            }
            let watched = Watched { namespace: NAMESPACE.into(), kind: RouteKind::default(), route: name.clone(), service: name.clone() };
            let config = TrafficConfig {
                cohorts: Vec::new(),
                seed: index as u64,
                rps: size.rps,
                scrape_interval: size.scrape,
                proxy_delay: (Duration::from_millis(50), Duration::from_millis(200)),
                sidecars: true,
                watched,
            };
            let traffic = (size.rps > 0.0).then(|| {
                let mut traffic = Traffic::new(config, objects.store(), begin);
                traffic.set_behaviour("v2", better());
                let mut at = begin;
                while at < now {
                    at = (at + scrape / 2).min(now);
                    traffic.advance(objects.store(), &mut database, at);
                }
                traffic
            });
            models.push(Mutex::new(Model { cluster, traffic }));
        }
        let database = Arc::new(Mutex::new(database));
        let prometheus = Prometheus::start(clock, database.clone(), 0).await.unwrap();
        let alerts = AlertReceiver::start(clock).await.unwrap();
        let (models, ending) = (Arc::new(models), Arc::new(AtomicBool::new(false)));
        let thread = (size.rps > 0.0).then(|| {
            let (models, ending, objects) = (models.clone(), ending.clone(), objects.clone());
            std::thread::spawn(move || play(&models, &ending, &objects, &database, clock))
        });
        Self { api, prometheus, alerts, objects, clock, models, size, ending, thread }
    }

    /// How v2 of a model behaves from now on.
    pub(crate) fn behave(&self, index: usize, behaviour: Behaviour) {
        self.models[index].lock().unwrap().traffic.as_mut().unwrap().set_behaviour("v2", behaviour);
    }

    /// The configuration file of a controller that asks this Prometheus.
    pub(crate) fn config(&self, prometheus: &str) -> String {
        let (webhook, scrape, lag) = (self.alerts.webhook(), self.size.scrape.as_secs(), self.size.lag.as_secs());
        let concurrency = self.size.concurrency;
        format!(
            "prometheus:\n  default: {{url: \"{prometheus}\", scrapeInterval: {scrape}s, lag: {lag}s, concurrency: {concurrency}}}\nalerts:\n  default: {{webhook: {{url: \"{webhook}\", format: slack}}}}\n"
        )
    }

    /// Creates the Rollout of a model, or changes its spec.
    pub(crate) async fn apply(&self, index: usize, spec: &Value) {
        let (api, name) = (self.rollouts(), name(index));
        if self.objects.get("rollouts.haldane.dev", NAMESPACE, &name).is_some() {
            api.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await.unwrap();
            return;
        }
        let whole = json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": spec});
        api.create(&PostParams::default(), &serde_json::from_value(whole).unwrap()).await.unwrap();
    }

    /// A person's command, as the command line writes it.
    pub(crate) async fn say(&self, index: usize, verb: &str) {
        let live = self.rollout(index);
        let epoch = live.status.as_ref().map_or(0, |status| status.epoch);
        let id = format!("{verb}-{}", self.objects.store().number());
        let command = json!({"id": id, "uid": live.metadata.uid, "epoch": epoch, "reason": "a bench", "by": "bench"}).to_string();
        let patch = Patch::Merge(json!({"metadata": {"annotations": {format!("haldane.dev/{verb}"): command}}}));
        self.rollouts().patch(&name(index), &PatchParams::default(), &patch).await.unwrap();
    }

    fn rollouts(&self) -> Api<Rollout> {
        Api::default_namespaced(self.api.client(NAMESPACE))
    }

    /// The Rollout of a model.
    pub(crate) fn rollout(&self, index: usize) -> Rollout {
        let found = self.objects.get("rollouts.haldane.dev", NAMESPACE, &name(index)).unwrap();
        Rollout::deserialize(found.as_ref()).unwrap()
    }

    /// Waits until the status of a model is as wanted.
    pub(crate) async fn until(&self, index: usize, what: &str, wanted: impl Fn(&RolloutStatus) -> bool) {
        for _ in 0..24_000 {
            if self.rollout(index).status.is_some_and(|status| wanted(&status)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} was not {what} within four minutes: {:#?}", name(index), self.rollout(index).status.map(|status| status.conditions));
    }

    /// What the controller asked: lease, lists, watches and discovery left out.
    pub(crate) fn requests(&self) -> Vec<Record> {
        let mut requests = Vec::new();
        self.each_request(0, |record| requests.push(record.clone()));
        requests
    }

    /// Shows each of them from a number on; the number to go on from is returned.
    pub(crate) fn each_request(&self, number: u64, mut see: impl FnMut(&Record)) -> u64 {
        let left_out =
            |record: &Record| matches!(record.verb, Verb::List | Verb::Watch | Verb::Other) || record.resource.starts_with("leases");
        self.api.faults().each_from(number, |record| {
            if record.user_agent.starts_with("haldane/") && !left_out(record) {
                see(record);
            }
        })
    }

    /// When the newest command for a model came in, and when the first write to its route after that.
    pub(crate) fn command_and_patch(&self, index: usize) -> Option<(Timestamp, Timestamp)> {
        let (log, name) = (self.api.faults().log(), name(index));
        let own = |record: &&Record| record.verb == Verb::Patch && record.name == name;
        let by_us = |record: &&Record| record.user_agent.is_empty() && record.resource.starts_with("rollouts");
        let said = log.iter().filter(own).rfind(by_us)?;
        let patch = log.iter().filter(own).find(|record| record.resource.starts_with("virtualservices") && record.number > said.number)?;
        Some((said.at, patch.at))
    }

    /// When the newest write to the route of a model came in, and when the query before it was answered.
    pub(crate) fn look_and_patch(&self, index: usize) -> Option<(Timestamp, Timestamp)> {
        let (log, name) = (self.api.faults().log(), name(index));
        let written = log.iter().rfind(|r| r.verb == Verb::Patch && r.name == name && r.resource.starts_with("virtualservices"))?;
        let asked = self.prometheus.asked();
        let own = |query: &str| query.contains(&format!("{name}-v"));
        let last = asked.iter().rfind(|asked| own(&asked.query) && asked.answered.is_some_and(|at| at <= written.at))?;
        Some((last.answered?, written.at))
    }
}

fn play(models: &[Mutex<Model>], ending: &AtomicBool, objects: &Objects, database: &Mutex<Database>, clock: Clock) {
    while !ending.load(Ordering::Acquire) {
        for model in models {
            let model = &mut *model.lock().unwrap();
            let now = clock.now();
            model.cluster.sync(now);
            if let Some(traffic) = &mut model.traffic {
                traffic.advance(objects.store(), &mut database.lock().unwrap(), now);
            }
        }
        std::thread::sleep(TICK);
    }
}

/// A healthy version: a little better than stable, so that no step needs longer than its hold.
pub(crate) fn better() -> Behaviour {
    Behaviour::default().with_errors(0.0005).with_latency(37.0, 165.0)
}

/// Service, DestinationRule and VirtualService of a model.
fn mesh(name: &str) -> [Value; 3] {
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    let subsets: Vec<Value> = ["v1", "v2", "v3"].iter().map(|v| json!({"name": v, "labels": {"version": v}})).collect();
    let stable = json!({"destination": {"host": name, "subset": "v1"}, "weight": 100});
    let http = json!([{"name": "primary", "route": [stable], "timeout": "2s", "retries": {"attempts": 2, "perTryTimeout": "1s"}}]);
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata,
            "spec": {"host": name, "subsets": subsets},
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
            "spec": {"hosts": [name], "http": http},
        }),
    ]
}

/// The spec of a Rollout with the three metrics, windows of two seconds and this hold.
pub(crate) fn spec(index: usize, subset: &str, hold: &str, alerts: bool) -> Value {
    let metrics = json!([{"errorRate": {}}, {"latency": {}}, {"drift": {"counter": "model_prediction_class_total", "class": "class"}}]);
    let alerts = if alerts { json!(["default"]) } else { json!([]) };
    json!({
        "traffic": {"virtualService": name(index)}, "canary": {"subset": subset}, "strategy": {"canary": {"hold": hold}},
        "analysis": {"interval": "2s", "warmUp": "1s", "metrics": metrics}, "alerts": alerts,
    })
}

/// The spec of a Rollout as the others were measured: two metrics, looked at every ten seconds.
pub(crate) fn usual(index: usize, subset: &str) -> Value {
    let metrics = json!([{"errorRate": {}}, {"latency": {}}]);
    json!({
        "traffic": {"virtualService": name(index)}, "canary": {"subset": subset}, "strategy": {"canary": {"hold": "10s"}},
        "analysis": {"interval": "10s", "warmUp": "1s", "metrics": metrics}, "alerts": [],
    })
}
