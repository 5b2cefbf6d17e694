//! Random numbers of the shapes that traffic has.

use rand::rngs::SmallRng;
use rand_distr::{Binomial, Distribution, Gamma, Poisson, StandardNormal};

/// Of `n` requests, how many are of a kind that has this share.
pub(super) fn binomial(rng: &mut SmallRng, n: u64, share: f64) -> u64 {
    match share {
        _ if n == 0 || share <= 0.0 => 0,
        _ if share >= 1.0 => n,
        _ => Binomial::new(n, share).map_or(0, |law| law.sample(rng)),
    }
}

/// Requests where so many are expected.
pub(super) fn poisson(rng: &mut SmallRng, mean: f64) -> u64 {
    if mean <= 0.0 { 0 } else { Poisson::new(mean).map_or(0, |law| law.sample(rng) as u64) }
}

/// Failures among `n` requests with this share: in bursts of geometric length with the mean `burst`, or one by one where that is 1. The
/// variance is `2 burst - 1` times that of independent failures.
pub(super) fn failures(rng: &mut SmallRng, n: u64, share: f64, burst: f64) -> u64 {
    // Where nearly everything fails there is no room between bursts.
    if burst <= 1.0 || share >= 0.9 {
        return binomial(rng, n, share);
    }
    let bursts = poisson(rng, n as f64 * share / burst);
    if bursts == 0 {
        return 0;
    }
    // Each burst is one failure and a geometric number more; a sum of those is negative binomial, a Poisson number with a Gamma mean.
    let more = Gamma::new(bursts as f64, burst - 1.0).map_or(0.0, |law| law.sample(rng));
    (bursts + poisson(rng, more)).min(n)
}

/// Standard normal.
pub(super) fn normal(rng: &mut SmallRng) -> f64 {
    StandardNormal.sample(rng)
}

/// A factor with mean 1 whose logarithm has this standard deviation.
pub(super) fn factor(sd: f64, z: f64) -> f64 {
    (sd * z - 0.5 * sd * sd).exp()
}

/// Shares from a Dirichlet distribution with `concentration` times these shares.
pub(super) fn dirichlet(rng: &mut SmallRng, shares: &[f64], concentration: f64, into: &mut Vec<f64>) {
    into.clear();
    into.extend(
        shares.iter().map(
            |share| {
                if *share <= 0.0 { 0.0 } else { Gamma::new(concentration * share, 1.0).map_or(0.0, |law| law.sample(rng)) }
            },
        ),
    );
    let sum: f64 = into.iter().sum();
    if sum > 0.0 {
        into.iter_mut().for_each(|x| *x /= sum);
    } else {
        into.clear();
        into.extend_from_slice(shares);
    }
}

/// Adds `n` requests to the classes by their shares.
pub(super) fn classes(rng: &mut SmallRng, n: u64, shares: &[f64], into: &mut [u64]) {
    let (mut left, mut mass) = (n, 1.0);
    let last = shares.len().saturating_sub(1);
    for (at, (share, count)) in shares.iter().zip(into).enumerate() {
        if left == 0 {
            return;
        }
        let drawn = if at == last { left } else { binomial(rng, left, if mass > 0.0 { share / mass } else { 0.0 }) };
        *count += drawn;
        left -= drawn;
        mass -= share;
    }
}

/// Adds `n` requests to the counts above each bound; `above` are the shares above it, falling.
pub(super) fn latencies(rng: &mut SmallRng, n: u64, above: &[f64], into: &mut [u64]) {
    let (mut left, mut share) = (n, 1.0);
    for (next, count) in above.iter().zip(into) {
        if left == 0 {
            return;
        }
        left = binomial(rng, left, if share > 0.0 { next / share } else { 0.0 });
        *count += left;
        share = *next;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn bursts_keep_the_share_and_multiply_the_variance() {
        let mut rng = SmallRng::seed_from_u64(1);
        let drawn: Vec<f64> = (0..40_000).map(|_| failures(&mut rng, 10_000, 0.01, 3.0) as f64).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
        assert!((mean - 100.0).abs() < 1.0, "{mean}");
        assert!((variance / mean - 5.0).abs() < 0.25, "{}", variance / mean);
    }

    #[test]
    fn every_request_has_a_class_and_a_duration() {
        let mut rng = SmallRng::seed_from_u64(2);
        let (mut counts, mut above) = ([0; 3], [0; 2]);
        classes(&mut rng, 10_000, &[0.5, 0.3, 0.2], &mut counts);
        latencies(&mut rng, 10_000, &[0.6, 0.01], &mut above);
        assert_eq!(counts.iter().sum::<u64>(), 10_000);
        assert!(counts[0].abs_diff(5000) < 250 && above[0].abs_diff(6000) < 250 && above[1].abs_diff(100) < 50, "{counts:?} {above:?}");
    }

    #[test]
    fn drawn_shares_lie_around_those_asked_for() {
        let mut rng = SmallRng::seed_from_u64(3);
        let (mut one, mut sum, mut squares) = (Vec::new(), 0.0, 0.0);
        for _ in 0..20_000 {
            dirichlet(&mut rng, &[0.25, 0.75], 500.0, &mut one);
            sum += one[0];
            squares += (one[0] - 0.25f64).powi(2);
        }
        assert!((sum / 20_000.0 - 0.25).abs() < 1e-3);
        assert!((squares / 20_000.0 / (0.25 * 0.75 / 501.0) - 1.0).abs() < 0.05);
    }

    #[test]
    fn a_factor_has_the_mean_one() {
        let mut rng = SmallRng::seed_from_u64(4);
        let mean = (0..100_000).map(|_| factor(0.3, normal(&mut rng))).sum::<f64>() / 1e5;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }
}
