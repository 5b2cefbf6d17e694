//! Frames of the live view as a whole at three sizes, and what the keys do; without a terminal.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use jiff::{SignedDuration, Timestamp};
use ratatui::{Terminal, backend::TestBackend, style::Color};
use serde_json::json;

use super::app::{Act, App, Event, Mode, Order};
use super::frame::{Look, draw};
use crate::api::{Phase, Rollout};
use crate::command::Verb;
use crate::view::Tone;
use crate::view::tests::cases::{cases, now};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn rollout(name: &str) -> Rollout {
    cases().into_iter().find(|case| case.name == name).unwrap().rollout
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

/// The same a few looks later: differences wander, the canary has a fifth of the requests.
fn looked(name: &str, look: i64) -> Rollout {
    let mut rollout = rollout(name);
    for metric in &mut rollout.status.as_mut().unwrap().evidence {
        if let Some(effect) = &mut metric.effect {
            effect.value += metric.limit.unwrap_or(1.0) * 0.25 * (look % 5) as f64;
        }
        if let (Some(stable), Some(canary)) = (&mut metric.stable, &mut metric.canary) {
            (stable.n, canary.n) = (3_120 + 80 * look, 771 + 20 * look);
        }
    }
    rollout
}

/// Watched for a minute and a half.
fn watched(name: &str, size: (u16, u16)) -> App {
    let mut app = App::new(looked(name, 0), size, now());
    for look in 1..=30 {
        app.update(Event::Seen(Box::new(looked(name, look))), later(3 * look));
    }
    app
}

fn frame(app: &App, look: Look) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(app.size.0, app.size.1)).unwrap();
    terminal.draw(|frame| draw(app, look, frame.area(), frame.buffer_mut())).unwrap();
    terminal
}

/// The lines of a frame, as a person reads them.
fn text(app: &App) -> String {
    let frame = frame(app, Look { colour: false }).backend().to_string();
    frame.lines().map(|line| format!("{}\n", line.trim_matches('"').trim_end())).collect()
}

fn press(app: &mut App, code: KeyCode) -> Option<Act> {
    app.update(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)), app.now)
}

fn type_in(app: &mut App, text: &str) {
    for c in text.chars() {
        assert_eq!(press(app, KeyCode::Char(c)), None);
    }
}

fn order(act: Option<Act>) -> Order {
    match act {
        Some(Act::Order(order)) => order,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_frame_reads_well_at_three_sizes() {
    for (columns, lines) in SIZES {
        let size = (columns, lines);
        let mut frames = Vec::new();
        for name in ["progressing", "holding", "no_data", "waiting_for_approval", "rolled_back_by_drift", "promoted", "ab_test"] {
            frames.push((name, watched(name, size)));
        }
        let mut stale = watched("progressing", size);
        stale.update(Event::Lost("the API server at https://10.0.0.1/ cannot be reached: no answer within 10 s".to_owned()), later(102));
        frames.push(("stale", stale));
        let mut abort = watched("progressing", size);
        press(&mut abort, KeyCode::Char('a'));
        type_in(&mut abort, "fraud scores");
        frames.push(("abort", abort));
        let mut explain = watched("rolled_back_by_drift", size);
        press(&mut explain, KeyCode::Char('e'));
        press(&mut explain, KeyCode::Down);
        frames.push(("explain", explain));
        let mut help = watched("progressing", size);
        press(&mut help, KeyCode::Char('?'));
        frames.push(("help", help));
        for (name, app) in frames {
            insta::assert_snapshot!(format!("{name}_{columns}x{lines}"), text(&app));
        }
    }
}

#[test]
fn whatever_the_size_the_first_line_the_table_and_the_keys_are_there() {
    for case in cases() {
        for size in [(20, 5), (60, 12), (79, 16), (80, 24), (91, 30), (100, 50), (149, 30), (150, 30), (200, 60)] {
            let app = watched(case.name, size);
            let text = text(&app);
            let first = text.lines().next().unwrap();
            assert!(first.contains("ml/fraud"), "{} {size:?}\n{text}", case.name);
            let last = text.lines().last().unwrap();
            assert!(last.contains("[q]uit") || size.0 < 60, "{} {size:?}\n{text}", case.name);
            let rows = app.view.rows.iter().filter(|_| size.1 >= 24);
            assert!(rows.into_iter().all(|row| text.contains(&format!("\n{} ", row.label))), "{} {size:?}\n{text}", case.name);
        }
    }
}

#[test]
fn no_line_of_the_table_is_cut_from_60_columns_on() {
    for columns in 60..200 {
        for name in ["progressing", "rolled_back_by_drift", "no_data"] {
            let app = watched(name, (columns, 40));
            let (lines, _) = super::table::lines(&app, Look { colour: false }, columns.into());
            assert!(lines.iter().all(|line| line.width() <= columns.into()), "{name} at {columns}: {lines:?}");
        }
    }
}

#[test]
fn a_colour_never_says_what_the_word_does_not() {
    for name in ["rolled_back_by_drift", "no_data", "holding"] {
        let app = watched(name, (120, 40));
        let (plain, painted) = (frame(&app, Look { colour: false }), frame(&app, Look { colour: true }));
        assert_eq!(plain.backend().to_string(), painted.backend().to_string());
        let coloured = |terminal: &Terminal<TestBackend>| terminal.backend().buffer().content.iter().any(|cell| cell.fg != Color::Reset);
        assert!(coloured(&painted) && !coloured(&plain), "{name}");
    }
}

#[test]
fn nothing_is_drawn_of_a_time_that_was_not_watched() {
    let app = App::new(looked("progressing", 0), (120, 40), now());
    let text = text(&app);
    assert!(text.contains("last 0s"), "{text}");
    assert_eq!(text.chars().filter(|c| ('▁'..='█').contains(c)).count(), 3, "a cell for each metric\n{text}");
}

#[test]
fn another_step_has_its_own_line() {
    let mut app = watched("progressing", (120, 40));
    assert!(app.rings.values().all(|ring| ring.line(99, None).chars().count() == 31));
    let mut next = looked("progressing", 1);
    next.status.as_mut().unwrap().step.as_mut().unwrap().index = 2;
    app.update(Event::Seen(Box::new(next.clone())), later(100));
    assert!(app.rings.is_empty(), "the evidence is still that of the step before");
    let mut newer = looked("progressing", 2);
    newer.status.as_mut().unwrap().step = next.status.unwrap().step;
    app.update(Event::Seen(Box::new(newer)), later(103));
    assert_eq!(app.rings.len(), 3);
    assert!(app.rings.values().all(|ring| ring.line(99, None).chars().count() == 1));
}

#[test]
fn a_status_that_has_the_same_evidence_is_no_look() {
    let mut app = App::new(looked("progressing", 0), (120, 40), now());
    app.update(Event::Seen(Box::new(looked("progressing", 0))), later(1));
    assert!(app.rings.values().all(|ring| ring.line(99, None).chars().count() == 1));
}

#[test]
fn decisions_are_kept_newest_first_and_each_once() {
    let mut app = watched("progressing", (120, 40));
    for _ in 0..2 {
        app.update(Event::Seen(Box::new(rollout("rolled_back_by_drift"))), later(100));
    }
    let mut aborted = rollout("aborted");
    aborted.status.as_mut().unwrap().decision.as_mut().unwrap().at.0 = later(90);
    app.update(Event::Seen(Box::new(aborted)), later(100));
    let told: Vec<&str> = app.decisions.iter().map(|told| told.text.as_str()).collect();
    assert_eq!(
        told,
        [
            "v2 aborted at 20 %, by kim: scores look wrong",
            "v2 rolled back at 5 %, because predictions shifted",
            "v2 passed its step at 5 %"
        ]
    );
}

#[test]
fn a_lost_connection_and_a_late_answer_are_stale_until_the_next_answer() {
    let mut app = watched("progressing", (120, 40));
    assert_eq!(app.stale(), None);
    app.update(Event::Lost("gone".to_owned()), later(92));
    assert_eq!(app.stale(), Some(2));
    assert!(text(&app).contains("stale 2 s") && text(&app).contains("trying again: gone"));
    app.update(Event::Seen(Box::new(looked("progressing", 30))), later(104));
    assert_eq!(app.stale(), None);
    app.update(Event::Tick, later(108));
    assert_eq!(app.stale(), None);
    app.update(Event::Tick, later(109));
    assert_eq!(app.stale(), Some(5), "no answer is no live view either");
}

#[test]
fn an_abort_needs_the_name_and_takes_a_reason() {
    let mut app = watched("progressing", (80, 24));
    press(&mut app, KeyCode::Char('a'));
    type_in(&mut app, "frau");
    assert_eq!(press(&mut app, KeyCode::Enter), None);
    assert!(text(&app).contains("that is not its name, fraud: nothing was aborted"), "{}", text(&app));
    press(&mut app, KeyCode::Char('a'));
    type_in(&mut app, "fraudx");
    press(&mut app, KeyCode::Backspace);
    type_in(&mut app, " scores look wrong, q");
    let given = order(press(&mut app, KeyCode::Enter));
    assert_eq!((given.verb, given.reason.as_deref()), (Verb::Abort, Some("scores look wrong, q")));
    press(&mut app, KeyCode::Char('a'));
    type_in(&mut app, "fraud");
    assert_eq!(order(press(&mut app, KeyCode::Enter)).reason.as_deref(), Some("aborted in haldane watch"));
    press(&mut app, KeyCode::Char('a'));
    type_in(&mut app, "fraud");
    assert_eq!(press(&mut app, KeyCode::Esc), None);
    assert_eq!((app.mode.clone(), press(&mut app, KeyCode::Enter)), (Mode::Plain, None));
}

#[test]
fn a_promotion_is_asked_about_and_is_bound_to_what_was_shown_then() {
    let mut app = watched("progressing", (80, 24));
    press(&mut app, KeyCode::Char('p'));
    assert!(text(&app).contains("Promote v2 beyond step 2 without its proof?"), "{}", text(&app));
    let mut next = looked("progressing", 1);
    next.status.as_mut().unwrap().step.as_mut().unwrap().name = "3".to_owned();
    app.update(Event::Seen(Box::new(next)), later(100));
    let given = order(press(&mut app, KeyCode::Char('y')));
    let step = given.shown.status.as_ref().unwrap().step.as_ref().unwrap();
    assert_eq!((given.verb, step.name.as_str()), (Verb::Promote, "2"));
    press(&mut app, KeyCode::Char('p'));
    assert_eq!(press(&mut app, KeyCode::Char('q')), None, "any other key is a no, and not a key of the view");
    assert_eq!(app.mode, Mode::Plain);
}

#[test]
fn space_pauses_and_ends_a_pause() {
    let mut app = watched("progressing", (80, 24));
    assert_eq!(order(press(&mut app, KeyCode::Char(' '))).verb, Verb::Pause);
    assert!(text(&app).contains("pause: waiting for the controller"));
    app.update(Event::Answered(Tone::Good, "pause accepted".to_owned()), later(91));
    assert!(text(&app).contains("pause accepted"));
    let mut paused = looked("progressing", 30);
    paused.status.as_mut().unwrap().phase = Some(Phase::Paused);
    app.update(Event::Seen(Box::new(paused)), later(92));
    assert!(text(&app).contains("[space] resume"));
    assert_eq!(order(press(&mut app, KeyCode::Char(' '))).verb, Verb::Resume);
}

#[test]
fn the_explanation_scrolls_to_its_end_and_no_further() {
    let mut app = watched("rolled_back_by_drift", (80, 24));
    press(&mut app, KeyCode::Char('e'));
    press(&mut app, KeyCode::Up);
    assert_eq!(app.mode, Mode::Explain(0));
    press(&mut app, KeyCode::End);
    let Mode::Explain(last) = app.mode else { panic!("{:?}", app.mode) };
    assert_eq!(last, app.explanation().len() - app.page());
    for key in [KeyCode::Down, KeyCode::PageDown] {
        press(&mut app, key);
        assert_eq!(app.mode, Mode::Explain(last));
    }
    press(&mut app, KeyCode::Home);
    assert_eq!(app.mode, Mode::Explain(0));
    assert_eq!(press(&mut app, KeyCode::Char('q')), None);
    assert_eq!((app.mode.clone(), press(&mut app, KeyCode::Char('q'))), (Mode::Plain, Some(Act::Quit)));
}

#[test]
fn control_c_leaves_from_everywhere_and_other_controls_do_nothing() {
    for key in ['p', 'a', 'e', '?'] {
        let mut app = watched("progressing", (80, 24));
        press(&mut app, KeyCode::Char(key));
        let control = |c| Event::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
        let mode = app.mode.clone();
        assert_eq!(app.update(control('y'), later(1)), None);
        assert_eq!(app.mode, mode, "a key that means nothing answers no question");
        assert_eq!(app.update(control('c'), later(1)), Some(Act::Quit));
    }
}

#[test]
fn what_others_wrote_moves_no_cursor() {
    let mut app = watched("progressing", (80, 24));
    let mut hostile = looked("progressing", 1);
    let decision = json!({"outcome": "Aborted", "reason": "Aborted", "message": "x\u{1b}[2J\nq", "at": "2026-01-02T03:05:05Z", "epoch": 7, "weight": 5,
                          "next": "y\u{1b}[2J", "by": {"name": "kim\u{1b}[2J", "reason": "\u{202e}z"}});
    hostile.status.as_mut().unwrap().decision = serde_json::from_value(decision).unwrap();
    app.update(Event::Seen(Box::new(hostile)), later(1));
    press(&mut app, KeyCode::Char('e'));
    assert!(!text(&app).contains(['\u{1b}', '\u{202e}']), "{}", text(&app));
    press(&mut app, KeyCode::Esc);
    assert!(!text(&app).contains(['\u{1b}', '\u{202e}']), "{}", text(&app));
}

#[test]
fn a_line_begins_with_what_was_recorded_before_anybody_watched() {
    let mut app = App::new(looked("progressing", 0), (120, 40), now());
    let mut record = crate::cli::tests::record(&looked("rolled_back_by_drift", 0));
    let step = usize::try_from(app.rollout.status.as_ref().unwrap().step.as_ref().unwrap().index).unwrap();
    for window in record.runs.iter_mut().flat_map(|run| &mut run.windows) {
        window.step = step;
    }
    assert_eq!(app.rings["errorRate"].line(40, Some(0.01)).chars().count(), 1);
    app.recall(&record);
    let line = app.rings["errorRate"].line(40, Some(0.01));
    assert!(line.starts_with("▅▅▄▃▃▂▁▁") && line.chars().count() == 9, "{line}");
    let other = app.rings.iter().find(|(name, _)| *name != "errorRate").unwrap().1;
    assert_eq!(other.line(40, None).chars().count(), 1, "of a metric that was not recorded nothing is known");
    record.runs[0].windows.iter_mut().for_each(|window| window.step = step + 1);
    let mut app = App::new(looked("progressing", 0), (120, 40), now());
    app.recall(&record);
    assert_eq!(app.rings["errorRate"].line(40, None).chars().count(), 1, "another step has its own evidence");
}
