//! What is wrong with a manifest, all of it at once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One fault, at one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Path of the field, as `kubectl explain` writes it, with indices: `spec.strategy.steps[1].weight`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right; may be empty where the message says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

impl Fault {
    /// A fault at a field.
    pub fn new(path: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), fix: fix.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, "; {}", self.fix) }
    }
}

/// At least one fault, in the order of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Faults(pub Vec<Fault>);
