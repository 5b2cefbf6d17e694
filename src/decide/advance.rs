//! What leads up: room, a look that passes, a person, the deadline's policy. First the intent in status, then the route.

use jiff::{SignedDuration, Timestamp};

use super::{
    Act, BAKE_REQUESTS, HOLD_WINDOWS, Pass,
    down::actor,
    look::{crossed, expiry, held, incomparable, open_threshold, passed_words, passes, waiting_for},
    room::unwritable,
    words::version,
};
use crate::api::{Actor, OnInconclusive, Outcome, Phase, Reason};
use crate::plan::{Share, Step};
use crate::seen::Look;
use crate::state::{Intent, Pause, Run, Stance};
use crate::words::time;

/// A hold past its deadline is reported again after a day.
const TELL_AGAIN: SignedDuration = SignedDuration::from_hours(24);
/// Metrics that are away for so long are told.
const METRICS_AWAY: f64 = 60.0;

/// So many seconds pass before a raise that was refused is retried.
pub(crate) const RETRY_REFUSED: f64 = 30.0;

impl Pass<'_> {
    /// The newest look goes into the state, for the checkpoint; metrics that are away are noticed.
    pub(super) fn keep_evidence(&mut self) {
        let now = self.now;
        let problem = self.seen.config_problem.as_ref().or_else(|| self.seen.look.as_ref().and_then(|look| look.problem.as_ref()));
        let away = problem.filter(|problem| problem.unavailable).cloned();
        let look = self.look().map(|look| (look.evidence.clone(), look.window_end));
        let Some(run) = &mut self.state.run else { return };
        if let Some((evidence, Some(end))) = look {
            run.evidence = Some(evidence);
            run.evidence_until = Some(end);
        }
        match away {
            None => (run.metrics_lost, run.metrics_told) = (None, false),
            Some(problem) => {
                let since = *run.metrics_lost.get_or_insert(now);
                if now.duration_since(since).as_secs_f64() >= METRICS_AWAY && !run.metrics_told {
                    run.metrics_told = true;
                    let (share, exposed) = (run.share.words(), run.exposed.is_some());
                    let (message, next) = if exposed {
                        let next = format!(
                            "it continues automatically; `{}` returns the traffic to stable",
                            self.command_line("abort --reason TEXT")
                        );
                        let stays = format!("the canary's share stays at {share}, and nothing is decided without data");
                        (format!("{}; {stays}", problem.message), next)
                    } else {
                        let next = "it starts automatically once stable can be measured".to_owned();
                        (format!("{}; no user sees the canary before stable can be measured", problem.message), next)
                    };
                    self.record(Outcome::Held, problem.reason, message, next, None);
                }
            }
        }
    }

    /// A raise that is decided: it needs its finalizer, its room, and evidence that is not too old.
    pub(super) fn intended(&mut self) -> Option<Stance> {
        let run = self.state.run.as_ref()?;
        let intent = run.intent.clone()?;
        let step = run.plan.steps.get(intent.step)?.clone();
        if intent.expires.is_some_and(|expires| expires < self.now) {
            if let Some(run) = &mut self.state.run {
                run.intent = None;
            }
            return None;
        }
        if let Some(message) = self.no_room(&step) {
            return Some(self.held_for_room(message));
        }
        if let Some((why, message)) = self.in_the_way(&step) {
            return Some(self.held_by_route(why, message));
        }
        if let Some(words) = &self.seen.raise_refused {
            let object = self.seen.route.as_ref().map(|view| view.object.to_string()).unwrap_or_default();
            let message = format!(
                "{} cannot go to {}: {object} refuses the write ({words}); retried every 30 s",
                self.canary_words(),
                step.split.words()
            );
            self.wake_in(RETRY_REFUSED);
            return Some(self.held_by_route(Reason::RaiseRefused, message));
        }
        let message = format!("{} goes to {}", self.canary_words(), step.split.words());
        self.wake_in(0.05);
        if !self.seen.finalizer {
            self.act = Act::AddFinalizer;
        } else {
            self.act = Act::Raise(self.wanted(step.share(), Some(&step), intent.epoch, None));
        }
        Some(self.stance(Phase::Progressing, Reason::AsPlanned, message))
    }

    /// The route cannot have the next step's traffic: reported once for each step.
    fn held_by_route(&mut self, why: Reason, message: String) -> Stance {
        if let Some(run) = self.state.run.as_mut().filter(|run| !run.refusal_told) {
            run.refusal_told = true;
            let next = format!("it continues once the route takes the change; or `{}`", self.command_line("abort --reason TEXT"));
            self.record(Outcome::Held, why, message.clone(), next, None);
        }
        self.stalled(Phase::Holding, why, message)
    }

    /// Why this step's traffic cannot be written on the route as it is now.
    fn in_the_way(&self, step: &Step) -> Option<(Reason, String)> {
        let run = self.state.run.as_ref()?;
        let (why, mut message) = unwritable(self.seen.route.as_ref().ok()?, &run.canary.name, [step])?;
        if run.exposed.is_some() {
            message.push_str(&format!("; or `{}` ends it", self.command_line("abort --reason TEXT")));
        }
        Some((why, message))
    }

    /// On to the next weight, or why not yet.
    pub(super) fn advance(&mut self) -> Option<Stance> {
        let run = self.state.run.clone()?;
        Some(self.go_on_with(&run))
    }

    fn go_on_with(&mut self, run: &Run) -> Stance {
        if !self.seen.finalizer && run.exposed.is_some() {
            // Somebody took it away: without it a deleted Rollout leaves what is ours in the route.
            self.act = Act::AddFinalizer;
            self.wake_in(0.05);
            return self.stance(Phase::Progressing, Reason::AsPlanned, "the finalizer is put back");
        }
        if let Some(command) = self.promote.take() {
            return self.promoted_by(run, &command);
        }
        if run.plan.paused {
            let message = "spec.paused is true: nothing advances until an edit of the manifest sets it to false";
            return self.stance(Phase::Paused, Reason::ManualPause, message);
        }
        let asked = run.pause.as_ref().is_some_and(|pause| pause.reason == Reason::ApprovalRequired);
        if asked && run.coming().is_none_or(|(_, step)| !step.approval) {
            // An edit took the question away.
            self.unpause();
        } else if let Some(pause) = &run.pause {
            let known = [Reason::ApprovalRequired, Reason::ManualOverride, Reason::Contended, Reason::GlobalIncident];
            let why = known.into_iter().find(|why| pause.reason == *why);
            let verb = if pause.reason == Reason::ApprovalRequired { "promote" } else { "resume" };
            let message = format!("{}; `{}` continues", pause.message, self.command_line(verb));
            return self.stance(Phase::Paused, why.unwrap_or(Reason::ManualPause), message);
        }
        match run.present().cloned() {
            None => self.first_step(run),
            Some(step) if !run.share.covers(step.share()) => self.restore(run, &step),
            Some(step) => self.next_step(run, &step),
        }
    }

    fn first_step(&mut self, run: &Run) -> Stance {
        let Some(step) = run.plan.steps.first().cloned() else { return self.stance(Phase::Waiting, Reason::Invalid, "no steps") };
        if let Ok(view) = &self.seen.route
            && (view.share(&run.stable.name) != 100 || !view.found(&run.canary.name).is_none())
        {
            let message = format!("the route has {}, but stable must have 100 % before a rollout starts", view.words());
            return self.stalled(Phase::Waiting, Reason::UnexpectedWeights, message);
        }
        if let Some(message) = self.no_room(&step) {
            return Stance { phase: Phase::Waiting, ..self.held_for_room(message) };
        }
        if let Some((why, message)) = self.in_the_way(&step) {
            return Stance { phase: Phase::Waiting, ..self.held_by_route(why, message) };
        }
        if let Some(problem) = &self.seen.config_problem {
            return self.stalled(Phase::Waiting, problem.reason, problem.message.clone());
        }
        if !run.plan.analysis.metrics.is_empty() {
            if let Some(problem) = self.look().and_then(|look| look.problem.as_ref()) {
                let (why, message) =
                    (problem.reason, format!("no user sees the canary before stable can be measured: {}", problem.message));
                return self.stance(Phase::Waiting, why, message);
            }
            if !self.look().is_some_and(|look| look.ready) {
                return self.stance(Phase::Waiting, Reason::MetricsUnavailable, "stable's metrics are being looked for");
            }
        }
        if step.approval {
            return self.ask(run, &step);
        }
        self.intend(0, None, false);
        let mut message = format!("{} starts at {}, compared with {}", version(&run.canary), step.split.words(), version(&run.stable));
        if step.split.weight == 100 {
            message.push_str(" as it was before: no comparison before the switch; all users get it at once");
        }
        if let Some(manager) = self.seen.route.as_ref().ok().and_then(|view| view.gitops()) {
            message.push_str(&format!("; {manager} applies spec.http as well: it must ignore the weights (docs/gitops.md)"));
        }
        self.record(Outcome::Started, Reason::AsPlanned, message.clone(), self.what_comes(run, 0), None);
        self.stance(Phase::Progressing, Reason::AsPlanned, message)
    }

    /// Back to the weight of the present step: after lost pods, or after a person's resume.
    fn restore(&mut self, run: &Run, step: &Step) -> Stance {
        if let Some(message) = self.no_room(step) {
            return self.held_for_room(message);
        }
        if let Some((why, message)) = self.in_the_way(step) {
            return self.held_by_route(why, message);
        }
        self.intend(run.step.unwrap_or(0), None, true);
        let message = format!("{} goes back to {}, the traffic of its step", version(&run.canary), step.split.words());
        self.record(Outcome::Restored, Reason::AsPlanned, message.clone(), "the step continues".to_owned(), None);
        self.stance(Phase::Progressing, Reason::AsPlanned, message)
    }

    fn next_step(&mut self, run: &Run, step: &Step) -> Stance {
        let held = run.held(self.now).as_secs_f64();
        let hold = step.hold.as_secs_f64();
        let judged = run.plan.analysis.metrics.iter().any(|metric| step.asks(metric));
        if let Some((why, message)) = self.in_the_way(step) {
            return self.held_by_route(why, message);
        }
        let look = self.look().cloned();
        if judged && let Some(problem) = self.problem(look.as_ref(), run) {
            return self.past_deadline(run, step).unwrap_or_else(|| self.stance(Phase::Holding, problem.0, problem.1));
        }
        if let Some(why) = look.as_ref().filter(|_| judged).and_then(incomparable) {
            let message = format!("not comparable yet: {why}");
            return self.past_deadline(run, step).unwrap_or_else(|| self.stance(Phase::Holding, Reason::NotComparable, message));
        }
        let windows = if judged { look.as_ref().map_or(0, |look| look.judgement.windows) } else { self.seen.passes };
        if held < hold || windows < HOLD_WINDOWS {
            if hold > held {
                self.wake_in(if judged { hold - held } else { (hold - held).min(hold / f64::from(HOLD_WINDOWS)).max(0.2) });
            } else if !judged {
                self.wake_in(0.2);
            }
            let words = step.share().words();
            let message = format!("{words} for {} of {}, {windows} windows counted", time(held), time(hold));
            return self.hold_limit(run, look.as_ref()).unwrap_or_else(|| self.stance(Phase::Progressing, Reason::HoldTime, message));
        }
        if step.split.weight == 100 {
            return self.baked(run, step, look.as_ref(), judged);
        }
        let expires = look.as_ref().and_then(|look| expiry(look, run));
        let passed = !judged || look.as_ref().is_some_and(|look| passes(look, run));
        if passed && (!judged || expires.is_some_and(|expires| expires >= self.now)) {
            let room = run.coming().and_then(|(_, next)| self.no_room(next));
            return match room {
                Some(message) => self.past_deadline(run, step).unwrap_or_else(|| self.held_for_room(message)),
                None => self.go_on(run, expires.filter(|_| judged), None),
            };
        }
        if let Some(stance) = self.hold_limit(run, look.as_ref()) {
            return self.past_deadline(run, step).unwrap_or(stance);
        }
        self.past_deadline(run, step).unwrap_or_else(|| {
            let message = format!("{}: {}", step.share().words(), waiting_for(look.as_ref()));
            self.stance(Phase::Progressing, Reason::NotEnoughData, message)
        })
    }

    /// Decides the next step, or asks for its approval.
    fn go_on(&mut self, run: &Run, expires: Option<Timestamp>, by: Option<Actor>) -> Stance {
        let Some((index, next)) = run.coming().map(|(index, step)| (index, step.clone())) else {
            return match run.plan.promotes() {
                true => self.promote_now(run, "by a person before the bake was over".to_owned(), by),
                false => self.pass_now(by),
            };
        };
        if next.approval && by.is_none() {
            return self.ask(run, &next);
        }
        if let Some((why, message)) = self.in_the_way(&next) {
            return self.held_by_route(why, message);
        }
        let from = run.present().map_or_else(|| "start".to_owned(), |step| step.share().words());
        let approved = run.pause.as_ref().is_some_and(|pause| pause.reason == Reason::ApprovalRequired);
        let why = match &by {
            Some(by) if approved => format!("step {} approved by {}", next.name, by.name),
            Some(by) => format!("by {}", by.name),
            None => format!("{}{}", self.look().map_or_else(|| "the hold is over".to_owned(), passed_words), self.kind_words()),
        };
        let outcome = if run.step.is_none() { Outcome::Started } else { Outcome::Advanced };
        self.intend(index, expires, false);
        let message = format!("{} goes from {from} to {}: {why}", version(&run.canary), next.split.words());
        self.record(outcome, Reason::AsPlanned, message.clone(), self.what_comes(run, index), by);
        self.stance(Phase::Progressing, Reason::AsPlanned, message)
    }

    /// At 100 % there is no arm to compare with: the step is Baked, never passed.
    fn baked(&mut self, run: &Run, step: &Step, look: Option<&Look>, judged: bool) -> Stance {
        if let Some(stance) = self.hold_limit(run, look) {
            return stance;
        }
        if let Some(open) = look.filter(|_| judged).and_then(open_threshold) {
            let message = format!("100 %: {}", open.message);
            return self.past_deadline(run, step).unwrap_or_else(|| self.stance(Phase::Progressing, Reason::NotEnoughData, message));
        }
        let requests = look.map_or(0, |look| look.judgement.step_requests);
        if judged && requests < BAKE_REQUESTS {
            return self.past_deadline(run, step).unwrap_or_else(|| {
                let message = format!("100 %: {requests} of {BAKE_REQUESTS} requests seen");
                self.stance(Phase::Progressing, Reason::NotEnoughData, message)
            });
        }
        self.promote_now(run, format!("it served everybody for {}", time(run.held(self.now).as_secs_f64())), None)
    }

    fn promote_now(&mut self, run: &Run, why: String, by: Option<Actor>) -> Stance {
        let message = format!("{} is stable now: {why}", version(&run.canary));
        let needed = self.still_needed(&run.stable.name);
        let next = match until(self.now, run.plan.rollback_window) {
            Some(until) => format!(
                "keep {} running until {until}; until then `{}` returns to it immediately; {}",
                version(&run.stable),
                self.command_line("rollback --reason TEXT"),
                needed.unwrap_or_else(|| "after that it is no longer needed".to_owned())
            ),
            None => needed.unwrap_or_else(|| format!("{} is no longer needed", version(&run.stable))),
        };
        self.state.epoch += 1;
        self.record(Outcome::Promoted, Reason::AsPlanned, message.clone(), next, by);
        self.end(Outcome::Promoted, Reason::AsPlanned, message.clone());
        self.stance(Phase::Promoted, Reason::AsPlanned, message)
    }

    /// The last step has passed, and the canary is not to become stable: all of its traffic is taken away. The reason rides on that write.
    fn pass_now(&mut self, by: Option<Actor>) -> Stance {
        let message = self.passed_message(by.as_ref());
        let epoch = self.state.epoch + 1;
        let mut wanted = self.wanted(Share::NONE, None, epoch, None);
        wanted.claim.lowered = Some(Reason::Passed.into());
        self.act = Act::Lower(wanted);
        self.wake_in(if self.seen.refusal.is_some() { 1.0 } else { 0.05 });
        self.stance(Phase::Progressing, Reason::Passed, message)
    }

    /// How a rollout ended well that was not to become stable.
    pub(super) fn passed_message(&self, by: Option<&Actor>) -> String {
        let why = match (by, self.look()) {
            (Some(by), _) => format!("by {}", by.name),
            (None, Some(look)) => passed_words(look),
            (None, None) => "each step passed".to_owned(),
        };
        format!("{} has passed{}: {why}", self.canary_words(), self.kind_words())
    }

    fn promoted_by(&mut self, run: &Run, command: &crate::command::Command) -> Stance {
        self.state.handled.insert("promote".to_owned(), command.id.clone());
        self.unpause();
        let by = actor(command);
        let crossed: Vec<String> = self.look().into_iter().flat_map(crossed).map(|metric| metric.metric.clone()).collect();
        if let Some(run) = &mut self.state.run {
            // Another limit that is crossed later is reported separately.
            run.hold_told = run.hold_told && crossed.is_empty();
            run.accepted_limits.extend(crossed);
        }
        self.go_on(run, None, Some(by))
    }

    fn ask(&mut self, run: &Run, next: &Step) -> Stance {
        let said = match (run.step, self.look()) {
            (None, _) => "nothing of it was seen yet".to_owned(),
            (Some(_), Some(look)) => passed_words(look),
            (Some(_), None) => "the hold is over, and nothing is judged".to_owned(),
        };
        let message = format!("step {} ({}) asks for a person: {said}{}", next.name, next.split.words(), self.kind_words());
        let approve = self.command_line(&format!("promote --step {}", next.name));
        let now = self.now;
        if let Some(run) = &mut self.state.run {
            run.pause = Some(Pause { reason: Reason::ApprovalRequired.into(), message: message.clone(), since: now, by: None });
        }
        let next = format!("`{approve}` or `{}`", self.command_line("abort --reason TEXT"));
        self.record(Outcome::Paused, Reason::ApprovalRequired, message.clone(), next, None);
        let stance = self.stance(Phase::Paused, Reason::ApprovalRequired, message);
        debug_assert!(run.pause.is_none());
        stance
    }

    fn intend(&mut self, step: usize, expires: Option<Timestamp>, restores: bool) {
        self.state.epoch += 1;
        let epoch = self.state.epoch;
        if let Some(run) = &mut self.state.run {
            run.intent = Some(Intent { step, epoch, expires, restores });
        }
        self.wake_in(0.05);
    }

    /// What the deadline brings, once it has passed.
    fn past_deadline(&mut self, run: &Run, step: &Step) -> Option<Stance> {
        let (spent, deadline) = (run.spent(self.now), step.deadline.as_secs_f64());
        if spent < deadline {
            self.wake_in(deadline - spent);
            return None;
        }
        let look = self.look().cloned();
        let because = waiting_for(look.as_ref());
        let over = format!("{} for {}, past its deadline of {}", step.share().words(), time(spent), time(deadline));
        match step.on_inconclusive {
            OnInconclusive::Rollback => {
                let message = format!("{over}, and onInconclusive is Rollback: {because}");
                return Some(self.roll_back(Reason::DeadlineExceeded, message));
            }
            OnInconclusive::PromoteIfNoHarm if look.as_ref().is_some_and(|look| look.judgement.no_harm) => {
                let expires = look.as_ref().and_then(|look| expiry(look, run));
                if expires.is_some_and(|expires| expires >= self.now) {
                    let nobody = Actor { name: "onInconclusive: PromoteIfNoHarm, without proof".to_owned(), manager: None, reason: None };
                    return Some(self.go_on(run, expires, Some(nobody)));
                }
            }
            OnInconclusive::PromoteIfNoHarm | OnInconclusive::Hold => {}
        }
        let abort = self.command_line("abort --reason TEXT");
        // Where its requests do not arrive, more of them would be an outage: `promote` is not offered, and the reason stays.
        let lost = self.problem(look.as_ref(), run).filter(|(why, _)| *why == Reason::NoCanaryTraffic);
        let (why, message, next) = match lost {
            Some((why, problem)) => (why, format!("{over}: {problem}"), format!("`{abort}` returns the traffic to stable")),
            None => {
                let promote = self.command_line("promote");
                let message = format!("{over}: {because}; `{promote}` continues without proof, `{abort}` returns the traffic to stable");
                (Reason::DeadlineExceeded, message, format!("a later Pass still advances; `{promote}` or `{abort}`"))
            }
        };
        let due = run.deadline_told.is_none_or(|told| self.now.duration_since(told) >= TELL_AGAIN);
        if due {
            let now = self.now;
            if let Some(run) = &mut self.state.run {
                run.deadline_told = Some(now);
            }
            self.record(Outcome::Held, why, message.clone(), next, None);
        }
        Some(self.stalled(Phase::Holding, why, message))
    }

    /// A limit that holds was crossed: reported once; a person may accept it.
    fn hold_limit(&mut self, run: &Run, look: Option<&Look>) -> Option<Stance> {
        let open: Vec<String> = held(look?, run).map(|metric| metric.message.clone()).collect();
        if open.is_empty() {
            return None;
        }
        let what = open.join("; ");
        let message = format!("{what}: `{}` accepts it for this revision", self.command_line("promote"));
        if !run.hold_told {
            if let Some(run) = &mut self.state.run {
                run.hold_told = true;
            }
            let next = format!("`{}` or `{}`", self.command_line("promote"), self.command_line("abort --reason TEXT"));
            self.record(Outcome::Held, Reason::HoldLimit, message.clone(), next, None);
        }
        Some(self.stalled(Phase::Holding, Reason::HoldLimit, message))
    }

    /// Why the newest look cannot be used.
    fn problem(&self, look: Option<&Look>, run: &Run) -> Option<(Reason, String)> {
        if let Some(problem) = &self.seen.config_problem {
            return Some((problem.reason, problem.message.clone()));
        }
        if let Some(problem) = look.and_then(|look| look.problem.as_ref()) {
            let since = run.metrics_lost.map(|since| self.now.duration_since(since).as_secs_f64()).filter(|since| *since >= 1.0);
            let since = since.map_or_else(String::new, |since| format!(" for {}", time(since)));
            let (share, abort) = (run.share.words(), self.command_line("abort --reason TEXT"));
            let message =
                format!("{}{since}: {share} stays, it continues automatically; `{abort}` returns the traffic to stable", problem.message);
            return Some((problem.reason, message));
        }
        None
    }

    fn what_comes(&self, run: &Run, index: usize) -> String {
        let Some(step) = run.plan.steps.get(index) else { return String::new() };
        let what = match (index + 1 == run.plan.steps.len(), run.plan.promotes()) {
            (true, true) => "stable needs to stay at full size until it is promoted",
            (true, false) => "then everybody is at stable as before, and it has passed or failed",
            (false, _) => "then the next step if it passes",
        };
        format!(
            "{} for at least {}; {what}; {} must keep all of its pods",
            step.share().words(),
            time(step.hold.as_secs_f64()),
            run.stable.name
        )
    }
}

/// So long after a time, in whole seconds; nothing if it is no time at all.
fn until(now: Timestamp, window: std::time::Duration) -> Option<Timestamp> {
    let window = SignedDuration::try_from(window).ok().filter(|window| window.is_positive())?;
    Timestamp::from_second(now.checked_add(window).ok()?.as_second()).ok()
}
