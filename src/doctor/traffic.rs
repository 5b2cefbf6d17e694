//! Whether the traffic that was measured is enough for the plan, and how long the plan takes at it.

use std::time::Duration;

use super::{Finding, Level, Measured};
use crate::judge::forecast_plan;
use crate::plan::{Plan, Step, span};
use crate::say;
use crate::state::brief::terms;
use crate::words::count;

/// What is to be said of the traffic; nothing where nothing is judged or nothing was measured.
pub fn traffic(measured: &Measured, plan: &Plan) -> Option<Finding> {
    const CHECK: &str = "traffic";
    let (rps, metrics) = (measured.rps(), &plan.analysis.metrics);
    if metrics.is_empty() || rps <= 0.0 {
        return None;
    }
    let seconds = |of: fn(&Step) -> Duration| plan.steps.iter().map(|step| of(step).as_secs_f64()).collect::<Vec<_>>();
    let (holds, deadlines) = (seconds(|step| step.hold), seconds(|step| step.deadline));
    // The words say the rate: without decimals that nobody measured.
    let rps = if rps < 10.0 { (rps * 10.0).round() / 10.0 } else { rps.round() };
    let rps = rps.max(0.1);
    let interval = plan.analysis.interval.as_secs_f64();
    let found = forecast_plan(metrics, &terms(plan), interval, rps, &holds, &deadlines, measured.errors.clamp(1e-6, 0.5));
    if let Some(late) = &found.late {
        return Some(Finding::saying(CHECK, Level::Warn, &say::late(late)));
    }
    let minutes: f64 = found.steps.iter().zip(&holds).map(|(step, hold)| step.minutes_to_pass.unwrap_or_default().max(hold / 60.0)).sum();
    let time = span(Duration::from_secs_f64((minutes.clamp(0.0, 1e6)).ceil() * 60.0));
    let shown = if rps < 10.0 { format!("{rps}") } else { count(rps) };
    Some(Finding::ok(CHECK, format!("{shown} requests/s are enough: a healthy canary takes about {time}")))
}
