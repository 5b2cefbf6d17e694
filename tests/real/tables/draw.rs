//! Draws Services, VirtualServices and DestinationRules, and requests that meet them.

use haldane::istio::request::Request;
use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};
use serde_json::{Value, json};

use super::proxy::{GATEWAY_PORT, Proxy};

/// How many Services there are, each with VirtualServices and DestinationRules of its own.
pub(super) const CASES: usize = 80;
/// The subsets that a rule may have.
pub(super) const SUBSETS: [&str; 3] = ["v1", "v2", "v3"];

/// The three namespaces: of most objects, of some, and of the gateway.
pub(super) struct Draw<'n> {
    pub near: &'n str,
    pub far: &'n str,
    pub edge: &'n str,
}

fn pick<T: Clone>(rng: &mut SmallRng, of: &[T]) -> T {
    of.choose(rng).unwrap().clone()
}

fn object(version: &str, kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace, "name": name}, "spec": spec})
}

fn istio(kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    object("networking.istio.io/v1", kind, namespace, name, spec)
}

impl Draw<'_> {
    /// What must be there before the proxies start: where they listen, and that they write down which route they took.
    pub(super) fn frame(&self) -> Vec<Value> {
        let file = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
        let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        let format = json!({"text_format_source": {"inline_string": "%REQ(X-ASKED)% %ROUTE_NAME%\n"}});
        let log = json!([{"name": "file", "typed_config": {"@type": file, "path": "/dev/stdout", "log_format": format}}]);
        let filter = json!({"filterChain": {"filter": {"name": "envoy.filters.network.http_connection_manager"}}});
        let patch = json!([{"applyTo": "NETWORK_FILTER", "match": {"context": "ANY", "listener": filter},
            "patch": {"operation": "MERGE", "value": {"typed_config": {"@type": manager, "access_log": log}}}}]);
        let server = json!({"port": {"number": GATEWAY_PORT, "name": "http", "protocol": "HTTP"}, "hosts": ["*/*"]});
        let mut all = vec![istio("Gateway", self.edge, "gw", json!({"selector": {"istio": self.edge}, "servers": [server]}))];
        for (namespace, address) in [(self.near, "127.0.2.1"), (self.far, "127.0.2.2")] {
            let hosts = json!([format!("{}/*", self.near), format!("{}/*", self.far)]);
            let port = |number: u64| json!({"number": number, "protocol": "HTTP", "name": format!("http-{number}")});
            let egress = [80, 8080].map(|number| json!({"bind": address, "port": port(number), "hosts": hosts}));
            all.push(istio("Sidecar", namespace, "default", json!({ "egress": egress })));
        }
        for namespace in [self.near, self.far, self.edge] {
            let filter = json!({ "configPatches": patch });
            all.push(object("networking.istio.io/v1alpha3", "EnvoyFilter", namespace, "routes-taken", filter));
        }
        all
    }

    /// Everything that is drawn, in an order that is drawn too.
    pub(super) fn objects(&self, rng: &mut SmallRng) -> Vec<Value> {
        let (mut services, mut all) = (Vec::new(), Vec::new());
        for case in 0..CASES {
            let ports = pick(rng, &[vec![80], vec![80], vec![80, 8080]]);
            services.push(self.service(self.near, case, &ports));
            if rng.random_bool(0.3) {
                services.push(self.service(self.far, case, &[80]));
            }
            for index in 0..pick(rng, &[1, 2, 2, 3]) {
                let virtual_service = self.virtual_service(rng, case, index);
                let name = virtual_service["metadata"]["name"].as_str().unwrap();
                if virtual_service["spec"]["http"].as_array().unwrap().iter().any(|route| !route["delegate"].is_null()) {
                    let to = json!([{"name": format!("{name}-r"), "route": [{"destination": {"host": format!("s{case}")}}]}]);
                    all.push(istio("VirtualService", self.near, &format!("{name}-to"), json!({ "http": to })));
                }
                all.push(virtual_service);
            }
            for index in 0..pick(rng, &[0, 1, 2, 3]) {
                all.push(self.rule(rng, case, index));
            }
        }
        all.push(self.for_all(rng, "near"));
        all.push(self.for_all(rng, "also"));
        rand::seq::SliceRandom::shuffle(all.as_mut_slice(), rng);
        services.into_iter().chain(all).collect()
    }

    /// What is made last, and is in force with everything before it.
    pub(super) fn last(&self) -> Vec<Value> {
        let route = json!([{"name": "last", "route": [{"destination": {"host": "last", "subset": "last"}}]}]);
        let spec = json!({"hosts": ["last.test"], "gateways": ["mesh", format!("{}/gw", self.edge)], "http": route});
        let rule = json!({"host": "last", "subsets": [{"name": "last", "labels": {"version": "1"}}]});
        let ports = json!([{"name": "http", "port": 80}]);
        vec![
            object("v1", "Service", self.near, "last", json!({ "ports": ports })),
            istio("DestinationRule", self.near, "last", rule),
            istio("VirtualService", self.near, "last", spec),
        ]
    }

    /// Hosts and ports that clients of a proxy ask for.
    pub(super) fn hosts(&self, services: &[Value], proxy: &Proxy) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for case in 0..CASES {
            let ports: &[u64] = if proxy.gateway.is_some() { &[GATEWAY_PORT] } else { &[80] };
            for host in [format!("c{case}.test"), format!("x.w{case}.test")] {
                all.extend(ports.iter().map(|port| (host.clone(), *port)));
            }
        }
        for service in services.iter().filter(|service| service["metadata"]["name"] != "last") {
            let text = |field: &str| service["metadata"][field].as_str().unwrap();
            let host = format!("{}.{}.svc.cluster.local", text("name"), text("namespace"));
            match proxy.gateway {
                Some(_) => all.push((host, GATEWAY_PORT)),
                None => {
                    let ports = service["spec"]["ports"].as_array().unwrap();
                    all.extend(ports.iter().map(|port| (host.clone(), port["port"].as_u64().unwrap())));
                }
            }
        }
        all
    }

    fn service(&self, namespace: &str, case: usize, ports: &[u64]) -> Value {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"name": format!("http-{port}"), "port": port})).collect();
        object("v1", "Service", namespace, &format!("s{case}"), json!({ "ports": ports }))
    }

    /// One that answers for every Service of its namespace that has none of its own.
    fn for_all(&self, rng: &mut SmallRng, name: &str) -> Value {
        let hosts = json!([format!("*.{}.svc.cluster.local", self.near)]);
        istio("VirtualService", self.near, &format!("{name}-all"), json!({"hosts": hosts, "http": self.routes(rng, 0, name, "x")}))
    }

    fn virtual_service(&self, rng: &mut SmallRng, case: usize, index: usize) -> Value {
        let namespace = pick(rng, &[self.near, self.near, self.near, self.far]);
        let name = format!("{}{index}-{case}", pick(rng, &["a", "k", "z"]));
        let full = format!("s{case}.{}.svc.cluster.local", self.near);
        let pool =
            [format!("s{case}"), full.clone(), full, format!("s{case}.{}", self.near), format!("c{case}.test"), format!("*.w{case}.test")];
        let mut hosts = vec![pick(rng, &pool)];
        let second = pick(rng, &pool);
        if rng.random_bool(0.4) && !second.starts_with(&format!("s{case}")) && !hosts.contains(&second) {
            hosts.push(second);
        }
        let gateway = format!("{}/gw", self.edge);
        let old = pick(rng, &[format!("gw.{}", self.edge), format!("gw.{}.svc.cluster.local", self.edge)]);
        let gateways = pick(
            rng,
            &[
                json!(null),
                json!(null),
                json!(["mesh"]),
                json!([gateway]),
                json!([old, "mesh"]),
                json!([gateway, "mesh"]),
                json!([old]),
                json!(["nobody"]),
            ],
        );
        let export_to = pick(
            rng,
            &[
                json!(null),
                json!(null),
                json!(null),
                json!(["*"]),
                json!(["."]),
                json!(["."]),
                json!([self.near]),
                json!([self.far, self.edge]),
            ],
        );
        let mut spec = json!({"hosts": hosts, "http": self.routes(rng, case, &name, namespace)});
        for (field, value) in [("gateways", gateways), ("exportTo", export_to)] {
            if !value.is_null() {
                spec[field] = value;
            }
        }
        istio("VirtualService", namespace, &name, spec)
    }

    fn routes(&self, rng: &mut SmallRng, case: usize, name: &str, namespace: &str) -> Vec<Value> {
        let count = pick(rng, &[1, 2, 3, 4]);
        let mut routes = Vec::new();
        for at in 0..count {
            let mut route = json!({"name": format!("{namespace}-{name}-r{at}")});
            let matches: Vec<Value> = (0..pick(rng, &[0, 1, 1, 2])).map(|_| self.one_match(rng)).collect();
            if !matches.is_empty() && (at + 1 < count || rng.random_bool(0.5)) {
                route["match"] = json!(matches);
            }
            if rng.random_bool(0.03) && namespace != "x" {
                route["delegate"] = json!({"name": format!("{name}-to"), "namespace": self.near});
            } else {
                route["route"] = json!(self.destinations(rng, case));
            }
            routes.push(route);
        }
        routes
    }

    fn destinations(&self, rng: &mut SmallRng, case: usize) -> Vec<Value> {
        let other = rng.random_range(0..CASES);
        let pool =
            [format!("s{case}"), format!("s{case}.{}.svc.cluster.local", self.near), format!("s{other}"), format!("s{case}.{}", self.near)];
        let count = pick(rng, &[1, 2, 2, 3]);
        let entry = |rng: &mut SmallRng| {
            let mut to = json!({"host": pick(rng, &pool)});
            if rng.random_bool(0.6) {
                to["subset"] = json!(pick(rng, &SUBSETS));
            }
            if rng.random_bool(0.3) {
                to["port"] = json!({"number": pick(rng, &[80, 8080])});
            }
            let mut entry = json!({ "destination": to });
            let weight = pick(rng, &[None, Some(0), Some(1), Some(50), Some(100), Some(1000)]);
            if let Some(weight) = weight {
                entry["weight"] = json!(weight);
            }
            entry
        };
        (0..count).map(|_| entry(rng)).collect()
    }

    fn one_match(&self, rng: &mut SmallRng) -> Value {
        let mut one = json!({});
        let path = pick(rng, &["/", "/a", "/A", "/a/b"]);
        match rng.random_range(0..6) {
            0 | 1 => one["uri"] = json!({ "prefix": path }),
            2 => one["uri"] = json!({ "exact": path }),
            3 => one["uri"] = json!({"regex": pick(rng, &["/a.*", ".*", "/(a|b)", "/.*b"])}),
            _ => {}
        }
        if !one["uri"].is_null() && rng.random_bool(0.3) {
            one["ignoreUriCase"] = json!(true);
        }
        for (field, chance) in [("headers", 0.35), ("withoutHeaders", 0.2)] {
            if rng.random_bool(chance) {
                one[field] = json!({pick(rng, &["x-a", "X-A", "x-b"]): text(rng)});
            }
        }
        if rng.random_bool(0.2) {
            one["queryParams"] = json!({"v": text(rng)});
        }
        if rng.random_bool(0.15) {
            one["method"] = json!({"exact": pick(rng, &["GET", "POST"])});
        }
        if rng.random_bool(0.15) {
            one["port"] = json!(pick(rng, &[80, 8080, GATEWAY_PORT]));
        }
        if rng.random_bool(0.15) {
            one["gateways"] = json!([pick(rng, &["mesh".to_owned(), format!("{}/gw", self.edge), format!("gw.{}", self.edge)])]);
        }
        if rng.random_bool(0.1) {
            one["name"] = json!("named");
        }
        if one == json!({}) { json!({"uri": {"prefix": path}}) } else { one }
    }

    fn rule(&self, rng: &mut SmallRng, case: usize, index: usize) -> Value {
        let host = match rng.random_range(0..12) {
            0..5 => format!("s{case}"),
            5..10 => format!("s{case}.{}.svc.cluster.local", self.near),
            10 => format!("s{case}.{}", self.near),
            _ => format!("*{case}.{}.svc.cluster.local", self.near),
        };
        let mut subsets = Vec::new();
        for (at, name) in SUBSETS.into_iter().enumerate() {
            if rng.random_bool(0.5) {
                let number = 1000 + case * 10 + index * 3 + at;
                let pool = json!({"connectionPool": {"tcp": {"maxConnections": number}}});
                subsets.push(json!({"name": name, "labels": {"version": number.to_string()}, "trafficPolicy": pool}));
            }
        }
        let mut spec = json!({"host": host, "subsets": subsets});
        let export_to = pick(
            rng,
            &[
                json!(null),
                json!(null),
                json!(null),
                json!(["*"]),
                json!(["."]),
                json!(["."]),
                json!([self.near]),
                json!([self.near, self.far]),
                json!([self.far]),
            ],
        );
        if rng.random_bool(0.2) {
            spec["workloadSelector"] = json!({"matchLabels": {"app": "somebody"}});
            spec["exportTo"] = json!(["."]);
        } else if !export_to.is_null() {
            spec["exportTo"] = export_to;
        }
        istio("DestinationRule", self.near, &format!("{}{index}-{case}", pick(rng, &["a", "k", "z"])), spec)
    }
}

fn text(rng: &mut SmallRng) -> Value {
    pick(rng, &[json!({"exact": "a"}), json!({"prefix": "a"}), json!({"regex": "a.*"}), json!({"regex": ".*"}), json!({})])
}

/// A request in the words of the matches.
pub(super) fn asked(rng: &mut SmallRng) -> Request {
    let value = [None, None, Some("a"), Some("ab"), Some("b")];
    let mut headers = std::collections::BTreeMap::new();
    for name in ["x-a", "x-b"] {
        if let Some(value) = pick(rng, &value) {
            headers.insert(name.to_owned(), value.to_owned());
        }
    }
    let query = pick(rng, &value).map(|value| ("v".to_owned(), value.to_owned())).into_iter().collect();
    let path = pick(rng, &["/", "/a", "/A", "/a/b", "/AB", "/b"]).to_owned();
    Request { method: pick(rng, &["GET", "POST"]).to_owned(), headers, query, path }
}
