//! Series as they come from Prometheus.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// One series: its labels without the metric's name, and its samples in order of time, all finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Labels without `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Samples with their true timestamps, in order of time.
    pub samples: Vec<(Timestamp, f64)>,
}

impl Series {
    /// Value of a label; absent and empty are the same.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// What was scraped: a counter lives and dies with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Scrape job.
    pub job: String,
    /// Address.
    pub instance: String,
}

impl Target {
    /// The target that a series was scraped from.
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        Self { job: label("job"), instance: label("instance") }
    }

    /// The address without its port.
    pub fn host(&self) -> &str {
        host(&self.instance)
    }
}

/// An address without its port.
pub(super) fn host(instance: &str) -> &str {
    instance.rsplit_once(':').map_or(instance, |(host, _)| host)
}

/// Name of the pod behind a target, if the scrape configuration says it; else the target's host stands for it.
pub fn pod_of(labels: &BTreeMap<String, String>) -> Option<&str> {
    ["pod", "pod_name", "kubernetes_pod_name"].iter().find_map(|name| labels.get(*name)).map(String::as_str).filter(|name| !name.is_empty())
}
