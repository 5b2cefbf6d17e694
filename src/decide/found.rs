//! What is found in the mesh object decides first: a write of ours whose answer was lost, a latch, a raise that arrived.

use super::{Pass, down::verb_of, words::version};
use crate::api::{AnyReason, DestinationSpec, Outcome, Reason, RefusedRevision};
use crate::route::{Claim, Latch};
use crate::seen::Holder;
use crate::state::{Run, Unavailable};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A claim may be ahead of status by the writes that status has not seen yet: never by so many.
const EPOCH_LEAP: i64 = 1000;

impl Pass<'_> {
    /// Takes over what the route's annotation says beyond the state. It cannot end a pass.
    pub(super) fn adopt(&mut self) {
        let Ok(view) = &self.seen.route else { return };
        let Some(claim) = view.claim.clone() else { return };
        match &self.seen.holder {
            Holder::Us => {}
            Holder::Gone => return self.inherit(&claim),
            Holder::Nobody | Holder::Other(_) => return,
        }
        // What is so far ahead was not written by a controller with this state.
        if claim.epoch > self.state.epoch.saturating_add(EPOCH_LEAP) {
            return;
        }
        let latched = claim.latch.as_ref().filter(|latch| self.state.in_force(&latch.revision, latch.epoch));
        if latched.is_some_and(|latch| self.undone_by(latch)) {
            self.reopen();
        }
        let binds = latched.filter(|latch| self.state.run.as_ref().is_some_and(|run| run.canary.revision == latch.revision));
        if let Some(latch) = binds {
            self.state.epoch = self.state.epoch.max(claim.epoch);
            return self.taken_back(latch);
        }
        if claim.epoch > self.state.epoch {
            self.state.epoch = claim.epoch;
            if let (Some(reason), true) = (&claim.lowered, self.state.run.is_some()) {
                self.lowered(reason, &claim);
            }
        }
        let found = view.found(claim.canary.name());
        let arrived = self.state.run.as_ref().and_then(|run| run.intent.as_ref()).is_some_and(|intent| intent.epoch == claim.epoch);
        if arrived && found == claim.share {
            self.raised(&claim);
        }
    }

    /// A claim whose Rollout is gone is void, but its latch is taken over: that revision stays refused, and epochs start above.
    fn inherit(&mut self, claim: &Claim) {
        let Some(latch) = &claim.latch else { return };
        if self.state.refusal(&latch.revision).is_some() || !self.state.in_force(&latch.revision, latch.epoch) {
            return;
        }
        self.state.epoch = self.state.epoch.max(latch.epoch) + 1;
        self.refuse(latch);
    }

    /// The write that took the traffic back is there: that was the decision.
    fn taken_back(&mut self, latch: &Latch) {
        let recovered = self.state.run.as_ref().and_then(|run| run.down.clone()).map(|down| down.message);
        let message = recovered.unwrap_or_else(|| latch.message.clone());
        if let Some(id) = &latch.command {
            self.state.handled.insert(verb_of(&latch.reason).name().to_owned(), id.clone());
        }
        self.refuse(latch);
        let next = format!(
            "{} shows the evidence; {} {} will not be retried until its pods change or `{}`",
            self.command_line("explain"),
            latch.canary.name(),
            latch.revision,
            self.command_line("retry")
        );
        self.record(latch.outcome, latch.reason.clone(), message.clone(), next, latch.by.clone());
        self.end(latch.outcome, latch.reason.clone(), message);
    }

    pub(super) fn refuse(&mut self, latch: &Latch) {
        self.state.refused.retain(|refused| refused.revision != latch.revision);
        let canary = DestinationSpec::from(latch.canary.clone());
        self.state.refused.insert(
            0,
            RefusedRevision {
                revision: latch.revision.clone(),
                subset: canary.subset,
                service: canary.service,
                reason: latch.reason.clone(),
                message: latch.message.clone(),
                at: Time(self.now),
                epoch: latch.epoch,
            },
        );
        self.state.refused.truncate(10);
    }

    /// A lowering that decides nothing is there.
    fn lowered(&mut self, reason: &AnyReason, claim: &Claim) {
        let why = reason.known();
        let split = self.words_of_route();
        let unavailable = why == Some(Reason::CanaryUnavailable);
        let back = why == Some(Reason::GlobalIncident);
        let again = matches!(why, Some(Reason::CanaryChanged | Reason::PlanChanged | Reason::Settling));
        if why == Some(Reason::Passed) {
            return self.has_passed(claim);
        }
        let before = self.state.run.as_ref().map(|run| run.share).unwrap_or_default();
        if let Some(run) = &mut self.state.run {
            reopen(run, claim, self.now);
            run.intent = None;
            if back {
                // The step of that weight is the present one again, and must be passed again.
                run.step = run.plan.steps.iter().position(|step| Some(&step.name) == claim.step.as_ref()).or(run.step);
                run.say_again();
            }
            if unavailable {
                run.unavailable = Some(Unavailable { since: self.now });
                run.losses = run.losses.saturating_add(1);
            }
        }
        let message = match why {
            Some(Reason::CanaryUnavailable) => format!("the canary has no ready endpoint: its traffic is at stable ({split})"),
            Some(Reason::GlobalIncident) => format!("stable degraded right after the raise: the canary went back by one step ({split})"),
            Some(Reason::ShareRaised) => {
                format!("somebody raised the canary's share or changed the route of its match: both have been reset ({split})")
            }
            Some(Reason::PlanChanged) => format!("the plan was edited: traffic is at stable, the rollout starts again ({split})"),
            _ => format!("the pods behind the canary changed: traffic is at stable, the rollout starts again once they settle ({split})"),
        };
        let next = match why {
            Some(Reason::CanaryUnavailable) => "bring its pods back: 60 s after they are ready the step continues, once".to_owned(),
            Some(Reason::GlobalIncident) => format!("{} says what it waits for", self.command_line("status")),
            Some(Reason::ShareRaised) => "the step continues".to_owned(),
            _ => "it restarts automatically".to_owned(),
        };
        self.record(Outcome::Lowered, reason.clone(), message.clone(), next, None);
        if back {
            self.stepped_back(claim.share);
        }
        if again {
            self.end(Outcome::Lowered, reason.clone(), message);
        } else if why == Some(Reason::ShareRaised) && !claim.share.covers(before) {
            // Raised in one part and lowered in another: what was lowered stays so.
            let message =
                "somebody raised one part of the canary's traffic and lowered another: the second is never raised again without `resume`";
            self.lowered_by_others(Reason::ManualOverride, message.to_owned());
        }
    }

    /// The write that ends a rollout whose canary was not to become stable is there.
    fn has_passed(&mut self, claim: &Claim) {
        let message = self.passed_message(None);
        let stable = self.stable_words();
        let next = format!("{stable} serves everybody, as before; give the strategy weights to roll it out to users");
        self.record(Outcome::Passed, Reason::Passed, message.clone(), next, None);
        if let Some(run) = &mut self.state.run {
            reopen(run, claim, self.now);
        }
        self.end(Outcome::Passed, Reason::Passed, message);
    }

    /// The raise that was decided is read back: counts start here.
    fn raised(&mut self, claim: &Claim) {
        let now = self.now;
        let Some(run) = &mut self.state.run else { return };
        let Some(intent) = run.intent.take() else { return };
        let stopped = run.stopped;
        run.step = Some(intent.step);
        reopen(run, claim, now);
        if intent.restores {
            run.stopped = stopped; // the step continues: its deadline does not start over
        } else {
            run.say_again();
        }
        run.exposed.get_or_insert(now);
    }

    /// The split in words.
    pub(super) fn words_of_route(&self) -> String {
        self.seen.route.as_ref().map(|view| view.words()).unwrap_or_default()
    }

    /// The canary in words.
    pub(super) fn canary_words(&self) -> String {
        self.state.run.as_ref().map(|run| version(&run.canary)).unwrap_or_default()
    }
}

/// The weight of a claim is what is programmed now; counts of another weight end here.
fn reopen(run: &mut Run, claim: &Claim, now: jiff::Timestamp) {
    run.share = claim.share;
    run.read_back = claim.epoch;
    run.key_epoch = claim.epoch;
    run.since = Some(now);
    run.stopped = 0.0;
    run.standing = run.standing.map(|_| now);
    run.frozen = 0.0;
    if let Some(incident) = &mut run.incident {
        incident.since = now;
    }
}
