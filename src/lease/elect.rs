//! The loop around [`super::step`]: reads, writes, deadlines.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client,
    api::{PostParams, Resource},
};
use tokio::{sync::watch, time};

use super::{Claim, Seen, Terms, claimed, released, step};
use crate::{api::names, clock::Clock};

/// Says whether this replica may act; cheap to clone and to ask.
#[derive(Clone, Debug)]
pub struct LeaderHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    origin: Instant,
    /// Microseconds since `origin` until which we may act; 0: not leader.
    until: AtomicU64,
    leads: watch::Sender<bool>,
}

impl LeaderHandle {
    fn new(clock: Clock) -> Self {
        Self { shared: Arc::new(Shared { clock, origin: clock.monotonic(), until: AtomicU64::new(0), leads: watch::Sender::new(false) }) }
    }

    /// A handle that always leads: one controller alone, as in the demo.
    pub fn alone(clock: Clock) -> Self {
        let handle = Self::new(clock);
        handle.set(u64::MAX);
        handle
    }

    /// May this replica act now? Looks at the monotonic clock in each call.
    pub fn is_leader(&self) -> bool {
        micros(self.now()) < self.shared.until.load(Ordering::Acquire)
    }

    /// Becomes true when the lease is won and false when it is lost; for waking up. What may be done is said by
    /// [`is_leader`](Self::is_leader) alone.
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.shared.leads.subscribe()
    }

    fn now(&self) -> Duration {
        self.shared.clock.monotonic().saturating_duration_since(self.shared.origin)
    }

    fn set(&self, until: u64) {
        self.shared.until.store(until, Ordering::Release);
        self.shared.leads.send_if_modified(|leads| std::mem::replace(leads, until > 0) != (until > 0));
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX - 1)
}

/// An election: a Lease of this name in this namespace, and our name in it.
#[derive(Clone)]
pub struct Election {
    leases: Api<Lease>,
    name: String,
    me: String,
    terms: Terms,
    clock: Clock,
    handle: LeaderHandle,
}

impl Election {
    /// `me` must be unlike that of every other replica: the pod's name.
    pub fn new(client: Client, namespace: &str, name: &str, me: &str, terms: Terms, clock: Clock) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.into(),
            me: me.into(),
            terms,
            clock,
            handle: LeaderHandle::new(clock),
        }
    }

    /// Says whether we lead.
    pub fn handle(&self) -> LeaderHandle {
        self.handle.clone()
    }

    /// Takes part until `stop` is ready, then gives the lease back. Let everything that acts end before `stop` is.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (mut seen, mut ours) = (Seen::default(), None);
        tokio::pin!(stop);
        loop {
            let round = async {
                let wait = self.round(&mut seen, &mut ours).await;
                time::sleep(wait).await;
            };
            tokio::select! {
                () = round => {}
                () = &mut stop => break,
            }
        }
        self.release().await;
    }

    /// One round: the lease as we wrote it last is renewed with one write; any other is read first. Returns how long to wait for the next.
    async fn round(&self, seen: &mut Seen, ours: &mut Option<Lease>) -> Duration {
        // The deadline counts from before the call: the others may have seen our write at any time after that.
        let begun = self.handle.now();
        match time::timeout(self.terms.retry * 2, self.renew_or_claim(seen, ours)).await {
            Ok(Ok(Claim::Wait(left))) => {
                self.handle.set(0);
                left.min(self.terms.retry)
            }
            Ok(Ok(_)) => {
                if !self.handle.is_leader() {
                    tracing::info!(lease = self.name, me = self.me, "this replica leads");
                }
                self.handle.set(micros(begun + self.terms.renew_deadline));
                self.terms.renew_every()
            }
            outcome => {
                let error = match &outcome {
                    Ok(Err(error)) => error.to_string(),
                    _ => "no answer in time".into(),
                };
                tracing::warn!(lease = self.name, error, "the lease was neither renewed nor won");
                // A lost race or a server that is away: what we hold ends by its own deadline.
                if !self.handle.is_leader() {
                    self.handle.set(0);
                }
                self.terms.retry / 2
            }
        }
    }

    async fn renew_or_claim(&self, seen: &mut Seen, ours: &mut Option<Lease>) -> Result<Claim, kube::Error> {
        // Only a leader knows its lease: whoever was late, or was not answered, reads it first.
        if let Some(lease) = ours.take().filter(|_| self.handle.is_leader()) {
            match self.write(Some(&lease), Claim::Renew, seen).await {
                Ok(written) => {
                    *ours = written;
                    return Ok(Claim::Renew);
                }
                // Somebody wrote or deleted it.
                Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        let lease = self.leases.get_opt(&self.name).await?;
        let now = self.handle.now();
        seen.observe(lease.as_ref(), now);
        let claim = step(lease.as_ref(), seen, &self.me, self.terms.duration, now);
        *ours = self.write(lease.as_ref(), claim, seen).await?;
        Ok(claim)
    }

    /// Writes a claim over the lease as it is known; `None`: there is nothing to write.
    async fn write(&self, lease: Option<&Lease>, claim: Claim, seen: &mut Seen) -> Result<Option<Lease>, kube::Error> {
        let next = claimed(&self.name, lease, claim, &self.me, self.terms.duration, self.clock.now());
        let Some(next) = next else { return Ok(None) };
        let params = PostParams { field_manager: Some(names::MANAGER.into()), ..PostParams::default() };
        let written = match next.meta().resource_version {
            None => self.leases.create(&params, &next).await?,
            Some(_) => self.leases.replace(&self.name, &params, &next).await?,
        };
        seen.observe(Some(&written), self.handle.now());
        Ok(Some(written))
    }

    async fn release(&self) {
        self.handle.set(0);
        let give_back = async {
            let Some(lease) = self.leases.get_opt(&self.name).await? else { return Ok(()) };
            if let Some(next) = released(&lease, &self.me, self.clock.now()) {
                self.leases.replace(&self.name, &PostParams::default(), &next).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match time::timeout(self.terms.retry, give_back).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(lease = self.name, error = error.to_string(), "the lease was not given back"),
            Err(_) => tracing::warn!(lease = self.name, "the lease was not given back in time"),
        }
    }
}
