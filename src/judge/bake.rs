//! The bake: at 100 % the canary is compared with stable's last counts before the switch (statistics 2k).

use serde::{Deserialize, Serialize};

use super::columns::Row;
use super::distance::wilson;
use super::kernel::one_arm_bets;
use super::metric::{MetricState, Processes};
use super::mixture::{CAP, ETA, GAMMA_FIRST, Mixture};
use super::proportions::{Proportions, share_above};
use super::{Context, StepTerms, tidy};
use crate::counts::Counts;
use crate::plan::{Limits, Metric};

/// Fail evidence at which the bake fails: 1/alpha, alpha = 0.05.
pub(super) const FAIL_AT: f64 = 20.0;
/// Windows of stable that are remembered.
pub(super) const WINDOWS: f64 = 29.0;
/// How much slower than before is tolerated.
const STRETCH: f64 = 1.25;

/// One share against a fixed limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Guard {
    /// Which column.
    pub column: usize,
    /// Its part of the metric's evidence.
    pub weight: f64,
    /// Stable's share before the switch.
    pub before: f64,
    /// The limit.
    pub limit: f64,
    phi: f64,
    /// Evidence that the limit is exceeded.
    pub fail: Mixture,
}

/// One metric at 100 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bake {
    /// What is guarded.
    pub guards: Vec<Guard>,
    /// Stable's requests that the limits come from.
    pub before: f64,
    /// Canary's counts at 100 %.
    pub seen: Row,
    looks: u32,
    planned: u32,
}

impl Bake {
    /// Freezes the limits from stable's last counts. `None` when there are none. `bounds` is empty for errors. Latency may also be what it was
    /// before the rollout (`s0`): then a pod had the load of all users, as now, and not of those that the canary left.
    pub(super) fn new(shares: &Proportions, bounds: &[f64], recent: &Row, s0: &[f64], planned: u32) -> Option<Self> {
        if recent.n <= 0.0 {
            return None;
        }
        let usual = |at: usize| if bounds.is_empty() { 0.0 } else { s0.get(at).copied().unwrap_or(0.0) };
        let above: Vec<f64> = recent.x.iter().enumerate().map(|(at, x)| (x / recent.n).max(usual(at))).collect();
        let guard = |track: &super::proportions::Track| {
            let before = *above.get(track.column)?;
            let limit = match bounds.get(track.column) {
                None => 2.0 * wilson(before * recent.n, recent.n, 0.95).1 + 0.01,
                Some(bound) => wilson(share_above(bounds, &above, bound / STRETCH) * recent.n, recent.n, 0.95).1,
            };
            let (before, limit, phi) = (tidy(before), tidy(limit), tidy(track.phi()));
            Some(Guard { column: track.column, weight: track.weight, before, limit, phi, fail: Mixture::new(ETA.len()) })
        };
        let guards = shares.tracks.iter().filter_map(guard).collect();
        Some(Self { guards, before: tidy(recent.n), seen: Row::default(), looks: 0, planned })
    }

    /// Adds one window of the canary alone. Where some of its pods are `young` it is shown, and held against nothing.
    pub(super) fn add(&mut self, row: &Row, young: bool) {
        if row.n <= 0.0 {
            return;
        }
        self.seen.add(row);
        if young {
            return;
        }
        let others = f64::from(self.planned.saturating_sub(1).max(1));
        let gamma = match self.looks {
            0 => GAMMA_FIRST,
            look if look < self.planned => (1.0 - GAMMA_FIRST) / others,
            _ => 0.0,
        };
        self.looks += 1;
        for guard in &mut self.guards {
            let x = row.x.get(guard.column).copied().unwrap_or(0.0);
            guard.fail.add(gamma, one_arm_bets(row.n, x, guard.limit, &ETA), guard.phi, CAP);
        }
    }

    /// Fail evidence of the metric.
    pub(super) fn fail_evidence(&self) -> f64 {
        let value: f64 = self.guards.iter().map(|guard| guard.weight * guard.fail.value()).sum();
        if self.guards.is_empty() { 1.0 } else { value }
    }
}

impl MetricState {
    /// At 100 %: freezes the limits, once stable's last counts are known.
    pub(super) fn open_bake(&mut self, step: &StepTerms) {
        if let Some(Processes::Shares(shares)) = &self.processes
            && self.bake.is_none()
        {
            self.bake = Bake::new(shares, self.bounds(), &self.recent, &self.s0, step.planned_windows);
        }
    }

    /// Adds a window at 100 %.
    pub(super) fn add_bake(&mut self, metric: &Metric, canary: Option<&Counts>, context: &Context<'_>) {
        let row = canary.and_then(|counts| self.layout.as_ref().and_then(|layout| layout.row(counts)));
        let Some(row) = row else {
            self.missing += 1;
            return;
        };
        self.missing = 0;
        self.windows += u32::from(row.n > 0.0);
        if let Some(bake) = &mut self.bake {
            let young = context.young.is_some() && matches!(metric.kind.limits(), Limits::Stretch(_));
            bake.add(&row, young);
        }
    }
}
