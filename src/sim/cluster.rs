//! The controllers of a cluster, as far as a rollout sees them: pods of each version are kept at their number, become ready after a while,
//! and stand in the EndpointSlices of the Services that select them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    apiserver::{suffix, uid},
    objects::{Objects, seconds_text},
    store::Tables,
};

/// One version's Deployment.
#[derive(Clone, Debug)]
struct Workload {
    hash: String,
    /// The pod template that its pods are made of.
    template: Value,
    replicas: usize,
    /// Whether its pods may be ready at all.
    healthy: bool,
}

/// The controllers.
#[derive(Debug)]
pub struct Cluster {
    objects: Objects,
    namespace: String,
    app: String,
    workloads: BTreeMap<String, Workload>,
    /// Hashes by version and pod template: one that comes back gets its old hash.
    hashes: BTreeMap<(String, String), String>,
    ready_at: BTreeMap<String, Timestamp>,
    start_up: Duration,
    addresses: u32,
    /// Whether new pods get a sidecar.
    sidecars: bool,
    /// Revision of the store when everything was in its place.
    settled: u64,
}

impl Cluster {
    /// A cluster that keeps the versions of one app; a new pod is ready after `start_up`, and may have a sidecar.
    pub fn new(objects: Objects, namespace: &str, app: &str, start_up: Duration, sidecars: bool) -> Self {
        let (namespace, app) = (namespace.to_owned(), app.to_owned());
        Self {
            objects,
            namespace,
            app,
            workloads: BTreeMap::new(),
            hashes: BTreeMap::new(),
            ready_at: BTreeMap::new(),
            start_up,
            addresses: 0,
            sidecars,
            settled: 0,
        }
    }

    /// Deploys a version, or a new build of it. Its pods get a new hash, which is returned. `since`: they have been there since then, and
    /// ready.
    pub fn deploy(&mut self, version: &str, replicas: usize, now: Timestamp, since: Option<Timestamp>) -> String {
        let hash = self.new_hash();
        let template = self.template_of(version).unwrap_or_else(|| self.first_template(version));
        self.hashes.insert((version.to_owned(), template.to_string()), hash.clone());
        self.workloads.insert(version.to_owned(), Workload { hash: hash.clone(), template, replicas, healthy: true });
        self.settled = 0;
        self.describe(version);
        if let Some(since) = since {
            for _ in 0..replicas {
                self.create_pod(version, &hash, since, since);
            }
        }
        self.sync(now);
        hash
    }

    /// Changes how many pods a version has.
    pub fn scale(&mut self, version: &str, replicas: usize, now: Timestamp) {
        if let Some(workload) = self.workloads.get_mut(version) {
            workload.replicas = replicas;
        }
        self.settled = 0;
        self.describe(version);
        self.sync(now);
    }

    /// Lets no pod of a version be ready, or again every one.
    pub fn set_healthy(&mut self, version: &str, healthy: bool, now: Timestamp) {
        if let Some(workload) = self.workloads.get_mut(version) {
            workload.healthy = healthy;
        }
        self.settled = 0;
        self.sync(now);
    }

    /// The containers of a version crash and start again: same pods, not ready for so long. The pods' names are returned.
    pub fn crash(&mut self, version: &str, down: Duration, now: Timestamp) -> Vec<String> {
        let names: Vec<String> = self.pods(version).iter().map(|p| text(p, "/metadata/name")).collect();
        for name in &names {
            self.ready_at.insert(name.clone(), later(now, down));
        }
        self.settled = 0;
        self.sync(now);
        names
    }

    /// Pods of a version that are not being deleted.
    pub fn pods(&self, version: &str) -> Vec<Arc<Value>> {
        let mut pods = self.objects.list_of_app("pods", &self.namespace, &self.app);
        pods.retain(|p| p.pointer("/metadata/labels/version").and_then(Value::as_str) == Some(version));
        pods.retain(|p| p.pointer("/metadata/deletionTimestamp").is_none());
        pods
    }

    /// Brings everything to where it should be by now.
    pub fn sync(&mut self, now: Timestamp) {
        let due = self.ready_at.values().any(|at| *at <= now);
        if !due && self.objects.store().read(Tables::revision) == self.settled {
            return;
        }
        self.place(now);
        self.ready_at.retain(|_, at| *at > now);
        self.settled = self.objects.store().read(Tables::revision);
    }

    /// Takes up the pod templates that somebody changed: their pods get another hash, and replace the others.
    fn take_up(&mut self) {
        for version in self.workloads.keys().cloned().collect::<Vec<_>>() {
            let Some(template) = self.template_of(&version) else { continue };
            if self.workloads.get(&version).is_some_and(|workload| workload.template == template) {
                continue;
            }
            let key = (version.clone(), template.to_string());
            let hash = self.hashes.get(&key).cloned().unwrap_or_else(|| self.new_hash());
            self.hashes.insert(key, hash.clone());
            if let Some(workload) = self.workloads.get_mut(&version) {
                (workload.hash, workload.template) = (hash, template);
            }
            self.describe(&version);
        }
    }

    /// The pod template of a version's Deployment, if that is there.
    fn template_of(&self, version: &str) -> Option<Value> {
        self.objects.get("deployments.apps", &self.namespace, &format!("{}-{version}", self.app))?.pointer("/spec/template").cloned()
    }

    fn first_template(&self, version: &str) -> Value {
        let container = json!({"name": "model", "image": self.image(version)});
        json!({"metadata": {"labels": {"app": self.app, "version": version}}, "spec": {"containers": [container]}})
    }

    fn image(&self, version: &str) -> String {
        format!("registry.example.com/{}:{version}", self.app)
    }

    fn new_hash(&self) -> String {
        let number = self.objects.store().number();
        format!("{}{}", suffix(number), suffix(number ^ 0xABCD)).chars().take(9).collect()
    }

    fn place(&mut self, now: Timestamp) {
        self.take_up();
        for (version, workload) in self.workloads.clone() {
            let (mine, older): (Vec<_>, Vec<_>) =
                self.pods(&version).into_iter().partition(|p| text(p, "/metadata/labels/pod-template-hash") == workload.hash);
            for _ in mine.len()..workload.replicas {
                self.create_pod(&version, &workload.hash, now, later(now, self.start_up));
            }
            for pod in mine.iter().skip(workload.replicas) {
                self.delete_pod(&text(pod, "/metadata/name"));
            }
            let mut ready = 0;
            for pod in mine.iter().take(workload.replicas) {
                ready += usize::from(self.refresh_pod(pod, workload.healthy, now));
            }
            if ready >= workload.replicas {
                older.iter().for_each(|pod| self.delete_pod(&text(pod, "/metadata/name")));
            } else {
                for pod in &older {
                    self.refresh_pod(pod, workload.healthy, now);
                }
            }
        }
        self.endpoints();
    }

    fn create_pod(&mut self, version: &str, hash: &str, created: Timestamp, ready: Timestamp) {
        self.addresses += 1;
        let address = format!("10.1.{}.{}", self.addresses / 250, self.addresses % 250 + 1);
        let name = format!("{}-{version}-{hash}-{}", self.app, suffix(self.objects.store().number()));
        self.ready_at.insert(name.clone(), ready);
        let labels = json!({
            "app": self.app, "version": version, "pod-template-hash": hash, "service.istio.io/canonical-name": self.app,
            "service.istio.io/canonical-revision": version,
        });
        let owner = self.owner("apps/v1", "ReplicaSet", "replicasets.apps", &format!("{}-{version}-{hash}", self.app));
        let mut metadata = json!({
            "name": name, "namespace": self.namespace, "uid": uid(self.objects.store().number()), "labels": labels,
            "creationTimestamp": seconds_text(created), "ownerReferences": [owner],
        });
        let template = self.workloads.get(version).map(|workload| &workload.template);
        let annotations = template.and_then(|template| template.pointer("/metadata/annotations"));
        if let (Some(annotations), Some(all)) = (annotations, metadata.as_object_mut()) {
            all.insert("annotations".to_owned(), annotations.clone());
        }
        let model = template.and_then(|template| template.pointer("/spec/containers/0")).cloned();
        let model = model.unwrap_or_else(|| json!({"name": "model", "image": self.image(version)}));
        let sidecar = self.sidecars.then(|| json!({"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.29.2"}));
        let containers: Vec<Value> = [model].into_iter().chain(sidecar).collect();
        let spec = json!({ "containers": containers });
        let conditions = [condition("Ready", created >= ready, created)];
        let status = json!({"phase": "Running", "podIP": address, "startTime": seconds_text(created), "conditions": conditions});
        self.objects.put(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}));
    }

    fn delete_pod(&mut self, name: &str) {
        self.ready_at.remove(name);
        self.objects.remove("pods", &self.namespace, name);
    }

    /// Brings a pod's readiness up to date; true when it is ready.
    fn refresh_pod(&self, pod: &Arc<Value>, healthy: bool, now: Timestamp) -> bool {
        let due = self.ready_at.get(&text(pod, "/metadata/name")).is_none_or(|at| *at <= now);
        let (ready, was) = (healthy && due, is_ready(pod));
        if ready != was {
            let mut changed = Value::clone(pod);
            if let Some(conditions) = changed.pointer_mut("/status/conditions") {
                *conditions = json!([condition("Ready", ready, now)]);
            }
            self.objects.put(changed);
        }
        ready
    }

    /// Deployment and ReplicaSet of a version.
    fn describe(&self, version: &str) {
        let Some(workload) = self.workloads.get(version) else { return };
        let (name, hash, replicas) = (format!("{}-{version}", self.app), &workload.hash, workload.replicas);
        let labels = json!({"app": self.app, "version": version});
        let status = json!({"replicas": replicas, "readyReplicas": replicas});
        let metadata = json!({"name": name, "namespace": self.namespace, "labels": labels});
        let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": workload.template});
        self.objects.put(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec, "status": status}));
        let owner = self.owner("apps/v1", "Deployment", "deployments.apps", &name);
        let metadata = json!({"name": format!("{name}-{hash}"), "namespace": self.namespace, "labels": labels, "ownerReferences": [owner]});
        self.objects.put(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec, "status": status}));
    }

    fn owner(&self, api_version: &str, kind: &str, resource: &str, name: &str) -> Value {
        let uid = self.objects.get(resource, &self.namespace, name).map(|o| text(&o, "/metadata/uid")).unwrap_or_default();
        json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true})
    }

    /// The EndpointSlices of the app's Services.
    fn endpoints(&self) {
        for service in self.objects.list_of_app("services", &self.namespace, &self.app) {
            self.slice(&service);
        }
    }

    fn slice(&self, service: &Value) {
        let pods = self.objects.list_of_app("pods", &self.namespace, &self.app);
        let selector = service.pointer("/spec/selector").and_then(Value::as_object);
        let selects = |pod: &Value| {
            let labels = pod.pointer("/metadata/labels");
            selector.into_iter().flatten().all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
        };
        let endpoints: Vec<Value> = pods
            .iter()
            .filter(|pod| selects(pod))
            .map(|p| {
                let terminating = p.pointer("/metadata/deletionTimestamp").is_some();
                let serving = is_ready(p);
                let conditions = json!({"ready": serving && !terminating, "serving": serving, "terminating": terminating});
                let pod = json!({
                    "kind": "Pod", "namespace": self.namespace, "name": text(p, "/metadata/name"), "uid": text(p, "/metadata/uid"),
                });
                json!({"addresses": [text(p, "/status/podIP")], "conditions": conditions, "targetRef": pod})
            })
            .collect();
        let name = text(service, "/metadata/name");
        let owner = self.owner("v1", "Service", "services", &name);
        let labels =
            json!({"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"});
        let metadata = json!({"name": format!("{name}-x7k2p"), "namespace": self.namespace, "labels": labels, "ownerReferences": [owner]});
        let ports = json!([{"name": text(service, "/spec/ports/0/name"), "port": 8080, "protocol": "TCP"}]);
        self.objects.put(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
            "endpoints": endpoints, "ports": ports,
        }));
    }
}

fn condition(kind: &str, is: bool, at: Timestamp) -> Value {
    json!({"type": kind, "status": if is { "True" } else { "False" }, "lastTransitionTime": seconds_text(at)})
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| text(c, "/type") == "Ready" && text(c, "/status") == "True")
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now + SignedDuration::try_from(by).unwrap_or(SignedDuration::ZERO)
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
