//! `examples/ci/rollout.sh` as a CI job runs it, against rollouts that the true controller has decided.

use std::{fs, path::PathBuf, process::Output};

use haldane::{api::Phase, sim::traffic::Behaviour};
use serde_json::Value;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use crate::stage::Stage;

struct Job {
    kubeconfig: PathBuf,
    summary: PathBuf,
}

impl Job {
    fn new(stage: &Stage) -> Self {
        let port = stage.world.api().url().rsplit(':').next().unwrap().to_owned();
        let file = |name: &str| std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ci-{name}-{port}"));
        let job = Self { kubeconfig: file("kubeconfig"), summary: file("summary") };
        fs::write(&job.kubeconfig, stage.world.kubeconfig()).unwrap();
        job
    }

    /// Runs the script with these variables; what it has written into the summary comes back too.
    async fn run(&self, name: &str, variables: &[(&str, &str)]) -> (Output, String) {
        let _ = fs::remove_file(&self.summary);
        let mut command = tokio::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ci/rollout.sh"));
        command.args([name, "ml"]).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HALDANE", env!("CARGO_BIN_EXE_haldane")).env("KUBECONFIG", &self.kubeconfig);
        command.env("GITHUB_STEP_SUMMARY", &self.summary).envs(variables.iter().copied());
        let output = command.output().await.unwrap();
        (output, fs::read_to_string(&self.summary).unwrap_or_default())
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.kubeconfig);
        let _ = fs::remove_file(&self.summary);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ci_job_waits_posts_the_table_and_fails_on_a_rollback() {
    let mut stage = Stage::set(23).await;
    stage.control(false);
    stage.seconds(300).await;
    stage.world.deploy("v2", Behaviour::default().with_errors(0.10));
    stage.apply("v2").await;
    stage.until_phase("v2", Phase::RolledBack).await;
    // From here on a program outside of the virtual time looks.
    tokio::time::resume();
    let job = Job::new(&stage);
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(201)).mount(&server).await;
    let github = [
        ("GITHUB_TOKEN", "T0KEN"),
        ("GITHUB_REPOSITORY", "shop/fraud"),
        ("PR_NUMBER", "7"),
        ("GITHUB_API_URL", &server.uri()),
        ("TIMEOUT", "60s"),
    ];
    let (output, summary) = job.run("fraud", &github).await;
    let (said, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{said}\n{log}");
    assert!(said.starts_with("### ml/fraud v2 rolled back at 5 %, because more requests fail"), "{said}");
    let row = said.lines().find(|line| line.starts_with("| errors |")).unwrap();
    assert!(row.contains(" pp ") && row.ends_with("| worse |"), "{row}");
    assert_eq!(summary, said, "the summary of the job is the report");
    let posted = server.received_requests().await.unwrap();
    assert_eq!(posted.len(), 1);
    assert_eq!(posted[0].url.path(), "/repos/shop/fraud/issues/7/comments");
    assert_eq!(posted[0].headers["authorization"], "Bearer T0KEN");
    assert_eq!(serde_json::from_slice::<Value>(&posted[0].body).unwrap()["body"].as_str(), Some(&*said));
    assert!(!said.contains("T0KEN") && !log.contains("T0KEN"), "{log}");

    // GitLab takes a form; a comment that is refused changes no exit code.
    server.reset().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(403)).mount(&server).await;
    let api = format!("{}/api/v4", server.uri());
    let gitlab = [("GITLAB_TOKEN", "T0KEN"), ("CI_API_V4_URL", api.as_str()), ("CI_PROJECT_ID", "5"), ("CI_MERGE_REQUEST_IID", "9")];
    let (output, _) = job.run("fraud", &gitlab).await;
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{log}");
    assert!(log.contains("warning: the report was not posted") && !log.contains("T0KEN"), "{log}");
    let posted = server.received_requests().await.unwrap();
    assert_eq!(posted[0].url.path(), "/api/v4/projects/5/merge_requests/9/notes");
    assert_eq!(posted[0].headers["private-token"], "T0KEN");
    assert!(posted[0].body.starts_with(b"body=%23%23%23"), "{}", String::from_utf8_lossy(&posted[0].body));

    let (output, summary) = job.run("nobody", &[]).await;
    assert_eq!((output.status.code(), summary.as_str()), (Some(7), ""), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(start_paused = true)]
async fn a_ci_job_succeeds_on_a_promotion_and_says_when_its_time_is_over() {
    let mut stage = Stage::set(24).await;
    stage.control(false);
    stage.seconds(300).await;
    stage.world.deploy("v2", Behaviour::default());
    stage.apply("v2").await;
    stage.until("at 20 %", |status| status.step.as_ref().is_some_and(|step| step.weight == 20)).await;
    let job = Job::new(&stage);
    tokio::time::resume();
    let (output, summary) = job.run("fraud", &[("TIMEOUT", "1s")]).await;
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(124 | 6)), "{log}");
    assert!(summary.starts_with("### ml/fraud v2 "), "{summary}");
    tokio::time::pause();
    stage.until_phase("v2", Phase::Promoted).await;
    tokio::time::resume();
    let (output, summary) = job.run("fraud", &[("TIMEOUT", "60s")]).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.starts_with("### ml/fraud v2 promoted, because every step passed"), "{said}");
    assert!(said.contains("100 % at v2") && summary == said, "{said}");
}
