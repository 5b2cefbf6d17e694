//! CloudEvents 1.0 over HTTP, in binary or structured mode.
//!
//! `source` and `id` together name one transition: what is delivered twice has the same two.

use reqwest::{Method, Url, header};
use serde_json::{Value, json};

use super::courier::{Letter, Post, SinkFault};
use super::webhook;
use crate::api::Outcome;
use crate::config::{CloudEventsMode, CloudEventsSink};
use crate::http_access::HttpClient;

/// An attribute and its value.
type Attribute = (&'static str, String);

/// The request. Where events go may be a secret: of an answer its address is not repeated.
pub(super) fn post(http: &HttpClient, sink: &CloudEventsSink, letter: &Letter) -> Result<Post, SinkFault> {
    let url = Url::parse(&sink.url).map_err(|_| SinkFault::Unknown)?;
    let hidden = Some(vec![url.to_string(), sink.url.clone(), url.authority().to_owned()]);
    let request = http.request(Method::POST, url);
    let (attributes, data) = (attributes(sink, letter), webhook::document(letter));
    let request = match sink.mode {
        CloudEventsMode::Binary => {
            let named = attributes.into_iter().map(|(name, value)| (format!("ce-{name}"), in_header(&value)));
            let request = named.fold(request, |request, (name, value)| request.header(name, value));
            request.header(header::CONTENT_TYPE, "application/json").body(data.to_string())
        }
        CloudEventsMode::Structured => {
            let mut event = json!({ "datacontenttype": "application/json", "data": data });
            if let Some(fields) = event.as_object_mut() {
                fields.extend(attributes.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))));
            }
            request.header(header::CONTENT_TYPE, "application/cloudevents+json; charset=utf-8").body(event.to_string())
        }
    };
    Ok(Post { request, hidden, accept: |_| Ok(()) })
}

fn attributes(sink: &CloudEventsSink, letter: &Letter) -> Vec<Attribute> {
    let record = &letter.record;
    let mut attributes = vec![
        ("specversion", "1.0".to_owned()),
        ("id", letter.key.clone()),
        ("source", format!("{}/namespaces/{}/rollouts/{}", sink.source(), letter.namespace, letter.name)),
        ("type", format!("dev.haldane.rollout.{}.v1", if letter.ended.is_some() { "recovered" } else { word(record.outcome) })),
        ("time", letter.ended.unwrap_or(record.at.0).to_string()),
        ("severity", letter.alert().severity.word().to_owned()),
    ];
    let revision = record.canary.as_ref().map(|canary| &canary.revision).filter(|revision| !revision.is_empty());
    attributes.extend(revision.map(|revision| ("subject", revision.clone())));
    attributes
}

/// What happened, as the last word but one of the type.
fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Started => "started",
        Outcome::Advanced => "advanced",
        Outcome::Held => "held",
        Outcome::Paused => "paused",
        Outcome::Resumed => "resumed",
        Outcome::Promoted => "promoted",
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::RolledBack => "rolledback",
        Outcome::Aborted => "aborted",
        Outcome::Lowered => "lowered",
        Outcome::Restored => "restored",
        Outcome::CommandRefused => "commandrefused",
        Outcome::Retried => "retried",
        Outcome::Edited => "edited",
    }
}

/// A value as a header carries it: what is not printable ASCII, spaces, quotes and percent signs are encoded.
fn in_header(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%');
    let encoded = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_carries_every_text() {
        assert_eq!(in_header("u-1/7/RolledBack"), "u-1/7/RolledBack");
        assert_eq!(in_header("a b\"c\"% ü\n"), "a%20b%22c%22%25%20%C3%BC%0A");
    }
}
