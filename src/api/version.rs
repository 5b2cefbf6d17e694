//! What a rollout is about: a version, which is a destination with a revision, and the route that leads to it.
#![allow(unreachable_pub)] // the derived schema has a private copy of each type

use std::fmt;

use kube::KubeSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Kinds of objects that hold routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Istio's own.
    VirtualService,
    /// Of the Gateway API.
    HttpRoute,
    /// Of the Gateway API.
    GrpcRoute,
}

impl RouteKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::VirtualService, Self::HttpRoute, Self::GrpcRoute];

    /// The kind as Kubernetes calls it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::VirtualService => "VirtualService",
            Self::HttpRoute => "HTTPRoute",
            Self::GrpcRoute => "GRPCRoute",
        }
    }

    /// Its plural, as in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::VirtualService => "virtualservices",
            Self::HttpRoute => "httproutes",
            Self::GrpcRoute => "grpcroutes",
        }
    }

    /// Its field in `spec.traffic`.
    pub fn field(self) -> &'static str {
        match self {
            Self::VirtualService => "virtualService",
            Self::HttpRoute => "httpRoute",
            Self::GrpcRoute => "grpcRoute",
        }
    }

    /// Its API group.
    pub fn group(self) -> &'static str {
        match self {
            Self::VirtualService => "networking.istio.io",
            Self::HttpRoute | Self::GrpcRoute => "gateway.networking.k8s.io",
        }
    }

    /// What one of its routes is called.
    pub fn rule(self) -> &'static str {
        match self {
            Self::VirtualService => "http route",
            Self::HttpRoute | Self::GrpcRoute => "rule",
        }
    }

    /// Where its routes are in the spec.
    pub fn list(self) -> &'static str {
        match self {
            Self::VirtualService => "http",
            Self::HttpRoute | Self::GrpcRoute => "rules",
        }
    }

    /// Where the destinations of a route are.
    pub fn destinations(self) -> &'static str {
        match self {
            Self::VirtualService => "route",
            Self::HttpRoute | Self::GrpcRoute => "backendRefs",
        }
    }

    /// Where the copies of a route are, perhaps among other things.
    pub fn copies(self) -> &'static str {
        match self {
            Self::VirtualService => "mirrors",
            Self::HttpRoute | Self::GrpcRoute => "filters",
        }
    }

    /// Whether it is of the Gateway API.
    pub fn is_gateway_api(self) -> bool {
        self != Self::VirtualService
    }
}

/// The object that holds the route, in the namespace of the Rollout.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RouteRef {
    /// A VirtualService.
    #[serde(rename = "virtualService")]
    VirtualService(String),
    /// An HTTPRoute.
    #[serde(rename = "httpRoute")]
    HttpRoute(String),
    /// A GRPCRoute.
    #[serde(rename = "grpcRoute")]
    GrpcRoute(String),
}

impl RouteRef {
    /// One of a kind.
    pub fn new(kind: RouteKind, name: impl Into<String>) -> Self {
        match kind {
            RouteKind::VirtualService => Self::VirtualService(name.into()),
            RouteKind::HttpRoute => Self::HttpRoute(name.into()),
            RouteKind::GrpcRoute => Self::GrpcRoute(name.into()),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> RouteKind {
        match self {
            Self::VirtualService(_) => RouteKind::VirtualService,
            Self::HttpRoute(_) => RouteKind::HttpRoute,
            Self::GrpcRoute(_) => RouteKind::GrpcRoute,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::VirtualService(name) | Self::HttpRoute(name) | Self::GrpcRoute(name) => name,
        }
    }
}

impl fmt::Display for RouteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind().kind(), self.name())
    }
}

/// How a route names a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Destination {
    /// A subset of the DestinationRule of the route's host.
    Subset(String),
    /// A Service that selects the pods of this version alone.
    Service(String),
}

impl Destination {
    /// The subset's name, or the Service's.
    pub fn name(&self) -> &str {
        match self {
            Self::Subset(name) | Self::Service(name) => name,
        }
    }

    /// The field in `spec.canary`.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Subset(_) => "subset",
            Self::Service(_) => "service",
        }
    }

    /// Another one of the same kind.
    #[must_use]
    pub fn other(&self, name: impl Into<String>) -> Self {
        match self {
            Self::Subset(_) => Self::Subset(name.into()),
            Self::Service(_) => Self::Service(name.into()),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subset(name) => write!(f, "subset {name}"),
            Self::Service(name) => write!(f, "Service {name}"),
        }
    }
}

/// A destination and the pods behind it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Host as written in the route.
    pub host: String,
    /// What tells the version from the other one: its subset, or its Service.
    #[serde(default)] // a controller of the version before does not write it
    pub name: String,
    /// The same, where it is a subset of the DestinationRule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// The pods' pod-template-hash or controller-revision-hash.
    pub revision: String,
}

impl Version {
    /// The version behind a destination of a host.
    pub fn new(host: impl Into<String>, destination: &Destination, revision: impl Into<String>) -> Self {
        let subset = matches!(destination, Destination::Subset(_)).then(|| destination.name().to_owned());
        Self { host: host.into(), name: destination.name().to_owned(), subset, revision: revision.into() }
    }

    /// How the route names it.
    pub fn destination(&self) -> Destination {
        match &self.subset {
            Some(subset) => Destination::Subset(subset.clone()),
            None => Destination::Service(self.name.clone()),
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    /// What was written before versions had names has a subset alone.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            host: String,
            name: Option<String>,
            subset: Option<String>,
            revision: String,
        }
        let Written { host, name, subset, revision } = Written::deserialize(deserializer)?;
        let name = name.or_else(|| subset.clone()).ok_or_else(|| serde::de::Error::missing_field("name"))?;
        Ok(Self { host, name, subset, revision })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_of_the_first_release_is_a_subset() {
        let old: Version = serde_json::from_value(json!({"host": "fraud", "subset": "v2", "revision": "77f"})).unwrap();
        assert_eq!(old, Version::new("fraud", &Destination::Subset("v2".into()), "77f"));
        assert_eq!(serde_json::to_value(&old).unwrap(), json!({"host": "fraud", "name": "v2", "subset": "v2", "revision": "77f"}));
    }

    #[test]
    fn a_service_is_no_subset() {
        let service = Version::new("fraud-v2", &Destination::Service("fraud-v2".into()), "77f");
        let written = json!({"host": "fraud-v2", "name": "fraud-v2", "revision": "77f"});
        assert_eq!(serde_json::to_value(&service).unwrap(), written);
        assert_eq!(serde_json::from_value::<Version>(written).unwrap(), service);
        assert_eq!(service.destination(), Destination::Service("fraud-v2".into()));
    }
}
