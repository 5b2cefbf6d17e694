//! Logs: one JSON line for each event, on stderr, in the fields of the Elastic Common Schema; one decision is one line. Keys are few and
//! fixed; names of metrics are values.

use std::io;

use json_subscriber::JsonLayer;
use serde_json::json;
use tracing_subscriber::{EnvFilter, Registry, filter::ParseError, fmt::time::SystemTime, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    api::{DecisionRecord, Outcome},
    tell::text::Text,
};

/// The version of the schema.
const ECS: &str = "8.17";

/// What the code calls a field, and what the schema does. A field of ours has our name before it, so that it collides with nobody's.
const FIELDS: [(&str, &str); 40] = [
    ("age_seconds", "haldane.age_seconds"),
    ("alert", "haldane.alert"),
    ("at", "haldane.at"),
    ("belongs", "haldane.belongs"),
    ("down", "haldane.down"),
    ("epoch", "haldane.epoch"),
    ("error", "error.message"),
    ("failed", "haldane.failed"),
    ("family", "haldane.family"),
    ("glance", "haldane.glance"),
    ("hash", "haldane.config.hash"),
    ("interval_seconds", "haldane.interval_seconds"),
    ("key", "event.id"),
    ("kind", "haldane.kind"),
    ("lag_seconds", "haldane.lag_seconds"),
    ("lease", "haldane.lease"),
    ("me", "haldane.replica"),
    ("milliseconds", "haldane.milliseconds"),
    ("model", "haldane.model"),
    ("namespace", "kubernetes.namespace"),
    ("outcome", "event.action"),
    ("part", "haldane.part"),
    ("provider", "haldane.provider"),
    ("reason", "event.reason"),
    ("refusal", "error.message"),
    ("requests", "haldane.requests"),
    ("revision", "service.version"),
    ("rollout", "haldane.rollout"),
    ("said", "haldane.said"),
    ("samples", "haldane.samples"),
    ("seconds", "haldane.seconds"),
    ("server", "haldane.server"),
    ("sink", "haldane.sink"),
    ("step", "haldane.step"),
    ("trace", "trace.id"),
    ("version", "haldane.config.version"),
    ("wanted", "haldane.wanted"),
    ("weight", "haldane.weight"),
    ("what", "haldane.what"),
    ("windows", "haldane.windows"),
];

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
    tracing_subscriber::registry().with(layer(io::stderr)).with(filter).try_init().map_err(|_| TelemetryError::Twice)
}

/// Writes lines of the schema.
fn layer<W>(writer: W) -> JsonLayer<Registry, W>
where
    W: for<'writer> tracing_subscriber::fmt::MakeWriter<'writer> + 'static,
{
    let mut layer = JsonLayer::new(writer);
    layer.with_timer("@timestamp", SystemTime).with_level("log.level").with_target("log.logger");
    layer.add_static_field("ecs.version", json!(ECS));
    layer.add_static_field("service.name", json!("haldane"));
    layer.with_flattened_event_with_renames(
        |name, fields| fields.iter().find(|field| field.0 == name).map_or(name, |field| field.1),
        FIELDS,
    );
    layer
}

/// The log line of a decision; the same text as its event and its alert, and the key that those carry. `trace`: where its trace is.
pub fn decided(namespace: &str, name: &str, key: &str, record: &DecisionRecord, trace: Option<&str>) {
    let text = Text::of(namespace, name, record);
    let outcome = format!("{:?}", record.outcome);
    let revision = record.canary.as_ref().map(|c| c.revision.as_str()).unwrap_or_default();
    let step = record.step.as_deref().unwrap_or_default();
    let requests = record.exposure.as_ref().map(|e| e.canary_requests).unwrap_or_default();
    let (epoch, weight, reason) = (record.epoch, record.weight, record.reason.as_str());
    if matches!(record.outcome, Outcome::RolledBack | Outcome::Aborted) {
        tracing::warn!(namespace, rollout = name, key, outcome, reason, revision, step, weight, epoch, requests, trace, "{}", text.note());
    } else {
        tracing::info!(namespace, rollout = name, key, outcome, reason, revision, step, weight, epoch, requests, trace, "{}", text.note());
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
        let subscriber = tracing_subscriber::registry().with(layer(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            decided("ml", "fraud", "u-1/7/RolledBack/AnalysisFailed", &drift_rollback(), None)
        });
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let action = (&line["log.level"], &line["event.action"], &line["event.id"]);
        assert_eq!(action, (&"WARN".into(), &"RolledBack".into(), &"u-1/7/RolledBack/AnalysisFailed".into()));
        assert_eq!((&line["kubernetes.namespace"], &line["haldane.rollout"]), (&"ml".into(), &"fraud".into()));
        assert_eq!((&line["haldane.weight"], &line["haldane.requests"]), (&5.into(), &118.into()));
        assert_eq!((&line["ecs.version"], &line["log.logger"]), (&ECS.into(), &"haldane::telemetry".into()));
        assert!(line["@timestamp"].as_str().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()), "{line}");
        assert!(line["message"].as_str().unwrap().starts_with("Rolled back: ml/fraud v3"));
    }

    #[test]
    fn every_field_of_a_line_has_a_name_of_the_schema() {
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for macros in ["trace", "debug", "info", "warn", "error"] {
                    for call in text.split(&format!("tracing::{macros}!(")).skip(1) {
                        let fields = call.split(['"', ';']).next().unwrap();
                        for field in fields.split(", ").map(|field| field.split(" = ").next().unwrap()) {
                            let name = field.trim().trim_end_matches(',').trim_start_matches(['%', '?']).trim();
                            if name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !name.is_empty() {
                                assert!(FIELDS.iter().any(|known| known.0 == name), "{}: {name} has no name", path.display());
                                seen += 1;
                            }
                        }
                    }
                }
            }
        }
        assert!(seen > 40, "{seen} fields");
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        assert!(matches!(init("haldane=loud"), Err(TelemetryError::Level(_))));
    }
}
