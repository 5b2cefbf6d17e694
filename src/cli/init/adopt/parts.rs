//! The manifests that a move to our Rollout needs: a Deployment for each version, what tells their pods apart, the route. Pure.

#![allow(
    clippy::indexing_slicing,
    reason = "what is indexed is JSON: a name that is not there answers null, and what is written to is an object"
)]

use serde_json::{Map, Value, json};

use super::super::{
    draft::{Draft, bare, port},
    model::{There, named, next, subset},
};
use crate::{
    api::{Destination, RouteKind},
    cli::{Exit, Failure},
    istio::name::Host,
};

/// The label that tells versions apart.
const VERSION: &str = "version";
/// The label that Argo Rollouts gives to pods, and to selectors.
pub(super) const HASH: &str = "rollouts-pod-template-hash";
/// A label for Deployments whose pods have all labels of the old ones, so that they adopt no ReplicaSet of another controller.
const OURS: &str = "haldane.dev/deployment";
/// What must be replaced by hand: no image is called so, and no pod starts with it.
const NO_IMAGE: &str = "IMAGE_OF_";

/// The model, and its two versions.
#[derive(Clone, Debug)]
pub(super) struct Model<'a> {
    pub(super) namespace: Option<&'a str>,
    /// What Deployments are called, without the version.
    pub(super) base: String,
    /// The object whose `spec` has the template of the pods.
    pub(super) source: &'a Value,
    /// Labels that the pods of all versions share.
    pub(super) selector: Map<String, Value>,
    pub(super) stable: String,
    pub(super) canary: String,
}

/// The route as it will be.
#[derive(Clone, Debug)]
pub(super) struct Routed {
    pub(super) kind: RouteKind,
    pub(super) name: String,
    pub(super) route: Option<String>,
    pub(super) canary: Destination,
}

impl<'a> Model<'a> {
    /// The model behind a template of pods. What no label says is asked.
    pub(super) fn of(source: &'a Value, namespace: Option<&'a str>, canary: Option<&str>, draft: &mut Draft) -> Result<Self, Failure> {
        let template = &source["spec"]["template"];
        let labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        if !template.is_object() || labels.is_empty() {
            let fault = format!("{} {} has no template of pods with labels", source["kind"].as_str().unwrap_or_default(), named(source));
            return Err(Failure::new(Exit::Usage, fault, "give the object as it is on the cluster"));
        }
        let mut selector = source["spec"]["selector"]["matchLabels"].as_object().cloned().unwrap_or_else(|| labels.clone());
        selector.retain(|label, _| label != HASH && label != VERSION);
        let stable = labels.get(VERSION).and_then(Value::as_str).map_or_else(
            || {
                draft.ask(format!("What is the version that serves now called? No label names it: its pods get `{VERSION}: v1`."));
                "v1".to_owned()
            },
            str::to_owned,
        );
        let canary = canary.map_or_else(
            || {
                let canary = next(&stable);
                draft.ask(format!("What is the new version called? {canary} is proposed; --canary NAME says another."));
                canary
            },
            str::to_owned,
        );
        let base = named(source);
        let base = base.strip_suffix(&format!("-{}", subset(&stable))).unwrap_or(base).to_owned();
        Ok(Self { namespace, base, source, selector, stable, canary })
    }

    pub(super) fn metadata(&self, name: &str) -> Value {
        let mut metadata = json!({ "name": name });
        if let Some(namespace) = self.namespace {
            metadata["namespace"] = namespace.into();
        }
        metadata
    }

    /// The name of a version's Deployment or Service.
    pub(super) fn called(&self, base: &str, version: &str) -> String {
        format!("{base}-{}", subset(version))
    }

    pub(super) fn stable_deployment(&self) -> String {
        self.called(&self.base, &self.stable)
    }

    pub(super) fn canary_deployment(&self) -> String {
        self.called(&self.base, &self.canary)
    }

    /// What stands in the place of the canary's image.
    fn no_image(&self) -> String {
        format!("{NO_IMAGE}{}", subset(&self.canary).to_uppercase().replace('-', "_"))
    }

    /// The Deployment of the version that serves, with the images of another template where that one serves.
    pub(super) fn add_stable(&self, serving: Option<&Value>, draft: &mut Draft) {
        let mut object = self.deployment(&self.stable);
        for container in containers(&mut object) {
            let same = serving.map(|other| other["spec"]["template"]["spec"]["containers"].as_array().cloned().unwrap_or_default());
            let same = same.into_iter().flatten().find(|other| other["name"] == container["name"]);
            if let Some(image) = same.map(|other| other["image"].clone()).filter(Value::is_string) {
                container["image"] = image;
            }
        }
        draft.add(&format!("{}, as it serves now.", self.stable), object);
    }

    /// The Deployment of the version to come. Its image is for a person to write.
    pub(super) fn add_canary(&self, draft: &mut Draft) {
        let mut object = self.deployment(&self.canary);
        let (image, name) = (self.no_image(), self.canary_deployment());
        if let Some(container) = containers(&mut object).next() {
            container["image"] = image.clone().into();
        }
        draft.ask(format!("What is the image of {}? It goes to the place of {image} in Deployment {name}.", self.canary));
        draft.add(&format!("{}: apply it last, once its image is written. Its pods start the rollout.", self.canary), object);
    }

    fn deployment(&self, version: &str) -> Value {
        let name = self.called(&self.base, version);
        let mut labels = self.selector.clone();
        labels.insert(VERSION.into(), version.into());
        let mut template = self.source["spec"]["template"].clone();
        // Its pods would be told from those of the old controller by nothing.
        if template["metadata"]["labels"][VERSION].as_str() == Some(version) {
            labels.insert(OURS.into(), name.clone().into());
        }
        if let Some(there) = template["metadata"]["labels"].as_object_mut() {
            there.remove(HASH);
            there.extend(labels.clone());
        }
        if let Some(metadata) = template["metadata"].as_object_mut() {
            metadata.retain(|field, value| field != "creationTimestamp" && !value.is_null());
        }
        let mut metadata = self.metadata(&name);
        metadata["labels"] = labels.clone().into();
        let mut spec = json!({"replicas": self.source["spec"]["replicas"], "selector": {"matchLabels": labels}, "template": template});
        if let Some(spec) = spec.as_object_mut() {
            for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
                spec.insert(field.into(), self.source["spec"][field].clone());
            }
            spec.retain(|_, value| !value.is_null());
        }
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    }

    /// A Service for each version, with the ports of one that is there.
    pub(super) fn add_services(&self, base: &str, ports: &Value, draft: &mut Draft) -> [String; 2] {
        let ports: Vec<Value> = ports.as_array().into_iter().flatten().map(port).collect();
        [&self.stable, &self.canary].map(|version| {
            let name = self.called(base, version);
            let mut selector = self.selector.clone();
            selector.insert(VERSION.into(), version.as_str().into());
            let spec = json!({"selector": selector, "ports": ports});
            let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": self.metadata(&name), "spec": spec});
            draft.add(&format!("A Service for the pods of {version} alone."), object);
            name
        })
    }

    /// The subsets of a host. `old` are subsets of the other controller: they stay until nobody asks for them any more, without its labels.
    pub(super) fn add_rule(&self, rule: Option<&Value>, name: &str, host: &str, old: [&str; 2], draft: &mut Draft) {
        let mut object = rule.map_or_else(
            || json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": self.metadata(name), "spec": {"host": host}}),
            bare,
        );
        if let Some(metadata) = object["metadata"].as_object_mut()
            && let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut)
        {
            annotations.retain(|name, _| !name.starts_with("argo-rollouts.argoproj.io/"));
            if annotations.is_empty() {
                metadata.remove("annotations");
            }
        }
        let there = object["spec"]["subsets"].as_array().cloned().unwrap_or_default();
        let mut kept: Vec<Value> = there;
        for one in &mut kept {
            if let Some(labels) = one["labels"].as_object_mut() {
                labels.remove(HASH);
                if labels.is_empty() {
                    one.as_object_mut().map(|one| one.remove("labels"));
                }
            }
        }
        let wanted = [&self.stable, &self.canary].into_iter().zip(old).map(|(version, old)| {
            let mut one = json!({"name": subset(version), "labels": {VERSION: version}});
            let policy = kept.iter().find(|kept| kept["name"] == old).map(|kept| kept["trafficPolicy"].clone());
            if let Some(policy) = policy.filter(|policy| !policy.is_null()) {
                one["trafficPolicy"] = policy;
            }
            one
        });
        let wanted: Vec<Value> = wanted.collect();
        kept.retain(|one| wanted.iter().all(|wanted| wanted["name"] != one["name"]));
        object["spec"]["subsets"] = wanted.into_iter().chain(kept).collect();
        draft.add("The subsets: which pods are which version.", object);
    }

    /// The Rollout.
    pub(super) fn add_rollout(&self, name: &str, to: &Routed, strategy: Value, analysis: Option<Value>, paused: bool, draft: &mut Draft) {
        let mut traffic = json!({ to.kind.field(): to.name });
        if let Some(route) = &to.route {
            traffic["route"] = route.as_str().into();
        }
        let mut spec = json!({"traffic": traffic, "canary": {to.canary.field(): to.canary.name()}, "strategy": strategy});
        if let Some(analysis) = analysis {
            spec["analysis"] = analysis;
        }
        if paused {
            spec["paused"] = true.into();
        }
        let object = json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": self.metadata(name), "spec": spec});
        draft.add("The same steps, holds and limits.", object);
    }
}

fn containers(deployment: &mut Value) -> impl Iterator<Item = &mut Value> {
    deployment.pointer_mut("/spec/template/spec/containers").and_then(Value::as_array_mut).into_iter().flatten()
}

/// One of two that a route leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Stable,
    Canary,
}

/// A route of the other controller, with both destinations replaced and the weights of a rest: everything at stable.
pub(super) struct Retarget<'a> {
    pub(super) kind: RouteKind,
    /// Names of the routes that were stepped; none: the only one.
    pub(super) managed: Vec<String>,
    /// Names of routes that the other controller has put there.
    pub(super) added: Vec<String>,
    /// Which of the two a destination is.
    pub(super) side: &'a dyn Fn(&Value) -> Option<Side>,
    /// The destination in its place.
    pub(super) to: &'a dyn Fn(&Value, Side) -> Value,
}

impl Retarget<'_> {
    /// The object, and the name of the route that is stepped from now on.
    pub(super) fn of(&self, object: &Value, draft: &mut Draft) -> Result<(Value, Option<String>), Failure> {
        let (list, entries) = (self.kind.list(), self.kind.destinations());
        let mut object = bare(object);
        let what = format!("{} {}", self.kind.kind(), named(&object));
        let Some(routes) = object["spec"][list].as_array_mut() else {
            return Err(Failure::new(
                Exit::Usage,
                format!("{what} has no list of {list} routes"),
                "haldane steps routes of HTTP and gRPC requests",
            ));
        };
        routes.retain(|route| !route["name"].as_str().is_some_and(|name| self.added.iter().any(|added| added == name)));
        let several = routes.len() > 1;
        let stepped = |route: &Value| match (self.managed.is_empty(), route["name"].as_str()) {
            (true, _) => route[entries].as_array().into_iter().flatten().any(|entry| (self.side)(entry) == Some(Side::Canary)) || !several,
            (false, name) => name.is_some_and(|name| self.managed.iter().any(|managed| managed == name)),
        };
        let mut chosen: Option<usize> = None;
        for (index, route) in routes.iter_mut().enumerate() {
            let is_stepped = stepped(route);
            let name = route["name"].as_str().map_or_else(|| format!("number {}", index + 1), str::to_owned);
            let Some(all) = route[entries].as_array_mut() else { continue };
            let found = |side: Side| all.iter().find(|entry| (self.side)(entry) == Some(side)).cloned();
            let (stable, canary) = (found(Side::Stable), found(Side::Canary));
            let Some(shape) = stable.clone().or_else(|| canary.clone()) else { continue };
            let weighted = |shape: &Value, side: Side, weight: u8| {
                let mut entry = (self.to)(shape, side);
                entry["weight"] = weight.into();
                entry
            };
            if is_stepped && chosen.is_none() {
                if all.len() > usize::from(stable.is_some()) + usize::from(canary.is_some()) {
                    draft.lose(format!(
                        "Further destinations of route {name} in {what}: a route that is stepped leads to the two versions alone."
                    ));
                }
                *all = vec![weighted(&shape, Side::Stable, 100), weighted(canary.as_ref().unwrap_or(&shape), Side::Canary, 0)];
                chosen = Some(index);
            } else {
                if is_stepped {
                    draft.lose(format!(
                        "Route {name} of {what} was stepped too: a Rollout steps one route. This one stays at stable; give it a Rollout of its own if its traffic is to be stepped."
                    ));
                }
                // Where else it leads is not touched.
                let kept = all.iter().filter_map(|entry| match (self.side)(entry) {
                    Some(Side::Canary) if stable.is_some() => None,
                    Some(_) => Some((self.to)(entry, Side::Stable)),
                    None => Some(entry.clone()),
                });
                *all = kept.collect();
            }
        }
        let Some(route) = chosen.and_then(|index| routes.get_mut(index)) else {
            let fix = "docs/routes.md shows the shapes that can be stepped";
            return Err(Failure::new(Exit::Usage, format!("no route of {what} leads to the stable and the canary version"), fix));
        };
        if several && route["name"].is_null() {
            route["name"] = "primary".into();
        }
        let name = route["name"].as_str().map(str::to_owned);
        Ok((object, name))
    }
}

/// A route where none was: everything to the version that serves.
pub(super) fn new_route(model: &Model<'_>, there: There<'_>, service: &Value, draft: &mut Draft) -> Routed {
    let host = named(service).to_owned();
    let here = model.namespace.unwrap_or("default");
    let rule = there
        .of("DestinationRule")
        .find(|rule| rule["spec"]["host"].as_str().is_some_and(|other| Host::of(other, here) == Host::of(&host, here)));
    let hashed = service["spec"]["selector"].get(HASH).is_some();
    if hashed {
        let mut open = bare(service);
        open["spec"]["selector"].as_object_mut().map(|selector| selector.remove(HASH));
        let ports: Vec<Value> = open["spec"]["ports"].as_array().into_iter().flatten().map(port).collect();
        open["spec"] = json!({"selector": open["spec"]["selector"], "ports": ports});
        draft.add("The Service of all versions: without the label of the other controller it finds the new pods too.", open);
    }
    model.add_rule(rule, &host, &host, ["", ""], draft);
    let to = |version: &str, weight: u8| json!({"destination": {"host": host, "subset": subset(version)}, "weight": weight});
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": model.metadata(&host),
        "spec": {"hosts": [host], "http": [{"name": "primary", "route": [to(&model.stable, 100), to(&model.canary, 0)]}]},
    });
    draft.add("The route: everything to what serves now. haldane changes its weights.", object);
    draft.ask("Do clients come through a gateway? Then add spec.gateways and its hosts to the VirtualService.");
    Routed { kind: RouteKind::VirtualService, name: host, route: None, canary: Destination::Subset(subset(&model.canary)) }
}
