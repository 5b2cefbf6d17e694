//! Words of alerts that a sink gets instead of the built-in ones.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::faults::Check;
use super::{Config, DEFAULT};
use crate::template::{self, Part};

/// Title and body of an alert, each a template. What is not given is built in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    /// What happened, in one line.
    #[serde(default)]
    pub title: Option<String>,
    /// All the rest.
    #[serde(default)]
    pub body: Option<String>,
}

/// Templates by the name of an alert, or `default`.
pub type Templates = BTreeMap<String, Template>;

impl Config {
    /// The words of a sink for this alert: its own, and where it has none those of `default`.
    pub fn template(&self, sink: &str, alert: &str) -> Template {
        let find = |name: &str| self.templates.get(sink).and_then(|templates| templates.get(name)).cloned().unwrap_or_default();
        let (own, usual) = (find(alert), find(DEFAULT));
        Template { title: own.title.or(usual.title), body: own.body.or(usual.body) }
    }
}

/// Takes the templates out of the sinks of a checked file, so that a sink is its kind alone.
pub(super) fn taken(file: &mut Value) -> BTreeMap<String, Templates> {
    let sinks = file.get_mut("alerts").and_then(Value::as_object_mut);
    let mut taken = BTreeMap::new();
    for (name, sink) in sinks.into_iter().flatten() {
        let templates = sink.as_object_mut().and_then(|sink| sink.remove("templates"));
        if let Some(templates) = templates.and_then(|templates| serde_json::from_value(templates).ok()) {
            taken.insert(name.clone(), templates);
        }
    }
    taken
}

impl Check {
    /// `templates` of a sink.
    pub(super) fn templates(&mut self, path: &str, value: &Value) {
        let Value::Object(templates) = value else {
            if !value.is_null() {
                self.fault(path, "must be a mapping from names of alerts, or default, to {title: TEMPLATE, body: TEMPLATE}");
            }
            return;
        };
        for (alert, template) in templates {
            let path = format!("{path}.{alert}");
            if alert != DEFAULT && !template::ALERTS.contains(&alert.as_str()) {
                self.fault(&path, format!("is no alert; known are {DEFAULT}, {}", template::ALERTS.join(", ")));
            }
            if let Some(template) = self.mapping(&path, template, &["title", "body"]) {
                self.parts(&path, template);
            }
        }
    }

    fn parts(&mut self, path: &str, template: &Map<String, Value>) {
        if template.values().all(Value::is_null) {
            self.fault(path, "needs a title, a body or both");
        }
        for (key, part) in [("title", Part::Title), ("body", Part::Body)] {
            match template.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::String(source)) => {
                    if let Err(fault) = template::check(source, part) {
                        self.fault(&format!("{path}.{key}"), fault.to_string());
                    }
                }
                Some(_) => self.fault(&format!("{path}.{key}"), "must be a text"),
            }
        }
    }
}
