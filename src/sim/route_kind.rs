//! The kinds of route that the demo app can have. What differs between them is here and in [`Routes::of`](super::mesh::routes::Routes::of):
//! which objects there are, what a version is called in them, and how requests are made.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::mesh::routes::Request;
use crate::{
    gateway_api::{self, name::GROUP, split::backends},
    istio::{name::Host, split::named},
};

/// The versions that have a subset or a Service.
const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];
/// The gRPC service of the demo app.
const GRPC_SERVICE: &str = "fraud.v1.Scorer";

/// What splits the requests, and what tells the versions apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteKind {
    /// A VirtualService and the subsets of one Service.
    #[default]
    Subsets,
    /// A VirtualService and a Service for each version.
    Services,
    /// An HTTPRoute and a Service for each version.
    HttpRoute,
    /// A GRPCRoute and a Service for each version.
    GrpcRoute,
}

impl RouteKind {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Subsets, Self::Services, Self::HttpRoute, Self::GrpcRoute];

    /// The kind of the Gateway API, if it is one.
    pub fn gateway_api(self) -> Option<gateway_api::Kind> {
        match self {
            Self::Subsets | Self::Services => None,
            Self::HttpRoute => Some(gateway_api::Kind::Http),
            Self::GrpcRoute => Some(gateway_api::Kind::Grpc),
        }
    }

    /// Plural name of the object, as in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Subsets | Self::Services => "virtualservices",
            Self::HttpRoute => "httproutes",
            Self::GrpcRoute => "grpcroutes",
        }
    }

    /// Plural name and group of the object: `httproutes.gateway.networking.k8s.io`.
    pub fn resource(self) -> String {
        let group = if self.gateway_api().is_some() { GROUP } else { "networking.istio.io" };
        format!("{}.{group}", self.plural())
    }

    /// What a version of an app is called in the route: its subset or its Service.
    pub fn arm(self, app: &str, version: &str) -> String {
        if self == Self::Subsets { version.to_owned() } else { format!("{app}-{version}") }
    }

    /// The version behind a subset, or behind a Service.
    fn version(app: &str, arm: &str) -> String {
        arm.strip_prefix(app).and_then(|rest| rest.strip_prefix('-')).unwrap_or(arm).to_owned()
    }

    /// A request as the app's clients make it.
    pub fn request(self, request: &Request) -> Request {
        match self {
            Self::GrpcRoute => Request { path: format!("/{GRPC_SERVICE}/Score"), ..request.clone() },
            _ => request.clone(),
        }
    }

    /// Weights of the route or rule `primary` by version: as they stand, of the Gateway API's in percent.
    pub fn weights(self, app: &str, route: &Value) -> BTreeMap<String, i64> {
        let primary =
            |list: &Value| list.as_array().into_iter().flatten().find(|one| one["name"] == "primary").cloned().unwrap_or_default();
        let spec = &route["spec"];
        if self.gateway_api().is_some() {
            let (rule, namespace) = (primary(&spec["rules"]), gateway_api::namespace(route));
            let arms = backends(&rule, namespace).into_iter();
            return arms.map(|arm| (Self::version(app, arm.to.name), i64::from(arm.percent))).collect();
        }
        let http = primary(&spec["http"]);
        let list = http.get("route").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let alone = if list.len() == 1 { 100 } else { 0 };
        let arm = |entry: &Value| {
            let (host, subset) = named(&entry["destination"]).unwrap_or_default();
            let version = subset.map_or_else(|| Self::version(app, host.split('.').next().unwrap_or_default()), str::to_owned);
            (version, entry["weight"].as_i64().unwrap_or(alone))
        };
        list.iter().map(arm).collect()
    }

    /// The objects that route an app whose v1 gets everything: its Services, DestinationRule, and the route.
    pub fn objects(self, app: &str, namespace: &str) -> Vec<Value> {
        let metadata = json!({"name": app, "namespace": namespace});
        let mut objects = vec![self.service(app, app, namespace, None)];
        if self == Self::Subsets {
            let subsets: Vec<Value> = VERSIONS.iter().map(|v| json!({"name": v, "labels": {"version": v}})).collect();
            objects.push(json!({
                "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata,
                "spec": {"host": app, "subsets": subsets},
            }));
        } else {
            objects.extend(VERSIONS.iter().map(|version| self.service(&self.arm(app, version), app, namespace, Some(version))));
        }
        let (api, kind, spec) = match self {
            Self::Subsets => {
                let stable = json!({"destination": {"host": app, "subset": "v1"}, "weight": 100});
                ("networking.istio.io/v1", "VirtualService", virtual_service(app, &[stable]))
            }
            Self::Services => {
                let to = |version: &str, weight: u64| json!({"destination": {"host": self.arm(app, version)}, "weight": weight});
                ("networking.istio.io/v1", "VirtualService", virtual_service(app, &[to("v1", 100), to("v2", 0)]))
            }
            Self::HttpRoute => {
                let every = json!({"path": {"type": "PathPrefix", "value": "/"}});
                ("gateway.networking.k8s.io/v1", "HTTPRoute", self.route(app, namespace, &every))
            }
            Self::GrpcRoute => {
                let scorer = json!({"method": {"type": "Exact", "service": GRPC_SERVICE}});
                ("gateway.networking.k8s.io/v1", "GRPCRoute", self.route(app, namespace, &scorer))
            }
        };
        objects.push(json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}));
        objects
    }

    fn service(self, name: &str, app: &str, namespace: &str, version: Option<&str>) -> Value {
        let port = if self == Self::GrpcRoute { "grpc" } else { "http" };
        let selector = version.map_or_else(|| json!({ "app": app }), |version| json!({"app": app, "version": version}));
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
            "spec": {"selector": selector, "ports": [{"name": port, "port": 80, "targetPort": 8080}]},
        })
    }

    /// A route for the clients of a gateway and of the mesh, with the defaults that the API server fills in.
    fn route(self, app: &str, namespace: &str, one: &Value) -> Value {
        let backend = |version: &str, weight: u64| json!({"group": "", "kind": "Service", "name": self.arm(app, version), "port": 80, "weight": weight});
        let parents = json!([
            {"group": GROUP, "kind": "Gateway", "name": "public", "namespace": "istio-system"},
            {"group": "", "kind": "Service", "name": app, "namespace": namespace, "port": 80},
        ]);
        json!({
            "parentRefs": parents,
            "rules": [{"name": "primary", "matches": [one], "backendRefs": [backend("v1", 100), backend("v2", 0)]}],
        })
    }
}

fn virtual_service(app: &str, route: &[Value]) -> Value {
    let http = json!([{"name": "primary", "route": route, "timeout": "2s", "retries": {"attempts": 2, "perTryTimeout": "1s"}}]);
    json!({"hosts": [app], "http": http})
}

/// Name of the Service that a host is, in this namespace.
pub(super) fn service<'a>(host: &'a str, namespace: &'a str) -> Option<&'a str> {
    Host::of(host, namespace).service_in(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_every_kind_go_by_version() {
        for kind in RouteKind::ALL {
            let objects = kind.objects("fraud", "ml");
            let weights = kind.weights("fraud", objects.last().unwrap());
            assert_eq!(weights.get("v1"), Some(&100), "{kind:?}");
            assert_eq!(weights.get("v2").copied().unwrap_or(0), 0, "{kind:?}");
        }
    }
}
