//! An incident that hits both versions (statistics 2f): the weight stays, or goes back by one where the canary may be the cause.

use super::{Act, Pass};
use crate::api::names::reason;
use crate::api::{Outcome, Phase};
use crate::judge::incident::{CLEAN, Incident};
use crate::plan::Step;
use crate::state::{Run, Stance};

impl Pass<'_> {
    /// The incident that the newest look shows.
    pub(super) fn incident(&self) -> Option<Incident> {
        self.look()?.judgement.incident.clone()
    }

    /// Holds. If it began right after the raise to this step, the step before it is gone back to: a canary can hurt stable through what
    /// both share. At the first step there is none before it.
    pub(super) fn in_incident(&mut self, run: &Run, step: &Step, incident: &Incident) -> Stance {
        let before = run.step.and_then(|index| index.checked_sub(1)).and_then(|index| run.plan.steps.get(index)).cloned();
        if let Some(before) = before.filter(|_| incident.after_raise && self.ready(&run.stable.subset) > 0) {
            let message = format!(
                "{}, right after the canary got {}, which may be the cause: it goes back to {}",
                incident.message,
                step.share().words(),
                before.share().words()
            );
            let mut wanted = self.wanted(before.share(), Some(&before), self.state.epoch + 1, None);
            wanted.claim.lowered = Some(reason::GLOBAL_INCIDENT.to_owned());
            self.act = Act::Lower(wanted);
            self.wake_in(if self.seen.refusal.is_some() { 1.0 } else { 0.05 });
            return self.stance(Phase::Holding, reason::GLOBAL_INCIDENT, message);
        }
        let message = format!(
            "{}: nothing advances until {CLEAN} windows of stable are as before, then the step is judged anew; `{}` takes the traffic back",
            incident.message,
            self.command_line("abort --reason TEXT")
        );
        if run.incident_told != Some(incident.since) {
            if let Some(run) = &mut self.state.run {
                run.incident_told = Some(incident.since);
            }
            let next = format!("it goes on by itself; `{}` takes the traffic back", self.command_line("abort --reason TEXT"));
            self.record(Outcome::Held, reason::GLOBAL_INCIDENT, message.clone(), next, None);
        }
        self.stance(Phase::Holding, reason::GLOBAL_INCIDENT, message)
    }
}
