//! What is wrong with a cluster or with one Rollout, and how to fix it. What was read becomes findings: a level, one fact, one fix. Pure.

mod answers;
mod buckets;
mod control;
mod finding;
mod mesh;
pub mod presets;
mod provider;
mod rights;
mod rollout;
mod series;
mod source;
mod traffic;
pub mod version;

pub use answers::{LABELS, Offered, answers, names};
pub use buckets::{Histogram, buckets};
pub use control::{Control, Deployment, Held, control};
pub use finding::{Finding, Level, Read};
pub use mesh::{Ground, Mesh, Proxy, mesh, proxies};
pub use provider::{Asked, Origin, Silence, provider};
pub use rights::{Answer, CONTROLLER, JOBS, LEASES, MODEL_SOURCE, Right, VIEWER, Who, rights};
pub use rollout::{Examined, brief, rollout, standing};
pub use series::{Measured, series, unmeasured};
pub use source::{Registry, Sourced, source};
pub use traffic::traffic;

#[cfg(test)]
mod tests;
