//! `haldane controller` as a process of its own, under its own ServiceAccount and the shipped roles.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::world::{PROMETHEUS, command, stack_run};

/// One replica.
pub(super) struct Controller {
    child: Child,
    /// Where it serves health and metrics.
    address: String,
}

impl Controller {
    /// Starts a replica that looks at one namespace, or at all where none is named. `kubeconfig` holds the ServiceAccount's token.
    pub(super) fn start(directory: &Path, kubeconfig: &Path, namespace: &str, number: usize) -> Self {
        let config = directory.join("haldane.yaml");
        if !config.exists() {
            std::fs::write(&config, configuration(PROMETHEUS, "1s")).unwrap();
        }
        let file = File::create(directory.join(format!("controller-{number}.log"))).unwrap();
        let address = format!("127.0.0.1:{}", 18_080 + number);
        let child = Command::new(env!("CARGO_BIN_EXE_haldane"))
            .args(["controller", "--listen", &address])
            .args([["--namespace", namespace]].iter().filter(|_| !namespace.is_empty()).flatten())
            .arg("--config")
            .arg(&config)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .env_remove("KUBECONFIG")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, address }
    }

    /// Sends a signal: `KILL`, `STOP`, `CONT`, `TERM`.
    pub(super) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// As a crash does: no chance to tidy up.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As a rolling update does: SIGTERM, and how long it took to end.
    pub(super) fn terminate(&mut self) -> Duration {
        let begin = Instant::now();
        self.signal("TERM");
        while self.child.try_wait().unwrap().is_none() {
            if begin.elapsed() > Duration::from_secs(15) {
                self.kill();
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        begin.elapsed()
    }

    /// Is it still running?
    pub(super) fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it answers to a GET: status and text; nothing when it does not answer.
    pub(super) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
        let answer = client.get(format!("http://{}{path}", self.address)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }
}

impl Drop for Controller {
    /// In good order: the lease is free for the next story.
    fn drop(&mut self) {
        if self.running() {
            self.signal("CONT");
            self.terminate();
        }
    }
}

/// The controller's configuration: where the counters are, how long until what was scraped can be asked for, and where alerts go.
pub(super) fn configuration(url: &str, lag: &str) -> String {
    format!(
        "prometheus:\n  default: {{url: \"{url}\", scrapeInterval: 1s, lag: {lag}}}\n\
         alerts:\n  default: {{alertmanager: {{url: \"http://127.0.0.1:9093\"}}}}\n"
    )
}

/// Sends a signal to a process.
pub(super) fn signal(pid: u32, name: &str) {
    command("kill", &[&format!("-{name}"), &pid.to_string()]);
}

/// Process id of a component of the stack, for example `prometheus`.
pub(super) fn component(name: &str) -> u32 {
    let line = std::fs::read_to_string(stack_run().join("pids").join(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
