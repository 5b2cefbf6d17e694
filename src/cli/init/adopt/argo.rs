//! A Rollout of Argo Rollouts. Pure.

#![allow(clippy::indexing_slicing, reason = "what is indexed is JSON: a name that is not there answers null")]

use serde_json::{Value, json};

use super::{
    super::{
        draft::Draft,
        model::{There, named, subset},
    },
    metrics::Metrics,
    parts::{HASH, Model, Retarget, Routed, Side, new_route},
};
use crate::{
    api::{Destination, RouteKind},
    cli::{Exit, Failure},
    istio::name::Host,
};

mod analysis;
mod strategy;

const GATEWAY_PLUGIN: &str = "argoproj-labs/gatewayAPI";

/// The manifests for a Rollout of Argo Rollouts.
pub(super) fn draft(there: There<'_>, rollout: &Value, canary: Option<&str>) -> Result<Draft, Failure> {
    let mut draft = Draft::default();
    let namespace = rollout.pointer("/metadata/namespace").and_then(Value::as_str).or(there.namespace);
    let spec = &rollout["spec"];
    let (blue_green, canaries) = (&spec["strategy"]["blueGreen"], &spec["strategy"]["canary"]);
    let workload = workload(there, rollout)?;
    let mut model = Model::of(workload.unwrap_or(rollout), namespace, canary, &mut draft)?;
    // `replicas` is the Rollout's own in any case: the Deployment that it refers to may be at 0.
    let mut source = model.source.clone();
    if !spec["replicas"].is_null() {
        source["spec"]["replicas"] = spec["replicas"].clone();
    }
    model.source = &source;
    at_rest(rollout, &model, &mut draft);

    let mut metrics = Metrics::default();
    let strategy = match blue_green.is_object() {
        true => strategy::blue_green(there, rollout, &mut metrics, &mut draft),
        false => strategy::canary(there, rollout, &mut metrics, &mut draft),
    };
    model.add_stable(None, &mut draft);
    let routed = match canaries.is_object() {
        true => stepped(&model, there, rollout, &mut draft)?,
        false => {
            let active = blue_green["activeService"].as_str().unwrap_or_default();
            draft.lose(
                "activeService and previewService: haldane switches requests by a route, and leaves the selectors of Services alone.",
            );
            new_route(&model, there, there.get("Service", active)?, &mut draft)
        }
    };
    draft.lost.append(&mut metrics.lost);
    draft.questions.append(&mut metrics.questions);
    model.add_rollout(named(rollout), &routed, strategy, metrics.analysis(), spec["paused"] == true, &mut draft);
    model.add_canary(&mut draft);
    others(there, rollout, &mut draft);
    draft.about =
        format!("Rollout {}: {} is stable, {} is the canary. From a Rollout of Argo Rollouts.", named(rollout), model.stable, model.canary);
    order(&model, rollout, workload, &mut draft);
    Ok(draft)
}

/// The Deployment that has the template, if the Rollout has none.
fn workload<'a>(there: There<'a>, rollout: &'a Value) -> Result<Option<&'a Value>, Failure> {
    let reference = &rollout["spec"]["workloadRef"];
    if !reference.is_object() {
        return Ok(None);
    }
    let (kind, name) = (reference["kind"].as_str().unwrap_or_default(), reference["name"].as_str().unwrap_or_default());
    if kind != "Deployment" {
        let fix = "give the Rollout with its own spec.template, or a Deployment as workloadRef";
        return Err(Failure::new(Exit::Usage, format!("spec.workloadRef is of kind {kind}"), fix));
    }
    there.get("Deployment", name).map(Some)
}

/// In the middle of a rollout the template is not what serves.
fn at_rest(rollout: &Value, model: &Model<'_>, draft: &mut Draft) {
    let status = &rollout["status"];
    let (stable, current) = (status["stableRS"].as_str(), status["currentPodHash"].as_str());
    if let (Some(stable), Some(current)) = (stable, current)
        && stable != current
    {
        draft.ask(format!(
            "Which image serves now? status.stableRS is {stable} and the template is {current}: promote or abort first, or take the image of {} from ReplicaSet {}-{stable}.",
            model.stable_deployment(),
            named(rollout)
        ));
    }
}

/// The route of a canary, wherever its weights are.
fn stepped(model: &Model<'_>, there: There<'_>, rollout: &Value, draft: &mut Draft) -> Result<Routed, Failure> {
    let strategy = &rollout["spec"]["strategy"]["canary"];
    let routing = &strategy["trafficRouting"];
    let added: Vec<String> =
        routing["managedRoutes"].as_array().into_iter().flatten().filter_map(|route| Some(route["name"].as_str()?.to_owned())).collect();
    let services = [strategy["stableService"].as_str().unwrap_or_default(), strategy["canaryService"].as_str().unwrap_or_default()];
    let istio = &routing["istio"];
    if istio.is_object() {
        return virtual_service(model, there, istio, services, added, draft);
    }
    let plugin = &routing["plugins"][GATEWAY_PLUGIN];
    if plugin.is_object() {
        return gateway_route(model, there, plugin, services, added, draft);
    }
    let router = routing.as_object().and_then(|routing| routing.keys().find(|key| *key != "managedRoutes" && *key != "maxTrafficWeight"));
    draft.lose(match router {
        Some(router) => format!("trafficRouting.{router}: haldane steps routes of Istio and of the Gateway API. A VirtualService takes its place, so the model's pods or its callers need Istio's proxies."),
        None => "Weights by the number of pods: here a route splits the requests, so the model's pods or its callers need Istio's proxies.".into(),
    });
    Ok(new_route(model, there, service_of(model, there, services[0])?, draft))
}

/// The Service that clients call: the one that is named, or one that finds the pods.
fn service_of<'a>(model: &Model<'_>, there: There<'a>, named_service: &str) -> Result<&'a Value, Failure> {
    if !named_service.is_empty() {
        return there.get("Service", named_service);
    }
    let selects = |service: &&Value| {
        let selector = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty());
        selector.is_some_and(|selector| selector.iter().all(|(label, value)| label == HASH || model.selector.get(label) == Some(value)))
    };
    there.of("Service").find(selects).ok_or_else(|| {
        let fix = "give its file with -f too, or make one whose port is named http or grpc";
        Failure::new(Exit::NotFound, format!("no Service selects the pods of {}", model.base), fix)
    })
}

fn virtual_service(
    model: &Model<'_>,
    there: There<'_>,
    istio: &Value,
    services: [&str; 2],
    added: Vec<String>,
    draft: &mut Draft,
) -> Result<Routed, Failure> {
    let kind = RouteKind::VirtualService;
    let several = istio["virtualServices"].as_array();
    let reference = several.and_then(|all| all.first()).unwrap_or(&istio["virtualService"]);
    if let Some(rest) = several.and_then(|all| all.get(1..)).filter(|rest| !rest.is_empty()) {
        let names: Vec<&str> = rest.iter().filter_map(|one| one["name"].as_str()).collect();
        draft.lose(format!(
            "VirtualService {}: a Rollout steps one route of one object. Send its requests to the same route, or leave them at stable.",
            names.join(", ")
        ));
    }
    for field in ["tlsRoutes", "tcpRoutes"] {
        if reference[field].as_array().is_some_and(|routes| !routes.is_empty()) {
            draft.lose(format!(
                "{field}: haldane steps http routes, because it compares requests, and a TLS or TCP route has none to count."
            ));
        }
    }
    let wanted = reference["name"].as_str().unwrap_or_default();
    let (name, elsewhere) = wanted.split_once('.').map_or((wanted, None), |(name, namespace)| (name, Some(namespace)));
    if elsewhere.is_some_and(|elsewhere| Some(elsewhere) != model.namespace) {
        let fix = "move it beside the Rollout: whoever may edit a Rollout would otherwise steer the traffic of another namespace";
        return Err(Failure::new(Exit::Usage, format!("VirtualService {wanted} is in another namespace"), fix));
    }
    let object = there.get(kind.kind(), name)?;
    let here = model.namespace.unwrap_or("default");
    let managed = reference["routes"].as_array().into_iter().flatten().filter_map(|route| Some(route.as_str()?.to_owned())).collect();
    let rule = &istio["destinationRule"];
    if let Some(rule_name) = rule["name"].as_str() {
        let [stable, canary] = ["stableSubsetName", "canarySubsetName"].map(|field| rule[field].as_str().unwrap_or_default());
        let found = there.get("DestinationRule", rule_name)?;
        let host = found["spec"]["host"].as_str().unwrap_or_default();
        model.add_rule(Some(found), rule_name, host, [stable, canary], draft);
        draft.questions.extend(
            [stable, canary].iter().any(|old| [&model.stable, &model.canary].iter().any(|new| subset(new) == **old)).then(|| {
                format!("Subsets {stable} and {canary} of Argo Rollouts have names that are proposed here too: give another with --canary.")
            }),
        );
        let ours = Host::of(host, here);
        let side = |entry: &Value| {
            let destination = &entry["destination"];
            let subset =
                destination["subset"].as_str().filter(|_| destination["host"].as_str().is_some_and(|host| Host::of(host, here) == ours))?;
            (subset == stable).then_some(Side::Stable).or((subset == canary).then_some(Side::Canary))
        };
        let to = |entry: &Value, side: Side| {
            let mut entry = entry.clone();
            entry["destination"]["subset"] = subset(if side == Side::Stable { &model.stable } else { &model.canary }).into();
            entry
        };
        let (object, route) = Retarget { kind, managed, added, side: &side, to: &to }.of(object, draft)?;
        draft.add("The route that is there, with everything at stable. Apply it after the DestinationRule.", object);
        draft.lose(format!(
            "Subsets {stable} and {canary} stay in the DestinationRule until every proxy has the new route. Remove them in the end."
        ));
        return Ok(Routed { kind, name: name.to_owned(), route, canary: Destination::Subset(subset(&model.canary)) });
    }
    let [stable, canary] = services;
    let ports = there.get("Service", stable)?["spec"]["ports"].clone();
    let names = model.add_services(&model.base, &ports, draft);
    let side = |entry: &Value| {
        let service = Host::of(entry["destination"]["host"].as_str()?, here).service_in(here)?.to_owned();
        (service == stable).then_some(Side::Stable).or((service == canary).then_some(Side::Canary))
    };
    let to = |entry: &Value, side: Side| {
        let mut entry = entry.clone();
        entry["destination"]["host"] = names[usize::from(side == Side::Canary)].as_str().into();
        entry
    };
    let (object, route) = Retarget { kind, managed, added, side: &side, to: &to }.of(object, draft)?;
    draft.add("The route that is there, with a Service for each version.", object);
    lose_services(services, draft);
    let [_, canary] = names;
    Ok(Routed { kind, name: name.to_owned(), route, canary: Destination::Service(canary) })
}

fn gateway_route(
    model: &Model<'_>,
    there: There<'_>,
    plugin: &Value,
    services: [&str; 2],
    added: Vec<String>,
    draft: &mut Draft,
) -> Result<Routed, Failure> {
    let named_route = |one: &str, list: &str| plugin[one].as_str().or_else(|| plugin[list][0]["name"].as_str());
    let (kind, name) = match (named_route("httpRoute", "httpRoutes"), named_route("grpcRoute", "grpcRoutes")) {
        (Some(name), _) => (RouteKind::HttpRoute, name),
        (None, Some(name)) => (RouteKind::GrpcRoute, name),
        (None, None) => {
            let fix = "haldane steps an HTTPRoute or a GRPCRoute: name one in the plugin's settings";
            return Err(Failure::new(Exit::Usage, format!("{GATEWAY_PLUGIN} names no route of HTTP or gRPC"), fix));
        }
    };
    let object = there.get(kind.kind(), name)?;
    let [stable, canary] = services;
    let ports = there.get("Service", stable)?["spec"]["ports"].clone();
    let names = model.add_services(&model.base, &ports, draft);
    let side = |entry: &Value| match entry["name"].as_str() {
        Some(name) if name == stable => Some(Side::Stable),
        Some(name) if name == canary => Some(Side::Canary),
        _ => None,
    };
    let to = |entry: &Value, side: Side| {
        let mut entry = entry.clone();
        entry["name"] = names[usize::from(side == Side::Canary)].as_str().into();
        entry
    };
    let (object, route) = Retarget { kind, managed: Vec::new(), added, side: &side, to: &to }.of(object, draft)?;
    draft.add("The route that is there, with a Service for each version.", object);
    lose_services(services, draft);
    let [_, canary] = names;
    Ok(Routed { kind, name: name.to_owned(), route, canary: Destination::Service(canary) })
}

fn lose_services([stable, canary]: [&str; 2], draft: &mut Draft) {
    draft.lose(format!(
        "Services {stable} and {canary} change their pods with each release; here a Service belongs to one version for good. Keep {stable} if clients call it, and delete {canary} in the end."
    ));
}

/// What else the Rollout says, which a Deployment or haldane's own settings say here.
fn others(there: There<'_>, rollout: &Value, draft: &mut Draft) {
    let spec = &rollout["spec"];
    let strategy = if spec["strategy"]["canary"].is_object() { &spec["strategy"]["canary"] } else { &spec["strategy"]["blueGreen"] };
    for (field, value, instead) in [
        (
            "progressDeadlineAbort",
            &spec["progressDeadlineAbort"],
            "a canary without ready pods gets no traffic, and its share goes back when it loses them",
        ),
        (
            "rollbackWindow",
            &spec["rollbackWindow"],
            "spec.rollbackWindow is a time here: until it has passed `haldane rollback` goes back at once",
        ),
        ("maxSurge and maxUnavailable", &strategy["maxSurge"], "each Deployment has its own strategy"),
        (
            "dynamicStableScale",
            &strategy["dynamicStableScale"],
            "the pods of both versions are yours; an autoscaler for each Deployment follows the load",
        ),
        (
            "scaleDownDelaySeconds",
            &strategy["scaleDownDelaySeconds"],
            "haldane scales nothing down: keep the old Deployment for rollbackWindow",
        ),
        ("abortScaleDownDelaySeconds", &strategy["abortScaleDownDelaySeconds"], "haldane scales nothing down after an abort"),
        ("canaryMetadata and stableMetadata", &strategy["canaryMetadata"], "the label `version` names the pods of each version for good"),
        ("antiAffinity", &strategy["antiAffinity"], "write it into the template of both Deployments"),
        ("pingPong", &strategy["pingPong"], "here no Service changes its pods"),
        ("minPodsPerReplicaSet", &strategy["minPodsPerReplicaSet"], "spec.traffic.capacity says how many ready pods a weight needs"),
        ("previewReplicaCount", &strategy["previewReplicaCount"], "scale the canary's Deployment before its first step"),
    ] {
        if !value.is_null() && *value != json!(false) {
            draft.lose(format!("{field}: {instead}."));
        }
    }
    let scaled = |object: &&Value| {
        object["spec"]["scaleTargetRef"]["kind"] == "Rollout" && object["spec"]["scaleTargetRef"]["name"] == rollout["metadata"]["name"]
    };
    for kind in ["HorizontalPodAutoscaler", "ScaledObject"] {
        for scaler in there.of(kind).filter(scaled) {
            draft.lose(format!(
                "{kind} {} scales the Rollout: give each Deployment one of its own, with that Deployment as its target.",
                named(scaler)
            ));
        }
    }
}

/// The move without downtime.
fn order(model: &Model<'_>, rollout: &Value, workload: Option<&Value>, draft: &mut Draft) {
    let (name, at) = (named(rollout), model.namespace.map_or_else(String::new, |namespace| format!(" -n {namespace}")));
    let (stable, canary) = (model.stable_deployment(), model.canary_deployment());
    let labels: Vec<String> = model.selector.iter().filter_map(|(label, value)| Some(format!("{label}={}", value.as_str()?))).collect();
    draft.order.push(format!("Begin at rest: Rollout {name} is Healthy, and all of its traffic is at the version of its template."));
    draft.order.push(format!("Apply Deployment {stable} and wait: kubectl rollout status deployment/{stable}{at}. Its pods run beside the old ones, so there must be room for both."));
    match workload.map(named) {
        None => {
            draft.order.push(format!(
                "Take the old Rollout out of git, then: kubectl delete rollouts.argoproj.io {name}{at} --cascade=orphan. Its pods go on serving. Without --cascade=orphan they are all deleted at once."
            ));
            draft.order.push(format!("Apply everything else but Deployment {canary}, in the order below. The traffic goes to {stable}; `haldane doctor {name}{at}` says what is missing."));
            draft.order.push(format!(
                "A minute later no proxy asks for the old pods any more: kubectl delete replicaset{at} -l {HASH},{}",
                labels.join(",")
            ));
        }
        Some(deployment) => {
            draft.order.push(format!(
                "Stop Argo Rollouts for these minutes: kubectl scale deployment argo-rollouts -n argo-rollouts --replicas=0. Its other Rollouts stand still meanwhile. It would undo the new route. --cascade=orphan does not do here: Deployment {deployment} would adopt the old ReplicaSets and scale them to its own count."
            ));
            draft.order.push(format!("Apply everything else but Deployment {canary}, in the order below. The traffic goes to {stable}; `haldane doctor {name}{at}` says what is missing."));
            let pods = match rollout["spec"]["workloadRef"]["scaleDown"].as_str() {
                Some("onsuccess" | "progressively") => "which is at 0 pods",
                _ => "whose pods ran all the time beside those of the Rollout",
            };
            draft.order.push(format!(
                "Take both out of git, then delete the old Rollout with its pods, and the Deployment, {pods}: kubectl delete rollouts.argoproj.io/{name} deployment/{deployment}{at}"
            ));
            draft.order.push("Start Argo Rollouts again with the replicas that it had.".into());
        }
    }
    draft.order.push(format!("Write the image into Deployment {canary} and apply it: the rollout starts once its pods are ready."));
}
