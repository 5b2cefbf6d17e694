//! Webhooks: of Slack, of Microsoft Teams, and our own JSON signed with HMAC-SHA256.
//!
//! `X-Haldane-Signature: sha256=<hex>` is the HMAC of `<X-Haldane-Timestamp>.<body>`; a receiver compares it in constant time, refuses
//! timestamps older than five minutes, and drops an `X-Haldane-Key` that it has seen.

use std::path::Path;

use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, Url, header};
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::courier::{Letter, Post, SinkFault};
use super::words::Words;
use super::{slack, teams};
use crate::config::{WebhookFormat, WebhookSink};
use crate::http_access::HttpClient;

/// Shortest key that is accepted, in bytes.
const KEY_MIN: usize = 16;
/// Longest key file that is read.
const KEY_MAX: u64 = 4 * 1024;

/// The request. The address of a webhook is its secret: of what it answers nothing is repeated.
pub(super) async fn post(http: &HttpClient, sink: &WebhookSink, letter: &Letter, now: Timestamp) -> Result<Post, SinkFault> {
    let request = http.request(Method::POST, Url::parse(&sink.url).map_err(|_| SinkFault::Unknown)?);
    Ok(match sink.format {
        WebhookFormat::Slack => Post { request: request.json(&slack::message(letter)), hidden: None, accept: slack::accept },
        WebhookFormat::Teams => Post { request: request.json(&teams::message(letter)), hidden: None, accept: teams::accept },
        WebhookFormat::Json => {
            let request = signed(request, letter, sink.hmac_key_file.as_deref(), now).await?;
            Post { request, hidden: None, accept: |_| Ok(()) }
        }
    })
}

/// The request with its JSON body, and the signature if there is a key. The key file is read for each letter, so that a new key counts at
/// once.
async fn signed(request: RequestBuilder, letter: &Letter, key_file: Option<&Path>, now: Timestamp) -> Result<RequestBuilder, SinkFault> {
    let body = document(letter).to_string();
    let timestamp = now.as_second().to_string();
    let mut request = request
        .header(header::CONTENT_TYPE, "application/json")
        .header("X-Haldane-Key", &letter.key)
        .header("X-Haldane-Timestamp", &timestamp);
    if let Some(file) = key_file {
        request = request.header("X-Haldane-Signature", format!("sha256={}", signature(&key(file).await?, &timestamp, &body)));
    }
    Ok(request.body(body))
}

/// An alert for programs.
pub(super) fn document(letter: &Letter) -> Value {
    let alert = letter.alert();
    let words = Words::plain(letter);
    let mut record = letter.record.clone();
    // What follows from how it ended is not stored with an alert.
    if record.next.is_empty() && letter.ended.is_none() {
        record.next = words.text.message.next.join("; ");
    }
    let mut document = json!({
        "apiVersion": "alerts.haldane.dev/v1",
        "kind": "Decision",
        "key": letter.key,
        "alert": alert.name,
        "severity": alert.severity.word(),
        "namespace": letter.namespace,
        "rollout": letter.name,
        "title": words.title,
        "text": words.whole(),
        "record": record,
    });
    if let Some((ended, fields)) = letter.ended.zip(document.as_object_mut()) {
        fields.insert("endedAt".to_owned(), Value::String(ended.to_string()));
    }
    document
}

async fn key(file: &Path) -> Result<Vec<u8>, SinkFault> {
    let opened = tokio::fs::File::open(file).await.map_err(|e| SinkFault::Key(format!("cannot be opened: {}", e.kind())))?;
    let mut key = Vec::new();
    opened.take(KEY_MAX).read_to_end(&mut key).await.map_err(|e| SinkFault::Key(format!("cannot be read: {}", e.kind())))?;
    let key = key.trim_ascii().to_vec();
    if key.len() < KEY_MIN {
        return Err(SinkFault::Key(format!("holds {} bytes; a key needs {KEY_MIN}", key.len())));
    }
    Ok(key)
}

/// Hex of the HMAC-SHA256 of `timestamp.body`.
fn signature(key: &[u8], timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    tag.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_any_other_hmac_program() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let hex = signature(b"0123456789abcdef", "1700000000", "{\"a\":1}");
        assert_eq!(hex, "9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23");
    }
}
