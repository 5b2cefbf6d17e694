//! The command line: what can be asked, and the exit code of the answer. Data goes to stdout, hints to stderr.

mod crd;
mod exit;
mod lint;
mod output;
mod version;

use clap::{Args, Parser, Subcommand};

pub use crd::text as crd_text;
pub use exit::{Exit, Failure};
pub use lint::{Report, check};
use output::{Format, Output};

/// Progressive delivery for machine-learning models on Istio: compares the canary with stable on the same minutes of traffic, and takes it
/// back when it is worse.
#[derive(Debug, Parser)]
#[command(name = "haldane", version, max_term_width = 100, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 reached or accepted, 1 error, 2 usage or invalid manifest, 3 rolled back by analysis, \
4 aborted by a person, 5 waiting for a person, 6 inconclusive, 7 not found or forbidden, 8 conflict, 124 time out while progressing.";

/// Flags of every verb.
#[derive(Clone, Debug, Args)]
struct Global {
    /// Namespace. Default: that of the kubeconfig's context
    #[arg(short, long, global = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Context of the kubeconfig. Default: its current one
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// Kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,
    /// Format of the data on stdout
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// No colour. There is none either when NO_COLOR is set or stdout is not a terminal
    #[arg(long, global = true)]
    no_color: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check manifests, offline: syntax, fields, rules, and with --rps whether the traffic is enough
    Lint(lint::LintArgs),
    /// Print the CustomResourceDefinition, for `kubectl apply --server-side -f -`
    Crd,
    /// Print the version
    Version,
}

/// What main reads from the environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `NO_COLOR` is set and not empty (no-color.org).
    pub no_color: bool,
    /// Name of the user who calls, if the kubeconfig has none.
    pub user: Option<String>,
}

/// Does what was asked.
pub async fn run(cli: Cli, environment: Environment) -> Exit {
    let output = Output::new(cli.global.output, cli.global.no_color || environment.no_color);
    let result = match cli.verb {
        Verb::Lint(args) => lint::run(&args, &output),
        Verb::Crd => crd::run(&output),
        Verb::Version => version::run(&output),
    };
    result.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    })
}
