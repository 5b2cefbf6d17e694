//! Caches of the cluster, and the Observation made of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use jiff::Timestamp;
use kube::{
    ResourceExt,
    core::discovery::ApiResource,
    runtime::reflector::{ObjectRef, Store},
};
use serde_json::Value;

use super::{
    kept,
    mesh::{self, Declared},
    shelf::Shelf,
    workload::{self, ReadyLog},
};
use crate::api::{Destination, Reason, Rollout, RolloutSpec, RouteKind, RouteRef, SourceStatus, names::FINALIZER};
use crate::command;
use crate::config::Config;
use crate::istio::name::Host;
use crate::plan::Plan;
use crate::route::{self, RouteFault, Serving, Sought, View};
use crate::seen::{Deployed, Holder, Look, Observation, Problem};
use crate::state::{State, is_running};

/// What the watches know.
#[derive(Clone)]
pub struct Caches {
    /// Rollouts.
    pub rollouts: Store<Rollout>,
    /// Objects that hold routes.
    pub routes: RouteCaches,
    /// DestinationRules.
    pub destination_rules: Shelf<kept::Rule>,
    /// EndpointSlices.
    pub slices: Shelf<kept::Slice>,
    /// Pods, metadata only.
    pub pods: Shelf<kept::Pod>,
}

/// Objects that hold routes, of each kind that the cluster has. A kind may come later.
#[derive(Clone, Default)]
pub struct RouteCaches(Arc<RwLock<Kinds>>);

#[derive(Default)]
struct Kinds {
    known: BTreeMap<RouteKind, Routes>,
    refused: BTreeSet<RouteKind>,
}

impl RouteCaches {
    /// Those of a kind; none while the cluster does not have it, or has not answered with all of them.
    pub fn get(&self, kind: RouteKind) -> Option<Routes> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).known.get(&kind).cloned()
    }

    /// Whether the cluster has a kind that we may not list.
    pub fn is_refused(&self, kind: RouteKind) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).refused.contains(&kind)
    }

    /// A kind is there.
    pub fn add(&self, kind: RouteKind, routes: Routes) {
        let mut kinds = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kinds.refused.remove(&kind);
        kinds.known.insert(kind, routes);
    }

    /// The cluster has a kind, and we may not list it.
    pub fn refuse(&self, kind: RouteKind) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).refused.insert(kind);
    }
}

/// Objects of one kind that hold routes.
#[derive(Clone)]
pub struct Routes {
    /// Group, version and plural of the kind here.
    pub resource: ApiResource,
    /// The objects.
    pub shelf: Shelf<kept::Route>,
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
    /// What refused the newest upward write, until it is time to try again.
    pub raise_refused: Option<String>,
    /// Where the source of models stands, if this process knows.
    pub source: Option<SourceStatus>,
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
        let (name, wanted, canary) = match running {
            Some(plan) => (plan.object.clone(), plan.route.clone(), plan.canary.clone()),
            None => {
                let RolloutSpec { traffic, canary, .. } = &rollout.spec;
                (traffic.object(), traffic.route.clone(), canary.destination())
            }
        };
        let kind = name.kind();
        let object = known.route.cloned().or_else(|| self.route(&namespace, &name));
        let mut route = match &object {
            None if self.routes.is_refused(kind) => Err(RouteFault::Unreadable(name)),
            None if self.routes.get(kind).is_none() => Err(RouteFault::NoKind(name)),
            None => Err(RouteFault::NotFound(name)),
            Some(object) => route::find(object, Sought { kind, route: wanted.as_deref(), canary: &canary }),
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
            Ok(view) if view.rivals.is_some() && running.is_none() && rollout.metadata.deletion_timestamp.is_none() => {
                let names = [view.place(), view.rivals.unwrap_or_default()].join(", ");
                let fix = match view.name {
                    Some(_) => "name one in spec.traffic.route",
                    None => "give each of them a name, and set spec.traffic.route to the one that is to be stepped",
                };
                Err(RouteFault::Ambiguous { object: view.object, count: names.split(", ").count(), names, fix: fix.to_owned() })
            }
            other => other,
        };
        let claimed = object.as_ref().is_some_and(|object| route::claimed_by(object, &uid));
        let names = interesting(state, &rollout.spec, route.as_ref().ok());
        let rivals = object.as_ref().map(|object| self.rivals(object, running.is_some())).unwrap_or_default();
        // While a version may lose the last of this route, it matters who else leads to it.
        let ends = state.run.as_ref().is_none_or(|run| run.share.weight == 100);
        let elsewhere = match (&object, &route) {
            (Some(object), Ok(view)) if ends => self.elsewhere(object, view, &names),
            _ => Vec::new(),
        };
        let one_port = route.as_ref().is_ok_and(|view| view.above_at.is_some() && self.ports(&namespace, &view.host) == 1);
        let versions = match &route {
            Ok(view) => self.versions(&namespace, &view.host, &canary, &names, known.ready, now),
            Err(_) => match &state.run {
                Some(run) => self.versions(&namespace, &run.stable.host, &canary, &names, known.ready, now),
                None => BTreeMap::new(),
            },
        };
        let holder = Holder::of(&route, &uid, |name, uid| self.alive(&namespace, name, uid));
        let stored = || rollout.status.as_ref().and_then(|status| status.source.clone());
        let source = rollout.spec.source.as_ref().and_then(|_| known.source.or_else(stored));
        let pending = rollout.spec.source.as_ref().and_then(|_| match &source {
            Some(source) if Some(source.observed_generation) == rollout.metadata.generation => {
                source.holds().then(|| source.message.clone())
            }
            _ => Some("the source of models is asked first".to_owned()),
        });
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
            claimed,
            rivals,
            elsewhere,
            one_port,
            versions,
            look: known.look,
            config_problem,
            passes: known.passes,
            refusal: known.refusal,
            raise_refused: known.raise_refused,
            source,
            pending,
            fresh: known.fresh,
        }
    }

    /// The cached object that holds a route.
    pub fn route(&self, namespace: &str, object: &RouteRef) -> Option<Value> {
        let routes = self.routes.get(object.kind())?;
        routes.shelf.get(namespace, object.name()).map(|object| object.value())
    }

    /// The cached objects that hold routes, of these kinds, about any of these.
    fn routes_about(&self, kinds: &[RouteKind], topics: &[String]) -> Vec<Arc<kept::Route>> {
        let of = |routes: Routes| routes.shelf.about(topics.iter().map(String::as_str));
        kinds.iter().filter_map(|kind| self.routes.get(*kind)).flat_map(of).collect()
    }

    /// Other objects for one of this one's hosts, in words. In the middle of a rollout only the kinds of the Gateway API are looked through,
    /// which are few: they take all of a VirtualService's requests at once.
    fn rivals(&self, object: &Value, running: bool) -> Vec<String> {
        let ours = Serving::of(object);
        let kinds = if running { [RouteKind::HttpRoute, RouteKind::GrpcRoute].as_slice() } else { RouteKind::ALL.as_slice() };
        let others = self.routes_about(kinds, &ours.topics_of_rivals());
        let mut rivals: Vec<String> = others.iter().filter_map(|other| ours.rival(&other.serving)).collect();
        rivals.sort();
        rivals
    }

    /// Other objects that lead to one of these versions of this route.
    fn elsewhere(&self, object: &Value, view: &View, names: &BTreeSet<String>) -> Vec<(String, String)> {
        let ours = Serving::of(object);
        let others = self.routes_about(&RouteKind::ALL, &view.hosts_of(names.iter().map(String::as_str)));
        let leads = others.iter().flat_map(|other| ours.leads_too(&other.serving, view));
        let mut found: Vec<_> = leads.filter(|(_, version)| names.contains(version)).collect();
        found.sort();
        found
    }

    /// How many ports the Service of a host has, as far as its endpoints say.
    fn ports(&self, namespace: &str, host: &str) -> usize {
        let Some(service) = Host::of(host, namespace).service_in(namespace) else { return 0 };
        let slices = self.slices.about([kept::Slice::of(namespace, service).as_str()]);
        slices.iter().flat_map(|slice| slice.ports.iter()).collect::<BTreeSet<_>>().len()
    }

    /// The versions with these names, and the pods behind them: of subsets those of the host's Service that have its labels, of a version's
    /// own Service all.
    fn versions(
        &self,
        namespace: &str,
        host: &str,
        kind: &Destination,
        names: &BTreeSet<String>,
        ready: &mut ReadyLog,
        now: Timestamp,
    ) -> BTreeMap<String, Deployed> {
        let of = |service: &str| self.slices.about([kept::Slice::of(namespace, service).as_str()]);
        let find = |name: &str| self.pods.get(namespace, name);
        match kind {
            Destination::Subset(_) => {
                let wanted = Host::of(host, namespace);
                let Some(service) = wanted.service_in(namespace) else { return BTreeMap::new() };
                let rules = self.destination_rules.about(kept::Rule::topics_of(namespace, wanted).iter().map(String::as_str));
                let endpoints = workload::endpoints(&of(service));
                ready.keep(|pod| endpoints.contains_key(pod));
                let subset = |name: &String| {
                    let declared = mesh::declared(&rules, namespace, host, name);
                    (name.clone(), workload::deployed(&declared, &endpoints, find, ready, now))
                };
                names.iter().map(subset).collect()
            }
            Destination::Service(_) => {
                let slices: Vec<_> = names.iter().map(|name| (name, of(name))).collect();
                let endpoints: Vec<_> =
                    slices.iter().map(|(name, slices)| (name, slices.is_empty(), workload::endpoints(slices))).collect();
                ready.keep(|pod| endpoints.iter().any(|(.., endpoints)| endpoints.contains_key(pod)));
                let all = kept::Labels::default();
                let service = |(name, none, endpoints): &(&&String, bool, BTreeMap<String, bool>)| {
                    let declared = if *none { Declared::Not(String::new()) } else { Declared::As(&all) };
                    ((**name).clone(), workload::deployed(&declared, endpoints, find, ready, now))
                };
                endpoints.iter().map(service).collect()
            }
        }
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
        "{} has no {} named {}: its destinations are in {now} now; set spec.traffic.route",
        view.object,
        view.object.kind().rule(),
        view.key
    )
}

fn interesting(state: &State, spec: &RolloutSpec, view: Option<&View>) -> BTreeSet<String> {
    let mut names = BTreeSet::from([spec.canary.destination().name().to_owned()]);
    let versions = state.run.iter().flat_map(|run| [&run.stable, &run.canary]);
    let ended = state.ended.iter().flat_map(|ended| [&ended.stable, &ended.canary]);
    names.extend(versions.chain(ended).chain(state.stable.iter()).map(|version| version.name.clone()));
    if let Some(view) = view {
        names.extend(view.entries.iter().map(|entry| entry.name.clone()));
        names.extend(view.claim.iter().filter_map(|claim| claim.latch.as_ref()).map(|latch| latch.canary.name().to_owned()));
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
    let reason = if unavailable { Reason::ProviderNotFound } else { Reason::SinkNotFound };
    (!faults.is_empty()).then(|| Problem { reason, message: faults.join("; "), unavailable })
}

#[cfg(test)]
mod tests;
