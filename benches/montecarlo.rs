//! The tables of docs/statistics.md: `cargo bench --bench montecarlo -- --runs 1000 --found 300 --seed 1`.
//!
//! `--quick` plays a twentieth of that; names (`nulls`, `regressions`, `healthy`, `margin`, `drift`, `stress`, `plain`, `load`, `speed`) choose tables; `--world` and
//! `--rps` choose rows and columns; `--hours` is how long stable's traffic is watched before the rollout (12).

#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench, with the worlds of the tests")]

#[path = "../tests/montecarlo/catalogue.rs"]
mod catalogue;
#[path = "../tests/montecarlo/plain.rs"]
mod plain;

use std::collections::BTreeMap;

use catalogue::*;
use haldane::judge::forecast_plan;
use haldane::plan::Plan;
use haldane::rehearse::{Ending, Hands, Played};
use haldane::state::brief::terms;
use serde_json::json;

const RATES: [f64; 3] = [10.0, 100.0, 1000.0];
const MARGINS: [Margins; 2] = [Margins::Zero, Margins::Default];

struct Options {
    /// Rehearsals of a cell in which nothing is wrong, and of one in which something is.
    nulls: usize,
    found: usize,
    seed: u64,
    tables: Vec<String>,
    /// The only world, and the only rate.
    world: Option<String>,
    rps: Option<f64>,
    /// Hours of stable traffic before the rollout.
    hours: f64,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { nulls: 1000, found: 300, seed: 1, tables: Vec::new(), world: None, rps: None, hours: 12.0 };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut number = || args.next().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{arg} takes a number"));
            match arg.as_str() {
                "--quick" => (options.nulls, options.found) = (50, 15),
                "--runs" => options.nulls = number() as usize,
                "--found" => options.found = number() as usize,
                "--seed" => options.seed = number(),
                "--rps" => options.rps = Some(number() as f64),
                "--hours" => options.hours = number() as f64,
                "--world" => options.world = args.next(),
                "--bench" => {}
                name => options.tables.push(name.to_owned()),
            }
        }
        options
    }

    fn rates(&self) -> Vec<f64> {
        RATES.into_iter().filter(|rps| self.rps.is_none_or(|only| only == *rps)).collect()
    }

    fn plays(&self, world: &str) -> bool {
        self.world.as_ref().is_none_or(|only| only == world)
    }

    fn wants(&self, table: &str) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|name| name == table)
    }
}

fn main() {
    let options = Options::read();
    if options.wants("nulls") {
        nulls(&options);
    }
    if options.wants("regressions") {
        regressions(&options);
    }
    if options.wants("healthy") {
        healthy(&options);
    }
    if options.wants("margin") {
        margin(&options);
    }
    if options.wants("drift") {
        drift(&options);
    }
    if options.wants("stress") {
        stress(&options);
    }
    if options.wants("plain") {
        glances(&options);
    }
    if options.wants("load") {
        load(&options);
    }
    if options.wants("speed") {
        speed(&options);
    }
}

/// Glances at single scrapes, every 5 s for 45 minutes at one weight: how often something was plain where nothing is wrong, and how soon it
/// is where half of the canary's requests fail.
fn glances(options: &Options) {
    println!(
        "\n### Plain at one scrape though nothing is wrong, %, at 10 / 100 / 1000 requests a second ({} rollouts a cell)\n",
        options.nulls
    );
    println!("| world | 5 %, one pod | 20 %, two pods | 50 %, five pods |");
    println!("|---|---|---|---|");
    let sizes = [(0.05, 1), (0.2, 2), (0.5, 5)];
    for world in plain::HEALTHY.into_iter().chain([plain::ONE_POD]).filter(|world| options.plays(world.name)) {
        let cell = |(weight, canary): (f64, usize)| {
            if world.name == plain::ONE_POD.name && canary == 1 {
                return "(its only one)".to_owned();
            }
            let at = |rps: &f64| {
                percent(plain::share(world, plain::Size { rps: *rps, weight, pods: [10, canary] }, options.nulls, options.seed))
            };
            options.rates().iter().map(at).collect::<Vec<_>>().join(" / ")
        };
        println!("| {} | {} |", world.name, sizes.map(cell).join(" | "));
    }
    println!(
        "\n### Half of the canary's requests fail at 20 %, three pods each: seconds until that is plain ({} rollouts)\n",
        options.found
    );
    println!("| requests a second | found, % | median | nine of ten | most |");
    println!("|---|---|---|---|---|");
    for rps in [30.0, 100.0, 300.0, 1000.0].into_iter().filter(|rps| options.rps.is_none_or(|only| only == *rps)) {
        let size = plain::Size { rps, weight: 0.2, pods: [3, 3] };
        let mut took: Vec<f64> = (0..options.found as u64).filter_map(|seed| plain::played(plain::HALF, size, seed)).collect();
        took.sort_by(f64::total_cmp);
        let at = |part: f64| took.get(((took.len() as f64 * part) as usize).min(took.len().saturating_sub(1))).copied().unwrap_or(f64::NAN);
        println!(
            "| {rps} | {} | {:.1} | {:.1} | {:.1} |",
            percent(took.len() as f64 / options.found.max(1) as f64),
            at(0.5),
            at(0.9),
            at(1.0)
        );
    }
}

/// An hour at 100 requests a second, with 12 h of history, and all three metrics.
fn speed(options: &Options) {
    let plan = plan("15m", "15m", metrics(Margins::Default));
    let clock = haldane::clock::Clock::system();
    let played = timed(&plan, NULLS[0].1, "", 100.0, options.hours).play(options.nulls, options.seed);
    let (runs, seconds) = (played.len(), clock.elapsed().as_secs_f64());
    println!("\n### Speed\n\n{runs} rehearsals of an hour at 100 requests a second with 12 h of history: {seconds:.1} s");
}

/// Every step takes its hold, whether it was proved or not.
fn timed<'a>(plan: &'a Plan, world: &'a str, canary: &'a str, rps: f64, hours: f64) -> Cell<'a> {
    Cell { plan, world, canary, rps, hours, hands: Hands::PromoteAtDeadline }
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn at((share, minutes): (f64, Option<f64>)) -> String {
    minutes.map_or_else(|| format!("{:.0}", 100.0 * share), |minutes| format!("{:.0} @ {minutes:.1}", 100.0 * share))
}

/// One cell for each rate.
fn rates(of: impl FnMut(f64) -> String) -> String {
    RATES.map(of).join(" / ")
}

/// A cell for each rate and each of the two sorts of limits; the same worlds for both.
fn both(rates: &[f64], plans: &[Plan; 2], of: impl Fn(f64) -> Vec<Vec<Played>>, mut cell: impl FnMut(&[Played]) -> String) -> String {
    let mut cells = plans.each_ref().map(|_| Vec::new());
    for rps in rates {
        cells.iter_mut().zip(of(*rps)).for_each(|(cells, played)| cells.push(cell(&played)));
    }
    cells.map(|cells| cells.join(" / ")).join(" | ")
}

fn nulls(options: &Options) {
    println!("\n### False rollbacks in %, at 10 / 100 / 1000 requests a second ({} rehearsals a cell)\n", options.nulls);
    println!("| world | zero margin | default margins | which metric |");
    println!("|---|---|---|---|");
    let plans = MARGINS.map(|margins| plan("15m", "15m", metrics(margins)));
    for (name, world) in NULLS.into_iter().filter(|(name, _)| options.plays(name)) {
        let mut by: BTreeMap<String, usize> = BTreeMap::new();
        let of = |rps| timed(&plans[0], world, "", rps, options.hours).play_each(&plans.each_ref(), options.nulls, options.seed);
        let cells = both(&options.rates(), &plans, of, |played| {
            played.iter().filter(|one| one.ending == Ending::RolledBack).for_each(|one| *by.entry(blamed(one)).or_default() += 1);
            percent(rolled_back(played))
        });
        let by: Vec<String> = by.iter().map(|(metric, count)| format!("{metric} {count}")).collect();
        println!("| {name} | {cells} | {} |", by.join(", "));
    }
}

/// Latency that depends on the load of a pod: healthy canaries that are rolled back, and slow ones that are found.
fn load(options: &Options) {
    println!("\n### Load per pod, at 10 / 100 / 1000 requests a second ({} and {} rehearsals a cell)\n", options.nulls, options.found);
    println!(
        "| latency depends on load: | rolled back, % | were load no excuse | promoted, % @ minutes | all 30 % slower, found, % @ minutes |"
    );
    println!("|---|---|---|---|---|");
    let plans = [0.10, 0.0].map(|load| plan("15m", "15m", explained_by_load(load)));
    let patient = plan("5m", "1h", explained_by_load(0.10));
    for (name, world) in LOADLESS.into_iter().chain(LOADS).filter(|(name, _)| options.plays(name)) {
        let of = |rps| timed(&plans[0], world, "", rps, options.hours).play_each(&plans.each_ref(), options.nulls, options.seed);
        let nulls = both(&options.rates(), &plans, of, |played| percent(rolled_back(played)));
        let cell = |plan, canary, rps, hands| Cell { plan, world, canary, rps, hours: options.hours, hands };
        let through = |rps: &f64| at(promoted(&cell(&patient, "", *rps, Hands::Approve).play(options.found, options.seed)));
        let slower = |rps: &f64| {
            let played = cell(&plans[0], "p50=130ms,p99=520ms", *rps, Hands::PromoteAtDeadline).play(options.found, options.seed);
            at(found(&played, "latency", 45.0))
        };
        let of_rates = |of: &dyn Fn(&f64) -> String| options.rates().iter().map(of).collect::<Vec<_>>().join(" / ");
        println!("| {name} | {nulls} | {} | {} |", of_rates(&through), of_rates(&slower));
    }
}

/// What rolled a rehearsal back.
fn blamed(played: &Played) -> String {
    played.by.clone().unwrap_or_default()
}

fn regressions(options: &Options) {
    println!(
        "\n### Found within 45 minutes, % @ median minutes, at 10 / 100 / 1000 requests a second ({} rehearsals a cell)\n",
        options.found
    );
    println!("| regression | zero margin | default margins |");
    println!("|---|---|---|");
    let plans = MARGINS.map(|margins| plan("15m", "15m", metrics(margins)));
    for one in REGRESSIONS.iter().filter(|one| options.plays(one.name)) {
        let of =
            |rps| timed(&plans[0], one.world, one.canary, rps, options.hours).play_each(&plans.each_ref(), options.found, options.seed);
        let cells = both(&options.rates(), &plans, of, |played| at(found(played, one.metric, 45.0)));
        println!("| {} | {cells} |", one.name);
    }
}

/// Healthy canaries with the default limits, hold 5 min, deadline 1 h.
fn healthy(options: &Options) {
    println!(
        "\n### Healthy canaries ({} rehearsals a cell): promoted % @ median minutes until 100 % (three holds are 15); holds alone % / with at most a minute more %; held by a limit %; rolled back %\n",
        options.found
    );
    println!("| requests a second | forecast, minutes | quiet 0.1 % | quiet 1 % | bursty 0.1 % | bursty 1 % |");
    println!("|---|---|---|---|---|---|");
    let plan = plan("5m", "1h", metrics(Margins::Default));
    let bake = plan.steps.last().map_or(0.0, |step| step.hold.as_secs_f64() / 60.0);
    let holds: f64 = plan.steps.iter().map(|step| step.hold.as_secs_f64() / 60.0).sum();
    for rps in [1.0, 5.0, 10.0, 50.0, 100.0, 500.0].into_iter().filter(|rps| options.rps.is_none_or(|only| only == *rps)) {
        let cells: Vec<String> = [NULLS[0], NULLS[2], NULLS[3], NULLS[4]]
            .iter()
            .map(|(_, world)| {
                let cell = Cell { plan: &plan, world, canary: "", rps, hours: options.hours, hands: Hands::Approve };
                let played = cell.play(options.found, options.seed);
                let (share, minutes) = promoted(&played);
                let within = |more: f64| {
                    let quick = |one: &&Played| one.ending == Ending::Promoted && one.minutes <= holds + more + 1e-6;
                    percent(played.iter().filter(quick).count() as f64 / played.len().max(1) as f64)
                };
                format!(
                    "{}; {} / {}; {}; {}",
                    at((share, minutes.map(|minutes| minutes - bake))),
                    within(0.0),
                    within(1.0),
                    percent(held_by_limit(&played)),
                    percent(rolled_back(&played))
                )
            })
            .collect();
        println!("| {rps} | {} | {} |", forecast(&plan, rps), cells.join(" | "));
    }
}

/// Canaries that are worse by just the pass margin: how often one step before 100 % passes them within an hour. No limit of the fail side is
/// near, so that nothing else ends it.
fn margin(options: &Options) {
    println!(
        "\n### On the pass margin: passed within an hour, %, at 10 / 100 / 1000 requests a second ({} rehearsals a cell)\n",
        options.nulls
    );
    println!("| canary | at 5 % | at 50 % |");
    println!("|---|---|---|");
    for one in MARGINS_MET.iter().filter(|one| options.plays(one.name)) {
        let cell = |weight: u8| {
            let plan = one_step(weight, "5m", "1h", wide(one.metric));
            let passed = |rps: &f64| {
                let cell =
                    Cell { plan: &plan, world: one.world, canary: one.canary, rps: *rps, hours: options.hours, hands: Hands::Approve };
                percent(promoted(&cell.play(options.nulls, options.seed)).0)
            };
            options.rates().iter().map(passed).collect::<Vec<_>>().join(" / ")
        };
        println!("| {} | {} | {} |", one.name, cell(5), cell(50));
    }
}

/// What the forecast says of the steps before 100 % at 0.1 % errors.
fn forecast(plan: &Plan, rps: f64) -> String {
    let seconds = |of: fn(&haldane::plan::Step) -> std::time::Duration| plan.steps.iter().map(|s| of(s).as_secs_f64()).collect::<Vec<_>>();
    let (holds, deadlines) = (seconds(|step| step.hold), seconds(|step| step.deadline));
    let found = forecast_plan(&plan.analysis.metrics, &terms(plan), 30.0, rps, &holds, &deadlines, 0.001);
    let compared = found.steps.iter().zip(&holds).take(plan.steps.len().saturating_sub(1));
    let steps = compared.map(|(step, hold)| step.minutes_to_pass.map(|minutes| minutes.max(hold / 60.0)));
    steps.sum::<Option<f64>>().map_or("never".to_owned(), |minutes| format!("{minutes:.0}"))
}

/// Binary classifiers that answer as before: how often the limit that holds is crossed all the same.
fn drift(options: &Options) {
    println!(
        "\n### Healthy classifiers: held by drift %; rolled back %, at 10 / 100 / 1000 requests a second ({} rehearsals a cell)\n",
        options.nulls
    );
    println!("| world | quiet | bursty |");
    println!("|---|---|---|");
    // Drift alone: the limit that holds has an error rate of its own.
    let drift = json!({"counter": "model_prediction_class_total", "class": "class"});
    let plan = plan("15m", "15m", json!([{ "drift": drift }]));
    let cell = |world: &str| {
        rates(|rps| {
            let played: Vec<Played> = timed(&plan, world, "", rps, options.hours).play(options.nulls, options.seed);
            format!("{}; {}", percent(held_by_limit(&played)), percent(rolled_back(&played)))
        })
    };
    for positives in [0.005, 0.05, 0.5] {
        let classes = format!("classes: [{}, {positives}]", 1.0 - positives);
        let quiet = format!("stable: {{{classes}}}");
        let bursty = format!("{{stable: {{{classes}}}, noise: {{errorBurst: 3, latencySd: 0.03, classConcentration: 500}}}}");
        println!("| {} % positives | {} | {} |", 100.0 * positives, cell(&quiet), cell(&bursty));
    }
    println!("| five classes | {} | {} |", cell(NULLS[0].1), cell(NULLS[3].1));
}

/// What the method is known to be weak against: noise that is slow, and an incident that one scrape sees earlier. Errors alone.
fn stress(options: &Options) {
    println!(
        "\n### Errors alone, at 10 / 100 / 1000 requests a second ({} rehearsals a cell, twice the errors {})\n",
        options.nulls, options.found
    );
    println!("| world | false rollbacks %, zero margin | false rollbacks %, default margin | 0.5 to 1 % found, default margin |");
    println!("|---|---|---|---|");
    let plans =
        [json!([{"errorRate": {"relative": 1, "absolute": 0}}]), json!([{"errorRate": {}}])].map(|metrics| plan("15m", "15m", metrics));
    let line = |name: &str, world: &str| {
        let of = |rps| timed(&plans[0], world, "", rps, options.hours).play_each(&plans.each_ref(), options.nulls, options.seed);
        let nulls = both(&RATES, &plans, of, |played| percent(rolled_back(played)));
        let twice = rates(|rps| {
            at(found(&timed(&plans[1], world, "errors=0.01", rps, options.hours).play(options.found, options.seed), "errorRate", 45.0))
        });
        println!("| {name} | {nulls} | {twice} |");
    };
    line("no noise", "stable: {errors: 0.005}");
    for time in ["5m", "25m"] {
        let world = format!("{{stable: {{errors: 0.005}}, noise: {{errorAr: {{sd: 0.3, time: {time}}}}}}}");
        line(&format!("30 % over {time}"), &world);
    }
    for skew in ["7.5s", "15s", "30s"] {
        let world = format!("{{stable: {{errors: 0.005}}, common: [{{from: 8m, to: 12m, errors: 0.10, skew: {skew}}}]}}");
        line(&format!("incident, canary's scrape {skew} earlier"), &world);
    }
}
