//! Several VirtualServices for one host. A sidecar takes one of them and leaves out the others; a gateway joins their routes, and of two that
//! take every request it leaves out one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::find::takes_all;

/// Sidecars and waypoints, where a VirtualService names no gateway.
const MESH: &str = "mesh";

/// A VirtualService, as far as it matters which requests meet it.
#[derive(Clone, Copy, Debug)]
pub struct Serving<'v> {
    /// Its namespace.
    pub namespace: &'v str,
    /// Its name.
    pub name: &'v str,
    /// Its `spec`.
    pub spec: &'v Value,
}

impl<'v> Serving<'v> {
    fn list(self, field: &str) -> impl Iterator<Item = &'v str> {
        self.spec[field].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// Full names: a host without a dot is a Service of the namespace.
    fn hosts(self) -> BTreeSet<String> {
        let full = |host: &str| if host.contains('.') || host == "*" { host.to_owned() } else { format!("{host}.{}.svc", self.namespace) };
        self.list("hosts").map(|host| full(host).trim_end_matches(".cluster.local").to_owned()).collect()
    }

    /// Names with their namespaces, and `mesh`.
    fn gateways(self) -> BTreeSet<String> {
        let full = |name: &str| if name == MESH || name.contains('/') { name.to_owned() } else { format!("{}/{name}", self.namespace) };
        let named: BTreeSet<String> = self.list("gateways").map(full).collect();
        if named.is_empty() { BTreeSet::from([MESH.to_owned()]) } else { named }
    }

    /// Whether proxies of that namespace see it.
    fn reaches(self, namespace: &str) -> bool {
        let to = |to: &str| to == "*" || to == namespace || (to == "." && self.namespace == namespace);
        self.spec["exportTo"].as_array().is_none_or(Vec::is_empty) || self.list("exportTo").any(to)
    }

    fn takes_all(self) -> bool {
        self.spec["http"].as_array().is_some_and(|routes| routes.iter().any(takes_all))
    }

    /// Why the other one and this one cannot both have an effect; nothing if they can.
    pub fn rival(self, other: Self) -> Option<String> {
        if (self.namespace, self.name) == (other.namespace, other.name) || !other.reaches(self.namespace) {
            return None;
        }
        let hosts = other.hosts();
        let host = self.hosts().into_iter().find(|host| hosts.contains(host))?;
        let theirs = other.gateways();
        let shared: Vec<String> = self.gateways().into_iter().filter(|gateway| theirs.contains(gateway)).collect();
        let name = if other.namespace == self.namespace { other.name.to_owned() } else { format!("{}/{}", other.namespace, other.name) };
        if shared.iter().any(|gateway| gateway == MESH) {
            return Some(format!("VirtualService {name} is for host {host} in the mesh too, and sidecars take only one of the two"));
        }
        let both = self.takes_all() && other.takes_all();
        let gateway = shared.first().filter(|_| both)?;
        Some(format!("VirtualService {name} is for host {host} at gateway {gateway} too, and each of the two takes every request"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn all() -> Value {
        json!([{"route": [{"destination": {"host": "fraud", "subset": "v1"}}]}])
    }

    fn rival(one: Value, other: (&str, Value)) -> Option<String> {
        let one = Serving { namespace: "ml", name: "fraud", spec: &one };
        one.rival(Serving { namespace: other.0, name: "legacy", spec: &other.1 })
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
        let itself = Serving { namespace: "ml", name: "fraud", spec: &short };
        assert_eq!(itself.rival(itself), None);
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
