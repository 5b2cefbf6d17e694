//! Requests that reach no pod: the proxy that sends them counts them, with no workload.

use super::{Called, GATEWAY, Protocol, Traffic, poisson};
use crate::{gateway_api::Kind, istio::name::Host, sim::route_kind::service};

/// Why requests to a subset, or to the Service of a version, do not reach its pods, although these are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Proxies know it, but no endpoint of it: 503 UH.
    NoEndpoint,
    /// The same of the gateway alone.
    NoEndpointAtGateway,
    /// No proxy knows it: 503 NC (500 where the Gateway API says so), and a gateway does not say to which service it was.
    NoCluster,
    /// The requests go to where nobody counts them.
    Uncounted,
}

impl Traffic {
    /// Lets requests to a subset, or to the Service of a version, be lost, or not any more.
    pub fn set_lost(&mut self, arm: &str, lost: Option<Lost>) {
        match lost {
            Some(lost) => self.lost.insert(arm.to_owned(), lost),
            None => self.lost.remove(arm),
        };
    }

    /// So many requests a second are lost at the gateway on their way to the Service.
    pub fn set_stray(&mut self, rps: f64) {
        self.stray = rps;
    }

    /// What is lost at the gateway whatever the canary does.
    pub(super) fn strays(&mut self, seconds: f64) {
        let count = if self.stray > 0.0 { poisson(&mut self.rng, self.stray * seconds) } else { 0 };
        let service = self.full(&self.config.watched.service);
        self.fail(GATEWAY, &service, (503, "UH"), count);
    }

    /// Counts requests that nobody is configured to answer: 500 by the Gateway API. A VirtualService has none.
    pub(super) fn refuse(&mut self, index: usize, count: u64) {
        if self.config.watched.kind.gateway_api().is_some() {
            let asked = self.asked(index);
            self.fail(index, &asked, (500, "-"), count);
            self.served.entry(String::new()).or_default().add(count, count);
        }
    }

    /// Counts requests to a subset or a Service that are lost; false if they arrive.
    pub(super) fn lose(&mut self, index: usize, host: &str, subset: &str, count: u64) -> bool {
        let arm = if subset.is_empty() { service(host, &self.config.watched.namespace).unwrap_or_default() } else { subset };
        let lost = match self.lost.get(arm) {
            Some(Lost::NoEndpointAtGateway) if index != GATEWAY => None,
            Some(lost) => Some(*lost),
            None => None,
        };
        let lost = match lost {
            None if !self.control.knows(host, subset) => Lost::NoCluster,
            None if self.control.backends(host, subset).is_empty() => Lost::NoEndpoint,
            None => return false,
            Some(lost) => lost,
        };
        match lost {
            Lost::Uncounted => {}
            Lost::NoCluster => {
                let (asked, by_gateway_api) = (self.asked(index), self.config.watched.kind.gateway_api().is_some());
                self.fail(index, &asked, (if by_gateway_api { 500 } else { 503 }, "NC"), count);
            }
            Lost::NoEndpoint | Lost::NoEndpointAtGateway => self.fail(index, &self.full(host), (503, "UH"), count),
        }
        self.served.entry(String::new()).or_default().add(count, count);
        true
    }

    /// A host in full.
    pub(super) fn full(&self, host: &str) -> String {
        Host::of(host, &self.config.watched.namespace).to_string()
    }

    /// What the app's clients speak.
    pub(super) fn protocol(&self) -> Protocol {
        if self.config.watched.kind.gateway_api() == Some(Kind::Grpc) { Protocol::Grpc } else { Protocol::Http }
    }

    /// The service that a proxy names where it knows no cluster: a client's proxy says what the client asked for, a gateway does not.
    fn asked(&self, index: usize) -> String {
        if index == GATEWAY { "unknown".to_owned() } else { self.config.watched.service.clone() }
    }

    fn fail(&mut self, index: usize, service: &str, (code, flags): (u16, &str), count: u64) {
        let protocol = self.protocol();
        let (Some(proxy), Some(target)) = (self.proxies.get(index), self.gateways.get_mut(index)) else { return };
        if count == 0 {
            return;
        }
        let source = proxy.workload.clone();
        let called = Called { reporter: "source", source: &source, by: ["unknown"; 3], service, protocol, code, flags };
        target.http((flags.to_owned(), source.clone(), code, service.to_owned()), || called.labels()).record_failed(count);
    }
}
