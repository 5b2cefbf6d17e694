//! One Rollout: its manifest, its route, the versions behind it, and what keeps it from starting.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Finding, Level};
use crate::api::{Destination, Reason, Rollout, RolloutStatus, RouteKind, Version, names::condition};
use crate::decide::decide;
use crate::judge::Evidence;
use crate::plan::{Plan, Share};
use crate::route::View;
use crate::seen::{Arm, Brief, Deployed, Observation, StepKey};
use crate::state::{self, State, brief::terms, is_running};

/// What a Rollout is examined by.
#[derive(Clone, Copy, Debug)]
pub struct Examined<'a> {
    /// Everything that a decision would be made of.
    pub seen: &'a Observation,
    /// What the controller wrote.
    pub status: Option<&'a RolloutStatus>,
    /// The time.
    pub now: Timestamp,
}

impl Examined<'_> {
    /// Whether a rollout is under way.
    pub fn is_running(self) -> bool {
        self.status.is_some_and(is_running)
    }

    fn state(self) -> Option<State> {
        state::restore(self.status).ok()
    }

    /// Whether the version wanted is another one than stable, and has pods.
    pub fn has_canary(self) -> bool {
        let Ok(plan) = &self.seen.plan else { return false };
        let name = plan.canary.name();
        let deployed = self.seen.versions.get(name).is_some_and(|canary| !canary.arm.pods.is_empty());
        deployed && self.stable().is_none_or(|stable| stable != name)
    }

    /// The version that serves: what status says, or the one that has everything.
    pub fn stable(self) -> Option<String> {
        let view = self.seen.route.as_ref().ok();
        let known = self.state().and_then(|state| state.run.map(|run| run.stable).or(state.stable));
        let known = known.filter(|stable| view.is_none_or(|view| view.knows(stable)));
        known.map(|stable| stable.name).or_else(|| view?.sole().map(str::to_owned))
    }
}

/// What is to be said of the manifest, the route, the versions and the start.
pub fn rollout(examined: Examined<'_>) -> Vec<Finding> {
    let seen = examined.seen;
    let mut found = vec![plan(seen)];
    if let Some(problem) = &seen.config_problem {
        found.push(Finding::saying("config", Level::Fail, &problem.message));
    }
    found.push(route(seen));
    found.extend(versions(examined));
    found.extend(appliers(seen));
    // What is wrong with the manifest or the route is said already.
    if seen.plan.is_ok() && seen.route.is_ok() && !examined.is_running() {
        found.extend(start(examined, &found));
    }
    found
}

fn plan(seen: &Observation) -> Finding {
    match &seen.plan {
        Ok(plan) => {
            let steps = plan.steps.iter().map(|step| step.split.words()).collect::<Vec<_>>();
            let first = steps.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
            let more = if steps.len() > 6 { format!(" and {} more", steps.len() - 6) } else { String::new() };
            Finding::ok("plan", format!("the manifest is valid: {first}{more}"))
        }
        Err(faults) => {
            let first = faults.split("; ").next().unwrap_or_default();
            Finding { fix: faults.clone(), ..Finding::saying("plan", Level::Fail, first) }
        }
    }
}

fn route(seen: &Observation) -> Finding {
    match &seen.route {
        Ok(view) => Finding::ok("route", format!("{} of {} fits: {}", view.called(), view.object, view.words())),
        Err(fault) => Finding::saying("route", Level::Fail, &fault.to_string()),
    }
}

fn versions(examined: Examined<'_>) -> Vec<Finding> {
    let (Ok(plan), Ok(view)) = (&examined.seen.plan, &examined.seen.route) else { return Vec::new() };
    let canary = plan.canary.name();
    let stable = examined.stable().filter(|stable| stable != canary);
    let named = [("stable", stable.as_deref()), ("canary", Some(canary))];
    named.into_iter().filter_map(|(role, name)| Some(version(role, name?, examined, view))).collect()
}

fn version(role: &str, name: &str, examined: Examined<'_>, view: &View) -> Finding {
    const CHECK: &str = "versions";
    let namespace = &examined.seen.namespace;
    let none = Deployed::default();
    let deployed = examined.seen.versions.get(name).unwrap_or(&none);
    let what = match view.canary {
        Destination::Subset(_) => "subset",
        Destination::Service(_) => "Service",
    };
    if !deployed.declared {
        return undeclared(role, name, deployed, examined, view);
    }
    let (pods, ready) = (deployed.arm.pods.len(), deployed.ready());
    let labels: Vec<String> = deployed.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
    let list = if labels.is_empty() {
        format!("kubectl get endpointslices -n {namespace} -l kubernetes.io/service-name={name}")
    } else {
        format!("kubectl get pods -n {namespace} -l {}", labels.join(","))
    };
    match (pods, ready, deployed.revisions.len()) {
        (0, ..) => {
            let fact = format!("{role} is {what} {name}, and it has no pods");
            let fix = format!("deploy the version; `{list}` must show its pods, as endpoints of the Service");
            if role == "canary" { Finding::warn(CHECK, fact, fix) } else { Finding::fail(CHECK, fact, fix) }
        }
        (_, 0, _) => Finding::fail(CHECK, format!("{role} is {what} {name}: none of its {pods} pods is ready"), list),
        (_, _, revisions) if revisions > 1 => {
            let fact = format!("{role} is {what} {name}: its {pods} pods are of {revisions} revisions, so that it is settling");
            Finding::warn(CHECK, fact, format!("wait until one is left: {list} -L pod-template-hash"))
        }
        _ => {
            let revision = deployed.revision().unwrap_or_default();
            Finding::ok(CHECK, format!("{role} is {what} {name}, revision {revision}: {ready} of {pods} pods are ready"))
        }
    }
}

fn undeclared(role: &str, name: &str, deployed: &Deployed, examined: Examined<'_>, view: &View) -> Finding {
    const CHECK: &str = "versions";
    let namespace = &examined.seen.namespace;
    if let Destination::Service(_) = view.canary {
        let fact = format!("{role} is Service {name}, which does not exist or has no selector");
        return Finding::fail(CHECK, fact, format!("kubectl get service,endpointslices -n {namespace} | grep {name}"));
    }
    let fact = format!("{role} is subset {name}, which no DestinationRule of {namespace} has for host {}", view.host);
    if !deployed.undeclared.is_empty() {
        return Finding::fail(CHECK, fact, deployed.undeclared.clone());
    }
    let yaml = format!("subsets:\n  - {{name: {name}, labels: {{version: {name}}}}}");
    Finding::fail(CHECK, fact, format!("add to the DestinationRule of host {}:\n  {yaml}", view.host))
}

fn appliers(seen: &Observation) -> Option<Finding> {
    const CHECK: &str = "appliers";
    let view = seen.route.as_ref().ok()?;
    let object = &view.object;
    let Some(applier) = view.gitops() else {
        return Some(match view.appliers.last() {
            Some(last) => Finding::ok(CHECK, format!("no GitOps tool writes the routes of {object}; the last writer was {last}")),
            None => Finding::ok(CHECK, format!("nobody else writes the routes of {object}")),
        });
    };
    let (group, kind, name) = (object.kind().group(), object.kind().kind(), object.name());
    let weights =
        if object.kind() == RouteKind::VirtualService { ".spec.http[].route[].weight" } else { ".spec.rules[].backendRefs[].weight" };
    let fix = if applier.contains("argocd") {
        format!(
            "in the Application, with syncOptions [RespectIgnoreDifferences=true]:\n  ignoreDifferences:\n  - {{group: {group}, kind: {kind}, \
             jqPathExpressions: ['{weights}']}}"
        )
    } else if applier.contains("kustomize") || applier.contains("flux") {
        let resource = format!("{}.{group}/{name}", kind.to_lowercase());
        format!("kubectl annotate {resource} -n {} kustomize.toolkit.fluxcd.io/ssa=IfNotPresent, in git too", seen.namespace)
    } else {
        "leave the weights out of what it applies: docs/gitops.md has the settings for each tool".to_owned()
    };
    Some(Finding::warn(CHECK, format!("{applier} applies the routes of {object}: it may reset a weight in the middle of a rollout"), fix))
}

/// What the controller would say of a start now.
fn start(examined: Examined<'_>, said: &[Finding]) -> Option<Finding> {
    const CHECK: &str = "start";
    let state = examined.state()?;
    let stance = decide(&state, examined.seen, examined.now).stance;
    let versions = said.iter().any(|finding| finding.check == "versions" && finding.level > Level::Ok);
    match stance.reason {
        Reason::AsPlanned | Reason::Passed => Some(Finding::ok(CHECK, stance.message)),
        // The versions were told with their pods.
        Reason::SubsetNotFound | Reason::ServiceNotFound | Reason::NoCanaryEndpoint | Reason::Settling if versions => None,
        Reason::Refused | Reason::ModelPending => Some(Finding::saying(CHECK, Level::Warn, &stance.message)),
        _ if stance.stalled => Some(Finding::saying(CHECK, Level::Fail, &stance.message)),
        _ if stance.traffic.0 => Some(Finding::ok(CHECK, "nothing stands in the way: a rollout starts with the next pass")),
        _ => Some(Finding::saying(CHECK, Level::Fail, &stance.message)),
    }
}

/// What is to be said of what the controller wrote.
pub fn standing(rollout: &Rollout) -> Vec<Finding> {
    const CHECK: &str = "status";
    let status = rollout.status.as_ref();
    let Some(status) = status.filter(|status| status.observed_generation.is_some()) else {
        let fix = "is the controller running, and does it serve this namespace? `haldane doctor` without a name tells";
        return vec![Finding::fail(CHECK, "no controller has seen this Rollout", fix)];
    };
    let mut found = Vec::new();
    if status.observed_generation < rollout.metadata.generation {
        let place = format!("{} -n {}", rollout.name_any(), rollout.namespace().unwrap_or_default());
        found.push(Finding::warn(CHECK, "the controller has not seen the newest edit of the spec", format!("haldane status {place}")));
    }
    let phase = status.phase.map_or_else(|| "without a phase".to_owned(), |phase| format!("{phase:?}"));
    let is = |kind: &str, value: &str| status.conditions.iter().find(|condition| condition.type_ == kind && condition.status == value);
    found.push(match is(condition::STALLED, "True") {
        Some(stalled) => {
            let fact = format!("it is {phase}, and needs a person: {}", stalled.reason);
            Finding::fail(CHECK, fact, stalled.message.clone())
        }
        None => Finding::ok(CHECK, format!("the controller has seen it: {phase}")),
    });
    for (kind, what) in [
        (condition::METRICS_AVAILABLE, "the controller cannot use the metrics"),
        (condition::FEASIBLE, "the controller sees too little traffic for the plan"),
        (condition::TRAFFIC_PROGRAMMED, "the route is not as status says"),
    ] {
        if let Some(condition) = is(kind, "False") {
            let fact = format!("{what}: {}", condition.reason);
            found.push(Finding::warn(CHECK, fact, condition.message.clone()));
        }
    }
    found
}

/// What a sampler would work from: the rollout under way, or the one that would start. Where the canary has no pods yet stable alone is
/// asked about.
pub fn brief(examined: Examined<'_>) -> Option<Brief> {
    let (seen, state) = (examined.seen, examined.state()?);
    if state.run.is_some() {
        return state::brief::brief(&state, &seen.versions, &seen.namespace, &seen.name, examined.now);
    }
    let (plan, view) = (seen.plan.as_ref().ok()?, seen.route.as_ref().ok()?);
    if plan.analysis.metrics.is_empty() {
        return None;
    }
    let stable = arm(examined, view, &examined.stable()?);
    let canary = arm(examined, view, plan.canary.name());
    let canary = if examined.has_canary() { canary } else { stand_in(&stable, &canary) };
    Some(of(plan, seen, state.epoch, stable, canary))
}

fn arm(examined: Examined<'_>, view: &View, name: &str) -> Arm {
    let version: Version = view.version(name, "");
    let arm = examined.seen.versions.get(name).map(|deployed| deployed.arm.clone()).unwrap_or_default();
    let service = version.subset.is_none().then(|| version.name.clone());
    Arm { host: version.host, name: version.name, service, ..arm }
}

/// What will differ from stable once it is there.
fn stand_in(stable: &Arm, canary: &Arm) -> Arm {
    Arm {
        workload: format!("{}-{}", stable.workload, canary.name),
        version: Some(format!("{}-next", canary.name)),
        pods: Vec::new(),
        ..canary.clone()
    }
}

fn of(plan: &Plan, seen: &Observation, epoch: i64, stable: Arm, canary: Arm) -> Brief {
    let analysis = plan.analysis.clone();
    Brief {
        namespace: seen.namespace.clone(),
        name: seen.name.clone(),
        key: StepKey { epoch, step: None, share: Share::NONE },
        steps: terms(plan),
        evidence: Arc::new(Evidence::new(&analysis.metrics, analysis.interval.as_secs_f64())),
        analysis,
        stable,
        canary,
        since: None,
        resume_after: None,
    }
}
