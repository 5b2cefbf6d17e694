//! Where words and data go.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Exit, Failure};
use crate::api::names::GROUP;
use crate::view::Terminal;
pub(crate) use crate::view::Tone;

/// Version of the JSON that the command line prints.
const API_VERSION: &str = "cli.haldane.dev/v1";

/// Format of the data on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    // Text with every column, however wide.
    Wide,
    Json,
    // One line for each object.
    Jsonl,
    Yaml,
    // Only the names of Rollouts.
    Name,
}

/// Where words and data go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
    terminal: Terminal,
}

/// Columns where nothing says how many there are.
const COLUMNS: usize = 80;
/// Columns where all shall be shown.
const WIDE: usize = 1000;

impl Output {
    /// `columns`: what the environment says of the width, where stdout is no terminal that says it itself.
    pub(crate) fn new(format: Format, no_colour: bool, columns: Option<usize>) -> Self {
        let stdout = io::stdout();
        let size = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
        let (format, columns) = match format {
            Format::Wide => (Format::Text, WIDE),
            format => (format, size.or(columns).unwrap_or(COLUMNS)),
        };
        Self { format, terminal: Terminal { columns, colour: !no_colour && stdout.is_terminal() } }
    }

    /// The same in another format.
    pub(crate) fn with(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// What stdout can show.
    pub(crate) fn terminal(&self) -> Terminal {
        self.terminal
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The word in the colour of its tone.
    pub(crate) fn paint(&self, tone: Tone, word: &str) -> String {
        self.terminal.paint(tone, word)
    }

    /// Data: the text for people, or the value under its kind for programs.
    pub(crate) fn data(&self, kind: &str, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let text = match self.format {
            Format::Text | Format::Wide => text(),
            Format::Name => names(kind, value)?,
            Format::Jsonl => lines(kind, value)?,
            Format::Json => serde_json::to_string_pretty(&envelope(kind, value)?).map_err(unsayable)? + "\n",
            Format::Yaml => serde_yaml::to_string(&envelope(kind, value)?).map_err(unsayable)?,
        };
        self.raw(&text)
    }

    /// One line of many: the text for people, or the value under its kind for programs. False: nobody reads any more.
    pub(crate) fn line(&self, kind: &str, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<bool, Failure> {
        self.told(&match self.format {
            Format::Text => text() + "\n",
            _ => envelope(kind, value)?.to_string() + "\n",
        })
    }

    /// Text as it is.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Failure> {
        self.told(text).map(|_| ())
    }

    /// False: the reader has seen enough (`| head`).
    fn told(&self, text: &str) -> Result<bool, Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::new(Exit::Error, format!("cannot write to stdout: {error}"), "")),
            Ok(()) => Ok(true),
        }
    }

    /// A hint or a sign of progress, on stderr.
    pub(crate) fn hint(&self, text: &str) {
        // Whoever closed stderr does not want it.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Why it failed, and what would fix it, on stderr.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.hint(&format!("error: {}", failure.message));
        if !failure.fix.is_empty() {
            self.hint(&format!("  hint: {}", failure.fix));
        }
    }
}

fn envelope(kind: &str, value: &impl Serialize) -> Result<Value, Failure> {
    let mut head = json!({ "apiVersion": API_VERSION, "kind": kind });
    if let (Value::Object(head), Value::Object(fields)) = (&mut head, serde_json::to_value(value).map_err(unsayable)?) {
        head.extend(fields);
    }
    Ok(head)
}

/// `rollout.haldane.dev/fraud`, as kubectl writes it.
fn names(kind: &str, value: &impl Serialize) -> Result<String, Failure> {
    if !["RolloutList", "RolloutStatus"].contains(&kind) {
        let fix = "leave -o name out, or use it with list or status";
        return Err(Failure::new(Exit::Usage, "-o name is for commands that print Rollouts", fix));
    }
    let value = serde_json::to_value(value).map_err(unsayable)?;
    let items = value.get("items").and_then(Value::as_array).map_or(vec![&value], |items| items.iter().collect());
    Ok(items
        .into_iter()
        .filter_map(|item| item.get("name").and_then(Value::as_str))
        .map(|name| format!("rollout.{GROUP}/{name}\n"))
        .collect())
}

/// Each item of a list in a line of its own, under the kind without `List`; anything else in one line.
fn lines(kind: &str, value: &impl Serialize) -> Result<String, Failure> {
    let value = serde_json::to_value(value).map_err(unsayable)?;
    let line = |kind: &str, value: &Value| Ok(envelope(kind, value)?.to_string() + "\n");
    match (kind.strip_suffix("List"), value.get("items").and_then(Value::as_array)) {
        (Some(kind), Some(items)) => items.iter().map(|item| line(kind, item)).collect(),
        _ => line(kind, &value),
    }
}

fn unsayable(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Error, format!("cannot write the answer: {error}"), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_line_for_each_item_and_names_as_kubectl_writes_them() {
        let list = json!({"items": [{"name": "a", "phase": "Idle"}, {"name": "b"}]});
        let text = lines("RolloutList", &list).unwrap();
        let wanted = r#"{"apiVersion":"cli.haldane.dev/v1","kind":"Rollout","name":"a","phase":"Idle"}"#;
        assert_eq!((text.lines().count(), text.lines().next()), (2, Some(wanted)));
        assert_eq!(lines("Version", &json!({"version": "1"})).unwrap().lines().count(), 1);
        assert_eq!(names("RolloutList", &list).unwrap(), "rollout.haldane.dev/a\nrollout.haldane.dev/b\n");
        assert_eq!(names("RolloutStatus", &json!({"name": "a"})).unwrap(), "rollout.haldane.dev/a\n");
        assert_eq!(names("LintReport", &list).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn wide_is_text_with_room_for_all() {
        let output = Output::new(Format::Wide, true, Some(80));
        assert_eq!((output.format(), output.terminal().columns), (Format::Text, WIDE));
    }
}
