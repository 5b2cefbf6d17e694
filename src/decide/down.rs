//! What leads down: a person's abort, evidence that the canary is worse, lost pods. One write, the latch rides on it.

use super::{
    Act, Pass,
    unreached::lost_words,
    words::{bounded, version},
};
use crate::api::{Actor, AnyReason, Destination, Outcome, Phase, Reason, Verdict, Version};
use crate::command::{Command, Verb};
use crate::plan::{Share, Step};
use crate::route::{Claim, Latch, RouteFault, Wanted};
use crate::seen::{Holder, Look};
use crate::state::{Down, Stance};
use crate::words::{NOTHING_WRITTEN, time};

/// After so many seconds of readiness a canary that lost its pods comes back, once.
const COME_BACK: f64 = 60.0;
/// A canary without pods for so many seconds has failed.
const GIVE_UP: f64 = 600.0;

impl Pass<'_> {
    /// A person said abort: before anything else.
    pub(super) fn aborted(&mut self) -> Option<Stance> {
        let command = self.abort.take()?;
        let by = actor(&command);
        let why = command.reason.clone().unwrap_or_else(|| "no reason given".to_owned());
        let message = format!("{} was aborted by {}: {why}", self.canary_words(), by.name);
        Some(self.down(Down {
            outcome: Outcome::Aborted,
            reason: Reason::Aborted.into(),
            message,
            by: Some(by),
            command: Some(command.id),
            force: command.force,
            blocked: None,
        }))
    }

    /// A way down that is in status because it could not be written yet.
    pub(super) fn going_down(&mut self) -> Option<Stance> {
        let down = self.state.run.as_ref()?.down.clone()?;
        Some(self.down(down))
    }

    /// The line that decides a rollback: the judge says Fail.
    pub(super) fn failed(&mut self) -> Option<Stance> {
        let look = self.look()?;
        let judgement = &look.judgement;
        if judgement.verdict != Verdict::Fail {
            return None;
        }
        let worst = judgement.metrics.iter().find(|metric| metric.verdict == Verdict::Fail).or(judgement.metrics.first());
        let what = worst.map_or_else(
            || "the metrics together".to_owned(),
            |metric| match metric.message.starts_with(&metric.metric) {
                true => metric.message.clone(),
                false => format!("{}: {}", metric.metric, metric.message),
            },
        );
        let lost = look.unanswered.as_ref().map_or_else(String::new, |lost| format!("; {}", lost_words(lost)));
        let message = format!("{} is worse than {}{}: {what}{lost}", self.canary_words(), self.stable_words(), self.kind_words());
        Some(self.roll_back(Reason::AnalysisFailed, message))
    }

    /// Takes the traffic back without a person.
    pub(super) fn roll_back(&mut self, reason: Reason, message: String) -> Stance {
        let promotes = self.state.run.as_ref().is_none_or(|run| run.plan.promotes());
        self.down(Down {
            outcome: if promotes { Outcome::RolledBack } else { Outcome::Failed },
            reason: reason.into(),
            message,
            by: None,
            command: None,
            force: false,
            blocked: None,
        })
    }

    /// One write: stable 100 and the latch. Only while stable is not there, or the write is refused, the decision goes to status first.
    pub(super) fn down(&mut self, down: Down) -> Stance {
        let Some(run) = &self.state.run else { return self.stance(Phase::Idle, Reason::AsPlanned, "nothing is rolled out") };
        let (stable, canary) = (run.stable.name.clone(), run.canary.clone());
        let stored = run.down.as_ref().and_then(|stored| stored.blocked.clone());
        if let Holder::Other(other) = &self.seen.holder {
            let what = format!("the route is Rollout {other}'s, {NOTHING_WRITTEN}");
            return self.unwritten(down, Reason::Conflict, &what, "nothing");
        }
        let view = match &self.seen.route {
            Ok(view) => view,
            Err(fault @ RouteFault::NotFound(object)) => {
                let (what, fix) = (format!("{object} is gone, {NOTHING_WRITTEN}"), format!("restore {object}"));
                return self.unwritten(down, fault.reason(), &what, &fix);
            }
            Err(fault) => {
                let message = format!("{}, but the route cannot be written: {fault}", down.message);
                return self.blocked(down, Reason::RouteRefused, message);
            }
        };
        let found = view.found(&canary.name);
        if found.reaches_users() && self.ready(&stable) == 0 && self.ready(&canary.name) > 0 && !down.force {
            let message = format!(
                "{}; but {stable} has no ready endpoint and {} has, so traffic is not moved yet: it moves in the moment a pod of {stable} is ready ({} moves it now)",
                down.message,
                canary.name,
                self.command_line("abort --reason TEXT --force")
            );
            return self.blocked(down, Reason::StableUnavailable, message);
        }
        if let Some(refusal) = &self.seen.refusal
            && stored.is_none_or(|stored| stored != Reason::RouteRefused)
        {
            let message = format!("{}; but {} refuses the write ({refusal}): retried every second", down.message, view.object);
            return self.blocked(down, Reason::RouteRefused, message);
        }
        let epoch = self.state.epoch + 1;
        self.act = Act::Lower(self.wanted(Share::NONE, None, epoch, Some(latch(&canary, &down, epoch))));
        self.wake_in(if self.seen.refusal.is_some() { 1.0 } else { 0.05 });
        self.stance(Phase::RollingBack, Reason::AsPlanned, down.message)
    }

    /// There is nothing of ours to write to: the decision itself must not be lost, so status is where it stands.
    fn unwritten(&mut self, down: Down, why: Reason, what: &str, fix: &str) -> Stance {
        let message = format!("{}; {what}", down.message);
        let Some(canary) = self.state.run.as_ref().map(|run| run.canary.clone()) else { return self.stalled(Phase::Idle, why, message) };
        self.handle(&down);
        self.state.epoch += 1;
        self.refuse(&latch(&canary, &down, self.state.epoch));
        let next = format!("{fix}; {} is refused until its pods change or `{}`", version(&canary), self.command_line("retry"));
        self.record(down.outcome, down.reason.clone(), message.clone(), next, down.by.clone());
        self.end(down.outcome, down.reason.clone(), message.clone());
        self.stalled(phase_of(down.outcome), why, message)
    }

    /// The command that asked for it is answered.
    fn handle(&mut self, down: &Down) {
        if let Some(id) = &down.command {
            self.state.handled.insert(verb_of(&down.reason).name().to_owned(), id.clone());
        }
    }

    fn blocked(&mut self, down: Down, why: Reason, message: String) -> Stance {
        self.wake_in(1.0);
        let stored = self.state.run.as_ref().and_then(|run| run.down.as_ref()).and_then(|down| down.blocked.as_ref());
        if stored.is_none_or(|stored| *stored != why) {
            self.handle(&down);
            let next = match why {
                Reason::StableUnavailable => {
                    format!("bring stable's pods back, or `{}`", self.command_line("abort --reason TEXT --force"))
                }
                _ => match &self.seen.route {
                    Err(_) => "make the route fit again, as this text says: the write follows within a second".to_owned(),
                    Ok(_) => "fix whatever rejects the write, or set the weights by hand; the server's reply is above".to_owned(),
                },
            };
            self.record(Outcome::Held, why, message.clone(), next, down.by.clone());
            if let Some(run) = &mut self.state.run {
                run.intent = None;
                run.down = Some(Down { blocked: Some(why.into()), ..down });
            }
        }
        let mut stance = self.stalled(Phase::RollingBack, why, message.clone());
        stance.traffic = (false, why, message);
        stance
    }

    /// The canary has no ready endpoint: weight 0 at once, no verdict needed. It comes back once.
    pub(super) fn canary_lost(&mut self) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let name = run.canary.name.clone();
        let ready = self.ready(&name);
        let found = self.seen.route.as_ref().ok()?.found(&name);
        if ready == 0 && !found.is_none() {
            let what = if found.reaches_users() { "go to stable" } else { "end" };
            let message = format!("{} has no ready endpoint: its {} {what} at once", self.canary_words(), found.words());
            return Some(self.lower(Reason::CanaryUnavailable, message));
        }
        let lost = run.unavailable.clone()?;
        let gone = self.now.duration_since(lost.since).as_secs_f64();
        let losses = run.losses;
        if losses >= 2 {
            let message = format!("{} lost all of its pods a second time", self.canary_words());
            return Some(self.roll_back(Reason::CanaryUnavailable, message));
        }
        let back = self.seen.versions.get(&name).and_then(|seen| seen.ready_since()).filter(|_| ready > 0);
        let steady = back.map(|since| self.now.duration_since(since.max(lost.since)).as_secs_f64());
        match steady {
            Some(steady) if steady >= COME_BACK => {
                if let Some(run) = &mut self.state.run {
                    run.unavailable = None;
                }
                None
            }
            None if gone >= GIVE_UP => {
                let message = format!("{} has had no ready endpoint for {}", self.canary_words(), time(gone));
                Some(self.roll_back(Reason::CanaryUnavailable, message))
            }
            steady => {
                let left = steady.map_or(GIVE_UP - gone, |steady| COME_BACK - steady);
                self.wake_in(left);
                let what = if steady.is_some() { "its share comes back after" } else { "it counts as failed after" };
                let declared = self.seen.versions.get(&name).is_some_and(|seen| seen.declared);
                let lost = match (declared, self.state.run.as_ref().is_some_and(|run| run.canary.subset.is_some())) {
                    (true, _) => "lost its pods",
                    (false, true) => "is a subset that no DestinationRule has any more",
                    (false, false) => "is a Service that does not exist any more",
                };
                let mut message = format!("{} {lost}; {what} {} more", self.canary_words(), time(left));
                if steady.is_none() {
                    message.push_str(&format!("; bring them back, or `{}`", self.command_line("abort --reason TEXT")));
                }
                Some(self.stance(Phase::Holding, Reason::CanaryUnavailable, message))
            }
        }
    }

    /// Canary's weight to 0 without a decision; the reason rides on the write.
    pub(super) fn lower(&mut self, reason: Reason, message: String) -> Stance {
        let stable = self.state.run.as_ref().map(|run| run.stable.name.clone()).unwrap_or_default();
        let canary = self.state.run.as_ref().map(|run| run.canary.name.clone()).unwrap_or_default();
        let reaches = self.seen.route.as_ref().is_ok_and(|view| view.found(&canary).reaches_users());
        if reaches && self.ready(&stable) == 0 && self.ready(&canary) > 0 {
            self.wake_in(1.0);
            let message = format!("{message}; but {stable} has no ready endpoint, so nothing is moved yet");
            return self.stalled(Phase::RollingBack, Reason::StableUnavailable, message);
        }
        let epoch = self.state.epoch + 1;
        let mut wanted = self.wanted(Share::NONE, None, epoch, None);
        wanted.claim.lowered = Some(reason.into());
        self.act = Act::Lower(wanted);
        self.wake_in(if self.seen.refusal.is_some() { 1.0 } else { 0.05 });
        self.stance(Phase::Holding, reason, message)
    }

    /// The share wanted, with the matches of a step, and the claim that rides on it. A latch of another revision is kept on the way down.
    pub(super) fn wanted(&self, share: Share, step: Option<&Step>, epoch: i64, latch: Option<Latch>) -> Wanted {
        let found = self.seen.route.as_ref().ok().and_then(|view| view.claim.clone());
        let run = self.state.run.as_ref();
        let canary = run.map(|run| run.canary.clone());
        let (name, revision) = canary.as_ref().map(|canary| (canary.name.clone(), canary.revision.clone())).unwrap_or_default();
        let destination = canary.map_or_else(|| Destination::Subset(String::new()), |canary| canary.destination());
        let kept = found.as_ref().and_then(|claim| claim.latch.clone()).filter(|_| share.is_none());
        Wanted {
            stable: run.map(|run| run.stable.name.clone()).unwrap_or_default(),
            canary: name,
            matches: step.map(|step| step.split.matches.clone()).unwrap_or_default(),
            claim: Claim {
                rollout: self.seen.name.clone(),
                uid: self.seen.uid.clone(),
                epoch,
                canary: destination,
                revision,
                step: step.map(|step| step.name.clone()),
                share,
                own: None,
                lowered: None,
                latch: latch.or(kept),
                original: found.map(|claim| claim.original).unwrap_or_default(),
            },
        }
    }

    /// The newest look, if it is of the present step and weight.
    pub(super) fn look(&self) -> Option<&Look> {
        let key = self.state.run.as_ref()?.key();
        self.seen.look.as_ref().filter(|look| look.key == key)
    }

    /// Stable in words.
    pub(super) fn stable_words(&self) -> String {
        self.state.run.as_ref().map(|run| super::words::version(&run.stable)).unwrap_or_default()
    }
}

fn latch(canary: &Version, down: &Down, epoch: i64) -> Latch {
    Latch {
        revision: canary.revision.clone(),
        canary: canary.destination(),
        epoch,
        outcome: down.outcome,
        reason: down.reason.clone(),
        message: bounded(&down.message),
        by: down.by.clone(),
        command: down.command.clone(),
    }
}

/// Who sent a command.
pub(super) fn actor(command: &Command) -> Actor {
    Actor {
        name: command.by.clone().unwrap_or_else(|| "somebody".to_owned()),
        manager: command.manager.clone(),
        reason: command.reason.clone(),
    }
}

/// The command behind a way down.
pub(super) fn verb_of(reason: &AnyReason) -> Verb {
    if *reason == Reason::RolledBackAfterPromotion { Verb::Rollback } else { Verb::Abort }
}

/// The phase after an outcome.
pub(super) fn phase_of(outcome: Outcome) -> Phase {
    match outcome {
        Outcome::Promoted => Phase::Promoted,
        Outcome::Passed => Phase::Passed,
        Outcome::Failed => Phase::Failed,
        Outcome::RolledBack => Phase::RolledBack,
        Outcome::Aborted => Phase::Aborted,
        _ => Phase::Idle,
    }
}
