//! Questions to MLflow. Each has a deadline and a bounded answer; a server that does not answer is left alone for a while.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{Method, RequestBuilder, Url};
use serde_json::json;
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::api::names::{OUTCOME_TAG, REASON_TAG};
use crate::config::{MlflowServer, Snapshot};
use crate::http_access::{HttpClient, SendError, Signed, base, innermost, said};
use crate::source::Ending;
use crate::source::mlflow::{AnswerFault, Version, fault, is_due, version};

/// Longest question, its answer included.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest way to a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Largest answer that is read: a version with its tags has a few kilobytes.
const LARGEST: usize = 1 << 20;
/// How long a server that did not answer is left alone; doubled each time, up to the longest.
const QUIET: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

/// Why MLflow said nothing that can be used.
#[derive(Clone, Debug, Error)]
pub enum Silence {
    /// The configuration has no such server.
    #[error("{0}")]
    NotFound(String),
    /// Its settings cannot be used, or a secret cannot be read.
    #[error("{0}")]
    Access(String),
    /// No answer in time.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Timeout,
    /// No connection, or it broke.
    #[error("not reached: {0}")]
    Unreachable(String),
    /// An answer without end.
    #[error("the answer has more than {LARGEST} bytes")]
    TooLarge,
    /// An answer that says no.
    #[error(transparent)]
    Answer(#[from] AnswerFault),
}

impl Silence {
    /// One word for metrics.
    pub(super) fn kind(&self) -> Option<&'static str> {
        match self {
            Self::NotFound(_) | Self::Answer(AnswerFault::Absent(_)) => None,
            Self::Timeout => Some("Timeout"),
            Self::Access(_) | Self::Unreachable(_) => Some("Unreachable"),
            Self::Answer(AnswerFault::Status(..)) => Some("Status"),
            Self::TooLarge | Self::Answer(AnswerFault::Malformed(_)) => Some("Answer"),
        }
    }
}

/// The servers of the configuration in force, opened once for each version of it.
#[derive(Default)]
pub struct Servers {
    open: Mutex<(u64, BTreeMap<String, Arc<Server>>)>,
}

impl Servers {
    /// The server of this name.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn get(&self, snapshot: &Snapshot, name: &str) -> Result<Arc<Server>, Silence> {
        let known = &snapshot.config.mlflow;
        let Some(settings) = known.get(name) else {
            let names = known.keys().cloned().collect::<Vec<_>>().join(", ");
            let has = if names.is_empty() { "none".to_owned() } else { names };
            return Err(Silence::NotFound(format!(
                "spec.source.mlflow.server is {name}, which is not under mlflow in the controller's configuration (it has {has})"
            )));
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.0 != snapshot.version {
            *open = (snapshot.version, BTreeMap::new());
        }
        if let Some(server) = open.1.get(name) {
            return Ok(server.clone());
        }
        let server = Arc::new(Server::new(settings)?);
        open.1.insert(name.to_owned(), server.clone());
        Ok(server)
    }
}

/// One server.
pub struct Server {
    http: HttpClient,
    base: Url,
    quiet: Mutex<Option<Quiet>>,
}

/// It did not answer.
struct Quiet {
    until: Instant,
    times: u32,
    why: Silence,
}

impl Server {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// When its settings cannot be used.
    pub fn new(settings: &MlflowServer) -> Result<Self, Silence> {
        let http = HttpClient::new(&settings.access, CONNECT).map_err(|error| Silence::Access(error.to_string()))?;
        let base = base(&settings.url).ok_or_else(|| Silence::Access("url is not an http or https URL".to_owned()))?;
        Ok(Self { http, base, quiet: Mutex::new(None) })
    }

    /// The version that an alias names; nothing if the model has no such alias.
    ///
    /// # Errors
    /// When there is no answer that can be used.
    pub async fn alias(&self, model: &str, alias: &str) -> Result<Option<Version>, Silence> {
        match self.get("registered-models/alias", &[("name", model), ("alias", alias)]).await {
            Err(Silence::Answer(AnswerFault::Absent(_))) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Lets MLflow know how a version's rollout ended, unless it does. Tags come last: they say that everything is written.
    ///
    /// # Errors
    /// When that is not certain.
    pub(super) async fn report(&self, model: &str, promoted: &str, ending: &Ending) -> Result<(), Silence> {
        let known = match self.get("model-versions/get", &[("name", model), ("version", &ending.version)]).await {
            // Somebody deleted it: there is nothing to report.
            Err(Silence::Answer(AnswerFault::Absent(_))) => return Ok(()),
            known => known?,
        };
        if known.knows(ending) {
            return Ok(());
        }
        if !known.was_promoted() && is_due(self.alias(model, promoted).await?.as_ref(), ending) {
            self.post("registered-models/alias", json!({ "name": model, "alias": promoted, "version": ending.version })).await?;
        }
        for (key, value) in [(REASON_TAG, ending.reason.as_str()), (OUTCOME_TAG, ending.outcome)] {
            let tag = json!({ "name": model, "version": ending.version, "key": key, "value": value });
            self.post("model-versions/set-tag", tag).await?;
        }
        Ok(())
    }

    /// It is known to live: it may be asked again.
    pub(super) fn wake(&self) {
        *self.quiet() = None;
    }

    async fn get(&self, what: &str, query: &[(&str, &str)]) -> Result<Version, Silence> {
        let request = self.http.request(Method::GET, self.url(what)).query(query);
        let (status, body, said) = self.ask(request, true).await?;
        Ok(version(status, &body, said.as_deref())?)
    }

    async fn post(&self, what: &str, body: serde_json::Value) -> Result<(), Silence> {
        let request = self.http.request(Method::POST, self.url(what)).json(&body);
        let (status, body, said) = self.ask(request, false).await?;
        if (200..300).contains(&status) { Ok(()) } else { Err(fault(status, &body, said.as_deref()).into()) }
    }

    fn url(&self, what: &str) -> Url {
        let mut url = self.base.clone();
        let path = format!("{}/api/2.0/mlflow/{what}", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }

    /// Status, body, and what the body says where it is no success.
    async fn ask(&self, request: RequestBuilder, again: bool) -> Result<(u16, Vec<u8>, Option<String>), Silence> {
        if let Some(quiet) = self.quiet().as_ref().filter(|quiet| quiet.until > Instant::now()) {
            return Err(quiet.why.clone());
        }
        let asked = timeout(DEADLINE, self.answer(request, again)).await.unwrap_or(Err(Silence::Timeout));
        let mut quiet = self.quiet();
        match &asked {
            Err(why @ (Silence::Timeout | Silence::Unreachable(_))) => {
                let times = quiet.as_ref().map_or(0, |quiet| quiet.times);
                let pause = QUIET.saturating_mul(1 << times.min(10)).min(LONGEST);
                *quiet = Some(Quiet { until: Instant::now() + pause, times: times.saturating_add(1), why: why.clone() });
            }
            _ => *quiet = None,
        }
        asked
    }

    async fn answer(&self, request: RequestBuilder, again: bool) -> Result<(u16, Vec<u8>, Option<String>), Silence> {
        let signed = self.http.sign(request).await.map_err(unsent)?;
        let secrets = signed.secrets.clone();
        let mut response = self.send(signed, again).await.map_err(unsent)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Silence::Unreachable(innermost(error)))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(Silence::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let said = if (200..300).contains(&status) { None } else { said::of(&body, &secrets) };
        Ok((status, body, said))
    }

    async fn send(&self, signed: Signed, again: bool) -> Result<reqwest::Response, SendError> {
        if again { self.http.send(signed).await } else { self.http.send_once(signed).await }
    }

    fn quiet(&self) -> MutexGuard<'_, Option<Quiet>> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unsent(error: SendError) -> Silence {
    match error {
        SendError::SignIn(why) => Silence::Access(why),
        SendError::Http(error) => Silence::Unreachable(innermost(error)),
    }
}

#[cfg(test)]
mod tests;
