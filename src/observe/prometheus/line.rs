//! The line to a server: where its API is, by which method it is asked, and the bytes that come back.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use jiff::Timestamp;
use reqwest::{Method, Response, StatusCode, Url, header};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{ProviderError, QueryError, answer, words};
use crate::config::HttpAccess;
use crate::http_access::{self, HttpClient, SendError};

/// The deadline that Prometheus gets: a little less than our own, so that its error message arrives.
const SERVER_TIMEOUT: &str = "9s";
/// Longest body that is read.
const MOST_BYTES: usize = 16 << 20;
/// Of an answer that is no success, so much is read.
const MOST_OF_AN_ERROR: usize = 64 << 10;
/// What the URL of a provider may end with: it is added by us.
const API: [&str; 3] = ["/api/v1/query_range", "/api/v1/query", "/api/v1"];

/// The method by which the server has answered.
const UNKNOWN: u8 = 0;
const POST: u8 = 1;
const GET: u8 = 2;

/// The body of an answer, and its place among those that are long.
pub(super) type Body<'p> = (Vec<u8>, Option<SemaphorePermit<'p>>);

#[derive(Debug)]
pub(super) struct Line {
    endpoint: Url,
    /// Of no message: the URL itself, and host and port.
    hidden: Vec<String>,
    http: HttpClient,
    method: AtomicU8,
    /// What the newest request carried that no message may show.
    secrets: Mutex<Vec<String>>,
}

impl Line {
    pub(super) fn new(url: &str, access: &HttpAccess) -> Result<Self, ProviderError> {
        let mut endpoint = http_access::base(url).ok_or(ProviderError::Url)?;
        let path = endpoint.path();
        let path = API.iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path).trim_end_matches('/').to_owned();
        endpoint.set_path(&format!("{path}/api/v1/query"));
        let mut bare = endpoint.clone();
        bare.set_query(None);
        let mut hidden = vec![endpoint.to_string(), bare.to_string(), url.to_owned(), endpoint.authority().to_owned()];
        let named = endpoint.query_pairs().filter(|(name, _)| http_access::is_secret(name));
        hidden.extend(named.map(|(_, value)| value.into_owned()));
        let http = HttpClient::new(access, Duration::from_secs(5))?;
        Ok(Self { endpoint, hidden, http, method: AtomicU8::new(UNKNOWN), secrets: Mutex::default() })
    }

    /// The error without what the request carried: a server may repeat it.
    pub(super) fn without_secrets(&self, error: QueryError) -> QueryError {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        error.repeated(|said| words::repeated(said, &secrets))
    }

    /// One query. By POST, since queries are long; by GET where a proxy lets nothing else through, which is remembered. With `places` the body
    /// is not read before one of them is free.
    pub(super) async fn ask<'p>(&self, query: &str, at: Option<Timestamp>, places: Option<&'p Semaphore>) -> Result<Body<'p>, QueryError> {
        let known = self.method.load(Ordering::Relaxed);
        if known == GET {
            return self.send(Method::GET, query, at, places).await;
        }
        let posted = self.send(Method::POST, query, at, places).await;
        let refused = match &posted {
            Err(QueryError::Status(status, _) | QueryError::Unauthorized(status, _)) => matches!(status, 403 | 404 | 405 | 501),
            other => {
                if other.is_ok() {
                    self.method.store(POST, Ordering::Relaxed);
                }
                false
            }
        };
        if !refused || known == POST {
            return posted;
        }
        match self.send(Method::GET, query, at, places).await {
            Ok(got) => {
                self.method.store(GET, Ordering::Relaxed);
                Ok(got)
            }
            // Neither works: the first refusal says why, unless it was of the method.
            Err(error) => match posted {
                Err(QueryError::Status(405 | 501, _)) => Err(error),
                posted => posted,
            },
        }
    }

    async fn send<'p>(
        &self,
        method: Method,
        query: &str,
        at: Option<Timestamp>,
        places: Option<&'p Semaphore>,
    ) -> Result<Body<'p>, QueryError> {
        let time = at.map(|at| format!("{}.{:03}", at.as_millisecond().div_euclid(1000), at.as_millisecond().rem_euclid(1000)));
        let mut form = vec![("query", query), ("timeout", SERVER_TIMEOUT)];
        form.extend(time.as_deref().map(|time| ("time", time)));
        let request = self.http.request(method.clone(), self.endpoint.clone()).header(header::ACCEPT, "application/json");
        let request = if method == Method::GET { request.query(&form) } else { request.form(&form) };
        let signed = self.http.sign(request).await.map_err(unsent)?;
        // Longest first: a part of a secret does not keep the rest from being found.
        let mut secrets = [signed.secrets.as_slice(), &self.hidden].concat();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&secrets);
        let response = self.http.send(signed).await.map_err(unsent)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            let body = bytes(response, MOST_OF_AN_ERROR).await.map(|(body, _)| body).unwrap_or_default();
            return Err(QueryError::of(status, &headers, &body, &secrets));
        }
        let said = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if let Some(limited) = said("m3-results-limited") {
            return Err(QueryError::Warnings(words::repeated(&format!("M3-Results-Limited: {limited}"), &secrets)));
        }
        if let Some(warning) = said("warning").filter(|warning| answer::tells_of_loss(warning)) {
            return Err(QueryError::Warnings(words::repeated(&format!("Warning: {warning}"), &secrets)));
        }
        if status != StatusCode::OK {
            return Err(QueryError::Warnings(format!("HTTP {status}, not 200 OK: not all of the answer")));
        }
        if response.content_length().is_some_and(|length| length > MOST_BYTES as u64) {
            return Err(QueryError::TooLarge);
        }
        let place = match places {
            Some(places) => places.acquire().await.ok(),
            None => None,
        };
        let (body, whole) = bytes(response, MOST_BYTES).await?;
        if !whole {
            return Err(QueryError::TooLarge);
        }
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if kind.is_some_and(|value| value.to_ascii_lowercase().contains("html")) {
            return Err(QueryError::NotJson);
        }
        Ok((body, place))
    }
}

/// At most so much of a body, and whether that is all of it.
async fn bytes(response: Response, most: usize) -> Result<(Vec<u8>, bool), QueryError> {
    let told = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut body = Vec::with_capacity(told.min(most));
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

fn unsent(error: SendError) -> QueryError {
    match error {
        SendError::SignIn(why) => QueryError::SignIn(why),
        SendError::Http(error) => broken(error),
    }
}

fn broken(error: reqwest::Error) -> QueryError {
    if error.is_timeout() && !error.is_connect() {
        return QueryError::Timeout;
    }
    QueryError::Unreachable(http_access::innermost(error))
}
