//! Which buckets of request durations a look asks for: those that are compared, those beside them, and a few above.
//!
//! A pod has twenty buckets for each response code and client, and a handful of them decide. Which ones is known when margins are frozen. All are asked
//! for until both versions were seen to have them, so that versions with other bounds are compared on what they have in common.

use std::collections::BTreeSet;

use super::super::calibrate::{spelled, written_bounds};
use crate::counts::{Deltas, Family, Reading, Side, Window};
use crate::drive::Ledger;
use crate::plan::{Counted, Metric};

/// What is known of the buckets.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    /// How their bounds are written.
    written: BTreeSet<String>,
    /// What is judged was thinned to these when it began; empty: it was not.
    needed: Vec<f64>,
    /// Both versions were seen to have them.
    common: bool,
}

impl Buckets {
    /// Another provider: what it has is not known.
    pub(super) fn forget(&mut self) {
        (self.written, self.common) = (BTreeSet::new(), false);
    }

    /// Evidence of before a restart is thinned if it was then.
    pub(super) fn take_over(&mut self, ledger: &Ledger) {
        if let Some((needed, true)) = needed(ledger) {
            self.needed = needed;
        }
    }

    /// Margins were frozen, and nothing has been compared yet.
    pub(super) fn begin(&mut self, ledger: &Ledger) {
        self.needed = needed(ledger).map(|(needed, _)| needed).unwrap_or_default();
    }

    /// Takes how bounds are written.
    pub(super) fn written(&mut self, bounds: &BTreeSet<String>) {
        self.written.extend(bounds.iter().cloned());
    }

    /// Takes a window that was counted.
    pub(super) fn seen(&mut self, ledger: &Ledger, reading: &Reading, deltas: &Deltas) {
        if self.common || self.needed.is_empty() || names(ledger).next().is_none() {
            return;
        }
        self.written(&written_bounds(reading));
        let of = |side: Side| deltas.of.iter().filter(move |delta| delta.family == Family::Latency && delta.side == side);
        let mut sides = [Side::Stable, Side::Canary].into_iter();
        self.common = sides.all(|side| {
            let whole = |bounds: &[f64]| self.needed.iter().all(|needed| bounds.contains(needed));
            of(side).next().is_some() && of(side).all(|delta| whole(&delta.bounds))
        });
    }

    /// How those are written that a look asks for; none: all.
    pub(super) fn wanted(&self) -> Vec<String> {
        if self.common { spelled(&self.written, &self.needed) } else { Vec::new() }
    }

    /// Leaves out what is not judged.
    pub(super) fn narrow(&self, ledger: &Ledger, window: &mut Window) {
        if !self.needed.is_empty() {
            names(ledger).for_each(|name| window.narrow(name, &self.needed));
        }
    }
}

/// The metrics that are judged on request durations.
fn names(ledger: &Ledger) -> impl Iterator<Item = &str> {
    timed(ledger).map(|(_, metric)| metric.name.as_str())
}

fn timed(ledger: &Ledger) -> impl Iterator<Item = (usize, &Metric)> {
    ledger.brief().analysis.metrics.iter().enumerate().filter(|(_, metric)| metric.kind.counted() == Counted::Durations)
}

/// The bounds that any of them needs, and whether they are all that each has. `None` where one does not know yet.
fn needed(ledger: &Ledger) -> Option<(Vec<f64>, bool)> {
    let of: Option<Vec<(Vec<f64>, bool)>> = timed(ledger).map(|(at, _)| ledger.needed_bounds(at)).collect();
    let of = of.filter(|of| !of.is_empty())?;
    let whole = of.iter().all(|(_, whole)| *whole);
    let mut all: Vec<f64> = of.into_iter().flat_map(|(bounds, _)| bounds).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    Some((all, whole))
}
