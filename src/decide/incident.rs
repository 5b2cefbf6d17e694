//! An incident that hits both versions (statistics 2f): the weight is frozen, and where the canary may be the cause it goes one step back.
//!
//! Evidence that the canary is worse is still collected and leads to a rollback: that question comes before this one.

use super::{Act, Pass, words::bounded};
use crate::api::{Outcome, Phase, Reason};
use crate::judge::incident::{CLEAN, Incident};
use crate::plan::{Share, Step};
use crate::state::{InIncident, Pause, Stance};
use crate::words::time;

/// So many times an incident right after a raise is taken for chance.
const CHANCE: u32 = 1;

impl Pass<'_> {
    /// Nothing advances automatically in an incident: a person may do it.
    pub(super) fn incident(&mut self) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let found = self.look().map(|look| look.judgement.incident.clone());
        let incident = match (found, &run.incident) {
            (Some(Some(incident)), _) => incident,
            (Some(None), None) | (None, None) => return None,
            (Some(None), Some(known)) => {
                let known = known.clone();
                return self.incident_over(&known);
            }
            // No look since the share was lowered: it continues.
            (None, Some(known)) => {
                let (reason, message) = (Reason::GlobalIncident, known.message.clone());
                return self.frozen_by(reason, message);
            }
        };
        self.notice(&incident);
        if incident.after_raise
            && !self.state.run.as_ref().is_some_and(|run| run.incident.as_ref().is_some_and(|known| known.stepped_back))
            && let Some(stance) = self.step_back(&incident)
        {
            return Some(stance);
        }
        let message = format!("both versions are hit: {}; {}", incident.message, self.waits());
        self.frozen_by(Reason::GlobalIncident, message)
    }

    /// The stance of a frozen weight; none where a person has spoken, or speaks now.
    fn frozen_by(&mut self, why: Reason, message: String) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let commanded = run.intent.as_ref().is_some_and(|intent| intent.expires.is_none() && !intent.restores);
        if commanded || self.promote.is_some() || run.pause.is_some() || run.plan.paused {
            return None;
        }
        if let Some(run) = &mut self.state.run {
            run.intent = None; // what was proved before it is judged again afterwards
        }
        Some(self.stance(Phase::Holding, why, message))
    }

    fn waits(&self) -> String {
        format!(
            "the weight and the step's clock stand still until {CLEAN} windows in a row are clean; `{}` ends it",
            self.command_line("abort --reason TEXT")
        )
    }

    /// Told once; the clock stands still from now on.
    fn notice(&mut self, incident: &Incident) {
        let message = format!("both versions are hit: {}", incident.message);
        let (now, share) = (self.now, self.state.run.as_ref().map_or(Share::NONE, |run| run.share));
        let Some(run) = &mut self.state.run else { return };
        if run.incident.is_some() {
            return;
        }
        let since = incident.since.max(run.since.unwrap_or(now)).min(now);
        run.incident = Some(InIncident { since, message: bounded(&message), stepped_back: false });
        // A pause stood still until here; from here on it is the incident that does.
        if let Some(standing) = run.standing.take() {
            run.stopped += since.duration_since(standing).as_secs_f64().max(0.0);
        }
        let next = format!("{}; `{}` continues anyway", self.waits(), self.command_line("promote"));
        self.record(Outcome::Held, Reason::GlobalIncident, format!("{message}; the canary stays at {}", share.words()), next, None);
    }

    /// Right after a raise the canary may be the cause, through what both versions use: back to the traffic of the step before.
    fn step_back(&mut self, incident: &Incident) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let index = run.step.filter(|_| !run.share.is_none())?;
        let before = index.checked_sub(1).and_then(|before| run.plan.steps.get(before)).cloned();
        let share = before.as_ref().map_or(Share::NONE, Step::share);
        let view = self.seen.route.as_ref().ok()?;
        let whole = run.present().is_some_and(|step| step.share() == run.share);
        // A person's lower share, or a write that is under way, is not raised by this.
        if share == run.share || !(whole || run.share.covers(share)) || view.found(&run.canary.name) != run.share {
            return None;
        }
        let message = format!(
            "right after the canary got {} both versions were hit, and it may be the cause through something that both use: back to {}; {}",
            run.share.words(),
            share.words(),
            incident.message
        );
        Some(self.lower_to(share, before.as_ref(), Reason::GlobalIncident, message))
    }

    /// The step back is there: the step before it is judged again, and so is the way up.
    pub(super) fn stepped_back(&mut self, share: Share) {
        let (now, command) = (self.now, self.command_line("abort --reason TEXT"));
        let seen = self.seen.look.as_ref().and_then(|look| look.judgement.incident.as_ref());
        let message = seen.map_or_else(|| "both versions are hit".to_owned(), |seen| format!("both versions are hit: {}", seen.message));
        let message = format!("{}; {}", bounded(&message), self.waits());
        let Some(run) = &mut self.state.run else { return };
        run.incident = Some(InIncident { since: now, message, stepped_back: true });
        run.stepped_back = run.stepped_back.saturating_add(1);
        if run.stepped_back > CHANCE && run.pause.is_none() {
            let message = format!(
                "for the second time both versions were hit right after the canary's share was raised: it is at {} and not raised again automatically; `{command}` ends it",
                share.words()
            );
            run.pause = Some(Pause { reason: Reason::GlobalIncident.into(), message: message.clone(), since: now, by: None });
            let next = format!("look at what both versions use; `{}` continues", self.command_line("resume"));
            self.record(Outcome::Paused, Reason::GlobalIncident, message, next, None);
        }
    }

    /// Stable is as it was before: the step continues, and what it proves is proved again.
    fn incident_over(&mut self, known: &InIncident) -> Option<Stance> {
        let lasted = self.now.duration_since(known.since).as_secs_f64().max(0.0);
        let now = self.now;
        if let Some(run) = &mut self.state.run {
            run.incident = None;
            run.frozen += lasted;
            // A pause continues from here: what was before is in the time of the incident.
            run.standing = (run.pause.is_some() || run.plan.paused).then_some(now);
            if run.present().is_some_and(|step| step.split.weight >= 100) {
                return None; // a person went on to where nothing can be compared
            }
        }
        let message = format!("stable is as it was before for {CLEAN} windows: the rollout continues after {}", time(lasted));
        self.record(Outcome::Resumed, Reason::GlobalIncident, message, "the step's proof restarts".to_owned(), None);
        None
    }

    /// Canary's traffic down to that of a step before, without a verdict; the reason rides on the write.
    fn lower_to(&mut self, share: Share, step: Option<&Step>, reason: Reason, message: String) -> Stance {
        let stance = self.lower(reason, message);
        if let (Act::Lower(wanted), Some(step)) = (&mut self.act, step) {
            (wanted.claim.share, wanted.claim.step, wanted.matches) = (share, Some(step.name.clone()), step.split.matches.clone());
        }
        stance
    }
}
