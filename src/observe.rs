//! Reads the cluster and the metrics, and gives what is [`crate::seen`].

pub mod cluster;
pub mod kept;
pub mod mesh;
pub mod prometheus;
pub mod providers;
pub mod sampler;
pub mod shelf;
pub mod workload;
