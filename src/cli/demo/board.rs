//! Both arms side by side while the demo runs: a block that is drawn again and again on a terminal, a line now and then elsewhere.

use std::{collections::BTreeMap, io::IsTerminal, time::Duration};

use tokio::time::Instant;

use crate::{
    api::RolloutStatus,
    cli::output::{Format, Output},
    clock::Clock,
    sim::{APP, NAMESPACE, World, traffic::Served},
    view::{Fact, View},
    words::count,
};

/// The board.
pub(super) struct Board<'a> {
    world: &'a World,
    output: &'a Output,
    clock: Clock,
    begin: Instant,
    live: bool,
    drawn: usize,
    told: String,
    /// The versions that are compared.
    arms: [String; 2],
    /// Counts when the act began, and when it was drawn last.
    before: [BTreeMap<String, Served>; 2],
}

impl<'a> Board<'a> {
    pub(super) fn new(world: &'a World, output: &'a Output, clock: Clock) -> Self {
        let live = output.format() == Format::Text && std::io::stdout().is_terminal();
        let before = [world.served(), world.served()];
        Self { world, output, clock, begin: Instant::now(), live, drawn: 0, told: String::new(), arms: Default::default(), before }
    }

    /// From now on these two versions are compared.
    pub(super) fn compare(&mut self, stable: &str, canary: &str) {
        self.arms = [stable.to_owned(), canary.to_owned()];
        self.before = [self.world.served(), self.world.served()];
        if !self.live {
            let head = columns("", "weight", "5xx", "p99", "fraud");
            self.say(&format!("{:<9} {head} | {head}\n", ""));
        }
    }

    /// Whether it is drawn in place.
    pub(super) fn live(&self) -> bool {
        self.live
    }

    /// Columns of the screen.
    pub(super) fn columns(&self) -> usize {
        self.output.terminal().columns
    }

    /// Words that stay, where people read them.
    pub(super) fn say(&mut self, text: &str) {
        self.clear();
        if self.output.format() == Format::Text {
            let _ = self.output.raw(text);
        }
    }

    /// Takes the block away.
    pub(super) fn clear(&mut self) {
        if self.drawn > 0 {
            let _ = self.output.raw(&format!("\u{1b}[{}A\u{1b}[J", self.drawn));
            self.drawn = 0;
        }
    }

    /// Reads the Rollout and the traffic and shows them; a new decision first.
    pub(super) fn draw(&mut self) -> RolloutStatus {
        let (status, served) = (self.world.status(), self.world.served());
        if self.output.format() == Format::Text {
            self.clear();
            let time = clock_text(self.begin.elapsed());
            if let Some(decision) = status.decision.as_ref().filter(|d| d.message != self.told) {
                self.told.clone_from(&decision.message);
                let headline = View::decided(NAMESPACE, APP, decision).headline();
                let _ = self.output.raw(&self.output.terminal().hang(&time, &headline));
            }
            let text = if self.live { self.block(&time, &served) } else { self.line(&time, &status, &served) };
            let _ = self.output.raw(&text);
            self.drawn = if self.live { text.lines().count() } else { 0 };
        }
        self.before[1] = served;
        status
    }

    /// Where the rollout stands, as `haldane status` shows it, and what the mesh does.
    fn block(&self, time: &str, served: &BTreeMap<String, Served>) -> String {
        let Some(rollout) = self.world.rollout() else { return String::new() };
        let (terminal, mut view) = (self.output.terminal(), View::standing(&rollout, self.clock.now()));
        view.facts.retain(|fact| matches!(fact.label.as_str(), "step" | "hold" | "waiting"));
        view.facts.insert(0, Fact::new(time, self.arms.each_ref().map(|arm| self.traffic(arm, served)).join("; ")));
        (view.exposed, view.now) = (None, None);
        view.next.clear();
        format!("\n{}", terminal.screen(&view))
    }

    /// `v2 5 % (seen 6 %), 1,204 requests`.
    fn traffic(&self, arm: &str, served: &BTreeMap<String, Served>) -> String {
        let weight = self.world.weights().get(arm).copied().unwrap_or(0);
        let requests = count(self.since(0, arm, served).requests as f64);
        format!("{arm} {weight} % (seen {} %), {requests} requests", self.seen(arm, served))
    }

    /// The end of an act, as `haldane status` shows it.
    pub(super) fn end(&mut self) {
        self.clear();
        if let Some(rollout) = self.world.rollout().filter(|_| self.output.format() == Format::Text) {
            let view = View::standing(&rollout, self.clock.now());
            let _ = self.output.raw(&format!("\n{}", self.output.terminal().screen(&view)));
        }
    }

    fn line(&self, time: &str, status: &RolloutStatus, served: &BTreeMap<String, Served>) -> String {
        let one = |arm: &String| {
            let done = self.since(0, arm, served);
            let weight = format!("{} %", self.world.weights().get(arm).copied().unwrap_or(0));
            let fraud = done.classes.get("fraud").copied().unwrap_or(0);
            columns(arm, &weight, &percent(done.errors, done.requests), &p99(&done), &percent(fraud, sum(&done)))
        };
        let beyond = self.beyond(status, served);
        let beyond = if beyond.is_empty() { beyond } else { format!(" | {beyond}") };
        format!("{time:<9} {}{beyond}\n", self.arms.each_ref().map(one).join(" | "))
    }

    /// What the canary gets beside a weight: `mirror of 100 %, 12000 copies so far`.
    fn beyond(&self, status: &RolloutStatus, served: &BTreeMap<String, Served>) -> String {
        let [_, canary] = &self.arms;
        let copies = self.since(0, canary, served).mirrored;
        let traffic = status.step.as_ref().and_then(|step| step.traffic.clone());
        let copies = (copies > 0).then(|| format!("{copies} copies so far"));
        traffic.into_iter().chain(copies).collect::<Vec<_>>().join(", ")
    }

    fn since(&self, then: usize, arm: &str, served: &BTreeMap<String, Served>) -> Served {
        let none = Served::default();
        let before = self.before.get(then).and_then(|all| all.get(arm)).unwrap_or(&none);
        served.get(arm).unwrap_or(&none).since(before)
    }

    /// An arm's share of the requests since the last drawing, in percent.
    fn seen(&self, arm: &str, served: &BTreeMap<String, Served>) -> u64 {
        let all: u64 = served.keys().map(|version| self.since(1, version, served).requests).sum();
        (100 * self.since(1, arm, served).requests + all / 2) / all.max(1)
    }
}

/// One arm in a line.
fn columns(arm: &str, weight: &str, errors: &str, p99: &str, fraud: &str) -> String {
    format!("{arm:<3} {weight:>6} {errors:>6} {p99:>7} {fraud:>6}")
}

fn sum(done: &Served) -> u64 {
    done.classes.values().sum()
}

/// `0.11%`, `90.1%`, `-` of nothing.
fn percent(part: u64, whole: u64) -> String {
    let share = 100.0 * part as f64 / whole as f64;
    match whole {
        0 => "-".into(),
        _ if share >= 10.0 => format!("{share:.0}%"),
        _ => format!("{share:.2}%"),
    }
}

fn p99(done: &Served) -> String {
    done.quantile(0.99).map_or("-".into(), |ms| format!("{ms:.0} ms"))
}

/// `1:07`.
fn clock_text(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_short_and_nothing_is_a_dash() {
        assert_eq!([percent(0, 0), percent(1, 1000), percent(901, 1000), percent(0, 7)], ["-", "0.10%", "90%", "0.00%"]);
        assert_eq!(clock_text(Duration::from_secs(67)), "1:07");
    }
}
