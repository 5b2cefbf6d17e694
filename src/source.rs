//! Where new models come from: what a source says, whether it may be written to the canary's Deployment now, the patch that writes it, and and
//! what the registry should know once the rollout has ended. Level-triggered: what is there is compared with what should be. Pure.

mod ending;
pub mod hook;
pub mod job;
pub mod mlflow;
mod model;
mod place;
mod stand;

#[cfg(test)]
mod tests;

pub use ending::{Ending, ending};
pub use model::Model;
pub use place::{Held, PlaceFault, command, held, patch};
pub use stand::{Given, Offered, Stand, Unread, stand};
