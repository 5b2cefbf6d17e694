//! What was seen of one number while it was watched, and the line that it makes.

use std::collections::VecDeque;

use jiff::Timestamp;

/// Values that are kept of each metric: as many as the widest line has cells.
const KEPT: usize = 40;
/// From nothing to the limit.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A look without a value.
const NOTHING: char = '·';

/// The newest values of one metric, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ring {
    values: VecDeque<(Timestamp, Option<f64>)>,
}

impl Ring {
    /// One more look.
    pub(super) fn push(&mut self, at: Timestamp, value: Option<f64>) {
        if self.values.len() == KEPT {
            self.values.pop_front();
        }
        self.values.push_back((at, value.filter(|value| value.is_finite())));
    }

    /// Takes what was seen later.
    pub(super) fn join(&mut self, later: Self) {
        later.values.into_iter().for_each(|(at, value)| self.push(at, value));
    }

    /// When the oldest of the newest so many was seen.
    pub(super) fn since(&self, cells: usize) -> Option<Timestamp> {
        self.values.iter().rev().take(cells).next_back().map(|(at, _)| *at)
    }

    /// The newest values, one in each cell. A full cell is the limit or more; where there is none, the largest value.
    pub(super) fn line(&self, cells: usize, limit: Option<f64>) -> String {
        let shown: Vec<Option<f64>> = self.values.iter().rev().take(cells).map(|(_, value)| *value).collect();
        let largest = shown.iter().flatten().copied().fold(0.0, f64::max);
        let full = limit.filter(|limit| *limit > 0.0).unwrap_or(largest);
        shown.iter().rev().map(|value| value.map_or(NOTHING, |value| level(value, full))).collect()
    }
}

fn level(value: f64, full: f64) -> char {
    let share = if full > 0.0 { (value / full).clamp(0.0, 1.0) } else { 0.0 };
    let last = LEVELS.len() - 1;
    // Full is kept for what has reached the limit.
    let at = if share >= 1.0 { last } else { (share * last as f64) as usize };
    LEVELS.get(at).copied().unwrap_or(NOTHING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(values: &[Option<f64>]) -> Ring {
        let mut ring = Ring::default();
        for (second, value) in (0..).zip(values) {
            ring.push(Timestamp::from_second(second).unwrap(), *value);
        }
        ring
    }

    #[test]
    fn a_full_cell_is_the_limit_and_a_missing_value_is_a_dot() {
        let seen = ring(&[Some(-0.1), Some(0.0), None, Some(0.05), Some(0.099), Some(0.1), Some(7.0), Some(f64::NAN)]);
        assert_eq!(seen.line(8, Some(0.1)), "▁▁·▄▇██·");
        assert_eq!(seen.line(3, Some(0.1)), "██·");
    }

    #[test]
    fn without_a_limit_the_largest_value_is_full() {
        assert_eq!(ring(&[Some(1.0), Some(4.0), Some(2.0)]).line(9, None), "▂█▄");
        assert_eq!(ring(&[Some(0.0)]).line(9, None), "▁");
    }

    #[test]
    fn it_keeps_the_newest_and_says_since_when() {
        let seen = ring(&vec![Some(1.0); 100]);
        assert_eq!(seen.line(500, None).chars().count(), KEPT);
        assert_eq!(seen.since(10), Some(Timestamp::from_second(90).unwrap()));
        assert_eq!(Ring::default().since(10), None);
    }
}
