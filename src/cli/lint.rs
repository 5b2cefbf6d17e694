//! `haldane lint`: what can be said of manifests without a cluster.

mod document;
mod forecast;
mod load;
mod route;
mod schema;
mod warn;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use super::{Exit, Failure, output::Output};
use crate::plan::Fault;

pub use document::check;
pub(super) use document::rollouts;
pub use forecast::{Outlook, StepOutlook};

/// Longest file that is read.
const MAX_BYTES: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// Files of YAML or JSON documents, - for standard input
    #[arg(short, long = "filename", value_name = "FILE", required = true, num_args = 1..)]
    filename: Vec<PathBuf>,
    /// Requests a second to the model: whether they are enough for the plan
    #[arg(long, value_name = "N", value_parser = rate)]
    rps: Option<f64>,
    /// Ready pods of stable and of the canary, as 10/3: whether a pod of both gets as much. Default: what Deployments of the file say
    #[arg(long, value_name = "STABLE/CANARY", value_parser = pods)]
    pods: Option<Pods>,
    /// Share of requests that stable fails, for --rps
    #[arg(long, value_name = "SHARE", default_value = "0.001", value_parser = share, requires = "rps")]
    error_rate: f64,
}

/// Pods of stable and of the canary.
type Pods = [u32; 2];

/// What is known beside the manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// What the model gets.
    pub traffic: Option<Traffic>,
    /// Ready pods of stable and of the canary.
    pub pods: Option<Pods>,
}

/// What a model gets, for the forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Requests a second over both arms, above 0.
    pub rps: f64,
    /// Stable's share of failing requests, 0 to 1.
    pub error_rate: f64,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "must be a number")?;
    if rate > 0.0 && rate <= 1e7 { Ok(rate) } else { Err("must be above 0 and at most 1e7".into()) }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "must be a number")?;
    if (0.0..1.0).contains(&share) { Ok(share) } else { Err("must be from 0 to below 1".into()) }
}

fn pods(text: &str) -> Result<Pods, String> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|pods| (1..=100_000).contains(pods));
    let both = text.split_once('/').and_then(|(stable, canary)| Some([number(stable)?, number(canary)?]));
    both.ok_or_else(|| "write the pods of stable and of the canary as 10/3".into())
}

/// What lint says of one Rollout, or of a document that cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// File it is in.
    pub file: String,
    /// Number of the document in its file, from 1.
    pub document: usize,
    /// Namespace, if the manifest says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name, if the manifest says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What must be fixed.
    pub faults: Vec<Fault>,
    /// What works, but perhaps not as meant.
    pub warnings: Vec<Fault>,
    /// The plan in one line, if there are no faults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What can be proved and seen at the traffic given.
    #[serde(skip_serializing_if = "Option::is_none", rename = "forecast")]
    pub outlook: Option<Outlook>,
}

impl Report {
    pub(super) fn text(&self) -> String {
        let at = match (&self.namespace, &self.name) {
            (_, None) => format!("document {}", self.document),
            (None, Some(name)) => format!("Rollout {name}"),
            (Some(namespace), Some(name)) => format!("Rollout {namespace}/{name}"),
        };
        let count = match (self.faults.len(), self.warnings.len()) {
            (0, 0) => "ok".into(),
            (0, warnings) => format!("ok, {}", several(warnings, "warning")),
            (faults, 0) => several(faults, "fault"),
            (faults, warnings) => format!("{}, {}", several(faults, "fault"), several(warnings, "warning")),
        };
        let mut text = format!("{}: {at}: {count}\n", self.file);
        for fault in &self.faults {
            text += &format!("  fault    {}\n           {}\n", fault.path, sentence(fault));
        }
        for warning in &self.warnings {
            text += &format!("  warning  {}\n           {}\n", warning.path, sentence(warning));
        }
        if let Some(plan) = &self.plan {
            text += &format!("  plan     {plan}\n");
        }
        if let Some(outlook) = &self.outlook {
            text += &outlook.text();
        }
        text
    }
}

fn sentence(fault: &Fault) -> String {
    if fault.fix.is_empty() { fault.message.clone() } else { format!("{}; {}", fault.message, fault.fix) }
}

fn several(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

pub(super) fn run(args: &LintArgs, output: &Output) -> Result<Exit, Failure> {
    let traffic = args.rps.map(|rps| Traffic { rps, error_rate: args.error_rate });
    let mut reports = Vec::new();
    for path in &args.filename {
        let file = path.display().to_string();
        let found = check(&file, &read(path)?, &Known { traffic, pods: args.pods });
        if found.is_empty() {
            output.hint(&format!("{file}: no Rollout in it"));
        }
        reports.extend(found);
    }
    let value = serde_json::json!({ "items": reports });
    output.data("LintReport", &value, || reports.iter().map(Report::text).collect())?;
    let good = !reports.is_empty() && reports.iter().all(|report| report.faults.is_empty());
    Ok(if good { Exit::Reached } else { Exit::Usage })
}

/// The text of a file, or of standard input for `-`.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let fault = |error: std::io::Error| {
        let fix = "give the path of a YAML file, or - for standard input";
        Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()), fix)
    };
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text).map_err(fault)?;
    } else {
        std::fs::File::open(path).map_err(fault)?.take(MAX_BYTES).read_to_string(&mut text).map_err(fault)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_written_as_stable_by_canary() {
        assert_eq!(pods("10/3"), Ok([10, 3]));
        for text in ["10", "0/3", "3/-1", "a/b", "1/2/3"] {
            assert_eq!(pods(text), Err("write the pods of stable and of the canary as 10/3".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_rate_of_requests_beyond_its_bounds_has_both_bounds_in_its_message() {
        assert_eq!(rate("1e7"), Ok(1e7));
        for text in ["0", "-1", "NaN", "1e8", "inf"] {
            assert_eq!(rate(text), Err("must be above 0 and at most 1e7".to_owned()), "{text}");
        }
    }
}
