//! A Canary of Flagger. Pure.

#![allow(
    clippy::indexing_slicing,
    reason = "what is indexed is JSON: a name that is not there answers null, and what is written to is an object"
)]

use serde_json::{Value, json};

use super::{
    super::{
        draft::Draft,
        model::{There, named, subset},
    },
    metrics::Metrics,
    parts::{Model, Routed},
};
use crate::{
    api::{Destination, RouteKind},
    cli::{Exit, Failure},
};

mod analysis;
mod strategy;

/// The manifests for a Canary of Flagger.
pub(super) fn draft(there: There<'_>, canary: &Value, named_canary: Option<&str>) -> Result<Draft, Failure> {
    let mut draft = Draft::default();
    let namespace = canary.pointer("/metadata/namespace").and_then(Value::as_str).or(there.namespace);
    let spec = &canary["spec"];
    let (kind, target) = (spec["targetRef"]["kind"].as_str().unwrap_or_default(), spec["targetRef"]["name"].as_str().unwrap_or_default());
    if kind != "Deployment" {
        let fix = "haldane needs a Deployment for each version: begin with `haldane init service/NAME`";
        return Err(Failure::new(Exit::Usage, format!("spec.targetRef is of kind {kind}"), fix));
    }
    let provider = spec["provider"].as_str().unwrap_or("istio");
    let gateway = provider.starts_with("gatewayapi");
    if !gateway && provider != "istio" {
        draft.lose(format!("provider {provider}: haldane steps routes of Istio and of the Gateway API. A VirtualService takes its place, so the model's pods or its callers need Istio's proxies."));
    }
    let target = there.get("Deployment", target)?;
    let primary = there.find("Deployment", &format!("{}-primary", named(target)));
    let mut source = target.clone();
    // Between rollouts the target is at 0; the primary has the pods.
    let pods = primary.map_or(&Value::Null, |primary| &primary["spec"]["replicas"]);
    if !pods.is_null() {
        source["spec"]["replicas"] = pods.clone();
    } else if source["spec"]["replicas"] == 0 {
        source["spec"].as_object_mut().map(|spec| spec.remove("replicas"));
        draft.ask(format!(
            "How many pods serve? Deployment {} is at 0 between rollouts: take the number of {}-primary.",
            named(target),
            named(target)
        ));
    }
    let model = Model::of(&source, namespace, named_canary, &mut draft)?;
    if let Some(phase) = canary["status"]["phase"].as_str().filter(|phase| !["Initialized", "Succeeded"].contains(phase)) {
        draft.ask(format!(
            "Which image serves now? The Canary is {phase}, so Deployment {} may not be what {}-primary runs. Wait for the end, and compare the images.",
            named(target),
            named(target)
        ));
    }

    let mut metrics = Metrics::unless(spec["skipAnalysis"] == true);
    if metrics.is_skipped() {
        draft.lose("skipAnalysis: analysis.metrics is empty, so the holds alone decide. Leave the field out, and errors and latency are compared with stable.");
    }
    let analysis = if spec["analysis"].is_object() { &spec["analysis"] } else { &spec["canaryAnalysis"] };
    analysis::read(there, canary, analysis, &mut metrics);
    let strategy = strategy::of(analysis, &mut draft);
    model.add_stable(primary, &mut draft);
    let apex = spec["service"]["name"].as_str().unwrap_or_else(|| named(target));
    let routed = if gateway {
        http_route(&model, &spec["service"], apex, &mut draft)
    } else {
        virtual_service(&model, &spec["service"], apex, &mut draft)
    };
    draft.lost.append(&mut metrics.lost);
    draft.questions.append(&mut metrics.questions);
    model.add_rollout(named(canary), &routed, strategy, metrics.analysis(), spec["suspend"] == true, &mut draft);
    model.add_canary(&mut draft);
    others(spec, analysis, &mut draft);
    draft.about =
        format!("Rollout {}: {} is stable, {} is the canary. From a Canary of Flagger.", named(canary), model.stable, model.canary);
    order(&model, canary, named(target), apex, gateway, &mut draft);
    Ok(draft)
}

/// The ports of the Services that Flagger makes.
fn ports(service: &Value) -> Value {
    let number = service["port"].clone();
    let target = if service["targetPort"].is_null() { number.clone() } else { service["targetPort"].clone() };
    let mut port = json!({"name": service["portName"].as_str().unwrap_or("http"), "port": number, "targetPort": target});
    if let Some(protocol) = service["appProtocol"].as_str() {
        port["appProtocol"] = protocol.into();
    }
    json!([port])
}

/// A VirtualService as Flagger writes it, whose destinations are subsets of one Service.
fn virtual_service(model: &Model<'_>, service: &Value, apex: &str, draft: &mut Draft) -> Routed {
    let spec = json!({"selector": model.selector, "ports": ports(service)});
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": model.metadata(apex), "spec": spec});
    draft.add("The Service of all versions. Until now it led to the primary's pods alone.", object);
    let policy = &service["trafficPolicy"];
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": model.metadata(apex),
        "spec": {"host": apex, "trafficPolicy": policy},
    });
    let mut rule = rule;
    if policy.is_null() {
        rule["spec"].as_object_mut().map(|spec| spec.remove("trafficPolicy"));
    }
    model.add_rule(Some(&rule), apex, apex, ["", ""], draft);

    let to = |version: &str, weight: u8| json!({"destination": {"host": apex, "subset": subset(version)}, "weight": weight});
    let mut http = json!({"name": "primary", "route": [to(&model.stable, 100), to(&model.canary, 0)]});
    for field in ["match", "rewrite", "timeout", "retries", "headers", "corsPolicy"] {
        if !service[field].is_null() {
            http[field] = service[field].clone();
        }
    }
    let list = |field: &str| -> Vec<Value> { service[field].as_array().cloned().unwrap_or_default() };
    let (mut hosts, mut gateways) = (list("hosts"), list("gateways"));
    if !hosts.iter().any(|host| host == apex || host == "*") {
        hosts.push(apex.into());
    }
    if !gateways.is_empty() && !gateways.iter().any(|gateway| gateway == "mesh") {
        gateways.push("mesh".into());
    }
    let mut spec = json!({"hosts": hosts, "http": [http]});
    if !gateways.is_empty() {
        spec["gateways"] = gateways.into();
    }
    if service["delegation"] == true {
        draft.lose("service.delegation: haldane steps the route of a VirtualService with hosts of its own. Move the route from the delegate to the root.");
    }
    let object = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": model.metadata(apex), "spec": spec});
    draft.add("The route, with everything at stable. It is yours from now on: what else you write into it stays.", object);
    Routed {
        kind: RouteKind::VirtualService,
        name: apex.to_owned(),
        route: Some("primary".into()),
        canary: Destination::Subset(subset(&model.canary)),
    }
}

/// An HTTPRoute as Flagger writes it, with a Service for each version.
fn http_route(model: &Model<'_>, service: &Value, apex: &str, draft: &mut Draft) -> Routed {
    let names = model.add_services(apex, &ports(service), draft);
    let port = service["port"].clone();
    let to = |name: &str, weight: u8| json!({"name": name, "port": port, "weight": weight});
    let rule = json!({"name": "primary", "backendRefs": [to(&names[0], 100), to(&names[1], 0)]});
    let mut spec = json!({"parentRefs": service["gatewayRefs"], "hostnames": service["hosts"], "rules": [rule]});
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
    for field in ["match", "rewrite", "timeout", "headers", "corsPolicy", "mirror"] {
        if !service[field].is_null() {
            draft.lose(format!(
                "service.{field}: write it into the rule of the HTTPRoute as the Gateway API has it. haldane leaves it there."
            ));
        }
    }
    let object = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": model.metadata(apex), "spec": spec});
    draft.add("The route, with everything at stable. It is yours from now on: what else you write into it stays.", object);
    let [_, canary] = names;
    Routed { kind: RouteKind::HttpRoute, name: apex.to_owned(), route: Some("primary".into()), canary: Destination::Service(canary) }
}

/// What else the Canary says, which a Deployment or haldane's own settings say here.
fn others(spec: &Value, analysis: &Value, draft: &mut Draft) {
    let scaler = spec["autoscalerRef"]["name"].as_str().unwrap_or_default();
    let scaled = format!("autoscalerRef {scaler}: give each Deployment an autoscaler of its own, the copy for the primary goes");
    for (value, instead) in [
        (&spec["autoscalerRef"], scaled.as_str()),
        (
            &spec["progressDeadlineSeconds"],
            "progressDeadlineSeconds: a canary that is not ready gets no traffic, and holds with a reason and an alert",
        ),
        (&analysis["stepWeightPromotion"], "stepWeightPromotion: nothing is copied to a primary here, so no traffic moves back"),
        (&analysis["primaryReadyThreshold"], "primaryReadyThreshold: traffic goes back to stable while one of its pods is ready"),
        (&analysis["canaryReadyThreshold"], "canaryReadyThreshold: spec.traffic.capacity says how many ready pods a weight needs"),
        (
            &analysis["sessionAffinity"],
            "sessionAffinity: users are drawn for each request. A match on a cookie of yours keeps a cohort at the canary",
        ),
        (
            &analysis["alerts"],
            "alerts: sinks are in the controller's configuration (Slack, PagerDuty, Alertmanager, signed JSON), and spec.alerts names them",
        ),
        (&spec["revertOnDeletion"], "revertOnDeletion: a Rollout that is deleted leaves the route as it was, always"),
        (
            &spec["metricsServer"],
            "metricsServer: the address of Prometheus is in the controller's configuration, and spec.analysis.prometheus names it",
        ),
    ] {
        if !value.is_null() && *value != json!(false) {
            draft.lose(format!("{instead}."));
        }
    }
    draft.lose("Copies of ConfigMaps and Secrets for the primary: each Deployment mounts what its own template names. Give a changed ConfigMap a new name, so that it reaches the canary alone.");
}

/// The move without downtime.
fn order(model: &Model<'_>, canary: &Value, target: &str, apex: &str, gateway: bool, draft: &mut Draft) {
    let (name, at) = (named(canary), model.namespace.map_or_else(String::new, |namespace| format!(" -n {namespace}")));
    let (stable, next) = (model.stable_deployment(), model.canary_deployment());
    let (route, rules) = if gateway {
        ("HTTPRoute", String::new())
    } else {
        ("VirtualService", format!(" destinationrule/{apex}-primary destinationrule/{apex}-canary"))
    };
    draft.order.push(format!("Begin at rest: Canary {name} is Initialized or Succeeded, and {target}-primary serves everybody."));
    draft.order.push(format!("Apply Deployment {stable} and wait: kubectl rollout status deployment/{stable}{at}. Its pods run beside those of {target}-primary, so there must be room for both."));
    draft.order.push(format!(
        "Take the Canary out of git, then stop Flagger here: kubectl patch canary {name}{at} --type merge -p '{{\"spec\":{{\"suspend\":true}}}}'. It would write its own {route} over yours."
    ));
    draft.order.push(format!("Apply everything else but Deployment {next}, in the order below. The traffic goes from {target}-primary to {stable}; `haldane doctor {name}{at}` says what is missing."));
    if canary["spec"]["revertOnDeletion"] == true {
        draft.order.push(format!(
            "Keep its finalizer from giving the traffic to Deployment {target}: kubectl patch canary {name}{at} --type merge -p '{{\"metadata\":{{\"finalizers\":null}},\"spec\":{{\"revertOnDeletion\":false}}}}'"
        ));
    }
    draft.order.push(format!(
        "kubectl delete canary {name}{at} --cascade=orphan. Without --cascade=orphan the {route}, the Services and {target}-primary are deleted with it. Until then haldane waits, because Flagger owns the {route}."
    ));
    draft.order.push(format!(
        "A minute later nothing leads to the old pods any more: kubectl delete deployment/{target}-primary deployment/{target} service/{apex}-primary service/{apex}-canary{rules}{at}"
    ));
    draft.order.push(format!("Write the image into Deployment {next} and apply it: the rollout starts once its pods are ready."));
}
