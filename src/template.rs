//! Words of an alert that a user gives in the configuration: a template, what it may name, and what bounds it.
//!
//! A template sees [`Fields`] and nothing else: there is no file to include and no function that reads anything. Fuel bounds its time and its
//! memory, [`TITLE_MAX`] and [`BODY_MAX`] what it may say. [`check`] renders it for sample alerts, so that a wrong name is found when the
//! configuration is read.

mod fields;
mod samples;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, value::Serde};

pub use fields::{Exposed, Fields, Metric, Named};
pub use samples::samples;

/// Longest title, in bytes.
pub const TITLE_MAX: usize = 200;
/// Longest body, in bytes, as it is sent.
pub const BODY_MAX: usize = 2_900;
/// Longest template, in bytes.
pub const SOURCE_MAX: usize = 8 * 1024;
/// What a rendering may cost: an instruction or 64 bytes each.
const FUEL: u64 = 20_000;

/// Names of alerts that may have a template of their own.
pub const ALERTS: [&str; 16] = [
    "RolloutStarted",
    "RolloutPromoted",
    "RolloutPassed",
    "RolloutFailed",
    "RolloutRolledBack",
    "RolloutAborted",
    "RolloutApprovalRequired",
    "RolloutOverridden",
    "RolloutNeedsPerson",
    "RolloutCanaryUnavailable",
    "RolloutGlobalIncident",
    "RolloutStableUnavailable",
    "RolloutRouteRefused",
    "RolloutDrifted",
    "RolloutMetricsMissing",
    "RolloutShareMismatch",
];

/// Which part of an alert a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What happened, in one line.
    Title,
    /// All the rest.
    Body,
}

impl Part {
    /// Most bytes that it may have.
    pub fn most(self) -> usize {
        match self {
            Self::Title => TITLE_MAX,
            Self::Body => BODY_MAX,
        }
    }
}

/// Why a template says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .line.map_or_else(String::new, |line| format!("line {line}: ")))]
pub struct TemplateFault {
    /// Line of the template, from 1.
    pub line: Option<usize>,
    /// What is wrong, and the fix where there is one.
    pub message: String,
}

impl TemplateFault {
    fn new(message: impl Into<String>) -> Self {
        Self { line: None, message: message.into() }
    }
}

/// How a value is written so that it is text for a receiver, and no markup.
pub type Escape = fn(&str) -> String;

/// The text of a template. What the template itself says is kept as it is, values are escaped.
///
/// # Errors
/// When it cannot be read, names what there is not, costs or says too much, or says nothing.
pub fn render(source: &str, part: Part, fields: &Fields, escape: Escape) -> Result<String, TemplateFault> {
    if source.len() > SOURCE_MAX {
        return Err(TemplateFault::new(format!("the template has {} bytes; {SOURCE_MAX} are the most", source.len())));
    }
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_debug(true);
    engine.set_fuel(Some(FUEL));
    engine.set_formatter(move |out, _, value| {
        if value.is_none() {
            return Ok(());
        }
        out.write_str(&escape(&value.to_string())).map_err(Error::from)
    });
    let said = engine.render_str(source, Serde(fields)).map_err(|error| fault(&error))?;
    let said = match part {
        Part::Title => said.split_whitespace().collect::<Vec<_>>().join(" "),
        Part::Body => said.trim().to_owned(),
    };
    match said.len() {
        0 => Err(TemplateFault::new("says nothing")),
        n if n > part.most() => Err(TemplateFault::new(format!("says {n} bytes; {} are the most", part.most()))),
        _ => Ok(said),
    }
}

/// Renders a template for sample alerts of every kind.
///
/// # Errors
/// The first fault that it has.
pub fn check(source: &str, part: Part) -> Result<(), TemplateFault> {
    samples().iter().try_for_each(|sample| render(source, part, sample, str::to_owned).map(drop))
}

fn fault(error: &Error) -> TemplateFault {
    let message = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "costs too much: fewer loops, shorter texts".to_owned(),
        (ErrorKind::UndefinedError, _) => match error.template_source().zip(error.range()).and_then(|(source, range)| source.get(range)) {
            Some(named) => format!("`{named}` is no field of an alert"),
            None => "names no field of an alert".to_owned(),
        },
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    TemplateFault { line: error.line(), message }
}

#[cfg(test)]
mod tests;
