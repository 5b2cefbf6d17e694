//! Several objects for one host. Of VirtualServices a sidecar takes the oldest of them and leaves out the others; a gateway joins their routes, and of two
//! that take every request it leaves out the younger one.

use serde_json::Value;

use super::{at, find::View};
use crate::gateway_api::{self, name::parents, split::backends};
use crate::istio::{
    answer::{About, answering},
    name::{Host, MESH},
    reach, split,
};

/// Kinds of objects with routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    VirtualService,
    HttpRoute,
    GrpcRoute,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::VirtualService => "VirtualService",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
        }
    }

    fn is_rules(self) -> bool {
        self != Self::VirtualService
    }
}

/// An object with routes, as far as it matters to others which requests meet it and where they go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Of which kind it is.
    kind: Kind,
    namespace: String,
    name: String,
    /// As Istio compares them: oldest first.
    created: String,
    /// As written.
    hosts: Vec<String>,
    /// Where it has a route: names with their namespaces, and `mesh`.
    gateways: Vec<String>,
    /// Namespaces whose proxies see it; none: all.
    export_to: Vec<String>,
    takes_all: bool,
    /// Of an HTTPRoute or GRPCRoute: its parents, each with the listener that it names.
    parents: Vec<(String, Option<String>)>,
    /// Of an HTTPRoute or GRPCRoute: for which hosts; none: for all of the parent's.
    hostnames: Vec<String>,
    /// Of an HTTPRoute or GRPCRoute: what its rules ask for.
    asked: Vec<String>,
    /// Host, as written, and subset of what gets a share.
    leads: Vec<(String, Option<String>)>,
}

impl Serving {
    /// That of an object.
    pub fn of(object: &Value) -> Self {
        if at(object, "/spec/rules").is_array() { Self::of_rules(object) } else { Self::of_http(object) }
    }

    /// That of an HTTPRoute or GRPCRoute. In the mesh it is for the Services in its `parentRefs`; at a gateway it meets no VirtualService.
    fn of_rules(object: &Value) -> Self {
        let namespace = gateway_api::namespace(object);
        let services: Vec<String> = parents(object).filter_map(|parent| Some(parent.service()?.to_string())).collect();
        let mut leads: Vec<(String, Option<String>)> = Vec::new();
        for to in gateway_api::rules(object).iter().flat_map(|rule| backends(rule, namespace)).filter(|to| to.weight > 0) {
            let pair = to.to.service().map(|host| (host.to_string(), None));
            leads.extend(pair.filter(|pair| !leads.contains(pair)));
        }
        let text = |field: &str| at(object, &format!("/metadata/{field}")).as_str().unwrap_or_default().to_owned();
        let parents = parents(object).map(|parent| (parent.to_string(), parent.section.map(str::to_owned)));
        let hostnames = at(object, "/spec/hostnames").as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let asked = gateway_api::rules(object).iter().filter(|rule| !rule["backendRefs"].is_null()).flat_map(asked);
        let methods = |rule: &Value| rule["matches"].as_array().into_iter().flatten().any(|one| one["method"].is_object());
        let grpc = object["kind"] == "GRPCRoute" || gateway_api::rules(object).iter().any(methods);
        Self {
            kind: if grpc { Kind::GrpcRoute } else { Kind::HttpRoute },
            parents: parents.collect(),
            hostnames: hostnames.collect(),
            asked: asked.collect(),
            gateways: if services.is_empty() { Vec::new() } else { vec![MESH.to_owned()] },
            hosts: services,
            export_to: Vec::new(),
            takes_all: false,
            name: text("name"),
            created: text("creationTimestamp"),
            leads,
            namespace: namespace.to_owned(),
        }
    }

    fn of_http(virtual_service: &Value) -> Self {
        let text = |field: &str| at(virtual_service, &format!("/metadata/{field}")).as_str().unwrap_or_default().to_owned();
        let (namespace, spec) = (text("namespace"), &virtual_service["spec"]);
        let list = |field: &str| spec[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        let routes = ["http", "tcp", "tls"].into_iter().flat_map(|kind| spec[kind].as_array().into_iter().flatten());
        let mut leads: Vec<(String, Option<String>)> = Vec::new();
        for to in routes.flat_map(split::destinations).filter(|to| to.weight > 0) {
            let pair = (to.host.to_owned(), to.subset.map(str::to_owned));
            if !leads.contains(&pair) {
                leads.push(pair);
            }
        }
        Self {
            kind: Kind::VirtualService,
            parents: Vec::new(),
            hostnames: Vec::new(),
            asked: Vec::new(),
            hosts: list("hosts").map(str::to_owned).collect(),
            gateways: reach::gateways(spec, &namespace).into_iter().filter(|gateway| reach::serves(spec, &namespace, gateway)).collect(),
            export_to: list("exportTo").map(str::to_owned).collect(),
            takes_all: spec["http"].as_array().is_some_and(|routes| routes.iter().any(reach::takes_all)),
            name: text("name"),
            created: text("creationTimestamp"),
            leads,
            namespace,
        }
    }

    /// What others may have in common with it: the hosts that it is for, those that it leads to, and its parents.
    pub fn topics(&self) -> Vec<String> {
        let hosts = self.hosts.iter().chain(self.leads.iter().map(|(host, _)| host));
        let mut topics: Vec<String> = hosts.map(|host| Host::of(host, &self.namespace).to_string()).collect();
        topics.extend(self.parents.iter().map(|(parent, _)| parent_topic(parent)));
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// The topics of those with which it may be a [`Self::rival`].
    pub fn topics_of_rivals(&self) -> Vec<String> {
        if self.kind.is_rules() {
            return self.parents.iter().map(|(parent, _)| parent_topic(parent)).collect();
        }
        self.hosts.iter().map(|host| Host::of(host, &self.namespace).to_string()).collect()
    }

    /// Whether it is another object than this one.
    fn is_other(&self, other: &Self) -> bool {
        (self.kind, &self.namespace, &self.name) != (other.kind, &other.namespace, &other.name)
    }

    /// The name of another object, with its namespace if that is another one.
    fn call(&self, other: &Self) -> String {
        if other.namespace == self.namespace { other.name.clone() } else { format!("{}/{}", other.namespace, other.name) }
    }

    /// Why the other one and this one cannot both have an effect; nothing if they can.
    pub fn rival(&self, other: &Self) -> Option<String> {
        if !self.is_other(other) || other.about().exported(&self.namespace).is_none() {
            return None;
        }
        if self.kind.is_rules() {
            return self.older_rule(other);
        }
        let theirs = |host: &Host<'_>| other.hosts.iter().any(|there| Host::of(there, &other.namespace) == *host);
        let host = self.hosts.iter().map(|host| Host::of(host, &self.namespace)).find(theirs)?;
        let shared = || self.gateways.iter().filter(|gateway| other.gateways.contains(gateway));
        let name = self.call(other);
        if other.kind.is_rules() {
            let words = || format!("{} {name} is for host {host} in the mesh too, and Istio takes that one alone", other.kind.word());
            return shared().any(|gateway| gateway == MESH).then(words);
        }
        let wins = |gateway: &str, client: &str| {
            let both = [self, other];
            let first = answering(both, host, gateway, client, |one| one.about()).first().copied();
            let narrow = other.about().exported(client) < self.about().exported(client);
            match first.is_some_and(|first| std::ptr::eq(first, other)) {
                true if narrow => format!("{name}, whose exportTo is narrower"),
                true => format!("{name}, the older one"),
                false => self.name.clone(),
            }
        };
        if shared().any(|gateway| gateway == MESH) {
            return Some(format!(
                "VirtualService {name} is for host {host} in the mesh too, and sidecars take only one of the two, now {}",
                wins(MESH, &self.namespace)
            ));
        }
        let gateway = shared().next().filter(|_| self.takes_all && other.takes_all)?;
        // The pods of a gateway are mostly where the Gateway is.
        let client = gateway.split('/').next().unwrap_or_default();
        Some(format!(
            "VirtualService {name} is for host {host} at gateway {gateway} too, and each of the two takes every request: now they go to {}",
            wins(gateway, client)
        ))
    }

    /// What decides whether it answers a host.
    fn about(&self) -> About<'_> {
        let Self { namespace, name, created, hosts, gateways, export_to, .. } = self;
        About { namespace, name, created, hosts, gateways, export_to }
    }

    /// Of two rules that ask for the same at one parent the older object's is reached alone. A VirtualService beside them has no effect.
    fn older_rule(&self, other: &Self) -> Option<String> {
        let listens = |one: &Option<String>, two: &Option<String>| one.is_none() || two.is_none() || one == two;
        let parent = self
            .parents
            .iter()
            .find(|(parent, section)| other.parents.iter().any(|(there, theirs)| there == parent && listens(section, theirs)))?;
        let hosts = self.hostnames == other.hostnames || self.hostnames.iter().any(|host| other.hostnames.contains(host));
        let age = |one: &Self| (one.created.clone(), one.namespace.clone(), one.name.clone());
        let same = other.kind == self.kind && hosts && self.asked.iter().any(|asked| other.asked.contains(asked));
        (same && age(other) < age(self)).then(|| {
            let (kind, name) = (other.kind.word(), self.call(other));
            format!("{kind} {name} is older, and has a rule at {} that asks for the same: requests reach that one alone", parent.0)
        })
    }

    /// The versions of a route to which the other one leads, with its name in words.
    pub fn leads_too<'s>(&'s self, other: &'s Self, view: &'s View) -> impl Iterator<Item = (String, String)> {
        let here = other.leads.iter().filter(|_| self.is_other(other));
        let versions = here.filter_map(|(host, subset)| view.named(&other.namespace, host, subset.as_deref()));
        versions.map(move |version| (format!("{} {}", other.kind.word(), self.call(other)), version.to_owned()))
    }
}

/// The topic of what has this parent.
fn parent_topic(parent: &str) -> String {
    format!("parent {parent}")
}

/// What a rule asks for, in a form that can be compared; without matches it is everything.
fn asked(rule: &Value) -> Vec<String> {
    let list = rule["matches"].as_array().filter(|list| !list.is_empty());
    let everything = |one: &Value| *one == serde_json::json!({"path": {"type": "PathPrefix", "value": "/"}});
    let word = |one: &Value| if everything(one) { String::new() } else { one.to_string() };
    list.map_or_else(|| vec![String::new()], |list| list.iter().map(word).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{Destination, RouteKind};
    use crate::route::{Sought, find};

    fn all() -> Value {
        json!([{"route": [{"destination": {"host": "fraud", "subset": "v1"}}]}])
    }

    fn serving(namespace: &str, name: &str, spec: Value) -> Serving {
        Serving::of(&json!({"metadata": {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec}))
    }

    fn rival(one: Value, other: (&str, Value)) -> Option<String> {
        serving("ml", "fraud", one).rival(&serving(other.0, "legacy", other.1))
    }

    #[test]
    fn of_two_for_one_host_sidecars_take_one() {
        let short = json!({"hosts": ["fraud"], "http": all()});
        let long = json!({"hosts": ["x.com", "fraud.ml.svc.cluster.local"], "gateways": ["mesh"], "http": all()});
        let told = rival(short.clone(), ("ml", long.clone())).unwrap();
        let wanted = "VirtualService legacy is for host fraud.ml.svc.cluster.local in the mesh too, and sidecars take only one of the two, now fraud";
        assert_eq!(told, wanted);
        assert!(rival(short.clone(), ("other", long.clone())).unwrap().starts_with("VirtualService other/legacy is for host"));
        let hidden = json!({"hosts": ["fraud.ml.svc.cluster.local"], "exportTo": ["."]});
        assert_eq!(rival(short.clone(), ("other", hidden)), None, "ours does not see it");
        assert_eq!(rival(short.clone(), ("other", json!({"hosts": ["fraud"]}))), None, "a Service of that name elsewhere");
        let itself = serving("ml", "fraud", short);
        assert_eq!(itself.rival(&itself), None);
    }

    #[test]
    fn a_gateway_joins_them_unless_both_take_every_request() {
        let one = json!({"hosts": ["fraud.com"], "gateways": ["gw"], "http": all()});
        let path = json!([{"match": [{"uri": {"prefix": "/legacy"}}], "route": []}]);
        assert_eq!(rival(one.clone(), ("ml", json!({"hosts": ["fraud.com"], "gateways": ["gw"], "http": path}))), None);
        assert_eq!(rival(one.clone(), ("ml", json!({"hosts": ["fraud.com"], "gateways": ["other"], "http": all()}))), None);
        for written in ["ml/gw", "gw.ml", "gw.ml.svc.cluster.local"] {
            let told = rival(one.clone(), ("edge", json!({"hosts": ["fraud.com"], "gateways": [written], "http": all()}))).unwrap();
            assert_eq!(
                told,
                "VirtualService edge/legacy is for host fraud.com at gateway ml/gw too, and each of the two takes every request: now they go to fraud"
            );
        }
    }

    #[test]
    fn the_older_one_has_its_way() {
        let at = |name: &str, time: &str| {
            let spec = json!({"hosts": ["fraud"], "http": all()});
            Serving::of(&json!({"metadata": {"namespace": "ml", "name": name, "creationTimestamp": time}, "spec": spec}))
        };
        let (ours, older) = (at("fraud", "2026-01-02T00:00:00Z"), at("legacy", "2026-01-01T00:00:00Z"));
        assert!(ours.rival(&older).unwrap().ends_with("now legacy, the older one"));
        assert!(older.rival(&ours).unwrap().ends_with("now legacy"));
    }

    #[test]
    fn a_younger_one_that_is_exported_to_fewer_comes_first_and_one_without_a_route_there_does_not_count() {
        let at = |name: &str, time: &str, spec: Value| {
            Serving::of(&json!({"metadata": {"namespace": "ml", "name": name, "creationTimestamp": time}, "spec": spec}))
        };
        let ours = at("fraud", "2026-01-01T00:00:00Z", json!({"hosts": ["fraud"], "http": all()}));
        let private = at("mine", "2026-01-02T00:00:00Z", json!({"hosts": ["fraud"], "exportTo": ["."], "http": all()}));
        assert!(ours.rival(&private).unwrap().ends_with("now mine, whose exportTo is narrower"), "{:?}", ours.rival(&private));
        assert!(private.rival(&ours).unwrap().ends_with("now mine"));
        let http = json!([{"match": [{"gateways": ["gw"]}], "route": [{"destination": {"host": "fraud"}}]}]);
        let elsewhere = at("gate", "2025-01-01T00:00:00Z", json!({"hosts": ["fraud"], "gateways": ["gw", "mesh"], "http": http}));
        assert_eq!(ours.rival(&elsewhere), None, "it has no route in the mesh");
    }

    #[test]
    fn who_leads_to_a_subset_too_is_named() {
        let two = json!([{"route": [{"destination": {"host": "fraud.ml.svc.cluster.local", "subset": "v1"}, "weight": 7}, {"destination": {"host": "fraud.ml.svc.cluster.local", "subset": "v2"}}]}]);
        let (ours, other) = (serving("ml", "fraud", json!({"http": all()})), serving("shop", "front", json!({"http": two})));
        let object = json!({"metadata": {"namespace": "ml", "name": "fraud"}, "spec": {"http": all()}});
        let view =
            find(&object, Sought { kind: RouteKind::VirtualService, route: None, canary: &Destination::Subset("v2".into()) }).unwrap();
        let found: Vec<_> = ours.leads_too(&other, &view).collect();
        assert_eq!(found, [("VirtualService shop/front".to_owned(), "v1".to_owned())]);
        assert_eq!(ours.leads_too(&ours, &view).count(), 0);
    }
}
