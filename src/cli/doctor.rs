//! `haldane doctor`: what is wrong with this cluster, or with one Rollout, and how to fix it.

mod caches;
mod pods;
mod providers;
mod scan;
mod sources;

pub(super) use {caches::observe, providers::Providers, scan::control};

use clap::Args;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::json;

use super::{
    Exit, Failure,
    cluster::Cluster,
    output::{Output, Tone},
    read::Reader,
};
use crate::{
    api::Rollout,
    clock::Clock,
    doctor::{self, Finding, Level},
};

/// Where the second column ends.
const INDENT: usize = 18;

#[derive(Debug, Args)]
#[command(after_help = "Exits 0 where nothing fails, though there may be warnings, and 1 where something does.")]
pub(super) struct DoctorArgs {
    /// Name of a Rollout. Default: the cluster, and one line for each Rollout of the namespace
    pub(super) name: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// How to get at the controller and its Prometheus.
#[derive(Clone, Debug, Args)]
pub(super) struct Access {
    /// Namespace of the controller
    #[arg(long, value_name = "NAME", default_value = "haldane-system")]
    pub(super) controller_namespace: String,
    /// The controller's configuration file. Default: its ConfigMap
    #[arg(long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Where Prometheus is from here, in place of the provider's url
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
}

/// What was found of one Rollout.
#[derive(Debug, Serialize)]
struct OfRollout {
    namespace: String,
    name: String,
    findings: Vec<Finding>,
}

pub(super) async fn run(args: &DoctorArgs, cluster: &Cluster, clock: Clock, output: &Output) -> Result<Exit, Failure> {
    let reader = Reader::new(cluster.client());
    let mut found = vec![scan::server(&reader, cluster).await];
    let mut rollouts = Vec::new();
    if found.iter().all(|finding| finding.level < Level::Fail) {
        let control = scan::control(&reader, &args.access.controller_namespace, &cluster.namespace, &clock).await;
        let known = control.served.found().is_some_and(|versions| !versions.is_empty());
        let mesh = scan::mesh(&reader).await;
        found.extend(doctor::control(&control));
        found.extend(scan::rights(&reader, &control, &mesh).await);
        found.extend(doctor::mesh(&mesh));
        let mut providers = Providers::read(&args.access, &reader, &control).await?;
        found.extend(providers.findings());
        match (&args.name, known) {
            (Some(name), true) => {
                let rollout = cluster.get(name).await?;
                let provider = rollout.spec.analysis.as_ref().and_then(|analysis| analysis.prometheus.as_deref());
                providers.relevant(provider.unwrap_or(crate::config::DEFAULT));
                found.extend(providers.ask(&clock).await);
                let sources = sources::findings(&reader, &control, providers.config(), &rollout).await;
                let mut examined = examined(&reader, &mut providers, &rollout, &clock).await;
                examined.findings.extend(sources);
                rollouts.push(examined);
            }
            (None, true) => {
                found.extend(providers.ask(&clock).await);
                rollouts.extend(cluster.list(false).await?.iter().map(|rollout| of(rollout, doctor::standing(rollout))));
            }
            (_, false) => found.extend(providers.ask(&clock).await),
        }
    }
    let all = || found.iter().chain(rollouts.iter().flat_map(|rollout: &OfRollout| &rollout.findings));
    let worst = all().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let count = |level: Level| all().filter(|finding| finding.level == level).count();
    let counts = [count(Level::Fail), count(Level::Warn)];
    let value = json!({ "worst": worst, "cluster": found, "rollouts": rollouts });
    output.data("DoctorReport", &value, || text(&found, &rollouts, counts, output))?;
    Ok(if worst == Level::Fail { Exit::Error } else { Exit::Reached })
}

fn of(rollout: &Rollout, findings: Vec<Finding>) -> OfRollout {
    OfRollout { namespace: rollout.namespace().unwrap_or_default(), name: rollout.name_any(), findings }
}

/// Everything about one Rollout.
async fn examined(reader: &Reader, providers: &mut Providers, rollout: &Rollout, clock: &Clock) -> OfRollout {
    let now = clock.now();
    let mut findings = doctor::standing(rollout);
    let (seen, faults) = caches::observe(reader, rollout, providers.config(), now).await;
    findings.extend(faults);
    let examined = doctor::Examined { seen: &seen, status: rollout.status.as_ref(), now };
    findings.extend(doctor::rollout(examined));
    findings.extend(pods::findings(reader, examined).await);
    findings.extend(providers.measured(examined, clock).await);
    of(rollout, findings)
}

fn text(cluster: &[Finding], rollouts: &[OfRollout], [fails, warns]: [usize; 2], output: &Output) -> String {
    let mut text: String = cluster.iter().map(|finding| line(finding, output)).collect();
    for rollout in rollouts {
        text += &format!("\n{}/{}\n", rollout.namespace, rollout.name);
        text.extend(rollout.findings.iter().map(|finding| line(finding, output)));
    }
    let several = |count: usize, word: &str| if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") };
    let sum = match (fails, warns) {
        (0, 0) => output.paint(Tone::Good, "nothing is wrong"),
        (0, warns) => output.paint(Tone::Waiting, &several(warns, "warning")),
        (fails, 0) => output.paint(Tone::Bad, &several(fails, "failure")),
        (fails, warns) => output.paint(Tone::Bad, &format!("{}, {}", several(fails, "failure"), several(warns, "warning"))),
    };
    text + &format!("\n{sum}\n")
}

/// A fact, and below it what fixes it, as it can be copied.
fn line(finding: &Finding, output: &Output) -> String {
    let tone = match finding.level {
        Level::Ok => Tone::Good,
        Level::Warn => Tone::Waiting,
        Level::Fail => Tone::Bad,
    };
    let level = output.paint(tone, &format!("{:4}", finding.level.word()));
    let mut text = format!("{level}  {:10}  {}\n", finding.check, finding.fact);
    for line in finding.fix.lines() {
        text += &format!("{:INDENT$}{line}\n", "");
    }
    text
}
