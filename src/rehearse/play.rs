//! One rollout from its start to its end.

use std::time::Duration;

use jiff::Timestamp;

use super::stage::{Stage, seconds, time};
use crate::api::{Outcome, Reason, Verdict};
use crate::counts::{History, Sample, Window};
use crate::drive::{Ledger, Pace};
use crate::judge::{Judgement, Past};
use crate::plan::Plan;

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

/// What stable and the canary counted in a window, and on how many pods.
#[derive(Clone, Debug)]
pub struct TwoArms {
    /// Counts.
    pub samples: [Sample; 2],
    /// Ready pods.
    pub pods: [u32; 2],
}

/// The windows of a rollout: asked for from `start` to `end` (seconds since the start), in a step, with the requests of stable and of the
/// canary that are counted for one of a user.
pub type Windows<'w> = dyn FnMut(f64, f64, usize, [f64; 2]) -> Option<TwoArms> + 'w;

/// Plays one rollout: stable's past, then one window after the other as `windows` gives them (`None`: there are no more). With
/// `watch` every look is kept.
pub fn play(setup: &Setup, history: &History, windows: &mut Windows<'_>, watch: bool) -> Played {
    let mut stage = Stage::new(setup.plan.clone(), setup.stable_pods, setup.hands);
    let mut points = Vec::new();
    let mut now = 0.0;
    stage.settle(); // begins
    let mut sampler = Sampler::new(setup, history, &mut stage);
    let ending = loop {
        let settled = stage.settle();
        if let Some(ended) = &stage.state.ended {
            let well = matches!(ended.outcome, Outcome::Promoted | Outcome::Passed);
            break if well { Ending::Promoted } else { Ending::RolledBack };
        }
        if settled.at_deadline || sampler.windows >= MOST_WINDOWS {
            break Ending::Held;
        }
        sampler.follow(&mut stage);
        let Some(next) = sampler.next(&stage, now) else { break Ending::Held };
        now = next;
        stage.set_time(now);
        if !sampler.count(&mut stage, windows) {
            break Ending::CutOff;
        }
        if watch && let Some(judgement) = judgement(&stage) {
            let step = stage.state.run.as_ref().and_then(|run| run.step).unwrap_or(0);
            points.push(Point { minutes: now / 60.0, step, evidence: judgement.fail_evidence, fail_at: judgement.fail_at });
        }
    };
    let reason = stage.state.ended.as_ref().and_then(|ended| ended.reason.known());
    let newest = judgement(&stage);
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

/// What the newest window of the present step said.
fn judgement(stage: &Stage) -> Option<&Judgement> {
    stage.look().filter(|look| look.key.step.is_some()).map(|look| &look.judgement)
}

/// A sampler whose answers are drawn: the controller's windows and evidence, without a Prometheus and its scrapes.
struct Sampler<'a> {
    setup: &'a Setup,
    pace: Pace,
    /// `None` where nothing is measured.
    ledger: Option<Ledger>,
    windows: u32,
    canary_requests: u64,
}

impl<'a> Sampler<'a> {
    /// Stable's past is known: that is the first look.
    fn new(setup: &'a Setup, history: &History, stage: &mut Stage) -> Self {
        let pace = Pace { interval: Duration::try_from_secs_f64(setup.interval).unwrap_or_default(), scrape: Duration::ZERO };
        let mut ledger = stage.brief().map(|brief| Ledger::new(brief, stage.at()));
        if let Some(ledger) = &mut ledger {
            ledger.calibrate(&Past::new(&setup.plan.analysis.metrics, history), pace.interval, setup.canary_pods);
            stage.show(Some(ledger.look()));
        }
        Self { setup, pace, ledger, windows: 0, canary_requests: 0 }
    }

    /// Takes over what is watched now. A weight is counted from the moment at which it was read back; before its first window there is no look.
    fn follow(&mut self, stage: &mut Stage) {
        let Some(ledger) = &mut self.ledger else { return };
        let known = ledger.brief();
        let moved = stage.state.run.as_ref().is_some_and(|run| (run.key(), run.since) != (known.key, known.since));
        let Some(brief) = moved.then(|| stage.brief()).flatten() else { return };
        if ledger.adopt(brief, stage.at()).share
            && let Some(since) = ledger.since()
        {
            ledger.looked(since);
        }
        stage.show(None);
    }

    /// When the next window ends, where something is measured.
    fn due(&mut self, at: Timestamp) -> Option<Timestamp> {
        Some(self.ledger.as_mut()?.due(self.pace, at, at).at)
    }

    /// When something can happen next: a window ends, a hold or a deadline is over, a pass was asked for.
    fn next(&mut self, stage: &Stage, now: f64) -> Option<f64> {
        let run = stage.state.run.as_ref()?;
        let since = seconds(run.since?);
        let step = run.present()?;
        let look = self.due(stage.at()).map(seconds);
        let judged = self.setup.plan.analysis.metrics.iter().any(|metric| step.asks(metric));
        let asked = stage.wake.filter(|_| !judged).map(|wake| now + wake);
        let over = [step.hold.as_secs_f64(), step.deadline.as_secs_f64() + run.stopped].map(|span| Some(since + span));
        over.into_iter().chain([look, asked]).flatten().filter(|at| *at > now).min_by(f64::total_cmp)
    }

    /// Counts the window that ends now, if one does. False when there are no more.
    fn count(&mut self, stage: &mut Stage, windows: &mut Windows<'_>) -> bool {
        let Some(end) = self.due(stage.at()).filter(|end| *end <= stage.at()) else { return true };
        let Some((ledger, run)) = self.ledger.as_mut().zip(stage.state.run.as_ref()) else { return true };
        let Some((terms, step)) = ledger.terms().zip(run.step) else { return true };
        let start = seconds(end) - self.setup.interval;
        let split = if run.share.is_none() { [1.0, 0.0] } else { terms.split() };
        let Some(TwoArms { samples: [stable, canary], pods: [stable_pods, canary_pods] }) = windows(start, seconds(end), step, split)
        else {
            return false;
        };
        let window =
            Window { start: time(start), end, weight: f64::from(run.share.weight) / 100.0, stable, canary, stable_pods, canary_pods };
        ledger.count(&window);
        ledger.looked(end);
        self.windows += 1;
        let look = ledger.look();
        let exposure = &look.judgement.exposure;
        self.canary_requests = u64::try_from(exposure.canary_requests + exposure.mirrored_requests.unwrap_or(0)).unwrap_or(0);
        stage.show(Some(look));
        true
    }
}
