//! A cold start: pods that got their first requests a short time ago are slow for a while, and that is nothing of the version.
//!
//! What latency says meanwhile is put aside. It counts as soon as it is known not to fade: a straight line through the excess over time,
//! against how much of a cold start is left, says what will stay. If that is beyond the limit the version is slow, and all that was put aside
//! counts. Else it is forgotten when the time is over. Errors and predictions are judged from the first request on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dispersion::{Ratio, Spread};
use super::kernel::{Margin, Pair, at_odds};
use super::looks::Looks;
use super::metric::{MetricState, Processes};
use super::mixture::Mixture;
use super::proportions::{Proportions, Track, pair};
use super::{Context, StepTerms, tidy};
use crate::plan::{Limits, Metric};

/// How long pods are young, in warm-ups. A cold start is taken to fade by half in each.
pub(super) const SPAN: f64 = 3.0;
/// Pods are new where there are so many times as many as ever before: one more among many tells little.
const MORE: f64 = 1.2;
/// Standard errors that what stays must be beyond the limit, and an excess must have fallen by.
const ERRORS: f64 = 2.5;
const FELL: f64 = 2.0;
/// An excess that fell by no more than so many did not fall: it counts.
const HARDLY: f64 = 0.0;
/// A straight line says nothing of fewer windows.
const LEAST_WINDOWS: u32 = 3;

/// When the canary's newest pods got their first requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fresh {
    /// Most pods so far.
    pods: u32,
    since: Option<Timestamp>,
    /// The newest window.
    window: Option<(Timestamp, Timestamp)>,
}

impl Fresh {
    /// A window in which so many pods of the canary got requests.
    pub(super) fn window(&mut self, pods: u32, start: Timestamp, end: Timestamp) {
        if self.since.is_none() || f64::from(pods) > MORE * f64::from(self.pods) {
            self.since = Some(start);
        }
        self.pods = self.pods.max(pods);
        self.window = Some((start, end));
    }

    /// How young the pods are in the newest window; `None`: they are not.
    pub(super) fn young(self, warm_up: f64) -> Option<Young> {
        let (since, (start, end)) = self.since.zip(self.window)?;
        let age = |at: Timestamp| at.duration_since(since).as_secs_f64();
        let middle = 0.5 * (age(start) + age(end));
        let left = SPAN * warm_up - age(start);
        (left > 0.0).then(|| Young { since, cold: 0.5f64.powf(middle / warm_up), seconds: (SPAN * warm_up - age(end)).max(0.0) })
    }
}

/// Pods that got their first requests a short time ago.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Young {
    since: Timestamp,
    /// What is left of a cold start in the middle of the newest window, 1 at first.
    cold: f64,
    /// Seconds for which they are young after it.
    pub(super) seconds: f64,
}

/// What a metric has put aside while pods are young.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cold {
    since: Timestamp,
    /// It does not fade: nothing is aside any more.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    stays: bool,
    /// As it was before.
    looks: Looks,
}

/// The same for one share: what it was before, and where its excess goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Before {
    pub(super) fail: Mixture,
    pub(super) rho: f64,
    spread: Spread,
    effect: Ratio,
    trend: Trend,
}

/// A straight line through the excess of the canary, in log odds, over what is left of a cold start: sums of weighted least squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Trend {
    #[serde(rename = "k")]
    windows: u32,
    w: f64,
    x: f64,
    xx: f64,
    y: f64,
    xy: f64,
}

impl Trend {
    fn add(&mut self, pair: Pair, phi: f64, cold: f64) {
        let odds = |x: f64, n: f64| (((x + 0.5) / (n - x + 0.5)).ln(), 1.0 / (x + 0.5) + 1.0 / (n - x + 0.5));
        let ((a, of_a), (b, of_b)) = (odds(pair.x_a, pair.n_a), odds(pair.x_b, pair.n_b));
        let (excess, weight) = (b - a, 1.0 / (phi * (of_a + of_b)));
        self.windows += 1;
        self.w = tidy(self.w + weight);
        self.x = tidy(self.x + weight * cold);
        self.xx = tidy(self.xx + weight * cold * cold);
        self.y = tidy(self.y + weight * excess);
        self.xy = tidy(self.xy + weight * cold * excess);
    }

    fn determinant(self) -> Option<f64> {
        Some(self.w * self.xx - self.x * self.x).filter(|of| self.windows >= LEAST_WINDOWS && *of > 1e-9)
    }

    /// Lower bound of what is left once a cold start is over.
    fn stays(self) -> Option<f64> {
        let of = self.determinant()?;
        Some((self.xx * self.y - self.x * self.xy) / of - ERRORS * (self.xx / of).sqrt())
    }

    /// The excess falls by more than so many standard errors, or too little was seen to tell.
    fn fell(self, errors: f64) -> bool {
        self.determinant().is_none_or(|of| (self.w * self.xy - self.x * self.y) / of > errors * (self.w / of).sqrt())
    }
}

impl Track {
    fn put_aside(&mut self) {
        let (fail, rho, spread, effect) = (self.fail.clone(), self.rho, self.spread, self.effect);
        self.before = Some(Box::new(Before { fail, rho, spread, effect, trend: Trend::default() }));
    }

    fn forget(&mut self) {
        if let Some(before) = self.before.take() {
            (self.fail, self.rho, self.spread, self.effect) = (before.fail, before.rho, before.spread, before.effect);
        }
    }

    /// Adds a window to the trend; whether what stays is beyond the limit.
    fn stays(&mut self, pair: Pair, cold: f64) -> bool {
        let (phi, p, margin) = (self.phi(), self.stable.rate(), self.fail_margin());
        let Some(before) = self.before.as_mut().filter(|_| pair.n_a > 0.0 && pair.n_b > 0.0) else { return false };
        before.trend.add(pair, phi, cold);
        before.trend.stays().is_some_and(|least| at_odds(p, least.exp()) > beyond(margin, p))
    }
}

/// The limit, as a share.
fn beyond(margin: Margin, p: f64) -> f64 {
    margin.at(p).min(1.0)
}

impl Proportions {
    fn each(&mut self, of: impl Fn(&mut Track)) {
        self.tracks.iter_mut().for_each(of);
    }
}

impl MetricState {
    /// The shares that a cold start may slow down.
    fn slowed(&mut self, metric: &Metric) -> Option<&mut Proportions> {
        match (&mut self.processes, metric.kind.limits()) {
            (Some(Processes::Shares(shares)), Limits::Stretch(_)) => Some(shares),
            _ => None,
        }
    }

    /// Before a window: where pods become young what is known is put aside, and where they are so no more what was seen meanwhile is
    /// forgotten. What the step proves is proved again then if the canary was slow at first.
    pub(super) fn before_cold(&mut self, metric: &Metric, step: &StepTerms, young: Option<Young>) {
        if step.without.contains(&metric.name) || self.slowed(metric).is_none() {
            return;
        }
        let since = young.map(|young| young.since);
        match self.cold.take() {
            Some(cold) if since == Some(cold.since) => self.cold = Some(cold),
            // Newer pods came meanwhile: what was put aside stays there.
            Some(cold) if since.is_some() && !cold.stays => {
                self.slowed(metric).into_iter().for_each(|shares| shares.each(Track::again));
                self.cold = since.map(|since| Cold { since, ..cold });
            }
            Some(cold) if since.is_none() && !cold.stays => self.forget(metric, step, &cold),
            _ => {
                let looks = self.looks;
                self.slowed(metric).filter(|_| since.is_some()).into_iter().for_each(|shares| shares.each(Track::put_aside));
                self.cold = since.map(|since| Cold { since, stays: false, looks });
            }
        }
    }

    fn forget(&mut self, metric: &Metric, step: &StepTerms, cold: &Cold) {
        let Some(shares) = self.slowed(metric) else { return };
        let trends: Vec<Trend> = shares.tracks.iter().filter_map(|track| track.before.as_ref()).map(|before| before.trend).collect();
        if !trends.iter().any(|trend| trend.fell(HARDLY)) {
            return shares.each(|track| track.before = None);
        }
        shares.each(Track::forget);
        self.looks = self.looks.back_to(cold.looks);
        if trends.iter().any(|trend| trend.determinant().is_some() && trend.fell(FELL)) {
            self.prove_again(metric, step);
        }
    }

    /// After a window: whether it is known by now that the canary stays slow, and all that was put aside counts.
    pub(super) fn after_cold(&mut self, metric: &Metric, a: &super::columns::Row, b: &super::columns::Row, young: Option<Young>) {
        let Some(young) = young.filter(|_| self.aside()) else { return };
        let Some(shares) = self.slowed(metric) else { return };
        let mut stays = false;
        for track in &mut shares.tracks {
            stays |= track.stays(pair(a, b, track.column), young.cold); // each of them takes the window
        }
        if stays {
            shares.each(|track| track.before = None);
            self.cold.iter_mut().for_each(|cold| cold.stays = true);
        }
    }

    /// Something is aside.
    pub(super) fn aside(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| !cold.stays)
    }

    /// Seconds after the newest window until a slow-down counts; `None`: it does.
    pub(super) fn warm_in(&self, context: &Context<'_>) -> Option<f64> {
        context.young.filter(|_| self.aside()).map(|young| young.seconds)
    }
}

impl Track {
    fn again(&mut self) {
        self.before.iter_mut().for_each(|before| before.trend = Trend::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Windows of 30 s at 5 % of 100 requests a second, in which `share(k)` of the canary's are above a bound that half of stable's are.
    fn trend(windows: usize, n: f64, share: impl Fn(f64) -> f64) -> Trend {
        let mut trend = Trend::default();
        for k in 0..windows {
            let cold = 0.5f64.powf(0.5 * (k as f64 + 0.5));
            trend.add(Pair { n_a: 19.0 * n, x_a: 9.5 * n, n_b: n, x_b: n * share(cold) }, 1.1, cold);
        }
        trend
    }

    #[test]
    fn pods_are_young_from_their_first_requests_and_again_when_more_come() {
        let mut fresh = Fresh::default();
        assert_eq!(fresh.young(60.0), None);
        fresh.window(1, at(0), at(30));
        let young = fresh.young(60.0).unwrap();
        assert_eq!((young.since, young.seconds), (at(0), 150.0));
        assert!((young.cold - 0.5f64.powf(0.25)).abs() < 1e-12);
        fresh.window(1, at(150), at(180));
        assert_eq!(fresh.young(60.0).unwrap().seconds, 0.0);
        fresh.window(1, at(180), at(210));
        assert_eq!(fresh.young(60.0), None);
        fresh.window(2, at(210), at(240));
        assert_eq!(fresh.young(60.0).unwrap().seconds, 150.0, "a second pod");
        assert_eq!(fresh.young(0.0), None, "without a warm-up nothing is young");
        for pods in [1, 2] {
            fresh.window(pods, at(900), at(930));
            assert_eq!(fresh.young(60.0), None, "one that was away is no new one");
        }
        let mut many = Fresh::default();
        many.window(10, at(0), at(30));
        many.window(11, at(900), at(930));
        assert_eq!(many.young(60.0), None, "one more of many tells little");
    }

    #[test]
    fn an_excess_that_fades_is_told_from_one_that_stays() {
        let slow = |_: f64| 0.68;
        assert!(trend(6, 150.0, slow).stays().unwrap() > 0.1 && !trend(6, 150.0, slow).fell(FELL));
        assert!(trend(3, 1500.0, slow).stays().unwrap() > 0.1, "with more traffic sooner");
        assert!(trend(4, 15.0, slow).stays().unwrap() < 0.0, "with little traffic it is not known");
        let fades = |cold: f64| at_odds(0.5, (2.0 * cold).exp());
        for (windows, n) in [(3, 150.0), (6, 150.0), (6, 1500.0), (6, 15_000.0)] {
            assert!(trend(windows, n, fades).stays().unwrap() < 0.02, "{windows} {n}");
        }
        assert!(trend(6, 150.0, fades).fell(FELL));
        assert_eq!(trend(2, 1e6, slow).stays(), None, "two windows lie on any line");
    }
}
