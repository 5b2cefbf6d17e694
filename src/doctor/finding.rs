//! One finding, and what reading gave.

use serde::Serialize;

/// The most words of a fact.
const WORDS: usize = 25;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, perhaps not as meant; or it could not be checked from here.
    Warn,
    /// It does not work.
    Fail,
}

impl Level {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was checked; one word that does not change.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found, in one sentence.
    pub fact: String,
    /// The command or the YAML that fixes it; empty where there is nothing to fix.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, fact: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, fact: fact.into(), fix: String::new() }
    }

    /// It works, perhaps not as meant.
    pub fn warn(check: &'static str, fact: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, level: Level::Warn, fact: fact.into(), fix: fix.into() }
    }

    /// It does not work.
    pub fn fail(check: &'static str, fact: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, level: Level::Fail, fact: fact.into(), fix: fix.into() }
    }

    /// A message of the controller: as much of it as fits is the fact, and the rest says how to fix it.
    pub fn saying(check: &'static str, level: Level, message: &str) -> Self {
        let (fact, fix) = parted(message);
        Self { check, level, fact, fix }
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// A message cut between two clauses, as late as the first part is a fact's length; a part without such a place is cut between two words.
fn parted(message: &str) -> (String, String) {
    if words(message) <= WORDS {
        // A short message with its fix behind a colon or a semicolon is still a fact and a fix.
        let cut = message.rfind("; ").map(|at| (at, at + 2));
        return match cut {
            Some((end, begin)) => (part(message, ..end), part(message, begin..)),
            None => (message.to_owned(), String::new()),
        };
    }
    let places = ["; ", ": ", ", so that ", ", and "].iter().flat_map(|mark| message.match_indices(mark));
    let fitting = places.filter(|(at, _)| message.get(..*at).is_some_and(|before| words(before) <= WORDS));
    match fitting.max_by_key(|(at, _)| *at) {
        Some((at, mark)) => {
            let begin = at + if mark.starts_with(", ") { 2 } else { mark.len() };
            (part(message, ..at), part(message, begin..))
        }
        None => {
            let fact: Vec<&str> = message.split_whitespace().take(WORDS - 1).collect();
            (format!("{} ...", fact.join(" ")), message.to_owned())
        }
    }
}

fn part(text: &str, range: impl std::slice::SliceIndex<str, Output = str>) -> String {
    text.get(range).unwrap_or_default().to_owned()
}

/// What reading gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// This.
    Found(T),
    /// There is none.
    Absent,
    /// Whoever asks may not read it.
    Forbidden,
    /// There was no answer that can be used: why.
    Failed(String),
}

impl<T> Read<T> {
    /// What was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            _ => None,
        }
    }

    /// The same with another value.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Read<U> {
        match self {
            Self::Found(found) => Read::Found(with(found)),
            Self::Absent => Read::Absent,
            Self::Forbidden => Read::Forbidden,
            Self::Failed(why) => Read::Failed(why),
        }
    }

    /// Why it is not known whether it is there; nothing if that is known.
    pub(super) fn unknown(&self, check: &'static str, what: &str, ask: &str) -> Option<Finding> {
        match self {
            Self::Found(_) | Self::Absent => None,
            Self::Forbidden => Some(Finding::warn(
                check,
                format!("not checked: you may not read {what}"),
                format!("`{ask}` tells; ask for a Role with get and list"),
            )),
            Self::Failed(why) => Some(Finding::saying(check, Level::Fail, &format!("{what} could not be read: {why}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_a_fact_of_at_most_25_words_and_its_fix() {
        let told = |message: &str| {
            let found = Finding::saying("route", Level::Fail, message);
            assert!(words(&found.fact) <= WORDS, "{}", found.fact);
            (found.fact, found.fix)
        };
        let short = "v2 has no pods: deploy the version, it starts automatically";
        assert_eq!(told(short), (short.to_owned(), String::new()));
        let (fact, fix) = told("VirtualService fraud does not fit; set spec.traffic.route");
        assert_eq!((fact.as_str(), fix.as_str()), ("VirtualService fraud does not fit", "set spec.traffic.route"));
        let (fact, fix) = told(
            "stable (destination_workload=\"fraud-v1\") is counted in TCP connections alone: nothing on the way reads its requests, so that \
             weights, matches and mirrors have no effect: it takes sidecars, a gateway or a waypoint, and a port whose name says http",
        );
        assert!(fact.ends_with("mirrors have no effect") && fix.starts_with("it takes sidecars"), "{fact} | {fix}");
        let (fact, fix) = told(&"word ".repeat(40));
        assert!(fact.ends_with(" ...") && words(&fix) == 40);
    }
}
