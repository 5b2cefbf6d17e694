//! A registry of models, MLflow: the version that its alias names is rolled out, and how that ended is written back to it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    climb::{climb, until_ended},
    controller::configuration,
    load::failed,
    promote::baseline,
    world::{LATER, PROMETHEUS, SOON, Shape, World, command, judged, kubectl, pretty, root, story},
};

/// Where it listens.
const MLFLOW: &str = "http://127.0.0.1:5000";
/// Requests a second.
const RATE: f64 = 150.0;

/// The registry, and the controller's right to write what it names. Both end when it goes.
struct Registry(reqwest::Client);

impl Registry {
    fn start() -> Self {
        command(&root("tests/stack/registry"), &[]);
        kubectl(&["apply", "-k", &root("deploy/model-source")]);
        Self(reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap())
    }

    /// Trains a version, registers it and sets the alias to it, as a training Job does. Its number.
    async fn trained(&self, alias: &'static str, shift: &'static str) -> String {
        let job = move || {
            let (server, program) = (format!("MLFLOW_TRACKING_URI={MLFLOW}"), root("tests/stack/models/register.py"));
            command("env", &[&server, "MLFLOW_DISABLE_TELEMETRY=true", "python3", &program, alias, shift])
        };
        let said = tokio::task::spawn_blocking(job).await.unwrap();
        said.lines().last().expect("it prints the number").to_owned()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.0.get(format!("{MLFLOW}/api/2.0/mlflow/{path}")).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["model_version"].take()
    }

    /// The version that an alias names.
    async fn named(&self, alias: &str) -> Option<String> {
        let found = self.get(&format!("registered-models/alias?name=fraud&alias={alias}")).await;
        found["version"].as_str().map(str::to_owned)
    }

    /// A tag of a version.
    async fn tag(&self, version: &str, key: &str) -> Option<String> {
        let found = self.get(&format!("model-versions/get?name=fraud&version={version}")).await;
        let tag = found["tags"].as_array()?.iter().find(|tag| tag["key"] == key)?;
        tag["value"].as_str().map(str::to_owned)
    }

    /// Waits until a version says how its rollout ended, and gives the reason.
    async fn until_told(&self, version: &str, outcome: &str) -> String {
        let begin = Instant::now();
        while self.tag(version, "haldane.outcome").await.as_deref() != Some(outcome) {
            assert!(begin.elapsed() < SOON, "version {version} has no outcome {outcome}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.tag(version, "haldane.reason").await.expect("with a reason")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        command(&root("tests/stack/registry"), &["stop"]);
        kubectl(&["delete", "-k", &root("deploy/model-source")]);
    }
}

/// Waits until haldane has written this version to the canary's Deployment.
async fn until_written(world: &World, version: &str) {
    world
        .until("the model in the Deployment", LATER, |r| {
            r["status"]["source"]["version"] == version && r["status"]["source"]["state"] == "InPlace"
        })
        .await;
    let path = "jsonpath={.spec.template.spec.containers[0].env[?(@.name=='MODEL')].value}";
    let written = world.kubectl(&["get", "deployment", "fraud-v2", "-o", path]);
    assert_eq!(written, format!("models:/fraud/{version}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_alias_names_is_rolled_out_and_the_registry_learns_how_it_ended() {
    story("mlflow", async |world| {
        let registry = Registry::start();
        let own = format!("mlflow:\n  default: {{url: \"{MLFLOW}\", poll: 2s}}\n");
        world.file("haldane.yaml", &(configuration(PROMETHEUS, "1s") + &own));
        world.models(Shape::Gateway, &[("MLFLOW_TRACKING_URI", MLFLOW)]).await;
        let first = registry.trained("champion", "0").await;
        // As accurate as the first one on the rows that it was trained on.
        let wrong = registry.trained("challenger", "2.5").await;
        let _controller = world.controller();
        let load = world.load(RATE);
        baseline().await;
        let record = world.record().await;
        let mut plan = judged("8s");
        plan["spec"]["source"] = json!({
            "mlflow": { "model": "fraud" },
            "deployment": "fraud-v2",
            "write": { "env": { "container": "model", "name": "MODEL" } },
        });
        world.apply(&plan);
        until_written(world, &wrong).await;
        let rollout = until_ended(world, "RolledBack").await;
        let found = &rollout["status"]["decision"]["why"][0];
        assert_eq!((&found["metric"], &found["verdict"]), (&json!("drift"), &json!("Fail")), "{}", pretty(&rollout["status"]));
        let reason = registry.until_told(&wrong, "rolled-back").await;
        println!("version {wrong}: {reason}");
        assert!(reason.contains("drift") || reason.contains("predictions"), "{reason}");
        assert_eq!(registry.named("champion").await, Some(first));

        let good = registry.trained("challenger", "0").await;
        until_written(world, &good).await;
        world.until("the next rollout", SOON, |r| r["status"]["phase"] != "RolledBack").await;
        until_ended(world, "Promoted").await;
        println!("version {good}: {}", registry.until_told(&good, "promoted").await);
        assert_eq!(registry.named("champion").await, Some(good.clone()));
        assert_eq!(climb(&record), ["0 %", "5 %", "0 %", "5 %", "20 %", "50 %", "100 %"]);
        let answers = load.stop().await;
        assert!(failed(&answers).is_empty(), "{} of {}: {:?}", failed(&answers).len(), answers.len(), failed(&answers).first());
    })
    .await;
}
