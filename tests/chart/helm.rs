//! Helm and kubectl as tests/stack/build made them, and what a chart renders.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::real::programs;

/// APIs of other products that the chart has objects for.
pub(crate) const APIS: [&str; 3] = [
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "grafana.integreatly.org/v1beta1/GrafanaDashboard",
];

/// A path of the repository.
pub(crate) fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a program of the stack: what it printed, or what it complained of.
pub(crate) fn tool(name: &str, arguments: &[&str]) -> Result<String, String> {
    run(Command::new(program(name)).args(arguments))
}

/// Runs Helm, with the kubeconfig and the files of a directory if there is one.
pub(crate) fn helm<A: AsRef<std::ffi::OsStr>>(arguments: &[A], home: Option<&Path>) -> Result<String, String> {
    let mut command = Command::new(program("helm"));
    command.args(arguments).env("KUBECONFIG", home.map_or(PathBuf::from("/dev/null"), |home| home.join("config")));
    for (name, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "settings"), ("HELM_DATA_HOME", "data")] {
        command.env(name, home.map_or_else(std::env::temp_dir, Path::to_path_buf).join(folder));
    }
    run(&mut command)
}

fn program(name: &str) -> PathBuf {
    let path = programs().join(name);
    assert!(path.exists(), "no {}: tests/stack/build {name} makes it", path.display());
    path
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let [out, complaint] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(out) } else { Err(out + &complaint) }
}

/// Objects of a text, without empty documents.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_yaml::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    all.into_iter().filter(|object| !object.is_null()).collect()
}

/// Kind and name.
pub(crate) fn key(object: &Value) -> (String, String) {
    (object["kind"].as_str().unwrap().to_owned(), object["metadata"]["name"].as_str().unwrap().to_owned())
}

/// The objects of a chart.
pub(crate) struct Rendered(pub(crate) Vec<Value>);

impl Rendered {
    /// Objects of one kind.
    pub(crate) fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// The one object of its kind.
    pub(crate) fn only(&self, kind: &str) -> &Value {
        let found: Vec<&Value> = self.of(kind).collect();
        assert_eq!(found.len(), 1, "{kind}");
        found[0]
    }

    /// One of several of its kind.
    pub(crate) fn named(&self, kind: &str, name: &str) -> &Value {
        self.of(kind).find(|object| object["metadata"]["name"] == name).unwrap_or_else(|| panic!("no {kind} {name}"))
    }
}

/// `helm template` of the release `haldane` in `haldane-system`.
pub(crate) fn template(values: Option<&Path>, more: &[&str]) -> Result<Rendered, String> {
    let chart = root("deploy/chart").display().to_string();
    let mut arguments: Vec<String> = ["template", "haldane", &chart, "--namespace", "haldane-system"].map(str::to_owned).into();
    arguments.extend(values.iter().flat_map(|path| ["--values".to_owned(), path.display().to_string()]));
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    helm(&arguments, None).map(|text| Rendered(documents(&text)))
}
