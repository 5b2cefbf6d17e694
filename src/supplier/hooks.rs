//! `POST /hooks/mlflow/NAME`: MLflow says that something changed. A delivery that is signed and recent hastens the next look, and nothing more.

use std::time::Duration;

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use tokio::time::timeout;

use super::Supplier;
use crate::clock::Clock;
use crate::config::ConfigHandle;
use crate::lease::LeaderHandle;
use crate::source::hook::{self, Delivery};

/// Largest delivery: MLflow's have a few hundred bytes.
const LARGEST: usize = 64 << 10;
/// Longest time that a delivery may take.
const LONGEST: Duration = Duration::from_secs(5);
/// Longest secret.
const SECRET: u64 = 4096;

/// What is needed to take one.
#[derive(Clone)]
struct Hooks {
    supplier: Supplier,
    config: ConfigHandle,
    leader: LeaderHandle,
    clock: Clock,
}

/// The route.
pub fn router(supplier: Supplier, config: ConfigHandle, leader: LeaderHandle, clock: Clock) -> Router {
    Router::new().route("/hooks/mlflow/{name}", post(take)).with_state(Hooks { supplier, config, leader, clock })
}

async fn take(State(hooks): State<Hooks>, Path(name): Path<String>, request: Request) -> (StatusCode, String) {
    let (parts, body) = request.into_parts();
    let body = match timeout(LONGEST, to_bytes(body, LARGEST)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, format!("a delivery has at most {LARGEST} bytes\n")),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, format!("a delivery takes at most {} s\n", LONGEST.as_secs())),
    };
    match taken(&hooks, &name, &parts.headers, &body).await {
        Ok(()) => (StatusCode::NO_CONTENT, String::new()),
        Err((status, words)) => {
            tracing::debug!(server = name, reason = words, "a webhook was not taken");
            (status, words + "\n")
        }
    }
}

async fn taken(hooks: &Hooks, name: &str, headers: &HeaderMap, body: &Bytes) -> Result<(), (StatusCode, String)> {
    let settings = hooks.config.current();
    let file = settings.config.mlflow.get(name).and_then(|server| server.webhook_secret_file.as_ref());
    // Whether there is a server of this name is nobody's business.
    let Some(file) = file else { return Err((StatusCode::UNAUTHORIZED, "no webhook is taken here".to_owned())) };
    let secret = secret(file).await.ok_or_else(|| {
        tracing::warn!(server = name, "webhookSecretFile cannot be read, or is empty");
        (StatusCode::SERVICE_UNAVAILABLE, "the secret of this webhook is not there".to_owned())
    })?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let delivery = Delivery {
        signature: header("x-mlflow-signature"),
        id: header("x-mlflow-delivery-id"),
        timestamp: header("x-mlflow-timestamp"),
        body,
    };
    let verified = hook::verify(&secret, delivery, hooks.clock.now().as_second());
    verified.map_err(|forged| (StatusCode::UNAUTHORIZED, forged.to_string()))?;
    // MLflow tries again, and comes to another replica.
    if !hooks.leader.is_leader() {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "another replica leads".to_owned()));
    }
    hooks.supplier.hasten(name, hook::model(body));
    Ok(())
}

/// The secret, without the white space around it.
async fn secret(file: &std::path::Path) -> Option<Vec<u8>> {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    tokio::fs::File::open(file).await.ok()?.take(SECRET).read_to_end(&mut bytes).await.ok()?;
    Some(bytes.trim_ascii().to_vec()).filter(|secret| !secret.is_empty())
}
