//! The end of a rollout, however it came; and the way out when the Rollout is deleted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Act, Pass};
use crate::api::names::FINALIZER;
use crate::api::{AnyReason, HistoryEntry, Outcome, Phase, Reason};
use crate::route::{RouteFault, release};
use crate::seen::Holder;
use crate::state::{Ended, Stance};

impl Pass<'_> {
    /// Closes the rollout: history, and what is needed to watch its traffic drain.
    pub(super) fn end(&mut self, outcome: Outcome, reason: impl Into<AnyReason>, message: String) {
        let reason = reason.into();
        let exposure = self.exposure();
        let Some(run) = self.state.run.take() else { return };
        let stable = if outcome == Outcome::Promoted { &run.canary } else { &run.stable };
        self.state.stable = Some(stable.clone());
        self.state.history.insert(
            0,
            HistoryEntry {
                canary: run.canary.clone(),
                stable: run.stable.clone(),
                outcome,
                reason: reason.clone(),
                message: message.clone(),
                started: Time(run.started),
                ended: Time(self.now),
                exposure,
            },
        );
        self.state.history.truncate(10);
        let ended = Ended {
            outcome,
            reason: reason.clone(),
            message,
            at: self.now,
            stable: run.stable,
            canary: run.canary,
            plan: Some(run.plan),
            drained: false,
        };
        if outcome == Outcome::Promoted {
            self.state.promoted = Some(ended.clone());
        } else if reason == Reason::RolledBackAfterPromotion {
            self.state.promoted = None;
        }
        self.state.ended = Some(ended);
        self.wake_in(1.0);
    }

    /// The Rollout is being deleted: take what is ours out of the route, then let it go. Never behind the last promotion.
    pub(super) fn deletion(&mut self) -> Stance {
        if !self.seen.finalizer {
            return self.stance(Phase::Idle, Reason::AsPlanned, "being deleted");
        }
        let view = match (&self.seen.route, &self.seen.holder) {
            (Ok(view), Holder::Us) => view,
            // Somebody took our annotation away, but the rest of ours may still be there.
            (Ok(view), Holder::Nobody) if self.state.run.is_some() => view,
            (Err(fault), _) if self.seen.claimed || matches!(fault, RouteFault::Unreadable(_)) => {
                let message = format!(
                    "deletion waits: {fault}; what haldane has written there can only be taken out of a route that is clear: fix that, or, to leave \
                     the object as it is, remove the finalizer {FINALIZER}"
                );
                self.wake_in(30.0);
                return self.stalled(Phase::RollingBack, fault.reason(), message);
            }
            _ => {
                self.act = Act::DropFinalizer;
                return self.stance(Phase::Idle, Reason::AsPlanned, "being deleted: nothing of ours is in the route");
            }
        };
        let stable = match (&self.state.run, &self.state.stable) {
            (Some(run), _) => run.stable.name.clone(),
            (None, Some(stable)) => stable.name.clone(),
            (None, None) => {
                self.act = Act::DropFinalizer;
                return self.stance(Phase::Idle, Reason::AsPlanned, "being deleted");
            }
        };
        let canary = self.state.run.as_ref().map(|run| run.canary.name.clone());
        if let Some(canary) = canary.as_ref().filter(|canary| view.found(canary).reaches_users())
            && self.ready(&stable) == 0
            && self.ready(canary) > 0
        {
            self.wake_in(2.0);
            let message = format!(
                "deletion waits: {stable} has no ready endpoint and {canary} has {} of the traffic; it goes back as soon as a pod of {stable} is ready",
                view.found(canary).words()
            );
            return self.stalled(Phase::RollingBack, Reason::StableUnavailable, message);
        }
        let nothing_left = release(view, &stable, canary.as_deref()).0.iter().all(|op| matches!(op, json_patch::PatchOperation::Test(_)));
        self.act = if nothing_left { Act::DropFinalizer } else { Act::Release { stable, canary } };
        self.stance(Phase::RollingBack, Reason::AsPlanned, "being deleted: the route goes back to its original shape")
    }

    /// Ready endpoints of a subset.
    pub(super) fn ready(&self, name: &str) -> u32 {
        self.seen.versions.get(name).map_or(0, crate::seen::Deployed::ready)
    }
}
