//! Open-loop traffic through the gateway, or a client's own Envoy: requests leave at their time, whatever became of those before. Bounded in time and in
//! flight.

use std::{
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, Exp, StandardNormal};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

use super::world::root;

/// Where the gateway listens.
pub(super) const GATEWAY: &str = "http://127.0.0.1:8000";
/// Where it listens for the routes of Gateway API.
pub(super) const GATEWAY_API: &str = "http://127.0.0.1:8001";
/// Where the Envoy of the client in the mesh listens.
pub(super) const CLIENT: &str = "http://127.0.1.1";
/// More than this in flight: requests are answered as failed (status 0) without being sent. 5 s of 400 a second.
const IN_FLIGHT: usize = 2_000;
/// No load lasts longer than this.
const LONGEST: Duration = Duration::from_secs(720);

/// What became of one request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// When it was sent.
    pub at: Instant,
    /// HTTP status; 0 when there was none.
    pub status: u16,
    /// `x-model-version` of the answer; empty when there was none.
    pub version: String,
}

/// Where requests go, and what they carry.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The proxy that takes them.
    pub proxy: &'static str,
    /// Host that they ask for.
    pub host: String,
    /// Headers beside it.
    pub headers: Vec<(String, String)>,
}

/// Traffic that runs until it is stopped or dropped.
pub(super) struct Load {
    answers: Arc<Mutex<Vec<Answer>>>,
    flying: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Load {
    /// Sends `rate` predictions a second, at random times (a Poisson process) and with random rows.
    pub(super) fn start(target: Target, rate: f64) -> Self {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let flying = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(send(target, rate, answers.clone(), flying.clone()));
        Self { answers, flying, task }
    }

    /// The same over gRPC, by a process of its own. The status is 200 for `OK`, 504 where the call took too long, 500 for any other.
    pub(super) fn start_grpc(target: &Target, rate: f64) -> Self {
        let address = target.proxy.trim_start_matches("http://");
        let child = Command::new("python3")
            .arg(root("tests/stack/models/grpc_load.py"))
            .args([address, &target.host, &rate.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(read(child, answers.clone()));
        Self { answers, flying: Arc::default(), task }
    }

    /// Every answer so far.
    pub(super) fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap().clone()
    }

    /// Answers to requests sent in `[from, to)`.
    pub(super) fn between(&self, from: Instant, to: Instant) -> Vec<Answer> {
        self.answers.lock().unwrap().iter().filter(|a| from <= a.at && a.at < to).cloned().collect()
    }

    /// Stops sending, waits for what is in flight, and gives every answer.
    pub(super) async fn stop(&self) -> Vec<Answer> {
        self.task.abort();
        for _ in 0..100 {
            if self.flying.load(Ordering::Relaxed) == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.answers()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(target: Target, rate: f64, answers: Arc<Mutex<Vec<Answer>>>, flying: Arc<AtomicUsize>) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(8)).pool_max_idle_per_host(64).no_proxy().build().unwrap();
    let (mut random, gap) = (SmallRng::seed_from_u64(11), Exp::new(rate).unwrap());
    let begin = Instant::now();
    let mut due = Duration::ZERO;
    while due < LONGEST {
        due += Duration::from_secs_f64(gap.sample(&mut random));
        let wait = due.saturating_sub(begin.elapsed());
        if wait > Duration::from_millis(1) {
            tokio::time::sleep(wait).await;
        }
        let row: Vec<f64> = (0..6).map(|_| random.sample(StandardNormal)).collect();
        if flying.load(Ordering::Relaxed) >= IN_FLIGHT {
            answers.lock().unwrap().push(Answer { at: Instant::now(), status: 0, version: String::new() });
            continue;
        }
        flying.fetch_add(1, Ordering::Relaxed);
        let request = client.post(format!("{}/v1/models/fraud:predict", target.proxy)).header("host", &target.host);
        let request = target.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = request.json(&serde_json::json!({ "instances": [row] }));
        let (answers, flying) = (answers.clone(), flying.clone());
        tokio::spawn(async move {
            let at = Instant::now();
            let (status, version) = match request.send().await {
                Ok(answer) => {
                    let version = answer.headers().get("x-model-version").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
                    let status = answer.status().as_u16();
                    (if answer.bytes().await.is_ok() { status } else { 0 }, version)
                }
                Err(_) => (0, String::new()),
            };
            answers.lock().unwrap().push(Answer { at, status, version });
            flying.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// A line of `grpc_load.py` is an answer: how long ago the call was made, in seconds, the status and the version.
async fn read(mut child: Child, answers: Arc<Mutex<Vec<Answer>>>) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut words = line.split(' ');
        let (ago, status, version) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let at = Instant::now() - Duration::from_secs_f64(ago.parse().unwrap());
        let status = match status {
            "OK" => 200,
            "DEADLINE_EXCEEDED" => 504,
            _ => 500,
        };
        answers.lock().unwrap().push(Answer { at, status, version: version.to_owned() });
    }
}

/// How many of the answers came from `version`.
pub(super) fn from_version(answers: &[Answer], version: &str) -> usize {
    answers.iter().filter(|a| a.version == version).count()
}

/// The answers that are not 200. A 504 is no failure of a route: a machine that stalls lets every version answer too late.
pub(super) fn failed(answers: &[Answer]) -> Vec<&Answer> {
    answers.iter().filter(|a| !matches!(a.status, 200 | 504)).collect()
}

/// The counts that a binomial(n, p) stays within with a probability of 99.9 %, from the exact distribution.
pub(super) fn band(n: usize, p: f64) -> (usize, usize) {
    use statrs::distribution::{Binomial, DiscreteCDF};
    let law = Binomial::new(p, n as u64).unwrap();
    (law.inverse_cdf(0.0005) as usize, law.inverse_cdf(0.9995) as usize)
}
