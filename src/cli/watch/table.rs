//! The metrics, each with the line of what was seen of it.

use ratatui::{
    style::Modifier,
    text::{Line, Span},
};

use super::app::App;
use super::frame::Look;
use crate::view::{Row, Terminal, Word, age, width};

/// Widths of a line of what was seen, best first.
const CELLS: [usize; 4] = [40, 30, 20, 12];
/// Space before it.
const GAP: usize = 3;
/// The column that says how sure it is: it stays before a line of what was seen is shown.
const SURE: &str = "95 % interval";
/// The column of the requests.
const REQUESTS: &str = "requests";
/// How the line begins that has them instead.
const COUNTED: &str = "  requests: ";

/// The table, and what must be known to read it.
pub(super) fn lines(app: &App, look: Look, columns: usize) -> (Vec<Line<'static>>, Vec<Line<'static>>) {
    let view = &app.view;
    if view.rows.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let (text, cells) = fitting(app, columns);
    let upper: Vec<&str> = text.lines().take(view.rows.len() + 1).collect();
    let widest = upper.iter().map(|line| width(line)).max().unwrap_or_default();
    let padding = |line: &str| Span::raw(" ".repeat(widest.saturating_sub(width(line)) + GAP));
    let mut lines = Vec::new();
    for (at, line) in upper.into_iter().enumerate() {
        let row = at.checked_sub(1).and_then(|at| view.rows.get(at));
        let mut spans = row.map_or_else(|| vec![Span::raw(line.to_owned())], |row| coloured(line, row, look));
        if let Some(cells) = cells {
            spans.push(padding(line));
            spans.push(Span::raw(match row {
                Some(row) => app.rings.get(&row.metric).map_or_else(String::new, |ring| ring.line(cells, row.limit)),
                None => seen(app, cells),
            }));
        }
        lines.push(Line::from(spans));
    }
    (lines, notes(app, &text, columns))
}

/// What must be known to read the table, as wide as the screen; the requests, where the table has no room for them.
fn notes(app: &App, text: &str, columns: usize) -> Vec<Line<'static>> {
    let below = app.view.rows.len() + 1;
    let full = Terminal { columns, colour: false }.table(&app.view);
    let notes = full.lines().skip(below).filter(|note| !note.starts_with(COUNTED));
    let requests = text.lines().skip(below).filter(|note| note.starts_with(COUNTED));
    notes.chain(requests).map(|note| Line::from(note.to_owned())).collect()
}

/// The head of the last column: how long ago its oldest value was seen.
fn seen(app: &App, cells: usize) -> String {
    let since = app.rings.values().filter_map(|ring| ring.since(cells)).min();
    since.map_or_else(String::new, |since| format!("last {}", age(since, app.now)))
}

/// The text of the table, and how many cells are left for what was seen.
fn fitting(app: &App, columns: usize) -> (String, Option<usize>) {
    let table = |columns: usize| Terminal { columns, colour: false }.table(&app.view);
    let has = |text: &str, head: &str| text.lines().next().is_some_and(|line| line.contains(head));
    let full = table(columns);
    if app.rings.is_empty() {
        return (full, None);
    }
    let narrower = |cells: usize| columns.checked_sub(cells + GAP).map(|columns| (columns, table(columns)));
    let fits = |(columns, text): &(usize, String), heads: &[&str]| {
        let rows = text.lines().take(app.view.rows.len() + 1);
        rows.map(width).max().unwrap_or_default() <= *columns && heads.iter().all(|head| has(text, head) == has(&full, head))
    };
    // The requests go below the table before the line is left out; nothing else does.
    for heads in [&[SURE, REQUESTS, "limit"][..], &[SURE, "limit"]] {
        for cells in CELLS {
            if let Some((_, text)) = narrower(cells).filter(|narrow| fits(narrow, heads)) {
                return (text, Some(cells));
            }
        }
    }
    (full, None)
}

/// A row with its verdict in colour. That there is no data is seen at a glance.
fn coloured(line: &str, row: &Row, look: Look) -> Vec<Span<'static>> {
    let word = row.verdict.text();
    let Some(before) = line.strip_suffix(word) else { return vec![Span::raw(line.to_owned())] };
    let style = look.tone(row.verdict.tone());
    let (word, style) = match row.verdict {
        Word::NoData => (word.to_uppercase(), style.add_modifier(Modifier::BOLD | Modifier::REVERSED)),
        _ => (word.to_owned(), style),
    };
    vec![Span::raw(before.to_owned()), Span::styled(word, style)]
}
