//! Edits of the manifest, and changes of the pods, in the middle of a rollout.

use std::sync::Arc;

use super::{Act, Pass, words::version};
use crate::api::{Actor, Outcome, Phase, Reason};
use crate::gateway_api::status::Programmed;
use crate::judge::Evidence;
use crate::plan::{Change, Edit};
use crate::route::{RouteFault, View};
use crate::seen::Holder;
use crate::state::{Down, Stance};

/// A gateway may take so many seconds to accept what was written.
const PATIENCE: f64 = 30.0;

/// What the parents of an HTTPRoute or GRPCRoute say, unless all of them have accepted it as it is.
pub(super) fn not_accepted(view: &View) -> Option<String> {
    match &view.programmed {
        Programmed::Accepted => None,
        Programmed::NotYet(silent) if silent.is_empty() => {
            Some(format!("{} has no parentRefs, so that no gateway or Service sends it a request: name one there", view.object))
        }
        Programmed::NotYet(silent) => Some(format!("{} is not accepted yet by {}", view.object, silent.join(" and "))),
        Programmed::Refused { parent, condition, reason, message } => {
            Some(format!("{parent} does not take {}: {condition} is False, {reason}: {message}", view.object))
        }
    }
}

impl Pass<'_> {
    /// The route is not there, not clear, or claimed by another Rollout: nothing can be written, nothing advances.
    pub(super) fn route_lost(&mut self) -> Option<Stance> {
        if let Holder::Other(other) = &self.seen.holder {
            let message = self.conflict(other);
            let exposed = self.state.run.as_ref().is_some_and(|run| run.exposed.is_some());
            return Some(self.stalled(if exposed { Phase::Holding } else { Phase::Waiting }, Reason::Conflict, message));
        }
        let fault = self.seen.route.as_ref().err()?;
        let message = match fault {
            RouteFault::NotFound(object) => format!(
                "{object} is gone in the middle of the rollout: without it requests go wherever the mesh sends them, to pods of any version; restore it, or `{}`",
                self.command_line("abort --reason TEXT")
            ),
            other => {
                format!("{other}; the rollout holds until the route is there again, or `{}`", self.command_line("abort --reason TEXT"))
            }
        };
        Some(self.stalled(Phase::Holding, fault.reason(), message))
    }

    /// A route in doubt is in the way of everything that leads up.
    pub(super) fn route_in_doubt(&mut self) -> Option<Stance> {
        let (why, message) = self.doubt()?;
        self.hindrance = Some(self.stalled(Phase::Holding, why, message));
        None
    }

    /// What the parents of the route say against it. What was written just now is not heard of at once.
    pub(super) fn unheard(&self, view: &View) -> Option<String> {
        let run = self.state.run.as_ref().map(|run| run.since.unwrap_or(run.started));
        let written = run.or_else(|| self.state.ended.as_ref().map(|ended| ended.at));
        let lately = written.is_some_and(|written| self.now.duration_since(written).as_secs_f64() < PATIENCE);
        not_accepted(view).filter(|_| !(lately && matches!(view.programmed, Programmed::NotYet(_))))
    }

    /// The route was found by our claim alone: it is not what the manifest speaks of any more, or not it alone. Or what it gives is not
    /// all that the canary gets, or nothing.
    fn doubt(&self) -> Option<(Reason, String)> {
        let view = self.seen.route.as_ref().ok()?;
        let abort = self.command_line("abort --reason TEXT");
        if view.renamed {
            let now = view.name.as_deref().unwrap_or("a route without a name");
            let message = format!(
                "{1} {0} was renamed to {now}: nothing advances; name it {0} again, or set spec.traffic.route (that starts again), or `{abort}`",
                view.key,
                view.object.kind().rule(),
            );
            return Some((Reason::RouteNotFound, message));
        }
        if let Some(message) = self.unheard(view) {
            return Some((Reason::RouteNotAccepted, format!("{message}; nothing advances until it is accepted, or `{abort}`")));
        }
        let exposed = self.state.run.as_ref().is_some_and(|run| run.exposed.is_some());
        if let Some(above) = self.above().filter(|_| exposed) {
            let message = format!("{above}: nothing advances; give it a match of its own, or put it below, or `{abort}`");
            return Some((Reason::RouteUnreachable, message));
        }
        if let Some(rival) = self.seen.rivals.first() {
            let message =
                format!("{rival}: nothing advances, and weights of {} may have no effect; take it away, or `{abort}`", view.object);
            return Some((Reason::HostShared, message));
        }
        if let Some(run) = self.state.run.as_ref().filter(|_| exposed) {
            let (canary, stable) = (&run.canary.name, &run.stable.name);
            let around: Vec<_> = view.around(canary).map(|other| other.words(&view.host, canary, stable)).collect();
            if !around.is_empty() {
                let message = format!(
                    "{} gets requests beside {} of {}: {}; nothing advances, and no rollback ends it; or `{abort}`",
                    version(&run.canary),
                    view.called(),
                    view.object,
                    around.join("; "),
                );
                return Some((Reason::RouteAmbiguous, message));
            }
        }
        let rivals = view.rivals.as_ref()?;
        let message = format!(
            "{}s of {} that fit beside {}: {rivals}; nothing advances; take them away, or {} in spec.traffic.route (that starts again), or `{abort}`",
            view.object.kind().rule(),
            view.object,
            view.called(),
            view.name.as_ref().map_or_else(|| "give it a name and set that".to_owned(), |name| format!("name {name}")),
        );
        Some((Reason::RouteAmbiguous, message))
    }

    /// What an edit of the manifest does (design section 2).
    pub(super) fn edited(&mut self) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let plan = match &self.seen.plan {
            Ok(plan) => plan,
            Err(faults) => {
                let message =
                    format!("the manifest is not valid any more, so nothing advances; the last valid plan stays in force: {faults}");
                self.hindrance = Some(self.stalled(Phase::Holding, Reason::Invalid, message));
                return None;
            }
        };
        if plan.canary == run.stable.destination() && plan.same_route(&run.plan) {
            let by = Actor { name: "an edit of the manifest".to_owned(), manager: None, reason: None };
            let message =
                format!("spec.canary was set back to {}, which is stable: {} is aborted", plan.canary.name(), self.canary_words());
            return Some(self.down(Down {
                outcome: Outcome::Aborted,
                reason: Reason::SpecReverted.into(),
                message,
                by: Some(by),
                command: None,
                force: false,
                blocked: None,
            }));
        }
        let index = run.step.unwrap_or(0);
        let edit = run.plan.edit(plan, index);
        // Before the first step nothing was compared with anything, so nothing of the old plan has to stand.
        let untouched = run.step.is_none() && run.intent.is_none();
        if !edit.restart.is_empty() || (untouched && !edit.later.is_empty()) {
            let changes: Vec<_> = edit.restart.iter().chain(&edit.now).chain(&edit.later).map(ToString::to_string).collect();
            return Some(self.start_again(Reason::PlanChanged, format!("the plan was edited ({})", changes.join("; "))));
        }
        let told = run.edit_told;
        if !edit.now.is_empty() || (!edit.later.is_empty() && told != self.seen.generation) {
            let (was, is) = (run.plan.paused, plan.paused);
            let adopted = run.plan.adopt(plan, index);
            if let Some(run) = &mut self.state.run {
                (run.plan, run.edit_told) = (adopted, self.seen.generation);
            }
            self.tell_edit(&edit, was, is);
        }
        None
    }

    fn tell_edit(&mut self, edit: &Edit, was_paused: bool, is_paused: bool) {
        let words = |changes: &[Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let parts = [("taken over in place: ", words(&edit.now)), ("counts from the next rollout: ", words(&edit.later))];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.1.is_empty()).map(|(what, words)| format!("{what}{words}")).collect();
        let message = parts.join("; ");
        let (outcome, why, next) = match (was_paused, is_paused) {
            (false, true) => (Outcome::Paused, Reason::ManualPause, "set `spec.paused: false` to continue"),
            (true, false) => (Outcome::Resumed, Reason::AsPlanned, "the step continues, and its evidence is kept"),
            _ => (Outcome::Edited, Reason::PlanAdopted, "the rollout continues"),
        };
        self.record(outcome, why, message, next.to_owned(), None);
    }

    /// Two Rollouts want one route.
    pub(super) fn conflict(&self, other: &str) -> String {
        format!(
            "Rollout {other} has claimed the route: nothing is written until one of the two is deleted, for example by \
             `kubectl delete rollouts.haldane.dev {} -n {}`",
            self.seen.name, self.seen.namespace
        )
    }

    /// Several revisions behind the canary, or another one: weight 0, then from the first step once it has settled.
    pub(super) fn canary_changed(&mut self) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let seen = self.seen.versions.get(&run.canary.name)?;
        if seen.revisions.is_empty() || seen.revision() == Some(run.canary.revision.as_str()) {
            return None;
        }
        let (why, message) = match seen.revision() {
            Some(revision) => (Reason::CanaryChanged, format!("{} is now {revision}", version(&run.canary))),
            None => {
                let found: Vec<_> = seen.revisions.iter().cloned().collect();
                (Reason::Settling, format!("{} has pods of several revisions: {}", run.canary.name, found.join(", ")))
            }
        };
        Some(self.start_again(why, message))
    }

    /// Traffic to stable without a verdict; then the rollout begins again automatically.
    fn start_again(&mut self, why: Reason, message: String) -> Stance {
        let name = self.state.run.as_ref().map(|run| run.canary.name.clone()).unwrap_or_default();
        if self.leaves_the_object() {
            return self.take_out(why, message);
        }
        if self.seen.route.as_ref().is_ok_and(|view| !view.found(&name).is_none()) {
            return self.lower(why, format!("{message}: traffic goes to stable, then the rollout starts again"));
        }
        self.state.epoch += 1;
        self.record(Outcome::Lowered, why, message.clone(), "the rollout starts again".to_owned(), None);
        self.end(Outcome::Lowered, why, message.clone());
        self.wake_in(0.05);
        self.stance(Phase::Waiting, why, message)
    }

    /// The manifest speaks of another object now, and ours is still in the old one.
    fn leaves_the_object(&self) -> bool {
        let now = self.seen.plan.as_ref().ok().map(|plan| &plan.object);
        let before = self.state.run.as_ref().map(|run| &run.plan.object);
        now.is_some() && now != before && self.seen.holder == Holder::Us
    }

    /// Takes what is ours out of the object, with the traffic at stable.
    fn take_out(&mut self, why: Reason, message: String) -> Stance {
        let Some((stable, canary)) = self.state.run.as_ref().map(|run| (run.stable.name.clone(), run.canary.name.clone())) else {
            return self.stance(Phase::Waiting, why, message);
        };
        let reaches = self.seen.route.as_ref().is_ok_and(|view| view.found(&canary).reaches_users());
        if reaches && self.ready(&stable) == 0 && self.ready(&canary) > 0 {
            self.wake_in(1.0);
            return self.stalled(Phase::Holding, Reason::StableUnavailable, format!("{message}; but {stable} has no ready endpoint"));
        }
        self.act = Act::Release { stable, canary: Some(canary) };
        self.wake_in(0.05);
        self.stance(Phase::Holding, why, format!("{message}: the object before is put back as it was, then the rollout starts again"))
    }

    /// Stable's pods change in the middle: hold, drop the windows, begin with a new baseline.
    pub(super) fn stable_changed(&mut self) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let seen = self.seen.versions.get(&run.stable.name)?;
        if seen.revisions.is_empty() || seen.revision() == Some(run.stable.revision.as_str()) {
            return None;
        }
        let Some(revision) = seen.revision() else {
            let message = format!("{} has pods of several revisions: the rollout holds until it has settled", run.stable.name);
            return Some(self.stance(Phase::Holding, Reason::Settling, message));
        };
        let message = format!("{} is now {revision}: evidence restarts against it", version(&run.stable));
        let (revision, now) = (revision.to_owned(), self.now);
        self.state.epoch += 1;
        let epoch = self.state.epoch;
        if let Some(run) = &mut self.state.run {
            run.stable.revision = revision;
            run.evidence = Some(Arc::new(Evidence::new(&run.plan.analysis.metrics, run.plan.analysis.interval.as_secs_f64())));
            run.evidence_until = None;
            run.incident = None;
            run.key_epoch = epoch;
            run.since = run.since.map(|_| now);
            run.intent = None;
        }
        self.state.stable = self.state.run.as_ref().map(|run| run.stable.clone());
        self.record(Outcome::Held, Reason::StableRedeployed, message.clone(), "the step's proof restarts".to_owned(), None);
        Some(self.stance(Phase::Holding, Reason::StableRedeployed, message))
    }
}
