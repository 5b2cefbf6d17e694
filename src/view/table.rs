//! Rows to a table of monospaced text that fits a width.

use super::cells::Cells;
use super::terminal::width;
use super::{Row, View};
use crate::words::{shortened, whole};

/// Longest name of a version above its column.
const VERSION: usize = 18;
/// Space between columns, where there is room and where there is little.
const GAPS: [usize; 2] = [3, 2];
/// The first column is at least as wide as the labels below the table, where there is room.
pub(super) const LABEL: usize = 9;

/// A table, cells not padded yet.
pub(super) struct Table {
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// Requests are not in it.
    pub(super) without_requests: bool,
}

/// Which columns are left out.
#[derive(Clone, Copy, Default)]
struct Left {
    /// The space around the dots of an interval.
    space: bool,
    requests: bool,
    interval: bool,
    limit: bool,
}

/// From everything to the least that still says something.
const CHOICES: [Left; 5] = [
    Left { space: false, requests: false, interval: false, limit: false },
    Left { space: false, requests: true, interval: false, limit: false },
    Left { space: true, requests: true, interval: false, limit: false },
    Left { space: true, requests: true, interval: true, limit: false },
    Left { space: true, requests: true, interval: true, limit: true },
];

impl Table {
    /// Every column.
    pub(super) fn whole(view: &View) -> Self {
        Self::of(view, Left::default())
    }

    fn of(view: &View, left: Left) -> Self {
        let named = |arm: &str, name: &Option<String>| {
            name.as_ref().map_or_else(|| arm.to_owned(), |name| format!("{arm} {}", shortened(name, VERSION)))
        };
        // A column in which nobody has anything is no column.
        let compared = view.rows.iter().any(|row| row.interval.is_some());
        let counted = view.rows.iter().any(|row| row.requests.is_some());
        let limited = view.rows.iter().any(|row| row.limit.is_some());
        let kept = [true, true, true, true, compared && !left.interval, limited && !left.limit, counted && !left.requests, true];
        let keep = |cells: [String; 8]| cells.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(cell, _)| cell).collect::<Vec<_>>();
        let head = ["", &named("stable", &view.stable), &named("canary", &view.canary), "difference", "95 % interval", "limit"];
        let head = [head[0], head[1], head[2], head[3], head[4], head[5], "requests", "verdict"].map(str::to_owned);
        let row = |row: &Row| {
            let Cells { metric, stable, canary, difference, interval, limit, requests, verdict } = row.cells();
            let interval = if left.space { interval.replace(" .. ", "..") } else { interval };
            keep([metric, stable, canary, difference, interval, limit, requests, verdict])
        };
        Self { head: keep(head), rows: view.rows.iter().map(row).collect(), without_requests: left.requests && counted }
    }

    /// The first form that fits, with the widths of its columns and the space between them. What fits in no form is cut in its longest column.
    pub(super) fn fitting(view: &View, most: usize) -> (Self, Vec<usize>, usize) {
        for left in CHOICES {
            let table = Self::of(view, left);
            for gap in GAPS {
                let mut widths = table.widths();
                if gap > 2
                    && let Some(first) = widths.first_mut()
                {
                    *first = (*first).max(LABEL);
                }
                if total(&widths, gap) <= most {
                    return (table, widths, gap);
                }
            }
        }
        let [.., least] = CHOICES;
        let mut table = Self::of(view, least);
        let [.., gap] = GAPS;
        loop {
            let widths = table.widths();
            let longest = widths.iter().enumerate().max_by_key(|(_, width)| **width).map(|(at, width)| (at, *width));
            let Some((at, longest)) = longest.filter(|(_, width)| total(&widths, gap) > most && *width > 4) else {
                return (table, widths, gap);
            };
            let excess = total(&widths, gap) - most;
            let to = longest.saturating_sub(excess).max(longest / 2).max(4);
            for row in std::iter::once(&mut table.head).chain(&mut table.rows) {
                if let Some(cell) = row.get_mut(at) {
                    *cell = shortened(cell, to);
                }
            }
        }
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| width(cell)).collect();
        for row in &self.rows {
            for (most, cell) in widths.iter_mut().zip(row) {
                *most = (*most).max(width(cell));
            }
        }
        widths
    }
}

fn total(widths: &[usize], gap: usize) -> usize {
    widths.iter().sum::<usize>() + gap * widths.len().saturating_sub(1)
}

/// Requests of both arms, where the table has no column for them.
pub(super) fn requests(view: &View) -> Option<String> {
    let most = view.rows.iter().filter_map(|row| row.requests).max_by_key(|n| n.stable.saturating_add(n.canary))?;
    let named = |name: &Option<String>, arm: &str| name.clone().unwrap_or_else(|| arm.to_owned());
    let (stable, canary) = (named(&view.stable, "stable"), named(&view.canary, "canary"));
    Some(format!("{} of {stable}, {} of {canary}", whole(most.stable), whole(most.canary)))
}
