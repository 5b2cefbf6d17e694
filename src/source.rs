//! Where new models come from: what a source says, whether it may be written to the canary's Deployment now, the patch that writes it, and what
//! the source is to be told once the rollout has ended. Level-triggered: what is there is compared with what should be. Pure.

pub mod hook;
pub mod job;
pub mod mlflow;
mod model;
mod place;
mod stand;
mod told;

#[cfg(test)]
mod tests;

pub use model::Model;
pub use place::{Held, PlaceFault, command, held, patch};
pub use stand::{Given, Offered, Stand, Unread, stand};
pub use told::{Told, told};
