//! Every alert keeps to the rules of every receiver, and a receiver refuses what does not.

pub(super) mod receivers;
mod rules;

use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use receivers::Maker;

use crate::api::{Actor, DecisionRecord, Reason};
use crate::clock::Clock;
use crate::config::{AlertmanagerSink, CloudEventsMode, CloudEventsSink, HttpAccess, PagerDutySink, Sink, WebhookFormat, WebhookSink};
use crate::tell::text::tests::{aborted, drift_rollback, held, promoted};
use crate::tell::{Courier, Letter, SinkFault, outbox};

/// Alerts as they come, and as large as they can be.
fn letters() -> Vec<Letter> {
    let mut huge = drift_rollback();
    huge.message = "ü&<>\"".repeat(5_000);
    huge.next = "haldane abort & <@U1>; ".repeat(500);
    huge.why = (0..16)
        .map(|at| {
            let mut metric = huge.why[0].clone();
            metric.metric = format!("m{at}-{}", "<&>`".repeat(200));
            metric
        })
        .collect();
    let mut nasty = aborted();
    nasty.by = Some(Actor {
        name: "<!channel> @here [x](https://evil.example) \u{202e}".into(),
        manager: None,
        reason: Some("```\n<https://evil.example|runbook> & **bold** <at>all</at>".into()),
    });
    let bare = DecisionRecord { weight: 0, step: None, canary: None, exposure: None, ..held(Reason::Drifted) };
    let records = [drift_rollback(), promoted(), held(Reason::DeadlineExceeded), held(Reason::MetricsUnavailable), nasty, bare, huge];
    let letter = |(at, record): (usize, DecisionRecord)| {
        let mut waiting = Vec::new();
        assert!(outbox::enqueue(&mut waiting, format!("u-1/{at}/x"), &["x".to_owned()], &record));
        Letter::of("ml", "fraud", &waiting[0])
    };
    records.into_iter().enumerate().map(letter).collect()
}

fn sinks(url: &str, maker: Maker, key: &std::path::Path) -> Vec<Sink> {
    let access = HttpAccess::default;
    let webhook = |format| vec![Sink::Webhook(WebhookSink { url: url.into(), format, hmac_key_file: None, access: access() })];
    match maker {
        Maker::Slack => webhook(WebhookFormat::Slack),
        Maker::Teams => webhook(WebhookFormat::Teams),
        Maker::PagerDuty => vec![Sink::PagerDuty(PagerDutySink { routing_key_file: key.into(), url: Some(url.into()), access: access() })],
        Maker::Alertmanager => vec![Sink::Alertmanager(AlertmanagerSink { url: url.into(), access: access() })],
        Maker::CloudEvents => [CloudEventsMode::Binary, CloudEventsMode::Structured]
            .map(|mode| Sink::CloudEvents(CloudEventsSink { url: url.into(), mode, source: None, access: access() }))
            .into(),
    }
}

const MAKERS: [Maker; 5] = [Maker::Slack, Maker::Teams, Maker::CloudEvents, Maker::PagerDuty, Maker::Alertmanager];

#[tokio::test]
async fn every_alert_keeps_to_the_rules_of_every_receiver() {
    let key = std::env::temp_dir().join(format!("haldane-rules-{}", std::process::id()));
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
    for maker in MAKERS {
        let server = maker.serve().await;
        for sink in sinks(&server.uri(), maker, &key) {
            for letter in letters() {
                let sent = Courier::new().send(&sink, &letter, Clock::system().now()).await;
                let last = server.received_requests().await.unwrap().pop().unwrap();
                assert_eq!(sent, Ok(()), "{maker:?} {}: {:?} {}", letter.key, maker.fault(&last), String::from_utf8_lossy(&last.body));
            }
        }
    }
    let _ = std::fs::remove_file(&key);
}

#[tokio::test]
async fn a_receiver_refuses_what_breaks_its_rules() {
    let run = |text: &str| json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text}]});
    let card = |body: Value| {
        json!({"type": "message", "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive",
               "content": {"type": "AdaptiveCard", "version": "1.5", "body": body}}]})
    };
    let header = |n: usize| json!({"text": "x", "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "x".repeat(n)}}]});
    let section = |text: &str| json!({"text": "x", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": text}}]});
    let page = |summary: &str| {
        json!({"routing_key": "0".repeat(32), "event_action": "trigger", "dedup_key": "k",
               "payload": {"summary": summary, "source": "s", "severity": "critical"}})
    };
    let alert = |labels: Value, ends: &str| json!([{"labels": labels, "startsAt": "2026-01-01T00:00:00Z", "endsAt": ends}]);
    let event = |id: &str, kind: &str| json!({"id": id, "source": "/h", "type": kind, "specversion": "1.0", "data": {}});
    let (good, bad) = ("2026-01-01T01:00:00Z", "2025-01-01T00:00:00Z");
    let cases = [
        (Maker::Slack, header(150), true),
        (Maker::Slack, header(151), false),
        (Maker::Slack, section(&"x".repeat(3_000)), true),
        (Maker::Slack, section(&"x".repeat(3_001)), false),
        (Maker::Slack, section("<!channel>"), false),
        (Maker::Slack, section("a & b"), false),
        (Maker::Slack, json!({"text": "x", "blocks": vec![json!({"type": "divider"}); 51]}), false),
        (Maker::Teams, card(json!([run("x")])), true),
        (Maker::Teams, card(json!([run("")])), false),
        (Maker::Teams, card(json!([run(&"x".repeat(19_000)), run(&"x".repeat(19_000))])), false),
        (Maker::Teams, card(json!([{"type": "Table", "columns": [{"width": 1}], "rows": [{"type": "TableRow", "cells": []}]}])), false),
        (Maker::Teams, json!({"text": "an old card"}), false),
        (Maker::PagerDuty, page(&"x".repeat(1_024)), true),
        (Maker::PagerDuty, page(&"x".repeat(1_025)), false),
        (Maker::PagerDuty, json!({"routing_key": "short", "event_action": "resolve", "dedup_key": "k"}), false),
        (Maker::Alertmanager, alert(json!({"alertname": "x"}), good), true),
        (Maker::Alertmanager, alert(json!({"alertname": ""}), good), false),
        (Maker::Alertmanager, alert(json!({"alertname": "x"}), bad), false),
        (Maker::CloudEvents, event("1", "t"), true),
        (Maker::CloudEvents, event("", "t"), false),
        (Maker::CloudEvents, json!({"id": "1", "source": "/h", "type": "t", "specversion": "0.3", "data": {}}), false),
        (Maker::CloudEvents, json!({"id": "1", "source": "/h", "type": "t", "specversion": "1.0", "data": {}, "snake_case": "x"}), false),
    ];
    for (maker, body, taken) in cases {
        let server = maker.serve().await;
        let kind = if maker == Maker::CloudEvents { "application/cloudevents+json" } else { "application/json" };
        let request = reqwest::Client::new().post(server.uri()).header("content-type", kind).body(body.to_string());
        let status = request.send().await.unwrap().status();
        assert_eq!(status.is_success(), taken, "{maker:?} {body}");
    }
}

#[tokio::test]
async fn what_a_receiver_says_of_a_pause_is_kept_and_no_address_is_repeated() {
    let now: jiff::Timestamp = "2026-11-23T14:03:00Z".parse().unwrap();
    let letter = letters().remove(0);
    for (maker, status, said, wanted) in [
        (Maker::Teams, 429, Some("7"), Some(7)),
        (Maker::Slack, 503, Some("9"), Some(9)),
        (Maker::CloudEvents, 503, Some("Mon, 23 Nov 2026 14:03:20 GMT"), Some(20)),
        (Maker::Teams, 429, None, Some(5)),
        (Maker::Alertmanager, 503, None, None),
    ] {
        let server = MockServer::start().await;
        let answer = ResponseTemplate::new(status).set_body_string("T0KEN");
        let answer = said.map_or(answer.clone(), |said| answer.insert_header("retry-after", said));
        Mock::given(method("POST")).respond_with(answer).mount(&server).await;
        let url = format!("{}/T0KEN", server.uri());
        let fault = Courier::new().send(&sinks(&url, maker, "".as_ref())[0], &letter, now).await.unwrap_err();
        let pause = if let SinkFault::Wait { retry_after, .. } = &fault { Some(retry_after.as_secs()) } else { None };
        assert_eq!(pause, wanted, "{maker:?} {fault}");
        assert!(!fault.to_string().contains("127.0.0.1") && !format!("{fault:?}").contains("127.0.0.1"), "{fault}");
    }
}

#[tokio::test]
async fn a_rollback_in_every_form() {
    let letter = letters().remove(0);
    for maker in [Maker::Slack, Maker::Teams, Maker::CloudEvents] {
        let server = maker.serve().await;
        for (at, sink) in sinks(&server.uri(), maker, "".as_ref()).iter().enumerate() {
            Courier::new().send(sink, &letter, Clock::system().now()).await.unwrap();
            let request = server.received_requests().await.unwrap().pop().unwrap();
            let headers = request.headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-") || *name == "content-type");
            let mut headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            headers.sort();
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let shown = format!("{}\n\n{}", headers.join("\n"), serde_json::to_string_pretty(&body).unwrap());
            insta::assert_snapshot!(format!("{maker:?}_{at}").to_lowercase(), shown);
        }
    }
}
