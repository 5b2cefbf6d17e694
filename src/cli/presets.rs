//! `haldane presets`: metrics of known model servers, and which of them the pods of a model would fit.

use clap::{Args, Subcommand};
use kube::ResourceExt;
use serde_json::json;

use super::{
    Environment, Exit, Failure, Global,
    cluster::Cluster,
    doctor::{Access, Providers, control, observe},
    output::Output,
    read::Reader,
};
use crate::{
    clock::Clock,
    config::DEFAULT,
    doctor::{
        Examined, Silence, brief,
        presets::{Exported, Fit, fits},
    },
    observe::sampler::checkup::exported,
    plan::preset::{self, Preset},
    seen::Arm,
    words::count,
};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct PresetsArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the metrics of a preset as YAML, to be pasted into spec.analysis and changed
    Show {
        /// Name of the preset
        #[arg(value_name = "PRESET", value_parser = known)]
        preset: String,
    },
    /// Ask Prometheus what the pods of a model export, and propose a preset
    Detect(DetectArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Exits 0 where a preset fits, and 7 where none does.")]
struct DetectArgs {
    /// Name of a Rollout. Default: all pods of the namespace
    name: Option<String>,
    #[command(flatten)]
    access: Access,
}

fn known(name: &str) -> Result<String, String> {
    if preset::NAMES.contains(&name) { Ok(name.to_owned()) } else { Err(format!("there are {}", preset::NAMES.join(", "))) }
}

pub(super) async fn run(args: &PresetsArgs, global: &Global, environment: &Environment, output: &Output) -> Result<Exit, Failure> {
    match &args.what {
        None => list(output),
        Some(What::Show { preset }) => show(preset, output),
        Some(What::Detect(args)) => detect(args, &Cluster::connect(global, environment).await?, Clock::system(), output).await,
    }
}

fn value(preset: &Preset) -> serde_json::Value {
    json!({"name": preset.name, "version": preset.version, "server": preset.server, "warmUp": preset.warm_up, "metrics": preset.metrics})
}

fn list(output: &Output) -> Result<Exit, Failure> {
    let all: Vec<Preset> = preset::all().collect();
    let value = json!({ "items": all.iter().map(value).collect::<Vec<_>>() });
    output.data("PresetList", &value, || {
        let mut text = format!("{:<12}{:<9}{:<58}{}\n", "PRESET", "VERSION", "SERVER", "METRICS");
        for preset in &all {
            let names: Vec<String> = preset.parsed().into_iter().map(|metric| metric.name).collect();
            text += &format!("{:<12}{:<9}{:<58}{}\n", preset.name, preset.version, preset.server, names.join(", "));
        }
        text + "\nhaldane presets show PRESET prints one; haldane presets detect NAME asks Prometheus which one fits\n"
    })?;
    Ok(Exit::Reached)
}

fn show(name: &str, output: &Output) -> Result<Exit, Failure> {
    let Some(preset) = preset::find(name) else {
        return Err(Failure::new(Exit::NotFound, format!("there is no preset {name}"), preset::NAMES.join(", ")));
    };
    output.data("Preset", &value(&preset), || preset.yaml())?;
    Ok(Exit::Reached)
}

/// What the pods of stable and of the canary export.
struct Asked {
    of: String,
    stable: Exported,
    canary: Option<Exported>,
}

async fn detect(args: &DetectArgs, cluster: &Cluster, clock: Clock, output: &Output) -> Result<Exit, Failure> {
    let asked = ask(args, cluster, &clock).await?;
    let found = fits(&asked.stable, asked.canary.as_ref());
    let value = json!({ "of": asked.of, "items": found });
    output.data("PresetDetection", &value, || text(&asked.of, &found))?;
    Ok(if found.is_empty() { Exit::NotFound } else { Exit::Reached })
}

async fn ask(args: &DetectArgs, cluster: &Cluster, clock: &Clock) -> Result<Asked, Failure> {
    let reader = Reader::new(cluster.client());
    let control = control(&reader, &args.access.controller_namespace, &cluster.namespace, clock).await;
    let mut providers = Providers::read(&args.access, &reader, &control).await?;
    let rollout = match &args.name {
        Some(name) => Some(cluster.get(name).await?),
        None => None,
    };
    let analysis = rollout.as_ref().and_then(|rollout| rollout.spec.analysis.as_ref());
    let provider = analysis.and_then(|analysis| analysis.prometheus.clone()).unwrap_or_else(|| DEFAULT.to_owned());
    providers.relevant(&provider);
    let answers = providers.ask(clock).await;
    let Some(prometheus) = providers.open(&provider) else {
        let told: Vec<String> =
            providers.findings().into_iter().chain(answers).filter(|said| !said.fix.is_empty()).map(|said| said.fact).collect();
        let fix = "--prometheus URL, or --config FILE with the controller's configuration; `haldane doctor` says more";
        let why = if told.is_empty() { format!("no provider {provider} is known") } else { told.join("; ") };
        return Err(Failure::new(Exit::Error, format!("Prometheus was not reached: {why}"), fix));
    };
    let silent = |silence: Silence| match silence {
        Silence::Unreachable(why) | Silence::Refused(why) => Failure::new(Exit::Error, format!("Prometheus did not answer: {why}"), ""),
    };
    let namespace = &cluster.namespace;
    let Some(rollout) = rollout else {
        let of = format!("all pods of namespace {namespace}");
        return Ok(Asked { of, stable: exported(prometheus, namespace, None, clock).await.map_err(silent)?, canary: None });
    };
    let now = clock.now();
    let (seen, _) = observe(&reader, &rollout, providers.config(), now).await;
    let examined = Examined { seen: &seen, status: rollout.status.as_ref(), now };
    let Some(brief) = brief(examined) else {
        let fix = format!("`haldane doctor {} -n {namespace}` says why", rollout.name_any());
        return Err(Failure::new(Exit::Error, "which pods are stable's cannot be told", fix));
    };
    let pods = |arm: &Arm| if arm.pods.len() == 1 { "1 pod".to_owned() } else { format!("{} pods", count(arm.pods.len() as f64)) };
    let exports = async |arm: &Arm| {
        let names: Vec<&str> = arm.pods.iter().map(|pod| pod.name.as_str()).collect();
        exported(prometheus, namespace, Some(&names), clock).await.map_err(silent)
    };
    let (stable, canary) = (&brief.stable, Some(&brief.canary).filter(|_| examined.has_canary()));
    let beside = canary.map_or_else(|| ", no canary".to_owned(), |canary| format!(", {} of canary {}", pods(canary), canary.name));
    let of = format!("{namespace}/{}: {} of stable {}{beside}", rollout.name_any(), pods(stable), stable.name);
    let canary = match canary {
        Some(canary) => Some(exports(canary).await?),
        None => None,
    };
    Ok(Asked { of, stable: exports(stable).await?, canary })
}

fn text(of: &str, found: &[Fit]) -> String {
    let mut text = format!("{of}\n");
    let Some(best) = found.first() else {
        return text
            + "\nno series of a known model server: is it scraped, with the labels namespace and pod?\nhaldane presets lists the servers that are known\n";
    };
    for fit in found.iter().take_while(|fit| fit.is_whole() == best.is_whole()).take(3) {
        let whole = if fit.is_whole() { "fits" } else { "fits in part" };
        text += &format!("\npreset {}, version {}, {whole}: {}\n", fit.preset, fit.version, fit.server);
        text += &format!("  judged          {}\n", fit.present.join(", "));
        for (title, list) in [("missing", &fit.missing), ("not at canary", &fit.not_at_canary)] {
            for missing in list {
                text += &format!("  {title:<15} {}: {}\n", missing.metric, missing.series.join(", "));
            }
        }
    }
    text + "\n" + &best.yaml()
}
