//! A slow Prometheus for very many models. It keeps no samples: what a query asks for is computed, from constant rates and from what the
//! routes say.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    response::IntoResponse,
};
use haldane::{
    clock::Clock,
    sim::{
        objects::Objects,
        prometheus::{
            query::Query,
            series::{Database, Labels},
        },
    },
};
use jiff::Timestamp;

use super::fleet::NAMESPACE;

/// Bounds of request durations, and which share of the requests is below each.
const DURATIONS: [(&str, f64); 20] = [
    ("0.5", 0.0),
    ("1.0", 0.0),
    ("5.0", 0.01),
    ("10.0", 0.05),
    ("25.0", 0.3),
    ("50.0", 0.7),
    ("100.0", 0.93),
    ("250.0", 0.995),
    ("500.0", 0.9995),
    ("1000.0", 1.0),
    ("2500.0", 1.0),
    ("5000.0", 1.0),
    ("10000.0", 1.0),
    ("30000.0", 1.0),
    ("60000.0", 1.0),
    ("300000.0", 1.0),
    ("600000.0", 1.0),
    ("1.8e+06", 1.0),
    ("3.6e+06", 1.0),
    ("+Inf", 1.0),
];
const ERRORS: f64 = 0.001;

/// What is the same for all models.
#[derive(Clone, Copy)]
pub(crate) struct Rates {
    /// Requests a second of a model.
    pub rps: f64,
    /// Time between two scrapes.
    pub scrape: Duration,
    /// How long an answer takes.
    pub answer: Duration,
    /// How much of the past there is.
    pub past: Duration,
}

/// A query that named models.
#[derive(Clone)]
pub(crate) struct Asked {
    /// These.
    pub models: BTreeSet<usize>,
    /// The time that it asked about.
    pub time: Timestamp,
    /// Seconds before that time; 0 where none were asked for.
    pub seconds: u64,
    /// When it was answered.
    pub answered: Timestamp,
}

/// The server. It ends when this is dropped.
pub(crate) struct Formula {
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    clock: Clock,
    rates: Rates,
    objects: Objects,
    /// Names of the pods of each version of each model, and when it first had a weight.
    pods: HashMap<String, Vec<String>>,
    since: Mutex<HashMap<usize, Timestamp>>,
    begin: Timestamp,
    log: Mutex<Vec<Asked>>,
}

impl Drop for Formula {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Formula {
    /// Serves on loopback the pods that are there now.
    pub(crate) async fn start(clock: Clock, objects: Objects, rates: Rates) -> Self {
        let mut pods: HashMap<String, Vec<String>> = HashMap::new();
        for pod in objects.list("pods", NAMESPACE) {
            let label = |name: &str| pod["metadata"]["labels"][name].as_str().unwrap_or_default().to_owned();
            let workload = format!("{}-{}", label("app"), label("version"));
            pods.entry(workload).or_default().push(pod["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        }
        let begin = clock.now().checked_sub(rates.past).unwrap();
        let shared = Arc::new(Shared { clock, rates, objects, pods, since: Mutex::default(), begin, log: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(serve).with_state(shared.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, shared, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many queries have named a model so far.
    pub(crate) fn answered(&self) -> usize {
        self.shared.log.lock().unwrap().len()
    }

    /// Those after the first so many, in the order of the answers.
    pub(crate) fn asked(&self, after: usize) -> Vec<Asked> {
        self.shared.log.lock().unwrap().split_at(after).1.to_vec()
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> impl IntoResponse {
    let body = axum::body::to_bytes(request.into_body(), 1 << 22).await.unwrap();
    let form = reqwest::Url::parse(&format!("http://form/?{}", String::from_utf8_lossy(&body))).unwrap();
    let asked: BTreeMap<String, String> = form.query_pairs().into_owned().collect();
    let query = asked.get("query").map(String::as_str).unwrap_or_default();
    let seconds = asked.get("time").and_then(|time| time.parse::<f64>().ok());
    let time = seconds.map_or_else(|| shared.clock.now(), |s| Timestamp::from_millisecond((s * 1000.0) as i64).unwrap());
    let models = models(query);
    let data = match Query::parse(query) {
        Ok(parsed) => parsed.answer(&shared.database(query, &models, time), time.as_millisecond(), 0, false),
        Err(error) => panic!("{error}: {query}"),
    };
    tokio::time::sleep(shared.rates.answer).await;
    if !models.is_empty() {
        shared.log.lock().unwrap().push(Asked { models, time, seconds: range(query), answered: shared.clock.now() });
    }
    ([("content-type", "application/json")], format!("{{\"status\":\"success\",\"data\":{data}}}"))
}

/// `model-017-v1` is of the model 17.
fn models(query: &str) -> BTreeSet<usize> {
    let digits = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    query.split("model-").skip(1).filter_map(digits).collect()
}

/// The seconds in `[135s]`.
fn range(query: &str) -> u64 {
    let inside = query.rsplit_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.and_then(|(text, _)| text.strip_suffix('s')?.parse().ok()).unwrap_or(0)
}

impl Shared {
    /// When the canary of a model got its weight.
    fn since(&self, index: usize) -> Option<Timestamp> {
        let mut all = self.since.lock().unwrap();
        if let Entry::Vacant(new) = all.entry(index) {
            let route = self.objects.get("virtualservices.networking.istio.io", NAMESPACE, &super::fleet::name(index))?;
            let entries = route.pointer("/spec/http/0/route").and_then(|entries| entries.as_array())?;
            let weight = entries.iter().filter(|entry| entry["destination"]["subset"] == "v2").filter_map(|entry| entry["weight"].as_i64());
            if weight.sum::<i64>() > 0 {
                new.insert(self.clock.now());
            }
        }
        all.get(&index).copied()
    }

    /// All that a query can ask for, back to its beginning.
    fn database(&self, query: &str, models: &BTreeSet<usize>, time: Timestamp) -> Database {
        let mut database = Database::new(i64::MAX / 2);
        let (to, back) = (time.as_millisecond(), range(query).max(60) as i64 * 1000);
        let scrape = self.rates.scrape.as_millis() as i64;
        let from = (to - back).max(self.begin.as_millisecond());
        let times: Vec<i64> = (from / scrape + 1..=to / scrape).map(|k| k * scrape).collect();
        for index in models {
            let since = self.since(*index).map_or(i64::MAX, Timestamp::as_millisecond);
            for version in ["v1", "v2"] {
                let (name, workload) = (super::fleet::name(*index), format!("{}-{version}", super::fleet::name(*index)));
                let pods = self.pods.get(&workload).map(Vec::as_slice).unwrap_or_default();
                let rate = self.rates.rps / pods.len().max(1) as f64 / 1000.0;
                let (begin, stable) = (self.begin.as_millisecond(), version == "v1");
                let count = |at: i64| {
                    let canary = (at - since.min(at)) as f64 * rate * 0.05;
                    if stable { (at - begin) as f64 * rate - canary } else { canary }
                };
                let times: Vec<i64> = times.iter().copied().filter(|at| stable || *at > since).collect();
                for pod in pods {
                    let mut add = |metric: &str, own: &[(&str, &str)], share: f64| {
                        if !query.contains(metric) || times.is_empty() {
                            return;
                        }
                        let id = database.id(labels(metric, &name, &workload, version, pod, own));
                        times.iter().for_each(|at| database.push(id, *at, (count(*at) * share).floor()));
                    };
                    for (code, share) in [("200", 1.0 - ERRORS), ("500", ERRORS)] {
                        add("istio_requests_total", &[("response_code", code)], share);
                    }
                    for (le, share) in DURATIONS {
                        add("istio_request_duration_milliseconds_bucket", &[("response_code", "200"), ("le", le)], share);
                    }
                }
            }
        }
        database
    }
}

fn labels(metric: &str, model: &str, workload: &str, version: &str, pod: &str, own: &[(&str, &str)]) -> Labels {
    let service = format!("{model}.{NAMESPACE}.svc.cluster.local");
    let common = [
        ("__name__", metric),
        ("reporter", "destination"),
        ("source_workload", "web"),
        ("destination_workload", workload),
        ("destination_workload_namespace", NAMESPACE),
        ("destination_version", version),
        ("destination_canonical_service", model),
        ("destination_canonical_revision", version),
        ("destination_service", service.as_str()),
        ("destination_service_name", model),
        ("destination_service_namespace", NAMESPACE),
        ("request_protocol", "http"),
        ("response_flags", "-"),
        ("job", "istio-proxies"),
        ("instance", pod),
        ("namespace", NAMESPACE),
        ("pod", pod),
    ];
    common.iter().chain(own).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
