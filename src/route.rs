//! The managed route, an http route of a VirtualService or a rule of an HTTPRoute or GRPCRoute: the split as found, and the patch to a wanted
//! one. Pure.
//!
//! The object stays untyped JSON and only leaves are patched (RFC 6902), so that what is not ours keeps its value. Facts that the
//! patches rest on: a failed `test` answers 422; `metadata.annotations`, a single destination's `weight` and a route's `name` may be
//! absent and then can be neither tested nor replaced (`add` on a member sets it either way).

mod appliers;
mod beside;
mod claim;
mod fault;
mod find;
mod hosts;
mod mirror;
mod own;
mod patch;
mod rule;
mod versions;

pub use beside::Beside;
pub use claim::{Claim, Latch, Original, Written, claimed_by};
pub use fault::RouteFault;
pub use find::{Entry, OwnRoute, Sought, View, find};
pub use hosts::Serving;
pub use own::{MatchConflict, Own};
pub use patch::{Fence, Wanted, patch, release};

/// What is at a JSON pointer; null where nothing is.
fn at<'v>(value: &'v serde_json::Value, pointer: &str) -> &'v serde_json::Value {
    value.pointer(pointer).unwrap_or(&serde_json::Value::Null)
}

#[cfg(test)]
mod frame_tests;
#[cfg(test)]
mod rule_tests;
#[cfg(test)]
mod services_tests;
#[cfg(test)]
mod tests;
