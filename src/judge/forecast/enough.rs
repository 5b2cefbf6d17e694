//! Which step of a plan is too short at its traffic, and the change that would be enough: each is forecast like the plan itself.

use super::super::{StepTerms, say};
use super::{StepForecast, forecast_step};
use crate::plan::{Metric, Share};

/// A plan with its forecast.
pub(super) struct Whole<'a> {
    pub(super) metrics: &'a [Metric],
    pub(super) steps: &'a [StepTerms],
    pub(super) interval_seconds: f64,
    pub(super) rps: f64,
    pub(super) errors: f64,
    pub(super) fail_at: f64,
    pub(super) found: &'a [StepForecast],
}

impl Whole<'_> {
    fn minutes_to_pass(&self, step: &StepTerms) -> Option<f64> {
        forecast_step(self.metrics, step, self.interval_seconds, self.rps, self.errors, self.fail_at).minutes_to_pass
    }

    /// The first step for which its limit is too short, in words, with what would do.
    pub(super) fn late(&self, limit_seconds: &[f64], name: &str) -> Option<String> {
        let limits = || self.steps.iter().zip(limit_seconds.iter().map(|seconds| seconds / 60.0));
        let two_arms = || self.found.iter().zip(limits()).filter(|(_, (step, _))| step.weight < 1.0);
        let (forecast, (step, limit)) = two_arms().find(|(found, (_, limit))| found.minutes_to_pass.is_none_or(|m| m > *limit))?;
        let need = forecast.minutes_to_pass.map_or("would never pass".to_owned(), |m| format!("needs about {}", say::minutes(m)));
        let slowest = forecast.slowest.as_deref().unwrap_or("the analysis");
        // How many users a match picks, or what a copy costs, is not ours to say: only weights are proposed, in place of weights.
        let weighted = step.share == Share::weight(step.share.weight);
        let better = [0.10, 0.20, 0.30, 0.50].into_iter().filter(|weight| weighted && *weight > step.weight).find(|weight| {
            let mut later: Vec<(StepTerms, f64)> = limits().map(|(s, limit)| (s.clone(), limit)).collect();
            later.retain(|(s, _)| s.weight > *weight || s.weight >= 1.0);
            let next_weight = later.first().map_or(1.0, |(s, _)| s.weight);
            later.insert(0, (StepTerms { weight: *weight, next_weight, ..step.clone() }, limit));
            later.iter().filter(|(s, _)| s.weight < 1.0).all(|(s, limit)| self.minutes_to_pass(s).is_some_and(|m| m <= *limit))
        });
        let longer = if name == "hold" { self.longer_hold() } else { self.longest().map(|m| 1.3 * m) };
        let mut mends: Vec<String> = better.map(|weight| format!("a weight of {:.0} % in its place", 100.0 * weight)).into_iter().collect();
        mends.extend(longer.map(|minutes| format!("a {name} of {}", say::minutes(minutes.ceil()))));
        let mend = if mends.is_empty() {
            "more traffic, or a longer hold with fewer metrics, is what would do".to_owned()
        } else {
            format!("{} would do", mends.join(" or "))
        };
        Some(format!(
            "at {} requests a second the step at {} {need} for {slowest}, and its {name} is {}; {mend}",
            self.rps,
            step.share.words(),
            say::minutes(limit)
        ))
    }

    /// Minutes of the slowest step; `None`: one never passes.
    fn longest(&self) -> Option<f64> {
        let two_arms = self.found.iter().zip(self.steps).filter(|(_, step)| step.weight < 1.0);
        two_arms.map(|(found, _)| found.minutes_to_pass).try_fold(0.0f64, |most, m| m.map(|m| most.max(m)))
    }

    /// A hold within which every step would be proved. A longer hold shows more, so that more of the latency must be proved in it: this is
    /// tried until it fits.
    fn longer_hold(&self) -> Option<f64> {
        let mut hold = self.longest()?;
        for _ in 0..20 {
            let windows = (60.0 * hold / self.interval_seconds).ceil().clamp(1.0, 1e6) as u32;
            let with = |step: &StepTerms| self.minutes_to_pass(&StepTerms { planned_windows: windows, ..step.clone() });
            let need = self.steps.iter().filter(|step| step.weight < 1.0).map(with).try_fold(0.0f64, |most, m| m.map(|m| most.max(m)))?;
            if need <= hold {
                return Some(hold);
            }
            hold = need.max(1.1 * hold);
        }
        None
    }
}
