//! Which version a destination leads to, and the other way round: in a VirtualService a host with a subset or a Service's host, in an
//! HTTPRoute or GRPCRoute a reference to a Service.

use serde_json::{Value, json};

use super::{
    find::{Entry, View},
    own::Own,
};
use crate::api::Destination;
use crate::gateway_api::{name::Ref, split as rules};
use crate::istio::{
    name::{Host, same_host},
    split,
};

impl View {
    /// What a version is here: `subset`, or `Service`.
    pub fn kind_of_version(&self) -> &'static str {
        match self.canary {
            Destination::Subset(_) => "subset",
            Destination::Service(_) => "Service",
        }
    }

    /// What the route is called: `route primary`. The key under which one without a name is kept says nothing to people.
    pub fn called(&self) -> String {
        if self.name.is_some() || self.renamed { format!("route {}", self.key) } else { "the route without a name".to_owned() }
    }

    /// Its name, or where it stands: `primary`, `http[0] without a name`.
    pub fn place(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("{}[{}] without a name", self.object.kind().list(), self.index))
    }

    /// Whether it is a rule of an HTTPRoute or GRPCRoute.
    pub(super) fn is_rule(&self) -> bool {
        self.object.kind().is_gateway_api()
    }

    /// The version that a host and a subset mean which are written in an object of a namespace; nothing if they lead elsewhere, or to every
    /// version.
    pub(super) fn named<'v>(&self, namespace: &'v str, host: &'v str, subset: Option<&'v str>) -> Option<&'v str> {
        match self.canary {
            Destination::Subset(_) => subset.filter(|_| self.is_host(namespace, host)),
            // A subset of a version's own Service has pods of that version.
            Destination::Service(_) => Host::of(host, namespace).service_in(&self.namespace),
        }
    }

    /// The hosts by which others lead to these versions.
    pub fn hosts_of<'v>(&self, versions: impl IntoIterator<Item = &'v str>) -> Vec<String> {
        match self.canary {
            Destination::Subset(_) => vec![Host::of(&self.host, &self.namespace).to_string()],
            Destination::Service(_) => {
                let service = |name: &str| Host::Service { name, namespace: &self.namespace }.to_string();
                versions.into_iter().map(service).collect()
            }
        }
    }

    /// The version that a destination leads to.
    pub(super) fn version_of<'v>(&'v self, destination: &'v Value) -> Option<&'v str> {
        if self.is_rule() {
            return Ref::backend(destination, &self.namespace).service()?.service_in(&self.namespace);
        }
        let (host, subset) = split::named(destination)?;
        self.named(&self.namespace, host, subset)
    }

    /// Whether a destination is this version.
    pub(super) fn is_of(&self, destination: &Value, version: &str) -> bool {
        self.version_of(destination) == Some(version)
    }

    /// The versions to which a route of the object leads, with their weights.
    pub(super) fn destinations_of<'v>(&'v self, route: &'v Value) -> Vec<(&'v str, u64)> {
        if self.is_rule() {
            let backends = rules::backends(route, &self.namespace).into_iter();
            return backends.filter_map(|to| Some((to.to.service()?.service_in(&self.namespace)?, to.weight))).collect();
        }
        let destinations = split::destinations(route).into_iter();
        destinations.filter_map(|to| Some((self.named(&self.namespace, to.host, to.subset)?, to.weight))).collect()
    }

    /// Whether anything goes from a route of ours to a version.
    pub(super) fn leads_to(&self, own: &Own, version: &str) -> bool {
        self.destinations_of(&own.raw).into_iter().any(|(there, weight)| there == version && weight > 0)
    }

    /// Whether requests meet a route of ours before the managed one. The order of rules means nothing: ours asks for more.
    pub(super) fn is_reached(&self, own: &Own) -> bool {
        self.is_rule() || own.index < self.index
    }

    /// Whether a host that is written in an object of a namespace is the route's.
    pub(super) fn is_host(&self, namespace: &str, host: &str) -> bool {
        if namespace == self.namespace {
            return same_host(host, &self.host, namespace);
        }
        Host::of(host, namespace) == Host::of(&self.host, &self.namespace)
    }

    /// The host of a version, written as the route writes those that it has.
    pub(super) fn host_of(&self, version: &str) -> String {
        match (&self.canary, self.entries.iter().find(|entry| entry.name == version)) {
            (_, Some(entry)) => entry.host.clone(),
            (Destination::Subset(_), None) => self.host.clone(),
            (Destination::Service(_), None) => match self.host.split_once('.') {
                Some((_, rest)) => format!("{version}.{rest}"),
                None => version.to_owned(),
            },
        }
    }

    /// A destination that is a version, with the port of the others. Of a reference every default is written, as the API server keeps it.
    pub(super) fn destination(&self, version: &str) -> Value {
        let mut destination = match self.canary {
            _ if self.is_rule() => json!({ "group": "", "kind": "Service", "name": version }),
            Destination::Subset(_) => json!({ "host": self.host, "subset": version }),
            Destination::Service(_) => json!({ "host": self.host_of(version) }),
        };
        if let (Some(port), Some(object)) = (&self.port, destination.as_object_mut()) {
            object.insert("port".to_owned(), port.clone());
        }
        destination
    }

    /// An entry for a version that has none: like that of the version with the most traffic, with its filters or headers.
    pub(super) fn entry(&self, version: &str, weight: u8) -> Value {
        let list = self.raw.get(self.object.kind().destinations()).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let most = self.entries.iter().zip(list).rev().max_by_key(|(entry, _)| entry.weight);
        let mut entry = most.and_then(|(_, raw)| raw.as_object()).cloned().unwrap_or_default();
        match self.destination(version) {
            Value::Object(destination) if self.is_rule() => entry.extend(destination),
            destination => drop(entry.insert("destination".to_owned(), destination)),
        }
        entry.insert("weight".to_owned(), json!(weight));
        Value::Object(entry)
    }

    /// The destination in an entry of the route.
    pub(super) fn destination_in<'v>(&self, entry: &'v Value) -> &'v Value {
        if self.is_rule() { entry } else { super::at(entry, "/destination") }
    }

    /// The leaves by which an entry is known again: where they are below it, with their values.
    pub(super) fn identity(&self, entry: &Entry) -> Vec<(Vec<&'static str>, Value)> {
        let host = || (vec!["destination", "host"], json!(entry.host));
        match self.canary {
            _ if self.is_rule() => vec![(vec!["name"], json!(entry.name))],
            Destination::Subset(_) => vec![(vec!["destination", "subset"], json!(entry.name)), host()],
            Destination::Service(_) => vec![host()],
        }
    }

    /// What an entry gets that has no weight, beside others.
    pub(super) fn unwritten(&self) -> u64 {
        u64::from(self.is_rule())
    }

    /// What these weights are in percent; nothing where the mesh refuses them.
    pub(super) fn percents(&self, written: &[Option<u64>]) -> Option<Vec<u8>> {
        if self.is_rule() {
            return split::parts(&written.iter().map(|weight| weight.unwrap_or(1)).collect::<Vec<_>>());
        }
        split::percents(written)
    }
}
