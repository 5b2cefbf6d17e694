//! From the file's text to a [`Config`], or all its faults. No message repeats a value: a webhook's URL is a secret.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use kube::core::Duration;
use reqwest::Url;
use serde_json::{Map, Value};

use super::{Config, access, templates};
use crate::{
    plan::promql::is_plain,
    web::{is_browsable, is_prefix},
};

/// Longest name of a provider or a sink.
const NAME_MAX: usize = 63;
/// Longest text of a duration that is parsed; longer ones could overflow.
const DURATION_TEXT_MAX: usize = 16;
/// Longest duration that makes sense here.
const DURATION_MAX: std::time::Duration = std::time::Duration::from_secs(3600);
/// Longest begin of a `source`.
const SOURCE_MAX: usize = 256;
/// Kinds of sinks.
const KINDS: [&str; 4] = ["alertmanager", "webhook", "pagerDuty", "cloudEvents"];
/// The port at which collectors take OTLP over gRPC.
const GRPC: u16 = 4317;
/// Most queries that are in flight at once.
const MOST_CONCURRENCY: u64 = 256;

/// One fault of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Fault {
    /// Where, for example `alerts.oncall.webhook.url`.
    pub path: String,
    /// What is wrong and the fix. Never the value.
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
        // The parser's own message quotes the line, and a line may hold a secret: only the place is given.
        let value: Option<Value> = serde_yaml::from_str(text).map_err(|e| {
            let place = e.location().map(|l| format!(", line {} column {}", l.line(), l.column())).unwrap_or_default();
            ConfigError::NotYaml(format!("{place} (indentation, a tab, a key given twice or an unclosed quote?)"))
        })?;
        let mut value = match value {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(value) => value,
        };
        let mut check = Check::default();
        check.file(&value);
        if !check.faults.is_empty() {
            return Err(ConfigError::Faults(check.faults));
        }
        let templates = templates::taken(&mut value);
        let mut config: Self = serde_json::from_value(without_nulls(value)).map_err(|_| {
            let message = "the file does not have the documented shape".into();
            ConfigError::Faults(vec![Fault { path: "(file)".into(), message }])
        })?;
        config.templates = templates;
        config.anchor(beside);
        Ok(config)
    }

    fn anchor(&mut self, beside: &Path) {
        for provider in self.prometheus.values_mut() {
            provider.access.anchor(beside);
        }
        for server in self.mlflow.values_mut() {
            server.access.anchor(beside);
            if let Some(file) = &mut server.webhook_secret_file {
                *file = beside.join(&*file);
            }
        }
        for sink in self.alerts.values_mut() {
            sink.anchor(beside);
        }
        if let Some(traces) = &mut self.traces {
            traces.otlp.access.anchor(beside);
        }
    }
}

#[derive(Default)]
pub(super) struct Check {
    faults: Vec<Fault>,
}

impl Check {
    pub(super) fn fault(&mut self, path: &str, message: impl Into<String>) {
        self.faults.push(Fault { path: path.into(), message: message.into() });
    }

    fn file(&mut self, value: &Value) {
        let Some(file) = self.mapping("(file)", value, &["prometheus", "mlflow", "alerts", "dashboard", "traces"]) else { return };
        for (name, provider) in self.named(file, "prometheus") {
            self.provider(&format!("prometheus.{name}"), provider);
        }
        for (name, server) in self.named(file, "mlflow") {
            self.mlflow(&format!("mlflow.{name}"), server);
        }
        for (name, sink) in self.named(file, "alerts") {
            self.sink(&format!("alerts.{name}"), sink);
        }
        if let Some(dashboard) = file.get("dashboard").filter(|value| !value.is_null()) {
            self.dashboard(dashboard);
        }
        if let Some(traces) = file.get("traces").filter(|value| !value.is_null()) {
            self.traces(traces);
        }
    }

    fn traces(&mut self, value: &Value) {
        if cfg!(not(feature = "otlp")) {
            return self.fault("traces", "this haldane was built without the feature otlp: take it out, or build with it");
        }
        let Some(traces) = self.mapping("traces", value, &["otlp"]) else { return };
        let Some(value) = traces.get("otlp").filter(|value| !value.is_null()) else {
            return self.fault("traces.otlp", "is missing: the collector, as {url: \"http://collector.monitoring:4318\"}");
        };
        let Some(otlp) = self.mapping("traces.otlp", value, &[&["url", "attributes"], &access::KEYS[..]].concat()) else { return };
        let url = self.url("traces.otlp", otlp);
        if url.as_ref().is_some_and(|url| url.port() == Some(GRPC)) {
            self.fault("traces.otlp.url", "has the port of OTLP over gRPC: give the one of OTLP over HTTP, which is usually 4318");
        }
        self.access("traces.otlp", otlp, url.as_ref(), &[]);
        match otlp.get("attributes") {
            None | Some(Value::Null) => {}
            Some(Value::Object(attributes)) => {
                for (name, _) in attributes.iter().filter(|(name, value)| name.is_empty() || !value.is_string()) {
                    self.fault(&format!("traces.otlp.attributes.{name}"), "must be a name with a text: put the text in quotes");
                }
            }
            Some(_) => self.fault("traces.otlp.attributes", "must be a mapping from names to texts, as {k8s.cluster.name: prod}"),
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
        let known = [&["url", "scrapeInterval", "lag", "labels", "concurrency"], &access::KEYS[..]].concat();
        let Some(provider) = self.mapping(path, value, &known) else { return };
        let url = self.url(path, provider);
        self.duration(path, provider, "scrapeInterval", false);
        self.duration(path, provider, "lag", true);
        self.number(path, provider, "concurrency", MOST_CONCURRENCY);
        self.access(path, provider, url.as_ref(), &access::QUERY_PARAMETERS);
        match provider.get("labels") {
            None | Some(Value::Null) => {}
            Some(Value::Object(labels)) => {
                for (name, value) in labels {
                    let path = format!("{path}.labels.{name}");
                    if !label_name(name) {
                        self.fault(&path, "a label name has no spaces, quotes or brackets and does not begin with __");
                    }
                    if !value.is_string() {
                        self.fault(&path, "must be a string: put it in quotes");
                    }
                }
            }
            Some(_) => self.fault(&format!("{path}.labels"), "must be a mapping from label names to values"),
        }
    }

    fn mlflow(&mut self, path: &str, value: &Value) {
        let known = [&["url", "poll", "webhookSecretFile"], &access::KEYS[..]].concat();
        let Some(server) = self.mapping(path, value, &known) else { return };
        let url = self.url(path, server);
        self.duration(path, server, "poll", false);
        self.file_name(path, server, "webhookSecretFile");
        self.access(path, server, url.as_ref(), &[]);
    }

    fn sink(&mut self, path: &str, value: &Value) {
        let Some(sink) = self.mapping(path, value, &[&KINDS[..], &["templates"]].concat()) else { return };
        if let Some(value) = sink.get("templates") {
            self.templates(&format!("{path}.templates"), value);
        }
        if sink.keys().filter(|key| *key != "templates").count() != 1 {
            self.fault(path, "needs exactly one of alertmanager, webhook, pagerDuty and cloudEvents");
        }
        if let Some(value) = sink.get("alertmanager") {
            let path = format!("{path}.alertmanager");
            if let Some(alertmanager) = self.mapping(&path, value, &[&["url"], &access::KEYS[..]].concat()) {
                let url = self.url(&path, alertmanager);
                self.access(&path, alertmanager, url.as_ref(), &[]);
            }
        }
        if let Some(value) = sink.get("webhook") {
            self.webhook(&format!("{path}.webhook"), value);
        }
        if let Some(value) = sink.get("pagerDuty") {
            self.pager_duty(&format!("{path}.pagerDuty"), value);
        }
        if let Some(value) = sink.get("cloudEvents") {
            self.cloud_events(&format!("{path}.cloudEvents"), value);
        }
    }

    fn dashboard(&mut self, value: &Value) {
        let Some(dashboard) = self.mapping("dashboard", value, &["listen", "pathPrefix", "cluster", "prometheusUrl"]) else { return };
        let text = |key: &str| dashboard.get(key).filter(|value| !value.is_null()).map(|value| value.as_str().unwrap_or_default());
        if text("listen").is_some_and(|listen| listen.parse::<SocketAddr>().is_err()) {
            self.fault("dashboard.listen", "must be an address with its port, as 0.0.0.0:8081");
        }
        if text("pathPrefix").is_some_and(|prefix| !prefix.is_empty() && !is_prefix(prefix)) {
            self.fault("dashboard.pathPrefix", "must be a path of plain words without a slash at its end, as /haldane");
        }
        if text("cluster").is_some_and(|cluster| cluster.is_empty() || cluster.len() > NAME_MAX) {
            self.fault("dashboard.cluster", format!("must be a name of 1 to {NAME_MAX} characters"));
        }
        if text("prometheusUrl").is_some_and(|url| !is_browsable(url)) {
            self.fault("dashboard.prometheusUrl", "must be http://host:port or https://host/path, without a slash at its end");
        }
    }

    fn webhook(&mut self, path: &str, value: &Value) {
        let Some(webhook) = self.mapping(path, value, &[&["url", "format", "hmacKeyFile"], &access::WEBHOOK_KEYS[..]].concat()) else {
            return;
        };
        let url = self.url(path, webhook);
        let own = webhook.iter().filter(|(key, _)| access::WEBHOOK_KEYS.contains(&key.as_str()));
        self.access(path, &own.map(|(key, value)| (key.clone(), value.clone())).collect(), url.as_ref(), &[]);
        self.file_name(path, webhook, "hmacKeyFile");
        match webhook.get("format").and_then(Value::as_str) {
            Some("json") => {}
            Some(chat @ ("slack" | "teams")) if webhook.contains_key("hmacKeyFile") => {
                let name = if chat == "slack" { "Slack" } else { "Teams" };
                self.fault(&format!("{path}.hmacKeyFile"), format!("{name} checks no signature: use format: json, or take it out"));
            }
            Some("slack" | "teams") => {}
            _ => self.fault(&format!("{path}.format"), "must be slack, teams or json"),
        }
    }

    fn cloud_events(&mut self, path: &str, value: &Value) {
        let Some(sink) = self.mapping(path, value, &[&["url", "mode", "source"], &access::KEYS[..]].concat()) else { return };
        let url = self.url(path, sink);
        self.access(path, sink, url.as_ref(), &[]);
        match sink.get("mode") {
            None | Some(Value::Null) => {}
            Some(mode) if mode == "binary" || mode == "structured" => {}
            Some(_) => self.fault(&format!("{path}.mode"), "must be binary or structured"),
        }
        match sink.get("source") {
            None | Some(Value::Null) => {}
            Some(Value::String(source)) if is_source(source) => {}
            Some(_) => self.fault(
                &format!("{path}.source"),
                "must be a URI or a path, as /clusters/prod, without spaces and without a slash at its end",
            ),
        }
    }

    fn pager_duty(&mut self, path: &str, value: &Value) {
        let known = [&["routingKeyFile", "url"], &access::WEBHOOK_KEYS[..]].concat();
        let Some(sink) = self.mapping(path, value, &known) else { return };
        let url = sink.get("url").filter(|url| !url.is_null()).and_then(|_| self.url(path, sink));
        let own = sink.iter().filter(|(key, _)| access::WEBHOOK_KEYS.contains(&key.as_str()));
        self.access(path, &own.map(|(key, value)| (key.clone(), value.clone())).collect(), url.as_ref(), &[]);
        self.file_name(path, sink, "routingKeyFile");
        if sink.get("routingKeyFile").is_none_or(Value::is_null) {
            self.fault(&format!("{path}.routingKeyFile"), "is missing: the file with the routing key of the integration");
        }
    }

    pub(super) fn mapping<'v>(&mut self, path: &str, value: &'v Value, known: &[&str]) -> Option<&'v Map<String, Value>> {
        let Value::Object(map) = value else {
            self.fault(path, format!("must be a mapping with the keys {}", known.join(", ")));
            return None;
        };
        for key in map.keys().filter(|k| !known.contains(&k.as_str())) {
            let path = if path == "(file)" { key.clone() } else { format!("{path}.{key}") };
            let fix = instead(key).map_or_else(|| format!("known are {}", known.join(", ")), str::to_owned);
            self.fault(&path, format!("is not a key here; {fix}"));
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
            self.fault(&path, "must not carry a user or a password: use basicAuth: {username: USER, passwordFile: FILE}");
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

    fn number(&mut self, path: &str, map: &Map<String, Value>, key: &str, most: u64) {
        let given = map.get(key).filter(|value| !value.is_null());
        if given.is_some_and(|value| value.as_u64().is_none_or(|number| number == 0 || number > most)) {
            self.fault(&format!("{path}.{key}"), format!("must be a whole number from 1 to {most}"));
        }
    }

    pub(super) fn file_name(&mut self, path: &str, map: &Map<String, Value>, key: &str) {
        match map.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(name)) if !name.is_empty() => {}
            Some(_) => self.fault(&format!("{path}.{key}"), "must be the path of a file"),
        }
    }
}

/// What takes the place of a key that other programs have.
fn instead(key: &str) -> Option<&'static str> {
    Some(match key {
        "bearerToken" | "token" | "authorization" => "put the token into a file: bearerTokenFile: FILE",
        "password" => "put the password into a file: passwordFile: FILE",
        "insecureSkipVerify" | "tlsConfig" => "certificates are always checked: give the one to trust in caFile",
        "webhookSecret" => "put the secret into a file: webhookSecretFile: FILE",
        "routingKey" | "integrationKey" => "put the key into a file: routingKeyFile: FILE",
        "tenant" | "tenantID" | "tenantId" => "use headers: {X-Scope-OrgID: TENANT}",
        _ => return None,
    })
}

/// A key without a value (`alerts:`) is a key left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect()),
        other => other,
    }
}

/// What a `source` may begin with: a URI reference.
fn is_source(text: &str) -> bool {
    let character = |c: char| c.is_ascii_alphanumeric() || "-._~:/@!$&'()*+,;=%".contains(c);
    !text.is_empty() && text.len() <= SOURCE_MAX && !text.ends_with('/') && text.chars().all(character)
}

fn label_name(name: &str) -> bool {
    is_plain(name) && !name.starts_with("__")
}
