//! Many rehearsals in a few numbers.

use std::collections::BTreeMap;

use serde::Serialize;

use super::play::{Ending, Played};

/// How many rehearsals ended how, at one level of traffic.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Requests a second over both arms.
    pub rps: f64,
    /// Rehearsals.
    pub runs: usize,
    /// Ended with the canary as the new stable.
    pub promoted: usize,
    /// Ended rolled back or aborted.
    pub rolled_back: usize,
    /// Ended at a deadline with evidence neither way.
    pub held: usize,
    /// Ended because the recording was over.
    #[serde(skip_serializing_if = "is_zero")]
    pub cut_off: usize,
    /// What rolled back, and how often: names of metrics, and `deadline`.
    pub rolled_back_by: BTreeMap<String, usize>,
    /// From the canary's first share to the rollback.
    pub minutes_to_rollback: Quantiles,
    /// From the canary's first share to the promotion.
    pub minutes_to_promotion: Quantiles,
    /// Requests that the canary answered until the rollback.
    pub canary_requests: Median,
    /// Seed of the first; the others follow from it.
    pub seed: u64,
}

/// Median and 90 % quantile; none of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 90 % of the values are at most this.
    pub p90: Option<f64>,
}

/// Median; none of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Median {
    /// Median.
    pub p50: Option<u64>,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Tally {
    /// Sums up.
    pub fn of(rps: f64, seed: u64, played: &[Played]) -> Self {
        let ended = |ending: Ending| played.iter().filter(move |one| one.ending == ending);
        let minutes = |ending| Quantiles::of(ended(ending).map(|one| one.minutes).collect());
        let mut by = BTreeMap::new();
        for one in ended(Ending::RolledBack) {
            *by.entry(one.by.clone().unwrap_or_else(|| "together".to_owned())).or_default() += 1;
        }
        let requests = Quantiles::of(ended(Ending::RolledBack).map(|one| one.canary_requests as f64).collect());
        Self {
            rps,
            runs: played.len(),
            promoted: ended(Ending::Promoted).count(),
            rolled_back: ended(Ending::RolledBack).count(),
            held: ended(Ending::Held).count(),
            cut_off: ended(Ending::CutOff).count(),
            rolled_back_by: by,
            minutes_to_rollback: minutes(Ending::RolledBack),
            minutes_to_promotion: minutes(Ending::Promoted),
            canary_requests: Median { p50: requests.p50.map(|n| n as u64) },
            seed,
        }
    }

    /// A run to show: of those that ended as most did, the one with the median length.
    pub fn typical(played: &[Played]) -> Option<usize> {
        let endings = [Ending::RolledBack, Ending::Held, Ending::Promoted, Ending::CutOff];
        let most = endings.into_iter().max_by_key(|ending| played.iter().filter(|one| one.ending == *ending).count())?;
        let mut of: Vec<(usize, f64)> =
            played.iter().enumerate().filter(|(_, one)| one.ending == most).map(|(at, one)| (at, one.minutes)).collect();
        of.sort_by(|a, b| a.1.total_cmp(&b.1));
        of.get(of.len().saturating_sub(1) / 2).map(|(at, _)| *at)
    }
}

impl Quantiles {
    /// Of these values.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: f64| values.get(((part * values.len() as f64).ceil() as usize).saturating_sub(1)).copied();
        Self { p50: at(0.5), p90: at(0.9) }
    }
}
