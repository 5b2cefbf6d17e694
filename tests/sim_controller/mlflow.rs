//! An MLflow registry that answers as the real one does (`tests/data/mlflow`), with trouble on request.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    #[default]
    None,
    Hangs,
    Fails,
    Page,
    /// What is written fails, what is read does not.
    Writes,
}

#[derive(Default)]
struct Registry {
    aliases: BTreeMap<String, String>,
    tags: BTreeMap<(String, String), String>,
    trouble: Trouble,
    asked: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Mlflow {
    registry: Arc<Mutex<Registry>>,
    pub url: String,
}

impl Mlflow {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mlflow = Self { registry: Arc::default(), url };
        let router = Router::new()
            .route("/api/2.0/mlflow/registered-models/alias", get(alias).post(set_alias))
            .route("/api/2.0/mlflow/model-versions/get", get(version))
            .route("/api/2.0/mlflow/model-versions/set-tag", post(set_tag))
            .with_state(mlflow.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        mlflow
    }

    pub(crate) fn move_alias(&self, alias: &str, version: &str) {
        self.registry.lock().unwrap().aliases.insert(alias.to_owned(), version.to_owned());
    }

    pub(crate) fn alias(&self, alias: &str) -> Option<String> {
        self.registry.lock().unwrap().aliases.get(alias).cloned()
    }

    pub(crate) fn tag(&self, version: &str, key: &str) -> Option<String> {
        self.registry.lock().unwrap().tags.get(&(version.to_owned(), key.to_owned())).cloned()
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.registry.lock().unwrap().trouble = trouble;
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.registry.lock().unwrap().asked.clone()
    }

    async fn enter(&self, what: String) -> Option<Response> {
        let trouble = {
            let mut registry = self.registry.lock().unwrap();
            let writes = what.starts_with("set ");
            registry.asked.push(what);
            if registry.trouble == Trouble::Writes && !writes { Trouble::None } else { registry.trouble }
        };
        match trouble {
            Trouble::None => None,
            Trouble::Hangs => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                None
            }
            Trouble::Fails | Trouble::Writes => Some((StatusCode::INTERNAL_SERVER_ERROR, "database is locked").into_response()),
            Trouble::Page => Some((StatusCode::OK, "<html><title>Sign in</title></html>").into_response()),
        }
    }

    fn of(&self, version: &str) -> Response {
        let registry = self.registry.lock().unwrap();
        let tags = registry.tags.iter().filter(|((of, _), _)| of == version);
        let tags: Vec<Value> = tags.map(|((_, key), value)| json!({"key": key, "value": value})).collect();
        let mut found = json!({"name": "fraud", "version": version, "status": "READY", "run_id": "", "current_stage": "None"});
        if !tags.is_empty() {
            found["tags"] = json!(tags);
        }
        Json(json!({ "model_version": found })).into_response()
    }
}

async fn alias(State(mlflow): State<Mlflow>, Query(query): Query<HashMap<String, String>>) -> Response {
    let (name, alias) = (&query["name"], &query["alias"]);
    if let Some(answer) = mlflow.enter(format!("alias {alias}")).await {
        return answer;
    }
    let refused = |status, code: &str, message: String| (status, Json(json!({"error_code": code, "message": message}))).into_response();
    if name != "fraud" {
        return refused(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", format!("Registered Model with name={name} not found"));
    }
    match mlflow.alias(alias) {
        Some(version) => mlflow.of(&version),
        None => refused(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", format!("Registered model alias {alias} not found.")),
    }
}

async fn version(State(mlflow): State<Mlflow>, Query(query): Query<HashMap<String, String>>) -> Response {
    match mlflow.enter(format!("version {}", query["version"])).await {
        Some(answer) => answer,
        None => mlflow.of(&query["version"]),
    }
}

async fn set_alias(State(mlflow): State<Mlflow>, Json(body): Json<Value>) -> Response {
    let text = |field: &str| body[field].as_str().unwrap().to_owned();
    if let Some(answer) = mlflow.enter(format!("set alias {} {}", text("alias"), text("version"))).await {
        return answer;
    }
    mlflow.move_alias(&text("alias"), &text("version"));
    Json(json!({})).into_response()
}

async fn set_tag(State(mlflow): State<Mlflow>, Json(body): Json<Value>) -> Response {
    let text = |field: &str| body[field].as_str().unwrap().to_owned();
    if let Some(answer) = mlflow.enter(format!("set tag {} {}", text("version"), text("key"))).await {
        return answer;
    }
    mlflow.registry.lock().unwrap().tags.insert((text("version"), text("key")), text("value"));
    Json(json!({})).into_response()
}
