//! What waits for one sink: new letters, letters whose pause is over, and letters that are gathered by their cause.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::mpsc,
    time::{self, Instant},
};

use super::LANE;
use crate::tell::Letter;

/// A letter on its way to one sink.
pub(super) struct Parcel {
    pub(super) letter: Letter,
    pub(super) failures: u32,
}

/// The way to one sink.
pub(super) struct Lane {
    receiver: mpsc::Receiver<Parcel>,
    pub(super) waiting: Vec<(Instant, Parcel)>,
    gathered: BTreeMap<String, (Instant, Vec<Parcel>)>,
    pub(super) not_before: Instant,
    gather: Duration,
}

/// What is due.
enum Due {
    Waiting(usize),
    Gathered(String),
}

impl Lane {
    pub(super) fn new(receiver: mpsc::Receiver<Parcel>, gather: Duration) -> Self {
        Self { receiver, waiting: Vec::new(), gathered: BTreeMap::new(), not_before: Instant::now(), gather }
    }

    /// The next letters: a new one, one whose pause is over, or all with one cause after a moment. `None` when the teller is gone.
    pub(super) async fn next(&mut self, cause: impl Fn(&Letter) -> Option<String>) -> Option<Vec<Parcel>> {
        loop {
            let due = self.due();
            let parcel = tokio::select! {
                biased;
                parcel = self.receiver.recv() => parcel?,
                () = time::sleep_until(due.as_ref().map_or_else(Instant::now, |(at, _)| *at)), if due.is_some() => match due {
                    Some((_, Due::Waiting(at))) => self.waiting.swap_remove(at).1,
                    Some((_, Due::Gathered(cause))) => match self.gathered.remove(&cause) {
                        Some((_, parcels)) => return Some(parcels),
                        None => continue,
                    },
                    None => continue,
                },
            };
            let Some(cause) = cause(&parcel.letter) else { return Some(vec![parcel]) };
            let (due, gathered) = self.gathered.entry(cause).or_insert_with(|| (Instant::now() + self.gather, Vec::new()));
            gathered.push(parcel);
            if gathered.len() >= LANE {
                *due = Instant::now();
            }
        }
    }

    /// What comes next without a new letter, and when.
    fn due(&self) -> Option<(Instant, Due)> {
        let waiting = self.waiting.iter().enumerate().map(|(at, (due, _))| (*due, Due::Waiting(at)));
        let gathered = self.gathered.iter().map(|(cause, (due, _))| (*due, Due::Gathered(cause.clone())));
        waiting.chain(gathered).min_by_key(|(due, _)| *due)
    }
}
