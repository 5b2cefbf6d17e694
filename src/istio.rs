//! What Istio makes of VirtualServices and DestinationRules: whom a name means, who gets how much of a route, which requests fit a match,
//! which route they reach, and which DestinationRules speak for a host. Every other room asks here, so that the controller, `lint` and the
//! simulated mesh read an object in one and the same way. Pure.

pub mod answer;
pub mod name;
pub mod reach;
pub mod request;
pub mod rule;
pub mod split;

#[cfg(test)]
mod property_tests;
