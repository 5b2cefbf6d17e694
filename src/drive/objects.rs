//! What a turn writes to, in memory.

use serde_json::Value;

use super::{Task, Turn};
use crate::route::MatchConflict;

/// The objects of one Rollout without an API server: what a rehearsal and the tests of `decide` have of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The object of the route.
    pub route: Value,
    /// The Rollout carries our finalizer.
    pub finalizer: bool,
}

/// What a turn did to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// Nothing: the state of the decision is to be kept.
    Store,
    /// The route was written.
    Route,
    /// The finalizer was added or removed.
    Finalizer,
    /// Nothing: the route is to be read, or is not there.
    Read,
}

impl Objects {
    /// Does what a turn asks for. What it was decided on is what is here, so that a patch fits.
    ///
    /// # Errors
    /// When the wanted match cannot be joined with the route's own.
    pub fn perform(&mut self, turn: &Turn<'_>) -> Result<Done, MatchConflict> {
        match turn.task() {
            Task::Store => Ok(Done::Store),
            Task::Read | Task::Again => Ok(Done::Read),
            Task::Finalizer(wanted) => {
                self.finalizer = wanted;
                Ok(Done::Finalizer)
            }
            Task::Route(write) => {
                let _ = json_patch::patch(&mut self.route, &write.patch(write.view)?);
                Ok(Done::Route)
            }
        }
    }
}
