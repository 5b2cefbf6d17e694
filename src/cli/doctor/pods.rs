//! What stands before the pods of both versions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    cli::read::Reader,
    doctor::{Examined, Finding, Ground, Proxy, Read, proxies},
    istio::name::Host,
};

/// What is to be said of the proxies.
pub(super) async fn findings(reader: &Reader, examined: Examined<'_>) -> Option<Finding> {
    let seen = examined.seen;
    let (namespace, view) = (&seen.namespace, seen.route.as_ref().ok()?);
    let canary = seen.plan.as_ref().ok().map(|plan| plan.canary.name().to_owned());
    let ours: BTreeSet<String> = examined.stable().into_iter().chain(canary).collect();
    let names: BTreeSet<&str> = ours
        .iter()
        .filter_map(|version| seen.versions.get(version))
        .flat_map(|deployed| &deployed.arm.pods)
        .map(|pod| pod.name.as_str())
        .collect();
    let Read::Found(pods) = reader.list(&format!("/api/v1/namespaces/{namespace}/pods")).await else { return None };
    let name = |pod: &Value| pod.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let pods: BTreeMap<String, Proxy> =
        pods.iter().map(|pod| (name(pod), Proxy::of(pod))).filter(|(pod, _)| names.contains(pod.as_str())).collect();
    let labels = async |path: String| labels(&reader.get(&path).await);
    let of_namespace = labels(format!("/api/v1/namespaces/{namespace}")).await;
    let of_service = match Host::of(&view.host, namespace).service_in(namespace) {
        Some(service) => labels(format!("/api/v1/namespaces/{namespace}/services/{service}")).await,
        None => BTreeMap::new(),
    };
    let kind = view.object.kind();
    let versions = if kind.is_gateway_api() { ["v1", "v1"] } else { ["v1", "v1beta1"] };
    let mut route = None;
    for version in versions {
        if route.is_none() {
            let path = format!("/apis/{}/{version}/namespaces/{namespace}/{}/{}", kind.group(), kind.plural(), view.object.name());
            route = reader.get(&path).await.found().cloned();
        }
    }
    proxies(&pods, Ground { namespace, labels: &of_namespace, service: &of_service, route: route.as_ref() })
}

fn labels(object: &Read<Value>) -> BTreeMap<String, String> {
    let labels = object.found().and_then(|object| object.pointer("/metadata/labels")).and_then(Value::as_object);
    labels.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
