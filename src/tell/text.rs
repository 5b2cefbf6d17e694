//! The text of a decision: what and where, the numbers in columns, why, who was exposed, what was done, what next, by whom. The same words
//! in event, alert, log line and `explain`.

mod fields;

use jiff::Timestamp;

use crate::api::{DecisionRecord, MetricEvidence, Outcome};
use crate::template;
use crate::view::{Fact, Message, View, called, clauses, shared, visible};
use crate::words::{cut, time};

use super::meaning::{Severity, meaning, of};

/// Longest note of a Kubernetes event: the API allows 1,024 bytes.
pub(super) const NOTE_MAX: usize = 1_000;
/// Longest text of an alert, in bytes.
const TEXT_MAX: usize = 3_000;
/// So many Rollouts are named in a message about many.
const NAMED: usize = 5;
/// Longest single line, in bytes.
const LINE_MAX: usize = 600;
/// Longest title, in bytes.
const TITLE_MAX: usize = template::TITLE_MAX;

/// The text of one decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// Title, table, fields and what comes next, for a receiver to lay out. The title is `Rolled back: ml/fraud v3 (7d9c4b6f5) at 5 %, because
    /// predictions shifted`.
    pub message: Message,
    view: View,
    severity: Severity,
}

impl Text {
    /// The text of a decision about the Rollout `namespace/name`.
    pub fn of(namespace: &str, name: &str, record: &DecisionRecord) -> Self {
        let meaning = of(record);
        // What decides nothing has no place in an alert.
        let gating: Vec<&MetricEvidence> = record.why.iter().filter(|metric| !metric.advisory).collect();
        let mut view = View::decided(namespace, name, record).with_metrics(&gating);
        view.facts.iter_mut().for_each(|fact| fact.text = bounded(&fact.text));
        view.next.iter_mut().for_each(|next| *next = bounded(next));
        // A headline of its own says why already.
        let because = view.because.as_ref().filter(|_| Some(meaning.headline) == headline(record.outcome));
        let because = because.map_or_else(String::new, |because| format!(", {because}"));
        let title = format!("{}: {}{because}", meaning.headline, about(namespace, name, record));
        let message = Message::new(cut(&visible(&title), TITLE_MAX), &view);
        Self { message, view, severity: meaning.alert.map_or(Severity::Info, |alert| alert.severity) }
    }

    /// The text of one decision that was made for many Rollouts at about the same time.
    pub fn together(rollouts: &[(&str, &str)], record: &DecisionRecord) -> Self {
        let meaning = of(record);
        let named: Vec<String> = rollouts.iter().take(NAMED).map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        let more = rollouts.len().saturating_sub(named.len());
        let more = if more == 0 { String::new() } else { format!("\nand {more} more") };
        let mut view = View { next: vec!["haldane list -A".to_owned()], ..View::default() };
        let first = rollouts.first().map_or_else(String::new, |(namespace, name)| format!("{namespace}/{name}: "));
        view.facts.push(Fact::new("rollouts", format!("{}{more}", named.join("\n"))));
        if !record.message.is_empty() {
            view.facts.push(Fact::new("first", bounded(&format!("{first}{}", clauses(&record.message)))));
        }
        let title = format!("{}: {} Rollouts, {}", meaning.headline, rollouts.len(), record.reason);
        let message = Message::new(cut(&visible(&title), TITLE_MAX), &view);
        Self { message, view, severity: meaning.alert.map_or(Severity::Info, |alert| alert.severity) }
    }

    /// The text of an alert whose state is over.
    #[must_use]
    pub fn ended(mut self, began: Timestamp, ended: Timestamp) -> Self {
        let lasted = time(ended.duration_since(began).as_secs_f64().max(0.0));
        self.message = Message { table: String::new(), cells: Vec::new(), fields: Vec::new(), next: Vec::new(), ..self.message };
        self.message.title = cut(&format!("Over after {lasted}: {}", self.message.title), TITLE_MAX);
        self.severity = Severity::Info;
        self
    }

    /// What happened, in one line.
    pub fn title(&self) -> &str {
        &self.message.title
    }

    /// Several lines, for alerts and terminals: the title, the table, then `why   …`.
    pub fn plain(&self) -> String {
        cut(&format!("{}\n\n{}", self.title(), self.message.body()), TEXT_MAX).trim_end().to_owned()
    }

    /// All but the title, for places that show the title by themselves.
    pub fn body(&self) -> String {
        cut(&self.message.body(), TEXT_MAX)
    }

    /// For Slack and what imitates it: escaped, and nobody is called by it.
    pub fn slack(&self) -> String {
        self.slack_under(self.title())
    }

    /// The same under another title.
    pub(super) fn slack_under(&self, title: &str) -> String {
        let mut text = format!("{} {}", symbol(self.severity), slack_escaped(title));
        if !self.message.table.is_empty() {
            // A class may be called anything: three backticks would end the block.
            text += &format!("\n```\n{}\n```", slack_escaped(&self.message.table.trim_end().replace('`', "'")));
        }
        let next = (!self.message.next.is_empty()).then(|| Fact::new("next", self.message.next.join("\n")));
        for Fact { label, text: said } in self.message.fields.iter().chain(&next) {
            let line = format!("\n*{label}*  {}", slack_escaped(said).replace('\n', "\n        "));
            // An escape that is cut in the middle would show as rubbish: what does not fit is left out.
            if text.len() + line.len() <= TEXT_MAX {
                text += &line;
            }
        }
        text
    }

    /// One line of at most 1,000 bytes, for the note of an event and the log.
    pub fn note(&self) -> String {
        self.view.line(self.title(), NOTE_MAX)
    }
}

/// A severity as a sign.
pub(super) fn symbol(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => ":rotating_light:",
        Severity::Warning => ":warning:",
        Severity::Info => ":information_source:",
    }
}

/// Lines that are not too long.
fn bounded(text: &str) -> String {
    text.lines().map(|line| cut(line, LINE_MAX)).collect::<Vec<_>>().join("\n")
}

/// How the title of such a decision begins where no reason has one of its own.
fn headline(outcome: Outcome) -> Option<&'static str> {
    (outcome != Outcome::Promoted).then(|| meaning(outcome, None).headline)
}

/// `ml/fraud v3 (7d9c4b6f5) at 5 %`.
fn about(namespace: &str, name: &str, record: &DecisionRecord) -> String {
    let mut text = format!("{namespace}/{name}");
    if let Some(canary) = &record.canary {
        text += &format!(" {}", called(canary));
    }
    match record.outcome {
        Outcome::Promoted => text += " serves 100 %",
        // Outside of a rollout there is no share to speak of.
        _ if record.weight == 0 && record.step.is_none() => {}
        _ => text += &format!(" {}", shared(record.traffic.as_deref(), record.weight)),
    }
    text
}

/// Slack's three escapes, which take away links and `<!channel>`; and an `@` that begins a word is parted from it, because programs that
/// imitate Slack call people by the bare word.
pub(super) fn slack_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '@' if !before.is_alphanumeric() => escaped.push_str("@\u{200b}"),
            c => escaped.push(c),
        }
        before = c;
    }
    escaped
}

#[cfg(test)]
pub(crate) mod tests;
