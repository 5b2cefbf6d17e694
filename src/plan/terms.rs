//! What the judge must know of each step.

use super::Plan;
use crate::judge::StepTerms;

/// A step shows this many windows at least, however short its hold (design section 2).
pub const LEAST_WINDOWS: u32 = 4;

impl Plan {
    /// Terms of every step: its share, the share that a Pass opens the way to, and the windows that its hold is planned to show.
    pub fn terms(&self) -> Vec<StepTerms> {
        let interval = self.analysis.interval.as_millis().max(1);
        let next = self.steps.iter().skip(1).map(|step| step.weight).chain([100]);
        let terms = |(step, next): (&super::Step, u8)| StepTerms {
            weight: f64::from(step.weight) / 100.0,
            next_weight: f64::from(next) / 100.0,
            planned_windows: u32::try_from(step.hold.as_millis() / interval).unwrap_or(u32::MAX).max(LEAST_WINDOWS),
            without: step.without.clone(),
        };
        self.steps.iter().zip(next).map(terms).collect()
    }
}
