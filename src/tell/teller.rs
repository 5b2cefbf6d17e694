//! Delivers the outbox in the background: one lane for each sink, so that a slow one delays no other, and a memory of what was delivered
//! until status says so.
//!
//! Holds that many Rollouts share (Prometheus is away) are gathered for a moment: people get one message about all of them, Alertmanager one
//! post with all of them. What is critical is never gathered: each rollback has a message of its own, at once.

mod lane;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{self, Instant},
};

use lane::{Lane, Parcel};

use super::courier::{Courier, Letter, SinkFault};
use super::meaning::Severity;
use super::outbox;
use crate::{
    api::{OutboxEntry, Outcome},
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
/// How long alerts with a common cause are gathered. Metrics are missing for a minute before they alert; Rollouts look at them
/// every 15 to 30 seconds.
const GATHER: Duration = Duration::from_secs(20);
/// So many that are gathered are one message.
const STORM: usize = 3;
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
    gather: Duration,
}

#[derive(Default)]
struct Memory {
    next: u64,
    known: BTreeMap<String, Known>,
    /// Of which Rollouts one message spoke, by sink and cause: when the last of them has recovered, the incident is over.
    storms: BTreeMap<(String, String), BTreeSet<(String, String)>>,
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

impl Teller {
    /// A teller, and the Rollouts (namespace, name) of which something new is known: their next pass should [`apply`](Self::apply) it.
    /// Must be called within a runtime.
    pub fn new(config: ConfigHandle, courier: Courier, clock: Clock, metrics: Metrics) -> (Self, mpsc::Receiver<(String, String)>) {
        Self::gathering_for(GATHER, config, courier, clock, metrics)
    }

    fn gathering_for(
        gather: Duration,
        config: ConfigHandle,
        courier: Courier,
        clock: Clock,
        metrics: Metrics,
    ) -> (Self, mpsc::Receiver<(String, String)>) {
        let (news, receiver) = mpsc::channel(1_024);
        let (memory, lanes) = (Mutex::default(), Mutex::default());
        (Self { inner: Arc::new(Inner { config, courier, clock, metrics, memory, lanes, news, gather }) }, receiver)
    }

    /// Takes over what is to be delivered, as status has it. Never waits; what is under way or delivered already is not sent again.
    pub fn offer(&self, namespace: &str, name: &str, outbox: &[OutboxEntry]) {
        for entry in outbox {
            // An end waits until the sink has got what it is the end of.
            let begun = outbox::begun(&entry.key).and_then(|key| outbox.iter().find(|other| other.key == key));
            for sink in entry.sinks.iter().filter(|sink| begun.is_none_or(|begun| !begun.sinks.contains(sink))) {
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
            let mut lane = Lane::new(receiver, moment_of(&inner));
            while let Some(parcels) = lane.next(|letter| inner.upgrade().and_then(|inner| inner.shared(&name, letter))).await {
                let Some(groups) = inner.upgrade().map(|inner| inner.grouped(&name, parcels)) else { return };
                for group in groups {
                    time::sleep_until(lane.not_before).await;
                    let Some(inner) = inner.upgrade() else { return };
                    inner.deliver(&name, group, &mut lane).await;
                }
            }
        });
        lanes.insert(sink.to_owned(), sender.clone());
        Some(sender)
    }
}

fn moment_of(inner: &Weak<Inner>) -> Duration {
    inner.upgrade().map_or(GATHER, |inner| inner.gather)
}

/// What many Rollouts may have in common: a hold for the same reason, or its end. What is critical is for its own Rollout.
fn cause(letter: &Letter) -> Option<String> {
    let alert = letter.alert();
    let held = letter.record.outcome == Outcome::Held && alert.severity < Severity::Critical;
    held.then(|| format!("{}/{}/{}", alert.name, letter.record.reason, if letter.ended.is_some() { "over" } else { "" }))
}

impl Inner {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cause that a letter may share with others, where the sink takes many at once.
    fn shared(&self, sink: &str, letter: &Letter) -> Option<String> {
        let snapshot = self.config.current();
        let gathers = |sink: &Sink| sink.is_for_people() || matches!(sink, Sink::Alertmanager(_));
        snapshot.config.alerts.get(sink).filter(|sink| gathers(sink)).and_then(|_| cause(letter))
    }

    /// What goes out together.
    fn grouped(&self, sink: &str, parcels: Vec<Parcel>) -> Vec<Vec<Parcel>> {
        let snapshot = self.config.current();
        let sink = snapshot.config.alerts.get(sink);
        let over = parcels.iter().any(|parcel| parcel.letter.ended.is_some());
        let together = match sink {
            Some(Sink::Alertmanager(_)) => true,
            // Each end resolves its own incident.
            Some(sink) => sink.is_for_people() && parcels.len() >= STORM && !over,
            None => false,
        };
        if together { vec![parcels] } else { parcels.into_iter().map(|parcel| vec![parcel]).collect() }
    }

    /// Sends letters, the first of which speaks for all.
    async fn deliver(&self, sink: &str, mut parcels: Vec<Parcel>, lane: &mut Lane) {
        let snapshot = self.config.current();
        let configured = snapshot.config.alerts.get(sink);
        let Some(letter) = parcels.first().map(|first| {
            let others = parcels.iter().skip(1).map(|parcel| parcel.letter.clone()).collect();
            let alert = first.letter.alert().name;
            Letter { template: snapshot.config.template(sink, alert), others, ..first.letter.clone() }
        }) else {
            return;
        };
        let outcome = match configured {
            Some(configured) => self.courier.send(configured, &letter, self.clock.now()).await,
            None => Err(SinkFault::Unknown),
        };
        self.metrics.notified(sink, outcome.is_ok());
        if configured.is_some_and(is_chat) {
            lane.not_before = Instant::now() + CHAT_PACE;
        }
        if outcome.is_ok()
            && let Some(configured) = configured
        {
            self.storm(sink, configured, &letter).await;
        }
        if let Err(SinkFault::Wait { retry_after, .. }) = outcome {
            lane.not_before = Instant::now() + retry_after;
        }
        for parcel in parcels.drain(..) {
            self.noted(sink, parcel, &outcome, lane);
        }
    }

    /// Notes what came of a delivery, and has it tried again.
    fn noted(&self, sink: &str, mut parcel: Parcel, outcome: &Result<(), SinkFault>, lane: &mut Lane) {
        let letter = &parcel.letter;
        match outcome {
            Ok(()) => {
                tracing::info!(namespace = letter.namespace, rollout = letter.name, sink, key = letter.key, "alert delivered");
                self.memory().delivered(&letter.key, sink);
                let _ = self.news.try_send((letter.namespace.clone(), letter.name.clone()));
            }
            Err(fault) => {
                tracing::warn!(namespace = letter.namespace, rollout = letter.name, sink, key = letter.key, error = %fault, "alert not delivered");
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

    /// Remembers of whom a message about many spoke; when the last of them has recovered, its incident is resolved.
    async fn storm(&self, sink: &str, configured: &Sink, letter: &Letter) {
        if !matches!(configured, Sink::PagerDuty(_)) {
            return;
        }
        let about = (sink.to_owned(), format!("{}/{}", letter.alert().name, letter.record.reason));
        let rollout = |letter: &Letter| (letter.namespace.clone(), letter.name.clone());
        if !letter.others.is_empty() {
            let spoken = std::iter::once(letter).chain(&letter.others).map(rollout);
            self.memory().storms.entry(about).or_default().extend(spoken);
            return;
        }
        let last = letter.ended.is_some() && self.memory().recovered(&about, &rollout(letter));
        if last {
            let whole = Letter { others: vec![letter.clone()], ..letter.clone() };
            if let Err(fault) = self.courier.send(configured, &whole, self.clock.now()).await {
                tracing::warn!(sink, error = %fault, "the incident of many Rollouts is not resolved");
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

    /// Notes that a Rollout of a message about many has recovered; true: it was the last.
    fn recovered(&mut self, about: &(String, String), rollout: &(String, String)) -> bool {
        let Some(spoken) = self.storms.get_mut(about) else { return false };
        let last = spoken.remove(rollout) && spoken.is_empty();
        if spoken.is_empty() {
            self.storms.remove(about);
        }
        last
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
