//! The loop around [`decide`], without I/O: what a decision asks for, as a value, and what an answer from outside means for the next pass.
//!
//! ```text
//! observe ─► Turn (decide) ─► Task ─► Store | Route(patch) | Finalizer | Read ─► the outside ─► answer ─► After, and the next pass
//!                                        a client in the controller, [`Objects`] in a rehearsal and in the tests of `decide`
//! ```
//! The controller only performs what is said here; a rehearsal applies the same patch to an object in memory. [`Ledger`] is the part of a
//! sampler between counted windows and a look, [`report()`] what status and the alerts say afterwards.

mod grid;
mod ledger;
mod news;
mod objects;
mod report;
mod route_write;

use jiff::Timestamp;

use crate::decide::{Act, Decision, decide};
use crate::seen::{Observation, StepKey};
use crate::state::State;

pub use ledger::{Belongs, Changed, Due, Ledger, Pace};
pub use news::news;
pub use objects::{Done, Objects};
pub use report::{Report, report};
pub use route_write::{Refused, RouteWrite};

/// One pass: what is seen, and what is decided on it.
#[derive(Debug)]
pub struct Turn<'a> {
    /// What is seen.
    pub seen: &'a Observation,
    /// What is decided.
    pub decision: Decision,
}

/// What is to be done in a pass: one thing.
#[derive(Debug)]
pub enum Task<'a> {
    /// Nothing outside: store the status that the decision gives, if it says something new.
    Store,
    /// Write to the route.
    Route(RouteWrite<'a>),
    /// Add our finalizer (`true`) or remove it.
    Finalizer(bool),
    /// Read the route from the API server, and take another turn on that.
    Read,
    /// The route to write to is not there: take another turn.
    Again,
}

impl<'a> Turn<'a> {
    /// Decides on what is seen.
    pub fn new(state: &State, seen: &'a Observation, now: Timestamp) -> Self {
        Self { seen, decision: decide(state, seen, now) }
    }

    /// What is to be done for it. What was read in this pass is not read again.
    pub fn task(&self) -> Task<'_> {
        match (&self.decision.act, &self.seen.route) {
            (Act::Nothing, _) => Task::Store,
            (Act::Reread, _) if self.seen.fresh => Task::Store,
            (Act::Reread, _) => Task::Read,
            (Act::AddFinalizer, _) => Task::Finalizer(true),
            (Act::DropFinalizer, _) => Task::Finalizer(false),
            (Act::Raise(_) | Act::Lower(_) | Act::Release { .. }, Ok(view)) => Task::Route(RouteWrite::new(&self.decision.act, view)),
            (Act::Raise(_) | Act::Lower(_) | Act::Release { .. }, Err(_)) => Task::Again,
        }
    }
}

/// Passes since a [`StepKey`] began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passes(Option<(StepKey, u32)>);

impl Passes {
    /// Counts a pass of this key.
    pub fn count(&mut self, key: Option<StepKey>) -> u32 {
        self.0 = key.map(|key| match self.0 {
            Some((known, passes)) if known == key => (key, passes.saturating_add(1)),
            _ => (key, 1),
        });
        self.0.map_or(0, |(_, passes)| passes)
    }
}

/// What came of a write to the route, where that was not the write itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// The API server or a webhook refuses it, with these words.
    Refused(String),
    /// No answer, or trouble on the way: a webhook that hangs answers as late as this.
    Trouble(String),
}

/// What follows a write to the route that was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Another pass at once: the decision goes to status, then the write is retried.
    Again,
    /// The decision is in status: the next try is as far away as the decision says, however many there were.
    Rest,
    /// The pass failed: later and later.
    Fail,
}

/// What follows; `refusal` is what refused the newest write down. A way down must not wait for the object that refuses it.
pub fn after(down: bool, unwritten: Unwritten, refusal: &mut Option<String>) -> After {
    let known = refusal.is_some();
    match unwritten {
        _ if !down => return After::Fail,
        Unwritten::Refused(_) if known => {}
        Unwritten::Refused(words) | Unwritten::Trouble(words) => *refusal = Some(words),
    }
    if known { After::Rest } else { After::Again }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Share;

    #[test]
    fn a_refused_way_down_goes_to_status_first_and_is_then_tried_at_its_own_pace() {
        let mut refusal = None;
        let refused = |words: &str| Unwritten::Refused(words.to_owned());
        assert_eq!(after(false, refused("no"), &mut refusal), After::Fail);
        assert_eq!(refusal, None, "what leads up waits for nobody");
        assert_eq!(after(true, refused("no"), &mut refusal), After::Again);
        assert_eq!(after(true, refused("still no"), &mut refusal), After::Rest);
        assert_eq!(refusal.as_deref(), Some("no"), "the words in status stay");
        assert_eq!(after(true, Unwritten::Trouble("no answer".to_owned()), &mut refusal), After::Rest);
        assert_eq!(refusal.as_deref(), Some("no answer"));
    }

    #[test]
    fn passes_are_counted_from_the_first_of_a_key() {
        let key = |epoch| Some(StepKey { epoch, step: Some(0), share: Share::weight(5) });
        let mut passes = Passes::default();
        assert_eq!([key(1), key(1), key(2), None, key(2)].map(|key| passes.count(key)), [1, 2, 1, 0, 1]);
    }
}
