//! A Prometheus in the process: it answers the shapes of query that haldane asks, from samples that were scraped at true times. Its clock
//! may be another than the world's.

pub mod query;
pub mod series;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use self::{query::Query, series::Database};
use super::apiserver::pairs;
use crate::clock::Clock;

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It answers.
    #[default]
    Up,
    /// It accepts and never answers.
    Hang,
    /// It answers after this time.
    Slow(Duration),
    /// 503 to everything.
    Unavailable,
    /// Every result is empty.
    Empty,
    /// It answers, with a warning beside the result.
    Warning,
    /// A web page with status 200, as a proxy in front of it sends.
    Html,
    /// Connections break.
    Down,
}

/// One query as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: Timestamp,
    /// When the answer was ready; `None` while it is not.
    pub answered: Option<Timestamp>,
    /// The query.
    pub query: String,
    /// The parameter `time`, as sent.
    pub time: Option<String>,
}

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    shared: Shared,
    address: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Shared {
    clock: Clock,
    database: Arc<Mutex<Database>>,
    control: Arc<Mutex<(Mode, Vec<Asked>)>>,
    /// Milliseconds that its clock is ahead of the world's.
    ahead: Arc<AtomicI64>,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prometheus {
    /// Serves on loopback; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn start(clock: Clock, database: Arc<Mutex<Database>>, port: u16) -> io::Result<Self> {
        let shared = Shared { clock, database, control: Arc::default(), ahead: Arc::default() };
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(serve).with_state(shared.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { shared, address, task })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how it behaves, from the next request on.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.control(|(current, _)| *current = mode);
    }

    /// Sets its clock, and with it the times of all samples, so far ahead of the world's.
    pub fn set_ahead(&self, ahead: SignedDuration) {
        self.shared.ahead.store(i64::try_from(ahead.as_millis()).unwrap_or_default(), Ordering::Relaxed);
    }

    /// Every query so far, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.control(|(_, asked)| asked.clone())
    }
}

impl Shared {
    fn control<R>(&self, with: impl FnOnce(&mut (Mode, Vec<Asked>)) -> R) -> R {
        with(&mut self.control.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve(State(shared): State<Shared>, request: Request) -> Response {
    let mode = shared.control(|(mode, _)| *mode);
    match mode {
        Mode::Hang => return std::future::pending().await,
        Mode::Slow(time) => tokio::time::sleep(time).await,
        Mode::Unavailable => return text(503, "text/plain; charset=utf-8", "Service Unavailable".into()),
        Mode::Html => return text(200, "text/html; charset=utf-8", "<html><body>Sign in</body></html>".into()),
        Mode::Down => {
            let reset = futures::stream::once(async { Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)) });
            return Response::new(Body::from_stream(reset));
        }
        Mode::Up | Mode::Empty | Mode::Warning => {}
    }
    let (parts, body) = request.into_parts();
    match parts.uri.path() {
        "/-/ready" | "/-/healthy" => text(200, "text/plain; charset=utf-8", "Prometheus Server is Ready.\n".into()),
        "/api/v1/status/buildinfo" => {
            let data =
                json!({"version": "3.0.0+haldane-sim", "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": ""});
            json_response(200, &json!({"status": "success", "data": data}))
        }
        "/api/v1/query" => {
            let mut asked = pairs(parts.uri.query().unwrap_or_default());
            if parts.method == axum::http::Method::POST {
                let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
                asked.extend(pairs(&String::from_utf8_lossy(&body)));
            }
            let (query, time) = (asked.remove("query").unwrap_or_default(), asked.remove("time"));
            let at = shared.clock.now();
            let number = shared.control(|(_, log)| {
                log.push(Asked { at, answered: None, query: query.clone(), time: time.clone() });
                log.len() - 1
            });
            let response = answer(&shared, mode, &query, time.as_deref());
            let now = shared.clock.now();
            shared.control(|(_, log)| {
                if let Some(asked) = log.get_mut(number) {
                    asked.answered = Some(now);
                }
            });
            response
        }
        _ => text(404, "text/plain; charset=utf-8", "404 page not found\n".into()),
    }
}

fn answer(shared: &Shared, mode: Mode, query: &str, time: Option<&str>) -> Response {
    let refuse = |message: String| json_response(400, &json!({"status": "error", "errorType": "bad_data", "error": message}));
    let ahead = shared.ahead.load(Ordering::Relaxed);
    let at = match time.map(milliseconds) {
        None => shared.clock.now().as_millisecond() + ahead,
        Some(Some(at)) => at,
        Some(None) => {
            let time = time.unwrap_or_default();
            return refuse(format!("invalid parameter \"time\": cannot parse \"{time}\" to a valid timestamp"));
        }
    };
    let query = match Query::parse(query) {
        Ok(query) => query,
        Err(message) => return refuse(format!("invalid parameter \"query\": {message}")),
    };
    let data = query.answer(&shared.database.lock().unwrap_or_else(PoisonError::into_inner), at, ahead, mode == Mode::Empty);
    let warning = match mode {
        Mode::Warning => ",\"warnings\":[\"some of the stores did not answer: the result is partial\"]",
        _ => "",
    };
    text(200, "application/json", format!("{{\"status\":\"success\",\"data\":{data}{warning}}}"))
}

/// A time as Prometheus takes it: seconds with a fraction, or RFC 3339.
fn milliseconds(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some((seconds * 1000.0).round() as i64);
    }
    text.parse::<Timestamp>().ok().map(|t| t.as_millisecond())
}

fn json_response(code: u16, body: &Value) -> Response {
    text(code, "application/json", body.to_string())
}

fn text(code: u16, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
