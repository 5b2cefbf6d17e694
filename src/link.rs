//! The link to the API server: every request has a deadline, and connections on which nothing answers are dropped.
//!
//! A network device that forgets a connection closes nothing: whoever waits on it waits for a quarter of an hour, and a pool hands the
//! dead connection to the next request. So a request that gets no answer in time puts all connections of its generation in doubt: if
//! nothing at all was heard on them since, the next request gets new ones, and the watches that are open on the old ones end and are
//! opened again where they were.

mod connect;
mod watched;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{Request, Response},
};
use futures::{Stream, StreamExt};
use kube::{Client, client::Body as Sent};
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tower::service_fn;

use crate::clock::Clock;
pub use connect::Connect;
pub use watched::{Age, Key, Watched};

/// How long the API server may be silent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// A request without an answer: until its headers, and then between two pieces of its body.
    pub answer: Duration,
    /// A request that its caller gave up after at least this long says as much about the connection.
    pub doubt: Duration,
    /// An open watch: servers send a bookmark about once a minute. From, to: each watch gets its own.
    pub silence: (Duration, Duration),
    /// The life of a watch while a rollout is under way, from, to.
    pub short: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { answer: seconds(10), doubt: seconds(3), silence: (seconds(75), seconds(95)), short: (seconds(30), seconds(40)) }
    }
}

impl Limits {
    /// A watch that asks may wait this long for an answer until its cache counts as stale.
    fn unanswered(&self) -> Duration {
        self.answer + self.doubt
    }

    /// A watch may be without any answer for this long until its cache counts as stale.
    fn stale(&self) -> Duration {
        self.silence.1 + self.answer * 2
    }
}

/// No answer in time.
#[derive(Clone, Copy, Debug, Error)]
#[error("no answer from the API server within {} s", .0.as_secs())]
struct Silent(Duration);

/// The link; cheap to clone.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    connect: Connect,
    namespace: String,
    clock: Clock,
    limits: Limits,
    pool: Mutex<Pool>,
    /// Number of the connections in use.
    generation: watch::Sender<u64>,
    watched: Watched,
    spreads: AtomicU32,
}

/// The connections in use.
struct Pool {
    generation: u64,
    client: Client,
    /// Nothing answers on them: the next request makes new ones.
    doubted: bool,
    /// When something was heard on them last.
    heard: Option<Duration>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("generation", &self.pool().generation).finish_non_exhaustive()
    }
}

impl Link {
    /// A link that makes its connections with `connect`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn new(connect: Connect, clock: Clock, limits: Limits) -> Result<Self, kube::Error> {
        let client = connect.client()?;
        let namespace = client.default_namespace().to_owned();
        let pool = Mutex::new(Pool { generation: 1, client, doubted: false, heard: None });
        let watched = Watched::new(clock, limits.unanswered(), limits.stale());
        let shared =
            Shared { connect, namespace, clock, limits, pool, generation: watch::Sender::new(1), watched, spreads: AtomicU32::new(0) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A client for requests: each gets its answer or an error within the limit.
    pub fn client(&self) -> Client {
        let link = self.clone();
        Client::new(service_fn(move |request| link.clone().send(request, None)), &self.shared.namespace)
    }

    /// A client for the lists and watches of one cache. While `busy` is true its watches are short.
    pub fn watching(&self, key: Key, busy: watch::Receiver<bool>) -> Client {
        let link = self.clone();
        self.shared.watched.begin(&key);
        Client::new(service_fn(move |request| link.clone().send(request, Some((key.clone(), busy.clone())))), &self.shared.namespace)
    }

    /// What is known of the watches.
    pub fn watched(&self) -> Watched {
        self.shared.watched.clone()
    }

    async fn send(self, request: Request<Sent>, of: Option<(Key, watch::Receiver<bool>)>) -> Result<Response<Body>, kube::Error> {
        let stays = of.is_some() && request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        let (generation, client) = self.connections();
        let watched = &self.shared.watched;
        if let Some((key, _)) = &of {
            watched.asked(key);
        }
        let mut waiting = Waiting { link: &self, generation, since: self.shared.clock.elapsed(), over: false };
        let limit = self.shared.limits.answer;
        let answer = timeout(limit, client.send(request)).await;
        waiting.over = answer.is_ok();
        drop(waiting);
        let answer = answer.unwrap_or_else(|_| Err(kube::Error::Service(Silent(limit).into())));
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if let Some((key, _)) = &of {
                    watched.failed(key, &error.to_string());
                }
                return Err(error);
            }
        };
        self.heard(generation);
        match &of {
            Some((key, _)) if answer.status().is_success() => watched.answered(key),
            Some((key, _)) => watched.failed(key, &format!("the API server answered {}", answer.status())),
            None => {}
        }
        let stays = stays && answer.status().is_success();
        Ok(answer.map(|body| {
            let pieces = Body::new(body).into_data_stream();
            match of {
                Some((key, busy)) if stays => {
                    let end = Box::pin(self.clone().end(generation, busy));
                    let silence = self.spread(self.shared.limits.silence);
                    Body::from_stream(self.pieces(generation, pieces, silence, Some(key)).take_until(end))
                }
                _ => Body::from_stream(self.pieces(generation, pieces, limit, None)),
            }
        }))
    }

    /// The body of an answer. Silence ends a watch, which is then opened again, and is an error of anything else.
    fn pieces(
        self,
        generation: u64,
        pieces: impl Stream<Item = Result<Bytes, axum::Error>> + Send + Unpin + 'static,
        limit: Duration,
        watch: Option<Key>,
    ) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send + 'static {
        futures::stream::unfold(Some(pieces), move |pieces| {
            let (link, watch) = (self.clone(), watch.clone());
            async move {
                let mut pieces = pieces?;
                let since = link.shared.clock.elapsed();
                match timeout(limit, pieces.next()).await {
                    Ok(Some(Ok(piece))) => {
                        link.heard(generation);
                        if let Some(key) = &watch {
                            link.shared.watched.answered(key);
                        }
                        Some((Ok(piece), Some(pieces)))
                    }
                    Ok(Some(Err(error))) => Some((Err(error), None)),
                    Ok(None) => None,
                    Err(_) => {
                        link.doubt(generation, since);
                        watch.is_none().then(|| (Err(axum::Error::new(Silent(limit))), None))
                    }
                }
            }
        })
    }

    /// Ready when a watch that begins now has been open long enough for what is under way, or when its connections are in doubt.
    async fn end(self, generation: u64, busy: watch::Receiver<bool>) {
        let mut generations = self.shared.generation.subscribe();
        tokio::select! {
            () = over(busy, self.spread(self.shared.limits.short)) => {}
            _ = generations.wait_for(|current| *current != generation) => {}
        }
    }

    /// The connections in use; new ones if those were in doubt.
    fn connections(&self) -> (u64, Client) {
        let mut pool = self.pool();
        if pool.doubted {
            match self.shared.connect.client() {
                Ok(client) => {
                    pool.client = client;
                    pool.doubted = false;
                }
                Err(error) => tracing::warn!(error = %error, "no new connections to the API server: the old ones stay in use"),
            }
        }
        (pool.generation, pool.client.clone())
    }

    fn heard(&self, generation: u64) {
        let mut pool = self.pool();
        if pool.generation == generation {
            pool.heard = Some(self.shared.clock.elapsed());
        }
    }

    /// A request of this generation has had no answer since then.
    fn doubt(&self, generation: u64, since: Duration) {
        let mut pool = self.pool();
        if pool.generation != generation || pool.heard.is_some_and(|heard| heard >= since) {
            return;
        }
        pool.generation += 1;
        pool.doubted = true;
        pool.heard = None;
        let waited = self.shared.clock.elapsed().saturating_sub(since).as_secs();
        tracing::warn!(
            seconds = waited,
            "nothing answers on the connections to the API server: new ones are made, watches are opened again"
        );
        self.shared.generation.send_replace(pool.generation);
    }

    /// A time between the two, another one at each call: what begins together does not end together.
    fn spread(&self, (from, to): (Duration, Duration)) -> Duration {
        let calls = self.shared.spreads.fetch_add(1, Ordering::Relaxed);
        from + to.saturating_sub(from).mul_f64((calls as f64 * 0.618_033_988_75).fract())
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.shared.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way. Whoever gives it up does not say so: its end is noticed here.
struct Waiting<'a> {
    link: &'a Link,
    generation: u64,
    since: Duration,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over && self.link.shared.clock.elapsed().saturating_sub(self.since) >= self.link.shared.limits.doubt {
            self.link.doubt(self.generation, self.since);
        }
    }
}

/// Ready after this time, or later, once `busy` is true.
async fn over(mut busy: watch::Receiver<bool>, life: Duration) {
    let mut end = std::pin::pin!(sleep(life));
    loop {
        if busy.wait_for(|busy| *busy).await.is_err() {
            return std::future::pending().await; // nobody is left to say so: nothing is under way
        }
        let idle = tokio::select! {
            () = &mut end => return,
            idle = busy.wait_for(|busy| !*busy) => idle.is_ok(),
        };
        if !idle {
            return end.await; // nobody is left to say that it ended
        }
    }
}

#[cfg(test)]
mod tests;
