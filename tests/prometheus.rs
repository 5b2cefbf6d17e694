//! The Prometheus client against servers that answer well, badly, or not at all.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use haldane::clock::Clock;
use haldane::config::{BasicAuth, Google, HeaderValue, HttpAccess, Provider, SigV4};
use haldane::http_access::AccessError;
use haldane::observe::prometheus::{Prometheus, ProviderError, QueryError, Selector};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::matchers::{body_string_contains, header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const EMPTY: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

fn provider(url: &str) -> Provider {
    Provider { url: url.to_owned(), ..Provider::default() }
}

fn with(url: &str, access: HttpAccess) -> Provider {
    Provider { access, ..provider(url) }
}

fn prometheus(url: &str) -> Prometheus {
    Prometheus::new(&provider(url)).unwrap()
}

fn at() -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_250).unwrap()
}

async fn answers(template: ResponseTemplate) -> (MockServer, QueryError) {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(template).mount(&server).await;
    let error = prometheus(&server.uri()).matrix("up{}[30s]", at()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains(&server.uri()) && !text.contains(&server.address().port().to_string()), "{text}");
    (server, error)
}

#[tokio::test]
async fn a_query_is_a_form_with_its_time_and_the_labels_and_token_of_the_provider() {
    let server = MockServer::start().await;
    let mut token = tempfile();
    token.1.write_all(b"secret-one\n").unwrap();
    Mock::given(method("POST"))
        .and(path("/prefix/api/v1/query"))
        .and(header("authorization", "Bearer secret-one"))
        .and(header("content-type", "application/x-www-form-urlencoded"))
        .and(body_string_contains("time=1700000000.250"))
        .and(body_string_contains("timeout=9s"))
        .and(body_string_contains("query=up%7Bjob%3D%22a%22%2Ccluster%3D%22pr%5C%22od%22%7D%5B30s%5D"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(EMPTY, "application/json"))
        .expect(1)
        .mount(&server)
        .await;
    let settings = Provider {
        labels: BTreeMap::from([("cluster".to_owned(), "pr\"od".to_owned())]),
        access: HttpAccess { bearer_token_file: Some(token.0.clone()), ..HttpAccess::default() },
        ..provider(&format!("{}/prefix/", server.uri()))
    };
    let prometheus = Prometheus::new(&settings).unwrap();
    let selector = Selector::new("up").and_then(|s| s.is("job", "a")).unwrap();
    assert_eq!(prometheus.raw(&selector, 30, at()).await.unwrap(), vec![]);

    // Read again for every request; and what cannot be read is said without being shown.
    std::fs::remove_file(&token.0).unwrap();
    assert!(matches!(prometheus.raw(&selector, 30, at()).await, Err(QueryError::SignIn(_))));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (server, error) = answers(ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/steal")).await;
    assert_eq!(error, QueryError::Redirect(302));
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_login_page_is_told_from_data() {
    let page = "<!doctype html><html>log in</html>";
    assert_eq!(answers(ResponseTemplate::new(200).set_body_raw(page, "text/html; charset=utf-8")).await.1, QueryError::NotJson);
    assert_eq!(answers(ResponseTemplate::new(200).set_body_raw(page, "application/json")).await.1, QueryError::NotJson);
}

#[tokio::test]
async fn statuses_are_told_apart() {
    for status in [401, 403] {
        let (_, error) = answers(ResponseTemplate::new(status)).await;
        assert!(matches!(&error, QueryError::Unauthorized(code, said) if *code == status && said.contains("how the provider signs in")));
    }
    assert_eq!(answers(ResponseTemplate::new(404)).await.1, QueryError::Status(404, "Not Found; check the provider's url".into()));
    let body = r#"{"status":"error","errorType":"execution","error":"too many chunks (err-mimir-max-chunks-per-query)"}"#;
    let (_, error) = answers(ResponseTemplate::new(422).set_body_raw(body, "application/json")).await;
    assert_eq!(error, QueryError::Status(422, "execution: too many chunks (err-mimir-max-chunks-per-query)".into()));
    assert!(error.is_too_much() && error.would_come_again());
}

#[tokio::test]
async fn every_refusal_carries_the_words_of_the_server_and_no_secret() {
    let (_, error) = answers(ResponseTemplate::new(401).set_body_raw("no org id\n", "text/plain")).await;
    let text = "HTTP 401: Prometheus refuses the request: no org id (set headers: {X-Scope-OrgID: TENANT} in the provider)";
    assert_eq!(error.to_string(), text);
    let page = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
    let (_, error) = answers(ResponseTemplate::new(502).set_body_raw(page, "text/html")).await;
    assert_eq!(error, QueryError::Status(502, "502 Bad Gateway".into()));

    let server = MockServer::start().await;
    let mut token = tempfile();
    token.1.write_all(b"s3cr3t-token\n").unwrap();
    let body = format!("token s3cr3t-token of {}/api/v1/query is not known here", server.uri());
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(403).set_body_raw(body, "text/plain")).mount(&server).await;
    let settings = with(&server.uri(), HttpAccess { bearer_token_file: Some(token.0.clone()), ..HttpAccess::default() });
    let error = Prometheus::new(&settings).unwrap().matrix("up{}[30s]", at()).await.unwrap_err();
    assert_eq!(error, QueryError::Unauthorized(403, "token [hidden] of [hidden] is not known here".into()));
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_after_a_pause_and_left_alone_if_it_asks_for_a_long_one() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429).set_body_raw("too many outstanding requests", "text/plain");
    Mock::given(method("POST")).respond_with(busy).up_to_n_times(2).mount(&server).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(200).set_body_raw(EMPTY, "application/json")).mount(&server).await;
    assert_eq!(prometheus(&server.uri()).matrix("up{}[30s]", at()).await, Ok(vec![]));
    assert_eq!(server.received_requests().await.unwrap().len(), 3);

    let (server, error) = answers(ResponseTemplate::new(503).insert_header("retry-after", "30")).await;
    let pause = Some(Duration::from_secs(30));
    assert_eq!(error, QueryError::Busy { status: 503, retry_after: pause, said: "Service Unavailable".into() });
    assert_eq!(server.received_requests().await.unwrap().len(), 1);

    let (server, error) = answers(ResponseTemplate::new(429).set_body_raw("slow down", "text/plain")).await;
    assert_eq!(error.to_string(), "HTTP 429: Prometheus is busy: slow down");
    assert_eq!(server.received_requests().await.unwrap().len(), 3, "and not for ever");
}

#[tokio::test]
async fn partial_results_are_known_by_any_name() {
    let json = |body: &str| ResponseTemplate::new(200).set_body_raw(body, "application/json");
    let partial = r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#;
    assert!(matches!(answers(json(partial)).await.1, QueryError::Warnings(text) if text.starts_with("isPartial")));
    let limited = json(EMPTY).insert_header("M3-Results-Limited", "max_fetch_series_limit_applied");
    assert!(matches!(answers(limited).await.1, QueryError::Warnings(text) if text.ends_with("max_fetch_series_limit_applied")));
    for status in [203, 206] {
        let some = ResponseTemplate::new(status).set_body_raw(EMPTY, "application/json");
        assert!(matches!(answers(some).await.1, QueryError::Warnings(text) if text.starts_with(&format!("HTTP {status} "))));
    }
    let stale = json(EMPTY).insert_header("Warning", "110 - \"Response is Stale\"");
    assert!(matches!(answers(stale).await.1, QueryError::Warnings(text) if text.contains("Response is Stale")));
}

#[tokio::test]
async fn what_an_answer_repeats_of_the_request_is_hidden_whatever_its_status_and_its_spelling() {
    let server = MockServer::start().await;
    let mut token = tempfile();
    token.1.write_all("\u{feff}s3cr3t-token\n".as_bytes()).unwrap();
    let access = HttpAccess {
        bearer_token_file: Some(token.0.clone()),
        headers: BTreeMap::from([("X-Session".to_owned(), HeaderValue::Text("abc".into()))]),
        query: BTreeMap::from([("sig".to_owned(), "a b/c".into()), ("tenant".to_owned(), "a-long-name-of-nobody".into())]),
        ..HttpAccess::default()
    };
    let prometheus = Prometheus::new(&with(&server.uri(), access)).unwrap();
    let said = r#"s3cr3t-token abc sig=a+b%2Fc a-long-name-of-nobody\u001b[31m\n end"#;
    let failed = format!(r#"{{"status":"error","errorType":"execution","error":"{said}"}}"#);
    let warned = format!(r#"{{"status":"success","warnings":["{said}"],"data":{{"resultType":"matrix","result":[]}}}}"#);
    for body in [failed, warned] {
        server.reset().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(200).set_body_raw(body, "application/json")).mount(&server).await;
        let text = prometheus.matrix("up{}[1s]", at()).await.unwrap_err().to_string();
        assert!(text.ends_with("[hidden] [hidden] sig=[hidden] [hidden] [31m end"), "{text}");
    }
}

#[tokio::test]
async fn a_token_file_that_holds_no_token_is_named_and_nothing_is_sent() {
    let server = MockServer::start().await;
    let token = tempfile();
    let access = HttpAccess { bearer_token_file: Some(token.0.clone()), ..HttpAccess::default() };
    let prometheus = Prometheus::new(&with(&server.uri(), access)).unwrap();
    for (text, said) in
        [("\n", "bearerTokenFile is empty"), ("one\ntwo\n", "bearerTokenFile is more than one line of text: it must hold the token alone")]
    {
        std::fs::write(&token.0, text).unwrap();
        assert_eq!(prometheus.matrix("up{}[1s]", at()).await.unwrap_err().to_string(), said);
    }
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn warnings_wrong_types_and_numbers_that_are_none_are_errors() {
    let json = |body: &str| ResponseTemplate::new(200).set_body_raw(body, "application/json");
    let warned = r#"{"status":"success","warnings":["store 2 unreachable"],"data":{"resultType":"matrix","result":[]}}"#;
    assert_eq!(answers(json(warned)).await.1, QueryError::Warnings("store 2 unreachable".into()));
    let both = r#"{"status":"success","errorType":"execution","error":"x","data":{"resultType":"matrix","result":[]}}"#;
    assert_eq!(answers(json(both)).await.1, QueryError::NotSuccess("execution: x".into()));
    assert_eq!(answers(json("")).await.1.to_string(), "the answer cannot be used: it is empty");
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    assert_eq!(answers(json(vector)).await.1, QueryError::WrongType { wanted: "matrix", found: "vector".into() });
    let string = r#"{"status":"success","data":{"resultType":"string","result":[1,"a"]}}"#;
    assert_eq!(answers(json(string)).await.1, QueryError::WrongType { wanted: "matrix", found: "string".into() });
    let infinite = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"m"},"values":[[1,"+Inf"]]}]}}"#;
    assert_eq!(answers(json(infinite)).await.1, QueryError::NotFinite("m".into()));
}

#[tokio::test]
async fn a_value_is_one_finite_number_and_everything_else_is_told_apart() {
    async fn value(body: &str) -> Result<f64, QueryError> {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(200).set_body_raw(body, "application/json");
        Mock::given(method("POST")).respond_with(answer).mount(&server).await;
        prometheus(&server.uri()).value("max(x)", at()).await
    }
    let vector = |rows: &str| format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{rows}]}}}}"#);
    let scalar = |text: &str| format!(r#"{{"status":"success","data":{{"resultType":"scalar","result":[1,"{text}"]}}}}"#);
    assert_eq!(value(&vector(r#"{"metric":{"a":"b"},"value":[1,"38000.5"]}"#)).await, Ok(38000.5));
    assert_eq!(value(&scalar("-2e3")).await, Ok(-2000.0));
    assert_eq!(value(&vector("")).await, Err(QueryError::Nothing));
    let several = vector(r#"{"metric":{"a":"b"},"value":[1,"1"]},{"metric":{"a":"c"},"value":[1,"1"]}"#);
    assert_eq!(value(&several).await, Err(QueryError::Several(2)));
    for bad in ["NaN", "+Inf", "-Inf"] {
        let unnamed = Err(QueryError::NotFinite("the answer".into()));
        assert_eq!(value(&scalar(bad)).await, unnamed);
        assert_eq!(value(&vector(&format!(r#"{{"metric":{{}},"value":[1,"{bad}"]}}"#))).await, unnamed);
    }
    let wrong = |found: &str| Err(QueryError::WrongType { wanted: "scalar, or vector of one sample", found: found.into() });
    for kind in ["matrix", "string"] {
        assert_eq!(value(&format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":[]}}}}"#)).await, wrong(kind));
    }
    let warned = r#"{"status":"success","warnings":["partial"],"data":{"resultType":"scalar","result":[1,"1"]}}"#;
    assert_eq!(value(warned).await, Err(QueryError::Warnings("partial".into())));
    let error = r#"{"status":"error","errorType":"execution","error":"many-to-many"}"#;
    assert_eq!(value(error).await, Err(QueryError::NotSuccess("execution: many-to-many".into())));
    assert_eq!(value(&scalar("one")).await, Err(QueryError::Malformed("a value is not a number".into())));
    assert_eq!(value("<html>").await, Err(QueryError::NotJson));
}

#[tokio::test]
async fn an_answer_longer_than_16_mib_is_given_up_whether_it_says_its_length_or_not() {
    let huge = vec![b' '; 20 << 20];
    assert_eq!(answers(ResponseTemplate::new(200).set_body_raw(huge, "application/json")).await.1, QueryError::TooLarge);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 65536];
        let _ = socket.read(&mut buffer).await;
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(head).await.unwrap();
        let mut sent = 0_usize;
        let mut chunk = b"10000\r\n".to_vec();
        chunk.extend(vec![b' '; 65536]);
        chunk.extend(b"\r\n");
        while sent < (64 << 20) && socket.write_all(&chunk).await.is_ok() {
            sent += 65536;
        }
        sent
    });
    assert_eq!(prometheus(&url).matrix("up{}[30s]", at()).await, Err(QueryError::TooLarge));
    assert!(server.await.unwrap() < (40 << 20), "the rest is not read");
}

#[tokio::test]
async fn an_answer_cut_off_by_the_connection_is_no_data() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 65536];
            let _ = socket.read(&mut buffer).await;
            let _ = socket
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 63\r\n\r\n{\"status\":\"succ")
                .await;
        }
    });
    let error = prometheus(&url).matrix("up{}[30s]", at()).await.unwrap_err();
    assert!(matches!(error, QueryError::Unreachable(_)), "{error:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_after_ten_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let prometheus = prometheus(&url);
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    assert_eq!(prometheus.matrix("up{}[30s]", at()).await, Err(QueryError::Timeout));
    let took = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - before;
    assert!(took >= Duration::from_secs(9), "{took:?}");
    drop(listener);
}

#[tokio::test]
async fn no_server_is_unreachable_and_the_message_does_not_name_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = prometheus(&format!("http://user:pa55@127.0.0.1:{port}/x?token=t0p")).matrix("up{}[1s]", at()).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(matches!(error, QueryError::Unreachable(_)), "{text}");
    for secret in ["pa55", "t0p", &port.to_string()] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_dead_pooled_connection_is_replaced_by_a_new_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut served = 0;
        let mut buffer = vec![0; 65536];
        while served < 2 {
            let (mut socket, _) = listener.accept().await.unwrap();
            if socket.read(&mut buffer).await.unwrap_or(0) > 0 {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{EMPTY}", EMPTY.len());
                socket.write_all(answer.as_bytes()).await.unwrap();
                served += 1;
            }
            // Closed without a word, as a restarted server does.
        }
    });
    let prometheus = prometheus(&url);
    for _ in 0..2 {
        assert_eq!(prometheus.matrix("up{}[1s]", at()).await, Ok(vec![]));
    }
    server.await.unwrap();
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_the_concurrency() {
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_body_raw(EMPTY, "application/json").set_delay(Duration::from_millis(150));
    Mock::given(method("POST")).respond_with(slow).mount(&server).await;
    let prometheus = Prometheus::new(&Provider { concurrency: Some(1), ..provider(&server.uri()) }).unwrap();
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let (one, two, three) =
        tokio::join!(prometheus.matrix("a{}[1s]", at()), prometheus.matrix("b{}[1s]", at()), prometheus.matrix("c{}[1s]", at()));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    let took = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() - before;
    assert!(took >= Duration::from_millis(440), "{took:?}");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_at_once() {
    for url in ["", "prometheus:9090", "ftp://x", "file:///etc/passwd", "http://"] {
        assert!(matches!(Prometheus::new(&provider(url)), Err(ProviderError::Url)), "{url}");
    }
    let bad_label = Provider { labels: BTreeMap::from([("a\nb".to_owned(), "x".to_owned())]), ..provider("http://x") };
    assert!(matches!(Prometheus::new(&bad_label), Err(ProviderError::Label(_))));
    let no_file = with("https://x", HttpAccess { ca_file: Some("/nowhere/ca.pem".into()), ..HttpAccess::default() });
    assert!(matches!(Prometheus::new(&no_file), Err(ProviderError::Access(AccessError::File { field: "caFile", .. }))));
    let mut empty = tempfile();
    empty.1.write_all(b"nothing").unwrap();
    let no_certificate = with("https://x", HttpAccess { ca_file: Some(empty.0.clone()), ..HttpAccess::default() });
    assert!(matches!(Prometheus::new(&no_certificate), Err(ProviderError::Access(AccessError::Certificates))));
    assert_eq!(prometheus("http://x").lag(), Duration::from_secs(20), "a scrape and five seconds");
}

fn tempfile() -> (std::path::PathBuf, std::fs::File) {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("haldane-prometheus-{}-{number}", std::process::id()));
    (file.clone(), std::fs::File::create(&file).unwrap())
}

/// A server whose clock is so many seconds ahead of ours, with one sample, ten seconds old. It evaluates `late` seconds before its now.
async fn ahead_by(seconds: f64, late: f64, clock: Clock) -> MockServer {
    let server = MockServer::start().await;
    let now = move || clock.now().as_millisecond() as f64 / 1000.0 + seconds;
    let its_clock = move |_: &wiremock::Request| {
        let (now, value) = (now(), now() - late);
        let result =
            format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[{now},"{value}"]}}]}}}}"#);
        ResponseTemplate::new(200).set_body_raw(result, "application/json")
    };
    let old = now() - 10.0;
    let data = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[{old:.3},"7"]]}}]}}}}"#);
    Mock::given(method("POST")).and(body_string_contains("query=vector%28time%28%29%29")).respond_with(its_clock).mount(&server).await;
    let answer = ResponseTemplate::new(200).set_body_raw(data, "application/json");
    Mock::given(method("POST")).and(body_string_contains("query=up")).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn a_server_with_another_clock_is_asked_in_its_time_and_answers_in_ours() {
    let clock = Clock::system();
    for (seconds, corrected) in [(120.0, true), (-45.0, true), (0.5, false), (-0.5, false)] {
        let server = ahead_by(seconds, 0.0, clock).await;
        let prometheus = prometheus(&server.uri());
        let ahead = prometheus.read_clock(&clock).await.unwrap().as_secs_f64();
        assert!((ahead - if corrected { seconds } else { 0.0 }).abs() < 5.0, "{ahead} for {seconds}");
        if !corrected {
            assert!(ahead.abs() < 1e-9, "what may be the way there and back moves no window: {ahead}");
        }
        let now = clock.now();
        let series = prometheus.matrix("up{}[30s]", now).await.unwrap();
        let age = now.duration_since(series[0].samples[0].0).as_secs_f64();
        assert!((5.0..20.0).contains(&age), "{age} s old in our time, with {seconds}");
        let asked = server.received_requests().await.unwrap();
        assert!(!String::from_utf8_lossy(&asked[0].body).contains("time="), "at the server's now");
        let body = String::from_utf8_lossy(&asked[1].body).into_owned();
        let time: f64 = body.split('&').find_map(|part| part.strip_prefix("time=")).unwrap().parse().unwrap();
        assert!((time - now.as_millisecond() as f64 / 1000.0 - ahead).abs() < 0.01, "{time}");
    }
}

#[tokio::test]
async fn a_server_that_evaluates_before_its_now_has_no_other_clock_for_that() {
    let clock = Clock::system();
    for (seconds, late) in [(0.0, 30.0), (120.0, 30.0)] {
        let server = ahead_by(seconds, late, clock).await;
        let ahead = prometheus(&server.uri()).read_clock(&clock).await.unwrap().as_secs_f64();
        assert!((ahead - seconds).abs() < 5.0, "{ahead} for {seconds}");
    }
}

/// What Mimir, Google and Amazon answer.
#[derive(serde::Deserialize)]
struct Recorded {
    store: String,
    what: String,
    status: u16,
    #[serde(rename = "type")]
    kind: String,
    body: String,
    said: Option<String>,
    #[serde(default)]
    too_much: bool,
}

#[tokio::test]
async fn what_hosted_stores_answer_is_data_or_reaches_the_user_in_their_words() {
    let recorded: Vec<Recorded> = serde_json::from_str(include_str!("data/stores/answers.json")).unwrap();
    assert_eq!(recorded.iter().map(|answer| answer.store.as_str()).collect::<std::collections::BTreeSet<_>>().len(), 3);
    for answer in recorded {
        let server = MockServer::start().await;
        let template = ResponseTemplate::new(answer.status).set_body_raw(answer.body, &answer.kind);
        Mock::given(method("POST")).respond_with(template).mount(&server).await;
        let found = prometheus(&server.uri()).matrix("up{}[30s]", at()).await;
        let name = format!("{}, {}", answer.store, answer.what);
        match answer.said {
            None => assert_eq!(found.map(|series| series.len()), Ok(1), "{name}"),
            Some(said) => {
                let error = found.unwrap_err();
                assert_eq!(error.to_string(), said, "{name}");
                assert_eq!(error.is_too_much(), answer.too_much, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_url_may_end_as_the_api_does_or_not_and_its_query_is_kept() {
    for (given, asked) in [
        ("", "/api/v1/query"),
        ("/", "/api/v1/query"),
        ("/api/v1", "/api/v1/query"),
        ("/api/v1/", "/api/v1/query"),
        ("/api/v1/query", "/api/v1/query"),
        ("/api/v1/query_range", "/api/v1/query"),
        ("/prometheus", "/prometheus/api/v1/query"),
        ("/select/0/prometheus/api/v1/", "/select/0/prometheus/api/v1/query"),
        ("/workspaces/ws-1//", "/workspaces/ws-1/api/v1/query"),
    ] {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(200).set_body_raw(EMPTY, "application/json");
        Mock::given(path(asked))
            .and(query_param("namespace", "a b"))
            .and(query_param("dedup", "true"))
            .respond_with(answer)
            .mount(&server)
            .await;
        let access = HttpAccess { query: BTreeMap::from([("dedup".to_owned(), "true".to_owned())]), ..HttpAccess::default() };
        let settings = with(&format!("{}{given}?namespace=a+b", server.uri()), access);
        assert_eq!(Prometheus::new(&settings).unwrap().matrix("up{}[1s]", at()).await, Ok(vec![]), "{given}");
    }
}

#[tokio::test]
async fn headers_and_basic_auth_are_sent_and_their_files_are_read_for_each_request() {
    let server = MockServer::start().await;
    let (mut key, mut password) = (tempfile(), tempfile());
    key.1.write_all(b"k3y-one\n").unwrap();
    password.1.write_all(b"pa55\n").unwrap();
    let access = HttpAccess {
        headers: BTreeMap::from([
            ("X-Scope-OrgID".to_owned(), HeaderValue::Text("team-a".into())),
            ("X-Api-Key".to_owned(), HeaderValue::File { file: key.0.clone() }),
        ]),
        basic_auth: Some(BasicAuth { username: Some("u".into()), username_file: None, password_file: password.0.clone() }),
        ..HttpAccess::default()
    };
    let prometheus = Prometheus::new(&with(&server.uri(), access)).unwrap();
    let said = "Basic dTpwYTU1 (pa55) and k3y-one are unknown to team-a";
    Mock::given(method("POST"))
        .and(header("x-scope-orgid", "team-a"))
        .and(header("x-api-key", "k3y-one"))
        .and(header("authorization", "Basic dTpwYTU1"))
        .respond_with(ResponseTemplate::new(401).set_body_raw(said, "text/plain"))
        .mount(&server)
        .await;
    let error = prometheus.matrix("up{}[1s]", at()).await.unwrap_err();
    assert_eq!(error, QueryError::Unauthorized(401, "Basic [hidden] ([hidden]) and [hidden] are unknown to team-a".into()));
    server.reset().await;
    std::fs::write(&key.0, "k3y-two").unwrap();
    let answer = ResponseTemplate::new(200).set_body_raw(EMPTY, "application/json");
    Mock::given(header("x-api-key", "k3y-two")).respond_with(answer).mount(&server).await;
    assert_eq!(prometheus.matrix("up{}[1s]", at()).await, Ok(vec![]));
    std::fs::remove_file(&password.0).unwrap();
    let error = prometheus.matrix("up{}[1s]", at()).await.unwrap_err();
    assert_eq!(error.to_string(), "basicAuth.passwordFile cannot be read: entity not found");
}

#[tokio::test]
async fn where_post_is_refused_get_is_used_and_remembered() {
    for refusal in [403, 404, 405, 501] {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(refusal)).mount(&server).await;
        Mock::given(method("GET"))
            .and(query_param("query", "up{}[1s]"))
            .and(query_param("time", "1700000000.250"))
            .respond_with(ResponseTemplate::new(200).set_body_raw(EMPTY, "application/json"))
            .mount(&server)
            .await;
        let prometheus = prometheus(&server.uri());
        for _ in 0..2 {
            assert_eq!(prometheus.matrix("up{}[1s]", at()).await, Ok(vec![]), "{refusal}");
        }
        let methods: Vec<String> = server.received_requests().await.unwrap().iter().map(|request| request.method.to_string()).collect();
        assert_eq!(methods, ["POST", "GET", "GET"], "{refusal}");
    }
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(403).set_body_raw("not you", "text/plain")).mount(&server).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(405)).mount(&server).await;
    let error = prometheus(&server.uri()).matrix("up{}[1s]", at()).await.unwrap_err();
    assert_eq!(error, QueryError::Unauthorized(403, "not you".into()), "where neither works the first refusal is reported");
}

#[tokio::test]
async fn a_proxy_is_used_and_sees_the_whole_url() {
    let proxy = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_raw(EMPTY, "application/json");
    Mock::given(method("POST")).and(header("host", "prometheus.invalid:9090")).respond_with(answer).expect(1).mount(&proxy).await;
    let access = HttpAccess { proxy: Some(proxy.uri()), ..HttpAccess::default() };
    let prometheus = Prometheus::new(&with("http://prometheus.invalid:9090", access)).unwrap();
    assert_eq!(prometheus.matrix("up{}[1s]", at()).await, Ok(vec![]));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

#[tokio::test]
async fn a_request_to_amazon_carries_the_signature_that_amazon_computes() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_raw(EMPTY, "application/json");
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    let mut credentials = tempfile();
    credentials.1.write_all(b"[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI\n").unwrap();
    let sigv4 =
        SigV4 { region: "eu-central-1".into(), service: "aps".into(), profile: None, credentials_file: Some(credentials.0.clone()) };
    let access = HttpAccess { sigv4: Some(sigv4), ..HttpAccess::default() };
    let prometheus = Prometheus::new(&with(&format!("{}/workspaces/ws-1", server.uri()), access)).unwrap();
    assert_eq!(prometheus.matrix("up{}[1s]", at()).await, Ok(vec![]));

    let request = server.received_requests().await.unwrap().remove(0);
    let header = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let authorization = header("authorization");
    let date = header("x-amz-date");
    let scope = format!("{}/eu-central-1/aps/aws4_request", date.get(..8).unwrap());
    let part = |begin: &str| authorization.split(begin).nth(1).unwrap().split(',').next().unwrap().to_owned();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 "), "{authorization}");
    assert_eq!(part("Credential="), format!("AKIDEXAMPLE/{scope}"));
    assert_eq!(header("x-amz-content-sha256"), sha256(&request.body), "the body is signed too");
    let names = part("SignedHeaders=");
    assert!(names.split(';').any(|name| name == "host") && names.split(';').any(|name| name == "x-amz-date"), "{names}");
    let headers: String = names.split(';').map(|name| format!("{name}:{}\n", header(name).trim())).collect();
    let canonical = format!("POST\n/workspaces/ws-1/api/v1/query\n\n{headers}\n{names}\n{}", sha256(&request.body));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let key = hmac(b"AWS4wJalrXUtnFEMI", date.get(..8).unwrap());
    let key = hmac(&hmac(&hmac(&key, "eu-central-1"), "aps"), "aws4_request");
    assert_eq!(part("Signature="), hex(&hmac(&key, &text)));
}

#[tokio::test]
async fn a_source_of_tokens_that_gives_none_is_reported_without_a_request() {
    let server = MockServer::start().await;
    let mut empty = tempfile();
    empty.1.write_all(b"{}").unwrap();
    let google = Google { credentials_file: Some(empty.0.clone()) };
    let prometheus = Prometheus::new(&with(&server.uri(), HttpAccess { google: Some(google), ..HttpAccess::default() })).unwrap();
    let error = prometheus.matrix("up{}[1s]", at()).await.unwrap_err();
    assert!(matches!(&error, QueryError::SignIn(text) if text.starts_with("google: no access token: ")), "{error}");
    let sigv4 = SigV4 {
        region: "eu-central-1".into(),
        service: "aps".into(),
        profile: None,
        credentials_file: Some(empty.0.with_extension("nowhere")),
    };
    let prometheus = Prometheus::new(&with(&server.uri(), HttpAccess { sigv4: Some(sigv4), ..HttpAccess::default() })).unwrap();
    let error = prometheus.matrix("up{}[1s]", at()).await.unwrap_err();
    assert!(matches!(&error, QueryError::SignIn(text) if text.starts_with("sigv4: the request cannot be signed: ")), "{error}");
    assert!(server.received_requests().await.unwrap().is_empty());
}
