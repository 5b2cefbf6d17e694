//! Receivers that keep to what their makers publish, and refuse what breaks it: for tests.

use serde_json::Value;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::method};

use super::rules;

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tell) enum Maker {
    Slack,
    Teams,
    CloudEvents,
    PagerDuty,
    Alertmanager,
}

impl Maker {
    /// What is wrong with a request.
    pub(in crate::tell) fn fault(self, request: &Request) -> Option<String> {
        let checked = match (self, serde_json::from_slice::<Value>(&request.body)) {
            (_, Err(error)) => Err(format!("not JSON: {error}")),
            (Self::CloudEvents, Ok(body)) => rules::cloud_event(request, &body),
            (_, Ok(_)) if !request.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json")) => {
                Err("the content type is not application/json".to_owned())
            }
            (Self::Slack, Ok(body)) => rules::slack(&body),
            (Self::Teams, Ok(body)) => rules::teams(&body, request.body.len()),
            (Self::PagerDuty, Ok(body)) => rules::pager_duty(&body, request.body.len()),
            (Self::Alertmanager, Ok(body)) => rules::alertmanager(&body),
        };
        checked.err()
    }

    fn taken(self) -> ResponseTemplate {
        match self {
            Self::Slack => ResponseTemplate::new(200).set_body_string("ok"),
            Self::Teams => ResponseTemplate::new(202),
            Self::CloudEvents => ResponseTemplate::new(204),
            Self::PagerDuty => {
                ResponseTemplate::new(202).set_body_json(serde_json::json!({"status": "success", "message": "Event processed"}))
            }
            Self::Alertmanager => ResponseTemplate::new(200),
        }
    }

    /// A server that takes what keeps to the rules.
    pub(in crate::tell) async fn serve(self) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(self).mount(&server).await;
        server
    }
}

impl Respond for Maker {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        match self.fault(request) {
            None => self.taken(),
            Some(fault) => ResponseTemplate::new(400).set_body_string(fault),
        }
    }
}
