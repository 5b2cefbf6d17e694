//! The ConfigMap that a record is kept in.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde_json::Value;
use thiserror::Error;

use super::{Record, VERSION};
use crate::api::names::{GROUP, MANAGER};

/// Key of the record in the ConfigMap's data.
pub const DATA: &str = "record.json";
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

/// Why a ConfigMap is no record of a Rollout.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// It belongs to nobody, or to something else.
    #[error("ConfigMap {0} is not the record of this Rollout: its owner is another one")]
    Foreign(String),
    /// Written by a newer controller.
    #[error("the record has version {0}, this haldane knows up to {VERSION}: use a newer one")]
    Newer(u64),
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
        let text = serde_json::to_string(self).unwrap_or_default();
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name(rollout, &self.uid)),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(DATA.to_owned(), text)])),
            ..ConfigMap::default()
        }
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
        let malformed = |error: serde_json::Error| RecordError::Malformed(error.to_string());
        let text = object.data.as_ref().and_then(|data| data.get(DATA)).map_or("", String::as_str);
        let value: Value = serde_json::from_str(text).map_err(malformed)?;
        let version = value.get("version").and_then(Value::as_u64).unwrap_or_default();
        if version > u64::from(VERSION) {
            return Err(RecordError::Newer(version));
        }
        serde_json::from_value(value).map_err(malformed)
    }
}
