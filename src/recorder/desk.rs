//! The record of one Rollout, and the ConfigMap that it is kept in.

use std::{future::Future, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt, api::PostParams};
use thiserror::Error;

use crate::api::{Rollout, names::MANAGER};
use crate::record::{self, News, Record, RecordError};

/// Longest read, longest write.
const READ: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(10);
/// A write that met another one is made again at once so often.
const TRIES: usize = 3;

/// Why a record is not written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Unkept {
    /// The same write would be refused again.
    #[error("The course of this rollout is not recorded; everything else goes on. {0}")]
    Refused(String),
    /// It may be otherwise next time.
    #[error("The course of this rollout was not recorded and will be written later. {0}")]
    Trouble(String),
}

/// What is known of a Rollout's record.
pub(super) struct Desk {
    api: Api<ConfigMap>,
    namespace: String,
    rollout: String,
    /// What is to be written.
    record: Record,
    /// What was read or written last; `None`: it was not read yet.
    stored: Option<Stored>,
}

/// What is at its place.
enum Stored {
    /// Nothing.
    Absent,
    /// This, without its data.
    There(Box<ConfigMap>),
}

impl Desk {
    pub(super) fn new(client: Client, rollout: &Rollout, uid: &str) -> Self {
        let namespace = rollout.namespace().unwrap_or_default();
        Self { api: Api::namespaced(client, &namespace), namespace, rollout: rollout.name_any(), record: Record::new(uid), stored: None }
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn rollout(&self) -> &str {
        &self.rollout
    }

    pub(super) fn uid(&self) -> &str {
        &self.record.uid
    }

    pub(super) fn note(&mut self, news: News) {
        self.record.note(news);
    }

    /// Whether no rollout is under way.
    pub(super) fn is_over(&self) -> bool {
        self.record.newest().is_none_or(|run| !run.is_under_way())
    }

    /// How long the newest rollout has been recorded.
    pub(super) fn lasted(&self) -> Duration {
        let lasted = self.record.newest().and_then(|run| Some(run.windows.last()?.end.duration_since(run.started)));
        lasted.and_then(|lasted| Duration::try_from(lasted).ok()).unwrap_or_default()
    }

    /// Writes what is known, with what is stored already.
    pub(super) async fn write(&mut self) -> Result<(), Unkept> {
        for _ in 0..TRIES {
            let stored = match self.stored.take() {
                Some(stored) => stored,
                None => self.read().await?,
            };
            if self.store(stored).await? {
                return Ok(());
            }
        }
        Err(Unkept::Trouble("The ConfigMap was changed by others at each try.".to_owned()))
    }

    /// Reads what is stored, and takes it over.
    async fn read(&mut self) -> Result<Stored, Unkept> {
        let name = record::name(&self.rollout, self.uid());
        let Some(mut object) = answer(READ, "get", &self.namespace, self.api.get_opt(&name)).await?.flatten() else {
            return Ok(Stored::Absent);
        };
        match Record::from_config_map(&object, self.uid()) {
            Ok(mut known) => {
                std::mem::swap(&mut known, &mut self.record);
                self.record.merge(known);
            }
            // Nothing of it can be used, and nobody else can use it either.
            Err(RecordError::Malformed(why)) => {
                tracing::warn!(namespace = self.namespace, name = self.rollout, error = why, "record begins again");
            }
            // One that was deleted goes soon, and its record with it.
            Err(error @ RecordError::Foreign(_)) => return Err(Unkept::Trouble(format!("{error}."))),
            Err(error @ RecordError::Newer(_)) => return Err(Unkept::Refused(format!("{error}."))),
        }
        object.data = None;
        Ok(Stored::There(Box::new(object)))
    }

    /// False if something else was stored meanwhile.
    async fn store(&mut self, stored: Stored) -> Result<bool, Unkept> {
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let wanted = self.record.config_map(&self.namespace, &self.rollout);
        let name = wanted.name_any();
        let written = match stored {
            Stored::Absent => answer(WRITE, "create", &self.namespace, self.api.create(&params, &wanted)).await?,
            Stored::There(mut object) => {
                object.data = wanted.data;
                object.labels_mut().extend(wanted.metadata.labels.unwrap_or_default());
                answer(WRITE, "update", &self.namespace, self.api.replace(&name, &params, &object)).await?
            }
        };
        self.stored = written.map(|mut object| {
            object.data = None;
            Stored::There(Box::new(object))
        });
        Ok(self.stored.is_some())
    }
}

/// The answer of a request; nothing if what it was based on is not so any more.
async fn answer<T>(
    limit: Duration,
    verb: &str,
    namespace: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Option<T>, Unkept> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Err(_) => Err(Unkept::Trouble(format!("The API server gave no answer within {limit:?}."))),
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 | 409 => Ok(None),
            403 if status.message.contains("exceeded quota") => {
                Err(Unkept::Refused(format!("The quota of namespace {namespace} is used up: {}.", status.message)))
            }
            403 => Err(Unkept::Refused(format!(
                "The controller may not {verb} ConfigMaps in namespace {namespace}: kubectl apply -k deploy/controller, or upgrade the chart."
            ))),
            400 | 413 | 422 => Err(Unkept::Refused(format!("The API server refuses it: {}.", status.message))),
            code => Err(Unkept::Trouble(format!("The API server answered {code}: {}.", status.message))),
        },
        Ok(Err(error)) => Err(Unkept::Trouble(format!("{error}."))),
    }
}
