//! The pods behind a subset: who is ready, since when, of which revision. Readiness comes from EndpointSlices, labels from Pod metadata.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Pod, discovery::v1::EndpointSlice};
use kube::core::PartialObjectMeta;

use super::{Arm, ArmPod, Subset};

/// Labels that hold the revision of a pod, in order of preference.
const REVISION_LABELS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];
/// Label of an EndpointSlice that names its Service.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Since when pods are ready, as seen by this process. A pod that was ready when first seen counts from its creation.
#[derive(Debug, Default)]
pub struct ReadyLog {
    pods: HashMap<String, Option<Timestamp>>,
}

impl ReadyLog {
    fn note(&mut self, pod: &str, ready: bool, created: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let known = self.pods.get(pod).copied();
        let since = match (ready, known) {
            (false, _) => None,
            (true, Some(Some(since))) => Some(since),
            (true, Some(None)) => Some(now),
            (true, None) => Some(created),
        };
        self.pods.insert(pod.to_owned(), since);
        since
    }

    /// Forgets pods that are gone.
    pub fn keep(&mut self, alive: impl Fn(&str) -> bool) {
        self.pods.retain(|pod, _| alive(pod));
    }
}

/// Pods of a service with their readiness: pod name to whether any slice says ready.
pub fn endpoints(slices: &[Arc<EndpointSlice>]) -> BTreeMap<String, bool> {
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    for endpoint in slices.iter().flat_map(|slice| &slice.endpoints) {
        let Some(target) = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod")) else { continue };
        let Some(name) = &target.name else { continue };
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        *found.entry(name.clone()).or_default() |= ready;
    }
    found
}

/// The subset with these labels: the service's pods that carry them and are not being deleted.
pub fn subset(
    labels: Option<&[(String, String)]>,
    endpoints: &BTreeMap<String, bool>,
    pod: impl Fn(&str) -> Option<Arc<PartialObjectMeta<Pod>>>,
    log: &mut ReadyLog,
    now: Timestamp,
) -> Subset {
    let mut subset = Subset { declared: labels.is_some(), ..Subset::default() };
    let Some(labels) = labels else { return subset };
    let mut arm = Arm::default();
    for (name, ready) in endpoints {
        let Some(pod) = pod(name) else { continue };
        let metadata = &pod.metadata;
        if metadata.deletion_timestamp.is_some() {
            continue;
        }
        let empty = BTreeMap::new();
        let own = metadata.labels.as_ref().unwrap_or(&empty);
        if !labels.iter().all(|(key, value)| own.get(key) == Some(value)) {
            continue;
        }
        let hash = REVISION_LABELS.iter().find_map(|label| own.get(*label));
        subset.revisions.insert(hash.cloned().unwrap_or_else(|| name.clone()));
        if arm.workload.is_empty() {
            arm.workload = workload(&pod, hash).unwrap_or_default();
            arm.version = own.get("version").cloned();
        }
        let created = metadata.creation_timestamp.as_ref().map_or(now, |created| created.0);
        arm.pods.push(ArmPod { name: name.clone(), created, ready_since: log.note(name, *ready, created, now) });
    }
    subset.arm = arm;
    subset
}

/// Name of the workload that owns a pod: a ReplicaSet without its hash is its Deployment.
fn workload(pod: &PartialObjectMeta<Pod>, hash: Option<&String>) -> Option<String> {
    let owner = pod.metadata.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))?;
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())).and_then(|name| name.strip_suffix('-'));
    match (owner.kind.as_str(), deployment) {
        ("ReplicaSet", Some(deployment)) => Some(deployment.to_owned()),
        _ => Some(owner.name.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, hash: &str, version: &str) -> Arc<PartialObjectMeta<Pod>> {
        Arc::new(
            serde_json::from_value(json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {
                    "name": name, "creationTimestamp": "2026-01-01T00:00:00Z",
                    "labels": {"version": version, "pod-template-hash": hash},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("fraud-{version}-{hash}"), "uid": "u", "controller": true}],
                }
            }))
            .unwrap(),
        )
    }

    #[test]
    fn a_subset_has_the_pods_with_its_labels_their_revision_and_their_deployment() {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv4", "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "a"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}, "targetRef": {"kind": "Pod", "name": "b"}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "c"}},
            ]
        }))
        .unwrap();
        let endpoints = endpoints(&[Arc::new(slice)]);
        let mut log = ReadyLog::default();
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let labels = [("version".to_owned(), "v2".to_owned())];
        let find = |name: &str| Some(pod(name, "77f", if name == "c" { "v1" } else { "v2" }));
        let found = subset(Some(&labels), &endpoints, find, &mut log, now);
        assert_eq!(found.revision(), Some("77f"));
        assert_eq!((found.arm.workload.as_str(), found.arm.pods.len(), found.ready()), ("fraud-v2", 2, 1));
        assert_eq!(found.arm.pods[0].ready_since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        let ready = BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), true)]);
        let later = subset(Some(&labels), &ready, find, &mut log, now);
        assert_eq!(later.arm.pods[1].ready_since, Some(now), "b became ready before our eyes");
    }

    #[test]
    fn a_subset_that_no_rule_declares_is_not_declared() {
        assert!(!subset(None, &BTreeMap::new(), |_| None, &mut ReadyLog::default(), Timestamp::UNIX_EPOCH).declared);
    }
}
