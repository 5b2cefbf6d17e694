//! Is the canary worse than stable? The statistics. Pure.
//!
//! Every window of both arms becomes one e-value for each thing that is watched ([`kernel`]); their products, mixed over effect sizes
//! and over the time at which a regression may have begun ([`mixture`]), are the evidence; a plan that ends finds small regressions
//! ([`budget`]), and a hold that ends proves a healthy canary ([`passing`]). `docs/statistics.md` tells it with numbers.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::{EvidenceReason, Exposure, Load, MetricEvidence, ThresholdAction, Verdict};
use crate::counts::{Counts, REQUESTS, Window};
use crate::plan::{Limits, Metric};

mod bake;
pub mod budget;
mod bursts;
mod cold;
pub mod columns;
pub mod dispersion;
pub mod distance;
mod drift;
mod effect;
pub mod finding;
mod forecast;
pub mod incident;
pub mod kernel;
mod late;
mod load;
mod looks;
mod metric;
pub mod mixture;
pub mod passing;
mod past;
mod plain;
mod proportions;
mod terms;
mod threshold;
mod verdict;

use finding::Finding;
pub use forecast::{PlanForecast, Reach, StepForecast, forecast_plan, late_rest};
pub use late::{Fix, Late, Limit, Need, Slowest};
pub use load::{UNEQUAL, equal_pods};
pub use metric::CALIBRATION;
use metric::MetricState;
pub use past::{Past, most_windows, recent_windows};
pub use plain::{Plainly, suspect};
pub(crate) use terms::Context;
pub use terms::StepTerms;
use terms::{Planned, kinds, one};
pub use threshold::Seen;

/// Where the merged fail evidence fails the rollout: 1/alpha_f, alpha_f = 0.08.
pub const FAIL_AT: f64 = 12.5;
/// Fail evidence below which nothing points to harm.
const NO_HARM: f64 = 2.0;
/// Canary requests without which nothing is said about harm.
const NO_HARM_REQUESTS: u64 = 200;

/// All evidence of one rollout: a value that goes into the checkpoint as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// Length of a window in seconds.
    pub interval_seconds: f64,
    /// The steps with two arms.
    plan: Vec<Planned>,
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
    /// Requests that were copies.
    #[serde(default)]
    mirrored_requests: u64,
    /// Kinds of traffic that share the rollout's error budget.
    #[serde(default = "one")]
    kinds: u32,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// It failed once: that stands.
    failed: bool,
    /// Glances at single scrapes so far.
    #[serde(default)]
    pub glances: u32,
    /// Incidents that hit stable too.
    #[serde(default)]
    incidents: incident::Watch,
    /// The canary's share is 0 until an incident is over.
    #[serde(default)]
    resting: bool,
    /// Requests per pod in this step.
    #[serde(default)]
    load: load::Tally,
    /// How long a pod warms up, in seconds; 0: it does not.
    #[serde(default)]
    pub warm_up_seconds: f64,
    /// Since when the canary's pods get requests.
    #[serde(default)]
    fresh: cold::Fresh,
}

/// What the evidence says at one look; of each metric in numbers ([`finding::Finding`]) or with its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement<M = MetricEvidence> {
    /// All metrics together. `Pass` at weight 1 is never given: there `Inconclusive` means "did not fail".
    pub verdict: Verdict,
    /// One entry for each metric of the plan, the deciding one first.
    pub metrics: Vec<M>,
    /// Merged fail evidence (statistics 2d); at most 1 is none.
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
    /// What a healthy canary would still wait for in this step; `None`: for nothing.
    pub slowest: Option<Slowest>,
    /// An incident that hits stable too: nothing passes meanwhile.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub incident: Option<incident::Incident>,
    /// Requests per pod of both versions in this step; `None`: not counted, or there is no stable arm.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub load: Option<Load>,
}

/// A number that JSON returns unchanged: at most 15 digits, 9 after the point.
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
            metrics: metrics.iter().map(MetricState::new).collect(),
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
            glances: 0,
            incidents: incident::Watch::default(),
            resting: false,
            load: load::Tally::default(),
            warm_up_seconds: 0.0,
            fresh: cold::Fresh::default(),
        }
    }

    /// Restarts the pass side, at the begin of a step (or when a person resumes). Where another kind of traffic begins, the fail side
    /// starts over too: what copies or a cohort showed is not held against users drawn at random.
    pub fn begin_step(&mut self, metrics: &[Metric], step: &StepTerms) {
        let other = self.present.as_ref().is_some_and(|present| present.kind != step.kind);
        let further = self.present.as_ref().is_none_or(|present| step.weight > present.weight || step.kind > present.kind);
        self.present = Some(step.clone());
        (self.windows, self.step_requests) = (0, 0);
        self.load.begin_step();
        self.incidents.begin_step(further);
        if step.weight >= 1.0 {
            self.incidents.present = None; // stable has no traffic of its own any more
        }
        if self.plan.is_empty() && step.weight < 1.0 {
            self.plan.push(Planned::of(step));
        }
        for Planned(_, windows, _) in self.plan.iter_mut().filter(|Planned(weight, _, kind)| (*weight, *kind) == (step.weight, step.kind)) {
            *windows = step.planned_windows; // a hold may be edited on the way
        }
        if other && step.weight < 1.0 {
            self.with_context(|context, states| states.iter_mut().for_each(|state| state.begin_kind(context)));
        }
        for (state, metric) in self.metrics.iter_mut().zip(metrics) {
            state.begin_step(metric, step, further);
        }
    }

    /// Adds one window.
    pub fn add(&mut self, metrics: &[Metric], step: &StepTerms, window: &Window) {
        if self.present.is_none() {
            self.begin_step(metrics, step);
        }
        if std::mem::take(&mut self.resting) {
            self.incidents.begin_step(true); // the way back up is a raise too
        }
        let frozen = self.in_incident();
        self.load.pods = [window.stable_pods, window.canary_pods];
        self.fresh.window(window.canary_pods, window.start, window.end);
        let apart = threshold::apart(&self.metrics, metrics, step);
        self.with_context(|context, states| {
            for (state, metric) in states.iter_mut().zip(metrics).filter(|(_, metric)| !(apart && metric.is_timed())) {
                state.add(metric, step, window.stable.get(&metric.name), window.canary.get(&metric.name), context);
            }
        });
        self.expose(metrics, step, window, frozen);
        let (value, limit) = (self.fail_evidence(step), self.fail_at(step));
        self.failed = self.failed || value >= limit || self.metrics.iter().any(|state| state.catastrophe && !state.advisory);
        if step.weight < 1.0 {
            self.watch_stable(metrics, step, window.end);
        }
    }

    /// Takes what the looks at the thresholds' queries gave at this time: index of the metric, and what was seen.
    pub fn observe(&mut self, metrics: &[Metric], step: &StepTerms, at: Timestamp, seen: &[(usize, Seen)]) {
        for (index, seen) in seen {
            let Some((state, metric)) = self.metrics.get_mut(*index).zip(metrics.get(*index)) else { continue };
            if step.without.contains(&metric.name) {
                continue;
            }
            let threshold = state.threshold.get_or_insert_default();
            threshold.see(metric.kind.limits(), at, seen, self.interval_seconds);
            self.failed = self.failed || (metric.gate && threshold.broke(metric.kind.limits(), ThresholdAction::Rollback));
        }
    }

    /// Counts requests over the whole rollout.
    fn expose(&mut self, metrics: &[Metric], step: &StepTerms, window: &Window, frozen: bool) {
        let total = |counts: &Counts| match counts {
            Counts::Events { total, .. } | Counts::Histogram { total, .. } => *total,
            Counts::Classes(map) => map.values().sum(),
        };
        // Requests are those of the mesh; where they are not given, the most that any metric counted.
        let errors = metrics.iter().find(|metric| metric.counts_requests());
        let errors = errors.map_or(REQUESTS, |metric| metric.name.as_str());
        let requests = |sample: &crate::counts::Sample| match sample.get(errors) {
            Some(counts) => total(counts),
            None => sample.values().map(total).max().unwrap_or(0),
        };
        // Where nothing is compared a window is one all the same.
        let compared = || metrics.iter().filter(|metric| !metric.kind.is_threshold());
        let used = compared().any(|metric| window.canary.contains_key(&metric.name)) || compared().next().is_none();
        let canary = requests(&window.canary);
        if !frozen {
            self.windows += u32::from(used);
            self.step_requests += canary;
        }
        let stable = requests(&window.stable);
        self.load.add(window, [stable, canary]);
        let copies = step.share.copies(stable, canary, self.by_pod);
        self.stable_requests += stable;
        self.mirrored_requests += copies;
        self.canary_requests += canary - copies;
        if let Some(Counts::Events { bad, .. }) = window.canary.get(errors) {
            // A copy fails as often as a request.
            self.canary_errors += if copies == 0 { *bad } else { bad * (canary - copies) / canary.max(1) };
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
            self.metrics
                .iter()
                .filter(|state| !state.advisory)
                .filter_map(|state| state.bake.as_ref())
                .map(bake::Bake::fail_evidence)
                .collect()
        } else {
            let context = self.context();
            self.metrics.iter().filter(|state| state.gates).map(|state| state.fail_evidence(&context)).collect()
        };
        if values.is_empty() { 1.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
    }

    fn with_context<R>(&mut self, f: impl FnOnce(&Context<'_>, &mut [MetricState]) -> R) -> R {
        let part = self.part();
        let mut states = std::mem::take(&mut self.metrics);
        let result = f(&Context { part, ..self.context() }, &mut states);
        self.metrics = states;
        result
    }

    /// A metric's part in the merge.
    fn part(&self) -> f64 {
        1.0 / self.metrics.iter().filter(|state| state.gates).count().max(1) as f64
    }

    fn context(&self) -> Context<'_> {
        let (weight, kind) = self.present.as_ref().map_or((0.0, 0), |step| (step.weight, step.kind));
        let distance = |Planned(planned, _, of): &Planned| (*of != kind, (planned - weight).abs());
        let nearest = self.plan.iter().map(distance).enumerate().min_by(|(_, a), (_, b)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        Context {
            steps: &self.plan,
            step: nearest.map_or(0, |(at, _)| at),
            part: self.part(),
            present: self.present.as_ref(),
            canary_pods: self.canary_pods,
            pods: self.load.pods,
            by_pod: self.by_pod,
            interval_seconds: self.interval_seconds,
            failed: self.failed,
            fail_at: FAIL_AT * f64::from(self.kinds),
            frozen: self.in_incident(),
            young: self.fresh.young(self.warm_up_seconds),
        }
    }

    /// What it says now.
    pub fn judge(&self, metrics: &[Metric], step: &StepTerms) -> Judgement<Finding> {
        let context = self.context();
        let answer = |(state, metric): (&MetricState, &Metric)| self.answer(state, metric, step, &context);
        let mut answers: Vec<verdict::Answer> = self.metrics.iter().zip(metrics).map(answer).collect();
        let merged = self.fail_evidence(step);
        let deciding = |answer: &verdict::Answer| !answer.evidence.advisory;
        if self.failed && !answers.iter().any(|answer| deciding(answer) && answer.evidence.verdict == Verdict::Fail) {
            let value = |answer: &verdict::Answer| answer.evidence.fail_evidence.unwrap_or(0.0);
            if let Some(worst) = answers.iter_mut().filter(|answer| deciding(answer)).max_by(|a, b| value(a).total_cmp(&value(b))) {
                (worst.evidence.verdict, worst.evidence.reason) = (Verdict::Fail, Some(EvidenceReason::FailLimit));
            }
        }
        let hold_limit = self.metrics.iter().zip(metrics).any(|(state, metric)| state.holds(metric, step));
        let asked = metrics.iter().any(|metric| step.asks(metric));
        let gating = || answers.iter().filter(|answer| answer.gates);
        let proved = !asked || (gating().next().is_some() && gating().all(|answer| answer.evidence.verdict == Verdict::Pass));
        let verdict = match () {
            () if self.failed => Verdict::Fail,
            () if step.weight >= 1.0 || hold_limit || !proved || self.incidents.present.is_some() => Verdict::Inconclusive,
            () => Verdict::Pass,
        };
        let no_harm = !self.failed
            && !self.in_incident()
            && merged < NO_HARM
            && self.step_requests >= NO_HARM_REQUESTS
            && answers.iter().zip(metrics).filter(|(_, metric)| step.asks(metric)).all(|(answer, _)| answer.within);
        let slowest = self.slowest(step, &answers);
        let mut findings: Vec<(f64, Finding)> =
            answers.into_iter().enumerate().map(|(at, answer)| (answer.rank(), answer.finding(at))).collect();
        findings.sort_by(|a, b| a.0.total_cmp(&b.0));
        Judgement {
            verdict,
            metrics: findings.into_iter().map(|(_, finding)| finding).collect(),
            fail_evidence: merged,
            fail_at: self.fail_at(step),
            hold_limit,
            no_harm,
            windows: self.windows,
            step_requests: self.step_requests,
            exposure: self.counted(metrics),
            slowest,
            incident: self.incidents.present.clone().filter(|_| step.weight < 1.0),
            load: self.load.told().filter(|_| step.weight < 1.0),
        }
    }

    fn answer(&self, state: &MetricState, metric: &Metric, step: &StepTerms, context: &Context<'_>) -> verdict::Answer {
        let mut answer = match metric.kind.limits() {
            Limits::Range(limits) => threshold::answer(state.threshold.as_ref(), metric, limits, step),
            _ => verdict::answer(state, metric, step, context),
        };
        effect::shortened(&mut answer.evidence);
        if state.advisory {
            (answer.gates, answer.evidence.advisory) = (false, true);
            // Alone, it has nothing to share the error budget with.
            if answer.evidence.fail_evidence.zip(answer.evidence.fail_at).is_some_and(|(value, limit)| value >= limit) {
                (answer.evidence.verdict, answer.evidence.reason) = (Verdict::Fail, Some(EvidenceReason::FailLimit));
            }
        }
        answer
    }

    /// Who was touched so far; `None` before the first window.
    pub fn exposure(&self, metrics: &[Metric]) -> Option<Exposure> {
        self.since.map(|_| self.counted(metrics))
    }

    fn counted(&self, metrics: &[Metric]) -> Exposure {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let errors = metrics.iter().any(Metric::counts_requests);
        Exposure {
            canary_requests: whole(self.canary_requests),
            mirrored_requests: (self.mirrored_requests > 0).then(|| whole(self.mirrored_requests)),
            stable_requests: whole(self.stable_requests),
            canary_errors: errors.then(|| whole(self.canary_errors)),
            seconds: self.since.zip(self.until).map_or(0, |(since, until)| until.as_second() - since.as_second()),
        }
    }

    /// The metric that a healthy canary would wait for in this step, and how long.
    fn slowest(&self, step: &StepTerms, answers: &[verdict::Answer]) -> Option<Slowest> {
        let minutes = |windows: f64| windows * self.interval_seconds / 60.0;
        let waits = |(answer, state): &(&verdict::Answer, &MetricState)| {
            answer.gates && state.frozen() && state.windows > 0 && answer.windows_to_pass != Some(0.0)
        };
        let more = |answer: &verdict::Answer| answer.windows_to_pass.unwrap_or(f64::INFINITY);
        let waiting = answers.iter().zip(&self.metrics).filter(waits).max_by(|(a, _), (b, _)| more(a).total_cmp(&more(b)));
        let (answer, state) = waiting.filter(|_| step.weight < 1.0 && !self.failed)?;
        Some(Slowest {
            metric: answer.evidence.metric.clone(),
            weight: step.weight,
            share: step.share,
            rps: state.per_window() / self.interval_seconds.max(1e-9),
            shown: minutes(f64::from(state.windows)),
            minutes: answer.windows_to_pass.map(minutes),
        })
    }

    /// Requests a second that stable gets, and the share of them that fails, as they were before the rollout; `None`: not known.
    pub fn usual(&self, metrics: &[Metric]) -> Option<(f64, f64)> {
        let known = || self.metrics.iter().zip(metrics).filter(|(state, _)| state.frozen());
        let most = known().map(|(state, _)| state.per_window()).max_by(f64::total_cmp)?;
        let errors = known().find(|(_, metric)| metric.counts_requests());
        let errors = errors.and_then(|(state, _)| state.s0.first()).copied().unwrap_or(0.0);
        Some((most / self.interval_seconds.max(1e-9), errors))
    }
}

#[cfg(test)]
impl Evidence {
    /// What it says now, with its text.
    pub(crate) fn told(&self, metrics: &[Metric], step: &StepTerms) -> Judgement {
        crate::say::judged(self.judge(metrics, step), metrics)
    }
}

#[cfg(test)]
mod kind_tests;
#[cfg(test)]
mod tests;
