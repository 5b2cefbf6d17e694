//! The manual: commands answer as written, generated tables are fresh, and what is explained is what there is.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes the generated tables.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use haldane::{
    api::{Outcome, Reason, RolloutStatus},
    link::{Age, Key},
    metrics::Metrics,
    tell::meaning::{Meaning, meaning},
    template::{ALERTS, Fields},
};
use serde_json::Value;

const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");

#[test]
fn the_commands_in_the_documents_answer_as_written() {
    trycmd::TestCases::new().env("NO_COLOR", "1").case("docs/cli/*.md");
}

#[test]
fn the_generated_tables_are_what_the_code_says() {
    let written = fs::read_to_string(MANUAL).unwrap();
    let tables = [("decisions", decisions()), ("metrics", metrics()), ("fields of an alert", fields())];
    let fresh = tables.iter().fold(written.clone(), |text, (name, table)| with_table(&text, name, table));
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(MANUAL, &fresh).unwrap();
    } else {
        assert!(written == fresh, "a table of docs/operations.md is stale: UPDATE_DOCS=1 cargo test --test docs writes it");
    }
}

#[test]
fn every_alert_may_have_a_template_and_there_is_no_other() {
    let reasons = || [None].into_iter().chain(Reason::ALL.iter().copied().map(Some));
    let alerts = outcomes().into_iter().flat_map(|outcome| reasons().filter_map(move |reason| meaning(outcome, reason).alert));
    let exist: BTreeSet<&str> = alerts.map(|alert| alert.name).collect();
    assert_eq!(ALERTS.into_iter().collect::<BTreeSet<_>>(), exist);
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

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for page in documents() {
        let from = page.parent().unwrap();
        for link in links(&fs::read_to_string(&page).unwrap()) {
            let (file, heading) = link.split_once('#').map_or((link.as_str(), None), |(file, heading)| (file, Some(heading)));
            let to = if file.is_empty() { page.clone() } else { from.join(file) };
            let whence = page.strip_prefix(root).unwrap().display();
            assert!(to.exists(), "{whence}: there is no {link}");
            if let Some(heading) = heading {
                let there = anchors(&fs::read_to_string(&to).unwrap());
                assert!(there.contains(heading), "{whence}: no heading for {link}; there are {there:?}");
            }
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} links");
}

#[test]
fn every_document_is_a_page_of_the_site() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let pages: BTreeSet<PathBuf> = links(&summary).into_iter().map(|link| docs.join(link)).collect();
    let mut exist = documents();
    exist.retain(|page| page.starts_with(&docs) && page.file_name().is_some_and(|name| name != "SUMMARY.md"));
    assert_eq!(pages, exist.into_iter().collect());
}

/// README, CHANGELOG, and everything below docs.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md"), root.join("CHANGELOG.md"), root.join("tests/stack/README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() && entry.file_name().is_some_and(|name| name != "book") {
                folders.push(entry);
            } else if entry.extension().is_some_and(|kind| kind == "md") {
                found.push(entry);
            }
        }
    }
    found
}

/// Targets of the links in a document that lead into this repository.
fn links(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

/// The anchors of a document's headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let mut found = BTreeSet::new();
    for heading in prose.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))) {
        let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        let slug = kept.replace(' ', "-");
        let again = (1..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.clone()).chain(again).find(|name| !found.contains(name)).unwrap();
        found.insert(free);
    }
    found
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

/// What a template may name, from the schema.
fn fields() -> String {
    fn rows(whole: &Value, object: &Value, before: &str, table: &mut String) {
        for (name, field) in object["properties"].as_object().unwrap() {
            *table += &format!("| `{before}{name}` | {} |\n", field["description"].as_str().unwrap().replace('\n', " "));
            for (link, between) in [(&field["$ref"], "."), (&field["items"]["$ref"], "[].")] {
                if let Some(path) = link.as_str() {
                    rows(whole, whole.pointer(path.trim_start_matches('#')).unwrap(), &format!("{before}{name}{between}"), table);
                }
            }
        }
    }
    let schema = serde_json::to_value(schemars::schema_for!(Fields)).unwrap();
    let mut table = "| field | |\n|---|---|\n".to_owned();
    rows(&schema, &schema, "", &mut table);
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
    metrics.spans("sent", 1);
    metrics.queried("default", [Duration::ZERO; 2], Some("Timeout"));
    metrics.sourced("default", Some("Timeout"));
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
