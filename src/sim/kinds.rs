//! The kinds that the simulated API server knows. Nothing else is there: secrets are not, on purpose.

mod gateway_api;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::gateway_api::name::GROUP;

/// One kind of object.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural name, as in paths.
    pub plural: &'static str,
    /// Short names.
    pub short: &'static [&'static str],
    /// Categories (`kubectl get all`).
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether there is a status subresource.
    pub status: bool,
    /// Whether `metadata.generation` counts changes of the spec.
    pub generation: bool,
    /// Whether it comes from a CustomResourceDefinition: no strategic merge, no unconditional update.
    pub custom: bool,
    /// Whether a PUT of an object that is not there creates it.
    pub create_by_put: bool,
}

const PLAIN: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    short: &[],
    categories: &[],
    namespaced: true,
    status: false,
    generation: false,
    custom: false,
    create_by_put: false,
};

const ROUTE: Kind = Kind { group: GROUP, categories: &["gateway-api"], status: true, generation: true, custom: true, ..PLAIN };

/// Every kind.
pub static KINDS: [Kind; 17] = [
    Kind { kind: "Namespace", plural: "namespaces", short: &["ns"], namespaced: false, status: true, ..PLAIN },
    Kind { kind: "Pod", plural: "pods", short: &["po"], categories: &["all"], status: true, ..PLAIN },
    Kind { kind: "Service", plural: "services", short: &["svc"], categories: &["all"], status: true, ..PLAIN },
    Kind { kind: "ConfigMap", plural: "configmaps", short: &["cm"], ..PLAIN },
    Kind { kind: "Event", plural: "events", short: &["ev"], create_by_put: true, ..PLAIN },
    Kind {
        group: "apiextensions.k8s.io",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
        short: &["crd", "crds"],
        namespaced: false,
        status: true,
        generation: true,
        ..PLAIN
    },
    Kind { group: "events.k8s.io", kind: "Event", plural: "events", short: &["ev"], create_by_put: true, ..PLAIN },
    Kind {
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
        short: &["deploy"],
        categories: &["all"],
        status: true,
        generation: true,
        ..PLAIN
    },
    Kind {
        group: "apps",
        kind: "ReplicaSet",
        plural: "replicasets",
        short: &["rs"],
        categories: &["all"],
        status: true,
        generation: true,
        ..PLAIN
    },
    Kind { group: "batch", kind: "Job", plural: "jobs", categories: &["all"], status: true, generation: true, ..PLAIN },
    Kind { group: "coordination.k8s.io", kind: "Lease", plural: "leases", create_by_put: true, ..PLAIN },
    Kind { group: "discovery.k8s.io", kind: "EndpointSlice", plural: "endpointslices", generation: true, ..PLAIN },
    Kind { kind: "HTTPRoute", plural: "httproutes", ..ROUTE },
    Kind { kind: "GRPCRoute", plural: "grpcroutes", ..ROUTE },
    Kind {
        group: "haldane.dev",
        version: "v1alpha1",
        kind: "Rollout",
        plural: "rollouts",
        short: &["hro"],
        categories: &["all"],
        status: true,
        generation: true,
        custom: true,
        ..PLAIN
    },
    Kind {
        group: "networking.istio.io",
        kind: "DestinationRule",
        plural: "destinationrules",
        short: &["dr"],
        categories: &["istio-io", "networking-istio-io"],
        status: true,
        generation: true,
        custom: true,
        ..PLAIN
    },
    Kind {
        group: "networking.istio.io",
        kind: "VirtualService",
        plural: "virtualservices",
        short: &["vs"],
        categories: &["istio-io", "networking-istio-io"],
        status: true,
        generation: true,
        custom: true,
        ..PLAIN
    },
];

impl Kind {
    /// The kind by its plural name and group, `rollouts.haldane.dev` or `pods`.
    pub fn named(resource: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|k| k.resource() == resource)
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Plural and group, as in messages: `rollouts.haldane.dev`, `pods`.
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// Kind and group, as in messages: `Rollout.haldane.dev`, `Pod`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// Name of the table that holds its objects: both groups of events share one.
    pub fn table(&self) -> &'static str {
        match (self.group, self.plural) {
            ("haldane.dev", _) => "rollouts",
            (_, plural) => plural,
        }
    }

    /// Whether this is the view of events in group `events.k8s.io`.
    pub fn is_new_event(&self) -> bool {
        self.group == "events.k8s.io"
    }

    /// The structural schema of its objects, if it has one here.
    pub fn schema(&self) -> Option<&'static Value> {
        match self.kind {
            "Rollout" => crd_version().pointer("/schema/openAPIV3Schema"),
            "HTTPRoute" => Some(gateway_api::http_route()),
            "GRPCRoute" => Some(gateway_api::grpc_route()),
            _ => None,
        }
    }

    /// Printer columns beside the name: (name, type, JSON path).
    pub fn columns(&self) -> Vec<(String, String, String)> {
        let own = |list: &[(&str, &str, &str)]| list.iter().map(|(n, t, p)| ((*n).into(), (*t).into(), (*p).into())).collect();
        match self.kind {
            "Rollout" => {
                let text = |c: &Value, k: &str| c.get(k).and_then(Value::as_str).unwrap_or_default().to_owned();
                let columns = crd_version().get("additionalPrinterColumns").and_then(Value::as_array);
                columns.into_iter().flatten().map(|c| (text(c, "name"), text(c, "type"), text(c, "jsonPath"))).collect()
            }
            "VirtualService" => own(&[("Gateways", "string", ".spec.gateways"), ("Hosts", "string", ".spec.hosts"), AGE]),
            "HTTPRoute" | "GRPCRoute" => own(&[("Hostnames", "string", ".spec.hostnames"), AGE]),
            "DestinationRule" => own(&[("Host", "string", ".spec.host"), AGE]),
            "Pod" => own(&[("Status", "string", ".status.phase"), ("IP", "string", ".status.podIP"), AGE]),
            "Deployment" => own(&[("Ready", "string", ".status.readyReplicas"), ("Wanted", "string", ".spec.replicas"), AGE]),
            "ReplicaSet" => own(&[("Desired", "string", ".spec.replicas"), ("Ready", "string", ".status.readyReplicas"), AGE]),
            "Lease" => own(&[("Holder", "string", ".spec.holderIdentity"), AGE]),
            "Event" => own(&[
                ("Last Seen", "date", ".lastTimestamp"),
                ("Type", "string", ".type"),
                ("Reason", "string", ".reason"),
                ("Object", "string", ".involvedObject.name"),
                ("Message", "string", ".message"),
            ]),
            _ => own(&[AGE]),
        }
    }

    /// Its entry in the discovery document.
    pub fn discovery(&self) -> Vec<Value> {
        let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
        let mut entry = json!({
            "name": self.plural, "singularName": self.kind.to_lowercase(), "namespaced": self.namespaced, "kind": self.kind, "verbs": verbs,
        });
        if let Value::Object(map) = &mut entry {
            if !self.short.is_empty() {
                map.insert("shortNames".into(), json!(self.short));
            }
            if !self.categories.is_empty() {
                map.insert("categories".into(), json!(self.categories));
            }
        }
        let mut entries = vec![entry];
        if self.status {
            let (name, verbs) = (format!("{}/status", self.plural), ["get", "patch", "update"]);
            entries.push(json!({"name": name, "singularName": "", "namespaced": self.namespaced, "kind": self.kind, "verbs": verbs}));
        }
        entries
    }
}

const AGE: (&str, &str, &str) = ("Age", "date", ".metadata.creationTimestamp");

/// The version of our own CustomResourceDefinition, as `haldane crd` writes it.
fn crd_version() -> &'static Value {
    static VERSION: OnceLock<Value> = OnceLock::new();
    VERSION.get_or_init(|| {
        let crd = serde_json::to_value(crate::api::Rollout::crd()).unwrap_or_default();
        crd.pointer("/spec/versions/0").cloned().unwrap_or_default()
    })
}

/// Which groups a cluster does without: nobody installed their CustomResourceDefinitions. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Absent {
    groups: Arc<Mutex<BTreeSet<String>>>,
}

impl Absent {
    /// Lets a group be there, or not.
    pub fn set(&self, group: &str, absent: bool) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if absent {
            groups.insert(group.to_owned());
        } else {
            groups.remove(group);
        }
    }

    /// The kinds that are there.
    pub fn served(&self) -> Vec<&'static Kind> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        KINDS.iter().filter(|kind| !groups.contains(kind.group)).collect()
    }
}
