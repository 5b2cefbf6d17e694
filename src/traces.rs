//! Traces of decisions, for a collector of OpenTelemetry: off unless the configuration names one.
//!
//! A [`Course`] follows the passes of one call, as values. Where something was decided, or a new look was seen, it becomes one trace, which
//! waits in a bounded queue: a collector that is slow or dead delays no decision, and what it misses is counted.

mod course;
#[cfg(feature = "otlp")]
mod queue;
#[cfg(feature = "otlp")]
mod wire;
#[cfg(not(feature = "otlp"))]
mod without;

pub use course::{Course, Span, Trace, Value};
#[cfg(feature = "otlp")]
pub use queue::Traces;
#[cfg(not(feature = "otlp"))]
pub use without::Traces;

/// How long the traces may take that are not sent yet when the controller stops.
pub const CLOSING: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
#[cfg(feature = "otlp")]
mod tests;
