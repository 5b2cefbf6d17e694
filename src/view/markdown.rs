//! A view as Markdown, for pull requests and the summary of a CI job.

use super::table::Table;
use super::{Fact, View};

impl View {
    /// What happened and why, as a heading.
    pub fn markdown_title(&self) -> String {
        format!("### {} {}\n", escaped(&self.subject()), escaped(&self.headline()))
    }

    /// The table, what is said, and what comes next.
    pub fn markdown_body(&self) -> String {
        self.markdown_table() + &markdown_facts(&self.said()) + &self.markdown_next()
    }

    /// The metrics.
    fn markdown_table(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let Table { head, rows, .. } = Table::whole(self);
        let line = |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join(" | "));
        let mut text = format!("\n{}{}\n", line(&head), format_args!("|{}", "---|".repeat(head.len())));
        text.extend(rows.iter().map(|row| line(row)));
        if !self.footnotes.is_empty() {
            text.push('\n');
            text.extend(self.footnotes.iter().map(|note| format!("{}<br>\n", escaped(&note.replace('\n', " ")))));
        }
        text
    }

    fn markdown_next(&self) -> String {
        let commands = self.next.iter().all(|next| next.starts_with("haldane "));
        match self.next.is_empty() {
            true => String::new(),
            false if commands => format!("\n```sh\n{}\n```\n", self.next.join("\n")),
            false => markdown_facts(&[Fact::new("next", self.next.join("\n"))]),
        }
    }
}

/// What is said under labels, as a list.
pub fn markdown_facts(facts: &[Fact]) -> String {
    let item = |fact: &Fact| {
        let lines: Vec<String> = fact.text.lines().map(escaped).collect();
        format!("- **{}**: {}\n", escaped(&fact.label), lines.join("<br>\n  "))
    };
    let items: String = facts.iter().map(item).collect();
    if items.is_empty() { items } else { format!("\n{items}") }
}

/// Text in which nothing is markup but code between backticks.
fn escaped(text: &str) -> String {
    let (mut out, mut code) = (String::with_capacity(text.len()), false);
    for c in text.chars() {
        match c {
            '`' => code = !code,
            '|' => out.push('\\'),
            '*' | '_' | '<' | '>' | '[' | ']' | '\\' | '#' if !code => out.push('\\'),
            _ => {}
        }
        out.push(c);
    }
    out
}
