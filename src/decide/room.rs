//! What a step needs before its traffic is set: pods of the canary, and a route on which it can be written.

use super::Pass;
use crate::api::{Capacity, Outcome, Phase, Reason};
use crate::plan::Step;
use crate::route::View;
use crate::state::Stance;

impl Pass<'_> {
    /// Why the canary has too few pods for the step, with the line that fixes it.
    pub(super) fn no_room(&self, step: &Step) -> Option<String> {
        let run = self.state.run.as_ref()?;
        let ready = self.ready(&run.canary.name);
        let need = match run.plan.capacity {
            Capacity::Any => 1,
            Capacity::Proportional => (step.load() * run.stable_pods).div_ceil(200).max(1),
        };
        if ready >= need {
            return None;
        }
        let scale = self.seen.scale_line(&run.canary.name, need);
        Some(format!("{} needs {need} ready pods of {}, {ready} are: {scale}", step.share().words(), run.canary.name))
    }

    /// The canary has too few pods for the step: reported once.
    pub(super) fn held_for_room(&mut self, message: String) -> Stance {
        if let Some(run) = self.state.run.as_mut().filter(|run| !run.room_told) {
            run.room_told = true;
            let next = "it continues automatically once they are ready".to_owned();
            self.record(Outcome::Held, Reason::CanaryCapacity, message.clone(), next, None);
        }
        self.stance(Phase::Holding, Reason::CanaryCapacity, message)
    }
}

/// Why a step of these cannot be written on this route, and what would fix it.
pub(super) fn unwritable<'s>(view: &View, canary: &str, steps: impl IntoIterator<Item = &'s Step>) -> Option<(Reason, String)> {
    for step in steps {
        if let Some(message) = view.too_full(canary, step.split.mirror > 0, !step.split.matches.is_empty()) {
            return Some((Reason::RaiseRefused, message));
        }
        if step.split.mirror > 0 && view.has_single_mirror() {
            let message = format!(
                "step {} mirrors, but {} of {} has `mirror`, and Istio takes either `mirror` or `mirrors` in a route: write it as an \
                 entry of `mirrors` (destination, percentage), which does the same",
                step.name,
                view.called(),
                view.object
            );
            return Some((Reason::MirrorConflict, message));
        }
        let joined = if step.split.matches.is_empty() { None } else { view.own_route(canary, &step.split.matches).err() };
        if let Some(conflict) = joined {
            let message = format!("step {} on {} of {}: {conflict}", step.name, view.called(), view.object);
            return Some((Reason::MatchConflict, message));
        }
    }
    None
}
