//! Several VirtualServices for one host. A sidecar takes one of them and leaves out the others; a gateway joins their routes, and of two that
//! take every request it leaves out one.

use serde_json::Value;

use super::{at, find::takes_all};

/// Sidecars and waypoints, where a VirtualService names no gateway.
const MESH: &str = "mesh";

/// A VirtualService, as far as it matters which requests meet it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    namespace: String,
    name: String,
    /// Full names: a host without a dot is a Service of the namespace.
    hosts: Vec<String>,
    /// Names with their namespaces, and `mesh`.
    gateways: Vec<String>,
    /// Namespaces whose proxies see it; none: all.
    export_to: Vec<String>,
    takes_all: bool,
}

impl Serving {
    /// That of an object.
    pub fn of(virtual_service: &Value) -> Self {
        let text = |field: &str| at(virtual_service, &format!("/metadata/{field}")).as_str().unwrap_or_default().to_owned();
        let (namespace, spec) = (text("namespace"), &virtual_service["spec"]);
        let list = |field: &str| spec[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        let gateway = |name: &str| if name == MESH || name.contains('/') { name.to_owned() } else { format!("{namespace}/{name}") };
        let gateways: Vec<String> = list("gateways").map(gateway).collect();
        Self {
            hosts: list("hosts").map(|name| full_name(name, &namespace)).collect(),
            gateways: if gateways.is_empty() { vec![MESH.to_owned()] } else { gateways },
            export_to: list("exportTo").map(str::to_owned).collect(),
            takes_all: spec["http"].as_array().is_some_and(|routes| routes.iter().any(takes_all)),
            name: text("name"),
            namespace,
        }
    }

    /// Whether proxies of that namespace see it.
    fn reaches(&self, namespace: &str) -> bool {
        let to = |to: &String| to == "*" || to == namespace || (to == "." && self.namespace == namespace);
        self.export_to.is_empty() || self.export_to.iter().any(to)
    }

    /// Why the other one and this one cannot both have an effect; nothing if they can.
    pub fn rival(&self, other: &Self) -> Option<String> {
        if (&self.namespace, &self.name) == (&other.namespace, &other.name) || !other.reaches(&self.namespace) {
            return None;
        }
        let host = self.hosts.iter().find(|host| other.hosts.contains(host))?;
        let shared = || self.gateways.iter().filter(|gateway| other.gateways.contains(gateway));
        let name = if other.namespace == self.namespace { other.name.clone() } else { format!("{}/{}", other.namespace, other.name) };
        if shared().any(|gateway| gateway == MESH) {
            return Some(format!("VirtualService {name} is for host {host} in the mesh too, and sidecars take only one of the two"));
        }
        let gateway = shared().next().filter(|_| self.takes_all && other.takes_all)?;
        Some(format!("VirtualService {name} is for host {host} at gateway {gateway} too, and each of the two takes every request"))
    }
}

/// A host without a dot is a Service of the namespace; `.cluster.local` is left out.
pub(super) fn full_name(host: &str, namespace: &str) -> String {
    match host.contains('.') || host == "*" {
        true => host.trim_end_matches(".cluster.local").to_owned(),
        false => format!("{host}.{namespace}.svc"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all() -> Value {
        json!([{"route": [{"destination": {"host": "fraud", "subset": "v1"}}]}])
    }

    fn serving(namespace: &str, name: &str, spec: Value) -> Serving {
        Serving::of(&json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec}))
    }

    fn rival(one: Value, other: (&str, Value)) -> Option<String> {
        serving("ml", "fraud", one).rival(&serving(other.0, "legacy", other.1))
    }

    #[test]
    fn of_two_for_one_host_sidecars_take_one() {
        let short = json!({"hosts": ["fraud"], "http": all()});
        let long = json!({"hosts": ["x.com", "fraud.ml.svc.cluster.local"], "gateways": ["mesh"], "http": []});
        let told = rival(short.clone(), ("ml", long.clone())).unwrap();
        assert_eq!(told, "VirtualService legacy is for host fraud.ml.svc in the mesh too, and sidecars take only one of the two");
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
        let told = rival(one, ("edge", json!({"hosts": ["fraud.com"], "gateways": ["ml/gw"], "http": all()}))).unwrap();
        assert_eq!(told, "VirtualService edge/legacy is for host fraud.com at gateway ml/gw too, and each of the two takes every request");
    }
}
