//! How a version of the model answers, and how many of a tick's requests end up where.

use rand::rngs::SmallRng;
use rand_distr::{Binomial, Distribution};
use statrs::distribution::{ContinuousCDF, Normal};

use super::counters::{FIRST_TOKEN_BOUNDS, LATENCY_BOUNDS, SCORE_BOUNDS, Tokens};
use super::load::Load;

/// How a version answers. Built once, then only drawn from.
#[derive(Clone, Debug)]
pub struct Behaviour {
    errors: f64,
    latency: Vec<f64>,
    mean_ms: f64,
    /// Median and p99.
    quantiles_ms: (f64, f64),
    /// How latency depends on the load of a pod, and the usual load in requests a second.
    load: Option<(Load, f64)>,
    classes: Vec<(String, f64)>,
    scores: Vec<f64>,
    mean_score: f64,
    invalid: f64,
    first_token: Option<(Vec<f64>, f64)>,
    /// What each pod's GPU shows as used, in MiB; `None`: nothing is exported.
    pub memory: Option<f64>,
    /// What it exports as a language model; `None`: it is none.
    pub tokens: Option<Tokens>,
}

impl Default for Behaviour {
    /// A healthy fraud model: 0.1 % errors, 40 ms at the median and 180 ms at p99, 3 % of the requests called fraud.
    fn default() -> Self {
        Self::new(0.001, 40.0, 180.0, &[("legit", 0.90), ("review", 0.07), ("fraud", 0.03)]).with_scores(0.10, 1.0)
    }
}

impl Behaviour {
    /// A version with a share of 5xx, a log-normal latency by its median and p99 in milliseconds, and shares of its classes.
    pub fn new(errors: f64, p50_ms: f64, p99_ms: f64, classes: &[(&str, f64)]) -> Self {
        let total: f64 = classes.iter().map(|(_, share)| share).sum();
        let classes = classes.iter().map(|(name, share)| ((*name).to_owned(), share / total)).collect();
        let made = Self {
            errors,
            latency: Vec::new(),
            mean_ms: 0.0,
            quantiles_ms: (p50_ms, p99_ms),
            load: None,
            classes,
            scores: Vec::new(),
            mean_score: 0.0,
            invalid: 0.0,
            first_token: None,
            memory: None,
            tokens: None,
        };
        made.with_latency(p50_ms, p99_ms).with_scores(0.10, 1.0)
    }

    /// The same with another share of 5xx.
    pub fn with_errors(mut self, errors: f64) -> Self {
        self.errors = errors;
        self
    }

    /// The same with another latency: median and p99 in milliseconds, p99 above the median.
    pub fn with_latency(mut self, p50_ms: f64, p99_ms: f64) -> Self {
        (self.latency, self.mean_ms) = times(&LATENCY_BOUNDS, p50_ms, p99_ms);
        self.quantiles_ms = (p50_ms, p99_ms);
        self
    }

    /// The same with a latency that depends on how many requests a pod gets: that of `with_latency` is at `usual` requests a second.
    pub fn with_load(mut self, load: Load, usual: f64) -> Self {
        self.load = Some((load, usual));
        self
    }

    /// The same, and the model exports how long its first token takes: median and p99 in milliseconds.
    pub fn with_first_token(mut self, p50_ms: f64, p99_ms: f64) -> Self {
        self.first_token = Some(times(&FIRST_TOKEN_BOUNDS, p50_ms / 1000.0, p99_ms / 1000.0));
        self
    }

    /// The same with other shares of its classes.
    pub fn with_classes(mut self, classes: &[(&str, f64)]) -> Self {
        let total: f64 = classes.iter().map(|(_, share)| share).sum();
        self.classes = classes.iter().map(|(name, share)| ((*name).to_owned(), share / total)).collect();
        self
    }

    /// The same with other scores: the logistic of a normal variable, by its median (0 to 1) and its spread on the logit scale.
    pub fn with_scores(mut self, median: f64, spread: f64) -> Self {
        let logit = |x: f64| (x / (1.0 - x)).ln();
        self.scores = shares(&SCORE_BOUNDS, |bound| if bound >= 1.0 { 1.0 } else { normal((logit(bound) - logit(median)) / spread) });
        self.mean_score = median;
        self
    }

    /// The same with a share of predictions that are no number.
    pub fn with_invalid(mut self, share: f64) -> Self {
        self.invalid = share;
        self
    }

    /// The same with so much GPU memory in use on each pod, in MiB.
    pub fn with_memory(mut self, mebibytes: f64) -> Self {
        self.memory = Some(mebibytes);
        self
    }

    /// The same as a language model, with what vLLM would export.
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    pub(super) fn invalid(&self, rng: &mut SmallRng, count: u64) -> u64 {
        binomial(rng, count, self.invalid)
    }

    pub(super) fn errors(&self, rng: &mut SmallRng, count: u64) -> u64 {
        binomial(rng, count, self.errors)
    }

    /// Requests by latency bucket (the last is above all bounds), and the sum in milliseconds, on a pod that gets so many requests a second.
    pub(super) fn latencies(&self, rng: &mut SmallRng, count: u64, rps: f64) -> (Vec<u64>, f64) {
        let Some((load, usual)) = self.load else {
            return (multinomial(rng, count, &self.latency), count as f64 * self.mean_ms);
        };
        let (slower, (p50, p99)) = (load.slower(rps / usual), self.quantiles_ms);
        let (shares, mean) = times(&LATENCY_BOUNDS, slower * p50, slower * p99);
        (multinomial(rng, count, &shares), count as f64 * mean)
    }

    /// Answers by the time of their first token, and the sum in seconds, if the model says it.
    pub(super) fn first_tokens(&self, rng: &mut SmallRng, count: u64) -> Option<(Vec<u64>, f64)> {
        let (shares, mean) = self.first_token.as_ref()?;
        Some((multinomial(rng, count, shares), count as f64 * mean))
    }

    pub(super) fn classes(&self, rng: &mut SmallRng, count: u64) -> Vec<(&str, u64)> {
        let shares: Vec<f64> = self.classes.iter().map(|(_, share)| *share).collect();
        self.classes.iter().map(|(name, _)| name.as_str()).zip(multinomial(rng, count, &shares)).collect()
    }

    pub(super) fn scores(&self, rng: &mut SmallRng, count: u64) -> (Vec<u64>, f64) {
        (multinomial(rng, count, &self.scores), count as f64 * self.mean_score)
    }
}

/// Probabilities of the buckets between ascending bounds, and above the last.
fn shares(bounds: &[f64], cdf: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut below = 0.0;
    let mut shares: Vec<f64> = Vec::with_capacity(bounds.len() + 1);
    for bound in bounds {
        let at = cdf(*bound).clamp(below, 1.0);
        shares.push(at - below);
        below = at;
    }
    shares.push(1.0 - below);
    shares
}

/// Shares of log-normal times between the bounds, and their mean.
pub(super) fn times(bounds: &[f64], p50: f64, p99: f64) -> (Vec<f64>, f64) {
    let sigma = ((p99 / p50).ln() / 2.326_347_874).max(1e-3);
    (shares(bounds, |bound| normal((bound / p50).ln() / sigma)), p50 * (sigma * sigma / 2.0).exp())
}

fn normal(x: f64) -> f64 {
    Normal::standard().cdf(x)
}

fn binomial(rng: &mut SmallRng, count: u64, share: f64) -> u64 {
    match share {
        _ if count == 0 || share <= 0.0 => 0,
        _ if share >= 1.0 => count,
        _ => Binomial::new(count, share).map_or(0, |b| b.sample(rng)),
    }
}

/// Splits a count by shares that sum to one.
pub fn multinomial(rng: &mut SmallRng, count: u64, shares: &[f64]) -> Vec<u64> {
    let (mut left, mut weight) = (count, 1.0);
    let last = shares.len().saturating_sub(1);
    let mut split = Vec::with_capacity(shares.len());
    for (index, share) in shares.iter().enumerate() {
        let drawn = if index == last { left } else { binomial(rng, left, if weight > 0.0 { share / weight } else { 0.0 }) };
        split.push(drawn);
        left -= drawn;
        weight -= share;
    }
    split
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_request_ends_up_somewhere() {
        let mut rng = SmallRng::seed_from_u64(3);
        let behaviour = Behaviour::default();
        for count in [0, 1, 7, 1000] {
            assert_eq!(behaviour.latencies(&mut rng, count, 1.0).0.iter().sum::<u64>(), count);
            assert_eq!(behaviour.classes(&mut rng, count).iter().map(|(_, n)| n).sum::<u64>(), count);
            assert_eq!(behaviour.scores(&mut rng, count).0.iter().sum::<u64>(), count);
        }
    }

    #[test]
    fn a_pod_with_little_to_do_answers_as_its_load_says() {
        let mut rng = SmallRng::seed_from_u64(5);
        let cold = Behaviour::default().with_load(Load { cold_cache: 1.0, queueing: 0.0 }, 100.0);
        let slow = |rng: &mut SmallRng, rps: f64| cold.latencies(rng, 100_000, rps).0.iter().skip(7).sum::<u64>();
        let (usual, little) = (slow(&mut rng, 100.0), slow(&mut rng, 5.0));
        assert!(little > usual + usual / 2, "{usual} {little}");
    }

    #[test]
    fn draws_follow_the_shares() {
        let mut rng = SmallRng::seed_from_u64(4);
        let behaviour = Behaviour::new(0.05, 40.0, 200.0, &[("a", 3.0), ("b", 1.0)]);
        let n = 200_000;
        let near = |drawn: u64, share: f64| (drawn as f64 - n as f64 * share).abs() < 5.0 * (n as f64 * share).sqrt();
        assert!(near(behaviour.errors(&mut rng, n), 0.05));
        assert!(near(behaviour.classes(&mut rng, n)[1].1, 0.25));
        let (buckets, _) = behaviour.latencies(&mut rng, n, 1.0);
        let above = |bound: f64| LATENCY_BOUNDS.iter().zip(&buckets).filter(|(b, _)| **b <= bound).map(|(_, n)| n).sum::<u64>();
        assert!(above(50.0) > n / 2 && above(25.0) < n / 2);
        assert!(n - above(250.0) < n / 100 && n - above(100.0) > n / 100);
    }
}
