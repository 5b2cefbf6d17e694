//! Delivers the outbox in the background: one lane for each sink, so that a slow one delays no other, and a memory of what was delivered
//! until status says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{self, Instant},
};

use super::courier::{Courier, Letter, SinkFault};
use crate::{
    api::OutboxEntry,
    clock::Clock,
    config::{ConfigHandle, Sink},
    metrics::Metrics,
};

/// Letters that wait in one lane; more are offered again by later passes.
const LANE: usize = 256;
/// Lanes at most; more sinks than that are not served.
const LANES: usize = 64;
/// Keys remembered.
const MEMORY: usize = 4_096;
/// Pause between two messages to the same chat (what Slack grants).
const CHAT_PACE: Duration = Duration::from_secs(1);
/// First pause after a failed delivery; doubled each time.
const BACKOFF: Duration = Duration::from_secs(5);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(600);
/// After so many failures a letter leaves the lane; a later pass offers it again.
const TRIES: u32 = 12;

/// Delivers alerts. Only the leader offers any, since only the leader has written them to status. Cheap to clone.
#[derive(Clone)]
pub struct Teller {
    inner: Arc<Inner>,
}

struct Inner {
    config: ConfigHandle,
    courier: Courier,
    clock: Clock,
    metrics: Metrics,
    memory: Mutex<Memory>,
    lanes: Mutex<BTreeMap<String, mpsc::Sender<Parcel>>>,
    news: mpsc::Sender<(String, String)>,
}

#[derive(Default)]
struct Memory {
    next: u64,
    known: BTreeMap<String, Known>,
}

/// What is known of a key.
#[derive(Default)]
struct Known {
    order: u64,
    delivered: BTreeSet<String>,
    in_lane: BTreeSet<String>,
    attempts: i32,
    error: Option<String>,
}

struct Parcel {
    letter: Letter,
    failures: u32,
}

impl Teller {
    /// A teller, and the Rollouts (namespace, name) of which something new is known: their next pass should [`apply`](Self::apply) it.
    /// Must be called within a runtime.
    pub fn new(config: ConfigHandle, courier: Courier, clock: Clock, metrics: Metrics) -> (Self, mpsc::Receiver<(String, String)>) {
        let (news, receiver) = mpsc::channel(1_024);
        let (memory, lanes) = (Mutex::default(), Mutex::default());
        (Self { inner: Arc::new(Inner { config, courier, clock, metrics, memory, lanes, news }) }, receiver)
    }

    /// Takes over what is to be delivered, as status has it. Never waits; what is under way or delivered already is not sent again.
    pub fn offer(&self, namespace: &str, name: &str, outbox: &[OutboxEntry]) {
        for entry in outbox {
            for sink in &entry.sinks {
                if !self.inner.memory().begin(&entry.key, sink) {
                    continue;
                }
                let parcel = Parcel { letter: Letter::of(namespace, name, entry), failures: 0 };
                let taken = self.lane(sink).is_some_and(|lane| lane.try_send(parcel).is_ok());
                if !taken {
                    self.inner.memory().leave(&entry.key, sink);
                }
            }
        }
    }

    /// Writes what is known into the outbox that is about to go to status: delivered sinks leave their entry, entries without sinks leave the
    /// ring, failures are noted. Returns whether anything changed.
    pub fn apply(&self, outbox: &mut Vec<OutboxEntry>) -> bool {
        let memory = self.inner.memory();
        let mut changed = false;
        for entry in outbox.iter_mut() {
            let Some(known) = memory.known.get(&entry.key) else { continue };
            let before = (entry.sinks.len(), entry.attempts, entry.error.clone());
            entry.sinks.retain(|s| !known.delivered.contains(s));
            if known.attempts > entry.attempts {
                entry.attempts = known.attempts;
            }
            entry.error.clone_from(&known.error);
            changed |= before != (entry.sinks.len(), entry.attempts, entry.error.clone());
        }
        outbox.retain(|e| !e.sinks.is_empty());
        changed
    }

    fn lane(&self, sink: &str) -> Option<mpsc::Sender<Parcel>> {
        let mut lanes = self.inner.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(sink) {
            return Some(lane.clone());
        }
        if lanes.len() >= LANES {
            return None;
        }
        let (sender, receiver) = mpsc::channel(LANE);
        // The lane must not keep the teller alive: it ends when the teller does.
        let inner = Arc::downgrade(&self.inner);
        let name = sink.to_owned();
        tokio::spawn(async move {
            let mut lane = Lane { receiver, waiting: Vec::new(), not_before: Instant::now() };
            while let Some(parcel) = lane.next().await {
                time::sleep_until(lane.not_before).await;
                let Some(inner) = inner.upgrade() else { return };
                inner.deliver(&name, parcel, &mut lane).await;
            }
        });
        lanes.insert(sink.to_owned(), sender.clone());
        Some(sender)
    }
}

struct Lane {
    receiver: mpsc::Receiver<Parcel>,
    waiting: Vec<(Instant, Parcel)>,
    not_before: Instant,
}

impl Lane {
    /// The next letter: a new one, or one whose pause is over. `None` when the teller is gone.
    async fn next(&mut self) -> Option<Parcel> {
        loop {
            let due = self.waiting.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(i, (at, _))| (i, *at));
            tokio::select! {
                biased;
                parcel = self.receiver.recv() => return parcel,
                () = time::sleep_until(due.map_or_else(Instant::now, |(_, at)| at)), if due.is_some() => {
                    if let Some((i, _)) = due {
                        return Some(self.waiting.swap_remove(i).1);
                    }
                }
            }
        }
    }
}

impl Inner {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deliver(&self, sink: &str, mut parcel: Parcel, lane: &mut Lane) {
        let snapshot = self.config.current();
        let configured = snapshot.config.alerts.get(sink);
        let outcome = match configured {
            Some(configured) => self.courier.send(configured, &parcel.letter, self.clock.now()).await,
            None => Err(SinkFault::Unknown),
        };
        let letter = &parcel.letter;
        self.metrics.notified(sink, outcome.is_ok());
        if configured.is_some_and(is_chat) {
            lane.not_before = Instant::now() + CHAT_PACE;
        }
        match outcome {
            Ok(()) => {
                tracing::info!(namespace = letter.namespace, rollout = letter.name, sink, key = letter.key, "alert delivered");
                self.memory().delivered(&letter.key, sink);
                let _ = self.news.try_send((letter.namespace.clone(), letter.name.clone()));
            }
            Err(fault) => {
                tracing::warn!(namespace = letter.namespace, rollout = letter.name, sink, key = letter.key, error = %fault, "alert not delivered");
                if let SinkFault::Wait { retry_after, .. } = fault {
                    lane.not_before = Instant::now() + retry_after;
                }
                self.memory().failed(&letter.key, format!("{sink}: {fault}"));
                let _ = self.news.try_send((letter.namespace.clone(), letter.name.clone()));
                parcel.failures += 1;
                if parcel.failures >= TRIES || lane.waiting.len() >= LANE {
                    self.memory().leave(&parcel.letter.key, sink);
                } else {
                    let pause = BACKOFF.saturating_mul(1 << (parcel.failures - 1).min(16)).min(BACKOFF_MAX);
                    lane.waiting.push((Instant::now() + pause, parcel));
                }
            }
        }
    }
}

fn is_chat(sink: &Sink) -> bool {
    matches!(sink, Sink::Webhook(hook) if hook.format != crate::config::WebhookFormat::Json)
}

impl Memory {
    /// Notes that a letter goes into a lane; false if it is in it, or was delivered.
    fn begin(&mut self, key: &str, sink: &str) -> bool {
        if !self.known.contains_key(key) {
            self.make_room();
            self.next += 1;
            self.known.insert(key.into(), Known { order: self.next, ..Known::default() });
        }
        self.known.get_mut(key).is_some_and(|known| !known.delivered.contains(sink) && known.in_lane.insert(sink.into()))
    }

    fn make_room(&mut self) {
        while self.known.len() >= MEMORY {
            let oldest = self.known.iter().min_by_key(|(_, k)| (!k.in_lane.is_empty(), k.order)).map(|(key, _)| key.clone());
            match oldest {
                Some(key) => self.known.remove(&key),
                None => return,
            };
        }
    }

    fn leave(&mut self, key: &str, sink: &str) {
        if let Some(known) = self.known.get_mut(key) {
            known.in_lane.remove(sink);
        }
    }

    fn delivered(&mut self, key: &str, sink: &str) {
        self.leave(key, sink);
        if let Some(known) = self.known.get_mut(key) {
            known.delivered.insert(sink.into());
            known.attempts = known.attempts.saturating_add(1);
        }
    }

    fn failed(&mut self, key: &str, error: String) {
        if let Some(known) = self.known.get_mut(key) {
            known.attempts = known.attempts.saturating_add(1);
            known.error = Some(error);
        }
    }
}

#[cfg(test)]
mod tests;
