//! What is plain is seen at one scrape: half of the canary's requests fail, and none of stable's.
//!
//! A tenth of the coin of errors is for this. Each glance at the newest scrapes is a test by itself, and the k-th may be wrong with a part of
//! that tenth, so that all of them together stay within it whatever they have to do with each other. Noise is taken as worse than it was
//! measured, and errors are taken to come in bursts even where none was seen: so many more errors than a burst are asked for.

use serde::{Deserialize, Serialize};

use super::columns::Row;
use super::dispersion::UNKNOWN;
use super::kernel::{Margin, Pair, fail_bets};
use super::metric::{MetricState, Processes};
use super::mixture::{self, GAMMA_FIRST, Mixture, PlugIn};
use super::proportions::pair;
use super::verdict::open_part;
use super::{Evidence, StepTerms};
use crate::counts::{Gained, Glance};
use crate::plan::Metric;

/// Part of the betting score of errors that is for what is plain.
pub(super) const PART: f64 = 0.1;
/// Dispersion where none was measured: errors come in bursts of two, on average.
const LEAST_NOISE: f64 = 3.0;
/// So many times the measured dispersion is taken: it was measured over whole windows, and with luck.
const WORSE: f64 = 1.5;
/// Half of this part is for so many glances.
const HALF: f64 = 240.0;
/// Bets, log odds beyond the boundary.
const ETA: [f64; 2] = [2.6, 5.0];
/// How near the bet on a burst comes to what its length allows.
const TILT: f64 = 0.8;
/// Fewer requests of an arm say nothing.
const LEAST_REQUESTS: u64 = 20;
/// Where fewer fail, the windows say so.
const LEAST_SHARE: f64 = 0.05;
/// Stable must fail so many times less often.
const APART: f64 = 5.0;
/// And none of its pods so often in parts of it.
const ALIKE: f64 = 0.5;
/// So many errors are worth another glance before the next scrape of all.
const SUSPECT: u64 = 10;

/// Uncapped evidence that ends a catastrophe at once.
const CATASTROPHE: f64 = 1e6;

/// What was plain: of each arm the requests and the bad ones, the worst pod of the canary left out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plainly {
    /// Canary's requests.
    pub n_b: u64,
    /// Canary's errors.
    pub x_b: u64,
    /// Stable's requests.
    pub n_a: u64,
    /// Stable's errors.
    pub x_a: u64,
    /// Over so many seconds.
    pub seconds: f64,
}

/// What is known of stable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its error rate, predicted.
    pub p: f64,
    /// The limit.
    pub margin: Margin,
    /// Measured dispersion.
    pub phi: f64,
}

/// Whether the `look`-th glance shows what is plain; `level` is the log of the score at which this part alone fails the rollout.
fn plain(glance: &Glance, known: Known, look: u32, level: f64) -> Option<Plainly> {
    let canary = without_worst(glance)?;
    let stable = Gained::sum(&glance.stable);
    let share = |of: &Gained| of.bad as f64 / of.total.max(1) as f64;
    let worst = glance.stable.iter().map(share).fold(0.0, f64::max);
    let rate = share(&canary);
    if canary.total.min(stable.total) < LEAST_REQUESTS || rate < LEAST_SHARE || APART * share(&stable) > rate || worst > ALIKE * rate {
        return None;
    }
    let pair = Pair { n_a: stable.total as f64, x_a: stable.bad as f64, n_b: canary.total as f64, x_b: canary.bad as f64 };
    let phi = (WORSE * known.phi).max(LEAST_NOISE);
    (log_e(pair, known, phi) >= level - gamma(look).ln()).then_some(Plainly {
        n_b: canary.total,
        x_b: canary.bad,
        n_a: stable.total,
        x_a: stable.bad,
        seconds: glance.seconds,
    })
}

/// Part of the `look`-th glance, from 1: all of them together have one.
fn gamma(look: u32) -> f64 {
    let at = f64::from(look.max(1)) + HALF;
    HALF / ((at - 1.0) * at)
}

/// One pod that dies is no version that fails: where there are several, the rest must fail too.
fn without_worst(glance: &Glance) -> Option<Gained> {
    let all = Gained::sum(&glance.canary);
    let worst = match glance.canary.as_slice() {
        _ if glance.ready <= 1 => Gained::default(),
        _ if !glance.by_pod => {
            let one = all.total / glance.ready as u64;
            Gained { total: one, bad: all.bad.min(one) }
        }
        [] | [_] => return None,
        pods => *pods.iter().max_by_key(|pod| pod.bad)?,
    };
    Some(Gained { total: all.total - worst.total, bad: all.bad - worst.bad })
}

/// The least that both views of a scrape say: requests with this dispersion, and errors in bursts.
fn log_e(pair: Pair, known: Known, phi: f64) -> f64 {
    let logs: Vec<f64> = fail_bets(pair, known.p, known.margin, &ETA).map(|log| log / phi).collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mean = most + (logs.iter().map(|log| (log - most).exp()).sum::<f64>() / logs.len() as f64).ln();
    let now = (pair.x_a + 2.0 * (phi * (pair.x_a + 1.0)).sqrt() + phi) / pair.n_a;
    let limit = known.margin.at(known.p.max(now)).min(1.0);
    mean.min(bursts(pair.n_b, pair.x_b, limit, phi))
}

/// Log e-value of `x` errors among `n` requests where at most the share `limit` fails, in bursts of geometric length with the dispersion `phi`:
/// the bet on more, against its expectation.
fn bursts(n: f64, x: f64, limit: f64, phi: f64) -> f64 {
    let mean = 0.5 * (phi + 1.0);
    let longer = 1.0 - 1.0 / mean;
    let lambda = -TILT * longer.ln();
    let each = (lambda.exp() / mean) / (1.0 - longer * lambda.exp());
    lambda * x - n * limit / mean * (each - 1.0)
}

/// Whether another glance, as soon as one more pod was scraped, may show what is plain.
pub fn suspect(glance: &Glance) -> bool {
    let (canary, stable) = (Gained::sum(&glance.canary), Gained::sum(&glance.stable));
    let rate = |of: Gained| of.bad as f64 / of.total.max(1) as f64;
    canary.bad >= SUSPECT && rate(canary) >= 0.5 * LEAST_SHARE && rate(canary) > APART * rate(stable)
}

impl MetricState {
    /// What is known of stable's errors, with a wide margin while that is not measured yet.
    fn known(&self) -> Option<Known> {
        match &self.processes {
            Some(Processes::Shares(shares)) => {
                let track = shares.tracks.first()?;
                Some(Known { p: track.stable.rate(), margin: track.fail_margin(), phi: track.phi() })
            }
            _ => {
                let (n, x) = self.pending.iter().fold((0.0, 0.0), |s, row| (s.0 + row.n, s.1 + row.x.iter().sum::<f64>()));
                Some(Known { p: PlugIn { n, x }.rate(), margin: Margin { r: 1.1, d: 0.05 }, phi: UNKNOWN })
            }
        }
    }

    /// The rule that ends a catastrophe at once, errors only; it is in force during calibration too.
    pub(super) fn watch_catastrophe(&mut self, metric: &Metric, a: &Row, b: &Row) {
        let Some(known) = self.known().filter(|_| metric.kind.is_events()) else { return };
        let pair = pair(a, b, 0);
        let uncapped = self.uncapped.get_or_insert_with(|| Mixture::new(mixture::ETA.len()));
        uncapped.add(GAMMA_FIRST, fail_bets(pair, known.p, known.margin, &mixture::ETA), known.phi, f64::MAX);
        let broken = pair.n_b >= 20.0 && pair.x_b >= 0.5 * pair.n_b && pair.x_a < 0.1 * pair.n_a;
        self.catastrophe = self.catastrophe || (broken && uncapped.value() >= CATASTROPHE);
    }
}

impl Evidence {
    /// Errors of the mesh, where they gate this step.
    fn errors(&self, metrics: &[Metric], step: &StepTerms) -> Option<(usize, &MetricState)> {
        let errors = |(_, metric): &(usize, &Metric)| metric.counts_requests() && step.compares(metric);
        let (at, _) = metrics.iter().enumerate().find(errors)?;
        Some((at, self.metrics.get(at).filter(|state| state.gates)?))
    }

    /// Whether a scrape of this length may show enough canary requests for anything to be plain.
    pub fn glances(&self, metrics: &[Metric], step: &StepTerms, scrape: f64) -> bool {
        let Some((_, state)) = self.errors(metrics, step).filter(|_| !self.failed) else { return false };
        let expected = state.expected(step).1 * scrape / self.interval_seconds.max(1e-9);
        state.traffic.n <= 0.0 || expected >= LEAST_REQUESTS as f64
    }

    /// Whether the `look`-th glance of the rollout shows what is plain, and of which metric.
    pub fn plain(&self, metrics: &[Metric], step: &StepTerms, glance: &Glance, look: u32) -> Option<(usize, Plainly)> {
        let (at, state) = self.errors(metrics, step)?;
        let context = self.context();
        let level = (context.fail_at / (open_part(state.alpha(&context), &context) * PART)).ln();
        Some((at, plain(glance, state.known()?, look, level)?))
    }

    /// It is plain: that stands. The requests of the glance are counted as those of a window.
    pub fn fail_plainly(&mut self, at: usize, plainly: Plainly, glance: &Glance) {
        self.failed = true;
        if let Some(state) = self.metrics.get_mut(at) {
            state.plain = Some(plainly);
        }
        let (canary, stable) = (Gained::sum(&glance.canary), Gained::sum(&glance.stable));
        self.canary_requests += canary.total;
        self.canary_errors += canary.bad;
        self.stable_requests += stable.total;
        self.since = self.since.or(Some(glance.at));
        self.until = self.until.max(Some(glance.at));
    }
}

#[cfg(test)]
mod tests;
