//! `haldane init`: from what is there to the manifests that a Rollout needs. Nothing is applied.

mod draft;
mod model;

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{Environment, Exit, Failure, Global, cluster::Cluster, lint, output::Output, read::Reader};
use crate::{api::RouteKind, doctor::Read};
use draft::{Draft, draft};
use model::Start;

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// What to begin with: service/NAME, deployment/NAME, virtualservice/NAME, httproute/NAME or grpcroute/NAME
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
        (of_cluster(&Reader::new(cluster.client()), &cluster.namespace).await?, Some(cluster.namespace))
    } else {
        (of_files(&args.filename)?, global.namespace.clone())
    };
    let made = draft(&objects, &args.start, namespace.as_deref(), args.canary.as_deref())?;
    let value = json!({ "items": made.objects(), "questions": made.questions });
    output.data("Manifests", &value, || made.text())?;
    Ok(Exit::Reached)
}

/// The objects of a namespace that matter.
async fn of_cluster(reader: &Reader, namespace: &str) -> Result<Vec<Value>, Failure> {
    let mut objects = Vec::new();
    let istio = RouteKind::VirtualService.group();
    let gateway = RouteKind::HttpRoute.group();
    for (path, what) in [
        ("/api/v1".to_owned(), "services"),
        ("/apis/apps/v1".to_owned(), "deployments"),
        (format!("/apis/{istio}/v1"), "virtualservices"),
        (format!("/apis/{istio}/v1"), "destinationrules"),
        (format!("/apis/{gateway}/v1"), "httproutes"),
        (format!("/apis/{gateway}/v1"), "grpcroutes"),
    ] {
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
