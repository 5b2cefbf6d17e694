//! What `istio` makes of an object, against the route tables of istiod: for generated Services, VirtualServices and DestinationRules, which
//! VirtualService answers a host, which of its routes a request reaches, who gets how much of it, and which subsets a host has.
//!
//! Three plain Envoys get the tables: two sidecars in two namespaces, and a gateway. Requests are sent through them, and the access log says
//! which route each took; nobody answers behind them.

mod draw;
mod proxy;

use std::collections::{BTreeMap, BTreeSet};

use haldane::{
    istio::{
        answer::{About, answering},
        name::{Host, MESH},
        reach::{gateways, takes_all, ways},
        split::{destinations, percents, written},
    },
    observe::{
        kept::Rule,
        mesh::{Declared, declared},
    },
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, PostParams},
};
use rand::{SeedableRng, rngs::SmallRng};
use serde::Deserialize;
use serde_json::{Value, json};

use self::{
    draw::{Draw, SUBSETS, asked},
    proxy::{Ask, Proxy, Table},
};
use super::world::story;

/// How many requests are sent to each host and port of each proxy.
const REQUESTS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_we_make_of_generated_objects_is_what_istiod_makes_of_them() {
    story("tables", async |world| {
        let mut rng = SmallRng::seed_from_u64(11);
        let near = world.namespace.clone();
        let (far, edge) = (format!("{near}-b"), format!("{near}-edge"));
        for namespace in [&far, &edge] {
            world.kubectl(&["create", "namespace", namespace]);
        }
        let client = Client::try_default().await.unwrap();
        let mut objects = Objects::default();
        let draw = Draw { near: &near, far: &far, edge: &edge };
        for object in draw.frame() {
            objects.create(&client, object).await;
        }
        let directory = std::env::temp_dir().join(&near);
        std::fs::create_dir_all(&directory).unwrap();
        let proxies = [
            Proxy::sidecar(&directory, &near, "127.0.2.1", 15301),
            Proxy::sidecar(&directory, &far, "127.0.2.2", 15302),
            Proxy::gateway(&directory, &edge, 15303),
        ];
        assert_eq!(objects.refused, BTreeMap::new(), "the frame is taken");
        for object in draw.objects(&mut rng) {
            objects.create(&client, object).await;
        }
        for object in draw.last() {
            objects.create(&client, object).await;
        }
        let mut wrong = BTreeMap::new();
        let mut seen = Seen::default();
        for proxy in &proxies {
            let table = proxy.table().await;
            let mut asks = Vec::new();
            for (host, port) in draw.hosts(&objects.services, proxy) {
                asks.extend((0..REQUESTS).map(|_| Ask { host: host.clone(), port, request: asked(&mut rng) }));
            }
            let all = proxy.send(&asks).await;
            for (ask, taken) in asks.iter().zip(all) {
                seen.requests += 1;
                let expected = match objects.expected(proxy, ask) {
                    Expected::Unknown(why) => {
                        *seen.unknown.entry(why).or_default() += 1;
                        continue;
                    }
                    expected => expected,
                };
                match expected.compare(&taken, &table, &objects, ask.port) {
                    Err(difference) => {
                        let words = || format!("{} {ask:?}: {difference}\n  {}", proxy.name, objects.of_host(&ask.host));
                        wrong.entry(format!("{} {}", proxy.name, ask.host)).or_insert_with(words);
                    }
                    Ok(()) if expected.is_route() => drop(seen.routes.insert(taken)),
                    Ok(()) => {}
                }
            }
        }
        let table = proxies[0].table().await;
        seen.subsets = objects.subsets(&near, &table, &mut wrong);
        println!("{} objects; refused {:?}; {seen}", objects.made, objects.refused);
        for namespace in [&far, &edge] {
            world.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
        }
        let _ = std::fs::remove_dir_all(&directory);
        let shown: Vec<&str> = wrong.values().take(40).map(String::as_str).collect();
        assert!(wrong.is_empty(), "{} hosts and subsets differ:\n{}", wrong.len(), shown.join("\n"));
        assert!(objects.refused.keys().all(|why| why == "all weights are 0"), "{:#?}", objects.refused);
        assert!(seen.routes.len() > 100 && seen.subsets > 60, "{seen}");
        assert!(seen.unknown.values().sum::<usize>() * 10 < seen.requests, "{seen}");
    })
    .await;
}

/// What was compared.
#[derive(Default)]
struct Seen {
    requests: usize,
    routes: BTreeSet<String>,
    subsets: usize,
    unknown: BTreeMap<&'static str, usize>,
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requests, routes, subsets, unknown } = self;
        write!(f, "{requests} requests, {} routes reached, {subsets} subsets, not compared: {unknown:?}", routes.len())
    }
}

/// What the API server has.
#[derive(Default)]
struct Objects {
    virtual_services: Vec<(Value, Where)>,
    rules: Vec<std::sync::Arc<Rule>>,
    services: Vec<Value>,
    made: usize,
    refused: BTreeMap<String, usize>,
}

/// Where a VirtualService is in force.
struct Where {
    namespace: String,
    name: String,
    created: String,
    hosts: Vec<String>,
    gateways: Vec<String>,
    export_to: Vec<String>,
}

impl Where {
    fn of(object: &Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let list = |field: &str| serde_json::from_value(object["spec"][field].clone()).unwrap_or_default();
        let spec = &object["spec"];
        let namespace = text("namespace");
        let routes = spec["http"].as_array().map(Vec::as_slice).unwrap_or_default();
        let here = |gateway: &String| routes.iter().any(|route| ways(route, gateway, &namespace, None).next().is_some());
        let gateways = gateways(spec, &namespace).into_iter().filter(here).collect();
        Self {
            name: text("name"),
            created: text("creationTimestamp"),
            hosts: list("hosts"),
            gateways,
            export_to: list("exportTo"),
            namespace,
        }
    }

    fn about(&self) -> About<'_> {
        let Self { namespace, name, created, hosts, gateways, export_to } = self;
        About { namespace, name, created, hosts, gateways, export_to }
    }
}

/// What a request is expected to do.
enum Expected<'o> {
    /// It takes this route of this VirtualService.
    Route { object: &'o Value, route: &'o Value, gateway: bool },
    /// A VirtualService answers the host, and none of its routes takes the request.
    NoRoute,
    /// No VirtualService answers: the Service as it is, or nobody.
    NoVirtualService,
    /// We do not say, and why.
    Unknown(&'static str),
}

impl Objects {
    async fn create(&mut self, client: &Client, object: Value) {
        let (group, version) =
            object["apiVersion"].as_str().unwrap().split_once('/').unwrap_or(("", object["apiVersion"].as_str().unwrap()));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap()));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), object["metadata"]["namespace"].as_str().unwrap(), &resource);
        let made = api.create(&PostParams::default(), &serde_json::from_value(object.clone()).unwrap()).await;
        let all_zero = |route: &Value| percents(&written(route)).is_none() && !route["route"].is_null();
        let zero = object["kind"] == "VirtualService" && object["spec"]["http"].as_array().unwrap().iter().any(all_zero);
        let made = match made {
            Ok(made) => serde_json::to_value(made).unwrap(),
            Err(kube::Error::Api(error)) => {
                let words = if zero { "all weights are 0".to_owned() } else { format!("{}: {object}", error.message) };
                *self.refused.entry(words).or_default() += 1;
                return;
            }
            Err(error) => panic!("{error}"),
        };
        assert!(!zero, "we say that Istio refuses it, and it does not: {object}");
        self.made += 1;
        match object["kind"].as_str().unwrap() {
            "VirtualService" => {
                let place = Where::of(&made);
                self.virtual_services.push((made, place));
            }
            "DestinationRule" => self.rules.push(std::sync::Arc::new(Rule::deserialize(made).unwrap())),
            "Service" => self.services.push(made),
            _ => {}
        }
    }

    fn expected(&self, proxy: &Proxy, ask: &Ask) -> Expected<'_> {
        let written = Host::of(&ask.host, &proxy.namespace);
        let gateway = proxy.gateway.as_deref().unwrap_or(MESH);
        let mut list = answering(&self.virtual_services, written, gateway, &proxy.namespace, |(_, place)| place.about());
        if proxy.gateway.is_none() {
            list.truncate(1);
        }
        if list.is_empty() {
            return Expected::NoVirtualService;
        }
        let all = |way: &Value| takes_all(&json!({ "match": [way] }));
        let mut routes = Vec::new();
        for (object, place) in list {
            let http = object["spec"]["http"].as_array().unwrap().iter();
            let each =
                http.flat_map(|route| ways(route, gateway, &place.namespace, Some(ask.port)).map(move |way| (object, route, bare(way))));
            for one in each {
                // What stands below is never reached, and no proxy gets it.
                let last = all(&one.2);
                routes.push(one);
                if last {
                    break;
                }
            }
        }
        // A gateway puts those that ask for nothing at the end.
        if proxy.gateway.is_some() {
            routes.sort_by_key(|(.., way)| all(way));
        }
        let taken = routes.iter().position(|(.., way)| ask.request.fits(way));
        if routes.iter().take(taken.map_or(routes.len(), |taken| taken + 1)).any(|(_, route, _)| !route["delegate"].is_null()) {
            return Expected::Unknown("a route is delegated");
        }
        let gateway = proxy.gateway.is_some();
        taken.map_or(Expected::NoRoute, |taken| Expected::Route { object: routes[taken].0, route: routes[taken].1, gateway })
    }

    /// Every VirtualService that has the host, for messages.
    fn of_host(&self, host: &str) -> String {
        let case = host.split('.').next().unwrap_or_default().trim_start_matches(['s', 'c', 'w']);
        let of = |object: &&(Value, Where)| object.1.name.ends_with(&format!("-{case}"));
        let all = self.virtual_services.iter().filter(of);
        all.map(|(object, place)| format!("{} {}/{}: {}", place.created, place.namespace, place.name, object["spec"]))
            .collect::<Vec<_>>()
            .join("\n  ")
    }

    /// Compares the subsets of every Service with the clusters of a sidecar of its namespace. Gives how many there are.
    fn subsets(&self, namespace: &str, table: &Table, wrong: &mut BTreeMap<String, String>) -> usize {
        let mut count = 0;
        for service in self.services.iter().filter(|service| service["metadata"]["namespace"] == namespace) {
            let host = format!("{}.{namespace}.svc.cluster.local", service["metadata"]["name"].as_str().unwrap());
            for subset in SUBSETS {
                let theirs = table.clusters.get(&format!("outbound|80|{subset}|{host}")).copied().flatten();
                let ours = match declared(&self.rules, namespace, &host, subset) {
                    Declared::As(labels) => labels.get("version").and_then(|version| version.parse::<u64>().ok()),
                    Declared::Not(_) => None,
                };
                count += usize::from(theirs.is_some());
                if ours != theirs {
                    let name = service["metadata"]["name"].as_str().unwrap().trim_start_matches('s');
                    let of = |rule: &&std::sync::Arc<Rule>| rule.name().ends_with(&format!("-{name}"));
                    let rules: Vec<String> = self.rules.iter().filter(of).map(|rule| format!("{rule:?}")).collect();
                    let words = format!("subset {subset} of {host}: we say {ours:?}, istiod {theirs:?}\n  {}", rules.join("\n  "));
                    wrong.insert(format!("subset {subset} of {host}"), words);
                }
            }
        }
        count
    }
}

impl Expected<'_> {
    fn is_route(&self) -> bool {
        matches!(self, Self::Route { .. })
    }

    /// Whether it is what was seen.
    fn compare(&self, taken: &str, table: &Table, objects: &Objects, listener: u64) -> Result<(), String> {
        let Self::Route { object, route, gateway } = self else {
            let ours = matches!(self, Self::NoRoute).then_some("-").unwrap_or("default or nobody");
            let same = match self {
                Self::NoRoute => taken == "-",
                _ => ["-", "default", "block_all", "allow_any"].contains(&taken),
            };
            return if same { Ok(()) } else { Err(format!("we say {ours}, the proxy took {taken}")) };
        };
        let name = route["name"].as_str().unwrap();
        // A match may have a name too.
        if taken.split('.').next() != Some(name) {
            return Err(format!("we say {name}, the proxy took {taken}"));
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap();
        let entries = route["route"].as_array().unwrap();
        let mut ours = Vec::new();
        for (to, entry) in destinations(route).into_iter().zip(entries).filter(|(to, _)| to.weight > 0) {
            let host = Host::of(to.host, namespace).to_string();
            // A sidecar asks for the port that its client asked for; a gateway for the only one of the Service.
            let only = objects.services.iter().find(|service| {
                let name = |field: &str| service["metadata"][field].as_str().unwrap();
                *gateway && format!("{}.{}.svc.cluster.local", name("name"), name("namespace")) == host
            });
            let only = only.map(|service| service["spec"]["ports"].as_array().unwrap()).filter(|ports| ports.len() == 1);
            let port =
                entry["destination"]["port"]["number"].as_u64().or(only.and_then(|ports| ports[0]["port"].as_u64())).unwrap_or(listener);
            ours.push((format!("outbound|{port}|{}|{host}", to.subset.unwrap_or_default()), to.weight));
        }
        if let [(_, weight)] = ours.as_mut_slice() {
            *weight = 100;
        }
        let theirs = table.routes.get(&(listener, taken.to_owned())).ok_or("the route is not in the table")?;
        if ours == *theirs { Ok(()) } else { Err(format!("route {taken}: we say {ours:?}, istiod {theirs:?}")) }
    }
}

/// A match without what says where it counts.
fn bare(way: &Value) -> Value {
    let mut way = way.clone();
    if let Some(fields) = way.as_object_mut() {
        fields.retain(|field, _| field != "gateways" && field != "port");
    }
    way
}
