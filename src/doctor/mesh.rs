//! Istio and the Gateway API: versions, and what stands between the clients and the pods.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Finding, Read, version};
use crate::api::RouteKind;
use crate::gateway_api::name::parents;
use crate::istio::{name::MESH, reach::gateways};

/// What was read of the mesh.
#[derive(Clone, Debug)]
pub struct Mesh {
    /// Versions of each kind of route that the API server serves.
    pub routes: BTreeMap<RouteKind, Read<Vec<String>>>,
    /// Images of istiod.
    pub istiod: Read<Vec<String>>,
    /// The CustomResourceDefinition of HTTPRoute, whose annotations say which bundle it is of.
    pub gateway_crd: Read<Value>,
}

/// What is to be said of the mesh.
pub fn mesh(read: &Mesh) -> Vec<Finding> {
    let served = |kind: RouteKind| read.routes.get(&kind).and_then(Read::found).filter(|versions| !versions.is_empty());
    let mut found = Vec::new();
    match served(RouteKind::VirtualService) {
        Some(versions) => found.push(istio(read, versions)),
        None => {
            let other = [RouteKind::HttpRoute, RouteKind::GrpcRoute].into_iter().any(|kind| served(kind).is_some());
            let fact = "this cluster has no VirtualService (networking.istio.io)";
            found.push(match other {
                true => Finding::ok("istio", format!("{fact}; routes of the Gateway API are there")),
                false => Finding::fail(
                    "istio",
                    format!("{fact}, and no HTTPRoute"),
                    "istioctl install, or install the Gateway API of your gateway",
                ),
            });
        }
    }
    found.push(match served(RouteKind::HttpRoute) {
        None => Finding::ok("gatewayApi", "this cluster has no Gateway API; VirtualServices do without"),
        Some(versions) => gateway_api(read, versions),
    });
    found
}

fn istio(read: &Mesh, versions: &[String]) -> Finding {
    let images = read.istiod.found().map(Vec::as_slice).unwrap_or_default();
    let tags: BTreeSet<&str> = images.iter().filter_map(|image| version::of_image(image)).collect();
    let api = format!("VirtualService {}", versions.join(", "));
    match tags.len() {
        0 => Finding::ok("istio", format!("{api} is served; the version of istiod is not known from here")),
        1 => Finding::ok("istio", format!("Istio {}, {api}", tags.into_iter().collect::<String>())),
        _ => Finding::ok("istio", format!("Istio {} side by side, {api}", tags.into_iter().collect::<Vec<_>>().join(" and "))),
    }
}

fn gateway_api(read: &Mesh, versions: &[String]) -> Finding {
    let note = |name: &str| {
        let crd = read.gateway_crd.found()?;
        crd.pointer(&format!("/metadata/annotations/gateway.networking.k8s.io~1{name}"))?.as_str()
    };
    let bundle = match (note("bundle-version"), note("channel")) {
        (Some(bundle), Some(channel)) => format!(" ({bundle}, {channel})"),
        (Some(bundle), None) => format!(" ({bundle})"),
        _ => String::new(),
    };
    if versions.iter().any(|version| version == "v1") {
        return Finding::ok("gatewayApi", format!("HTTPRoute v1 is served{bundle}"));
    }
    let fact = format!("HTTPRoute is served as {} alone{bundle}, and haldane reads v1", versions.join(", "));
    Finding::warn("gatewayApi", fact, "install the Gateway API v1.0 or newer, standard channel")
}

/// What reads the requests of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proxy {
    /// A sidecar, with the tag of its image.
    Sidecar(String),
    /// ztunnel, which reads no requests: that takes a waypoint.
    Ambient,
    /// Nothing at the pod.
    None,
}

impl Proxy {
    /// That of a pod.
    pub fn of(pod: &Value) -> Self {
        let lists = ["/spec/containers", "/spec/initContainers"].map(|list| pod.pointer(list).and_then(Value::as_array));
        let sidecar = lists.into_iter().flatten().flatten().find(|container| container["name"] == "istio-proxy");
        if let Some(sidecar) = sidecar {
            let image = sidecar["image"].as_str().unwrap_or_default();
            return Self::Sidecar(version::of_image(image).unwrap_or_default().to_owned());
        }
        let redirected = pod.pointer("/metadata/annotations/ambient.istio.io~1redirection").and_then(Value::as_str);
        if redirected == Some("enabled") { Self::Ambient } else { Self::None }
    }
}

/// Where the pods stand.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Their namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Labels of the route's Service.
    pub service: &'a BTreeMap<String, String>,
    /// The object that holds the route.
    pub route: Option<&'a Value>,
}

impl Ground<'_> {
    /// Whether the route is for clients of a gateway.
    fn has_gateway(self) -> bool {
        let Some(route) = self.route else { return false };
        if route["kind"] == RouteKind::VirtualService.kind() {
            return gateways(&route["spec"], self.namespace).iter().any(|gateway| gateway != MESH);
        }
        parents(route).any(|parent| parent.is_gateway())
    }

    fn waypoint(self) -> Option<String> {
        let of = |labels: &BTreeMap<String, String>| labels.get("istio.io/use-waypoint").filter(|name| *name != "none").cloned();
        of(self.service).or_else(|| of(self.labels))
    }
}

/// What is to be said of what reads the requests of these pods.
pub fn proxies(pods: &BTreeMap<String, Proxy>, ground: Ground<'_>) -> Option<Finding> {
    const CHECK: &str = "proxies";
    let (all, namespace) = (pods.len(), ground.namespace);
    let sidecars: Vec<&String> = pods.values().filter_map(|proxy| if let Proxy::Sidecar(tag) = proxy { Some(tag) } else { None }).collect();
    let ambient = pods.values().filter(|proxy| **proxy == Proxy::Ambient).count();
    let tags =
        sidecars.iter().map(|tag| tag.as_str()).filter(|tag| !tag.is_empty()).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let tags = if tags.is_empty() { String::new() } else { format!(" ({})", tags.join(", ")) };
    Some(match (all, sidecars.len(), ambient) {
        (0, ..) => return None,
        (all, some, _) if some == all => Finding::ok(CHECK, format!("sidecars on {all} of {all} pods{tags}")),
        (all, some, _) if some > 0 => {
            let without: Vec<&str> =
                pods.iter().filter(|(_, proxy)| !matches!(proxy, Proxy::Sidecar(_))).map(|(pod, _)| pod.as_str()).collect();
            let fact = format!("sidecars on {some} of {all} pods{tags}: requests of the others are not counted");
            let label = format!("kubectl label namespace {namespace} istio-injection=enabled");
            Finding::fail(CHECK, fact, format!("{label}, then kubectl delete pod -n {namespace} {}", without.join(" ")))
        }
        (all, _, some) if some == all => match ground.waypoint() {
            Some(waypoint) => Finding::ok(CHECK, format!("ambient: ztunnel on {all} pods, requests are read by waypoint {waypoint}")),
            None if ground.has_gateway() => {
                Finding::ok(CHECK, format!("ambient: ztunnel on {all} pods, requests are read by the route's gateway"))
            }
            None => Finding::fail(
                CHECK,
                format!("ambient: ztunnel on {all} pods, and no waypoint: nothing reads requests, and weights have no effect"),
                format!("istioctl waypoint apply -n {namespace} --enroll-namespace"),
            ),
        },
        (all, ..) if ground.has_gateway() => {
            Finding::ok(CHECK, format!("no proxy on {all} pods: requests are read and counted by the route's gateway"))
        }
        (all, ..) => Finding::fail(
            CHECK,
            format!("no proxy on {all} pods, and the route names no gateway: clients without a sidecar never see its weights"),
            format!("kubectl label namespace {namespace} istio-injection=enabled, then kubectl rollout restart deployment -n {namespace}"),
        ),
    })
}
