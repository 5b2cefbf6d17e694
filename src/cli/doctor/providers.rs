//! The Prometheus providers: as a file, a flag or the controller's ConfigMap says.

use std::path::Path;

use serde_json::Value;

use super::Access;
use crate::{
    cli::{Exit, Failure, lint, read::Reader},
    clock::Clock,
    config::{Config, DEFAULT, HttpAccess, Provider},
    doctor::{
        Asked, Control, Examined, Finding, Level, Origin, Read, Silence, answers, brief, buckets, provider, series, traffic, unmeasured,
    },
    observe::{prometheus::Prometheus, sampler::checkup},
};

/// The configuration, and what may be asked.
pub(in crate::cli) struct Providers {
    config: Option<Config>,
    origin: Origin,
    faults: Vec<Finding>,
    /// Where Prometheus is from here.
    flag: Option<String>,
    /// Name of the only provider that matters.
    only: Option<String>,
    /// Those that answer.
    open: Vec<(String, Prometheus)>,
}

impl Providers {
    /// From the file that is named, or else from the controller's ConfigMap.
    pub(in crate::cli) async fn read(args: &Access, reader: &Reader, control: &Control) -> Result<Self, Failure> {
        let mut this =
            Self { config: None, origin: Origin::Cluster, faults: Vec::new(), flag: args.prometheus.clone(), only: None, open: Vec::new() };
        if let Some(path) = &args.config {
            let text = lint::read(path)?;
            let beside = path.parent().unwrap_or(Path::new("."));
            this.config = Some(Config::parse(&text, beside).map_err(|error| Failure::new(Exit::Usage, error.to_string(), ""))?);
            this.origin = Origin::File;
            return Ok(this);
        }
        this.of_cluster(reader, control).await;
        Ok(this)
    }

    async fn of_cluster(&mut self, reader: &Reader, control: &Control) {
        const CHECK: &str = "config";
        let home = &control.home;
        let deployment = control.deployments.found().and_then(|list| list.first());
        let name = deployment.map_or("haldane", |deployment| deployment.config_map.as_str());
        let map = match reader.get(&format!("/api/v1/namespaces/{home}/configmaps/{name}")).await {
            Read::Found(map) => map,
            other => {
                let why = match other {
                    Read::Forbidden => "you may not read it",
                    _ => "it is not there",
                };
                let fact = format!("the controller's configuration, ConfigMap {name} in {home}, is not known: {why}");
                let fix = "--config FILE with the controller's configuration, or --prometheus URL";
                if self.flag.is_none() {
                    self.faults.push(Finding::warn(CHECK, fact, fix));
                }
                return;
            }
        };
        let named = deployment.map(|deployment| deployment.config.as_str());
        let data = map.get("data").and_then(Value::as_object);
        let named = named.and_then(|name| data?.get(name)).or_else(|| data?.values().next()).and_then(Value::as_str);
        let Some(text) = named else {
            let fact = format!("ConfigMap {name} in {home} holds no configuration");
            self.faults.push(Finding::fail(CHECK, fact, "kubectl apply -k deploy/controller"));
            return;
        };
        match Config::parse(text, Path::new("/etc/haldane")) {
            Ok(config) => {
                self.faults.push(Finding::ok(CHECK, format!("ConfigMap {name} in {home} is valid: {}", summary(&config))));
                self.config = Some(config);
            }
            Err(error) => {
                let fact = format!("ConfigMap {name} in {home} is not valid: the controller keeps its last valid one");
                self.faults.push(Finding::fail(CHECK, fact, error.to_string()));
            }
        }
    }

    pub(in crate::cli) fn findings(&self) -> Vec<Finding> {
        self.faults.clone()
    }

    /// The configuration, where it is known.
    pub(in crate::cli) fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Only this provider matters.
    pub(in crate::cli) fn relevant(&mut self, name: &str) {
        self.only = Some(name.to_owned());
    }

    /// Asks each what time it is.
    pub(in crate::cli) async fn ask(&mut self, clock: &Clock) -> Vec<Finding> {
        let mut found = Vec::new();
        for (name, settings, origin) in self.settings() {
            let url = without_secrets(&settings.url);
            let open = Prometheus::new(&settings);
            let ahead = match &open {
                Ok(prometheus) => checkup::answers(prometheus, clock).await,
                Err(error) => Err(Silence::Refused(error.to_string())),
            };
            let secrets = origin == Origin::Cluster && settings.access != HttpAccess::default();
            match (&ahead, secrets) {
                (Err(Silence::Refused(why)), true) => {
                    let fact = format!("not checked: provider {name} at {url} needs secrets that are beside the controller");
                    found.push(Finding::warn("prometheus", fact, format!("{why}; --config FILE with them beside it, or --prometheus URL")));
                }
                _ => found.push(provider(&Asked { name: name.clone(), url, origin, ahead: ahead.clone() })),
            }
            if let (Ok(prometheus), Ok(_)) = (open, ahead) {
                self.open.push((name, prometheus));
            }
        }
        found
    }

    /// The one that answers to this name.
    pub(in crate::cli) fn open(&self, name: &str) -> Option<&Prometheus> {
        self.open.iter().find(|(known, _)| known == name).map(|(_, prometheus)| prometheus)
    }

    /// The providers to be asked.
    fn settings(&self) -> Vec<(String, Provider, Origin)> {
        let name = self.only.as_deref().unwrap_or(DEFAULT);
        let known = self.config.as_ref().map(|config| &config.prometheus);
        if let Some(url) = &self.flag {
            let settings = known.and_then(|known| known.get(name)).cloned().unwrap_or_default();
            let access = if self.origin == Origin::File { settings.access } else { HttpAccess::default() };
            return vec![(name.to_owned(), Provider { url: url.clone(), access, ..settings }, Origin::Flag)];
        }
        let matters = |known: &&String| self.only.as_ref().is_none_or(|only| only == *known);
        let known = known.into_iter().flatten().filter(|(name, _)| matters(name));
        known.map(|(name, settings)| (name.clone(), settings.clone(), self.origin)).collect()
    }

    /// What Prometheus has for a Rollout.
    pub(super) async fn measured(&self, examined: Examined<'_>, clock: &Clock) -> Vec<Finding> {
        let (Ok(plan), Some(brief)) = (&examined.seen.plan, brief(examined)) else { return Vec::new() };
        let Some(prometheus) = self.open(&plan.analysis.prometheus) else {
            let fact = "the series of both versions were not checked: Prometheus was not reached";
            return vec![Finding::warn("series", fact, "see what is said of prometheus and config above")];
        };
        let measured = match checkup::checkup(prometheus, &brief, clock).await {
            Ok(Ok(measured)) => measured,
            Ok(Err(problem)) => return vec![unmeasured(&problem)],
            Err(Silence::Unreachable(why) | Silence::Refused(why)) => {
                return vec![Finding::saying("series", Level::Fail, &format!("Prometheus did not answer: {why}"))];
            }
        };
        let share = !brief.key.share.is_none();
        let mut found = series(&measured, plan, share, examined.has_canary());
        found.extend(measured.histograms.iter().map(buckets));
        found.extend(traffic(&measured, plan));
        found.extend(answers(&measured.offered, plan));
        found
    }
}

fn summary(config: &Config) -> String {
    let names =
        |keys: Vec<&String>| if keys.is_empty() { "none".to_owned() } else { keys.into_iter().cloned().collect::<Vec<_>>().join(", ") };
    format!("providers {}, sinks {}", names(config.prometheus.keys().collect()), names(config.alerts.keys().collect()))
}

/// A URL without a user and password in it.
fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() { format!("{scheme}://{host}") } else { format!("{scheme}://{host}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_of_a_url_is_shown() {
        assert_eq!(without_secrets("http://kim:secret@prom.example.com:9090/base?token=x"), "http://prom.example.com:9090/base");
        assert_eq!(without_secrets("http://prometheus.monitoring:9090"), "http://prometheus.monitoring:9090");
    }
}
