//! The queue of traces, and who sends them.

use std::{error::Error as _, io, time::Duration};

use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::{mpsc, oneshot},
    time,
};

use super::{Course, Trace, wire};
use crate::{
    clock::Clock,
    config::{ConfigHandle, Otlp},
    http_access::{HttpClient, SendError},
    metrics::Metrics,
};

/// So many traces wait at most; what comes then is dropped.
const WAITING: usize = 256;
/// So many go with one request at most.
const TOGETHER: usize = 64;
/// How long a trace waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// Longest request, from the connection to the end of the answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Pauses before the next try; after the last one the traces are given up.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// Longest pause that a collector can ask for.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How much of an answer is read.
const ANSWER_MAX: usize = 64 * 1024;
/// Where a collector takes traces, behind its base URL.
const PATH: &str = "/v1/traces";

enum Item {
    Trace(Trace),
    /// Send what waits now, then say so.
    Now(oneshot::Sender<()>),
}

/// Follows what is to be traced, and sends it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Traces {
    queue: mpsc::Sender<Item>,
    config: ConfigHandle,
    clock: Clock,
    metrics: Metrics,
}

/// Why traces have not arrived. Never contains the URL or a secret.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error("{0}")]
    Access(String),
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Deadline,
    #[error("{0}")]
    Connection(String),
    #[error("answered {0}")]
    Status(StatusCode, Option<Duration>),
}

impl Traces {
    /// Starts the task that sends. Whether and where is what the configuration in force says. Must be called within a runtime.
    pub fn new(config: ConfigHandle, clock: Clock, metrics: Metrics, instance: &str) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let lane = Lane { config: config.clone(), metrics: metrics.clone(), instance: instance.to_owned(), client: None, failing: false };
        tokio::spawn(lane.run(waiting));
        Self { queue, config, clock, metrics }
    }

    /// Follows a call, if the configuration asks for traces.
    pub fn course(&self) -> Course {
        if self.config.current().config.traces.is_none() {
            return Course::default();
        }
        let mut bytes = [0; 24];
        // Without randomness there is no identity, and without that no trace.
        if SystemRandom::new().fill(&mut bytes).is_err() {
            return Course::default();
        }
        let [id, first] =
            [bytes.get(..16), bytes.get(16..)].map(|part| part.into_iter().flatten().fold(0, |all, byte| all << 8 | u128::from(*byte)));
        Course::begin("pass", (id.max(1), u64::try_from(first).unwrap_or_default().clamp(1, u64::MAX / 2)), self.clock)
    }

    /// Takes a trace over. Never waits.
    pub fn send(&self, trace: Trace) {
        let spans = trace.spans.len();
        if self.queue.try_send(Item::Trace(trace)).is_err() {
            self.metrics.spans("dropped", spans);
        }
    }

    /// Sends what waits, for at most this time.
    pub async fn close(&self, most: Duration) {
        let (done, sent) = oneshot::channel();
        let _ = time::timeout(most, async {
            if self.queue.send(Item::Now(done)).await.is_ok() {
                let _ = sent.await;
            }
        })
        .await;
    }
}

struct Lane {
    config: ConfigHandle,
    metrics: Metrics,
    instance: String,
    /// The client, and the version of the configuration that it was made from.
    client: Option<(u64, HttpClient)>,
    failing: bool,
}

impl Lane {
    /// Ends with the last sender.
    async fn run(mut self, mut waiting: mpsc::Receiver<Item>) {
        while let Some(first) = waiting.recv().await {
            let (mut batch, mut asked) = (Vec::new(), Vec::new());
            let until = time::sleep(GATHER);
            tokio::pin!(until);
            let mut next = Some(first);
            while let Some(item) = next.take() {
                match item {
                    Item::Trace(trace) => batch.push(trace),
                    Item::Now(done) => asked.push(done),
                }
                if batch.len() < TOGETHER && asked.is_empty() {
                    next = tokio::select! {
                        item = waiting.recv() => item,
                        () = &mut until => None,
                    };
                }
            }
            if !batch.is_empty() {
                self.deliver(&batch).await;
            }
            for done in asked {
                let _ = done.send(());
            }
        }
    }

    /// Tries until it is taken, refused or given up.
    async fn deliver(&mut self, batch: &[Trace]) {
        let spans = batch.iter().map(|trace| trace.spans.len()).sum::<usize>();
        let mut pauses = PAUSES.into_iter();
        loop {
            let snapshot = self.config.current();
            let Some(otlp) = snapshot.config.traces.as_ref().map(|traces| &traces.otlp) else {
                return self.metrics.spans("dropped", spans); // turned off meanwhile
            };
            let error = match time::timeout(DEADLINE, self.post(otlp, snapshot.version, batch)).await.unwrap_or(Err(Unsent::Deadline)) {
                Ok(refused) => return self.taken(spans, refused),
                Err(error) => error,
            };
            if !self.failing {
                self.failing = true;
                tracing::warn!(error = %error, "traces do not reach the collector; nothing else waits for it");
            }
            let Some(pause) = pauses.next().and_then(|pause| error.pause(pause)) else {
                return self.metrics.spans("failed", spans);
            };
            time::sleep(pause).await;
        }
    }

    fn taken(&mut self, spans: usize, (refused, words): (u64, String)) {
        let refused = usize::try_from(refused).unwrap_or(usize::MAX).min(spans);
        self.metrics.spans("sent", spans - refused);
        self.metrics.spans("refused", refused);
        if std::mem::take(&mut self.failing) {
            tracing::info!("traces reach the collector again");
        }
        if refused > 0 {
            tracing::warn!(refusal = words, "the collector refused spans");
        }
    }

    async fn post(&mut self, otlp: &Otlp, version: u64, batch: &[Trace]) -> Result<(u64, String), Unsent> {
        let known = self.client.take().filter(|(of, _)| *of == version);
        let made = match known {
            Some((_, client)) => client,
            None => HttpClient::new(&otlp.access, Duration::from_secs(2)).map_err(|error| Unsent::Access(error.to_string()))?,
        };
        let client = &self.client.insert((version, made)).1;
        let url = address(&otlp.url).ok_or_else(|| Unsent::Access("the address cannot be used".to_owned()))?;
        let body = wire::body(batch, &self.instance, &otlp.attributes);
        let request = client.request(Method::POST, url).header(CONTENT_TYPE, "application/x-protobuf").body(body);
        let mut response = client.send(client.sign(request).await?).await?;
        let status = response.status();
        if !status.is_success() {
            let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            return Err(Unsent::Status(status, asked.map(Duration::from_secs)));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(SendError::Http)? {
            if answer.len() + chunk.len() > ANSWER_MAX {
                return Ok((0, String::new())); // taken, with more words than anybody reads
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(wire::refused(&answer))
    }
}

impl Unsent {
    /// The pause before the next try; `None`: the same would be refused again.
    fn pause(&self, usual: Duration) -> Option<Duration> {
        match self {
            Self::Access(_) | Self::Deadline | Self::Connection(_) => Some(usual),
            Self::Status(status, asked) => {
                let again =
                    [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
                again.contains(status).then(|| asked.unwrap_or(usual).min(PAUSE_MAX))
            }
        }
    }
}

impl From<SendError> for Unsent {
    fn from(error: SendError) -> Self {
        let error = match error {
            SendError::SignIn(why) => return Self::Access(why),
            SendError::Http(error) if error.is_timeout() => return Self::Deadline,
            SendError::Http(error) => error,
        };
        // The text of an error of reqwest ends with the URL: only the system's word is passed on.
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<io::Error>().filter(|io| io.kind() != io::ErrorKind::Other) {
                return Self::Connection(io.kind().to_string());
            }
            source = cause.source();
        }
        Self::Connection("no connection".to_owned())
    }
}

/// The URL that takes traces: the base URL of a collector, or all of it.
fn address(url: &str) -> Option<Url> {
    let mut url = Url::parse(url).ok()?;
    let path = url.path().trim_end_matches('/');
    let path = if path.ends_with(PATH) { path.to_owned() } else { format!("{path}{PATH}") };
    url.set_path(&path);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_by_its_base_url_or_by_all_of_it() {
        for (given, wanted) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
            ("https://h/otlp/?tenant=a", "https://h/otlp/v1/traces?tenant=a"),
        ] {
            assert_eq!(address(given).unwrap().as_str(), wanted);
        }
    }

    #[test]
    fn what_would_be_refused_again_is_not_sent_again() {
        let usual = Duration::from_secs(2);
        let status = |code: u16, asked: Option<u64>| Unsent::Status(StatusCode::from_u16(code).unwrap(), asked.map(Duration::from_secs));
        assert_eq!(status(400, None).pause(usual), None);
        assert_eq!(status(401, Some(1)).pause(usual), None);
        assert_eq!(status(503, None).pause(usual), Some(usual));
        assert_eq!(status(429, Some(7)).pause(usual), Some(Duration::from_secs(7)));
        assert_eq!(status(503, Some(9_000)).pause(usual), Some(PAUSE_MAX));
        assert_eq!(Unsent::Deadline.pause(usual), Some(usual));
    }
}
