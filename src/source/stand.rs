//! Whether a model may be written to the canary's Deployment now. The table is [`stand`]; every row that waits says for what, and what ends it.

use jiff::{SignedDuration, Timestamp};
use json_patch::Patch;
use serde_json::Value;

use super::{Held, Model, command, held, patch};
use crate::api::{Outcome, SourceReason as Why, SourceState};
use crate::plan::SourcePlan;
use crate::seen::{Deployed, Observation};
use crate::state::State;
use crate::words::shortened;

/// Longest sentence in status.
const WORDS: usize = 600;

/// What a source says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// This model, which may be written.
    Model(Model),
    /// None: why, in words.
    Not {
        /// The model that is named, where one is.
        model: Option<Model>,
        /// Why it is not to be written.
        why: Why,
        /// In words.
        words: String,
    },
}

/// Why the Deployment could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There is none.
    NotFound,
    /// The controller may not.
    Forbidden,
    /// No answer that can be used.
    Trouble(String),
}

/// What is decided on.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The source.
    pub plan: &'a SourcePlan,
    /// What it says.
    pub offered: &'a Offered,
    /// The Deployment as it is.
    pub deployment: Result<&'a Value, &'a Unread>,
    /// The route, and the pods of the versions.
    pub seen: &'a Observation,
    /// What is stored of the Rollout.
    pub state: &'a State,
    /// `spec.paused`.
    pub paused: bool,
    /// What this process wrote last: it is not written twice against somebody.
    pub written: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

/// Where it stands, and what is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Stand {
    /// Whether it is in the Deployment.
    pub state: SourceState,
    /// Why.
    pub why: Why,
    /// In one sentence, with what to do.
    pub words: String,
    /// The write that is due.
    pub patch: Option<Patch>,
}

impl Stand {
    fn waits(why: Why, words: impl Into<String>) -> Self {
        Self { state: SourceState::Waiting, why, words: words.into(), patch: None }
    }

    /// The manifest has faults.
    pub fn invalid(faults: &str) -> Self {
        Self::waits(Why::ManifestInvalid, format!("nothing is written while the manifest has faults: {faults}"))
    }

    /// Something could not be read.
    pub fn unread(words: &str) -> Self {
        Self { state: SourceState::Unavailable, why: Why::NoAnswer, words: words.to_owned(), patch: None }
    }

    /// The API server, or a webhook, refuses the write.
    pub fn refused(plan: &SourcePlan, words: &str) -> Self {
        Self::waits(Why::Refused, format!("the write to Deployment {} is refused: {words}", plan.deployment))
    }

    /// Another Rollout brings its models to the same Deployment.
    pub fn shared(plan: &SourcePlan, other: &str) -> Self {
        Self::waits(Why::OtherPods, format!("Rollout {other} names Deployment {} too: give each a Deployment of its own", plan.deployment))
    }

    /// What stands in status: not as long as an event may be.
    pub fn short(&self) -> String {
        shortened(&self.words, WORDS)
    }

    /// Whether nothing moves until a person does something.
    pub fn needs_person(&self) -> bool {
        let moves = matches!(
            self.why,
            Why::Starting | Why::RolloutActive | Why::RollbackWindow | Why::Paused | Why::NothingYet | Why::NotReady | Why::RouteUnknown
        );
        matches!(self.state, SourceState::Announced | SourceState::Waiting) && !moves
    }

    /// A person has to write it.
    pub fn may_not(namespace: &str, plan: &SourcePlan, model: &Model, deployment: Option<&Value>) -> Self {
        let line = command(namespace, &plan.deployment, &plan.place, model, deployment);
        let words = format!("the controller may not patch Deployments here: {line}");
        Self { state: SourceState::Announced, why: Why::NoRight, words, patch: None }
    }

    fn starting(given: &Given<'_>, model: &Model) -> Self {
        Self::waits(Why::Starting, format!("Deployment {} has {}; its pods are not there yet", given.plan.deployment, model.words()))
    }

    fn in_place(given: &Given<'_>, model: &Model) -> Self {
        let words = format!("Deployment {} has {}", given.plan.deployment, model.words());
        Self { state: SourceState::InPlace, why: Why::AsWanted, words, patch: None }
    }
}

/// Where a source stands. The first row that has an answer decides; what is written is the last one.
pub fn stand(given: &Given<'_>) -> Stand {
    let name = &given.plan.deployment;
    let model = match given.offered {
        Offered::Model(model) => model,
        Offered::Not { why, words, .. } => {
            let state = if *why == Why::NoAnswer { SourceState::Unavailable } else { SourceState::Waiting };
            return Stand { state, why: *why, words: words.clone(), patch: None };
        }
    };
    if let Err(faults) = &given.seen.plan {
        return Stand::invalid(faults);
    }
    let canary = given.seen.versions.get(canary(given));
    let deployment = match given.deployment {
        Ok(deployment) => deployment,
        Err(Unread::NotFound) => return Stand::waits(Why::DeploymentNotFound, format!("there is no Deployment {name} in this namespace")),
        // The pods say what their template had.
        Err(Unread::Forbidden) if canary.and_then(on_pods).is_some_and(|on| on == *model) => return Stand::in_place(given, model),
        Err(Unread::Forbidden) => {
            let may_not = || Stand::may_not(&given.seen.namespace, given.plan, model, None);
            return hindered(given, model, None, canary).unwrap_or_else(may_not);
        }
        Err(Unread::Trouble(words)) => return Stand::unread(&format!("Deployment {name} was not read: {words}")),
    };
    match held(deployment, &given.plan.place) {
        Ok(held) if held.is(model, &given.plan.place) => {
            let on_pods = || canary.is_some_and(|pods| pods.models.iter().any(|text| Model::read(text).as_ref() == Some(model)));
            let starting = held.model.as_ref() == Some(model) && !on_pods();
            if starting && canary.is_some_and(|pods| pods.workloads.iter().any(|workload| workload != name)) {
                let words =
                    format!("Deployment {name} has {}, and its pods are not the canary's: set spec.source.deployment", model.words());
                return Stand::waits(Why::OtherPods, words);
            }
            return if starting { Stand::starting(given, model) } else { Stand::in_place(given, model) };
        }
        Ok(_) => {}
        Err(fault) => return Stand::waits(Why::PlaceNotFound, format!("Deployment {name} {fault}")),
    }
    if let Some(stand) = hindered(given, model, Some(deployment), canary) {
        return stand;
    }
    if given.written == Some(model.text().as_str()) {
        let words = format!(
            "{} was written to Deployment {name} and removed again: let whoever applies it leave that field alone (docs/model-sources.md)",
            model.words()
        );
        return Stand::waits(Why::Reverted, words);
    }
    match patch(deployment, &given.plan.place, model) {
        Ok(patch) => Stand { patch: Some(patch), ..Stand::starting(given, model) },
        Err(fault) => Stand::waits(Why::NotPinned, format!("Deployment {name} {fault}")),
    }
}

/// Why nothing is written now, although the model is another than the Deployment's. A Deployment that may not be read is known by its pods.
fn hindered(given: &Given<'_>, model: &Model, deployment: Option<&Value>, pods: Option<&Deployed>) -> Option<Stand> {
    let Given { plan, seen, state, .. } = given;
    let (name, canary, model) = (&plan.deployment, canary(given), model.words());
    if state.run.is_some() {
        return Some(Stand::waits(Why::RolloutActive, format!("{model} follows once the rollout under way has ended")));
    }
    if given.paused {
        return Some(Stand::waits(Why::Paused, format!("{model} follows once spec.paused is false")));
    }
    let Some(stable) = &state.stable else {
        return Some(Stand::waits(Why::RouteUnknown, "which version is stable is not known yet"));
    };
    let other = "set spec.canary to the other version and spec.source.deployment to its Deployment";
    if stable.name == canary {
        return Some(Stand::waits(Why::StableNow, format!("{model} waits: {canary} is stable now; {other}")));
    }
    let of_stable = seen.versions.get(&stable.name);
    if of_stable.is_some_and(|stable| stable.workloads.contains(name) || deployment.is_some_and(|read| is_selected(read, stable))) {
        let words =
            format!("{model} waits: the pods of stable, {}, are those of Deployment {name}; name the Deployment of {canary}", stable.name);
        return Some(Stand::waits(Why::StableNow, words));
    }
    let view = match &seen.route {
        Ok(view) => view,
        Err(fault) => return Some(Stand::waits(Why::RouteUnknown, format!("{model} waits until the route is known: {fault}"))),
    };
    let share = view.found(canary);
    if !share.is_none() {
        let words = format!("{model} waits: {canary} gets {} of {}", share.words(), view.object);
        return Some(Stand::waits(Why::ServesTraffic, words));
    }
    let beside = view.around(canary).map(|other| format!("route {} of {}", other.route, view.object));
    let elsewhere = seen.elsewhere.iter().filter(|(_, version)| version == canary).map(|(words, _)| words.clone());
    if let Some(other) = beside.chain(elsewhere).next() {
        return Some(Stand::waits(Why::ServesTraffic, format!("{model} waits: {other} leads to {canary} too")));
    }
    let Some(pods) = pods.filter(|pods| pods.declared) else {
        return Some(Stand::waits(Why::RouteUnknown, format!("{model} waits: {canary} is not declared")));
    };
    let own = pods.labels.is_empty() || deployment.is_none_or(|read| is_selected(read, pods));
    let replicas = deployment.and_then(|read| read.pointer("/status/replicas")).and_then(Value::as_u64).unwrap_or_default();
    match pods.workloads.iter().find(|workload| *workload != name) {
        Some(workload) if !workload.is_empty() => {
            let words = format!("{model} waits: the pods of {canary} are those of {workload}, not of Deployment {name}");
            return Some(Stand::waits(Why::OtherPods, words));
        }
        None if pods.workloads.is_empty() && replicas > 0 => {
            let words = format!("{model} waits: Deployment {name} has pods, and none of them is known as one of {canary}");
            return Some(Stand::waits(Why::OtherPods, words));
        }
        None if own && !(pods.workloads.is_empty() && pods.labels.is_empty()) => {}
        None if pods.workloads.is_empty() && own => {
            let words = format!(
                "{model} waits: {canary} has no pods that say whose they are; kubectl -n {} scale deployment {name} --replicas=1",
                seen.namespace
            );
            return Some(Stand::waits(Why::OtherPods, words));
        }
        _ => return Some(Stand::waits(Why::OtherPods, format!("{model} waits: the pods of Deployment {name} are not those of {canary}"))),
    }
    way_back(given, canary)
        .map(|until| Stand::waits(Why::RollbackWindow, format!("{model} waits: until {until} `haldane rollback` needs {canary} as it is")))
}

/// Until when a version must stay as it is, because `rollback` goes back to it.
fn way_back(given: &Given<'_>, canary: &str) -> Option<Timestamp> {
    let Given { state, seen, now, .. } = given;
    let promoted = state.promoted.as_ref().or(state.ended.as_ref()).filter(|ended| ended.outcome == Outcome::Promoted)?;
    // The window of the spec counts, as for `rollback` itself.
    let plan = seen.plan.as_ref().ok().or(promoted.plan.as_ref())?;
    let window = SignedDuration::try_from(plan.rollback_window).ok()?;
    let until = promoted.at.checked_add(window).ok()?;
    (promoted.stable.name == canary && *now < until).then_some(until)
}

/// Whether the labels of a version select the pods of a Deployment.
fn is_selected(deployment: &Value, version: &Deployed) -> bool {
    let labels = deployment.pointer("/spec/template/metadata/labels");
    let has = |(name, value): (&String, &String)| labels.and_then(|all| all.get(name)).and_then(Value::as_str) == Some(value);
    !version.labels.is_empty() && version.labels.iter().all(has)
}

/// The model that the pods of a version say they have, if all say the same.
pub(super) fn on_pods(pods: &Deployed) -> Option<Model> {
    pods.models.first().filter(|_| pods.models.len() == 1).and_then(|text| Model::read(text))
}

/// Name of the version wanted.
fn canary<'a>(given: &Given<'a>) -> &'a str {
    given.seen.plan.as_ref().map_or("", |plan| plan.canary.name())
}

/// What haldane wrote to a Deployment, if it still stands there; of one that it may not read, what the pods say.
pub(super) fn written(given: &Given<'_>) -> Option<Model> {
    match given.deployment {
        Ok(deployment) => {
            held(deployment, &given.plan.place).ok().as_ref().and_then(|held: &Held| held.written(&given.plan.place)).cloned()
        }
        Err(Unread::Forbidden) => given.seen.versions.get(canary(given)).and_then(on_pods),
        Err(_) => None,
    }
}
