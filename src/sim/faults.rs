//! Faults on request, and the record of the conversation: the n-th request that fits a rule is answered as the rule says.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

pub use super::apiserver::{Refusal, Verb};

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Record {
    /// Number, from 0, over the whole life of the server.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Verb.
    pub verb: Verb,
    /// `rollouts.haldane.dev`, `pods`; for [`Verb::Other`] the path.
    pub resource: String,
    /// `status`, or empty.
    pub subresource: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name, or empty.
    pub name: String,
    /// Query parameters, as sent.
    pub query: String,
    /// Who asked.
    pub user_agent: String,
    /// The body, if it was JSON.
    pub body: Value,
    /// Status code of the answer; `None` while there is none.
    pub code: Option<u16>,
}

/// What happens to a request.
#[derive(Clone)]
pub enum Fault {
    /// Never answered, nothing done.
    Hang,
    /// Done, never answered.
    HangAfter,
    /// The connection breaks, nothing done.
    DropBefore,
    /// Done, then the connection breaks.
    DropAfter,
    /// Refused with this answer, nothing done.
    Answer(Refusal),
    /// Served after this time.
    Delay(Duration),
    /// Reads only: served from the state so many writes ago.
    Stale(u64),
    /// Watches only: accepted, and then silent.
    Mute,
    /// Something else happens first (a concurrent writer), then it is served.
    Before(Arc<dyn Fn() + Send + Sync>),
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Fault::Hang => "Hang",
            Fault::HangAfter => "HangAfter",
            Fault::DropBefore => "DropBefore",
            Fault::DropAfter => "DropAfter",
            Fault::Answer(refusal) => return write!(f, "Answer({})", refusal.code),
            Fault::Delay(time) => return write!(f, "Delay({time:?})"),
            Fault::Stale(behind) => return write!(f, "Stale({behind})"),
            Fault::Mute => "Mute",
            Fault::Before(_) => "Before",
        };
        f.write_str(name)
    }
}

impl Fault {
    /// 429 with `Retry-After`.
    pub fn too_many(seconds: u64) -> Self {
        let refusal = Refusal::new(429, "TooManyRequests", "the server has received too many requests and has asked us to try again later");
        Fault::Answer(Refusal { retry_after: Some(seconds), ..refusal })
    }

    /// 500.
    pub fn internal() -> Self {
        Fault::Answer(Refusal::new(500, "InternalError", "Internal error occurred: etcdserver: request timed out"))
    }

    /// 503.
    pub fn unavailable() -> Self {
        Fault::Answer(Refusal::new(503, "ServiceUnavailable", "the server is currently unable to handle the request"))
    }

    /// 409, whatever the resourceVersion.
    pub fn conflict() -> Self {
        Fault::Answer(Refusal::new(
            409,
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and try again",
        ))
    }

    /// 410: the revision is forgotten.
    pub fn gone() -> Self {
        Fault::Answer(Refusal::new(410, "Expired", "The resourceVersion for the provided watch is too old."))
    }

    /// A validating webhook refuses, with a code of its choice.
    pub fn denied(code: u16, why: &str) -> Self {
        Fault::Answer(Refusal::new(code, "", format!("admission webhook \"policy.example.com\" denied the request: {why}")))
    }

    /// 403.
    pub fn forbidden() -> Self {
        Fault::Answer(Refusal::new(403, "Forbidden", "forbidden: User \"haldane\" cannot do this"))
    }
}

/// Which requests, which of them, and what happens.
#[derive(Clone, Debug)]
pub struct Rule {
    verb: Option<Verb>,
    writes: bool,
    resource: Option<String>,
    subresource: Option<String>,
    name: Option<String>,
    agent: Option<String>,
    first: u64,
    every: u64,
    times: u64,
    fault: Fault,
}

impl Rule {
    /// Every request gets this fault.
    pub fn always(fault: Fault) -> Self {
        let (first, every, times) = (1, 1, u64::MAX);
        Self { verb: None, writes: false, resource: None, subresource: None, name: None, agent: None, first, every, times, fault }
    }

    /// The next write, of whatever kind, gets this fault, once.
    pub fn on_write(fault: Fault) -> Self {
        Self { writes: true, times: 1, ..Self::always(fault) }
    }

    /// The next request with this verb for this resource (`rollouts.haldane.dev`) gets this fault, once.
    pub fn on(verb: Verb, resource: &str, fault: Fault) -> Self {
        Self { verb: Some(verb), resource: Some(resource.to_owned()), times: 1, ..Self::always(fault) }
    }

    /// Only for this subresource (`status`; empty: the object itself).
    pub fn subresource(mut self, name: &str) -> Self {
        self.subresource = Some(name.to_owned());
        self
    }

    /// Only for the object of this name.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Only for callers whose user agent contains this.
    pub fn agent(mut self, part: &str) -> Self {
        self.agent = Some(part.to_owned());
        self
    }

    /// From the n-th fitting request on, from 1.
    pub fn from(mut self, n: u64) -> Self {
        self.first = n;
        self
    }

    /// Only each n-th of them, beginning with the first.
    pub fn every(mut self, n: u64) -> Self {
        self.every = n.max(1);
        self
    }

    /// For so many of them.
    pub fn times(mut self, count: u64) -> Self {
        self.times = count;
        self
    }

    /// For all of them.
    pub fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    fn fits(&self, r: &Record) -> bool {
        self.verb.is_none_or(|v| v == r.verb)
            && (!self.writes || r.verb.writes())
            && self.resource.as_ref().is_none_or(|x| *x == r.resource)
            && self.subresource.as_ref().is_none_or(|x| *x == r.subresource)
            && self.name.as_ref().is_none_or(|x| *x == r.name)
            && self.agent.as_ref().is_none_or(|x| r.user_agent.contains(x.as_str()))
    }
}

/// A rule that is in force. Dropping this does not end the rule.
#[derive(Debug)]
pub struct Armed {
    id: u64,
    hits: watch::Receiver<u64>,
}

impl Armed {
    /// How often it struck.
    pub fn hits(&self) -> u64 {
        *self.hits.borrow()
    }

    /// Waits until it struck `count` times. Ends as well when the rule is taken away.
    pub async fn struck(&mut self, count: u64) {
        let _ = self.hits.wait_for(|hits| *hits >= count).await;
    }
}

/// The fault plan and the request log. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    rules: Vec<Active>,
    next_rule: u64,
    log: VecDeque<Record>,
    next_number: u64,
}

#[derive(Debug)]
struct Active {
    id: u64,
    rule: Rule,
    seen: u64,
    hits: watch::Sender<u64>,
}

const LOG: usize = 100_000;

impl Faults {
    /// Puts a rule in force. Of several that fit a request, the first one that still has to strike does.
    pub fn add(&self, rule: Rule) -> Armed {
        let mut inner = self.lock();
        let id = inner.next_rule;
        inner.next_rule += 1;
        let (hits, seen) = watch::channel(0);
        inner.rules.push(Active { id, rule, seen: 0, hits });
        Armed { id, hits: seen }
    }

    /// Takes a rule away.
    pub fn remove(&self, armed: &Armed) {
        self.lock().rules.retain(|r| r.id != armed.id);
    }

    /// Takes all rules away. Requests that hang go on hanging.
    pub fn clear(&self) {
        self.lock().rules.clear();
    }

    /// The log, oldest first (the last 100,000 requests).
    pub fn log(&self) -> Vec<Record> {
        self.lock().log.iter().cloned().collect()
    }

    /// Shows each request of the log that has this number or a later one, oldest first. The number of the next request is returned.
    pub fn each_from(&self, number: u64, see: impl FnMut(&Record)) -> u64 {
        let inner = self.lock();
        let start = inner.log.partition_point(|record| record.number < number);
        inner.log.range(start..).for_each(see);
        inner.next_number
    }

    /// Requests by verb and resource.
    pub fn counts(&self) -> BTreeMap<(&'static str, String), usize> {
        let mut counts = BTreeMap::new();
        for record in &self.lock().log {
            *counts.entry((record.verb.as_str(), record.resource.clone())).or_insert(0) += 1;
        }
        counts
    }

    /// Forgets the log.
    pub fn forget(&self) {
        self.lock().log.clear();
    }

    /// Notes a request and says what shall happen to it.
    pub(crate) fn strike(&self, mut record: Record) -> (u64, Option<Fault>) {
        let mut inner = self.lock();
        let number = inner.next_number;
        inner.next_number += 1;
        record.number = number;
        let mut fault = None;
        for active in &mut inner.rules {
            if fault.is_some() || !active.rule.fits(&record) {
                continue;
            }
            active.seen += 1;
            let (rule, past) = (&active.rule, active.seen.checked_sub(active.rule.first));
            if past.is_some_and(|past| past % rule.every == 0 && past / rule.every < rule.times) {
                active.hits.send_modify(|hits| *hits += 1);
                fault = Some(active.rule.fault.clone());
            }
        }
        inner.log.push_back(record);
        if inner.log.len() > LOG {
            inner.log.pop_front();
        }
        (number, fault)
    }

    /// Notes how a request was answered.
    pub(crate) fn answered(&self, number: u64, code: u16) {
        let mut inner = self.lock();
        let first = inner.log.front().map_or(0, |r| r.number);
        let index = number.checked_sub(first).and_then(|i| usize::try_from(i).ok());
        if let Some(record) = index.and_then(|i| inner.log.get_mut(i)) {
            record.code = Some(code);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
