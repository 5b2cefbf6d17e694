//! Nothing is rolled out: what is stable, whether something new is wanted, whether it may start.

use super::{Act, Pass, down::phase_of, edit::not_accepted, room::unwritable, words::version};
use crate::api::{Destination, Outcome, Phase, Reason, Version};
use crate::istio::name::{Host, meant};
use crate::plan::{Plan, Share};
use crate::route::{Claim, View, Wanted};
use crate::seen::{Deployed, Holder};
use crate::state::{Run, Stance};

/// So often it is looked again whether another VirtualService is gone, in seconds.
const RIVALS: f64 = 30.0;

impl Pass<'_> {
    pub(super) fn idle(&mut self) -> Stance {
        if let Some(stance) = self.refused_version_raised() {
            return stance;
        }
        let needed = self.leaves_something();
        if self.seen.finalizer != needed {
            self.act = if needed { Act::AddFinalizer } else { Act::DropFinalizer };
            self.wake_in(0.05);
        }
        let stance = self.wanted_or_not();
        self.draining(stance)
    }

    fn wanted_or_not(&mut self) -> Stance {
        let plan = match &self.seen.plan {
            Ok(plan) => plan,
            Err(faults) => return self.stalled(Phase::Invalid, Reason::Invalid, faults.clone()),
        };
        let view = match &self.seen.route {
            Ok(view) => view,
            Err(fault) => return self.stalled(Phase::Waiting, fault.reason(), fault.to_string()),
        };
        if let Holder::Other(other) = &self.seen.holder {
            let message = self.conflict(other);
            return self.stalled(Phase::Waiting, Reason::Conflict, message);
        }
        if Host::of(&view.host, &self.seen.namespace).service_in(&self.seen.namespace).is_none() {
            let message = self.elsewhere(view);
            return self.stalled(Phase::Waiting, Reason::HostElsewhere, message);
        }
        let stable = match self.settle_stable(view) {
            Ok(stable) => stable,
            Err(stance) => return *stance,
        };
        let passed = self.state.ended.as_ref().filter(|ended| ended.outcome == Outcome::Passed);
        let back = passed.is_some_and(|ended| !view.found(&ended.canary.name).is_none());
        if view.share(&stable.name) != 100 || view.sum() != 100 || !view.own.is_empty() || back {
            return self.drifted(view, &stable);
        }
        self.state.drift_told = None;
        if plan.canary.name() == stable.name {
            return match self.state.ended.as_ref().filter(|ended| ended.outcome == Outcome::Promoted && ended.canary.name == stable.name) {
                Some(ended) => {
                    let mut message = ended.message.clone();
                    let before = ended.stable.name.clone();
                    for more in [self.needed_until(), self.still_needed(&before)].into_iter().flatten() {
                        message = format!("{message}; {more}");
                    }
                    self.stance(Phase::Promoted, Reason::AsPlanned, message)
                }
                None => self.stance(Phase::Idle, Reason::AsPlanned, format!("{} serves everybody", version(&stable))),
            };
        }
        if let Some(message) = self.passed_before(plan) {
            return self.stance(Phase::Passed, Reason::Passed, message);
        }
        let canary = match self.startable(plan, view, &stable) {
            Ok(canary) => canary,
            Err(stance) => return *stance,
        };
        self.begin(plan.clone(), stable, canary)
    }

    /// Whether a Rollout that is deleted now would leave something of ours in the route: a claim, a latch, an entry. A promotion stays.
    fn leaves_something(&self) -> bool {
        let Ok(view) = &self.seen.route else { return false };
        self.seen.holder == Holder::Us && self.state.stable.is_some() && view.claim.as_ref().is_some_and(|claim| claim.share.is_none())
    }

    /// The route leads to no Service of this namespace.
    fn elsewhere(&self, view: &View) -> String {
        let leads = format!("{} of {} leads to {}", view.called(), view.object, view.host);
        let namespace = &self.seen.namespace;
        match meant(&view.host, namespace) {
            Some(service) => format!(
                "{leads}, and Istio takes a name with a dot as it is, so that no Service has it: set destination.host to {service}, or to \
                 {}",
                Host::Service { name: &service, namespace }
            ),
            None => format!(
                "{leads}, which is no Service of namespace {namespace}: pods, endpoints and DestinationRules are read there alone; have the \
                 VirtualService, the Rollout and the model in one namespace"
            ),
        }
    }

    /// Stable is what serves: what status says, or, the first time, the one subset that has everything.
    fn settle_stable(&mut self, view: &View) -> Result<Version, Box<Stance>> {
        let known = self.state.stable.clone().filter(|stable| view.knows(stable));
        let name = match (&known, view.sole()) {
            (Some(known), _) => known.name.clone(),
            (None, Some(sole)) => sole.to_owned(),
            (None, None) => {
                let message = format!(
                    "{} of {} has {}: one {} must have 100 % before a rollout starts, and haldane does not guess which is stable",
                    view.called(),
                    view.object,
                    view.words(),
                    view.kind_of_version()
                );
                return Err(Box::new(self.stalled(Phase::Waiting, Reason::UnexpectedWeights, message)));
            }
        };
        let seen = self.seen.versions.get(&name);
        if seen.is_none_or(|seen| !seen.declared) {
            let (why, message) = undeclared(view, &name, seen);
            return Err(Box::new(self.stalled(Phase::Waiting, why, message)));
        }
        if let Some(message) = self.overlap(view, &name) {
            return Err(Box::new(self.stalled(Phase::Waiting, Reason::ArmsOverlap, message)));
        }
        let found = seen.and_then(Deployed::revision);
        match (known, found) {
            (Some(known), Some(found)) if known.revision != found => {
                let stable = Version { revision: found.to_owned(), ..known.clone() };
                self.state.stable = Some(stable.clone());
                let message = format!(
                    "{} is now {found}: it reached all users at once; to have it compared first, deploy it under another {}",
                    version(&known),
                    view.kind_of_version()
                );
                self.record(Outcome::Held, Reason::StableRedeployed, message, "nothing is rolled out".to_owned(), None);
                Ok(stable)
            }
            (Some(known), _) => Ok(known),
            (None, Some(found)) => {
                let stable = view.version(&name, found);
                self.state.stable = Some(stable.clone());
                Ok(stable)
            }
            (None, None) => {
                let message = format!("stable is {name}, but its pods have no single revision yet");
                Err(Box::new(self.stance(Phase::Waiting, Reason::Settling, message)))
            }
        }
    }

    /// What is wanted has passed already, and nothing of it is new: neither the pods, nor the plan.
    fn passed_before(&self, plan: &Plan) -> Option<String> {
        let ended =
            self.state.ended.as_ref().filter(|ended| ended.outcome == Outcome::Passed && ended.canary.name == plan.canary.name())?;
        let same_plan = ended.plan.as_ref().is_some_and(|old| old.edit(plan, 0).restart.is_empty());
        let seen = self.seen.versions.get(plan.canary.name());
        let same_pods = seen.is_none_or(|seen| seen.revisions.is_empty() || seen.revision() == Some(ended.canary.revision.as_str()));
        (same_plan && same_pods).then(|| ended.message.clone())
    }

    /// The canary's version, if nothing stands in the way of a start.
    fn startable(&mut self, plan: &Plan, view: &View, stable: &Version) -> Result<Version, Box<Stance>> {
        let name = plan.canary.name();
        let no = |stance: Stance| Err(Box::new(stance));
        let found = self.seen.versions.get(name);
        let Some(seen) = found.filter(|seen| seen.declared) else {
            let (why, message) = undeclared(view, name, found);
            let message = format!("spec.canary.{} is {name}, but {message}", plan.canary.field());
            return no(self.stalled(Phase::Waiting, why, message));
        };
        if let Some(refused) = seen.revisions.iter().find_map(|revision| self.state.refusal(revision)).cloned() {
            let phase = self
                .state
                .ended
                .as_ref()
                .filter(|ended| ended.canary.revision == refused.revision)
                .map_or(if refused.reason == Reason::Aborted { Phase::Aborted } else { Phase::RolledBack }, |ended| {
                    phase_of(ended.outcome)
                });
            let message =
                format!("{} ({}) is refused: {}; `{}` retries it", name, refused.revision, refused.message, self.command_line("retry"));
            let others: Vec<_> = view.around(name).map(|other| other.route.as_str()).collect();
            let message = match others.join(", ") {
                others if others.is_empty() => message,
                others => format!("{message}; but {others} of {} still lead to {name}: take them away", view.object),
            };
            return no(self.stalled(phase, Reason::Refused, message));
        }
        let around: Vec<_> = view.around(name).map(|other| other.words(&view.host, name, &stable.name)).collect();
        if !around.is_empty() {
            let message = format!("{}: {}", view.object, around.join("; "));
            return no(self.stalled(Phase::Waiting, Reason::RouteAmbiguous, message));
        }
        if let Some(rival) = self.seen.rivals.first() {
            let message =
                format!("{rival}, so that weights of {} may have no effect: put the routes of both into one of them", view.object);
            self.wake_in(RIVALS);
            return no(self.stalled(Phase::Waiting, Reason::HostShared, message));
        }
        if let Some(message) = not_accepted(view) {
            return no(self.stalled(Phase::Waiting, Reason::RouteNotAccepted, message));
        }
        if let Some(above) = self.above() {
            let message = format!("{above}, so that no weight has an effect: give it a match of its own, or put it below");
            return no(self.stalled(Phase::Waiting, Reason::RouteUnreachable, message));
        }
        if !view.found(name).is_none() {
            let message = format!(
                "{} of {} already sends traffic to {name} ({}): remove it, haldane adds mirrors when a step needs them",
                view.called(),
                view.object,
                view.words()
            );
            return no(self.stalled(Phase::Waiting, Reason::MirrorConflict, message));
        }
        if let Some((why, message)) = unwritable(view, name, &plan.steps) {
            return no(self.stalled(Phase::Waiting, why, message));
        }
        match seen.revision() {
            Some(_) if seen.ready() == 0 => {
                let message = format!("{name} has {} pods, none is ready", seen.arm.pods.len());
                no(self.stance(Phase::Waiting, Reason::NoCanaryEndpoint, message))
            }
            Some(revision) => match &self.seen.pending {
                Some(message) => no(self.stance(Phase::Waiting, Reason::ModelPending, message.clone())),
                None => Ok(view.version(name, revision)),
            },
            None if seen.revisions.is_empty() => {
                let message = format!("{name} has no pods: deploy the version, it starts automatically");
                no(self.stance(Phase::Waiting, Reason::NoCanaryEndpoint, message))
            }
            None => {
                let found: Vec<_> = seen.revisions.iter().cloned().collect();
                no(self.stance(Phase::Waiting, Reason::Settling, format!("{name} has pods of several revisions: {}", found.join(", "))))
            }
        }
    }

    /// The routes above that leave no request for the managed one.
    pub(super) fn above(&self) -> Option<String> {
        let view = self.seen.route.as_ref().ok()?;
        let (above, port) = match (&view.above, &view.above_at) {
            (Some(above), _) => (above, String::new()),
            (None, Some((port, above))) if self.seen.one_port => (above, format!(" at {port}, the only port of {}", view.host)),
            _ => return None,
        };
        let stands = format!("of {} stands above {} and takes every request", view.object, view.called());
        Some(format!("{} {above} {stands} that it could get{port}", view.object.kind().rule()))
    }

    /// What the two versions have in common, with the fix.
    fn overlap(&self, view: &View, stable: &str) -> Option<String> {
        let canary = self.seen.plan.as_ref().ok().map(|plan| plan.canary.name()).filter(|canary| *canary != stable)?;
        let (theirs, ours) = (self.seen.versions.get(stable)?, self.seen.versions.get(canary).filter(|canary| canary.declared)?);
        let labels = |seen: &Deployed| {
            let list: Vec<_> = seen.labels.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            format!("{{{}}}", list.join(", "))
        };
        // Without labels in a test or a rehearsal nothing is known of them.
        let within = |one: &Deployed, other: &Deployed| one.labels.iter().all(|(name, value)| other.labels.get(name) == Some(value));
        let known = !theirs.labels.is_empty() || !ours.labels.is_empty();
        if known && (within(theirs, ours) || within(ours, theirs)) {
            return Some(format!(
                "subsets {stable} {} and {canary} {} select the same pods: give both a label in the DestinationRule that only the pods of their \
                 version have, for example version",
                labels(theirs),
                labels(ours)
            ));
        }
        let pod = ours.arm.pods.iter().find(|pod| theirs.arm.pods.iter().any(|other| other.name == pod.name))?;
        let selectors = match view.kind_of_version() {
            "Service" => "selectors of the Services",
            _ => "labels of the subsets",
        };
        Some(format!("pod {} belongs to {stable} and to {canary}: make the {selectors} disjoint", pod.name))
    }

    /// Who still needs a version that has lost its last share of this route.
    pub(super) fn still_needed(&self, version: &str) -> Option<String> {
        let view = self.seen.route.as_ref().ok()?;
        let elsewhere = self.seen.elsewhere.iter().filter(|(_, there)| there == version).map(|(who, _)| who.clone());
        let all: Vec<String> = view.needed_by(version).into_iter().chain(elsewhere).collect();
        (!all.is_empty()).then(|| format!("{version} is still needed by {}: keep its pods", all.join(", ")))
    }

    fn begin(&mut self, plan: Plan, stable: Version, canary: Version) -> Stance {
        if self.act != Act::Nothing {
            return self.stance(Phase::Waiting, Reason::AsPlanned, format!("{} is next", version(&canary)));
        }
        self.state.epoch += 1;
        let stable_pods = self.ready(&stable.name);
        self.state.run = Some(Run { stable_pods, ..Run::new(plan, stable, canary, self.now, self.state.epoch) });
        self.wake_in(0.05);
        // What it waits for, or its first step, is in the same write of status.
        let waiting = self.stance(Phase::Waiting, Reason::AsPlanned, "the first step is next");
        self.advance().unwrap_or(waiting)
    }

    /// A version that was rolled back or aborted got a share from somebody: lowered at once.
    fn refused_version_raised(&mut self) -> Option<Stance> {
        let view = self.seen.route.as_ref().ok()?;
        if self.seen.holder != Holder::Us {
            return None;
        }
        let claim = view.claim.as_ref()?;
        let latch = claim.latch.as_ref().filter(|latch| self.state.in_force(&latch.revision, latch.epoch));
        // An object from before the way back has our claim, but no latch yet.
        let refused = || self.state.refusal(&claim.revision).filter(|refused| refused.name() == claim.canary.name());
        let (canary, revision, why, phase) = match latch {
            Some(latch) => (latch.canary.clone(), latch.revision.clone(), latch.message.clone(), phase_of(latch.outcome)),
            None => {
                let refused = refused()?;
                let ended = self.state.ended.as_ref().filter(|ended| ended.canary.revision == refused.revision);
                let phase = ended.map_or(Phase::RolledBack, |ended| phase_of(ended.outcome));
                (claim.canary.clone(), refused.revision.clone(), refused.message.clone(), phase)
            }
        };
        let stable = self.state.stable.as_ref()?;
        let name = canary.name();
        let behind = self.seen.versions.get(name).map(|seen| &seen.revisions)?;
        let found = view.found(name);
        if found.is_none() || stable.name == name || !(behind.is_empty() || behind.contains(&revision)) {
            return None;
        }
        let message = format!("somebody gave {} to {name}, which is refused ({why}): it goes back to {}", found.words(), stable.name);
        if found.reaches_users() && self.ready(&stable.name) == 0 && self.ready(name) > 0 {
            self.wake_in(1.0);
            return Some(self.stalled(Phase::RollingBack, Reason::StableUnavailable, message));
        }
        let claim = Claim {
            epoch: self.state.epoch + 1,
            share: Share::NONE,
            step: None,
            lowered: Some(Reason::ShareRaised.into()),
            canary: canary.clone(),
            revision,
            ..claim.clone()
        };
        self.act = Act::Lower(Wanted { stable: stable.name.clone(), canary: name.to_owned(), matches: Vec::new(), claim });
        self.wake_in(0.05);
        Some(self.stalled(phase, Reason::ShareRaised, message))
    }

    /// The route has other weights than 100 for stable while nothing is rolled out: reported, never written.
    fn drifted(&mut self, view: &View, stable: &Version) -> Stance {
        let words = view.words();
        let whole = view.share(&stable.name) == 100 && view.sum() == 100;
        let fix = match view.own.first().map(|own| own.raw.get("name").and_then(serde_json::Value::as_str).unwrap_or_default()) {
            Some(own) => format!("take {} {own} away", view.object.kind().rule()),
            None if whole => "take the mirror away".to_owned(),
            None => "set it back, or delete the Rollout".to_owned(),
        };
        let message = format!(
            "{} of {} has {words}, but {} is stable: nothing is written while nothing is rolled out; {fix}",
            view.called(),
            view.object,
            version(stable)
        );
        if self.state.drift_told.as_ref() != Some(&words) {
            self.state.drift_told = Some(words);
            let next = if whole { "no rollout starts before it is gone" } else { "no rollout starts before stable has 100 %" };
            self.record(Outcome::Held, Reason::Drifted, message.clone(), next.to_owned(), None);
        }
        let phase = self.state.ended.as_ref().map_or(Phase::Idle, |ended| phase_of(ended.outcome));
        let mut stance = self.stance(phase, Reason::Drifted, message.clone());
        stance.traffic = (false, Reason::Drifted, message);
        stance
    }

    /// Whether the last canary's traffic has gone from the proxies: reported, never awaited.
    fn draining(&mut self, stance: Stance) -> Stance {
        let Some(ended) = self.state.ended.as_mut().filter(|ended| {
            ended.outcome != Outcome::Promoted && ended.plan.as_ref().is_some_and(|plan| !plan.analysis.metrics.is_empty())
        }) else {
            return stance;
        };
        let newer = self.seen.look.as_ref().filter(|look| look.window_end.is_some_and(|end| end > ended.at));
        if newer.and_then(|look| look.canary_in_window) == Some(0) {
            ended.drained = true;
        }
        let waited = self.now.duration_since(ended.at).as_secs_f64();
        let (drained, name) = (ended.drained, ended.canary.name.clone());
        let mut stance = stance;
        if stance.traffic.0 && drained {
            stance.traffic.1 = Reason::Drained;
            stance.traffic.2 = format!("{}; no request reaches {name} any more", stance.traffic.2);
        } else if stance.traffic.0 && waited < 600.0 {
            stance.traffic.1 = Reason::Draining;
            stance.traffic.2 = format!("{}; proxies may still send requests to {name}", stance.traffic.2);
        }
        stance
    }
}

/// No proxy knows a version: the reason and the words.
fn undeclared(view: &View, name: &str, seen: Option<&Deployed>) -> (Reason, String) {
    let why = seen.map(|seen| seen.undeclared.as_str()).filter(|why| !why.is_empty());
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    match view.canary.other(name) {
        Destination::Subset(name) => {
            (Reason::SubsetNotFound, format!("no DestinationRule of this namespace has subset {name} for host {}{why}", view.host))
        }
        Destination::Service(name) => (
            Reason::ServiceNotFound,
            format!("no EndpointSlice of this namespace is for a Service {name}: create the Service, with a selector"),
        ),
    }
}
