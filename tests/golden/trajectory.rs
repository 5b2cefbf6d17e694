//! The log of the fail evidence window by window, of the same bets and mixture that the judge uses, without the rounding of the checkpoint.

use haldane::judge::kernel::{Margin, Pair, fail_bets};
use haldane::judge::mixture::{Mixture, PlugIn};

/// How the evidence is gathered.
pub(crate) struct Settings<'a> {
    /// Boundary of the null.
    pub(crate) margin: Margin,
    /// Effect sizes.
    pub(crate) etas: &'a [f64],
    /// Start weight of each window; 0 for windows beyond.
    pub(crate) gammas: &'a [f64],
    /// Most that one window may say.
    pub(crate) cap: f64,
    /// Half-life of the plug-in, in windows.
    pub(crate) half_life: f64,
    /// Tempering.
    pub(crate) phi: f64,
}

/// Over `windows`, from the seed of the plug-in.
pub(crate) fn trajectory(mut stable: PlugIn, windows: &[Pair], settings: &Settings<'_>) -> Vec<f64> {
    let mut mixture = Mixture::new(settings.etas.len());
    let gammas = settings.gammas.iter().copied().chain(std::iter::repeat(0.0));
    let look = |(pair, gamma): (&Pair, f64)| {
        mixture.add_exactly(gamma, fail_bets(*pair, stable.rate(), settings.margin, settings.etas), settings.phi, settings.cap);
        stable.add(pair.n_a, pair.x_a, settings.half_life);
        mixture.log_value()
    };
    windows.iter().zip(gammas).map(look).collect()
}
