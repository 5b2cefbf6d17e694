//! The resource and the controller: whether both are there, and whether they are of this version.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use kube::CustomResourceExt;
use serde_json::Value;

use super::version::{self, Apart};
use super::{Finding, Read};
use crate::api::{Rollout, names::VERSION};
use crate::words::span;

/// The version of the resource that this program speaks.
const SPOKEN: &str = "v1alpha1";
/// What installs the resource.
const INSTALL: &str = "haldane crd | kubectl apply --server-side -f -";
/// So many fields are named.
const NAMED: usize = 3;

/// What was read of the resource and of the controller.
#[derive(Clone, Debug)]
pub struct Control {
    /// Version of this program.
    pub client: String,
    /// Versions of our group that the API server serves.
    pub served: Read<Vec<String>>,
    /// The CustomResourceDefinition.
    pub crd: Read<Value>,
    /// Namespace of the controller.
    pub home: String,
    /// Its lease.
    pub lease: Read<Held>,
    /// Its Deployments.
    pub deployments: Read<Vec<Deployment>>,
    /// Namespace that is looked at.
    pub namespace: String,
    /// When all that was read.
    pub now: Timestamp,
}

/// The lease of the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Who leads; nobody after it was given back.
    pub holder: Option<String>,
    /// When the leader said so last.
    pub renewed: Option<Timestamp>,
    /// For how long it is believed.
    pub lasts: Duration,
    /// The leader's version, as it says.
    pub version: Option<String>,
}

/// A Deployment of the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// Image of its first container.
    pub image: String,
    /// Replicas that are ready.
    pub ready: i64,
    /// Replicas that are wanted.
    pub wanted: i64,
    /// Service account of its pods.
    pub account: String,
    /// Name of its configuration file.
    pub config: String,
    /// Name of the ConfigMap that holds it.
    pub config_map: String,
    /// Namespaces that it is told to serve; none: all.
    pub namespaces: Vec<String>,
}

impl Held {
    /// What of a Lease matters.
    pub fn of(lease: &Value) -> Self {
        let text = |pointer: &str| lease.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let seconds = lease.pointer("/spec/leaseDurationSeconds").and_then(Value::as_u64).unwrap_or_default();
        Self {
            holder: text("/spec/holderIdentity").filter(|holder| !holder.is_empty()),
            renewed: text("/spec/renewTime").and_then(|at| at.parse().ok()),
            lasts: Duration::from_secs(seconds),
            version: lease.pointer("/metadata/annotations").and_then(|all| all.get(VERSION)?.as_str()).map(str::to_owned),
        }
    }
}

impl Deployment {
    /// What of it matters.
    pub fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64);
        let args = object.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array);
        let args: Vec<&str> = args.into_iter().flatten().filter_map(Value::as_str).collect();
        let split = args.iter().zip(args.iter().skip(1)).filter(|(flag, _)| matches!(**flag, "--namespace" | "-n")).map(|(_, name)| *name);
        let joined = args.iter().filter_map(|arg| arg.strip_prefix("--namespace="));
        let flag = |name: &str| args.iter().zip(args.iter().skip(1)).find(|(flag, _)| **flag == name).map(|(_, value)| *value);
        let account = text("/spec/template/spec/serviceAccountName");
        let volumes = object.pointer("/spec/template/spec/volumes").and_then(Value::as_array).into_iter().flatten();
        let maps = volumes.flat_map(|volume| {
            let sources = volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten();
            [volume].into_iter().chain(sources).filter_map(|source| source.pointer("/configMap/name")?.as_str())
        });
        let config_map = maps.last().unwrap_or("haldane").to_owned();
        Self {
            config_map,
            name: text("/metadata/name"),
            image: text("/spec/template/spec/containers/0/image"),
            ready: number("/status/readyReplicas").unwrap_or_default(),
            wanted: number("/spec/replicas").unwrap_or(1),
            config: flag("--config").and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned(),
            account: if account.is_empty() { "default".to_owned() } else { account },
            namespaces: split.chain(joined).flat_map(|names| names.split(',')).map(str::to_owned).collect(),
        }
    }
}

impl Control {
    /// The controller's version: what its leader says, or else the tag of its image.
    pub fn version(&self) -> Option<&str> {
        let said = self.lease.found().and_then(|lease| lease.version.as_deref());
        let image = || version::of_image(&self.deployments.found()?.first()?.image);
        said.or_else(image)
    }
}

/// What is to be said of the resource and of the controller.
pub fn control(read: &Control) -> Vec<Finding> {
    let mut found = vec![resource(read)];
    found.extend(leader(read));
    found.extend(replicas(read));
    found.extend(skew(read));
    found
}

fn resource(read: &Control) -> Finding {
    const CHECK: &str = "crd";
    if let Some(unknown) = read.served.unknown(CHECK, "the API groups", "kubectl api-versions") {
        return unknown;
    }
    let served = read.served.found().map(Vec::as_slice).unwrap_or_default();
    if served.is_empty() {
        return Finding::fail(CHECK, "this cluster does not know rollouts.haldane.dev", INSTALL);
    }
    if !served.iter().any(|version| version == SPOKEN) {
        let fact = format!("the cluster serves rollouts.haldane.dev as {}, and this program speaks {SPOKEN}", served.join(", "));
        return Finding::fail(CHECK, fact, INSTALL);
    }
    let Some(crd) = read.crd.found() else {
        return Finding::ok(CHECK, format!("rollouts.haldane.dev {SPOKEN} is served; its schema was not compared"));
    };
    let ours = serde_json::to_value(Rollout::crd()).unwrap_or_default();
    let (ours, theirs) = (fields(&ours), fields(crd));
    let (missing, more) = (named(ours.difference(&theirs)), named(theirs.difference(&ours)));
    match (missing, more) {
        (Some(missing), _) => Finding::fail(CHECK, format!("the CRD is older than this program: it lacks {missing}"), INSTALL),
        (None, Some(more)) => {
            let fix = "install the version of haldane that the controller has; `haldane version` shows both";
            Finding::warn(CHECK, format!("the CRD is newer than this program: it also has {more}"), fix)
        }
        (None, None) => Finding::ok(CHECK, format!("rollouts.haldane.dev {SPOKEN} is served with the schema of this version")),
    }
}

/// The fields of the spec in the schema of a CustomResourceDefinition.
fn fields(crd: &Value) -> BTreeSet<String> {
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    let version = versions.into_iter().flatten().find(|version| version["name"] == SPOKEN);
    let mut found = BTreeSet::new();
    if let Some(spec) = version.and_then(|version| version.pointer("/schema/openAPIV3Schema/properties/spec")) {
        below(spec, "spec", &mut found);
    }
    found
}

fn below(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        below(field, &path, found);
        found.insert(path);
    }
    if schema["items"].is_object() {
        below(&schema["items"], path, found);
    }
}

fn named<'a>(fields: impl Iterator<Item = &'a String>) -> Option<String> {
    let fields: Vec<&str> = fields.map(String::as_str).collect();
    let first = fields.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match fields.len() {
        0 => None,
        n if n > NAMED => Some(format!("{first} and {} more", n - NAMED)),
        _ => Some(first),
    }
}

fn leader(read: &Control) -> Option<Finding> {
    const CHECK: &str = "controller";
    let home = &read.home;
    let ask = format!("kubectl get lease haldane -n {home}");
    if let Some(unknown) = read.lease.unknown(CHECK, &format!("Lease haldane in {home}"), &ask) {
        return Some(unknown);
    }
    let Some(lease) = read.lease.found() else {
        let elsewhere = "kubectl apply -k deploy/controller, or --controller-namespace NAME where it runs elsewhere";
        return Some(Finding::fail(CHECK, format!("no controller has ever led in namespace {home}"), elsewhere));
    };
    let logs = format!("kubectl logs -n {home} -l app.kubernetes.io/name=haldane --tail=50");
    let Some(holder) = &lease.holder else {
        return Some(Finding::fail(
            CHECK,
            "no controller leads: the last one gave its lease back",
            format!("kubectl get pods -n {home}, then {logs}"),
        ));
    };
    let age = lease.renewed.map(|at| read.now.duration_since(at)).and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
    if age > lease.lasts * 2 {
        let fact = format!("controller {holder} has not renewed its lease for {}", span(Duration::from_secs(age.as_secs())));
        return Some(Finding::fail(CHECK, fact, logs));
    }
    Some(Finding::ok(CHECK, format!("controller {holder} leads")))
}

fn replicas(read: &Control) -> Vec<Finding> {
    const CHECK: &str = "replicas";
    let home = &read.home;
    let mut found = Vec::new();
    for deployment in read.deployments.found().into_iter().flatten() {
        let name = &deployment.name;
        let count = format!("{} of {} replicas of Deployment {name} are ready", deployment.ready, deployment.wanted);
        found.push(if deployment.ready >= deployment.wanted.max(1) {
            Finding::ok(CHECK, count)
        } else {
            Finding::warn(CHECK, count, format!("kubectl describe pods -n {home} -l app.kubernetes.io/name=haldane"))
        });
        if !deployment.namespaces.is_empty() && !deployment.namespaces.contains(&read.namespace) {
            let fact = format!("Deployment {name} serves only {}, and not {}", deployment.namespaces.join(", "), read.namespace);
            let fix = format!("add `--namespace {}` to its args, and bind its ClusterRole there", read.namespace);
            found.push(Finding::fail("namespaces", fact, fix));
        }
    }
    found
}

fn skew(read: &Control) -> Option<Finding> {
    const CHECK: &str = "version";
    let (client, theirs) = (&read.client, read.version()?);
    Some(match version::apart(client, theirs) {
        Some(Apart::Same) => Finding::ok(CHECK, format!("this program and the controller are {client}")),
        Some(Apart::Near) => Finding::ok(CHECK, format!("this program is {client}, the controller {theirs}")),
        Some(Apart::Far) => {
            let fact = format!("this program is {client} and the controller {theirs}: more than one minor version apart");
            Finding::warn(CHECK, fact, format!("install haldane {theirs} here, or upgrade the controller"))
        }
        None => Finding::ok(CHECK, format!("this program is {client}; the controller's image is tagged {theirs}")),
    })
}
