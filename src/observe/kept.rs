//! What the caches keep of each kind: what a decision may need, and little of the rest. A parsed object takes ten times the bytes of its
//! text, and most of an object's text is of no interest here.

use std::borrow::Cow;

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Resource,
    core::{DynamicResourceScope, discovery::ApiResource},
};
use serde::Deserialize;
use serde_json::Value;

use super::shelf;
use crate::api::names::MODEL;
use crate::istio::name::{Host, meant};
use crate::istio::rule::About;
use crate::route::Serving;

/// Label of an EndpointSlice that names its Service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// A VirtualService: its text, since all of it may matter.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Value")]
pub struct Route {
    metadata: ObjectMeta,
    text: Box<str>,
    /// Which requests meet it, to be compared with others.
    pub serving: Serving,
}

/// A DestinationRule.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawRule")]
pub struct Rule {
    metadata: ObjectMeta,
    /// Host that it is about, as written.
    pub host: Box<str>,
    /// It has a `workloadSelector`.
    for_some: bool,
    /// Its `exportTo`.
    export_to: Box<[Box<str>]>,
    subsets: Box<[(Box<str>, Labels)]>,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawSlice")]
pub struct Slice {
    metadata: ObjectMeta,
    /// Name of its Service.
    pub service: Box<str>,
    /// Its pods by name, and whether each is ready.
    pub pods: Box<[(Box<str>, bool)]>,
    /// Names of its ports.
    pub ports: Box<[Box<str>]>,
}

/// A Pod; only its metadata is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawPod")]
pub struct Pod {
    metadata: ObjectMeta,
    /// Its labels.
    pub labels: Labels,
    /// Kind and name of the controller that owns it.
    pub owner: Option<(Box<str>, Box<str>)>,
    /// Its annotation `haldane.dev/model`.
    pub model: Option<Box<str>>,
}

/// Labels as one text, a line for each: names and values of labels hold neither `=` nor line ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<str>);

impl Labels {
    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter_map(|line| line.split_once('='))
    }

    /// Value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(labels: I) -> Self {
        Self(labels.into_iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>().into())
    }
}

impl Route {
    /// The object as one JSON value.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

impl Rule {
    /// Its name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// What decides whether it speaks for a host.
    pub fn about(&self) -> About<'_> {
        About {
            host: &self.host,
            namespace: self.metadata.namespace.as_deref().unwrap_or_default(),
            name: self.name(),
            created: self.metadata.creation_timestamp.as_ref().map_or(0, |at| at.0.as_second()),
            for_some: self.for_some,
            export_to: self.export_to.iter().map(|to| &**to).collect(),
        }
    }

    /// Labels of a subset, if it has one of this name.
    pub fn subset(&self, name: &str) -> Option<&Labels> {
        self.subsets.iter().find(|(known, _)| **known == *name).map(|(_, labels)| labels)
    }
}

impl From<Value> for Route {
    fn from(object: Value) -> Self {
        let metadata = object.get("metadata").and_then(|metadata| ObjectMeta::deserialize(metadata).ok()).unwrap_or_default();
        Self { metadata: bare(metadata), text: object.to_string().into(), serving: Serving::of(&object) }
    }
}

#[derive(Deserialize)]
struct RawRule {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
}

// Of a custom resource nothing is certain: what is not as it should be is not there, and hinders no other object.
impl From<RawRule> for Rule {
    fn from(raw: RawRule) -> Self {
        let text = |value: &Value, key: &str| -> Box<str> { value.get(key).and_then(Value::as_str).unwrap_or_default().into() };
        let labels = |subset: &Value| -> Labels {
            let labels = subset.get("labels").and_then(Value::as_object).into_iter().flatten();
            labels.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
        };
        let subsets = raw.spec.get("subsets").and_then(Value::as_array).into_iter().flatten();
        let subsets = subsets.map(|subset| (text(subset, "name"), labels(subset))).collect();
        let for_some = raw.spec.get("workloadSelector").is_some_and(|selector| !selector.is_null());
        let export_to = raw.spec.get("exportTo").and_then(Value::as_array).into_iter().flatten();
        let export_to = export_to.filter_map(Value::as_str).map(Box::from).collect();
        Self { metadata: bare(raw.metadata), host: text(&raw.spec, "host"), for_some, export_to, subsets }
    }
}

#[derive(Deserialize)]
struct RawSlice {
    metadata: ObjectMeta,
    endpoints: Option<Vec<RawEndpoint>>,
    ports: Option<Vec<RawPort>>,
}

#[derive(Deserialize)]
struct RawPort {
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEndpoint {
    conditions: Option<RawConditions>,
    target_ref: Option<RawTarget>,
}

#[derive(Deserialize)]
struct RawConditions {
    ready: Option<bool>,
}

#[derive(Deserialize)]
struct RawTarget {
    kind: Option<String>,
    name: Option<String>,
}

impl From<RawSlice> for Slice {
    fn from(raw: RawSlice) -> Self {
        let service = raw.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL)).cloned().unwrap_or_default().into();
        let pod = |endpoint: RawEndpoint| {
            let target = endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod"))?;
            // Unknown counts as ready.
            let ready = endpoint.conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
            Some((target.name?.into(), ready))
        };
        let pods = raw.endpoints.into_iter().flatten().filter_map(pod).collect();
        let ports = raw.ports.into_iter().flatten().map(|port| port.name.unwrap_or_default().into()).collect();
        Self { metadata: bare(raw.metadata), service, pods, ports }
    }
}

#[derive(Deserialize)]
struct RawPod {
    metadata: ObjectMeta,
}

impl From<RawPod> for Pod {
    fn from(mut raw: RawPod) -> Self {
        let owners = raw.metadata.owner_references.take().unwrap_or_default();
        let owner = owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| (owner.kind.into(), owner.name.into()));
        let model = raw.metadata.annotations.take().and_then(|mut all| all.remove(MODEL)).map(String::into_boxed_str);
        let labels = raw.metadata.labels.take().unwrap_or_default();
        let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self { metadata: bare(raw.metadata), labels, owner, model }
    }
}

impl Slice {
    /// The topic of a Service's slices.
    pub fn of(namespace: &str, service: &str) -> String {
        format!("{namespace}/{service}")
    }

    /// The topic of the slices in which a pod stands.
    pub fn with(namespace: &str, pod: &str) -> String {
        format!("{namespace}/pod/{pod}")
    }
}

impl Rule {
    /// The topics of the rules of a namespace that may matter to a host: those for it, those for a name that somebody meant for it, and
    /// wildcards.
    pub fn topics_of(namespace: &str, host: Host<'_>) -> [String; 2] {
        [format!("{namespace}/{host}"), format!("{namespace}/*")]
    }
}

impl shelf::About for Route {
    fn topics(&self) -> Vec<String> {
        self.serving.topics()
    }
}

impl shelf::About for Slice {
    fn topics(&self) -> Vec<String> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let pods = self.pods.iter().map(|(pod, _)| Self::with(namespace, pod));
        std::iter::once(Self::of(namespace, &self.service)).chain(pods).collect()
    }
}

impl shelf::About for Rule {
    fn topics(&self) -> Vec<String> {
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        if self.host.starts_with('*') {
            return vec![format!("{namespace}/*")];
        }
        let meant = meant(&self.host, namespace).map(|service| Host::Service { name: &service, namespace }.to_string());
        std::iter::once(Host::of(&self.host, namespace).to_string()).chain(meant).map(|host| format!("{namespace}/{host}")).collect()
    }
}

impl shelf::About for Pod {
    /// It is found by its name alone.
    fn topics(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Identity and times.
fn bare(metadata: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name,
        namespace: metadata.namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        creation_timestamp: metadata.creation_timestamp,
        deletion_timestamp: metadata.deletion_timestamp,
        ..ObjectMeta::default()
    }
}

/// Which resource a kind is: of a group and version known beforehand, or as the cluster has it.
macro_rules! resource {
    ($kind:ty, fixed $group:literal $version:literal $name:literal $plural:literal, metadata $metadata:literal) => {
        impl Resource for $kind {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;
            fn kind((): &()) -> Cow<'_, str> {
                $name.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn metadata_api() -> bool {
                $metadata
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
    ($kind:ty, found) => {
        impl Resource for $kind {
            type DynamicType = ApiResource;
            type Scope = DynamicResourceScope;
            fn kind(found: &ApiResource) -> Cow<'_, str> {
                found.kind.as_str().into()
            }
            fn group(found: &ApiResource) -> Cow<'_, str> {
                found.group.as_str().into()
            }
            fn version(found: &ApiResource) -> Cow<'_, str> {
                found.version.as_str().into()
            }
            fn plural(found: &ApiResource) -> Cow<'_, str> {
                found.plural.as_str().into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(Pod, fixed "" "v1" "Pod" "pods", metadata true);
resource!(Slice, fixed "discovery.k8s.io" "v1" "EndpointSlice" "endpointslices", metadata false);
resource!(Route, found);
resource!(Rule, found);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_virtual_service_every_byte_stays() {
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "fraud", "namespace": "ml", "resourceVersion": "7", "annotations": {"a": "b"}, "managedFields": [{"manager": "argo"}]},
            "spec": {"http": [{"name": "primary", "timeout": "2s"}]},
        });
        let kept: Route = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(kept.value(), object);
        assert_eq!((kept.meta().name.as_deref(), kept.meta().resource_version.as_deref()), (Some("fraud"), Some("7")));
        assert!(kept.meta().managed_fields.is_none() && kept.meta().annotations.is_none());
    }

    #[test]
    fn of_a_slice_pods_and_their_readiness_stay() {
        let slice: Slice = serde_json::from_value(json!({
            "metadata": {"name": "fraud-x", "labels": {"kubernetes.io/service-name": "fraud"}}, "addressType": "IPv4", "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": false}, "targetRef": {"kind": "Pod", "name": "a"}},
                {"addresses": ["10.0.0.2"], "targetRef": {"kind": "Pod", "name": "b"}},
                {"addresses": ["10.0.0.3"], "targetRef": {"kind": "Node", "name": "c"}},
            ],
        }))
        .unwrap();
        assert_eq!((&*slice.service, &*slice.pods), ("fraud", &[("a".into(), false), ("b".into(), true)][..]));
        let empty: Slice = serde_json::from_value(json!({"metadata": {"name": "fraud-y"}, "endpoints": null})).unwrap();
        assert!(empty.pods.is_empty());
    }

    #[test]
    fn of_a_rule_that_is_not_as_it_should_be_the_rest_stays() {
        let spec = json!({"host": "fraud", "subsets": [{"name": "v1"}, {"name": "v2", "labels": {"version": "v2", "odd": 7}}, "odd"]});
        let rule: Rule = serde_json::from_value(json!({"metadata": {"name": "fraud"}, "spec": spec})).unwrap();
        assert_eq!(rule.subset("v1"), Some(&Labels::default()));
        assert_eq!(rule.subset("v2").map(|labels| labels.iter().collect::<Vec<_>>()), Some(vec![("version", "v2")]));
        assert!(rule.subset("v3").is_none());
        assert!(serde_json::from_value::<Rule>(json!({"metadata": {"name": "empty"}})).unwrap().host.is_empty());
    }

    #[test]
    fn of_a_pod_labels_and_its_controller_stay() {
        let owners = json!([
            {"apiVersion": "v1", "kind": "Other", "name": "x", "uid": "u"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "fraud-v2-77f", "uid": "u", "controller": true},
        ]);
        let metadata = json!({"name": "a", "labels": {"version": "v2", "empty": "", "app.kubernetes.io/name": "fraud"}, "ownerReferences": owners, "annotations": {"big": "x"}});
        let pod: Pod = serde_json::from_value(json!({"kind": "PartialObjectMetadata", "metadata": metadata})).unwrap();
        assert_eq!(pod.owner, Some(("ReplicaSet".into(), "fraud-v2-77f".into())));
        assert_eq!((pod.labels.get("version"), pod.labels.get("empty"), pod.labels.get("app")), (Some("v2"), Some(""), None));
        assert!(pod.meta().annotations.is_none());
        assert!(Pod::metadata_api() && !Slice::metadata_api());
    }
}
