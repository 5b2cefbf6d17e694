//! The controller's configuration file: named Prometheus providers and alert sinks.

use std::{collections::BTreeMap, path::PathBuf};

use kube::core::Duration;
use serde::Deserialize;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Prometheus providers by name.
    #[serde(default)]
    pub prometheus: BTreeMap<String, Provider>,
    /// Alert sinks by name.
    #[serde(default)]
    pub alerts: BTreeMap<String, Sink>,
}

/// A Prometheus server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// Base URL, for example `http://prometheus.monitoring:9090`.
    pub url: String,
    /// How often targets are scraped. Default: 15s.
    #[serde(default)]
    pub scrape_interval: Option<Duration>,
    /// How far behind now a window ends, so that its samples are there. Default: scrapeInterval + 5s.
    #[serde(default)]
    pub lag: Option<Duration>,
    /// Matchers added to every query, for example `cluster: prod`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// File with a bearer token, read for every request.
    #[serde(default)]
    pub bearer_token_file: Option<PathBuf>,
    /// File with the certificates to trust, in PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// Where alerts go: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sink {
    /// Alertmanager's v2 API.
    #[serde(default)]
    pub alertmanager: Option<AlertmanagerSink>,
    /// A webhook.
    #[serde(default)]
    pub webhook: Option<WebhookSink>,
}

/// Alertmanager's v2 API.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertmanagerSink {
    /// Base URL, for example `http://alertmanager.monitoring:9093`.
    pub url: String,
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookSink {
    /// URL to POST to. A secret: never logged.
    pub url: String,
    /// Shape of the body.
    pub format: WebhookFormat,
    /// File with the key that signs the body (`json` only).
    #[serde(default)]
    pub hmac_key_file: Option<PathBuf>,
}

/// Shape of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// Slack's incoming webhooks.
    Slack,
    /// Our own JSON, signed with HMAC-SHA256.
    Json,
}
