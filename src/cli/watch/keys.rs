//! What the keys do.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use kube::ResourceExt;

use super::app::{Act, App, Mode, Order};
use crate::{
    api::Phase,
    command::Verb,
    view::{Tone, visible},
};

/// The reason of an abort where nobody says one.
const UNSAID: &str = "aborted in haldane watch";
/// What can be typed at most: a name and a reason.
const TYPED: usize = 300;

impl App {
    /// Takes in a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Option<Act> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Act::Quit);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Plain => self.plain(key.code),
            Mode::Help => None,
            Mode::Promote(shown) => match key.code {
                KeyCode::Char('y' | 'Y') => Some(self.order(Verb::Promote, None, shown)),
                _ => self.nothing("nothing was promoted"),
            },
            Mode::Abort(shown, typed) => self.typing(key.code, shown, typed),
            Mode::Explain(top) => self.scrolled(key.code, top),
        }
    }

    fn plain(&mut self, key: KeyCode) -> Option<Act> {
        self.said = None;
        let shown = Box::new(self.rollout.clone());
        match key {
            KeyCode::Char('q') => return Some(Act::Quit),
            KeyCode::Char('p') => self.mode = Mode::Promote(shown),
            KeyCode::Char('a') => self.mode = Mode::Abort(shown, String::new()),
            KeyCode::Char('e') => self.mode = Mode::Explain(0),
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char(' ') => return Some(self.order(self.pauses(), None, shown)),
            _ => {}
        }
        None
    }

    /// What the space bar does: it ends a pause, else it begins one.
    pub(super) fn pauses(&self) -> Verb {
        if self.phase() == Some(Phase::Paused) { Verb::Resume } else { Verb::Pause }
    }

    fn typing(&mut self, key: KeyCode, shown: Box<crate::api::Rollout>, mut typed: String) -> Option<Act> {
        match key {
            KeyCode::Enter => {
                let (name, reason) = typed.trim().split_once(char::is_whitespace).unwrap_or((typed.trim(), ""));
                if name != shown.name_any() {
                    return self.nothing(&format!("that is not its name, {}: nothing was aborted", shown.name_any()));
                }
                let reason = if reason.trim().is_empty() { UNSAID } else { reason.trim() };
                return Some(self.order(Verb::Abort, Some(reason.to_owned()), shown));
            }
            KeyCode::Esc => return self.nothing("nothing was aborted"),
            KeyCode::Backspace => {
                typed.pop();
            }
            KeyCode::Char(c) if !c.is_control() && typed.len() < TYPED => typed.push(c),
            _ => {}
        }
        self.mode = Mode::Abort(shown, typed);
        None
    }

    fn scrolled(&mut self, key: KeyCode, top: usize) -> Option<Act> {
        let last = self.explanation().len().saturating_sub(self.page());
        let top = match key {
            KeyCode::Esc | KeyCode::Char('q' | 'e') => return None,
            KeyCode::Down | KeyCode::Char('j') => top + 1,
            KeyCode::Up | KeyCode::Char('k') => top.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => top + self.page(),
            KeyCode::PageUp => top.saturating_sub(self.page()),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => top,
        };
        self.mode = Mode::Explain(top.min(last));
        None
    }

    fn order(&mut self, verb: Verb, reason: Option<String>, shown: Box<crate::api::Rollout>) -> Act {
        self.said = Some((Tone::Waiting, format!("{verb}: waiting for the controller")));
        Act::Order(Order { verb, reason: reason.map(|reason| visible(&reason)), shown })
    }

    fn nothing(&mut self, why: &str) -> Option<Act> {
        self.said = Some((Tone::Plain, why.to_owned()));
        None
    }
}
