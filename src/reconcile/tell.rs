//! Status, then events, alerts and the log: after the traffic is safe.

use std::time::Duration;

use kube::Resource;

use super::{Context, memory::Memory};
use crate::act::{ActError, Desk, store_status};
use crate::api::{Outcome, Rollout};
use crate::config::Config;
use crate::decide::Decision;
use crate::plan::Plan;
use crate::seen::Observation;
use crate::state::{project, same_but_for_time};
use crate::telemetry;
use crate::tell::outbox;

/// Numbers that change at every look are stored this often: for people, and as the checkpoint that a restart continues from.
const REFRESH: Duration = Duration::from_secs(30);

/// Stores the status if it says something new, and tells what was decided. Returns whether it wrote.
pub(super) async fn store(
    context: &Context,
    memory: &mut Memory,
    desk: &Desk,
    rollout: &Rollout,
    seen: &Observation,
    decision: &Decision,
) -> Result<bool, ActError> {
    let old = rollout.status.as_ref();
    let mut waiting = old.map(|old| old.outbox.clone()).unwrap_or_default();
    context.teller.apply(&mut waiting);
    let sinks = sinks(decision.state.run.as_ref().map(|run| &run.plan).or(seen.plan.as_ref().ok()), &context.config.current().config);
    for record in decision.records.iter().filter(|record| outbox::class(record).is_some()) {
        outbox::enqueue(&mut waiting, outbox::key(&seen.uid, record), &sinks, record);
    }
    let status = project(&decision.state, &decision.stance, seen, waiting, old, context.clock.now());
    context.metrics.rollout(&seen.namespace, &seen.name, &status);
    let says_new = old.is_none_or(|old| !same_but_for_time(old, &status));
    let now = context.clock.elapsed();
    let due = decision.state.run.is_some() && memory.written.is_none_or(|written| now.saturating_sub(written) >= REFRESH);
    let refresh = due && old.is_none_or(|old| *old != status);
    if (says_new || refresh) && !seen.deleting {
        let stored = store_status(desk, rollout, &status).await?;
        memory.wrote(stored, now);
        memory.written = Some(now);
        for record in &decision.records {
            telemetry::decided(&seen.namespace, &seen.name, &outbox::key(&seen.uid, record), record);
            context.events.decided(rollout.object_ref(&()), record);
            if matches!(record.outcome, Outcome::Promoted | Outcome::Passed | Outcome::Failed | Outcome::RolledBack | Outcome::Aborted) {
                let exposed = record.exposure.as_ref().map_or(0, |exposure| exposure.canary_requests);
                context.metrics.ended(record.outcome, &record.reason, exposed);
            }
        }
        context.teller.offer(&seen.namespace, &seen.name, &status.outbox);
        return Ok(true);
    }
    if let Some(old) = old {
        context.teller.offer(&seen.namespace, &seen.name, &old.outbox);
    }
    Ok(false)
}

/// The sinks of a plan: those it names, or `default` if the configuration has it.
fn sinks(plan: Option<&Plan>, config: &Config) -> Vec<String> {
    match plan.and_then(|plan| plan.alerts.clone()) {
        Some(named) => named.into_iter().filter(|name| config.alerts.contains_key(name)).collect(),
        None => config.alerts.contains_key("default").then(|| "default".to_owned()).into_iter().collect(),
    }
}
