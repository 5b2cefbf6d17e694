//! A Prometheus server: asks, and tells data from everything else that can come back.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use self::counted::Spent;
use crate::clock::Clock;
use crate::config::Provider;
use crate::counts::Series;
use crate::http_access::{AccessError, said as words};

mod answer;
mod counted;
mod fault;
mod line;
mod names;
mod native;
mod queue;
mod selector;
mod skew;
mod turns;

pub use counted::Counted;
pub use fault::QueryError;
use queue::Ending;
pub use queue::{By, Purpose};
pub use selector::{BadName, Selector};

/// From the first byte sent to the last byte read. What a question waits for its turn is not counted.
const DEADLINE: Duration = Duration::from_secs(10);
/// A server that is busy is asked so often for the same.
const TRIES: u32 = 3;
/// Answers about stable's past are long: so many of them are in memory at once.
const LONG_ANSWERS: usize = 2;
/// Pause before the second try, where the server names none.
const PAUSE: Duration = Duration::from_millis(500);

/// Why a provider's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Not a URL with http or https and a host.
    #[error("url: not an http or https URL with a host")]
    Url,
    /// A label that is to be added to every query has a name that Prometheus would not take.
    #[error("labels: {0}")]
    Label(#[from] BadName),
    /// How it is to be reached cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// One Prometheus server, as somebody asks it: see [`Prometheus::asked_by`]. All of one server share its turns.
#[derive(Clone, Debug)]
pub struct Prometheus {
    server: Arc<Server>,
    by: By,
    /// Milliseconds that its questions have waited for their turn.
    waited: Arc<AtomicU64>,
    counted: Option<Counted>,
}

/// The server itself.
#[derive(Debug)]
struct Server {
    line: line::Line,
    labels: Vec<(String, String)>,
    scrape_interval: Duration,
    lag: Duration,
    turns: turns::Turns,
    places: Semaphore,
    skew: skew::Skew,
    /// How old the newest sample was at the newest look.
    newest: Mutex<Option<Newest>>,
    /// Bounds of native histograms.
    grids: Mutex<native::Grids>,
}

/// The newest sample, as it was when it was asked for last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Newest {
    /// Its time.
    pub(super) sample: Timestamp,
    /// When it was first seen to be the newest.
    pub(super) since: Timestamp,
    /// When it was asked for last.
    pub(super) asked: Timestamp,
}

impl Newest {
    /// How old it was when it was asked for.
    pub(super) fn age(&self) -> Duration {
        Duration::try_from(self.asked.duration_since(self.sample)).unwrap_or_default()
    }

    /// For how long no newer one has come.
    pub(super) fn stood(&self) -> Duration {
        Duration::try_from(self.asked.duration_since(self.since)).unwrap_or_default()
    }
}

impl Prometheus {
    /// A client for a server as configured. Reads certificates now; other secrets are read for every request.
    ///
    /// # Errors
    /// When the configuration cannot be used; nothing is sent.
    pub fn new(provider: &Provider) -> Result<Self, ProviderError> {
        let line = line::Line::new(&provider.url, &provider.access)?;
        for label in provider.labels.keys() {
            Selector::new("up")?.is(label, "")?;
        }
        let scrape_interval = provider.scrapes_every().max(Duration::from_millis(100));
        let server = Server {
            line,
            labels: provider.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            scrape_interval,
            lag: provider.window_lag(),
            turns: turns::Turns::new(provider.at_once()),
            places: Semaphore::new(LONG_ANSWERS),
            skew: skew::Skew::default(),
            newest: Mutex::default(),
            grids: Mutex::default(),
        };
        let nobody = By { namespace: "".into(), rollout: "".into(), purpose: Purpose::Look };
        Ok(Self { server: Arc::new(server), by: nobody, waited: Arc::default(), counted: None })
    }

    /// The same server, asked by a Rollout for some purpose: whose turn it is depends on both.
    #[must_use]
    pub fn asked_by(&self, namespace: &str, rollout: &str, purpose: Purpose) -> Self {
        let by = By { namespace: namespace.into(), rollout: rollout.into(), purpose };
        Self { by, waited: Arc::default(), ..self.clone() }
    }

    /// How long the questions of this value have waited for their turn.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_millis(self.waited.load(Ordering::Relaxed))
    }

    /// How many questions are in flight at once: now, and where the server refuses none.
    pub(super) fn limits(&self) -> [u32; 2] {
        self.server.turns.limits()
    }

    /// The same, with each query counted in our own metrics.
    #[must_use]
    pub fn counted(self, counted: Counted) -> Self {
        Self { counted: Some(counted), ..self }
    }

    /// How often targets are scraped.
    pub fn scrape_interval(&self) -> Duration {
        self.server.scrape_interval
    }

    /// How far behind now a window ends.
    pub fn lag(&self) -> Duration {
        self.server.lag
    }

    /// The newest sample when the newest window was asked for in time; nothing before, or where there was no sample.
    pub(super) fn newest(&self) -> Option<Newest> {
        *self.server.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the time of the newest sample, asked for `now`.
    pub(super) fn note_newest(&self, sample: Option<Timestamp>, now: Timestamp) {
        let mut newest = self.server.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let since = newest.filter(|before| Some(before.sample) == sample).map_or(now, |before| before.since);
        *newest = sample.map(|sample| Newest { sample, since, asked: now });
        let age = newest.map(|newest| newest.age().as_secs_f64());
        tracing::debug!(age_seconds = age, lag_seconds = self.server.lag.as_secs_f64(), "the newest sample's age");
    }

    /// Raw samples of the `seconds` before `at`, with their own times, in our clock's time. The provider's labels are added.
    ///
    /// # Errors
    /// When there is no answer that can be trusted.
    pub async fn raw(&self, selector: &Selector, seconds: u64, at: Timestamp) -> Result<Vec<Series>, QueryError> {
        self.matrix(&self.own(selector)?.range(seconds), at).await
    }

    /// The same of several metrics in one question. Each series has the name of its metric as a label.
    ///
    /// # Errors
    /// When there is no answer that can be trusted.
    pub(super) async fn raw_named(&self, selector: &Selector, seconds: u64, at: Timestamp) -> Result<Vec<Series>, QueryError> {
        self.ask(&self.own(selector)?.range(seconds), at, answer::Kind::Named).await
    }

    /// The combinations of these labels that exist at `at` (five minutes back). The provider's labels are added.
    ///
    /// # Errors
    /// When there is no answer that can be trusted.
    pub async fn groups(&self, selector: &Selector, by: &[&str], at: Timestamp) -> Result<Vec<Series>, QueryError> {
        self.vector(&self.own(selector)?.group_by(by)?, at).await
    }

    /// The selector with the provider's labels added.
    ///
    /// # Errors
    /// Never: the labels were checked when the provider was made.
    pub fn own(&self, selector: &Selector) -> Result<Selector, QueryError> {
        let mut selector = selector.clone();
        for (name, value) in &self.server.labels {
            selector = selector.is(name, value)?;
        }
        Ok(selector)
    }

    /// An instant query whose answer must be a matrix.
    ///
    /// # Errors
    /// When there is no answer that can be trusted.
    pub async fn matrix(&self, query: &str, at: Timestamp) -> Result<Vec<Series>, QueryError> {
        self.ask(query, at, answer::Kind::Matrix).await
    }

    /// An instant query whose answer must be a vector.
    ///
    /// # Errors
    /// When there is no answer that can be trusted.
    pub async fn vector(&self, query: &str, at: Timestamp) -> Result<Vec<Series>, QueryError> {
        self.ask(query, at, answer::Kind::Vector).await
    }

    /// A query of a user's own, whose answer must be one finite number: a scalar, or a vector of one sample. It has a place of its own among
    /// the questions: nothing else waits for it.
    ///
    /// # Errors
    /// When there is no answer that can be trusted, or not one number.
    pub async fn value(&self, query: &str, at: Timestamp) -> Result<f64, QueryError> {
        self.read(Purpose::User, query, at, answer::value).await
    }

    async fn ask(&self, query: &str, at: Timestamp, kind: answer::Kind) -> Result<Vec<Series>, QueryError> {
        let read = |body: &[u8]| {
            let mut grids = self.server.grids.lock().unwrap_or_else(PoisonError::into_inner);
            answer::read(body, kind, &mut grids)
        };
        self.read(self.by.purpose, query, at, read).await.map(|series| self.server.skew.ours(series))
    }

    /// The answer at one time of the server's clock, read and counted.
    async fn read<T>(
        &self,
        purpose: Purpose,
        query: &str,
        at: Timestamp,
        read: impl FnOnce(&[u8]) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let (body, spent) = self.body(purpose, query, Some(self.server.skew.theirs(at))).await;
        let answer = body.and_then(|(body, _place)| read(&body).map_err(|error| self.server.line.without_secrets(error)));
        counted::query(self.counted.as_ref(), spent, answer.as_ref().err());
        answer
    }

    /// One query at a time of the server's clock, or at its now.
    async fn body(&self, purpose: Purpose, query: &str, at: Option<Timestamp>) -> (Result<line::Body<'_>, QueryError>, Spent) {
        let places = matches!(purpose, Purpose::Hour | Purpose::Past).then_some(&self.server.places);
        let clock = Clock::system();
        let (mut tries, mut cut_off, mut spent) = (1, false, Spent::default());
        loop {
            let asked = clock.elapsed();
            let turn = match self.server.turns.take(By { purpose, ..self.by.clone() }).await {
                Ok(turn) => turn,
                Err(refused) => return (Err(refused), spent),
            };
            let begun = clock.elapsed();
            let waited = begun.saturating_sub(asked);
            spent.waited += waited;
            self.waited.fetch_add(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            let left = DEADLINE.saturating_sub(spent.took);
            let answer = tokio::time::timeout(left, async {
                loop {
                    match self.server.line.ask(query, at, places).await {
                        // An answer that breaks off once may be whole on a new connection.
                        Err(QueryError::Unreachable(_)) if !cut_off => cut_off = true,
                        answer => return answer,
                    }
                }
            });
            let answer = answer.await.unwrap_or(Err(QueryError::Timeout));
            spent.took += clock.elapsed().saturating_sub(begun);
            let Err(error @ QueryError::Busy { status, retry_after, .. }) = &answer else {
                turn.end(if answer.is_ok() { Ending::Answered } else { Ending::Failed });
                return (answer, spent);
            };
            let pause = retry_after.unwrap_or(PAUSE * tries).max(PAUSE);
            let again = turn.refused(error, pause, *status == 429);
            if tries == TRIES || !again || spent.took >= DEADLINE {
                return (answer, spent);
            }
            tries += 1;
        }
    }
}
