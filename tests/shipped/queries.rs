//! What the dashboards of the chart ask of Prometheus.

use std::{fs, path::Path};

use serde_json::Value;

/// A query as it is written, with Grafana's variables in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Query {
    /// Name of the dashboard's file.
    pub(crate) dashboard: String,
    /// Title of the panel, or name of the variable.
    pub(crate) of: String,
    /// PromQL.
    pub(crate) expr: String,
}

/// Every query of every dashboard. A variable's `label_values(SERIES, LABEL)` is asked as PromQL has it.
pub(crate) fn queries() -> Vec<Query> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chart/dashboards");
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let dashboard = path.file_stem().unwrap().to_string_lossy().into_owned();
        let board: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut add = |of: String, expr: String| all.push(Query { dashboard: dashboard.clone(), of, expr });
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                add(text(&panel["title"]), text(&target["expr"]));
            }
        }
        for variable in board["templating"]["list"].as_array().unwrap().iter().filter(|variable| variable["type"] == "query") {
            let query = text(&variable["query"]);
            let (series, label) = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
            add(text(&variable["name"]), format!("group by ({label}) ({series})"));
        }
    }
    all.sort();
    all
}
