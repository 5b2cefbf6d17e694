//! Mixtures of products of e-values, over effect sizes and over the window in which the harm began (statistics 2a).

use serde::{Deserialize, Serialize};

use super::tidy;

/// Effect sizes of the product, log odds beyond the boundary.
pub const ETA: [f64; 4] = [0.15, 0.5, 1.2, 2.6];
/// Weight of the first look.
pub const GAMMA_FIRST: f64 = 0.7;
/// Weight shared by the first looks of later steps.
pub const GAMMA_STARTS: f64 = 0.12;
/// Weight shared by the other planned looks.
pub const GAMMA_LOOKS: f64 = 0.14;
/// Weight shared by looks beyond the plan: a step that holds for hours must still see what begins then.
const GAMMA_UNPLANNED: f64 = 0.04;
/// Half of that is given to so many looks.
const HALF_UNPLANNED: f64 = 60.0;
/// Most that one window may say, nats: one odd window decides nothing.
pub const CAP: f64 = 2.5;
/// The same for the pass side, which restarts at every step.
pub const PASS_CAP: f64 = 50.0;

/// Log of nothing, as a number that JSON can hold.
const NOTHING: f64 = -1e6;

/// Weight of the `look`-th look beyond the plan, from 1. The sum over all of them is [`GAMMA_UNPLANNED`], however many they are.
pub fn gamma_unplanned(look: u32) -> f64 {
    let at = f64::from(look) + HALF_UNPLANNED;
    GAMMA_UNPLANNED * HALF_UNPLANNED / ((at - 1.0) * at)
}

/// `ln(e^a + e^b)`.
pub fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    // Beyond 40 nats the smaller one is not among the digits of the larger one.
    if low <= NOTHING || high - low > 40.0 { high } else { high + (low - high).exp().ln_1p() }
}

/// A mixture over effect sizes and onsets: the log of each effect's product, and how much of the start weight is given out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Vec<f64>", from = "Vec<f64>")]
pub struct Mixture {
    /// Log of each product.
    logs: Vec<f64>,
    /// Start weight given so far, 0 to 1.
    given: f64,
}

/// In the checkpoint: what is given, then the logs.
impl From<Mixture> for Vec<f64> {
    fn from(mixture: Mixture) -> Self {
        std::iter::once(mixture.given).chain(mixture.logs).collect()
    }
}

impl From<Vec<f64>> for Mixture {
    fn from(values: Vec<f64>) -> Self {
        Self { given: values.first().copied().unwrap_or(0.0), logs: values.into_iter().skip(1).collect() }
    }
}

impl Mixture {
    /// Nothing bet yet, over `effects` effect sizes.
    pub fn new(effects: usize) -> Self {
        Self { logs: vec![NOTHING; effects], given: 0.0 }
    }

    /// All of it bet at once, in these parts (sum 1).
    pub fn of(parts: &[f64]) -> Self {
        Self { logs: parts.iter().map(|part| tidy(part.ln())).collect(), given: 1.0 }
    }

    /// One window: gives `gamma` of the start weight to begin here, then multiplies by `min(log e / phi, cap)`. The logs are rounded
    /// down to what the checkpoint stores.
    pub fn add(&mut self, gamma: f64, log_es: impl IntoIterator<Item = f64>, phi: f64, cap: f64) {
        self.add_exactly(gamma, log_es, phi, cap);
        for log in &mut self.logs {
            let digits = if log.abs() < 20.0 { 1e6 } else { 1e3 };
            *log = (*log * digits).floor() / digits;
        }
    }

    /// The same without rounding.
    pub fn add_exactly(&mut self, gamma: f64, log_es: impl IntoIterator<Item = f64>, phi: f64, cap: f64) {
        let gamma = gamma.min(1.0 - self.given).max(0.0);
        self.given = tidy(self.given + gamma);
        let start = (gamma / self.logs.len() as f64).ln().max(NOTHING);
        for (log, log_e) in self.logs.iter_mut().zip(log_es) {
            *log = (log_add(*log, start) + (log_e / phi).min(cap)).clamp(NOTHING, -NOTHING);
        }
    }

    /// Log of the whole: the products and what was not bet.
    pub fn log_value(&self) -> f64 {
        let rest = 1.0 - self.given;
        let rest = if rest > 1e-12 { rest.ln() } else { NOTHING };
        self.logs.iter().fold(rest, |sum, log| log_add(sum, *log))
    }

    /// The whole, at most 1e12 (what is beyond decides nothing, and is awkward to print).
    pub fn value(&self) -> f64 {
        let products = self.logs.iter().map(|log| log.min(30.0).exp()).sum::<f64>();
        (products + (1.0 - self.given).max(0.0)).min(1e12)
    }
}

/// Stable's rate, predicted from the past: decayed counts with a half-life of 20 windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlugIn {
    /// Events.
    pub x: f64,
    /// Requests.
    pub n: f64,
}

impl PlugIn {
    /// Half-life in windows.
    pub const HALF_LIFE: f64 = 20.0;
    /// What the past weighs at most, in windows.
    pub const MOST_WINDOWS: f64 = 29.0;

    /// From the past: `n` requests with `x` events in `windows` windows.
    pub fn seeded(n: f64, x: f64, windows: f64) -> Self {
        let share = if windows > Self::MOST_WINDOWS { Self::MOST_WINDOWS / windows } else { 1.0 };
        Self { x: tidy(x * share), n: tidy(n * share) }
    }

    /// The prediction, strictly between 0 and 1.
    pub fn rate(self) -> f64 {
        (self.x + 0.5) / (self.n + 1.0)
    }

    /// The prediction that the planned-horizon budget is counted with.
    pub fn planned_rate(self) -> f64 {
        self.rate().clamp(1e-7, 0.97)
    }

    /// Adds a window.
    pub fn add(&mut self, n: f64, x: f64, half_life: f64) {
        let keep = 0.5f64.powf(1.0 / half_life);
        self.x = tidy(self.x * keep + x);
        self.n = tidy(self.n * keep + n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixture_that_never_bet_is_worth_one() {
        assert_eq!(Mixture::new(4).value(), 1.0);
    }

    #[test]
    fn all_start_weight_together_is_at_most_one() {
        let unplanned: f64 = (1..1_000_000).map(gamma_unplanned).sum();
        assert!((GAMMA_UNPLANNED - 1e-5..=GAMMA_UNPLANNED).contains(&unplanned), "{unplanned}");
        assert!(((1..=60).map(gamma_unplanned).sum::<f64>() - 0.5 * GAMMA_UNPLANNED).abs() < 1e-9);
        assert!((GAMMA_FIRST + GAMMA_STARTS + GAMMA_LOOKS + GAMMA_UNPLANNED - 1.0).abs() < 1e-12);
    }

    #[test]
    fn one_window_says_at_most_the_cap() {
        let mut mixture = Mixture::new(4);
        mixture.add(1.0, [1000.0; 4], 1.0, CAP);
        assert!((mixture.log_value() - CAP).abs() < 1e-5, "{}", mixture.log_value());
    }

    #[test]
    fn start_weight_beyond_one_is_not_given() {
        let mut mixture = Mixture::new(2);
        for _ in 0..10 {
            mixture.add(0.3, [0.0; 2], 1.0, CAP);
        }
        assert!((mixture.value() - 1.0).abs() < 1e-4, "{}", mixture.value());
    }

    #[test]
    fn a_hole_of_good_windows_does_not_hide_a_late_regression() {
        let (mut with, mut without) = (Mixture::new(1), Mixture::new(1));
        for look in 0..40 {
            let log = if look < 30 { -3.0 } else { 2.0 };
            with.add(if look == 0 { 0.7 } else { 0.3 / 39.0 }, [log], 1.0, CAP);
            without.add(if look == 0 { 1.0 } else { 0.0 }, [log], 1.0, CAP);
        }
        assert!(with.value() > 100.0 && without.value() < 1e-10);
    }
}
