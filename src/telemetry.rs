//! Logs: one JSON line for each event, on stderr; one decision is one line. Keys are few and fixed; names of metrics are values.

use std::io;

use tracing_subscriber::{EnvFilter, filter::ParseError, util::SubscriberInitExt};

use crate::{
    api::{DecisionRecord, Outcome},
    tell::text::Text,
};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is not one.
    #[error("the log level is not valid: {0} (try info, debug, or haldane=debug,kube=warn)")]
    Level(#[from] ParseError),
    /// Somebody has set up logging before.
    #[error("logging is set up already")]
    Twice,
}

/// Sets up logging for the process. `level` is `info`, or a list such as `haldane=debug,kube=warn`.
pub fn init(level: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder().parse(level)?;
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(io::stderr)
        .with_env_filter(filter)
        .finish()
        .try_init()
        .map_err(|_| TelemetryError::Twice)
}

/// The log line of a decision; the same text as its event and its alert, and the key that those carry.
pub fn decided(namespace: &str, name: &str, key: &str, record: &DecisionRecord) {
    let text = Text::of(namespace, name, record);
    let outcome = format!("{:?}", record.outcome);
    let revision = record.canary.as_ref().map(|c| c.revision.as_str()).unwrap_or_default();
    let step = record.step.as_deref().unwrap_or_default();
    let requests = record.exposure.as_ref().map(|e| e.canary_requests).unwrap_or_default();
    let (epoch, weight, reason) = (record.epoch, record.weight, record.reason.as_str());
    if matches!(record.outcome, Outcome::RolledBack | Outcome::Aborted) {
        tracing::warn!(namespace, rollout = name, key, outcome, reason, revision, step, weight, epoch, requests, "{}", text.note());
    } else {
        tracing::info!(namespace, rollout = name, key, outcome, reason, revision, step, weight, epoch, requests, "{}", text.note());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::tell::text::tests::drift_rollback;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_decision_is_one_line_with_flat_keys() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || decided("ml", "fraud", "u-1/7/RolledBack/AnalysisFailed", &drift_rollback()));
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["outcome"], &line["rollout"]), (&"WARN".into(), &"RolledBack".into(), &"fraud".into()));
        assert_eq!((&line["weight"], &line["requests"]), (&5.into(), &118.into()));
        assert!(line["message"].as_str().unwrap().starts_with("Rolled back: ml/fraud v3"));
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        assert!(matches!(init("haldane=loud"), Err(TelemetryError::Level(_))));
    }
}
