//! The caches of the controller, filled once: so that what is examined is what a pass would see.

use jiff::Timestamp;
use kube::{
    Resource, ResourceExt,
    core::{GroupVersionKind, discovery::ApiResource},
    runtime::{
        reflector::{Store, store::Writer},
        watcher::Event,
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    api::{Rollout, RouteKind, names::GROUP},
    cli::read::Reader,
    config::Config,
    doctor::{Finding, Level, Read},
    observe::{
        cluster::{Caches, Known, RouteCaches, Routes},
        shelf::{About, Shelf},
        workload::ReadyLog,
    },
    seen::Observation,
    state::{State, restore},
};

/// Everything that a decision on this Rollout would be made of, and what could not be read.
pub(in crate::cli) async fn observe(
    reader: &Reader,
    rollout: &Rollout,
    config: Option<&Config>,
    now: Timestamp,
) -> (Observation, Vec<Finding>) {
    let namespace = rollout.namespace().unwrap_or_default();
    let mut faults = Vec::new();
    let routes = RouteCaches::default();
    for kind in RouteKind::ALL {
        let (resource, list) = objects(reader, kind.group(), kind.kind(), kind.plural(), &namespace).await;
        match list {
            Read::Found(list) => routes.add(kind, Routes { resource, shelf: shelf(list) }),
            Read::Absent => {}
            Read::Forbidden if rollout.spec.traffic.object().kind() == kind => {
                let ask = format!("kubectl auth can-i list {}.{} -n {namespace}", kind.plural(), kind.group());
                faults.push(Finding::warn("route", format!("not checked: you may not list {}s", kind.kind()), ask));
                routes.refuse(kind);
            }
            Read::Forbidden => {}
            Read::Failed(why) => faults.push(Finding::saying("route", Level::Fail, &format!("{}s could not be read: {why}", kind.kind()))),
        }
    }
    let (_, rules) = objects(reader, RouteKind::VirtualService.group(), "DestinationRule", "destinationrules", &namespace).await;
    let mut read = async |what: &str, path: String| {
        let list = reader.list(&path).await;
        if !matches!(list, Read::Found(_) | Read::Absent) {
            faults.push(Finding::warn(
                "versions",
                format!("not checked: {what} could not be read"),
                format!("kubectl get {what} -n {namespace}"),
            ));
        }
        list
    };
    let slices = read("endpointslices", format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")).await;
    let pods = read("pods", format!("/api/v1/namespaces/{namespace}/pods")).await;
    let rollouts = read("rollouts", format!("/apis/{GROUP}/v1alpha1/namespaces/{namespace}/rollouts")).await;
    let caches = Caches {
        rollouts: store(found(rollouts)),
        routes,
        destination_rules: shelf(found(rules)),
        slices: shelf(found(slices)),
        pods: shelf(found(pods)),
    };
    // A checkpoint that cannot be read is told by the controller's own status.
    let state = restore(rollout.status.as_ref()).unwrap_or_else(|_| State::default());
    let empty = Config::default();
    let known = Known {
        route: None,
        fresh: true,
        look: None,
        passes: 0,
        refusal: None,
        raise_refused: None,
        source: None,
        ready: &mut ReadyLog::default(),
        config: config.unwrap_or(&empty),
    };
    let mut seen = caches.observe(rollout, &state, known, now);
    if config.is_none() {
        seen.config_problem = None;
    }
    // What is marked as gone only waits for our finalizer: it is looked at as it was.
    seen.deleting = false;
    (seen, faults)
}

/// The objects of a kind: of all namespaces where that may be read, since routes of others matter too.
async fn objects(
    reader: &Reader,
    group: &'static str,
    kind: &'static str,
    plural: &str,
    namespace: &str,
) -> (ApiResource, Read<Vec<Value>>) {
    let resource = |version: &str| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    for version in ["v1", "v1beta1"] {
        let paths = [format!("/apis/{group}/{version}/{plural}"), format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}")];
        for path in paths {
            match reader.list(&path).await {
                Read::Absent => {}
                // Perhaps in this namespace alone.
                Read::Forbidden if !path.contains("/namespaces/") => {}
                other => return (resource(version), other),
            }
        }
    }
    (resource("v1"), Read::Absent)
}

/// What of a list is as it should be; the rest is not there, as it is for the controller.
fn found(read: Read<Vec<Value>>) -> Vec<Value> {
    match read {
        Read::Found(list) => list,
        _ => Vec::new(),
    }
}

fn parsed<K: DeserializeOwned>(objects: Vec<Value>) -> impl Iterator<Item = K> {
    objects.into_iter().filter_map(|object| serde_json::from_value(object).ok())
}

fn shelf<K: About + Resource + DeserializeOwned>(objects: Vec<Value>) -> Shelf<K> {
    Shelf::of(parsed(objects))
}

fn store(objects: Vec<Value>) -> Store<Rollout> {
    let mut writer = Writer::new(());
    let store = writer.as_reader();
    writer.apply_watcher_event(&Event::Init);
    for rollout in parsed(objects) {
        writer.apply_watcher_event(&Event::InitApply(rollout));
    }
    writer.apply_watcher_event(&Event::InitDone);
    store
}
