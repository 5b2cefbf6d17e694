//! Where a metric is in its plan, and the start weight that each look gets (statistics 2a).

use serde::{Deserialize, Serialize};

use super::mixture::{GAMMA_FIRST, GAMMA_LOOKS, GAMMA_STARTS, gamma_unplanned};

/// Where a metric is in its plan, and how many looks were given start weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Looks {
    begun: bool,
    starts: u32,
    others: u32,
    unplanned: u32,
    /// Windows of the present step so far.
    in_step: u32,
    fresh_step: bool,
}

impl Looks {
    /// A later step begins.
    pub(super) fn step(&mut self, further: bool) {
        self.in_step = 0;
        self.fresh_step = self.begun && further;
    }

    /// A window of the plan; while an incident hits both versions it is none.
    pub(super) fn window(&mut self, frozen: bool) {
        self.in_step = self.in_step.saturating_add(u32::from(!frozen));
    }

    /// Windows of the present step so far.
    pub(super) fn in_step(&self) -> u32 {
        self.in_step
    }

    /// As `before`, in the present step: what was given since was given to windows that are forgotten.
    pub(super) fn back_to(self, before: Self) -> Self {
        Self { in_step: self.in_step, fresh_step: self.fresh_step || before.fresh_step, ..before }
    }

    /// Start weight of a look with both arms: .7 for the first, .12 shared by the later steps' first looks, .14 by the other planned ones,
    /// .04 by those beyond the plan. `plan` are the windows of each step.
    pub(super) fn gamma(&mut self, plan: &[u32], planned: u32, frozen: bool) -> f64 {
        let starts = u32::try_from(plan.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let others = plan.iter().sum::<u32>().saturating_sub(starts + 1);
        if !self.begun {
            self.begun = true;
            return GAMMA_FIRST;
        }
        if std::mem::take(&mut self.fresh_step) {
            self.starts += 1;
            return if self.starts <= starts { GAMMA_STARTS / f64::from(starts) } else { 0.0 };
        }
        if frozen || self.in_step > planned || self.others >= others {
            self.unplanned = self.unplanned.saturating_add(1);
            return gamma_unplanned(self.unplanned);
        }
        self.others += 1;
        GAMMA_LOOKS / f64::from(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: [u32; 3] = [10, 10, 10];

    #[test]
    fn a_plan_that_is_followed_gives_out_what_is_planned() {
        let mut looks = Looks::default();
        let mut given = 0.0;
        for step in 0..3 {
            looks.step(step > 0);
            for _ in 0..10 {
                looks.window(false);
                given += looks.gamma(&PLAN, 10, false);
            }
        }
        assert!((given - (GAMMA_FIRST + GAMMA_STARTS + GAMMA_LOOKS)).abs() < 1e-12, "{given}");
        looks.window(false);
        assert_eq!(looks.gamma(&PLAN, 10, false), gamma_unplanned(1));
    }

    #[test]
    fn windows_of_an_incident_are_not_of_the_plan() {
        let mut looks = Looks::default();
        looks.window(false);
        looks.gamma(&PLAN, 10, false);
        for look in 1..=20 {
            looks.window(true);
            assert_eq!(looks.gamma(&PLAN, 10, true), gamma_unplanned(look));
        }
        assert_eq!(looks.in_step(), 1);
    }

    #[test]
    fn a_resume_begins_no_further_step() {
        let mut looks = Looks::default();
        looks.gamma(&PLAN, 10, false);
        looks.step(false);
        looks.window(false);
        assert_eq!(looks.gamma(&PLAN, 10, false), GAMMA_LOOKS / 27.0);
    }
}
