//! What splits the traffic between v1 and v2. It is read here from the objects themselves, so that the program is not asked what it wrote.

use serde_json::{Value, json};

use super::{
    load::{CLIENT, GATEWAY, GATEWAY_API},
    world::{Shape, parsed, read},
};

/// What splits the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A VirtualService, by subsets of one Service.
    Subsets,
    /// A VirtualService of two hosts: a Service per version, as in all that follow.
    Hosts,
    /// An HTTPRoute at the gateway.
    Gateway,
    /// An HTTPRoute of a Service, for its clients in the mesh ([`Shape::Mesh`]).
    Mesh,
    /// A GRPCRoute at the gateway.
    Grpc,
}

impl Way {
    /// API version and kind of the object.
    pub(super) fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::Subsets | Self::Hosts => ("networking.istio.io/v1", "VirtualService"),
            Self::Gateway | Self::Mesh => ("gateway.networking.k8s.io/v1", "HTTPRoute"),
            Self::Grpc => ("gateway.networking.k8s.io/v1", "GRPCRoute"),
        }
    }

    /// The proxy that users' requests go to.
    pub(super) fn proxy(self) -> &'static str {
        match self {
            Self::Subsets | Self::Hosts => GATEWAY,
            Self::Gateway | Self::Grpc => GATEWAY_API,
            Self::Mesh => CLIENT,
        }
    }

    /// The Rollout with what splits the traffic named in it, and this version as the canary.
    pub(super) fn aimed(self, mut rollout: Value, canary: &str) -> Value {
        let field = match self.kind().1 {
            "VirtualService" => "virtualService",
            "HTTPRoute" => "httpRoute",
            _ => "grpcRoute",
        };
        rollout["spec"]["traffic"] = json!({ field: "fraud", "route": "primary" });
        rollout["spec"]["canary"] = match self {
            Self::Subsets => json!({ "subset": canary }),
            _ => json!({ "service": format!("fraud-{canary}") }),
        };
        rollout
    }

    /// The documents of `tests/stack/models` in a namespace. `faults` are variables of v2.
    pub(super) fn manifests(self, shape: Shape, namespace: &str, faults: &[(&str, &str)]) -> Vec<Value> {
        let mut documents = Vec::new();
        let own = match self {
            Self::Subsets => &[][..],
            Self::Hosts => &["services", "hosts"],
            Self::Gateway | Self::Mesh => &["services", "httproute"],
            Self::Grpc => &["services", "grpcroute"],
        };
        let proxies = match shape {
            Shape::Gateway => &[][..],
            Shape::Sidecars => &["sidecar"],
            Shape::Mesh => &["sidecar", "client"],
        };
        for name in proxies.iter().chain(&["fraud"]).chain(own) {
            let text = read(&format!("tests/stack/models/{name}.yaml"));
            let text = text.replace("namespace: default", &format!("namespace: {namespace}")).replace("default/", &format!("{namespace}/"));
            documents.extend(parsed(&text.replace("fraud.default.", &format!("fraud.{namespace}."))));
            if *name == "fraud" && self != Self::Subsets {
                documents.retain(|d| d["kind"] != "DestinationRule" && d["kind"] != "VirtualService");
            }
        }
        for document in &mut documents {
            match document["kind"].as_str().unwrap() {
                "VirtualService" if shape == Shape::Mesh => {
                    document["spec"]["hosts"].as_array_mut().unwrap().push(json!(service(namespace)));
                    document["spec"]["gateways"].as_array_mut().unwrap().push(json!("mesh"));
                }
                "HTTPRoute" if self == Self::Mesh => {
                    document["spec"]["parentRefs"] = json!([{ "group": "", "kind": "Service", "name": "fraud", "port": 80 }]);
                    document["spec"].as_object_mut().unwrap().remove("hostnames");
                }
                "Service" if self == Self::Grpc => {
                    document["spec"]["ports"] = json!([{ "name": "grpc", "port": 80, "targetPort": 8081 }]);
                }
                "Deployment" if document["metadata"]["name"] != "client" => self.deployed(document, shape, faults),
                _ => {}
            }
        }
        documents
    }

    fn deployed(self, document: &mut Value, shape: Shape, faults: &[(&str, &str)]) {
        let of_v2 = document["metadata"]["name"] == "fraud-v2";
        let template = &mut document["spec"]["template"];
        let container = &mut template["spec"]["containers"][0];
        let env = container["env"].as_array_mut().unwrap();
        if of_v2 {
            env.extend(faults.iter().map(|(name, value)| json!({ "name": name, "value": value })));
        }
        if self == Self::Grpc {
            env.push(json!({ "name": "GRPC_PORT", "value": "8081" }));
        }
        if shape != Shape::Gateway {
            env.push(json!({ "name": "PORT", "value": "9000" }));
            container["readinessProbe"]["httpGet"]["port"] = json!(9000);
            template["metadata"]["annotations"]["prometheus.io/port"] = json!("9000");
            template["metadata"]["annotations"]["stack/sidecar"] = json!("true");
        }
    }
}

/// Full name of the Service.
pub(super) fn service(namespace: &str) -> String {
    format!("fraud.{namespace}.svc.cluster.local")
}

/// The rule of that name: in a VirtualService an http route.
pub(super) fn rule<'a>(object: &'a Value, name: &str) -> &'a Value {
    rules(object).iter().find(|rule| rule["name"] == name).expect("the rule is still there")
}

fn rules(object: &Value) -> &[Value] {
    let list = object["spec"].get("http").or_else(|| object["spec"].get("rules"));
    list.and_then(Value::as_array).expect("an object with rules")
}

/// Version and weight of each destination. Istio takes a destination that is alone for all of the traffic, and one of several without a
/// weight for none; Gateway API takes one without a weight for 1.
fn destinations(rule: &Value) -> Vec<(&str, i64)> {
    if let Some(list) = rule["route"].as_array() {
        let unsaid = if list.len() == 1 { 100 } else { 0 };
        return list.iter().map(|d| (version(&d["destination"]), d["weight"].as_i64().unwrap_or(unsaid))).collect();
    }
    rule["backendRefs"].as_array().into_iter().flatten().map(|d| (version(d), d["weight"].as_i64().unwrap_or(1))).collect()
}

/// The version that a destination is: its subset, or the end of its Service's name.
fn version(destination: &Value) -> &str {
    let service = destination["host"].as_str().or(destination["name"].as_str()).expect("a destination has a name");
    let service = service.split('.').next().unwrap();
    destination["subset"].as_str().or(service.strip_prefix("fraud-")).unwrap_or(service)
}

/// Weights of v1 and v2 in the rule `primary`. A destination that is not there has none.
pub(super) fn weights(object: &Value) -> (i64, i64) {
    let destinations = destinations(rule(object, "primary"));
    let of = |version: &str| destinations.iter().find(|(name, _)| *name == version).map_or(0, |(_, weight)| *weight);
    (of("v1"), of("v2"))
}

/// What v2 gets of the traffic, in words: `5 % + match + mirror of 20 %`.
pub(super) fn share(object: &Value) -> String {
    let primary = rule(object, "primary");
    let weight = Some(weights(object).1).filter(|weight| *weight > 0).map(|weight| format!("{weight} %"));
    let own = |rule: &&Value| rule["name"] != "primary" && destinations(rule).iter().all(|(version, _)| *version == "v2");
    let matched = rules(object).iter().find(own).map(|_| "match".to_owned());
    let parts: Vec<String> = weight.into_iter().chain(matched).chain(mirror(primary).map(|p| format!("mirror of {p} %"))).collect();
    if parts.is_empty() { "0 %".to_owned() } else { parts.join(" + ") }
}

/// How much of a rule's traffic is copied to v2.
fn mirror(rule: &Value) -> Option<f64> {
    let filters = rule["filters"].as_array().into_iter().flatten().filter_map(|f| f.get("requestMirror"));
    let filters = filters.map(|m| (&m["backendRef"], m["percent"].as_f64()));
    let mirrors = rule["mirrors"].as_array().into_iter().flatten().map(|m| (&m["destination"], m["percentage"]["value"].as_f64()));
    mirrors.chain(filters).find(|(to, _)| version(to) == "v2").map(|(_, percent)| percent.unwrap_or(100.0))
}

/// What the program says of the rule `primary` in its annotation; null where it says nothing.
pub(super) fn claim(object: &Value) -> Value {
    let text = object["metadata"]["annotations"]["haldane.dev/managed"].as_str().unwrap_or("{}");
    serde_json::from_str::<Value>(text).unwrap()["primary"].take()
}
