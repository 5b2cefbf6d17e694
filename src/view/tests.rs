//! Every screen as a whole, at 80 and 120 columns; and what holds for all of them.

pub(crate) mod cases;

use super::*;
use cases::{Case, cases, now};

fn terminal(columns: usize) -> Terminal {
    Terminal { columns, colour: false }
}

fn standing(case: &Case) -> View {
    View::standing(&case.rollout, now())
}

#[test]
fn every_screen_reads_well_at_80_and_120_columns() {
    for case in cases() {
        for columns in [80, 120] {
            insta::assert_snapshot!(format!("{}_{columns}", case.name), terminal(columns).screen(&standing(&case)));
        }
    }
}

#[test]
fn no_line_is_longer_than_the_terminal_and_no_cell_is_wrapped() {
    for case in cases() {
        for columns in 80..160 {
            let view = standing(&case);
            let (screen, table) = (terminal(columns).screen(&view), terminal(columns).table(&view));
            for line in screen.lines().filter(|line| !line.contains('`') && !line.contains("haldane ")) {
                assert!(width(line) <= columns, "{} at {columns}: {line}", case.name);
            }
            if !view.rows.is_empty() {
                let rows = table.lines().skip(1).take(view.rows.len());
                assert!(rows.zip(&view.rows).all(|(line, row)| line.starts_with(&row.label)), "{} at {columns}:\n{table}", case.name);
            }
        }
    }
}

#[test]
fn no_sentence_has_more_than_25_words() {
    let mut faults = Vec::new();
    for case in cases() {
        faults.extend(long_sentences(&standing(&case)));
        let metrics = case.rollout.status.iter().flat_map(|status| &status.evidence);
        faults.extend(metrics.flat_map(|metric| long(&statistics(metric).text)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The sentences of a view that nobody reads at one glance.
pub(crate) fn long_sentences(view: &View) -> Vec<String> {
    let said = view.said().into_iter().map(|fact| fact.text);
    let texts = [view.headline()].into_iter().chain(said).chain(view.footnotes.clone()).chain(view.next.clone());
    texts.flat_map(|text| long(&text)).collect()
}

pub(crate) fn long(text: &str) -> Vec<String> {
    let sentences = text.lines().flat_map(|line| line.split(". ")).flat_map(|part| part.split("; "));
    sentences.filter(|sentence| sentence.split_whitespace().count() > LONGEST).map(str::to_owned).collect()
}

#[test]
fn every_screen_names_the_object_and_what_to_do_next() {
    for case in cases() {
        let screen = terminal(80).screen(&standing(&case));
        assert!(screen.starts_with("ml/fraud   "), "{}", case.name);
        assert!(screen.contains("haldane ") || screen.contains("\nnext "), "{}: {screen}", case.name);
    }
}

#[test]
fn a_rollback_is_markdown_a_message_and_a_line() {
    let case = cases().into_iter().find(|case| case.name == "rolled_back_by_drift").unwrap();
    let view = standing(&case);
    insta::assert_snapshot!("rolled_back_by_drift_markdown", view.markdown_title() + &view.markdown_body());
    let message = Message::new(view.headline(), &view);
    insta::assert_snapshot!(
        "rolled_back_by_drift_message",
        format!("{}\n{:#?}\n{}\n{:?}", message.title, message.fields, message.table, message.next)
    );
    insta::assert_snapshot!("rolled_back_by_drift_line", view.line(&view.headline(), 1_000));
    insta::assert_snapshot!("rolled_back_by_drift_json", serde_json::to_string_pretty(&view).unwrap());
}

#[test]
fn a_colour_never_says_what_the_word_does_not() {
    for case in cases() {
        let view = standing(&case);
        let painted = Terminal { columns: 80, colour: true }.screen(&view);
        let mut plain = painted.clone();
        for code in ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, terminal(80).screen(&view), "{}", case.name);
        assert!(view.tone == Tone::Plain || painted.contains('\u{1b}'), "{}", case.name);
    }
}

#[test]
fn wide_characters_take_two_columns() {
    let mut case = cases().into_iter().find(|case| case.name == "rolled_back_by_drift").unwrap();
    let decision = case.rollout.status.as_mut().unwrap().decision.as_mut().unwrap();
    for metric in &mut decision.why {
        if let Some(measure) = metric.measure.as_mut().filter(|measure| measure.class.is_some()) {
            measure.class = Some("詐欺".to_owned());
        }
    }
    let table = terminal(120).table(&standing(&case));
    let at = |needle: &str| table.lines().find(|line| line.contains(needle)).map(|line| width(line.split(needle).next().unwrap())).unwrap();
    assert_eq!(at("TV 0.296"), at("difference"), "{table}");
}

#[test]
fn a_status_of_an_older_version_is_shown_with_what_it_has() {
    let mut case = cases().into_iter().find(|case| case.name == "rolled_back_by_errors").unwrap();
    let decision = case.rollout.status.as_mut().unwrap().decision.as_mut().unwrap();
    decision.why.iter_mut().for_each(|metric| metric.measure = None);
    insta::assert_snapshot!("rolled_back_by_errors_of_an_older_version", terminal(80).screen(&standing(&case)));
}

#[test]
fn control_characters_of_others_reach_no_terminal() {
    let mut case = cases().into_iter().find(|case| case.name == "aborted").unwrap();
    let decision = case.rollout.status.as_mut().unwrap().decision.as_mut().unwrap();
    decision.message = "aborted by kim\u{1b}[2J\r\nnext   run this".to_owned();
    decision.by = Some(crate::api::Actor { name: "kim\u{1b}[2J".into(), manager: None, reason: Some("\u{202e}x\ny".into()) });
    let screen = terminal(80).screen(&standing(&case));
    assert!(!screen.contains(['\u{1b}', '\r', '\u{202e}']), "{screen}");
    assert_eq!(screen.lines().filter(|line| line.starts_with("next")).count(), 1, "{screen}");
}

#[test]
fn lists_lose_the_columns_that_say_least_and_cut_the_last_one() {
    let mut columns = Columns::new(&["NAME", "PHASE", "VERDICT", "WHY"]);
    columns.push(["fraud", "RolledBack", "Inconclusive", "because predictions shifted a lot"].map(str::to_owned).into(), None);
    assert_eq!(columns.clone().text(&terminal(40), &["VERDICT"]), "NAME   PHASE       WHY\nfraud  RolledBack  because predictions …\n");
    let wide = columns.text(&terminal(80), &["VERDICT"]);
    assert!(wide.contains("Inconclusive  because predictions shifted a lot"), "{wide}");
}
