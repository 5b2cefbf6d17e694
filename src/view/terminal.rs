//! A view as a screen of a terminal.

use std::time::Duration;

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use super::table::{LABEL, Table, requests};
use super::{Fact, Tone, View};
use crate::words::span;

/// Where the text under a label begins.
const INDENT: usize = LABEL + 3;
/// Narrower than this nothing is made.
const LEAST: usize = 60;
/// Wider than this a line of text is hard to follow.
const MOST: usize = 120;

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Its columns.
    pub columns: usize,
    /// Whether it shows colours.
    pub colour: bool,
}

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

impl Terminal {
    /// The word in the colour of its tone.
    pub fn paint(&self, tone: Tone, word: &str) -> String {
        let code = match tone {
            Tone::Good => 32,
            Tone::Bad => 31,
            Tone::Waiting => 33,
            Tone::Plain => return word.to_owned(),
        };
        if self.colour { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() }
    }

    fn columns(&self) -> usize {
        self.columns.max(LEAST)
    }

    /// The whole screen.
    pub fn screen(&self, view: &View) -> String {
        let mut text = self.title(view);
        let table = self.table(view);
        if !table.is_empty() {
            text += &format!("\n{table}");
        }
        let rest = self.facts(&view.said()) + &self.next(&view.next);
        if !rest.is_empty() {
            text += &format!("\n{rest}");
        }
        text
    }

    /// The first line: what, how it went, and why.
    pub fn title(&self, view: &View) -> String {
        let parts = [Some(view.subject()), Some(self.paint(view.tone, &view.outcome)), view.because.clone()];
        let plain = [Some(view.subject()), Some(view.outcome.clone()), view.because.clone()];
        let length: usize = plain.iter().flatten().map(|part| width(part) + 3).sum::<usize>() - 3;
        if length <= self.columns() {
            return parts.into_iter().flatten().collect::<Vec<_>>().join("   ") + "\n";
        }
        let [subject, outcome, because] = parts.map(Option::unwrap_or_default);
        format!("{subject}   {outcome}\n{}", self.hang("", &because))
    }

    /// The metrics in columns, with what must be known to read them.
    pub fn table(&self, view: &View) -> String {
        if view.rows.is_empty() {
            return String::new();
        }
        let (table, widths, gap) = Table::fitting(view, self.columns());
        let between = " ".repeat(gap);
        let line = |cells: &[String], tone: Tone| {
            let last = cells.len().saturating_sub(1);
            let cell = |(at, (cell, most)): (usize, (&String, &usize))| match at == last {
                true => self.paint(tone, cell),
                false => format!("{cell}{}", " ".repeat(most.saturating_sub(width(cell)))),
            };
            let cells: Vec<String> = cells.iter().zip(&widths).enumerate().map(cell).collect();
            format!("{}\n", cells.join(&between).trim_end())
        };
        let mut text = line(&table.head, Tone::Plain);
        for (cells, row) in table.rows.iter().zip(&view.rows) {
            text += &line(cells, row.verdict.tone());
        }
        for note in &view.footnotes {
            for (at, part) in note.lines().enumerate() {
                text += &wrapped(if at == 0 { "  " } else { "    " }, part, self.columns().min(MOST));
            }
        }
        if table.without_requests
            && let Some(requests) = requests(view)
        {
            text += &wrapped("  ", &format!("requests: {requests}"), self.columns());
        }
        text
    }

    /// What is said under labels.
    pub fn facts(&self, facts: &[Fact]) -> String {
        facts.iter().map(|fact| self.hang(&fact.label, &fact.text)).collect()
    }

    /// What to do next: side by side where that fits.
    pub fn next(&self, next: &[String]) -> String {
        let joined = next.join("      ");
        let commands = next.iter().all(|next| next.starts_with("haldane "));
        match next.is_empty() {
            true => String::new(),
            false if commands && INDENT + width(&joined) <= self.columns() => format!("{:LABEL$}   {joined}\n", "next"),
            false => self.hang("next", &next.join("\n")),
        }
    }

    /// A label and its text; each line of it begins below the first.
    pub fn hang(&self, label: &str, text: &str) -> String {
        let (mut out, mut prefix) = (String::new(), format!("{label:LABEL$}   "));
        for line in text.lines() {
            out += &wrapped(&prefix, line, self.columns().min(MOST));
            prefix = " ".repeat(INDENT);
        }
        out
    }
}

/// Text behind a prefix, wrapped at spaces so that every line begins below its first. A longer word stays whole, so that it can be copied; so
/// does a command between backticks.
pub fn wrapped(prefix: &str, text: &str, columns: usize) -> String {
    let indent = width(prefix);
    let (mut out, mut line) = (String::new(), prefix.to_owned());
    let mut empty = true;
    for word in units(text) {
        if !empty && width(&line) + 1 + width(&word) > columns {
            out += &format!("{}\n", line.trim_end());
            line = " ".repeat(indent);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += &word;
        empty = false;
    }
    out + line.trim_end() + "\n"
}

/// Words, and commands between backticks as one.
fn units(text: &str) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    let mut open = false;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match units.last_mut() {
            Some(last) if open => *last = format!("{last} {word}"),
            _ => units.push(word.to_owned()),
        }
        if word.matches('`').count() % 2 == 1 {
            open = !open;
        }
    }
    units
}

/// `3m12s`, whole seconds, the two largest units.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0).unsigned_abs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    match days {
        0 if seconds >= 36_000 => span(Duration::from_secs(seconds / 60 * 60)),
        0 => span(Duration::from_secs(seconds)),
        _ if hours == 0 => format!("{days}d"),
        _ => format!("{days}d{hours}h"),
    }
}
