//! How Istio labels a request.

use crate::sim::prometheus::series::Labels;

/// What the app speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP: the code says how it went.
    Http,
    /// gRPC: the code is 200, and a status says how it went.
    Grpc,
}

impl Protocol {
    /// Response code and gRPC status of an answer, by the code it has over HTTP.
    fn answer(self, code: u16) -> (String, &'static str) {
        match (self, code) {
            (Self::Http, code) => (code.to_string(), ""),
            (Self::Grpc, 200) => ("200".into(), "0"),
            (Self::Grpc, 503) => ("200".into(), "14"),
            (Self::Grpc, _) => ("200".into(), "13"),
        }
    }
}

/// Requests that are counted together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Called<'a> {
    /// Who counts.
    pub reporter: &'a str,
    /// Who asks.
    pub source: &'a str,
    /// Workload, namespace and version of the pod that answers; `unknown` if none does.
    pub by: [&'a str; 3],
    /// The Service, in full.
    pub service: &'a str,
    /// The protocol.
    pub protocol: Protocol,
    /// The code, as over HTTP.
    pub code: u16,
    /// Envoy's flags.
    pub flags: &'a str,
}

impl Called<'_> {
    /// The labels.
    pub(super) fn labels(&self) -> Labels {
        let [workload, namespace, version] = self.by;
        let (code, status) = self.protocol.answer(self.code);
        let mut parts = self.service.split('.');
        let (service_name, service_namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or("unknown"));
        let revision = if version == "unknown" { "latest" } else { version };
        [
            ("reporter", self.reporter),
            ("source_workload", self.source),
            ("destination_workload", workload),
            ("destination_workload_namespace", namespace),
            ("destination_version", version),
            ("destination_canonical_revision", revision),
            ("destination_service", self.service),
            ("destination_service_name", service_name),
            ("destination_service_namespace", service_namespace),
            ("request_protocol", if self.protocol == Protocol::Grpc { "grpc" } else { "http" }),
            ("response_code", code.as_str()),
            ("grpc_response_status", status),
            ("response_flags", self.flags),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_answer_is_200_with_a_status() {
        let called = |protocol, code| {
            let by = ["fraud-v1", "ml", "v1"];
            Called { reporter: "source", source: "web", by, service: "fraud.ml.svc.cluster.local", protocol, code, flags: "-" }.labels()
        };
        for (code, status) in [(200, "0"), (500, "13"), (503, "14")] {
            let labels = called(Protocol::Grpc, code);
            assert_eq!((labels["response_code"].as_str(), labels["grpc_response_status"].as_str()), ("200", status));
            assert_eq!(labels["request_protocol"], "grpc");
        }
        let labels = called(Protocol::Http, 503);
        assert_eq!((labels["response_code"].as_str(), labels["grpc_response_status"].as_str()), ("503", ""));
        assert_eq!(labels["destination_service_name"], "fraud");
    }
}
