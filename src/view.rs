//! What people see of a Rollout or of a decision: one value, which a terminal, Markdown, a line of a log and a message show in their own form.
//! Pure.

mod because;
mod cells;
mod columns;
mod line;
mod markdown;
mod message;
mod progress;
mod record;
mod rows;
mod standing;
mod statistics;
mod table;
mod terminal;
mod text;

use serde::Serialize;

use crate::api::{Exposure, MeasureKind};

pub use cells::Cells;
pub use columns::Columns;
pub use markdown::markdown_facts;
pub use message::Message;
pub use progress::{Mark, Rank, StepMark, moving, place_in_fleet, present_and_next, rank, steps, weight};
pub use record::{called, exposed, shared};
pub use rows::label;
pub use standing::{source, tone};
pub use statistics::statistics;
pub use terminal::{Terminal, age, width, wrapped};
pub use text::visible;

/// What people see of a Rollout or of a decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Namespace of the Rollout.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What happened, or where it is: `v2 rolled back at 5 %`.
    pub outcome: String,
    /// Why, in one clause: `because predictions shifted`, `waiting for an approval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What it means, for its colour.
    pub tone: Tone,
    /// Name of the stable version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// Name of the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// The metrics, in the order of the plan.
    pub rows: Vec<Row>,
    /// What must be known to read the rows.
    pub footnotes: Vec<String>,
    /// What else there is to say, each under a label of one word or two. A text of several lines has a clause on each.
    pub facts: Vec<Fact>,
    /// Who was touched by the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed: Option<Exposure>,
    /// Who serves whom now, and what happens without a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// What to do next: commands to paste, or a clause.
    pub next: Vec<String>,
}

/// Something said under a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// The label.
    pub label: String,
    /// What is said.
    pub text: String,
}

impl Fact {
    /// Something said under a label.
    pub fn new(label: &str, text: impl Into<String>) -> Self {
        Self { label: label.to_owned(), text: text.into() }
    }
}

/// What a word means, for its colour. The word itself always says it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worse, refused or over a limit.
    Bad,
    /// It waits for something or somebody.
    Waiting,
    /// None of these.
    #[default]
    Plain,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Name of the metric in the plan.
    pub metric: String,
    /// What it is called in a table: `errors`, `p99`, `drift`, or its name.
    pub label: String,
    /// What is compared; absent in the status of an older version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<MeasureKind>,
    /// Stable's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<Value>,
    /// Canary's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Value>,
    /// The difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// Its 95 % confidence bounds, which hold at all looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// What the difference must not reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// What difference, interval and limit are measured in.
    pub scale: Scale,
    /// Requests counted of both arms; of a threshold absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// What the metric says.
    pub verdict: Word,
    /// It is one of those that decide.
    pub gates: bool,
    /// Number of the footnote that explains the difference; 0: none.
    #[serde(skip)]
    pub mark: usize,
}

/// Requests of both arms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Requests {
    /// Of stable.
    pub stable: i64,
    /// Of the canary.
    pub canary: i64,
}

/// The value of one arm.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// A share of the requests, 0 to 1.
    Share(f64),
    /// The bucket that a quantile is in.
    Bucket {
        /// It is greater than this.
        #[serde(skip_serializing_if = "Option::is_none")]
        above: Option<f64>,
        /// It is at most this.
        #[serde(rename = "upTo", skip_serializing_if = "Option::is_none")]
        up_to: Option<f64>,
        /// Unit of both.
        unit: &'static str,
    },
    /// The share of one class of answers.
    Class {
        /// The class.
        class: String,
        /// Its share.
        share: f64,
    },
    /// The share of scores above a bound.
    Above {
        /// The bound.
        bound: f64,
        /// The share.
        share: f64,
    },
    /// A number without a unit.
    Number(f64),
}

/// What a difference is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Scale {
    /// Shares, shown in percentage points.
    Share,
    /// Total variation distance.
    TotalVariation,
    /// Kolmogorov-Smirnov distance.
    KolmogorovSmirnov,
    /// The value itself, against a limit that it must not exceed.
    AtMost,
    /// The value itself, against a limit that it must not fall below.
    AtLeast,
    /// Unknown: the status of an older version.
    Unknown,
}

/// What a metric says, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Word {
    /// It is not worse by the margin.
    Ok,
    /// The evidence is not in yet.
    Undecided,
    /// It is worse by more than the margin.
    Worse,
    /// The limit that holds was crossed, or a threshold's limit for not long enough.
    OverLimit,
    /// Nothing was counted, or a query gave no value.
    NoData,
    /// Margins are not known yet.
    Calibrating,
    /// At 100 % there is no stable version to compare with: the limit alone is watched.
    Watched,
    /// Nothing can be proved at this traffic, or the step leaves it out.
    NotJudged,
    /// The two arms cannot be compared.
    NotComparable,
}

impl Word {
    /// The word.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Undecided => "undecided",
            Self::Worse => "worse",
            Self::OverLimit => "over limit",
            Self::NoData => "no data",
            Self::Calibrating => "calibrating",
            Self::Watched => "watched",
            Self::NotJudged => "not judged",
            Self::NotComparable => "different",
        }
    }

    /// Its colour.
    pub fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Worse | Self::OverLimit => Tone::Bad,
            Self::NoData | Self::NotComparable => Tone::Waiting,
            Self::Undecided | Self::Calibrating | Self::Watched | Self::NotJudged => Tone::Plain,
        }
    }
}

impl View {
    /// `ml/fraud`.
    pub fn subject(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What happened and why, in one line without the subject: `v2 rolled back at 5 %, because predictions shifted`.
    pub fn headline(&self) -> String {
        let because = self.because.as_ref().map_or_else(String::new, |because| format!(", {because}"));
        format!("{}{because}", self.outcome)
    }

    /// Everything that is said under a label, in the order in which it is read; what comes next is not among it.
    pub fn said(&self) -> Vec<Fact> {
        let mut said = self.facts.clone();
        said.extend(self.exposed.as_ref().map(|exposure| Fact::new("exposed", exposed(exposure))));
        said.extend(self.now.as_ref().map(|now| Fact::new("now", now)));
        said
    }
}

/// Clauses of a message, one a line: what stands behind a semicolon is another thought.
pub fn clauses(message: &str) -> String {
    let clause = |clause: &str| match clause.split_once(": ") {
        Some((head, rest)) if clause.split_whitespace().count() > LONGEST => format!("{head}:\n{rest}"),
        _ => clause.to_owned(),
    };
    apart(&visible(message)).iter().map(|part| clause(part.trim())).collect::<Vec<_>>().join("\n")
}

/// The parts between semicolons that are in no brackets.
fn apart(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0_usize);
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Words of a sentence that is still read at one glance.
pub const LONGEST: usize = 25;

#[cfg(test)]
pub(crate) mod tests;
