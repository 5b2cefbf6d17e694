//! Brings new models to the canary's Deployment, in the background: a task of its own for the whole controller, which no pass waits for.
//!
//! Each Rollout with a source has a seat. When its time has come the source is asked, what it says is compared with what the Deployment has,
//! and one guarded patch writes what is new. What a person sees of it is handed to the pass of that Rollout, which alone writes status.

mod hooks;
mod look;
pub mod mlflow;

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use kube::{Client, ResourceExt, runtime::reflector::ObjectRef};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{self, Instant},
};

use crate::api::{Phase, Rollout, SourceStatus};
use crate::clock::Clock;
use crate::config::ConfigHandle;
use crate::lease::LeaderHandle;
use crate::metrics::Metrics;
use crate::observe::cluster::Caches;
use crate::plan::{Origin, SourcePlan};
use crate::tell::event::Events;

pub use hooks::router;
use look::{Looked, Memory, Next, look};
use mlflow::Servers;

/// Looks at the same time.
const AT_ONCE: usize = 16;
/// Pause after a look that failed; doubled each time.
const BACKOFF: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_secs(600);
/// Between two looks that webhooks ask for.
const SOONEST: Duration = Duration::from_secs(1);
/// How long a task waits that has nothing to wait for.
const IDLE: Duration = Duration::from_secs(3600);

type Board = Arc<Mutex<HashMap<ObjectRef<Rollout>, SourceStatus>>>;

/// Asks sources, or hears where they stand. Cheap to clone.
#[derive(Clone)]
pub struct Supplier {
    board: Board,
    news: mpsc::UnboundedSender<News>,
}

/// What a look is asked for.
enum News {
    /// This Rollout changed.
    Changed(ObjectRef<Rollout>),
    /// A server says that something changed: of this model, if it says of which.
    Hook { server: String, model: Option<String> },
}

/// What comes to the task.
pub struct Inbox(mpsc::UnboundedReceiver<News>);

/// What every look may use.
pub struct Desk {
    /// Client for reads and writes.
    pub client: Client,
    /// What the watches know.
    pub caches: Caches,
    /// The configuration in force.
    pub config: ConfigHandle,
    /// Whether this replica may act.
    pub leader: LeaderHandle,
    /// The clocks.
    pub clock: Clock,
    /// Writes Kubernetes events.
    pub events: Events,
    /// Our own metrics.
    pub metrics: Metrics,
    /// MLflow's servers.
    pub servers: Servers,
    /// Asks for a pass.
    pub wake: mpsc::UnboundedSender<ObjectRef<Rollout>>,
    /// Where sources stand.
    pub supplier: Supplier,
}

impl Supplier {
    /// Nothing is asked yet: [`run`] does that with the inbox.
    pub fn new() -> (Self, Inbox) {
        let (news, inbox) = mpsc::unbounded_channel();
        (Self { board: Board::default(), news }, Inbox(inbox))
    }

    /// Takes up that a Rollout changed. Never waits.
    pub fn changed(&self, rollout: &Rollout) {
        let key = ObjectRef::from_obj(rollout);
        if rollout.spec.source.is_some() || self.board().contains_key(&key) {
            let _ = self.news.send(News::Changed(key));
        }
    }

    /// Where the source of a Rollout stands, if this process has looked.
    pub fn known(&self, rollout: &Rollout) -> Option<SourceStatus> {
        self.board().get(&ObjectRef::from_obj(rollout)).cloned()
    }

    fn hasten(&self, server: &str, model: Option<String>) {
        let _ = self.news.send(News::Hook { server: server.to_owned(), model });
    }

    fn board(&self) -> MutexGuard<'_, HashMap<ObjectRef<Rollout>, SourceStatus>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn known(&self, key: &ObjectRef<Rollout>) -> Option<SourceStatus> {
        self.supplier.board().get(key).cloned()
    }
}

/// A Rollout with a source.
struct Seat {
    due: Instant,
    last: Option<Instant>,
    busy: bool,
    /// Something changed while it was looked at.
    again: bool,
    failures: u32,
    print: String,
    memory: Memory,
}

/// Looks at all sources, while this replica leads.
pub async fn run(desk: Desk, mut inbox: Inbox) {
    let (mut leads, mut settings) = (desk.leader.changes(), desk.config.changes());
    let mut task = Task { desk: Arc::new(desk), seats: HashMap::new(), looks: JoinSet::new(), spreads: 0 };
    task.all();
    loop {
        let next = task.start();
        tokio::select! {
            Some(news) = inbox.0.recv() => task.take(news),
            Some(done) = task.looks.join_next(), if !task.looks.is_empty() => {
                // What was cut off because another replica leads has no answer.
                if let Ok((key, looked)) = done { task.looked(&key, looked) }
            }
            Ok(()) = leads.changed() => { leads.borrow_and_update(); task.begin() }
            Ok(()) = settings.changed() => { settings.borrow_and_update(); task.all() }
            () = time::sleep_until(next) => {}
        }
    }
}

struct Task {
    desk: Arc<Desk>,
    seats: HashMap<ObjectRef<Rollout>, Seat>,
    looks: JoinSet<(ObjectRef<Rollout>, Looked)>,
    spreads: u32,
}

impl Task {
    /// Begins the looks that are due, and says when the next ones are.
    fn start(&mut self) -> Instant {
        let (now, leads) = (Instant::now(), self.desk.leader.is_leader());
        let mut next = now + IDLE;
        let mut gone = Vec::new();
        for (key, seat) in self.seats.iter_mut().filter(|(_, seat)| !seat.busy) {
            if !leads {
                continue;
            }
            if seat.due > now {
                next = next.min(seat.due);
                continue;
            }
            if self.looks.len() >= AT_ONCE {
                continue; // the end of a look begins the next one
            }
            let rollout = self.desk.caches.rollouts.get(key).filter(|rollout| rollout.spec.source.is_some());
            let Some(rollout) = rollout.filter(|rollout| rollout.metadata.deletion_timestamp.is_none()) else {
                gone.push(key.clone());
                continue;
            };
            (seat.busy, seat.again, seat.last, seat.print) = (true, false, Some(now), print(&rollout));
            let (desk, key, memory) = (self.desk.clone(), key.clone(), std::mem::take(&mut seat.memory));
            self.looks.spawn(async move {
                // A fault in one look must not end those of others.
                let looked = AssertUnwindSafe(look(desk.clone(), rollout.clone(), memory)).catch_unwind().await;
                (key, looked.unwrap_or_else(|_| Looked::fault(&desk, &rollout)))
            });
        }
        for key in gone {
            self.seats.remove(&key);
            self.desk.supplier.board().remove(&key);
        }
        next
    }

    fn take(&mut self, news: News) {
        let now = Instant::now();
        match news {
            News::Changed(key) => {
                let Some(rollout) = self.desk.caches.rollouts.get(&key) else {
                    self.seats.remove(&key);
                    self.desk.supplier.board().remove(&key);
                    return;
                };
                let is = print(&rollout);
                let seat = self.seats.entry(key).or_insert_with(|| Seat::new(now));
                if seat.print != is {
                    (seat.due, seat.again) = (now, seat.busy);
                }
            }
            News::Hook { server, model } => {
                if let Ok(open) = self.desk.servers.get(&self.desk.config.current(), &server) {
                    open.wake();
                }
                for (key, seat) in &mut self.seats {
                    let rollout = self.desk.caches.rollouts.get(key);
                    let plan = rollout.and_then(|rollout| SourcePlan::parse(&rollout.spec).ok().flatten());
                    let about = plan.is_some_and(|plan| match plan.origin {
                        Origin::Mlflow { server: of, model: named, .. } => {
                            of == server && model.as_ref().is_none_or(|model| *model == named)
                        }
                        Origin::Job(_) => false,
                    });
                    if about {
                        seat.due = seat.last.map_or(now, |last| now.max(last + SOONEST));
                        seat.again = seat.busy;
                    }
                }
            }
        }
    }

    fn looked(&mut self, key: &ObjectRef<Rollout>, looked: Looked) {
        let pace = self.spread(looked.next);
        let Some(seat) = self.seats.get_mut(key) else { return };
        (seat.busy, seat.memory) = (false, looked.memory);
        seat.failures = if looked.next == Next::Later { seat.failures.saturating_add(1) } else { 0 };
        let pause = match pace {
            Some(pace) => pace,
            None => BACKOFF.saturating_mul(1 << seat.failures.saturating_sub(1).min(16)).min(BACKOFF_MAX),
        };
        seat.due = Instant::now() + if seat.again { SOONEST } else { pause };
        let before = self.desk.supplier.board().insert(key.clone(), looked.status.clone());
        let stored = || self.desk.caches.rollouts.get(key).and_then(|rollout| rollout.status.as_ref()?.source.clone());
        if before.or_else(stored).as_ref() != Some(&looked.status) {
            let _ = self.desk.wake.send(key.clone());
        }
    }

    /// Another replica leads, or this one does.
    fn begin(&mut self) {
        self.looks.abort_all();
        self.looks = JoinSet::new();
        self.seats.clear();
        self.desk.supplier.board().clear();
        self.all();
    }

    /// Every source is due.
    fn all(&mut self) {
        let now = Instant::now();
        for rollout in self.desk.caches.rollouts.state().iter().filter(|rollout| rollout.spec.source.is_some()) {
            let seat = self.seats.entry(ObjectRef::from_obj(rollout.as_ref())).or_insert_with(|| Seat::new(now));
            (seat.due, seat.again) = (now, seat.busy);
        }
    }

    /// A pause that is a little longer or shorter each time: what begins together does not stay together.
    fn spread(&mut self, next: Next) -> Option<Duration> {
        let Next::In(pause) = next else { return None };
        self.spreads = self.spreads.wrapping_add(1);
        Some(pause.mul_f64(0.95 + 0.1 * (f64::from(self.spreads) * 0.618_033_988_75).fract()))
    }
}

impl Seat {
    fn new(now: Instant) -> Self {
        let (print, memory) = (String::new(), Memory::default());
        Self { due: now, last: None, busy: false, again: false, failures: 0, print, memory }
    }
}

/// What of a Rollout a look depends on.
fn print(rollout: &Rollout) -> String {
    let status = rollout.status.as_ref();
    let revision = |version: &crate::api::Version| version.revision.clone();
    let phase = status.and_then(|status| status.phase);
    let moving = matches!(phase, Some(Phase::Progressing | Phase::Paused | Phase::Holding | Phase::RollingBack));
    let stable = status.and_then(|status| status.stable.as_ref()).map(revision);
    let ended = status.and_then(|status| status.history.first()).map(|entry| entry.ended.0);
    format!("{:?} {:?} {moving} {phase:?} {stable:?} {ended:?}", rollout.uid(), rollout.metadata.generation)
}
