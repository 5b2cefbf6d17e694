//! What stands for the queue in a build without the feature `otlp`: the configuration refuses `traces` there.

use std::time::Duration;

use super::{Course, Trace};
use crate::{clock::Clock, config::ConfigHandle, metrics::Metrics};

/// Follows nothing and sends nothing.
#[derive(Clone, Debug)]
pub struct Traces;

impl Traces {
    /// Nothing is started.
    pub fn new(_config: ConfigHandle, _clock: Clock, _metrics: Metrics, _instance: &str) -> Self {
        Self
    }

    /// A course that follows nothing.
    pub fn course(&self) -> Course {
        Course::default()
    }

    /// There is none to send.
    pub fn send(&self, _trace: Trace) {}

    /// There is nothing to wait for.
    pub async fn close(&self, _most: Duration) {}
}
