//! Waits for what [`Queue`] decides.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::queue::{By, Ending, Queue, Ticket};
use crate::clock::Clock;

/// Whose turn it is at a provider.
#[derive(Debug)]
pub(super) struct Turns {
    clock: Clock,
    state: Mutex<(Queue, BTreeMap<Ticket, oneshot::Sender<()>>)>,
}

/// The turn of one question, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    ticket: Ticket,
}

impl Turns {
    pub(super) fn new(most: u32) -> Self {
        Self { clock: Clock::system(), state: Mutex::new((Queue::new(most), BTreeMap::new())) }
    }

    /// Waits until it is this question's turn.
    pub(super) async fn take(&self, by: By) -> Turn<'_> {
        let (grant, mut granted) = oneshot::channel();
        let turn = {
            let mut state = self.state();
            let ticket = state.0.ask(by, self.clock.elapsed());
            state.1.insert(ticket, grant);
            Turn { turns: self, ticket }
        };
        loop {
            self.go_on();
            let pause = self.state().0.pause(self.clock.elapsed());
            let sleep = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = &mut granted => return turn,
                () = sleep => {}
            }
        }
    }

    /// How many may be in flight now, and how many where the server refuses nothing.
    pub(super) fn limits(&self) -> [u32; 2] {
        let state = self.state();
        [state.0.limit(), state.0.most()]
    }

    fn go_on(&self) {
        let now = self.clock.elapsed();
        let mut state = self.state();
        let (queue, grants) = &mut *state;
        while let Some(ticket) = queue.next(now) {
            if grants.remove(&ticket).is_none_or(|grant| grant.send(()).is_err()) {
                queue.forget(ticket);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, (Queue, BTreeMap<Ticket, oneshot::Sender<()>>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// It ended so.
    pub(super) fn end(self, ending: Ending) {
        self.turns.state().0.ended(self.ticket, ending, self.turns.clock.elapsed());
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.turns.state();
            state.0.forget(self.ticket);
            state.1.remove(&self.ticket);
        }
        self.turns.go_on();
    }
}
