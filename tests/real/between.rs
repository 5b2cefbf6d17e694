//! What stands between two parts: a proxy that is late with what targets say, and one that leaves out a part of what a store knows.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::Request,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::task::JoinHandle;

/// Most bytes of a question.
const QUESTION: usize = 1 << 20;

/// An HTTP proxy for scrapes: what a target said a while ago is what it says now. Runs until it is dropped.
pub(super) struct Late(JoinHandle<()>);

impl Late {
    /// Where it listens.
    pub(super) const AT: &str = "http://127.0.0.1:9998";

    /// Late by so much.
    pub(super) async fn start(behind: Duration) -> Self {
        let client = client();
        let said: Arc<Mutex<HashMap<String, Vec<Said>>>> = Arc::default();
        let app = Router::new().fallback(async move |uri: Uri, headers: HeaderMap| scraped(&client, &said, &uri, headers, behind).await);
        Self(serve(Self::AT, app).await)
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a target said, and when.
struct Said {
    at: Instant,
    kind: Option<header::HeaderValue>,
    text: Bytes,
}

async fn scraped(
    client: &reqwest::Client,
    said: &Mutex<HashMap<String, Vec<Said>>>,
    uri: &Uri,
    mut headers: HeaderMap,
    behind: Duration,
) -> Response {
    let (target, accept) = (uri.to_string(), headers.remove(header::ACCEPT));
    let request = accept.into_iter().fold(client.get(&target), |request, accept| request.header(header::ACCEPT, accept));
    let answer = match request.send().await.and_then(reqwest::Response::error_for_status) {
        Ok(answer) => (answer.headers().get(header::CONTENT_TYPE).cloned(), answer.bytes().await),
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let (kind, Ok(text)) = answer else { return StatusCode::BAD_GATEWAY.into_response() };
    let mut said = said.lock().unwrap();
    let all = said.entry(target).or_default();
    all.push(Said { at: Instant::now(), kind, text });
    let Some(then) = all.iter().rposition(|said| said.at.elapsed() >= behind) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "nothing is so old yet").into_response();
    };
    all.drain(..then);
    let kind = all[0].kind.clone().map(|kind| (header::CONTENT_TYPE, kind));
    (HeaderMap::from_iter(kind), all[0].text.clone()).into_response()
}

/// Stands in front of a store that speaks the API of Prometheus. Runs until it is dropped.
pub(super) struct Partial {
    on: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Partial {
    /// Where it listens.
    pub(super) const AT: &str = "http://127.0.0.1:9997";

    /// In front of this store; it leaves out nothing yet.
    pub(super) async fn start(store: &'static str) -> Self {
        let (client, on) = (client(), Arc::new(AtomicBool::new(false)));
        let partial = on.clone();
        let app =
            Router::new().fallback(async move |request: Request| asked(&client, store, request, partial.load(Ordering::Relaxed)).await);
        Self { on, task: serve(Self::AT, app).await }
    }

    /// From now on half of all series are missing, and the answer says so as that of a cluster of VictoriaMetrics does when a storage node is
    /// down; or nothing is.
    pub(super) fn set(&self, partial: bool) {
        self.on.store(partial, Ordering::Relaxed);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn asked(client: &reqwest::Client, store: &str, request: Request, partial: bool) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let body = axum::body::to_bytes(body, QUESTION).await.unwrap();
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    let answer = match client.request(parts.method, format!("{store}{path}")).headers(headers).body(body).send().await {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let status = answer.status();
    let Ok(text) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let answer = serde_json::from_slice::<Value>(&text).ok().filter(|_| partial).map(left_out);
    let text = answer.map_or(text, |answer| answer.to_string().into());
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Without the series of one of two storage nodes: by their labels, so that the same ones are always missing.
fn left_out(mut answer: Value) -> Value {
    let there = |series: &Value| series["metric"].to_string().bytes().map(u32::from).sum::<u32>() % 2 == 0;
    if let Some(series) = answer["data"]["result"].as_array_mut() {
        series.retain(there);
    }
    answer["isPartial"] = true.into();
    answer
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap()
}

async fn serve(at: &str, app: Router) -> JoinHandle<()> {
    let listener = tokio::net::TcpListener::bind(at.trim_start_matches("http://")).await.expect("the port is free");
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() })
}
