//! Rehearsals: the product's own plan, state machine and judge on traffic that is drawn or was recorded, in virtual time. Pure.
//!
//! A [`Scenario`] says what both versions do and how noisy that is; a [`World`] draws counts from it, for the hours before the rollout and
//! for each window of it; [`play`] leads one rollout from its start to its end through [`crate::decide::decide`] and
//! [`crate::judge::Evidence`], as the controller would, with weights that take effect at once; a [`Tally`] sums many of them up.
//! A [`Recording`] stands in for the world: stable's own pods, split at random as if some of them were a canary.

mod draw;
mod play;
mod recording;

mod scenario;
mod stage;
mod tally;
#[cfg(test)]
mod tests;
mod world;

pub use play::{Ending, Hands, Played, Point, Setup, TwoArms, Windows, play};

pub use recording::{Recording, Unsplittable};
pub use scenario::{Ar, Behaviour, Incident, Noise, Scenario};
pub use tally::{Median, Quantiles, Tally};
pub use world::{World, can_draw, past_windows};

/// Most of the past that is drawn or read, in seconds.
pub const MOST_HISTORY: f64 = 12.0 * 3600.0;

/// Seed of one of many rehearsals: any two differ in all their bits.
pub fn seed_of(seed: u64, run: u64) -> u64 {
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    mix(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_add(run.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}
