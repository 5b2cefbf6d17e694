//! What is read of the cluster: server, resource, controller, rights and mesh.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    api::{RouteKind, names::GROUP},
    cli::{cluster::Cluster, read::Reader},
    clock::Clock,
    doctor::{self, Answer, CONTROLLER, Control, Deployment, Finding, Held, LEASES, Mesh, Read, Right, VIEWER, Who},
};

/// So many questions about rights are in flight at once.
const AT_ONCE: usize = 8;
/// The controller's service account, as the manifests have it.
const ACCOUNT: &str = "haldane";

/// Whether the API server answers.
pub(super) async fn server(reader: &Reader, cluster: &Cluster) -> Finding {
    const CHECK: &str = "server";
    let at = &cluster.server;
    match reader.get("/version").await {
        Read::Found(version) => {
            let version = version.get("gitVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
            Finding::ok(CHECK, format!("the API server at {at} answers: Kubernetes {version}"))
        }
        Read::Absent => Finding::fail(CHECK, format!("what answers at {at} is no API server"), "--context NAME, or another --kubeconfig"),
        // Who may read nothing at all is told so by what follows.
        Read::Forbidden => Finding::ok(CHECK, format!("the API server at {at} answers")),
        Read::Failed(why) => {
            let fix = format!("{why}\nis the cluster up, is it the right --context, is there a way to it (VPN, proxy)?");
            Finding::fail(CHECK, format!("the API server at {at} cannot be reached"), fix)
        }
    }
}

/// Resource and controller.
pub(in crate::cli) async fn control(reader: &Reader, home: &str, namespace: &str, clock: &Clock) -> Control {
    let deployments = format!("/apis/apps/v1/namespaces/{home}/deployments?labelSelector=app.kubernetes.io/name%3Dhaldane");
    let lease = reader.get(&format!("/apis/coordination.k8s.io/v1/namespaces/{home}/leases/haldane")).await;
    Control {
        client: env!("CARGO_PKG_VERSION").to_owned(),
        served: reader.get(&format!("/apis/{GROUP}")).await.map(|group| versions(&group)),
        crd: reader.get(&format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rollouts.{GROUP}")).await,
        home: home.to_owned(),
        lease: lease.map(|lease| Held::of(&lease)),
        deployments: reader.list(&deployments).await.map(|list| list.iter().map(Deployment::of).collect()),
        namespace: namespace.to_owned(),
        now: clock.now(),
    }
}

/// The versions of a group, the preferred one first.
fn versions(group: &Value) -> Vec<String> {
    let list = group["versions"].as_array().into_iter().flatten();
    list.filter_map(|version| version["version"].as_str()).map(str::to_owned).collect()
}

/// Istio and the Gateway API.
pub(super) async fn mesh(reader: &Reader) -> Mesh {
    let mut routes = BTreeMap::new();
    for kind in RouteKind::ALL {
        routes.insert(kind, served(reader, kind.group(), kind.kind()).await);
    }
    let pods = reader.list("/api/v1/pods?labelSelector=app%3Distiod").await;
    let image = |pod: &Value| pod.pointer("/spec/containers/0/image").and_then(Value::as_str).map(str::to_owned);
    Mesh {
        routes,
        istiod: pods.map(|pods| pods.iter().filter_map(image).collect()),
        gateway_crd: reader.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/httproutes.gateway.networking.k8s.io").await,
    }
}

/// The versions of a group that have a kind.
async fn served(reader: &Reader, group: &str, kind: &str) -> Read<Vec<String>> {
    let all = match reader.get(&format!("/apis/{group}")).await {
        Read::Found(found) => versions(&found),
        other => return other.map(|_| Vec::new()),
    };
    let mut having = Vec::new();
    for version in all {
        let resources = reader.get(&format!("/apis/{group}/{version}")).await;
        let list = resources.found().and_then(|list| list["resources"].as_array());
        if list.into_iter().flatten().any(|resource| resource["kind"] == kind) {
            having.push(version);
        }
    }
    Read::Found(having)
}

/// The rights of the controller's service account, where it is known, and of whoever asks.
pub(super) async fn rights(reader: &Reader, control: &Control, mesh: &Mesh) -> Vec<Finding> {
    let missing = |right: &Right| {
        RouteKind::ALL.iter().any(|kind| {
            right.group == kind.group() && mesh.routes.get(kind).is_some_and(|read| read.found().is_none_or(|versions| versions.is_empty()))
        })
    };
    let mut asked = Vec::new();
    // A controller that runs outside of the cluster has the account of the manifests too.
    let account = control.deployments.found().map(|list| list.first().map_or(ACCOUNT.to_owned(), |deployment| deployment.account.clone()));
    if let Some(account) = account {
        let user = format!("system:serviceaccount:{}:{account}", control.home);
        let there = CONTROLLER.iter().filter(|right| !missing(right)).map(|right| (*right, &control.namespace));
        let home = LEASES.iter().map(|right| (*right, &control.home));
        asked.extend(there.chain(home).map(|(right, namespace)| (Who::Controller, user.clone(), right, namespace.clone())));
    }
    asked.extend(VIEWER.iter().map(|right| (Who::Viewer, String::new(), *right, control.namespace.clone())));
    let answers = stream::iter(asked).map(|(who, user, right, namespace)| ask(reader, who, user, right, namespace));
    let answers: Vec<Answer> = answers.buffered(AT_ONCE).collect().await;
    doctor::rights(&answers)
}

/// Whether the controller's service account has a right, if that can be asked.
pub(super) async fn controller_may(reader: &Reader, control: &Control, right: Right, namespace: &str) -> Option<bool> {
    let account = control.deployments.found()?.first().map_or(ACCOUNT, |deployment| deployment.account.as_str());
    let user = format!("system:serviceaccount:{}:{account}", control.home);
    ask(reader, Who::Controller, user, right, namespace.to_owned()).await.granted.found().copied()
}

async fn ask(reader: &Reader, who: Who, user: String, right: Right, namespace: String) -> Answer {
    let name = if right.resource == "leases" && right.verb != "create" { "haldane" } else { "" };
    let attributes = json!({
        "namespace": namespace, "verb": right.verb, "group": right.group, "resource": right.resource,
        "subresource": right.subresource, "name": name,
    });
    let (kind, plural, spec) = match who {
        Who::Controller => (
            "SubjectAccessReview",
            "subjectaccessreviews",
            json!({"user": user, "groups": groups(&user), "resourceAttributes": attributes}),
        ),
        Who::Viewer => ("SelfSubjectAccessReview", "selfsubjectaccessreviews", json!({ "resourceAttributes": attributes })),
    };
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": {}, "spec": spec});
    let granted = reader.post(&format!("/apis/authorization.k8s.io/v1/{plural}"), &review).await;
    let granted = granted.map(|review| review.pointer("/status/allowed") == Some(&Value::Bool(true)));
    Answer { who, user, right, namespace, granted }
}

/// The groups that every service account is in.
fn groups(user: &str) -> Vec<String> {
    let namespace = user.split(':').nth(2).unwrap_or_default();
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}"), "system:authenticated".to_owned()]
}
