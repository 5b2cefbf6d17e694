//! MLflow's answers: a version, an alias, an error. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Ending, ending::PROMOTED};
use crate::api::names::{OUTCOME_TAG, REASON_TAG};

/// A version of a model, as MLflow has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub number: String,
    /// `READY`, `PENDING_REGISTRATION` or `FAILED_REGISTRATION`.
    pub status: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Why there is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// The model, the version or the alias is not there.
    #[error("{0}")]
    Absent(String),
    /// Another answer than success.
    #[error("HTTP {0}{1}")]
    Status(u16, String),
    /// Not what MLflow answers.
    #[error("the answer is not MLflow's: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct Answer {
    model_version: RawVersion,
}

#[derive(Deserialize)]
struct RawVersion {
    version: RawNumber,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    tags: Vec<RawTag>,
}

/// A text in MLflow's REST API; a number where a gateway makes one of it.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawNumber {
    Text(String),
    Number(u64),
}

#[derive(Deserialize)]
struct RawTag {
    key: String,
    #[serde(default)]
    value: Option<String>,
}

#[derive(Deserialize)]
struct RawError {
    error_code: String,
    #[serde(default)]
    message: String,
}

/// The version in an answer. `said`: what the server says in an answer that is no success.
///
/// # Errors
/// When there is none.
pub fn version(status: u16, body: &[u8], said: Option<&str>) -> Result<Version, AnswerFault> {
    if !(200..300).contains(&status) {
        return Err(fault(status, body, said));
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| AnswerFault::Malformed(format!("line {} column {}", error.line(), error.column())))?;
    let RawVersion { version, status, tags } = answer.model_version;
    let number = match version {
        RawNumber::Text(text) => text,
        RawNumber::Number(number) => number.to_string(),
    };
    if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit()) {
        return Err(AnswerFault::Malformed("a version is a number".to_owned()));
    }
    let tags = tags.into_iter().map(|tag| (tag.key, tag.value.unwrap_or_default())).collect();
    // A server that does not say is one that knows no other state.
    Ok(Version { number, status: status.unwrap_or_else(|| READY.to_owned()), tags })
}

/// What an answer that is no success means.
pub fn fault(status: u16, body: &[u8], said: Option<&str>) -> AnswerFault {
    let mut words = said.map_or_else(String::new, |said| format!(": {said}"));
    let error = serde_json::from_slice::<RawError>(body).ok();
    let absent = error.filter(|error| match error.error_code.as_str() {
        "RESOURCE_DOES_NOT_EXIST" => true,
        // To MLflow an alias that is not set is an invalid parameter.
        "INVALID_PARAMETER_VALUE" => error.message.contains("not found"),
        _ => false,
    });
    match absent {
        Some(_) if matches!(status, 400 | 404) => return AnswerFault::Absent(words.trim_start_matches(": ").to_owned()),
        None if status == 404 => words += "; is url the base of MLflow?",
        None if words.contains("Invalid Host header") => words += "; start MLflow with --allowed-hosts and the host of url",
        _ => {}
    }
    AnswerFault::Status(status, words)
}

/// A version that may be served.
const READY: &str = "READY";

impl Version {
    /// Whether it may be served.
    pub fn is_ready(&self) -> bool {
        self.status == READY
    }

    /// Whether it has this already.
    pub fn knows(&self, ending: &Ending) -> bool {
        let tag = |name: &str| self.tags.get(name).map(String::as_str);
        tag(OUTCOME_TAG) == Some(ending.outcome) && tag(REASON_TAG) == Some(&ending.reason)
    }

    /// Whether it knows that this version was promoted: its alias was set then, and whoever moved it since wins.
    pub fn was_promoted(&self) -> bool {
        self.tags.get(OUTCOME_TAG).is_some_and(|outcome| outcome == PROMOTED)
    }
}

/// Whether the alias of what was promoted is to be set, `there` being what it names now. Somebody who has moved it to a newer version wins.
pub fn is_due(there: Option<&Version>, ending: &Ending) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    ending.is_promoted() && there.is_none_or(|there| number(&there.number) < number(&ending.version))
}
