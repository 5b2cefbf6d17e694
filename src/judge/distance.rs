//! Distances between distributions, with bounds (statistics 2c), and intervals of proportions.

use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::gamma::ln_gamma;

use super::kernel::Pair;

/// Shares of counts; all 0 when there are none.
pub fn shares(counts: &[f64]) -> Vec<f64> {
    let sum: f64 = counts.iter().sum();
    counts.iter().map(|count| if sum > 0.0 { count / sum } else { 0.0 }).collect()
}

/// Total variation of two lists of shares.
pub fn total_variation(p: &[f64], q: &[f64]) -> f64 {
    0.5 * p.iter().zip(q).map(|(p, q)| (p - q).abs()).sum::<f64>()
}

/// Kolmogorov-Smirnov distance of two lists of shares of ordered bins.
pub fn kolmogorov_smirnov(p: &[f64], q: &[f64]) -> f64 {
    let mut sum = 0.0f64;
    p.iter().zip(q).fold(0.0f64, |most, (p, q)| {
        sum += p - q;
        most.max(sum.abs())
    })
}

/// Jensen-Shannon distance of two lists of shares, base 2: from 0 (equal) to 1 (disjoint).
pub fn jensen_shannon(p: &[f64], q: &[f64]) -> f64 {
    let part = |x: f64, middle: f64| if x > 0.0 { x * (x / middle).log2() } else { 0.0 };
    let sum: f64 = p.iter().zip(q).map(|(p, q)| part(*p, 0.5 * (p + q)) + part(*q, 0.5 * (p + q))).sum();
    (0.5 * sum).clamp(0.0, 1.0).sqrt()
}

/// Shares of both arms with `k` added to every count; classes that are empty in both are left out. And the two totals.
fn smoothed(a: &[f64], b: &[f64], k: f64) -> (Vec<(f64, f64)>, f64, f64) {
    let cells: Vec<(f64, f64)> = a.iter().zip(b).filter(|(a, b)| **a + **b > 0.0).map(|(a, b)| (a + k, b + k)).collect();
    let (n_a, n_b) = cells.iter().fold((0.0, 0.0), |sum, (a, b)| (sum.0 + a, sum.1 + b));
    (cells.into_iter().map(|(a, b)| (a / n_a, b / n_b)).collect(), n_a, n_b)
}

/// Population stability index of two lists of counts, `k` added to each.
pub fn psi(a: &[f64], b: &[f64], k: f64) -> f64 {
    smoothed(a, b, k).0.iter().map(|(p, q)| (q - p) * (q / p).ln()).sum()
}

/// What the index shows on average more than there is, because counts are finite.
pub fn psi_bias(a: &[f64], b: &[f64], k: f64) -> f64 {
    let (cells, n_a, n_b) = smoothed(a, b, k);
    let sum = |part: &dyn Fn(f64, f64) -> f64| cells.iter().map(|(p, q)| part(*p, *q)).sum::<f64>();
    sum(&|p, q| (1.0 - p) * (1.0 + q / p)) / (2.0 * n_a) + sum(&|p, q| (1.0 - q) * (1.0 + p / q)) / (2.0 * n_b)
}

/// The index without its bias, which overdispersion multiplies; at least 0, and 0 where an arm is empty.
pub fn psi_corrected(a: &[f64], b: &[f64], k: f64, phi: f64) -> f64 {
    let empty = |counts: &[f64]| counts.iter().sum::<f64>() <= 0.0;
    if empty(a) || empty(b) { 0.0 } else { (psi(a, b, k) - phi * psi_bias(a, b, k)).max(0.0) }
}

/// z of two proportions, pooled; `None` where an arm is empty or the pooled rate is 0 or 1.
pub fn pooled_z(n1: f64, x1: f64, n2: f64, x2: f64) -> Option<f64> {
    let pooled = (x1 + x2) / (n1 + n2);
    let variance = pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2);
    (n1 > 0.0 && n2 > 0.0 && variance > 0.0).then(|| (x2 / n2 - x1 / n1) / variance.sqrt())
}

/// The same where the second share is taken to be `ratio` times the first: an effect makes its arm's counts vary more, and that is no noise.
pub(super) fn split_z(pair: Pair, ratio: f64) -> Option<f64> {
    let Pair { n_a, x_a, n_b, x_b } = pair;
    let first = (x_a + x_b) / (n_a + ratio * n_b);
    let second = (ratio * first).min(1.0);
    let variance = first * (1.0 - first) / n_a + second * (1.0 - second) / n_b;
    (n_a > 0.0 && n_b > 0.0 && variance > 0.0).then(|| (x_b / n_b - x_a / n_a) / variance.sqrt())
}

/// Upper quantile of the standard normal distribution.
fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// Wilson's interval of a proportion: `x` of `n`, two-sided confidence.
pub fn wilson(x: f64, n: f64, confidence: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let z = normal_quantile(0.5 + 0.5 * confidence);
    let (p, z2) = (x / n, z * z);
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).max(0.0).sqrt();
    let low = if x <= 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if x >= n { 1.0 } else { (centre + half).min(1.0) };
    (low, high)
}

/// Radius of the ball `KL(counts/n || pi) <= radius` that holds the true shares at all looks with probability `1 - alpha`
/// (Dirichlet mixture with the given prior; for iid counts).
pub fn kl_ball_radius(counts: &[f64], alpha: f64, prior: f64) -> f64 {
    let n: f64 = counts.iter().sum();
    if n <= 0.0 {
        return f64::MAX;
    }
    let classes = counts.len() as f64;
    let entropy: f64 = counts.iter().filter(|c| **c > 0.0).map(|c| c * (c / n).ln()).sum();
    let marginal = ln_gamma(classes * prior) - ln_gamma(classes * prior + n)
        + counts.iter().map(|c| ln_gamma(prior + c) - ln_gamma(prior)).sum::<f64>();
    ((1.0 / alpha).ln() + entropy - marginal) / n
}

/// Half-width of the interval of total variation (or of the Kolmogorov-Smirnov distance) that holds at all looks: Pinsker and the
/// triangle. Both arms' counts; `phi` widens it for overdispersion.
pub fn distance_half_width(a: &[f64], b: &[f64], alpha: f64, phi: f64) -> f64 {
    let radius = |counts: &[f64]| (phi * kl_ball_radius(counts, 0.5 * alpha, 0.5) / 2.0).sqrt();
    radius(a) + radius(b)
}

/// Interval of one proportion that holds at all looks: all `p` with `KL(x/n || p)` within the ball; `phi` widens it.
pub fn anytime_interval(x: f64, n: f64, alpha: f64, phi: f64) -> (f64, f64) {
    if n <= 0.0 {
        return (0.0, 1.0);
    }
    let radius = phi * kl_ball_radius(&[x, n - x], alpha, 0.5);
    let p = (x / n).clamp(0.0, 1.0);
    // The divergence is convex: Newton's steps come from outside, and bisection helps where they would leave the bracket.
    let edge = |mut inside: f64, mut outside: f64| {
        let mut q = 0.5 * (inside + outside);
        for _ in 0..60 {
            let gap = super::kernel::divergence(p, q) - radius;
            if gap <= 0.0 {
                inside = q
            } else {
                outside = q
            }
            let newton = q - gap * q * (1.0 - q) / (q - p);
            let within = (newton - inside) * (newton - outside) < 0.0;
            let next = if within { newton } else { 0.5 * (inside + outside) };
            if (next - q).abs() <= 1e-12 {
                break;
            }
            q = next;
        }
        q
    };
    (if p <= 0.0 { 0.0 } else { edge(p, 0.0) }, if p >= 1.0 { 1.0 } else { edge(p, 1.0) })
}

/// What is added to total variation for its upper bound at all looks (statistics 2c, asymptotic): `precision` is 1/(1/n_a + 1/n_b) of
/// the step, `planned` the same at its planned end, `cells` the number of classes.
pub fn pass_radius(precision: f64, planned: f64, cells: f64, phi: f64, alpha: f64) -> f64 {
    if precision <= 0.0 {
        return 1.0;
    }
    let rho = (planned / 10.0).max(1.0);
    let grown = (precision + rho) / rho;
    let squared = (precision + rho) / precision * (2.0 * (1.0 / alpha).ln() + (cells - 1.0).max(1.0) * grown.ln());
    0.5 * (squared * phi / precision).sqrt()
}

/// Counts of several windows side by side: the canary's summed, stable's mix weighted as the canary's windows were. Summing stable
/// instead would show drift where every window has none (Simpson's paradox).
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Matched {
    /// Sum of `n_b` x stable's share, for each column.
    #[serde(rename = "a")]
    weighted: Vec<f64>,
    /// Canary's events, for each column.
    #[serde(rename = "b")]
    canary: Vec<f64>,
    /// Canary's requests.
    pub n_b: f64,
    /// Stable's requests.
    pub n_a: f64,
    /// Sum of `n_b^2 / n_a`.
    #[serde(rename = "q")]
    spread: f64,
}

impl Matched {
    /// Nothing yet.
    pub fn new(columns: usize) -> Self {
        Self { weighted: vec![0.0; columns], canary: vec![0.0; columns], ..Self::default() }
    }

    /// Adds one window; one without both arms is ignored.
    pub fn add(&mut self, n_a: f64, a: &[f64], n_b: f64, b: &[f64]) {
        if n_a <= 0.0 || n_b <= 0.0 {
            return;
        }
        for (sum, x) in self.weighted.iter_mut().zip(a) {
            *sum = super::tidy(*sum + n_b * x / n_a);
        }
        for (sum, x) in self.canary.iter_mut().zip(b) {
            *sum += x;
        }
        self.n_a += n_a;
        self.n_b += n_b;
        self.spread = super::tidy(self.spread + n_b * n_b / n_a);
    }

    /// Stable's shares, weighted as the canary's windows.
    pub fn stable(&self) -> Vec<f64> {
        self.weighted.iter().map(|x| if self.n_b > 0.0 { x / self.n_b } else { 0.0 }).collect()
    }

    /// Canary's shares.
    pub fn canary(&self) -> Vec<f64> {
        self.canary.iter().map(|x| if self.n_b > 0.0 { x / self.n_b } else { 0.0 }).collect()
    }

    /// How many requests stable's weighted mix is worth.
    pub fn stable_effective(&self) -> f64 {
        if self.spread > 0.0 { self.n_b * self.n_b / self.spread } else { 0.0 }
    }

    /// `1 / (1/n_a + 1/n_b)` with the effective count of stable.
    pub fn precision(&self) -> f64 {
        let n_a = self.stable_effective();
        if n_a > 0.0 && self.n_b > 0.0 { n_a * self.n_b / (n_a + self.n_b) } else { 0.0 }
    }

    /// Anytime intervals of the canary's minus stable's share of a column (`p_a`, `p_b`).
    pub fn difference_interval(&self, p_a: f64, p_b: f64, phi: f64, alpha: f64) -> (f64, f64) {
        let (n_a, n_b) = (self.stable_effective(), self.n_b);
        let (low_a, high_a) = anytime_interval(p_a * n_a, n_a, 0.5 * alpha, phi);
        let (low_b, high_b) = anytime_interval(p_b * n_b, n_b, 0.5 * alpha, phi);
        (low_b - high_a, high_b - low_a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_drift_with_changing_weights_shows_no_distance() {
        let mut matched = Matched::new(2);
        matched.add(1000.0, &[900.0, 100.0], 50.0, &[45.0, 5.0]);
        matched.add(1000.0, &[700.0, 300.0], 500.0, &[350.0, 150.0]);
        assert!(total_variation(&matched.stable(), &matched.canary()) < 1e-12);
    }

    #[test]
    fn the_interval_of_a_proportion_holds_it_and_shrinks() {
        let (few, many) = (anytime_interval(3.0, 100.0, 0.05, 1.0), anytime_interval(300.0, 10_000.0, 0.05, 1.0));
        assert!(few.0 < many.0 && many.0 < 0.03 && 0.03 < many.1 && many.1 < few.1);
        assert_eq!(anytime_interval(0.0, 10.0, 0.05, 1.0).0, 0.0);
    }

    #[test]
    fn an_empty_class_changes_no_distance() {
        assert_eq!(total_variation(&[0.5, 0.5], &[0.2, 0.8]), total_variation(&[0.5, 0.5, 0.0], &[0.2, 0.8, 0.0]));
    }
}
