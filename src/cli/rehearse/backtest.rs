//! A plan on recorded traffic: stable's pods, split at random as if some of them were the canary.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Bar, Manifest, RehearseArgs, all_of, leave_out, plot, text};
use crate::{
    cli::{Exit, Failure, output::Output},
    clock::Clock,
    config::{HttpAccess, Provider},
    observe::prometheus::{Prometheus, ProviderError, QueryError},
    observe::sampler::record::{RecordError, Recorded, Wanted, interval, record},
    plan::{Plan, read_span, span},
    rehearse::{Hands, Recording, Tally, Unsplittable, seed_of},
};

#[derive(Debug, Args)]
#[command(next_help_heading = "Recorded traffic")]
pub(super) struct BacktestArgs {
    /// Play on what this Prometheus recorded of stable, split against itself
    #[arg(long, value_name = "URL", requires = "from", conflicts_with_all = ["rps", "stable", "canary", "scenario"])]
    prometheus: Option<String>,
    /// Begin: a time such as 2026-01-31T12:00:00Z, or how long ago, such as 6h
    #[arg(long, value_name = "TIME", requires = "prometheus")]
    from: Option<String>,
    /// End, written likewise [default: now]
    #[arg(long, value_name = "TIME", requires = "prometheus")]
    to: Option<String>,
    /// File with a bearer token
    #[arg(long, value_name = "FILE", requires = "prometheus")]
    token_file: Option<PathBuf>,
    /// Deployment that is stable [default: the one with the most requests]
    #[arg(long, value_name = "NAME", requires = "prometheus")]
    workload: Option<String>,
    /// How often that Prometheus scrapes [default: 15s]
    #[arg(long, value_name = "DURATION", requires = "prometheus")]
    scrape_interval: Option<String>,
}

impl BacktestArgs {
    pub(super) fn asked(&self) -> bool {
        self.prometheus.is_some()
    }
}

pub(super) async fn run(
    args: &RehearseArgs,
    manifest: &Manifest,
    namespace: Option<&str>,
    clock: Clock,
    output: &Output,
) -> Result<Exit, Failure> {
    let asked = &args.backtest;
    let prometheus = prometheus(asked)?;
    let newest = before(clock.now(), prometheus.lag());
    let to = asked.to.as_deref().map_or(Ok(newest), |text| time("--to", text, clock.now()))?.min(newest);
    let from = time("--from", asked.from.as_deref().unwrap_or_default(), clock.now())?;
    if from >= to {
        return Err(usage("--from is not before --to, and nothing newer is there".to_owned(), "give a longer time"));
    }
    let (plan, mut notes) = plan(&manifest.plan, interval(&prometheus, &manifest.plan.analysis));
    let wanted = Wanted {
        namespace: namespace.or(manifest.namespace.as_deref()).unwrap_or("default"),
        service: plan.object.name(),
        workload: asked.workload.as_deref(),
        analysis: &plan.analysis,
        from,
        to,
    };
    let mut bar = Bar::new(output, 100, "reading".to_owned());
    let recorded = record(&prometheus, &wanted, |part| bar.show((100.0 * part) as usize)).await;
    bar.clear();
    let Recorded { workload, share, history } = recorded.map_err(unread)?;
    let recording = Recording::new(history, &plan).map_err(|why| unsplit(&why, &workload))?;
    if share < 1.0 {
        let percent = 100.0 * share;
        notes.push(format!("stable is taken to be {workload}, with {percent:.1} % of the newest requests; --workload names another"));
    }
    notes.push("begins and splits are drawn from one recording: the rehearsals are not independent of each other".to_owned());

    let one = |run: usize, watch: bool| recording.play(&plan, seed_of(args.seed, run as u64), Hands::Approve, watch);
    let mut bar = Bar::new(output, args.runs as usize, "playing".to_owned());
    let played = all_of(args.runs as usize, |run| one(run, false), |done| bar.show(done));
    bar.clear();
    let shown = Tally::typical(&played).map(|run| one(run, true));
    let rps = (10.0 * recording.rps()).round() / 10.0;
    let tally = Tally::of(rps, args.seed, &played);
    let notes = text::notes(notes, shown.as_ref());
    let said = json!({
        "recorded": {
            "workload": workload, "namespace": wanted.namespace, "pods": recording.pods().len(), "from": from, "to": to,
            "windows": recording.windows(), "windowSeconds": recording.interval(),
        },
        "items": [tally],
        "notes": notes,
    });
    output.data("Backtest", &said, || {
        let mut text = text::recorded(&manifest.summary, &workload, wanted.namespace, (from, to), &recording, &plan);
        text += &text::tally(&tally, true, output);
        if let Some(played) = &shown {
            text += &plot::plot(played, &plan);
        }
        text + &text::told(&notes)
    })?;
    Ok(Exit::Reached)
}

/// The plan as it is played, and where that differs from what the controller would do.
fn plan(plan: &Plan, interval: Duration) -> (Plan, Vec<String>) {
    let mut notes = Vec::new();
    let mut plan = plan.clone();
    if std::mem::take(&mut plan.paused) {
        notes.push("spec.paused is true: the rehearsal continues as if it were false".to_owned());
    }
    if interval > plan.analysis.interval {
        notes.push(format!("windows are {}: two scrapes, not {} as the manifest says", span(interval), span(plan.analysis.interval)));
        plan.analysis.interval = interval;
    }
    notes.extend(super::beside_weights(&plan));
    notes.extend(leave_out(&mut plan, |kind| !kind.is_threshold(), "one value cannot be split between pods"));
    (plan, notes)
}

fn prometheus(asked: &BacktestArgs) -> Result<Prometheus, Failure> {
    let scrape = asked.scrape_interval.as_deref().map(|text| {
        let seconds = read_span(text).filter(|seconds| (0.1..=600.0).contains(seconds));
        let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        span.ok_or_else(|| usage(format!("--scrape-interval is {text}"), "a duration from 100ms to 10m, for example 15s"))
    });
    let provider = Provider {
        url: asked.prometheus.clone().unwrap_or_default(),
        scrape_interval: scrape.transpose()?.map(Into::into),
        access: HttpAccess { bearer_token_file: asked.token_file.clone(), ..HttpAccess::default() },
        ..Provider::default()
    };
    Prometheus::new(&provider).map_err(|error| match error {
        ProviderError::Url => usage("--prometheus is not an http or https URL".to_owned(), "for example http://localhost:9090"),
        other => Failure::new(Exit::Error, other.to_string(), ""),
    })
}

/// A time as it is written, or so long before now.
fn time(flag: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let ago = read_span(text).filter(|seconds| *seconds >= 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match (ago, text.parse::<Timestamp>()) {
        (Some(ago), _) => Ok(before(now, ago)),
        (None, Ok(time)) => Ok(time),
        (None, Err(_)) => Err(usage(format!("{flag} is {text:?}"), "a time such as 2026-01-31T12:00:00Z, or how long ago, such as 6h")),
    }
}

fn before(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_sub(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MIN)
}

fn usage(message: String, fix: &str) -> Failure {
    Failure::new(Exit::Usage, message, fix)
}

fn unread(error: RecordError) -> Failure {
    let fix = match &error {
        RecordError::Query(QueryError::Unauthorized(..)) => "--token-file with a valid token",
        RecordError::Query(_) => "check --prometheus; the same query can be tried in its web page",
        RecordError::Found(_) => "-n NAMESPACE, --workload NAME, or another --to",
        RecordError::TooLong { .. } => "a later --from, or an earlier --to",
    };
    let exit = if matches!(error, RecordError::TooLong { .. }) { Exit::Usage } else { Exit::Error };
    Failure::new(exit, error.to_string(), fix)
}

fn unsplit(why: &Unsplittable, workload: &str) -> Failure {
    let fix = match why {
        Unsplittable::NoPods => "sidecars at the model's pods count by pod; without them use --scenario",
        Unsplittable::OnePod { .. } => "run two pods or more, or use --scenario",
        Unsplittable::TooShort { .. } => "an earlier --from, or shorter holds",
    };
    Failure::new(Exit::Error, format!("{workload} cannot be split: {why}"), fix)
}
