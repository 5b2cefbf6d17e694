//! Structural schemas of HTTPRoute and GRPCRoute, as their CustomResourceDefinitions of Gateway API 1.7 have them: bounds, patterns and
//! defaults of all that a rollout reads or writes. What no rollout touches (header modifiers, rewrites, redirects, retries) is kept as it is.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::gateway_api::name::GROUP;

const LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
const SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const KIND: &str = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
const HEADER: &str = r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$";
const DURATION: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// The schema of HTTPRoute.
pub(super) fn http_route() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
        let every = json!({"type": "PathPrefix", "value": "/"});
        let path = json!({
            "type": "object", "default": every, "properties": {
                "type": choice(&["Exact", "PathPrefix", "RegularExpression"], Some("PathPrefix")),
                "value": {"type": "string", "maxLength": 1024, "default": "/"},
            },
        });
        let one = json!({
            "type": "object", "properties": {
                "path": path, "headers": named_texts(4096), "queryParams": named_texts(1024), "method": choice(&methods, None),
            },
        });
        let filters =
            ["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect", "URLRewrite", "ExtensionRef", "CORS"];
        let duration = json!({"type": "string", "pattern": DURATION});
        let timeouts = json!({"type": "object", "properties": {"request": duration, "backendRequest": duration}});
        let matches = with(list(one, 64), "default", json!([{ "path": every }]));
        let rules = list(rule(matches, &filters, &[("timeouts", timeouts), ("retry", free())]), 16);
        let rules = with(rules, "default", json!([{"matches": [{ "path": every }]}]));
        route(with(rules, "minItems", json!(1)))
    })
}

/// The schema of GRPCRoute.
pub(super) fn grpc_route() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let part = json!({"type": "string", "maxLength": 1024});
        let method = json!({
            "type": "object", "properties": {
                "service": part, "method": part, "type": choice(&["Exact", "RegularExpression"], Some("Exact")),
            },
        });
        let one = json!({"type": "object", "properties": {"headers": named_texts(4096), "method": method}});
        let filters = ["ResponseHeaderModifier", "RequestHeaderModifier", "RequestMirror", "ExtensionRef"];
        route(list(rule(list(one, 64), &filters, &[]), 16))
    })
}

fn route(rules: Value) -> Value {
    let text = json!({"type": "string"});
    let hostname = json!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": SUBDOMAIN.replacen('^', r"^(\*\.)?", 1)});
    let spec = json!({
        "type": "object", "properties": {"hostnames": list(hostname, 16), "parentRefs": list(parent(), 32), "rules": rules},
    });
    let properties = json!({"apiVersion": text, "kind": text, "metadata": {"type": "object"}, "spec": spec, "status": status()});
    json!({"type": "object", "required": ["spec"], "properties": properties})
}

fn rule(matches: Value, filters: &[&str], more: &[(&str, Value)]) -> Value {
    let filter = json!({
        "type": "object", "required": ["type"], "properties": {
            "type": choice(filters, None), "requestMirror": mirror(), "requestHeaderModifier": free(), "responseHeaderModifier": free(),
            "requestRedirect": free(), "urlRewrite": free(), "extensionRef": free(), "cors": free(),
        },
    });
    let weight = json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": 1_000_000, "default": 1});
    let backend = reference("", "Service", &[("weight", weight), ("filters", list(filter.clone(), 16))]);
    let name = json!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": SUBDOMAIN});
    let known = json!({"name": name, "matches": matches, "filters": list(filter, 16), "backendRefs": list(backend, 16)});
    json!({"type": "object", "properties": more.iter().cloned().fold(known, |known, (field, schema)| with(known, field, schema))})
}

fn mirror() -> Value {
    let count = |least: u64| json!({"type": "integer", "format": "int32", "minimum": least});
    let denominator = with(count(1), "default", json!(100));
    let fraction = json!({"type": "object", "required": ["numerator"], "properties": {"numerator": count(0), "denominator": denominator}});
    let percent = with(count(0), "maximum", json!(100));
    let properties = json!({"backendRef": reference("", "Service", &[]), "fraction": fraction, "percent": percent});
    json!({"type": "object", "required": ["backendRef"], "properties": properties})
}

fn parent() -> Value {
    let section = json!({"type": "string", "minLength": 1, "maxLength": 253, "pattern": SUBDOMAIN});
    reference(GROUP, "Gateway", &[("sectionName", section)])
}

fn reference(group: &str, kind: &str, more: &[(&str, Value)]) -> Value {
    let known = json!({
        "group": {"type": "string", "maxLength": 253, "pattern": format!("^$|{SUBDOMAIN}"), "default": group},
        "kind": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": KIND, "default": kind},
        "name": {"type": "string", "minLength": 1, "maxLength": 253},
        "namespace": {"type": "string", "minLength": 1, "maxLength": 63, "pattern": LABEL},
        "port": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535},
    });
    let known = more.iter().cloned().fold(known, |known, (field, schema)| with(known, field, schema));
    json!({"type": "object", "required": ["name"], "properties": known})
}

/// Headers or parameters, of which no two have the same name.
fn named_texts(longest: u64) -> Value {
    let entry = json!({
        "type": "object", "required": ["name", "value"], "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": HEADER},
            "type": choice(&["Exact", "RegularExpression"], Some("Exact")),
            "value": {"type": "string", "minLength": 1, "maxLength": longest},
        },
    });
    json!({
        "type": "array", "maxItems": 16, "items": entry, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
    })
}

fn status() -> Value {
    let condition = json!({
        "type": "object", "required": ["lastTransitionTime", "message", "reason", "status", "type"], "properties": {
            "lastTransitionTime": {"type": "string", "format": "date-time"},
            "message": {"type": "string", "maxLength": 32768},
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            "reason": {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
            "status": choice(&["True", "False", "Unknown"], None),
            "type": {"type": "string", "maxLength": 316},
        },
    });
    let conditions = json!({
        "type": "array", "minItems": 1, "maxItems": 8, "items": condition,
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    });
    let said = json!({
        "type": "object", "required": ["conditions", "controllerName", "parentRef"], "properties": {
            "conditions": conditions, "controllerName": {"type": "string", "minLength": 1, "maxLength": 253}, "parentRef": parent(),
        },
    });
    json!({"type": "object", "required": ["parents"], "properties": {"parents": list(said, 32)}})
}

fn choice(words: &[&str], default: Option<&str>) -> Value {
    let schema = json!({"type": "string", "enum": words});
    match default {
        Some(default) => with(schema, "default", json!(default)),
        None => schema,
    }
}

/// A list that server-side apply takes as one.
fn list(items: Value, most: u64) -> Value {
    json!({"type": "array", "maxItems": most, "items": items, "x-kubernetes-list-type": "atomic"})
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value);
    }
    object
}

fn free() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
