//! The controller as its own process, and what it costs.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::fleet::{Fleet, NAMESPACE};

/// Processor time of the bench itself so far, in seconds.
pub(crate) fn own_seconds() -> f64 {
    ticks(&fs::read_to_string("/proc/self/stat").unwrap()) / 1000.0
}

/// utime and stime of a line of /proc/PID/stat, in milliseconds.
fn ticks(stat: &str) -> f64 {
    let after = stat.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
}

/// `haldane controller`, which is asked to end when this is dropped.
pub(crate) struct Controller {
    child: Child,
    folder: PathBuf,
}

/// The program of this build, or the one that `--program=PATH` names: another build, in the same world.
fn program() -> String {
    let named = std::env::args().find_map(|word| word.strip_prefix("--program=").map(str::to_owned));
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_haldane").to_owned())
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Controller {
    /// Starts it and waits until it leads and has read everything.
    pub(crate) async fn start(fleet: &Fleet) -> Self {
        Self::start_with(fleet, fleet.config(&fleet.prometheus.url())).await
    }

    /// The same with another configuration.
    pub(crate) async fn start_with(fleet: &Fleet, config: String) -> Self {
        let folder = std::env::temp_dir().join(format!("haldane-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let kubeconfig = file("kubeconfig", fleet.api.kubeconfig(NAMESPACE));
        let config = file("config.yaml", config);
        let log = fs::File::create(folder.join("log")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program())
            .args(["controller", "--lease-namespace", "haldane-system"])
            .arg("--listen")
            .arg(format!("127.0.0.1:{port}"))
            .arg("--config")
            .arg(config)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let controller = Self { child, folder };
        let ready = format!("http://127.0.0.1:{port}/readyz");
        for _ in 0..600 {
            if reqwest::get(&ready).await.is_ok_and(|answer| answer.status().is_success()) {
                return controller;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not ready within a minute: {}", fs::read_to_string(controller.folder.join("log")).unwrap_or_default());
    }

    fn proc(&self, what: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{what}", self.child.id()))
    }

    /// A line of /proc/PID/status in MB: VmRSS, VmHWM.
    pub(crate) fn megabytes(&self, what: &str) -> f64 {
        let text = fs::read_to_string(self.proc("status")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        let kilobytes: f64 = line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        kilobytes / 1024.0
    }

    /// Processor time so far, in milliseconds: of all threads that live, to the nanosecond; they are as many as at the start.
    pub(crate) fn milliseconds(&self) -> f64 {
        let tasks = fs::read_dir(self.proc("task")).unwrap();
        let one = |task: fs::DirEntry| -> Option<f64> {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        tasks.filter_map(|task| one(task.ok()?)).sum::<f64>() / 1e6
    }

    /// The same by utime and stime of /proc/PID/stat, in ticks of 10 ms; threads that ended are in it.
    pub(crate) fn ticks(&self) -> f64 {
        ticks(&fs::read_to_string(self.proc("stat")).unwrap())
    }
}
