//! Errors that come in bursts: how long those are in stable's past, and bets on how often they begin.
//!
//! Where bursts are rare, a window with six errors is one burst more often than six, and a window with one is a burst all the same. A score of
//! single errors, tempered by the dispersion, cannot tell the two. So the bets are on the number of bursts, of geometric length, of which only
//! the errors are seen; what the counts vary beyond that is tempered as everywhere.

use super::columns::Row;
use super::kernel::{self, Margin, Pair, Projection, at_odds};

/// Bursts that are hardly longer than one error are none.
const LEAST: f64 = 1.05;
/// Where so many errors are expected in a window the law of bursts is the normal one, which the dispersion describes.
const MOST_ERRORS: f64 = 200.0;
/// Bursts that a bet may expect of the canary, so that the probability of none is still a number.
const MOST_BET: f64 = 600.0;
/// Halvings until the nearest point of the boundary is known to a millionth.
const ROUNDS: u32 = 24;
/// Windows of pods without an error, and with one, that say how many bursts there are.
const LEAST_CELLS: f64 = 50.0;
/// Standard errors by which there may be more bursts than were seen.
const ERRORS: f64 = 2.0;

/// Mean length of the bursts of a column in windows of pods, at least: errors for each burst, of which windows without any tell the number. 1
/// where that cannot be known.
pub(super) fn length(windows: &[Vec<Row>], column: usize) -> f64 {
    let x = |row: &Row| row.x.get(column).copied().unwrap_or(0.0);
    let cells = || windows.iter().flatten().filter(|row| row.n > 0.0);
    let (all, without, errors) = cells()
        .fold((0.0, 0.0, 0.0), |(all, without, errors), row| (all + 1.0, without + if x(row) > 0.0 { 0.0 } else { 1.0 }, errors + x(row)));
    if without < LEAST_CELLS || all - without < LEAST_CELLS {
        return 1.0;
    }
    let none: f64 = without / all;
    let bursts = ERRORS.mul_add(((1.0 - none) / without).sqrt(), -none.ln());
    (errors / all / bursts).max(1.0)
}

/// Dispersion of bursts of geometric length with this mean.
fn dispersion(burst: f64) -> f64 {
    2.0 * burst - 1.0
}

/// Bets of the fail side as [`kernel::fail_bets`], tempered by the dispersion `phi`, where errors come in bursts of this mean length.
pub(super) fn fail_bets(pair: Pair, p: f64, margin: Margin, etas: &[f64], phi: f64, burst: f64) -> Vec<f64> {
    let b = margin.at(p);
    if burst < LEAST || pair.n_a * p + pair.n_b * b > MOST_ERRORS {
        return kernel::fail_bets(pair, p, margin, etas).map(|log| log / phi).collect();
    }
    let beyond = (phi / dispersion(burst)).max(1.0);
    let bet = |eta: &f64| {
        let theta = at_odds(b, eta.exp());
        if b >= 1.0 || theta <= b || pair.n_a.min(pair.n_b) <= 0.0 || pair.n_b * theta > MOST_BET * burst {
            return kernel::affine_log_e(pair, p, theta, margin) / phi;
        }
        let Projection { a0, b0 } = project(pair, (p, theta), margin, burst);
        let of = |n: f64, x: f64, bet: f64, null: f64| ln_seen(x, n * bet / burst, burst) - ln_seen(x, n * null / burst, burst);
        let value = of(pair.n_a, pair.x_a, p, a0) + of(pair.n_b, pair.x_b, theta, b0);
        if value.is_finite() { value / beyond } else { 0.0 }
    };
    etas.iter().map(bet).collect()
}

/// The point of the boundary nearest to a bet, in the sense of Kullback and Leibler, as [`kernel::project`]; of bursts only the errors are
/// seen, and those of a rare burst tell more than those of many.
fn project(pair: Pair, (theta_a, theta_b): (f64, f64), margin: Margin, burst: f64) -> Projection {
    let other = ((theta_b - margin.d) / margin.r).max(f64::MIN_POSITIVE);
    let (mut low, mut high) = (theta_a.min(other), theta_a.max(other));
    let seen = |n: f64, bet: f64| {
        let law = Law::of(n * bet / burst, burst);
        move |null: f64| n * (law.told(n * null / burst) - 1.0)
    };
    let (of_a, of_b) = (seen(pair.n_a, theta_a), seen(pair.n_b, theta_b));
    for _ in 0..ROUNDS {
        let middle = 0.5 * (low + high);
        if of_a(middle) + margin.r * of_b(margin.at(middle)) > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    let a0 = 0.5 * (low + high);
    Projection { a0, b0: margin.at(a0) }
}

/// Probabilities of 0, 1, 2 and more errors where so many bursts are expected.
struct Law {
    shares: Vec<f64>,
    burst: f64,
}

impl Law {
    fn of(bursts: f64, burst: f64) -> Self {
        let mean = bursts * burst;
        // Not negative, and bounded by what is expected at most: the cast is exact enough.
        let most = (mean + 10.0 * (mean * dispersion(burst)).sqrt() + 30.0 * burst) as usize;
        let mut shares = Vec::with_capacity(most);
        each(bursts, burst, most, |share, _| shares.push(share));
        Self { shares, burst }
    }

    /// How many bursts these errors would be taken for on average where `bursts` are expected, as a multiple of them.
    fn told(&self, bursts: f64) -> f64 {
        let (mut sum, mut at) = (0.0, self.shares.iter());
        each(bursts, self.burst, self.shares.len(), |share, one_more| {
            let of = at.next().copied().unwrap_or(0.0);
            if share > 0.0 {
                sum += of * one_more / share;
            }
        });
        sum
    }
}

/// The probabilities of 0 to `count` - 1 errors where so many bursts are expected, each with that of as many where there is a burst more: the
/// recurrence of Pólya and Aeppli's law.
fn each(bursts: f64, burst: f64, count: usize, mut found: impl FnMut(f64, f64)) {
    let (stops, goes_on) = (1.0 / burst, 1.0 - 1.0 / burst);
    let (mut before, mut now, mut more) = (0.0, (-bursts).exp(), 0.0);
    let mut k = 0.0;
    for _ in 0..count {
        found(now, more);
        more = stops * now + goes_on * more;
        k += 1.0;
        let next = ((2.0 * goes_on * (k - 1.0) + bursts * stops) * now - goes_on * goes_on * (k - 2.0) * before) / k;
        (before, now) = (now, next.max(0.0));
    }
}

/// Log of the probability of `x` errors where so many bursts are expected (Pólya and Aeppli's law), by its recurrence over 1 to `x`.
fn ln_seen(x: f64, bursts: f64, burst: f64) -> f64 {
    let (stops, goes_on) = (1.0 / burst, 1.0 - 1.0 / burst);
    if x < 1.0 {
        return -bursts;
    }
    // Without the factor of no burst at all, and scaled so that nothing overflows.
    let (mut before, mut now, mut scale) = (1.0, bursts * stops, 0.0);
    let mut k = 1.0;
    while k < x {
        k += 1.0;
        let next = ((2.0 * goes_on * (k - 1.0) + bursts * stops) * now - goes_on * goes_on * (k - 2.0) * before) / k;
        (before, now) = (now, next);
        if !(1e-100..1e100).contains(&now) {
            scale += now.ln();
            (before, now) = (before / now, 1.0);
        }
    }
    now.ln() + scale - bursts
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use rand_distr::{Distribution, Geometric, Poisson};

    use super::*;
    use crate::judge::mixture::{CAP, ETA};

    const STRICT: Margin = Margin { r: 1.0, d: 0.0 };

    fn law(bursts: f64, burst: f64) -> Vec<f64> {
        (0..400).map(|x| ln_seen(f64::from(x), bursts, burst).exp()).collect()
    }

    /// Errors of bursts, of which `long` are geometric with this mean and the others single.
    fn errors(rng: &mut SmallRng, bursts: f64, long: f64, burst: f64) -> f64 {
        let count = Poisson::new(bursts).unwrap().sample(rng) as u64;
        let geometric = Geometric::new(1.0 / burst).unwrap();
        (0..count).map(|_| if rng.random::<f64>() < long { 1.0 + geometric.sample(rng) as f64 } else { 1.0 }).sum()
    }

    fn past(seed: u64, bursts: f64, long: f64, burst: f64) -> Vec<Vec<Row>> {
        let mut rng = SmallRng::seed_from_u64(seed);
        (0..1440).map(|_| (0..10).map(|_| Row { n: 300.0, x: vec![errors(&mut rng, bursts, long, burst)] }).collect()).collect()
    }

    #[test]
    fn the_law_of_the_errors_has_the_mean_and_the_dispersion_of_its_bursts() {
        for (bursts, burst) in [(0.2, 2.0), (3.0, 2.0), (5.0, 5.0), (20.0, 1.5)] {
            let law = law(bursts, burst);
            let moment = |of: &dyn Fn(f64) -> f64| law.iter().enumerate().map(|(x, p)| p * of(x as f64)).sum::<f64>();
            let mean = moment(&|x| x);
            assert!((moment(&|_| 1.0) - 1.0).abs() < 1e-9 && (mean - bursts * burst).abs() < 1e-6, "{mean}");
            assert!((moment(&|x| (x - mean).powi(2)) / mean - dispersion(burst)).abs() < 1e-6);
        }
        assert!((ln_seen(3.0, 2.0, 1.0) - (-2.0 + (8.0f64 / 6.0).ln())).abs() < 1e-12, "bursts of one are Poisson's");
    }

    /// A bet at `eta`: what each number of errors up to 400 adds to its log in stable and in the canary, tempered by `beyond`.
    fn bet((n_a, n_b): (f64, f64), p: f64, margin: Margin, eta: f64, burst: f64, beyond: f64) -> [Vec<f64>; 2] {
        let theta = at_odds(margin.at(p), eta.exp());
        let Projection { a0, b0 } = project(Pair { n_a, n_b, ..Pair::default() }, (p, theta), margin, burst);
        [(n_a, p, a0), (n_b, theta, b0)].map(|(n, bet, null)| {
            let log = |x: f64| ln_seen(x, n * bet / burst, burst) - ln_seen(x, n * null / burst, burst);
            (0..400).map(|x| log(f64::from(x)) / beyond).collect()
        })
    }

    /// Mean of `of` the bet's log over what both arms show.
    fn mean(bet: &[Vec<f64>; 2], laws: [&[f64]; 2], of: impl Fn(f64) -> f64) -> f64 {
        let likely = |at: usize| laws[at].iter().zip(&bet[at]).filter(|(p, _)| **p > 1e-6);
        likely(0).map(|(p_a, a)| p_a * likely(1).map(|(p_b, b)| p_b * of(a + b)).sum::<f64>()).sum()
    }

    #[test]
    fn within_the_limit_no_bet_on_bursts_expects_to_win() {
        for (burst, margin) in [(2.0, STRICT), (3.0, Margin { r: 1.1, d: 0.0005 }), (8.0, STRICT)] {
            for (p, n_a) in [(0.0005, 2850.0), (0.002, 2850.0), (0.002, 600.0), (0.01, 150.0)] {
                for eta in ETA {
                    let bet = bet((n_a, 150.0), p, margin, eta, burst, 1.1);
                    // Stable as predicted, and in an incident that both have.
                    for worse in [1.0, 2.0] {
                        let (a, b) = (law(n_a * worse * p / burst, burst), law(150.0 * margin.at(worse * p) / burst, burst));
                        let mean = mean(&bet, [&a, &b], |log| log.min(CAP).exp());
                        assert!(mean <= 1.006, "{burst} {p} {n_a} {eta} {worse}: {mean}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_canary_that_is_worse_is_found_sooner_than_by_single_errors() {
        // 0.2 to 1.2 % in bursts of two, with the default limits, at 5 % of 100 requests a second.
        let (margin, burst, p, n) = (Margin { r: 1.1, d: 0.0005 }, 2.0, 0.002, (2850.0, 150.0));
        let (a, b) = (law(n.0 * p / burst, burst), law(n.1 * 0.012 / burst, burst));
        let bursts = mean(&bet(n, p, margin, 1.2, burst, 1.0), [&a, &b], |log| log);
        let single = kernel::affine_log_e(
            Pair { n_a: n.0, x_a: n.0 * p, n_b: n.1, x_b: n.1 * 0.012 },
            p,
            at_odds(margin.at(p), 1.2f64.exp()),
            margin,
        );
        assert!(bursts > 1.08 * single / dispersion(burst), "{bursts} {single}");
    }

    #[test]
    fn finer_counts_tell_more_of_bursts_and_never_more_than_the_bursts_themselves() {
        // The same canary; a test that knew stable's rate would gain so many nats a window (the table of docs/statistics.md), where it sees
        // the errors of each of so many equal parts of the canary's window.
        for (limit, told, bursts) in [(0.0027, [0.47, 0.54, 0.57, 0.60], 0.64), (0.002, [0.62, 0.71, 0.75, 0.80], 0.86)] {
            let (bet, null) = (150.0 * 0.012 / 2.0, 150.0 * limit / 2.0);
            let part = |parts: f64| {
                let logs = |x: u32| [bet, null].map(|all| ln_seen(f64::from(x), all / parts, 2.0));
                parts * (0..200).map(logs).map(|[bet, null]| bet.exp() * (bet - null)).sum::<f64>()
            };
            let of = [1.0, 2.0, 3.0, 6.0].map(part);
            assert!(of.iter().zip(told).all(|(of, told)| (of - told).abs() < 0.006), "{of:?}");
            let most = bet * (bet / null).ln() - bet + null;
            assert!((most - bursts).abs() < 0.006 && (part(1000.0) - most).abs() < 0.002 && of.is_sorted(), "{most} {of:?}");
        }
    }

    #[test]
    fn where_errors_come_one_by_one_or_are_many_the_bets_are_those_on_single_errors() {
        let pair = |n: f64| Pair { n_a: 19.0 * n, x_a: 0.038 * n, n_b: n, x_b: 0.02 * n };
        let single = |n: f64| kernel::fail_bets(pair(n), 0.002, STRICT, &ETA).map(|log| log / 3.0).collect::<Vec<f64>>();
        assert_eq!(fail_bets(pair(150.0), 0.002, STRICT, &ETA, 3.0, 1.0), single(150.0));
        assert_eq!(fail_bets(pair(15_000.0), 0.002, STRICT, &ETA, 3.0, 2.0), single(15_000.0));
        assert_ne!(fail_bets(pair(150.0), 0.002, STRICT, &ETA, 3.0, 2.0), single(150.0));
        let empty = Pair { n_b: 0.0, x_b: 0.0, ..pair(150.0) };
        assert_eq!(fail_bets(empty, 0.002, STRICT, &ETA, 3.0, 2.0), [0.0; ETA.len()]);
    }

    #[test]
    fn bursts_are_as_long_as_the_past_shows_and_not_longer() {
        for burst in [2.0, 3.0] {
            let found = length(&past(1, 0.3, 1.0, burst), 0);
            assert!((0.9 * burst..burst + 0.05).contains(&found), "{burst}: {found}");
        }
        assert!(length(&past(1, 0.3, 0.0, 1.0), 0) < 1.02, "one by one");
        assert_eq!(length(&past(1, 20.0, 1.0, 2.0), 0), 1.0, "no window is without");
        assert_eq!(length(&past(1, 1e-4, 1.0, 2.0), 0), 1.0, "too few");
        assert_eq!(length(&[], 0), 1.0);
    }

    #[test]
    fn single_errors_beside_a_few_long_bursts_are_not_taken_for_bursts() {
        // Nine of ten are single, the tenth has twenty errors on average: the dispersion is 27. A healthy canary with as many requests.
        let windows = past(2, 0.5, 0.1, 20.0);
        let burst = length(&windows, 0);
        assert!((2.0..3.0).contains(&burst), "{burst}");
        let mut rng = SmallRng::seed_from_u64(3);
        let mut mean = [0.0; ETA.len()];
        for _ in 0..2_000 {
            let pair = Pair { n_a: 2850.0, x_a: errors(&mut rng, 9.5, 0.1, 20.0), n_b: 150.0, x_b: errors(&mut rng, 0.5, 0.1, 20.0) };
            let bets = fail_bets(pair, 2.9 * 10.0 / 3000.0, STRICT, &ETA, 27.0, burst);
            mean.iter_mut().zip(bets).for_each(|(mean, bet)| *mean += bet.min(CAP).exp() / 2_000.0);
        }
        assert!(mean.iter().all(|mean| *mean <= 1.03), "{mean:?}");
    }
}
