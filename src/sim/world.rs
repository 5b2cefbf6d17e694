//! Everything in one process: API server, cluster, mesh, traffic, Prometheus and a receiver of alerts, with a demo app `fraud` in
//! namespace `ml`.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::MissedTickBehavior};

use super::{
    alerts::AlertReceiver,
    apiserver::ApiServer,
    cluster::Cluster,
    mesh::{
        Watched,
        conditions::{Conditions, Refusal},
        routes::Cohort,
    },
    objects::Objects,
    prometheus::{Prometheus, series::Database},
    route_kind::RouteKind,
    traffic::{Behaviour, Lost, Served, Traffic, TrafficConfig},
};
use crate::{
    api::{Rollout, RolloutStatus},
    clock::Clock,
    config::{Config, HttpAccess, Provider, Sink, WebhookFormat, WebhookSink},
};

/// Namespace of the demo app.
pub const NAMESPACE: &str = "ml";
/// Name of the demo app: of its Service, its route, and its Rollout.
pub const APP: &str = "fraud";
/// Prometheus keeps samples for so long.
const RETENTION: Duration = Duration::from_secs(2 * 3600);
/// Length of one tick of traffic.
const TICK: Duration = Duration::from_millis(100);
/// Length of one tick while the past is played.
const PAST_TICK: SignedDuration = SignedDuration::from_millis(250);

/// How the world begins.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// The clock of everything in it. With one that follows tokio's timer ([`Clock::virtual_from`]) it runs in virtual time.
    pub clock: Clock,
    /// Seed of traffic and delays.
    pub seed: u64,
    /// Requests a second.
    pub rps: f64,
    /// Pods of each version.
    pub replicas: usize,
    /// How long a new pod takes to be ready.
    pub start_up: Duration,
    /// Time between two scrapes.
    pub scrape_interval: Duration,
    /// How much of the past is in Prometheus at the start.
    pub history: Duration,
    /// Shortest and longest time until a proxy has a new route.
    pub proxy_delay: (Duration, Duration),
    /// Whether the model's pods have sidecars.
    pub sidecars: bool,
    /// Users whose requests carry something.
    pub cohorts: Vec<Cohort>,
    /// What splits the requests, and what tells the versions apart.
    pub route: RouteKind,
    /// Ports of the API server and of Prometheus; 0: free ones.
    pub ports: [u16; 2],
}

impl WorldConfig {
    /// A busy little world: 300 requests a second, three pods of each version, scrapes each second, an hour of history.
    pub fn new(clock: Clock, seed: u64) -> Self {
        Self {
            clock,
            seed,
            rps: 300.0,
            replicas: 3,
            start_up: Duration::from_secs(1),
            scrape_interval: Duration::from_secs(1),
            history: Duration::from_secs(3600),
            proxy_delay: (Duration::from_millis(100), Duration::from_millis(400)),
            sidecars: true,
            cohorts: Vec::new(),
            route: RouteKind::default(),
            ports: [0, 0],
        }
    }
}

/// The world. It ends when this is dropped.
#[derive(Debug)]
pub struct World {
    clock: Clock,
    replicas: usize,
    scrape_interval: Duration,
    route: RouteKind,
    api: ApiServer,
    prometheus: Prometheus,
    alerts: AlertReceiver,
    objects: Objects,
    engine: Arc<Mutex<Engine>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Engine {
    objects: Objects,
    cluster: Cluster,
    conditions: Conditions,
    watched: Watched,
    proxy_delay: Duration,
    traffic: Traffic,
    database: Arc<Mutex<Database>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    /// Starts the world: `fraud` in version v1, with all the traffic, since before the history begins.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub async fn start(config: WorldConfig) -> io::Result<Self> {
        // kube wants a provider of cryptography even for plain http.
        crate::tls::install();
        let (clock, now) = (config.clock, config.clock.now());
        let api = ApiServer::start(clock, config.ports[0]).await?;
        let objects = api.objects();
        for object in demo_app(config.route) {
            objects.put(object);
        }
        let history = SignedDuration::try_from(config.history).unwrap_or(SignedDuration::ZERO);
        let begin = now - history;
        let mut cluster = Cluster::new(objects.clone(), NAMESPACE, APP, config.start_up, config.sidecars);
        cluster.deploy("v1", config.replicas, now, Some(begin - SignedDuration::from_secs(60)));
        let watched = Watched { namespace: NAMESPACE.into(), kind: config.route, route: APP.into(), service: APP.into() };
        let traffic_config = TrafficConfig {
            seed: config.seed,
            rps: config.rps,
            scrape_interval: config.scrape_interval,
            proxy_delay: config.proxy_delay,
            sidecars: config.sidecars,
            cohorts: config.cohorts,
            watched: watched.clone(),
        };
        let traffic = Traffic::new(traffic_config, objects.store(), begin);
        let retention = i64::try_from(RETENTION.as_millis()).unwrap_or(i64::MAX);
        let database = Arc::new(Mutex::new(Database::new(retention)));
        let mut engine = Engine {
            objects: objects.clone(),
            cluster,
            conditions: Conditions::default(),
            watched,
            proxy_delay: config.proxy_delay.1,
            traffic,
            database: Arc::clone(&database),
        };
        let mut at = begin;
        while at < now {
            at = (at + PAST_TICK).min(now);
            engine.play(at);
        }
        let engine = Arc::new(Mutex::new(engine));
        let prometheus = Prometheus::start(clock, database, config.ports[1]).await?;
        let alerts = AlertReceiver::start(clock).await?;
        let task = tokio::spawn(run(Arc::clone(&engine), clock));
        let (replicas, scrape_interval, route) = (config.replicas, config.scrape_interval, config.route);
        Ok(Self { clock, replicas, scrape_interval, route, api, prometheus, alerts, objects, engine, task })
    }

    /// The world's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The API server: its address, faults and request log.
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// The objects, behind the API's back.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Prometheus.
    pub fn prometheus(&self) -> &Prometheus {
        &self.prometheus
    }

    /// The receiver of alerts.
    pub fn alerts(&self) -> &AlertReceiver {
        &self.alerts
    }

    /// A client in the process, without sockets.
    pub fn client(&self) -> kube::Client {
        self.api.client(NAMESPACE)
    }

    /// The same for one that says in every request who it is.
    pub fn client_named(&self, agent: &str) -> kube::Client {
        self.api.client_named(NAMESPACE, agent)
    }

    /// A configuration for kube over HTTP.
    pub fn kube_config(&self) -> kube::Config {
        self.api.config(NAMESPACE)
    }

    /// A kubeconfig for a second terminal.
    pub fn kubeconfig(&self) -> String {
        self.api.kubeconfig(NAMESPACE)
    }

    /// What a controller is told: this Prometheus as `default`, this receiver as sink `default` in Slack's format.
    pub fn controller_config(&self, lag: Duration) -> Config {
        let provider = Provider {
            url: self.prometheus.url(),
            scrape_interval: Some(self.scrape_interval.into()),
            lag: Some(lag.into()),
            ..Provider::default()
        };
        let webhook =
            WebhookSink { url: self.alerts.webhook(), format: WebhookFormat::Slack, hmac_key_file: None, access: HttpAccess::default() };
        Config {
            prometheus: [("default".to_owned(), provider)].into(),
            alerts: [("default".to_owned(), Sink::Webhook(webhook))].into(),
            ..Config::default()
        }
    }

    /// Deploys a version, or a new build of it, that behaves so. Its new hash is returned.
    pub fn deploy(&self, version: &str, behaviour: Behaviour) -> String {
        let now = self.clock.now();
        let mut engine = self.lock();
        engine.traffic.set_behaviour(version, behaviour);
        engine.cluster.deploy(version, self.replicas, now, None)
    }

    /// Deploys a new build of a version that behaves as before.
    pub fn redeploy(&self, version: &str) -> String {
        let now = self.clock.now();
        self.lock().cluster.deploy(version, self.replicas, now, None)
    }

    /// Changes how many pods a version has.
    pub fn scale(&self, version: &str, replicas: usize) {
        let now = self.clock.now();
        self.lock().cluster.scale(version, replicas, now);
    }

    /// Changes how a version behaves, from now on.
    pub fn behave(&self, version: &str, behaviour: Behaviour) {
        self.lock().traffic.set_behaviour(version, behaviour);
    }

    /// The containers of a version crash: not ready for so long, counters at zero.
    pub fn crash(&self, version: &str, down: Duration) {
        let now = self.clock.now();
        let mut engine = self.lock();
        for pod in engine.cluster.crash(version, down, now) {
            engine.traffic.reset_pod(&pod);
        }
    }

    /// Lets no pod of a version be ready, or again every one.
    pub fn set_healthy(&self, version: &str, healthy: bool) {
        let now = self.clock.now();
        self.lock().cluster.set_healthy(version, healthy, now);
    }

    /// Lets requests to a version whose pods are ready not reach them, or again.
    pub fn lose(&self, version: &str, lost: Option<Lost>) {
        self.lock().traffic.set_lost(&self.route.arm(APP, version), lost);
    }

    /// Lets the gateways refuse every HTTPRoute and GRPCRoute from now on, for this reason and in these words, or take them again.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        let mut engine = self.lock();
        engine.traffic.set_refused(refusal.is_some());
        engine.conditions.set_refusal(refusal);
    }

    /// So many requests a second to the Service fail before they reach a pod, whatever the canary does.
    pub fn set_stray(&self, rps: f64) {
        self.lock().traffic.set_stray(rps);
    }

    /// Changes the traffic, in requests a second.
    pub fn set_rps(&self, rps: f64) {
        self.lock().traffic.set_rps(rps);
    }

    /// Whether Prometheus scrapes.
    pub fn set_scraping(&self, on: bool) {
        self.lock().traffic.set_scraping(on);
    }

    /// Whether the pods of a version can be scraped.
    pub fn set_reachable(&self, version: &str, on: bool) {
        let mut engine = self.lock();
        for pod in engine.cluster.pods(version) {
            let name = pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
            engine.traffic.set_reachable(name, on);
        }
    }

    /// What each version has served since the begin of history, by its label; `""` is what found no pod.
    pub fn served(&self) -> BTreeMap<String, Served> {
        self.lock().traffic.served()
    }

    /// Weights of the managed route or rule by version, as they stand in the route.
    pub fn weights(&self) -> BTreeMap<String, i64> {
        self.route.weights(APP, &self.route())
    }

    /// The route, of whatever kind it is.
    pub fn route(&self) -> Value {
        let found = self.objects.get(&self.route.resource(), NAMESPACE, APP);
        found.map(|route| Value::clone(&route)).unwrap_or_default()
    }

    /// The route, where it is a VirtualService.
    pub fn virtual_service(&self) -> Value {
        self.route()
    }

    /// Creates the Rollout `fraud` through the API, or replaces its spec.
    ///
    /// # Errors
    /// What the API server refuses.
    pub async fn apply(&self, rollout: &Rollout) -> Result<Rollout, kube::Error> {
        let api: kube::Api<Rollout> = kube::Api::default_namespaced(self.client());
        let name = rollout.metadata.name.as_deref().unwrap_or(APP);
        let params = kube::api::PatchParams { field_manager: Some("demo".into()), ..Default::default() };
        match api.get_opt(name).await? {
            None => api.create(&kube::api::PostParams { field_manager: Some("demo".into()), ..Default::default() }, rollout).await,
            Some(_) => api.patch(name, &params, &kube::api::Patch::Merge(json!({"spec": rollout.spec}))).await,
        }
    }

    /// The Rollout `fraud`, if it is there.
    pub fn rollout(&self) -> Option<Rollout> {
        let found = self.objects.get("rollouts.haldane.dev", NAMESPACE, APP)?;
        serde_json::from_value(Value::clone(&found)).ok()
    }

    /// Status of the Rollout `fraud`; empty while there is none.
    pub fn status(&self) -> RolloutStatus {
        self.rollout().and_then(|r| r.status).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    fn play(&mut self, now: Timestamp) {
        self.conditions.sync(&self.objects, &self.watched, self.proxy_delay, now);
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        self.traffic.advance(self.objects.store(), &mut database, now);
    }
}

async fn run(engine: Arc<Mutex<Engine>>, clock: Clock) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let now = clock.now();
        let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.cluster.sync(now);
        engine.play(now);
    }
}

/// Namespaces, and what routes the demo app.
fn demo_app(route: RouteKind) -> Vec<Value> {
    let namespace =
        |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": "Active"}});
    let namespaces = ["default", NAMESPACE, "haldane-system"].map(namespace);
    namespaces.into_iter().chain(route.objects(APP, NAMESPACE)).collect()
}
