//! PagerDuty's Events API v2.
//!
//! A Rollout has one incident at a time: an alert that asks for a person opens it or is added to it, one that is for the record (started,
//! promoted, passed) resolves it.

use std::path::Path;

use reqwest::{Method, Url};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::courier::{Letter, Post, SinkFault};
use super::meaning::Severity;
use crate::config::PagerDutySink;
use crate::http_access::HttpClient;

/// Longest summary that is taken.
const SUMMARY_MAX: usize = 1024;
/// Longest key file that is read.
const KEY_MAX: u64 = 1024;

/// The request.
pub(super) async fn post(http: &HttpClient, sink: &PagerDutySink, letter: &Letter) -> Result<Post, SinkFault> {
    let url = Url::parse(sink.url()).map_err(|_| SinkFault::Unknown)?;
    let key = routing_key(&sink.routing_key_file).await?;
    let request = http.request(Method::POST, url).json(&event(letter, &key));
    Ok(Post { request, hidden: Some(vec![key]), accept })
}

fn event(letter: &Letter, key: &str) -> Value {
    let (alert, text, record) = (letter.alert(), letter.text(), &letter.record);
    // Our warnings and criticals are words of theirs.
    let action = if alert.severity == Severity::Info { "resolve" } else { "trigger" };
    let head = json!({
        "routing_key": key,
        "event_action": action,
        "dedup_key": format!("haldane/{}/{}", letter.namespace, letter.name),
    });
    if action == "resolve" {
        return head;
    }
    let payload = json!({
        "summary": text.title().chars().take(SUMMARY_MAX).collect::<String>(),
        "source": format!("{}/{}", letter.namespace, letter.name),
        "severity": alert.severity.word(),
        "timestamp": record.at.0.to_string(),
        "component": letter.name,
        "group": letter.namespace,
        "class": alert.name,
        "custom_details": { "text": text.body(), "reason": record.reason, "next": record.next, "key": letter.key },
    });
    let mut event = head;
    json_patch::merge(&mut event, &json!({ "client": "haldane", "payload": payload }));
    event
}

/// The key of the integration: 32 letters and digits. The file is read for each letter, so that a new key counts at once.
async fn routing_key(file: &Path) -> Result<String, SinkFault> {
    let cannot = |what: &str, error: &std::io::Error| SinkFault::RoutingKey(format!("cannot be {what}: {}", error.kind()));
    let opened = tokio::fs::File::open(file).await.map_err(|error| cannot("opened", &error))?;
    let mut text = String::new();
    opened.take(KEY_MAX).read_to_string(&mut text).await.map_err(|error| cannot("read", &error))?;
    let key = text.trim();
    if key.len() != 32 || !key.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(SinkFault::RoutingKey("does not hold a key of 32 letters and digits".to_owned()));
    }
    Ok(key.to_owned())
}

/// Whatever is taken is answered with a status of its own.
fn accept(body: &[u8]) -> Result<(), SinkFault> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if answer.get("status").is_some_and(|status| status == "success") {
        return Ok(());
    }
    Err(SinkFault::Answer("not with status \"success\", as PagerDuty says when it has taken an event"))
}
