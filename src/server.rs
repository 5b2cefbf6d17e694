//! Probes and metrics over HTTP.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::{clock::Clock, metrics::Metrics};

/// Without a heartbeat for so long the process is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// What the probes are answered from: nothing outside of this process.
#[derive(Clone)]
pub struct Health {
    clock: Clock,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    ready: AtomicBool,
    beat: AtomicU64,
}

impl Health {
    /// Not ready, alive now.
    pub fn new(clock: Clock) -> Self {
        let health = Self { clock, inner: Arc::default() };
        health.beat();
        health
    }

    /// The caches are ready.
    pub fn ready(&self) {
        self.inner.ready.store(true, Ordering::Release);
    }

    /// Still alive.
    pub fn beat(&self) {
        self.inner.beat.store(u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn alive(&self) -> bool {
        let now = u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(self.inner.beat.load(Ordering::Acquire)) < u64::try_from(STUCK.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Serves `/healthz`, `/readyz` and `/metrics` until `stop` is ready.
pub async fn serve(listener: TcpListener, metrics: Metrics, health: Health, stop: impl Future<Output = ()> + Send + 'static) {
    let alive = health.clone();
    let app = Router::new()
        .route("/healthz", get(async move || if alive.alive() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "stuck") }))
        .route(
            "/readyz",
            get(async move || {
                let ready = health.inner.ready.load(Ordering::Acquire);
                if ready { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "caches are not ready") }
            }),
        )
        .route("/metrics", get(async move || ([(CONTENT_TYPE, crate::metrics::CONTENT_TYPE)], metrics.encode()).into_response()));
    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop).await {
        tracing::error!(error = %error, "the server for probes and metrics ended");
    }
}
