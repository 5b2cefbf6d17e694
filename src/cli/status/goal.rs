//! What `--until` waits for, and what each phase means for it.

use std::{fmt, str::FromStr};

use crate::{
    api::{Phase, Rollout, RolloutStatus},
    cli::Exit,
    plan::Plan,
};

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Goal {
    Promoted,
    Paused,
    Done,
    RolledBack,
    Step(String),
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("step", name)) if !name.is_empty() => return Ok(Self::Step(name.into())),
            Some(_) => {}
            None => match text {
                "promoted" => return Ok(Self::Promoted),
                "paused" => return Ok(Self::Paused),
                "done" => return Ok(Self::Done),
                "rolled-back" => return Ok(Self::RolledBack),
                _ => {}
            },
        }
        Err("must be promoted, paused, done, rolled-back or step=NAME".into())
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promoted => f.write_str("promoted"),
            Self::Paused => f.write_str("paused"),
            Self::Done => f.write_str("done"),
            Self::RolledBack => f.write_str("rolled back"),
            Self::Step(name) => write!(f, "at step {name}"),
        }
    }
}

/// Where a Rollout stands towards a goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Standing {
    /// It may still come.
    Open,
    /// Reached, or it cannot be reached any more.
    Ended(Exit, String),
}

impl Goal {
    /// Where a Rollout stands. A status that does not speak of the newest spec says nothing.
    pub(in crate::cli) fn standing(&self, rollout: &Rollout) -> Standing {
        let Some(status) = &rollout.status else { return Standing::Open };
        if status.observed_generation.is_none() || status.observed_generation < rollout.metadata.generation {
            return Standing::Open;
        }
        let Some(phase) = status.phase else { return Standing::Open };
        let reached = |words: &str| Standing::Ended(Exit::Reached, words.to_owned());
        match (self, phase) {
            (Self::Paused, Phase::Paused) => return reached("paused"),
            (Self::RolledBack, Phase::RolledBack) => return reached("rolled back"),
            (Self::Step(name), _) => match self.passed(name, rollout, status, phase) {
                Some(Ok(())) => return reached(&format!("at step {name}")),
                Some(Err(words)) => return Standing::Ended(Exit::Usage, words),
                None => {}
            },
            _ => {}
        }
        let Some((exit, words)) = ended(rollout, status, phase) else { return Standing::Open };
        match (self, exit) {
            (Self::Paused | Self::RolledBack, Exit::Reached) => Standing::Ended(Exit::Error, format!("not {self}: {words}")),
            _ => Standing::Ended(exit, words),
        }
    }

    /// Whether a step was reached: it is the present one, or one before that.
    fn passed(&self, name: &str, rollout: &Rollout, status: &RolloutStatus, phase: Phase) -> Option<Result<(), String>> {
        let plan = Plan::parse(&rollout.spec).ok()?;
        let Some(index) = plan.steps.iter().position(|step| step.name == name) else {
            let names: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
            return Some(Err(format!("there is no step {name}; there are {}", names.join(", "))));
        };
        let under_way = matches!(phase, Phase::Progressing | Phase::Paused | Phase::Holding);
        let present = status.step.as_ref().filter(|_| under_way).and_then(|step| usize::try_from(step.index).ok());
        let there = phase == Phase::Promoted || present.is_some_and(|present| present >= index);
        there.then_some(Ok(()))
    }
}

/// How it ended, if it did.
fn ended(rollout: &Rollout, status: &RolloutStatus, phase: Phase) -> Option<(Exit, String)> {
    let wanted = rollout.spec.canary.destination();
    let wanted = wanted.name();
    let ended = match phase {
        Phase::Promoted => (Exit::Reached, format!("promoted: {wanted} is stable now")),
        Phase::Passed => (Exit::Reached, "passed".into()),
        Phase::Idle if status.stable.as_ref().is_some_and(|stable| stable.name == wanted) => {
            (Exit::Reached, format!("{wanted} is stable, nothing is being rolled out"))
        }
        Phase::RolledBack => (Exit::RolledBack, "rolled back by analysis".into()),
        Phase::Failed => (Exit::RolledBack, "failed".into()),
        Phase::Aborted => (Exit::Aborted, "aborted by a person".into()),
        Phase::Invalid => (Exit::Usage, "the manifest is invalid; `haldane lint` lists all its faults".into()),
        _ => return None,
    };
    Some(ended)
}

/// The exit code when the time is over.
pub(in crate::cli) fn out_of_time(rollout: &Rollout) -> (Exit, &'static str) {
    match rollout.status.as_ref().and_then(|status| status.phase) {
        Some(Phase::Paused) => (Exit::Waiting, "waiting for a person"),
        Some(Phase::Holding) => (Exit::Inconclusive, "evidence neither way"),
        Some(Phase::Waiting) => (Exit::TimedOut, "it could not start yet"),
        _ => (Exit::TimedOut, "still under way"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(phase: &str, step: Option<i32>, observed: i64) -> Rollout {
        let mut status = json!({"observedGeneration": observed, "phase": phase, "epoch": 3,
                                "stable": {"host": "fraud", "subset": "v1", "revision": "a"}});
        if let Some(index) = step {
            status["step"] = json!({"index": index, "name": (index + 1).to_string(), "weight": 20});
        }
        serde_json::from_value(json!({
            "apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "fraud", "generation": 2},
            "spec": {"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}},
            "status": status,
        }))
        .unwrap()
    }

    fn exit(goal: &str, phase: &str, step: Option<i32>) -> Option<Exit> {
        match goal.parse::<Goal>().unwrap().standing(&rollout(phase, step, 2)) {
            Standing::Open => None,
            Standing::Ended(exit, _) => Some(exit),
        }
    }

    #[test]
    fn every_goal_ends_with_the_code_of_the_phase() {
        let table = [
            ("promoted", "Promoted", Some(Exit::Reached)),
            ("promoted", "Progressing", None),
            ("promoted", "RollingBack", None),
            ("promoted", "RolledBack", Some(Exit::RolledBack)),
            ("promoted", "Aborted", Some(Exit::Aborted)),
            ("promoted", "Invalid", Some(Exit::Usage)),
            ("promoted", "Paused", None),
            ("done", "RolledBack", Some(Exit::RolledBack)),
            ("done", "Failed", Some(Exit::RolledBack)),
            ("done", "Passed", Some(Exit::Reached)),
            ("done", "Waiting", None),
            ("done", "Idle", None),
            ("paused", "Paused", Some(Exit::Reached)),
            ("paused", "Promoted", Some(Exit::Error)),
            ("paused", "RolledBack", Some(Exit::RolledBack)),
            ("rolled-back", "RolledBack", Some(Exit::Reached)),
            ("rolled-back", "Promoted", Some(Exit::Error)),
            ("rolled-back", "Aborted", Some(Exit::Aborted)),
        ];
        for (goal, phase, wanted) in table {
            assert_eq!(exit(goal, phase, None), wanted, "{goal} {phase}");
        }
    }

    #[test]
    fn a_step_is_reached_at_it_and_after_it() {
        assert_eq!(exit("step=2", "Progressing", Some(0)), None);
        assert_eq!(exit("step=2", "Progressing", Some(1)), Some(Exit::Reached));
        assert_eq!(exit("step=2", "Paused", Some(2)), Some(Exit::Reached));
        assert_eq!(exit("step=2", "Promoted", None), Some(Exit::Reached));
        assert_eq!(exit("step=2", "RolledBack", Some(0)), Some(Exit::RolledBack));
        assert_eq!(exit("step=half", "Progressing", Some(0)), Some(Exit::Usage));
    }

    #[test]
    fn a_status_of_an_older_spec_says_nothing() {
        let stale = rollout("Promoted", None, 1);
        assert_eq!(Goal::Done.standing(&stale), Standing::Open);
    }

    #[test]
    fn idle_is_promoted_once_the_version_wanted_is_stable() {
        let mut idle = rollout("Idle", None, 2);
        idle.spec.canary.subset = Some("v1".into());
        assert!(matches!(Goal::Promoted.standing(&idle), Standing::Ended(Exit::Reached, _)));
    }

    #[test]
    fn the_code_of_a_time_out_says_what_it_waited_for() {
        for (phase, code) in [("Paused", 5), ("Holding", 6), ("Progressing", 124), ("Waiting", 124)] {
            assert_eq!(out_of_time(&rollout(phase, None, 2)).0 as u8, code);
        }
    }

    #[test]
    fn goals_that_are_none_are_refused() {
        for text in ["", "step=", "steps=1", "Promoted", "finished"] {
            assert!(text.parse::<Goal>().is_err(), "{text}");
        }
    }
}
