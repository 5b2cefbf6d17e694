//! The controller's configuration file: named Prometheus providers, MLflow servers and alert sinks, the page that it serves, and where traces go.
//!
//! [`Config::parse`] refuses unknown keys and reports every fault at once with its path and the fix; no fault says a value, since URLs
//! of webhooks are secrets. [`ConfigHandle`] re-reads the file when it changes; a bad new one leaves the old one in force.

mod access;
mod faults;
mod handle;
mod templates;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time,
};

use kube::core::Duration;
use serde::Deserialize;

pub use access::{BasicAuth, ClientCertificate, Google, HeaderValue, HttpAccess, SigV4};
pub use faults::{ConfigError, Fault};
pub use handle::{ConfigHandle, Snapshot};
pub use templates::{Template, Templates};

/// Name that a Rollout means when it names no provider and no sink.
pub const DEFAULT: &str = "default";
/// How often targets are scraped when the file does not say.
const SCRAPE_INTERVAL: time::Duration = time::Duration::from_secs(15);
/// How much later than a scrape its samples can be asked for, when the file does not say.
const SCRAPE_SLACK: time::Duration = time::Duration::from_secs(5);
/// How often an alias of MLflow is asked for when the file does not say.
const POLL: time::Duration = time::Duration::from_secs(60);
/// How many queries are in flight at once when the file does not say.
const CONCURRENCY: u32 = 8;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Prometheus providers by name.
    #[serde(default)]
    pub prometheus: BTreeMap<String, Provider>,
    /// MLflow servers by name.
    #[serde(default)]
    pub mlflow: BTreeMap<String, MlflowServer>,
    /// Alert sinks by name.
    #[serde(default)]
    pub alerts: BTreeMap<String, Sink>,
    /// Words of alerts, by sink and by alert.
    #[serde(skip)]
    pub templates: BTreeMap<String, Templates>,
    /// The pages that the controller serves; absent: none.
    #[serde(default)]
    pub dashboard: Option<Dashboard>,
    /// Where traces of decisions go; absent: there are none.
    #[serde(default)]
    pub traces: Option<TracesTo>,
}

/// Where traces of decisions go.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TracesTo {
    /// A collector that takes OTLP over HTTP.
    pub otlp: Otlp,
}

/// A collector that takes OTLP over HTTP, as protobuf. Its `Debug` leaves the URL out.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Otlp {
    /// Base URL, for example `http://collector.monitoring:4318`; `/v1/traces` may be there or not.
    pub url: String,
    /// Attributes that every trace carries, for example `k8s.cluster.name: prod`.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// How it is reached.
    #[serde(flatten)]
    pub access: HttpAccess,
}

/// The pages that the controller serves, read-only. Read at the start.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dashboard {
    /// Where. Default: `0.0.0.0:8081`.
    #[serde(default = "everywhere")]
    pub listen: SocketAddr,
    /// Path before every address, for a proxy in front: `/haldane`.
    #[serde(default)]
    pub path_prefix: String,
    /// What the page calls the cluster.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Where browsers find Prometheus: queries become links.
    #[serde(default)]
    pub prometheus_url: Option<String>,
}

fn everywhere() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8081))
}

/// A Prometheus server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    /// Base URL, for example `http://prometheus.monitoring:9090`; what the API adds to it may be there or not.
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
    /// How many queries are in flight at once. Default: 8.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// How it is reached.
    #[serde(flatten)]
    pub access: HttpAccess,
}

/// An MLflow server.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MlflowServer {
    /// Base URL, for example `http://mlflow.mlflow:5000`.
    pub url: String,
    /// How often an alias is asked for. Default: 60s.
    #[serde(default)]
    pub poll: Option<Duration>,
    /// File with the secret of its webhooks; without one, none is taken.
    #[serde(default)]
    pub webhook_secret_file: Option<PathBuf>,
    /// How it is reached.
    #[serde(flatten)]
    pub access: HttpAccess,
}

/// Where alerts go.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sink {
    /// Alertmanager's v2 API.
    Alertmanager(AlertmanagerSink),
    /// A webhook.
    Webhook(WebhookSink),
    /// PagerDuty's Events API v2.
    PagerDuty(PagerDutySink),
    /// A receiver of CloudEvents 1.0 over HTTP.
    CloudEvents(CloudEventsSink),
}

impl Sink {
    /// How it is reached.
    pub fn access(&self) -> &HttpAccess {
        match self {
            Self::Alertmanager(sink) => &sink.access,
            Self::Webhook(sink) => &sink.access,
            Self::PagerDuty(sink) => &sink.access,
            Self::CloudEvents(sink) => &sink.access,
        }
    }

    /// Whether it knows that an alert can be over.
    pub fn knows_ends(&self) -> bool {
        match self {
            Self::Alertmanager(_) | Self::PagerDuty(_) | Self::CloudEvents(_) => true,
            Self::Webhook(_) => false,
        }
    }

    /// Whether people read it, one message after the other. Programs count what they get.
    pub fn is_for_people(&self) -> bool {
        match self {
            Self::PagerDuty(_) => true,
            Self::Webhook(hook) => hook.format != WebhookFormat::Json,
            Self::Alertmanager(_) | Self::CloudEvents(_) => false,
        }
    }

    /// Relative paths of its secrets are taken from the directory of the file.
    fn anchor(&mut self, beside: &Path) {
        let (access, file) = match self {
            Self::Alertmanager(sink) => (&mut sink.access, None),
            Self::Webhook(sink) => (&mut sink.access, sink.hmac_key_file.as_mut()),
            Self::PagerDuty(sink) => (&mut sink.access, Some(&mut sink.routing_key_file)),
            Self::CloudEvents(sink) => (&mut sink.access, None),
        };
        access.anchor(beside);
        if let Some(file) = file {
            *file = beside.join(&*file);
        }
    }
}

/// PagerDuty's Events API v2.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PagerDutySink {
    /// File with the routing key of the integration.
    pub routing_key_file: PathBuf,
    /// Where events are posted. Default: `https://events.pagerduty.com/v2/enqueue`; in the EU `https://events.eu.pagerduty.com/v2/enqueue`.
    #[serde(default)]
    pub url: Option<String>,
    /// How it is reached: headers, certificates and proxy.
    #[serde(flatten)]
    pub access: HttpAccess,
}

impl PagerDutySink {
    /// Where events are posted.
    pub fn url(&self) -> &str {
        self.url.as_deref().unwrap_or("https://events.pagerduty.com/v2/enqueue")
    }
}

/// A receiver of CloudEvents 1.0 over HTTP. Its `Debug` leaves the URL out.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudEventsSink {
    /// URL to POST to.
    pub url: String,
    /// Where the attributes of an event are. Default: `binary`.
    #[serde(default)]
    pub mode: CloudEventsMode,
    /// How `source` begins: `/namespaces/NS/rollouts/NAME` follows. Default: `/haldane`.
    #[serde(default)]
    pub source: Option<String>,
    /// How it is reached.
    #[serde(flatten)]
    pub access: HttpAccess,
}

/// Where the attributes of a CloudEvent are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloudEventsMode {
    /// In headers; the body is the data.
    #[default]
    Binary,
    /// In the body, with the data.
    Structured,
}

impl CloudEventsSink {
    /// How `source` begins.
    pub fn source(&self) -> &str {
        self.source.as_deref().unwrap_or("/haldane")
    }
}

/// Alertmanager's v2 API.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertmanagerSink {
    /// Base URL, for example `http://alertmanager.monitoring:9093`.
    pub url: String,
    /// How it is reached.
    #[serde(flatten)]
    pub access: HttpAccess,
}

/// A webhook. Its `Debug` leaves the URL out.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSink {
    /// URL to POST to. A secret: never logged.
    pub url: String,
    /// Shape of the body.
    pub format: WebhookFormat,
    /// File with the key that signs the body (`json` only).
    #[serde(default)]
    pub hmac_key_file: Option<PathBuf>,
    /// How it is reached: headers, certificates and proxy.
    #[serde(flatten)]
    pub access: HttpAccess,
}

/// Shape of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// Slack's incoming webhooks.
    Slack,
    /// Microsoft Teams: a webhook of Workflows.
    Teams,
    /// Our own JSON, signed with HMAC-SHA256.
    Json,
}

impl Provider {
    /// How often targets are scraped.
    pub fn scrapes_every(&self) -> time::Duration {
        self.scrape_interval.map_or(SCRAPE_INTERVAL, Into::into)
    }

    /// How far behind now a window ends.
    pub fn window_lag(&self) -> time::Duration {
        self.lag.map_or_else(|| self.scrapes_every() + SCRAPE_SLACK, Into::into)
    }

    /// How many queries are in flight at once.
    pub fn at_once(&self) -> u32 {
        self.concurrency.unwrap_or(CONCURRENCY)
    }
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}

impl MlflowServer {
    /// How often an alias is asked for.
    pub fn polls_every(&self) -> time::Duration {
        self.poll.map_or(POLL, Into::into)
    }
}

impl fmt::Debug for CloudEventsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudEventsSink").field("mode", &self.mode).field("source", &self.source).finish_non_exhaustive()
    }
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSink").field("format", &self.format).field("hmac_key_file", &self.hmac_key_file).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
