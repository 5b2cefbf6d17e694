//! Alerts that a template is tried on when the configuration is read: one with everything, one with next to nothing.

use super::{Exposed, Fields, Metric, Named};

/// The samples.
pub fn samples() -> [Fields; 2] {
    [full(), bare()]
}

fn full() -> Fields {
    let text = str::to_owned;
    let named = |name: &str, revision: &str| Named { name: name.to_owned(), revision: revision.to_owned() };
    let metric = |name: &str, label: &str, canary: &str, verdict: &str| Metric {
        name: text(name),
        label: text(label),
        stable: text("0.11 %"),
        canary: text(canary),
        difference: text("+10.1 pp"),
        interval: text("+8.7 .. +11.5 pp"),
        limit: text("+0.05"),
        requests: text("59,204 / 3,120"),
        verdict: text(verdict),
    };
    Fields {
        title: text("Rolled back: ml/fraud v2 (m9nrqqfxj) at 5 %, because more requests fail"),
        body: text("errors   0.11 %   10.2 %   worse\n\nnow   100 % at v1"),
        alert: text("RolloutRolledBack"),
        severity: text("critical"),
        headline: text("Rolled back"),
        outcome: text("RolledBack"),
        reason: text("AnalysisFailed"),
        because: text("because more requests fail"),
        namespace: text("ml"),
        rollout: text("fraud"),
        canary: named("v2", "m9nrqqfxj"),
        stable: named("v1", "5b4d8f7c6d"),
        step: text("1"),
        weight: 5,
        share: text("at 5 %"),
        why: text("errorRate: evidence of harm 41.6, 20 rolls back"),
        metrics: vec![metric("errorRate", "errors", "10.2 %", "worse"), metric("latency", "p99", "0.12 %", "ok")],
        exposed: text("3,120 requests in 7m12s (5.0 % of traffic), 318 failed"),
        exposure: Exposed { requests: 3_120, copies: 0, errors: 318, seconds: 432 },
        now: text("100 % at v1; v2 (m9nrqqfxj) will not be retried automatically"),
        next: vec![text("haldane explain fraud -n ml"), text("haldane retry fraud -n ml")],
        by: text("kim"),
        at: text("2026-01-02T03:04:05Z"),
        epoch: 7,
        key: text("6f1c/7/RolledBack/AnalysisFailed"),
    }
}

/// Outside of a rollout most of it is not there.
fn bare() -> Fields {
    let text = str::to_owned;
    Fields {
        title: text("Weights drifted: ml/fraud"),
        body: text("now   nothing is written while no rollout runs"),
        alert: text("RolloutDrifted"),
        severity: text("warning"),
        headline: text("Weights drifted"),
        outcome: text("Held"),
        reason: text("Drifted"),
        namespace: text("ml"),
        rollout: text("fraud"),
        now: text("nothing is written while no rollout runs"),
        at: text("2026-01-02T03:04:05Z"),
        epoch: 7,
        key: text("6f1c/7/Held/Drifted/2026-01-02"),
        ..Fields::default()
    }
}
