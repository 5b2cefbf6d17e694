//! How much noisier the counts are than independent requests would be (statistics 2e).

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::columns::{Layout, Row};
use super::distance::{chi_square, pooled_z};
use super::kernel::Pair;
use super::tidy;

/// Lengths of blocks, in windows, over which noise is looked for.
pub const BLOCKS: [usize; 4] = [1, 4, 12, 30];
/// Fewer windows of history than this: dispersion is taken as at least [`UNKNOWN`].
pub const ENOUGH_WINDOWS: usize = 120;
/// Dispersion when too little is known.
pub const UNKNOWN: f64 = 5.0;
/// Pseudo-observations of independence in the A/A table.
const PRIOR: f64 = 10.0;
/// The same in the running estimate.
const RUNNING_PRIOR: f64 = 60.0;
/// Reserve of the running estimate.
const INFLATION: f64 = 1.1;

/// Mean of squared z, shrunk towards 1.
fn shrunk(squares: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = squares.fold((0.0, 0.0), |(sum, count), square| (sum + square, count + 1.0));
    (sum + PRIOR) / (count + PRIOR)
}

/// Dispersion of an A/A comparison: each pair is two pseudo-arms of stable.
pub fn dispersion(pairs: &[Pair]) -> f64 {
    shrunk(pairs.iter().filter_map(|p| pooled_z(p.n_a, p.x_a, p.n_b, p.x_b)).map(|z| z * z))
}

/// The largest dispersion over block lengths; counts are summed inside a block, an incomplete tail is dropped.
pub fn dispersion_over_blocks(pairs: &[Pair], lengths: &[usize]) -> f64 {
    let sum = |block: &[Pair]| {
        block.iter().fold(Pair::default(), |s, p| Pair { n_a: s.n_a + p.n_a, x_a: s.x_a + p.x_a, n_b: s.n_b + p.n_b, x_b: s.x_b + p.x_b })
    };
    let of = |length: &usize| dispersion(&pairs.chunks_exact((*length).max(1)).map(sum).collect::<Vec<_>>());
    lengths.iter().map(of).fold(0.0, f64::max)
}

/// Two pseudo-arms of stable, for each block length.
pub struct Table {
    blocks: Vec<Vec<(Row, Row)>>,
}

impl Table {
    /// Splits stable's pods at random into two groups, the second with a share near the weight; another split in each block. One table for
    /// each weight. The splits are the same at every call.
    pub fn of_pods(windows: &[Vec<Row>], weights: &[f64]) -> Vec<Self> {
        let mut tables: Vec<(u64, Self)> = weights.iter().map(|_| (0x9e37_79b9_7f4a_7c15, Self { blocks: Vec::new() })).collect();
        for length in BLOCKS.into_iter().filter(|length| *length == 1 || windows.len() >= 2 * length) {
            let blocks: Vec<Vec<Row>> = windows.chunks_exact(length).map(by_pod).collect();
            for ((seed, table), weight) in tables.iter_mut().zip(weights) {
                let pair = |pods: &Vec<Row>| {
                    let chosen = sample(seed, pods.len(), *weight);
                    let mut pair = (Row::default(), Row::default());
                    for (pod, row) in pods.iter().enumerate() {
                        if chosen.contains(&pod) { pair.1.add(row) } else { pair.0.add(row) }
                    }
                    pair
                };
                table.blocks.push(blocks.iter().map(pair).collect());
            }
        }
        tables.into_iter().map(|(_, table)| table).collect()
    }

    /// Consecutive blocks of stable against each other, where pods cannot be told apart.
    pub fn of_time(windows: &[Row]) -> Self {
        let mut blocks = Vec::new();
        for length in BLOCKS.into_iter().filter(|length| *length == 1 || windows.len() >= 4 * length) {
            let sums: Vec<Row> = windows
                .chunks_exact(length)
                .map(|block| {
                    block.iter().fold(Row::default(), |mut sum, row| {
                        sum.add(row);
                        sum
                    })
                })
                .collect();
            let pairs = sums.chunks_exact(2).filter_map(|two| two.first().zip(two.last()));
            blocks.push(pairs.map(|(a, b)| (a.clone(), b.clone())).collect());
        }
        Self { blocks }
    }

    /// Dispersion of one column, the largest over the block lengths.
    pub fn column(&self, at: usize) -> f64 {
        let z = |(a, b): &(Row, Row)| pooled_z(a.n, *a.x.get(at)?, b.n, *b.x.get(at)?).map(|z| z * z);
        self.blocks.iter().map(|pairs| shrunk(pairs.iter().filter_map(z))).fold(0.0, f64::max)
    }

    /// Dispersion of all columns together: Pearson's chi-square by its degrees of freedom for classes, the mean of z squared for bounds.
    pub fn whole(&self, layout: &Layout) -> f64 {
        let of = |(a, b): &(Row, Row)| match layout {
            Layout::Classes(_) => {
                let (sum, freedom) = chi_square(&a.x, &b.x);
                (freedom > 0.0).then_some(sum / freedom)
            }
            _ => {
                let squares: Vec<f64> = a.x.iter().zip(&b.x).filter_map(|(xa, xb)| pooled_z(a.n, *xa, b.n, *xb)).map(|z| z * z).collect();
                (!squares.is_empty()).then(|| squares.iter().sum::<f64>() / squares.len() as f64)
            }
        };
        self.blocks.iter().map(|pairs| shrunk(pairs.iter().filter_map(of))).fold(0.0, f64::max)
    }
}

/// Sums over a block of windows, of each pod.
fn by_pod(block: &[Vec<Row>]) -> Vec<Row> {
    let mut sums: Vec<Row> = Vec::new();
    for window in block {
        sums.resize_with(sums.len().max(window.len()), Row::default);
        sums.iter_mut().zip(window).for_each(|(sum, row)| sum.add(row));
    }
    sums
}

/// A random set of pods, a share near `weight` of them, at least one and not all.
fn sample(seed: &mut u64, pods: usize, weight: f64) -> Vec<usize> {
    let wanted = ((weight * pods as f64).round() as usize).clamp(1, pods.saturating_sub(1).max(1));
    let mut all: Vec<usize> = (0..pods).collect();
    let mut chosen = Vec::with_capacity(wanted);
    while chosen.len() < wanted && !all.is_empty() {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15); // splitmix64
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chosen.push(all.swap_remove(((z ^ (z >> 31)) % all.len() as u64) as usize));
    }
    chosen
}

/// How much pods of the same version differ, and the margin that this asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PodMargin {
    /// Heterogeneity between the pods.
    pub q: f64,
    /// Standard deviation of the pods' rates; 0 when the pods do not differ by more than chance.
    pub s_pod: f64,
    /// To add to the fail margin.
    pub margin: f64,
}

/// The margin for pods that differ: requests and events of each stable pod, the dispersion, the number of canary pods.
pub fn pod_margin(n: &[f64], x: &[f64], phi: f64, canary_pods: f64) -> PodMargin {
    let (pods, total) = (n.len() as f64, n.iter().sum::<f64>());
    let p = if total > 0.0 { x.iter().sum::<f64>() / total } else { 0.0 };
    let variance = phi * p * (1.0 - p);
    let effective = total - n.iter().map(|n| n * n).sum::<f64>() / total.max(1.0);
    if pods < 2.0 || variance <= 0.0 || effective <= 0.0 {
        return PodMargin::default();
    }
    let q = n.iter().zip(x).filter(|(n, _)| **n > 0.0).map(|(n, x)| n * (x / n - p).powi(2)).sum::<f64>() / variance;
    let limit = ChiSquared::new(pods - 1.0).map_or(f64::MAX, |law| law.inverse_cdf(0.99));
    let s_pod = if q > limit { ((q - (pods - 1.0)) * variance / effective).max(0.0).sqrt() } else { 0.0 };
    PodMargin { q, s_pod, margin: 2.0 * s_pod * (1.0 / canary_pods.max(1.0) + 1.0 / pods).sqrt() }
}

/// Running estimate: z of past windows, each by the root of its own first estimate; centred, so that a true effect does not inflate it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Windows.
    #[serde(rename = "k")]
    pub count: f64,
    /// Their mean.
    #[serde(rename = "m")]
    mean: f64,
    /// Sum of squares around the mean.
    #[serde(rename = "s")]
    pub squares: f64,
}

impl Spread {
    /// Adds the z of one window with the first estimate that holds at its weight.
    pub fn add(&mut self, z: f64, phi0: f64) {
        let y = z / phi0.sqrt();
        self.count += 1.0;
        let gap = y - self.mean;
        self.mean = tidy(self.mean + gap / self.count);
        self.squares = tidy(self.squares + gap * (y - self.mean));
    }

    /// The dispersion to temper with, at a weight whose first estimate is `phi0`.
    pub fn phi(&self, phi0: f64) -> f64 {
        running(phi0, self.squares, self.count)
    }
}

/// `max(1, 1.1 phi0 (60 + squares) / (60 + count - 1))`.
pub fn running(phi0: f64, squares: f64, count: f64) -> f64 {
    (INFLATION * phi0 * (RUNNING_PRIOR + squares) / (RUNNING_PRIOR + (count - 1.0).max(0.0))).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: f64, x: f64) -> Row {
        Row { n, x: vec![x] }
    }

    #[test]
    fn splits_are_the_same_at_every_call() {
        let windows: Vec<Vec<Row>> = (0..40).map(|k| (0..6).map(|p| row(100.0, f64::from((k * 7 + p * 3) % 5))).collect()).collect();
        let column = || Table::of_pods(&windows, &[0.05, 0.2])[1].column(0);
        assert_eq!(column(), column());
    }

    #[test]
    fn slow_noise_is_found_by_the_longer_blocks() {
        let slow: Vec<Row> = (0..120).map(|k| row(1000.0, if (k / 30) % 2 == 0 { 10.0 } else { 16.0 })).collect();
        let calm: Vec<Row> = (0..120).map(|k| row(1000.0, if k % 2 == 0 { 12.0 } else { 14.0 })).collect();
        assert!(Table::of_time(&slow).column(0) > 1.5);
        assert!(Table::of_time(&calm).column(0) <= 1.0);
    }

    #[test]
    fn a_shift_of_the_mean_is_no_dispersion() {
        let (mut with, mut without) = (Spread::default(), Spread::default());
        for k in 0..50 {
            let z = if k % 2 == 0 { 1.0 } else { -1.0 };
            with.add(z + 3.0, 1.0);
            without.add(z, 1.0);
        }
        assert!((with.phi(1.0) - without.phi(1.0)).abs() < 1e-6);
    }

    #[test]
    fn pods_that_agree_need_no_margin() {
        assert_eq!(pod_margin(&[1000.0; 5], &[10.0, 11.0, 9.0, 10.0, 12.0], 1.0, 1.0).margin, 0.0);
        assert!(pod_margin(&[1000.0; 5], &[10.0, 50.0, 9.0, 10.0, 12.0], 1.0, 1.0).margin > 0.005);
    }
}
