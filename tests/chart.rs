//! The Helm chart: rendered in every mode, compared with the kustomization, and released on a real kube-apiserver. Its rules by promtool.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

#[path = "chart/helm.rs"]
mod helm;
#[path = "contract/real.rs"]
mod real;
#[path = "chart/release.rs"]
mod release;
#[path = "chart/rules.rs"]
mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use haldane::config::Config;
use helm::{APIS, Rendered, helm, root, template, tool};
use serde_json::{Value, json};

/// Values files, by name; `default` has none.
fn modes() -> BTreeMap<String, Option<PathBuf>> {
    let files = fs::read_dir(root("tests/data/chart")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    let named = files.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), Some(path)));
    named.chain([("default".to_owned(), None)]).collect()
}

fn mode(name: &str) -> Rendered {
    let arguments: Vec<String> = APIS.iter().map(|api| format!("--api-versions={api}")).collect();
    template(modes()[name].as_deref(), &arguments.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn container(rendered: &Rendered) -> &Value {
    &rendered.only("Deployment")["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn lint_has_nothing_to_say_in_any_mode() {
    for (name, values) in modes() {
        let mut arguments = vec!["lint".to_owned(), "--strict".to_owned(), root("deploy/chart").display().to_string()];
        arguments.extend(values.iter().flat_map(|path| ["--values".to_owned(), path.display().to_string()]));
        helm(&arguments, None).unwrap_or_else(|said| panic!("{name}: {said}"));
    }
}

/// What the kustomization ships, with what differs by design taken out: its Namespace is `--create-namespace` here.
fn shipped() -> BTreeMap<(String, String), Value> {
    let text = tool("kubectl", &["kustomize", &root("deploy/controller").display().to_string()]).unwrap();
    let objects = helm::documents(&text).into_iter().filter(|object| object["kind"] != "Namespace");
    objects.map(|object| (helm::key(&object), object)).collect()
}

#[test]
fn the_default_chart_ships_what_the_kustomization_ships() {
    let (kustomized, chart) = (shipped(), template(None, &[]).unwrap());
    let beside =
        |object: &Value| object["kind"] == "CustomResourceDefinition" || !object["metadata"]["labels"]["grafana_dashboard"].is_null();
    let charted: BTreeMap<_, _> = chart.0.iter().filter(|object| !beside(object)).map(|object| (helm::key(object), object)).collect();
    assert_eq!(charted.keys().collect::<Vec<_>>(), kustomized.keys().collect::<Vec<_>>());
    for (key, object) in &kustomized {
        let (ours, theirs) = (without_labels(charted[key]), without_labels(object));
        assert_eq!(ours, theirs, "{key:?}: deploy/chart (left) and deploy/controller (right) differ");
    }
}

/// An object without the labels that each tool adds of its own, and with the configuration as values.
fn without_labels(object: &Value) -> Value {
    let mut object = object.clone();
    let aggregation = |labels: &Value| -> BTreeSet<String> {
        let labels = labels.as_object().into_iter().flatten();
        labels.map(|(name, value)| format!("{name}={value}")).filter(|label| label.starts_with("rbac.")).collect()
    };
    object["metadata"]["labels"] = json!(aggregation(&object["metadata"]["labels"]));
    if object["kind"] == "ConfigMap" {
        object["data"]["haldane.yaml"] = serde_yaml::from_str(object["data"]["haldane.yaml"].as_str().unwrap()).unwrap();
    }
    if object["kind"] == "Deployment" {
        let container = object.pointer_mut("/spec/template/spec/containers/0").unwrap().as_object_mut().unwrap();
        container.remove("imagePullPolicy"); // IfNotPresent is what a tag means anyway
    }
    object
}

#[test]
fn what_the_chart_starts_is_started_by_the_command_line_with_a_configuration_that_is_taken() {
    use clap::CommandFactory;
    for name in modes().keys() {
        let rendered = mode(name);
        let line = std::iter::once("haldane".to_owned()).chain(strings(&container(&rendered)["args"]));
        haldane::cli::Cli::command().try_get_matches_from(line).unwrap_or_else(|said| panic!("{name}: {said}"));
        for map in rendered.of("ConfigMap").filter(|map| !map["data"]["haldane.yaml"].is_null()) {
            Config::parse(map["data"]["haldane.yaml"].as_str().unwrap(), Path::new("/etc/haldane"))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

#[test]
fn a_team_with_namespaces_of_its_own_needs_nothing_outside_of_them() {
    let (rendered, everywhere) = (mode("namespaced"), mode("default"));
    let cluster = ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace"];
    assert!(rendered.0.iter().all(|object| !cluster.iter().any(|kind| object["kind"] == *kind)));
    let rules = &everywhere.named("ClusterRole", "haldane")["rules"];
    for namespace in ["ml", "fraud"] {
        let role = rendered.of("Role").find(|role| role["metadata"]["namespace"] == namespace).unwrap();
        assert_eq!((&role["rules"], &role["metadata"]["name"]), (rules, &json!("models")));
        let binding = rendered.of("RoleBinding").find(|binding| binding["metadata"]["namespace"] == namespace).unwrap();
        assert_eq!(binding["roleRef"]["kind"], "Role");
        assert_eq!(binding["subjects"], json!([{"kind": "ServiceAccount", "name": "models", "namespace": "haldane-system"}]));
    }
    let arguments = strings(&container(&rendered)["args"]);
    assert!(arguments.windows(2).any(|pair| pair == ["--namespace", "ml,fraud"]), "{arguments:?}");
    let election = rendered.named("Role", "models-election");
    assert_eq!(election["rules"][1]["resourceNames"], json!(["haldane"]), "the name of the Lease is in the program");
}

#[test]
fn the_custom_resource_is_the_one_in_the_repository_and_is_kept_unless_said_otherwise() {
    let written: Value = serde_yaml::from_str(&fs::read_to_string(root("crds/rollout.yaml")).unwrap()).unwrap();
    let crd = mode("default").only("CustomResourceDefinition").clone();
    assert_eq!(numbered(&crd["spec"]), numbered(&written["spec"]));
    assert_eq!(crd["metadata"]["annotations"], json!({"helm.sh/resource-policy": "keep"}));
    assert!(mode("everything").only("CustomResourceDefinition")["metadata"]["annotations"].is_null());
    assert_eq!(mode("bare").of("CustomResourceDefinition").count(), 0);
}

/// A value whose numbers are all written in one way: Helm makes `1` of `1.0`.
fn numbered(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(numbered).collect(),
        Value::Object(fields) => Value::Object(fields.iter().map(|(name, value)| (name.clone(), numbered(value))).collect()),
        other => other.clone(),
    }
}

#[test]
fn objects_of_other_products_are_there_where_their_api_is_and_where_they_are_wanted() {
    let theirs = ["ServiceMonitor", "PrometheusRule", "GrafanaDashboard"];
    let without = template(None, &[]).unwrap();
    for kind in theirs {
        assert_eq!(without.of(kind).count(), 0, "{kind} without its API");
        assert!(mode("default").of(kind).count() > 0, "{kind} with its API");
        assert_eq!(mode("bare").of(kind).count(), 0, "{kind} that is not wanted");
    }
    let monitor = mode("everything").only("ServiceMonitor").clone();
    assert_eq!(monitor["spec"]["endpoints"][0]["honorLabels"], true, "else `namespace` would be that of the controller");
    assert_eq!(monitor["metadata"]["labels"]["release"], "kube-prometheus-stack");
    let service = mode("everything").only("Service").clone();
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert!(wanted.iter().all(|(name, value)| service["metadata"]["labels"][name] == *value), "it selects the Service");
    assert_eq!(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
}

#[test]
fn every_knob_arrives_where_it_should() {
    let rendered = mode("everything");
    let deployment = rendered.only("Deployment");
    let (pod, container) = (&deployment["spec"]["template"], container(&rendered));
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    assert_eq!(deployment["spec"]["replicas"], 3);
    assert_eq!(container["image"], format!("registry.example.com/ml/haldane@{digest}"));
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["resources"], json!({"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "256Mi"}}));
    assert_eq!(container["env"], json!([{"name": "AWS_REGION", "value": "eu-central-1"}]));
    assert!(strings(&container["args"]).windows(2).any(|pair| pair == ["--log", "debug"]));
    assert_eq!((&pod["metadata"]["labels"]["team"], &pod["metadata"]["labels"]["cost-centre"]), (&json!("ml"), &json!("4711")));
    assert_eq!(pod["metadata"]["annotations"]["prometheus.io/scrape"], "false");
    let spec = &pod["spec"];
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(spec["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    assert_eq!(spec["tolerations"][0]["key"], "dedicated");
    assert!(!spec["affinity"]["nodeAffinity"].is_null());
    assert_eq!(spec["priorityClassName"], "system-cluster-critical");
    let spread = &spec["topologySpreadConstraints"];
    assert_eq!((spread.as_array().unwrap().len(), &spread[0]["topologyKey"]), (1, &json!("topology.kubernetes.io/zone")));
    assert_eq!(spread[0]["labelSelector"]["matchLabels"], deployment["spec"]["selector"]["matchLabels"]);
    assert_eq!(rendered.only("PodDisruptionBudget")["spec"]["maxUnavailable"], "34%");
    let egress = &rendered.only("NetworkPolicy")["spec"]["egress"];
    let ports: Vec<i64> = egress[0]["ports"].as_array().unwrap().iter().map(|port| port["port"].as_i64().unwrap()).collect();
    assert_eq!(ports, [53, 53, 443, 9090, 4318], "that of the collector of traces is open too");
    assert_eq!(egress[1]["to"][0]["ipBlock"]["cidr"], "169.254.169.254/32");
    let account = rendered.only("ServiceAccount");
    assert_eq!(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"], "arn:aws:iam::1:role/prometheus");
    assert!(rendered.0.iter().all(|object| object["metadata"]["labels"]["team"] == "ml"), "a label on every object");
    let dashboard = rendered.of("ConfigMap").find(|map| !map["metadata"]["labels"]["grafana_dashboard"].is_null()).unwrap();
    assert_eq!(dashboard["metadata"]["annotations"]["grafana_folder"], "models");
    assert_eq!(rendered.of("GrafanaDashboard").next().unwrap()["spec"]["instanceSelector"]["matchLabels"]["grafana"], "ml");
    let rules = &rendered.only("PrometheusRule")["spec"]["groups"];
    let alerts: Vec<&Value> = rules.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(alerts.len() > 5 && alerts.iter().all(|rule| rule["alert"] != "HaldaneRolloutRolledBack"));
    let first = alerts[0]["alert"].as_str().unwrap().to_lowercase();
    assert_eq!(alerts[0]["annotations"]["runbook_url"], format!("https://git.example.com/haldane/docs/operations.md#{first}"));
}

#[test]
fn the_dashboard_is_there_where_it_is_wanted() {
    let (with, without) = (mode("everything"), mode("default"));
    let text = with.named("ConfigMap", "haldane")["data"]["haldane.yaml"].as_str().unwrap();
    let dashboard = Config::parse(text, Path::new("/etc/haldane")).unwrap().dashboard.unwrap();
    assert_eq!(
        (dashboard.listen.port(), dashboard.path_prefix.as_str(), dashboard.cluster.as_deref()),
        (9000, "/haldane", Some("prod-eu1"))
    );
    assert_eq!(with.only("Service")["spec"]["ports"][1], json!({"name": "dashboard", "port": 9000, "targetPort": "dashboard"}));
    assert_eq!(container(&with)["ports"][1], json!({"name": "dashboard", "containerPort": 9000}));
    assert_eq!(with.only("NetworkPolicy")["spec"]["ingress"][0]["ports"][1]["port"], 9000);
    assert_eq!(with.named("ClusterRoleBinding", "haldane-dashboard")["roleRef"]["name"], "system:auth-delegator");
    let text = without.named("ConfigMap", "haldane")["data"]["haldane.yaml"].as_str().unwrap();
    assert_eq!(Config::parse(text, Path::new("/etc/haldane")).unwrap().dashboard, None);
    assert!(without.of("ClusterRoleBinding").all(|binding| binding["metadata"]["name"] == "haldane"));
    assert_eq!(without.only("Service")["spec"]["ports"].as_array().unwrap().len(), 1);
    assert_eq!(container(&without)["ports"].as_array().unwrap().len(), 1);
    assert_eq!(without.only("NetworkPolicy")["spec"]["ingress"][0]["ports"].as_array().unwrap().len(), 1);
}

#[test]
fn traces_go_to_a_collector_where_one_is_named() {
    let config = |rendered: &Rendered| {
        let text = rendered.named("ConfigMap", "haldane")["data"]["haldane.yaml"].as_str().unwrap().to_owned();
        Config::parse(&text, Path::new("/etc/haldane")).unwrap()
    };
    let otlp = config(&mode("everything")).traces.unwrap().otlp;
    assert_eq!((otlp.url.as_str(), otlp.attributes["k8s.cluster.name"].as_str()), ("http://collector.monitoring:4318", "prod-eu1"));
    assert_eq!(config(&mode("default")).traces, None);
    for (url, port) in [("https://otlp.example.com/x", 443), ("http://collector.monitoring", 80), ("http://[fd00::7]:4318", 4318)] {
        let rendered = template(None, &["--set", &format!("traces.otlp.url={url}")]).unwrap();
        let ports = rendered.only("NetworkPolicy")["spec"]["egress"][0]["ports"].as_array().unwrap().clone();
        assert!(ports.contains(&json!({"port": port, "protocol": "TCP"})), "{url}: {ports:?}");
    }
}

#[test]
fn the_right_to_write_deployments_is_a_role_of_its_own_where_it_is_wanted() {
    let ours = |rendered: &Rendered| rendered.0.iter().filter(|object| helm::key(object).1.ends_with("-model-source")).count();
    assert_eq!(ours(&mode("default")), 0);
    let with = template(None, &["--set", "modelSource.enabled=true"]).unwrap();
    let kustomized = helm::documents(&fs::read_to_string(root("deploy/model-source/rbac.yaml")).unwrap());
    assert_eq!(with.named("ClusterRole", "haldane-model-source")["rules"], kustomized[0]["rules"]);
    assert_eq!(with.named("ClusterRoleBinding", "haldane-model-source")["roleRef"], kustomized[1]["roleRef"]);
    let some = template(None, &["--set", "modelSource.enabled=true", "--set", "namespaces={ml}"]).unwrap();
    assert_eq!(some.named("Role", "haldane-model-source")["metadata"]["namespace"], "ml");
    assert_eq!(ours(&some), 2);
}

#[test]
fn the_component_of_the_dashboard_adds_what_the_chart_adds() {
    let home = tempfolder("component");
    let (controller, dashboard) = (root("deploy/controller"), root("deploy/dashboard"));
    let text = format!("resources: [{}]\ncomponents: [{}]\n", relative(&home, &controller), relative(&home, &dashboard));
    fs::write(home.join("kustomization.yaml"), text).unwrap();
    let rendered = Rendered(helm::documents(&tool("kubectl", &["kustomize", &home.display().to_string()]).unwrap()));
    assert_eq!(rendered.only("Service")["spec"]["ports"][1]["targetPort"], "dashboard");
    assert_eq!(container(&rendered)["ports"][1], json!({"name": "dashboard", "containerPort": 8081}));
    assert_eq!(rendered.only("NetworkPolicy")["spec"]["ingress"][0]["ports"][1]["port"], 8081);
    assert_eq!(rendered.named("ClusterRoleBinding", "haldane-dashboard")["subjects"][0]["namespace"], "haldane-system");
}

/// An empty folder beside the compiled tests.
fn tempfolder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

/// A path as kustomize wants it: from a folder.
fn relative(from: &Path, to: &Path) -> String {
    let to = to.canonicalize().unwrap();
    let up = "../".repeat(from.components().count() - 1);
    format!("{up}{}", to.strip_prefix("/").unwrap().display())
}

#[test]
fn configuration_and_keys_may_be_those_of_somebody_else() {
    let sources =
        |rendered: &Rendered| rendered.only("Deployment")["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"].clone();
    let existing = mode("existing");
    assert_eq!(sources(&existing), json!([{"configMap": {"name": "settings"}}, {"secret": {"name": "keys"}}]));
    assert_eq!(existing.only("Deployment")["spec"]["template"]["spec"]["serviceAccountName"], "shared");
    assert_eq!(existing.of("ServiceAccount").count(), 0);
    assert_eq!(existing.named("ClusterRoleBinding", "haldane")["subjects"][0]["name"], "shared");
    let secret = mode("secret");
    assert_eq!(sources(&secret), json!([{"secret": {"name": "keys"}}]));
    for rendered in [existing, secret] {
        assert!(rendered.of("ConfigMap").all(|map| map["data"]["haldane.yaml"].is_null()));
    }
}

#[test]
fn the_bare_mode_has_no_more_than_it_says() {
    let kinds: BTreeSet<String> = mode("bare").0.iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["ConfigMap", "Deployment", "Service", "ServiceAccount"].map(str::to_owned).into());
    assert!(mode("bare").only("Deployment")["spec"]["template"]["metadata"]["annotations"].is_null());
}

#[test]
fn a_value_that_cannot_be_is_refused_by_its_name() {
    for (set, named) in [
        ("replica=3", "replica"),
        ("replicas=0", "replicas"),
        ("image.digest=latest", "digest"),
        ("logLevel=loud", "logLevel"),
        ("namespaces[0]=No_Name", "namespaces"),
        ("config.prometheus.default.url=prometheus:9090", "url"),
        ("traces.otlp.url=collector:4318", "url"),
        ("traces.zipkin.url=http://zipkin:9411", "zipkin"),
        ("networkPolicy.egressPorts[0]=0", "egressPorts"),
        ("dashboard.port=8080", "port"),
        ("dashboard.pathPrefix=haldane", "pathPrefix"),
        ("configInSecret=true", "configInSecret needs existingSecret"),
    ] {
        let said = template(None, &["--set", set]).map(|_| ()).expect_err(set);
        assert!(said.contains(named), "{set}: {said}");
    }
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    fn compare(path: &str, values: &Value, schema: &Value) {
        if schema["additionalProperties"] != json!(false) {
            return;
        }
        let known: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().filter(|name| *name != "global").collect();
        let there: BTreeSet<&String> = values.as_object().unwrap().keys().collect();
        assert_eq!(there, known, "values.yaml and values.schema.json differ at {path}");
        for name in there {
            compare(&format!("{path}.{name}"), &values[name], &schema["properties"][name]);
        }
    }
    let values: Value = serde_yaml::from_str(&fs::read_to_string(root("deploy/chart/values.yaml")).unwrap()).unwrap();
    let schema: Value = serde_json::from_str(&fs::read_to_string(root("deploy/chart/values.schema.json")).unwrap()).unwrap();
    compare("values", &values, &schema);
}

#[test]
fn the_version_is_that_of_the_program() {
    let chart: Value = serde_yaml::from_str(&fs::read_to_string(root("deploy/chart/Chart.yaml")).unwrap()).unwrap();
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(env!("CARGO_PKG_VERSION"))));
}
