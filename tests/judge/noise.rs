//! Counts of pods that are noisier than coin flips.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand_distr::{Binomial, Distribution, Gamma, Geometric, Normal, Poisson};

use haldane::counts::{Counts, Sample};

pub(crate) const BOUNDS: [f64; 14] = [0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0];

/// What one version does: error rate, latency (lognormal, p99 four times p50), classes.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub errors: f64,
    pub p50: f64,
    pub added_ms: f64,
    pub mix: Vec<f64>,
}

/// Noise of every pod, of both versions; 0 is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noise {
    /// Errors come in bursts of this mean length (geometric): dispersion 2 x mean - 1.
    pub burst: f64,
    /// Standard deviation of log latency from window to window.
    pub latency_sd: f64,
    /// Classes of a window are drawn around the mix with this concentration (Dirichlet).
    pub concentration: f64,
    /// Standard deviation of the log error rate from pod to pod, for good.
    pub pod_errors_sd: f64,
    /// The same of latency.
    pub pod_latency_sd: f64,
    /// Standard deviation of the log error rate of a pod over time, and its correlation time in windows.
    pub slow: (f64, f64),
}

impl Noise {
    /// The bursty worlds: bursts of 3, 3 % latency, Dirichlet(500).
    pub(crate) fn bursty() -> Self {
        Self { burst: 3.0, latency_sd: 0.03, concentration: 500.0, ..Self::default() }
    }

    /// Pods that differ for good: 20 % in errors, 3 % in latency.
    pub(crate) fn of_pods() -> Self {
        Self { pod_errors_sd: 0.2, pod_latency_sd: 0.03, ..Self::default() }
    }
}

#[derive(Clone, Debug)]
struct Pod {
    errors: f64,
    latency: f64,
    slow: f64,
}

/// The pods of one version.
#[derive(Clone, Debug)]
pub(crate) struct Arm {
    pods: Vec<Pod>,
}

fn gauss(rng: &mut SmallRng) -> f64 {
    Normal::new(0.0, 1.0).unwrap().sample(rng)
}

impl Arm {
    pub(crate) fn new(pods: usize, noise: &Noise, rng: &mut SmallRng) -> Self {
        // Factors with a mean of 1.
        let factor = |sd: f64, rng: &mut SmallRng| if sd > 0.0 { (sd * gauss(rng) - 0.5 * sd * sd).exp() } else { 1.0 };
        let pod = |_| Pod {
            errors: factor(noise.pod_errors_sd, rng),
            latency: factor(noise.pod_latency_sd, rng),
            slow: if noise.slow.0 > 0.0 { gauss(rng) } else { 0.0 },
        };
        Self { pods: (0..pods).map(pod).collect() }
    }

    /// One window of the first `pods` pods, pod by pod; `mean` requests are to be expected in all.
    pub(crate) fn window(&mut self, version: &Version, noise: &Noise, mean: f64, pods: usize, rng: &mut SmallRng) -> Vec<Sample> {
        let one = |pod: &mut Pod| {
            let (sd, time) = noise.slow;
            if sd > 0.0 {
                let keep = (-1.0 / time).exp();
                pod.slow = keep * pod.slow + (1.0 - keep * keep).sqrt() * gauss(rng);
            }
            let errors = version.errors * pod.errors * (sd * pod.slow - 0.5 * sd * sd).exp();
            let shift = if noise.latency_sd > 0.0 { (noise.latency_sd * gauss(rng)).exp() } else { 1.0 };
            let now = Version { errors: errors.min(1.0), p50: version.p50 * pod.latency * shift, ..version.clone() };
            sample(rng, &now, noise, mean / pods as f64)
        };
        self.pods.iter_mut().take(pods).map(one).collect()
    }
}

pub(crate) fn draw(rng: &mut SmallRng, n: u64, p: f64) -> u64 {
    Binomial::new(n, p.clamp(0.0, 1.0)).unwrap().sample(rng)
}

fn poisson(rng: &mut SmallRng, mean: f64) -> u64 {
    if mean > 0.0 { Poisson::new(mean).unwrap().sample(rng) as u64 } else { 0 }
}

pub(crate) fn above(version: &Version, bound: f64) -> f64 {
    let bound = bound - version.added_ms;
    if bound <= 0.0 {
        1.0
    } else {
        0.5 * statrs::function::erf::erfc((bound / version.p50).ln() / (4f64.ln() / 2.326) / std::f64::consts::SQRT_2)
    }
}

fn bad(rng: &mut SmallRng, n: u64, p: f64, burst: f64) -> u64 {
    if burst <= 1.0 {
        return draw(rng, n, p);
    }
    let bursts = poisson(rng, n as f64 * p / burst);
    let length = Geometric::new(1.0 / burst).unwrap();
    (0..bursts).map(|_| 1 + length.sample(rng)).sum::<u64>().min(n)
}

/// A sample with the given expected number of requests.
fn sample(rng: &mut SmallRng, version: &Version, noise: &Noise, mean: f64) -> Sample {
    let n = poisson(rng, mean);
    let bad = bad(rng, n, version.errors, noise.burst);
    let (mut left, mut share, mut counts) = (n, 1.0, Vec::new());
    for bound in BOUNDS {
        let next = above(version, bound);
        left = draw(rng, left, if share > 0.0 { next / share } else { 0.0 });
        counts.push(left);
        share = next;
    }
    let mix: Vec<f64> = if noise.concentration > 0.0 {
        let parts = version.mix.iter().map(|p| Gamma::new((noise.concentration * p).max(1e-9), 1.0).unwrap().sample(rng));
        let parts: Vec<f64> = parts.collect();
        let sum: f64 = parts.iter().sum();
        parts.iter().map(|part| part / sum).collect()
    } else {
        version.mix.clone()
    };
    let (mut rest, mut mass, mut classes) = (n, 1.0, BTreeMap::new());
    for (at, p) in mix.iter().enumerate() {
        let count = if at + 1 == mix.len() { rest } else { draw(rng, rest, if mass > 0.0 { p / mass } else { 0.0 }) };
        classes.insert(format!("class-{at}"), count);
        rest -= count;
        mass -= p;
    }
    BTreeMap::from([
        ("errorRate".into(), Counts::Events { total: n, bad }),
        ("latency".into(), Counts::Histogram { bounds: BOUNDS.to_vec(), above: counts, total: n }),
        ("drift".into(), Counts::Classes(classes)),
    ])
}

/// Two pods as one.
pub(crate) fn add(mut one: Sample, other: Sample) -> Sample {
    for (name, counts) in other {
        match (one.get_mut(&name), counts) {
            (Some(Counts::Events { total, bad }), Counts::Events { total: more, bad: worse }) => {
                *total += more;
                *bad += worse;
            }
            (Some(Counts::Histogram { above, total, .. }), Counts::Histogram { above: others, total: more, .. }) => {
                *total += more;
                above.iter_mut().zip(others).for_each(|(sum, x)| *sum += x);
            }
            (Some(Counts::Classes(sum)), Counts::Classes(map)) => {
                for (class, count) in map {
                    *sum.entry(class).or_default() += count;
                }
            }
            _ => {}
        }
    }
    one
}
