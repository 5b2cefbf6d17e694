//! Worlds and plans in which the judge's promises are measured, through the same code as `haldane rehearse`.

#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "shared by a test and a bench, each uses its part")]

use haldane::api::RolloutSpec;
use haldane::cli::all_of;
use haldane::plan::Plan;
use haldane::rehearse::{Ending, Hands, Played, Quantiles, Scenario, Setup, World, play, seed_of};
use serde_json::{Value, json};

/// What is noisy and bursty: errors in bursts, latency and answers that shift from window to window.
const BURSTY: &str = "noise: {errorBurst: 3, latencySd: 0.03, classConcentration: 500}";

/// The same with 1 % errors.
const BURSTY_ONE: &str = "{stable: {errors: 0.01}, noise: {errorBurst: 3, latencySd: 0.03, classConcentration: 500}}";

/// Errors in bursts of two, and nothing else.
const BURSTS_OF_TWO: &str = "{stable: {errors: 0.002}, noise: {errorBurst: 2}}";

/// Worlds in which the canary is as stable.
pub(crate) const NULLS: [(&str, &str); 9] = [
    ("0.1 %", "stable: {errors: 0.001}"),
    ("0.1 %, p99 300 ms", "stable: {errors: 0.001, latency: {p99: 300ms}}"),
    ("1 %", "stable: {errors: 0.01}"),
    ("0.1 %, bursty", "{stable: {errors: 0.001}, noise: {errorBurst: 3, latencySd: 0.03, classConcentration: 500}}"),
    ("1 %, bursty", BURSTY_ONE),
    ("incident", "common: [{from: 8m, to: 12m, errors: 0.10, latency: 1.5}]"),
    (
        "diurnal",
        "{stable: {errors: 0.003}, common: [{from: 0m, to: 60m, errors: 0.009, latency: 1.2, classes: [0.40, 0.35, 0.15, 0.07, 0.03], ramp: true}]}",
    ),
    ("pods differ", "noise: {podErrorSd: 0.2, podLatencySd: 0.03}"),
    ("0.2 %, bursts of two", BURSTS_OF_TWO),
];

/// Worlds in which latency depends on the load of a pod, or on how fresh it is, and the two versions' pods do not get the same. The canary is
/// as stable in all else.
pub(crate) const LOADS: [(&str, &str); 6] = [
    ("cold caches, as many pods", "{canary: {pods: 10}, load: {coldCache: 0.5}}"),
    ("colder ones, as the past shows", "{canary: {pods: 10}, load: {coldCache: 1, swing: 9}}"),
    ("batches, as many pods", "{canary: {pods: 10}, load: {queueing: 0.5}}"),
    ("queues, few canary pods", "{canary: {pods: [1, 2, 3, 10]}, load: {queueing: 0.1}}"),
    ("longer ones, as the past shows", "{canary: {pods: [1, 2, 3, 10]}, load: {queueing: 0.15, swing: 4}}"),
    ("a cold start of a minute", "coldStart: {latency: 2, fades: 1m}"),
];

/// The same without any dependence: pods in proportion, and as many on both sides.
pub(crate) const LOADLESS: [(&str, &str); 2] = [("none, pods in proportion", ""), ("none, as many pods", "canary: {pods: 10}")];

/// Errors, latency and drift with the default limits, but for what a doubling of the load may explain.
pub(crate) fn explained_by_load(load: f64) -> Value {
    json!([{"errorRate": {}}, {"latency": {"load": load}}, {"drift": {"counter": "model_prediction_class_total", "class": "class"}}])
}

/// A regression: its name, stable's world, what the canary does, and the metric that should see it.
pub(crate) struct Regression {
    pub name: &'static str,
    pub world: &'static str,
    pub canary: &'static str,
    pub metric: &'static str,
}

const fn regression(name: &'static str, world: &'static str, canary: &'static str, metric: &'static str) -> Regression {
    Regression { name, world, canary, metric }
}

pub(crate) const REGRESSIONS: [Regression; 16] = [
    regression("errors 0.1 to 1 %", "", "errors=0.01", "errorRate"),
    regression("errors 1 to 2 %", "stable: {errors: 0.01}", "errors=0.02", "errorRate"),
    regression("errors 1 to 1.2 %", "stable: {errors: 0.01}", "errors=0.012", "errorRate"),
    regression("errors 0.1 to 20 %", "", "errors=0.2", "errorRate"),
    regression("errors 0.1 to 1 % from minute 20", "", "errors=0.01,from=20m", "errorRate"),
    regression("errors 0.1 to 1 %, bursty", BURSTY, "errors=0.01", "errorRate"),
    regression("errors 1 to 2 %, bursty", BURSTY_ONE, "errors=0.02", "errorRate"),
    regression("errors 0.2 to 1.2 %, bursts of two", BURSTS_OF_TWO, "errors=0.012", "errorRate"),
    regression("p99 + 10 %", "", "p99=440ms", "latency"),
    regression("p99 + 30 %", "", "p99=520ms", "latency"),
    regression("all 10 % slower", "", "p50=110ms,p99=440ms", "latency"),
    regression("all 30 % slower", "", "p50=130ms,p99=520ms", "latency"),
    regression("5 points of the mix", "", "classes=0.45/0.30/0.15/0.07/0.03", "drift"),
    regression("20 points of the mix", "", "classes=0.30/0.45/0.15/0.07/0.03", "drift"),
    regression("all 10 % slower, bursty", BURSTY, "p50=110ms,p99=440ms", "latency"),
    regression("5 points of the mix, bursty", BURSTY, "classes=0.45/0.30/0.15/0.07/0.03", "drift"),
];

/// Canaries that are worse by just the pass margin of a step before 100 %.
pub(crate) const MARGINS_MET: [Regression; 7] = [
    regression("errors 0.1 to 0.3 %", "", "errors=0.003", "errorRate"),
    regression("errors 1 to 2 %", "stable: {errors: 0.01}", "errors=0.02", "errorRate"),
    regression("errors 0.1 to 0.3 %, bursty", BURSTY, "errors=0.003", "errorRate"),
    regression("errors 1 to 2 %, bursty", BURSTY_ONE, "errors=0.02", "errorRate"),
    regression(
        "errors 0.1 to 0.3 %, each pod's rate wandering by 30 % over 5 min",
        "noise: {errorAr: {sd: 0.3, time: 5m}}",
        "errors=0.003",
        "errorRate",
    ),
    regression("all 10 % slower", "", "p50=110ms,p99=440ms", "latency"),
    regression("10 points of the mix", "", "classes=0.40/0.35/0.15/0.07/0.03", "drift"),
];

/// One metric with fail limits that are far away.
pub(crate) fn wide(metric: &str) -> Value {
    match metric {
        "errorRate" => json!([{"errorRate": {"relative": 10, "absolute": 0.2}}]),
        "latency" => json!([{"latency": {"stretch": 1}}]),
        _ => json!([{"drift": {"counter": "model_prediction_class_total", "class": "class", "hold": 0.6, "rollback": 0.6}}]),
    }
}

/// Limits of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Margins {
    Zero,
    Default,
}

/// Errors, latency and drift with these limits.
pub(crate) fn metrics(margins: Margins) -> Value {
    let drift = json!({"counter": "model_prediction_class_total", "class": "class"});
    match margins {
        Margins::Default => json!([{"errorRate": {}}, {"latency": {}}, {"drift": drift}]),
        Margins::Zero => {
            let drift = json!({"counter": "model_prediction_class_total", "class": "class", "rollback": 0});
            json!([{"errorRate": {"relative": 1, "absolute": 0}}, {"latency": {"stretch": 0}}, {"drift": drift}])
        }
    }
}

/// 5, 20, 50, 100 % with windows of 30 s.
pub(crate) fn plan(hold: &str, deadline: &str, metrics: Value) -> Plan {
    weights(&[5, 20, 50, 100], hold, deadline, metrics)
}

/// One step, and 100 %.
pub(crate) fn one_step(weight: u8, hold: &str, deadline: &str, metrics: Value) -> Plan {
    weights(&[weight, 100], hold, deadline, metrics)
}

fn weights(weights: &[u8], hold: &str, deadline: &str, metrics: Value) -> Plan {
    let spec = json!({
        "traffic": {"virtualService": "fraud"},
        "canary": {"subset": "v2"},
        "strategy": {"canary": {"weights": weights, "hold": hold, "deadline": deadline}},
        "analysis": {"interval": "30s", "metrics": metrics},
    });
    let spec: RolloutSpec = serde_json::from_value(spec).unwrap();
    Plan::parse(&spec).unwrap()
}

/// What is measured: a plan in a world.
pub(crate) struct Cell<'a> {
    pub plan: &'a Plan,
    pub world: &'a str,
    pub canary: &'a str,
    pub rps: f64,
    /// Hours of stable traffic before.
    pub hours: f64,
    pub hands: Hands,
}

impl Cell<'_> {
    /// `runs` rehearsals, on all cores.
    pub(crate) fn play(&self, runs: usize, seed: u64) -> Vec<Played> {
        self.play_each(&[self.plan], runs, seed).pop().unwrap()
    }

    /// The same worlds under several plans of the same steps and metrics, which may differ in their limits: the rehearsals of each.
    pub(crate) fn play_each(&self, plans: &[&Plan], runs: usize, seed: u64) -> Vec<Vec<Played>> {
        let canary: Vec<String> = if self.canary.is_empty() { Vec::new() } else { vec![self.canary.to_owned()] };
        let scenario = Scenario { history: self.hours * 3600.0, ..Scenario::read(self.world, None, &[], &canary).unwrap() };
        let interval = self.plan.analysis.interval.as_secs_f64();
        let one = |run: usize| -> Vec<Played> {
            let mut before = World::new(&scenario, &self.plan.analysis.metrics, self.rps, interval, seed_of(seed, run as u64));
            let history = before.history();
            let play = |plan: &&Plan| {
                let setup = Setup {
                    plan: (*plan).clone(),
                    interval,
                    stable_pods: scenario.stable_pods,
                    canary_pods: scenario.canary_pods(0),
                    hands: self.hands,
                };
                let mut world = before.clone();
                let mut windows =
                    |start: f64, end: f64, step: usize, split: [f64; 2]| Some(world.window(start, end, split, scenario.canary_pods(step)));
                play(&setup, &history, &mut windows, false)
            };
            plans.iter().map(play).collect()
        };
        let mut each: Vec<Vec<Played>> = plans.iter().map(|_| Vec::with_capacity(runs)).collect();
        for played in all_of(runs, one, |_| {}) {
            each.iter_mut().zip(played).for_each(|(of_plan, one)| of_plan.push(one));
        }
        each
    }
}

/// Share that was rolled back.
pub(crate) fn rolled_back(played: &[Played]) -> f64 {
    played.iter().filter(|one| one.ending == Ending::RolledBack).count() as f64 / played.len().max(1) as f64
}

/// Share that this metric rolled back within so many minutes, and the median of the minutes.
pub(crate) fn found(played: &[Played], metric: &str, within: f64) -> (f64, Option<f64>) {
    let by = |one: &&Played| one.ending == Ending::RolledBack && one.by.as_deref() == Some(metric) && one.minutes <= within;
    let minutes: Vec<f64> = played.iter().filter(by).map(|one| one.minutes).collect();
    (minutes.len() as f64 / played.len().max(1) as f64, Quantiles::of(minutes).p50)
}

/// Share promoted, and the median of the minutes.
pub(crate) fn promoted(played: &[Played]) -> (f64, Option<f64>) {
    let minutes: Vec<f64> = played.iter().filter(|one| one.ending == Ending::Promoted).map(|one| one.minutes).collect();
    (minutes.len() as f64 / played.len().max(1) as f64, Quantiles::of(minutes).p50)
}

/// Share in which the limit that holds was crossed.
pub(crate) fn held_by_limit(played: &[Played]) -> f64 {
    played.iter().filter(|one| one.hold_limit).count() as f64 / played.len().max(1) as f64
}
