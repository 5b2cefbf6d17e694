mod storms;

use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path},
};

use super::*;
use crate::{
    config::{AlertmanagerSink, Config, HttpAccess, PagerDutySink, WebhookFormat, WebhookSink},
    tell::{outbox, text::tests::drift_rollback},
};

fn slack(url: String) -> Sink {
    Sink::Webhook(WebhookSink { url, format: WebhookFormat::Slack, hmac_key_file: None, access: HttpAccess::default() })
}

fn teller(sinks: &[(&str, Sink)]) -> (Teller, mpsc::Receiver<(String, String)>) {
    let alerts = sinks.iter().map(|(n, s)| ((*n).to_owned(), s.clone())).collect();
    let config = ConfigHandle::fixed(Config { alerts, ..Config::default() });
    Teller::new(config, Courier::new(), Clock::system(), Metrics::new())
}

fn outbox(sinks: &[&str]) -> Vec<OutboxEntry> {
    let mut outbox = Vec::new();
    let record = drift_rollback();
    let sinks: Vec<String> = sinks.iter().map(ToString::to_string).collect();
    outbox::enqueue(&mut outbox, outbox::key("u-1", &record), &sinks, &record);
    outbox
}

async fn server(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    server
}

async fn count(server: &MockServer) -> usize {
    server.received_requests().await.unwrap_or_default().len()
}

#[tokio::test]
async fn what_is_delivered_leaves_the_outbox_and_is_not_sent_again() {
    let server = server(ResponseTemplate::new(200).set_body_string("ok")).await;
    let (teller, mut news) = teller(&[("oncall", slack(server.uri()))]);
    let mut entries = outbox(&["oncall"]);
    teller.offer("ml", "fraud", &entries);
    teller.offer("ml", "fraud", &entries);
    assert_eq!(news.recv().await, Some(("ml".into(), "fraud".into())));
    // A pass that has not seen the news yet offers the same entry.
    teller.offer("ml", "fraud", &entries);
    assert!(teller.apply(&mut entries));
    assert!(entries.is_empty());
    assert!(!teller.apply(&mut entries));
    assert_eq!(count(&server).await, 1);
}

#[tokio::test]
async fn a_sink_that_fails_keeps_its_entry_with_the_error_and_delays_no_other() {
    let good = server(ResponseTemplate::new(200).set_body_string("ok")).await;
    let bad = server(ResponseTemplate::new(500).set_body_string("T0KEN")).await;
    let slow = server(ResponseTemplate::new(200).set_body_string("ok").set_delay(Duration::from_secs(30))).await;
    let sinks = [("bad", slack(format!("{}/T0KEN", bad.uri()))), ("good", slack(good.uri())), ("slow", slack(slow.uri()))];
    let (teller, mut news) = teller(&sinks);
    let mut entries = outbox(&["bad", "slow", "good", "gone"]);
    teller.offer("ml", "fraud", &entries);
    for _ in 0..3 {
        news.recv().await.unwrap();
    }
    assert!(teller.apply(&mut entries));
    assert_eq!(entries[0].sinks, ["bad", "slow", "gone"]);
    assert_eq!(entries[0].attempts, 3);
    let error = entries[0].error.clone().unwrap();
    assert!(!error.contains("T0KEN") && !error.contains("127.0.0.1"), "{error}");
    assert!(error == "bad: answered 500" || error == "gone: the sink is not in the configuration", "{error}");
}

#[tokio::test]
async fn a_failed_delivery_is_retried_and_then_done() {
    let server = MockServer::start().await;
    Mock::given(path("/")).respond_with(ResponseTemplate::new(429).insert_header("retry-after", "1")).up_to_n_times(1).mount(&server).await;
    Mock::given(path("/")).respond_with(ResponseTemplate::new(200).set_body_string("ok")).mount(&server).await;
    let (teller, mut news) = teller(&[("oncall", slack(server.uri()))]);
    let mut entries = outbox(&["oncall"]);
    teller.offer("ml", "fraud", &entries);
    news.recv().await.unwrap();
    teller.apply(&mut entries);
    assert_eq!(entries[0].error.as_deref(), Some("oncall: answered 429, too many requests"));
    news.recv().await.unwrap();
    teller.apply(&mut entries);
    assert!(entries.is_empty());
    assert_eq!(count(&server).await, 2);
}

#[tokio::test]
async fn offering_never_waits_even_when_a_lane_is_full() {
    let slow = server(ResponseTemplate::new(200).set_delay(Duration::from_secs(30))).await;
    let (teller, _news) = teller(&[("slow", slack(slow.uri()))]);
    let mut entry = outbox(&["slow"]).remove(0);
    for i in 0..2 * LANE {
        entry.key = format!("k{i}");
        teller.offer("ml", "fraud", std::slice::from_ref(&entry));
    }
    let memory = teller.inner.memory();
    let waiting = memory.known.values().filter(|k| !k.in_lane.is_empty()).count();
    assert!(waiting <= LANE + 1, "{waiting}");
}

#[test]
fn the_memory_of_keys_is_bounded_and_forgets_the_oldest() {
    let mut memory = Memory::default();
    for i in 0..MEMORY + 10 {
        let key = format!("k{i}");
        assert!(memory.begin(&key, "s"));
        memory.delivered(&key, "s");
    }
    assert_eq!(memory.known.len(), MEMORY);
    assert!(!memory.known.contains_key("k0") && memory.known.contains_key("k10"));
    assert!(!memory.begin("k10", "s"), "delivered");
    assert!(memory.begin("k10", "t"), "not to this one");
}

async fn sent(sink: Sink, answer: ResponseTemplate, server: &MockServer) -> (Result<(), SinkFault>, Vec<Request>) {
    Mock::given(method("POST")).respond_with(answer).mount(server).await;
    let letter = Letter::of("ml", "fraud", &outbox(&["x"])[0]);
    let result = Courier::new().send(&sink, &letter, "2026-11-23T14:03:00Z".parse().unwrap()).await;
    let requests = server.received_requests().await.unwrap_or_default();
    server.reset().await;
    (result, requests)
}

#[tokio::test]
async fn success_is_what_the_sink_says_it_is() {
    let server = MockServer::start().await;
    let hook = slack(server.uri());
    let alertmanager = Sink::Alertmanager(AlertmanagerSink { url: server.uri(), ..AlertmanagerSink::default() });
    let ok = ResponseTemplate::new(200);
    assert_eq!(sent(hook.clone(), ok.clone().set_body_string("ok\n"), &server).await.0, Ok(()));
    assert!(matches!(sent(hook.clone(), ok.clone().set_body_string("no_text"), &server).await.0, Err(SinkFault::Answer(_))));
    assert!(matches!(sent(hook.clone(), ok.clone(), &server).await.0, Err(SinkFault::Answer(_))));
    assert_eq!(sent(alertmanager.clone(), ok.clone(), &server).await.0, Ok(()));
    let page = ok.clone().set_body_string("<!doctype html>");
    assert!(matches!(sent(alertmanager.clone(), page, &server).await.0, Err(SinkFault::Answer(_))));
    assert_eq!(sent(hook.clone(), ResponseTemplate::new(404), &server).await.0, Err(SinkFault::Status(404, None)));
    let refusal = ResponseTemplate::new(401).set_body_string(format!("no tenant for {}/api/v2/alerts", server.uri()));
    let fault = sent(alertmanager, refusal, &server).await.0.unwrap_err();
    assert_eq!(fault.to_string(), "answered 401: no tenant for [hidden]", "its own words, without its address");
    let huge = ok.set_body_bytes(vec![b'x'; 8 << 20]);
    assert!(matches!(sent(hook, huge, &server).await.0, Err(SinkFault::Answer(_))), "and only its begin is read");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = server(ResponseTemplate::new(200).set_body_string("ok")).await;
    let server = MockServer::start().await;
    for status in [301, 302, 307, 308] {
        let answer = ResponseTemplate::new(status).insert_header("location", elsewhere.uri());
        assert_eq!(sent(slack(server.uri()), answer, &server).await.0, Err(SinkFault::Redirect(status)));
    }
    assert_eq!(count(&elsewhere).await, 0);
}

#[tokio::test]
async fn a_wait_that_a_sink_asks_for_has_a_cap() {
    let server = MockServer::start().await;
    for (header, wanted) in
        [("3600", 60), ("0", 1), ("7", 7), ("Mon, 23 Nov 2026 14:03:30 GMT", 30), ("Wed, 21 Oct 2026 07:28:00 GMT", 1), ("soon", 5)]
    {
        let answer = ResponseTemplate::new(429).insert_header("retry-after", header);
        let fault = sent(slack(server.uri()), answer, &server).await.0.unwrap_err();
        assert_eq!(fault, SinkFault::Wait { status: 429, retry_after: Duration::from_secs(wanted) });
    }
}

#[tokio::test]
async fn a_sink_that_hangs_costs_five_seconds_and_one_that_is_away_says_so() {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_delay(Duration::from_secs(60));
    assert_eq!(sent(slack(server.uri()), answer, &server).await.0, Err(SinkFault::Deadline));
    let letter = Letter::of("ml", "fraud", &outbox(&["x"])[0]);
    let fault = Courier::new().send(&slack("http://127.0.0.1:1/T0KEN".into()), &letter, Clock::system().now()).await.unwrap_err();
    assert_eq!(fault.to_string(), "no connection: connection refused");
    let fault = Courier::new().send(&slack("http://T0KEN.invalid/".into()), &letter, Clock::system().now()).await.unwrap_err();
    assert!(!fault.to_string().contains("T0KEN"), "{fault}");
}

#[tokio::test]
async fn the_alert_in_alertmanagers_form() {
    let server = MockServer::start().await;
    let sink = Sink::Alertmanager(AlertmanagerSink { url: format!("{}/prefix/", server.uri()), ..AlertmanagerSink::default() });
    let (result, requests) = sent(sink, ResponseTemplate::new(200), &server).await;
    assert_eq!(result, Ok(()));
    assert_eq!(requests[0].url.path(), "/prefix/api/v2/alerts");
    let body: serde_json::Value = requests[0].body_json().unwrap();
    insta::assert_yaml_snapshot!(body);
}

#[tokio::test]
async fn the_json_webhook_is_signed_with_the_key_of_the_moment() {
    let server = MockServer::start().await;
    let file = std::env::temp_dir().join(format!("haldane-hmac-{}", std::process::id()));
    let hook =
        WebhookSink { url: server.uri(), format: WebhookFormat::Json, hmac_key_file: Some(file.clone()), access: HttpAccess::default() };
    let sink = Sink::Webhook(hook);
    let _ = std::fs::remove_file(&file);
    let (result, requests) = sent(sink.clone(), ResponseTemplate::new(204), &server).await;
    assert!(matches!(result, Err(SinkFault::Key(_))) && requests.is_empty(), "nothing leaves unsigned");
    std::fs::write(&file, "short\n").unwrap();
    assert!(matches!(sent(sink.clone(), ResponseTemplate::new(204), &server).await.0, Err(SinkFault::Key(_))));
    for key in ["0123456789abcdef", "fedcba9876543210"] {
        std::fs::write(&file, format!("{key}\n")).unwrap();
        let (result, requests) = sent(sink.clone(), ResponseTemplate::new(204), &server).await;
        assert_eq!(result, Ok(()));
        let header = |name: &str| requests[0].headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-haldane-key"), "u-1/7/RolledBack/AnalysisFailed");
        assert_eq!(header("x-haldane-timestamp"), "1795442580");
        let signed = [header("x-haldane-timestamp").as_bytes(), b".", &requests[0].body].concat();
        let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes()), &signed);
        let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(header("x-haldane-signature"), format!("sha256={hex}"));
        let body: serde_json::Value = requests[0].body_json().unwrap();
        assert_eq!(body["record"]["outcome"], "RolledBack");
        assert_eq!(body["record"]["next"], "haldane explain fraud -n ml; haldane retry fraud -n ml");
        assert_eq!(body["key"], "u-1/7/RolledBack/AnalysisFailed");
        assert!(body["text"].as_str().unwrap().contains("TV 0.310"));
    }
    let _ = std::fs::remove_file(&file);
}

#[tokio::test]
async fn pagerduty_opens_an_incident_for_a_person_and_resolves_it_for_the_record() {
    let server = MockServer::start().await;
    let file = std::env::temp_dir().join(format!("haldane-routing-{}", std::process::id()));
    let sink = Sink::PagerDuty(PagerDutySink { routing_key_file: file.clone(), url: Some(server.uri()), access: HttpAccess::default() });
    let taken = || ResponseTemplate::new(202).set_body_json(serde_json::json!({"status": "success", "dedup_key": "x"}));
    let _ = std::fs::remove_file(&file);
    for bad in [None, Some("short"), Some("0123456789abcdef0123456789abcde!")] {
        bad.iter().for_each(|text| std::fs::write(&file, text).unwrap());
        let (result, requests) = sent(sink.clone(), taken(), &server).await;
        assert!(matches!(result, Err(SinkFault::RoutingKey(_))) && requests.is_empty(), "{bad:?}: {result:?}");
    }
    std::fs::write(&file, "0123456789abcdef0123456789ABCDEF\n").unwrap();
    let (result, requests) = sent(sink.clone(), taken(), &server).await;
    assert_eq!(result, Ok(()));
    let body: serde_json::Value = requests[0].body_json().unwrap();
    insta::assert_yaml_snapshot!(body);
    let (result, _) = sent(sink.clone(), ResponseTemplate::new(200).set_body_string("<html>"), &server).await;
    assert!(matches!(result, Err(SinkFault::Answer(_))), "{result:?}");
    let said = serde_json::json!({"status": "invalid event", "message": "0123456789abcdef0123456789ABCDEF is unknown"});
    let (result, _) = sent(sink.clone(), ResponseTemplate::new(400).set_body_json(said), &server).await;
    let words = result.unwrap_err().to_string();
    assert!(words.starts_with("answered 400") && !words.contains("0123456789abcdef"), "{words}");
    let mut letter = Letter::of("ml", "fraud", &outbox(&["x"])[0]);
    letter.record.outcome = crate::api::Outcome::Promoted;
    server.reset().await;
    Mock::given(method("POST")).respond_with(taken()).mount(&server).await;
    Courier::new().send(&sink, &letter, Clock::system().now()).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let body: serde_json::Value = requests[0].body_json().unwrap();
    assert_eq!((&body["event_action"], body.get("payload")), (&serde_json::json!("resolve"), None));
    assert_eq!(body["dedup_key"], "haldane/ml/fraud");
    let _ = std::fs::remove_file(&file);
}
