//! How much noisier the counts are than independent requests would be (statistics 2e).

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

use super::columns::{Layout, Row};
use super::kernel::Pair;
use super::tidy;

/// Lengths of blocks, in windows, over which noise is looked for.
pub const BLOCKS: [usize; 4] = [1, 4, 12, 30];
/// So many windows of history are enough.
pub const ENOUGH_WINDOWS: usize = 120;
/// Dispersion of windows that are not known.
pub const UNKNOWN: f64 = 5.0;
/// Pseudo-observations of independence in the A/A table.
const PRIOR: f64 = 10.0;
/// The same in the running estimate.
const RUNNING_PRIOR: f64 = 60.0;
/// Reserve of the running estimate, where the first one comes from [`ENOUGH_WINDOWS`].
const INFLATION: f64 = 1.1;
/// So many bursts say nothing of a ratio.
const FEW: f64 = 2.0;

/// Dispersion of stable against itself: the largest over the block lengths.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Of each column.
    pub columns: Vec<f64>,
    /// Of all columns together: Pearson's chi-square by its degrees of freedom for classes, the mean over the columns for bounds.
    pub whole: f64,
}

impl Table {
    /// Stable's pods against each other, in blocks of these lengths (in windows; an incomplete tail is dropped). A random split of the pods
    /// into two groups would have a squared z whose mean over all splits is Pearson's chi-square of the pods by its degrees of freedom, at
    /// any size of the groups: so that is what is computed, without the luck of a split.
    pub fn of_pods(windows: &[Vec<Row>], lengths: &[usize], layout: &Layout) -> Self {
        let lengths = lengths.iter().map(|length| (*length).max(1));
        let pods = windows.iter().map(Vec::len).max().unwrap_or(0);
        let whole = |block: &[Vec<Row>]| -> Vec<Row> {
            (0..pods).map(|pod| sum(block.iter().filter_map(|window| window.get(pod)), layout)).collect()
        };
        let fitting = lengths.filter(|length| windows.len() >= *length);
        Self::of(fitting.map(|length| windows.chunks_exact(length).map(whole)), layout)
    }

    /// Consecutive blocks of stable against each other, where pods cannot be told apart.
    pub fn of_time(windows: &[Row], lengths: &[usize], layout: &Layout) -> Self {
        let lengths = lengths.iter().map(|length| (*length).max(1));
        let two = |length: usize| move |two: &[Row]| two.chunks_exact(length).map(|block| sum(block.iter(), layout)).collect();
        let fitting = lengths.filter(|length| windows.len() >= 2 * length);
        Self::of(fitting.map(|length| windows.chunks_exact(2 * length).map(two(length))), layout)
    }

    /// For each block length: blocks, each of several rows that are compared with each other.
    fn of(lengths: impl Iterator<Item = impl Iterator<Item = Vec<Row>>>, layout: &Layout) -> Self {
        let mut table = Self { columns: vec![0.0; layout.columns()], whole: 0.0 };
        for blocks in lengths {
            // Sum over the blocks and their number, of each column and of the whole.
            let mut sums = vec![(0.0, 0.0); layout.columns() + 1];
            for rows in blocks {
                for (sum, square) in sums.iter_mut().zip(squares(&rows, layout)) {
                    *sum = square.map_or(*sum, |square| (sum.0 + square, sum.1 + 1.0));
                }
            }
            for (most, (sum, count)) in table.columns.iter_mut().chain([&mut table.whole]).zip(sums) {
                *most = most.max((sum + PRIOR) / (count + PRIOR));
            }
        }
        table
    }

    /// Dispersion of one column.
    pub fn column(&self, at: usize) -> f64 {
        self.columns.get(at).copied().unwrap_or(1.0)
    }
}

fn sum<'a>(rows: impl Iterator<Item = &'a Row>, layout: &Layout) -> Row {
    rows.fold(Row { n: 0.0, x: vec![0.0; layout.columns()] }, |mut sum, row| {
        sum.add(row);
        sum
    })
}

/// Pearson's chi-square of these rows by its degrees of freedom, for each column and then for the whole. Of two rows it is the square of
/// the pooled z. `None` where there is nothing to compare.
fn squares(rows: &[Row], layout: &Layout) -> Vec<Option<f64>> {
    let all = sum(rows.iter(), layout);
    let freedom = rows.iter().filter(|row| row.n > 0.0).count() as f64 - 1.0;
    let (mut cells, mut chi, mut count) = (0.0, 0.0, 0.0);
    let column = |(at, x): (usize, &f64)| {
        let p = x / all.n;
        let gap = |row: &Row| (row.x.get(at).copied().unwrap_or(0.0) - row.n * p).powi(2) / row.n;
        let spread: f64 = rows.iter().filter(|row| row.n > 0.0).map(gap).sum();
        if p > 0.0 {
            (chi, cells) = (chi + spread / p, cells + 1.0);
        }
        let square = (p > 0.0 && p < 1.0).then(|| spread / (p * (1.0 - p)) / freedom)?;
        count += 1.0;
        Some(square)
    };
    let mut found: Vec<Option<f64>> = if freedom > 0.0 { all.x.iter().enumerate().map(column).collect() } else { vec![None; all.x.len()] };
    found.push(match layout {
        Layout::Classes(_) => (cells > 1.0).then(|| chi / (freedom * (cells - 1.0))),
        _ => (count > 0.0).then(|| found.iter().flatten().sum::<f64>() / count),
    });
    found
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

/// The first dispersion when the table has seen so many windows: what is missing of [`ENOUGH_WINDOWS`] counts as [`UNKNOWN`].
pub fn from_history(phi: f64, windows: usize) -> f64 {
    let known = (windows as f64 / ENOUGH_WINDOWS as f64).min(1.0);
    (known * phi + (1.0 - known) * UNKNOWN).max(phi)
}

/// What is left of [`INFLATION`] for a first estimate from so many windows: it is the reserve for an hour of them, and what it guards against
/// shrinks with the root of their number. At most 1.
pub fn reserve(windows: usize) -> f64 {
    let hours = (windows as f64 / ENOUGH_WINDOWS as f64).max(1.0);
    (1.0 + (INFLATION - 1.0) / hours.sqrt()) / INFLATION
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

/// How many times as often events come in the canary as in stable, from past windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The canary's events.
    #[serde(rename = "x")]
    seen: f64,
    /// As many as it would have had at stable's rates.
    #[serde(rename = "e")]
    expected: f64,
}

impl Ratio {
    /// Adds a window.
    pub fn add(&mut self, pair: Pair) {
        self.seen = tidy(self.seen + pair.x_b);
        self.expected = tidy(self.expected + pair.n_b * pair.x_a / pair.n_a.max(1.0));
    }

    /// At least 1; few events say little, and in bursts even less.
    pub fn ratio(&self, phi0: f64) -> f64 {
        let few = FEW * phi0;
        ((self.seen + few) / (self.expected + few)).max(1.0)
    }
}

/// `max(1, 1.1 phi0 (60 + squares) / (60 + count - 1))`.
pub fn running(phi0: f64, squares: f64, count: f64) -> f64 {
    (INFLATION * phi0 * (RUNNING_PRIOR + squares) / (RUNNING_PRIOR + (count - 1.0).max(0.0))).max(1.0)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use rand_distr::{Distribution, Geometric, Poisson};

    use super::*;

    fn row(n: f64, x: f64) -> Row {
        Row { n, x: vec![x] }
    }

    #[test]
    fn the_chi_square_of_the_pods_is_the_mean_over_all_their_splits() {
        let window: Vec<Row> = [3.0, 9.0, 4.0, 8.0, 1.0].map(|x| row(100.0, x)).to_vec();
        let prior = |square: f64| (square + PRIOR) / (1.0 + PRIOR);
        let squares = (0..1usize << 5).filter(|set| set.count_ones() == 2).filter_map(|set| {
            let group =
                |inside: bool| window.iter().enumerate().filter(move |(pod, _)| (set >> pod & 1 == 1) == inside).map(|(_, row)| row);
            let (a, b) = (super::sum(group(false), &Layout::Events), super::sum(group(true), &Layout::Events));
            crate::judge::distance::pooled_z(a.n, a.x[0], b.n, b.x[0]).map(|z| z * z)
        });
        let squares: Vec<f64> = squares.collect();
        let mean = squares.iter().sum::<f64>() / squares.len() as f64;
        assert!((Table::of_pods(&[window], &[1], &Layout::Events).column(0) - prior(mean)).abs() < 1e-12);
    }

    /// Three errors of a pod in a window, in bursts of three on average: five times the variance of single errors. Where a window shows but
    /// few bursts the table reads up to a fifth less, of which the reserve of the running estimate makes up a half.
    #[test]
    fn bursts_of_rare_errors_are_found_in_pods_and_are_as_large_between_the_arms() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut burst = |pods: f64| {
            let bursts = Poisson::new(pods).unwrap().sample(&mut rng) as u64;
            (0..bursts).map(|_| 1.0 + Geometric::new(1.0 / 3.0).unwrap().sample(&mut rng) as f64).sum::<f64>()
        };
        let window: Vec<Vec<Row>> = (0..1440).map(|_| (0..10).map(|_| row(3000.0, burst(1.0))).collect()).collect();
        for windows in [120, 1440] {
            let found = Table::of_pods(&window[..windows], &BLOCKS, &Layout::Events).column(0);
            assert!((3.9..5.8).contains(&found), "{found} from {windows} windows");
        }
        for weight in [0.05, 0.2, 0.5] {
            let z = (0..4000).filter_map(|_| {
                let (a, b) = (burst(10.0 * (1.0 - weight)), burst(10.0 * weight));
                crate::judge::distance::pooled_z(30_000.0 * (1.0 - weight), a, 30_000.0 * weight, b)
            });
            let squares: Vec<f64> = z.map(|z| z * z).collect();
            let found = squares.iter().sum::<f64>() / squares.len() as f64;
            assert!((4.2..5.2).contains(&found), "{found} at {weight}");
        }
    }

    #[test]
    fn windows_that_are_missing_count_as_noisy_ones() {
        assert_eq!([0, 20, 60, 120, 1440].map(|windows| from_history(1.04, windows)), [5.0, 4.34, 3.02, 1.04, 1.04]);
        assert_eq!(from_history(8.0, 60), 8.0, "a table that says more is believed");
    }

    #[test]
    fn slow_noise_is_found_by_the_longer_blocks() {
        let slow: Vec<Row> = (0..120).map(|k| row(1000.0, if (k / 30) % 2 == 0 { 10.0 } else { 16.0 })).collect();
        let calm: Vec<Row> = (0..120).map(|k| row(1000.0, if k % 2 == 0 { 12.0 } else { 14.0 })).collect();
        assert!(Table::of_time(&slow, &BLOCKS, &Layout::Events).column(0) > 1.5);
        assert!(Table::of_time(&calm, &BLOCKS, &Layout::Events).column(0) <= 1.0);
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

    /// The canary fails six times as often, in single errors: its counts vary more than stable's, as they must.
    #[test]
    fn an_effect_is_no_noise() {
        let mut rng = SmallRng::seed_from_u64(3);
        let mut errors = |mean: f64| Poisson::new(mean).unwrap().sample(&mut rng);
        let (mut known, mut ratio, mut unknown) = (Spread::default(), Ratio::default(), Spread::default());
        for _ in 0..60 {
            let pair = Pair { n_a: 2850.0, x_a: errors(5.7), n_b: 150.0, x_b: errors(1.8) };
            for (spread, ratio) in [(&mut known, ratio.ratio(1.0)), (&mut unknown, 1.0)] {
                spread.add(crate::judge::distance::split_z(pair, ratio).unwrap(), 1.0);
            }
            ratio.add(pair);
        }
        assert!(known.phi(1.0) < 1.6 && unknown.phi(1.0) > 2.0, "{} {}", known.phi(1.0), unknown.phi(1.0));
        assert!((4.0..8.0).contains(&ratio.ratio(1.0)), "{ratio:?}");
    }

    #[test]
    fn a_canary_that_fails_less_often_has_the_ratio_one() {
        let mut ratio = Ratio::default();
        assert_eq!(ratio.ratio(1.0), 1.0);
        (0..30).for_each(|_| ratio.add(Pair { n_a: 1000.0, x_a: 10.0, n_b: 1000.0, x_b: 2.0 }));
        assert_eq!(ratio.ratio(1.0), 1.0);
        let pair = Pair { n_a: 700.0, x_a: 9.0, n_b: 300.0, x_b: 5.0 };
        let z = crate::judge::distance::split_z(pair, 1.0).unwrap();
        assert!((z - crate::judge::distance::pooled_z(700.0, 9.0, 300.0, 5.0).unwrap()).abs() < 1e-12);
    }

    #[test]
    fn pods_that_agree_need_no_margin() {
        assert_eq!(pod_margin(&[1000.0; 5], &[10.0, 11.0, 9.0, 10.0, 12.0], 1.0, 1.0).margin, 0.0);
        assert!(pod_margin(&[1000.0; 5], &[10.0, 50.0, 9.0, 10.0, 12.0], 1.0, 1.0).margin > 0.005);
    }
}
