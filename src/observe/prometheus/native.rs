//! Native histograms (Prometheus 3), as the classic series with `le` that everything else counts.
//!
//! A native histogram lists the buckets that hold something, so its bounds differ from look to look. Here each gets bounds that stay. Where
//! its buckets grow exponentially these are four to an octave, or as many as it has itself where that is fewer, over the octaves that were
//! ever seen; where it has bounds of its own (converted classic histograms), all that were ever listed, and for Istio's durations those that
//! its proxies have. A bucket that is not listed is empty, so the count below a bound between two listed ones is exact.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;

use super::QueryError;
use crate::counts::{Labels, Series};

/// Bounds to an octave are 2 to this power at most.
const FINEST: u32 = 2;
/// Finest buckets that Prometheus has: 256 to an octave.
const FINEST_NATIVE: u32 = 8;
/// More octaves than these are not told apart: from a nanosecond to a century there are 62.
const MOST_OCTAVES: i32 = 64;
/// Bounds of Istio's proxies, in milliseconds.
const ISTIO: (&str, [f64; 19]) = (
    "istio_request_duration_milliseconds",
    [
        0.5,
        1.0,
        5.0,
        10.0,
        25.0,
        50.0,
        100.0,
        250.0,
        500.0,
        1000.0,
        2500.0,
        5000.0,
        10_000.0,
        30_000.0,
        60_000.0,
        300_000.0,
        600_000.0,
        1_800_000.0,
        3_600_000.0,
    ],
);

/// One histogram as the API writes it.
#[derive(Deserialize)]
pub(super) struct Native {
    count: String,
    #[serde(default)]
    buckets: Vec<(u8, String, String, String)>,
}

/// A histogram's buckets as numbers: left, right, count.
struct Read {
    count: f64,
    buckets: Vec<(f64, f64, f64)>,
}

/// Bounds of every metric that was seen.
#[derive(Debug, Default)]
pub(super) struct Grids(BTreeMap<String, Grid>);

#[derive(Clone, Debug, PartialEq)]
enum Grid {
    /// 2 to the power of `fineness` bounds to an octave, from the octave `low` up to and with the octave `high`; mirrored below zero where
    /// that was seen.
    Exponential {
        fineness: u32,
        low: i32,
        high: i32,
        negative: bool,
    },
    Listed(BTreeSet<Bound>),
}

/// A finite bound, in order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound(f64);

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A series of histograms before it is turned into classic ones.
pub(super) struct Row {
    name: String,
    labels: Labels,
    samples: Vec<(Timestamp, Read)>,
}

impl Row {
    /// Reads the numbers of a series.
    pub(super) fn read(name: String, labels: Labels, samples: impl IntoIterator<Item = (Timestamp, Native)>) -> Result<Self, QueryError> {
        let number =
            |text: &str| text.parse::<f64>().map_err(|_| QueryError::Malformed("a histogram has a value that is not a number".into()));
        let mut read = Vec::new();
        for (at, native) in samples {
            let count = number(&native.count)?;
            let mut buckets = Vec::with_capacity(native.buckets.len());
            for (_, left, right, count) in &native.buckets {
                buckets.push((number(left)?, number(right)?, number(count)?));
            }
            if !count.is_finite() || buckets.iter().any(|(left, right, count)| left.is_nan() || right.is_nan() || !count.is_finite()) {
                return Err(QueryError::NotFinite(super::words::clip(&name)));
            }
            buckets.sort_by(|one, two| one.1.total_cmp(&two.1));
            read.push((at, Read { count, buckets }));
        }
        Ok(Self { name, labels, samples: read })
    }
}

impl Grids {
    /// Takes up what these rows show, then turns each into its classic series.
    pub(super) fn classic(&mut self, rows: Vec<Row>) -> Vec<Series> {
        for row in &rows {
            let grid = self.0.entry(row.name.clone()).or_insert_with(|| Grid::first(&row.name));
            row.samples.iter().for_each(|(_, histogram)| grid.take_up(histogram));
        }
        let of = |row: Row| {
            let bounds = self.0.get(&row.name).map(Grid::bounds).unwrap_or_default();
            row.classic(&bounds)
        };
        rows.into_iter().flat_map(of).collect()
    }
}

impl Row {
    fn classic(self, bounds: &[f64]) -> Vec<Series> {
        let mut all: Vec<Series> = Vec::with_capacity(bounds.len() + 1);
        for bound in bounds.iter().copied().chain([f64::INFINITY]) {
            let mut labels = self.labels.clone();
            labels.insert("le", if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() });
            all.push(Series { labels, samples: Vec::with_capacity(self.samples.len()) });
        }
        for (at, histogram) in &self.samples {
            let mut buckets = histogram.buckets.iter().peekable();
            let mut below = 0.0;
            for (series, bound) in all.iter_mut().zip(bounds) {
                // Bounds are computed here and there: what differs by a rounding is the same.
                while let Some((_, _, count)) = buckets.next_if(|(_, right, _)| *right <= bound + bound.abs() * 1e-9) {
                    below += count;
                }
                series.samples.push((*at, below));
            }
            if let Some(last) = all.last_mut() {
                last.samples.push((*at, histogram.count));
            }
        }
        all
    }
}

impl Grid {
    fn first(name: &str) -> Self {
        if name == ISTIO.0 { Self::Listed(ISTIO.1.iter().map(|bound| Bound(*bound)).collect()) } else { Self::nothing_yet() }
    }

    fn nothing_yet() -> Self {
        Self::Exponential { fineness: FINEST, low: i32::MAX, high: i32::MIN, negative: false }
    }

    fn take_up(&mut self, histogram: &Read) {
        if let Self::Exponential { fineness, low, high, negative } = self {
            // The bucket around zero has no ratio, and one over it has the other sign.
            let grown =
                histogram.buckets.iter().filter(|(left, right, _)| left.signum() == right.signum() && *left != 0.0 && *right != 0.0);
            let mut fits = true;
            for (left, right, _) in grown {
                let (small, large) = (left.abs().min(right.abs()), left.abs().max(right.abs()));
                match ratio(small, large) {
                    Some(own) => {
                        *fineness = own.min(*fineness);
                        *low = (*low).min(small.log2().round_down());
                        *high = (*high).max(large.log2().round_up());
                        *negative |= *left < 0.0;
                    }
                    None => fits = false,
                }
            }
            // A custom bucket that begins at zero or nowhere.
            fits &= !histogram
                .buckets
                .iter()
                .any(|(left, right, _)| left.is_infinite() || right.is_infinite() || (*left == 0.0) != (*right == 0.0));
            if fits {
                return;
            }
            *self = Self::Listed(BTreeSet::new());
        }
        if let Self::Listed(bounds) = self {
            let both = histogram.buckets.iter().flat_map(|(left, right, _)| [*left, *right]);
            bounds.extend(both.filter(|bound| bound.is_finite()).map(Bound));
        }
    }

    fn bounds(&self) -> Vec<f64> {
        match self {
            Self::Listed(bounds) => bounds.iter().map(|bound| bound.0).collect(),
            Self::Exponential { fineness, low, high, negative } => {
                let each = 1_i32 << fineness;
                let low = (*low).max(high.saturating_sub(MOST_OCTAVES));
                let up: Vec<f64> = (low.saturating_mul(each)..=high.saturating_mul(each)).map(|k| power(k, each)).collect();
                let down = up.iter().rev().map(|bound| -bound).filter(|_| *negative);
                // What lies at zero is below the least bound, and above the greatest negative one.
                down.chain(up.iter().copied()).collect()
            }
        }
    }
}

/// Buckets to an octave as a power of two, if a bucket from `small` to `large` is one of those that Prometheus has.
fn ratio(small: f64, large: f64) -> Option<u32> {
    if !small.is_finite() || !large.is_finite() || small <= 0.0 {
        return None;
    }
    let octaves = (large / small).log2();
    let fineness = -octaves.log2();
    let whole = fineness.round();
    // Coarser than one bucket to an octave is none of the bounds here.
    if (fineness - whole).abs() > 1e-6 || !(0.0..=f64::from(FINEST_NATIVE)).contains(&whole) {
        return None;
    }
    // Small and whole: the cast is exact.
    let fineness = whole as u32;
    let place = large.log2() * f64::from(1_u32 << fineness);
    ((place - place.round()).abs() < 1e-6).then_some(fineness)
}

/// 2 to the power of k / each, the same number whenever it is computed.
fn power(k: i32, each: i32) -> f64 {
    (f64::from(k) / f64::from(each)).exp2()
}

trait Whole {
    fn round_down(self) -> i32;
    fn round_up(self) -> i32;
}

impl Whole for f64 {
    /// The octave that a bound lies in; a rounding below a whole number is that number. A float cast saturates at both ends.
    fn round_down(self) -> i32 {
        (self + 1e-9).floor() as i32
    }

    fn round_up(self) -> i32 {
        (self - 1e-9).ceil() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(count: f64, buckets: &[(f64, f64, f64)]) -> Read {
        Read { count, buckets: buckets.to_vec() }
    }

    fn row(name: &str, histograms: Vec<Read>) -> Row {
        let at = |second: usize| Timestamp::from_second(1_700_000_000 + second as i64).unwrap();
        let samples = histograms.into_iter().enumerate().map(|(second, read)| (at(second), read)).collect();
        Row { name: name.into(), labels: Labels::from([("pod", "a")]), samples }
    }

    fn bounds(series: &[Series]) -> Vec<f64> {
        series.iter().map(|series| series.label("le").parse().unwrap()).collect()
    }

    /// The last value at each bound.
    fn last(series: &[Series]) -> Vec<f64> {
        series.iter().map(|series| series.samples.last().unwrap().1).collect()
    }

    #[test]
    fn exponential_buckets_come_on_four_bounds_to_an_octave_that_stay() {
        let mut grids = Grids::default();
        let step = 2_f64.powf(1.0 / 8.0);
        // Schema 3: eight to an octave. 1 in (1, 1.09], 2 in (1.83, 2], 5 in (3.67, 4].
        let first = histogram(9.0, &[(-0.001, 0.001, 1.0), (1.0, step, 1.0), (2.0 / step, 2.0, 2.0), (4.0 / step, 4.0, 5.0)]);
        let found = grids.classic(vec![row("score", vec![first])]);
        let classic: Vec<f64> = (0..=8).map(|k| 2_f64.powf(f64::from(k) / 4.0)).collect();
        assert!(bounds(&found).iter().zip(&classic).all(|(one, two)| (one - two).abs() < 1e-12), "{:?}", bounds(&found));
        assert_eq!(last(&found), [1.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0, 9.0, 9.0]);
        assert_eq!(found[0].label("pod"), "a");

        // A look later with other buckets filled, and one where none is: the same bounds.
        let later = histogram(12.0, &[(2.0 / step, 2.0, 9.0), (2.0, 2.0 * step, 3.0)]);
        let again = grids.classic(vec![row("score", vec![later, histogram(0.0, &[])])]);
        assert_eq!(bounds(&again), bounds(&found));
        assert_eq!(again[4].samples.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [9.0, 0.0]);
        // An octave more is added above, and what was there stays.
        let more = grids.classic(vec![row("score", vec![histogram(1.0, &[(7.0_f64.max(8.0 / step), 8.0, 1.0)])])]);
        assert_eq!(bounds(&more)[..9], bounds(&found)[..9]);
        assert_eq!(bounds(&more).len(), 14);
    }

    #[test]
    fn coarse_buckets_keep_their_own_bounds_and_negative_ones_are_mirrored() {
        let mut grids = Grids::default();
        let found = grids.classic(vec![row("m", vec![histogram(7.0, &[(-2.0, -1.0, 3.0), (-0.1, 0.1, 1.0), (2.0, 4.0, 3.0)])])]);
        assert_eq!(bounds(&found), [-4.0, -2.0, -1.0, 1.0, 2.0, 4.0, f64::INFINITY]);
        assert_eq!(last(&found), [0.0, 0.0, 3.0, 4.0, 4.0, 7.0, 7.0]);
    }

    #[test]
    fn bounds_of_one_s_own_are_all_that_were_ever_listed() {
        let mut grids = Grids::default();
        let first = grids.classic(vec![row("own", vec![histogram(5.0, &[(f64::NEG_INFINITY, 0.1, 2.0), (0.3, 0.9, 3.0)])])]);
        assert_eq!(bounds(&first), [0.1, 0.3, 0.9, f64::INFINITY]);
        assert_eq!(last(&first), [2.0, 2.0, 5.0, 5.0]);
        let second = grids.classic(vec![row("own", vec![histogram(6.0, &[(f64::NEG_INFINITY, 0.1, 2.0), (0.9, f64::INFINITY, 4.0)])])]);
        assert_eq!(bounds(&second), bounds(&first), "nothing that was not known before");
        assert_eq!(last(&second), [2.0, 2.0, 2.0, 6.0]);
    }

    #[test]
    fn istio_s_own_bounds_are_there_from_the_first_look() {
        let mut grids = Grids::default();
        let converted = histogram(10.0, &[(1.0, 5.0, 4.0), (25.0, 50.0, 6.0)]);
        let found = grids.classic(vec![row(ISTIO.0, vec![converted])]);
        assert_eq!(found.len(), 20);
        let at = |le: &str| found.iter().find(|series| series.label("le") == le).unwrap().samples[0].1;
        assert_eq!([at("0.5"), at("5"), at("25"), at("50"), at("3600000"), at("+Inf")], [0.0, 4.0, 4.0, 10.0, 10.0, 10.0]);
    }
}
