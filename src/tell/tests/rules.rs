//! The published rules: required fields, allowed values, limits.

use serde_json::Value;
use wiremock::Request;

type Checked = Result<(), String>;

fn must(holds: bool, fault: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(fault()) }
}

fn text<'v>(value: &'v Value, field: &str) -> Result<&'v str, String> {
    value.get(field).and_then(Value::as_str).ok_or_else(|| format!("{field} is no string: {value}"))
}

fn list<'v>(value: &'v Value, field: &str) -> Result<&'v Vec<Value>, String> {
    value.get(field).and_then(Value::as_array).ok_or_else(|| format!("{field} is no list: {value}"))
}

fn within(what: &str, text: &str, most: usize) -> Checked {
    let n = text.chars().count();
    must(n > 0 && n <= most, || format!("{what} has {n} of at most {most} characters"))
}

/// Block Kit: 50 blocks; a header of 150 plain characters, a text of 3,000, ten elements in a context.
pub(super) fn slack(body: &Value) -> Checked {
    within("text", text(body, "text")?, 40_000)?;
    let blocks = list(body, "blocks")?;
    must(blocks.len() <= 50, || format!("{} blocks", blocks.len()))?;
    for block in blocks {
        match text(block, "type")? {
            "header" => {
                must(block["text"]["type"] == "plain_text", || "a header is plain text".into())?;
                within("header", text(&block["text"], "text")?, 150)?;
            }
            "section" => {
                let kind = text(&block["text"], "type")?;
                must(matches!(kind, "mrkdwn" | "plain_text"), || format!("text of type {kind}"))?;
                let said = text(&block["text"], "text")?;
                within("section", said, 3_000)?;
                escapes(said)?;
            }
            "context" => {
                let elements = list(block, "elements")?;
                must((1..=10).contains(&elements.len()), || format!("{} elements", elements.len()))?;
                elements.iter().try_for_each(|element| within("context", text(element, "text")?, 3_000))?;
            }
            "divider" => {}
            other => return Err(format!("no such block here: {other}")),
        }
    }
    escapes(text(body, "text")?)
}

/// Every `&` begins an escape, every `<` a link that somebody configured.
fn escapes(said: &str) -> Checked {
    for part in said.split('&').skip(1) {
        must(["amp;", "lt;", "gt;"].iter().any(|escape| part.starts_with(escape)), || format!("a bare & in {said:?}"))?;
    }
    for part in said.split('<').skip(1) {
        must(part.starts_with("https://"), || format!("a bare < in {said:?}"))?;
    }
    Ok(())
}

/// Workflows: one card in an envelope of type message, 28 KB in all. Adaptive Cards: elements of 1.5, runs with a text, a table with as many
/// cells in each row as columns.
pub(super) fn teams(body: &Value, bytes: usize) -> Checked {
    must(bytes <= 28 * 1024, || format!("{bytes} bytes of at most 28 KB"))?;
    must(body["type"] == "message", || "type must be message".into())?;
    let attachments = list(body, "attachments")?;
    must(attachments.len() == 1, || format!("{} attachments", attachments.len()))?;
    let kind = text(&attachments[0], "contentType")?;
    must(kind == "application/vnd.microsoft.card.adaptive", || format!("content type {kind}"))?;
    let card = &attachments[0]["content"];
    must(card["type"] == "AdaptiveCard", || "the content is no card".into())?;
    must(matches!(text(card, "version")?, "1.4" | "1.5"), || "version".into())?;
    let body = list(card, "body")?;
    must(!body.is_empty(), || "an empty card".into())?;
    body.iter().try_for_each(element)
}

const SIZES: [&str; 5] = ["Default", "Small", "Medium", "Large", "ExtraLarge"];
const COLOURS: [&str; 7] = ["Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"];
const WEIGHTS: [&str; 3] = ["Default", "Lighter", "Bolder"];

fn known(value: &Value, keys: &[&str]) -> Checked {
    let keys: Vec<&String> =
        value.as_object().into_iter().flatten().map(|(key, _)| key).filter(|key| !keys.contains(&key.as_str())).collect();
    must(keys.is_empty(), || format!("{keys:?} in {value}"))
}

fn element(element: &Value) -> Checked {
    match text(element, "type")? {
        "RichTextBlock" => {
            known(element, &["type", "inlines", "spacing", "separator"])?;
            list(element, "inlines")?.iter().try_for_each(run)
        }
        "TextBlock" => {
            known(element, &["type", "text", "wrap", "size", "color", "weight", "isSubtle", "spacing", "separator"])?;
            within("text", text(element, "text")?, 20_000)?;
            styled(element)
        }
        "Table" => {
            known(element, &["type", "columns", "rows", "firstRowAsHeaders", "gridStyle", "spacing"])?;
            let columns = list(element, "columns")?.len();
            for row in list(element, "rows")? {
                must(row["type"] == "TableRow", || format!("no row: {row}"))?;
                let cells = list(row, "cells")?;
                must(cells.len() == columns, || format!("{} cells in {columns} columns", cells.len()))?;
                for cell in cells {
                    must(cell["type"] == "TableCell", || format!("no cell: {cell}"))?;
                    list(cell, "items")?.iter().try_for_each(self::element)?;
                }
            }
            Ok(())
        }
        other => Err(format!("no such element here: {other}")),
    }
}

fn run(run: &Value) -> Checked {
    must(run["type"] == "TextRun", || format!("no run: {run}"))?;
    known(run, &["type", "text", "weight", "size", "color", "isSubtle"])?;
    within("run", text(run, "text")?, 20_000)?;
    styled(run)
}

fn styled(element: &Value) -> Checked {
    for (field, words) in [("size", &SIZES[..]), ("color", &COLOURS), ("weight", &WEIGHTS)] {
        let said = element.get(field);
        must(said.is_none_or(|said| words.iter().any(|word| said == word)), || format!("{field}: {said:?}"))?;
    }
    Ok(())
}

/// CloudEvents 1.0, with its HTTP binding: the required attributes, names of attributes, a time of RFC 3339, 64 KiB at most.
pub(super) fn cloud_event(request: &Request, body: &Value) -> Checked {
    must(request.body.len() <= 64 * 1024, || format!("{} bytes", request.body.len()))?;
    let kind = request.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let attributes: Vec<(String, String)> = if kind.starts_with("application/cloudevents+json") {
        must(body.get("data").is_some(), || "no data".into())?;
        let fields = body.as_object().ok_or("no object")?.iter().filter(|(name, _)| *name != "data");
        fields
            .map(|(name, value)| Ok((name.clone(), value.as_str().ok_or(format!("{name} is no string"))?.to_owned())))
            .collect::<Result<_, String>>()?
    } else {
        must(kind == "application/json", || format!("content type {kind}"))?;
        let named = request.headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix("ce-")?.to_owned(), value)));
        named
            .map(|(name, value)| Ok((name, value.to_str().map_err(|_| "a header that is not ASCII")?.to_owned())))
            .collect::<Result<_, String>>()?
    };
    let find = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    for required in ["id", "source", "type", "specversion"] {
        must(find(required).is_some_and(|value| !value.is_empty()), || format!("{required} is missing"))?;
    }
    must(find("specversion") == Some("1.0"), || "specversion".into())?;
    must(find("subject").is_none_or(|subject| !subject.is_empty()), || "an empty subject".into())?;
    must(find("time").is_none_or(|time| time.parse::<jiff::Timestamp>().is_ok()), || "time".into())?;
    must(find("source").is_some_and(|source| !source.contains([' ', '"', '<', '>'])), || "source is no URI reference".into())?;
    let named = |name: &str| name.len() <= 20 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    attributes.iter().try_for_each(|(name, _)| must(named(name), || format!("an attribute called {name}")))
}

/// Events API v2: a key of 32 characters, a known action, a deduplication key of 255 at most; with a trigger a summary of 1,024 characters, a
/// source and a severity; 512 KB.
pub(super) fn pager_duty(body: &Value, bytes: usize) -> Checked {
    must(bytes <= 512 * 1024, || format!("{bytes} bytes"))?;
    within("dedup_key", text(body, "dedup_key")?, 255)?;
    must(text(body, "routing_key")?.len() == 32, || "routing_key".into())?;
    match text(body, "event_action")? {
        "resolve" | "acknowledge" => Ok(()),
        "trigger" => {
            let payload = &body["payload"];
            within("summary", text(payload, "summary")?, 1_024)?;
            within("source", text(payload, "source")?, 1_024)?;
            must(matches!(text(payload, "severity")?, "critical" | "error" | "warning" | "info"), || "severity".into())
        }
        other => Err(format!("no such action: {other}")),
    }
}

/// The v2 API: a list of alerts, each with labels of which none is empty; it does not end before it starts.
pub(super) fn alertmanager(body: &Value) -> Checked {
    let alerts = body.as_array().filter(|alerts| !alerts.is_empty()).ok_or("no list of alerts")?;
    for alert in alerts {
        let labels = alert["labels"].as_object().filter(|labels| !labels.is_empty()).ok_or("no labels")?;
        for (name, value) in labels {
            let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            must(first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), || format!("a label called {name}"))?;
            must(value.as_str().is_some_and(|value| !value.is_empty()), || format!("label {name} is {value}"))?;
        }
        for (name, value) in alert["annotations"].as_object().into_iter().flatten() {
            must(value.is_string(), || format!("annotation {name} is {value}"))?;
        }
        let time = |field: &str| text(alert, field)?.parse::<jiff::Timestamp>().map_err(|error| format!("{field}: {error}"));
        must(time("startsAt")? <= time("endsAt")?, || "it ends before it starts".into())?;
    }
    Ok(())
}
