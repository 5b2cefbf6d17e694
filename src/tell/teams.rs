//! Microsoft Teams: an Adaptive Card for a webhook of Workflows.
//!
//! Text is in runs, in which nothing is markup: what users wrote makes no link and calls nobody.

use serde_json::{Value, json};

use super::courier::{Letter, SinkFault};
use super::meaning::Severity;
use super::words::Words;
use crate::view::Message;
use crate::words::shortened;

/// Largest message that Teams takes is 28 KB.
const MOST_BYTES: usize = 28_000;
/// What Teams shows.
const VERSION: &str = "1.5";
/// Longest note below the table, in characters.
const NOTE: usize = 300;
/// Longest cell of the table, in characters.
const CELL: usize = 60;

/// The body of the request: as much of the card as fits.
pub(super) fn message(letter: &Letter) -> Value {
    let words = Words::of(letter, escaped);
    let rows = if words.body.is_some() { 0 } else { words.text.message.cells.len() };
    // Rows go first, from the end: the deciding metric is the first one.
    for kept in (0..=rows).rev() {
        let message = envelope(card(letter, &words, kept));
        if kept == 0 || message.to_string().len() <= MOST_BYTES {
            return message;
        }
    }
    Value::Null
}

/// A flow that was started answers 202. A page of HTML is from something in front of it.
pub(super) fn accept(body: &[u8]) -> Result<(), SinkFault> {
    match body.trim_ascii().first() {
        Some(b'<') => Err(SinkFault::Answer("with HTML: this is not a webhook of Workflows")),
        _ => Ok(()),
    }
}

fn envelope(card: Value) -> Value {
    json!({
        "type": "message",
        "attachments": [{ "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card }],
    })
}

/// The card, with so many rows of the table, its head among them.
fn card(letter: &Letter, words: &Words, kept: usize) -> Value {
    let alert = letter.alert();
    let colour = match alert.severity {
        Severity::Critical => "Attention",
        Severity::Warning => "Warning",
        Severity::Info => "Good",
    };
    let title = json!({ "type": "TextRun", "text": words.title, "weight": "Bolder", "size": "Medium", "color": colour });
    let mut body = vec![block(&[title])];
    match &words.body {
        // What a template says may have markup of its own.
        Some(said) => body.extend(
            said.lines().filter(|line| !line.trim().is_empty()).map(|line| json!({ "type": "TextBlock", "text": line, "wrap": true })),
        ),
        None => body.extend(built_in(letter, &words.text.message, kept)),
    }
    let at = letter.record.at.0.strftime("%F %H:%M UTC");
    body.push(small(&format!("{}  ·  {}  ·  {at}", alert.name, alert.severity.word())));
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": VERSION,
        "fallbackText": words.title,
        "msteams": { "width": "Full" },
        "body": body,
    })
}

fn built_in(letter: &Letter, message: &Message, kept: usize) -> Vec<Value> {
    let mut body = Vec::new();
    if kept > 1 {
        body.push(table(message.cells.get(..kept).unwrap_or_default()));
    }
    let left_out = message.cells.len().saturating_sub(kept.max(1));
    let left_out = (left_out > 0).then(|| format!("{left_out} more metrics: haldane explain {} -n {}", letter.name, letter.namespace));
    body.extend(message.footnotes.iter().map(|note| shortened(note, NOTE)).chain(left_out).map(|note| small(&note)));
    for fact in &message.fields {
        body.extend(labelled(&fact.label, fact.text.lines()));
    }
    body.extend(labelled("next", message.next.iter().flat_map(|next| next.lines())));
    body
}

/// A value in which nothing is markup.
fn escaped(text: &str) -> String {
    let markup = |c: char| "\\`*_[]()#<>|~".contains(c);
    text.chars().flat_map(|c| markup(c).then_some('\\').into_iter().chain([c])).collect()
}

fn table(rows: &[Vec<String>]) -> Value {
    let columns: Vec<Value> = rows.first().map_or(&[][..], Vec::as_slice).iter().map(|_| json!({ "width": 1 })).collect();
    let cell = |text: &String| {
        let text = if text.is_empty() { " " } else { text.as_str() };
        json!({ "type": "TableCell", "items": [block(&[json!({ "type": "TextRun", "text": shortened(text, CELL) })])] })
    };
    let row = |cells: &Vec<String>| json!({ "type": "TableRow", "cells": cells.iter().map(cell).collect::<Vec<_>>() });
    json!({
        "type": "Table",
        "firstRowAsHeaders": true,
        "columns": columns,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

fn block(inlines: &[Value]) -> Value {
    json!({ "type": "RichTextBlock", "inlines": inlines })
}

fn small(text: &str) -> Value {
    block(&[json!({ "type": "TextRun", "text": text, "size": "Small", "isSubtle": true })])
}

/// The label stands before the first line.
fn labelled<'a>(label: &str, lines: impl Iterator<Item = &'a str>) -> Vec<Value> {
    let bold = |at: usize| (at == 0).then(|| json!({ "type": "TextRun", "text": format!("{label}  "), "weight": "Bolder" }));
    let run = |line: &str| json!({ "type": "TextRun", "text": line });
    lines.enumerate().map(|(at, line)| block(&bold(at).into_iter().chain([run(line)]).collect::<Vec<_>>())).collect()
}
