//! One window of two proportions as an e-variable with an affine margin (statistics 2a), and the one-arm form for the bake (2k).
//!
//! The null is a half-plane bounded by `b = r a + d`. A bet outside it is projected onto that line in the sense of Kullback and
//! Leibler, weighted by the two counts; the likelihood ratio against the projection has expectation at most 1 under the whole null.

/// Counts of one window: requests and events of stable (`a`) and of the canary (`b`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pair {
    /// Stable's requests.
    pub n_a: f64,
    /// Stable's events.
    pub x_a: f64,
    /// Canary's requests.
    pub n_b: f64,
    /// Canary's events.
    pub x_b: f64,
}

impl Pair {
    /// The arms exchanged.
    pub fn swapped(self) -> Self {
        Self { n_a: self.n_b, x_a: self.x_b, n_b: self.n_a, x_b: self.x_a }
    }

    /// The complement: what was no event.
    pub fn complement(self) -> Self {
        Self { x_a: self.n_a - self.x_a, x_b: self.n_b - self.x_b, ..self }
    }
}

/// The boundary of a null: canary = `r` x stable + `d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin {
    /// Relative, at least 1.
    pub r: f64,
    /// Absolute, at least 0.
    pub d: f64,
}

impl Margin {
    /// The canary's rate on the boundary.
    pub fn at(self, a: f64) -> f64 {
        self.r * a + self.d
    }
}

/// The point of the boundary nearest to a bet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Projection {
    /// Stable's rate.
    pub a0: f64,
    /// Canary's rate.
    pub b0: f64,
}

/// Kullback-Leibler divergence of two proportions, nats.
pub fn divergence(p: f64, q: f64) -> f64 {
    let part = |x: f64, y: f64| if x <= 0.0 { 0.0 } else { x * (x / y).ln() };
    (part(p, q) + part(1.0 - p, 1.0 - q)).max(0.0)
}

/// Projects the bet `(theta_a, theta_b)` onto the boundary, for `n_a` and `n_b` requests. `None` when the bet lies on the boundary, or
/// when a rate is not strictly between 0 and 1: then there is no bet.
///
/// The root is followed to the last digit: with a projection that has not converged the e-variable is not one.
pub fn project(n_a: f64, n_b: f64, theta_a: f64, theta_b: f64, margin: Margin) -> Option<Projection> {
    let inside = |p: f64| p > 0.0 && p < 1.0;
    if !(inside(theta_a) && inside(theta_b) && inside(margin.at(theta_a))) || n_a <= 0.0 || n_b <= 0.0 {
        return None;
    }
    let Margin { r, d } = margin;
    if r == 1.0 && d == 0.0 {
        let a0 = (n_a * theta_a + n_b * theta_b) / (n_a + n_b);
        return (theta_a != theta_b).then_some(Projection { a0, b0: a0 });
    }
    let (u, v) = (n_a / (n_a + n_b), r * n_b / (n_a + n_b));
    let other = ((theta_b - d) / r).clamp(0.0, 1.0);
    let (mut low, mut high) = if other < theta_a { (other, theta_a) } else { (theta_a, other) };
    // Begins where normal distributions with the variances of stable's point would have it. Newton's steps, kept inside the bracket by
    // bisection, double the digits: after a step that changes the tenth digit nothing is left to change.
    let b = margin.at(theta_a);
    let (a, b) = (u * b * (1.0 - b), v * theta_a * (1.0 - theta_a));
    let mut a0 = ((a * theta_a + b * (theta_b - d)) / (a + b * r)).clamp(low, high);
    for _ in 0..200 {
        let b = r * a0 + d;
        let (at, bt) = (a0 - theta_a, b - theta_b);
        let (aa, bb) = (a0 * (1.0 - a0), b * (1.0 - b));
        let slope = u * at * bb + v * bt * aa;
        let curve = u * (bb + at * r * (1.0 - 2.0 * b)) + v * (r * aa + bt * (1.0 - 2.0 * a0));
        if slope < 0.0 {
            low = a0
        } else {
            high = a0
        }
        let newton = a0 - slope / curve;
        let converges = newton > low && newton < high;
        let next = if converges { newton } else { 0.5 * (low + high) };
        let moved = (next - a0).abs();
        a0 = next;
        if moved <= f64::EPSILON * a0 || (converges && moved <= 1e-10 * a0.min(1.0 - b)) {
            break;
        }
    }
    let b0 = margin.at(a0);
    (inside(a0) && inside(b0)).then_some(Projection { a0, b0 })
}

/// `x ln(theta / null) + (n - x) ln((1 - theta) / (1 - null))`, exact for small rates too.
fn log_ratio(n: f64, x: f64, theta: f64, null: f64) -> f64 {
    let hit = if x > 0.0 { x * ((theta - null) / null).ln_1p() } else { 0.0 };
    let miss = if n > x { (n - x) * ((null - theta) / (1.0 - null)).ln_1p() } else { 0.0 };
    hit + miss
}

/// Log of the likelihood ratio of the bet against its projection.
pub fn log_e(pair: Pair, theta_a: f64, theta_b: f64, at: Projection) -> f64 {
    let value = log_ratio(pair.n_a, pair.x_a, theta_a, at.a0) + log_ratio(pair.n_b, pair.x_b, theta_b, at.b0);
    if value.is_finite() { value } else { 0.0 }
}

/// The kernel: log e-value of one window for the bet `(theta_a, theta_b)`; 0 where there is no bet or an arm is empty.
pub fn affine_log_e(pair: Pair, theta_a: f64, theta_b: f64, margin: Margin) -> f64 {
    project(pair.n_a, pair.n_b, theta_a, theta_b, margin).map_or(0.0, |at| log_e(pair, theta_a, theta_b, at))
}

/// The odds of `p`, `factor` times as high.
pub fn at_odds(p: f64, factor: f64) -> f64 {
    p * factor / (1.0 - p + p * factor)
}

/// Bets of the fail side: stable at `p`, the canary `eta` log odds beyond the boundary. A bet that is not outside the null is 0.
pub fn fail_bets(pair: Pair, p: f64, margin: Margin, etas: &[f64]) -> impl Iterator<Item = f64> {
    let b = margin.at(p);
    etas.iter().map(move |eta| {
        let theta_b = at_odds(b, eta.exp());
        if b < 1.0 && theta_b > b { affine_log_e(pair, p, theta_b, margin) } else { 0.0 }
    })
}

/// Bets against the other direction, `stable <= r canary + d`: the arms exchanged, stable's rate `p` is the one that is too high.
pub fn fall_bets(pair: Pair, p: f64, margin: Margin, etas: &[f64]) -> impl Iterator<Item = f64> {
    let pair = pair.swapped();
    etas.iter().map(move |eta| {
        let theta_a = (at_odds(p, (-eta).exp()) - margin.d) / margin.r;
        if theta_a > 0.0 && p > margin.at(theta_a) { affine_log_e(pair, theta_a, p, margin) } else { 0.0 }
    })
}

/// Where the pass side bets the canary to be, as parts of the way from stable's rate to the boundary. The first grows fastest where the
/// canary is like stable; the other survives a few events too many, which a healthy canary has now and then.
pub const PASS_BETS: [f64; 2] = [0.0, 0.2];

/// Bets of the pass side against `canary >= r stable + d`, at [`PASS_BETS`].
pub fn pass_bets(pair: Pair, p: f64, margin: Margin) -> [f64; PASS_BETS.len()] {
    let b = margin.at(p);
    PASS_BETS
        .map(|part| p + part * (b - p))
        .map(|theta_b| if b < 1.0 && theta_b < b { affine_log_e(pair, p, theta_b, margin) } else { 0.0 })
}

/// One arm against a fixed boundary `b0` (the bake): `x` events of `n`.
pub fn one_arm_bets(n: f64, x: f64, b0: f64, etas: &[f64]) -> impl Iterator<Item = f64> {
    etas.iter().map(move |eta| {
        let theta = at_odds(b0, eta.exp());
        if b0 > 0.0 && b0 < 1.0 && theta > b0 && theta < 1.0 { log_ratio(n, x, theta, b0) } else { 0.0 }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `n_a ln A + n_b ln B`: the log of the expected e-value at the rates `(p, q)`.
    fn log_expectation(n_a: f64, n_b: f64, theta: (f64, f64), at: Projection, p: f64, q: f64) -> f64 {
        let mean = |p: f64, theta: f64, null: f64| (p * (theta - null) / null + (1.0 - p) * (null - theta) / (1.0 - null)).ln_1p();
        n_a * mean(p, theta.0, at.a0) + n_b * mean(q, theta.1, at.b0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_fail_side_expects_at_most_one_on_and_inside_the_boundary(
            p_hat in 1e-6..0.999999f64, p in 0.0..=1.0f64, inside in 0.0..=1.0f64, r in 1.0..3.5f64, d in 0.0..1.0f64, strict in any::<bool>(),
            n_a in 1.0..100_000f64, n_b in 1.0..100_000f64, part in 1e-6..0.999999f64,
        ) {
            let margin = if strict { Margin { r: 1.0, d: 0.0 } } else { Margin { r, d: d * (1.0 - p_hat) } };
            let b = margin.at(p_hat);
            let theta_b = b + part * (1.0 - b);
            if b < 1.0 && theta_b > b && let Some(at) = project(n_a, n_b, p_hat, theta_b, margin) {
                let edge = margin.at(p).min(1.0);
                for q in [edge, edge * inside] {
                    let log = log_expectation(n_a, n_b, (p_hat, theta_b), at, p, q);
                    prop_assert!(log <= 1e-9, "{log} at {at:?}");
                }
            }
        }

        #[test]
        fn the_pass_side_expects_at_most_one_on_and_beyond_the_boundary(
            p_hat in 1e-6..0.999999f64, p in 0.0..=1.0f64, beyond in 0.0..=1.0f64, d in 1e-4..1.0f64,
            n_a in 1.0..100_000f64, n_b in 1.0..100_000f64,
        ) {
            let margin = Margin { r: 1.0, d };
            for theta_b in PASS_BETS.map(|part| p_hat + part * d) {
                if margin.at(p_hat) < 1.0 && let Some(at) = project(n_a, n_b, p_hat, theta_b, margin) {
                    let edge = margin.at(p);
                    for q in [edge, edge + beyond * (1.0 - edge)] {
                        if q <= 1.0 {
                            let log = log_expectation(n_a, n_b, (p_hat, theta_b), at, p, q);
                            prop_assert!(log <= 1e-9, "{log} at {at:?}");
                        }
                    }
                }
            }
        }

        #[test]
        fn a_class_that_falls_is_a_valid_bet_too(
            p_hat in 1e-4..0.9999f64, p in 0.0..=1.0f64, r in 1.0..3.5f64, d in 0.0..0.5f64, n_a in 1.0..100_000f64, n_b in 1.0..100_000f64, eta in 0.05..3.2f64,
        ) {
            let margin = Margin { r, d };
            let theta_a = (at_odds(p_hat, (-eta).exp()) - d) / r;
            if theta_a > 0.0 && p_hat > margin.at(theta_a) && let Some(at) = project(n_b, n_a, theta_a, p_hat, margin) {
                let log = log_expectation(n_b, n_a, (theta_a, p_hat), at, p, margin.at(p).min(1.0));
                prop_assert!(log <= 1e-9, "{log} at {at:?}");
            }
        }

        #[test]
        fn counts_up_to_a_billion_give_finite_numbers(
            n_a in 0u64..1_000_000_000, n_b in 0u64..1_000_000_000, bad_a in 0.0..=1.0f64, bad_b in 0.0..=1.0f64, p in 1e-9..1.0f64, d in 0.0..1.0f64, r in 1.0..4.0f64,
        ) {
            let pair = Pair { n_a: n_a as f64, x_a: (n_a as f64 * bad_a).floor(), n_b: n_b as f64, x_b: (n_b as f64 * bad_b).floor() };
            let margin = Margin { r, d };
            let logs = fail_bets(pair, p, margin, &[0.15, 0.5, 1.2, 2.6]).chain(fall_bets(pair, p, margin, &[0.15, 2.6])).chain(pass_bets(pair, p, margin)).chain(one_arm_bets(pair.n_b, pair.x_b, d, &[0.15, 2.6]));
            for log in logs {
                prop_assert!(log.is_finite());
            }
        }
    }

    #[test]
    fn the_order_of_windows_with_the_same_bet_changes_nothing() {
        let windows: Vec<Pair> =
            (0..12u32).map(|k| Pair { n_a: 900.0, x_a: f64::from(k % 5), n_b: 100.0, x_b: f64::from(k % 3) }).collect();
        let log = |windows: &mut dyn Iterator<Item = &Pair>| -> f64 {
            windows.map(|pair| affine_log_e(*pair, 0.003, 0.01, Margin { r: 1.1, d: 0.0005 })).sum()
        };
        assert!((log(&mut windows.iter()) - log(&mut windows.iter().rev())).abs() < 1e-12);
    }

    #[test]
    fn the_projection_is_where_the_divergence_is_least_to_twelve_digits() {
        // The derivative of the weighted divergence is 0 there: it changes its sign within a trillionth.
        for (r, d) in [(1.0, 0.05), (1.1, 0.0005), (3.0, 0.005)] {
            for (n_a, n_b) in [(2850.0, 150.0), (1500.0, 1500.0), (10.0, 1e6), (1e6, 10.0)] {
                for theta_a in [1e-6, 0.001, 0.03, 0.25, 0.31] {
                    for factor in [1.2, 3.0, 13.0] {
                        let margin = Margin { r, d };
                        let theta_b = at_odds(margin.at(theta_a), factor);
                        let at = project(n_a, n_b, theta_a, theta_b, margin).unwrap();
                        let slope = |a: f64| {
                            let b = margin.at(a);
                            n_a * (a - theta_a) * b * (1.0 - b) + r * n_b * (b - theta_b) * a * (1.0 - a)
                        };
                        let (low, high) = (slope(at.a0 * (1.0 - 1e-12)), slope(at.a0 * (1.0 + 1e-12)));
                        assert!(low <= 0.0 && high >= 0.0, "{low} {high} at {at:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_empty_arm_says_nothing() {
        for pair in [Pair { n_a: 100.0, x_a: 3.0, ..Pair::default() }, Pair { n_b: 100.0, x_b: 30.0, ..Pair::default() }] {
            assert!(fail_bets(pair, 0.01, Margin { r: 1.1, d: 0.0005 }, &[0.5, 2.6]).all(|log| log == 0.0));
            assert_eq!(pass_bets(pair, 0.01, Margin { r: 1.0, d: 0.01 }), [0.0; PASS_BETS.len()]);
        }
    }

    #[test]
    fn a_bet_that_would_slip_into_the_null_is_not_made() {
        let pair = Pair { n_a: 2850.0, x_a: 2764.0, n_b: 150.0, x_b: 145.0 };
        assert!(fail_bets(pair, 0.97, Margin { r: 1.0, d: 0.15 }, &[0.15, 0.5, 1.2, 2.6]).all(|log| log == 0.0));
    }
}
