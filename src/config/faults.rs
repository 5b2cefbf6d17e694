//! From the file's text to a [`Config`], or all its faults. No message repeats a value: a webhook's URL is a secret.

use std::path::{Path, PathBuf};

use kube::core::Duration;
use reqwest::Url;
use serde_json::{Map, Value};

use super::Config;

/// Longest name of a provider or a sink.
const NAME_MAX: usize = 63;
/// Longest text of a duration that is parsed; longer ones could overflow.
const DURATION_TEXT_MAX: usize = 16;
/// Longest duration that makes sense here.
const DURATION_MAX: std::time::Duration = std::time::Duration::from_secs(3600);

/// One fault of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Fault {
    /// Where, for example `alerts.oncall.webhook.url`.
    pub path: String,
    /// What is wrong and the mend. Never the value.
    pub message: String,
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is no YAML.
    #[error("the configuration is not valid YAML{0}")]
    NotYaml(String),
    /// It is YAML with faults, in the order of the file's sections.
    #[error("the configuration has {}: {}", counted(.0.len()), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faults(Vec<Fault>),
}

fn counted(n: usize) -> String {
    if n == 1 { "a fault".into() } else { format!("{n} faults") }
}

impl Config {
    /// Reads the text of a configuration file. Relative paths of secrets are taken from `beside`, the directory of the file.
    pub fn parse(text: &str, beside: &Path) -> Result<Self, ConfigError> {
        // The parser's own message quotes the line, and a line may hold a secret: only the place is told.
        let value: Option<Value> = serde_yaml::from_str(text).map_err(|e| {
            let place = e.location().map(|l| format!(", line {} column {}", l.line(), l.column())).unwrap_or_default();
            ConfigError::NotYaml(format!("{place} (indentation, a tab, a key given twice or an unclosed quote?)"))
        })?;
        let value = match value {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(value) => value,
        };
        let mut check = Check::default();
        check.file(&value);
        if !check.faults.is_empty() {
            return Err(ConfigError::Faults(check.faults));
        }
        let mut config: Self = serde_json::from_value(without_nulls(value)).map_err(|_| {
            let message = "the file does not have the documented shape".into();
            ConfigError::Faults(vec![Fault { path: "(file)".into(), message }])
        })?;
        config.anchor(beside);
        Ok(config)
    }

    fn anchor(&mut self, beside: &Path) {
        let providers = self.prometheus.values_mut().flat_map(|p| [&mut p.bearer_token_file, &mut p.ca_file]);
        let sinks = self.alerts.values_mut().filter_map(|s| s.webhook.as_mut()).map(|w| &mut w.hmac_key_file);
        for file in providers.chain(sinks).flatten() {
            *file = beside.join(&file);
        }
    }
}

#[derive(Default)]
struct Check {
    faults: Vec<Fault>,
}

impl Check {
    fn fault(&mut self, path: &str, message: impl Into<String>) {
        self.faults.push(Fault { path: path.into(), message: message.into() });
    }

    fn file(&mut self, value: &Value) {
        let Some(file) = self.mapping("(file)", value, &["prometheus", "alerts"]) else { return };
        for (name, provider) in self.named(file, "prometheus") {
            self.provider(&format!("prometheus.{name}"), provider);
        }
        for (name, sink) in self.named(file, "alerts") {
            self.sink(&format!("alerts.{name}"), sink);
        }
    }

    fn named<'v>(&mut self, file: &'v Map<String, Value>, section: &str) -> Vec<(&'v String, &'v Value)> {
        let entries = match file.get(section) {
            None | Some(Value::Null) => return Vec::new(),
            Some(Value::Object(entries)) => entries,
            Some(_) => {
                self.fault(section, "must be a mapping from names to settings");
                return Vec::new();
            }
        };
        for name in entries.keys().filter(|n| n.is_empty() || n.len() > NAME_MAX) {
            let shown: String = name.chars().take(NAME_MAX).collect();
            self.fault(&format!("{section}.{shown}"), format!("a name has 1 to {NAME_MAX} characters"));
        }
        entries.iter().collect()
    }

    fn provider(&mut self, path: &str, value: &Value) {
        let known = ["url", "scrapeInterval", "lag", "labels", "bearerTokenFile", "caFile"];
        let Some(provider) = self.mapping(path, value, &known) else { return };
        let url = self.url(path, provider);
        self.duration(path, provider, "scrapeInterval", false);
        self.duration(path, provider, "lag", true);
        self.file_name(path, provider, "bearerTokenFile");
        self.file_name(path, provider, "caFile");
        if provider.contains_key("caFile") && url.is_some_and(|u| u.scheme() == "http") {
            self.fault(&format!("{path}.caFile"), "has no effect with an http URL: use https, or take it out");
        }
        match provider.get("labels") {
            None | Some(Value::Null) => {}
            Some(Value::Object(labels)) => {
                for (name, value) in labels {
                    let path = format!("{path}.labels.{name}");
                    if !label_name(name) {
                        self.fault(&path, "a label name has letters, digits and underscores and does not begin with a digit or with __");
                    }
                    if !value.is_string() {
                        self.fault(&path, "must be a string: put it in quotes");
                    }
                }
            }
            Some(_) => self.fault(&format!("{path}.labels"), "must be a mapping from label names to values"),
        }
    }

    fn sink(&mut self, path: &str, value: &Value) {
        let Some(sink) = self.mapping(path, value, &["alertmanager", "webhook"]) else { return };
        if sink.len() != 1 {
            self.fault(path, "needs exactly one of alertmanager and webhook");
        }
        if let Some(value) = sink.get("alertmanager") {
            let path = format!("{path}.alertmanager");
            if let Some(alertmanager) = self.mapping(&path, value, &["url"])
                && let Some(url) = self.url(&path, alertmanager)
                && url.query().is_some()
            {
                self.fault(&format!("{path}.url"), "is the base URL of an Alertmanager: take the query out");
            }
        }
        if let Some(value) = sink.get("webhook") {
            self.webhook(&format!("{path}.webhook"), value);
        }
    }

    fn webhook(&mut self, path: &str, value: &Value) {
        let Some(webhook) = self.mapping(path, value, &["url", "format", "hmacKeyFile"]) else { return };
        self.url(path, webhook);
        self.file_name(path, webhook, "hmacKeyFile");
        match webhook.get("format").and_then(Value::as_str) {
            Some("json") => {}
            Some("slack") if webhook.contains_key("hmacKeyFile") => {
                self.fault(&format!("{path}.hmacKeyFile"), "Slack checks no signature: use format: json, or take it out");
            }
            Some("slack") => {}
            _ => self.fault(&format!("{path}.format"), "must be slack or json"),
        }
    }

    fn mapping<'v>(&mut self, path: &str, value: &'v Value, known: &[&str]) -> Option<&'v Map<String, Value>> {
        let Value::Object(map) = value else {
            self.fault(path, format!("must be a mapping with the keys {}", known.join(", ")));
            return None;
        };
        for key in map.keys().filter(|k| !known.contains(&k.as_str())) {
            let path = if path == "(file)" { key.clone() } else { format!("{path}.{key}") };
            self.fault(&path, format!("is not a key here; known are {}", known.join(", ")));
        }
        Some(map)
    }

    fn url(&mut self, path: &str, map: &Map<String, Value>) -> Option<Url> {
        let path = format!("{path}.url");
        let text = match map.get("url") {
            Some(Value::String(text)) if !text.is_empty() => text,
            Some(Value::String(_)) | None | Some(Value::Null) => {
                self.fault(&path, "is missing");
                return None;
            }
            Some(_) => {
                self.fault(&path, "must be a string");
                return None;
            }
        };
        let Ok(url) = Url::parse(text) else {
            self.fault(&path, "is not a URL: write it as http://host:port or https://host/path");
            return None;
        };
        if !matches!(url.scheme(), "http" | "https") {
            self.fault(&path, "must begin with http:// or https://");
        } else if url.host_str().is_none_or(str::is_empty) {
            self.fault(&path, "has no host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            self.fault(&path, "must not carry a user or a password: put a token into a file");
        }
        if url.fragment().is_some() {
            self.fault(&path, "has a fragment (#), which is never sent: take it out");
        }
        Some(url)
    }

    fn duration(&mut self, path: &str, map: &Map<String, Value>, key: &str, zero: bool) {
        let path = format!("{path}.{key}");
        let text = match map.get(key) {
            None | Some(Value::Null) => return,
            Some(Value::String(text)) if text.len() <= DURATION_TEXT_MAX && !text.is_empty() => text,
            Some(_) => return self.fault(&path, "must be a duration with its unit, as 15s or 500ms"),
        };
        let Ok(duration) = text.parse::<Duration>() else {
            return self.fault(&path, "must be a duration with its unit, as 15s or 500ms");
        };
        let length = std::time::Duration::from(duration);
        if duration.is_negative() || (length.is_zero() && !zero) || length > DURATION_MAX {
            self.fault(&path, if zero { "must be from 0s to 1h" } else { "must be above 0s and at most 1h" });
        }
    }

    fn file_name(&mut self, path: &str, map: &Map<String, Value>, key: &str) {
        match map.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(name)) if !name.is_empty() => {}
            Some(_) => self.fault(&format!("{path}.{key}"), "must be the path of a file"),
        }
    }
}

/// A key without a value (`alerts:`) is a key left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()),
        other => other,
    }
}

fn label_name(name: &str) -> bool {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && !name.starts_with("__") && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
