//! What people ask for: annotations on the Rollout to commands, accepted or refused with the reason; and the writing side. Pure.
//!
//! One key for each verb, so that none overwrites another. A value is bound to what its writer saw: the uid of the Rollout and its epoch,
//! so that an old command (a restored backup, a late retry) never runs later. Abort is safe at any time and needs only the uid.

mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::names::GROUP;

pub use read::{read, trim};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// All traffic to stable, now; the revision is not retried.
    Abort,
    /// Stop advancing.
    Pause,
    /// On to the next step without waiting for its Pass; answers an approval.
    Promote,
    /// End a pause.
    Resume,
    /// Try a refused revision again.
    Retry,
    /// After a promotion: back to the version before.
    Rollback,
}

impl Verb {
    /// All of them, in the order in which they are looked at: what leads to safety first.
    pub const ALL: [Self; 6] = [Self::Abort, Self::Rollback, Self::Pause, Self::Promote, Self::Resume, Self::Retry];

    /// The verb as it is typed, and as the key of `status.handled`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Pause => "pause",
            Self::Promote => "promote",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Rollback => "rollback",
        }
    }

    /// Key of its annotation: `haldane.dev/abort`.
    pub fn key(self) -> String {
        format!("{GROUP}/{}", self.name())
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A command that is bound to this Rollout at its present epoch, and was not handled yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// What is asked for.
    pub verb: Verb,
    /// Identity: a command is handled once. At most 64 characters.
    pub id: String,
    /// Name of the step that its writer saw, if it is bound to one.
    pub step: Option<String>,
    /// Why, as said by the caller. At most 500 characters.
    pub reason: Option<String>,
    /// Who, as said by the caller. At most 120 characters.
    pub by: Option<String>,
    /// Abort even where stable has no ready endpoint.
    pub force: bool,
    /// The field manager that wrote the annotation.
    pub manager: Option<String>,
}

/// A command that is not run. To be recorded once, under its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedCommand {
    /// What was asked for.
    pub verb: Verb,
    /// Its id; where it has none that can be used, one derived from its text.
    pub id: String,
    /// Why it is not run, and what to do instead, in words.
    pub reason: String,
    /// Who, as said by the caller.
    pub by: Option<String>,
    /// The field manager that wrote the annotation.
    pub manager: Option<String>,
}

/// The value of an annotation, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// New for each command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `metadata.uid` of the Rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// `status.epoch` that the writer saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Name of the step that the writer saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// For abort alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Key and value of the annotation that asks for something.
pub fn annotation(verb: Verb, request: &Request) -> (String, String) {
    // Strings, numbers and a bool: there is nothing that JSON cannot say.
    (verb.key(), serde_json::to_string(request).unwrap_or_default())
}
