//! The dashboard against the simulated API server: who gets in, what may be ordered, and what every answer says to a browser.

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, Response, header},
};
use futures::StreamExt;
use serde_json::json;
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;
use crate::{
    command::Verb,
    link::{Connect, Limits, Link},
    sim::{
        apiserver::ApiServer,
        faults::{Fault, Rule, Verb as Asked},
    },
    view::{Tone, tests::cases::cases},
    web::Said,
};

const PORT: u16 = 4180;

struct Stage {
    api: ApiServer,
    site: Site,
    links: mpsc::UnboundedReceiver<String>,
    orders: mpsc::UnboundedReceiver<(Verb, Option<String>)>,
}

/// What a site is started with.
#[derive(Default)]
struct With {
    prefix: &'static str,
    hosts: &'static [&'static str],
    read_only: bool,
    tokens: bool,
}

async fn stage(with: With) -> Stage {
    let clock = Clock::system();
    let api = ApiServer::start(clock, 0).await.unwrap();
    for (namespace, name, case) in [("ml", "fraud", "progressing"), ("shop", "ranker", "promoted")] {
        let mut rollout = cases().into_iter().find(|one| one.name == case).unwrap().rollout;
        (rollout.metadata.namespace, rollout.metadata.name) = (Some(namespace.into()), Some(name.into()));
        rollout.metadata.uid = Some(format!("u-{name}"));
        api.objects().put(serde_json::to_value(&rollout).unwrap());
    }
    let link = Link::new(Connect::from(api.client("ml")), clock, Limits::default()).unwrap();
    let (live, keeping) = Live::watching(&link, None);
    tokio::spawn(keeping.for_each(async |()| {}));
    live.ready().await;
    let hosts: Vec<String> = with.hosts.iter().map(ToString::to_string).collect();
    let (local, links) = Local::new(PORT, with.prefix, &hosts, clock).unwrap();
    let door = if with.tokens { Door::Tokens(Reviews::new(link.client(), clock)) } else { Door::Local(local) };
    let (sender, orders) = mpsc::unbounded_channel();
    let give: Orders = Arc::new(move |order: Order| {
        sender.send((order.verb, order.reason)).unwrap();
        Box::pin(async move { Said { tone: Tone::Good, text: format!("{} accepted", order.verb), fix: String::new() } })
    });
    let settings = Settings { prefix: with.prefix.into(), cluster: "prod-eu1".into(), ..Settings::default() };
    let records = Records::new(link.client(), clock);
    let site = Site::new(settings, clock, live, records, door, (!with.read_only).then_some(give));
    Stage { api, site, links, orders }
}

/// A request as a browser sends it.
struct Ask {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn ask(path: &str) -> Ask {
    Ask { method: Method::GET, path: path.into(), headers: vec![("host", format!("127.0.0.1:{PORT}"))], body: String::new() }
}

impl Ask {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    fn form(self, fields: &[(&str, &str)]) -> Self {
        let encoded = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let body = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&");
        let origin = format!("http://127.0.0.1:{PORT}");
        Self { method: Method::POST, body, ..self }.with("origin", &origin).with("content-type", "application/x-www-form-urlencoded")
    }

    async fn of(self, site: &Site) -> Answer {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        Answer::of(site.router().oneshot(request.body(Body::from(self.body)).unwrap()).await.unwrap()).await
    }
}

struct Answer {
    code: u16,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
        Self { code: parts.status.as_u16(), headers: parts.headers, text }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The value of a hidden field.
    fn field(&self, name: &str) -> &str {
        self.text.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap().split('"').next().unwrap()
    }
}

impl Stage {
    /// Opens the newest link, and keeps the cookie.
    async fn sign_in(&mut self) -> String {
        let link = self.links.recv().await.unwrap();
        let path = link.strip_prefix(&format!("http://127.0.0.1:{PORT}")).unwrap();
        let answer = ask(path).of(&self.site).await;
        assert_eq!(answer.code, 200, "{}", answer.text);
        answer.header("set-cookie").split(';').next().unwrap().to_owned()
    }

    async fn get(&self, path: &str, cookie: &str) -> Answer {
        ask(path).with("cookie", cookie).of(&self.site).await
    }
}

#[tokio::test]
async fn a_link_opens_once_and_the_terminal_gets_a_new_one() {
    let mut stage = stage(With::default()).await;
    let link = stage.links.recv().await.unwrap();
    assert!(link.starts_with(&format!("http://127.0.0.1:{PORT}/?token=")), "{link}");
    let path = link.split_once("4180").unwrap().1.to_owned();
    let opened = ask(&path).of(&stage.site).await;
    let cookie = opened.header("set-cookie").to_owned();
    for part in ["haldane-4180=", "Path=/;", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    assert!(opened.text.contains("http-equiv=\"refresh\" content=\"0;url=/\""), "{}", opened.text);
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(stage.get("/", cookie).await.code, 200);
    // Who reads the link in a history gets nothing.
    let again = ask(&path).of(&stage.site).await;
    assert_eq!((again.code, again.header("set-cookie")), (401, ""));
    let new = stage.links.recv().await.unwrap();
    assert_ne!(new, link);
    assert_eq!(ask(new.split_once("4180").unwrap().1).of(&stage.site).await.code, 200);
    assert_eq!(ask("/?token=0000").of(&stage.site).await.code, 401);
    assert!(stage.links.try_recv().is_err(), "a guess gets no new link");
}

#[tokio::test]
async fn without_a_session_there_is_nothing_but_the_style() {
    let stage = stage(With::default()).await;
    for path in ["/", "/events", "/rollouts/ml/fraud", "/rollouts/ml/fraud/events", "/rollouts/ml/fraud/abort", "/nowhere"] {
        let answer = ask(path).with("cookie", "haldane-4180=guess").of(&stage.site).await;
        assert_eq!(answer.code, 401, "{path}");
        assert!(!answer.text.contains("fraud") && answer.text.contains("haldane dashboard"), "{}", answer.text);
    }
    let order = ask("/rollouts/ml/fraud/promote").form(&[]).of(&stage.site).await;
    assert_eq!(order.code, 401);
    let style = ask("/assets/haldane.css").of(&stage.site).await;
    assert_eq!((style.code, style.header("content-type")), (200, "text/css; charset=utf-8"));
}

#[tokio::test]
async fn a_name_that_leads_to_loopback_is_not_enough() {
    let mut stage = stage(With { hosts: &["hal.example.com"], ..With::default() }).await;
    let cookie = stage.sign_in().await;
    for (host, code) in [
        ("127.0.0.1:4180", 200),
        ("localhost:4180", 200),
        ("LOCALHOST:4180", 200),
        ("hal.example.com", 200),
        ("evil.example.com:4180", 403),
        ("127.0.0.1:4181", 403),
        ("", 403),
    ] {
        let answer = ask("/").with("cookie", &cookie).with("host", host).of(&stage.site).await;
        assert_eq!(answer.code, code, "{host}: {}", answer.text);
    }
    let style = ask("/assets/haldane.css").with("host", "evil.example.com").of(&stage.site).await;
    assert_eq!(style.code, 403);
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let mut stage = stage(With::default()).await;
    let cookie = stage.sign_in().await;
    for path in ["/", "/rollouts/ml/fraud", "/rollouts/ml/fraud/abort", "/nowhere", "/rollouts/ml/nobody", "/assets/haldane.js", "/events"]
    {
        let response = {
            let request = Request::get(path).header(header::HOST, "127.0.0.1:4180").header(header::COOKIE, &cookie);
            stage.site.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        let headers = response.headers();
        let of = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let policy = of("content-security-policy");
        for part in [
            "default-src 'none'",
            "style-src 'self';",
            "script-src 'self';",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part) && !policy.contains("unsafe"), "{path}: {policy}");
        }
        assert_eq!((of("x-content-type-options").as_str(), of("referrer-policy").as_str()), ("nosniff", "same-origin"), "{path}");
        assert_eq!(of("cross-origin-opener-policy"), "same-origin", "{path}");
        let kept = if path.starts_with("/assets/") || path == "/events" { "no-cache" } else { "no-store" };
        assert_eq!(of("cache-control"), kept, "{path}");
    }
}

#[tokio::test]
async fn an_order_needs_the_form_of_this_session_and_this_origin() {
    let mut stage = stage(With::default()).await;
    let cookie = stage.sign_in().await;
    let page = stage.get("/rollouts/ml/fraud", &cookie).await;
    let fields: Vec<(&str, &str)> = ["token", "uid", "epoch", "step", "revision"].map(|name| (name, page.field(name))).into();
    let promote = |fields: &[(&str, &str)]| ask("/rollouts/ml/fraud/promote").with("cookie", &cookie).form(fields);
    let answer = promote(&fields).with("origin", "https://evil.example.com").of(&stage.site).await;
    assert_eq!(answer.code, 403);
    let answer = promote(&fields).with("origin", "null").of(&stage.site).await;
    assert_eq!(answer.code, 403);
    let mut forged = fields.clone();
    forged[0].1 = "0000";
    assert_eq!(promote(&forged).of(&stage.site).await.code, 403);
    assert_eq!(promote(&fields[1..]).of(&stage.site).await.code, 403);
    // The form of another session is no form of this one.
    let another = {
        let Door::Local(local) = &stage.site.inner.door else { unreachable!() };
        local.form("another")
    };
    forged[0].1 = &another;
    assert_eq!(promote(&forged).of(&stage.site).await.code, 403);
    assert!(stage.orders.try_recv().is_err(), "nothing was done so far");

    let answer = promote(&fields).of(&stage.site).await;
    assert_eq!((answer.code, answer.header("location")), (303, "/rollouts/ml/fraud"), "{}", answer.text);
    assert_eq!(stage.orders.try_recv().unwrap(), (Verb::Promote, None));
    assert!(stage.get("/rollouts/ml/fraud", &cookie).await.text.contains("promote accepted"));
    assert!(!stage.get("/rollouts/shop/ranker", &cookie).await.text.contains("promote accepted"));
    assert_eq!(ask("/rollouts/ml/fraud/explode").with("cookie", &cookie).form(&fields).of(&stage.site).await.code, 404);
    assert_eq!(ask("/rollouts/ml/nobody/promote").with("cookie", &cookie).form(&fields).of(&stage.site).await.code, 404);
}

#[tokio::test]
async fn an_order_about_what_is_no_more_is_not_given() {
    let mut stage = stage(With::default()).await;
    let cookie = stage.sign_in().await;
    let page = stage.get("/rollouts/ml/fraud", &cookie).await;
    let mut fields: Vec<(&str, &str)> = ["token", "uid", "epoch", "step", "revision"].map(|name| (name, page.field(name))).into();
    fields[3].1 = "1";
    let promote = ask("/rollouts/ml/fraud/promote").with("cookie", &cookie).form(&fields).of(&stage.site).await;
    assert_eq!(promote.code, 303);
    assert!(stage.orders.try_recv().is_err());
    let page = stage.get("/rollouts/ml/fraud", &cookie).await;
    assert!(page.text.contains("promote was not given: the page showed step 1, and now it is 2"), "{}", page.text);
}

#[tokio::test]
async fn an_abort_is_given_when_the_name_was_typed() {
    let mut stage = stage(With::default()).await;
    let cookie = stage.sign_in().await;
    let page = stage.get("/rollouts/ml/fraud/abort", &cookie).await;
    let bound: Vec<(&str, &str)> = ["token", "uid", "epoch", "step", "revision"].map(|name| (name, page.field(name))).into();
    let abort = |more: &[(&str, &str)]| {
        let fields: Vec<(&str, &str)> = bound.iter().chain(more).copied().collect();
        ask("/rollouts/ml/fraud/abort").with("cookie", &cookie).form(&fields)
    };
    let wrong = abort(&[("reason", "scores"), ("name", "ranker")]).of(&stage.site).await;
    assert!(wrong.code == 422 && wrong.text.contains("This is not fraud") && wrong.text.contains("value=\"scores\""), "{}", wrong.text);
    let wrong = abort(&[("reason", " "), ("name", "fraud")]).of(&stage.site).await;
    assert!(wrong.code == 422 && wrong.text.contains("needs a reason"), "{}", wrong.text);
    assert!(stage.orders.try_recv().is_err());
    assert_eq!(abort(&[("reason", "scores look wrong"), ("name", "fraud")]).of(&stage.site).await.code, 303);
    assert_eq!(stage.orders.try_recv().unwrap(), (Verb::Abort, Some("scores look wrong".to_owned())));
    assert_eq!(stage.get("/rollouts/ml/fraud/promote", &cookie).await.code, 303, "what is no question leads back");
}

#[tokio::test]
async fn a_read_only_dashboard_takes_no_order() {
    let mut stage = stage(With { read_only: true, ..With::default() }).await;
    let cookie = stage.sign_in().await;
    let page = stage.get("/rollouts/ml/fraud", &cookie).await;
    assert!(page.code == 200 && !page.text.contains("<form") && page.text.contains("read-only"), "{}", page.text);
    for verb in ["promote", "abort", "pause", "resume", "retry", "rollback"] {
        let answer = ask(&format!("/rollouts/ml/fraud/{verb}")).with("cookie", &cookie).form(&[("name", "fraud")]).of(&stage.site).await;
        assert_eq!((answer.code, answer.header("allow")), (405, "GET, HEAD"), "{verb}");
    }
}

#[tokio::test]
async fn it_works_under_a_prefix_that_a_proxy_keeps_or_takes_away() {
    let mut stage = stage(With { prefix: "/haldane", ..With::default() }).await;
    let link = stage.links.recv().await.unwrap();
    assert!(link.contains("4180/haldane/?token="), "{link}");
    let opened = ask(link.split_once("4180").unwrap().1).of(&stage.site).await;
    assert!(opened.header("set-cookie").contains("Path=/haldane;") && opened.text.contains("url=/haldane/"), "{}", opened.text);
    let cookie = opened.header("set-cookie").split(';').next().unwrap().to_owned();
    for path in ["/haldane/", "/haldane", "/", "/haldane/rollouts/ml/fraud", "/rollouts/ml/fraud", "/haldane/assets/haldane.css"] {
        let answer = stage.get(path, &cookie).await;
        assert_eq!(answer.code, 200, "{path}");
        assert!(path.contains("assets") || answer.text.contains("href=\"/haldane/assets/haldane.css\""), "{}", answer.text);
    }
    let page = stage.get("/haldane/rollouts/ml/fraud", &cookie).await;
    let fields: Vec<(&str, &str)> = ["token", "uid", "epoch", "step", "revision"].map(|name| (name, page.field(name))).into();
    let answer = ask("/haldane/rollouts/ml/fraud/pause").with("cookie", &cookie).form(&fields).of(&stage.site).await;
    assert_eq!((answer.code, answer.header("location")), (303, "/haldane/rollouts/ml/fraud"));
}

#[tokio::test]
async fn a_change_is_told_to_whoever_looks_at_it() {
    let mut stage = stage(With::default()).await;
    let cookie = stage.sign_in().await;
    let open = |path: &str| {
        let request = Request::get(path).header(header::HOST, "127.0.0.1:4180").header(header::COOKIE, &cookie);
        stage.site.router().oneshot(request.body(Body::empty()).unwrap())
    };
    let (fleet, fraud) = (open("/events").await.unwrap(), open("/rollouts/ml/fraud/events").await.unwrap());
    assert_eq!(fleet.headers()[header::CONTENT_TYPE], "text/event-stream");
    let (mut fleet, mut fraud) = (fleet.into_body().into_data_stream(), fraud.into_body().into_data_stream());
    let change = |name: &'static str, namespace: &'static str| {
        stage.api.objects().set_status("rollouts.haldane.dev", namespace, name, |object| {
            let mut status = object["status"].clone();
            status["epoch"] = json!(9);
            status
        });
    };
    let text = |piece: Option<Result<axum::body::Bytes, axum::Error>>| String::from_utf8(piece.unwrap().unwrap().to_vec()).unwrap();
    change("ranker", "shop");
    assert!(text(fleet.next().await).starts_with("event: changed\n"));
    change("fraud", "ml");
    assert!(text(fraud.next().await).starts_with("event: changed\n"), "not of the other Rollout: its change came first");
    assert!(stage.get("/rollouts/ml/fraud", &cookie).await.field("epoch") == "9");
}

#[tokio::test]
async fn whoever_has_a_token_sees_what_the_api_server_lets_them_see() {
    let stage = stage(With { tokens: true, read_only: true, ..With::default() }).await;
    stage.api.know("kims-token", "kim");
    let get = |path: &str, token: &str| {
        let asked = ask(path);
        let asked = if token.is_empty() { asked } else { asked.with("authorization", &format!("Bearer {token}")) };
        asked.with("host", "haldane.haldane-system").of(&stage.site)
    };
    let nobody = get("/", "").await;
    assert_eq!((nobody.code, nobody.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(get("/", "guess").await.code, 401);
    let all = get("/", "kims-token").await;
    assert!(all.code == 200 && all.text.contains("/rollouts/ml/fraud") && all.text.contains("/rollouts/shop/ranker"), "{}", all.text);
    assert!(all.text.contains("read-only"));
    let order = ask("/rollouts/ml/fraud/promote").with("authorization", "Bearer kims-token").form(&[]).of(&stage.site).await;
    assert_eq!(order.code, 405);
    // The API server is asked once for several requests.
    let asked = |what: &str| stage.api.faults().log().iter().filter(|record| record.resource.contains(what)).count();
    let (tokens, rights) = (asked("tokenreviews"), asked("subjectaccessreviews"));
    get("/", "kims-token").await;
    assert_eq!((asked("tokenreviews"), asked("subjectaccessreviews")), (tokens, rights));
}

#[tokio::test]
async fn a_namespace_that_somebody_may_not_see_is_not_there_for_them() {
    let stage = stage(With { tokens: true, read_only: true, ..With::default() }).await;
    stage.api.know("kims-token", "kim");
    for namespace in ["", "shop"] {
        stage.api.deny_in(namespace, "list", "rollouts");
        stage.api.deny_in(namespace, "get", "rollouts");
    }
    let get = |path: &str| ask(path).with("authorization", "bearer kims-token").of(&stage.site);
    let fleet = get("/").await;
    assert!(fleet.code == 200 && fleet.text.contains("fraud") && !fleet.text.contains("ranker"), "{}", fleet.text);
    assert_eq!(get("/rollouts/ml/fraud").await.code, 200);
    for path in ["/rollouts/shop/ranker", "/rollouts/shop/nobody", "/rollouts/shop/ranker/events", "/rollouts/shop/ranker/abort"] {
        let answer = get(path).await;
        assert_eq!(answer.code, 403, "{path}: {}", answer.text);
    }
    stage.api.deny_in("ml", "list", "rollouts");
    stage.api.know("pats-token", "pat");
    let nothing = ask("/").with("authorization", "Bearer pats-token").of(&stage.site).await;
    assert!(nothing.code == 403 && nothing.text.contains("pat may not list rollouts.haldane.dev in any namespace"), "{}", nothing.text);
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_lets_nobody_in() {
    let stage = stage(With { tokens: true, read_only: true, ..With::default() }).await;
    stage.api.know("kims-token", "kim");
    stage.api.faults().add(Rule::on(Asked::Other, "/apis/authentication.k8s.io/v1/tokenreviews", Fault::internal()).forever());
    let answer = ask("/").with("authorization", "Bearer kims-token").of(&stage.site).await;
    assert!(answer.code == 503 && answer.text.contains("did not say who sends this request"), "{}", answer.text);
}
