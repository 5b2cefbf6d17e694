//! The planned-horizon budget (statistics 2i): small effects are found before the plan ends.
//!
//! The plan says how much the canary will have shown by its end. From that follows how far the canary's excess over what its limit allows
//! may wander by chance at any time up to the end; every window uses up a part, and when nothing is left the canary is worse. All that
//! must be remembered is one number for each share that is watched: `rho`, the distance to the boundary in standard deviations of what is
//! still to come. It stands for the probability that chance alone would still use the budget up ("conditional error"), and keeping it while
//! the rest of the plan is counted again is what makes changes of the plan harmless (Müller and Schäfer's principle).

use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::erf::erfc;

use super::kernel::{Margin, Pair};

/// Part of the error budget that this half of the evidence has; the e-process has the rest.
pub const PART: f64 = 0.5;
/// Value of `rho` at which nothing of the budget can be reached any more: the plan has ended, or the state was lost.
pub const SPENT: f64 = 40.0;
/// A window's information counts at most as so many windows like the predicted one.
const MOST_WINDOWS: f64 = 3.0;
/// And as so many events.
const MOST_EVENTS: f64 = 4.0;
/// A window's excess counts at most as so many standard deviations of the predicted one: what the cap is to the e-process.
const MOST_DEVIATIONS: f64 = 2.5;
/// The boundary is looked at once a window, not all the time: by so many deviations it is farther away.
const BETWEEN_LOOKS: f64 = 0.05;
/// With margins the closed form is too optimistic by so many deviations.
const OPTIMISM: f64 = 0.2;

/// Standard deviations beyond the boundary at which an effect is found with 90 %.
const NINETY: f64 = 1.13;

/// What one window says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// Events of the canary beyond its limit.
    pub u: f64,
    /// Variance of that.
    pub v: f64,
    /// Skewness: third by second cumulant.
    pub h: f64,
}

/// Variance of the excess when stable's rate is `p` and the canary's is on the boundary.
pub fn variance(n_a: f64, n_b: f64, p: f64, margin: Margin) -> f64 {
    let m = n_a + margin.r * n_b;
    if n_a <= 0.0 || n_b <= 0.0 {
        return 0.0;
    }
    let (p, b) = (p.clamp(0.0, 1.0), margin.at(p).clamp(0.0, 1.0));
    (n_a / m) * (n_b / m) * (n_a * b * (1.0 - b) + margin.r * margin.r * n_b * p * (1.0 - p))
}

/// Excess of one window and its variance for independent requests. On the boundary its expectation is 0 whatever stable's rate is, so that
/// neither a common drift nor another split can move it.
pub fn score(pair: Pair, margin: Margin) -> (f64, f64) {
    let m = pair.n_a + margin.r * pair.n_b;
    if pair.n_a <= 0.0 || pair.n_b <= 0.0 {
        return (0.0, 0.0);
    }
    let (a, b) = (pair.n_a / m, pair.n_b / m); // fractions first: counts of 1e9 are never multiplied
    let u = a * pair.x_b - margin.r * b * pair.x_a - margin.d * a * pair.n_b;
    let rate = ((pair.x_a + pair.x_b - margin.d * pair.n_b) / m).clamp(0.0, 1.0);
    (u, variance(pair.n_a, pair.n_b, rate, margin))
}

/// The same with the dispersion `phi` and with limits, so that neither an incident that hits both versions nor a single odd window decides:
/// `p` is stable's predicted rate.
pub fn limited(pair: Pair, margin: Margin, phi: f64, p: f64) -> Excess {
    let h = 1.5 * phi - 0.5;
    let (u, v) = score(pair, margin);
    let v = phi * v;
    if v <= 0.0 {
        return Excess { u: 0.0, v: 0.0, h };
    }
    let planned = phi * variance(pair.n_a, pair.n_b, p, margin);
    let q = margin.r * pair.n_b / (pair.n_a + margin.r * pair.n_b);
    let most = MOST_WINDOWS * planned + MOST_EVENTS * phi * q * (1.0 - q);
    let part = (most / v).min(1.0);
    Excess { u: (part * u).min(MOST_DEVIATIONS * planned.sqrt() + h), v: part * part * v, h }
}

/// Windows of the plan that are still to come at one weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ahead {
    /// How many.
    pub windows: f64,
    /// Canary's share.
    pub weight: f64,
    /// Dispersion there.
    pub phi: f64,
}

/// Information that the rest of the plan will show: `n` requests a window, stable's predicted rate `p`.
pub fn left(ahead: &[Ahead], n: f64, p: f64, margin: Margin) -> f64 {
    ahead.iter().map(|part| part.windows * part.phi * variance(n * (1.0 - part.weight), n * part.weight, p, margin)).sum()
}

/// `rho` at the start: `alpha` is the probability that chance alone may ever use the budget up.
pub fn start(alpha: f64) -> f64 {
    if alpha > 0.0 { Normal::standard().inverse_cdf(1.0 - 0.5 * alpha.min(1.0)).clamp(0.0, SPENT) } else { SPENT }
}

/// Events that the budget still allows: a normal quantile, corrected for the skewness of few events (Cornish and Fisher).
pub fn allowed(rho: f64, left: f64, h: f64) -> f64 {
    rho * left.sqrt() + h * rho * rho / 6.0
}

/// The inverse of [`allowed`].
pub fn distance(allowed: f64, left: f64, h: f64) -> f64 {
    match () {
        () if allowed <= 0.0 => 0.0,
        () if left <= 0.0 => SPENT,
        () => (2.0 * allowed / (left.sqrt() + (left + 2.0 * h * allowed / 3.0).sqrt())).min(SPENT),
    }
}

/// `rho` after a window; `left` is what is still to come after it. 0 and [`SPENT`] stay as they are.
pub fn step(rho: f64, excess: Excess, left: f64) -> f64 {
    if rho <= 0.0 || rho >= SPENT {
        return rho.clamp(0.0, SPENT);
    }
    if excess.v <= 0.0 {
        return if left > 0.0 { rho } else { SPENT };
    }
    distance(allowed(rho, left + excess.v, excess.h) - excess.u, left, excess.h)
}

/// `rho` after one look at `pair`, the whole of 2i.3: `phi` and stable's predicted rate `p` are of before the window, `ahead` is what the plan
/// shows after it, `n` the mean requests of a window.
pub fn look(rho: f64, pair: Pair, margin: Margin, phi: f64, p: f64, ahead: &[Ahead], n: f64) -> f64 {
    step(rho, limited(pair, margin, phi, p), left(ahead, n, p, margin))
}

/// Conditional error: the probability that chance alone would still use the budget up.
pub fn chance(rho: f64) -> f64 {
    if rho >= SPENT { 0.0 } else { erfc(rho.max(0.0) / std::f64::consts::SQRT_2).min(1.0) }
}

/// What the rest of the plan can find: expectation and variance of the excess up to its end, and the skewness of that, for a share that is
/// `p_a` in stable and `p_b` in the canary; `n` requests a window.
fn outlook(ahead: &[Ahead], n: f64, (p_a, p_b): (f64, f64), margin: Margin) -> (f64, f64, f64) {
    let (mut drift, mut all, mut weighted) = (0.0, 0.0, 0.0);
    for part in ahead {
        let (n_a, n_b) = (n * (1.0 - part.weight), n * part.weight);
        let m = n_a + margin.r * n_b;
        if n_a <= 0.0 || n_b <= 0.0 {
            continue;
        }
        let pooled = (n_a * p_a + n_b * p_b - margin.d * n_b) / m;
        let v = part.windows * part.phi * variance(n_a, n_b, pooled, margin);
        drift += part.windows * (n_a / m) * n_b * (p_b - margin.at(p_a));
        all += v;
        weighted += v * (1.5 * part.phi - 0.5);
    }
    (drift, all, if all > 0.0 { weighted / all } else { 1.0 })
}

/// The boundary in standard deviations of what is still to come.
fn boundary(rho: f64, left: f64, h: f64) -> f64 {
    rho + h * rho * rho / (6.0 * left.sqrt()) + BETWEEN_LOOKS
}

fn optimism(margin: Margin) -> f64 {
    if margin.r <= 1.0 && margin.d <= 0.0 { 0.0 } else { OPTIMISM }
}

/// Probability that a canary at `p_b`, stable being at `p_a`, is found by the end of the plan (2i.5).
pub fn found(rho: f64, ahead: &[Ahead], n: f64, rates: (f64, f64), margin: Margin) -> f64 {
    let (drift, left, h) = outlook(ahead, n, rates, margin);
    if left <= 0.0 || rho >= SPENT {
        return if rho <= 0.0 { 1.0 } else { 0.0 };
    }
    let (theta, b) = (drift / left.sqrt() - optimism(margin), boundary(rho, left, h));
    let above = |x: f64| 0.5 * erfc(x / std::f64::consts::SQRT_2);
    let again = if theta + b < 37.0 { (2.0 * theta * b).exp() * above(theta + b) } else { 0.0 };
    (above(b - theta) + again).clamp(0.0, 1.0)
}

/// The smallest rate of the canary that is found with 90 % by the end of the plan; `None`: none is.
pub fn smallest(rho: f64, ahead: &[Ahead], n: f64, p_a: f64, margin: Margin) -> Option<f64> {
    let limit = margin.at(p_a);
    let slope: f64 = outlook(ahead, n, (p_a, limit + 1.0), margin).0;
    if slope <= 0.0 || rho >= SPENT {
        return None;
    }
    // The variance grows with the effect more slowly than the effect itself: this climbs to the answer.
    let mut p_b = limit;
    for _ in 0..12 {
        let (_, left, h) = outlook(ahead, n, (p_a, p_b), margin);
        p_b = limit + (boundary(rho, left, h) + NINETY + optimism(margin)) * left.sqrt() / slope;
        if p_b > 1.0 {
            return None;
        }
    }
    Some(p_b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRICT: Margin = Margin { r: 1.0, d: 0.0 };
    /// 5, 20 and 50 % for fifteen minutes each, in windows of 30 s.
    const PLAN: [(f64, f64); 3] = [(30.0, 0.05), (30.0, 0.2), (30.0, 0.5)];

    fn plan(phi: f64) -> Vec<Ahead> {
        PLAN.iter().map(|(windows, weight)| Ahead { windows: *windows, weight: *weight, phi }).collect()
    }

    fn binomial(n: u64, x: u64, p: f64) -> f64 {
        let choose = (0..x).fold(1.0, |c, k| c * (n - k) as f64 / (k + 1) as f64);
        choose * p.powi(x as i32) * (1.0 - p).powi((n - x) as i32)
    }

    #[test]
    fn on_the_boundary_the_excess_expects_nothing_whatever_stables_rate_is() {
        for (n_a, n_b, r, d) in [(3, 2, 1.0, 0.0), (7, 1, 1.1, 0.05), (2, 6, 1.5, 0.0), (5, 5, 1.0, 0.2)] {
            for p in [0.0, 0.001, 0.03, 0.2, 0.5] {
                let margin = Margin { r, d };
                let b = margin.at(p);
                let (mut mean, mut square) = (0.0, 0.0);
                for (x_a, x_b) in (0..=n_a).flat_map(|a| (0..=n_b).map(move |b| (a, b))) {
                    let (u, _) = score(Pair { n_a: n_a as f64, x_a: x_a as f64, n_b: n_b as f64, x_b: x_b as f64 }, margin);
                    let weight = binomial(n_a, x_a, p) * binomial(n_b, x_b, b);
                    mean += weight * u;
                    square += weight * u * u;
                }
                assert!(mean.abs() < 1e-12, "{mean}");
                assert!((square - variance(n_a as f64, n_b as f64, p, margin)).abs() < 1e-12, "{square}");
            }
        }
    }

    #[test]
    fn the_forecast_follows_the_figures_of_2i_5() {
        let rho = start(0.08 / 6.0);
        let at = |n: f64, p_b: f64| found(rho, &plan(1.1), n, (0.01, p_b), STRICT);
        assert!((at(3000.0, 0.012) - 0.91).abs() < 0.01, "{}", at(3000.0, 0.012));
        assert!((at(300.0, 0.012) - 0.097).abs() < 0.004, "{}", at(300.0, 0.012));
        assert!((at(300.0, 0.02) - 0.997).abs() < 0.002, "{}", at(300.0, 0.02));
        assert!((at(3000.0, 0.01) - 0.08 / 6.0).abs() < 0.004, "a healthy canary is found as often as the budget says");
    }

    #[test]
    fn the_smallest_effect_is_found_with_ninety_percent() {
        for margin in [STRICT, Margin { r: 1.1, d: 0.0005 }] {
            for n in [30.0, 300.0, 3000.0, 30_000.0] {
                let rho = start(0.08 / 6.0);
                let Some(p_b) = smallest(rho, &plan(1.1), n, 0.01, margin) else { panic!("nothing is found at {n}") };
                let chance = found(rho, &plan(1.1), n, (0.01, p_b), margin);
                assert!((chance - 0.9).abs() < 0.02, "{chance} at {n}");
            }
        }
        assert_eq!(smallest(SPENT, &plan(1.1), 3000.0, 0.01, STRICT), None);
    }

    #[test]
    fn small_effects_are_found_at_the_late_steps() {
        let part = |at: usize| left(&plan(1.1)[at..=at], 3000.0, 0.01, STRICT) / left(&plan(1.1), 3000.0, 0.01, STRICT);
        assert!((part(0) - 0.10).abs() < 0.01 && (part(1) - 0.35).abs() < 0.02 && (part(2) - 0.55).abs() < 0.02);
    }

    #[test]
    fn a_plan_that_has_ended_is_spent_and_does_not_start_over() {
        let excess = Excess { u: 1.0, v: 5.0, h: 1.0 };
        let spent = step(1.9, excess, 0.0);
        assert_eq!((spent, chance(spent)), (SPENT, 0.0));
        assert_eq!(step(spent, Excess { u: 500.0, ..excess }, 400.0), SPENT);
        assert_eq!(step(2.0, Excess { v: 0.0, u: 0.0, h: 1.0 }, 0.0), SPENT, "an empty window may be the last one");
    }

    #[test]
    fn a_failure_stands() {
        assert_eq!(step(0.0, Excess { u: -50.0, v: 5.0, h: 1.0 }, 400.0), 0.0);
        assert_eq!(chance(0.0), 1.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_budget_and_its_inverse_agree(rho in 0.0..39.9f64, left in 1e-6..1e12f64, h in 1.0..40.0f64) {
            let back = distance(allowed(rho, left, h), left, h);
            prop_assert!((back - rho).abs() <= 1e-9 * rho.max(1.0), "{back}");
        }

        #[test]
        fn a_window_without_information_changes_nothing(rho in 0.01..39.0f64, n in 1.0..1e6f64, left in 1e-3..1e9f64) {
            let margin = Margin { r: 1.0, d: 0.0 };
            for pair in [Pair { n_a: n, x_a: 1.0, ..Pair::default() }, Pair { n_b: n, x_b: 1.0, ..Pair::default() }, Pair { n_a: n, n_b: n, ..Pair::default() }] {
                let excess = limited(pair, margin, 1.7, 0.01);
                prop_assert_eq!(step(rho, excess, left), rho);
            }
        }

        #[test]
        fn without_skewness_the_unit_of_the_counts_does_not_matter(rho in 0.1..10.0f64, u in -50.0..50.0f64, v in 0.1..100.0f64, left in 1.0..1e5f64, c in 0.1..30.0f64) {
            let one = step(rho, Excess { u, v, h: 0.0 }, left);
            let other = step(rho, Excess { u: c * u, v: c * c * v, h: 0.0 }, c * c * left);
            prop_assert!((one - other).abs() < 1e-9 * one.max(1.0), "{one} {other}");
        }

        #[test]
        fn more_excess_comes_nearer_and_more_chance_stays_farther(rho in 0.1..10.0f64, u in -50.0..50.0f64, v in 0.1..100.0f64, left in 1.0..1e5f64, h in 1.0..10.0f64, more in 0.01..20.0f64) {
            let at = |u: f64, v: f64| step(rho, Excess { u, v, h }, left);
            prop_assert!(at(u + more, v) <= at(u, v));
            prop_assert!(at(u, v + more) >= at(u, v));
        }

        #[test]
        fn counts_up_to_a_billion_give_finite_numbers(
            n_a in 0u64..1_000_000_000, n_b in 0u64..1_000_000_000, bad_a in 0.0..=1.0f64, bad_b in 0.0..=1.0f64, p in 1e-7..0.97f64, d in 0.0..1.0f64,
            r in 1.0..4.0f64, phi in 1.0..50.0f64, rho in 0.0..=40.0f64, n in 0.0..2e9f64,
        ) {
            let pair = Pair { n_a: n_a as f64, x_a: (n_a as f64 * bad_a).floor(), n_b: n_b as f64, x_b: (n_b as f64 * bad_b).floor() };
            let margin = Margin { r, d };
            let after = look(rho, pair, margin, phi, p, &plan(phi), n);
            prop_assert!((0.0..=SPENT).contains(&after), "{after}");
            prop_assert!(found(rho, &plan(phi), n, (p, (p + d).min(1.0)), margin).is_finite());
            prop_assert!(smallest(rho, &plan(phi), n, p, margin).is_none_or(|p_b| (0.0..=1.0).contains(&p_b)));
        }
    }
}
