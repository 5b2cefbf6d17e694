//! Waits for what [`Queue`] decides.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::QueryError;
use super::queue::{By, Ending, Purpose, Queue, Ticket};
use crate::clock::Clock;

/// Where a server wants to be left alone for longer, whoever waits is told so.
const LONGEST_PAUSE_HERE: Duration = Duration::from_secs(2);

/// Whose turn it is at a provider.
#[derive(Debug)]
pub(super) struct Turns {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    waiting: BTreeMap<Ticket, (Purpose, oneshot::Sender<Result<(), QueryError>>)>,
    /// What the server said when it refused last.
    refusal: Option<QueryError>,
}

/// The turn of one question, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    ticket: Ticket,
}

impl Turns {
    pub(super) fn new(most: u32) -> Self {
        let state = State { queue: Queue::new(most), waiting: BTreeMap::new(), refusal: None };
        Self { clock: Clock::system(), state: Mutex::new(state) }
    }

    /// Waits until it is this question's turn.
    ///
    /// # Errors
    /// What the server refused another question with, where it is to be left alone for longer.
    pub(super) async fn take(&self, by: By) -> Result<Turn<'_>, QueryError> {
        let (grant, mut granted) = oneshot::channel();
        let turn = {
            let (mut state, now) = (self.state(), self.clock.elapsed());
            if let Some(refusal) = state.refusal(by.purpose, now) {
                return Err(refusal);
            }
            let purpose = by.purpose;
            let ticket = state.queue.ask(by, now);
            state.waiting.insert(ticket, (purpose, grant));
            Turn { turns: self, ticket }
        };
        loop {
            self.go_on();
            let pause = self.state().queue.pause(self.clock.elapsed());
            let sleep = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                told = &mut granted => return told.unwrap_or(Ok(())).map(|()| turn),
                () = sleep => {}
            }
        }
    }

    /// How many may be in flight now, and how many where the server refuses nothing.
    pub(super) fn limits(&self) -> [u32; 2] {
        let state = self.state();
        [state.queue.limit(), state.queue.most()]
    }

    fn go_on(&self) {
        let now = self.clock.elapsed();
        let mut state = self.state();
        while let Some(ticket) = state.queue.next(now) {
            if state.waiting.remove(&ticket).is_none_or(|(_, grant)| grant.send(Ok(())).is_err()) {
                state.queue.forget(ticket);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The newest refusal, with how long the server is left alone from now on, if that is long.
    fn refusal(&self, purpose: Purpose, now: Duration) -> Option<QueryError> {
        let pause = self.queue.pause_of(purpose, now).filter(|pause| *pause > LONGEST_PAUSE_HERE)?;
        match self.refusal.clone()? {
            QueryError::Busy { status, said, .. } => Some(QueryError::Busy { status, said, retry_after: Some(pause) }),
            other => Some(other),
        }
    }

    /// Tells those who would wait for long.
    fn tell(&mut self, now: Duration) {
        let told: Vec<(Ticket, QueryError)> =
            self.waiting.iter().filter_map(|(ticket, (purpose, _))| Some((*ticket, self.refusal(*purpose, now)?))).collect();
        for (ticket, error) in told {
            self.queue.forget(ticket);
            if let Some((_, grant)) = self.waiting.remove(&ticket) {
                // Whoever is gone need not be told.
                let _ = grant.send(Err(error));
            }
        }
    }
}

impl Turn<'_> {
    /// The server refused it with this, and wants to be left alone for so long. True if the question can be asked again here after it.
    pub(super) fn refused(self, error: &QueryError, pause: Duration, everyone: bool) -> bool {
        let (mut state, now) = (self.turns.state(), self.turns.clock.elapsed());
        state.refusal = Some(error.clone());
        state.queue.ended(self.ticket, Ending::Busy { pause, everyone }, now);
        state.tell(now);
        pause <= LONGEST_PAUSE_HERE
    }

    /// It ended so.
    pub(super) fn end(self, ending: Ending) {
        self.turns.state().queue.ended(self.ticket, ending, self.turns.clock.elapsed());
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.turns.state();
            state.queue.forget(self.ticket);
            state.waiting.remove(&self.ticket);
        }
        self.turns.go_on();
    }
}
