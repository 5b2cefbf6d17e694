//! `/healthz`, `/readyz` and `/metrics`, and the webhooks of sources of models. There is no other endpoint at this address: commands come through
//! the Kubernetes API alone.
//!
//! Health speaks of this process only: a Prometheus or an API server that is away must not get the controller restarted. Readiness speaks
//! of the caches: whether what this process knows of the cluster is recent.

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
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, time};

use crate::{
    clock::Clock,
    link::Watched,
    metrics::{CONTENT_TYPE, Metrics},
};

/// How often the control loop should [`beat`](Health::beat).
pub const BEAT: Duration = Duration::from_secs(5);
/// Without a beat for this long the process is not healthy.
const SILENCE: Duration = Duration::from_secs(60);
/// How long open connections may stay after the end.
const GRACE: Duration = Duration::from_secs(1);

/// What the process says of itself; cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    beat: AtomicU64,
    ready: AtomicBool,
    watched: Watched,
}

impl Health {
    /// Healthy as of now, not ready yet.
    pub fn new(clock: Clock, watched: Watched) -> Self {
        let shared = Shared { clock, beat: AtomicU64::new(0), ready: AtomicBool::new(false), watched };
        let health = Self { shared: Arc::new(shared) };
        health.beat();
        health
    }

    /// The control loop still turns.
    pub fn beat(&self) {
        let age = self.age();
        self.shared.beat.fetch_max(u64::try_from(age.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The caches are filled.
    pub fn ready(&self) {
        self.shared.ready.store(true, Ordering::Relaxed);
    }

    fn age(&self) -> Duration {
        self.shared.clock.elapsed()
    }

    fn silence(&self) -> Duration {
        self.age().saturating_sub(Duration::from_millis(self.shared.beat.load(Ordering::Relaxed)))
    }
}

/// Serves until `stop` is ready, and a second longer for connections that are open. `hooks` are the webhooks that are taken.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    health: Health,
    hooks: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    run(listener, router(health, metrics).merge(hooks), stop, "the server for probes and metrics").await;
}

/// The same for anything.
pub async fn run(listener: TcpListener, router: Router, stop: impl Future<Output = ()> + Send + 'static, what: &str) {
    let (ending, ended) = tokio::sync::oneshot::channel();
    let stop = async move {
        stop.await;
        let _ = ending.send(());
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(stop);
    tokio::select! {
        served = server => if let Err(error) = served {
            tracing::error!(error = error.to_string(), "{what} ended");
        },
        () = async { if ended.await.is_ok() { time::sleep(GRACE).await } else { std::future::pending().await } } => {}
    }
}

fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(health)
        .route("/metrics", get(|State(metrics): State<Metrics>| async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics.encode()) }))
        .with_state(metrics)
}

async fn healthz(State(health): State<Health>) -> impl IntoResponse {
    let silence = health.silence();
    if silence < SILENCE {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("the control loop has not turned for {} s\n", silence.as_secs()))
    }
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let filled = health.shared.ready.load(Ordering::Relaxed);
    let wrong: Vec<String> =
        (!filled).then(|| "the caches are not filled yet".to_owned()).into_iter().chain(health.shared.watched.stale()).collect();
    if wrong.is_empty() { (StatusCode::OK, "ok\n".to_owned()) } else { (StatusCode::SERVICE_UNAVAILABLE, wrong.join("\n") + "\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        let clock = Clock::system();
        Health::new(clock, Watched::new(clock, Duration::from_secs(10), Duration::from_secs(100)))
    }

    async fn ask(base: &str, path: &str) -> (u16, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answer = reqwest::get(format!("{base}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn started(health: Health, metrics: Metrics) -> (String, tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, metrics, health, Router::new(), async move {
            let _ = stopped.await;
        }));
        (base, stop, task)
    }

    #[tokio::test]
    async fn it_says_whether_it_lives_is_ready_and_what_it_counts() {
        let (health, metrics) = (health(), Metrics::new());
        let (base, stop, task) = started(health.clone(), metrics.clone()).await;
        assert_eq!(ask(&base, "/healthz").await.0, 200);
        assert_eq!(ask(&base, "/readyz").await, (503, "the caches are not filled yet\n".into()));
        health.ready();
        assert_eq!(ask(&base, "/readyz").await.0, 200);
        metrics.leader(true);
        let (status, text) = ask(&base, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("haldane_leader 1\n") && text.ends_with("# EOF\n"));
        assert_eq!(ask(&base, "/abort").await.0, 404);
        stop.send(()).unwrap();
        time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_open_connection_does_not_keep_the_process() {
        let (base, stop, task) = started(health(), Metrics::new()).await;
        let address = base.trim_start_matches("http://").to_owned();
        let mut open = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut open, b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        stop.send(()).unwrap();
        time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    }

    #[test]
    fn silence_is_the_time_since_the_last_beat() {
        let health = self::tests::health();
        assert!(health.silence() < SILENCE);
        std::thread::sleep(Duration::from_millis(30));
        assert!(health.silence() >= Duration::from_millis(20));
        health.beat();
        assert!(health.silence() < Duration::from_secs(30));
    }
}
