//! Telling people: alerts, Kubernetes events, the log line. Always after the traffic is safe; nothing on the traffic path waits for it.
//!
//! [`text::Text`] is the one text of a decision. [`outbox`] says which decisions alert and keeps them in status until every sink has them.
//! [`Teller`] delivers in the background and reports back; [`event::Events`] writes Kubernetes events.

mod alertmanager;
mod cloudevents;
mod courier;
pub mod event;
pub mod meaning;
pub mod outbox;
mod pagerduty;
mod slack;
mod teams;
mod teller;
pub mod text;
mod webhook;
mod words;

pub use courier::{Courier, Letter, SinkFault};
pub use teller::Teller;

#[cfg(test)]
mod tests;
