//! The text of a decision: what, where, why with numbers, impact, what was done, what next, by whom. The same words in event, alert,
//! log line and `explain`.

use crate::api::{Actor, DecisionRecord, Exposure, MetricEvidence, Outcome, Reason, Verdict, Version};
use crate::words::{NOTHING_WRITTEN, cut, time, whole};

use super::meaning::{Severity, of};

/// Longest note of a Kubernetes event: the API allows 1,024 bytes.
const NOTE_MAX: usize = 1_000;
/// Longest text of an alert, in bytes.
const TEXT_MAX: usize = 3_000;
/// Longest single line, in bytes.
const LINE_MAX: usize = 600;
/// Longest title, in bytes.
const TITLE_MAX: usize = 200;

/// The text of one decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// `Rolled back: ml/fraud v3 (7d9c4b6f5) at 5 %`.
    pub title: String,
    /// Label and line, in the order in which they are shown: What, Why, Effect, Also, Impact, Action, Next, By. Those without content are absent.
    pub lines: Vec<(&'static str, String)>,
    severity: Severity,
}

impl Text {
    /// The text of a decision about the Rollout `namespace/name`.
    pub fn of(namespace: &str, name: &str, record: &DecisionRecord) -> Self {
        let meaning = of(record);
        let mut title = format!("{}: {namespace}/{name}", meaning.headline);
        if let Some(canary) = &record.canary {
            title.push_str(&format!(" {}", version(canary)));
        }
        match record.outcome {
            Outcome::Promoted => title.push_str(" serves 100 %"),
            // Outside of a rollout there is no share to speak of.
            _ if record.weight == 0 && record.step.is_none() => {}
            _ => title.push_str(&match &record.traffic {
                Some(traffic) => format!(" with {traffic}"),
                None => format!(" at {} %", record.weight),
            }),
        }
        let mut lines = Vec::new();
        let (deciding, others) = split(record);
        let mut line = |label, text: String| {
            if !text.is_empty() {
                lines.push((label, one_line(&text, LINE_MAX)));
            }
        };
        // The record's sentence may already quote the metric that decided.
        match deciding {
            Some(metric) if record.message.contains(&metric.message) => line("Why", record.message.clone()),
            Some(metric) => {
                line("What", record.message.clone());
                line("Why", metric_line(metric));
            }
            None => line("Why", record.message.clone()),
        }
        line("Effect", deciding.map(effect).unwrap_or_default());
        line("Also", others.iter().map(|m| metric_line(m)).collect::<Vec<_>>().join(" · "));
        line("Impact", record.exposure.as_ref().map(impact).unwrap_or_default());
        line("Action", action(record));
        line("Next", record.next.clone());
        line("By", record.by.as_ref().map(by).unwrap_or_default());
        Self { title: one_line(&title, TITLE_MAX), lines, severity: meaning.alert.map_or(Severity::Info, |alert| alert.severity) }
    }

    /// Several lines, for alerts and terminals: the title, then `Why      …`.
    pub fn plain(&self) -> String {
        cut(&self.layout(&self.title, |text| text.to_owned()), TEXT_MAX)
    }

    /// All but the title, for places that show the title by themselves.
    pub fn body(&self) -> String {
        let lines: Vec<String> = self.lines.iter().map(|(label, text)| format!("{label:<8} {text}")).collect();
        cut(&lines.join("\n"), TEXT_MAX)
    }

    /// For Slack and what imitates it: escaped, and nobody is called by it.
    pub fn slack(&self) -> String {
        let symbol = match self.severity {
            Severity::Critical => ":rotating_light:",
            Severity::Warning => ":warning:",
            Severity::Info => ":information_source:",
        };
        // Cut first: an escape that is cut in the middle would show as rubbish.
        let title = format!("{symbol} {}", slack_escaped(&self.title));
        let mut text = self.layout(&title, slack_escaped);
        let mut lines = self.lines.len();
        while text.len() > TEXT_MAX && lines > 1 {
            lines -= 1;
            let kept = Self { lines: self.lines.iter().take(lines).cloned().collect(), ..self.clone() };
            text = kept.layout(&title, slack_escaped);
        }
        text
    }

    /// One line of at most 1,000 bytes, for the note of an event and the log: what, why, impact, action, next, by, in this order.
    pub fn note(&self) -> String {
        let mut note = self.title.clone();
        for (label, text) in &self.lines {
            note.push_str(match *label {
                "Why" | "What" => ". ",
                "Effect" => "; ",
                "Also" => "; also ",
                "Impact" => ". Impact: ",
                "Action" => ". Done: ",
                "Next" => ". Next: ",
                _ => ". By: ",
            });
            note.push_str(text.trim_end_matches('.'));
        }
        cut(&note, NOTE_MAX)
    }

    fn layout(&self, title: &str, mut shown: impl FnMut(&str) -> String) -> String {
        let mut text = title.to_owned();
        for (label, line) in &self.lines {
            text.push_str(&format!("\n{label:<8} {}", shown(line)));
        }
        text
    }
}

/// The metric that decided, if metrics did, and the others.
fn split(record: &DecisionRecord) -> (Option<&MetricEvidence>, Vec<&MetricEvidence>) {
    let judged = matches!(record.reason.known(), Some(Reason::AnalysisFailed | Reason::HoldLimit));
    // What decides nothing has no place in an alert.
    let mut metrics = record.why.iter().filter(|metric| !metric.advisory);
    let deciding = if judged { metrics.next() } else { None };
    (deciding, metrics.collect())
}

fn metric_line(metric: &MetricEvidence) -> String {
    let verdict = match metric.verdict {
        Verdict::Pass => " (ok)",
        Verdict::Inconclusive => "",
        Verdict::Fail => " (worse)",
    };
    if metric.message.starts_with(&metric.metric) {
        format!("{}{verdict}", metric.message)
    } else {
        format!("{}: {}{verdict}", metric.metric, metric.message)
    }
}

/// The difference that decided, with its interval.
fn effect(metric: &MetricEvidence) -> String {
    metric.effect.as_ref().map_or_else(String::new, |effect| effect.text.clone())
}

fn impact(exposure: &Exposure) -> String {
    let all = exposure.canary_requests.saturating_add(exposure.stable_requests);
    let share = if all > 0 {
        format!(" ({:.1} % of the traffic in that time)", exposure.canary_requests as f64 * 100.0 / all as f64)
    } else {
        String::new()
    };
    let errors = exposure.canary_errors.map(|n| format!(", {} of them failed", whole(n))).unwrap_or_default();
    let copies = exposure.mirrored_requests.filter(|copies| *copies > 0);
    let copies = copies.map(|copies| format!("{} copies of requests reached the canary (mirrored, no user saw it)", whole(copies)));
    if let (Some(copies), 0) = (&copies, exposure.canary_requests) {
        return format!("{copies} in {}", time(exposure.seconds as f64));
    }
    let requests = if exposure.canary_requests == 1 { "request" } else { "requests" };
    let copies = copies.map(|copies| format!("; and {copies}")).unwrap_or_default();
    format!("{} {requests} reached the canary in {}{share}{errors}{copies}", whole(exposure.canary_requests), time(exposure.seconds as f64))
}

fn action(record: &DecisionRecord) -> String {
    let stable = record.stable.as_ref().map_or_else(|| "stable".into(), version);
    let canary = record.canary.as_ref().map_or_else(|| "the canary".into(), version);
    match (record.outcome, record.reason.known()) {
        (_, Some(Reason::Drifted)) => "nothing is written while no rollout runs".into(),
        (Outcome::RolledBack | Outcome::Aborted | Outcome::Failed, _) if record.message.ends_with(NOTHING_WRITTEN) => {
            format!("the decision is recorded, no weight was set; {canary} will not be retried automatically")
        }
        (Outcome::RolledBack | Outcome::Aborted, _) => format!("100 % to {stable}; {canary} will not be retried automatically"),
        (Outcome::Failed, _) => format!("{stable} serves everybody, as before; {canary} will not be retried automatically"),
        (Outcome::Passed, _) => format!("{stable} serves everybody, as before"),
        (Outcome::Promoted, _) => format!("{canary} is the new stable"),
        (Outcome::Held, Some(Reason::StableUnavailable)) => "no traffic was moved; it moves as soon as a stable endpoint is ready".into(),
        (Outcome::Held, Some(Reason::RouteRefused)) => "the decision is recorded and the change will be retried".into(),
        (Outcome::Held | Outcome::Paused, _) => match &record.traffic {
            Some(traffic) => format!("the canary keeps its {traffic}"),
            None => format!("the canary stays at {} %", record.weight),
        },
        _ => String::new(),
    }
}

fn by(actor: &Actor) -> String {
    let manager = actor.manager.as_ref().map(|m| format!(" (written by {m})")).unwrap_or_default();
    let reason = actor.reason.as_ref().filter(|r| !r.is_empty()).map(|r| format!(": {r}")).unwrap_or_default();
    format!("{}{manager}{reason}", actor.name)
}

fn version(version: &Version) -> String {
    if version.revision.is_empty() { version.name.clone() } else { format!("{} ({})", version.name, version.revision) }
}

/// Nothing that a user wrote can begin a line of its own or hide behind control characters.
fn one_line(text: &str, max: usize) -> String {
    let hidden =
        |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let visible: String = text.chars().map(|c| if hidden(c) { ' ' } else { c }).collect();
    cut(&visible.split_whitespace().collect::<Vec<_>>().join(" "), max)
}

/// Slack's three escapes, which take away links and `<!channel>`; and an `@` that begins a word is parted from it, because programs that
/// imitate Slack call people by the bare word.
fn slack_escaped(text: &str) -> String {
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
