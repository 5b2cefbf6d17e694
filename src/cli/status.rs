//! `haldane status`: one screen, or waiting for something with an exit code that says how it ended.

pub(super) mod goal;

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Exit, Failure, cluster::Cluster, output::Output, screen};
use crate::{
    api::Rollout,
    clock::Clock,
    plan::{read_span, span},
    view::View,
};
use goal::{Goal, Standing};

/// How often the object is read while waiting.
const PACE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Name of the Rollout
    name: String,
    /// Wait for promoted, paused, rolled-back, done (any end) or step=NAME
    #[arg(long, value_name = "GOAL")]
    until: Option<Goal>,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration, requires = "until")]
    timeout: Duration,
}

/// A duration of the command line, in Go form.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let seconds = read_span(text).ok_or("write it as 90s, 5m or 1h30m")?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "must not be negative".into())
}

pub(super) async fn run(args: &StatusArgs, cluster: &Cluster, clock: Clock, output: &Output) -> Result<Exit, Failure> {
    let Some(goal) = &args.until else {
        let rollout = cluster.get(&args.name).await?;
        show(&rollout, clock.now(), output)?;
        return Ok(Exit::Reached);
    };
    let mut seen = Seen::default();
    let waiting = wait(&args.name, goal, cluster, output, &mut seen);
    let ended = match tokio::time::timeout(args.timeout, waiting).await {
        Ok(ended) => ended?,
        Err(_) => {
            let Some(rollout) = &seen.rollout else {
                return Err(Failure::new(Exit::Error, format!("no answer from the API server within {}", span(args.timeout)), ""));
            };
            out_of_time(goal, args.timeout, rollout)
        }
    };
    if let Some(rollout) = &seen.rollout {
        show(rollout, clock.now(), output)?;
    }
    output.hint(&ended.words);
    Ok(ended.exit)
}

/// What was read last, and printed last.
#[derive(Default)]
struct Seen {
    rollout: Option<Rollout>,
    line: String,
}

/// How the waiting ended.
pub(super) struct Ended {
    pub(super) exit: Exit,
    pub(super) words: String,
}

/// Whether what is there now ends the waiting, and how.
pub(super) fn ended(goal: &Goal, before: Option<&Rollout>, now: &Rollout) -> Option<Ended> {
    superseded(before, now).or_else(|| match goal.standing(now) {
        Standing::Ended(exit, words) => Some(Ended { exit, words }),
        Standing::Open => None,
    })
}

/// How it ends where the time is over first.
pub(super) fn out_of_time(goal: &Goal, timeout: Duration, rollout: &Rollout) -> Ended {
    let (exit, word) = goal::out_of_time(rollout);
    Ended { exit, words: format!("not {goal} within {}: {word}", span(timeout)) }
}

async fn wait(name: &str, goal: &Goal, cluster: &Cluster, output: &Output, seen: &mut Seen) -> Result<Ended, Failure> {
    let mut failing = false;
    loop {
        match cluster.get(name).await {
            Ok(rollout) => {
                failing = false;
                let line = line(&rollout);
                if line != seen.line {
                    output.hint(&line);
                    seen.line = line;
                }
                let ended = ended(goal, seen.rollout.as_ref(), &rollout);
                seen.rollout = Some(rollout);
                if let Some(ended) = ended {
                    return Ok(ended);
                }
            }
            // An API server that is away for a while ends no wait; a Rollout that is not there does.
            Err(failure) if failure.exit == Exit::Error && seen.rollout.is_some() => {
                if !failing {
                    output.hint(&format!("{}; trying again", failure.message));
                    failing = true;
                }
            }
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(PACE).await;
    }
}

/// Somebody wants another version now, or the Rollout was created again.
fn superseded(before: Option<&Rollout>, now: &Rollout) -> Option<Ended> {
    let before = before?;
    let words = if before.uid() != now.uid() {
        "it was deleted and created again".to_owned()
    } else if before.spec.canary != now.spec.canary {
        format!("superseded: {} is wanted now, not {}", now.spec.canary.destination().name(), before.spec.canary.destination().name())
    } else {
        return None;
    };
    Some(Ended { exit: Exit::Conflict, words })
}

/// Progress in one line.
pub(super) fn line(rollout: &Rollout) -> String {
    let Some(status) = &rollout.status else { return "not seen by a controller yet".into() };
    let traffic = |step: &crate::api::StepStatus| step.traffic.clone().unwrap_or_else(|| format!("{} %", step.weight));
    let step = status.step.as_ref().map_or_else(String::new, |step| format!(" step {} {}", step.name, traffic(step)));
    let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
    let said = status.decision.as_ref().map(|decision| View::decided(&namespace, &name, decision).headline());
    let said = said.map_or_else(String::new, |said| format!(": {said}"));
    format!("{}{step}{said}", screen::phase(status))
}

pub(super) fn show(rollout: &Rollout, now: Timestamp, output: &Output) -> Result<(), Failure> {
    let view = View::standing(rollout, now);
    output.data("RolloutStatus", &value(rollout, &view)?, || output.terminal().screen(&view))
}

/// Everything in status that is for users, and the identity that commands are bound to.
pub(super) fn value(rollout: &Rollout, view: &View) -> Result<Value, Failure> {
    let mut value = json!({
        "namespace": rollout.namespace(),
        "name": rollout.name_any(),
        "uid": rollout.uid(),
        "generation": rollout.metadata.generation,
        "view": view,
    });
    let status = serde_json::to_value(rollout.status.clone().unwrap_or_default());
    let status = status.map_err(|error| Failure::new(Exit::Error, error.to_string(), ""))?;
    if let (Value::Object(value), Value::Object(mut status)) = (&mut value, status) {
        for internal in ["checkpoint", "outbox", "handled"] {
            status.remove(internal);
        }
        value.extend(status);
    }
    Ok(value)
}
