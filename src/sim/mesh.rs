//! The mesh: proxies that learn of a VirtualService a little later than it was written, each with its own delay, and pick a route by its
//! match and pods by weight and subset as Istio does.

pub mod routes;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use serde_json::Value;

use super::store::{Key, Store};
use routes::Routes;

/// A pod that can serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Name of the pod.
    pub pod: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

/// What the control plane knows: the newest route, the subsets, the ready pods.
#[derive(Clone, Debug, Default)]
pub struct ControlPlane {
    seen: u64,
    version: String,
    /// Newest routes.
    pub route: Arc<Routes>,
    subsets: Vec<(String, Vec<(String, String)>)>,
    ready: Vec<Backend>,
}

/// Names of what is watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Namespace of all of it.
    pub namespace: String,
    /// Name of the VirtualService.
    pub virtual_service: String,
    /// Name of the DestinationRule.
    pub destination_rule: String,
    /// Name of the Service.
    pub service: String,
}

impl ControlPlane {
    /// Reads the store again if it changed. True when the route is a new one.
    pub fn refresh(&mut self, store: &Store, watched: &Watched) -> bool {
        let key = |table, name: &str| Key { table, namespace: watched.namespace.clone(), name: name.to_owned() };
        let found = store.read(|t| {
            (t.revision() != self.seen).then(|| {
                let route = t.get(&key("virtualservices", &watched.virtual_service));
                let rule = t.get(&key("destinationrules", &watched.destination_rule));
                let slices = t.list("endpointslices", Some(&watched.namespace));
                let pods = t.list("pods", Some(&watched.namespace));
                (t.revision(), route, rule, slices, pods)
            })
        });
        let Some((revision, route, rule, slices, pods)) = found else { return false };
        self.seen = revision;
        self.subsets = rule.as_deref().map(subsets).unwrap_or_default();
        let ready: Vec<String> = slices.iter().filter(|s| of_service(s, &watched.service)).flat_map(|s| ready_pods(s)).collect();
        self.ready = pods
            .iter()
            .filter_map(|p| Some((text(p, "/metadata/name")?, p)))
            .filter(|(name, _)| ready.contains(name))
            .map(|(pod, object)| Backend { pod, labels: labels(object.pointer("/metadata/labels")) })
            .collect();
        let version = route.as_deref().and_then(|r| text(r, "/metadata/resourceVersion")).unwrap_or_default();
        if version == self.version {
            return false;
        }
        self.version = version;
        let route = Arc::new(route.as_deref().map(Routes::of).unwrap_or_default());
        let new = *route != *self.route;
        self.route = route;
        new
    }

    /// Whether the DestinationRule has the subset.
    pub fn has_subset(&self, subset: &str) -> bool {
        self.subsets.iter().any(|(name, _)| name == subset)
    }

    /// Ready pods of a subset.
    pub fn backends(&self, subset: &str) -> Vec<&Backend> {
        let Some((_, wanted)) = self.subsets.iter().find(|(name, _)| name == subset) else { return Vec::new() };
        self.ready.iter().filter(|b| wanted.iter().all(|label| b.labels.contains(label))).collect()
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

fn subsets(rule: &Value) -> Vec<(String, Vec<(String, String)>)> {
    let list = rule.pointer("/spec/subsets").and_then(Value::as_array);
    list.into_iter().flatten().map(|s| (text(s, "/name").unwrap_or_default(), labels(s.get("labels")))).collect()
}

fn labels(map: Option<&Value>) -> Vec<(String, String)> {
    let map = map.and_then(Value::as_object).into_iter().flatten();
    map.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn of_service(slice: &Value, service: &str) -> bool {
    text(slice, "/metadata/labels/kubernetes.io~1service-name").as_deref() == Some(service)
}

fn ready_pods(slice: &Value) -> Vec<String> {
    let endpoints = slice.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    let ready = endpoints.filter(|e| e.pointer("/conditions/ready").and_then(Value::as_bool).unwrap_or(true));
    ready.filter_map(|e| text(e, "/targetRef/name")).collect()
}

pub(super) fn text(object: &Value, pointer: &str) -> Option<String> {
    object.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::{routes::HttpRoute, *};

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
