//! A Prometheus server: asks, and tells data from everything else that can come back.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::config::Provider;
use crate::counts::Series;
use crate::http_access::{AccessError, said as words};

mod answer;
mod counted;
mod fault;
mod line;
mod native;
mod selector;
mod skew;

pub use counted::Counted;
pub use fault::QueryError;
pub use selector::{BadName, Selector};

/// From the first byte sent to the last byte read.
const DEADLINE: Duration = Duration::from_secs(10);
/// A server that is busy is asked so often for the same, within the deadline.
const TRIES: u32 = 3;
/// Pause before the second try, where the server names none.
const PAUSE: Duration = Duration::from_millis(500);
/// A server that asks for a longer pause is left alone by whoever asked.
const LONGEST_PAUSE_HERE: Duration = Duration::from_secs(2);

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

/// One Prometheus server. Share it: for each value one request at a time is in flight, and one more of the queries that users wrote.
#[derive(Debug)]
pub struct Prometheus {
    line: line::Line,
    labels: Vec<(String, String)>,
    scrape_interval: Duration,
    lag: Duration,
    turn: Semaphore,
    /// For queries that users wrote.
    users_turn: Semaphore,
    skew: skew::Skew,
    counted: Option<Counted>,
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
        Ok(Self {
            line,
            labels: provider.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            scrape_interval,
            lag: provider.window_lag(),
            turn: Semaphore::new(1),
            users_turn: Semaphore::new(1),
            skew: skew::Skew::default(),
            counted: None,
            newest: Mutex::default(),
            grids: Mutex::default(),
        })
    }

    /// The same, with each query counted in our own metrics.
    #[must_use]
    pub fn counted(self, counted: Counted) -> Self {
        Self { counted: Some(counted), ..self }
    }

    /// How often targets are scraped.
    pub fn scrape_interval(&self) -> Duration {
        self.scrape_interval
    }

    /// How far behind now a window ends.
    pub fn lag(&self) -> Duration {
        self.lag
    }

    /// The newest sample when the newest window was asked for in time; nothing before, or where there was no sample.
    pub(super) fn newest(&self) -> Option<Newest> {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the time of the newest sample, asked for `now`.
    pub(super) fn note_newest(&self, sample: Option<Timestamp>, now: Timestamp) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let since = newest.filter(|before| Some(before.sample) == sample).map_or(now, |before| before.since);
        *newest = sample.map(|sample| Newest { sample, since, asked: now });
        let age = newest.map(|newest| newest.age().as_secs_f64());
        tracing::debug!(age_seconds = age, lag_seconds = self.lag.as_secs_f64(), "the newest sample's age");
    }

    /// Raw samples of the `seconds` before `at`, with their own times, in our clock's time. The provider's labels are added.
    ///
    /// # Errors
    /// When there is no answer that can be trusted.
    pub async fn raw(&self, selector: &Selector, seconds: u64, at: Timestamp) -> Result<Vec<Series>, QueryError> {
        self.matrix(&self.own(selector)?.range(seconds), at).await
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
        for (name, value) in &self.labels {
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

    /// A query of a user's own, whose answer must be one finite number: a scalar, or a vector of one sample. It waits for other users'
    /// queries alone, and nothing else waits for it.
    ///
    /// # Errors
    /// When there is no answer that can be trusted, or not one number.
    pub async fn value(&self, query: &str, at: Timestamp) -> Result<f64, QueryError> {
        let _turn = self.users_turn.acquire().await;
        let body = self.body(query, Some(self.skew.theirs(at)));
        let value = async { answer::value(&body.await?).map_err(|error| self.line.without_secrets(error)) };
        counted::query(self.counted.as_ref(), value).await
    }

    async fn ask(&self, query: &str, at: Timestamp, kind: answer::Kind) -> Result<Vec<Series>, QueryError> {
        let _turn = self.turn.acquire().await;
        let body = self.body(query, Some(self.skew.theirs(at)));
        let answer = counted::query(self.counted.as_ref(), async {
            let body = body.await?;
            let mut grids = self.grids.lock().unwrap_or_else(PoisonError::into_inner);
            answer::read(&body, kind, &mut grids).map_err(|error| self.line.without_secrets(error))
        });
        answer.await.map(|series| self.skew.ours(series))
    }

    /// One query at a time of the server's clock, or at its now.
    async fn body(&self, query: &str, at: Option<Timestamp>) -> Result<Vec<u8>, QueryError> {
        let answered = tokio::time::timeout(DEADLINE, async {
            let (mut tries, mut cut_off) = (1, false);
            loop {
                let answer = self.line.ask(query, at).await;
                let pause = match &answer {
                    // An answer that breaks off once may be whole on a new connection.
                    Err(QueryError::Unreachable(_)) if !cut_off => {
                        cut_off = true;
                        continue;
                    }
                    Err(QueryError::Busy { retry_after, .. }) => retry_after.unwrap_or(PAUSE * tries).max(PAUSE),
                    _ => return answer,
                };
                if tries == TRIES || pause > LONGEST_PAUSE_HERE {
                    return answer;
                }
                tries += 1;
                tokio::time::sleep(pause).await;
            }
        });
        answered.await.map_err(|_| QueryError::Timeout)?
    }
}
