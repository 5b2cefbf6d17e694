//! Very many Rollouts, and a Prometheus that is far away.

use std::{collections::BTreeMap, time::Duration};

use haldane::{api::Phase, sim::apiserver::Verb};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    fleet::{Fleet, Size, name},
    formula::{Asked, Formula, Rates},
    process::Controller,
    summary,
};

const SCRAPE: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(30);
const LAG: Duration = Duration::from_secs(1);
/// An answer takes so long.
const ANSWER: Duration = Duration::from_millis(200);
/// Looks that ask for more than this are of the past: four windows and a scrape.
const PAST_SECONDS: u64 = 140;
/// Started at once on a controller that has nothing else to judge.
const TOGETHER: usize = 50;
/// Until those have their history.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the looks of all are watched.
const WATCHED: Duration = Duration::from_secs(180);

/// So many under way and at rest.
pub(crate) async fn scale(active: usize, resting: usize) {
    let models = active + resting;
    let fleet = Fleet::start(Size { models, rps: 0.0, replicas: 1, scrape: SCRAPE, lag: Duration::from_secs(1) }).await;
    let rates = Rates { rps: 100.0, scrape: SCRAPE, answer: ANSWER, past: Duration::from_secs(12 * 3600) };
    let prometheus = Formula::start(fleet.clock, fleet.objects.clone(), rates).await;
    let config = fleet.config(&prometheus.url());
    for index in 0..models {
        fleet.apply(index, &spec(index, "v1")).await;
    }
    let controller = Controller::start_with(&fleet, config).await;
    let begun = fleet.clock.elapsed();
    for index in 0..models {
        fleet.until(index, "idle", |status| status.phase == Some(Phase::Idle)).await;
    }
    println!("{models} at rest after {:.1} s: memory {:.1} MB", since(&fleet, begun), controller.megabytes("VmRSS:"));

    let together = TOGETHER.min(active);
    together_with_history(&fleet, &prometheus, &controller, together).await;

    for index in together..active {
        fleet.apply(index, &spec(index, "v2")).await;
    }
    let begun = fleet.clock.elapsed();
    while shifted(&fleet).len() < active && since(&fleet, begun) < PATIENCE.as_secs_f64() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let seconds = since(&fleet, begun);
    println!("{active} started: {} of them have a weight after {seconds:.1} s", shifted(&fleet).len());
    let (cpu, before) = (controller.milliseconds(), prometheus.asked().len());
    let begun = fleet.clock.elapsed();
    tokio::time::sleep(WATCHED).await;
    let asked: Vec<Asked> = prometheus.asked().split_off(before);
    let seconds = since(&fleet, begun);
    let all = late(&asked);
    let looks: usize = all.values().map(Vec::len).sum();
    println!(
        "{active} under way, {resting} at rest: {:.3} of a core, memory {:.1} MB (at most {:.1} MB), {:.1} queries and {:.1} looks a second",
        (controller.milliseconds() - cpu) / 1000.0 / seconds,
        controller.megabytes("VmRSS:"),
        controller.megabytes("VmHWM:"),
        asked.len() as f64 / seconds,
        looks as f64 / seconds,
    );
    println!(
        "  looks came late by, in seconds: {}; {} of {active} were looked at",
        summary(all.into_values().flatten().collect()),
        count(&asked)
    );
}

/// Some start at once: until they have a weight, and until nothing of their past is asked for any more.
async fn together_with_history(fleet: &Fleet, prometheus: &Formula, controller: &Controller, models: usize) {
    fleet.api.faults().forget();
    let (begun, cpu) = (fleet.clock.now(), controller.milliseconds());
    for index in 0..models {
        fleet.apply(index, &spec(index, "v2")).await;
    }
    let started = fleet.clock.elapsed();
    let mut quiet = 0;
    let mut known = 0;
    // Nothing of the past is asked for during ten seconds, and all have begun.
    while quiet < 10 && since(fleet, started) < PATIENCE.as_secs_f64() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let past = prometheus.asked().iter().filter(|asked| asked.seconds > PAST_SECONDS).count();
        quiet = if past == known && shifted(fleet).len() >= models { quiet + 1 } else { 0 };
        known = past;
    }
    let after = |at: Timestamp| at.duration_since(begun).as_secs_f64();
    let mut history: BTreeMap<usize, f64> = BTreeMap::new();
    for asked in prometheus.asked().iter().filter(|asked| asked.seconds > PAST_SECONDS) {
        history.extend(asked.models.iter().map(|model| (*model, after(asked.answered))));
    }
    let finished = quiet >= 10;
    println!(
        "{models} started at once: seconds to the first shift: {}; {}: {}; processor {:.1} ms each, memory {:.1} MB",
        summary(shifted(fleet).into_values().map(after).collect()),
        if finished {
            "until their history was read"
        } else {
            "until the newest question about their history, which was not read to its end"
        },
        summary(history.into_values().collect()),
        (controller.milliseconds() - cpu) / models as f64,
        controller.megabytes("VmRSS:"),
    );
}

/// When each route was written first, of those that were.
fn shifted(fleet: &Fleet) -> BTreeMap<String, Timestamp> {
    let mut first = BTreeMap::new();
    for record in fleet.requests() {
        if record.verb == Verb::Patch && record.resource.starts_with("virtualservices") {
            first.entry(record.name).or_insert(record.at);
        }
    }
    first
}

/// How long after the end of each window, and the lag, its last query was answered, by model.
fn late(asked: &[Asked]) -> BTreeMap<usize, Vec<f64>> {
    let mut last: BTreeMap<(usize, Timestamp), Timestamp> = BTreeMap::new();
    for asked in asked.iter().filter(|asked| asked.seconds > 0 && asked.seconds <= PAST_SECONDS) {
        last.extend(asked.models.iter().map(|model| ((*model, asked.time), asked.answered)));
    }
    let mut all: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for ((model, time), answered) in last {
        all.entry(model).or_default().push(answered.duration_since(time).as_secs_f64() - LAG.as_secs_f64());
    }
    all
}

fn count(asked: &[Asked]) -> usize {
    late(asked).len()
}

fn since(fleet: &Fleet, begun: Duration) -> f64 {
    fleet.clock.elapsed().saturating_sub(begun).as_secs_f64()
}

/// One step that lasts longer than all this.
fn spec(index: usize, subset: &str) -> Value {
    let metrics = json!([{"errorRate": {}}, {"latency": {}}]);
    let steps = json!([{"weight": 5, "hold": "2h"}]);
    json!({
        "traffic": {"virtualService": name(index)}, "canary": {"subset": subset}, "strategy": {"canary": {"steps": steps}},
        "analysis": {"interval": format!("{}s", WINDOW.as_secs()), "warmUp": "1s", "metrics": metrics}, "alerts": [],
    })
}
