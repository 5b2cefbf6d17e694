//! What is new of a rollout since it was last noted.

use super::{Change, Distribution, Run, Window};
use crate::api::{DecisionRecord, HistoryEntry};

/// What is new of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// The rollout itself, without what is listed below; how it ended, if it has.
    pub head: Run,
    /// What the canary got, oldest first.
    pub changes: Vec<Change>,
    /// Windows that were counted.
    pub windows: Vec<Window>,
    /// Distributions at the newest look.
    pub distributions: Vec<Distribution>,
    /// What was decided.
    pub decisions: Vec<DecisionRecord>,
    /// Past rollouts, as status tells them: the end of one may still be missing where a controller died at it.
    pub history: Vec<HistoryEntry>,
}
