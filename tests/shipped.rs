//! What is shipped beside the binary: the manifests of `deploy/`, and what the documents show.

// A test may stop at the first thing that is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "shipped/argocd.rs"]
mod argocd;
#[path = "shipped/emitted.rs"]
mod emitted;
#[path = "shipped/queries.rs"]
mod queries;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use haldane::{api::Rollout, config::Config, metrics::Metrics, plan::Plan};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn documents(path: &str) -> Vec<Value> {
    serde_yaml::from_multiple(&read(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn of_kind(path: &str, kind: &str, name: &str) -> Value {
    let found = documents(path).into_iter().find(|d| d["kind"] == kind && d["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{path} has no {kind} {name}"))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().map(|all| all.iter().map(|v| v.as_str().unwrap().to_owned()).collect()).unwrap_or_default()
}

/// `group/resource[name]` to verbs.
fn rights(role: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut rights: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                let names = strings(&rule["resourceNames"]);
                let key = if names.is_empty() { format!("{group}/{resource}") } else { format!("{group}/{resource}{names:?}") };
                rights.entry(key).or_default().extend(strings(&rule["verbs"]));
            }
        }
    }
    rights
}

fn allowed(list: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
    list.iter().map(|(key, verbs)| ((*key).to_owned(), verbs.iter().map(|v| (*v).to_owned()).collect())).collect()
}

#[test]
fn the_controller_has_these_rights_and_no_others() {
    const LOOK: &[&str] = &["get", "list", "watch"];
    let role = of_kind("deploy/controller/rbac.yaml", "ClusterRole", "haldane");
    let wanted = allowed(&[
        ("haldane.dev/rollouts", &["get", "list", "watch", "patch"]),
        ("haldane.dev/rollouts/status", &["patch"]),
        ("networking.istio.io/virtualservices", &["get", "list", "watch", "patch"]),
        ("gateway.networking.k8s.io/httproutes", &["get", "list", "watch", "patch"]),
        ("gateway.networking.k8s.io/grpcroutes", &["get", "list", "watch", "patch"]),
        ("networking.istio.io/destinationrules", LOOK),
        ("/pods", LOOK),
        ("discovery.k8s.io/endpointslices", LOOK),
        ("events.k8s.io/events", &["create", "patch"]),
        ("/configmaps", &["get", "create", "patch"]),
    ]);
    assert_eq!(rights(&role), wanted, "a new right needs a reason, and this test");
    let election = of_kind("deploy/controller/rbac.yaml", "Role", "haldane-election");
    let wanted = allowed(&[("coordination.k8s.io/leases", &["create"]), ("coordination.k8s.io/leases[\"haldane\"]", &["get", "update"])]);
    assert_eq!(rights(&election), wanted);
}

#[test]
fn the_dashboard_adds_the_right_to_ask_who_somebody_is_and_nothing_else() {
    let binding = of_kind("deploy/dashboard/rbac.yaml", "ClusterRoleBinding", "haldane-dashboard");
    assert_eq!(documents("deploy/dashboard/rbac.yaml").len(), 1);
    assert_eq!(binding["roleRef"]["name"], "system:auth-delegator", "token reviews and access reviews");
    assert_eq!(binding["subjects"][0]["name"], "haldane");
    let ports = &of_kind("deploy/controller/service.yaml", "Service", "haldane")["spec"]["ports"];
    assert_eq!(ports.as_array().unwrap().len(), 1, "without it there is no port");
}

#[test]
fn sources_of_models_add_the_right_to_patch_deployments_and_list_jobs_and_nothing_else() {
    let path = "deploy/model-source/rbac.yaml";
    let role = of_kind(path, "ClusterRole", "haldane-model-source");
    assert_eq!(rights(&role), allowed(&[("apps/deployments", &["get", "patch"]), ("batch/jobs", &["list"])]));
    let binding = of_kind(path, "ClusterRoleBinding", "haldane-model-source");
    assert_eq!((&binding["roleRef"]["name"], &binding["subjects"][0]["name"]), (&"haldane-model-source".into(), &"haldane".into()));
    assert_eq!(documents(path).len(), 2);
}

#[test]
fn no_role_reads_secrets_or_grants_everything_and_people_cannot_write_status() {
    for role in documents("deploy/controller/rbac.yaml").iter().filter(|d| d["kind"].as_str().is_some_and(|k| k.ends_with("Role"))) {
        for (key, verbs) in rights(role) {
            assert!(!key.contains("secrets") && !key.contains('*'), "{key}");
            assert!(!verbs.iter().any(|v| v == "*" || v == "escalate" || v == "impersonate"), "{key}: {verbs:?}");
            let of_controller = role["metadata"]["name"] == "haldane";
            assert!(of_controller || !key.contains("status"), "{}: {key}", role["metadata"]["name"]);
        }
    }
}

#[test]
fn each_binding_binds_the_one_service_account_to_its_role() {
    let path = "deploy/controller/rbac.yaml";
    for (kind, name, role) in [("ClusterRoleBinding", "haldane", "ClusterRole"), ("RoleBinding", "haldane-election", "Role")] {
        let binding = of_kind(path, kind, name);
        assert_eq!(binding["roleRef"]["kind"], role);
        assert_eq!(binding["roleRef"]["name"], name);
        let subject = &binding["subjects"][0];
        assert_eq!(
            (&subject["kind"], &subject["name"], &subject["namespace"]),
            (&"ServiceAccount".into(), &"haldane".into(), &"haldane-system".into())
        );
        assert_eq!(binding["subjects"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn the_pod_is_admitted_by_the_restricted_standard_and_probed_on_its_port() {
    let deployment = of_kind("deploy/controller/deployment.yaml", "Deployment", "haldane");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(pod["serviceAccountName"], "haldane");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for forbidden in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[forbidden].is_null());
    }
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!((&security["allowPrivilegeEscalation"], &security["readOnlyRootFilesystem"]), (&false.into(), &true.into()));
    assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert!(strings(&container["args"]).contains(&format!("0.0.0.0:{}", container["ports"][0]["containerPort"])));
    assert!(!container["resources"]["limits"]["memory"].is_null() && !container["resources"]["requests"]["cpu"].is_null());
    let labels = &deployment["spec"]["selector"]["matchLabels"];
    for (path, kind, at) in [
        ("deploy/controller/service.yaml", "Service", "/spec/selector"),
        ("deploy/controller/pdb.yaml", "PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("deploy/controller/networkpolicy.yaml", "NetworkPolicy", "/spec/podSelector/matchLabels"),
    ] {
        assert_eq!(of_kind(path, kind, "haldane").pointer(at), Some(labels), "{path} selects the pods of the Deployment");
    }
}

#[test]
fn the_image_holds_the_program_its_bill_of_materials_and_certificates_and_runs_as_the_user_of_the_pod() {
    let dockerfile = read("Dockerfile");
    let (build, image) = dockerfile.split_once("FROM scratch\n").expect("nothing is below the program: no shell, no package");
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(build.contains("-alpine") && build.contains("--locked"), "linked statically by musl, from the versions of Cargo.lock: {build}");
    let minor = |version: &str| version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()).unwrap();
    let pinned = build.split("FROM rust:").nth(1).unwrap().split('-').next().unwrap();
    assert!(minor(pinned) >= minor(rust), "{pinned} is older than {rust}");
    let copied: Vec<&str> = image.lines().filter(|line| line.starts_with("COPY")).filter_map(|line| line.split(' ').next_back()).collect();
    assert_eq!(copied, ["/etc/ssl/certs/", "/haldane.cdx.json", "/haldane"]);
    assert!(build.contains("\nRUN deploy/sbom > /haldane.cdx.json\n"), "the bill of materials is of what was built: {build}");
    let security = &of_kind("deploy/controller/deployment.yaml", "Deployment", "haldane")["spec"]["template"]["spec"]["securityContext"];
    assert!(image.contains(&format!("USER {}:{}\n", security["runAsUser"], security["runAsGroup"])), "{image}");
    assert!(image.contains("ENTRYPOINT [\"/haldane\"]"), "{image}");
}

#[test]
fn the_flags_of_the_deployment_are_flags_of_the_controller() {
    use clap::CommandFactory;
    let deployment = of_kind("deploy/controller/deployment.yaml", "Deployment", "haldane");
    let args = strings(&deployment["spec"]["template"]["spec"]["containers"][0]["args"]);
    let line = std::iter::once("haldane".to_owned()).chain(args);
    haldane::cli::Cli::command().try_get_matches_from(line).unwrap();
}

#[test]
fn the_configuration_that_is_shipped_is_valid_also_with_its_comments_taken_in() {
    let config = of_kind("deploy/controller/config.yaml", "ConfigMap", "haldane");
    let text = config["data"]["haldane.yaml"].as_str().unwrap().to_owned();
    let parsed = Config::parse(&text, Path::new("/etc/haldane")).unwrap();
    assert!(parsed.prometheus.contains_key("default"));
    let taken_in = |line: &str| match line.split_once("# ") {
        Some((before, setting)) if before.trim().is_empty() => format!("{before}{setting}"),
        _ => line.replace("alerts: {}", "alerts:"),
    };
    let commented = text.lines().map(taken_in).collect::<Vec<_>>().join("\n");
    let commented = commented.replace("http://prometheus", "https://prometheus");
    let parsed = Config::parse(&commented, Path::new("/etc/haldane")).unwrap();
    assert_eq!(parsed.alerts.len(), 2);
    assert!(parsed.dashboard.is_some());
    assert!(parsed.mlflow["default"].webhook_secret_file.is_some());
    assert!(parsed.prometheus["default"].access.ca_file.is_some());
}

#[test]
fn each_kustomization_names_files_that_are_there_and_forgets_none() {
    for folder in ["crds", "deploy/crd", "deploy/controller", "deploy/dashboard", "deploy/model-source"] {
        let kustomization = &documents(&format!("{folder}/kustomization.yaml"))[0];
        let named: BTreeSet<String> = strings(&kustomization["resources"]).into_iter().collect();
        for name in &named {
            assert!(root().join(folder).join(name).exists(), "{folder}/{name}");
        }
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(name == "kustomization.yaml" || named.contains(&name), "{folder}/{name} is in no kustomization");
        }
    }
}

/// Blocks of YAML in a document.
fn blocks(path: &str) -> Vec<String> {
    let text = read(path);
    text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("yaml\n").map(Into::into)).collect()
}

#[test]
fn every_rollout_in_the_documents_is_one_that_starts() {
    let mut seen = 0;
    let more = ["docs/from-argo-rollouts.md", "docs/from-flagger.md"];
    let documents = ["README.md", "docs/install.md", "docs/operations.md", "docs/gitops.md", "docs/architecture.md", "docs/strategies.md"];
    for path in documents.into_iter().chain(more) {
        for block in blocks(path) {
            let parts: Vec<Value> = serde_yaml::from_multiple(&block).unwrap_or_else(|e| panic!("{path}: {e}\n{block}"));
            let ours = |part: &Value| part["kind"] == "Rollout" && part["apiVersion"] != "argoproj.io/v1alpha1";
            for part in parts.into_iter().filter(ours) {
                let rollout: Rollout = serde_json::from_value(part).unwrap_or_else(|e| panic!("{path}: {e}\n{block}"));
                Plan::parse(&rollout.spec).unwrap_or_else(|faults| panic!("{path}: {faults:?}\n{block}"));
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn every_strategy_in_the_documents_is_one_that_starts() {
    let mut seen = BTreeSet::new();
    for block in blocks("docs/strategies.md").into_iter().filter(|block| block.starts_with("strategy:")) {
        let strategy: Value = serde_yaml::from_str(&block).unwrap();
        let spec = serde_json::json!({
            "traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": strategy["strategy"]
        });
        Plan::parse(&serde_json::from_value(spec).unwrap()).unwrap_or_else(|faults| panic!("{faults:?}\n{block}"));
        seen.extend(strategy["strategy"].as_object().unwrap().keys().cloned());
    }
    assert_eq!(seen, ["abTest", "blueGreen", "canary", "shadow", "steps"].map(str::to_owned).into());
}

#[test]
fn every_configuration_in_the_documents_is_one_that_is_taken() {
    let shown: Vec<String> = blocks("docs/operations.md").into_iter().filter(|block| block.starts_with("prometheus:")).collect();
    let parse = |text: &String| Config::parse(text, Path::new("/etc/haldane")).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let configs: Vec<Config> = shown.iter().map(parse).collect();
    assert_eq!((configs[0].prometheus.len(), configs[0].alerts.len()), (1, 6));
    assert!(configs.iter().all(|config| !config.prometheus.is_empty()));
}

#[test]
fn every_alert_is_explained() {
    let manual = read("docs/operations.md");
    let source = read("src/tell/meaning.rs");
    let names: BTreeSet<&str> = source.split('"').filter(|s| s.starts_with("Rollout") && s.chars().all(char::is_alphabetic)).collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(manual.contains(name), "docs/operations.md does not explain {name}");
    }
}

#[test]
fn the_first_screen_of_the_readme_has_the_two_commands_and_the_yaml() {
    let readme = read("README.md");
    let screen: String = readme.lines().take(45).collect::<Vec<_>>().join("\n");
    for wanted in ["cargo run --release -- demo", "tests/run", "kind: Rollout", "strategy:", "full size"] {
        assert!(screen.contains(wanted), "{wanted} is not on the first screen");
    }
}

#[test]
fn the_readme_lists_the_commands_that_are_there_and_no_others() {
    use clap::CommandFactory;
    let there: BTreeSet<String> = haldane::cli::Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    let readme = read("README.md");
    let section = readme.split("## Commands").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|line| line.split(['`', ' ']).next());
    let listed: BTreeSet<String> = rows.map(Into::into).collect();
    assert_eq!(listed, there);
}

#[test]
fn every_metric_is_explained() {
    let manual = read("docs/operations.md");
    let text = Metrics::new().encode();
    let names = text.lines().filter_map(|l| l.strip_prefix("# HELP ")).filter_map(|l| l.split(' ').next());
    for name in names {
        assert!(manual.contains(&format!("`{name}")), "docs/operations.md does not explain {name}");
    }
}

fn rules() -> Vec<Value> {
    let groups = documents("deploy/chart/files/rules.yaml").remove(0)["groups"].take();
    groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

#[test]
fn dashboards_and_alerts_ask_for_what_haldane_and_istio_emit() {
    let emitted = emitted::emitted();
    let queries = queries::queries();
    for dashboard in ["rollout", "fleet", "controller"] {
        assert!(queries.iter().filter(|query| query.dashboard == dashboard).count() > 10, "{dashboard}");
    }
    for query in &queries {
        assert_eq!(emitted::unknown(&query.expr, &emitted), Vec::<String>::new(), "{query:?}");
    }
    for rule in rules() {
        assert_eq!(emitted::unknown(rule["expr"].as_str().unwrap(), &emitted), Vec::<String>::new(), "{rule}");
    }
    for (wrong, named) in [
        ("rate(haldane_passes_total[5m])", "haldane_passes_total"),
        (r#"haldane_leader{phase="x"}"#, "phase"),
        ("sum by (verdict) (haldane_guard_value)", "verdict"),
        ("up == 1 or process_cpu_seconds_total", "process_cpu_seconds_total"),
    ] {
        assert_eq!(emitted::unknown(wrong, &emitted), [named], "the check sees it");
    }
}

#[test]
fn every_metric_of_haldane_is_on_a_dashboard() {
    let shown: String = queries::queries().into_iter().map(|query| query.expr + "\n").collect();
    let text = Metrics::new().encode();
    for name in text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()) {
        assert!(shown.contains(name), "no dashboard shows {name}");
    }
}

#[test]
fn every_alert_rule_has_a_runbook() {
    let manual = read("docs/operations.md");
    let runbooks = manual.split("\n## Alert rules\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let written: Vec<&str> = runbooks.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let rules = rules();
    let names: Vec<&str> = rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert_eq!(written, names, "docs/operations.md has a section for each alert of deploy/chart/files/rules.yaml, in its order");
}
