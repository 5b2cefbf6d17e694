//! `promote`, `abort`, `rollback`, `retry`, `pause`, `resume`: an annotation bound to what was seen, then the controller's answer.

use std::time::Duration;

use clap::Args;
use kube::ResourceExt;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::{
    Exit, Failure,
    cluster::Cluster,
    output::{Output, Tone},
    screen,
    status::duration,
};
use crate::{
    api::{Phase, Reason, RejectedCommand, Rollout, RolloutStatus},
    command::{Request, Verb, annotation},
    view::{clauses, present_and_next, visible},
};

/// How often the object is read while waiting for the answer.
const PACE: Duration = Duration::from_millis(300);
/// How long an answer is waited for where nobody says how long.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct AskArgs {
    /// Name of the Rollout
    name: String,
    /// Why; goes into the decision record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How long to wait for the answer; 0s: not at all
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    wait: Duration,
}

#[derive(Debug, Args)]
pub(super) struct PromoteArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// Only if this is the step to begin, or the one that is under way
    #[arg(long, value_name = "NAME")]
    step: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct AbortArgs {
    /// Name of the Rollout
    name: String,
    /// Why; goes into the decision record
    #[arg(long, value_name = "TEXT", required = true)]
    reason: String,
    /// Even where stable has no ready endpoint: its users get errors
    #[arg(long)]
    force: bool,
    /// How long to wait for the answer; 0s: not at all
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    wait: Duration,
}

/// A command before it is bound to anything.
pub(super) struct Ask<'a> {
    verb: Verb,
    name: &'a str,
    reason: Option<&'a str>,
    step: Option<&'a str>,
    force: bool,
    wait: Duration,
}

impl<'a> Ask<'a> {
    pub(super) fn plain(verb: Verb, args: &'a AskArgs) -> Self {
        Self { verb, name: &args.name, reason: args.reason.as_deref(), step: None, force: false, wait: args.wait }
    }

    pub(super) fn promote(args: &'a PromoteArgs) -> Self {
        Self { step: args.step.as_deref(), ..Self::plain(Verb::Promote, &args.ask) }
    }

    pub(super) fn abort(args: &'a AbortArgs) -> Self {
        Self { verb: Verb::Abort, name: &args.name, reason: Some(&args.reason), step: None, force: args.force, wait: args.wait }
    }
}

pub(super) async fn run(ask: &Ask<'_>, cluster: &Cluster, output: &Output) -> Result<Exit, Failure> {
    let rollout = cluster.get(ask.name).await?;
    let given = give(ask, &rollout, cluster).await?;
    answered(ask, &given.id, &given.rollout, given.answer, output)
}

/// Gives a command about the Rollout as it was shown, and says in a line what the controller made of it.
pub(super) async fn say(verb: Verb, reason: Option<&str>, shown: &Rollout, cluster: &Cluster) -> Result<(Tone, String), Failure> {
    let name = shown.name_any();
    let ask = Ask { verb, name: &name, reason, step: None, force: false, wait: ANSWER };
    let given = give(&ask, shown, cluster).await?;
    let (_, tone, word) = given.answer.said();
    let rejected = rejected(verb, &given.id, &given.rollout);
    let why = rejected.map_or_else(String::new, |rejected| format!(": {}", visible(&rejected.message)));
    Ok((tone, format!("{verb} {word}{why}")))
}

/// A command that was written.
struct Given {
    id: String,
    rollout: Rollout,
    answer: Answer,
}

/// Writes the command, bound to what was shown, and waits for its answer.
async fn give(ask: &Ask<'_>, shown: &Rollout, cluster: &Cluster) -> Result<Given, Failure> {
    let empty = RolloutStatus::default();
    sensible(ask, shown, shown.status.as_ref().unwrap_or(&empty))?;
    let id = new_id()?;
    let request = request(ask, shown, &id, cluster.user.clone());
    let (key, value) = annotation(ask.verb, &request);
    let written = cluster.annotate(ask.name, &key, &value).await?;
    if ask.wait.is_zero() {
        return Ok(Given { id, rollout: written, answer: Answer::NotAwaited });
    }
    let waiting = handled(ask, &id, &value, cluster);
    let (rollout, answer) = match tokio::time::timeout(ask.wait, waiting).await {
        Ok(waited) => waited?,
        Err(_) => (written, Answer::None),
    };
    Ok(Given { id, rollout, answer })
}

/// Sixteen random hex digits.
fn new_id() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::new(Exit::Error, "the system gives no random numbers for the command's id", ""))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

/// The value of the annotation: bound to the uid, the epoch and the step that were seen, or the step that was named.
fn request(ask: &Ask<'_>, rollout: &Rollout, id: &str, by: Option<String>) -> Request {
    let status = rollout.status.as_ref();
    Request {
        id: Some(id.into()),
        uid: rollout.uid(),
        epoch: Some(status.map_or(0, |status| status.epoch)),
        step: ask.step.map(str::to_owned).or_else(|| present_and_next(rollout).0),
        reason: ask.reason.map(str::to_owned),
        by,
        force: ask.force,
    }
}

/// What can be seen to make no sense is not written. An abort is always written: the controller may know more.
fn sensible(ask: &Ask<'_>, rollout: &Rollout, status: &RolloutStatus) -> Result<(), Failure> {
    let name = screen::argument(rollout);
    let conflict = |message: String, fix: String| Err(Failure::new(Exit::Conflict, message, fix));
    let at = || format!("{} is {}", screen::full_name(rollout), screen::phase(status));
    let active = matches!(status.phase, Some(Phase::Waiting | Phase::Progressing | Phase::Paused | Phase::Holding));
    let paused = status.decision.as_ref().filter(|_| status.phase == Some(Phase::Paused));
    match ask.verb {
        Verb::Abort => {}
        Verb::Promote | Verb::Pause | Verb::Resume if !active => {
            let fix = format!("`haldane status {name}` says where it is");
            return conflict(format!("nothing to {}: {}", ask.verb, at()), fix);
        }
        Verb::Resume if rollout.spec.paused => {
            return conflict("spec.paused is true: a command does not end that".into(), "set spec.paused to false in the manifest".into());
        }
        Verb::Resume if paused.is_some_and(|decision| decision.reason == Reason::ApprovalRequired) => {
            let coming = present_and_next(rollout).1.map_or_else(String::new, |(coming, _)| format!(" --step {coming}"));
            return conflict("it waits for an approval: resume does not give it".into(), format!("haldane promote {name}{coming}"));
        }
        // Waiting may be for a version that is not there yet: the controller knows whether something is under way.
        Verb::Rollback if (active && status.phase != Some(Phase::Waiting)) || status.phase == Some(Phase::RollingBack) => {
            return conflict(format!("a rollout is under way: {}", at()), format!("haldane abort {name} --reason TEXT"));
        }
        Verb::Retry if status.refused.is_empty() && status.phase != Some(Phase::Passed) => {
            return conflict(format!("nothing to retry: {}, and no revision was refused", at()), format!("`haldane status {name}`"));
        }
        _ => {}
    }
    let Some(wanted) = ask.step else { return Ok(()) };
    let (present, coming) = present_and_next(rollout);
    let coming = coming.map(|(name, _)| name);
    let asked = paused.is_some_and(|decision| decision.reason == Reason::ApprovalRequired);
    if let Some(coming) = coming.as_deref().filter(|coming| asked && *coming != wanted) {
        // Perhaps the answer to an older question: somebody else may have given it.
        return conflict(
            format!("what asks for a person is step {coming}, not {wanted}"),
            format!("haldane promote {name} --step {coming}"),
        );
    }
    if present.as_deref() == Some(wanted) || coming.as_deref() == Some(wanted) {
        return Ok(());
    }
    let present = present.map_or_else(|| "it is at no step".into(), |present| format!("the present step is {present}"));
    let coming = coming.map_or_else(String::new, |coming| format!(", the next one {coming}"));
    conflict(format!("not at step {wanted}: {present}{coming}"), format!("`haldane status {name}`, then again with that step"))
}

/// The object once the controller has handled the command, or somebody has written another one over it.
async fn handled(ask: &Ask<'_>, id: &str, value: &str, cluster: &Cluster) -> Result<(Rollout, Answer), Failure> {
    loop {
        match cluster.get(ask.name).await {
            Ok(rollout) => {
                let handled = rollout.status.as_ref().and_then(|status| status.handled.get(ask.verb.name()));
                if handled.is_some_and(|handled| handled == id) {
                    let answer = Answer::of(ask.verb, id, &rollout);
                    return Ok((rollout, answer));
                }
                if rollout.annotations().get(&ask.verb.key()).is_none_or(|there| there != value) {
                    return Ok((rollout, Answer::Replaced));
                }
            }
            // Written is written: a server that is away for a moment does not change that.
            Err(failure) if failure.exit == Exit::Error => {}
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(PACE).await;
    }
}

/// What the controller made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    Refused,
    /// Another command of this verb was written over it.
    Replaced,
    /// Not within the time.
    None,
    NotAwaited,
}

impl Answer {
    fn of(verb: Verb, id: &str, rollout: &Rollout) -> Self {
        // Not the newest decision: somebody else's command may have been answered in the same moment.
        if rejected(verb, id, rollout).is_some() { Self::Refused } else { Self::Accepted }
    }

    fn said(self) -> (Exit, Tone, &'static str) {
        match self {
            Self::Accepted => (Exit::Reached, Tone::Good, "accepted"),
            Self::NotAwaited => (Exit::Reached, Tone::Plain, "written"),
            Self::Refused => (Exit::Conflict, Tone::Bad, "refused"),
            Self::Replaced => (Exit::Conflict, Tone::Bad, "superseded by a concurrent command of the same kind"),
            Self::None => (Exit::TimedOut, Tone::Waiting, "written, not answered yet"),
        }
    }
}

fn rejected<'a>(verb: Verb, id: &str, rollout: &'a Rollout) -> Option<&'a RejectedCommand> {
    rollout.status.as_ref()?.rejected.get(verb.name()).filter(|rejected| rejected.id == id)
}

fn answered(ask: &Ask<'_>, id: &str, rollout: &Rollout, answer: Answer, output: &Output) -> Result<Exit, Failure> {
    let (verb, full) = (ask.verb, screen::full_name(rollout));
    let decision = rollout.status.as_ref().and_then(|status| status.decision.as_ref());
    let decision = decision.filter(|_| matches!(answer, Answer::Accepted | Answer::Refused));
    let rejected = rejected(verb, id, rollout);
    let (exit, tone, word) = answer.said();
    let value = json!({
        "namespace": rollout.namespace(),
        "name": rollout.name_any(),
        "verb": verb,
        "id": id,
        "answer": match answer {
            Answer::Accepted => "accepted",
            Answer::Refused => "refused",
            Answer::Replaced => "replaced",
            Answer::None => "none",
            Answer::NotAwaited => "notAwaited",
        },
        "phase": rollout.status.as_ref().and_then(|status| status.phase),
        "refused": rejected.map(|rejected| &rejected.message),
        "decision": decision,
    });
    output.data("CommandAnswer", &value, || {
        let terminal = output.terminal();
        let mut text = format!("{full}   {verb} {}\n", output.paint(tone, word));
        if let Some(rejected) = rejected {
            text += &terminal.hang("", &rejected.message);
            text += &terminal.hang("next", &format!("`haldane status {}` says where it is", screen::argument(rollout)));
        } else if let Some(decision) = decision {
            text += &terminal.hang("", &clauses(&decision.message));
            text += &terminal.hang("next", &clauses(&decision.next));
        }
        text
    })?;
    if answer == Answer::None {
        let events = format!(
            "kubectl get events -n {} --field-selector involvedObject.name={}",
            rollout.namespace().unwrap_or_default(),
            rollout.name_any()
        );
        let fix = format!("is the controller running? `{events}` tells; the command stays");
        output.hint(&format!("no answer within {}: {fix}", crate::words::span(ask.wait)));
    }
    Ok(exit)
}
