//! A canary that requests do not reach although its pods are ready: no proxy knows its subset, or an endpoint of it. Its users get errors that
//! no workload counts, or nobody is served by it at all; neither needs statistics.

use super::Pass;
use crate::api::Reason;
use crate::seen::Unanswered;
use crate::state::Stance;

impl Pass<'_> {
    /// The canary has a share of the users and answers none: back to stable, as a decision about this revision.
    pub(super) fn unreached(&mut self) -> Option<Stance> {
        let share = self.state.run.as_ref()?.share;
        let look = self.look()?;
        if let Some(lost) = look.unanswered.as_ref().filter(|lost| lost.dead && share.reaches_users()) {
            let message = format!(
                "{} at {} answers no request: {}, while stable answered {}; do the proxies know it, and does it have endpoints there?",
                self.canary_words(),
                share.words(),
                lost_words(lost),
                lost.stable
            );
            return Some(self.roll_back(Reason::NoWorkloadAnswered, message));
        }
        // Nobody of a cohort, or no copy, harms nobody: that is a hold.
        let problem = look.problem.as_ref().filter(|problem| problem.reason == Reason::NoCanaryTraffic && share.weight > 0)?;
        let message = format!("{} at {}: {}", self.canary_words(), share.words(), problem.message);
        Some(self.roll_back(Reason::NoCanaryTraffic, message))
    }
}

/// `no workload answered 490 of them (UH, as counted by those who sent them to fraud.ml.svc.cluster.local)`.
pub(super) fn lost_words(lost: &Unanswered) -> String {
    let Unanswered { requests, flags, service, .. } = lost;
    format!("no workload answered {requests} of them (response_flags {flags}, counted by those who sent them to {service})")
}
