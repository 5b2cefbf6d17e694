//! Status, then events, alerts and the log: after the traffic is safe.

use kube::Resource;

use super::{Context, memory::Memory, trail};
use crate::act::{ActError, Desk, store_status};
use crate::api::{Outcome, Rollout};
use crate::config::{Config, Sink};
use crate::drive::{Turn, news, report};
use crate::plan::Plan;
use crate::state::State;
use crate::telemetry;
use crate::tell::outbox::{self, Receivers};

/// Stores the status if it says something new, and tells what was decided. Returns whether it wrote.
pub(super) async fn store(
    context: &Context,
    memory: &mut Memory,
    desk: &Desk,
    rollout: &Rollout,
    before: &State,
    turn: &Turn<'_>,
) -> Result<bool, ActError> {
    let (seen, decision, old) = (turn.seen, &turn.decision, rollout.status.as_ref());
    let mut waiting = old.map(|old| old.outbox.clone()).unwrap_or_default();
    context.teller.apply(&mut waiting);
    let receivers =
        receivers(decision.state.run.as_ref().map(|run| &run.plan).or(seen.plan.as_ref().ok()), &context.config.current().config);
    let now = context.clock.elapsed();
    let age = memory.written.map(|written| now.saturating_sub(written));
    let report = report(turn, old, waiting, &receivers, age, context.clock.now());
    context.metrics.rollout(&seen.namespace, &seen.name, &report.status);
    memory.alerting.clone_from(&report.status.alerting);
    if !report.store {
        context.teller.offer(&seen.namespace, &seen.name, old.map_or(&[], |old| old.outbox.as_slice()));
        return Ok(false);
    }
    trail::send(memory, "tell");
    let stored = store_status(desk, rollout, &report.status).await;
    trail::sent(memory, stored.as_ref().err());
    memory.wrote(stored?, now);
    memory.written = Some(now);
    for record in &decision.records {
        let key = outbox::key(&seen.uid, record);
        telemetry::decided(&seen.namespace, &seen.name, &key, record, memory.course.trace_id().as_deref());
        trail::decided(memory, &key, record);
        context.events.decided(rollout.object_ref(&()), record);
        if matches!(record.outcome, Outcome::Promoted | Outcome::Passed | Outcome::Failed | Outcome::RolledBack | Outcome::Aborted) {
            let exposed = record.exposure.as_ref().map_or(0, |exposure| exposure.canary_requests);
            context.metrics.ended(record.outcome, &record.reason, exposed);
        }
    }
    context.teller.offer(&seen.namespace, &seen.name, &report.status.outbox);
    let counted = memory.sampler.as_ref().map(|(_, sampler)| sampler.counted()).unwrap_or_default();
    news(before, turn, counted).into_iter().for_each(|news| context.recorder.note(rollout, news));
    Ok(true)
}

/// The sinks of a plan: those it names, or `default` if the configuration has it.
fn receivers(plan: Option<&Plan>, config: &Config) -> Receivers {
    let sinks: Vec<String> = match plan.and_then(|plan| plan.alerts.clone()) {
        Some(named) => named.into_iter().filter(|name| config.alerts.contains_key(name)).collect(),
        None => config.alerts.contains_key("default").then(|| "default".to_owned()).into_iter().collect(),
    };
    let knows_ends = |name: &&String| config.alerts.get(*name).is_some_and(Sink::knows_ends);
    Receivers { of_ends: sinks.iter().filter(knows_ends).cloned().collect(), sinks }
}
