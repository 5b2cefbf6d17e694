//! What happened in the last rollouts of a Rollout: weights, the values of both versions window by window, evidence, decisions. Pure.
//!
//! A [`Record`] lives in a ConfigMap beside its Rollout ([`Record::config_map`], [`Record::from_config_map`]). It is bounded: [`RUNS`] rollouts of at most
//! [`RUN_BYTES`] each. Older windows are joined pairwise where a rollout gets longer than that, so that its begin is still there, more coarsely.
//! Nothing decides on it: without it every rollout goes the same way.

mod kept;
mod news;
mod run;
mod taken;
mod thin;

use jiff::Timestamp;

use crate::api::{HistoryEntry, Version};

pub use kept::{FORM, LABEL, RecordError, is_run, name};
pub use news::News;
pub use run::{Arm, Change, Columns, Distribution, End, Measured, Planned, Point, Run, Window};
pub use thin::RUN_BYTES;

/// The newest version of the stored form. A reader refuses one that is newer than its own.
pub const VERSION: u32 = 1;
/// Rollouts that are kept.
pub const RUNS: usize = 3;

/// What is kept of a Rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Version of this form.
    pub version: u32,
    /// Uid of the Rollout: one that was deleted and created again begins with nothing.
    pub uid: String,
    /// Its last rollouts, the newest first. The first may still be under way.
    pub runs: Vec<Run>,
}

impl Record {
    /// Nothing yet.
    pub fn new(uid: &str) -> Self {
        Self { version: VERSION, uid: uid.to_owned(), runs: Vec::new() }
    }

    /// The newest rollout, which may be under way.
    pub fn newest(&self) -> Option<&Run> {
        self.runs.first()
    }

    /// The newest rollout of a canary with this revision or name.
    pub fn of(&self, revision: &str) -> Option<&Run> {
        let is = |version: &Version| version.revision == revision || version.name == revision;
        self.runs.iter().find(|run| is(&run.canary))
    }

    /// The rollout that began then.
    pub fn began(&self, at: Timestamp) -> Option<&Run> {
        // Status tells times in whole seconds.
        self.runs.iter().find(|run| run.started.as_second() == at.as_second())
    }

    /// Takes over what is new of a rollout, and makes room for it.
    pub fn note(&mut self, news: News) {
        self.settle(&news.history);
        let News { head, .. } = &news;
        let at = match self.runs.iter().position(|run| run.started == head.started) {
            Some(at) => at,
            None => {
                let at = self.runs.iter().position(|run| run.started < head.started).unwrap_or(self.runs.len());
                self.runs.insert(at, head.clone());
                at
            }
        };
        if let Some(run) = self.runs.get_mut(at) {
            run.note(news);
        }
        self.runs.truncate(RUNS);
    }

    /// Takes over what another record of the same Rollout knows.
    pub fn merge(&mut self, other: Self) {
        other.runs.into_iter().rev().for_each(|run| self.note(run.into_news()));
    }

    /// Ends what status says has ended: the controller that ended it may have died before it could write so here.
    ///
    /// Returns whether there was one.
    pub fn settle(&mut self, history: &[HistoryEntry]) -> bool {
        let mut settled = false;
        for entry in history {
            let open = |run: &&mut Run| run.end.is_none() && run.started.as_second() == entry.started.0.as_second();
            if let Some(run) = self.runs.iter_mut().find(open) {
                let (outcome, reason, message) = (entry.outcome, entry.reason.clone(), entry.message.clone());
                run.end = Some(End { at: entry.ended.0, outcome, reason, message });
                run.exposure = entry.exposure.clone().or(run.exposure.take());
                settled = true;
            }
        }
        settled
    }
}

#[cfg(test)]
mod tests;
