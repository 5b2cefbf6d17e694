//! One of the two servers, and what it answered so far.

use std::collections::HashMap;

use futures::{AsyncBufReadExt, StreamExt, TryStreamExt};
use http::Request;
use kube::Client;
use serde_json::{Value, json};

/// A request. `$name.rv` and `$name.uid` in the body stand for what was last seen of that object on the same server.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub method: &'static str,
    pub path: String,
    pub content_type: &'static str,
    pub accept: &'static str,
    pub body: Value,
}

pub(crate) struct Side {
    client: Client,
    seen: HashMap<String, String>,
}

impl Side {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, seen: HashMap::new() }
    }

    pub(crate) async fn ask(&mut self, ask: &Ask) -> Value {
        let (code, body) = self.raw(ask).await;
        let object: Value = serde_json::from_str(&body).unwrap_or(json!(body.trim()));
        self.remember(&object);
        json!({"code": code, "body": normal(object)})
    }

    async fn raw(&self, ask: &Ask) -> (u16, String) {
        let mut text = if ask.body.is_null() { String::new() } else { ask.body.to_string() };
        let mut path = ask.path.clone();
        for (name, value) in &self.seen {
            text = text.replace(&format!("${name}"), value);
            path = path.replace(&format!("${name}"), value);
        }
        let mut request = Request::builder().method(ask.method).uri(path).header("accept", ask.accept).header("user-agent", "contract/1.0");
        if !ask.body.is_null() {
            request = request.header("content-type", ask.content_type);
        }
        let response = self.client.send(request.body(text.into_bytes().into()).unwrap()).await.unwrap();
        let code = response.status().as_u16();
        let body = kube::client::Body::collect_bytes(response.into_body()).await.unwrap();
        (code, String::from_utf8_lossy(&body).into_owned())
    }

    /// Events of a watch that the server ends.
    pub(crate) async fn watch(&self, path: &str) -> Vec<Value> {
        let mut path = path.to_owned();
        for (name, value) in &self.seen {
            path = path.replace(&format!("${name}"), value);
        }
        let request = Request::get(path).header("user-agent", "contract/1.0").body(Vec::new()).unwrap();
        let stream = self.client.request_stream(request).await.unwrap();
        let lines = stream.lines().map_ok(|line| normal(serde_json::from_str(&line).unwrap()));
        let mut events: Vec<Value> = lines.filter_map(|e| async { e.ok() }).collect().await;
        events.retain(|e| e["type"] != "BOOKMARK");
        events
    }

    fn remember(&mut self, object: &Value) {
        let items = object["items"].as_array().cloned().unwrap_or_default();
        for one in items.iter().chain([object]) {
            let metadata = &one["metadata"];
            let text = |key: &str| metadata[key].as_str().map(str::to_owned);
            let name = text("name").unwrap_or("list".into());
            for (short, key) in [("rv", "resourceVersion"), ("uid", "uid")] {
                if let Some(value) = text(key) {
                    let key = format!("{name}.{short}");
                    if let Some(old) = self.seen.insert(key.clone(), value.clone()).filter(|old| *old != value) {
                        self.seen.insert(format!("old-{key}"), old);
                    }
                }
            }
        }
    }
}

/// An answer without what must differ between two servers.
fn normal(mut value: Value) -> Value {
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, below) in map.iter_mut() {
                let placeholder = match key.as_str() {
                    "uid" | "resourceVersion" if below.is_string() => Some("X"),
                    "creationTimestamp" | "deletionTimestamp" | "time" if below.is_string() => Some("T"),
                    _ => None,
                };
                match placeholder {
                    Some(text) => *below = json!(text),
                    None => strip(below),
                }
            }
            // Neither has an order to rely on.
            for list in ["managedFields", "causes"] {
                if let Some(Value::Array(entries)) = map.get_mut(list) {
                    entries.sort_by_key(Value::to_string);
                }
            }
            let causes = map.get("details").and_then(|d| d["causes"].as_array()).map_or(0, Vec::len);
            if causes > 1 {
                map.insert("message".into(), json!("as in the causes"));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        Value::String(text) => {
            let words: Vec<&str> = text.split(' ').collect();
            let same = |w: &&str| if is_uid(w) { "X".to_owned() } else { (*w).to_owned() };
            *text = words.iter().map(same).collect::<Vec<_>>().join(" ");
        }
        _ => {}
    }
}

fn is_uid(word: &str) -> bool {
    let word = word.trim_matches(|c: char| matches!(c, ',' | '"' | ':' | '(' | ')' | '.'));
    word.len() == 36 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}
