//! The pods behind a version: who is ready, since when, of which revision. Readiness comes from EndpointSlices, labels from Pod metadata.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use kube::Resource;

use super::kept::{Pod, Slice};
use super::mesh::Declared;
use crate::seen::{Arm, ArmPod, Deployed};

/// Labels that hold the revision of a pod, in order of preference.
const REVISION_LABELS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];

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
pub fn endpoints(slices: &[Arc<Slice>]) -> BTreeMap<String, bool> {
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    for (name, ready) in slices.iter().flat_map(|slice| &slice.pods) {
        *found.entry(name.to_string()).or_default() |= ready;
    }
    found
}

/// The version with these labels: the pods among the endpoints that carry them and are not being deleted.
pub fn deployed(
    declared: &Declared<'_>,
    endpoints: &BTreeMap<String, bool>,
    pod: impl Fn(&str) -> Option<Arc<Pod>>,
    log: &mut ReadyLog,
    now: Timestamp,
) -> Deployed {
    let labels = match declared {
        Declared::As(labels) => *labels,
        Declared::Not(why) => return Deployed { undeclared: why.clone(), ..Deployed::default() },
    };
    let named = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut found = Deployed { declared: true, labels: named, ..Deployed::default() };
    let mut arm = Arm::default();
    for (name, ready) in endpoints {
        let Some(pod) = pod(name) else { continue };
        let (metadata, own) = (pod.meta(), &pod.labels);
        if metadata.deletion_timestamp.is_some() || !labels.iter().all(|(key, value)| own.get(key) == Some(value)) {
            continue;
        }
        let hash = REVISION_LABELS.iter().find_map(|label| own.get(label));
        found.revisions.insert(hash.unwrap_or(name).to_owned());
        let owner = workload(&pod, hash).unwrap_or_default();
        found.models.extend(pod.model.as_deref().map(str::to_owned));
        found.workloads.insert(owner.clone());
        if arm.workload.is_empty() {
            arm.workload = owner;
            arm.version = own.get("version").map(str::to_owned);
        }
        let created = metadata.creation_timestamp.as_ref().map_or(now, |created| created.0);
        arm.pods.push(ArmPod { name: name.clone(), created, ready_since: log.note(name, *ready, created, now) });
    }
    found.arm = arm;
    found
}

/// Name of the workload that owns a pod: a ReplicaSet without its hash is its Deployment.
fn workload(pod: &Pod, hash: Option<&str>) -> Option<String> {
    let (kind, name) = pod.owner.as_ref()?;
    let deployment = hash.and_then(|hash| name.strip_suffix(hash)).and_then(|name| name.strip_suffix('-'));
    let name = deployment.filter(|_| **kind == *"ReplicaSet").unwrap_or(name);
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, hash: &str, version: &str) -> Arc<Pod> {
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
        let slice: Slice = serde_json::from_value(json!({
            "metadata": {}, "addressType": "IPv4", "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "a"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}, "targetRef": {"kind": "Pod", "name": "b"}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "c"}},
            ]
        }))
        .unwrap();
        let endpoints = endpoints(&[Arc::new(slice)]);
        let mut log = ReadyLog::default();
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let labels: crate::observe::kept::Labels = [("version", "v2")].into_iter().collect();
        let find = |name: &str| Some(pod(name, "77f", if name == "c" { "v1" } else { "v2" }));
        let found = deployed(&Declared::As(&labels), &endpoints, find, &mut log, now);
        assert_eq!(found.revision(), Some("77f"));
        assert_eq!((found.arm.workload.as_str(), found.arm.pods.len(), found.ready()), ("fraud-v2", 2, 1));
        assert_eq!(found.arm.pods[0].ready_since, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        let ready = BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), true)]);
        let later = deployed(&Declared::As(&labels), &ready, find, &mut log, now);
        assert_eq!(later.arm.pods[1].ready_since, Some(now), "b became ready before our eyes");
    }

    #[test]
    fn a_subset_that_no_rule_declares_is_not_declared() {
        let none = Declared::Not("DestinationRule next has it for another host".to_owned());
        let found = deployed(&none, &BTreeMap::new(), |_| None, &mut ReadyLog::default(), Timestamp::UNIX_EPOCH);
        assert!(!found.declared && found.undeclared.starts_with("DestinationRule next"));
    }
}
