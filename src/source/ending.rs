//! What the registry should know of a model whose rollout has ended.

use super::stand::{Given, on_pods, written};
use crate::api::{HistoryEntry, Outcome};
use crate::words::shortened;

/// How a version ended that serves everybody.
pub(super) const PROMOTED: &str = "promoted";
/// Longest reason.
const REASON: usize = 250;

/// The end of a model's rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The version in the registry.
    pub version: String,
    /// How it ended: `promoted`, `rolled-back`, `aborted`, `passed`, `failed`.
    pub outcome: &'static str,
    /// Why, in one sentence.
    pub reason: String,
}

impl Ending {
    /// Whether it serves everybody now.
    pub fn is_promoted(&self) -> bool {
        self.outcome == PROMOTED
    }
}

/// What to report: how the newest rollout ended of the pods that have the model of the Deployment. Nothing while one is under way, or where
/// the pods' model is not what the Deployment has.
pub fn ending(given: &Given<'_>) -> Option<Ending> {
    let (seen, state) = (given.seen, given.state);
    if state.run.is_some() {
        return None;
    }
    let model = written(given)?;
    let pods = seen.versions.get(seen.plan.as_ref().ok()?.canary.name())?;
    if on_pods(pods)? != model {
        return None;
    }
    let (revision, canary) = (pods.revision()?, seen.plan.as_ref().ok()?.canary.name());
    let of = |entry: &&HistoryEntry| entry.canary.revision == revision && entry.canary.name == canary;
    let entry = state.history.iter().find(of)?;
    let outcome = match entry.outcome {
        Outcome::Promoted if state.stable.as_ref().is_some_and(|stable| stable.revision == revision) => PROMOTED,
        Outcome::RolledBack => "rolled-back",
        Outcome::Aborted => "aborted",
        Outcome::Failed => "failed",
        Outcome::Passed => "passed",
        _ => return None,
    };
    Some(Ending { version: model.version?, outcome, reason: shortened(&entry.message, REASON) })
}
