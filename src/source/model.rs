//! A model that a source names.

use serde::{Deserialize, Serialize};

use crate::plan::Place;

/// A model that a source names, as the annotation `haldane.dev/model` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// What is written: `models:/fraud/7`. Never an alias, whose meaning changes.
    pub uri: String,
    /// Its version in the registry, where it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its digest, where it is known: `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Model {
    /// A version in MLflow's registry.
    pub fn in_mlflow(name: &str, version: &str) -> Self {
        Self { uri: format!("models:/{name}/{version}"), version: Some(version.to_owned()), digest: None }
    }

    /// What the annotation says.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The annotation.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What stands at a place that has it; nothing if that would be an image that is not pinned.
    pub fn at(&self, place: &Place) -> Option<String> {
        match place {
            Place::Env { .. } | Place::Annotation(_) => Some(self.uri.clone()),
            Place::Image { .. } => Some(format!("{}@{}", self.uri, self.digest.as_ref()?)).filter(|_| !self.uri.contains('@')),
        }
    }

    /// In words: the URI, and the begin of the digest.
    pub fn words(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{} ({})", self.uri, digest.chars().take(19).collect::<String>()),
            None => self.uri.clone(),
        }
    }
}

/// Whether a text is a digest that pins: `sha256:` and 64 hex digits.
pub(super) fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}
