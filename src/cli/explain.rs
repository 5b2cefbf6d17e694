//! `haldane explain`: why a decision was made. What happened, the numbers, who was exposed, what to do; then the statistics, and the queries
//! to paste into Prometheus.

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{
    Exit, Failure,
    cluster::Cluster,
    output::{Format, Output},
    screen,
};
use crate::{
    api::{DecisionRecord, Destination, HistoryEntry, MetricEvidence, Rollout, RolloutStatus, Version},
    record::{Record, Run},
    view::{Fact, Terminal, View, age, markdown_facts, source, statistics},
};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Name of the Rollout
    name: String,
    /// Of the newest rollout of this revision or version, not the newest decision
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Show this metric alone
    #[arg(long, value_name = "METRIC")]
    metric: Option<String>,
    /// Text, Markdown for a pull request or a CI summary, or JSON
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Form>,
}

/// Form of an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Md,
    Json,
}

pub(super) async fn run(args: &ExplainArgs, cluster: &Cluster, now: Timestamp, output: &Output) -> Result<Exit, Failure> {
    let rollout = cluster.get(&args.name).await?;
    let empty = RolloutStatus::default();
    let status = rollout.status.as_ref().unwrap_or(&empty);
    if status.decision.is_none() {
        output.hint(&format!("nothing was decided yet for {}", screen::full_name(&rollout)));
    }
    let newest = status.decision.as_ref().and_then(|decision| decision.canary.as_ref());
    let older = args.revision.as_deref().is_some_and(|wanted| !newest.is_some_and(|newest| is(newest, wanted)));
    let record = if older { cluster.record(&rollout).await } else { None };
    let about = About::of(args.revision.as_deref(), &rollout, status, record.as_ref())?;
    let told = Told::new(&about, &rollout, status, args.metric.as_deref())?;
    let output = match args.format {
        None | Some(Form::Md) => *output,
        Some(Form::Text) => output.with(Format::Text),
        Some(Form::Json) => output.with(Format::Json),
    };
    let past = if let About::Past(entry) = &about { Some(*entry) } else { None };
    let kept = if let About::Kept(run, record) = &about { Some((*run, *record)) } else { None };
    let old = past.is_some() || kept.is_some();
    let value = json!({
        "namespace": rollout.namespace(),
        "name": rollout.name_any(),
        "phase": status.phase,
        "decision": if old { kept.map(|(_, record)| record) } else { status.decision.as_ref() },
        "evidence": if old { &[][..] } else { &status.evidence },
        "refused": status.refused,
        "past": past,
        "run": kept.map(|(run, _)| run),
        "view": told.as_ref().map_or(Value::Null, |told| json!(told.view)),
    });
    output.data("Explanation", &value, || {
        let shown = told.as_ref();
        match args.format {
            Some(Form::Md) => shown.map_or_else(String::new, |told| told.markdown(now)),
            _ => {
                let text = shown.map_or_else(String::new, |told| told.text(&output.terminal(), now));
                text + &refused(status, old, &output.terminal(), now)
            }
        }
    })?;
    Ok(Exit::Reached)
}

/// The text of an explanation: of this revision, of this metric alone.
pub(super) fn text(
    rollout: &Rollout,
    (revision, metric): (Option<&str>, Option<&str>),
    record: Option<&Record>,
    terminal: &Terminal,
    now: Timestamp,
) -> Result<String, Failure> {
    let status = rollout.status.clone().unwrap_or_default();
    let about = About::of(revision, rollout, &status, record)?;
    Ok(Told::new(&about, rollout, &status, metric)?.map_or_else(String::new, |told| told.text(terminal, now)))
}

/// The same as Markdown.
#[cfg(test)]
pub(super) fn markdown(rollout: &Rollout, now: Timestamp) -> Result<String, Failure> {
    let status = rollout.status.clone().unwrap_or_default();
    let about = About::of(None, rollout, &status, None)?;
    Ok(Told::new(&about, rollout, &status, None)?.map_or_else(String::new, |told| told.markdown(now)))
}

/// What is explained.
enum About<'a> {
    /// The newest decision, if there is one.
    Newest(Option<&'a DecisionRecord>),
    /// A rollout of the past, of which the end alone is kept.
    Past(&'a HistoryEntry),
    /// A rollout of the past, and the decision that ended it.
    Kept(&'a Run, &'a DecisionRecord),
}

fn is(version: &Version, wanted: &str) -> bool {
    version.revision == wanted || version.name == wanted
}

impl<'a> About<'a> {
    fn of(revision: Option<&str>, rollout: &Rollout, status: &'a RolloutStatus, record: Option<&'a Record>) -> Result<Self, Failure> {
        let newest = status.decision.as_ref();
        let Some(wanted) = revision else { return Ok(Self::Newest(newest)) };
        if newest.and_then(|newest| newest.canary.as_ref()).is_some_and(|canary| is(canary, wanted)) {
            return Ok(Self::Newest(newest));
        }
        let entry = status.history.iter().find(|entry| is(&entry.canary, wanted));
        let run = record.and_then(|record| match entry {
            Some(entry) => record.began(entry.started.0),
            None => record.of(wanted),
        });
        if let Some((run, decision)) = run.and_then(|run| Some((run, run.last_decision()?))) {
            return Ok(Self::Kept(run, decision));
        }
        if let Some(entry) = entry {
            return Ok(Self::Past(entry));
        }
        let newest = newest.and_then(|newest| newest.canary.as_ref());
        let known = newest.into_iter().chain(status.history.iter().map(|entry| &entry.canary));
        let mut known: Vec<String> = known.map(|version| format!("{} ({})", version.name, version.revision)).collect();
        known.dedup();
        let fix = if known.is_empty() { "nothing was rolled out yet".to_owned() } else { format!("known are {}", known.join(", ")) };
        Err(Failure::new(Exit::NotFound, format!("{} keeps no rollout of {wanted}", screen::full_name(rollout)), fix))
    }
}

/// An explanation, not yet in any form.
struct Told<'a> {
    view: View,
    at: Timestamp,
    began: Option<Timestamp>,
    versions: Vec<(&'static str, &'a Version)>,
    metrics: Vec<&'a MetricEvidence>,
    /// What is said of now, not of the past.
    status: Option<&'a RolloutStatus>,
}

impl<'a> Told<'a> {
    fn new(about: &About<'a>, rollout: &Rollout, status: &'a RolloutStatus, metric: Option<&str>) -> Result<Option<Self>, Failure> {
        let (namespace, name) = (rollout.namespace().unwrap_or_default(), rollout.name_any());
        let record = match about {
            About::Newest(None) => return Ok(None),
            About::Newest(Some(record)) => *record,
            About::Kept(_, record) => *record,
            About::Past(entry) => {
                let view = View::past(&namespace, &name, entry);
                let versions = vec![("canary", &entry.canary), ("stable", &entry.stable)];
                return Ok(Some(Self {
                    view,
                    at: entry.ended.0,
                    began: Some(entry.started.0),
                    versions,
                    metrics: Vec::new(),
                    status: None,
                }));
            }
        };
        // Where the decision did not rest on metrics, the newest look says what they are now.
        let newest = matches!(about, About::Newest(_)) && record.why.is_empty();
        let shown = if newest { &status.evidence } else { &record.why };
        let metrics: Vec<&MetricEvidence> = shown.iter().filter(|one| metric.is_none_or(|wanted| one.metric == wanted)).collect();
        if let Some(wanted) = metric.filter(|_| metrics.is_empty()) {
            let known: Vec<&str> = shown.iter().map(|metric| metric.metric.as_str()).collect();
            let fix = if known.is_empty() { "no metric was judged yet".to_owned() } else { format!("one of {}", known.join(", ")) };
            return Err(Failure::new(Exit::Usage, format!("no metric {wanted}"), fix));
        }
        let mut view = View::decided(&namespace, &name, record).with_metrics(&metrics);
        let explain = format!("haldane explain {name} -n {namespace}");
        view.next.retain(|next| *next != explain);
        let versions = [("canary", &record.canary), ("stable", &record.stable)];
        let versions = versions.into_iter().filter_map(|(arm, version)| Some((arm, version.as_ref()?))).collect();
        let began = if let About::Kept(run, _) = about { Some(run.started) } else { None };
        if began.is_some() {
            // What comes next was so then.
            (view.now, view.next) = (None, Vec::new());
        }
        let status = began.is_none().then_some(status);
        Ok(Some(Self { view, at: record.at.0, began, versions, metrics, status }))
    }

    /// What happened, beside the first line.
    fn happened(&self, now: Timestamp) -> Vec<Fact> {
        let at = |time: Timestamp| time.strftime("%F %T UTC");
        let began = self.began.map_or_else(String::new, |began| format!(", began {}", at(began)));
        let mut facts = vec![Fact::new("when", format!("{} ({} ago){began}", at(self.at), age(self.at, now)))];
        let version =
            |(arm, version): &(&'static str, &Version)| Fact::new(arm, format!("{}, revision {}", called(version), version.revision));
        facts.extend(self.versions.iter().map(version));
        facts.extend(self.status.and_then(|status| source(status, now)));
        facts
    }

    fn queries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metrics.iter().filter_map(|metric| Some((metric.metric.as_str(), metric.query.as_deref()?)))
    }

    fn statistics(&self) -> Vec<Fact> {
        self.metrics.iter().map(|metric| statistics(metric)).filter(|fact| !fact.text.is_empty()).collect()
    }

    fn text(&self, terminal: &Terminal, now: Timestamp) -> String {
        let mut text = terminal.title(&self.view) + &terminal.facts(&self.happened(now));
        let block = |text: &mut String, block: String| {
            if !block.is_empty() {
                *text += &format!("\n{block}");
            }
        };
        block(&mut text, terminal.table(&self.view));
        block(&mut text, terminal.facts(&self.view.said()) + &terminal.next(&self.view.next));
        let statistics = terminal.facts(&self.statistics());
        if !statistics.is_empty() {
            block(&mut text, format!("statistics\n{statistics}"));
        }
        // Each on one line, to be pasted.
        let queries: String = self.queries().map(|(metric, query)| format!("# {metric}\n{query}\n")).collect();
        if !queries.is_empty() {
            block(&mut text, format!("queries for Prometheus\n{queries}"));
        }
        text
    }

    fn markdown(&self, now: Timestamp) -> String {
        let mut text = self.view.markdown_title() + &markdown_facts(&self.happened(now)) + &self.view.markdown_body();
        let statistics = markdown_facts(&self.statistics());
        if !statistics.is_empty() {
            text += &format!("\n<details><summary>Statistics and queries</summary>\n{statistics}");
            for (metric, query) in self.queries() {
                text += &format!("\n```promql\n# {metric}\n{query}\n```\n");
            }
            text += "\n</details>\n";
        }
        text
    }
}

/// Revisions that will not be retried; that of the newest decision is told by the rest.
fn refused(status: &RolloutStatus, past: bool, terminal: &Terminal, now: Timestamp) -> String {
    let told = status.decision.as_ref().filter(|_| !past).and_then(|decision| decision.canary.as_ref());
    let others = status.refused.iter().filter(|refused| told.is_none_or(|told| told.revision != refused.revision));
    let facts: Vec<Fact> = others
        .map(|refused| {
            let (name, revision, reason) = (refused.name(), &refused.revision, &refused.reason);
            Fact::new("refused", format!("{name} ({revision}), {reason}, {} ago", age(refused.at.0, now)))
        })
        .collect();
    let text = terminal.facts(&facts);
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// `fraud subset v2`, or `Service fraud-v2`.
fn called(version: &Version) -> String {
    match version.destination() {
        Destination::Subset(subset) => format!("{} subset {subset}", version.host),
        service @ Destination::Service(_) => service.to_string(),
    }
}
