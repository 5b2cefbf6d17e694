//! The way back after a promotion: `rollback`, within the window, while the version before is still there.

use super::{Pass, down::actor, words::version};
use crate::api::{Actor, Capacity, Destination, Outcome, Reason};
use crate::command::{Command, Verb};
use crate::plan::Share;
use crate::route::Latch;
use crate::seen::Holder;
use crate::state::{Down, Run, Stance};
use crate::words::time;

impl Pass<'_> {
    /// A person takes the promotion back: the version before gets everything in one write, with the latch on it.
    pub(super) fn undone(&mut self) -> Option<Stance> {
        let command = self.rollback.take()?;
        if let Err(why) = self.may_go_back() {
            self.answer(Verb::Rollback, &command.id, why, actor(&command));
            return None;
        }
        let promoted = self.state.promoted.clone()?;
        let by: Actor = actor(&command);
        let ago = time(self.now.duration_since(promoted.at).as_secs_f64());
        let why = command.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
        self.reopen();
        let mut message = format!("{} was rolled back by {}, {ago} after its promotion: {why}", self.canary_words(), by.name);
        let (ready, had) = (self.ready(&promoted.stable.name), self.ready(&promoted.canary.name));
        if ready < had {
            message.push_str(&format!("; {} has {ready} ready pods, {} had {had}", promoted.stable.name, promoted.canary.name));
        }
        let Command { id, .. } = command;
        Some(self.down(Down {
            outcome: Outcome::RolledBack,
            reason: Reason::RolledBackAfterPromotion.into(),
            message,
            by: Some(by),
            command: Some(id),
            force: false,
            blocked: None,
        }))
    }

    /// Why not, and what to do instead.
    fn may_go_back(&self) -> Result<(), String> {
        let Some(promoted) = &self.state.promoted else {
            return Err("there is no promotion to roll back".to_owned());
        };
        let before = &promoted.stable;
        let instead = format!("to have it again, set spec.canary.{} to {}", before.destination().field(), before.name);
        let window = match (&self.seen.plan, &promoted.plan) {
            (Ok(plan), _) | (Err(_), Some(plan)) => plan.rollback_window,
            (Err(faults), None) => return Err(format!("the manifest is not valid: {faults}")),
        };
        let passed = self.now.duration_since(promoted.at).as_secs_f64();
        if passed >= window.as_secs_f64() {
            let (promoted, window) = (version(&promoted.canary), time(window.as_secs_f64()));
            return Err(format!("{promoted} was promoted {} ago, and rollbackWindow is {window}: {instead}", time(passed)));
        }
        match (&self.seen.route, &self.seen.holder) {
            (Err(fault), _) => return Err(fault.to_string()),
            (Ok(view), Holder::Other(other)) => return Err(format!("Rollout {other} has claimed {}", view.called())),
            _ => {}
        }
        let seen = self.seen.versions.get(&before.name).filter(|seen| seen.declared);
        let Some(seen) = seen else {
            return Err(match before.destination() {
                Destination::Subset(name) => format!("no DestinationRule has subset {name} any more"),
                Destination::Service(name) => format!("there is no Service {name} any more"),
            });
        };
        let capacity = self.seen.plan.as_ref().map_or(Capacity::Proportional, |plan| plan.capacity);
        let need = match capacity {
            Capacity::Any => 1,
            Capacity::Proportional => self.ready(&promoted.canary.name).div_ceil(2).max(1),
        };
        match seen.revision() {
            Some(revision) if revision == before.revision => {}
            Some(revision) => return Err(format!("{} is {revision} now, another version: {instead}", version(before))),
            None if seen.revisions.is_empty() => {
                return Err(format!("{} has no pods any more: scale its Deployment to {need} replicas, then retry", version(before)));
            }
            None => return Err(format!("{} has pods of several revisions: wait until they settle, then retry", version(before))),
        }
        let ready = seen.ready();
        if ready < need {
            let scale = self.seen.scale_line(&before.name, need);
            return Err(format!("{} has {ready} ready pods, {need} are needed to serve everybody: {scale}, then retry", version(before)));
        }
        Ok(())
    }

    /// A latch on what was promoted: a rollback after the promotion was written, and its status was not stored.
    pub(super) fn undone_by(&self, latch: &Latch) -> bool {
        let serves =
            self.state.stable.as_ref().is_some_and(|stable| stable.revision == latch.revision && stable.name == latch.canary.name());
        self.state.run.is_none() && self.state.promoted.is_some() && serves
    }

    /// The rollout as it was at its promotion: the version before is stable, what serves now is the canary at 100 %.
    pub(super) fn reopen(&mut self) {
        let Some(promoted) = self.state.promoted.clone() else { return };
        let Some(plan) = promoted.plan.or_else(|| self.seen.plan.clone().ok()) else { return };
        let canary = self.state.stable.clone().unwrap_or(promoted.canary);
        let step = plan.steps.len().checked_sub(1);
        self.state.run = Some(Run {
            stable_pods: self.ready(&promoted.stable.name),
            step,
            share: Share::weight(100),
            read_back: self.state.epoch,
            ..Run::new(plan, promoted.stable, canary, promoted.at, self.state.epoch)
        });
    }

    /// Until when the version before is needed, in words; nothing if nobody could go back to it.
    pub(super) fn needed_until(&mut self) -> Option<String> {
        let promoted = self.state.promoted.as_ref()?;
        let window = self.seen.plan.as_ref().ok().or(promoted.plan.as_ref())?.rollback_window;
        let until = promoted.at.checked_add(jiff::SignedDuration::try_from(window).ok()?).ok()?;
        let left = until.duration_since(self.now).as_secs_f64();
        let before = promoted.stable.name.clone();
        if left <= 0.0 {
            return None;
        }
        self.wake_in(left + 0.1);
        let back = self.command_line("rollback --reason TEXT");
        // Whole seconds: the text stays the same until then.
        let until = jiff::Timestamp::from_second(until.as_second()).unwrap_or(until);
        Some(format!("keep {before} running until {until}; until then `{back}` returns to it immediately"))
    }
}
