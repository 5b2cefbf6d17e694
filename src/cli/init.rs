//! `haldane init`: from what is there to the manifests that a Rollout needs. Nothing is applied.

mod adopt;
mod draft;
mod model;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{Environment, Exit, Failure, Global, cluster::Cluster, lint, output::Output, read::Reader};
use crate::{api::RouteKind, doctor::Read};
use draft::{Draft, draft};
use model::{Start, There};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// What to begin with: service/NAME, deployment/NAME, virtualservice/NAME, httproute/NAME, grpcroute/NAME, or what is to be replaced:
    /// rollout.argoproj.io/NAME, canary.flagger.app/NAME
    #[arg(value_name = "KIND/NAME", value_parser = Start::parse)]
    start: Start,
    /// Files of YAML or JSON documents to read in place of the cluster, - for standard input
    #[arg(short, long = "filename", value_name = "FILE", num_args = 1..)]
    filename: Vec<PathBuf>,
    /// The version to come: its subset, or its Service. Default: the one that has no traffic
    #[arg(long, value_name = "NAME")]
    canary: Option<String>,
}

pub(super) async fn run(args: &InitArgs, global: &Global, environment: &Environment, output: &Output) -> Result<Exit, Failure> {
    let (objects, namespace) = if args.filename.is_empty() {
        let cluster = Cluster::connect(global, environment).await?;
        (of_cluster(&Reader::new(cluster.client()), &cluster.namespace, &args.start).await?, Some(cluster.namespace))
    } else {
        (of_files(&args.filename)?, global.namespace.clone())
    };
    let (namespace, canary) = (namespace.as_deref(), args.canary.as_deref());
    let made = if args.start.is_of_another() {
        adopt::draft(There { objects: &objects, namespace }, &args.start, canary)?
    } else {
        draft(&objects, &args.start, namespace, canary)?
    };
    let value = json!({ "items": made.objects(), "questions": made.questions, "notTranslated": made.lost, "order": made.order });
    output.data("Manifests", &value, || made.text())?;
    Ok(Exit::Reached)
}

/// The objects of a namespace that matter.
async fn of_cluster(reader: &Reader, namespace: &str, start: &Start) -> Result<Vec<Value>, Failure> {
    let mut objects = Vec::new();
    let istio = RouteKind::VirtualService.group();
    let gateway = RouteKind::HttpRoute.group();
    let usual = [
        ("/api/v1".to_owned(), "services"),
        ("/apis/apps/v1".to_owned(), "deployments"),
        (format!("/apis/{istio}/v1"), "virtualservices"),
        (format!("/apis/{istio}/v1"), "destinationrules"),
        (format!("/apis/{gateway}/v1"), "httproutes"),
        (format!("/apis/{gateway}/v1"), "grpcroutes"),
    ];
    let others: &[&str] = match start.kind {
        "Rollout" => &["rollouts", "analysistemplates"],
        "Canary" => &["canaries", "metrictemplates"],
        _ => &[],
    };
    let group = if start.kind == "Canary" { format!("{}/v1beta1", adopt::FLAGGER) } else { format!("{}/v1alpha1", adopt::ARGO) };
    let others = others.iter().map(|what| (format!("/apis/{group}"), *what));
    for (path, what) in usual.into_iter().chain(others) {
        match reader.list(&format!("{path}/namespaces/{namespace}/{what}")).await {
            Read::Found(list) => objects.extend(list),
            Read::Absent => {}
            Read::Forbidden => {
                let fix = format!("ask for a Role that allows list on {what}, or read files with -f");
                return Err(Failure::new(Exit::NotFound, format!("you may not list {what} in namespace {namespace}"), fix));
            }
            Read::Failed(why) => return Err(Failure::new(Exit::Error, format!("{what} could not be read: {why}"), "")),
        }
    }
    // Of the cluster, which not everybody may list: a template that was not read is named as such.
    if start.kind == "Rollout"
        && let Read::Found(list) = reader.list(&format!("/apis/{group}/clusteranalysistemplates")).await
    {
        objects.extend(list);
    }
    Ok(objects)
}

fn of_files(files: &[PathBuf]) -> Result<Vec<Value>, Failure> {
    let mut objects = Vec::new();
    for path in files {
        let text = lint::read(path)?;
        let documents: Vec<Value> = serde_yaml::from_multiple(&text).map_err(|error| {
            Failure::new(Exit::Usage, format!("{} is not YAML: {error}", path.display()), "`haldane lint -f` tells the place")
        })?;
        for document in documents {
            match document.get("items").and_then(Value::as_array) {
                Some(items) => objects.extend(items.iter().cloned()),
                None => objects.push(document),
            }
        }
    }
    Ok(objects)
}

impl Draft {
    fn objects(&self) -> Vec<&Value> {
        self.documents.iter().map(|document| &document.object).collect()
    }

    fn text(&self) -> String {
        let mut text = format!("# {} Nothing has been applied.\n", self.about);
        if !self.questions.is_empty() {
            text += "# What could not be answered from what is there:\n";
            for (index, question) in self.questions.iter().enumerate() {
                text += &format!("# {}. {question}\n", index + 1);
            }
        }
        if !self.lost.is_empty() {
            text += "# What has no equivalent, or a different one:\n";
            text.extend(self.lost.iter().map(|lost| format!("# - {lost}\n")));
        }
        if !self.order.is_empty() {
            text += "# The move, without an interruption:\n";
            for (index, step) in self.order.iter().enumerate() {
                text += &format!("# {}. {step}\n", index + 1);
            }
        }
        for document in &self.documents {
            text += "---\n";
            text.extend(document.notes.iter().map(|note| format!("# {note}\n")));
            // A value of JSON can be written as YAML.
            text += serde_yaml::to_string(&document.object).unwrap_or_default().trim_end();
            text.push('\n');
        }
        text
    }
}
