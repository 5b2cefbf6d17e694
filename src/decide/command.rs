//! What a person says. Everything is answered: taken, or refused with the reason.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Pass, down::actor, words::bounded};
use crate::api::{Actor, Outcome, Reason, RejectedCommand};
use crate::command::{Command, Verb};
use crate::state::Pause;

impl Pass<'_> {
    /// Looks at every command not handled yet, abort first. Abort and promote take effect later in the pass.
    pub(super) fn take_commands(&mut self) {
        for command in &self.seen.commands {
            match command {
                Ok(command) => self.take(command),
                Err(refused) => {
                    let by = Actor {
                        name: refused.by.clone().unwrap_or_else(|| "somebody".to_owned()),
                        manager: refused.manager.clone(),
                        reason: None,
                    };
                    self.answer(refused.verb, &refused.id, refused.reason.clone(), by);
                }
            }
        }
    }

    fn take(&mut self, command: &Command) {
        let by = actor(command);
        if self.state.handled.get(command.verb.name()) == Some(&command.id) {
            return;
        }
        let Some(run) = &self.state.run else {
            return match command.verb {
                Verb::Retry => self.retry(command, by),
                Verb::Rollback => self.rollback = Some(command.clone()),
                _ => self.answer(command.verb, &command.id, "nothing is being rolled out".to_owned(), by),
            };
        };
        if run.down.is_some() && command.verb != Verb::Abort {
            return self.answer(command.verb, &command.id, "the rollout is on its way back".to_owned(), by);
        }
        match command.verb {
            Verb::Abort => self.abort = Some(command.clone()),
            Verb::Rollback => {
                let why = format!("a rollout is under way: `{}` returns the traffic to stable", self.command_line("abort --reason TEXT"));
                self.answer(command.verb, &command.id, why, by);
            }
            Verb::Retry => self.answer(command.verb, &command.id, "the rollout is under way: there is nothing to retry".to_owned(), by),
            Verb::Pause => self.pause(command, by),
            Verb::Resume => self.resume(command, by),
            Verb::Promote => self.accept_promote(command, by),
        }
    }

    /// A command that is refused is recorded, so that it never runs later.
    pub(super) fn answer(&mut self, verb: Verb, id: &str, why: String, by: Actor) {
        self.state.handled.insert(verb.name().to_owned(), id.to_owned());
        let message = format!("{} was refused: {why}", verb.name());
        let rejected = RejectedCommand { id: id.to_owned(), message: bounded(&message), at: Time(self.now) };
        self.state.rejected.insert(verb.name().to_owned(), rejected);
        self.record(
            Outcome::CommandRefused,
            Reason::CommandRefused,
            message,
            format!("{} shows where it stands", self.command_line("status")),
            Some(by),
        );
    }

    fn retry(&mut self, command: &Command, by: Actor) {
        let wanted = self.seen.plan.as_ref().map(|plan| plan.canary.name().to_owned()).unwrap_or_default();
        let hashes = self.seen.versions.get(&wanted).map(|seen| seen.revisions.clone()).unwrap_or_default();
        let refused: Vec<_> = self.state.refused.iter().filter(|refused| hashes.contains(&refused.revision)).cloned().collect();
        let passed = self.state.ended.as_ref().is_some_and(|ended| ended.outcome == Outcome::Passed && ended.canary.name == wanted);
        if refused.is_empty() && !passed {
            return self.answer(Verb::Retry, &command.id, format!("no revision behind {wanted} is refused"), by);
        }
        self.state.epoch += 1;
        if passed {
            self.state.ended = None;
        }
        for refused in refused {
            self.state.retried.insert(refused.revision.clone(), self.state.epoch.max(refused.epoch + 1));
            self.state.refused.retain(|kept| kept.revision != refused.revision);
        }
        while self.state.retried.len() > 20 {
            self.state.retried.pop_first();
        }
        self.state.handled.insert("retry".to_owned(), command.id.clone());
        self.record(
            Outcome::Retried,
            Reason::AsPlanned,
            format!("{wanted} may be retried"),
            "it starts at the first step".to_owned(),
            Some(by),
        );
    }

    fn pause(&mut self, command: &Command, by: Actor) {
        self.state.handled.insert("pause".to_owned(), command.id.clone());
        let message = format!("paused by {}: {}", by.name, command.reason.as_deref().unwrap_or("no reason given"));
        let now = self.now;
        if let Some(run) = &mut self.state.run
            && run.pause.is_none()
        {
            run.pause = Some(Pause { reason: Reason::ManualPause.into(), message: message.clone(), since: now, by: Some(by.clone()) });
            run.intent = None;
        }
        self.record(Outcome::Paused, Reason::ManualPause, message, format!("`{}` continues", self.command_line("resume")), Some(by));
    }

    fn resume(&mut self, command: &Command, by: Actor) {
        let paused = self.state.run.as_ref().and_then(|run| run.pause.clone());
        let Some(pause) = paused else {
            let declared = self.seen.plan.as_ref().is_ok_and(|plan| plan.paused);
            let why = if declared { "spec.paused is true: set it to false in the manifest" } else { "it is not paused" };
            return self.answer(Verb::Resume, &command.id, why.to_owned(), by);
        };
        if pause.reason == Reason::ApprovalRequired {
            let step = self.state.run.as_ref().and_then(|run| run.coming()).map(|(_, step)| step.name.clone()).unwrap_or_default();
            let why = format!("the step waits for an approval: `{}` gives it", self.command_line(&format!("promote --step {step}")));
            return self.answer(Verb::Resume, &command.id, why, by);
        }
        self.state.handled.insert("resume".to_owned(), command.id.clone());
        self.unpause();
        let mut message = format!("resumed by {}", by.name);
        if self.seen.plan.as_ref().is_ok_and(|plan| plan.paused) {
            message.push_str("; spec.paused is still true, and only an edit of the manifest ends that");
        }
        self.record(Outcome::Resumed, Reason::AsPlanned, message, "the step continues, and its evidence is kept".to_owned(), Some(by));
    }

    /// Ends a pause.
    pub(super) fn unpause(&mut self) {
        if let Some(run) = &mut self.state.run {
            run.pause = None;
        }
    }

    /// The step's deadline stands still while a command or `spec.paused` pauses it; in an incident of both versions it does anyway.
    pub(super) fn stand_still(&mut self) {
        let now = self.now;
        let Some(run) = &mut self.state.run else { return };
        let paused = (run.pause.is_some() || run.plan.paused) && run.incident.is_none();
        match (paused, run.standing) {
            (true, None) => run.standing = Some(run.pause.as_ref().map_or(now, |pause| pause.since)),
            (false, Some(since)) => {
                run.stopped += now.duration_since(since).as_secs_f64().max(0.0);
                run.standing = None;
            }
            _ => {}
        }
    }

    fn accept_promote(&mut self, command: &Command, by: Actor) {
        let Some(run) = &self.state.run else { return };
        let names = [run.present().map(|step| step.name.clone()), run.coming().map(|(_, step)| step.name.clone())];
        if let Some(named) = &command.step
            && !names.iter().flatten().any(|name| name == named)
        {
            let present = run.present().map_or_else(|| "none yet".to_owned(), |step| step.name.clone());
            let coming = run.coming().map_or_else(String::new, |(_, step)| format!(" and the next one {}", step.name));
            let why = format!("it names step {named}, but the present step is {present}{coming}");
            return self.answer(Verb::Promote, &command.id, why, by);
        }
        if let Some(pause) = &run.pause
            && pause.reason != Reason::ApprovalRequired
        {
            let why = format!("it is paused ({}): `{}` first", pause.reason, self.command_line("resume"));
            return self.answer(Verb::Promote, &command.id, why, by);
        }
        if run.unavailable.is_some() {
            return self.answer(Verb::Promote, &command.id, "the canary has no ready endpoint".to_owned(), by);
        }
        if run.intent.is_some() {
            return self.answer(Verb::Promote, &command.id, "the next step is being set already".to_owned(), by);
        }
        self.promote = Some(command.clone());
    }
}
