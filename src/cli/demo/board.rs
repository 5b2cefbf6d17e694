//! Both arms side by side while the demo runs: a block that is drawn again and again on a terminal, a line now and then elsewhere.

use std::{collections::BTreeMap, io::IsTerminal, time::Duration};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::{
    api::RolloutStatus,
    cli::{
        output::{Format, Output},
        screen,
    },
    clock::Clock,
    sim::{World, traffic::Served},
};

/// Columns of a terminal that are used.
const WIDTH: usize = 80;

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
                let _ = self.output.raw(&screen::row(&time, &format!("{}: {}", screen::outcome(decision.outcome), decision.message)));
            }
            let text = if self.live { self.block(&time, &status, &served) } else { self.line(&time, &status, &served) };
            let _ = self.output.raw(&text);
            self.drawn = if self.live { text.lines().count() } else { 0 };
        }
        self.before[1] = served;
        status
    }

    fn block(&self, time: &str, status: &RolloutStatus, served: &BTreeMap<String, Served>) -> String {
        let phase = self.output.paint(screen::tone(status.phase), &screen::phase(status));
        let mut text = format!("{time:<9} {phase}{}\n", step(status, self.clock.now()));
        text += &format!("{:<9} {}\n", "", "      weight   seen   requests   5xx       p99      predictions");
        for (index, arm) in self.arms.iter().enumerate() {
            let done = self.since(0, arm, served);
            let predictions: Vec<String> = done.classes.iter().map(|(name, n)| format!("{name} {}", percent(*n, sum(&done)))).collect();
            let line = format!(
                "{:<9} {arm:<4} {:>5} %  {:>4} %  {:>9}  {:>7}  {:>7}  {}",
                ["stable", "canary"].get(index).copied().unwrap_or_default(),
                self.world.weights().get(arm).copied().unwrap_or(0),
                self.seen(arm, served),
                done.requests,
                percent(done.errors, done.requests),
                p99(&done),
                predictions.join(", ")
            );
            text += &format!("{}\n", cut(line.trim_end(), WIDTH));
        }
        let beyond = self.beyond(status, served);
        if beyond.is_empty() { text } else { text + &format!("{:<9} {beyond}\n", "") }
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

/// `, step 2, held 6 of 10 s`.
fn step(status: &RolloutStatus, now: Timestamp) -> String {
    let Some(step) = status.step.as_ref().filter(|s| s.hold_seconds > 0) else { return String::new() };
    let held = step.since.as_ref().map_or(step.held_seconds, |since| now.duration_since(since.0).as_secs());
    format!(", step {}, held {} of {} s", step.name, held.clamp(0, step.hold_seconds), step.hold_seconds)
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

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.to_owned() } else { text.chars().take(width.saturating_sub(1)).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_short_and_nothing_is_a_dash() {
        assert_eq!([percent(0, 0), percent(1, 1000), percent(901, 1000), percent(0, 7)], ["-", "0.10%", "90%", "0.00%"]);
        assert_eq!(clock_text(Duration::from_secs(67)), "1:07");
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
