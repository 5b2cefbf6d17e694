//! The ConfigMap that a record is kept in.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use thiserror::Error;

use super::{Record, Run, VERSION};
use crate::api::names::{GROUP, MANAGER};

/// Key of the form's version in the ConfigMap's data.
pub const FORM: &str = "version";
/// How the keys of rollouts begin; the time at which one began follows, in seconds.
const RUN: &str = "run-";
/// Label of every ConfigMap that holds a record; its value is the version of the form.
pub const LABEL: &str = "haldane.dev/record";
/// Label of whoever writes it.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Longest name of an object.
const LONGEST: usize = 253;

/// Name of the ConfigMap of a Rollout.
pub fn name(rollout: &str, uid: &str) -> String {
    let name = format!("{rollout}-haldane-record");
    if name.len() <= LONGEST { name } else { format!("haldane-record-{uid}") }
}

/// Whether a key of a record's ConfigMap is that of a rollout.
pub fn is_run(key: &str) -> bool {
    key.starts_with(RUN)
}

/// Why a ConfigMap is no record of a Rollout.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// It belongs to nobody, or to something else.
    #[error("ConfigMap {0} is not the record of this Rollout: its owner is another one")]
    Foreign(String),
    /// Written by a newer controller.
    #[error("the record has version {0}, this haldane knows up to {VERSION}: use a newer one")]
    Newer(u32),
    /// It cannot be read.
    #[error("the record cannot be read: {0}")]
    Malformed(String),
}

impl Record {
    /// The ConfigMap that holds it; it is deleted with the Rollout `namespace/rollout`.
    pub fn config_map(&self, namespace: &str, rollout: &str) -> ConfigMap {
        let labels = [(MANAGED_BY, MANAGER.to_owned()), (LABEL, self.version.to_string())];
        let owner = OwnerReference {
            api_version: format!("{GROUP}/v1alpha1"),
            kind: "Rollout".to_owned(),
            name: rollout.to_owned(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        };
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name(rollout, &self.uid)),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(self.data()),
            ..ConfigMap::default()
        }
    }

    /// What is in its ConfigMap: a key for each rollout, so that one can be written without the others.
    pub fn data(&self) -> BTreeMap<String, String> {
        let runs = self.runs.iter().map(|run| (run.key(), serde_json::to_string(run).unwrap_or_default()));
        runs.chain([(FORM.to_owned(), self.version.to_string())]).collect()
    }

    /// The record in the ConfigMap of the Rollout with this uid.
    ///
    /// # Errors
    /// When it is the record of another Rollout or no record at all, when a newer controller wrote it, or when it cannot be read.
    pub fn from_config_map(object: &ConfigMap, uid: &str) -> Result<Self, RecordError> {
        let owners = object.metadata.owner_references.as_deref().unwrap_or_default();
        if !owners.iter().any(|owner| owner.uid == uid) {
            return Err(RecordError::Foreign(object.metadata.name.clone().unwrap_or_default()));
        }
        let data = object.data.as_ref();
        let form = data.and_then(|data| data.get(FORM)).ok_or_else(|| RecordError::Malformed(format!("it has no {FORM}")))?;
        let version: u32 = form.parse().map_err(|_| RecordError::Malformed(format!("{FORM} is {form:?}")))?;
        if version > VERSION {
            return Err(RecordError::Newer(version));
        }
        let mut runs = Vec::new();
        for (key, text) in data.into_iter().flatten().filter(|(key, _)| is_run(key)) {
            runs.push(serde_json::from_str::<Run>(text).map_err(|error| RecordError::Malformed(format!("{key}: {error}")))?);
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.started));
        Ok(Self { version, uid: uid.to_owned(), runs })
    }
}

impl Run {
    /// Its key in the ConfigMap's data.
    pub fn key(&self) -> String {
        format!("{RUN}{}.json", self.started.as_second())
    }
}
