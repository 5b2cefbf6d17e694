//! A Kubernetes API server in the process, for the kinds that a rollout touches: what kube and `kubectl get`, `describe`, `annotate`,
//! `delete` and `patch` send over HTTP. There is no server-side apply, no
//! CEL but the rules that matter for routes, no authorisation but answers about it, and every
//! list is one page.

mod access;
mod answer;
mod check;
mod discovery;
mod events;
mod managed;
mod request;
mod rules;
mod schema;
mod selector;
mod table;
mod watching;
mod write;

use std::{future, io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::Response,
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

pub use answer::{Cause, Refusal};
pub use request::Verb;
use request::{Options, Target};
use selector::Selector;
use watching::Watching;
use write::Writer;
pub(crate) use {
    check::{suffix, uid},
    request::pairs,
};

use crate::clock::Clock;

use super::{
    faults::{Fault, Faults, Record},
    kinds::{Absent, Kind},
    objects::Objects,
    store::Store,
};

/// Largest body that is read: what etcd takes, and some.
const BODY: usize = 3 << 20;
/// Writes that a watch may lag behind.
const HISTORY: usize = 20_000;

/// The server. It ends when this is dropped.
#[derive(Debug)]
pub struct ApiServer {
    shared: Shared,
    address: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Shared {
    store: Store,
    clock: Clock,
    faults: Faults,
    absent: Absent,
    denied: access::Denied,
    cut: Arc<watch::Sender<u64>>,
    hole: Arc<watch::Sender<Hole>>,
}

/// A network that swallows what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Hole {
    /// It swallows now.
    open: bool,
    /// How often it opened: what was connected then stays dead.
    number: u64,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.task.abort();
        self.cut_watches();
    }
}

impl ApiServer {
    /// Serves on loopback; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn start(clock: Clock, port: u16) -> io::Result<Self> {
        let shared = Shared {
            store: Store::new(HISTORY),
            clock,
            faults: Faults::default(),
            absent: Absent::default(),
            denied: access::Denied::default(),
            cut: Arc::new(watch::Sender::new(0)),
            hole: Arc::default(),
        };
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let router = router(shared.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { shared, address, task })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client in the process, without sockets: the same answers, and it works under tokio's paused time.
    pub fn client(&self, namespace: &str) -> kube::Client {
        kube::Client::new(router(self.shared.clone()), namespace)
    }

    /// The same for one that says in every request who it is.
    pub fn client_named(&self, namespace: &str, agent: &str) -> kube::Client {
        let agent = HeaderValue::from_str(agent).unwrap_or(HeaderValue::from_static("unnamed"));
        let named = middleware::map_request(move |mut request: Request| {
            request.headers_mut().insert(header::USER_AGENT, agent.clone());
            future::ready(request)
        });
        kube::Client::new(router(self.shared.clone()).layer(named), namespace)
    }

    /// A configuration for kube over HTTP.
    pub fn config(&self, namespace: &str) -> kube::Config {
        let mut config = kube::Config::new(self.url().parse().unwrap_or_default());
        config.default_namespace = namespace.to_owned();
        config
    }

    /// A kubeconfig for `kubectl` and our own commands.
    pub fn kubeconfig(&self, namespace: &str) -> String {
        let (server, name) = (self.url(), "haldane-demo");
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\nclusters:\n- name: {name}\n  cluster: {{server: \"{server}\"}}\nusers:\n- \
             name: {name}\n  user: {{}}\ncontexts:\n- name: {name}\n  context: {{cluster: {name}, user: {name}, namespace: {namespace}}}\n"
        )
    }

    /// The objects.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// Faults to come, and the log of requests.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Whether the kinds of a group are served; at first every one is. Those that are not are in no discovery, and each path to them is 404.
    /// Watches break, as they do when a CustomResourceDefinition goes.
    pub fn set_served(&self, group: &str, served: bool) {
        self.shared.absent.set(group, !served);
        self.cut_watches();
    }

    /// Lets a question about a right be answered with no: `("patch", "virtualservices")`. Requests themselves are not refused.
    pub fn deny(&self, verb: &str, resource: &str) {
        self.shared.denied.add(verb, resource);
    }

    /// The same in one namespace; an empty one: for questions about all of them.
    pub fn deny_in(&self, namespace: &str, verb: &str, resource: &str) {
        self.shared.denied.add_in(namespace, verb, resource);
    }

    /// Makes a token known: it is this user's.
    pub fn know(&self, token: &str, user: &str) {
        self.shared.denied.know(token, user);
    }

    /// Breaks the connection of every watch.
    pub fn cut_watches(&self) {
        self.shared.cut.send_modify(|n| *n += 1);
    }

    /// From now on nothing is answered, and nothing is closed: watches that are open stay silent for ever.
    pub fn freeze(&self) {
        self.shared.hole.send_modify(|hole| *hole = Hole { open: true, number: hole.number + 1 });
    }

    /// New requests are answered again. What was open before stays dead.
    pub fn thaw(&self) {
        self.shared.hole.send_modify(|hole| hole.open = false);
    }

    /// The objects, behind the API's back.
    pub fn objects(&self) -> Objects {
        Objects::new(self.shared.store.clone(), self.shared.clock)
    }
}

fn router(shared: Shared) -> Router {
    Router::new().fallback(serve).with_state(shared)
}

async fn serve(State(shared): State<Shared>, request: Request) -> Response {
    if shared.hole.borrow().open {
        return future::pending().await;
    }
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let Ok(body) = to_bytes(body, BODY).await else {
        return refuse(&Refusal::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {BODY}")));
    };
    let options = match Options::read(&parts.uri, &parts.headers) {
        Ok(options) => options,
        Err(refusal) => return refuse(&refusal),
    };
    if let Some(review) = access::review(&path, &body, &shared.denied) {
        let (number, fault) = shared.faults.strike(record(&shared, &None, &path, parts.uri.query(), &options, &body));
        let refusal = if let Some(Fault::Answer(refusal)) = fault { Some(refusal) } else { None };
        shared.faults.answered(number, refusal.as_ref().map_or(201, |refusal| refusal.code));
        return refusal.map_or_else(|| json_response(201, &review), |refusal| refuse(&refusal));
    }
    let served = shared.absent.served();
    let target = request::target(&parts.method, &path, &options, &served);
    let (number, fault) = shared.faults.strike(record(&shared, &target, &path, parts.uri.query(), &options, &body));
    let mut behind = 0;
    match &fault {
        Some(Fault::Hang) => return future::pending().await,
        Some(Fault::DropBefore) => return broken(),
        Some(Fault::Answer(refusal)) => {
            shared.faults.answered(number, refusal.code);
            return refuse(refusal);
        }
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Fault::Stale(writes)) => behind = *writes,
        Some(Fault::Before(happens)) => happens(),
        Some(Fault::Mute) => return mute(),
        Some(Fault::HangAfter | Fault::DropAfter) | None => {}
    }
    let response = match target {
        None => plain(&path, &served),
        Some(Err(refusal)) if refusal.code == 404 => not_served(),
        Some(Err(refusal)) => refuse(&refusal),
        Some(Ok(target)) => answer(&shared, &target, &options, &body, behind).unwrap_or_else(|refusal| refuse(&refusal)),
    };
    match fault {
        Some(Fault::HangAfter) => std::future::pending().await,
        Some(Fault::DropAfter) => broken(),
        _ => {
            shared.faults.answered(number, response.status().as_u16());
            response
        }
    }
}

fn record(
    shared: &Shared,
    target: &Option<Result<Target, Refusal>>,
    path: &str,
    query: Option<&str>,
    options: &Options,
    body: &Bytes,
) -> Record {
    let mut record = Record {
        number: 0,
        at: shared.clock.now(),
        verb: Verb::Other,
        resource: path.to_owned(),
        subresource: String::new(),
        namespace: String::new(),
        name: String::new(),
        query: query.unwrap_or_default().to_owned(),
        user_agent: options.user_agent.clone(),
        body: serde_json::from_slice(body).unwrap_or_default(),
        code: None,
    };
    if let Some(Ok(target)) = target {
        record.verb = target.verb;
        record.resource = target.kind.resource();
        record.subresource = target.subresource.clone();
        record.namespace = target.namespace.clone();
        record.name = target.name.clone();
        if record.name.is_empty() {
            record.name = record.body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        }
    }
    record
}

fn answer(shared: &Shared, target: &Target, options: &Options, body: &Bytes, behind: u64) -> Result<Response, Refusal> {
    let (kind, now) = (target.kind, shared.clock.now());
    let space = (!target.namespace.is_empty()).then_some(target.namespace.as_str());
    if target.verb.writes() {
        let written = Writer { store: &shared.store, target, options, now }.run(body)?;
        let body = match written.body.get("kind").and_then(Value::as_str) {
            Some("Status") => written.body,
            _ => table::object(kind, &written.body, options.shape, now),
        };
        let mut response = json_response(written.code, &body);
        for warning in written.warnings {
            if let Ok(value) = HeaderValue::from_str(&format!("299 - {warning:?}")) {
                response.headers_mut().append(header::WARNING, value);
            }
        }
        return Ok(response);
    }
    let selector = Selector::parse(kind, options.get("labelSelector"), options.get("fieldSelector"), &target.name)?;
    if target.verb == Verb::Watch {
        let watching =
            Watching::begin(&shared.store, shared.clock, target, options, selector, (shared.cut.subscribe(), shared.hole.subscribe()))?;
        return Ok(with_body(200, Body::from_stream(watching.lines())));
    }
    let (objects, revision) = shared.store.read(|t| {
        let revision = t.revision().saturating_sub(behind);
        let objects = match (target.verb, behind) {
            (Verb::Get, 0) => t.get(&target.key()).into_iter().collect(),
            (_, 0) => t.list(kind.table(), space),
            _ => t.list_at(kind.table(), space, revision),
        };
        (objects, revision)
    });
    let found: Vec<&Value> = objects.iter().map(|o| &**o).filter(|o| selector.matches(o)).collect();
    if target.verb == Verb::List {
        if options.get("resourceVersion").and_then(|r| r.parse::<u64>().ok()).is_some_and(|asked| asked > revision && behind == 0) {
            return Err(Refusal::new(504, "Timeout", "Too large resource version"));
        }
        return Ok(json_response(200, &table::list(kind, &found, options.shape, revision, now)));
    }
    match found.first() {
        Some(object) => Ok(json_response(200, &table::object(kind, object, options.shape, now))),
        None => Err(Refusal::not_found(kind, &target.name)),
    }
}

fn plain(path: &str, served: &[&Kind]) -> Response {
    match path {
        "/healthz" | "/readyz" | "/livez" => with_body(200, Body::from("ok")),
        path => discovery::document(path, served).map_or_else(not_served, |document| json_response(200, &document)),
    }
}

/// A path that is served by nobody.
fn not_served() -> Response {
    let mut response = with_body(404, Body::from("404 page not found\n"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn refuse(refusal: &Refusal) -> Response {
    let mut response = json_response(refusal.code, &refusal.status());
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A connection that breaks: the answer ends in the middle.
fn broken() -> Response {
    with_body(200, Body::from_stream(futures::stream::once(async { Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)) })))
}

/// An answer that never comes, on a connection that stays.
fn mute() -> Response {
    with_body(200, Body::from_stream(futures::stream::pending::<Result<Bytes, io::Error>>()))
}

fn json_response(code: u16, body: &Value) -> Response {
    with_body(code, Body::from(body.to_string()))
}

fn with_body(code: u16, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
