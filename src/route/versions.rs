//! Which version a destination of a VirtualService leads to, and the other way round.

use serde_json::{Value, json};

use super::{
    find::{Entry, View},
    own::Own,
};
use crate::api::Destination;
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

    /// The version that a host and a subset mean which are written in an object of a namespace; nothing if they lead elsewhere, or to every
    /// version.
    pub(super) fn named<'v>(&self, namespace: &'v str, host: &'v str, subset: Option<&'v str>) -> Option<&'v str> {
        match self.canary {
            Destination::Subset(_) => subset.filter(|_| self.is_host(namespace, host)),
            // A subset of a version's own Service has pods of that version.
            Destination::Service(_) => Host::of(host, namespace).service_in(&self.namespace),
        }
    }

    /// The version that a destination leads to.
    pub(super) fn version_of<'v>(&'v self, destination: &'v Value) -> Option<&'v str> {
        let (host, subset) = split::named(destination)?;
        self.named(&self.namespace, host, subset)
    }

    /// Whether a destination is this version.
    pub(super) fn is_of(&self, destination: &Value, version: &str) -> bool {
        self.version_of(destination) == Some(version)
    }

    /// The versions to which a route of the object leads, with their weights.
    pub(super) fn destinations_of<'v>(&'v self, route: &'v Value) -> impl Iterator<Item = (&'v str, u64)> {
        split::destinations(route).into_iter().filter_map(|to| Some((self.named(&self.namespace, to.host, to.subset)?, to.weight)))
    }

    /// Whether anything goes from a route of ours to a version.
    pub(super) fn leads_to(&self, own: &Own, version: &str) -> bool {
        self.destinations_of(&own.raw).any(|(there, weight)| there == version && weight > 0)
    }

    /// Whether requests meet a route of ours before the managed one.
    pub(super) fn is_reached(&self, own: &Own) -> bool {
        own.index < self.index
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

    /// A destination that is a version, with the port of the others.
    pub(super) fn destination(&self, version: &str) -> Value {
        let mut destination = match self.canary {
            Destination::Subset(_) => json!({ "host": self.host, "subset": version }),
            Destination::Service(_) => json!({ "host": self.host_of(version) }),
        };
        if let (Some(port), Some(object)) = (&self.port, destination.as_object_mut()) {
            object.insert("port".to_owned(), port.clone());
        }
        destination
    }

    /// A destination with its weight.
    pub(super) fn entry(&self, version: &str, weight: u8) -> Value {
        json!({ "destination": self.destination(version), "weight": weight })
    }

    /// The leaves by which an entry is known again: pointers below it, with their values.
    pub(super) fn identity(&self, entry: &Entry) -> Vec<(&'static str, Value)> {
        let host = ("host", json!(entry.host));
        match self.canary {
            Destination::Subset(_) => vec![("subset", json!(entry.name)), host],
            Destination::Service(_) => vec![host],
        }
    }
}
