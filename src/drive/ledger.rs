//! What a sampler knows between two answers: whom it watches, where its windows end, and the evidence of those that were counted.
//!
//! The controller's sampler counts what Prometheus answered, a rehearsal what it drew; which windows belong to which step, and what a look
//! says, is the same.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::grid::{after, same_second, signed};
use crate::counts::{Glance, Window};
use crate::judge::{Evidence, Past, Seen, StepTerms};
use crate::say;
use crate::seen::{Brief, Later, Look};

/// Windows that are asked for again after an outage or a restart.
const MOST_BACKLOG: i64 = 120;

/// One sampler's windows and evidence.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Whom it watches.
    brief: Brief,
    evidence: Arc<Evidence>,
    /// When the present weight was read back, and not in the future.
    since: Option<Timestamp>,
    /// Time of the newest look that was answered.
    last: Option<Timestamp>,
    /// Where looks go on after a restart.
    resume: Option<Timestamp>,
    window_end: Option<Timestamp>,
    /// Glances at single scrapes so far.
    glances: u32,
}

/// How often there can be a look.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Length of a window.
    pub interval: Duration,
    /// Between two scrapes: the first look at a weight is one of them after it.
    pub scrape: Duration,
}

/// What a newer brief changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// What is measured.
    pub analysis: bool,
    /// The step: its evidence begins.
    pub step: bool,
    /// What the canary gets: counting begins.
    pub share: bool,
}

/// The end of the next window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When it is.
    pub at: Timestamp,
    /// The wall clock was set back: counting began again.
    pub set_back: bool,
    /// Too much was missed: the step's evidence begins again, from now.
    pub missed: bool,
}

/// What a window is evidence of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// The step.
    Step,
    /// The canary has no share until an incident of both versions is over.
    Rest,
    /// Nothing that is judged.
    Nothing,
}

impl Ledger {
    /// Continues from the evidence of a brief.
    pub fn new(brief: Brief, now: Timestamp) -> Self {
        let going_on = brief.resume_after.is_some_and(|end| brief.since.is_some_and(|since| end >= since));
        let mut ledger = Self {
            evidence: brief.evidence.clone(),
            since: brief.since.map(|since| since.min(now)),
            last: None,
            resume: brief.resume_after.filter(|_| going_on),
            window_end: brief.resume_after,
            glances: brief.evidence.glances,
            brief,
        };
        if !going_on {
            ledger.begin_step();
        }
        ledger
    }

    /// Takes over a newer brief. The evidence is ours; what changes is the step, its begin, and the pods.
    pub fn adopt(&mut self, brief: Brief, now: Timestamp) -> Changed {
        let (old, new) = (self.brief.key, brief.key);
        let changed = Changed {
            analysis: self.brief.analysis != brief.analysis,
            step: (old.epoch, old.step) != (new.epoch, new.step),
            share: old.share != new.share || !same_second(self.brief.since, brief.since),
        };
        self.brief = brief;
        if changed.step {
            self.begin_step();
        }
        if changed.share {
            self.restart(now);
        }
        changed
    }

    fn restart(&mut self, now: Timestamp) {
        self.since = self.brief.since.map(|since| since.min(now));
        (self.last, self.resume) = (None, None);
    }

    fn begin_step(&mut self) {
        if let Some(terms) = self.brief.key.step.and_then(|step| self.brief.steps.get(step)) {
            Arc::make_mut(&mut self.evidence).begin_step(&self.brief.analysis.metrics, terms);
        }
    }

    /// Whom it watches.
    pub fn brief(&self) -> &Brief {
        &self.brief
    }

    /// When the present weight was read back.
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Whether margins are frozen.
    pub fn calibrated(&self) -> bool {
        self.evidence.calibrated()
    }

    /// Takes the plan in, with so many canary pods, before stable's past is known: a glance may show what is plain before that.
    pub fn plan_for(&mut self, canary_pods: u32) {
        if !self.evidence.calibrated() {
            Arc::make_mut(&mut self.evidence).plan_for(&self.brief.analysis.metrics, &self.brief.steps, canary_pods);
        }
    }

    /// Bounds of a metric's histogram without which it cannot be judged as it is, and whether they are all that it has.
    pub fn needed_bounds(&self, metric: usize) -> Option<(Vec<f64>, bool)> {
        self.evidence.needed_bounds(metric)
    }

    /// Freezes margins from stable's past, with so many canary pods.
    pub fn calibrate(&mut self, past: &Past, interval: Duration, canary_pods: u32) {
        let evidence = Arc::make_mut(&mut self.evidence);
        (evidence.interval_seconds, evidence.warm_up_seconds) = (interval.as_secs_f64(), self.brief.analysis.warm_up.as_secs_f64());
        evidence.calibrate_by(&self.brief.analysis.metrics, past, &self.brief.steps, canary_pods);
    }

    /// End of the next window: on the grid that begins one scrape after the weight was read back; without a weight at the interval's pace.
    /// `newest` is the newest time that can be asked for.
    pub fn due(&mut self, pace: Pace, newest: Timestamp, now: Timestamp) -> Due {
        let interval = signed(pace.interval);
        let set_back = self.last.is_some_and(|last| last.duration_since(newest) > interval + interval);
        if set_back {
            self.restart(now);
        }
        let due = |at| Due { at, set_back, missed: false };
        let Some(since) = self.since else {
            let next = self.last.and_then(|last| last.checked_add(interval).ok()).unwrap_or(newest);
            return due(if newest.duration_since(next) > interval { newest } else { next });
        };
        let base = since.saturating_add(signed(pace.scrape)).unwrap_or(since);
        let next = match (self.last, self.resume) {
            (Some(last), _) => after(base, interval, last),
            (None, Some(resume)) if resume >= base => resume,
            (None, _) => base,
        };
        if newest.duration_since(next).as_millis() / interval.as_millis().max(1) <= i128::from(MOST_BACKLOG) {
            return due(next);
        }
        self.begin_step();
        self.resume = None;
        let newest = after(base, interval, newest.saturating_sub(interval).unwrap_or(newest));
        self.last = newest.checked_sub(interval).ok();
        Due { missed: true, ..due(newest) }
    }

    /// A look at this time was answered: the next window ends after it.
    pub fn looked(&mut self, at: Timestamp) {
        (self.last, self.resume) = (Some(at), None);
    }

    /// What a window is evidence of now.
    pub fn belongs(&self) -> Belongs {
        match (self.terms(), self.since) {
            (Some(terms), Some(_)) if terms.share == self.brief.key.share => Belongs::Step,
            (Some(_), Some(_)) if self.brief.key.share.is_none() && self.evidence.in_incident() => Belongs::Rest,
            _ => Belongs::Nothing,
        }
    }

    /// Terms of the step that is watched, if one is.
    pub fn terms(&self) -> Option<&StepTerms> {
        self.brief.steps.get(self.brief.key.step?)
    }

    /// Adds a window to what it belongs to.
    pub fn count(&mut self, window: &Window) {
        let Some(terms) = self.terms().cloned() else { return };
        let metrics = &self.brief.analysis.metrics;
        match self.belongs() {
            Belongs::Step => {
                let evidence = Arc::make_mut(&mut self.evidence);
                evidence.glances = self.glances;
                evidence.add(metrics, &terms, window);
            }
            Belongs::Rest => Arc::make_mut(&mut self.evidence).rest(metrics, &terms, window),
            Belongs::Nothing => return,
        }
        self.window_end = Some(window.end);
    }

    /// Whether a glance at one scrape may show something before the window ends.
    pub fn glances(&self, scrape: Duration) -> bool {
        let metrics = &self.brief.analysis.metrics;
        let step = self.terms().filter(|_| self.belongs() == Belongs::Step);
        step.is_some_and(|terms| self.evidence.glances(metrics, terms, scrape.as_secs_f64()))
    }

    /// Takes a glance at the newest scrapes. True if it fails the rollout: else it leaves no trace but its number.
    pub fn glance(&mut self, glance: &Glance) -> bool {
        let Some(terms) = self.terms().filter(|_| self.belongs() == Belongs::Step) else { return false };
        let look = self.glances.saturating_add(1);
        let plain = self.evidence.plain(&self.brief.analysis.metrics, terms, glance, look);
        self.glances = look;
        if let Some((at, plainly)) = plain {
            Arc::make_mut(&mut self.evidence).fail_plainly(at, plainly, glance);
        }
        plain.is_some()
    }

    /// Takes what users' queries gave at this time: index of the metric, and what was seen.
    pub fn observe(&mut self, at: Timestamp, seen: &[(usize, Seen)]) {
        if let Some(terms) = self.terms().cloned().filter(|_| self.belongs() == Belongs::Step) {
            Arc::make_mut(&mut self.evidence).observe(&self.brief.analysis.metrics, &terms, at, seen);
        }
    }

    /// What is known now.
    pub fn look(&self) -> Look {
        let fallback = StepTerms::weighted(0.0, 1.0, 1);
        let terms = self.terms().or(self.brief.steps.first()).unwrap_or(&fallback);
        let metrics = &self.brief.analysis.metrics;
        Look {
            key: self.brief.key,
            window_end: self.window_end,
            evidence: self.evidence.clone(),
            judgement: say::judged(self.evidence.judge(metrics, terms), metrics),
            ready: true,
            problem: None,
            canary_in_window: None,
            unanswered: None,
            note: None,
            later: Later::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::{Counts, Sample};
    use crate::plan::{AnalysisPlan, ErrorRate, Metric, MetricKind, Share};
    use crate::seen::{Arm, StepKey};

    fn t(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// A step of 5 %, with this share programmed since 0.
    fn ledger(share: Share) -> Ledger {
        let kind = MetricKind::ErrorRate(ErrorRate::default());
        let metrics = vec![Metric::new("errorRate", kind)];
        let brief = Brief {
            namespace: "ml".into(),
            name: "fraud".into(),
            key: StepKey { epoch: 1, step: Some(0), share },
            steps: vec![StepTerms { share: Share::weight(5), ..StepTerms::weighted(0.05, 1.0, 10) }],
            stable: Arm::default(),
            canary: Arm::default(),
            since: Some(t(0)),
            evidence: Arc::new(Evidence::new(&metrics, 30.0)),
            resume_after: None,
            analysis: AnalysisPlan {
                prometheus: "default".into(),
                interval: Duration::from_secs(30),
                warm_up: Duration::ZERO,
                metrics,
                preset: None,
            },
        };
        Ledger::new(brief, t(0))
    }

    fn window() -> Window {
        let sample = |total| Sample::from([("errorRate".to_owned(), Counts::Events { total, bad: 0 })]);
        let (stable, canary) = (sample(950), sample(50));
        Window { start: t(0), end: t(30), weight: 0.05, stable, canary, stable_pods: 3, canary_pods: 1 }
    }

    #[test]
    fn a_window_counts_for_the_step_whose_share_is_programmed_and_for_nothing_else() {
        for (share, belongs, windows) in
            [(Share::weight(5), Belongs::Step, 1), (Share::weight(2), Belongs::Nothing, 0), (Share::NONE, Belongs::Nothing, 0)]
        {
            let mut ledger = ledger(share);
            assert_eq!(ledger.belongs(), belongs, "{share:?}");
            ledger.count(&window());
            let look = ledger.look();
            assert_eq!((look.judgement.windows, look.window_end.is_some()), (windows, windows == 1), "{share:?}");
        }
    }

    #[test]
    fn looks_share_their_evidence_until_the_next_window() {
        let mut ledger = ledger(Share::weight(5));
        ledger.count(&window());
        let (one, two) = (ledger.look(), ledger.look());
        assert!(Arc::ptr_eq(&one.evidence, &two.evidence));
        ledger.count(&window());
        let three = ledger.look();
        assert!(one.evidence == two.evidence && one.evidence != three.evidence);
    }

    #[test]
    fn another_share_restarts_the_grid_and_another_step_its_evidence() {
        let mut ledger = ledger(Share::weight(5));
        let pace = Pace { interval: Duration::from_secs(30), scrape: Duration::from_secs(15) };
        ledger.count(&window());
        ledger.looked(t(45));
        assert_eq!(ledger.due(pace, t(50), t(50)).at, t(75));
        let mut brief = ledger.brief().clone();
        (brief.key.epoch, brief.since) = (2, Some(t(50)));
        assert_eq!(ledger.adopt(brief, t(51)), Changed { analysis: false, step: true, share: true });
        assert_eq!((ledger.due(pace, t(51), t(51)).at, ledger.look().judgement.windows), (t(65), 0));
    }
}
