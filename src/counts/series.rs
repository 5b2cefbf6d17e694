//! Series as they come from Prometheus.

use std::sync::Arc;

use jiff::Timestamp;

use super::Labels;

/// The label that has the metric's name.
pub const NAME: &str = "__name__";

/// One series: its labels, and its samples in order of time, all finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Labels; the metric's [`NAME`] is among them where several metrics were asked for at once.
    pub labels: Labels,
    /// Samples with their true timestamps, in order of time.
    pub samples: Vec<(Timestamp, f64)>,
}

impl Series {
    /// Value of a label; absent and empty are the same.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).unwrap_or_default()
    }
}

/// What was scraped: a counter lives and dies with it. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Scrape job.
    pub job: Arc<str>,
    /// Address.
    pub instance: Arc<str>,
}

impl Target {
    /// The target that a series was scraped from.
    pub fn of(labels: &Labels) -> Self {
        let label = |name: &str| labels.word(name).cloned().unwrap_or_default();
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
pub fn pod_of(labels: &Labels) -> Option<&str> {
    ["pod", "pod_name", "kubernetes_pod_name"].iter().find_map(|name| labels.get(name)).filter(|name| !name.is_empty())
}
