//! Is the canary worse than stable? The statistics. Pure.
//!
//! Every window of both arms becomes one e-value for each thing that is watched ([`kernel`]); their products, mixed over effect sizes
//! and over the time at which a regression may have begun ([`mixture`]), are the evidence. `docs/statistics.md` tells it with numbers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::{EvidenceReason, Exposure, MetricEvidence, Verdict};
use crate::counts::{Counts, History, Window};
use crate::plan::{Metric, MetricKind, Share};

mod bake;
mod columns;
pub mod dispersion;
pub mod distance;
mod drift;
mod forecast;
pub mod kernel;
mod metric;
pub mod mixture;
mod proportions;
mod say;
mod verdict;

pub use forecast::{PlanForecast, StepForecast, forecast_plan};
use metric::MetricState;

/// Where the merged fail evidence fails the rollout: 1/alpha_f, alpha_f = 0.08.
pub const FAIL_AT: f64 = 12.5;
/// Fail evidence below which nothing points to harm.
const NO_HARM: f64 = 2.0;
/// Canary requests without which nothing is said about harm.
const NO_HARM_REQUESTS: u64 = 200;
/// A step that takes more than this many times its hold, and more than an hour, is told to be infeasible.
const MOST_HOLDS: f64 = 12.0;
const MOST_MINUTES: f64 = 60.0;

/// What the judge must know of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepTerms {
    /// Canary's part of all that is counted in this step, copies among it, 0 to 1; of a match it is a guess. At 1 there is no stable arm: the
    /// bake (statistics 2k).
    pub weight: f64,
    /// Share that a Pass opens the way to, 0 to 1; 1 for the step before 100 % and for the last step.
    pub next_weight: f64,
    /// Windows that the hold is planned to show.
    pub planned_windows: u32,
    /// Names of metrics that do not gate this step.
    pub without: Vec<String>,
    /// What the canary gets.
    #[serde(default)]
    pub share: Share,
    /// Number of the kind of traffic: steps have the same one where users at random, users of a match and copies are the same. What was
    /// counted of one kind is no evidence of another.
    #[serde(default)]
    pub kind: u32,
}

impl StepTerms {
    /// Requests that are counted for one of a user: copies count too.
    pub(crate) fn counted(&self) -> f64 {
        1.0 + f64::from(self.share.mirror) / 100.0
    }
}

/// All evidence of one rollout: a value that goes into the checkpoint as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Length of a window in seconds.
    pub interval_seconds: f64,
    /// Weight and planned windows of the steps with two arms.
    plan: Vec<(f64, u32)>,
    /// Canary pods at the start.
    canary_pods: u32,
    /// Pods can be told apart.
    by_pod: bool,
    /// The step whose pass side runs.
    present: Option<StepTerms>,
    /// One for each metric of the plan, in its order.
    metrics: Vec<MetricState>,
    /// Windows used in this step.
    windows: u32,
    step_requests: u64,
    canary_requests: u64,
    stable_requests: u64,
    canary_errors: u64,
    /// Requests that were copies, in steps without users.
    #[serde(default)]
    mirrored_requests: u64,
    /// Kinds of traffic that share the rollout's error budget.
    #[serde(default = "one")]
    kinds: u32,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// It failed once: that stands.
    failed: bool,
    /// A person accepted what the limit that holds found.
    hold_accepted: bool,
}

fn one() -> u32 {
    1
}

/// How many kinds of traffic are judged against a stable arm, at least one.
fn kinds(steps: &[StepTerms]) -> u32 {
    let kinds: std::collections::BTreeSet<u32> = steps.iter().filter(|step| step.weight < 1.0).map(|step| step.kind).collect();
    u32::try_from(kinds.len()).unwrap_or(u32::MAX).max(1)
}

/// What the evidence says at one look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// All metrics together. `Pass` at weight 1 is never given: there `Inconclusive` means "did not fail".
    pub verdict: Verdict,
    /// One entry for each metric of the plan, the deciding one first.
    pub metrics: Vec<MetricEvidence>,
    /// Merged fail evidence (statistics 2d); 1 is none.
    pub fail_evidence: f64,
    /// Where it fails.
    pub fail_at: f64,
    /// Whether a limit that holds was crossed (drift's first limit).
    pub hold_limit: bool,
    /// Nothing points to harm: fail evidence below 2, estimates within the fail margins, 200 canary requests (PromoteIfNoHarm).
    pub no_harm: bool,
    /// Windows used in this step.
    pub windows: u32,
    /// Canary requests counted in this step.
    pub step_requests: u64,
    /// Requests counted over the whole rollout.
    pub exposure: Exposure,
    /// Why the plan cannot be decided at this traffic, with the numbers and the change that would do.
    pub infeasible: Option<String>,
}

/// What the parts must know of the whole.
pub(crate) struct Context<'a> {
    /// Weight and planned windows of the steps with two arms.
    pub(crate) steps: &'a [(f64, u32)],
    /// Which of them is the present one.
    pub(crate) step: usize,
    /// Its terms.
    pub(crate) present: Option<&'a StepTerms>,
    /// Canary pods at the start.
    pub(crate) canary_pods: u32,
    /// Pods can be told apart.
    pub(crate) by_pod: bool,
    /// Length of a window in seconds.
    pub(crate) interval_seconds: f64,
    /// A person accepted what the limit that holds found.
    pub(crate) hold_accepted: bool,
    /// The rollout has failed already: what holds is no longer of interest.
    pub(crate) failed: bool,
    /// Where fail evidence of the present kind of traffic fails the rollout.
    pub(crate) fail_at: f64,
}

/// A number that JSON gives back unchanged: at most 15 digits, 9 after the point.
fn tidy(x: f64) -> f64 {
    if x.abs() < 1e6 {
        (x * 1e9).round() / 1e9
    } else if x.abs() < 1e12 {
        (x * 1e3).round() / 1e3
    } else {
        x.round()
    }
}

impl Evidence {
    /// Evidence of nothing yet.
    pub fn new(metrics: &[Metric], interval_seconds: f64) -> Self {
        Self {
            interval_seconds,
            plan: Vec::new(),
            canary_pods: 0,
            by_pod: false,
            present: None,
            metrics: metrics.iter().map(|_| MetricState::new()).collect(),
            windows: 0,
            step_requests: 0,
            canary_requests: 0,
            stable_requests: 0,
            canary_errors: 0,
            mirrored_requests: 0,
            kinds: 1,
            since: None,
            until: None,
            failed: false,
            hold_accepted: false,
        }
    }

    /// Freezes margins, watched bounds and dispersion from stable's past. With too little history it is left open, and the first 20
    /// windows of the rollout do it; until then neither side accrues.
    pub fn calibrate(&mut self, metrics: &[Metric], history: &History, steps: &[StepTerms], canary_pods: u32) {
        self.plan = steps.iter().filter(|step| step.weight < 1.0).map(|step| (step.weight, step.planned_windows)).collect();
        (self.canary_pods, self.by_pod) = (canary_pods, history.by_pod);
        self.kinds = kinds(steps);
        self.with_context(|context, states| {
            for (state, metric) in states.iter_mut().zip(metrics) {
                let two_arms = || steps.iter().filter(|step| step.weight < 1.0);
                state.gates = two_arms().next().is_none() || two_arms().any(|step| !step.without.contains(&metric.name));
                state.calibrate(metric, history, context);
            }
        });
    }

    /// Whether margins are frozen, of every metric that has been seen.
    pub fn calibrated(&self) -> bool {
        let seen = || self.metrics.iter().filter(|state| state.frozen() || !state.pending.is_empty());
        self.metrics.is_empty() || (seen().next().is_some() && seen().all(MetricState::frozen))
    }

    /// Restarts the pass side, at the begin of a step (or when a person resumes). Where another kind of traffic begins, the fail side
    /// begins anew too: what copies or a cohort showed is not held against users drawn at random.
    pub fn begin_step(&mut self, metrics: &[Metric], step: &StepTerms) {
        if self.present.as_ref().is_some_and(|present| present.kind != step.kind) {
            self.metrics.iter_mut().for_each(MetricState::begin_kind);
        }
        let further = self.present.as_ref().is_none_or(|present| step.weight > present.weight);
        self.present = Some(step.clone());
        (self.windows, self.step_requests) = (0, 0);
        if self.plan.is_empty() && step.weight < 1.0 {
            self.plan.push((step.weight, step.planned_windows));
        }
        self.with_context(|context, states| {
            for (state, metric) in states.iter_mut().zip(metrics) {
                state.begin_step(metric, step, further, context);
            }
        });
    }

    /// A person promoted past the limit that holds: that difference is accepted for this rollout. The limit that rolls back stands.
    pub fn accept_hold(&mut self) {
        self.hold_accepted = true;
    }

    /// Adds one window.
    pub fn add(&mut self, metrics: &[Metric], step: &StepTerms, window: &Window) {
        if self.present.is_none() {
            self.begin_step(metrics, step);
        }
        self.with_context(|context, states| {
            for (state, metric) in states.iter_mut().zip(metrics) {
                state.add(metric, step, window.stable.get(&metric.name), window.canary.get(&metric.name), context);
            }
        });
        self.expose(metrics, step, window);
        let (value, limit) = (self.fail_evidence(step), self.fail_at(step));
        self.failed = self.failed || value >= limit || self.metrics.iter().any(|state| state.catastrophe);
    }

    /// Counts requests over the whole rollout.
    fn expose(&mut self, metrics: &[Metric], step: &StepTerms, window: &Window) {
        let total = |counts: &Counts| match counts {
            Counts::Events { total, .. } | Counts::Histogram { total, .. } => *total,
            Counts::Classes(map) => map.values().sum(),
        };
        // Requests are those of the error rate where there is one; else the most that any metric counted.
        let errors = metrics.iter().find(|metric| matches!(metric.kind, MetricKind::ErrorRate { .. })).map(|metric| &metric.name);
        let requests = |sample: &crate::counts::Sample| match errors.and_then(|name| sample.get(name)) {
            Some(counts) => total(counts),
            None => sample.values().map(total).max().unwrap_or(0),
        };
        if !window.canary.is_empty() {
            self.windows += 1;
        }
        let canary = requests(&window.canary);
        self.step_requests += canary;
        self.stable_requests += requests(&window.stable);
        if step.share.mirror > 0 && !step.share.reaches_users() {
            self.mirrored_requests += canary;
        } else {
            self.canary_requests += canary;
            if let Some(Counts::Events { bad, .. }) = errors.and_then(|name| window.canary.get(name)) {
                self.canary_errors += bad;
            }
        }
        self.since = self.since.or(Some(window.start));
        self.until = Some(window.end);
    }

    /// Kinds of traffic share the budget alike, so that all of them together stay within it.
    fn fail_at(&self, step: &StepTerms) -> f64 {
        if step.weight >= 1.0 { bake::FAIL_AT } else { FAIL_AT * f64::from(self.kinds) }
    }

    /// The merge over the metrics (statistics 2d): a weighted mean, valid however they depend on each other.
    fn fail_evidence(&self, step: &StepTerms) -> f64 {
        let values: Vec<f64> = if step.weight >= 1.0 {
            self.metrics.iter().filter_map(|state| state.bake.as_ref()).map(bake::Bake::fail_evidence).collect()
        } else {
            self.metrics.iter().filter(|state| state.gates).map(MetricState::fail_evidence).collect()
        };
        if values.is_empty() { 1.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
    }

    fn with_context<R>(&mut self, f: impl FnOnce(&Context<'_>, &mut [MetricState]) -> R) -> R {
        let mut states = std::mem::take(&mut self.metrics);
        let result = f(&self.context(), &mut states);
        self.metrics = states;
        result
    }

    fn context(&self) -> Context<'_> {
        let weight = self.present.as_ref().map_or(0.0, |step| step.weight);
        let nearest = self.plan.iter().enumerate().min_by(|a, b| (a.1.0 - weight).abs().total_cmp(&(b.1.0 - weight).abs()));
        Context {
            steps: &self.plan,
            step: nearest.map_or(0, |(at, _)| at),
            present: self.present.as_ref(),
            canary_pods: self.canary_pods,
            by_pod: self.by_pod,
            interval_seconds: self.interval_seconds,
            hold_accepted: self.hold_accepted,
            failed: self.failed,
            fail_at: FAIL_AT * f64::from(self.kinds),
        }
    }

    /// What it says now.
    pub fn judge(&self, metrics: &[Metric], step: &StepTerms) -> Judgement {
        let context = self.context();
        let part = 1.0 / self.metrics.iter().filter(|state| state.gates).count().max(1) as f64;
        let mut answers: Vec<verdict::Answer> =
            self.metrics.iter().zip(metrics).map(|(state, metric)| verdict::answer(state, metric, step, &context, part)).collect();
        let merged = self.fail_evidence(step);
        if self.failed && !self.metrics.iter().any(|state| state.catastrophe) {
            let value = |answer: &verdict::Answer| answer.evidence.fail_evidence.unwrap_or(0.0);
            if let Some(worst) = answers.iter_mut().max_by(|a, b| value(a).total_cmp(&value(b))) {
                (worst.evidence.verdict, worst.evidence.reason) = (Verdict::Fail, Some(EvidenceReason::FailLimit));
            }
        }
        let hold_limit = !self.hold_accepted && self.metrics.iter().any(MetricState::held);
        let asked = metrics.iter().any(|metric| !step.without.contains(&metric.name));
        let gating = || answers.iter().filter(|answer| answer.gates);
        let proved = !asked || (gating().next().is_some() && gating().all(|answer| answer.evidence.verdict == Verdict::Pass));
        let verdict = match () {
            () if self.failed => Verdict::Fail,
            () if step.weight >= 1.0 || hold_limit || !proved => Verdict::Inconclusive,
            () => Verdict::Pass,
        };
        let no_harm = !self.failed
            && merged < NO_HARM
            && self.step_requests >= NO_HARM_REQUESTS
            && answers.iter().zip(metrics).filter(|(_, metric)| !step.without.contains(&metric.name)).all(|(answer, _)| answer.within);
        let infeasible = self.infeasible(step, &answers, &context);
        answers.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        Judgement {
            verdict,
            metrics: answers.into_iter().map(|answer| answer.evidence).collect(),
            fail_evidence: merged,
            fail_at: self.fail_at(step),
            hold_limit,
            no_harm,
            windows: self.windows,
            step_requests: self.step_requests,
            exposure: self.exposure(metrics),
            infeasible,
        }
    }

    fn exposure(&self, metrics: &[Metric]) -> Exposure {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let errors = metrics.iter().any(|metric| matches!(metric.kind, MetricKind::ErrorRate { .. }));
        Exposure {
            canary_requests: whole(self.canary_requests),
            mirrored_requests: (self.mirrored_requests > 0).then(|| whole(self.mirrored_requests)),
            stable_requests: whole(self.stable_requests),
            canary_errors: errors.then(|| whole(self.canary_errors)),
            seconds: self.since.zip(self.until).map_or(0, |(since, until)| until.as_second() - since.as_second()),
        }
    }

    /// Why this step cannot be decided in a time that is near its hold.
    fn infeasible(&self, step: &StepTerms, answers: &[verdict::Answer], context: &Context<'_>) -> Option<String> {
        let minutes = |windows: f64| windows * self.interval_seconds / 60.0;
        let most = MOST_MINUTES.max(MOST_HOLDS * minutes(f64::from(step.planned_windows)));
        if step.weight >= 1.0 || self.failed {
            return None;
        }
        let late = |(answer, state): &(&verdict::Answer, &MetricState)| {
            answer.gates && state.frozen() && state.windows > 0 && answer.windows_to_pass.is_none_or(|windows| minutes(windows) > most)
        };
        let (answer, state) = answers.iter().zip(&self.metrics).find(late)?;
        let rps = state.per_window() / self.interval_seconds.max(1e-9);
        let need = answer
            .windows_to_pass
            .map_or("would never pass".to_owned(), |windows| format!("needs about {} more", say::minutes(minutes(windows))));
        // Precision grows with w (1 - w): the weight that would be quick enough, up to one half.
        let wanted = answer.windows_to_pass.map(|windows| context.present.map_or(step.weight, |s| s.weight) * minutes(windows) / most);
        let weighted = step.share == Share::weight(step.share.weight);
        let mend = match wanted.filter(|weight| weighted && *weight <= 0.5) {
            Some(weight) => {
                let percent = (100.0 * weight / 5.0).ceil() * 5.0;
                format!(
                    "a weight of {percent:.0} % or a deadline of {} would do",
                    say::minutes(1.3 * answer.windows_to_pass.map_or(most, minutes))
                )
            }
            None if weighted => "a larger first weight, more traffic, or `without` for this metric would do".to_owned(),
            None => "more traffic, a longer deadline, or `without` for this metric would do".to_owned(),
        };
        let (metric, traffic) = (&answer.evidence.metric, step.share.words());
        Some(format!("{metric} at {traffic} of {rps:.1} requests a second {need} in this step; {mend}"))
    }
}

/// The deciding metric first: what failed, what holds, what is missing, what passed; among equals the one with more fail evidence.
fn rank(answer: &verdict::Answer) -> f64 {
    let class = match (answer.evidence.verdict, answer.evidence.reason) {
        (Verdict::Fail, _) => 0.0,
        (_, Some(EvidenceReason::HoldLimit)) => 1.0,
        (_, Some(EvidenceReason::NotGating)) => 4.0,
        (Verdict::Inconclusive, _) if !answer.gates => 4.0,
        (Verdict::Inconclusive, _) => 2.0,
        (Verdict::Pass, _) => 3.0,
    };
    class - answer.evidence.fail_evidence.unwrap_or(0.0).min(1e9) * 1e-10
}

#[cfg(test)]
mod kind_tests;
#[cfg(test)]
mod tests;
