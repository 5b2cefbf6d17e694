//! Which step of a plan is too short at its traffic, and the change that would be enough: each is forecast like the plan itself.

use super::super::{FAIL_AT, Fix, Late, Limit, Need, StepTerms, kinds};
use super::{StepForecast, forecast_step};
use crate::plan::{Metric, Share};

/// Weights that are proposed beside those of the plan, in percent.
const WEIGHTS: [u8; 4] = [10, 20, 30, 50];
/// A step is decided after this many windows at the soonest.
const LEAST_WINDOWS: f64 = 4.0;
/// The longest hold that a manifest may ask for, minutes.
const LONGEST_HOLD: f64 = 168.0 * 60.0;
/// The longest deadline that a manifest may ask for, minutes.
const LONGEST_DEADLINE: f64 = 720.0 * 60.0;

/// More requests a second than a model gets.
const MOST_TRAFFIC: f64 = 1e7;

/// A plan at its traffic.
pub(super) struct Whole<'a> {
    pub(super) metrics: &'a [Metric],
    /// The steps that are still to come.
    pub(super) steps: &'a [StepTerms],
    pub(super) interval_seconds: f64,
    pub(super) rps: f64,
    /// Stable's error rate.
    pub(super) errors: f64,
    /// A step has begun already, so that no other can come first.
    pub(super) begun: bool,
}

/// A step with its limit in minutes.
type Limited = (StepTerms, f64);

impl Whole<'_> {
    /// Forecast of these steps as one plan.
    pub(super) fn forecast(&self, steps: &[StepTerms]) -> Vec<StepForecast> {
        let fail_at = FAIL_AT * f64::from(kinds(steps));
        let of = |step| forecast_step(self.metrics, step, self.interval_seconds, self.rps, self.errors, fail_at);
        steps.iter().map(of).collect()
    }

    /// The first step whose deadline is too short, or if there is none, whose hold is.
    pub(super) fn late(&self, hold_seconds: &[f64], deadline_seconds: &[f64]) -> Option<Late> {
        self.short(deadline_seconds, Limit::Deadline).or_else(|| self.short(hold_seconds, Limit::Hold))
    }

    /// The first step for which its limit is too short, with what would be enough.
    fn short(&self, limit_seconds: &[f64], limit: Limit) -> Option<Late> {
        let plan: Vec<Limited> = self.steps.iter().cloned().zip(limit_seconds.iter().map(|seconds| seconds / 60.0)).collect();
        let found = self.forecast(self.steps);
        let too_short = |((step, minutes), found): (&Limited, &StepForecast)| step.weight < 1.0 && !in_time(found, *minutes);
        let at = plan.iter().zip(&found).position(too_short)?;
        let ((step, minutes), forecast) = plan.get(at).zip(found.get(at))?;
        Some(Late {
            limit,
            minutes: *minutes,
            share: step.share,
            rps: self.rps,
            metric: forecast.slowest.clone(),
            need: Need::Forecast(forecast.minutes_to_pass),
            fix: self.fix(&plan, at, limit),
        })
    }

    /// What would be enough for a plan whose step `at` is too short.
    fn fix(&self, plan: &[Limited], at: usize, limit: Limit) -> Fix {
        let weight = self.weight(plan, at);
        // Behind another step nothing is shown to users unproved.
        let shadow = self.shadow(plan, at, limit).filter(|_| weight.is_none() || at == 0);
        let longer = match limit {
            Limit::Hold => self.hold(self.steps),
            Limit::Deadline => self.longest(self.steps).map(|m| told(1.3 * m)).filter(|m| *m <= LONGEST_DEADLINE),
        };
        let nothing = weight.is_none() && shadow.is_none() && longer.is_none();
        Fix { weight, shadow, longer, traffic: if nothing { self.traffic(plan) } else { None } }
    }

    /// Requests a second, at most a tenth too many, with which the plan has the time that it needs.
    fn traffic(&self, plan: &[Limited]) -> Option<f64> {
        let rates = std::iter::successors(Some(self.rps), |rps| Some(1.1 * rps)).map(f64::ceil).take_while(|rps| *rps < MOST_TRAFFIC);
        rates.into_iter().find(|rps| Whole { rps: *rps, ..*self }.fits(plan))
    }

    /// The smallest weight in place of that of the step `at` with which the plan has the time that it needs, in percent.
    fn weight(&self, plan: &[Limited], at: usize) -> Option<u8> {
        let before = plan.get(..at)?.to_vec();
        larger(plan, at).into_iter().filter(|weight| *weight < 100).find(|weight| self.fits(&from(before.clone(), plan, at, *weight)))
    }

    /// Minutes of a shadow step first, and the smallest weight that can come next, in percent: copies of all requests prove in less time what a weight proves, and
    /// what a weight would show to users unproved. `None` where nothing of that kind is enough.
    ///
    /// That all users come right after the copies is proposed only where the plan could not be decided otherwise: a hold that is too short
    /// costs nothing but time.
    fn shadow(&self, plan: &[Limited], at: usize, limit: Limit) -> Option<(f64, u8)> {
        if self.begun || plan.iter().any(|(step, _)| step.share.mirror > 0) {
            return None;
        }
        let (late, _) = plan.get(at)?;
        let copies = StepTerms {
            weight: 0.5,
            without: Vec::new(),
            share: Share { mirror: 100, ..Share::NONE },
            kind: plan.iter().map(|(step, _)| step.kind).max().unwrap_or(0) + 1,
            ..late.clone()
        };
        let picked: Vec<Limited> = plan.iter().take(at).filter(|(step, _)| step.share.weight == 0).cloned().collect();
        larger(plan, at).into_iter().filter(|weight| *weight < 100 || limit == Limit::Deadline).find_map(|weight| {
            let copies = StepTerms { next_weight: f64::from(weight) / 100.0, ..copies.clone() };
            let hold = self.hold(std::slice::from_ref(&copies))?;
            let first = (StepTerms { planned_windows: self.windows(hold), ..copies }, hold);
            self.fits(&from([vec![first], picked.clone()].concat(), plan, at, weight)).then_some((hold, weight))
        })
    }

    /// Whether a healthy canary is proved good within the limit of each step.
    fn fits(&self, plan: &[Limited]) -> bool {
        let found = self.forecast(&plan.iter().map(|(step, _)| step.clone()).collect::<Vec<_>>());
        plan.iter().zip(&found).all(|((step, minutes), found)| step.weight >= 1.0 || in_time(found, *minutes))
    }

    /// Minutes of the slowest of these steps; `None`: one never passes.
    fn longest(&self, steps: &[StepTerms]) -> Option<f64> {
        let found = self.forecast(steps);
        let two_arms = found.iter().zip(steps).filter(|(_, step)| step.weight < 1.0);
        two_arms.map(|(found, _)| found.minutes_to_pass).try_fold(0.0f64, |most, m| m.map(|m| most.max(m)))
    }

    /// A hold, in minutes that are shown as they are, within which each of these steps would be proved. A longer hold shows more, so that
    /// more of the latency must be proved in it: this is tried until it fits.
    fn hold(&self, steps: &[StepTerms]) -> Option<f64> {
        let mut hold = told(self.longest(steps)?.max(LEAST_WINDOWS * self.interval_seconds / 60.0));
        for _ in 0..20 {
            let windows = self.windows(hold);
            let with: Vec<StepTerms> = steps.iter().map(|step| StepTerms { planned_windows: windows, ..step.clone() }).collect();
            let need = self.longest(&with)?;
            if need <= hold {
                return Some(hold).filter(|hold| *hold <= LONGEST_HOLD);
            }
            hold = told(need.max(1.1 * hold));
        }
        None
    }

    /// Windows of a hold.
    fn windows(&self, minutes: f64) -> u32 {
        (60.0 * minutes / self.interval_seconds).ceil().clamp(1.0, 1e6) as u32
    }
}

fn in_time(found: &StepForecast, limit: f64) -> bool {
    found.minutes_to_pass.is_some_and(|minutes| minutes <= limit)
}

/// Rounded up to what a message shows as it is, to whole minutes at least.
fn told(minutes: f64) -> f64 {
    crate::words::at_least(60.0 * minutes.ceil()) / 60.0
}

/// Weights in percent that may come in place of that of the step `at`, the smallest first. How many users a match picks, or what a copy
/// beside it costs, is not ours to say: only a step with nothing but a weight is replaced.
fn larger(plan: &[Limited], at: usize) -> Vec<u8> {
    let Some((late, _)) = plan.get(at).filter(|(step, _)| step.share == Share::weight(step.share.weight)) else { return Vec::new() };
    let planned = plan.iter().skip(at).map(|(step, _)| step.share.weight);
    let mut weights: Vec<u8> = planned.chain(WEIGHTS).filter(|weight| *weight > late.share.weight).collect();
    weights.sort_unstable();
    weights.dedup();
    weights
}

/// The plan that goes from the steps `before` to this weight, in percent: to the plan's own step where it has one, else to one like the step `at`.
fn from(before: Vec<Limited>, plan: &[Limited], at: usize, weight: u8) -> Vec<Limited> {
    let later = || plan.iter().skip(at + 1).filter(|(step, _)| step.share.weight >= weight).cloned();
    let planned = later().any(|(step, _)| step.share.weight == weight);
    let new = plan
        .get(at)
        .filter(|_| !planned)
        .map(|(late, minutes)| (StepTerms { weight: f64::from(weight) / 100.0, share: Share::weight(weight), ..late.clone() }, *minutes));
    let mut steps: Vec<Limited> = before.into_iter().chain(new).chain(later()).collect();
    // Each opens to the next one that has a weight.
    let mut next = 1.0;
    for (step, _) in steps.iter_mut().rev() {
        step.next_weight = next;
        if step.share.weight > 0 {
            next = f64::from(step.share.weight) / 100.0;
        }
    }
    steps
}

#[cfg(test)]
mod tests;
