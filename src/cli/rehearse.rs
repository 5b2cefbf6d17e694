//! `haldane rehearse`: a plan on simulated traffic, in virtual time, many times over.

mod backtest;
mod crew;
mod plot;
mod text;

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{
    Exit, Failure, lint,
    output::{Format, Output},
};
use crate::{
    api::Capacity,
    clock::Clock,
    plan::{Faults, Limits, Metric, MetricKind, Plan, span},
    rehearse::{Hands, Played, Scenario, Setup, Tally, World, can_draw, play, seed_of},
};

pub use crew::all_of;

#[derive(Debug, Args)]
pub(super) struct RehearseArgs {
    /// File with the Rollout, - for standard input
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,
    /// Requests a second; several with commas, one result for each [default: 100]
    #[arg(long, value_name = "N")]
    rps: Option<String>,
    /// What stable does: errors=0.001,p50=100ms,p99=400ms,classes=0.9/0.1,pods=10
    #[arg(long, value_name = "KEY=VALUE")]
    stable: Vec<String>,
    /// What the canary does where it differs from stable; also pods=1/2/5,from=20m
    #[arg(long, value_name = "KEY=VALUE")]
    canary: Vec<String>,
    /// File with a scenario: all of this, noise, and incidents of both versions
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Rehearsals at each rate of requests
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Seed: the same seed gives the same result
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    backtest: backtest::BacktestArgs,
}

/// The Rollout of a manifest.
struct Manifest {
    /// As it is written there.
    namespace: Option<String>,
    summary: String,
    plan: Plan,
}

pub(super) async fn run(args: &RehearseArgs, namespace: Option<&str>, clock: Clock, output: &Output) -> Result<Exit, Failure> {
    let stdin = Path::new("-");
    if args.filename == stdin && args.scenario.as_deref() == Some(stdin) {
        let message = "-f - and --scenario - both read standard input";
        return Err(Failure::new(Exit::Usage, message, "give one of the two as a file"));
    }
    let manifest = manifest(args)?;
    if args.backtest.asked() {
        return backtest::run(args, &manifest, namespace, clock, output).await;
    }
    let scenario = scenario(args)?;
    let (setup, notes) = setup(&manifest.plan, &scenario);
    let mut items = Vec::new();
    let mut shown = None;
    for rps in &scenario.rps {
        let one = |run: usize, watch: bool| rehearse(&setup, &scenario, *rps, seed_of(args.seed, run as u64), watch);
        let mut bar = Bar::new(output, args.runs as usize, format!("{rps} requests a second"));
        let played = all_of(args.runs as usize, |run| one(run, false), |done| bar.show(done));
        bar.clear();
        items.push(Tally::of(*rps, args.seed, &played));
        if shown.is_none() {
            shown = Tally::typical(&played).map(|run| one(run, true));
        }
    }
    let notes = text::notes(notes, shown.as_ref());
    output.data("Rehearsal", &json!({ "items": items, "notes": notes }), || {
        let mut text = text::head(&manifest.summary, &setup, &scenario);
        items.iter().for_each(|item| text += &text::tally(item, scenario.healthy(), output));
        if let Some(played) = &shown {
            text += &plot::plot(played, &setup.plan);
        }
        text + &text::told(&notes)
    })?;
    Ok(Exit::Reached)
}

/// One rehearsal.
fn rehearse(setup: &Setup, scenario: &Scenario, rps: f64, seed: u64, watch: bool) -> Played {
    let mut world = World::new(scenario, &setup.plan.analysis.metrics, rps, setup.interval, seed);
    let history = world.history();
    play(setup, &history, &mut |start, end, step, split| Some(world.window(start, end, split, scenario.canary_pods(step))), watch)
}

fn manifest(args: &RehearseArgs) -> Result<Manifest, Failure> {
    let file = args.filename.display().to_string();
    let mut found = lint::rollouts(&file, &lint::read(&args.filename)?, &lint::Known::default());
    let (Some((report, plan)), 0) = (found.pop(), found.len()) else {
        let message = format!("{file} holds no Rollout, or several");
        return Err(Failure::new(Exit::Usage, message, "give a file with exactly one Rollout"));
    };
    match plan {
        Some(plan) => Ok(Manifest { namespace: report.namespace, summary: report.plan.unwrap_or_default(), plan }),
        None => Err(Failure::new(Exit::Usage, report.text().trim_end(), "")),
    }
}

fn scenario(args: &RehearseArgs) -> Result<Scenario, Failure> {
    let text = args.scenario.as_ref().map(|path| lint::read(path)).transpose()?.unwrap_or_default();
    Scenario::read(&text, args.rps.as_deref(), &args.stable, &args.canary).map_err(|Faults(faults)| {
        let file = args.scenario.as_ref().map_or("the scenario".to_owned(), |path| path.display().to_string());
        let count = if faults.len() == 1 { "a fault".to_owned() } else { format!("{} faults", faults.len()) };
        let lines: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        Failure::new(Exit::Usage, format!("{file}: {count}{lines}"), "")
    })
}

/// The plan as it is rehearsed, and where that differs from what the controller would do.
fn setup(plan: &Plan, scenario: &Scenario) -> (Setup, Vec<String>) {
    let mut notes = Vec::new();
    let mut plan = plan.clone();
    if std::mem::take(&mut plan.paused) {
        notes.push("spec.paused is true: the rehearsal continues as if it were false".to_owned());
    }
    if let Some(window) = scenario.window.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
        && window != plan.analysis.interval
    {
        notes.push(format!("windows are {} as the scenario says, not {} as the manifest", span(window), span(plan.analysis.interval)));
        plan.analysis.interval = window;
    }
    notes.extend(beside_weights(&plan));
    notes.extend(leave_out(&mut plan, can_draw, "a scenario does not say what your own metrics would show"));
    let own = |metric: &&Metric| metric.kind.unit().is_some() && !metric.kind.counted().is_of_mesh();
    let own: Vec<&str> = plan.analysis.metrics.iter().filter(own).map(|metric| metric.name.as_str()).collect();
    if !own.is_empty() {
        notes.push(format!("{}: rehearsed with the durations of requests, as if your own histogram showed them", own.join(", ")));
    }
    if plan.capacity == Capacity::Proportional {
        for (at, step) in plan.steps.iter().enumerate() {
            let need = (step.load() * scenario.stable_pods).div_ceil(200).max(1);
            let there = scenario.canary_pods(at);
            if there < need {
                notes.push(format!(
                    "step {} ({}) is rehearsed with {there} canary pods; on a cluster it waits until {need} are ready",
                    step.name,
                    step.share().words()
                ));
            }
        }
    }
    if plan.analysis.metrics.is_empty() {
        notes.push("nothing is measured: the holds alone decide, and no canary is ever rolled back".to_owned());
    }
    notes.extend(unseen(&plan, scenario));
    let interval = plan.analysis.interval.as_secs_f64();
    let (stable_pods, canary_pods) = (scenario.stable_pods, scenario.canary_pods(0));
    (Setup { plan, interval, stable_pods, canary_pods, hands: Hands::Approve }, notes)
}

/// How steps that give the canary other traffic than users at random are rehearsed.
fn beside_weights(plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    if plan.steps.iter().any(|step| !step.split.matches.is_empty()) {
        notes.push("a match is rehearsed as one that picks 5 % of the users, who are like all others".to_owned());
    }
    if !plan.promotes() {
        notes.push("the plan ends as Passed, which is counted as promoted here".to_owned());
    }
    notes
}

/// In what the canary is worse that nothing in the plan would see, and which kind of metric would. A plan without a step that has both
/// versions compares nothing whatever its metrics are.
fn unseen(plan: &Plan, scenario: &Scenario) -> Vec<String> {
    let (stable, canary) = (&scenario.stable, &scenario.canary);
    let two_arms = || plan.steps.iter().filter(|step| step.split.weight < 100);
    let gates = |of: fn(&Metric) -> bool| plan.analysis.metrics.iter().any(|metric| of(metric) && two_arms().any(|step| step.asks(metric)));
    let slower = canary.p50 > stable.p50 || canary.p99 > stable.p99;
    let changes = [
        (canary.errors > stable.errors, "fails more requests", "an errorRate", gates(Metric::counts_requests)),
        (slower, "is slower", "a latency", gates(|metric| matches!(metric.kind.limits(), Limits::Stretch(_)))),
        (
            canary.classes != stable.classes,
            "has other classes",
            "a drift",
            gates(|metric| matches!(metric.kind.limits(), Limits::Distance(_))),
        ),
    ];
    let told = changes.into_iter().filter(|(changed, .., seen)| *changed && !seen && two_arms().next().is_some());
    told.map(|(_, what, kind, _)| format!("the canary {what}, which no metric that gates compares; {kind} metric would")).collect()
}

/// Takes metrics out of the plan, and says which and why.
fn leave_out(plan: &mut Plan, kept: impl Fn(&MetricKind) -> bool, why: &str) -> Option<String> {
    let (kept, left_out): (Vec<Metric>, Vec<Metric>) =
        std::mem::take(&mut plan.analysis.metrics).into_iter().partition(|metric| kept(&metric.kind));
    plan.analysis.metrics = kept;
    let names: Vec<&str> = left_out.iter().map(|metric| metric.name.as_str()).collect();
    (!names.is_empty()).then(|| format!("{}: left out, {why}", names.join(", ")))
}

/// How far it is, on a terminal.
struct Bar {
    live: bool,
    all: usize,
    what: String,
    drawn: bool,
}

impl Bar {
    const WIDTH: usize = 40;

    fn new(output: &Output, all: usize, what: String) -> Self {
        Self { live: output.format() == Format::Text && io::stderr().is_terminal(), all, what, drawn: false }
    }

    fn show(&mut self, done: usize) {
        if self.live {
            let full = Self::WIDTH * done / self.all.max(1);
            let bar = format!("{}{}", "#".repeat(full), ".".repeat(Self::WIDTH - full.min(Self::WIDTH)));
            // Whoever closed stderr does not want it.
            let _ = write!(io::stderr(), "\r{} [{bar}] {done}/{}\u{1b}[K", self.what, self.all);
            self.drawn = true;
        }
    }

    fn clear(&mut self) {
        if self.drawn {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
            self.drawn = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes on a plan of 50 % and 100 % with these metrics, `null` for the usual ones.
    fn notes(metrics: &serde_json::Value, without: &[&str], canary: &str) -> Vec<String> {
        let spec = json!({
            "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"},
            "strategy": {"steps": [{"weight": 50, "without": without}, {"weight": 100}]},
            "analysis": if metrics.is_null() { json!({}) } else { json!({"metrics": metrics}) },
        });
        let plan = Plan::parse(&serde_json::from_value(spec).unwrap()).unwrap();
        let scenario = Scenario::read("", None, &[], &[canary.to_owned(), "pods=10".to_owned()]).unwrap();
        setup(&plan, &scenario).1
    }

    #[test]
    fn a_change_that_no_gating_metric_compares_is_reported_with_the_kind_that_would() {
        let classes = "the canary has other classes, which no metric that gates compares; a drift metric would";
        assert_eq!(notes(&json!(null), &[], "classes=1/0/0/0/0"), [classes]);
        let errors = "the canary fails more requests, which no metric that gates compares; an errorRate metric would";
        assert_eq!(notes(&json!([{"name": "errors", "errorRate": {}, "gate": false}]), &[], "errors=1"), [errors]);
        assert_eq!(notes(&json!([{"name": "errors", "errorRate": {}}]), &["errors"], "errors=1"), [errors]);
        let slower = "the canary is slower, which no metric that gates compares; a latency metric would";
        assert_eq!(notes(&json!([{"name": "errors", "errorRate": {}}]), &[], "p99=2s"), [slower]);
    }

    #[test]
    fn a_histogram_of_times_of_your_own_is_rehearsed_as_the_requests_durations() {
        let metrics = json!([{"latency": {}}, {"name": "first", "latency": {"histogram": "first_token_seconds"}}]);
        let told = notes(&metrics, &[], "errors=0");
        assert_eq!(told, ["first: rehearsed with the durations of requests, as if your own histogram showed them"]);
    }

    #[test]
    fn a_change_that_is_compared_or_does_no_harm_needs_no_note() {
        for canary in ["errors=0.01", "p50=200ms", "errors=0"] {
            assert_eq!(notes(&json!(null), &[], canary), [""; 0], "{canary}");
        }
        assert_eq!(notes(&json!([{"name": "late", "latency": {}}]), &[], "errors=0"), [""; 0]);
    }
}
