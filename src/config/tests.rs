use super::*;
use std::path::Path;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/haldane"))
}

fn faults(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ConfigError::Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("expected faults, got {other:?}"),
    }
}

const GOOD: &str = r#"
prometheus:
  default: {url: "http://prometheus.monitoring:9090", scrapeInterval: 15s, lag: 20s, labels: {cluster: prod}, bearerTokenFile: token}
  far: {url: "https://thanos.example.com/prefix", caFile: /etc/ca.pem, concurrency: 24}
mlflow:
  default: {url: "http://mlflow.mlflow:5000", webhookSecretFile: hook, bearerTokenFile: token}
  far: {url: "https://mlflow.example.com/base", poll: 5m, basicAuth: {username: u, passwordFile: pw}}
alerts:
  default: {alertmanager: {url: "http://alertmanager.monitoring:9093"}}
  oncall: {webhook: {url: "https://hooks.example.com/x", format: slack}}
  audit: {webhook: {url: "https://audit.example.com", format: json, hmacKeyFile: hmac}}
  room: {webhook: {url: "https://prod-1.westeurope.example.com/workflows/x?sig=y", format: teams}}
  bus: {cloudEvents: {url: "http://broker.knative-eventing/ml/default", source: /clusters/prod, bearerTokenFile: token}}
"#;

#[test]
fn the_documented_file_is_read_and_secrets_lie_beside_it() {
    let config = parse(GOOD).unwrap();
    let default = &config.prometheus["default"];
    assert_eq!(default.scrapes_every(), time::Duration::from_secs(15));
    assert_eq!(default.window_lag(), time::Duration::from_secs(20));
    assert_eq!(default.access.bearer_token_file.as_deref(), Some(Path::new("/etc/haldane/token")));
    assert_eq!(default.labels["cluster"], "prod");
    assert_eq!(default.at_once(), 8);
    let far = &config.prometheus["far"];
    assert_eq!(far.at_once(), 24);
    assert_eq!(far.access.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    assert_eq!(far.window_lag(), time::Duration::from_secs(20), "scrape interval and five seconds");
    let mlflow = &config.mlflow["default"];
    assert_eq!(mlflow.polls_every(), time::Duration::from_secs(60));
    assert_eq!(mlflow.webhook_secret_file.as_deref(), Some(Path::new("/etc/haldane/hook")));
    assert_eq!(mlflow.access.bearer_token_file.as_deref(), Some(Path::new("/etc/haldane/token")));
    assert_eq!(config.mlflow["far"].polls_every(), time::Duration::from_secs(300));
    let Sink::Webhook(audit) = &config.alerts["audit"] else { panic!("{:?}", config.alerts["audit"]) };
    assert_eq!(audit.hmac_key_file.as_deref(), Some(Path::new("/etc/haldane/hmac")));
    let Sink::CloudEvents(bus) = &config.alerts["bus"] else { panic!("{:?}", config.alerts["bus"]) };
    assert_eq!((bus.mode, bus.source()), (CloudEventsMode::Binary, "/clusters/prod"));
    assert_eq!(bus.access.bearer_token_file.as_deref(), Some(Path::new("/etc/haldane/token")));
}

#[test]
fn an_empty_file_is_an_empty_configuration() {
    for text in ["", "\n", "# nothing yet\n", "{}", "prometheus:\nalerts:\n"] {
        assert_eq!(parse(text).unwrap(), Config::default(), "{text:?}");
    }
}

#[test]
fn all_faults_are_reported_at_once_with_their_paths() {
    let told = faults(
        r#"
promtheus: {}
prometheus:
  a: {url: "ftp://x/y", scrapeInterval: 15, extra: 1}
  b: {lag: -1s, concurrency: 0, labels: {__name__: up, ok: 1}}
  c: {url: "http://u:p@h", caFile: ca.pem}
mlflow:
  a: {url: "mlflow:5000", poll: 0s, webhookSecret: abc}
alerts:
  none: {}
  both: {alertmanager: {url: "http://a?x=1"}, webhook: {url: "http://b/#f", format: slack, hmacKeyFile: k}}
  odd: {webhook: {url: 7, format: xml, hmacKeyFile: ""}}
  duty: {pagerDuty: {routingKey: abc, url: "events"}}
  bus: {cloudEvents: {mode: batch, source: "a b/", format: json}}
  room: {webhook: {url: "https://t/", format: teams, hmacKeyFile: k}}
"#,
    );
    let expected = [
        "promtheus: is not a key here; known are prometheus, mlflow, alerts",
        "prometheus.a.extra: is not a key here",
        "prometheus.a.url: must begin with http:// or https://",
        "prometheus.a.scrapeInterval: must be a duration with its unit",
        "prometheus.b.url: is missing",
        "prometheus.b.lag: must be from 0s to 1h",
        "prometheus.b.concurrency: must be a whole number from 1 to 256",
        "prometheus.b.labels.__name__: a label name",
        "prometheus.b.labels.ok: must be a string: put it in quotes",
        "prometheus.c.url: must not carry a user or a password",
        "prometheus.c.caFile: has no effect with an http URL",
        "mlflow.a.webhookSecret: is not a key here; put the secret into a file: webhookSecretFile: FILE",
        "mlflow.a.url: must begin with http:// or https://",
        "mlflow.a.poll: must be above 0s and at most 1h",
        "alerts.none: needs exactly one of alertmanager, webhook, pagerDuty and cloudEvents",
        "alerts.both: needs exactly one of alertmanager, webhook, pagerDuty and cloudEvents",
        "alerts.both.webhook.url: has a fragment",
        "alerts.both.webhook.hmacKeyFile: Slack checks no signature",
        "alerts.odd.webhook.url: must be a string",
        "alerts.odd.webhook.format: must be slack, teams or json",
        "alerts.odd.webhook.hmacKeyFile: must be the path of a file",
        "alerts.duty.pagerDuty.routingKey: is not a key here; put the key into a file: routingKeyFile: FILE",
        "alerts.duty.pagerDuty.url: is not a URL",
        "alerts.duty.pagerDuty.routingKeyFile: is missing",
        "alerts.bus.cloudEvents.format: is not a key here",
        "alerts.bus.cloudEvents.url: is missing",
        "alerts.bus.cloudEvents.mode: must be binary or structured",
        "alerts.bus.cloudEvents.source: must be a URI or a path, as /clusters/prod",
        "alerts.room.webhook.hmacKeyFile: Teams checks no signature",
    ];
    for wanted in expected {
        assert!(told.iter().any(|t| t.starts_with(wanted)), "missing: {wanted}\ntold: {told:#?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn every_way_to_reach_a_server_can_be_said_for_prometheus_and_for_alertmanager() {
    let access = "headers: {X-Scope-OrgID: team-a, X-Api-Key: {file: key}}, query: {dedup: \"true\"}, proxy: \"http://proxy:3128\", \
                  caFile: ca.pem, clientCertificate: {certFile: tls.crt, keyFile: /etc/tls.key}, basicAuth: {usernameFile: user, passwordFile: pw}";
    let config = parse(&format!(
        "prometheus: {{a: {{url: \"https://p/?namespace=ml\", {access}}}}}\nalerts: {{a: {{alertmanager: {{url: \"https://a\", {access}}}}}}}"
    ))
    .unwrap();
    let found = &config.prometheus["a"].access;
    assert_eq!(found, config.alerts["a"].access());
    assert_eq!(found.headers["X-Scope-OrgID"], HeaderValue::Text("team-a".into()));
    assert_eq!(found.headers["X-Api-Key"], HeaderValue::File { file: "/etc/haldane/key".into() });
    assert_eq!(found.query["dedup"], "true");
    let pair = found.client_certificate.as_ref().unwrap();
    assert_eq!((pair.cert_file.as_path(), pair.key_file.as_path()), (Path::new("/etc/haldane/tls.crt"), Path::new("/etc/tls.key")));
    let basic = found.basic_auth.as_ref().unwrap();
    assert_eq!(basic.username_file.as_deref(), Some(Path::new("/etc/haldane/user")));
    assert_eq!(basic.password_file, Path::new("/etc/haldane/pw"));

    let cloud = parse(
        "prometheus:\n  g: {url: \"https://monitoring.googleapis.com/v1/projects/p/location/global/prometheus\", google: {}}\n  \
         a: {url: \"https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-1\", sigv4: {region: eu-central-1, credentialsFile: aws}}",
    )
    .unwrap();
    assert_eq!(cloud.prometheus["g"].access.google, Some(Google::default()));
    let sigv4 = cloud.prometheus["a"].access.sigv4.clone().unwrap();
    assert_eq!((sigv4.service.as_str(), sigv4.credentials_file.as_deref()), ("aps", Some(Path::new("/etc/haldane/aws"))));
    let hook =
        parse("alerts: {a: {webhook: {url: \"https://h\", format: json, headers: {X-Key: {file: k}}, proxy: \"http://p:1\"}}}").unwrap();
    let Sink::Webhook(hook) = hook.alerts["a"].clone() else { panic!() };
    assert_eq!(hook.access.headers["X-Key"], HeaderValue::File { file: "/etc/haldane/k".into() });
}

#[test]
fn what_cannot_be_sent_or_is_said_twice_is_a_fault_with_its_fix() {
    let told = faults(
        r#"
prometheus:
  a: {url: "https://h/?query=up&x=1", bearerTokenFile: t, google: {}, sigv4: {service: aps}, query: {x: "2", time: "1", n: 3}}
  b: {url: "http://u:p@h", basicAuth: {username: u, usernameFile: f, password: p}, clientCertificate: {certFile: c}, proxy: "socks5://p"}
  c: {url: "https://h", bearerTokenFile: t, headers: {Authorization: x, "a b": c, Host: h, N: 1, F: {file: ""}, L: "a\nb"}}
  d: {url: "https://h", insecureSkipVerify: true, bearerToken: abc, headers: [], query: [], basicAuth: x}
alerts:
  h: {webhook: {url: "https://h", format: json, basicAuth: {}, headers: {Content-Type: x}}}
"#,
    );
    let expected = [
        "prometheus.a.url: sets the parameter query, which haldane sets",
        "prometheus.a.query.n: must be a string: put it in quotes",
        "prometheus.a.query.time: is set by haldane",
        "prometheus.a.query.x: is in the url too: take it out of one of the two",
        "prometheus.a.google: needs to be the only one of bearerTokenFile, basicAuth, google, sigv4",
        "prometheus.a.sigv4: needs to be the only one of",
        "prometheus.a.sigv4.region: is missing",
        "prometheus.b.url: must not carry a user or a password: use basicAuth: {username: USER, passwordFile: FILE}",
        "prometheus.b.basicAuth.password: is not a key here; put the password into a file: passwordFile: FILE",
        "prometheus.b.basicAuth: needs exactly one of username and usernameFile",
        "prometheus.b.basicAuth.passwordFile: is missing",
        "prometheus.b.clientCertificate.keyFile: is missing",
        "prometheus.b.clientCertificate: has no effect with an http URL",
        "prometheus.b.proxy: must be the URL of an HTTP proxy",
        "prometheus.c.headers.Authorization: is what bearerTokenFile sets: take one of the two out",
        "prometheus.c.headers.a b: is not the name of a header",
        "prometheus.c.headers.Host: is set by haldane",
        "prometheus.c.headers.N: must be a string in quotes, or {file: PATH}",
        "prometheus.c.headers.F.file: must be the path of a file",
        "prometheus.c.headers.L: has a character that no header can carry",
        "prometheus.d.insecureSkipVerify: is not a key here; certificates are always checked: give the one to trust in caFile",
        "prometheus.d.bearerToken: is not a key here; put the token into a file: bearerTokenFile: FILE",
        "prometheus.d.headers: must be a mapping from names to values",
        "prometheus.d.query: must be a mapping from names to values",
        "prometheus.d.basicAuth: must be a mapping with the keys username, usernameFile, passwordFile",
        "alerts.h.webhook.basicAuth: is not a key here",
        "alerts.h.webhook.headers.Content-Type: is set by haldane",
    ];
    for wanted in expected {
        assert!(told.iter().any(|t| t.starts_with(wanted)), "missing: {wanted}\ntold: {told:#?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn words_of_alerts_are_those_of_the_alert_then_those_of_the_sink() {
    let config = parse(
        r#"
alerts:
  oncall:
    webhook: {url: "https://h/", format: slack}
    templates:
      default: {title: "{{ rollout }}: {{ headline }}", body: "{{ why }}{{ now }}"}
      RolloutRolledBack:
        title: "{{ severity | upper }} {{ title }}"
  plain: {alertmanager: {url: "http://a"}}
"#,
    )
    .unwrap();
    let text = |text: &str| Some(text.to_owned());
    let usual = Template { title: text("{{ rollout }}: {{ headline }}"), body: text("{{ why }}{{ now }}") };
    assert_eq!(config.template("oncall", "RolloutPromoted"), usual);
    let own = Template { title: text("{{ severity | upper }} {{ title }}"), ..usual };
    assert_eq!(config.template("oncall", "RolloutRolledBack"), own);
    assert_eq!(config.template("plain", "RolloutRolledBack"), Template::default());
    assert!(matches!(config.alerts["oncall"], Sink::Webhook(_)));
}

#[test]
fn a_template_that_fails_on_a_sample_is_a_fault_with_its_field_and_line() {
    let told = faults(
        r#"
alerts:
  a:
    webhook: {url: "https://h/", format: slack}
    templates:
      default:
        body: |
          {{ title }}
          {% for m in metrics %}
          {{ m.vedict }}
          {% endfor %}
      RolloutRolledback: {title: x}
      RolloutAborted: {titel: x}
      RolloutPromoted: {}
      RolloutFailed: {title: 7, body: "{% include 'x' %}"}
  b: {webhook: {url: "https://h/", format: slack}, templates: [x]}
  c: {templates: {default: {title: "{{ rollout }}"}}}
"#,
    );
    let expected = [
        "alerts.a.templates.default.body: line 3: `m.vedict` is no field of an alert",
        "alerts.a.templates.RolloutRolledback: is no alert; known are default, RolloutStarted",
        "alerts.a.templates.RolloutAborted.titel: is not a key here; known are title, body",
        "alerts.a.templates.RolloutPromoted: needs a title, a body or both",
        "alerts.a.templates.RolloutFailed.title: must be a text",
        "alerts.a.templates.RolloutFailed.body: line 1: ",
        "alerts.b.templates: must be a mapping from names of alerts",
        "alerts.c: needs exactly one of alertmanager, webhook, pagerDuty and cloudEvents",
    ];
    for wanted in expected {
        assert!(told.iter().any(|t| t.starts_with(wanted)), "missing: {wanted}\ntold: {told:#?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn no_error_repeats_a_secret() {
    let secret = "T0KEN-XYZ";
    let bad = [
        format!("alerts: {{a: {{webhook: {{url: \"https://h/{secret}\", format: xml}}}}}}"),
        format!("alerts: {{a: {{webhook: {{url: \"https://x:{secret}@h/\", format: json}}}}}}"),
        format!("alerts: {{a: {{webhook: {{url: \"::{secret}\", format: json}}}}}}"),
        format!("alerts: {{a: {{webhook: \"{secret}\"}}}}"),
        format!("alerts: {{a: {{webhook: {{url: https://h/{secret}, url: b}}}}}}"),
        format!("alerts:\n  a:\n\twebhook: https://h/{secret}\n"),
        format!("alerts: [\"{secret}\""),
        format!("\"{secret}\""),
    ];
    for text in bad {
        let error = parse(&text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
    let access = format!("headers: {{X-Key: {secret}}}, query: {{apikey: {secret}}}, proxy: \"http://u:{secret}@p:1\"");
    let config = parse(&format!("prometheus: {{a: {{url: \"https://h\", {access}}}}}")).unwrap();
    assert!(!format!("{config:?}").contains(secret), "{config:?}");
    for sink in ["webhook: {url: URL, format: json}", "webhook: {url: URL, format: teams}", "cloudEvents: {url: URL}"] {
        let sink = sink.replace("URL", &format!("\"https://h/{secret}\""));
        let config = parse(&format!("alerts: {{a: {{{sink}}}}}")).unwrap();
        assert!(!format!("{config:?}").contains(secret));
    }
}

#[test]
fn a_duration_that_would_overflow_is_a_fault() {
    let told = faults("prometheus: {a: {url: \"http://h\", lag: 99999999999999999999999h}}");
    assert_eq!(told, ["prometheus.a.lag: must be a duration with its unit, as 15s or 500ms"]);
    let told = faults("prometheus: {a: {url: \"http://h\", scrapeInterval: 0s}}");
    assert_eq!(told, ["prometheus.a.scrapeInterval: must be above 0s and at most 1h"]);
}

fn scratch(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("haldane-config-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[tokio::test]
async fn a_bad_new_file_leaves_the_old_one_in_force_and_says_so() {
    let dir = scratch("bad");
    let file = dir.join("haldane.yaml");
    std::fs::write(&file, GOOD).unwrap();
    let handle = ConfigHandle::load(&file).await.unwrap();
    let mut changes = handle.changes();
    let first = handle.current();
    assert_eq!((first.version, handle.error()), (1, None));

    std::fs::write(&file, "prometheus: {default: {url: gopher}}").unwrap();
    handle.look().await;
    assert_eq!(handle.current(), first);
    assert!(handle.error().unwrap().contains("prometheus.default.url"), "{:?}", handle.error());
    changes.changed().await.unwrap();

    std::fs::remove_file(&file).unwrap();
    handle.look().await;
    assert!(handle.error().unwrap().starts_with("cannot read"));
    assert_eq!(handle.current(), first);

    std::fs::write(&file, GOOD).unwrap();
    handle.look().await;
    assert_eq!(handle.error(), None, "the old file is back");
    assert_eq!(handle.current().version, 1);

    std::fs::write(&file, "prometheus: {default: {url: \"http://new\"}}").unwrap();
    handle.look().await;
    assert_eq!(handle.current().version, 2);
    assert_eq!(handle.current().config.prometheus["default"].url, "http://new");
    assert_ne!(handle.current().hash, first.hash);
}

#[tokio::test]
async fn a_configmap_that_exchanges_its_link_is_seen() {
    let dir = scratch("link");
    for (version, url) in [("v1", "http://one"), ("v2", "http://two")] {
        std::fs::create_dir_all(dir.join(version)).unwrap();
        std::fs::write(dir.join(version).join("haldane.yaml"), format!("prometheus: {{default: {{url: \"{url}\"}}}}")).unwrap();
    }
    std::os::unix::fs::symlink("v1", dir.join("data")).unwrap();
    std::os::unix::fs::symlink("data/haldane.yaml", dir.join("haldane.yaml")).unwrap();
    let handle = ConfigHandle::load(dir.join("haldane.yaml")).await.unwrap();
    assert_eq!(handle.current().config.prometheus["default"].url, "http://one");
    std::os::unix::fs::symlink("v2", dir.join("next")).unwrap();
    std::fs::rename(dir.join("next"), dir.join("data")).unwrap();
    handle.look().await;
    assert_eq!(handle.current().config.prometheus["default"].url, "http://two");
}

#[tokio::test]
async fn a_bad_file_at_the_start_is_an_error() {
    let dir = scratch("start");
    assert!(matches!(ConfigHandle::load(dir.join("none.yaml")).await, Err(ConfigError::Unreadable { .. })));
    std::fs::write(dir.join("bad.yaml"), "alerts: 3").unwrap();
    assert!(matches!(ConfigHandle::load(dir.join("bad.yaml")).await, Err(ConfigError::Faults(_))));
    std::fs::write(dir.join("no.yaml"), "a: [").unwrap();
    assert!(matches!(ConfigHandle::load(dir.join("no.yaml")).await, Err(ConfigError::NotYaml(_))));
}

#[test]
fn a_dashboard_is_served_where_the_file_says_so() {
    assert_eq!(parse(GOOD).unwrap().dashboard, None);
    assert_eq!(parse("dashboard:\n").unwrap().dashboard, None, "a key without a value is a key left out");
    assert_eq!(parse("dashboard: {}").unwrap().dashboard.unwrap().listen.to_string(), "0.0.0.0:8081");
    let whole =
        "dashboard: {listen: \"127.0.0.1:9000\", pathPrefix: /a/b, cluster: prod, prometheusUrl: \"https://prometheus.example.com/x\"}";
    let dashboard = parse(whole).unwrap().dashboard.unwrap();
    assert_eq!((dashboard.listen.port(), dashboard.path_prefix.as_str(), dashboard.cluster.as_deref()), (9000, "/a/b", Some("prod")));
    let wrong = "dashboard: {listen: 8081, pathPrefix: haldane/, cluster: \"\", prometheusUrl: \"javascript:alert(1)\", readOnly: false}";
    let said = faults(wrong);
    assert_eq!(said.len(), 5, "{said:?}");
    for path in ["readOnly", "listen", "pathPrefix", "cluster", "prometheusUrl"] {
        assert!(said.iter().any(|fault| fault.starts_with(&format!("dashboard.{path}: "))), "{path}: {said:?}");
    }
}

#[cfg(feature = "otlp")]
#[test]
fn traces_go_to_a_collector_and_every_fault_of_it_is_reported() {
    assert_eq!(parse(GOOD).unwrap().traces, None);
    assert_eq!(parse("traces:\n").unwrap().traces, None);
    let whole = "traces: {otlp: {url: \"https://h/T0KEN\", attributes: {k8s.cluster.name: prod}, bearerTokenFile: t, caFile: ca.pem}}";
    let config = parse(whole).unwrap();
    assert!(!format!("{config:?}").contains("T0KEN"));
    let otlp = config.traces.unwrap().otlp;
    assert_eq!((otlp.attributes["k8s.cluster.name"].as_str(), otlp.access.bearer_token_file.unwrap()), ("prod", "/etc/haldane/t".into()));
    for (wrong, said) in [
        ("traces: {}", "traces.otlp: is missing"),
        ("traces: {zipkin: {url: \"http://z\"}, otlp: {url: \"http://c\"}}", "traces.zipkin: is not a key here; known are otlp"),
        ("traces: {otlp: {attributes: {}}}", "traces.otlp.url: is missing"),
        ("traces: {otlp: {url: \"grpc://c\"}}", "traces.otlp.url: must begin with http:// or https://"),
        ("traces: {otlp: {url: \"http://c:4317\"}}", "traces.otlp.url: has the port of OTLP over gRPC"),
        ("traces: {otlp: {url: \"http://c\", protocol: grpc}}", "traces.otlp.protocol: is not a key here"),
        ("traces: {otlp: {url: \"http://c\", caFile: f}}", "traces.otlp.caFile: has no effect with an http URL"),
        ("traces: {otlp: {url: \"http://c\", attributes: {a: 1}}}", "traces.otlp.attributes.a: must be a name with a text"),
        ("traces: {otlp: {url: \"http://c\", attributes: [a]}}", "traces.otlp.attributes: must be a mapping"),
    ] {
        let faults = faults(wrong);
        assert!(faults.len() == 1 && faults[0].starts_with(said), "{wrong}: {faults:?}");
    }
}

#[cfg(not(feature = "otlp"))]
#[test]
fn traces_are_refused_where_the_program_has_none() {
    assert_eq!(
        faults("traces: {otlp: {url: \"http://c\"}}"),
        ["traces: this haldane was built without the feature otlp: take it out, or build with it"]
    );
}
