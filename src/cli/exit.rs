//! Exit codes. Scripts depend on them: they never change.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for was reached, or the command was accepted.
    Reached = 0,
    /// Something unexpected: the API server does not answer, a bug.
    Error = 1,
    /// Usage, or an invalid manifest.
    Usage = 2,
    /// Rolled back by analysis.
    RolledBack = 3,
    /// Aborted by a person.
    Aborted = 4,
    /// Waiting for a person when the time ran out.
    Waiting = 5,
    /// Evidence neither way when the time ran out.
    Inconclusive = 6,
    /// Not found, or forbidden.
    NotFound = 7,
    /// Something else has happened since.
    Conflict = 8,
    /// The time ran out while it was progressing.
    TimedOut = 124,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked, for people: what is wrong, and what would fix it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// What is wrong.
    pub message: String,
    /// What would fix it; may be empty.
    pub fix: String,
}

impl Failure {
    /// A failure with its fix.
    pub fn new(exit: Exit, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { exit, message: message.into(), fix: fix.into() }
    }
}
