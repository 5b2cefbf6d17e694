//! A plain Envoy that istiod programs, which says what it was given and which route each request took.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures::StreamExt;
use haldane::istio::request::Request;
use serde_json::{Value, json};

use crate::real::world::SOON;

/// Where the gateway listens.
pub(super) const GATEWAY_PORT: u64 = 8002;

/// One request to a host.
#[derive(Debug)]
pub(super) struct Ask {
    pub host: String,
    pub port: u64,
    pub request: Request,
}

/// One Envoy. It ends with the test.
pub(super) struct Proxy {
    /// What it is called in messages.
    pub name: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// The Gateway that it is, as `namespace/name`; nothing: a sidecar.
    pub gateway: Option<String>,
    address: String,
    admin: u16,
    log: PathBuf,
    child: Child,
    client: reqwest::Client,
}

/// What istiod gave it.
#[derive(Default)]
pub(super) struct Table {
    /// Clusters and weights of each route, by its port and its name.
    pub routes: BTreeMap<(u64, String), Vec<(String, u64)>>,
    /// Each cluster, with the number of connections that its rule allows.
    pub clusters: BTreeMap<String, Option<u64>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    pub(super) fn sidecar(directory: &Path, namespace: &str, address: &str, admin: u16) -> Self {
        let node = json!({
            "id": format!("sidecar~10.240.254.{}~proxy.{namespace}~{namespace}.svc.cluster.local", admin % 100),
            "cluster": format!("proxy.{namespace}"),
            "metadata": {"NAME": "proxy", "NAMESPACE": namespace, "INSTANCE_IPS": format!("10.240.254.{}", admin % 100),
                "LABELS": {"app": "proxy"}, "WORKLOAD_NAME": "proxy", "INTERCEPTION_MODE": "NONE"},
        });
        Self::start(directory, namespace, address, admin, None, &node)
    }

    pub(super) fn gateway(directory: &Path, namespace: &str, admin: u16) -> Self {
        let node = json!({
            "id": format!("router~10.240.254.{}~proxy.{namespace}~{namespace}.svc.cluster.local", admin % 100),
            "cluster": format!("proxy.{namespace}"),
            "metadata": {"NAME": "proxy", "NAMESPACE": namespace, "INSTANCE_IPS": format!("10.240.254.{}", admin % 100),
                "LABELS": {"istio": namespace, "app": "proxy"}},
        });
        Self::start(directory, namespace, "127.0.0.1", admin, Some(format!("{namespace}/gw")), &node)
    }

    fn start(directory: &Path, namespace: &str, address: &str, admin: u16, gateway: Option<String>, node: &Value) -> Self {
        let own = json!({"node": node, "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}}});
        let log = directory.join(format!("envoy-{admin}.log"));
        let bootstrap = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stack/conf/envoy.yaml");
        let mut command = Command::new("envoy");
        command.arg("-c").arg(bootstrap).args(["--config-yaml", &own.to_string(), "--concurrency", "1", "--log-level", "warning"]);
        command.args(["--disable-hot-restart", "--file-flush-interval-msec", "50"]);
        command.stdin(Stdio::null()).stdout(File::create(&log).unwrap()).stderr(File::create(log.with_extension("err")).unwrap());
        let name = match (&gateway, admin % 2) {
            (Some(_), _) => "gateway",
            (None, 1) => "sidecar",
            (None, _) => "sidecar elsewhere",
        };
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let child = command.spawn().unwrap();
        Self { name, namespace: namespace.to_owned(), gateway, address: address.to_owned(), admin, log, child, client }
    }

    async fn dump(&self) -> Value {
        let answer = self.client.get(format!("http://127.0.0.1:{}/config_dump", self.admin)).send().await;
        match answer {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// The whole table, once the object that was made last is in it and nothing more comes.
    pub(super) async fn table(&self) -> Table {
        let begin = Instant::now();
        let mut before = String::new();
        loop {
            let dump = self.dump().await;
            let table = Table::of(&dump);
            let text = format!("{:?}", (&table.routes, &table.clusters));
            let done = table.routes.keys().any(|(_, name)| name == "last") && table.clusters.keys().any(|name| name.contains("|last|"));
            if done && text == before {
                return table;
            }
            before = text;
            assert!(begin.elapsed() < SOON, "{}: the last object did not come: {} routes", self.name, table.routes.len());
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }

    /// Sends requests, and gives the name of the route that each took; `-` where there was none.
    pub(super) async fn send(&self, asks: &[Ask]) -> Vec<String> {
        let mut all = Vec::new();
        for (at, ask) in asks.iter().enumerate() {
            let url = format!("http://{}:{}{}", self.address, ask.port, ask.request.path);
            let request = self.client.request(ask.request.method.parse().unwrap(), url).query(&ask.request.query);
            let request = request.header("host", &ask.host).header("x-asked", at);
            let request = ask.request.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            all.push(async move { request.send().await.unwrap_or_else(|error| panic!("{} {ask:?}: {error:?}", self.name)) });
        }
        futures::stream::iter(all).buffer_unordered(8).for_each(|_| async {}).await;
        let begin = Instant::now();
        loop {
            let text = std::fs::read_to_string(&self.log).unwrap();
            let lines: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(' ')).collect();
            let found: Option<Vec<String>> =
                (0..asks.len()).map(|at| lines.get(at.to_string().as_str()).map(|name| (*name).to_owned())).collect();
            if let Some(found) = found {
                return found;
            }
            assert!(begin.elapsed() < SOON, "{}: the access log has {} of {} requests", self.name, lines.len(), asks.len());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Table {
    fn of(dump: &Value) -> Self {
        let mut table = Self::default();
        let configs = dump["configs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let list = |field: &'static str| configs.iter().flat_map(move |config| config[field].as_array().into_iter().flatten());
        let mut routes = Vec::new();
        for config in list("dynamic_route_configs").map(|config| &config["route_config"]) {
            let port = config["name"].as_str().and_then(|name| name.rsplit('.').next()?.parse().ok()).unwrap_or(0);
            let hosts = config["virtual_hosts"].as_array().into_iter().flatten();
            routes.extend(hosts.flat_map(|host| host["routes"].as_array().into_iter().flatten()).map(|route| (port, route)));
        }
        for (port, route) in routes {
            let Some(name) = route["name"].as_str() else { continue };
            let to = &route["route"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let weighted = to["weighted_clusters"]["clusters"].as_array().into_iter().flatten();
            let mut clusters: Vec<(String, u64)> = weighted.map(|one| (text(&one["name"]), one["weight"].as_u64().unwrap_or(0))).collect();
            if clusters.is_empty() {
                clusters.push((text(&to["cluster"]), 100));
            }
            if let [(_, weight)] = clusters.as_mut_slice() {
                *weight = 100;
            }
            table.routes.insert((port, name.to_owned()), clusters);
        }
        for cluster in list("dynamic_active_clusters") {
            let cluster = &cluster["cluster"];
            let most = cluster["circuit_breakers"]["thresholds"][0]["max_connections"].as_u64();
            table.clusters.insert(cluster["name"].as_str().unwrap_or_default().to_owned(), most.filter(|most| *most < 100_000));
        }
        table
    }
}
