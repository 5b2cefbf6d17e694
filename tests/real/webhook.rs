//! The webhook that Alertmanager delivers to.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, routing::post};
use serde_json::Value;
use tokio::task::JoinHandle;

/// Listens until it is dropped.
pub(super) struct Webhook {
    alerts: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Webhook {
    /// At the address that the stack's Alertmanager is configured with.
    pub(super) async fn start() -> Self {
        let alerts = Arc::new(Mutex::new(Vec::new()));
        let log = alerts.clone();
        let app = Router::new().route(
            "/alert",
            post(async move |Json(body): Json<Value>| log.lock().unwrap().extend(body["alerts"].as_array().cloned().unwrap_or_default())),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:9999").await.expect("the webhook's port is free");
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { alerts, task }
    }

    /// Alerts that name this namespace, in the order of delivery.
    pub(super) fn of(&self, namespace: &str) -> Vec<Value> {
        self.alerts.lock().unwrap().iter().filter(|a| a["labels"]["namespace"] == namespace).cloned().collect()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}
