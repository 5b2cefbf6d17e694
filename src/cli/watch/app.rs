//! What a live view knows, and how it changes: events in, a new state and perhaps something to do out. Pure.

use std::collections::BTreeMap;

use crossterm::event::KeyEvent;
use jiff::Timestamp;
use kube::ResourceExt;

use super::spark::Ring;
use crate::{
    api::{MeasureKind, MetricEvidence, Phase, Rollout},
    cli::explain,
    command::Verb,
    record::Record,
    view::{Row, Terminal, Tone, Value, View},
};

/// Decisions that are kept.
const KEPT: usize = 50;
/// No answer for so many seconds is no live view any more, also where the question is still open.
const LATE: i64 = 5;

/// What has happened.
pub(super) enum Event {
    /// The Rollout was read.
    Seen(Box<Rollout>),
    /// It could not be read, and why.
    Lost(String),
    /// A key.
    Key(KeyEvent),
    /// The terminal has another size: columns, lines.
    Resized(u16, u16),
    /// A command was answered, or could not be given.
    Answered(Tone, String),
    /// Nothing but time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Act {
    /// Leave.
    Quit,
    /// Give a command.
    Order(Order),
}

/// A command, with what was shown when it was given.
#[derive(Debug, PartialEq)]
pub(super) struct Order {
    pub(super) verb: Verb,
    pub(super) reason: Option<String>,
    pub(super) shown: Box<Rollout>,
}

/// What is on the screen beside the Rollout.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Mode {
    /// Nothing.
    #[default]
    Plain,
    /// The question whether to promote, and what was shown when it was asked.
    Promote(Box<Rollout>),
    /// The question whether to abort, what was shown, and what was typed so far.
    Abort(Box<Rollout>, String),
    /// The explanation, from this line on.
    Explain(usize),
    /// The keys.
    Help,
}

/// A decision that was seen, or that status keeps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) at: Timestamp,
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// A live view.
pub(super) struct App {
    pub(super) rollout: Rollout,
    pub(super) view: View,
    pub(super) now: Timestamp,
    /// When it was read last.
    heard: Timestamp,
    /// Why the last read failed.
    pub(super) lost: Option<String>,
    pub(super) rings: BTreeMap<String, Ring>,
    /// Newest first.
    pub(super) decisions: Vec<Told>,
    pub(super) mode: Mode,
    /// What became of the last key.
    pub(super) said: Option<(Tone, String)>,
    /// Columns, lines.
    pub(super) size: (u16, u16),
}

impl App {
    /// A view of what was read now.
    pub(super) fn new(rollout: Rollout, size: (u16, u16), now: Timestamp) -> Self {
        let mut app = Self {
            view: View::standing(&rollout, now),
            rollout,
            now,
            heard: now,
            lost: None,
            rings: BTreeMap::new(),
            decisions: Vec::new(),
            mode: Mode::Plain,
            said: None,
            size,
        };
        app.sample();
        app.tell();
        app
    }

    /// Begins the lines of the present step with what was recorded of it before anybody watched.
    pub(super) fn recall(&mut self, record: &Record) {
        let status = self.rollout.status.as_ref();
        let step = status.and_then(|status| usize::try_from(status.step.as_ref()?.index).ok());
        let Some((run, step)) = record.newest().filter(|run| run.is_under_way()).zip(step) else { return };
        for (at, metric) in run.metrics.iter().enumerate() {
            let Some(seen) = self.rings.remove(&metric.name) else { continue };
            let mut ring = Ring::default();
            for (window, point) in run.points(at).filter(|(window, _)| window.step == step) {
                let value = point.difference.or_else(|| point.canary.filter(|_| !compares(metric.kind)).and_then(|arm| arm.value));
                ring.push(window.end, value);
            }
            ring.join(seen);
            self.rings.insert(metric.name.clone(), ring);
        }
    }

    /// Takes in what has happened.
    pub(super) fn update(&mut self, event: Event, now: Timestamp) -> Option<Act> {
        self.now = now;
        let act = match event {
            Event::Seen(rollout) => {
                self.seen(*rollout);
                None
            }
            Event::Lost(why) => {
                self.lost = Some(why);
                None
            }
            Event::Key(key) => self.key(key),
            Event::Resized(columns, lines) => {
                self.size = (columns, lines);
                None
            }
            Event::Answered(tone, text) => {
                self.said = Some((tone, text));
                None
            }
            Event::Tick => None,
        };
        self.view = View::standing(&self.rollout, now);
        act
    }

    fn seen(&mut self, rollout: Rollout) {
        (self.heard, self.lost) = (self.now, None);
        let before = std::mem::replace(&mut self.rollout, rollout);
        if before.uid() != self.rollout.uid() {
            self.rings.clear();
            self.decisions.clear();
        }
        let step = |rollout: &Rollout| rollout.status.as_ref().map(|status| (status.epoch, status.step.as_ref().map(|step| step.index)));
        if step(&before) != step(&self.rollout) {
            // Another step has its own evidence; what is here still is of the one before.
            self.rings.clear();
        } else if evidence(&before) != evidence(&self.rollout) {
            self.sample();
        }
        self.tell();
    }

    /// One more value for each metric.
    fn sample(&mut self) {
        if !under_way(self.phase()) {
            return;
        }
        for row in View::standing(&self.rollout, self.now).rows {
            self.rings.entry(row.metric.clone()).or_default().push(self.now, number(&row));
        }
    }

    /// Remembers the decisions that status speaks of.
    fn tell(&mut self) {
        let Some(status) = &self.rollout.status else { return };
        let (namespace, name) = (self.rollout.namespace().unwrap_or_default(), self.rollout.name_any());
        let told = |at: Timestamp, view: &View| Told { at, text: view.headline(), tone: view.tone };
        let past: Vec<Told> = status.history.iter().map(|entry| told(entry.ended.0, &View::past(&namespace, &name, entry))).collect();
        let newest = status.decision.iter().map(|record| told(record.at.0, &View::decided(&namespace, &name, record)));
        // Two may be of the same second: the newer one stands before the older.
        if let Some(newest) = newest.into_iter().find(|newest| !self.decisions.contains(newest)) {
            self.decisions.insert(0, newest);
        }
        for told in past {
            // The end of a rollout is a decision too, which says more.
            if !self.decisions.iter().any(|known| known.at == told.at) {
                self.decisions.push(told);
            }
        }
        self.decisions.sort_by_key(|told| std::cmp::Reverse(told.at));
        self.decisions.truncate(KEPT);
    }

    /// Its phase.
    pub(super) fn phase(&self) -> Option<Phase> {
        self.rollout.status.as_ref().and_then(|status| status.phase)
    }

    /// How old the picture is in seconds, where it is not live.
    pub(super) fn stale(&self) -> Option<i64> {
        let seconds = self.now.duration_since(self.heard).as_secs().max(0);
        (self.lost.is_some() || seconds >= LATE).then_some(seconds)
    }

    /// The explanation, as lines for this width.
    pub(super) fn explanation(&self) -> Vec<String> {
        let terminal = Terminal { columns: usize::from(self.size.0), colour: false };
        let text = explain::text(&self.rollout, (None, None), None, &terminal, self.now).unwrap_or_else(|failure| failure.message);
        if text.is_empty() {
            return vec!["nothing was decided yet".to_owned()];
        }
        text.lines().map(str::to_owned).collect()
    }

    /// Lines of a page of the explanation.
    pub(super) fn page(&self) -> usize {
        usize::from(self.size.1).saturating_sub(3).max(1)
    }
}

fn evidence(rollout: &Rollout) -> &[MetricEvidence] {
    rollout.status.as_ref().map(|status| status.evidence.as_slice()).unwrap_or_default()
}

/// Whether it is the difference that is shown of a metric.
fn compares(kind: MeasureKind) -> bool {
    !matches!(kind, MeasureKind::AtMost | MeasureKind::AtLeast)
}

/// Whether a rollout is going on.
pub(super) fn under_way(phase: Option<Phase>) -> bool {
    matches!(phase, Some(Phase::Waiting | Phase::Progressing | Phase::Paused | Phase::Holding | Phase::RollingBack))
}

/// What the line of a metric is drawn from: the difference; of a threshold the value.
fn number(row: &Row) -> Option<f64> {
    row.difference.or(match row.canary {
        Some(Value::Number(value) | Value::Share(value)) => Some(value),
        _ => None,
    })
}
