//! Which http route a request reaches: the first that has a match which fits it.

use serde_json::Value;

use super::{
    name::{MESH, gateway},
    request::{names_gateways, narrower},
};

/// The gateways that a VirtualService applies at, as `namespace/name` or `mesh`.
pub fn gateways(spec: &Value, namespace: &str) -> Vec<String> {
    let list: Vec<String> =
        spec["gateways"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|name| gateway(name, namespace)).collect();
    if list.is_empty() { vec![MESH.to_owned()] } else { list }
}

/// Whether it has a route at a gateway, or in the mesh. Where it has none, Istio passes it over.
pub fn serves(spec: &Value, namespace: &str, gateway: &str) -> bool {
    let routes = ["http", "tcp", "tls"].into_iter().flat_map(|kind| spec[kind].as_array().into_iter().flatten());
    routes.into_iter().any(|route| ways(route, gateway, namespace, None).next().is_some())
}

/// Whether no request gets past a route: it has no match, or one that asks for nothing.
pub fn takes_all(route: &Value) -> bool {
    let asks = |one: &Value| names_gateways(one) || !one["port"].is_null() || !narrower(&Value::Null, one);
    match route["match"].as_array() {
        None => true,
        Some(list) => list.is_empty() || list.iter().any(|one| !asks(one)),
    }
}

/// The routes above one that leave no request for it, by their indices; none if some request may reach it. `skip` are routes that do not
/// count. Where the clients can use one port alone, `port` is its number.
pub fn above(spec: &Value, namespace: &str, index: usize, port: Option<u64>, skip: impl Fn(&Value) -> bool) -> Option<Vec<usize>> {
    let routes = spec["http"].as_array()?;
    let higher: Vec<(usize, &Value)> = routes.iter().enumerate().take(index).filter(|(_, route)| !skip(route)).collect();
    let mut covers = Vec::new();
    for gateway in gateways(spec, namespace) {
        for one in ways(routes.get(index)?, &gateway, namespace, port) {
            let cover = |(_, route): &&(usize, &Value)| {
                let mut theirs = ways(route, &gateway, namespace, port);
                theirs.any(|theirs| same_port(one, theirs, port) && narrower(one, theirs))
            };
            let (at, _) = higher.iter().find(cover)?;
            covers.push(*at);
        }
    }
    covers.sort_unstable();
    covers.dedup();
    // A route whose matches are all for other gateways or ports has nobody above it: that is a fault of its own.
    (!covers.is_empty()).then_some(covers)
}

/// The matches of a route that count at a gateway and a port; one that asks for nothing if it has none.
pub fn ways<'v>(route: &'v Value, gateway: &str, namespace: &str, port: Option<u64>) -> impl Iterator<Item = &'v Value> {
    let list = route["match"].as_array().filter(|list| !list.is_empty());
    let none = list.is_none().then_some(&Value::Null);
    let here = move |one: &&Value| {
        let named = one["gateways"].as_array().map(Vec::as_slice).unwrap_or_default();
        let at = |name: &Value| name.as_str().is_some_and(|name| super::name::gateway(name, namespace) == *gateway);
        let fits = |asked: u64| port.is_none_or(|port| port == asked);
        (named.is_empty() || named.iter().any(at)) && one["port"].as_u64().is_none_or(fits)
    };
    let found: Vec<&Value> = list.into_iter().flatten().chain(none).filter(here).collect();
    found.into_iter()
}

/// Whether what the second asks of the port is no more than what the first does.
fn same_port(one: &Value, other: &Value, port: Option<u64>) -> bool {
    port.is_some() || other["port"].is_null() || one["port"] == other["port"]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn above_last(spec: Value, port: Option<u64>) -> Option<Vec<usize>> {
        let last = spec["http"].as_array().unwrap().len() - 1;
        above(&spec, "ml", last, port, |route| route["name"] == "ours")
    }

    #[test]
    fn a_route_without_a_match_leaves_nothing_for_those_below() {
        assert_eq!(above_last(json!({"http": [{}, {}]}), None), Some(vec![0]));
        assert_eq!(above_last(json!({"http": [{"match": []}, {"match": [{"uri": {"prefix": "/a"}}]}]}), None), Some(vec![0]));
        assert_eq!(above_last(json!({"http": [{"match": [{"name": "all", "uri": {"prefix": "/"}}]}, {}]}), None), Some(vec![0]));
        assert_eq!(above_last(json!({"http": [{"name": "ours"}, {}]}), None), None);
        assert_eq!(above_last(json!({"http": [{"match": [{"uri": {"prefix": "/a"}}]}, {}]}), None), None);
    }

    #[test]
    fn two_above_may_take_it_all_between_them() {
        let uri = |text: &str| json!({"match": [{"uri": {"prefix": text}}]});
        let both = json!({"match": [{"uri": {"prefix": "/a/x"}}, {"uri": {"exact": "/b/y"}}]});
        assert_eq!(above_last(json!({"http": [uri("/a"), uri("/b"), both]}), None), Some(vec![0, 1]));
        assert_eq!(above_last(json!({"http": [uri("/a"), both]}), None), None);
    }

    #[test]
    fn each_gateway_is_looked_at_for_itself() {
        let at = |gateway: &str| json!({"match": [{"gateways": [gateway]}]});
        let spec = |above: Value, gateways: Value| json!({"gateways": gateways, "http": [above, {}]});
        assert_eq!(above_last(spec(at("mesh"), json!(["edge/gw", "mesh"])), None), None);
        assert_eq!(above_last(spec(at("edge/gw"), json!(["gw.edge.svc.cluster.local"])), None), Some(vec![0]));
        let two = json!({"gateways": ["edge/gw", "mesh"], "http": [at("edge/gw"), at("mesh"), {}]});
        assert_eq!(above_last(two, None), Some(vec![0, 1]));
    }

    #[test]
    fn a_match_of_the_only_port_asks_for_nothing() {
        let spec = json!({"http": [
            {"match": [{"port": 80}, {"uri": {"exact": "/EmptyCart"}}]},
            {"match": [{"port": 80}, {"uri": {"exact": "/GetCart"}}]},
        ]});
        assert_eq!(above_last(spec.clone(), None), None, "at another port /GetCart reaches it");
        assert_eq!(above_last(spec.clone(), Some(80)), Some(vec![0]));
        assert_eq!(above_last(spec, Some(81)), None);
    }

    #[test]
    fn takes_all_is_a_route_that_asks_for_nothing() {
        assert!(takes_all(&json!({})) && takes_all(&json!({"match": [{"uri": {"exact": "/a"}}, {"uri": {"prefix": "/"}}]})));
        assert!(takes_all(&json!({"match": [{"uri": {"regex": ".*"}, "ignoreUriCase": true}]})));
        for one in [json!({"port": 80}), json!({"gateways": ["gw"]}), json!({"headers": {"a": {}}}), json!({"withoutHeaders": {"a": {}}})] {
            assert!(!takes_all(&json!({"match": [one]})), "{one}");
        }
    }
}
