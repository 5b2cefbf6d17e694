//! Alertmanager's v2 API.
//!
//! An alert here is news of a transition. Its labels are the same whenever it is posted again (a retry is no second alert), numbers are in
//! annotations, and `endsAt` is set an hour after the post: it resolves then instead of after whatever `resolve_timeout` says, and
//! nobody has to post it again. A state that is over sooner is posted with its end. Alerts about a *state* ("is still waiting") are rules on the metrics of `/metrics`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::courier::{Letter, Post, SinkFault};
use super::words::Words;
use crate::config::AlertmanagerSink;
use crate::http_access::{self, HttpClient};

/// How long after it is posted an alert is over.
const FIRING: SignedDuration = SignedDuration::from_hours(1);

/// What the URL may end with: it is added by us.
const API: [&str; 2] = ["/api/v2/alerts", "/api/v2"];

/// Where alerts are posted, under the base URL of the configuration.
fn address(base: &str) -> Option<Url> {
    let mut url = http_access::base(base)?;
    let path = url.path();
    let path = API.iter().find_map(|end| path.strip_suffix(end)).unwrap_or(path).trim_end_matches('/').to_owned();
    url.set_path(&format!("{path}/api/v2/alerts"));
    Some(url)
}

/// The request.
pub(super) fn post(http: &HttpClient, sink: &AlertmanagerSink, letter: &Letter, now: Timestamp) -> Result<Post, SinkFault> {
    let url = address(&sink.url).ok_or(SinkFault::Unknown)?;
    // An answer may repeat where it was asked.
    let hidden = Some(vec![url.to_string(), sink.url.clone(), url.authority().to_owned()]);
    Ok(Post { request: http.request(Method::POST, url).json(&alerts(letter, now)), hidden, accept })
}

/// One alert for each letter: Alertmanager groups them, and resolves each on its own.
fn alerts(letter: &Letter, now: Timestamp) -> Value {
    std::iter::once(letter).chain(&letter.others).map(|letter| one(letter, now)).collect()
}

fn one(letter: &Letter, now: Timestamp) -> Value {
    let record = &letter.record;
    let alert = letter.alert();
    // Of many letters each keeps its own words.
    let words = Words::plain(&Letter { others: Vec::new(), ..letter.clone() });
    // The epoch is in the labels: a second rollback of the same revision within the hour is another alert, not the first one's echo.
    let mut labels = BTreeMap::from([
        ("alertname", alert.name.to_owned()),
        ("severity", alert.severity.word().into()),
        ("namespace", letter.namespace.clone()),
        ("rollout", letter.name.clone()),
        ("reason", record.reason.to_string()),
        ("epoch", record.epoch.to_string()),
    ]);
    if let Some(canary) = &record.canary {
        labels.insert("revision", canary.revision.clone());
        labels.insert(canary.destination().field(), canary.name.clone());
    }
    // Alertmanager refuses an empty label.
    labels.retain(|_, value| !value.is_empty());
    let starts = record.at.0.min(now);
    let ends = letter.ended.unwrap_or_else(|| now.saturating_add(FIRING).unwrap_or(now));
    json!({
        "labels": labels,
        "annotations": {
            "summary": words.title,
            "description": words.body(),
            "weight": record.weight.to_string(),
            "key": letter.key,
        },
        "startsAt": starts.to_string(),
        "endsAt": ends.max(starts).to_string(),
    })
}

/// Alertmanager answers with nothing; a page of HTML is from something in front of it, or from another program.
fn accept(body: &[u8]) -> Result<(), SinkFault> {
    match body.trim_ascii().first() {
        Some(b'<') => Err(SinkFault::Answer("with HTML: this is not an Alertmanager")),
        _ => Ok(()),
    }
}
