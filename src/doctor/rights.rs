//! Who may do what: the controller's service account, and whoever asks.

use std::collections::BTreeMap;

use super::{Finding, Read};

/// So many rights are named.
const NAMED: usize = 3;

/// Whose rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The controller's service account.
    Controller,
    /// Whoever runs this program.
    Viewer,
}

/// A verb on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural name.
    pub resource: &'static str,
    /// Subresource; empty: the resource.
    pub subresource: &'static str,
    /// Verb.
    pub verb: &'static str,
}

impl Right {
    fn words(self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let sub = if self.subresource.is_empty() { String::new() } else { format!("/{}", self.subresource) };
        format!("{} {}{group}{sub}", self.verb, self.resource)
    }
}

const fn right(verb: &'static str, resource: &'static str, subresource: &'static str, group: &'static str) -> Right {
    Right { group, resource, subresource, verb }
}

const OURS: &str = "haldane.dev";
const ISTIO: &str = "networking.istio.io";
const GATEWAY: &str = "gateway.networking.k8s.io";
const SLICES: &str = "discovery.k8s.io";
/// What the course of the last rollouts is kept in: nothing is decided on it.
const RECORDS: &str = "configmaps";

/// What the controller does in a namespace that it serves (`deploy/controller/rbac.yaml`).
pub const CONTROLLER: [Right; 31] = [
    right("get", "rollouts", "", OURS),
    right("list", "rollouts", "", OURS),
    right("watch", "rollouts", "", OURS),
    right("patch", "rollouts", "", OURS),
    right("patch", "rollouts", "status", OURS),
    right("get", "virtualservices", "", ISTIO),
    right("list", "virtualservices", "", ISTIO),
    right("watch", "virtualservices", "", ISTIO),
    right("patch", "virtualservices", "", ISTIO),
    right("get", "httproutes", "", GATEWAY),
    right("list", "httproutes", "", GATEWAY),
    right("watch", "httproutes", "", GATEWAY),
    right("patch", "httproutes", "", GATEWAY),
    right("get", "grpcroutes", "", GATEWAY),
    right("list", "grpcroutes", "", GATEWAY),
    right("watch", "grpcroutes", "", GATEWAY),
    right("patch", "grpcroutes", "", GATEWAY),
    right("get", "destinationrules", "", ISTIO),
    right("list", "destinationrules", "", ISTIO),
    right("watch", "destinationrules", "", ISTIO),
    right("get", "pods", "", ""),
    right("list", "pods", "", ""),
    right("watch", "pods", "", ""),
    right("get", "endpointslices", "", SLICES),
    right("list", "endpointslices", "", SLICES),
    right("watch", "endpointslices", "", SLICES),
    right("create", "events", "", "events.k8s.io"),
    right("patch", "events", "", "events.k8s.io"),
    right("get", RECORDS, "", ""),
    right("create", RECORDS, "", ""),
    right("patch", RECORDS, "", ""),
];

/// What it does to the Deployment that a source of models is written to (`deploy/model-source/rbac.yaml`).
pub const MODEL_SOURCE: [Right; 2] = [right("get", "deployments", "", "apps"), right("patch", "deployments", "", "apps")];

/// What it reads where Jobs are the source.
pub const JOBS: [Right; 1] = [right("list", "jobs", "", "batch")];

/// What it does in its own namespace.
pub const LEASES: [Right; 3] = [
    right("create", "leases", "", "coordination.k8s.io"),
    right("get", "leases", "", "coordination.k8s.io"),
    right("update", "leases", "", "coordination.k8s.io"),
];

/// What a person needs for these commands; the last one is for promote, abort and their like.
pub const VIEWER: [Right; 4] = [
    right("get", "rollouts", "", OURS),
    right("list", "rollouts", "", OURS),
    right("watch", "rollouts", "", OURS),
    right("patch", "rollouts", "", OURS),
];

/// What the API server said about a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose.
    pub who: Who,
    /// As the API server knows them: `system:serviceaccount:haldane-system:haldane`.
    pub user: String,
    /// Which.
    pub right: Right,
    /// Where.
    pub namespace: String,
    /// Whether it is granted.
    pub granted: Read<bool>,
}

/// What is to be said of the rights of everybody who was asked about.
pub fn rights(answers: &[Answer]) -> Vec<Finding> {
    let mut found = Vec::new();
    for who in [Who::Controller, Who::Viewer] {
        let of: Vec<&Answer> = answers.iter().filter(|answer| answer.who == who).collect();
        if !of.is_empty() {
            found.push(one(who, &of));
        }
    }
    found
}

fn one(who: Who, answers: &[&Answer]) -> Finding {
    const CHECK: &str = "rights";
    let user = answers.first().map(|answer| answer.user.as_str()).unwrap_or_default();
    let namespace = answers.first().map(|answer| answer.namespace.as_str()).unwrap_or_default();
    let all = match who {
        Who::Controller => format!("kubectl auth can-i --list -n {namespace} --as={user}"),
        Who::Viewer => format!("kubectl auth can-i --list -n {namespace}"),
    };
    if let Some(answer) = answers.iter().find(|answer| answer.granted.found().is_none()) {
        let what = match who {
            Who::Controller => "the controller's rights",
            Who::Viewer => "your own rights",
        };
        return match &answer.granted {
            Read::Failed(why) => Finding::saying(CHECK, super::Level::Warn, &format!("{what} were not checked: {why}")),
            _ => Finding::warn(CHECK, format!("not checked: you may not ask about {what}"), format!("somebody who may impersonate: {all}")),
        };
    }
    let mut missing: BTreeMap<&str, Vec<&Answer>> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| answer.granted.found() == Some(&false)) {
        missing.entry(&answer.namespace).or_default().push(answer);
    }
    let Some((place, lacking)) = missing.into_iter().next() else {
        return Finding::ok(
            CHECK,
            match who {
                Who::Controller => format!("the controller has the {} rights that it needs", answers.len()),
                Who::Viewer => format!("you may look at Rollouts in {namespace}, and promote and abort them"),
            },
        );
    };
    let list: Vec<String> = lacking.iter().take(NAMED).map(|answer| answer.right.words()).collect();
    let more = if lacking.len() > NAMED { format!(" and {} more", lacking.len() - NAMED) } else { String::new() };
    let list = format!("{}{more}", list.join(", "));
    match who {
        Who::Controller => {
            let fix = format!("kubectl apply -k deploy/controller; `{all}` shows what it has");
            if lacking.iter().all(|answer| answer.right.resource == RECORDS) {
                let fact = format!("the course of rollouts is not recorded: the controller ({user}) may not {list} in {place}");
                return Finding::warn(CHECK, fact, fix);
            }
            Finding::fail(CHECK, format!("the controller ({user}) may not {list} in {place}"), fix)
        }
        Who::Viewer if lacking.iter().all(|answer| answer.right.verb == "patch") => {
            let fix = format!("kubectl create rolebinding haldane-operator -n {place} --clusterrole=haldane-operator --user=NAME");
            Finding::warn(CHECK, format!("you may look at Rollouts in {place}, and not promote or abort them"), fix)
        }
        Who::Viewer => {
            let fix = format!("kubectl create rolebinding haldane-viewer -n {place} --clusterrole=haldane-viewer --user=NAME");
            Finding::fail(CHECK, format!("you may not {list} in {place}"), fix)
        }
    }
}
