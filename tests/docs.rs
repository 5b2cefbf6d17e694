//! The manual: commands answer as written, generated tables are fresh, and what is explained is what there is.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes the generated tables.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{collections::BTreeSet, env, fs, time::Duration};

use haldane::{
    api::{Outcome, Reason, RolloutStatus},
    link::{Age, Key},
    metrics::Metrics,
    tell::meaning::{Meaning, meaning},
};

const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");

#[test]
fn the_commands_in_the_documents_answer_as_written() {
    trycmd::TestCases::new().env("NO_COLOR", "1").case("docs/cli/*.md");
}

#[test]
fn the_generated_tables_are_what_the_code_says() {
    let written = fs::read_to_string(MANUAL).unwrap();
    let fresh = with_table(&with_table(&written, "decisions", &decisions()), "metrics", &metrics());
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(MANUAL, &fresh).unwrap();
    } else {
        assert!(written == fresh, "a table of docs/operations.md is stale: UPDATE_DOCS=1 cargo test --test docs writes it");
    }
}

#[test]
fn every_reason_is_explained_and_every_explained_reason_exists() {
    let exist: BTreeSet<String> = Reason::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(explained("Reasons"), exist);
}

#[test]
fn every_condition_is_explained_and_every_explained_condition_exists() {
    let names = include_str!("../src/api/names.rs").split("pub mod condition {").nth(1).unwrap();
    let values = names.lines().filter(|line| line.trim().starts_with("pub const "));
    let exist: BTreeSet<String> = values.map(|line| line.split('"').nth(1).unwrap().to_owned()).collect();
    assert_eq!(explained("Conditions"), exist);
}

/// The names in the first column of a section's tables.
fn explained(section: &str) -> BTreeSet<String> {
    let manual = fs::read_to_string(MANUAL).unwrap();
    let body = manual.split(&format!("\n## {section}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let cells = body.lines().filter_map(|line| line.strip_prefix("| `")?.split("` |").next());
    cells.flat_map(|cell| cell.split("`, `")).map(str::to_owned).collect()
}

/// The text with this table between its marks.
fn with_table(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- generated: {name} -->\n\n"), "\n<!-- end -->");
    let (before, rest) = text.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    format!("{before}{begin}{table}{end}{after}")
}

/// What each decision means to people.
fn decisions() -> String {
    let mut table = "| decision | reason | title | event | alert |\n|---|---|---|---|---|\n".to_owned();
    for outcome in outcomes() {
        let usual = meaning(outcome, None);
        let mut special: Vec<(Meaning, Vec<String>)> = Vec::new();
        for reason in Reason::ALL {
            let found = meaning(outcome, Some(*reason));
            match special.iter_mut().find(|known| known.0 == found) {
                _ if found == usual => {}
                Some(known) => known.1.push(format!("`{reason}`")),
                None => special.push((found, vec![format!("`{reason}`")])),
            }
        }
        let rest = if special.is_empty() { "" } else { "any other" };
        for (meaning, reasons) in special.iter().map(|(meaning, reasons)| (meaning, reasons.join(", "))).chain([(&usual, rest.to_owned())])
        {
            let event = meaning.event.map_or("the reason".to_owned(), |event| format!("`{event}`"));
            let alert = meaning.alert.map_or(String::new(), |alert| format!("`{}`, {}", alert.name, alert.severity.word()));
            table += &format!("| {outcome:?} | {reasons} | {} | {event} | {alert} |\n", meaning.headline);
        }
    }
    table
}

/// All kinds of decisions, from the schema.
fn outcomes() -> Vec<Outcome> {
    let schema = serde_json::to_value(schemars::schema_for!(Outcome)).unwrap();
    let kinds = schema["oneOf"].as_array().unwrap();
    kinds.iter().map(|kind| serde_json::from_value(kind["const"].clone()).unwrap()).collect()
}

/// Name, type and help of each metric, as `/metrics` says them.
fn metrics() -> String {
    let metrics = Metrics::new();
    metrics.rollout("ml", "fraud", &RolloutStatus::default());
    metrics.ended(Outcome::RolledBack, &Reason::AnalysisFailed.into(), 1);
    metrics.watches(&[Age { key: Key { resource: "pods".into(), namespace: "ml".into() }, age: Duration::ZERO }]);
    metrics.notified("oncall", true);
    metrics.event(true);
    metrics.queried("default", [Duration::ZERO; 2], Some("Timeout"));
    metrics.reconciled(Duration::ZERO, true);
    let text = metrics.encode();
    let told = |kind: &str| -> Vec<(String, String)> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(kind)?.split_once(' '));
        lines.map(|(name, said)| (name.to_owned(), said.trim_end_matches('.').to_owned())).collect()
    };
    let (helps, types) = (told("# HELP "), told("# TYPE "));
    let sources = concat!(include_str!("../src/metrics.rs"), include_str!("../src/metrics/rollouts.rs"));
    let registered = sources.matches("registry.register(").count() + sources.matches(" family(\"").count();
    assert_eq!((helps.len(), types.len()), (registered, registered), "a metric that is not listed here is not documented");
    let mut table = "| metric | type | |\n|---|---|---|\n".to_owned();
    for ((name, help), (_, kind)) in helps.iter().zip(&types) {
        table += &format!("| `{name}` | {kind} | {help} |\n");
    }
    table
}
