//! Reads of the API server by path: what is there, what is not, and what may not be read are all answers.

use axum::http::Request;
use kube::Client;
use serde_json::Value;

use crate::doctor::Read;

/// Reads by path.
pub(super) struct Reader {
    client: Client,
}

impl Reader {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// What is at a path.
    pub(super) async fn get(&self, path: &str) -> Read<Value> {
        self.answer(Request::get(path).body(Vec::new())).await
    }

    /// The objects of a list; none where the kind is not there.
    pub(super) async fn list(&self, path: &str) -> Read<Vec<Value>> {
        self.get(path).await.map(|mut list| {
            let kind = list.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            let version = list.get("apiVersion").cloned().unwrap_or_default();
            let kind = kind.strip_suffix("List").unwrap_or_default().to_owned();
            let mut items = match list.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            };
            // Lists of built-in kinds say it once for all.
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                item.entry("kind").or_insert_with(|| kind.clone().into());
                item.entry("apiVersion").or_insert_with(|| version.clone());
            }
            items
        })
    }

    /// What the server answers to an object that is posted.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Read<Value> {
        let request = Request::post(path).header("content-type", "application/json");
        self.answer(request.body(body.to_string().into_bytes())).await
    }

    async fn answer(&self, request: Result<Request<Vec<u8>>, axum::http::Error>) -> Read<Value> {
        let request = match request {
            Ok(request) => request,
            Err(error) => return Read::Failed(error.to_string()),
        };
        match self.client.request::<Value>(request).await {
            Ok(value) => Read::Found(value),
            Err(kube::Error::Api(status)) => match status.code {
                404 => Read::Absent,
                401 | 403 => Read::Forbidden,
                code => Read::Failed(format!("the API server answered {code}: {}", status.message)),
            },
            Err(error) => Read::Failed(super::cluster::chain(&error)),
        }
    }
}
