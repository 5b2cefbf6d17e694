//! The screen: what a live view shows, drawn into a buffer of any size.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

use super::app::{App, Mode, under_way};
use super::{arms, table};
use crate::view::{Fact, Terminal, Tone, View, age, width, wrapped};
use crate::words::shortened;

/// Lines below the rest: what became of the last key, and the keys.
const FOOT: u16 = 2;
/// From so many columns on the decisions stand beside the rest.
const BESIDE: usize = 150;
/// Facts that stand in the upper part, or that the decisions tell.
const ABOVE: [&str; 4] = ["step", "hold", "waiting", "last"];

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Whether there are colours.
    pub(super) colour: bool,
}

impl Look {
    pub(super) fn tone(self, tone: Tone) -> Style {
        let (colour, loud) = match tone {
            Tone::Good => (Color::Green, false),
            Tone::Bad => (Color::Red, true),
            Tone::Waiting => (Color::Yellow, false),
            Tone::Plain => return Style::default(),
        };
        let style = if self.colour { Style::default().fg(colour) } else { Style::default() };
        if loud { style.add_modifier(Modifier::BOLD) } else { style }
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);

/// Draws everything.
pub(super) fn draw(app: &App, look: Look, area: Rect, buffer: &mut Buffer) {
    let columns = usize::from(area.width);
    let room = usize::from(area.height.saturating_sub(FOOT));
    let mut lines = head(app, look, columns);
    let (body, cut) = match &app.mode {
        Mode::Explain(top) => (app.explanation().into_iter().skip(*top).map(Line::from).collect(), false),
        Mode::Help => (help(app), false),
        _ => body(app, look, columns, room.saturating_sub(lines.len())),
    };
    let faded = app.stale().is_some() && !matches!(app.mode, Mode::Help);
    lines.extend(body.into_iter().map(|line| if faded { line.patch_style(DIM) } else { line }));
    lines.truncate(room);
    for (y, line) in (area.top()..).zip(&lines) {
        buffer.set_line(area.left(), y, line, area.width);
    }
    for (y, line) in (area.top()..area.bottom()).rev().zip(foot(app, look, columns, cut)) {
        buffer.set_line(area.left(), y, &line, area.width);
    }
}

/// What, how it goes and why; on the right whether it is live.
fn head(app: &App, look: Look, columns: usize) -> Vec<Line<'static>> {
    let view = &app.view;
    let (live, style) = match app.stale() {
        Some(seconds) => (format!("stale {seconds} s"), look.tone(Tone::Bad).add_modifier(Modifier::BOLD | Modifier::REVERSED)),
        None => (format!("live {}", app.now.strftime("%H:%M:%S UTC")), look.tone(Tone::Good)),
    };
    let mut left = vec![Span::styled(view.subject(), BOLD), Span::raw("   "), Span::styled(view.outcome.clone(), look.tone(view.tone))];
    let because = view.because.clone().unwrap_or_default();
    let taken = |left: &[Span<'_>]| left.iter().map(|span| width(&span.content)).sum::<usize>();
    let mut lines = Vec::new();
    let beside = taken(&left) + 3 + width(&because) + 2 + width(&live) <= columns;
    if beside && !because.is_empty() {
        left.push(Span::raw(format!("   {because}")));
    }
    let gap = columns.saturating_sub(taken(&left) + width(&live)).max(1);
    left.extend([Span::raw(" ".repeat(gap)), Span::styled(live, style)]);
    lines.push(Line::from(left));
    if !beside && !because.is_empty() {
        lines.push(Line::from(format!("  {because}")));
    }
    lines
}

/// The parts below the first line, as much of them as there is room for; and whether something was left out.
fn body(app: &App, look: Look, columns: usize, room: usize) -> (Vec<Line<'static>>, bool) {
    let terminal = Terminal { columns, colour: false };
    let upper = arms::lines(app, look, columns);
    let (table, notes) = table::lines(app, look, columns);
    let facts = facts(app, &terminal);
    let mut parts = [upper, table, notes, facts, decisions(app, look, columns)];
    let wide = columns >= BESIDE;
    if wide {
        let [.., facts, decisions] = &mut parts;
        let left = Terminal { columns: columns / 2 - 2, colour: false };
        *facts = self::facts(app, &left);
        let right = std::mem::take(decisions);
        *facts = beside(std::mem::take(facts), right, columns / 2);
    }
    let cut = fit(&mut parts, room);
    let [upper, table, notes, facts, decisions] = parts;
    let mut lines = Vec::new();
    for part in [upper, [table, notes].concat(), facts, decisions].into_iter().filter(|part| !part.is_empty()) {
        lines.push(Line::default());
        lines.extend(part);
    }
    (lines, cut)
}

/// Takes away what says least until the rest has room: notes, old decisions, then facts.
fn fit(parts: &mut [Vec<Line<'static>>; 5], room: usize) -> bool {
    let needs = |parts: &[Vec<Line<'_>>; 5]| {
        let [upper, table, notes, facts, decisions] = parts;
        let blocks = [upper.len(), table.len() + notes.len(), facts.len(), decisions.len()];
        blocks.iter().filter(|lines| **lines > 0).map(|lines| lines + 1).sum::<usize>()
    };
    // A part, and how many of its lines stay.
    let order = [(4, 4), (2, 1), (4, 2), (3, 4), (2, 0), (3, 1), (4, 1), (3, 0), (4, 0), (1, 2), (0, 3)];
    let mut cut = false;
    for (part, least) in order {
        while needs(parts) > room {
            match parts.get_mut(part) {
                Some(lines) if lines.len() > least => {
                    lines.pop();
                    cut = true;
                }
                _ => break,
            }
        }
    }
    cut
}

/// What else there is to say. What the keys do is not among it.
fn facts(app: &App, terminal: &Terminal) -> Vec<Line<'static>> {
    let said: Vec<Fact> = app.view.said().into_iter().filter(|fact| !ABOVE.contains(&fact.label.as_str())).collect();
    let by_key = |next: &str| ["abort", "promote", "resume", "explain"].iter().any(|verb| next.contains(&format!("haldane {verb} ")));
    let next: Vec<String> = app.view.next.iter().filter(|next| !by_key(next)).cloned().collect();
    let text = terminal.facts(&said) + &terminal.next(&next);
    text.lines().map(|line| Line::from(line.to_owned())).collect()
}

/// The newest decisions, each with its age.
fn decisions(app: &App, look: Look, columns: usize) -> Vec<Line<'static>> {
    let room = if columns >= BESIDE { columns / 2 } else { columns };
    let mut lines = Vec::new();
    for (at, told) in app.decisions.iter().enumerate() {
        let label = if at == 0 { "decided" } else { "" };
        let begin = format!("{label:9}   {:>6} ago   ", age(told.at, app.now));
        let text = shortened(&told.text, room.saturating_sub(width(&begin)).max(20));
        lines.push(Line::from(vec![Span::raw(begin), Span::styled(text, look.tone(told.tone))]));
    }
    lines
}

/// Two texts side by side.
fn beside(left: Vec<Line<'static>>, right: Vec<Line<'static>>, at: usize) -> Vec<Line<'static>> {
    let lines = left.len().max(right.len());
    let (mut left, mut right) = (left.into_iter(), right.into_iter());
    let joined = |_| {
        let mut line = left.next().unwrap_or_default();
        if let Some(other) = right.next() {
            line.spans.push(Span::raw(" ".repeat(at.saturating_sub(line.width()))));
            line.spans.extend(other.spans);
        }
        line
    };
    (0..lines).map(joined).collect()
}

/// From below: the keys, or the question; above it what became of the last key, or what is wrong.
fn foot(app: &App, look: Look, columns: usize, cut: bool) -> [Line<'static>; 2] {
    let view = &app.view;
    let bold = |text: String| Line::from(Span::styled(text, BOLD));
    let told = |tone: Tone, text: &str| Line::from(Span::styled(shortened(text, columns), look.tone(tone)));
    let lost = app.lost.as_ref().map(|why| told(Tone::Bad, &format!("trying again: {why}")));
    let said = app.said.as_ref().map(|(tone, text)| told(*tone, text));
    let stable = view.stable.as_deref().unwrap_or("stable");
    let canary = view.canary.as_deref().unwrap_or("the canary");
    match &app.mode {
        Mode::Abort(_, typed) => [
            bold(format!("name, and why: {typed}_")),
            Line::from(Span::styled(
                format!("Abort {canary}: all traffic to {stable} now. Type {} and Enter; Esc leaves it.", view.name),
                look.tone(Tone::Bad),
            )),
        ],
        Mode::Promote(shown) => {
            let step = shown.status.as_ref().and_then(|status| status.step.as_ref()).filter(|step| step.index >= 0);
            let beyond = step.map_or_else(String::new, |step| format!(" beyond step {}", step.name));
            let question = format!("Promote {canary}{beyond} without its proof?");
            [bold("[y]es   any other key: no".to_owned()), Line::from(Span::styled(question, look.tone(Tone::Waiting)))]
        }
        Mode::Explain(top) => {
            let (all, page) = (app.explanation().len(), app.page());
            let place = format!("lines {}-{} of {all}", (top + 1).min(all), (top + page).min(all));
            [bold("[up/down] [page up/down] [home/end] scroll   [q] back".to_owned()), Line::from(place)]
        }
        Mode::Help => [bold("any key: back".to_owned()), lost.or(said).unwrap_or_default()],
        Mode::Plain => {
            let more = cut.then(|| Line::from(Span::styled("not everything fits: [e] explains the decision", DIM)));
            [bold(keys(app, columns)), lost.or(said).or(more).unwrap_or_default()]
        }
    }
}

/// The keys, in one line.
fn keys(app: &App, columns: usize) -> String {
    let asked = format!("[p]romote  [space] {}  [a]bort  ", app.pauses());
    let commands = if under_way(app.phase()) { asked } else { String::new() };
    let line = format!("{commands}[e]xplain  [?] help  [q]uit");
    if width(&line) <= columns { line } else { "[?] help  [q]uit".to_owned() }
}

fn help(app: &App) -> Vec<Line<'static>> {
    let View { namespace, name, .. } = &app.view;
    let rows = [
        ("p", "promote: on to the next step without its proof; answers an approval; asks first".to_owned()),
        ("space", "pause: stops advancing, rollback and guards go on; again: resume".to_owned()),
        ("a", format!("abort: all traffic to stable now, and this revision is refused; asks for the name, {name}, and takes a reason behind it")),
        ("e", format!("explain: the whole decision, as `haldane explain {name} -n {namespace}`; scrolls")),
        ("?", "this".to_owned()),
        ("q", "quit; also Ctrl-C".to_owned()),
        ("", "A command counts for the revision and the step that are shown: the controller refuses it if they have changed.".to_owned()),
        ("", "The line of a metric is the difference at each look since this view was opened. A full cell is its limit or more, a dot no data.".to_owned()),
        ("", "observed is the canary's share of the requests that were counted in this step.".to_owned()),
    ];
    let lines = rows.iter().flat_map(|(key, text)| {
        let text = wrapped(&format!("{key:9}   "), text, usize::from(app.size.0).clamp(40, 120));
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    [Line::default()].into_iter().chain(lines.map(Line::from)).collect()
}
