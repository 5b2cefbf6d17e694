//! Requests that reach no pod: the proxy that sends them counts them, with no workload.

use super::{Traffic, http_labels, poisson};

/// Why requests to a subset do not reach its pods, although these are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Proxies know the subset, but no endpoint of it: 503 UH.
    NoEndpoint,
    /// The same of the gateway alone.
    NoEndpointAtGateway,
    /// No proxy knows the subset: 503 NC, and a gateway does not say to which service it was.
    NoCluster,
    /// The requests go to where nobody counts them.
    Uncounted,
}

/// Index of the gateway among the proxies.
const GATEWAY: usize = 0;

impl Traffic {
    /// Lets requests to a subset be lost, or not any more.
    pub fn set_lost(&mut self, subset: &str, lost: Option<Lost>) {
        match lost {
            Some(lost) => self.lost.insert(subset.to_owned(), lost),
            None => self.lost.remove(subset),
        };
    }

    /// So many requests a second are lost at the gateway on their way to the Service.
    pub fn set_stray(&mut self, rps: f64) {
        self.stray = rps;
    }

    /// What is lost at the gateway whatever the canary does.
    pub(super) fn strays(&mut self, seconds: f64) {
        let count = if self.stray > 0.0 { poisson(&mut self.rng, self.stray * seconds) } else { 0 };
        let host = self.config.watched.service.clone();
        self.fail(GATEWAY, &self.full(&host), "UH", count);
    }

    /// Counts requests to a subset that are lost; false if they arrive.
    pub(super) fn lose(&mut self, index: usize, host: &str, subset: &str, count: u64) -> bool {
        let at_gateway = index == GATEWAY;
        let lost = match self.lost.get(subset) {
            Some(Lost::NoEndpointAtGateway) if !at_gateway => None,
            Some(lost) => Some(*lost),
            None => None,
        };
        let lost = match lost {
            None if !self.control.has_subset(host, subset) => Lost::NoCluster,
            None if self.control.backends(host, subset).is_empty() => Lost::NoEndpoint,
            None => return false,
            Some(lost) => lost,
        };
        match lost {
            Lost::Uncounted => {}
            Lost::NoCluster if at_gateway => self.fail(index, "unknown", "NC", count),
            // A client's proxy says what the client asked for.
            Lost::NoCluster => self.fail(index, host, "NC", count),
            Lost::NoEndpoint | Lost::NoEndpointAtGateway => self.fail(index, &self.full(host), "UH", count),
        }
        self.served.entry(String::new()).or_default().add(count, count);
        true
    }

    fn full(&self, host: &str) -> String {
        format!("{host}.{}.svc.cluster.local", self.config.watched.namespace)
    }

    fn fail(&mut self, index: usize, service: &str, flags: &str, count: u64) {
        let (Some(proxy), Some(target)) = (self.proxies.get(index), self.gateways.get_mut(index)) else { return };
        if count == 0 {
            return;
        }
        let source = proxy.workload.clone();
        let labels = http_labels("source", &source, "unknown", "unknown", "unknown", service, 503, flags);
        // One series for each reason and service.
        target.http((format!("{flags} {service}"), source, 503), || labels).record_failed(count);
    }
}
