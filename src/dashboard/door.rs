//! Who may come in: the session of the person at this machine, or a token that the API server knows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ring::{
    digest, hmac,
    rand::{SecureRandom, SystemRandom},
};
use tokio::sync::mpsc;

use super::{
    Site, asked_host, html,
    reviews::{Denied, Person, Reviews},
};
use crate::{
    clock::Clock,
    web::{self, Said},
};

/// Sessions that are kept; the oldest goes.
const SESSIONS: usize = 32;
/// How long the outcome of a command is shown.
const SHOWN: Duration = Duration::from_secs(60);

/// Who may come in.
pub enum Door {
    /// Whoever has the link that the terminal shows.
    Local(Local),
    /// Whoever has a token that the API server knows.
    Tokens(Reviews),
}

/// Who looks.
#[derive(Clone)]
pub enum Viewer {
    /// The session with this id.
    Session(String),
    /// A person or a program that the API server knows.
    Person(Arc<Person>),
}

/// The door of a site on loopback: a link that opens once, then a cookie.
pub struct Local {
    base: String,
    prefix: String,
    cookie: String,
    hosts: Vec<String>,
    key: hmac::Key,
    clock: Clock,
    links: mpsc::UnboundedSender<String>,
    state: Mutex<Opened>,
}

#[derive(Default)]
struct Opened {
    /// The secret of the link that opens next.
    next: String,
    /// Digests of the secrets that have opened.
    used: Vec<Vec<u8>>,
    /// By number, so that the oldest goes first.
    sessions: BTreeMap<u64, Session>,
    opened: u64,
}

struct Session {
    digest: Vec<u8>,
    /// When, about which Rollout, and what.
    said: Option<(Duration, String, Said)>,
}

/// What a link does.
enum Opening {
    Opens(String),
    Again,
    Unknown,
}

impl Local {
    /// On this port; `hosts`: other names that a proxy in front is asked for. Links to print come out of the receiver, the first at once.
    pub fn new(port: u16, prefix: &str, hosts: &[String], clock: Clock) -> Option<(Self, mpsc::UnboundedReceiver<String>)> {
        let own = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{port}"));
        let hosts = own.into_iter().chain(hosts.iter().map(|host| host.to_ascii_lowercase())).collect();
        let (links, receiver) = mpsc::unbounded_channel();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        let base = format!("http://127.0.0.1:{port}{prefix}/");
        let (prefix, cookie) = (prefix.to_owned(), format!("haldane-{port}"));
        let local = Self { base, prefix, cookie, hosts, key, clock, links, state: Mutex::default() };
        local.renew(&mut local.state())?;
        Some((local, receiver))
    }

    fn state(&self) -> MutexGuard<'_, Opened> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new link, told to the terminal.
    fn renew(&self, state: &mut Opened) -> Option<()> {
        state.next = secret()?;
        let _ = self.links.send(format!("{}?token={}", self.base, state.next));
        Some(())
    }

    fn open(&self, token: &str) -> Opening {
        let (given, mut state) = (digested(token), self.state());
        if state.used.contains(&given) {
            // Only the terminal and its user know the link: who has a used one may have a new one there.
            return if self.renew(&mut state).is_some() { Opening::Again } else { Opening::Unknown };
        }
        if given != digested(&state.next) {
            return Opening::Unknown;
        }
        let (Some(id), Some(next)) = (secret(), secret()) else { return Opening::Unknown };
        state.used.push(given);
        state.next = next;
        state.opened += 1;
        let number = state.opened;
        state.sessions.insert(number, Session { digest: digested(&id), said: None });
        while state.sessions.len() > SESSIONS {
            state.sessions.pop_first();
        }
        Opening::Opens(id)
    }

    /// The session of a request.
    fn session(&self, headers: &HeaderMap) -> Option<String> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
        let mut ids = cookies.filter_map(|cookie| cookie.trim().split_once('=')).filter(|(name, _)| *name == self.cookie);
        ids.find(|(_, id)| self.state().sessions.values().any(|session| session.digest == digested(id))).map(|(_, id)| id.to_owned())
    }

    fn allows(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known == host)
    }

    /// A form from this site: browsers say where it comes from.
    fn is_from_here(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        let host = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host.to_ascii_lowercase());
        host.is_some_and(|host| self.allows(&host))
    }

    /// The token of the forms of a session.
    pub(super) fn form(&self, session: &str) -> String {
        hex(hmac::sign(&self.key, session.as_bytes()).as_ref())
    }

    pub(super) fn is_form(&self, session: &str, token: &str) -> bool {
        digested(&self.form(session)) == digested(token)
    }

    /// Remembers what became of an order.
    pub(super) fn say(&self, session: &str, place: &str, said: Said) {
        let (now, digest) = (self.clock.elapsed(), digested(session));
        if let Some(session) = self.state().sessions.values_mut().find(|known| known.digest == digest) {
            session.said = Some((now, place.to_owned(), said));
        }
    }

    /// What became of the last order about a Rollout.
    pub(super) fn said(&self, session: &str, place: &str) -> Option<Said> {
        let (now, digest) = (self.clock.elapsed(), digested(session));
        let state = self.state();
        let (at, about, said) = state.sessions.values().find(|known| known.digest == digest)?.said.as_ref()?;
        (about == place && now.saturating_sub(*at) < SHOWN).then(|| said.clone())
    }
}

/// Only the hosts that this site is, whatever leads to it: a page of somebody else whose name leads to loopback gets nothing.
pub(super) async fn host(State(site): State<Site>, request: Request, next: Next) -> Response {
    if let Door::Local(local) = &site.inner.door {
        let host = asked_host(&request).unwrap_or_default();
        if !local.allows(&host) {
            let fix = "if a proxy in front is asked for that name: haldane dashboard --allow-host NAME";
            return (StatusCode::FORBIDDEN, format!("this is not {host}\n{fix}\n")).into_response();
        }
    }
    next.run(request).await
}

/// Lets in whoever may come in, and orders from here alone.
pub(super) async fn enter(State(site): State<Site>, mut request: Request, next: Next) -> Response {
    let viewer = match &site.inner.door {
        Door::Local(local) => {
            if let Some(token) = query(&request, "token") {
                return opened(&site, local, &token, &request);
            }
            match local.session(request.headers()) {
                Some(session) => Viewer::Session(session),
                None => return refused(&site, 401, "Not signed in", "This page belongs to whoever started it.", LINK),
            }
        }
        Door::Tokens(reviews) => match reviews.person(request.headers()).await {
            Ok(person) => Viewer::Person(person),
            Err(denied) => return denied_page(&site, &denied),
        },
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let Some(_) = &site.inner.orders else {
            let mut response =
                refused(&site, 405, "Read-only", "This dashboard takes no orders.", "`haldane promote` and the other verbs do.");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        };
        if let Door::Local(local) = &site.inner.door
            && !local.is_from_here(request.headers())
        {
            return refused(&site, 403, "Not from here", "This order comes from another site. Nothing was done.", "");
        }
    }
    request.extensions_mut().insert(viewer);
    next.run(request).await
}

const LINK: &str = "Open the link that `haldane dashboard` printed.";

fn opened(site: &Site, local: &Local, token: &str, request: &Request) -> Response {
    match local.open(token) {
        Opening::Opens(id) => {
            let path = request.uri().path();
            let path = path.strip_prefix(local.prefix.as_str()).unwrap_or(path);
            let mut response = html(200, web::welcome(&local.prefix, if path.is_empty() { "/" } else { path }));
            let place = if local.prefix.is_empty() { "/" } else { &local.prefix };
            let cookie = format!("{}={id}; Path={place}; HttpOnly; SameSite=Strict", local.cookie);
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Opening::Again => {
            refused(site, 401, "This link was used", "A link opens the dashboard once.", "The terminal has printed a new one.")
        }
        Opening::Unknown => refused(site, 401, "Not signed in", "This is not the link of this dashboard.", LINK),
    }
}

pub(super) fn denied_page(site: &Site, denied: &Denied) -> Response {
    match denied {
        Denied::Unknown => {
            let fix = "Send a token that the API server knows: Authorization: Bearer TOKEN.";
            let mut response = refused(site, 401, "Not signed in", "The API server does not know who asks.", fix);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
        Denied::Unanswered(why) => refused(site, 503, "Nobody can say who asks", why, "It will work again once the API server answers."),
    }
}

/// A page that says why not.
pub(super) fn refused(site: &Site, code: u16, title: &str, text: &str, fix: &str) -> Response {
    html(code, web::notice(&site.frame(None, None), title, text, fix))
}

/// A parameter of a request.
pub(super) fn query(request: &Request, name: &str) -> Option<String> {
    let pairs = request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// 256 random bits.
fn secret() -> Option<String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(hex(&bytes))
}

/// What is compared in place of a secret: how long that takes says nothing about it.
pub(super) fn digested(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
