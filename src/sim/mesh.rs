//! The mesh: proxies that learn of a route a little later than it was written, each with its own delay, and pick a route by its match and
//! pods by weight and by subset or Service as Istio does.

pub mod conditions;
pub mod routes;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use serde::Deserialize;
use serde_json::Value;

use super::{
    route_kind::{RouteKind, service},
    store::{Key, Store},
};
use crate::observe::{
    kept::Rule,
    mesh::{self, Declared},
};
use routes::Routes;

/// A pod that can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Name of the pod.
    pub pod: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

/// What the control plane knows: the newest route, the rules, the ready pods.
#[derive(Clone, Debug, Default)]
pub struct ControlPlane {
    seen: u64,
    version: String,
    /// Newest routes of the gateway and of the mesh's clients.
    pub routes: [Arc<Routes>; 2],
    namespace: String,
    rules: Vec<(Arc<Value>, Arc<Rule>)>,
    services: BTreeSet<String>,
    /// Service and pod.
    ready: Vec<(String, Backend)>,
}

/// Names of what is watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Namespace of all of it.
    pub namespace: String,
    /// Kind of the route.
    pub kind: RouteKind,
    /// Its name.
    pub route: String,
    /// Name of the Service that clients call.
    pub service: String,
}

impl ControlPlane {
    /// Reads the store again if it changed.
    pub fn refresh(&mut self, store: &Store, watched: &Watched) {
        let key = |table, name: &str| Key { table, namespace: watched.namespace.clone(), name: name.to_owned() };
        let found = store.read(|t| {
            let newest = t.newest(&[watched.kind.plural(), "destinationrules", "services", "endpointslices", "pods"]);
            (newest != self.seen).then(|| {
                let route = t.get(&key(watched.kind.plural(), &watched.route));
                let rules = t.list("destinationrules", Some(&watched.namespace));
                let services = t.list("services", Some(&watched.namespace));
                let slices = t.list("endpointslices", Some(&watched.namespace));
                let pods = t.list("pods", Some(&watched.namespace));
                (newest, route, rules, services, slices, pods)
            })
        });
        let Some((revision, route, rules, services, slices, pods)) = found else { return };
        self.seen = revision;
        self.namespace.clone_from(&watched.namespace);
        let same = |(old, new): (&(Arc<Value>, Arc<Rule>), &Arc<Value>)| Arc::ptr_eq(&old.0, new);
        if self.rules.len() != rules.len() || !self.rules.iter().zip(&rules).all(same) {
            let read = |rule: Arc<Value>| Some((Arc::new(Rule::deserialize(rule.as_ref()).ok()?), rule));
            self.rules = rules.into_iter().filter_map(read).map(|(read, rule)| (rule, read)).collect();
        }
        self.services = services.iter().filter_map(|service| text(service, "/metadata/name")).collect();
        let mut ready: HashMap<String, Vec<String>> = HashMap::new();
        for (slice, pod) in slices.iter().flat_map(|slice| ready_pods(slice).into_iter().map(move |pod| (slice, pod))) {
            ready.entry(pod).or_default().push(owner(slice));
        }
        self.ready = Vec::new();
        for object in &pods {
            let Some(pod) = text(object, "/metadata/name") else { continue };
            for service in ready.get(&pod).into_iter().flatten() {
                let backend = Backend { pod: pod.clone(), labels: labels(object.pointer("/metadata/labels")) };
                self.ready.push((service.clone(), backend));
            }
        }
        let version = route.as_deref().and_then(|r| text(r, "/metadata/resourceVersion")).unwrap_or_default();
        if version != self.version {
            self.version = version;
            self.routes = route.as_deref().map(|route| Routes::by_proxy(watched, route)).unwrap_or_default();
        }
    }

    /// Whether the proxies know a subset of a host; where none is named, whether they know the host.
    pub fn knows(&self, host: &str, subset: &str) -> bool {
        service(host, &self.namespace).is_some_and(|service| self.services.contains(service))
            && (subset.is_empty() || self.labels(host, subset).is_some())
    }

    /// The Service that a pod's own proxy names: of those that have the pod the first by name, whichever was called.
    pub fn first_service(&self, pod: &str) -> Option<&str> {
        self.ready.iter().filter(|(_, backend)| backend.pod == pod).map(|(service, _)| service.as_str()).min()
    }

    /// Labels of a subset, by the rules that speak for its host.
    fn labels(&self, host: &str, subset: &str) -> Option<Vec<(String, String)>> {
        let rules: Vec<Arc<Rule>> = self.rules.iter().map(|(_, rule)| Arc::clone(rule)).collect();
        match mesh::declared(&rules, &self.namespace, host, subset) {
            Declared::As(labels) => Some(labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()),
            Declared::Not(_) => None,
        }
    }

    /// Ready pods of a host's subset; of all subsets where none is named.
    pub fn backends(&self, host: &str, subset: &str) -> Vec<&Backend> {
        let Some(service) = service(host, &self.namespace) else { return Vec::new() };
        let labels = if subset.is_empty() { Some(Vec::new()) } else { self.labels(host, subset) };
        let Some(wanted) = labels else { return Vec::new() };
        let here = self.ready.iter().filter(|(there, _)| *there == service).map(|(_, backend)| backend);
        here.filter(|backend| wanted.iter().all(|label| backend.labels.contains(label))).collect()
    }
}

/// A client's proxy, or a gateway.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Workload that sends: `source_workload`.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Address of its pod.
    pub ip: String,
    /// Its share of all requests.
    pub share: f64,
    current: Arc<Routes>,
    coming: VecDeque<(Timestamp, Arc<Routes>)>,
}

impl Proxy {
    /// A proxy that already has this route.
    pub fn new(workload: &str, namespace: &str, ip: &str, share: f64, route: Arc<Routes>) -> Self {
        let pod = format!("{workload}-7d9c5b6f4-x2k8q");
        let (workload, namespace, ip) = (workload.to_owned(), namespace.to_owned(), ip.to_owned());
        Self { workload, namespace, pod, ip, share, current: route, coming: VecDeque::new() }
    }

    /// A new route was written: this proxy gets it a delay later, and never before one that came earlier.
    pub fn push(&mut self, route: Arc<Routes>, now: Timestamp, delay: (Duration, Duration), rng: &mut impl Rng) {
        let (low, high) = (delay.0.as_secs_f64(), delay.1.as_secs_f64());
        let wait = low + rng.random::<f64>() * (high - low).max(0.0);
        let at = now + SignedDuration::from_millis((wait * 1000.0) as i64);
        let at = self.coming.back().map_or(at, |(last, _)| at.max(*last));
        self.coming.push_back((at, route));
    }

    /// The newest route that it has or will have.
    pub fn newest(&self) -> &Routes {
        self.coming.back().map_or(&self.current, |(_, route)| route)
    }

    /// The route it uses at a time.
    pub fn route(&mut self, now: Timestamp) -> Arc<Routes> {
        while self.coming.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, route)) = self.coming.pop_front() {
                self.current = route;
            }
        }
        Arc::clone(&self.current)
    }
}

fn labels(map: Option<&Value>) -> Vec<(String, String)> {
    let map = map.and_then(Value::as_object).into_iter().flatten();
    map.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn owner(slice: &Value) -> String {
    text(slice, "/metadata/labels/kubernetes.io~1service-name").unwrap_or_default()
}

fn ready_pods(slice: &Value) -> Vec<String> {
    let endpoints = slice.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    let ready = endpoints.filter(|e| e.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true));
    ready.filter_map(|e| text(e, "/targetRef/name")).collect()
}

fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use serde_json::json;

    use super::{routes::HttpRoute, *};

    #[test]
    fn a_proxy_has_the_subsets_of_the_rules_that_speak_for_the_host_and_no_others() {
        let rule = |name: &str, host: &str| {
            let subset = json!({"name": name, "labels": {"version": name}});
            let rule = json!({"metadata": {"name": name, "namespace": "ml"}, "spec": {"host": host, "subsets": [subset]}});
            (Arc::new(rule.clone()), Arc::new(Rule::deserialize(&rule).unwrap()))
        };
        let pod = |version: &str| {
            let labels = vec![("version".to_owned(), version.to_owned())];
            ("fraud".to_owned(), Backend { pod: version.to_owned(), labels })
        };
        let rules = vec![rule("v1", "fraud.ml.svc.cluster.local"), rule("v2", "fraud.ml")];
        let plane = ControlPlane { namespace: "ml".into(), rules, ready: vec![pod("v1"), pod("v2")], ..ControlPlane::default() };
        let found = |host: &str, subset: &str| plane.backends(host, subset).into_iter().map(|b| b.pod.clone()).collect::<Vec<_>>();
        assert_eq!(found("fraud", "v1"), ["v1"]);
        assert!(found("fraud", "v2").is_empty(), "fraud.ml is no Service");
        assert_eq!(found("fraud.ml.svc.cluster.local", ""), ["v1", "v2"], "without a subset every pod is meant");
        assert!(found("fraud.ml", "v1").is_empty() && found("other", "v1").is_empty());
    }

    #[test]
    fn routes_arrive_late_and_in_order() {
        let mut rng = SmallRng::seed_from_u64(1);
        let start = Timestamp::UNIX_EPOCH;
        let to = |w| HttpRoute { destinations: vec![("a".into(), "v1".into(), w)], ..HttpRoute::default() };
        let route = |w| Arc::new(Routes { list: vec![to(w)] });
        let mut proxy = Proxy::new("web", "shop", "10.0.0.9", 1.0, route(1));
        let delay = (Duration::from_millis(100), Duration::from_millis(400));
        proxy.push(route(2), start, delay, &mut rng);
        proxy.push(route(3), start + SignedDuration::from_millis(10), delay, &mut rng);
        let at = |proxy: &mut Proxy, ms| proxy.route(start + SignedDuration::from_millis(ms)).list[0].destinations[0].2;
        assert_eq!(at(&mut proxy, 99), 1);
        let seen: Vec<u64> = (100..420).map(|ms| at(&mut proxy, ms)).collect();
        assert!(seen.is_sorted());
        assert_eq!(seen.last(), Some(&3));
    }
}
