//! Both arms side by side while the demo runs: a block that is drawn again and again on a terminal, a line now and then elsewhere.

use std::{collections::BTreeMap, io::IsTerminal, time::Duration};

use tokio::time::Instant;

use crate::{
    api::{MetricEvidence, RolloutStatus, Verdict},
    cli::{
        output::{Format, Output, Tone},
        screen,
    },
    sim::{World, traffic::Served},
};

/// Columns of a terminal that are used.
const WIDTH: usize = 80;

/// The board.
pub(super) struct Board<'a> {
    world: &'a World,
    output: &'a Output,
    begin: Instant,
    live: bool,
    drawn: usize,
    told: String,
    before: BTreeMap<String, Served>,
}

impl<'a> Board<'a> {
    pub(super) fn new(world: &'a World, output: &'a Output) -> Self {
        let live = output.format() == Format::Text && std::io::stdout().is_terminal();
        Self { world, output, begin: Instant::now(), live, drawn: 0, told: String::new(), before: world.served() }
    }

    /// Whether it is drawn in place.
    pub(super) fn live(&self) -> bool {
        self.live
    }

    pub(super) fn output(&self) -> &Output {
        self.output
    }

    /// Takes the block away.
    pub(super) fn clear(&mut self) {
        if self.drawn > 0 {
            let _ = self.output.raw(&format!("\u{1b}[{}A\u{1b}[J", self.drawn));
            self.drawn = 0;
        }
    }

    /// Reads the Rollout and the traffic and shows them; new decisions first.
    pub(super) fn draw(&mut self) -> RolloutStatus {
        let status = self.world.status();
        if self.output.format() != Format::Text {
            return status;
        }
        self.clear();
        let time = clock_text(self.begin.elapsed());
        if let Some(decision) = &status.decision
            && self.told != decision.message
        {
            self.told.clone_from(&decision.message);
            let word = screen::outcome(decision.outcome);
            let _ = self.output.raw(&screen::row(&time, &format!("{word}: {}", decision.message)));
        }
        let served = self.world.served();
        let text = if self.live { self.block(&time, &status, &served) } else { self.line(&time, &status, &served) };
        let _ = self.output.raw(&text);
        if self.live {
            self.drawn = text.lines().count();
        }
        self.before = served;
        status
    }

    /// Time, weights as they stand, and each version's share of the newest requests.
    fn traffic(&self, served: &BTreeMap<String, Served>) -> String {
        let weights = self.world.weights();
        let grown = |version: &str| {
            let count = |all: &BTreeMap<String, Served>| all.get(version).map_or(0, |s| s.requests);
            count(served).saturating_sub(count(&self.before))
        };
        let all: u64 = served.keys().map(|version| grown(version)).sum();
        let one = |(subset, weight): (&String, &i64)| {
            let share = 100.0 * grown(subset) as f64 / all.max(1) as f64;
            format!("{subset} {weight} % (seen {share:.0} %)")
        };
        weights.iter().map(one).collect::<Vec<_>>().join("   ")
    }

    fn block(&self, time: &str, status: &RolloutStatus, served: &BTreeMap<String, Served>) -> String {
        let phase = self.output.paint(screen::tone(status.phase), &screen::phase(status));
        let mut text = format!("{time:>9} {phase}{}   {}\n", hold(status), self.traffic(served));
        if !status.evidence.is_empty() {
            let arm = |version: Option<&crate::api::Version>, word: &str| version.map_or(word.into(), |v| format!("{word} {}", v.subset));
            let (stable, canary) = (arm(status.stable.as_ref(), "stable"), arm(status.canary.as_ref(), "canary"));
            text += &row("", &stable, &canary, "difference", "");
        }
        for metric in &status.evidence {
            text += &self.metric(metric);
        }
        text
    }

    fn metric(&self, metric: &MetricEvidence) -> String {
        let arm = |arm: Option<&crate::api::ArmValue>| arm.map(|a| a.text.clone()).unwrap_or_default();
        let difference = metric.effect.as_ref().map(|e| e.text.clone()).unwrap_or_default();
        let (word, tone) = says(metric.verdict);
        let line = row(&metric.metric, &arm(metric.stable.as_ref()), &arm(metric.canary.as_ref()), &difference, word);
        line.replacen(word, &self.output.paint(tone, word), usize::from(tone != Tone::Plain))
    }

    fn line(&self, time: &str, status: &RolloutStatus, served: &BTreeMap<String, Served>) -> String {
        let mut text = format!("{time:>9} {}{}   {}", screen::phase(status), hold(status), self.traffic(served));
        for metric in &status.evidence {
            let value = |arm: Option<&crate::api::ArmValue>| arm.and_then(|a| a.value).map(|v| number(&metric.metric, v));
            let arms = match (value(metric.stable.as_ref()), value(metric.canary.as_ref())) {
                (Some(stable), Some(canary)) => format!(" {stable}/{canary}"),
                _ => metric.effect.as_ref().map(|e| format!(" {:.2}", e.value)).unwrap_or_default(),
            };
            text += &format!("; {}{arms} {}", metric.metric, says(metric.verdict).0);
        }
        format!("{}\n", cut(&text, WIDTH))
    }
}

/// A value of a metric in a few characters.
fn number(metric: &str, value: f64) -> String {
    match metric {
        "errorRate" => format!("{:.2}%", 100.0 * value),
        "latency" => format!("{value:.0}ms"),
        _ => format!("{value:.2}"),
    }
}

fn says(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Pass => ("ok", Tone::Good),
        Verdict::Inconclusive => ("open", Tone::Plain),
        Verdict::Fail => ("FAIL", Tone::Bad),
    }
}

fn hold(status: &RolloutStatus) -> String {
    let step = status.step.as_ref().filter(|s| s.hold_seconds > 0);
    step.map_or_else(String::new, |s| format!(", held {} of {} s", s.held_seconds, s.hold_seconds))
}

fn row(name: &str, stable: &str, canary: &str, difference: &str, says: &str) -> String {
    let name = cut(name, 9);
    let line = format!("{name:>9}  {:<21} {:<21} {:<19} {says}", cut(stable, 21), cut(canary, 21), cut(difference, 19));
    format!("{}\n", cut(line.trim_end(), WIDTH))
}

/// `1:07`.
fn clock_text(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width { text.to_owned() } else { text.chars().take(width.saturating_sub(1)).chain(['…']).collect() }
}
