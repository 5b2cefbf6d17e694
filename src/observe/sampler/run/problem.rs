//! What hinders a look, in words.

use super::super::age::advice;
use super::Run;
use crate::api::Reason;
use crate::counts::{Dropped, ShareFault};
use crate::judge::StepTerms;
use crate::observe::prometheus::{Prometheus, QueryError};
use crate::seen::Problem;

impl Run {
    pub(super) fn unanswered(&self, error: &QueryError) -> Problem {
        let message = format!("provider {}: {error}", self.ledger.brief().analysis.prometheus);
        Problem { reason: Reason::MetricsUnavailable, message, unavailable: true }
    }

    /// Where windows are dropped and the store is late, the setting that ends it.
    pub(super) fn name_lag(&mut self, prometheus: &Prometheus) {
        let Some(problem) = self.problem.as_mut().filter(|_| self.drops > 0) else { return };
        let newest = prometheus.newest();
        if let Some(advice) = newest.and_then(|newest| advice(&newest, prometheus.lag(), prometheus.scrape_interval())) {
            problem
                .message
                .push_str(&format!("; {advice} (provider {} of the controller's configuration)", self.ledger.brief().analysis.prometheus));
        }
    }

    /// An answer that would be the same if it were asked for again: its window is not counted.
    pub(super) fn unusable(&self, error: &QueryError) -> Problem {
        let message = format!("window not counted, for neither arm: provider {}: {error}", self.ledger.brief().analysis.prometheus);
        Problem { reason: Reason::MetricsUnavailable, message, unavailable: true }
    }

    pub(super) fn share(&self, fault: &ShareFault) -> Problem {
        let (reason, fix) = match fault {
            ShareFault::NoCanaryTraffic { .. } => (Reason::NoCanaryTraffic, "has the mesh taken up the weight, and is this the canary?"),
            ShareFault::NoCohort { .. } => {
                (Reason::NoCanaryTraffic, "does a request fit the match as it is in the route, and does it come through this route?")
            }
            ShareFault::Above { .. } => (Reason::Bypass, "other routes, or clients outside the mesh?"),
            ShareFault::Below { .. } => (Reason::ShareMismatch, "other routes to stable, or requests that never reach the canary?"),
        };
        let looked = self.found.as_ref().map_or_else(String::new, |found| {
            format!(" (reporter {}, {} {:?} and {:?})", found.reporter, found.label, found.stable, found.canary)
        });
        Problem { reason, message: format!("{fault}{looked}: {fix}"), unavailable: false }
    }

    /// Copies never appear at the sender: no step that mirrors can be judged by metrics of the mesh that only senders give. The model's own
    /// metrics count them.
    pub(super) fn mirror_unseen(&self) -> Option<Problem> {
        let found = self.found.as_ref().filter(|found| !found.by_pod)?;
        let mesh = |step: &&StepTerms| {
            let mut metrics = self.ledger.brief().analysis.metrics.iter();
            step.share.mirror > 0 && metrics.any(|metric| metric.kind.counted().is_of_mesh() && step.asks(metric))
        };
        self.ledger.brief().steps.iter().skip(self.ledger.brief().key.step.unwrap_or(0)).find(mesh)?;
        let message = format!(
            "a step mirrors, and requests of the mesh are counted at reporter {} alone, where a copy is never seen: give the model's pods \
             sidecars (reporter destination), or judge copies by the model's own metrics (drift) with `without` for errorRate and latency, or \
             leave mirror out",
            found.reporter
        );
        Some(Problem { reason: Reason::MirrorUnseen, message, unavailable: false })
    }
}

/// One missed scrape is no outage: only from the second window on metrics count as unavailable.
pub(super) fn said(dropped: &Dropped, drops: u32) -> Problem {
    let (reason, unavailable) = match dropped {
        Dropped::Duplicate { .. } | Dropped::Doubled(_) => (Reason::DuplicateSeries, false),
        Dropped::WarmUp { .. }
        | Dropped::NoBaseline { .. }
        | Dropped::BoundsChanged { .. }
        | Dropped::Renamed { .. }
        | Dropped::Fell { .. }
        | Dropped::Unbelievable { .. }
        | Dropped::Apart { .. }
        | Dropped::Jump { .. } => (Reason::NotEnoughData, false),
        _ if drops < 2 => (Reason::NotEnoughData, false),
        _ => (Reason::MetricsUnavailable, true),
    };
    Problem { reason, message: format!("window not counted, for neither arm: {dropped}"), unavailable }
}
