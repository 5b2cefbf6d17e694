//! One rollout from its start to its end.

use super::stage::{Stage, seconds, time};
use crate::api::{Outcome, Reason, Verdict};
use crate::counts::{History, Sample, Window};
use crate::judge::{Evidence, Judgement, StepTerms};
use crate::plan::Plan;
use crate::seen::{Look, StepKey};
use crate::state::brief::terms;

/// Windows after which a rollout that still continues is given up as held.
const MOST_WINDOWS: u32 = 200_000;

/// What a rehearsal needs beside the traffic.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The plan.
    pub plan: Plan,
    /// Length of a window in seconds.
    pub interval: f64,
    /// Stable's pods.
    pub stable_pods: u32,
    /// Canary's pods when the rollout starts.
    pub canary_pods: u32,
    /// What a person does.
    pub hands: Hands,
}

/// What a person does in a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hands {
    /// Answers approvals at once, and nothing else.
    Approve,
    /// Also continues without proof whenever a deadline holds, so that each step takes exactly its hold where that is its deadline.
    PromoteAtDeadline,
}

/// How a rehearsal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The canary is the new stable, or has passed where it was not to become stable.
    Promoted,
    /// The traffic was returned to stable.
    RolledBack,
    /// It holds at a deadline: a person would be asked.
    Held,
    /// The recording was over first.
    CutOff,
}

/// What became of one rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// How it ended.
    pub ending: Ending,
    /// When, in minutes since the canary got its first share.
    pub minutes: f64,
    /// Requests that the canary answered until then, copies among them.
    pub canary_requests: u64,
    /// What rolled it back: name of a metric, or `deadline`. What held it: name of the metric whose limit was crossed or that waits.
    pub by: Option<String>,
    /// The limit that holds was crossed.
    pub hold_limit: bool,
    /// Times that a person was asked and said yes.
    pub answers: u32,
    /// Each look, if it was asked for.
    pub points: Vec<Point>,
}

/// One look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Minutes since the canary got its first share.
    pub minutes: f64,
    /// Index of the step.
    pub step: usize,
    /// Merged fail evidence.
    pub evidence: f64,
    /// Where it fails.
    pub fail_at: f64,
}

/// The windows of a rollout: asked for from `start` to `end` (seconds since the start), in a step, with the requests of stable and of the
/// canary that are counted for one of a user.
pub type Windows<'w> = dyn FnMut(f64, f64, usize, [f64; 2]) -> Option<[Sample; 2]> + 'w;

/// Plays one rollout: stable's past, then one window after the other as `windows` gives them (`None`: there are no more). With
/// `watch` every look is kept.
pub fn play(setup: &Setup, history: &History, windows: &mut Windows<'_>, watch: bool) -> Played {
    let steps = terms(&setup.plan);
    let mut sampler = Sampler::new(setup, history, steps);
    let mut stage = Stage::new(setup.plan.clone(), setup.stable_pods, setup.hands);
    let mut points = Vec::new();
    let mut now = 0.0;
    stage.settle(); // begins
    sampler.follow(&stage);
    let ending = loop {
        stage.show(sampler.look());
        let settled = stage.settle();
        if let Some(ended) = &stage.state.ended {
            let well = matches!(ended.outcome, Outcome::Promoted | Outcome::Passed);
            break if well { Ending::Promoted } else { Ending::RolledBack };
        }
        if settled.at_deadline || sampler.windows >= MOST_WINDOWS {
            break Ending::Held;
        }
        sampler.follow(&stage);
        let Some(next) = sampler.next(&stage, now) else { break Ending::Held };
        now = next;
        stage.set_time(now);
        if !sampler.count(&stage, now, windows) {
            break Ending::CutOff;
        }
        if watch && let Some(judgement) = &sampler.newest {
            let step = stage.state.run.as_ref().and_then(|run| run.step).unwrap_or(0);
            points.push(Point { minutes: now / 60.0, step, evidence: judgement.fail_evidence, fail_at: judgement.fail_at });
        }
    };
    let reason = stage.state.ended.as_ref().and_then(|ended| ended.reason.known());
    let newest = sampler.newest.as_ref();
    Played {
        ending,
        minutes: now / 60.0,
        canary_requests: sampler.canary_requests,
        by: match (ending, reason) {
            (Ending::RolledBack, Some(Reason::DeadlineExceeded)) => Some("deadline".to_owned()),
            (Ending::RolledBack, _) => newest.and_then(|judgement| {
                let failed = judgement.metrics.iter().find(|metric| metric.verdict == Verdict::Fail);
                failed.or(judgement.metrics.first()).map(|metric| metric.metric.clone())
            }),
            (Ending::Held, _) => newest.and_then(|judgement| judgement.metrics.first()).map(|metric| metric.metric.clone()),
            (Ending::Promoted | Ending::CutOff, _) => None,
        },
        hold_limit: newest.is_some_and(|judgement| judgement.hold_limit),
        answers: stage.answers,
        points,
    }
}

/// What the sampler does in the controller: windows to evidence to looks.
struct Sampler<'a> {
    setup: &'a Setup,
    steps: Vec<StepTerms>,
    evidence: Evidence,
    key: Option<StepKey>,
    /// Windows of the present weight.
    counted: u32,
    windows: u32,
    window_end: Option<f64>,
    newest: Option<Judgement>,
    canary_requests: u64,
}

impl<'a> Sampler<'a> {
    fn new(setup: &'a Setup, history: &History, steps: Vec<StepTerms>) -> Self {
        let metrics = &setup.plan.analysis.metrics;
        let mut evidence = Evidence::new(metrics, setup.interval);
        evidence.calibrate(metrics, history, &steps, setup.canary_pods);
        Self { setup, steps, evidence, key: None, counted: 0, windows: 0, window_end: None, newest: None, canary_requests: 0 }
    }

    fn terms(&self) -> Option<&StepTerms> {
        self.steps.get(self.key?.step?)
    }

    /// Takes over what is watched now; a step that begins begins in the evidence too.
    fn follow(&mut self, stage: &Stage) {
        let key = stage.key();
        if self.key == key {
            return;
        }
        let stepped = self.key.zip(key).is_none_or(|(old, new)| (old.epoch, old.step) != (new.epoch, new.step));
        (self.key, self.counted, self.newest) = (key, 0, None);
        if let Some(terms) = self.terms().cloned().filter(|_| stepped) {
            self.evidence.begin_step(&self.setup.plan.analysis.metrics, &terms);
        }
    }

    /// The newest look. Before the first step it says that stable was read; in a step there is none before its first window.
    fn look(&self) -> Option<Look> {
        let metrics = &self.setup.plan.analysis.metrics;
        let key = self.key.filter(|_| !metrics.is_empty())?;
        let judgement = match (&self.newest, key.step) {
            (Some(judgement), _) => judgement.clone(),
            (None, None) => self.evidence.judge(metrics, self.steps.first()?),
            (None, Some(_)) => return None,
        };
        Some(Look {
            key,
            window_end: self.window_end.map(time),
            evidence: self.evidence.clone(),
            judgement,
            ready: true,
            problem: None,
            canary_in_window: None,
            unanswered: None,
            note: None,
        })
    }

    /// When something can happen next: a window ends, a hold or a deadline is over, a pass was asked for.
    fn next(&self, stage: &Stage, now: f64) -> Option<f64> {
        let run = stage.state.run.as_ref()?;
        let since = seconds(run.since?);
        let step = run.present()?;
        let metrics = &self.setup.plan.analysis.metrics;
        let look = (!metrics.is_empty()).then(|| since + f64::from(self.counted + 1) * self.setup.interval);
        let judged = metrics.iter().any(|metric| step.asks(metric));
        let asked = stage.wake.filter(|_| !judged).map(|wake| now + wake);
        let over = [step.hold.as_secs_f64(), step.deadline.as_secs_f64() + run.stopped].map(|span| Some(since + span));
        over.into_iter().chain([look, asked]).flatten().filter(|at| *at > now).min_by(f64::total_cmp)
    }

    /// Counts the window that ends now, if one does. False when there are no more.
    fn count(&mut self, stage: &Stage, now: f64, windows: &mut Windows<'_>) -> bool {
        let Some((run, terms)) = stage.state.run.as_ref().zip(self.terms().cloned()) else { return true };
        let Some((since, step)) = run.since.map(seconds).zip(run.step) else { return true };
        let metrics = &self.setup.plan.analysis.metrics;
        let end = since + f64::from(self.counted + 1) * self.setup.interval;
        if metrics.is_empty() || end > now {
            return true;
        }
        let start = end - self.setup.interval;
        let split = if run.share.is_none() { [1.0, 0.0] } else { terms.split() };
        let Some([stable, canary]) = windows(start, end, step, split) else { return false };
        let window = Window {
            start: time(start),
            end: time(end),
            weight: f64::from(run.share.weight) / 100.0,
            stable,
            canary,
            stable_pods: self.setup.stable_pods,
            canary_pods: self.setup.canary_pods,
        };
        if run.share.is_none() {
            self.evidence.rest(metrics, &terms, &window);
        } else {
            self.evidence.add(metrics, &terms, &window);
        }
        self.counted += 1;
        self.windows += 1;
        self.window_end = Some(end);
        let judgement = self.evidence.judge(metrics, &terms);
        let exposure = &judgement.exposure;
        self.canary_requests = u64::try_from(exposure.canary_requests + exposure.mirrored_requests.unwrap_or(0)).unwrap_or(0);
        self.newest = Some(judgement);
        true
    }
}
