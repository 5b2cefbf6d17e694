//! The worked examples of docs/statistics.md, computed by the functions that the judge calls: the lines of the document are these.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "golden/trajectory.rs"]
mod fail_evidence;

use fail_evidence::Settings;
use haldane::judge::budget::{self, Ahead};
use haldane::judge::kernel::{Margin, Pair, affine_log_e, at_odds, pass_bets, project};
use haldane::judge::mixture::{CAP, ETA, GAMMA_FIRST, GAMMA_LOOKS, PlugIn, gamma_unplanned};
use haldane::judge::passing::{Hold, PARTS, Passing};

/// Errors with the default limits.
const MARGIN: Margin = Margin { r: 1.1, d: 0.0005 };
const PHI: f64 = 1.1;
/// A metric's part of the planned half: half of 8 %, shared by three.
const ALPHA: f64 = 0.08 / 6.0;

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/statistics.md")).unwrap()
}

/// All lines are in the document; those that are not are shown as they should be.
fn holds(lines: &[String]) {
    let document = document();
    let missing: Vec<&String> = lines.iter().filter(|line| !document.contains(line.as_str())).collect();
    assert!(missing.is_empty(), "docs/statistics.md should say:\n{}", missing.iter().map(|line| format!("{line}\n")).collect::<String>());
}

fn window(errors: f64) -> Pair {
    Pair { n_a: 2850.0, x_a: 3.0, n_b: 150.0, x_b: errors }
}

fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", 100.0 * share)
}

/// An hour of stable at 100 requests a second, 0.1 % of them errors.
fn seed() -> PlugIn {
    PlugIn::seeded(360_000.0, 360.0, 120.0)
}

#[test]
fn the_bets_of_one_window() {
    let rows = ETA.map(|eta| {
        let theta = at_odds(MARGIN.at(0.001), f64::exp(eta));
        let at = project(2850.0, 150.0, 0.001, theta, MARGIN).unwrap();
        let factor = affine_log_e(window(2.0), 0.001, theta, MARGIN).exp();
        format!("| {} | {}, {} | {factor:.2} |", percent(theta, 2), percent(at.a0, 3), percent(at.b0, 3))
    });
    holds(&rows);
}

/// Plan of the example: 5, 20 and 50 % for ten windows each; what is left after `window`, from 1.
fn ahead(window: usize) -> Vec<Ahead> {
    [(10 - window.min(10), 0.05), (10, 0.2), (10, 0.5)].map(|(left, weight)| Ahead { windows: left as f64, weight, phi: PHI }).to_vec()
}

/// Value of the planned half and `rho` after each of these windows of the first step.
fn planned(windows: &[Pair]) -> Vec<(f64, f64)> {
    let (mut rho, mut stable) = (budget::start(ALPHA), seed());
    let look = |(k, pair): (usize, &Pair)| {
        rho = budget::look(rho, *pair, MARGIN, PHI, stable.planned_rate(), &ahead(k + 1), 3000.0);
        stable.add(pair.n_a, pair.x_a, PlugIn::HALF_LIFE);
        (rho, budget::chance(rho) / ALPHA)
    };
    windows.iter().enumerate().map(look).collect()
}

#[test]
fn a_bad_canary_in_its_first_windows() {
    let errors = [2.0, 1.0, 2.0, 0.0, 3.0, 1.0];
    let windows = errors.map(window);
    let gammas: Vec<f64> = std::iter::once(GAMMA_FIRST).chain(std::iter::repeat_n(GAMMA_LOOKS / 27.0, 9)).collect();
    let settings = Settings { margin: MARGIN, etas: &ETA, gammas: &gammas, cap: CAP, half_life: PlugIn::HALF_LIFE, phi: PHI };
    let scores: Vec<f64> = fail_evidence::trajectory(seed(), &windows, &settings).iter().map(|log| log.exp()).collect();
    let planned: Vec<f64> = planned(&windows).iter().map(|(_, value)| *value).collect();
    let whole: Vec<f64> = scores.iter().zip(&planned).map(|(score, planned)| 0.5 * 0.9 * score + 0.5 * planned).collect();
    let mean: Vec<f64> = whole.iter().map(|value| (value + 2.0) / 3.0).collect();
    let fails = mean.iter().position(|mean| *mean >= 12.5).unwrap();
    let row = |name: &str, values: &[f64], mark: bool| {
        let cells = values.iter().take(fails + 1).enumerate().map(|(at, value)| match mark && at == fails {
            true => format!("**{value:.1}**: Fail, at 12.5"),
            false => format!("{value:.1}"),
        });
        format!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    holds(&[
        row("betting score of errors", &scores, false),
        row("planned score of errors", &planned, false),
        row("errors: 0.45 of the first and 0.5 of the second", &whole, false),
        row("mean of three metrics", &mean, true),
    ]);
}

#[test]
fn a_window_without_an_error_on_the_way_to_a_pass() {
    let bets = pass_bets(Pair { n_a: 2850.0, x_a: 3.0, n_b: 150.0, x_b: 0.0 }, 0.001, Margin { r: 1.0, d: 0.01 });
    holds(&[
        format!("A window without an error among v2's 150 requests multiplies the first by about {:.1}", (bets[0] / PHI).exp()),
        format!("where v1 is, with {:.0} % of the coin", 100.0 * PARTS[0]),
    ]);
}

#[test]
fn the_test_at_the_end_of_the_hold_in_numbers() {
    let hold = |windows: usize| Hold { windows: windows as f64, n: (750.0, 750.0) };
    let proved = |more: f64, last: Hold| {
        let mut side = Passing::begin(0.002, 0.001, PHI, last);
        (0..10).rev().for_each(|window| {
            let left = if last.windows > 0.0 { hold(window) } else { last };
            side.add(Pair { n_a: 750.0, x_a: 0.75, n_b: 750.0, x_b: 0.75 + more / 10.0 }, 0.001, PHI, left);
        });
        side.proved()
    };
    let most = |last: Hold| (0..15).map(f64::from).filter(|more| proved(*more, last)).fold(f64::NAN, f64::max);
    holds(&[
        format!("The test is passed if v2 has at most {} errors more than v1", most(hold(10))),
        format!("The bets alone would ask for at most {}.", most(hold(0))),
    ]);
}

#[test]
fn the_budget_in_numbers() {
    let n = 3000.0;
    let start = budget::start(ALPHA);
    let left = |window: usize| budget::left(&ahead(window), n, 0.001, MARGIN);
    let h = 1.5 * PHI - 0.5;
    let rows = [("before the first window", 0), ("after the step at 5 %", 10)].map(|(name, window)| {
        let allowed = budget::allowed(start, left(window), h);
        format!("| {name} | {:.1} | {start:.3} | {allowed:.1} |", left(window))
    });
    let (u, v) = budget::score(window(2.0), MARGIN);
    let first = planned(&[window(2.0)])[0];
    let excess = format!("an excess of {u:.2} with a variance of {:.2}", PHI * v);
    let after = format!(
        "`rho` goes from {start:.3} to {:.3}, and chance alone would use the budget up in {} of rollouts",
        first.0,
        percent(budget::chance(first.0), 2)
    );
    holds(&[rows[0].clone(), rows[1].clone(), excess, after]);
}

#[test]
fn what_the_plan_finds() {
    let plan = |n: f64| {
        [(30.0, 0.05), (30.0, 0.2), (30.0, 0.5)].map(|(windows, weight)| Ahead { windows, weight, phi: PHI }).map(move |part| (part, n))
    };
    let row = |rps: f64| {
        let (ahead, n): (Vec<Ahead>, Vec<f64>) = plan(30.0 * rps).into_iter().unzip();
        let strict = Margin { r: 1.0, d: 0.0 };
        let found = |p_b: f64, margin: Margin| percent(budget::found(budget::start(ALPHA), &ahead, n[0], (0.01, p_b), margin), 0);
        let least = |margin: Margin| {
            budget::smallest(budget::start(ALPHA), &ahead, n[0], 0.01, margin).map_or("none".to_owned(), |p| percent(p, 2))
        };
        format!("| {rps} | {} | {} | {} | {} |", found(0.012, strict), found(0.02, strict), least(strict), least(MARGIN))
    };
    holds(&[10.0, 100.0, 1000.0].map(row));
}

#[test]
fn the_shares_of_the_coin() {
    let unplanned: f64 = (1..=60).map(gamma_unplanned).sum();
    holds(&[
        format!(
            "{:.0} % of the coin is bet in the first window, 12 % is shared by the first windows of later steps, {:.0} % by the other planned ones",
            100.0 * GAMMA_FIRST,
            100.0 * GAMMA_LOOKS
        ),
        format!("half of it ({:.0} %) in the first 60 of them", 100.0 * unplanned),
    ]);
}
