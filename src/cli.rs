//! The command line: what can be asked, and the exit code of the answer. Data goes to stdout, hints to stderr.

mod ask;
mod cluster;
mod completion;
mod controller;
mod crd;
mod dashboard;
mod demo;
mod doctor;
mod exit;
mod explain;
mod history;
mod init;
mod lint;
mod list;
mod output;
mod presets;
mod read;
mod rehearse;
mod screen;
mod status;
mod version;
mod watch;

#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use completion::{command, complete_for_kubectl};
pub use crd::text as crd_text;
pub use exit::{Exit, Failure};
pub use lint::{Known, Outlook, Report, StepOutlook, Traffic, check};
use output::{Format, Output};
pub use rehearse::all_of;

use crate::{clock::Clock, command};

/// Progressive delivery for machine-learning models on Istio.
#[derive(Debug, Parser)]
#[command(name = "haldane", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  reached, or accepted            5  waiting for a person when the time ran out
  1  error                           6  evidence neither way when the time ran out
  2  usage, or invalid manifest      7  not found, or forbidden
  3  rolled back by analysis         8  conflict: something has happened since
  4  aborted by a person           124  still progressing when the time ran out";

/// Flags of every verb.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Namespace. Default: that of the context
    #[arg(short, long, global = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Context of the kubeconfig. Default: the current one
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// Kubeconfig. Default: $KUBECONFIG, ~/.kube/config, service account
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,
    /// User to act as
    #[arg(long = "as", global = true, value_name = "USER")]
    as_user: Option<String>,
    /// Group to act as; may be given several times
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "as_user")]
    as_group: Vec<String>,
    /// How long one request to the API server may take
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    request_timeout: Duration,
    /// Format of stdout; wide: text with every column
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// No colour; also if NO_COLOR is set or stdout is no terminal
    #[arg(long, global = true)]
    no_color: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the controller: it watches Rollouts and moves traffic
    Controller(controller::ControllerArgs),
    /// See it work without a cluster: a good version promoted, a drifting one rolled back
    Demo(demo::DemoArgs),
    /// List Rollouts: phase, step, weight, versions, verdict
    List(list::ListArgs),
    /// Show one Rollout, or wait --until it is where it should be
    Status(status::StatusArgs),
    /// Follow one Rollout live: both versions, the numbers, the forecast; keys to promote, pause, abort
    Watch(watch::WatchArgs),
    /// Show Rollouts in a browser: a fleet and each of them, live; commands as buttons
    Dashboard(dashboard::DashboardArgs),
    /// Show why: what happened, the numbers, who was exposed, what to do, the statistics
    Explain(explain::ExplainArgs),
    /// List the past rollouts of one Rollout: outcome, who was exposed, how long it took
    History(history::HistoryArgs),
    /// Go on to the next step without its proof; answers an approval
    Promote(ask::PromoteArgs),
    /// Send all traffic to stable now, and refuse this revision
    Abort(ask::AbortArgs),
    /// After a promotion: all traffic back to the version before, now
    Rollback(ask::AskArgs),
    /// Try a refused revision again
    Retry(ask::AskArgs),
    /// Stop advancing; rollback and the guards go on
    Pause(ask::AskArgs),
    /// End a pause; skips nothing
    Resume(ask::AskArgs),
    /// Find what is wrong with the cluster or a Rollout, and how to fix it
    Doctor(doctor::DoctorArgs),
    /// Check manifests, offline: syntax, fields, rules; with --rps, the traffic
    Lint(lint::LintArgs),
    /// Play a plan on simulated or recorded traffic: how often it would roll back, how soon
    Rehearse(rehearse::RehearseArgs),
    /// Print the manifests that a Rollout needs, from what exists; applies nothing
    Init(init::InitArgs),
    /// Metrics of known model servers: list them, print one, find the one that fits
    Presets(presets::PresetsArgs),
    /// Print the CustomResourceDefinition
    Crd,
    /// Print a completion script, with names from the cluster
    Completion(completion::CompletionArgs),
    /// Print the version of this program, and of the controller
    Version(version::VersionArgs),
}

/// What main reads from the environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `NO_COLOR` is set and not empty (no-color.org).
    pub no_color: bool,
    /// `COLUMNS`: width of the screen, where stdout does not say it.
    pub columns: Option<usize>,
    /// Name of the user who calls, if the kubeconfig has none.
    pub user: Option<String>,
    /// Name of this machine or pod.
    pub host: Option<String>,
}

fn timeout(text: &str) -> Result<Duration, String> {
    status::duration(text).and_then(|time| if time.is_zero() { Err("must be above 0".into()) } else { Ok(time) })
}

/// Does what was asked.
pub async fn run(cli: Cli, environment: Environment) -> Exit {
    let output = Output::new(cli.global.output, cli.global.no_color || environment.no_color, environment.columns);
    answer(&cli, &environment, &output).await.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    })
}

async fn answer(cli: &Cli, environment: &Environment, output: &Output) -> Result<Exit, Failure> {
    let cluster = || cluster::Cluster::connect(&cli.global, environment);
    let clock = Clock::system();
    let ask = match &cli.verb {
        Verb::Controller(args) => return controller::run(args, &cli.global, environment).await,
        Verb::Demo(args) => return demo::run(args, clock, output).await,
        Verb::Lint(args) => return lint::run(args, output),
        Verb::Rehearse(args) => return rehearse::run(args, cli.global.namespace.as_deref(), clock, output).await,
        Verb::Crd => return crd::run(output),
        Verb::Completion(args) => return completion::run(args, output),
        Verb::Init(args) => return init::run(args, &cli.global, environment, output).await,
        Verb::Presets(args) => return presets::run(args, &cli.global, environment, output).await,
        Verb::Version(args) => return version::run(args, &cli.global, environment, output).await,
        Verb::List(args) => return list::run(args, &cluster().await?, clock.now(), output).await,
        Verb::Status(args) => return status::run(args, &cluster().await?, clock, output).await,
        Verb::Watch(args) => return watch::run(args, &cluster().await?, clock, output).await,
        Verb::Dashboard(args) => return dashboard::run(args, &cli.global, environment, clock, output).await,
        Verb::Explain(args) => return explain::run(args, &cluster().await?, clock.now(), output).await,
        Verb::History(args) => return history::run(args, &cluster().await?, clock.now(), output).await,
        Verb::Doctor(args) => return doctor::run(args, &cluster().await?, clock, output).await,
        Verb::Promote(args) => ask::Ask::promote(args),
        Verb::Abort(args) => ask::Ask::abort(args),
        Verb::Rollback(args) => ask::Ask::plain(command::Verb::Rollback, args),
        Verb::Retry(args) => ask::Ask::plain(command::Verb::Retry, args),
        Verb::Pause(args) => ask::Ask::plain(command::Verb::Pause, args),
        Verb::Resume(args) => ask::Ask::plain(command::Verb::Resume, args),
    };
    ask::run(&ask, &cluster().await?, output).await
}
