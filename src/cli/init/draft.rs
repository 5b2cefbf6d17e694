//! The manifests that a Rollout needs, made of what is there. Pure.

#![allow(
    clippy::indexing_slicing,
    reason = "what is indexed is JSON: a name that is not there answers null, and what is written to is an object"
)]

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::model::{Start, There, Versions, hosts, named, next, server, subset, versions};
use crate::{
    api::{Destination, RouteKind},
    cli::{Exit, Failure},
    istio::name::Host,
    route::{Sought, View, find},
};

/// A manifest, with what is to be known of it.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) notes: Vec<String>,
    pub(super) object: Value,
}

/// All manifests.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// What they do, in one sentence.
    pub(super) about: String,
    /// What could not be answered.
    pub(super) questions: Vec<String>,
    /// What another controller's object says and ours does not, with why and what to use instead.
    pub(super) lost: Vec<String>,
    /// The order of a move from another controller, and what each step does to the pods.
    pub(super) order: Vec<String>,
    /// In the order in which they are to be applied.
    pub(super) documents: Vec<Document>,
}

impl Draft {
    pub(super) fn add(&mut self, note: &str, object: Value) {
        self.documents.push(Document { notes: vec![note.to_owned()], object });
    }

    pub(super) fn ask(&mut self, question: impl Into<String>) {
        self.questions.push(question.into());
    }

    pub(super) fn lose(&mut self, what: impl Into<String>) {
        self.lost.push(what.into());
    }

    /// Each thing said once, where several fields or steps said it.
    pub(super) fn plain(mut self) -> Self {
        for list in [&mut self.questions, &mut self.lost] {
            let mut seen = BTreeSet::new();
            list.retain(|line| seen.insert(line.clone()));
        }
        self
    }
}

/// What is known before a manifest is made.
struct Known<'a> {
    there: There<'a>,
    namespace: Option<&'a str>,
    service: Option<&'a Value>,
    name: String,
    versions: Versions,
    /// Value of the label that serves, if what to begin with says it.
    serves: Option<String>,
    canary: Option<&'a str>,
}

/// The manifests for a Rollout.
pub(super) fn draft(objects: &[Value], start: &Start, namespace: Option<&str>, canary: Option<&str>) -> Result<Draft, Failure> {
    let there = There { objects, namespace };
    let begin = there.get(start.kind, &start.name)?;
    let mut draft = Draft::default();
    let (service, route) = match start.route() {
        Some(kind) => {
            let leads = hosts(kind, begin, there.home(begin));
            let services: Vec<&Value> = leads.iter().filter_map(|host| there.find("Service", host)).collect();
            (services.first().copied(), Some((kind, begin)))
        }
        None => {
            let service = if start.kind == "Deployment" { there.service_of(begin)? } else { begin };
            let routes = there.leading_to(named(service));
            if routes.len() > 1 {
                let names: Vec<String> = routes.iter().map(|(kind, object)| format!("{} {}", kind.kind(), named(object))).collect();
                draft.ask(format!("Which route is to be stepped? {} lead to the Service, the first is taken.", names.join(", ")));
            }
            (Some(service), routes.first().copied())
        }
    };
    let name = match (service, route) {
        (_, Some((_, route))) => named(route).to_owned(),
        (Some(service), None) => named(service).to_owned(),
        (None, None) => start.name.clone(),
    };
    let deployments = service.map(|service| there.behind(service)).unwrap_or_default();
    let selector = service.map_or(&Value::Null, |service| &service["spec"]["selector"]);
    let versions = versions(&deployments, selector);
    let serves = (start.kind == "Deployment").then(|| versions.values.iter().find(|(_, of)| *of == start.name)).flatten();
    let serves = serves.map(|(value, _)| value.clone());
    let known = Known {
        there,
        namespace: begin.pointer("/metadata/namespace").and_then(Value::as_str).or(namespace),
        service,
        name,
        versions,
        serves,
        canary,
    };
    match route {
        Some((kind, route)) if kind.is_gateway_api() => gateway(&known, kind, route, &mut draft)?,
        Some((_, route)) => virtual_service(&known, route, &mut draft)?,
        None => new_route(&known, &mut draft),
    }
    Ok(draft)
}

impl Known<'_> {
    fn metadata(&self, name: &str) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".into(), name.into());
        if let Some(namespace) = self.namespace {
            metadata.insert("namespace".into(), namespace.into());
        }
        metadata.into()
    }

    fn rollout(&self, kind: RouteKind, route: Option<&str>, canary: &Destination) -> Value {
        let mut traffic = json!({ kind.field(): self.name });
        if let (Some(route), Some(traffic)) = (route, traffic.as_object_mut()) {
            traffic.insert("route".into(), route.into());
        }
        json!({
            "apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": self.metadata(&self.name),
            "spec": {"traffic": traffic, "canary": {canary.field(): canary.name()}, "strategy": {"canary": {}}},
        })
    }

    /// The values of the label for stable and the canary, with what could not be known.
    fn pair(&self, draft: &mut Draft) -> (String, String) {
        let label = &self.versions.label;
        let first = self.versions.values.first().map(|(value, _)| value.clone());
        let stable = self.serves.clone().or(first).unwrap_or_else(|| {
            let what = self.service.map_or_else(|| self.name.clone(), |service| named(service).to_owned());
            draft.ask(format!(
                "Which version serves now? No label of the pods behind {what} names it: add `{label}: v1` to the pod template."
            ));
            "v1".to_owned()
        });
        let other = self.versions.values.iter().map(|(value, _)| value).find(|value| **value != stable);
        let canary = self.canary.map(str::to_owned).or_else(|| other.cloned()).unwrap_or_else(|| {
            let canary = next(&stable);
            draft.ask(format!(
                "What is the new version called? Its pods need the label `{label}: {canary}`, and a Deployment of their own."
            ));
            canary
        });
        (stable, canary)
    }

    fn destination_rule(&self, host: &str, pair: [&str; 2], draft: &mut Draft) {
        let wanted = pair.map(|value| json!({"name": subset(value), "labels": {&self.versions.label: value}}));
        let here = self.namespace.unwrap_or("default");
        let same = |rule: &&Value| rule["spec"]["host"].as_str().is_some_and(|other| Host::of(other, here) == Host::of(host, here));
        let there = self.there.of("DestinationRule").find(same);
        let Some(rule) = there else {
            let rule = json!({
                "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": self.metadata(&self.name),
                "spec": {"host": host, "subsets": wanted},
            });
            return draft.add("The subsets: which pods are which version.", rule);
        };
        let mut rule = bare(rule);
        let Some(spec) = rule["spec"].as_object_mut() else { return };
        let subsets = spec.entry("subsets").or_insert_with(|| json!([]));
        let Some(subsets) = subsets.as_array_mut() else { return };
        let missing: Vec<Value> = wanted.into_iter().filter(|one| !subsets.iter().any(|known| known["name"] == one["name"])).collect();
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().filter_map(|one| one["name"].as_str()).collect();
            let note = format!("The DestinationRule that is there, with {} added.", names.join(" and "));
            subsets.extend(missing);
            draft.add(&note, rule);
        }
    }
}

/// There is no route yet: a VirtualService for the Service's own host.
fn new_route(known: &Known<'_>, draft: &mut Draft) {
    let (stable, canary) = known.pair(draft);
    let host = known.name.clone();
    draft.ask("Do clients come through a gateway? Then add spec.gateways and its hosts to the VirtualService.");
    known.destination_rule(&host, [&stable, &canary], draft);
    let to = |value: &str, weight: u8| json!({"destination": {"host": host, "subset": subset(value)}, "weight": weight});
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": known.metadata(&known.name),
        "spec": {"hosts": [host], "http": [{"name": "primary", "route": [to(&stable, 100), to(&canary, 0)]}]},
    });
    draft.add("The route: everything to what serves now. haldane changes its weights.", object);
    finish(known, RouteKind::VirtualService, None, &subset(&stable), &Destination::Subset(subset(&canary)), draft);
}

fn virtual_service(known: &Known<'_>, object: &Value, draft: &mut Draft) -> Result<(), Failure> {
    let placed = placed(object, known.namespace);
    let sought = |canary: &Destination| find(&placed, Sought { kind: RouteKind::VirtualService, route: None, canary });
    let by_subset = Destination::Subset(known.canary.unwrap_or_default().to_owned());
    if let Ok(view) = sought(&by_subset) {
        let canary = subset_of_canary(known, &view, draft);
        let stable = stable_of(&view, &canary, draft);
        known.destination_rule(&view.host, [&stable, &canary], draft);
        finish(known, RouteKind::VirtualService, view.name.as_deref(), &stable, &Destination::Subset(canary), draft);
        return Ok(());
    }
    let by_service = Destination::Service(known.canary.unwrap_or_default().to_owned());
    if let Ok(view) = sought(&by_service).map_err(|_| ()).and_then(|view| if view.entries.len() > 1 { Ok(view) } else { Err(()) }) {
        let canary = entry_of_canary(known, &view, draft);
        let stable = stable_of(&view, &canary, draft);
        finish(known, RouteKind::VirtualService, view.name.as_deref(), &stable, &Destination::Service(canary), draft);
        return Ok(());
    }
    split_subsets(known, object, sought(&by_subset).err().map(|fault| fault.to_string()).unwrap_or_default(), draft)
}

/// A route that leads to a Service as a whole gets a destination for each version.
fn split_subsets(known: &Known<'_>, object: &Value, fault: String, draft: &mut Draft) -> Result<(), Failure> {
    let mut object = bare(object);
    let here = known.namespace.unwrap_or("default").to_owned();
    let service = known.service.map(|service| named(service).to_owned());
    let routes = object.pointer_mut("/spec/http").and_then(Value::as_array_mut);
    let whole = |route: &Value| {
        let [one] = route["route"].as_array().map(Vec::as_slice).unwrap_or_default() else { return false };
        let host = one["destination"]["host"].as_str().and_then(|host| Host::of(host, &here).service_in(&here));
        one["destination"]["subset"].is_null() && host.is_some() && host.map(str::to_owned) == service
    };
    let Some(route) = routes.and_then(|routes| routes.iter_mut().find(|route| whole(route))) else {
        let fix = "give the route one host, with a subset or a Service for each version; docs/routes.md shows the shapes";
        return Err(Failure::new(Exit::Usage, fault, fix));
    };
    let (stable, canary) = known.pair(draft);
    let destination = route["route"][0]["destination"].clone();
    let to = |value: &str, weight: u8| {
        let mut destination = destination.clone();
        destination["subset"] = subset(value).into();
        json!({"destination": destination, "weight": weight})
    };
    route["route"] = json!([to(&stable, 100), to(&canary, 0)]);
    let name = route["name"].as_str().map(str::to_owned);
    let host = destination["host"].as_str().unwrap_or_default().to_owned();
    known.destination_rule(&host, [&stable, &canary], draft);
    draft.add("The route that is there, with a destination for each version. Apply it after the DestinationRule.", object);
    finish(known, RouteKind::VirtualService, name.as_deref(), &subset(&stable), &Destination::Subset(subset(&canary)), draft);
    Ok(())
}

fn gateway(known: &Known<'_>, kind: RouteKind, object: &Value, draft: &mut Draft) -> Result<(), Failure> {
    let placed = placed(object, known.namespace);
    let wanted = Destination::Service(known.canary.unwrap_or_default().to_owned());
    let view = find(&placed, Sought { kind, route: None, canary: &wanted }).map_err(|fault| {
        let fix = "give the rule a Service for each version; docs/routes.md shows the shapes";
        Failure::new(Exit::Usage, fault.to_string(), fix)
    })?;
    if view.entries.len() > 1 {
        let canary = entry_of_canary(known, &view, draft);
        let stable = stable_of(&view, &canary, draft);
        finish(known, kind, view.name.as_deref(), &stable, &Destination::Service(canary), draft);
        return Ok(());
    }
    let Some(service) = known.service else {
        let fault = format!("Service {} of {} {} was not read", view.host, kind.kind(), known.name);
        return Err(Failure::new(Exit::NotFound, fault, "give its file with -f too"));
    };
    let (stable, canary) = known.pair(draft);
    let base = named(service).strip_suffix(&format!("-{}", subset(&stable))).unwrap_or(named(service)).to_owned();
    let names = [&stable, &canary].map(|value| format!("{base}-{}", subset(value)));
    for (name, value) in names.iter().zip([&stable, &canary]) {
        if known.there.find("Service", name).is_none() {
            let mut selector = service["spec"]["selector"].clone();
            selector[&known.versions.label] = value.clone().into();
            let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
            let ports: Vec<Value> = ports.iter().map(port).collect();
            let made = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": known.metadata(name), "spec": {"selector": selector, "ports": ports},
            });
            draft.add(&format!("A Service for the pods of {value} alone."), made);
        }
    }
    let mut route = bare(object);
    let rule = format!("/spec/rules/{}/backendRefs", view.index);
    if let Some(backends) = route.pointer_mut(&rule) {
        let one = backends[0].clone();
        let to = |name: &str, weight: u8| {
            let mut one = one.clone();
            (one["name"], one["weight"]) = (name.into(), weight.into());
            one
        };
        let [stable, canary] = &names;
        *backends = json!([to(stable, 100), to(canary, 0)]);
    }
    draft.add("The route that is there, with a Service for each version.", route);
    let [stable, canary] = names;
    finish(known, kind, view.name.as_deref(), &stable, &Destination::Service(canary), draft);
    Ok(())
}

/// A port without what the API server adds.
pub(super) fn port(port: &Value) -> Value {
    let mut port = port.clone();
    if let Some(fields) = port.as_object_mut() {
        fields.remove("nodePort");
    }
    port
}

/// The subset to come: named, or in the route without weight, or in the DestinationRule beside it, or the next name.
fn subset_of_canary(known: &Known<'_>, view: &View, draft: &mut Draft) -> String {
    let serves = view.sole().unwrap_or_default();
    let here = known.namespace.unwrap_or("default");
    let declared = || {
        let rules = known.there.of("DestinationRule");
        let mut ours =
            rules.filter(|rule| rule["spec"]["host"].as_str().is_some_and(|host| Host::of(host, here) == Host::of(&view.host, here)));
        let subsets = ours.next()?["spec"]["subsets"].as_array()?;
        subsets.iter().filter_map(|one| one["name"].as_str()).find(|name| *name != serves).map(str::to_owned)
    };
    let idle = || view.entries.iter().find(|entry| entry.weight == 0).map(|entry| entry.name.clone());
    known.canary.map(str::to_owned).or_else(idle).or_else(declared).unwrap_or_else(|| {
        let canary = next(serves);
        draft.ask(format!(
            "What is the new version called? Its pods need the label `{}: {canary}`, and a Deployment of their own.",
            known.versions.label
        ));
        canary
    })
}

fn entry_of_canary(known: &Known<'_>, view: &View, draft: &mut Draft) -> String {
    let idle = view.entries.iter().find(|entry| entry.weight == 0).or(view.entries.last());
    known.canary.map(str::to_owned).or_else(|| idle.map(|entry| entry.name.clone())).unwrap_or_else(|| {
        draft.ask("Which Service is the new version's?");
        format!("{}-next", known.name)
    })
}

/// What serves; asked for where several do.
fn stable_of(view: &View, canary: &str, draft: &mut Draft) -> String {
    if let Some(sole) = view.sole() {
        return sole.to_owned();
    }
    draft.ask(format!("Which version is stable? {} has {}: one must have 100 % before a rollout starts.", view.object, view.words()));
    view.entries.iter().map(|entry| &entry.name).find(|name| *name != canary).cloned().unwrap_or_default()
}

fn finish(known: &Known<'_>, kind: RouteKind, route: Option<&str>, stable: &str, canary: &Destination, draft: &mut Draft) {
    let serving = known.service.map(|service| service["spec"]["ports"].as_array().cloned().unwrap_or_default()).unwrap_or_default();
    let spoken = |port: &Value| {
        let name = port["appProtocol"].as_str().or(port["name"].as_str()).unwrap_or_default();
        ["http", "grpc"].iter().any(|protocol| name.starts_with(protocol)) || name.ends_with("h2c")
    };
    if !serving.is_empty() && !serving.iter().any(spoken) {
        let service = known.service.map(named).unwrap_or_default();
        draft.ask(format!(
            "Does the model speak HTTP or gRPC? Name the port of Service {service} http or grpc, so that proxies read its requests."
        ));
    }
    draft.ask(match known.service.and_then(|service| server(&known.there.behind(service))) {
        Some(preset) => format!(
            "Is it the server that its image names? `preset: {preset}` in spec.analysis judges what that exports, if `haldane presets detect {} -n {}` says that it fits.",
            known.name,
            known.namespace.unwrap_or("default"),
        ),
        None => "What does the model say about its answers? `haldane doctor` finds its metrics, and prints what goes into spec.analysis.".to_owned(),
    });
    draft.about = format!("Rollout {}: {stable} is stable, {} is the canary.", known.name, canary.name());
    draft.add("5, 20, 50, 100 % with error rate and latency: these are the defaults.", known.rollout(kind, route, canary));
}

/// An object without what the API server adds.
pub(super) fn bare(object: &Value) -> Value {
    let mut bare = object.clone();
    if let Some(fields) = bare.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = bare["metadata"].as_object_mut() {
        metadata.retain(|field, _| ["name", "namespace", "labels", "annotations"].contains(&field.as_str()));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    bare
}

/// An object with the namespace that it is applied to.
fn placed(object: &Value, namespace: Option<&str>) -> Value {
    let mut object = object.clone();
    object["metadata"]["namespace"] = namespace.unwrap_or("default").into();
    object
}

#[cfg(test)]
mod tests;
