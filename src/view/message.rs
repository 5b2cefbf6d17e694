//! A view as a message for people in a chat: neutral parts, which each receiver lays out in its own form.

use super::table::Table;
use super::terminal::Terminal;
use super::{Fact, View};

/// Columns of the table in a message: what a chat window shows without scrolling.
const COLUMNS: usize = 80;

/// The parts of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What happened, in one line.
    pub title: String,
    /// The metrics in columns, for a monospaced block; empty: there are none.
    pub table: String,
    /// The same as cells, for a receiver with tables of its own: the head first.
    pub cells: Vec<Vec<String>>,
    /// What must be known to read the cells.
    pub footnotes: Vec<String>,
    /// What is said under labels, in the order in which it is read.
    pub fields: Vec<Fact>,
    /// What to do next: commands to paste, or a clause.
    pub next: Vec<String>,
}

impl Message {
    /// The parts of a message under this title.
    pub fn new(title: String, view: &View) -> Self {
        let terminal = Terminal { columns: COLUMNS, colour: false };
        let Table { head, rows, .. } = Table::whole(view);
        let cells = if rows.is_empty() { rows } else { std::iter::once(head).chain(rows).collect() };
        Self { title, table: terminal.table(view), cells, footnotes: view.footnotes.clone(), fields: view.said(), next: view.next.clone() }
    }

    /// All but the title, as plain text.
    pub fn body(&self) -> String {
        let terminal = Terminal { columns: COLUMNS, colour: false };
        let fields = terminal.facts(&self.fields) + &terminal.next(&self.next);
        let between = if self.table.is_empty() || fields.is_empty() { "" } else { "\n" };
        format!("{}{between}{fields}", self.table).trim_end().to_owned()
    }
}
