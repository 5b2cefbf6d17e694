//! A rollout has a bound: what is old is kept more coarsely, what decided is kept to the last.

use std::io;

use serde::Serialize;

use super::{Arm, Point, Run, Window};
use crate::api::MeasureKind;
use crate::words::shortened;

/// Most bytes of a rollout, as JSON.
pub const RUN_BYTES: usize = 60 * 1024;
/// Most windows, changes of traffic and decisions, whatever their size.
const MOST_WINDOWS: usize = 400;
const MOST_CHANGES: usize = 100;
const MOST_DECISIONS: usize = 60;
/// Decisions that keep the metrics they rest on for as long as there is room.
const TOLD: usize = 6;
/// What it is brought down to where it is larger: not every window makes room again.
const ROOMY: usize = RUN_BYTES / 10 * 9;
/// Windows that are kept for as long as there are distributions of past steps and long texts.
const FEW_WINDOWS: usize = 60;
/// Windows that are kept for as long as there is a distribution.
const LEAST_WINDOWS: usize = 16;
/// What stays of a message.
const SHORT: usize = 200;

impl Run {
    /// Makes it small enough.
    pub(super) fn make_room(&mut self) {
        while self.windows.len() > MOST_WINDOWS && self.join() {}
        let more = self.windows.len().saturating_sub(MOST_WINDOWS);
        self.windows.drain(..more);
        drop_middle(&mut self.changes, MOST_CHANGES);
        drop_middle(&mut self.decisions, MOST_DECISIONS);
        if bytes(self) <= RUN_BYTES {
            return;
        }
        // From what is missed least to what is missed most, each until it gives nothing more.
        let ways: [fn(&mut Self) -> bool; 9] = [
            Self::plain_decisions,
            |run| run.windows.len() > FEW_WINDOWS && run.join(),
            Self::forget_distributions,
            Self::shorten,
            |run| run.windows.len() > LEAST_WINDOWS && run.join(),
            Self::forget_queries,
            |run| run.distributions.pop().is_some(),
            Self::join,
            Self::drop_oldest,
        ];
        for way in ways {
            while way(self) {
                if bytes(self) <= ROOMY {
                    return;
                }
            }
        }
    }

    /// Joins the older half of the windows pairwise. False if there is nothing to join.
    fn join(&mut self) -> bool {
        let kinds: Vec<MeasureKind> = self.metrics.iter().map(|metric| metric.kind).collect();
        let before = self.windows.len();
        let newer = self.windows.split_off(before.div_ceil(2));
        let mut joined: Vec<Window> = Vec::with_capacity(before);
        let mut open = false;
        for window in self.windows.drain(..) {
            match joined.last_mut().filter(|last| open && last.fits(&window)) {
                Some(last) => {
                    last.join(window, &kinds);
                    open = false;
                }
                None => {
                    joined.push(window);
                    open = true;
                }
            }
        }
        joined.extend(newer);
        self.windows = joined;
        self.windows.len() < before
    }

    /// Takes the metrics out of the older decisions.
    fn plain_decisions(&mut self) -> bool {
        self.plain_but(TOLD)
    }

    /// Takes the metrics out of all decisions but the newest ones.
    fn plain_but(&mut self, told: usize) -> bool {
        let older = self.decisions.len().saturating_sub(told);
        let mut changed = false;
        for decision in self.decisions.iter_mut().take(older) {
            changed |= !decision.why.is_empty();
            decision.why.clear();
        }
        changed
    }

    /// Forgets the distributions of the oldest step, if it is not the last one with any.
    fn forget_distributions(&mut self) -> bool {
        let steps = || self.distributions.iter().map(|one| one.step);
        let (Some(oldest), Some(last)) = (steps().min(), steps().max()) else { return false };
        if oldest < last {
            self.distributions.retain(|one| one.step != oldest);
        }
        oldest < last
    }

    /// Shortens what is text, and takes the metrics out of all decisions but the last one.
    fn shorten(&mut self) -> bool {
        let mut changed = self.plain_but(1);
        let mut short = |text: &mut String| {
            if text.chars().count() > SHORT {
                *text = shortened(text, SHORT);
                changed = true;
            }
        };
        if let Some(end) = &mut self.end {
            short(&mut end.message);
        }
        for decision in &mut self.decisions {
            short(&mut decision.message);
            short(&mut decision.next);
            decision.why.iter_mut().for_each(|metric| short(&mut metric.message));
        }
        changed
    }

    /// Forgets the queries of the last decision: `haldane explain` makes no use of those of a rollout that is over.
    fn forget_queries(&mut self) -> bool {
        let metrics = self.decisions.last_mut().map(|last| last.why.as_mut_slice()).unwrap_or_default();
        metrics.iter_mut().filter_map(|metric| metric.query.take()).count() > 0
    }

    /// Drops the oldest of what is left. False if nothing is.
    fn drop_oldest(&mut self) -> bool {
        if !self.windows.is_empty() {
            self.windows.remove(0);
        } else if self.decisions.len() > 1 {
            self.decisions.remove(0);
        } else if self.changes.len() > 1 {
            self.changes.remove(0);
        } else {
            return self.decisions.last_mut().is_some_and(|last| last.why.pop().is_some());
        }
        true
    }
}

/// Keeps the first and the newest of a list.
fn drop_middle<T>(list: &mut Vec<T>, most: usize) {
    let more = list.len().saturating_sub(most);
    if more > 0 {
        list.drain(1..=more);
    }
}

/// Bytes of a value as JSON.
pub(super) fn bytes(value: &impl Serialize) -> usize {
    struct Counted(usize);
    impl io::Write for Counted {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            self.0 += part.len();
            Ok(part.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    serde_json::to_writer(&mut counted, value).map_or(usize::MAX, |()| counted.0)
}

impl Window {
    /// Whether the next window may be joined to this one: the same traffic, and as coarse.
    fn fits(&self, next: &Self) -> bool {
        (self.step, self.weight) == (next.step, next.weight)
    }

    pub(super) fn join(&mut self, next: Self, kinds: &[MeasureKind]) {
        let most = self.points.len().max(next.points.len());
        let mut later = next.points.into_iter();
        self.points.resize(most, None);
        for (at, point) in self.points.iter_mut().enumerate() {
            let next = later.next().flatten();
            *point = match (point.take(), next) {
                (Some(one), Some(next)) => Some(one.join(next, kinds.get(at).copied())),
                (one, next) => next.or(one),
            };
        }
        self.end = next.end;
        self.stable = self.stable.saturating_add(next.stable);
        self.canary = self.canary.saturating_add(next.canary);
        self.joined = self.joined.saturating_add(next.joined);
    }
}

impl Point {
    /// Counts of both; what is said of the step so far is what the later one says.
    fn join(self, next: Self, kind: Option<MeasureKind>) -> Self {
        let arm = |one: Option<Arm>, next: Option<Arm>| match (one, next) {
            (Some(one), Some(next)) => Some(one.join(next, kind)),
            (one, next) => next.or(one),
        };
        let (stable, canary) = (arm(self.stable, next.stable), arm(self.canary, next.canary));
        let said = if next.difference.is_none() && next.evidence.is_none() { self } else { next };
        Self { stable, canary, ..said }
    }
}

impl Arm {
    /// Of shares the mean over all requests; of times and values the worse one, which a mean would hide.
    fn join(self, next: Self, kind: Option<MeasureKind>) -> Self {
        let n = self.n.saturating_add(next.n);
        let value = match (kind, self.value, next.value) {
            // Above the last bound is worse than any.
            (Some(MeasureKind::Latency), one, other) if (one.is_none() && self.n > 0) || (other.is_none() && next.n > 0) => None,
            (Some(MeasureKind::Errors | MeasureKind::Share) | None, Some(one), Some(other)) => {
                Some(tidy((one * self.n as f64 + other * next.n as f64) / (n as f64).max(1.0)))
            }
            (Some(MeasureKind::AtLeast), Some(one), Some(other)) => Some(one.min(other)),
            (_, Some(one), Some(other)) => Some(one.max(other)),
            (_, one, other) => one.or(other),
        };
        Self { n, value }
    }
}

/// Six digits: more of them are noise, and cost room.
pub(super) fn tidy(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let digits = 5 - x.abs().log10().floor() as i32;
    let scale = 10f64.powi(digits.clamp(-300, 300));
    (x * scale).round() / scale
}
