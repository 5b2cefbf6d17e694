//! One look at a source: ask it, read the Deployment, report what has ended, write what is new.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::Deployment, batch::v1::Job},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{DynamicObject, discovery::ApiResource},
    runtime::reflector::ObjectRef,
};
use serde_json::Value;
use tokio::time::timeout;

use super::{Desk, mlflow::Silence};
use crate::act;
use crate::api::names::{MANAGER, MODEL_WAITING, MODEL_WRITTEN};
use crate::api::{Rollout, SourceReason as Why, SourceState, SourceStatus};
use crate::observe::{cluster::Known, mesh, workload::ReadyLog};
use crate::plan::{Origin, SourcePlan, selector};
use crate::source::mlflow::AnswerFault;
use crate::source::{Ending, Given, Model, Offered, Stand, Unread, ending, job, stand};
use crate::state::restore;
use crate::words::shortened;

/// Longest read, longest write.
const READ: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(10);
/// How often Jobs are looked at.
const JOBS: Duration = Duration::from_secs(30);
/// Pause after a write that met another one.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked whether new pods have the model, or the route is known.
const STARTING: Duration = Duration::from_secs(5);
/// Jobs that are read at once.
const MOST_JOBS: u32 = 500;
/// Longest part of a sentence about what was not reported.
const UNREPORTED: usize = 300;
/// What kube-apiserver says of a patch whose `test` failed.
const FAILED_TEST: &str = "the server rejected our request due to an error in our request";

/// What this process knows of a source beside what is stored: nothing rests on it but that nothing is said or written twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Generation of the spec, and the model that was written last.
    written: Option<(i64, String)>,
    /// What the registry knows.
    ending: Option<Ending>,
    /// What an event said last.
    said: Option<String>,
}

/// What a look gave.
pub(super) struct Looked {
    pub(super) status: SourceStatus,
    pub(super) memory: Memory,
    /// When to come back: after this time, or later each time.
    pub(super) next: Next,
}

impl Looked {
    /// The look itself failed.
    pub(super) fn fault(desk: &Desk, rollout: &Rollout) -> Self {
        let look = Look { desk, memory: Memory::default(), met: false, unreported: None, owes: false };
        let stand = Stand::unread("a fault in haldane itself, please report it");
        Self { status: look.status(rollout, None, &stand), memory: look.memory, next: Next::Later }
    }
}

/// When to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    In(Duration),
    Later,
}

/// Looks once.
pub(super) async fn look(desk: Arc<Desk>, rollout: Arc<Rollout>, memory: Memory) -> Looked {
    let mut look = Look { desk: &desk, memory, met: false, unreported: None, owes: false };
    let plan = match SourcePlan::parse(&rollout.spec) {
        Ok(Some(plan)) => plan,
        other => {
            let words = other.err().map_or_else(|| "there is no source".to_owned(), |faults| faults.to_string().replace('\n', "; "));
            let stand = Stand::invalid(&words);
            return Looked { status: look.status(&rollout, None, &stand), memory: look.memory, next: Next::In(JOBS) };
        }
    };
    let pace = look.pace(&plan);
    let (offered, stand) = look.turn(&rollout, &plan).await;
    let next = match stand.why {
        _ if look.met => Next::In(AGAIN),
        Why::Starting | Why::RouteUnknown => Next::In(STARTING.min(pace)),
        Why::NoAnswer | Why::Refused => Next::Later,
        _ => Next::In(pace),
    };
    look.announce(&rollout, &offered, &stand);
    Looked { status: look.status(&rollout, Some(&offered), &stand), memory: look.memory, next }
}

struct Look<'a> {
    desk: &'a Desk,
    memory: Memory,
    /// Another write came between: whether ours was made is seen at the next look.
    met: bool,
    /// Why the registry does not know how the last rollout ended.
    unreported: Option<String>,
    /// It may still be reported: a registry that refuses the right to write keeps no model from being rolled out.
    owes: bool,
}

impl Look<'_> {
    fn pace(&self, plan: &SourcePlan) -> Duration {
        match &plan.origin {
            Origin::Mlflow { server, .. } => {
                let snapshot = self.desk.config.current();
                snapshot.config.mlflow.get(server).map_or(JOBS, crate::config::MlflowServer::polls_every)
            }
            Origin::Job(_) => JOBS,
        }
    }

    async fn turn(&mut self, rollout: &Rollout, plan: &SourcePlan) -> (Offered, Stand) {
        let offered = self.ask(rollout, plan).await;
        let deployment = self.deployment(rollout, &plan.deployment).await;
        let stand = self.decide(rollout, plan, &offered, &deployment, None).await;
        if stand.patch.is_none() {
            return (offered, stand);
        }
        if let Some(other) = self.shares(rollout, plan) {
            return (offered, Stand::shared(plan, &other));
        }
        if self.owes {
            return (offered, Stand::unread("the registry has to know first how the version before ended"));
        }
        // What is written to must not serve: the route and the Rollout are read again before.
        let namespace = rollout.namespace().unwrap_or_default();
        let object = rollout.spec.traffic.object();
        let routes = self.desk.caches.routes.get(object.kind()).map(|routes| routes.resource);
        let desk = act::Desk::new(self.desk.client.clone(), &namespace, routes.as_ref());
        let route = match act::read(&desk, &object).await {
            Ok(route) => route,
            Err(error) => {
                self.met = true;
                return (offered, Stand::unread(&format!("the route was not read again: {error}")));
            }
        };
        let api: Api<Rollout> = Api::namespaced(self.desk.client.clone(), &namespace);
        let stand = match timeout(READ, api.get(&rollout.name_any())).await {
            Ok(Ok(fresh)) if fresh.uid() == rollout.uid() && fresh.metadata.generation == rollout.metadata.generation => {
                let stand = self.decide(&fresh, plan, &offered, &deployment, Some(&route)).await;
                self.write(&fresh, plan, &offered, stand, deployment.as_ref().ok()).await
            }
            _ => {
                self.met = true;
                Stand::unread("the Rollout was not read again")
            }
        };
        (offered, stand)
    }

    /// What is to be done, by what was read of the route just now where that is given. Before that, reports to the registry.
    async fn decide(
        &mut self,
        rollout: &Rollout,
        plan: &SourcePlan,
        offered: &Offered,
        deployment: &Result<Value, Unread>,
        route: Option<&Value>,
    ) -> Stand {
        let state = match restore(rollout.status.as_ref()) {
            Ok(state) => state,
            Err(error) => return Stand::unread(&error.to_string()),
        };
        let (desk, now) = (self.desk, self.desk.clock.now());
        let config = desk.config.current();
        let mut ready = ReadyLog::default();
        let known = Known {
            route,
            fresh: route.is_some(),
            look: None,
            passes: 0,
            refusal: None,
            raise_refused: None,
            source: None,
            ready: &mut ready,
            config: &config.config,
        };
        let seen = desk.caches.observe(rollout, &state, known, now);
        let generation = rollout.metadata.generation.unwrap_or_default();
        let written = self.memory.written.clone().filter(|(of, _)| *of == generation).map(|(_, text)| text);
        let given = Given {
            plan,
            offered,
            deployment: deployment.as_ref(),
            seen: &seen,
            state: &state,
            paused: rollout.spec.paused,
            written: written.as_deref(),
            now,
        };
        if let (None, Some(end)) = (route, ending(&given)) {
            self.report(rollout, plan, end).await;
        }
        stand(&given)
    }

    /// Another Rollout whose models go to the same Deployment.
    fn shares(&self, rollout: &Rollout, plan: &SourcePlan) -> Option<String> {
        let all = self.desk.caches.rollouts.state();
        let mut others = all.iter().filter(|other| other.uid() != rollout.uid() && other.namespace() == rollout.namespace());
        let named = |other: &&Arc<Rollout>| other.spec.source.as_ref().is_some_and(|source| source.deployment == plan.deployment);
        others.find(named).map(|other| other.name_any())
    }

    /// What the source names.
    async fn ask(&mut self, rollout: &Rollout, plan: &SourcePlan) -> Offered {
        let not = |model: Option<Model>, why, words: String| Offered::Not { model, why, words };
        match &plan.origin {
            Origin::Mlflow { server, model, alias, .. } => {
                let asked = match self.desk.servers.get(&self.desk.config.current(), server) {
                    Ok(open) => open.alias(model, alias).await,
                    Err(silence) => Err(silence),
                };
                // A name that is not in the configuration is a user's, and no label.
                if !matches!(asked, Err(Silence::NotFound(_))) {
                    self.desk.metrics.sourced(server, asked.as_ref().err().and_then(Silence::kind));
                }
                match asked {
                    Ok(Some(version)) if version.is_ready() => Offered::Model(Model::in_mlflow(model, &version.number)),
                    Ok(Some(version)) => {
                        let found = Model::in_mlflow(model, &version.number);
                        let words = format!("{} is {} in MLflow, not READY", found.uri, version.status);
                        not(Some(found), Why::NotReady, words)
                    }
                    Ok(None) => not(None, Why::NothingYet, format!("MLflow {server} has no model {model} with the alias {alias}")),
                    Err(Silence::NotFound(words)) => not(None, Why::ServerNotFound, words),
                    Err(silence) => {
                        let (namespace, name) = (rollout.namespace(), rollout.name_any());
                        tracing::warn!(namespace, rollout = name, server, error = %silence, "MLflow gave no answer");
                        not(None, Why::NoAnswer, format!("MLflow {server}: {silence}"))
                    }
                }
            }
            Origin::Job(labels) => {
                let api = self.objects::<Job>(rollout);
                let listed = timeout(READ, api.list(&ListParams::default().labels(&selector(labels)).limit(MOST_JOBS))).await;
                match listed {
                    Ok(Ok(list)) => {
                        let jobs: Vec<Value> = list.items.iter().map(mesh::value).collect();
                        job::offered(&jobs, &plan.origin.words())
                    }
                    Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                        let words = "the controller may not list Jobs here: kubectl apply -k deploy/model-source, or modelSource.enabled of the chart";
                        not(None, Why::NoRight, words.to_owned())
                    }
                    Ok(Err(error)) => not(None, Why::NoAnswer, format!("Jobs were not listed: {error}")),
                    Err(_) => not(None, Why::NoAnswer, format!("Jobs were not listed within {} s", READ.as_secs())),
                }
            }
        }
    }

    async fn deployment(&self, rollout: &Rollout, name: &str) -> Result<Value, Unread> {
        match timeout(READ, self.objects::<Deployment>(rollout).get(name)).await {
            Ok(Ok(object)) => Ok(mesh::value(&object)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(Unread::NotFound),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(Unread::Forbidden),
            Ok(Err(error)) => Err(Unread::Trouble(error.to_string())),
            Err(_) => Err(Unread::Trouble(format!("no answer within {} s", READ.as_secs()))),
        }
    }

    /// Writes to the Deployment what is due.
    async fn write(&mut self, rollout: &Rollout, plan: &SourcePlan, offered: &Offered, mut stand: Stand, read: Option<&Value>) -> Stand {
        let (Some(patch), Offered::Model(model)) = (stand.patch.take(), offered) else { return stand };
        let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
        if !self.desk.leader.is_leader() {
            return Stand::unread("this replica does not lead any more");
        }
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let (api, patch) = (self.objects::<Deployment>(rollout), Patch::Json::<DynamicObject>(patch));
        let refused = match timeout(WRITE, api.patch(&plan.deployment, &params, &patch)).await {
            Ok(Ok(_)) => {
                self.memory.written = Some((rollout.metadata.generation.unwrap_or_default(), model.text()));
                tracing::info!(namespace, rollout = name, model = model.words(), "model written to the canary's Deployment");
                let note = format!(
                    "{} was written to Deployment {}: its new pods start a rollout. It is what {} names.",
                    model.words(),
                    plan.deployment,
                    plan.origin.words()
                );
                self.desk.events.noted(rollout.object_ref(&()), false, MODEL_WRITTEN, &format!("Write.{}", model.words()), &note);
                return stand;
            }
            Ok(Err(kube::Error::Api(status))) => status,
            Ok(Err(error)) => return self.unwritten(plan, &error.to_string()),
            Err(_) => return self.unwritten(plan, &format!("no answer within {} s", WRITE.as_secs())),
        };
        let words = refused.message.clone();
        let admission = words.starts_with("admission webhook") || words.contains("exceeded quota");
        match refused.code {
            409 | 404 => self.unwritten(plan, "it changed in between"),
            422 if words == FAILED_TEST => self.unwritten(plan, "it changed in between"),
            403 if !admission => Stand::may_not(&namespace, plan, model, read),
            400..500 => Stand::refused(plan, &words),
            _ => self.unwritten(plan, &words),
        }
    }

    /// Whether it was written is seen at the next look, which is soon.
    fn unwritten(&mut self, plan: &SourcePlan, why: &str) -> Stand {
        self.met = true;
        Stand::unread(&format!("Deployment {} was not written: {why}", plan.deployment))
    }

    /// Lets the registry know how a rollout ended.
    async fn report(&mut self, rollout: &Rollout, plan: &SourcePlan, end: Ending) {
        let Origin::Mlflow { server, model, promoted, .. } = &plan.origin else { return };
        if self.memory.ending.as_ref() == Some(&end) || !self.desk.leader.is_leader() {
            return;
        }
        let (namespace, name) = (rollout.namespace(), rollout.name_any());
        let sent = match self.desk.servers.get(&self.desk.config.current(), server) {
            Ok(open) => open.report(model, promoted, &end).await,
            Err(silence) => Err(silence),
        };
        match sent {
            Ok(()) => {
                tracing::info!(namespace, rollout = name, server, model, outcome = end.outcome, "MLflow knows how it ended");
                self.memory.ending = Some(end);
            }
            Err(silence) => {
                self.owes = !matches!(silence, Silence::NotFound(_) | Silence::Answer(AnswerFault::Status(401 | 403, _)));
                self.unreported = Some(format!("MLflow {server} does not know yet that {} was {}: {silence}", end.version, end.outcome));
                if !matches!(silence, Silence::NotFound(_)) {
                    self.desk.metrics.sourced(server, silence.kind());
                }
                tracing::warn!(namespace, rollout = name, server, error = %silence, "MLflow does not know yet how it ended");
            }
        }
    }

    /// What a person has to know is an event, once for each model and reason.
    fn announce(&mut self, rollout: &Rollout, offered: &Offered, stand: &Stand) {
        let uri = uri(offered).unwrap_or_default();
        if !stand.needs_person() {
            return;
        }
        let key = format!("{:?}.{uri}", stand.why);
        let stored = rollout.status.as_ref().and_then(|status| status.source.as_ref());
        let known = stored.is_some_and(|stored| stored.reason == stand.why && stored.uri.as_deref().unwrap_or_default() == uri);
        if self.memory.said.as_ref() != Some(&key) && !known {
            let note = if stand.state == SourceState::Announced { format!("{uri} is new; {}", stand.words) } else { stand.words.clone() };
            self.desk.events.noted(rollout.object_ref(&()), true, MODEL_WAITING, &key, &note);
        }
        self.memory.said = Some(key);
    }

    fn objects<K>(&self, rollout: &Rollout) -> Api<DynamicObject>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::namespaced_with(self.desk.client.clone(), &rollout.namespace().unwrap_or_default(), &ApiResource::erase::<K>(&()))
    }

    fn status(&self, rollout: &Rollout, offered: Option<&Offered>, stand: &Stand) -> SourceStatus {
        let now = self.desk.clock.now();
        let model = offered.and_then(named);
        let (uri, version) = (model.map(|model| model.uri.clone()), model.and_then(|model| model.version.clone()));
        let known = self.desk.known(&ObjectRef::from_obj(rollout));
        let known = known.or_else(|| rollout.status.as_ref()?.source.clone());
        let same = known.filter(|known| (known.state, known.reason, &known.uri) == (stand.state, stand.why, &uri));
        let since = same.map_or_else(|| Time(Timestamp::from_second(now.as_second()).unwrap_or(now)), |known| known.since);
        let observed_generation = rollout.metadata.generation.unwrap_or_default();
        let message =
            self.unreported.iter().fold(stand.short(), |said, unreported| format!("{said}; {}", shortened(unreported, UNREPORTED)));
        SourceStatus { uri, version, state: stand.state, reason: stand.why, message, observed_generation, since }
    }
}

fn named(offered: &Offered) -> Option<&Model> {
    match offered {
        Offered::Model(model) => Some(model),
        Offered::Not { model, .. } => model.as_ref(),
    }
}

fn uri(offered: &Offered) -> Option<String> {
    named(offered).map(Model::words)
}
