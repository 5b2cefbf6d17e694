//! A receiver of alerts: a webhook, and Alertmanager's address as well.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::clock::Clock;

/// One delivery.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When.
    pub at: Timestamp,
    /// Path of the request: `/webhook`, `/api/v2/alerts`.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, as it came.
    pub raw: Vec<u8>,
    /// The body, if it was JSON.
    pub body: Value,
}

impl Delivery {
    /// What a person would read: the `text` of Slack's format, else the body.
    pub fn text(&self) -> String {
        self.body.get("text").and_then(Value::as_str).map_or_else(|| self.body.to_string(), str::to_owned)
    }
}

/// The receiver. It ends when this is dropped.
#[derive(Debug)]
pub struct AlertReceiver {
    shared: Shared,
    address: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Shared {
    clock: Clock,
    inner: Arc<Mutex<(u16, Vec<Delivery>)>>,
    count: Arc<watch::Sender<usize>>,
}

impl Drop for AlertReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl AlertReceiver {
    /// Serves on loopback, on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(clock: Clock) -> io::Result<Self> {
        let shared = Shared { clock, inner: Arc::new(Mutex::new((200, Vec::new()))), count: Arc::new(watch::Sender::new(0)) };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(receive).with_state(shared.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { shared, address, task })
    }

    /// `http://127.0.0.1:PORT`: an Alertmanager.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `http://127.0.0.1:PORT/webhook`.
    pub fn webhook(&self) -> String {
        format!("{}/webhook", self.url())
    }

    /// With which status code it answers from now on. What it refuses it does not keep.
    pub fn answer_with(&self, code: u16) {
        self.shared.with(|(current, _)| *current = code);
    }

    /// What was delivered, oldest first.
    pub fn received(&self) -> Vec<Delivery> {
        self.shared.with(|(_, deliveries)| deliveries.clone())
    }

    /// Sees how many were delivered.
    pub fn subscribe(&self) -> watch::Receiver<usize> {
        self.shared.count.subscribe()
    }
}

impl Shared {
    fn with<R>(&self, with: impl FnOnce(&mut (u16, Vec<Delivery>)) -> R) -> R {
        with(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn receive(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let raw = to_bytes(body, 4 << 20).await.unwrap_or_default().to_vec();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
    let body = serde_json::from_slice(&raw).unwrap_or_default();
    let delivery = Delivery { at: shared.clock.now(), path: parts.uri.path().to_owned(), headers, raw, body };
    let code = shared.with(|(code, deliveries)| {
        if *code < 300 {
            deliveries.push(delivery);
        }
        *code
    });
    if code < 300 {
        shared.count.send_modify(|count| *count += 1);
    }
    let mut response = Response::new(Body::from("ok"));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
    response
}
