//! Whom a reference names: a backend, which is a Service unless it says otherwise, or a parent, which is a Gateway.

use std::fmt;

use serde_json::Value;

use super::namespace;
use crate::istio::name::Host;

/// The group of HTTPRoute, GRPCRoute and Gateway.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// A reference with what it leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ref<'v> {
    /// API group; empty for the core group.
    pub group: &'v str,
    /// Kind.
    pub kind: &'v str,
    /// Namespace: that of the route where none is written.
    pub namespace: &'v str,
    /// Name; empty if none is written, which the API server refuses.
    pub name: &'v str,
    /// Port.
    pub port: Option<u64>,
    /// Of a parent: the listener of the Gateway, or the port of the Service, by its name.
    pub section: Option<&'v str>,
}

impl<'v> Ref<'v> {
    /// A backend, as a rule or a mirror of a route in this namespace writes it.
    pub fn backend(written: &'v Value, namespace: &'v str) -> Self {
        Self::with(written, namespace, "", "Service")
    }

    /// A parent, as a route in this namespace writes it.
    pub fn parent(written: &'v Value, namespace: &'v str) -> Self {
        Self::with(written, namespace, GROUP, "Gateway")
    }

    fn with(written: &'v Value, namespace: &'v str, group: &'v str, kind: &'v str) -> Self {
        let text = |field: &str| written[field].as_str();
        Self {
            group: text("group").unwrap_or(group),
            kind: text("kind").unwrap_or(kind),
            namespace: text("namespace").filter(|namespace| !namespace.is_empty()).unwrap_or(namespace),
            name: text("name").unwrap_or_default(),
            port: written["port"].as_u64(),
            section: text("sectionName").filter(|section| !section.is_empty()),
        }
    }

    /// The host, if it is a Service. As a parent this is what mesh clients call.
    pub fn service(self) -> Option<Host<'v>> {
        let service = self.group.is_empty() && self.kind == "Service" && !self.name.is_empty();
        service.then_some(Host::Service { name: self.name, namespace: self.namespace })
    }

    /// Whether it is a Gateway.
    pub fn is_gateway(self) -> bool {
        self.group == GROUP && self.kind == "Gateway"
    }
}

impl fmt::Display for Ref<'_> {
    /// `Service ml/fraud-v1`, `Gateway edge/public`, `InferencePool.inference.networking.k8s.io ml/llm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if !self.group.is_empty() && !self.is_gateway() {
            write!(f, ".{}", self.group)?;
        }
        write!(f, " {}/{}", self.namespace, self.name)
    }
}

/// What a route is attached to: Gateways, and Services whose clients in the mesh it is for.
pub fn parents(route: &Value) -> impl Iterator<Item = Ref<'_>> {
    let refs = route.pointer("/spec/parentRefs").and_then(Value::as_array);
    refs.into_iter().flatten().map(|written| Ref::parent(written, namespace(route)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_backend_is_a_service_of_the_routes_namespace_unless_it_says_otherwise() {
        let (short, full) = (json!({"name": "a", "port": 80}), json!({"name": "a", "namespace": "shop", "group": "", "kind": "Service"}));
        assert_eq!(Ref::backend(&short, "ml").service(), Some(Host::Service { name: "a", namespace: "ml" }));
        assert_eq!(Ref::backend(&short, "ml").port, Some(80));
        assert_eq!(Ref::backend(&full, "ml").service(), Some(Host::Service { name: "a", namespace: "shop" }));
        let pool = json!({"name": "llm", "group": "inference.networking.k8s.io", "kind": "InferencePool"});
        let pool = Ref::backend(&pool, "ml");
        assert_eq!(pool.service(), None);
        assert_eq!(pool.to_string(), "InferencePool.inference.networking.k8s.io ml/llm");
        assert_eq!(Ref::backend(&json!({"name": "a", "kind": "ServiceImport"}), "ml").service(), None);
        assert_eq!(Ref::backend(&json!({}), "ml").service(), None, "no name");
    }

    #[test]
    fn a_parent_is_a_gateway_or_the_service_that_mesh_clients_call() {
        let refs = json!([
            {"name": "public", "namespace": "edge", "sectionName": "https"},
            {"group": "", "kind": "Service", "name": "fraud", "port": 80},
        ]);
        let route = json!({"metadata": {"namespace": "ml"}, "spec": {"parentRefs": refs}});
        let found: Vec<Ref<'_>> = parents(&route).collect();
        assert!(found[0].is_gateway() && found[0].service().is_none() && found[0].section == Some("https"));
        assert_eq!(found[0].to_string(), "Gateway edge/public");
        assert_eq!(found[1].service(), Some(Host::Service { name: "fraud", namespace: "ml" }));
        assert_eq!(found[1].to_string(), "Service ml/fraud");
    }
}
