//! The record of one Rollout, and the ConfigMap that it is kept in.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use thiserror::Error;

use crate::api::{HistoryEntry, Rollout, names::MANAGER};
use crate::record::{self, News, RUNS, Record, RecordError, Run};

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
    /// What is to be written: the present rollout; others alone until they are.
    record: Record,
    /// Ends that status told.
    history: Vec<HistoryEntry>,
    /// What was read or written last; `None`: it is to be read.
    stored: Option<Stored>,
}

/// What is at its place.
enum Stored {
    /// Nothing.
    Absent,
    /// A record.
    There {
        /// Its resourceVersion.
        version: Option<String>,
        /// Keys of its rollouts.
        keys: BTreeSet<String>,
        /// Nothing of it can be used.
        void: bool,
    },
}

impl Desk {
    pub(super) fn new(client: Client, rollout: &Rollout, uid: &str) -> Self {
        let namespace = rollout.namespace().unwrap_or_default();
        Self {
            api: Api::namespaced(client, &namespace),
            namespace,
            rollout: rollout.name_any(),
            record: Record::new(uid),
            history: Vec::new(),
            stored: None,
        }
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
        self.history.clone_from(&news.history);
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

    /// Reads what is stored, and takes over what it has of the rollouts that are to be written.
    async fn read(&mut self) -> Result<Stored, Unkept> {
        let name = record::name(&self.rollout, self.uid());
        let Some(object) = answer(READ, "get", &self.namespace, self.api.get_opt(&name)).await?.flatten() else {
            return Ok(Stored::Absent);
        };
        let keys = object.data.iter().flatten().map(|(key, _)| key.clone()).filter(|key| record::is_run(key)).collect();
        let mut void = false;
        match Record::from_config_map(&object, self.uid()) {
            Ok(mut known) => {
                std::mem::swap(&mut known, &mut self.record);
                self.record.merge(known);
                self.record.settle(&self.history);
            }
            // Nobody else can use it either.
            Err(RecordError::Malformed(why)) => {
                tracing::warn!(namespace = self.namespace, rollout = self.rollout, error = why, "record begins again");
                void = true;
            }
            // One that was deleted goes soon, and its record with it.
            Err(error @ RecordError::Foreign(_)) => return Err(Unkept::Trouble(format!("{error}."))),
            Err(error @ RecordError::Newer(_)) => return Err(Unkept::Refused(format!("{error}."))),
        }
        Ok(Stored::There { version: object.resource_version(), keys, void })
    }

    /// False if something else was stored meanwhile.
    async fn store(&mut self, stored: Stored) -> Result<bool, Unkept> {
        let manager = Some(MANAGER.to_owned());
        let wanted = self.record.config_map(&self.namespace, &self.rollout);
        let mut keys: BTreeSet<String> = self.record.runs.iter().map(Run::key).collect();
        let written = match stored {
            Stored::Absent => {
                let params = PostParams { field_manager: manager, ..PostParams::default() };
                answer(WRITE, "create", &self.namespace, self.api.create(&params, &wanted)).await?
            }
            Stored::There { version, keys: known, void } => {
                // The number of a key is the time at which its rollout began.
                let present = keys.clone();
                keys.extend(known);
                let useless = |key: &String| void && !present.contains(key);
                let gone: Vec<String> =
                    keys.iter().rev().enumerate().filter(|(at, key)| *at >= RUNS || useless(key)).map(|(_, key)| key.clone()).collect();
                let mut data: BTreeMap<&str, Value> = wanted.data.iter().flatten().map(|(key, text)| (key.as_str(), json!(text))).collect();
                data.extend(gone.iter().map(|key| (key.as_str(), Value::Null)));
                let metadata = json!({ "resourceVersion": version, "labels": wanted.metadata.labels });
                let patch = Patch::Merge(json!({ "metadata": metadata, "data": data }));
                let params = PatchParams { field_manager: manager, ..PatchParams::default() };
                keys.retain(|key| !gone.contains(key));
                answer(WRITE, "patch", &self.namespace, self.api.patch(&wanted.name_any(), &params, &patch)).await?
            }
        };
        let Some(object) = written else { return Ok(false) };
        self.stored = Some(Stored::There { version: object.resource_version(), keys, void: false });
        // What is over and written stays where it is.
        self.record.runs.truncate(1);
        Ok(true)
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
