//! The status that a turn leaves behind, and the alerts in it.

use std::time::Duration;

use jiff::Timestamp;

use super::Turn;
use crate::api::{OutboxEntry, RolloutStatus};
use crate::state::{bounded, project, same_but_for_time};
use crate::tell::outbox::{self, Receivers};

/// Numbers that change at every look are stored this often: for people, and as the checkpoint that a restart continues from.
const REFRESH: Duration = Duration::from_secs(30);

/// What status says after a turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The status. Its outbox has the alerts to send once it is stored. Where it need not be, its checkpoint has no evidence.
    pub status: RolloutStatus,
    /// Whether it is to be stored: it says something new, or the numbers are old.
    pub store: bool,
}

/// The status after a turn. `waiting` are the alerts of `old` that are not delivered yet, `receivers` get the new ones, and `age` is the
/// time since status was written last, if this process wrote it.
pub fn report(
    turn: &Turn<'_>,
    old: Option<&RolloutStatus>,
    mut waiting: Vec<OutboxEntry>,
    receivers: &Receivers,
    age: Option<Duration>,
    now: Timestamp,
) -> Report {
    let Turn { seen, decision } = turn;
    let mut alerting = old.map(|old| old.alerting.clone()).unwrap_or_default();
    for record in &decision.records {
        let key = outbox::key(&seen.uid, record);
        outbox::enqueue(&mut waiting, key.clone(), &receivers.sinks, record);
        outbox::open(&mut alerting, key, &receivers.of_ends, record);
    }
    let mut status = RolloutStatus { alerting, ..project(&decision.state, &decision.stance, seen, waiting, old, now) };
    outbox::settle(&mut status, now);
    let is_new = |status: &RolloutStatus| old.is_none_or(|old| !same_but_for_time(old, status));
    let says_new = is_new(&status);
    let due = decision.state.run.is_some() && age.is_none_or(|age| age >= REFRESH);
    if !says_new && !due {
        return Report { status, store: false };
    }
    // The evidence is by far the largest part: it is written out only where it may be stored.
    status.checkpoint = decision.state.checkpoint();
    let status = bounded(status);
    let says_new = says_new && is_new(&status);
    let refresh = due && old.is_none_or(|old| *old != status);
    // What is on its way out says no more, unless it has to wait.
    Report { store: (says_new || refresh) && (!seen.deleting || decision.stance.stalled), status }
}
