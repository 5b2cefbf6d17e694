//! Very many Rollouts, and a Prometheus that is far away.

use std::{collections::BTreeMap, time::Duration};

use haldane::{api::Phase, clock::Clock, sim::apiserver::Verb};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    fleet::{Fleet, Size, name},
    formula::{Asked, Formula, Rates},
    process::{Controller, own_seconds},
    summary,
};

const SCRAPE: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(30);
const LAG: Duration = Duration::from_secs(1);
/// With 200 ms an answer, eight at once are 40 a second, and 1,000 Rollouts ask for 67.
const CONCURRENCY: u32 = 16;
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
    let clock = Clock::system();
    let begun = (clock.elapsed(), own_seconds());
    let fleet = Fleet::start(Size { models, rps: 0.0, replicas: 1, scrape: SCRAPE, lag: LAG, concurrency: CONCURRENCY }).await;
    let rates = Rates { rps: 100.0, scrape: SCRAPE, answer: ANSWER, past: Duration::from_secs(12 * 3600) };
    let prometheus = Formula::start(fleet.clock, fleet.objects.clone(), rates).await;
    let config = fleet.config(&prometheus.url());
    for index in 0..models {
        fleet.apply(index, &spec(index, "v1")).await;
    }
    println!(
        "a world of {models} models: {:.1} s, processor of the bench {:.1} s",
        clock.elapsed().saturating_sub(begun.0).as_secs_f64(),
        own_seconds() - begun.1
    );
    let own = own_seconds();
    let controller = Controller::start_with(&fleet, config).await;
    let begun = fleet.clock.elapsed();
    for index in 0..models {
        fleet.until(index, "idle", |status| status.phase == Some(Phase::Idle)).await;
    }
    println!(
        "{models} at rest after {:.1} s: memory {:.1} MB (at most {:.1} MB), processor {:.1} s, and of the bench {:.1} s",
        since(&fleet, begun),
        controller.megabytes("VmRSS:"),
        controller.megabytes("VmHWM:"),
        controller.milliseconds() / 1000.0,
        own_seconds() - own,
    );

    let together = TOGETHER.min(active);
    let mut shifted = Shifted::default();
    together_with_history(&fleet, &prometheus, &controller, &mut shifted, together).await;

    for index in together..active {
        fleet.apply(index, &spec(index, "v2")).await;
    }
    let (begun, cpu, own) = (fleet.clock.elapsed(), controller.milliseconds(), own_seconds());
    while shifted.look(&fleet).len() < active && since(&fleet, begun) < PATIENCE.as_secs_f64() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let seconds = since(&fleet, begun);
    println!(
        "{active} started: {} of them have a weight after {seconds:.1} s; {:.3} of a core, and of the bench {:.3}",
        shifted.look(&fleet).len(),
        (controller.milliseconds() - cpu) / 1000.0 / seconds,
        (own_seconds() - own) / seconds,
    );
    let (cpu, own, before) = (controller.milliseconds(), own_seconds(), prometheus.answered());
    let begun = fleet.clock.elapsed();
    tokio::time::sleep(WATCHED).await;
    let (asked, seconds) = (prometheus.asked(before), since(&fleet, begun));
    let past = asked.iter().filter(|asked| asked.seconds > PAST_SECONDS).count();
    let all = late(&asked);
    let looks: usize = all.values().map(Vec::len).sum();
    println!(
        "{active} under way, {resting} at rest: {:.3} of a core, and of the bench {:.3}; memory {:.1} MB (at most {:.1} MB), {:.1} queries a second, {:.1} of them about the past, and {:.1} looks",
        (controller.milliseconds() - cpu) / 1000.0 / seconds,
        (own_seconds() - own) / seconds,
        controller.megabytes("VmRSS:"),
        controller.megabytes("VmHWM:"),
        asked.len() as f64 / seconds,
        past as f64 / seconds,
        looks as f64 / seconds,
    );
    let seen = all.len();
    println!("  looks came late by, in seconds: {}; {seen} of {active} were looked at", summary(all.into_values().flatten().collect()));
}

/// Some start at once: until they have a weight, and until nothing of their past is asked for any more.
async fn together_with_history(fleet: &Fleet, prometheus: &Formula, controller: &Controller, shifted: &mut Shifted, models: usize) {
    fleet.api.faults().forget();
    let own = own_seconds();
    let (begun, cpu) = (fleet.clock.now(), controller.milliseconds());
    for index in 0..models {
        fleet.apply(index, &spec(index, "v2")).await;
    }
    let started = fleet.clock.elapsed();
    let mut quiet = 0;
    let (mut known, mut seen) = (0, 0);
    // Nothing of the past is asked for during ten seconds, and all have begun.
    while quiet < 10 && since(fleet, started) < PATIENCE.as_secs_f64() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let new = prometheus.asked(seen);
        let past = new.iter().filter(|asked| asked.seconds > PAST_SECONDS).count();
        quiet = if past == 0 && shifted.look(fleet).len() >= models { quiet + 1 } else { 0 };
        (known, seen) = (known + past, seen + new.len());
    }
    let after = |at: Timestamp| at.duration_since(begun).as_secs_f64();
    let mut history: BTreeMap<usize, f64> = BTreeMap::new();
    for asked in prometheus.asked(0).iter().filter(|asked| asked.seconds > PAST_SECONDS) {
        history.extend(asked.models.iter().map(|model| (*model, after(asked.answered))));
    }
    let finished = quiet >= 10;
    println!(
        "{models} started at once: seconds to the first shift: {}; {}: {}; {:.1} questions about the past each, processor {:.1} ms each, and of the bench {:.1} ms; memory {:.1} MB (at most {:.1} MB)",
        summary(shifted.look(fleet).values().copied().map(after).collect()),
        if finished {
            "until their history was read"
        } else {
            "until the newest question about their history, which was not read to its end"
        },
        summary(history.into_values().collect()),
        known as f64 / models as f64,
        (controller.milliseconds() - cpu) / models as f64,
        (own_seconds() - own) * 1000.0 / models as f64,
        controller.megabytes("VmRSS:"),
        controller.megabytes("VmHWM:"),
    );
}

/// When each route was written first, of those that were.
#[derive(Default)]
struct Shifted {
    first: BTreeMap<String, Timestamp>,
    /// Number of the next request.
    next: u64,
}

impl Shifted {
    fn look(&mut self, fleet: &Fleet) -> &BTreeMap<String, Timestamp> {
        let first = &mut self.first;
        self.next = fleet.each_request(self.next, |record| {
            if record.verb == Verb::Patch && record.resource.starts_with("virtualservices") {
                first.entry(record.name.clone()).or_insert(record.at);
            }
        });
        first
    }
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
