//! What an implementation of the Gateway API makes of HTTPRoutes and GRPCRoutes: whom a reference names, who gets how much of a rule, which
//! rule a request reaches, and what the gateways say about a route. Like `istio`, it is where every other room asks, so that the
//! controller, `lint` and the simulated mesh read an object in one and the same way. Where the Gateway API leaves a choice, Istio's is
//! taken. Pure.

pub mod name;
pub mod request;
pub mod split;
pub mod status;

#[cfg(test)]
mod property_tests;

use serde_json::Value;

/// The kinds of route that are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `HTTPRoute`.
    Http,
    /// `GRPCRoute`.
    Grpc,
}

impl Kind {
    /// The kind of an object, if it is one of these.
    pub fn of(object: &Value) -> Option<Self> {
        match object["kind"].as_str()? {
            "HTTPRoute" => Some(Self::Http),
            "GRPCRoute" => Some(Self::Grpc),
            _ => None,
        }
    }
}

/// The rules of a route, in order.
pub fn rules(route: &Value) -> &[Value] {
    route.pointer("/spec/rules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The namespace of a route, which completes the references in it.
pub fn namespace(route: &Value) -> &str {
    route.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default()
}
