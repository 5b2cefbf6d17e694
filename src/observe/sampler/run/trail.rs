//! Windows that were counted, for the record: what they were evidence of is added when a look is shown.

use super::Run;
use crate::record::Window;
use crate::seen::Look;

/// Windows that wait for a look at most: a longer past is read in pieces, each with its look.
const MOST: usize = 128;

impl Run {
    /// Notes a window of the step.
    pub(super) fn trace(&mut self, window: &crate::counts::Window) {
        let brief = self.ledger.brief();
        let Some(step) = brief.key.step else { return };
        if self.trail.len() == MOST {
            self.trail.remove(0);
        }
        self.trail.push(Window::counted(window, &brief.analysis.metrics, step, brief.key.share.weight));
    }

    /// The windows since the look before this one, the newest with what this look says of it.
    pub(in crate::observe::sampler) fn traced(&mut self, look: &Look) -> Vec<Window> {
        let newest = self.trail.last_mut().filter(|window| Some(window.end) == look.window_end && Some(window.step) == look.key.step);
        if let Some(newest) = newest {
            newest.judge(&self.ledger.brief().analysis.metrics, &look.judgement.metrics);
        }
        std::mem::take(&mut self.trail)
    }
}
