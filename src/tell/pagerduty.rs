//! PagerDuty's Events API v2.
//!
//! A Rollout has one incident for how it ended: an alert that asks for a person opens it or is added to it, one that is for the record
//! (started, promoted, passed) resolves it. A state that lasts (a hold, a pause) has an incident of its own, which its end resolves.

use std::path::Path;

use reqwest::{Method, Url};
use ring::digest;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::courier::{Letter, Post, SinkFault};
use super::meaning::{Severity, lasts};
use super::words::Words;
use crate::config::PagerDutySink;
use crate::http_access::HttpClient;
use crate::words::shortened;

/// Longest summary that is taken.
const SUMMARY_MAX: usize = 1024;
/// Longest key of an incident.
const DEDUP_MAX: usize = 255;
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
    let (alert, words, record) = (letter.alert(), Words::plain(letter), &letter.record);
    // Our warnings and criticals are words of theirs.
    let action = if alert.severity == Severity::Info || letter.ended.is_some() { "resolve" } else { "trigger" };
    let head = json!({
        "routing_key": key,
        "event_action": action,
        "dedup_key": incident(letter),
    });
    if action == "resolve" {
        return head;
    }
    let many = !letter.others.is_empty();
    let rollout = format!("{}/{}", letter.namespace, letter.name);
    let payload = json!({
        "summary": shortened(&words.title, SUMMARY_MAX),
        "source": if many { "haldane".to_owned() } else { rollout },
        "severity": alert.severity.word(),
        "timestamp": record.at.0.to_string(),
        "component": if many { "haldane" } else { letter.name.as_str() },
        "group": if many { "haldane" } else { letter.namespace.as_str() },
        "class": alert.name,
        "custom_details": { "text": words.body(), "reason": record.reason, "next": words.text.message.next, "key": letter.key },
    });
    let mut event = head;
    json_patch::merge(&mut event, &json!({ "client": "haldane", "payload": payload }));
    event
}

/// The incident that a letter is about. A state that lasts has one of its own, so that its end leaves alone what else is wrong. What many
/// Rollouts have in common is one incident.
fn incident(letter: &Letter) -> String {
    let (alert, record) = (letter.alert(), &letter.record);
    let key = match (letter.others.is_empty(), lasts(record.outcome)) {
        (false, _) => format!("haldane/{}/{}", alert.name, record.reason),
        (true, true) => format!("haldane/{}/{}/{}", letter.namespace, letter.name, alert.name),
        (true, false) => format!("haldane/{}/{}", letter.namespace, letter.name),
    };
    if key.len() <= DEDUP_MAX {
        return key;
    }
    let digest = digest::digest(&digest::SHA256, key.as_bytes());
    format!("haldane/{}", digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
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
