//! Lists in columns: a line for each thing, cut in the last column, and without the columns that say least where there is no room.

use super::terminal::width;
use super::{Terminal, Tone};
use crate::words::shortened;

/// Space between columns.
const GAP: usize = 2;
/// Fewer characters of the last column say nothing.
const LEAST: usize = 24;

/// Lines of cells under heads.
#[derive(Clone, Debug)]
pub struct Columns {
    heads: Vec<&'static str>,
    shown: Vec<bool>,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    cells: Vec<String>,
    /// The column in a colour.
    tone: Option<(&'static str, Tone)>,
}

impl Columns {
    /// Without a line yet.
    pub fn new(heads: &[&'static str]) -> Self {
        Self { heads: heads.to_vec(), shown: vec![true; heads.len()], lines: Vec::new() }
    }

    /// Leaves a column out.
    pub fn hide(&mut self, head: &str) {
        for (shown, _) in self.shown.iter_mut().zip(&self.heads).filter(|(_, one)| **one == head) {
            *shown = false;
        }
    }

    /// Adds a line: a cell for each head, and the column that is shown in a colour.
    pub fn push(&mut self, cells: Vec<String>, tone: Option<(&'static str, Tone)>) {
        self.lines.push(Line { cells, tone });
    }

    /// The text. While the last column has no room, the columns of `least` are left out in this order.
    pub fn text(mut self, terminal: &Terminal, least: &[&str]) -> String {
        let mut widths = self.widths();
        let mut least = least.iter();
        let room = loop {
            let before: usize = self.kept(&widths).rev().skip(1).map(|width| width + GAP).sum();
            let room = terminal.columns.saturating_sub(before);
            let wanted = widths.last().copied().unwrap_or_default();
            if room >= wanted.min(LEAST) {
                break room;
            }
            match least.next() {
                Some(head) => self.hide(head),
                None => break room,
            }
        };
        if let Some(last) = widths.last_mut() {
            *last = (*last).min(room);
        }
        let heads = Line { cells: self.heads.iter().map(|head| (*head).to_owned()).collect(), tone: None };
        std::iter::once(&heads).chain(&self.lines).map(|line| self.line(line, &widths, terminal)).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let of = |(at, head): (usize, &&str)| {
            let cells = self.lines.iter().filter_map(|line| line.cells.get(at));
            cells.map(|cell| width(cell)).chain([width(head)]).max().unwrap_or_default()
        };
        self.heads.iter().enumerate().map(of).collect()
    }

    fn kept<'a>(&'a self, widths: &'a [usize]) -> impl DoubleEndedIterator<Item = usize> + 'a {
        widths.iter().zip(&self.shown).filter(|(_, shown)| **shown).map(|(width, _)| *width)
    }

    fn line(&self, line: &Line, widths: &[usize], terminal: &Terminal) -> String {
        let mut text = String::new();
        for (((cell, most), head), _) in line.cells.iter().zip(widths).zip(&self.heads).zip(&self.shown).filter(|(_, shown)| **shown) {
            let cell = if width(cell) > *most { shortened(cell, *most) } else { cell.clone() };
            let padding = " ".repeat(most.saturating_sub(width(&cell)) + GAP);
            let tone = line.tone.filter(|(column, _)| column == head).map_or(Tone::Plain, |(_, tone)| tone);
            text += &format!("{}{padding}", terminal.paint(tone, &cell));
        }
        format!("{}\n", text.trim_end())
    }
}
