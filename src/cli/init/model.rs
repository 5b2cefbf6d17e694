//! What is there of a model: its Service, the Deployments behind it, the label that tells them apart, and its route. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    api::RouteKind,
    cli::{Exit, Failure},
    istio::name::Host,
};

/// What to begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Kind as Kubernetes calls it.
    pub(super) kind: &'static str,
    /// Name.
    pub(super) name: String,
}

impl Start {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').ok_or("write it as KIND/NAME, for example service/fraud")?;
        let written = kind.to_lowercase();
        // A version may stand before the group, as kubectl takes it: rollouts.v1alpha1.argoproj.io.
        let kind = match written.replace(".v1alpha1.", ".").replace(".v1beta1.", ".").as_str() {
            "rollout.argoproj.io" | "rollouts.argoproj.io" | "ro.argoproj.io" | "ro" => "Rollout",
            "canary.flagger.app" | "canaries.flagger.app" | "canary" | "canaries" => "Canary",
            "rollout" | "rollouts" => {
                return Err(format!(
                    "a Rollout of Argo Rollouts is rollout.argoproj.io/{name}; one of haldane needs no draft: `haldane status {name}`"
                ));
            }
            "service" | "services" | "svc" => "Service",
            "deployment" | "deployments" | "deploy" => "Deployment",
            "virtualservice" | "virtualservices" | "vs" => RouteKind::VirtualService.kind(),
            "httproute" | "httproutes" => RouteKind::HttpRoute.kind(),
            "grpcroute" | "grpcroutes" => RouteKind::GrpcRoute.kind(),
            _ => {
                let kinds = "service, deployment, virtualservice, httproute, grpcroute, rollout.argoproj.io and canary.flagger.app";
                return Err(format!("KIND is one of {kinds}"));
            }
        };
        if name.is_empty() { Err("NAME is missing".into()) } else { Ok(Self { kind, name: name.to_owned() }) }
    }

    /// Whether it is an object of another controller.
    pub(super) fn is_of_another(&self) -> bool {
        matches!(self.kind, "Rollout" | "Canary")
    }

    /// The kind of route that it is, if it is one.
    pub(super) fn route(&self) -> Option<RouteKind> {
        RouteKind::ALL.into_iter().find(|kind| kind.kind() == self.kind)
    }
}

/// Everything that was read.
#[derive(Clone, Copy)]
pub(super) struct There<'a> {
    pub(super) objects: &'a [Value],
    pub(super) namespace: Option<&'a str>,
}

impl<'a> There<'a> {
    /// Objects of a kind.
    pub(super) fn of(self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        let here = move |object: &&Value| {
            let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
            self.namespace.is_none() || namespace.is_none() || namespace == self.namespace
        };
        self.objects.iter().filter(move |object| object["kind"] == kind).filter(here)
    }

    /// One of them.
    pub(super) fn find(self, kind: &'a str, name: &str) -> Option<&'a Value> {
        self.of(kind).find(|object| named(object) == name)
    }

    /// The same, or a failure that names those that are there.
    pub(super) fn get(self, kind: &'a str, name: &str) -> Result<&'a Value, Failure> {
        self.find(kind, name).ok_or_else(|| {
            let names: Vec<&str> = self.of(kind).map(named).collect();
            let fix = if names.is_empty() {
                format!("there is no {kind} at all; another namespace with -n?")
            } else {
                format!("one of {}", names.join(", "))
            };
            Failure::new(Exit::NotFound, format!("there is no {kind} {name}"), fix)
        })
    }

    /// The namespace of an object, or of what is read.
    pub(super) fn home(self, object: &'a Value) -> &'a str {
        object.pointer("/metadata/namespace").and_then(Value::as_str).or(self.namespace).unwrap_or("default")
    }

    /// Deployments whose pods a Service selects, the oldest first.
    pub(super) fn behind(self, service: &Value) -> Vec<&'a Value> {
        let Some(selector) = service.pointer("/spec/selector").and_then(Value::as_object).filter(|selector| !selector.is_empty()) else {
            return Vec::new();
        };
        let mut found: Vec<&Value> = self.of("Deployment").filter(|deployment| within(selector, deployment)).collect();
        let age =
            |deployment: &Value| deployment.pointer("/metadata/creationTimestamp").and_then(Value::as_str).unwrap_or_default().to_owned();
        found.sort_by_key(|deployment| (age(deployment), named(deployment).to_owned()));
        found
    }

    /// The Service that selects the pods of a Deployment: the one that selects the most.
    pub(super) fn service_of(self, deployment: &Value) -> Result<&'a Value, Failure> {
        let selects = |service: &&Value| {
            let selector = service.pointer("/spec/selector").and_then(Value::as_object);
            selector.is_some_and(|selector| !selector.is_empty() && within(selector, deployment))
        };
        let widest = self.of("Service").filter(selects).max_by_key(|service| self.behind(service).len());
        widest.ok_or_else(|| {
            let name = named(deployment);
            let fix = format!("kubectl expose deployment {name} --port=80 --target-port=8080, and name its port http or grpc");
            Failure::new(Exit::Usage, format!("no Service selects the pods of Deployment {name}"), fix)
        })
    }

    /// The routes that lead to a Service, VirtualServices first.
    pub(super) fn leading_to(self, service: &str) -> Vec<(RouteKind, &'a Value)> {
        let all = RouteKind::ALL.into_iter().flat_map(|kind| self.of(kind.kind()).map(move |object| (kind, object)));
        all.filter(|(kind, object)| hosts(*kind, object, self.home(object)).iter().any(|host| host == service)).collect()
    }
}

/// Whether the pods of a Deployment have these labels.
fn within(selector: &Map<String, Value>, deployment: &Value) -> bool {
    let labels = deployment.pointer("/spec/template/metadata/labels");
    selector.iter().all(|(label, value)| labels.and_then(|labels| labels.get(label)) == Some(value))
}

/// Parts of the names of images, and the preset for the server in them. The first that fits counts.
const SERVERS: [(&str, &str); 12] = [
    ("vllm", "vllm"),
    ("sglang", "sglang"),
    ("tensorrt-llm", "trtllm"),
    ("tensorrtllm", "trtllm"),
    ("text-generation-inference", "tgi"),
    ("tritonserver", "triton"),
    ("seldon", "seldon"),
    ("mlserver", "mlserver"),
    ("torchserve", "torchserve"),
    ("tensorflow/serving", "tf-serving"),
    ("rayproject/ray", "ray-serve"),
    ("kserve/", "kserve"),
];

/// The preset for the server that the images of these Deployments name.
pub(super) fn server(deployments: &[&Value]) -> Option<&'static str> {
    let containers = deployments.iter().filter_map(|deployment| deployment.pointer("/spec/template/spec/containers")?.as_array()).flatten();
    let images: Vec<String> = containers.filter_map(|container| Some(container.get("image")?.as_str()?.to_lowercase())).collect();
    let named = |part: &str| images.iter().any(|image| image.contains(part));
    SERVERS.iter().find(|(part, _)| named(part)).map(|(_, preset)| *preset)
}

/// Name of an object.
pub(super) fn named(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// Names of the Services that the rules of a route lead to.
pub(super) fn hosts(kind: RouteKind, object: &Value, namespace: &str) -> Vec<String> {
    let rules = object.get("spec").and_then(|spec| spec.get(kind.list())).and_then(Value::as_array).into_iter().flatten();
    let destinations = rules.flat_map(|rule| rule.get(kind.destinations()).and_then(Value::as_array).into_iter().flatten());
    let host = |to: &Value| {
        let written = if kind.is_gateway_api() { to.get("name") } else { to.pointer("/destination/host") };
        Host::of(written?.as_str()?, namespace).service_in(namespace).map(str::to_owned)
    };
    destinations.filter_map(host).collect()
}

/// The versions behind a Service: label, and its value for each Deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Versions {
    /// The label that tells them apart.
    pub(super) label: String,
    /// Its values with the name of the Deployment, the oldest first.
    pub(super) values: Vec<(String, String)>,
}

/// Labels that name a version, the best first.
const LABELS: [&str; 2] = ["version", "app.kubernetes.io/version"];

/// The versions behind a Service. A Deployment that no label names is left out.
pub(super) fn versions(deployments: &[&Value], selector: &Value) -> Versions {
    let labels: Vec<(BTreeMap<&str, &str>, &str)> = deployments.iter().map(|deployment| (labels(deployment), named(deployment))).collect();
    let fits = |label: &str| {
        let mut values: Vec<&str> = labels.iter().filter_map(|(labels, _)| labels.get(label).copied()).collect();
        values.sort_unstable();
        values.dedup();
        values.len() == labels.len() && selector.get(label).is_none()
    };
    let first = labels.first().map(|(labels, _)| labels.keys().copied().collect::<Vec<_>>()).unwrap_or_default();
    let others = first.into_iter().filter(|_| labels.len() > 1);
    let label = LABELS.into_iter().chain(others).find(|label| !labels.is_empty() && fits(label)).unwrap_or("version");
    let value = |(labels, name): &(BTreeMap<&str, &str>, &str)| Some(((*labels.get(label)?).to_owned(), (*name).to_owned()));
    Versions { label: label.to_owned(), values: labels.iter().filter_map(value).collect() }
}

fn labels(deployment: &Value) -> BTreeMap<&str, &str> {
    let labels = deployment.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
    labels.into_iter().flatten().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
}

/// The name of the version after one: `v2` after `v1`.
pub(super) fn next(version: &str) -> String {
    let digits = version.len() - version.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (name, number) = version.split_at(version.len() - digits);
    number.parse::<u64>().map_or_else(|_| format!("{version}-next"), |number| format!("{name}{}", number.saturating_add(1)))
}

/// A version as the name of a subset: a DNS label.
pub(super) fn subset(version: &str) -> String {
    let plain: String = version.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    plain.get(..plain.len().min(63)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_version_after_one_has_the_next_number() {
        let cases = [("v1", "v2"), ("2026-11-29", "2026-11-30"), ("blue", "blue-next"), ("", "-next")];
        for (version, wanted) in cases {
            assert_eq!(next(version), wanted);
        }
        assert_eq!(subset("1.4.0_RC"), "1-4-0-rc");
    }

    #[test]
    fn the_label_is_one_that_differs_and_that_the_service_does_not_select() {
        let deployment =
            |name: &str, labels: Value| json!({"metadata": {"name": name}, "spec": {"template": {"metadata": {"labels": labels}}}});
        let two = [deployment("a", json!({"app": "f", "build": "7"})), deployment("b", json!({"app": "f", "build": "8"}))];
        let found = versions(&two.iter().collect::<Vec<_>>(), &json!({"app": "f"}));
        assert_eq!((found.label.as_str(), found.values.len()), ("build", 2));
        let one = [deployment("a", json!({"app": "f"}))];
        assert_eq!(
            versions(&one.iter().collect::<Vec<_>>(), &json!({"app": "f"})),
            Versions { label: "version".into(), values: Vec::new() }
        );
    }

    #[test]
    fn what_to_begin_with_is_a_kind_and_a_name() {
        assert_eq!(Start::parse("svc/fraud").unwrap(), Start { kind: "Service", name: "fraud".into() });
        assert_eq!(Start::parse("httproute/fraud").unwrap().route(), Some(RouteKind::HttpRoute));
        for (text, kind) in [
            ("rollout.argoproj.io/fraud", "Rollout"),
            ("Rollouts.v1alpha1.argoproj.io/fraud", "Rollout"),
            ("ro/fraud", "Rollout"),
            ("canary.flagger.app/fraud", "Canary"),
            ("canaries/fraud", "Canary"),
        ] {
            let start = Start::parse(text).unwrap();
            assert!(start.is_of_another() && start.kind == kind && start.route().is_none(), "{text}");
        }
        for bad in ["fraud", "secret/x", "service/", "rollout.haldane.dev/fraud"] {
            assert!(Start::parse(bad).is_err(), "{bad}");
        }
        let told = Start::parse("rollout/fraud").unwrap_err();
        assert!(told.contains("rollout.argoproj.io/fraud") && told.contains("`haldane status fraud`"), "{told}");
    }
}
