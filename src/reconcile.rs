//! One pass: observe, decide, act, tell. The pipeline is [`pass`]; everything that needs thought is elsewhere.

mod memory;
mod tell;
mod trail;

use std::{
    any::Any,
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use kube::{
    Client, ResourceExt,
    runtime::{controller::Action, reflector::ObjectRef},
};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::act::{self, ActError, Desk};
use crate::api::{Rollout, RouteRef};
use crate::clock::Clock;
use crate::config::ConfigHandle;
use crate::drive::{After, RouteWrite, Task, Turn, Unwritten, after};
use crate::lease::LeaderHandle;
use crate::metrics::Metrics;
use crate::observe::cluster::{Caches, Known};
use crate::observe::providers::Providers;
use crate::observe::sampler::Sampler;
use crate::recorder::Recorder;
use crate::seen::Observation;
use crate::state::brief;
use crate::state::{CheckpointError, State};
use crate::supplier::Supplier;
use crate::tell::{Teller, event::Events, outbox};
use crate::traces::Traces;

use memory::Memory;

/// Passes in a row that one call makes at most: a start is four, a rollback two.
const PASSES: usize = 8;

/// Shortest and longest time to the next pass where one was asked for, in seconds.
const REST: (f64, f64) = (0.02, 86_400.0);

/// What this process knows of each Rollout, beside what is stored.
#[derive(Default)]
pub struct Memories(Mutex<HashMap<ObjectRef<Rollout>, Arc<tokio::sync::Mutex<Memory>>>>);

/// What every pass may use.
pub struct Context {
    /// Client for writes and fresh reads.
    pub client: Client,
    /// What the watches know.
    pub caches: Caches,
    /// Whether this replica may act.
    pub leader: LeaderHandle,
    /// The clocks.
    pub clock: Clock,
    /// The configuration in force.
    pub config: ConfigHandle,
    /// Prometheus providers of the configuration in force.
    pub providers: Providers,
    /// Delivers alerts.
    pub teller: Teller,
    /// Writes Kubernetes events.
    pub events: Events,
    /// Writes the course of each rollout down.
    pub recorder: Recorder,
    /// Sends traces of what was decided.
    pub traces: Traces,
    /// Asks the sources of models.
    pub supplier: Supplier,
    /// Our own metrics.
    pub metrics: Metrics,
    /// Asks for a pass.
    pub wake: mpsc::UnboundedSender<ObjectRef<Rollout>>,
    /// What earlier passes left; at the start nothing.
    pub memories: Memories,
}

/// Why a pass ended early.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// The stored state cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A mutation failed.
    #[error(transparent)]
    Act(#[from] ActError),
    /// A fault of ours.
    #[error("a fault in haldane itself, please report it: {0}")]
    Panicked(String),
}

impl ReconcileError {
    /// One word for traces.
    fn kind(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => "checkpoint",
            Self::Act(error) => error.kind(),
            Self::Panicked(_) => "panic",
        }
    }
}

impl Context {
    fn memory(&self, rollout: &Rollout) -> Arc<tokio::sync::Mutex<Memory>> {
        let mut all = self.memories.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(ObjectRef::from_obj(rollout)).or_default().clone()
    }

    /// Forgets Rollouts that are gone, stops their samplers and ends their alerts.
    pub fn sweep(&self) {
        let mut all = self.memories.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|key, memory| {
            if self.caches.rollouts.get(key).is_some() {
                return true;
            }
            // A pass that is under way ends first: the next sweep comes back to it.
            let Ok(mut memory) = memory.try_lock() else { return true };
            let namespace = key.namespace.as_deref().unwrap_or_default();
            self.metrics.gone(namespace, &key.name);
            let ends: Vec<_> = outbox::ends(std::mem::take(&mut memory.alerting), self.clock.now()).collect();
            self.teller.offer(namespace, &key.name, &ends);
            false
        });
    }

    /// Forgets everything and stops all samplers: this replica does not lead any more.
    pub fn step_down(&self) {
        self.memories.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.recorder.step_down();
    }
}

/// Passes until nothing is left to do now.
///
/// # Errors
/// When a mutation failed; [`retry`] says when to come back.
pub async fn reconcile(rollout: Arc<Rollout>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    if !context.leader.is_leader() {
        return Ok(Action::await_change());
    }
    let memory = context.memory(&rollout);
    let mut memory = memory.lock().await;
    let begun = context.clock.elapsed();
    memory.course = context.traces.course();
    let mut outcome = Ok(Some(0.0));
    for _ in 0..PASSES {
        if !context.leader.is_leader() {
            return Ok(Action::await_change());
        }
        outcome = match guarded(pass(&rollout, &context, &mut memory)).await {
            Ok((true, _)) => continue,
            Ok((false, wake)) => Ok(wake),
            Err(error) => Err(error),
        };
        break;
    }
    context.metrics.reconciled(context.clock.elapsed().saturating_sub(begun), outcome.is_ok());
    trail::end(&mut memory, outcome.as_ref().err()).into_iter().for_each(|trace| context.traces.send(trace));
    match outcome {
        Ok(wake) => {
            memory.failures = 0;
            Ok(wake.map_or_else(Action::await_change, |seconds| Action::requeue(rest(seconds))))
        }
        Err(ReconcileError::Act(ActError::Stale(what))) => {
            tracing::debug!(namespace = rollout.namespace(), rollout = rollout.name_any(), what, "decided on something old: again");
            Ok(Action::requeue(Duration::from_millis(100)))
        }
        Err(error) => {
            let failures = memory.failures.saturating_add(1);
            if matches!(error, ReconcileError::Panicked(_)) {
                *memory = Memory::default(); // half of a pass may be in it: begin as after a restart
            }
            memory.failures = failures;
            Err(error)
        }
    }
}

fn rest(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(REST.0, REST.1)).unwrap_or_default()
}

/// A fault in the pass of one Rollout must not end those of the others.
async fn guarded<T>(pass: impl Future<Output = Result<T, ReconcileError>>) -> Result<T, ReconcileError> {
    let ended = AssertUnwindSafe(pass).catch_unwind().await;
    ended.unwrap_or_else(|panic| Err(ReconcileError::Panicked(said(panic.as_ref()))))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "no words".to_owned())
}

/// Observe, decide, act, tell. Returns whether something was changed, and when to come back.
async fn pass(cached: &Arc<Rollout>, context: &Context, memory: &mut Memory) -> Result<(bool, Option<f64>), ReconcileError> {
    let rollout = memory.newest(cached);
    let state = memory.state(&rollout)?;
    let kind = object_of(&rollout, &state).kind();
    let routes = context.caches.routes.get(kind).map(|routes| routes.resource);
    let desk = Desk::new(context.client.clone(), &rollout.namespace().unwrap_or_default(), routes.as_ref());
    let mark = trail::begin(memory);
    let mut seen = look_around(context, memory, &rollout, &state, false);
    let mut turn = trail::decide(memory, &seen, || Turn::new(&state, &seen, context.clock.now()));
    if matches!(turn.task(), Task::Read) {
        memory.route = Some(act::read(&desk, &object_of(&rollout, &state)).await?);
        seen = look_around(context, memory, &rollout, &state, true);
        turn = trail::decide(memory, &seen, || Turn::new(&state, &seen, context.clock.now()));
    }
    let begun = context.clock.elapsed();
    let changed = match turn.task() {
        Task::Store => tell::store(context, memory, &desk, &rollout, &state, &turn).await?,
        Task::Route(write) => write_route(context, memory, &desk, &rollout, &turn, write).await?,
        Task::Finalizer(wanted) => {
            trail::send(memory, "finalizer");
            let change = if wanted { act::add_finalizer(&desk, &rollout).await } else { act::drop_finalizer(&desk, &rollout).await };
            trail::sent(memory, change.as_ref().err());
            memory.wrote(change?, begun);
            true
        }
        Task::Read | Task::Again => true,
    };
    if !changed {
        // A write that was refused stays in the trace.
        if !matches!(turn.task(), Task::Route(_)) {
            trail::idle(memory, mark);
        }
        follow(context, memory, &rollout, &turn.decision.state, &seen);
    }
    Ok((changed, turn.decision.wake))
}

fn look_around(context: &Context, memory: &mut Memory, rollout: &Rollout, state: &State, fresh: bool) -> Observation {
    trail::observe(memory);
    let namespace = rollout.namespace().unwrap_or_default();
    let object = object_of(rollout, state);
    let cached = context.caches.route(&namespace, &object);
    let own = memory.newest_route(cached.as_ref(), &object);
    let passes = memory.passes.count(state.run.as_ref().map(|run| run.key()));
    let known = Known {
        route: own.as_ref(),
        fresh,
        look: memory.sampler.as_ref().and_then(|(_, sampler)| sampler.newest()),
        passes,
        refusal: memory.refusal.clone(),
        raise_refused: memory.refused_raise(context.clock.elapsed()),
        source: context.supplier.known(rollout),
        ready: &mut memory.ready,
        config: &context.config.current().config,
    };
    context.caches.observe(rollout, state, known, context.clock.now())
}

/// The object that holds the route: that of the plan under way, else the one that the spec names.
fn object_of(rollout: &Rollout, state: &State) -> RouteRef {
    state.run.as_ref().map_or_else(|| rollout.spec.traffic.object(), |run| run.plan.object.clone())
}

/// Writes to the route. Returns whether another pass follows at once.
async fn write_route(
    context: &Context,
    memory: &mut Memory,
    desk: &Desk,
    rollout: &Rollout,
    turn: &Turn<'_>,
    write: RouteWrite<'_>,
) -> Result<bool, ReconcileError> {
    let (begun, down, seen) = (context.clock.elapsed(), write.is_down(), turn.seen);
    trail::write(memory, turn);
    let written = act::write(desk, rollout, memory.fresh(rollout, begun), write).await;
    trail::written(memory, written.as_ref().err());
    let error = match written {
        Ok(object) => {
            memory.route = Some(object);
            (memory.refusal, memory.raise_refused) = (None, None);
            let took = context.clock.elapsed().saturating_sub(begun);
            tracing::info!(
                namespace = seen.namespace,
                rollout = seen.name,
                down,
                milliseconds = took.as_millis() as u64,
                wanted = turn.decision.stance.message,
                "route written"
            );
            if down {
                context.metrics.routed(took);
            }
            return Ok(true);
        }
        Err(error) => error,
    };
    let unwritten = match &error {
        ActError::Refused(words) => Unwritten::Refused(words.clone()),
        ActError::Timeout(_) | ActError::Trouble(_) => Unwritten::Trouble(error.to_string()),
        ActError::Stale(_) => {
            memory.doubt();
            memory.route = Some(act::read(desk, &write.view.object).await?);
            return Err(error.into());
        }
        ActError::Gone(_) => return Err(error.into()),
    };
    tracing::warn!(namespace = seen.namespace, rollout = seen.name, down, refusal = %error, "the route was not written");
    if let (false, Unwritten::Refused(words)) = (down, &unwritten) {
        memory.raise_refused = Some((words.clone(), context.clock.elapsed()));
        return Ok(true);
    }
    match after(down, unwritten, &mut memory.refusal) {
        After::Again => Ok(true),
        After::Rest => Ok(false),
        After::Fail => Err(error.into()),
    }
}

/// Starts, briefs or stops the sampler.
fn follow(context: &Context, memory: &mut Memory, rollout: &Rollout, state: &State, seen: &Observation) {
    let Some(brief) = brief::brief(state, &seen.versions, &seen.namespace, &seen.name, context.clock.now()) else {
        memory.sampler = None;
        return;
    };
    let snapshot = context.config.current();
    let source = context.providers.get(&snapshot, &brief.analysis.prometheus);
    let began = state.run.as_ref().map(|run| run.started).or(state.ended.as_ref().map(|ended| ended.at));
    let stable = state.run.as_ref().map(|run| run.stable.revision.clone());
    let identity = format!("{} {began:?} {stable:?}", seen.uid);
    match &memory.sampler {
        Some((known, sampler)) if *known == identity && sampler.is_running() => {
            sampler.set_source(source);
            sampler.tell(brief);
        }
        _ => {
            let (wake, key) = (context.wake.clone(), ObjectRef::from_obj(rollout));
            let sampler = Sampler::spawn(source, context.clock, brief, move || {
                let _ = wake.send(key.clone());
            });
            memory.sampler = Some((identity, sampler));
        }
    }
}

/// When to come back after an error: soon while a rollout is active, then less and less often.
pub fn retry(rollout: Arc<Rollout>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let memory = context.memory(&rollout);
    let failures = memory.try_lock().map_or(1, |memory| memory.failures);
    let active = rollout.status.as_ref().is_some_and(crate::state::is_running);
    let longest = if active { 5 } else { 60 };
    let seconds = (1u64 << failures.min(6)).min(longest);
    tracing::warn!(namespace = rollout.namespace(), rollout = rollout.name_any(), error = %error, seconds, "the pass failed");
    Action::requeue(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_in_one_pass_is_an_error_of_its_rollout_and_ends_no_other() {
        let ended = guarded(async { if true { panic!("entered {}", "unreachable code") } else { Ok(()) } }).await;
        assert_eq!(ended.unwrap_err().to_string(), "a fault in haldane itself, please report it: entered unreachable code");
        assert_eq!(guarded(async { Ok(1) }).await.ok(), Some(1));
    }
}
