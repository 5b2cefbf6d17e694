//! Caches of the cluster, and the Observation made of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource, ResourceExt,
    core::discovery::ApiResource,
    runtime::reflector::{ObjectRef, Store},
};
use serde_json::Value;

use super::{
    kept, mesh,
    workload::{self, ReadyLog},
};
use crate::api::names::{FINALIZER, reason};
use crate::api::{Rollout, RolloutSpec};
use crate::command;
use crate::config::Config;
use crate::istio::name::Host;
use crate::plan::Plan;
use crate::route::{self, RouteFault, Serving, View};
use crate::seen::{Holder, Look, Observation, Problem, Subset};
use crate::state::{State, is_running};

/// What the watches know.
#[derive(Clone)]
pub struct Caches {
    /// Rollouts.
    pub rollouts: Store<Rollout>,
    /// VirtualServices.
    pub virtual_services: Store<kept::Route>,
    /// DestinationRules.
    pub destination_rules: Store<kept::Rule>,
    /// EndpointSlices.
    pub slices: Store<kept::Slice>,
    /// Pods, metadata only.
    pub pods: Store<kept::Pod>,
    /// Kind and version of VirtualService here.
    pub virtual_service: ApiResource,
}

/// What one process knows beside the caches.
pub struct Known<'a> {
    /// A VirtualService that is newer than the cache's: the answer to our last write, or a fresh read.
    pub route: Option<&'a Value>,
    /// It was read in this pass.
    pub fresh: bool,
    /// The newest look.
    pub look: Option<Look>,
    /// Passes since the present weight was read back.
    pub passes: u32,
    /// What refused the newest downward write.
    pub refusal: Option<String>,
    /// Since when pods are ready.
    pub ready: &'a mut ReadyLog,
    /// The configuration in force.
    pub config: &'a Config,
}

impl Caches {
    /// Everything that a decision on this Rollout is made of.
    pub fn observe(&self, rollout: &Rollout, state: &State, known: Known<'_>, now: Timestamp) -> Observation {
        let namespace = rollout.namespace().unwrap_or_default();
        let uid = rollout.uid().unwrap_or_default();
        let plan = Plan::parse(&rollout.spec).map_err(|faults| faults.to_string());
        let running = state.run.as_ref().map(|run| &run.plan);
        let (name, wanted) = match running {
            Some(plan) => (plan.virtual_service.clone(), plan.route.clone()),
            None => (rollout.spec.traffic.virtual_service.clone(), rollout.spec.traffic.route.clone()),
        };
        let object = known.route.cloned().or_else(|| self.route(&namespace, &name));
        let mut route = match &object {
            None => Err(RouteFault::NotFound(name)),
            Some(object) => route::find(object, wanted.as_deref()),
        };
        if let Ok(view) = &mut route {
            for other in &mut view.beside {
                other.promoted = other.given_by.as_ref().is_some_and(|(name, uid)| !self.under_way(&namespace, name, uid));
            }
        }
        // A route that was renamed matters only while something of ours is to be taken out of it.
        let route = match route {
            Ok(view) if view.renamed && running.is_none() && rollout.metadata.deletion_timestamp.is_none() => {
                Err(RouteFault::NoRoute(renamed(&view)))
            }
            Ok(View { virtual_service, rivals: Some(rivals), key, .. })
                if running.is_none() && rollout.metadata.deletion_timestamp.is_none() =>
            {
                let names = format!("{key}, {rivals}");
                let fix = "name one in spec.traffic.route".to_owned();
                Err(RouteFault::Ambiguous { virtual_service, count: names.split(", ").count(), names, fix })
            }
            other => other,
        };
        let names = interesting(state, &rollout.spec, route.as_ref().ok());
        let rivals = object.as_ref().filter(|_| running.is_none()).map(|object| self.rivals(object)).unwrap_or_default();
        // While a version may lose the last of this route, it matters who else leads to it.
        let ends = state.run.as_ref().is_none_or(|run| run.share.weight == 100);
        let elsewhere = match (&object, &route) {
            (Some(object), Ok(view)) if ends => self.elsewhere(object, Host::of(&view.host, &namespace)),
            _ => Vec::new(),
        };
        let one_port = route.as_ref().is_ok_and(|view| view.above_at.is_some() && self.ports(&namespace, &view.host) == 1);
        let subsets = match &route {
            Ok(view) => self.subsets(&namespace, &view.host, &names, known.ready, now),
            Err(_) => match state.run.as_ref().map(|run| run.stable.host.clone()) {
                Some(host) => self.subsets(&namespace, &host, &names, known.ready, now),
                None => BTreeMap::new(),
            },
        };
        let holder = route.as_ref().map_or(Holder::Nobody, |view| mesh::holder(view, &uid, |name, uid| self.alive(&namespace, name, uid)));
        let config_problem = running.or(plan.as_ref().ok()).and_then(|plan| missing(plan, known.config));
        Observation {
            name: rollout.name_any(),
            generation: rollout.metadata.generation.unwrap_or_default(),
            deleting: rollout.metadata.deletion_timestamp.is_some(),
            finalizer: rollout.finalizers().iter().any(|finalizer| finalizer == FINALIZER),
            commands: command::read(
                rollout.annotations(),
                rollout.metadata.managed_fields.as_deref().unwrap_or_default(),
                &uid,
                state.epoch,
                &state.handled,
            ),
            namespace,
            uid,
            plan,
            route,
            holder,
            rivals,
            elsewhere,
            one_port,
            subsets,
            look: known.look,
            config_problem,
            passes: known.passes,
            refusal: known.refusal,
            fresh: known.fresh,
        }
    }

    /// The cached VirtualService.
    pub fn route(&self, namespace: &str, name: &str) -> Option<Value> {
        let key = ObjectRef::new_with(name, self.virtual_service.clone()).within(namespace);
        self.virtual_services.get(&key).map(|object| object.value())
    }

    /// Other VirtualServices for one of this one's hosts, in words.
    fn rivals(&self, object: &Value) -> Vec<String> {
        let ours = Serving::of(object);
        let others = self.virtual_services.state_filter(|other| ours.rival(&other.serving).is_some());
        let mut rivals: Vec<String> = others.iter().filter_map(|other| ours.rival(&other.serving)).collect();
        rivals.sort();
        rivals
    }

    /// Other VirtualServices that lead to a subset of this host.
    fn elsewhere(&self, object: &Value, host: Host<'_>) -> Vec<(String, String)> {
        let ours = Serving::of(object);
        let others = self.virtual_services.state_filter(|other| ours.leads_too(&other.serving, host).next().is_some());
        let mut found: Vec<_> = others.iter().flat_map(|other| ours.leads_too(&other.serving, host).collect::<Vec<_>>()).collect();
        found.sort();
        found
    }

    /// How many ports the Service of a host has, as far as its endpoints say.
    fn ports(&self, namespace: &str, host: &str) -> usize {
        let Some(service) = Host::of(host, namespace).service_in(namespace) else { return 0 };
        let slices = self.slices.state_filter(|slice| slice.meta().namespace.as_deref() == Some(namespace) && *slice.service == *service);
        slices.iter().flat_map(|slice| slice.ports.iter()).collect::<BTreeSet<_>>().len()
    }

    fn subsets(
        &self,
        namespace: &str,
        host: &str,
        names: &BTreeSet<String>,
        ready: &mut ReadyLog,
        now: Timestamp,
    ) -> BTreeMap<String, Subset> {
        let Some(service) = Host::of(host, namespace).service_in(namespace) else { return BTreeMap::new() };
        let here = |meta: &ObjectMeta| meta.namespace.as_deref() == Some(namespace);
        let rules = self.destination_rules.state_filter(|rule| here(rule.meta()));
        let slices = self.slices.state_filter(|slice| here(slice.meta()) && *slice.service == *service);
        let endpoints = workload::endpoints(&slices);
        ready.keep(|pod| endpoints.contains_key(pod));
        let find = |name: &str| self.pods.get(&ObjectRef::new(name).within(namespace));
        names
            .iter()
            .map(|name| {
                let declared = mesh::declared(&rules, namespace, host, name);
                (name.clone(), workload::subset(&declared, &endpoints, find, ready, now))
            })
            .collect()
    }

    /// Whether a Rollout exists and is in the middle of something.
    fn under_way(&self, namespace: &str, name: &str, uid: &str) -> bool {
        let found = self.rollouts.get(&ObjectRef::new(name).within(namespace)).filter(|rollout| rollout.uid().as_deref() == Some(uid));
        found.is_some_and(|rollout| rollout.status.as_ref().is_some_and(is_running))
    }

    fn alive(&self, namespace: &str, name: &str, uid: &str) -> bool {
        let found = self.rollouts.get(&ObjectRef::new(name).within(namespace));
        found.is_some_and(|rollout| rollout.uid().as_deref() == Some(uid))
    }
}

/// What is said of a route that has another name now.
fn renamed(view: &View) -> String {
    let now = view.name.as_deref().unwrap_or("a route without a name");
    format!(
        "VirtualService {} has no http route named {}: its destinations are in {now} now; set spec.traffic.route",
        view.virtual_service, view.key
    )
}

fn interesting(state: &State, spec: &RolloutSpec, view: Option<&View>) -> BTreeSet<String> {
    let mut names = BTreeSet::from([spec.canary.subset.clone()]);
    let versions = state.run.iter().flat_map(|run| [&run.stable, &run.canary]);
    let ended = state.ended.iter().flat_map(|ended| [&ended.stable, &ended.canary]);
    names.extend(versions.chain(ended).chain(state.stable.iter()).map(|version| version.subset.clone()));
    if let Some(view) = view {
        names.extend(view.entries.iter().map(|entry| entry.subset.clone()));
        names.extend(view.claim.iter().filter_map(|claim| claim.latch.as_ref()).map(|latch| latch.subset.clone()));
    }
    names
}

/// The providers and sinks that the configuration does not have, all at once, with the names that exist.
fn missing(plan: &Plan, config: &Config) -> Option<Problem> {
    let names =
        |keys: Vec<&String>| if keys.is_empty() { "none".to_owned() } else { keys.into_iter().cloned().collect::<Vec<_>>().join(", ") };
    let provider = &plan.analysis.prometheus;
    let unavailable = !plan.analysis.metrics.is_empty() && !config.prometheus.contains_key(provider);
    let mut faults = Vec::new();
    if unavailable {
        faults.push(format!(
            "spec.analysis.prometheus is {provider}, which is not in the controller's configuration (it has {})",
            names(config.prometheus.keys().collect())
        ));
    }
    for sink in plan.alerts.iter().flatten().filter(|sink| !config.alerts.contains_key(*sink)) {
        faults.push(format!(
            "spec.alerts names {sink}, which is not in the controller's configuration (it has {})",
            names(config.alerts.keys().collect())
        ));
    }
    let reason = if unavailable { reason::PROVIDER_NOT_FOUND } else { reason::SINK_NOT_FOUND };
    (!faults.is_empty()).then(|| Problem { reason, message: faults.join("; "), unavailable })
}
