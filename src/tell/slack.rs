//! Slack's incoming webhooks: the message as blocks, and as `text` for notifications and for programs that imitate Slack.

use serde_json::{Value, json};

use super::courier::{Letter, SinkFault};
use super::text::{slack_escaped, symbol};
use super::words::Words;
use crate::view::{Fact, Message};
use crate::words::shortened;

/// Most blocks of a message.
const BLOCKS: usize = 50;
/// Longest text of a section, in characters.
const SECTION: usize = 3_000;
/// Longest header, in characters.
const HEADER: usize = 150;
/// Longest text of a piece of a section: it has to fit between the marks of a code block.
const PIECE: usize = SECTION - 10;
/// Longest line, in characters before it is escaped: the longest escape has five.
const LINE: usize = PIECE / 5 - 20;

/// The body of the request.
pub(super) fn message(letter: &Letter) -> Value {
    let words = Words::of(letter, slack_escaped);
    let text = match &words.body {
        Some(body) => format!("{} {}\n{body}", symbol(letter.alert().severity), slack_escaped(&words.title)),
        None => words.text.slack_under(&words.title),
    };
    json!({ "text": text, "blocks": blocks(letter, &words) })
}

/// Slack says "ok"; everything else, also with status 200, means that nobody has read it.
pub(super) fn accept(body: &[u8]) -> Result<(), SinkFault> {
    if body.trim_ascii() == b"ok" { Ok(()) } else { Err(SinkFault::Answer("not \"ok\", as Slack says when it has taken a message")) }
}

fn blocks(letter: &Letter, words: &Words) -> Vec<Value> {
    let alert = letter.alert();
    let title = format!("{} {}", symbol(alert.severity), words.title);
    let mut blocks = vec![header(&title)];
    if title.chars().count() > HEADER {
        blocks.push(section(&format!("*{}*", slack_escaped(&words.title))));
    }
    match &words.body {
        // It is short enough for a section.
        Some(body) => blocks.push(section(body)),
        None => blocks.extend(built_in(&words.text.message)),
    }
    blocks.truncate(BLOCKS - 1);
    let stamp = format!("{}  ·  {}  ·  {}", alert.name, alert.severity.word(), letter.record.at.0.strftime("%F %H:%M UTC"));
    blocks.push(json!({ "type": "context", "elements": [{ "type": "plain_text", "text": stamp }] }));
    blocks
}

fn built_in(message: &Message) -> Vec<Value> {
    // A class may be called anything: three backticks would end the block.
    let table = message.table.trim_end().replace('`', "'");
    let mut blocks: Vec<Value> = pieces(table.lines().map(escaped)).iter().map(|piece| section(&format!("```\n{piece}\n```"))).collect();
    let facts = message.fields.iter().flat_map(|Fact { label, text }| {
        text.lines().enumerate().map(move |(at, line)| if at == 0 { format!("*{label}*  {}", escaped(line)) } else { escaped(line) })
    });
    blocks.extend(pieces(facts).iter().map(|piece| section(piece)));
    if !message.next.is_empty() {
        let commands = message.next.iter().flat_map(|next| next.lines()).map(command);
        blocks.extend(pieces(std::iter::once("*next*".to_owned()).chain(commands)).iter().map(|piece| section(piece)));
    }
    blocks
}

/// A line of its own in a large type. It knows no escapes, so what could be taken for markup is replaced.
fn header(title: &str) -> Value {
    let title = title.replace('<', "‹").replace('>', "›");
    json!({ "type": "header", "text": { "type": "plain_text", "text": shortened(&title, HEADER), "emoji": true } })
}

/// Names of people and channels in it are text.
fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text, "verbatim": true } })
}

/// A command to copy, or a clause.
fn command(next: &str) -> String {
    if next.starts_with("haldane ") && !next.contains('`') { format!("`{}`", escaped(next)) } else { escaped(next) }
}

/// A line that fits into a piece. It is cut before it is escaped: half an escape would show as rubbish.
fn escaped(line: &str) -> String {
    slack_escaped(&shortened(line, LINE))
}

/// Lines, as few pieces of them as fit into sections.
fn pieces(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for line in lines {
        match pieces.last_mut().filter(|piece| piece.chars().count() + line.chars().count() < PIECE) {
            Some(piece) => *piece += &format!("\n{line}"),
            None => pieces.push(line),
        }
    }
    pieces
}
