//! A release on a real kube-apiserver: from the version before to this one and back with a Rollout under way, removed, and installed again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    helm::{documents, helm, root},
    real::{Real, kubectl},
};

/// A cluster with the files of its clients.
struct Cluster {
    home: PathBuf,
    _server: Real,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

impl Cluster {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Real::start().await;
        server.client().await;
        let home = std::env::temp_dir().join(format!("haldane-chart-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("config"), server.kubeconfig()).unwrap();
        Self { home, _server: server }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Helm in the namespace of the controller.
    fn helm(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').chain(["--namespace", "haldane-system"]).collect();
        helm(&words, Some(&self.home)).unwrap_or_else(|said| panic!("helm {line}: {said}"))
    }

    fn kubectl(&self, line: &str) -> String {
        let said = kubectl(&self.home, line);
        said.strip_prefix("exit 0\n").unwrap_or_else(|| panic!("kubectl {line}: {said}")).to_owned()
    }

    fn object(&self, line: &str) -> Value {
        let mut found = documents(&self.kubectl(&format!("get {line} -o json")));
        found.remove(0)
    }

    fn missing(&self, line: &str) -> bool {
        kubectl(&self.home, &format!("get {line}")).contains("NotFound")
    }
}

/// A chart as an older version had it: another version of the program, and a custom resource without one of its fields.
fn older(cluster: &Cluster) -> String {
    let copy = cluster.home.join("older");
    copied(&root("deploy/chart"), &copy);
    let chart = fs::read_to_string(copy.join("Chart.yaml")).unwrap();
    fs::write(copy.join("Chart.yaml"), chart.replace(concat!("ersion: ", env!("CARGO_PKG_VERSION")), "ersion: 0.0.9")).unwrap();
    let mut crd: Value = serde_yaml::from_str(&fs::read_to_string(copy.join("files/rollout.yaml")).unwrap()).unwrap();
    assert!(alerts(&mut crd).remove("alerts").is_some());
    fs::write(copy.join("files/rollout.yaml"), crd.to_string()).unwrap();
    copy.display().to_string()
}

/// The fields of `spec` in the custom resource.
fn alerts(crd: &mut Value) -> &mut serde_json::Map<String, Value> {
    let fields = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties");
    fields.and_then(Value::as_object_mut).unwrap()
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copied(&path, &target) } else { fs::copy(&path, &target).map(|_| ()).unwrap() }
    }
}

/// The API of an operator that is not here: what decides whether the chart has an object for it.
fn operator(kind: &str) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    });
    crd.to_string()
}

/// What must be the same before and after, whatever happens to the release.
fn kept(rollout: &Value) -> Value {
    json!([
        rollout["metadata"]["uid"],
        rollout["metadata"]["generation"],
        rollout["spec"],
        rollout["status"],
        rollout["metadata"]["finalizers"]
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_upgraded_and_downgraded_in_the_middle_of_a_rollout_and_its_end_keeps_the_rollouts() {
    let cluster = Cluster::start().await;
    let this = root("deploy/chart").display().to_string();
    let image = || cluster.object("deployment haldane -n haldane-system")["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    let crd = || cluster.object("crd rollouts.haldane.dev");
    let knows_alerts = || alerts(&mut crd()).contains_key("alerts");

    // The version before, in a cluster without the operator of Prometheus.
    let said = cluster.helm(&format!("install haldane {} --create-namespace", older(&cluster)));
    assert!(said.contains("kubectl -n haldane-system rollout status deployment/haldane"), "the notes say what is next: {said}");
    assert_eq!((image(), knows_alerts()), (json!("haldane:0.0.9"), false));
    cluster.kubectl("wait --for=condition=Established crd/rollouts.haldane.dev --timeout=30s");

    // A rollout is under way.
    cluster.kubectl("create namespace ml");
    let spec = json!({"traffic": {"virtualService": "fraud"}, "canary": {"subset": "v2"}, "strategy": {"canary": {}}});
    let rollout = json!({"apiVersion": "haldane.dev/v1alpha1", "kind": "Rollout", "spec": spec,
        "metadata": {"name": "fraud", "namespace": "ml", "finalizers": ["haldane.dev/restore-traffic"]}});
    cluster.kubectl(&format!("create -f {}", cluster.file("rollout.json", &rollout.to_string())));
    let status = json!({"status": {"phase": "Progressing", "step": {"index": 1, "name": "2", "weight": 20, "windows": 3}}});
    cluster.kubectl(&format!(
        "patch hro fraud -n ml --subresource status --type merge --patch-file {}",
        cluster.file("status.json", &status.to_string())
    ));
    let rollout = || cluster.object("hro fraud -n ml");
    let before = kept(&rollout());
    assert_eq!(before[3]["step"]["weight"], 20);

    // This version, after the operator of Prometheus.
    for kind in ["ServiceMonitor", "PrometheusRule"] {
        cluster.kubectl(&format!("create -f {}", cluster.file("operator.json", &operator(kind))));
        cluster.kubectl(&format!("wait --for=condition=Established crd/{}s.monitoring.coreos.com --timeout=30s", kind.to_lowercase()));
    }
    cluster.helm(&format!("upgrade haldane {this} --set replicas=3"));
    assert_eq!((image(), knows_alerts()), (json!(concat!("haldane:", env!("CARGO_PKG_VERSION"))), true));
    assert_eq!(kept(&rollout()), before, "the upgrade touches no Rollout");
    assert_eq!(cluster.object("deployment haldane -n haldane-system")["spec"]["replicas"], 3);
    cluster.object("servicemonitor haldane -n haldane-system");
    let rules = cluster.object("prometheusrule haldane -n haldane-system");
    assert!(rules["spec"]["groups"][0]["rules"][0]["expr"].is_string());

    // Its pods are such as the restricted Pod Security Standard admits.
    cluster.kubectl("label namespace haldane-system pod-security.kubernetes.io/enforce=restricted");
    let template = cluster.object("deployment haldane -n haldane-system")["spec"]["template"].clone();
    let mut pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "namespace": "haldane-system"}, "spec": template["spec"]});
    let admitted =
        |pod: &Value| kubectl(&cluster.home, &format!("create --dry-run=server -f {}", cluster.file("pod.json", &pod.to_string())));
    assert!(admitted(&pod).starts_with("exit 0"), "{}", admitted(&pod));
    pod["spec"]["securityContext"]["runAsNonRoot"] = json!(false);
    assert!(admitted(&pod).contains("violates PodSecurity"), "{}", admitted(&pod));

    // Back to the version before, and forward again.
    cluster.helm("rollback haldane 1");
    assert_eq!((image(), knows_alerts()), (json!("haldane:0.0.9"), false));
    assert_eq!(kept(&rollout()), before, "the downgrade touches no Rollout");
    cluster.helm(&format!("upgrade haldane {this}"));
    assert_eq!((knows_alerts(), kept(&rollout()) == before), (true, true));

    // The release ends; the custom resource and the Rollout stay, and the next release takes them over.
    cluster.helm("uninstall haldane");
    assert!(cluster.missing("deployment haldane -n haldane-system") && cluster.missing("clusterrole haldane"));
    assert_eq!(kept(&rollout()), before, "the end of the release touches no Rollout");
    cluster.helm(&format!("install haldane {this}"));
    assert_eq!(kept(&rollout()), before);

    // A second release that serves one namespace beside it, with nothing outside of namespaces.
    let values = root("tests/data/chart/namespaced.yaml");
    cluster.kubectl("create namespace fraud");
    let second = ["install", "models", this.as_str(), "--values", values.to_str().unwrap(), "--namespace", "ml"];
    helm(&second, Some(&cluster.home)).unwrap_or_else(|said| panic!("{said}"));
    cluster.object("role models -n fraud");
    assert!(cluster.missing("clusterrole models"));
}
