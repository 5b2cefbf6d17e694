//! Every page as a whole, and what holds for all of them.

use serde_json::json;

use super::*;
use crate::api::{Phase, Rollout};
use crate::command::Verb;
use crate::record::{Columns, Record};
use crate::view::tests::cases::{cases, now};

fn frame() -> Frame<'static> {
    Frame {
        prefix: "",
        cluster: "prod-eu1",
        namespace: Some("ml"),
        form: Some("t0ken".to_owned()),
        prometheus: Some("https://prometheus.example.com"),
        lost: None,
        said: None,
        now: now(),
    }
}

fn case(name: &str) -> Rollout {
    cases().into_iter().find(|case| case.name == name).unwrap().rollout
}

/// All cases, each under a name of its own.
fn all() -> Vec<Rollout> {
    let named = |case: crate::view::tests::cases::Case| {
        let mut rollout = case.rollout;
        rollout.metadata.name = Some(case.name.replace('_', "-"));
        rollout
    };
    cases().into_iter().map(named).collect()
}

/// What is kept of two rollouts: one at its second step, and one before it.
fn recorded() -> Record {
    let at = |second: i64| format!("2026-01-02T{:02}:{:02}:{:02}Z", 2 + second / 3600, second / 60 % 60, second % 60);
    let arm = |n: i64, x: Option<f64>| json!({"n": n, "x": x});
    let window = |look: i64| {
        let (step, weight) = if look < 12 { (0, 5) } else { (1, 20) };
        let (stable, canary) = (3000 - 30 * weight, 30 * weight);
        let shrunk = 0.05 / f64::from(i32::try_from(look % 12 + 1).unwrap());
        let point = |d: f64, limit: f64, verdict: &str| json!({"s": arm(stable, Some(0.001)), "c": arm(canary, Some(0.002)), "d": d, "i": [d - shrunk, d + shrunk], "l": limit, "e": 1.2, "f": 20.0, "v": verdict});
        json!({
            "start": at(30 * look), "end": at(30 * look + 30), "step": step, "weight": weight, "stable": stable, "canary": canary,
            "points": [point(0.001, 0.0055, "Pass"), point(-0.004, 0.012, "Inconclusive"), point(0.02, 0.15, "Fail"),
                       {"c": arm(look, Some(30_000.0 + 100.0 * look as f64)), "l": 38_000.0, "v": "Pass"}, null],
        })
    };
    let version = |name: &str| json!({"host": "fraud", "subset": name, "revision": format!("{name}-hash")});
    let run = |canary: &str, started: i64, end: serde_json::Value| {
        json!({
            "started": at(started), "stable": version("v1"), "canary": version(canary), "interval": 30.0,
            "steps": [{"name": "1", "weight": 5}, {"name": "2", "weight": 20}, {"name": "3", "weight": 100}],
            "metrics": [{"name": "errorRate", "kind": "Errors"}, {"name": "latency", "kind": "Latency", "unit": "ms"}, {"name": "drift", "kind": "Classes"},
                        {"name": "gpu", "kind": "AtMost"}, {"name": "scores", "kind": "Scores"}],
            "changes": [{"at": at(started), "step": 0, "weight": 5}, {"at": at(started + 360), "step": 1, "weight": 20}],
            "windows": (0..20).map(window).collect::<Vec<_>>(),
            "distributions": [
                {"step": 1, "metric": 2, "at": at(600), "columns": {"classes": ["legit", "review", "fraud"]}, "stableN": 15_358, "canaryN": 815,
                 "stable": [0.901, 0.067, 0.032, 0.0], "canary": [0.603, 0.1, 0.297, 0.0]},
                {"step": 1, "metric": 4, "at": at(600), "columns": {"bins": [0.1, 0.25, 0.5, 0.75, 0.9]}, "stableN": 15_358, "canaryN": 815,
                 "stable": [0.5, 0.2, 0.1, 0.1, 0.05, 0.05], "canary": [0.3, 0.2, 0.1, 0.1, 0.15, 0.15]},
            ],
            "decisions": [], "end": end,
        })
    };
    let end = json!({"at": at(700), "outcome": "RolledBack", "reason": "AnalysisFailed", "message": "worse"});
    let runs = [run("v3", 0, json!(null)), run("v2", 0, end)].map(|run| serde_json::from_value(run).unwrap());
    Record { runs: runs.into(), ..Record::new("u-1") }
}

/// The same, for the pages of a test.
fn kept() -> Kept<'static> {
    Kept { record: Some(Box::leak(Box::new(recorded()))), run: 0, missing: None }
}

#[test]
fn the_course_of_a_rollout_is_drawn() {
    insta::assert_snapshot!("course", lines(&rollout(&frame(), &case("progressing"), &kept())));
    let missing = Kept { missing: Some("configmaps \"fraud-haldane-record\" is forbidden"), ..Kept::default() };
    let page = rollout(&frame(), &case("progressing"), &missing);
    assert!(page.contains("cannot be shown: configmaps &quot;fraud-haldane-record&quot; is forbidden"), "{page}");
}

#[test]
fn numbers_that_are_none_draw_nothing() {
    let mut record = recorded();
    for point in record.runs.iter_mut().flat_map(|run| &mut run.windows).flat_map(|window| &mut window.points).flatten() {
        (point.difference, point.interval, point.limit) = (Some(f64::NAN), Some([f64::NEG_INFINITY, f64::INFINITY]), None);
    }
    let page = rollout(&frame(), &case("progressing"), &Kept { record: Some(&record), run: 0, missing: None });
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    for run in &mut record.runs {
        run.windows.clear();
        run.changes.clear();
        run.distributions.clear();
    }
    let page = rollout(&frame(), &case("progressing"), &Kept { record: Some(&record), run: 0, missing: None });
    assert!(page.contains("no window counted yet"), "{page}");
    assert_eq!(rollout(&frame(), &case("idle"), &Kept { run: 7, record: Some(&record), missing: None }).matches("<h2>Course").count(), 0);
}

/// One element a line, so that a difference can be read.
fn lines(page: &str) -> String {
    page.replace("><", ">\n<")
}

#[test]
fn the_page_of_every_rollout_reads_well() {
    for case in cases() {
        insta::assert_snapshot!(format!("rollout_{}", case.name), lines(&rollout(&frame(), &case.rollout, &Kept::default())));
    }
}

#[test]
fn the_fleet_has_what_went_wrong_first() {
    insta::assert_snapshot!("fleet", lines(&fleet(&frame(), &all(), "")));
    insta::assert_snapshot!("fleet_searched", lines(&fleet(&frame(), &all(), "Holding v2")));
    insta::assert_snapshot!("fleet_nothing_fits", lines(&fleet(&frame(), &all(), "nonsense")));
    insta::assert_snapshot!("fleet_empty", lines(&fleet::<Rollout>(&frame(), &[], "")));
}

#[test]
fn an_abort_asks_for_the_name() {
    insta::assert_snapshot!("abort", lines(&question(&frame(), &case("progressing"), "", None)));
    let wrong = question(&frame(), &case("progressing"), "scores \"look\" wrong", Some("This is not fraud: nothing was done."));
    assert!(wrong.contains("value=\"scores &quot;look&quot; wrong\"") && wrong.contains("role=\"alert\""), "{wrong}");
    let read_only = question(&Frame { form: None, ..frame() }, &case("progressing"), "", None);
    assert!(!read_only.contains("<form") && read_only.contains("haldane abort fraud -n ml"), "{read_only}");
}

#[test]
fn what_is_wrong_is_said_with_its_fix() {
    insta::assert_snapshot!("notice", lines(&notice(&frame(), "Not allowed", "kim may not list Rollouts.", "Ask for haldane-viewer.")));
    let said = Said { tone: Tone::Bad, text: "you may not patch rollouts".into(), fix: "ask for a Role".into() };
    let page = rollout(&Frame { said: Some(&said), lost: Some("no answer for 12 s"), ..frame() }, &case("progressing"), &Kept::default());
    for part in ["note bad", "you may not patch rollouts", "ask for a Role", "no answer for 12 s"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn nothing_that_others_wrote_becomes_markup() {
    let evil = "<script>alert(1)</script>\"'&\u{202e}";
    let mut rollout = case("rolled_back_by_drift");
    (rollout.metadata.name, rollout.metadata.namespace) = (Some(evil.to_owned()), Some(evil.to_owned()));
    let status = rollout.status.as_mut().unwrap();
    for version in [&mut status.stable, &mut status.canary] {
        let version = version.as_mut().unwrap();
        (version.name, version.revision) = (evil.to_owned(), evil.to_owned());
    }
    let decision = status.decision.as_mut().unwrap();
    (decision.message, decision.next) = (evil.to_owned(), format!("`{evil}`"));
    decision.by = Some(serde_json::from_value(json!({"name": evil, "manager": evil, "reason": evil})).unwrap());
    for metric in &mut decision.why {
        (metric.metric, metric.message, metric.query) = (evil.to_owned(), evil.to_owned(), Some(evil.to_owned()));
        metric.measure.as_mut().unwrap().class = Some(evil.to_owned());
    }
    for arm in [&mut decision.stable, &mut decision.canary] {
        arm.as_mut().unwrap().name = evil.to_owned();
    }
    let said = Said { tone: Tone::Bad, text: evil.to_owned(), fix: evil.to_owned() };
    let mut record = recorded();
    for run in &mut record.runs {
        (run.canary.name, run.stable.name) = (evil.to_owned(), evil.to_owned());
        run.steps.iter_mut().for_each(|step| step.name = evil.to_owned());
        run.metrics.iter_mut().for_each(|metric| metric.name = evil.to_owned());
        run.changes.iter_mut().for_each(|change| change.traffic = Some(evil.to_owned()));
        for one in &mut run.distributions {
            if let Columns::Classes(names) = &mut one.columns {
                names.iter_mut().for_each(|name| *name = evil.to_owned());
            }
        }
    }
    let kept = Kept { record: Some(&record), run: 0, missing: Some(evil) };
    let outer = Frame { cluster: evil, namespace: Some(evil), lost: Some(evil), said: Some(&said), ..frame() };
    let pages = [
        super::rollout(&outer, &rollout, &kept),
        fleet(&outer, &[&rollout], ""),
        fleet(&outer, &[&rollout], evil),
        question(&outer, &rollout, evil, Some(evil)),
        notice(&outer, evil, evil, evil),
    ];
    for page in pages {
        assert!(!page.contains("<script>") && !page.contains("alert(1)</"), "{page}");
        assert!(!page.contains("'&\u{202e}") && !page.contains("</script>\"'"), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
        // Addresses keep nothing but letters and digits of a name.
        for address in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(!address.contains(['<', '>', '\'', ' ']), "{address}");
        }
    }
}

#[test]
fn no_page_has_a_style_or_a_script_in_it() {
    let mut pages: Vec<String> = all().iter().map(|one| rollout(&frame(), one, &kept())).collect();
    pages.extend([fleet(&frame(), &all(), ""), question(&frame(), &case("progressing"), "", None), welcome("/x", "/")]);
    for page in pages {
        for inline in [" style=", "<style", " onclick=", "javascript:"] {
            assert!(!page.contains(inline), "{inline}: {page}");
        }
        assert_eq!(page.matches("<script").count(), page.matches("<script src=").count(), "{page}");
    }
}

#[test]
fn every_address_is_under_the_prefix() {
    let under = Frame { prefix: "/haldane", ..frame() };
    let pages = [
        rollout(&under, &case("progressing"), &kept()),
        rollout(&under, &case("promoted"), &Kept { run: 1, ..kept() }),
        fleet(&under, &all(), ""),
        question(&under, &case("progressing"), "", None),
        welcome("/haldane", "/rollouts/ml/fraud"),
    ];
    for page in pages {
        for attribute in ["href", "src", "action", "data-events"] {
            for address in page.split(&format!(" {attribute}=\"")).skip(1).map(|rest| rest.split('"').next().unwrap()) {
                let own = address.starts_with("/haldane/") || address == "#main" || address.starts_with("https://prometheus.example.com/");
                assert!(own, "{attribute}={address}");
            }
        }
    }
}

#[test]
fn a_read_only_page_has_no_form_but_the_search() {
    for one in all() {
        let page = rollout(&Frame { form: None, ..frame() }, &one, &kept());
        assert!(!page.contains("<form") && !page.contains("t0ken") && page.contains("read-only"), "{page}");
    }
}

#[test]
fn a_colour_never_says_what_a_word_does_not() {
    for one in all() {
        let page = rollout(&frame(), &one, &kept());
        for badge in page.split("class=\"badge ").skip(1) {
            let word = badge.split('>').nth(1).unwrap().split('<').next().unwrap();
            assert!(!word.is_empty(), "{badge}");
        }
    }
}

#[test]
fn what_makes_sense_now_is_offered() {
    let verbs = |name: &str| offered(&case(name)).into_iter().map(|offer| (offer.verb, offer.label)).collect::<Vec<_>>();
    let named = |offers: &[(Verb, &str)]| offers.iter().map(|(verb, label)| (*verb, (*label).to_owned())).collect::<Vec<_>>();
    let going = [(Verb::Promote, "Promote to 50 %"), (Verb::Pause, "Pause"), (Verb::Abort, "Abort")];
    assert_eq!(verbs("progressing"), named(&going));
    assert_eq!(verbs("waiting_for_approval"), named(&[(Verb::Promote, "Approve 50 %"), (Verb::Abort, "Abort")]));
    assert_eq!(verbs("promoted"), named(&[(Verb::Rollback, "Roll back")]));
    assert_eq!(verbs("idle"), named(&[]));
    let mut paused = case("progressing");
    paused.status.as_mut().unwrap().phase = Some(Phase::Paused);
    assert!(offered(&paused).iter().any(|offer| offer.verb == Verb::Resume));
    paused.spec.paused = true;
    assert!(!offered(&paused).iter().any(|offer| offer.verb == Verb::Resume), "a command does not end spec.paused");
    let mut refused = case("rolled_back_by_drift");
    assert_eq!(offered(&refused), [], "nothing is refused");
    let entry = json!({"revision": "m9nrqqfxj", "subset": "v2", "reason": "AnalysisFailed", "message": "", "at": "2026-01-02T03:04:05Z", "epoch": 7});
    refused.status.as_mut().unwrap().refused = vec![serde_json::from_value(entry).unwrap()];
    assert_eq!(offered(&refused)[0].verb, Verb::Retry);
}

#[test]
fn an_order_is_bound_to_what_was_shown() {
    let rollout = case("progressing");
    let shown = Bound::to(&rollout);
    assert_eq!((shown.uid.as_str(), shown.epoch.as_str(), shown.step.as_str(), shown.revision.as_str()), ("u-1", "7", "2", "m9nrqqfxj"));
    assert_eq!(shown.broken(Verb::Promote, &shown), None);
    let now = Bound { step: "3".into(), epoch: "8".into(), ..shown.clone() };
    assert_eq!(shown.broken(Verb::Promote, &now).unwrap(), "the page showed step 2, and now it is 3");
    assert_eq!(shown.broken(Verb::Abort, &now), None, "an abort is safe at any time");
    let other = Bound { uid: "u-2".into(), ..shown.clone() };
    assert!(shown.broken(Verb::Abort, &other).unwrap().contains("made again"));
}
