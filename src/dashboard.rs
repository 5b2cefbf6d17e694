//! Serves the pages of `web`: to the person at this machine, with the rights of their kubeconfig, or from the controller, read-only, to whom
//! the API server knows by a token.
//!
//! Who asks is settled before anything else: which host was asked (a name that leads to loopback is not enough), then the session or the
//! token. Orders are forms with a token of their own, from this origin alone, bound to what was shown.

mod answers;
mod door;
mod events;
mod live;
mod orders;
mod pages;
mod records;
mod reviews;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderName, HeaderValue, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{clock::Clock, web};

pub use door::{Door, Local, Viewer};
pub use live::Live;
pub use orders::{Order, Orders};
pub use records::Records;
pub use reviews::Reviews;

/// Longest form.
const LONGEST_FORM: usize = 16 * 1024;
/// Nothing is loaded but from here, nothing is run or styled that is written into a page, and no other site frames it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// Settings of a site.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Path before every address: empty, or `/haldane`.
    pub prefix: String,
    /// Which cluster it is of.
    pub cluster: String,
    /// The namespace that is shown; none: all that may be seen.
    pub namespace: Option<String>,
    /// Where the browser finds Prometheus.
    pub prometheus: Option<String>,
}

/// The dashboard; cheap to clone.
#[derive(Clone)]
pub struct Site {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    clock: Clock,
    live: Live,
    records: Records,
    door: Door,
    orders: Option<Orders>,
}

impl Site {
    /// A site about these Rollouts. Without `orders` it is read-only.
    pub fn new(settings: Settings, clock: Clock, live: Live, records: Records, door: Door, orders: Option<Orders>) -> Self {
        Self { inner: Arc::new(Inner { settings, clock, live, records, door, orders }) }
    }

    /// Everything it serves. A proxy in front may leave the prefix in the path, or take it away.
    pub fn router(&self) -> Router {
        let prefix = self.inner.settings.prefix.as_str();
        let mut inside = pages::router("");
        if !prefix.is_empty() {
            inside = inside.merge(pages::router(prefix)).route(prefix, get(pages::fleet));
        }
        let inside =
            inside.fallback(pages::nowhere).layer(middleware::from_fn_with_state(self.clone(), door::enter)).with_state(self.clone());
        let mut router = inside.merge(assets(""));
        if !prefix.is_empty() {
            router = router.merge(assets(prefix));
        }
        router
            .layer(middleware::from_fn_with_state(self.clone(), door::host))
            .layer(middleware::map_response(guarded))
            .layer(DefaultBodyLimit::max(LONGEST_FORM))
    }
}

/// What pages need beside themselves. There is no secret in it.
fn assets(prefix: &str) -> Router {
    let mut router = Router::new();
    for (name, kind, content) in web::ASSETS {
        let answer = move || async move { ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], content) };
        router = router.route(&format!("{prefix}/assets/{name}"), get(answer));
    }
    router
}

/// Every answer says what a browser may do with it.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 6] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: forms would then have no origin.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The host that a request asks for, in small letters.
fn asked_host(request: &Request) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().host()).map(str::to_ascii_lowercase)
}

/// A page.
fn html(code: u16, page: String) -> Response {
    let code = axum::http::StatusCode::from_u16(code).unwrap_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR);
    (code, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}
