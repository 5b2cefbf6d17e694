//! Kubernetes events (`events.k8s.io/v1`): fire and forget. A full queue or a refused event is counted and nothing more.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::{sync::mpsc, time};

use super::{
    meaning::{Severity, of},
    text::{NOTE_MAX, Text},
};
use crate::{
    api::{DecisionRecord, Outcome, names},
    metrics::Metrics,
    words::cut,
};

/// Events that wait; more are dropped.
const QUEUE: usize = 512;
/// Longest action of an event, as the API has it.
const ACTION_MAX: usize = 128;
/// Longest write of one event.
const DEADLINE: Duration = Duration::from_secs(5);

/// Writes events; cheap to clone.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<(ObjectReference, Event)>,
    metrics: Metrics,
}

impl Events {
    /// `instance` is the pod's name. Must be called within a runtime.
    pub fn new(client: Client, instance: &str, metrics: Metrics) -> Self {
        let (queue, mut waiting) = mpsc::channel::<(ObjectReference, Event)>(QUEUE);
        let recorder = Recorder::new(client, Reporter { controller: names::MANAGER.into(), instance: Some(instance.into()) });
        let counted = metrics.clone();
        tokio::spawn(async move {
            while let Some((regarding, event)) = waiting.recv().await {
                let written = time::timeout(DEADLINE, recorder.publish(&event, &regarding)).await;
                let ok = matches!(written, Ok(Ok(())));
                if !ok {
                    tracing::debug!(reason = event.reason, "event not written");
                }
                counted.event(ok);
            }
        });
        Self { queue, metrics }
    }

    /// Tells a decision about the object `regarding` (a Rollout).
    pub fn decided(&self, regarding: ObjectReference, record: &DecisionRecord) {
        let (namespace, name) = (regarding.namespace.clone().unwrap_or_default(), regarding.name.clone().unwrap_or_default());
        let event = Event {
            type_: if warns(record) { EventType::Warning } else { EventType::Normal },
            reason: of(record).event.unwrap_or(record.reason.as_str()).into(),
            note: Some(Text::of(&namespace, &name, record).note()),
            // Events with the same action and reason are merged for six minutes, and keep the first note: the epoch keeps them apart.
            action: format!("{:?}.{}", record.outcome, record.epoch),
            secondary: None,
        };
        self.say(regarding, event);
    }

    /// Says something of the object `regarding` that is no decision. What has the same `key` is merged.
    pub fn noted(&self, regarding: ObjectReference, warns: bool, reason: &str, key: &str, note: &str) {
        let type_ = if warns { EventType::Warning } else { EventType::Normal };
        let (action, note) = (cut(key, ACTION_MAX), Some(cut(note, NOTE_MAX)));
        self.say(regarding, Event { type_, reason: reason.to_owned(), note, action, secondary: None });
    }

    /// Warns about something of the object `regarding` that is no decision.
    pub fn warned(&self, regarding: ObjectReference, reason: &str, note: &str) {
        let (type_, action) = (EventType::Warning, reason.to_owned());
        let note = Some(cut(note, NOTE_MAX));
        self.say(regarding, Event { type_, reason: reason.to_owned(), note, action, secondary: None });
    }

    fn say(&self, regarding: ObjectReference, event: Event) {
        if self.queue.try_send((regarding, event)).is_err() {
            self.metrics.event(false);
        }
    }
}

fn warns(record: &DecisionRecord) -> bool {
    record.outcome == Outcome::CommandRefused || of(record).alert.is_some_and(|alert| alert.severity >= Severity::Warning)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
    use serde_json::{Value, json};

    use super::*;
    use crate::api::Reason;
    use crate::tell::text::tests::{drift_rollback, held, promoted};

    type Written = Arc<Mutex<Vec<Value>>>;

    fn server(written: &Written, status: StatusCode) -> Client {
        let path = "/apis/events.k8s.io/v1/namespaces/{ns}/events";
        let handler = move |State(written): State<Written>, Json(event): Json<Value>| async move {
            written.lock().unwrap().push(event.clone());
            if status.is_success() {
                (status, Json(event))
            } else {
                (status, Json(json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403})))
            }
        };
        Client::new(Router::new().route(path, post(handler)).with_state(written.clone()), "default")
    }

    fn fraud() -> ObjectReference {
        ObjectReference {
            api_version: Some("haldane.dev/v1alpha1".into()),
            kind: Some("Rollout".into()),
            namespace: Some("ml".into()),
            name: Some("fraud".into()),
            uid: Some("u-1".into()),
            ..ObjectReference::default()
        }
    }

    async fn until(what: &str, mut done: impl FnMut() -> bool) {
        for _ in 0..400 {
            if done() {
                return;
            }
            time::sleep(Duration::from_millis(25)).await;
        }
        panic!("never: {what}");
    }

    #[tokio::test]
    async fn a_decision_is_an_event_of_the_new_api_with_the_text_as_note() {
        let written = Written::default();
        let metrics = Metrics::new();
        let events = Events::new(server(&written, StatusCode::CREATED), "haldane-0", metrics.clone());
        events.decided(fraud(), &drift_rollback());
        events.decided(fraud(), &promoted());
        until("two events", || written.lock().unwrap().len() == 2).await;
        let written = written.lock().unwrap().clone();
        assert_eq!((&written[0]["reason"], &written[0]["type"]), (&json!("RolledBack"), &json!("Warning")));
        assert_eq!((&written[1]["reason"], &written[1]["type"]), (&json!("Promoted"), &json!("Normal")));
        assert_eq!(written[0]["regarding"]["name"], "fraud");
        assert_eq!(written[0]["reportingController"], "haldane");
        let note = written[0]["note"].as_str().unwrap();
        assert!(note.starts_with("Rolled back: ml/fraud v3 (7d9c4b6f5) at 5 %, because predictions shifted. "), "{note}");
        until("counted", || metrics.encode().contains(r#"haldane_events_total{result="ok"} 2"#)).await;
    }

    #[tokio::test]
    async fn a_refused_event_is_counted_and_nothing_more() {
        let written = Written::default();
        let metrics = Metrics::new();
        let events = Events::new(server(&written, StatusCode::FORBIDDEN), "haldane-0", metrics.clone());
        events.decided(fraud(), &DecisionRecord { message: "ü".repeat(2_000), ..held(Reason::DeadlineExceeded) });
        until("counted", || metrics.encode().contains(r#"haldane_events_total{result="error"} 1"#)).await;
        assert!(written.lock().unwrap()[0]["note"].as_str().unwrap().len() <= 1_000);
    }
}
