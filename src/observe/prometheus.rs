//! A Prometheus server: asks, and tells data from everything else that can come back.

use std::{path::PathBuf, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use reqwest::{Client, Url, header, redirect};
use tokio::sync::Semaphore;

use crate::config::Provider;
use crate::counts::Series;

mod answer;
mod fault;
mod selector;
mod skew;
mod words;

pub use fault::QueryError;
pub use selector::{BadName, Selector};

/// From the first byte sent to the last byte read.
const DEADLINE: Duration = Duration::from_secs(10);
/// What Prometheus itself is told: a little less, so that its own word arrives.
const SERVER_TIMEOUT: &str = "9s";
/// Longest body that is read.
const MOST_BYTES: usize = 16 << 20;
/// Of an answer that is no success, so much is read.
const MOST_OF_AN_ERROR: usize = 64 << 10;
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
    /// The file with the certificates cannot be read.
    #[error("caFile: {0}")]
    CaFile(std::io::Error),
    /// The file holds no certificate in PEM.
    #[error("caFile: no certificate in PEM")]
    Certificates,
    /// The HTTP client cannot be made.
    #[error("client: {0}")]
    Client(reqwest::Error),
}

/// One Prometheus server. Share it: for each value one request at a time is in flight, and one more of the queries that users wrote.
#[derive(Debug)]
pub struct Prometheus {
    endpoint: Url,
    pooled: Client,
    fresh: Client,
    labels: Vec<(String, String)>,
    token: Option<PathBuf>,
    scrape_interval: Duration,
    lag: Duration,
    turn: Semaphore,
    /// For queries that users wrote.
    users_turn: Semaphore,
    skew: skew::Skew,
}

impl Prometheus {
    /// A client for a server as configured. Reads `caFile` now; the token is read for every request.
    ///
    /// # Errors
    /// When the configuration cannot be used; nothing is sent.
    pub fn new(provider: &Provider) -> Result<Self, ProviderError> {
        crate::tls::install();
        let mut endpoint = Url::parse(&provider.url).map_err(|_| ProviderError::Url)?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none_or(str::is_empty) {
            return Err(ProviderError::Url);
        }
        let path = format!("{}/api/v1/query", endpoint.path().trim_end_matches('/'));
        endpoint.set_path(&path);
        endpoint.set_query(None);
        endpoint.set_fragment(None);

        for label in provider.labels.keys() {
            Selector::new("up")?.is(label, "")?;
        }
        let certificates = match &provider.ca_file {
            None => Vec::new(),
            Some(file) => {
                let pem = std::fs::read(file).map_err(ProviderError::CaFile)?;
                let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| ProviderError::Certificates)?;
                if found.is_empty() {
                    return Err(ProviderError::Certificates);
                }
                found
            }
        };
        let client = |idle: usize| {
            let mut builder = Client::builder()
                .no_proxy()
                .redirect(redirect::Policy::none())
                .referer(false)
                .http1_only()
                .connect_timeout(Duration::from_secs(5))
                .pool_max_idle_per_host(idle)
                .user_agent(concat!("haldane/", env!("CARGO_PKG_VERSION")));
            if !certificates.is_empty() {
                builder = builder.tls_certs_only(certificates.clone());
            }
            builder.build().map_err(|error| ProviderError::Client(error.without_url()))
        };
        let scrape_interval = provider.scrape_interval.map_or(Duration::from_secs(15), absolute).max(Duration::from_millis(100));
        Ok(Self {
            endpoint,
            pooled: client(1)?,
            fresh: client(0)?,
            labels: provider.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            token: provider.bearer_token_file.clone(),
            scrape_interval,
            lag: provider.lag.map_or(scrape_interval + Duration::from_secs(5), absolute),
            turn: Semaphore::new(1),
            users_turn: Semaphore::new(1),
            skew: skew::Skew::default(),
        })
    }

    /// How often targets are scraped.
    pub fn scrape_interval(&self) -> Duration {
        self.scrape_interval
    }

    /// How far behind now a window ends.
    pub fn lag(&self) -> Duration {
        self.lag
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
        self.body(query, Some(self.skew.theirs(at))).await.and_then(|body| answer::value(&body))
    }

    async fn ask(&self, query: &str, at: Timestamp, kind: answer::Kind) -> Result<Vec<Series>, QueryError> {
        let _turn = self.turn.acquire().await;
        let body = self.body(query, Some(self.skew.theirs(at))).await?;
        answer::read(&body, kind).map(|series| self.skew.ours(series))
    }

    /// One query at a time of the server's clock, or at its now.
    async fn body(&self, query: &str, at: Option<Timestamp>) -> Result<Vec<u8>, QueryError> {
        let answered = tokio::time::timeout(DEADLINE, async {
            let mut tries = 1;
            loop {
                let answer = match self.send(&self.pooled, query, at).await {
                    // A pooled connection may have died since; a new one may find the server at a new address.
                    Err(QueryError::Unreachable(_)) => self.send(&self.fresh, query, at).await,
                    other => other,
                };
                let pause = match &answer {
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

    async fn send(&self, client: &Client, query: &str, at: Option<Timestamp>) -> Result<Vec<u8>, QueryError> {
        let time = at.map(|at| format!("{}.{:03}", at.as_millisecond().div_euclid(1000), at.as_millisecond().rem_euclid(1000)));
        let mut form = vec![("query", query), ("timeout", SERVER_TIMEOUT)];
        form.extend(time.as_deref().map(|time| ("time", time)));
        let mut request = client.post(self.endpoint.clone()).header(header::ACCEPT, "application/json").form(&form);
        let mut secrets = vec![self.endpoint.to_string(), self.endpoint.authority().to_owned()];
        if let Some(file) = &self.token {
            let token = tokio::fs::read_to_string(file).await.map_err(|error| QueryError::Token(error.kind().to_string()))?;
            request = request.bearer_auth(token.trim());
            secrets.push(token.trim().to_owned());
        }
        let response = request.send().await.map_err(broken)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            let body = bytes(response, MOST_OF_AN_ERROR).await.map(|(body, _)| body).unwrap_or_default();
            return Err(QueryError::of(status, &headers, &body, &secrets));
        }
        if let Some(limited) = headers.get("m3-results-limited") {
            let said = words::clip(&String::from_utf8_lossy(limited.as_bytes()));
            return Err(QueryError::Warnings(format!("M3-Results-Limited: {said}")));
        }
        if response.content_length().is_some_and(|length| length > MOST_BYTES as u64) {
            return Err(QueryError::TooLarge);
        }
        let (body, whole) = bytes(response, MOST_BYTES).await?;
        if !whole {
            return Err(QueryError::TooLarge);
        }
        let html = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if html.is_some_and(|value| value.to_ascii_lowercase().contains("html")) {
            return Err(QueryError::NotJson);
        }
        Ok(body)
    }
}

/// At most so much of a body, and whether that is all of it.
async fn bytes(response: reqwest::Response, most: usize) -> Result<(Vec<u8>, bool), QueryError> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(broken)?;
        let room = most - body.len();
        let Some(more) = chunk.get(..room).filter(|_| chunk.len() > room) else {
            body.extend_from_slice(&chunk);
            continue;
        };
        body.extend_from_slice(more);
        return Ok((body, false));
    }
    Ok((body, true))
}

/// The innermost cause, without the URL.
fn broken(error: reqwest::Error) -> QueryError {
    if error.is_timeout() && !error.is_connect() {
        return QueryError::Timeout;
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    QueryError::Unreachable(cause.to_string())
}

fn absolute(duration: kube::core::Duration) -> Duration {
    Duration::from(duration)
}
