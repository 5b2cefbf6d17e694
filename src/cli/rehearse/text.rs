//! A rehearsal in words.

use std::time::Duration;

use jiff::Timestamp;

use crate::words;
use crate::{
    cli::{
        output::{Output, Tone},
        screen,
    },
    judge::StepTerms,
    plan::{Plan, Step, span},
    rehearse::{Behaviour, Incident, MOST_HISTORY, Noise, Played, Recording, Scenario, Setup, Tally, past_windows},
    state::brief::terms,
};

/// What is rehearsed.
pub(super) fn head(summary: &str, setup: &Setup, scenario: &Scenario) -> String {
    let stable = &scenario.stable;
    let mut text = screen::row("plan", summary);
    text += &screen::row("stable", &format!("{}; {}", pods(&[scenario.stable_pods]), all_of(stable)));
    let differs = differences(&scenario.canary, stable);
    let since = if scenario.from > 0.0 && !differs.is_empty() { format!(", from {} on", time(scenario.from)) } else { String::new() };
    let does = if differs.is_empty() { "as stable".to_owned() } else { differs.join(", ") };
    text += &screen::row("canary", &format!("{}; {does}{since}", pods(&scenario.canary_pods)));
    let load = load(scenario);
    if !load.is_empty() {
        text += &screen::row("load", &load.join("; "));
    }
    let noise = noise(&scenario.noise);
    if !noise.is_empty() {
        text += &screen::row("noise", &noise.join(", "));
    }
    for one in &scenario.common {
        text += &screen::row("both", &incident(one));
    }
    let windows = Duration::try_from_secs_f64(setup.interval).unwrap_or_default();
    let history = Duration::try_from_secs_f64(past_windows(scenario, setup.interval) as f64 * setup.interval).unwrap_or_default();
    text + &screen::row("counts", &format!("windows of {}, {} of stable before the start", span(windows), span(history)))
}

/// What is played on.
pub(super) fn recorded(
    summary: &str,
    workload: &str,
    namespace: &str,
    (from, to): (Timestamp, Timestamp),
    recording: &Recording,
    plan: &Plan,
) -> String {
    let windows = Duration::try_from_secs_f64(recording.interval()).unwrap_or_default();
    let whole = |time: Timestamp| time.round(jiff::Unit::Second).unwrap_or(time);
    let pods = recording.pods().len();
    let mut text = screen::row("plan", summary);
    let what = format!("{workload} in {namespace}, {pods} pods, {} windows of {}", recording.windows(), span(windows));
    text += &screen::row("recorded", &format!("{what}, {} to {}", whole(from), whole(to)));
    let share = |(step, terms): (&Step, StepTerms)| format!("{} at {}", recording.canary_pods(terms.weight), step.share().words());
    let split: Vec<String> = plan.steps.iter().zip(terms(plan)).map(share).collect();
    text + &screen::row("canary", &format!("pods of {workload} by chance: {}", split.join(", ")))
}

/// The result at one level of traffic.
pub(super) fn tally(found: &Tally, healthy: bool, output: &Output) -> String {
    let of = |count: usize| format!("{:>6.1} %", 100.0 * count as f64 / found.runs.max(1) as f64);
    let runs = if found.runs == 1 { "1 rehearsal".to_owned() } else { format!("{} rehearsals", found.runs) };
    let mut text = format!("\n{} requests a second, {runs}, seed {}\n", found.rps, found.seed);
    let mut line = |word: &str, tone: Tone, count: usize, more: String| {
        let word = output.paint(if count > 0 { tone } else { Tone::Plain }, &format!("{word:<15}"));
        text += format!("  {word} {count:>6} {}{more}", of(count)).trim_end();
        text.push('\n');
    };
    let back = &found.minutes_to_rollback;
    let more = match (back.p50, back.p90) {
        (Some(half), Some(most)) => {
            let requests = found.canary_requests.p50.map_or_else(String::new, |n| format!("; {} canary requests", words::count(n as f64)));
            format!("  after {} (90 %: {}){requests}", minutes(half), minutes(most))
        }
        _ => String::new(),
    };
    let (word, tone) = if healthy { ("false rollback", Tone::Bad) } else { ("caught", Tone::Good) };
    line(word, tone, found.rolled_back, more);
    let forth = &found.minutes_to_promotion;
    let more = forth.p50.zip(forth.p90).map(|(half, most)| format!("  after {} (90 %: {})", minutes(half), minutes(most)));
    line("promoted", if healthy { Tone::Good } else { Tone::Bad }, found.promoted, more.unwrap_or_default());
    line("held", Tone::Waiting, found.held, String::new());
    if found.cut_off > 0 {
        line("cut off", Tone::Waiting, found.cut_off, "  the recording was over first".to_owned());
    }
    if !found.rolled_back_by.is_empty() {
        let by: Vec<String> = found.rolled_back_by.iter().map(|(name, count)| format!("{name} {count}")).collect();
        text += &format!("  rolled back by  {}\n", by.join(", "));
    }
    text
}

/// What the rehearsal did that a cluster would not, and what a cluster does that it did not.
pub(super) fn notes(mut notes: Vec<String>, shown: Option<&Played>) -> Vec<String> {
    if shown.is_some_and(|played| played.answers > 0) {
        notes.push("approvals were answered at once".to_owned());
    }
    notes
}

pub(super) fn told(notes: &[String]) -> String {
    let lines: String = notes.iter().map(|note| screen::row("note", note)).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// What durations owe to load, and to fresh pods.
fn load(scenario: &Scenario) -> Vec<String> {
    let mut parts = Vec::new();
    let Scenario { load, swing, cold_start, .. } = scenario;
    if load.cold_cache > 0.0 {
        parts.push(format!("a pod without requests takes {} longer", words::percent(load.cold_cache)));
    }
    if load.queueing > 0.0 {
        parts.push(format!("a pod at stable's usual load is busy {} of the time, and requests queue", words::percent(load.queueing)));
    }
    if *swing > 1.0 {
        parts.push(format!("traffic swings by a factor of {swing} in {}", time(MOST_HISTORY)));
    }
    if let Some(start) = cold_start {
        parts.push(format!("the canary's pods take {} times as long at first, fading over {}", start.latency, time(start.fades)));
    }
    parts
}

fn pods(pods: &[u32]) -> String {
    match pods {
        [1] => "1 pod".to_owned(),
        [one] => format!("{one} pods"),
        several => format!("{} pods", several.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn all_of(behaviour: &Behaviour) -> String {
    format!("{}, {}, {}; {}", errors(behaviour), p50(behaviour), p99(behaviour), classes(behaviour))
}

fn differences(canary: &Behaviour, stable: &Behaviour) -> Vec<String> {
    let mut found = Vec::new();
    if canary.errors != stable.errors {
        found.push(errors(canary));
    }
    if canary.p50 != stable.p50 {
        found.push(p50(canary));
    }
    if canary.p99 != stable.p99 {
        found.push(p99(canary));
    }
    if canary.classes != stable.classes {
        found.push(classes(canary));
    }
    found
}

fn errors(behaviour: &Behaviour) -> String {
    format!("errors {} %", short(100.0 * behaviour.errors))
}

fn p50(behaviour: &Behaviour) -> String {
    format!("p50 {} ms", short(behaviour.p50))
}

fn p99(behaviour: &Behaviour) -> String {
    format!("p99 {} ms", short(behaviour.p99))
}

fn classes(behaviour: &Behaviour) -> String {
    let shares: Vec<String> = behaviour.classes.iter().map(|share| short(100.0 * share)).collect();
    format!("classes {} %", shares.join("/"))
}

fn noise(noise: &Noise) -> Vec<String> {
    let Noise { error_burst, latency_sd, class_concentration, pod_error_sd, pod_latency_sd, error_ar } = noise;
    let mut found = Vec::new();
    if *error_burst > 1.0 {
        found.push(format!("bursts of {} errors", short(*error_burst)));
    }
    if *latency_sd > 0.0 {
        found.push(format!("latency {} % from window to window", short(100.0 * latency_sd)));
    }
    if let Some(concentration) = class_concentration {
        found.push(format!("classes as from {} answers", short(*concentration)));
    }
    if let Some(ar) = error_ar {
        found.push(format!("errors {} % over {}", short(100.0 * ar.sd), time(ar.time)));
    }
    if *pod_error_sd > 0.0 {
        found.push(format!("pods differ by {} % in errors", short(100.0 * pod_error_sd)));
    }
    if *pod_latency_sd > 0.0 {
        found.push(format!("pods differ by {} % in latency", short(100.0 * pod_latency_sd)));
    }
    found
}

fn incident(incident: &Incident) -> String {
    let mut what = Vec::new();
    if let Some(errors) = incident.errors {
        what.push(format!("errors {} %", short(100.0 * errors)));
    }
    if incident.latency != 1.0 {
        what.push(format!("latency times {}", short(incident.latency)));
    }
    if incident.classes.is_some() {
        what.push("another mix of classes".to_owned());
    }
    let ramp = if incident.ramp { "slowly, " } else { "" };
    let skew = match incident.skew {
        0.0 => String::new(),
        early if early > 0.0 => format!(", seen {} earlier at the canary", time(early)),
        early => format!(", seen {} earlier at stable", time(-early)),
    };
    format!("{} to {}: {ramp}{}{skew}", time(incident.from), time(incident.to), what.join(", "))
}

/// At most three digits after the point, none that says nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn time(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Exact below two hours: `45s`, `3m30s`, `2h10m`.
pub(super) fn minutes(minutes: f64) -> String {
    let seconds = (60.0 * minutes).clamp(0.0, 1e9);
    if seconds < 7200.0 { span(Duration::from_secs_f64(seconds.round())) } else { words::time(seconds) }
}
