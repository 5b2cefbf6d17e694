//! Which replica acts: leader election on a `coordination.k8s.io/v1` Lease.
//!
//! Two rules. A lease is over when *our* monotonic clock has seen no change of it for its duration: the time written into it is another
//! machine's wall clock and is never compared with ours. And every write is a PUT that carries the `resourceVersion` that was read or that
//! our own write was answered with: whoever comes second gets 409 and looks again.
//!
//! The lease is advice; the fence is in the writes of `act`. A leader that was frozen sees at its next [`LeaderHandle::is_leader`] that its
//! deadline has passed, because the deadline is looked at in each call and not set by a task.

mod elect;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

use crate::api::names::VERSION;

pub use elect::{Election, LeaderHandle};

/// How long a lease lives, when its holder stops acting, and how often it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Without a change for this long, somebody else takes the lease.
    pub duration: Duration,
    /// Without a renewal for this long, its holder stops acting. Less than `duration`.
    pub renew_deadline: Duration,
    /// Pause between two tries of whoever does not lead; also the deadline of one call.
    pub retry: Duration,
}

impl Terms {
    /// Pause of the leader between two renewals: two may fail before it has to stop.
    pub fn renew_every(&self) -> Duration {
        self.retry.max(self.renew_deadline / 3)
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self { duration: Duration::from_secs(15), renew_deadline: Duration::from_secs(10), retry: Duration::from_secs(2) }
    }
}

/// What we saw of the lease, and since when on our own monotonic clock it has not changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    spec: Option<LeaseSpec>,
    since: Duration,
}

impl Seen {
    /// Notes what was read at `now`. Only a change of the spec (holder, renewal) is a sign of life: others may write labels.
    pub fn observe(&mut self, lease: Option<&Lease>, now: Duration) {
        let spec = lease.map(|l| l.spec.clone().unwrap_or_default());
        if spec != self.spec {
            *self = Self { spec, since: now };
        }
    }
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// There is none: create it.
    Create,
    /// It is ours: write a new renewal.
    Renew,
    /// It is free, or its holder has been silent for its duration: write our name.
    TakeOver,
    /// Another one holds it; it cannot be over before this long from now.
    Wait(Duration),
}

/// What to do about a lease that was read and [observed](Seen::observe). `now` is on the clock of `seen`; `shortest` is our own lease
/// duration: a holder that declares a longer one is granted it, since it may act for so long.
pub fn step(lease: Option<&Lease>, seen: &Seen, me: &str, shortest: Duration, now: Duration) -> Claim {
    let Some(lease) = lease else { return Claim::Create };
    let spec = lease.spec.as_ref();
    match spec.and_then(|s| s.holder_identity.as_deref()).filter(|h| !h.is_empty()) {
        None => Claim::TakeOver,
        Some(holder) if holder == me => Claim::Renew,
        Some(_) => {
            let declared = spec.and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok()).unwrap_or_default();
            let over = seen.since.saturating_add(shortest.max(Duration::from_secs(declared)));
            match over.checked_sub(now) {
                None | Some(Duration::ZERO) => Claim::TakeOver,
                Some(left) => Claim::Wait(left),
            }
        }
    }
}

/// The object to write for a claim, based on what was read (its `resourceVersion` is kept, so that the server refuses it if the lease has
/// changed since). `None` for [`Claim::Wait`].
pub fn claimed(name: &str, lease: Option<&Lease>, claim: Claim, me: &str, duration: Duration, wall: Timestamp) -> Option<Lease> {
    let mut next =
        lease.cloned().unwrap_or_else(|| Lease { metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() }, spec: None });
    let spec = next.spec.get_or_insert_default();
    match claim {
        Claim::Wait(_) => return None,
        Claim::Renew => {}
        Claim::Create | Claim::TakeOver => {
            let before = spec.lease_transitions.unwrap_or_default();
            spec.lease_transitions = Some(if claim == Claim::Create { 0 } else { before.saturating_add(1).max(0) });
            spec.acquire_time = Some(MicroTime(wall));
        }
    }
    spec.holder_identity = Some(me.into());
    spec.lease_duration_seconds = Some(i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX));
    spec.renew_time = Some(MicroTime(wall));
    next.metadata.annotations.get_or_insert_default().insert(VERSION.into(), env!("CARGO_PKG_VERSION").into());
    Some(next)
}

/// The object that gives our lease back; `None` if it is not ours.
pub fn released(lease: &Lease, me: &str, wall: Timestamp) -> Option<Lease> {
    let mut next = lease.clone();
    let spec = next.spec.as_mut().filter(|s| s.holder_identity.as_deref() == Some(me))?;
    spec.holder_identity = None;
    spec.renew_time = Some(MicroTime(wall));
    Some(next)
}

#[cfg(test)]
mod tests;
