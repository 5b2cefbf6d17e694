//! Open-loop traffic, counted as Istio's sidecars and the model itself count it. Nothing is done per request: each tick draws how many
//! requests came and what became of them.

pub mod behaviour;
pub mod counters;
mod labels;
pub mod load;
mod lost;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, Poisson};
use serde_json::Value;

pub use behaviour::{Behaviour, multinomial};
use counters::Target;
pub use counters::Tokens;
use labels::{Called, Protocol};
pub use lost::Lost;

use super::{
    mesh::{
        ControlPlane, Proxy, Watched,
        routes::{Cohort, HttpRoute, Request},
    },
    prometheus::series::Database,
    store::Store,
};

/// Index of the gateway among the proxies.
const GATEWAY: usize = 0;
/// Seconds over which a pod's load is an average.
const REMEMBERED: f64 = 5.0;
/// What a Service's name in full ends with.
const DOMAIN: &str = "svc.cluster.local";

/// What never changes while the world runs.
#[derive(Clone, Debug)]
pub struct TrafficConfig {
    /// Seed of everything drawn.
    pub seed: u64,
    /// Requests a second, all clients together.
    pub rps: f64,
    /// Time between two scrapes of a target.
    pub scrape_interval: Duration,
    /// Shortest and longest time until a proxy has a new route.
    pub proxy_delay: (Duration, Duration),
    /// Whether the model's pods have sidecars, which count at `reporter="destination"`.
    pub sidecars: bool,
    /// Users whose requests carry something; all others carry nothing.
    pub cohorts: Vec<Cohort>,
    /// What is watched.
    pub watched: Watched,
}

/// Clients, pods and their counters.
#[derive(Debug)]
pub struct Traffic {
    config: TrafficConfig,
    rng: SmallRng,
    control: ControlPlane,
    proxies: Vec<Proxy>,
    gateways: Vec<Target>,
    pods: BTreeMap<String, PodCounters>,
    behaviours: BTreeMap<String, Arc<Behaviour>>,
    lost: BTreeMap<String, Lost>,
    stray: f64,
    refused: bool,
    /// Revision of the store at which the pods were read.
    discovered: u64,
    scraping: bool,
    last: Timestamp,
    served: BTreeMap<String, Served>,
}

/// What a version has done since the world began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests of users.
    pub requests: u64,
    /// Copies of requests, whose answers no user saw.
    pub mirrored: u64,
    /// 5xx among the requests of users.
    pub errors: u64,
    /// Requests by latency bucket ([`counters::LATENCY_BOUNDS`], then above all).
    pub latency: Vec<u64>,
    /// Predictions by class.
    pub classes: BTreeMap<String, u64>,
}

impl Served {
    /// What was done since an earlier time.
    pub fn since(&self, before: &Served) -> Served {
        let was = |index: usize| before.latency.get(index).copied().unwrap_or(0);
        let class = |name: &String| before.classes.get(name).copied().unwrap_or(0);
        Served {
            requests: self.requests.saturating_sub(before.requests),
            mirrored: self.mirrored.saturating_sub(before.mirrored),
            errors: self.errors.saturating_sub(before.errors),
            latency: self.latency.iter().enumerate().map(|(index, n)| n.saturating_sub(was(index))).collect(),
            classes: self.classes.iter().map(|(name, n)| (name.clone(), n.saturating_sub(class(name)))).collect(),
        }
    }

    /// A quantile of the latency in milliseconds, linear within its bucket; `None` without requests.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.latency.iter().sum();
        let (mut below, mut low, rank) = (0.0, 0.0, q * total as f64);
        for (count, high) in self.latency.iter().zip(counters::LATENCY_BOUNDS) {
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(low + (high - low) * (rank - below) / count);
            }
            (below, low) = (below + count, high);
        }
        None
    }

    fn add(&mut self, count: u64, errors: u64) {
        self.requests += count;
        self.errors += errors;
    }

    fn add_latency(&mut self, buckets: &[u64]) {
        self.latency.resize(buckets.len().max(self.latency.len()), 0);
        self.latency.iter_mut().zip(buckets).for_each(|(all, more)| *all += more);
    }
}

#[derive(Debug)]
struct PodCounters {
    identity: PodIdentity,
    sidecar: Target,
    model: Target,
    load: PodLoad,
}

/// What a pod gets.
#[derive(Debug, Default)]
struct PodLoad {
    /// Requests since the tick before.
    taken: u64,
    /// Requests a second in the last seconds.
    rps: f64,
}

impl PodLoad {
    /// So many seconds have gone by.
    fn tick(&mut self, seconds: f64) {
        let now = std::mem::take(&mut self.taken) as f64 / seconds;
        self.rps += (now - self.rps) * (1.0 - (-seconds / REMEMBERED).exp());
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PodIdentity {
    uid: String,
    ip: String,
    version: String,
    workload: String,
}

impl Traffic {
    /// Traffic that begins at a time, over the route in the store.
    pub fn new(mut config: TrafficConfig, store: &Store, start: Timestamp) -> Self {
        for cohort in &mut config.cohorts {
            cohort.request = config.watched.kind.request(&cohort.request);
        }
        let mut control = ControlPlane::default();
        control.refresh(store, &config.watched);
        let [gateway, mesh] = control.routes.clone();
        let gateway = Proxy::new("istio-ingressgateway", "istio-system", "10.0.0.2", 0.7, gateway);
        let proxies = vec![gateway, Proxy::new("web", "shop", "10.0.0.3", 0.3, mesh)];
        let mut rng = SmallRng::seed_from_u64(config.seed);
        let gateways = proxies.iter().map(|p| Target::proxy(&p.pod, &p.namespace, &p.ip, phase(&mut rng, &config, start))).collect();
        Self {
            config,
            rng,
            control,
            proxies,
            gateways,
            pods: BTreeMap::new(),
            behaviours: BTreeMap::new(),
            lost: BTreeMap::new(),
            stray: 0.0,
            refused: false,
            discovered: 0,
            scraping: true,
            last: start,
            served: BTreeMap::new(),
        }
    }

    /// How a version (label `version` of its pods) behaves from now on.
    pub fn set_behaviour(&mut self, version: &str, behaviour: Behaviour) {
        self.behaviours.insert(version.to_owned(), Arc::new(behaviour));
    }

    /// Requests a second from now on.
    pub fn set_rps(&mut self, rps: f64) {
        self.config.rps = rps;
    }

    /// Whether the gateway refuses routes: it stays with the one it has.
    pub fn set_refused(&mut self, refused: bool) {
        self.refused = refused;
    }

    /// Whether targets are scraped.
    pub fn set_scraping(&mut self, on: bool) {
        self.scraping = on;
    }

    /// A pod's processes start again: its counters begin at zero, as after a crash of its container.
    pub fn reset_pod(&mut self, pod: &str) {
        if let Some(counters) = self.pods.get_mut(pod) {
            counters.sidecar.reset();
            counters.model.reset();
        }
    }

    /// Whether a pod can be scraped.
    pub fn set_reachable(&mut self, pod: &str, on: bool) {
        if let Some(counters) = self.pods.get_mut(pod) {
            counters.sidecar.reachable = on;
            counters.model.reachable = on;
        }
    }

    /// What each version has served, by its label; `""` is what found no pod.
    pub fn served(&self) -> BTreeMap<String, Served> {
        self.served.clone()
    }

    /// Plays the time up to `now` and scrapes what is due.
    pub fn advance(&mut self, store: &Store, database: &mut Database, now: Timestamp) {
        let seconds = (now.as_millisecond() - self.last.as_millisecond()) as f64 / 1000.0;
        if seconds <= 0.0 {
            return;
        }
        self.control.refresh(store, &self.config.watched);
        for (index, (proxy, newest)) in self.proxies.iter_mut().zip(&self.control.routes).enumerate() {
            if *proxy.newest() != **newest && !(self.refused && index == GATEWAY) {
                proxy.push(Arc::clone(newest), self.last, self.config.proxy_delay, &mut self.rng);
            }
        }
        self.discover(store, database, now);
        for index in 0..self.proxies.len() {
            self.requests(index, seconds, now);
        }
        self.strays(seconds);
        self.last = now;
        for counters in self.pods.values_mut() {
            counters.load.tick(seconds);
            counters.model.tick(self.behaviours.get(&counters.identity.version).map(Arc::as_ref));
        }
        self.scrape(database, now);
    }

    fn requests(&mut self, index: usize, seconds: f64, now: Timestamp) {
        let Some(proxy) = self.proxies.get_mut(index) else { return };
        let count = poisson(&mut self.rng, self.config.rps * proxy.share * seconds);
        let routes = proxy.route(now);
        if count == 0 {
            return;
        }
        let cohorts = self.config.cohorts.clone();
        let plain = 1.0 - cohorts.iter().map(|cohort| cohort.share).sum::<f64>();
        let shares: Vec<f64> = std::iter::once(plain).chain(cohorts.iter().map(|cohort| cohort.share)).collect();
        let split = if cohorts.is_empty() { vec![count] } else { multinomial(&mut self.rng, count, &shares) };
        let nothing = self.config.watched.kind.request(&Request::default());
        for (request, count) in std::iter::once(&nothing).chain(cohorts.iter().map(|cohort| &cohort.request)).zip(split) {
            if let Some(route) = routes.takes(request).filter(|_| count > 0) {
                self.take(index, route, count);
            }
        }
    }

    /// So many requests on one route: to its destinations by weight, and copies to its mirrors.
    fn take(&mut self, index: usize, route: &HttpRoute, count: u64) {
        if route.destinations.is_empty() {
            return self.refuse(index, count);
        }
        let total: u64 = route.destinations.iter().map(|(_, _, weight)| weight).sum();
        let shares: Vec<f64> = route.destinations.iter().map(|(_, _, weight)| *weight as f64 / total.max(1) as f64).collect();
        let split = multinomial(&mut self.rng, count, &shares);
        for ((host, subset, _), count) in route.destinations.iter().zip(split) {
            if count > 0 {
                self.send(index, host, subset, count, false);
            }
        }
        for (host, subset, share) in &route.mirrors {
            let copies =
                if *share >= 1.0 { count } else { multinomial(&mut self.rng, count, &[*share, 1.0 - share]).first().copied().unwrap_or(0) };
            if copies > 0 {
                self.send(index, host, subset, copies, true);
            }
        }
    }

    /// A copy is counted by the pod's own sidecar and by the model alone: the sender does not wait for it, and never counts it.
    fn send(&mut self, index: usize, host: &str, subset: &str, count: u64, copy: bool) {
        if !copy && self.lose(index, host, subset, count) {
            return;
        }
        let backends: Vec<String> = self.control.backends(host, subset).into_iter().map(|b| b.pod.clone()).collect();
        let (service, protocol) = (self.full(host), self.protocol());
        let (Some(proxy), Some(gateway)) = (self.proxies.get(index), self.gateways.get_mut(index)) else { return };
        let source = proxy.workload.clone();
        if backends.is_empty() {
            return;
        }
        let even = vec![1.0 / backends.len() as f64; backends.len()];
        for (pod, count) in backends.iter().zip(multinomial(&mut self.rng, count, &even)) {
            let Some(counters) = self.pods.get_mut(pod).filter(|_| count > 0) else { continue };
            let behaviour = self.behaviours.get(&counters.identity.version).cloned().unwrap_or_default();
            let errors = behaviour.errors(&mut self.rng, count);
            counters.load.taken += count;
            let served = self.served.entry(counters.identity.version.clone()).or_default();
            if copy {
                served.mirrored += count
            } else {
                served.add(count, errors)
            }
            let namespace = self.config.watched.namespace.as_str();
            for (code, count) in [(200_u16, count - errors), (500, errors)] {
                if count == 0 {
                    continue;
                }
                let (buckets, sum) = behaviour.latencies(&mut self.rng, count, counters.load.rps);
                if !copy {
                    served.add_latency(&buckets);
                }
                let (workload, version) = (counters.identity.workload.clone(), counters.identity.version.clone());
                let labels = |reporter: &str, service: &str| {
                    let by = [workload.as_str(), namespace, version.as_str()];
                    Called { reporter, source: &source, by, service, protocol, code, flags: "-" }.labels()
                };
                let key = |service: &str| (workload.clone(), source.clone(), code, service.to_owned());
                if self.config.sidecars {
                    let own =
                        self.control.first_service(pod).map_or_else(|| service.clone(), |name| format!("{name}.{namespace}.{DOMAIN}"));
                    counters.sidecar.http(key(&own), || labels("destination", &own)).record(count, &buckets, sum);
                }
                if !copy {
                    gateway.http(key(&service), || labels("source", &service)).record(count, &buckets, sum);
                }
            }
            for (class, count) in counters.model.predictions(&behaviour, &mut self.rng, count - errors) {
                if !copy {
                    *served.classes.entry(class).or_default() += count;
                }
            }
        }
    }

    /// Follows the pods in the store: new ones get targets, gone ones go stale.
    fn discover(&mut self, store: &Store, database: &mut Database, now: Timestamp) {
        let revision = store.read(|t| t.newest(&["pods"]));
        if std::mem::replace(&mut self.discovered, revision) == revision {
            return;
        }
        let namespace = self.config.watched.namespace.clone();
        let app = self.config.watched.service.as_str();
        let pods = store.read(|t| t.list_of_app("pods", &namespace, app));
        let found: BTreeMap<String, PodIdentity> = pods.iter().filter_map(|p| identity(p)).collect();
        let gone: Vec<String> =
            self.pods.iter().filter(|(name, c)| found.get(*name) != Some(&c.identity)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            if let Some(mut counters) = self.pods.remove(&name) {
                counters.sidecar.end(database, now);
                counters.model.end(database, now);
            }
        }
        for (name, identity) in found {
            if self.pods.contains_key(&name) {
                continue;
            }
            let sidecar = Target::proxy(&name, &namespace, &identity.ip, phase(&mut self.rng, &self.config, self.last));
            let model = Target::model(&name, &namespace, &identity.ip, phase(&mut self.rng, &self.config, self.last));
            self.pods.insert(name, PodCounters { identity, sidecar, model, load: PodLoad::default() });
        }
    }

    fn scrape(&mut self, database: &mut Database, now: Timestamp) {
        let interval = self.config.scrape_interval;
        let sidecars = self.config.sidecars;
        let pods = self.pods.values_mut().flat_map(|c| {
            let sidecar = if sidecars { Some(&mut c.sidecar) } else { None };
            sidecar.into_iter().chain([&mut c.model])
        });
        for target in self.gateways.iter_mut().chain(pods) {
            target.scrape(database, now, interval, self.scraping);
        }
    }
}

/// The first scrape of a target: its own moment within the interval.
fn phase(rng: &mut SmallRng, config: &TrafficConfig, now: Timestamp) -> Timestamp {
    now + SignedDuration::from_millis((rng.random::<f64>() * config.scrape_interval.as_secs_f64() * 1000.0) as i64)
}

fn poisson(rng: &mut SmallRng, mean: f64) -> u64 {
    Poisson::new(mean).map_or(0, |p| p.sample(rng) as u64)
}

fn identity(pod: &Value) -> Option<(String, PodIdentity)> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let owner = text("/metadata/ownerReferences/0/name")?;
    let workload = owner.rsplit_once('-').map_or(owner.as_str(), |(workload, _)| workload).to_owned();
    let (ip, uid) = (text("/status/podIP")?, text("/metadata/uid")?);
    Some((text("/metadata/name")?, PodIdentity { uid, ip, version: text("/metadata/labels/version").unwrap_or_default(), workload }))
}
