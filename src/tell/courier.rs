//! One delivery of one alert to one sink: deadline, bounded answer, no redirects, and no URL in any error.

use std::{
    error::Error as _,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{RequestBuilder, Response, StatusCode, header};

use super::{alertmanager, cloudevents, meaning, meaning::Alert, pagerduty, text::Text, webhook};
use crate::{
    api::{DecisionRecord, OutboxEntry},
    config::{HttpAccess, Sink, Template},
    http_access::{HttpClient, SendError, said},
};

/// Longest delivery, from the connection to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const ANSWER_MAX: usize = 4 * 1024;
/// Longest pause that a sink can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Pause when a sink says "too many requests" and nothing more.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// So many clients are kept; sinks share one where they are reached in the same way.
const CLIENTS_MAX: usize = 16;

/// An alert on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// One for each transition.
    pub key: String,
    /// Namespace of the Rollout.
    pub namespace: String,
    /// Name of the Rollout.
    pub name: String,
    /// What was decided.
    pub record: DecisionRecord,
    /// When the state that it speaks of was over; `None`: it has begun.
    pub ended: Option<Timestamp>,
    /// Words that take the place of the built-in ones.
    pub template: Template,
    /// Letters with the same cause that this one speaks for as well.
    pub others: Vec<Letter>,
}

impl Letter {
    /// The letter of an entry of the outbox of the Rollout `namespace/name`.
    pub fn of(namespace: &str, name: &str, entry: &OutboxEntry) -> Self {
        Self {
            key: entry.key.clone(),
            namespace: namespace.into(),
            name: name.into(),
            record: entry.record.clone(),
            ended: entry.ended_at.as_ref().map(|ended| ended.0),
            template: Template::default(),
            others: Vec::new(),
        }
    }

    pub(super) fn text(&self) -> Text {
        if !self.others.is_empty() {
            let rollouts: Vec<(&str, &str)> =
                std::iter::once(self).chain(&self.others).map(|letter| (letter.namespace.as_str(), letter.name.as_str())).collect();
            return Text::together(&rollouts, &self.record);
        }
        let text = Text::of(&self.namespace, &self.name, &self.record);
        match self.ended {
            Some(ended) => text.ended(self.record.at.0, ended),
            None => text,
        }
    }

    pub(super) fn alert(&self) -> Alert {
        meaning::of(&self.record).alert.unwrap_or(Alert { name: "RolloutChanged", severity: meaning::Severity::Info })
    }
}

/// What a sink is sent, and what it must say.
pub(super) struct Post {
    /// The request with its body.
    pub(super) request: RequestBuilder,
    /// What of an answer is not repeated; `None`: nothing of it is.
    pub(super) hidden: Option<Vec<String>>,
    /// Whether the body of a success says so too.
    pub(super) accept: fn(&[u8]) -> Result<(), SinkFault>,
}

/// Why a sink has not got a letter. Never contains its URL or a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkFault {
    /// Not within the deadline.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Deadline,
    /// No connection, or it broke.
    #[error("no connection: {0}")]
    Connection(String),
    /// An HTTP status that is not success, with the sink's own words.
    #[error("answered {0}{said}", said = words(.1))]
    Status(u16, Option<String>),
    /// A redirect: the letter would go to an address that nobody configured.
    #[error("answered {0}, a redirect, which is not followed: configure the final address")]
    Redirect(u16),
    /// Asked to wait.
    #[error("answered {status}{}", if *.status == 429 { ", too many requests" } else { " and asks to wait" })]
    Wait {
        /// The status of the answer.
        status: u16,
        /// For how long.
        retry_after: Duration,
    },
    /// Success by its status, but not by its body.
    #[error("answered 200, but {0}")]
    Answer(&'static str),
    /// The key that signs cannot be used.
    #[error("the HMAC key file {0}")]
    Key(String),
    /// The key that says where it belongs cannot be used.
    #[error("the routing key file {0}")]
    RoutingKey(String),
    /// The settings by which it is reached cannot be used, or a secret cannot be read.
    #[error("{0}")]
    Access(String),
    /// The configuration has no such sink, or its address is none.
    #[error("the sink is not in the configuration")]
    Unknown,
}

fn words(said: &Option<String>) -> String {
    said.as_ref().map_or_else(String::new, |said| format!(": {said}"))
}

/// How sinks are reached, and the client that does it.
type Known = (HttpAccess, Arc<HttpClient>);

/// Sends letters.
#[derive(Clone, Debug, Default)]
pub struct Courier {
    clients: Arc<Mutex<Vec<Known>>>,
}

impl Courier {
    /// A courier without any client yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn client(&self, access: &HttpAccess) -> Result<Arc<HttpClient>, SinkFault> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = clients.iter().find(|(known, _)| known == access) {
            return Ok(known.clone());
        }
        let made = HttpClient::new(access, Duration::from_secs(2)).map_err(|error| SinkFault::Access(error.to_string()))?;
        let made = Arc::new(made);
        if clients.len() == CLIENTS_MAX {
            clients.remove(0);
        }
        clients.push((access.clone(), made.clone()));
        Ok(made)
    }

    /// Delivers a letter to a sink, or says why not. `now` is written into it.
    pub async fn send(&self, sink: &Sink, letter: &Letter, now: Timestamp) -> Result<(), SinkFault> {
        let sent = async {
            let http = self.client(sink.access())?;
            let Post { request, hidden, accept } = match sink {
                Sink::Alertmanager(sink) => alertmanager::post(&http, sink, letter, now)?,
                Sink::Webhook(sink) => webhook::post(&http, sink, letter, now).await?,
                Sink::PagerDuty(sink) => pagerduty::post(&http, sink, letter).await?,
                Sink::CloudEvents(sink) => cloudevents::post(&http, sink, letter)?,
            };
            accept(&answer(&http, request, hidden.as_deref(), now).await?)
        };
        tokio::time::timeout(DEADLINE, sent).await.unwrap_or(Err(SinkFault::Deadline))
    }
}

/// The begin of a successful answer's body. With `hidden`, the words of any other one are repeated without that.
async fn answer(http: &HttpClient, request: RequestBuilder, hidden: Option<&[String]>, now: Timestamp) -> Result<Vec<u8>, SinkFault> {
    let signed = http.sign(request).await.map_err(unsent)?;
    let secrets = hidden.map(|hidden| [hidden, &signed.secrets].concat());
    let mut response = http.send_once(signed).await.map_err(unsent)?;
    let status = response.status();
    let asked = retry_after(&response, now);
    if let Some(retry_after) = asked.filter(|_| matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)) {
        return Err(SinkFault::Wait { status: status.as_u16(), retry_after });
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(SinkFault::Wait { status: status.as_u16(), retry_after: RETRY_AFTER });
    }
    if status.is_redirection() {
        return Err(SinkFault::Redirect(status.as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| fault(&e))? {
        let room = ANSWER_MAX.saturating_sub(body.len());
        body.extend(chunk.iter().take(room));
        if chunk.len() >= room {
            break;
        }
    }
    if !status.is_success() {
        return Err(SinkFault::Status(status.as_u16(), secrets.and_then(|secrets| said::of(&body, &secrets))));
    }
    Ok(body)
}

/// The pause that an answer asks for, in seconds or as a date.
fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    let said = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = said.parse().ok().map(Duration::from_secs);
    let date = || rfc2822::parse(said).ok().map(|date| Duration::try_from(date.timestamp().duration_since(now)).unwrap_or_default());
    Some(seconds.or_else(date)?.clamp(Duration::from_secs(1), RETRY_AFTER_MAX))
}

fn unsent(error: SendError) -> SinkFault {
    match error {
        SendError::SignIn(why) => SinkFault::Access(why),
        SendError::Http(error) => fault(&error),
    }
}

/// The kind of an error and no more: its own text ends with the URL, and the text of its sources may name the host.
fn fault(error: &reqwest::Error) -> SinkFault {
    if error.is_timeout() {
        return SinkFault::Deadline;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && io.kind() != io::ErrorKind::Other
        {
            return SinkFault::Connection(io.kind().to_string());
        }
        source = cause.source();
    }
    SinkFault::Connection(
        match (error.is_connect(), error.is_builder()) {
            (true, _) => "name resolution, TLS or the connection failed",
            (_, true) => "the address cannot be used",
            _ => "the connection broke",
        }
        .into(),
    )
}
