//! What to do next: a pure state machine. No client, no clock, no logging; the same inputs give the same decision.
//!
//! ```text
//!            a new revision behind the wanted subset
//!   Idle ─────────────────────────────────────────────► Waiting ── room, metrics of stable, approval ──┐
//!    ▲                                                                                                 ▼
//!    │ Baked: hold over at 100 %, 50 requests,                    intent in status ► route ► read back: Progressing
//!   Promoted ◄──────────────────────────────────────────────────────────────── Pass and hold over, next step ┘
//!      │ rollback                                                                                 │
//!   RolledBack, Aborted ◄── one write: stable 100 and the latch ◄── Fail, deadline, abort ────────┘  (from anywhere)
//!                              (RollingBack while that write must wait: StableUnavailable, RouteRefused)
//! ```
//! A plan whose last step is not 100 % ends as Passed or, on evidence, as Failed: both with everybody at stable.
//!
//! Up needs all of it; down needs nothing but a stable version that is there. The order of precedence: what is found in the mesh, then
//! what a person says, then the rows of [`RULES`], from what leads down to what leads up.

mod advance;
mod command;
mod down;
mod edit;
mod ended;
mod found;
mod idle;
mod incident;
mod look;
mod moved;
mod room;
mod undo;
mod unreached;
mod words;

use jiff::Timestamp;

pub(crate) use advance::RETRY_REFUSED;

use crate::api::{DecisionRecord, Outcome, Phase, Reason};
use crate::command::Command;
use crate::route::Wanted;
use crate::seen::Observation;
use crate::state::{Stance, State};

#[cfg(test)]
mod tests;

/// What was decided in one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The state to come. With an act it is not stored in this pass: the next one finds the act's effect and continues from there.
    pub state: State,
    /// At most one mutation beside storing the state.
    pub act: Act,
    /// Where the rollout stands.
    pub stance: Stance,
    /// What was decided new, oldest first: reported once the state is stored.
    pub records: Vec<DecisionRecord>,
    /// Come back after so many seconds; `None`: when something changes.
    pub wake: Option<f64>,
}

/// A mutation.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// None: store the state if it says something new.
    Nothing,
    /// Upward: fresh reads, guarded by the resourceVersion.
    Raise(Wanted),
    /// Downward: guarded by the identity of the route, its destinations and our annotation.
    Lower(Wanted),
    /// Take us out of the route; stable gets everything.
    Release {
        /// Name of stable's version.
        stable: String,
        /// Canary's, if something is rolled out: its copies go.
        canary: Option<String>,
    },
    /// Add our finalizer.
    AddFinalizer,
    /// Remove our finalizer.
    DropFinalizer,
    /// Read the route from the API server and decide again.
    Reread,
}

/// Decides. `now` is the controller's wall clock; nothing is satisfied by it alone.
pub fn decide(state: &State, seen: &Observation, now: Timestamp) -> Decision {
    let mut pass = Pass::new(state, seen, now);
    let stance = pass.run();
    pass.finish(stance)
}

/// Shortest time between passes of an active rollout, in seconds: what a watch may have missed is seen then.
const ACTIVE_WAKE: f64 = 10.0;
/// Windows (or passes, where nothing is measured) that a hold needs beside its time.
const HOLD_WINDOWS: u32 = 4;
/// Canary requests that the last step needs.
const BAKE_REQUESTS: u64 = 50;

/// A rule for a rollout under way.
#[derive(Debug)]
pub struct Rule {
    /// The function that holds it.
    pub name: &'static str,
    /// The file of that function.
    pub file: &'static str,
    /// Where it leads.
    pub leads: Leads,
    /// Whether it runs while the manifest is invalid or the route is in doubt.
    pub hindered: Hindered,
    ask: fn(&mut Pass<'_>) -> Option<Stance>,
}

/// Where a rule leads that has an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// Less traffic for the canary.
    Down,
    /// Neither: it waits. While something is in the way, that is what is shown.
    Nowhere,
    /// More traffic for the canary, in the end.
    Up,
}

/// What a rule may do while the manifest is invalid or the route is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindered {
    /// All of it.
    Runs,
    /// It is asked, and only an answer that returns the traffic to stable counts.
    OnlyBack,
    /// Nothing.
    Skipped,
}

macro_rules! rule {
    ($file:literal, $leads:ident, $hindered:ident, $name:ident) => {
        Rule { name: stringify!($name), file: $file, leads: Leads::$leads, hindered: Hindered::$hindered, ask: |pass| pass.$name() }
    };
}

/// All rules, in the order of precedence: the first with an answer ends the pass.
pub const RULES: [Rule; 14] = [
    rule!("down.rs", Down, Runs, aborted),
    rule!("down.rs", Down, Runs, going_down),
    rule!("edit.rs", Nowhere, Runs, route_lost),
    rule!("edit.rs", Nowhere, Runs, route_in_doubt),
    rule!("edit.rs", Down, Runs, edited),
    rule!("moved.rs", Down, Runs, moved),
    rule!("edit.rs", Down, Runs, canary_changed),
    rule!("down.rs", Down, Runs, canary_lost),
    rule!("unreached.rs", Down, Runs, unreached),
    rule!("down.rs", Down, Runs, failed),
    rule!("edit.rs", Nowhere, Runs, stable_changed),
    rule!("incident.rs", Nowhere, Runs, incident), // one step down, right after a raise
    rule!("advance.rs", Up, Skipped, intended),
    rule!("advance.rs", Up, OnlyBack, advance), // back by a deadline with `onInconclusive: Rollback`
];

#[derive(Clone)]
struct Pass<'a> {
    state: State,
    seen: &'a Observation,
    now: Timestamp,
    act: Act,
    records: Vec<DecisionRecord>,
    wake: Option<f64>,
    abort: Option<Command>,
    promote: Option<Command>,
    rollback: Option<Command>,
    traffic: Option<(bool, Reason, String)>,
    /// What is in the way of everything that leads up: an invalid manifest, a route in doubt.
    hindrance: Option<Stance>,
}

impl<'a> Pass<'a> {
    fn new(state: &State, seen: &'a Observation, now: Timestamp) -> Self {
        Self {
            state: state.clone(),
            seen,
            now,
            act: Act::Nothing,
            records: Vec::new(),
            wake: None,
            abort: None,
            promote: None,
            rollback: None,
            traffic: None,
            hindrance: None,
        }
    }

    fn run(&mut self) -> Stance {
        if self.seen.deleting {
            return self.deletion();
        }
        self.adopt();
        self.take_commands();
        if let Some(stance) = self.undone() {
            return stance;
        }
        if self.state.run.is_none() {
            return self.idle();
        }
        self.wake_in(ACTIVE_WAKE);
        self.stand_still();
        self.keep_evidence();
        self.first_of(&RULES)
    }

    /// The answer of the first rule that has one; what is in the way if none may answer.
    fn first_of(&mut self, rules: &[Rule]) -> Stance {
        for rule in rules {
            let answer = match rule.hindered {
                Hindered::OnlyBack if self.hindrance.is_some() => self.only_back(rule.ask),
                Hindered::Skipped if self.hindrance.is_some() => None,
                _ => (rule.ask)(self),
            };
            let Some(answer) = answer else { continue };
            let waits = rule.leads == Leads::Nowhere && self.act == Act::Nothing;
            return self.hindrance.take().filter(|_| waits).unwrap_or(answer);
        }
        self.hindrance.take().unwrap_or_else(|| self.stance(Phase::Holding, Reason::AsPlanned, "nothing is decided"))
    }

    /// What a rule decides, if that returns the traffic to stable; else nothing of it has happened.
    fn only_back(&mut self, ask: fn(&mut Pass<'_>) -> Option<Stance>) -> Option<Stance> {
        let mut ahead = self.clone();
        let stance = ask(&mut ahead).filter(|stance| stance.phase == Phase::RollingBack)?;
        *self = ahead;
        Some(stance)
    }

    fn finish(self, stance: Stance) -> Decision {
        let mut stance = stance;
        if let Some(traffic) = self.traffic {
            stance.traffic = traffic;
        }
        let mut state = self.state;
        // What was refused changes nothing: the newest decision stays what `explain` shows.
        if let Some(newest) = self.records.iter().rfind(|record| record.outcome != Outcome::CommandRefused) {
            state.decision = Some(newest.clone());
        }
        Decision { state, act: self.act, stance, records: self.records, wake: self.wake }
    }

    /// Come back within so many seconds.
    fn wake_in(&mut self, seconds: f64) {
        let seconds = seconds.max(0.05);
        self.wake = Some(self.wake.map_or(seconds, |wake| wake.min(seconds)));
    }

    fn stance(&self, phase: Phase, reason: Reason, message: impl Into<String>) -> Stance {
        // What waits for the parents to accept the route says so at once.
        let unheard = |view| self.unheard(view).or_else(|| edit::not_accepted(view).filter(|_| reason == Reason::RouteNotAccepted));
        let traffic = match &self.seen.route {
            Ok(view) => match unheard(view) {
                Some(message) => (false, Reason::RouteNotAccepted, message),
                None => (true, Reason::AsPlanned, format!("{}: {}", view.object, view.words())),
            },
            Err(fault) => (false, fault.reason(), fault.to_string()),
        };
        let (reason, mut message) = (reason, message.into());
        let at_rest =
            matches!(phase, Phase::Idle | Phase::Promoted | Phase::Passed) && matches!(reason, Reason::AsPlanned | Reason::Passed);
        let reason = if at_rest && traffic.1 == Reason::RouteNotAccepted {
            message = format!("{message}; but {}", traffic.2);
            Reason::RouteNotAccepted
        } else {
            reason
        };
        Stance { phase, reason, message, stalled: false, traffic }
    }

    fn stalled(&self, phase: Phase, reason: Reason, message: impl Into<String>) -> Stance {
        Stance { stalled: true, ..self.stance(phase, reason, message) }
    }
}
