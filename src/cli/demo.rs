//! `haldane demo`: the true controller against a simulated cluster, mesh and Prometheus, in one process. A good version is promoted, then
//! one whose answers have shifted is taken back.

mod board;

use std::{io::Write, path::PathBuf, time::Duration};

use clap::Args;
use kube::Client;
use serde::Serialize;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Exit, Failure,
    output::{Output, Tone},
    screen,
};
use crate::{
    api::{Phase, Rollout, RolloutStatus},
    clock::Clock,
    config::ConfigHandle,
    controller::{self, Options},
    sim::{APP, NAMESPACE, World, WorldConfig, traffic::Behaviour},
};
use board::Board;

/// How far behind now a window ends: one scrape.
const LAG: Duration = Duration::from_secs(1);
/// An act that takes longer has gone wrong.
const LONGEST_ACT: Duration = Duration::from_secs(240);
/// How often the board is drawn, on a terminal and elsewhere.
const PACE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// What the demo rolls out: what a user would write, with clocks for people who watch.
const MANIFEST: &str = "
apiVersion: haldane.dev/v1alpha1
kind: Rollout
metadata: {name: fraud, namespace: ml}
spec:
  traffic: {virtualService: fraud}
  canary: {subset: v2}
  strategy: {canary: {hold: 10s}}
  analysis:
    interval: 2s
    warmUp: 2s
    metrics:
    - errorRate: {}
    - latency: {}
    - drift: {counter: model_prediction_class_total, class: class}
";

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Leave the world running until Ctrl-C, for a second terminal
    #[arg(long)]
    keep: bool,
    /// Seed of the simulated traffic
    #[arg(long, value_name = "NUMBER", default_value_t = 7)]
    seed: u64,
    /// Requests a second
    #[arg(long, value_name = "RPS", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(50..=20_000))]
    rps: u32,
}

/// How the demo ended, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    promoted: bool,
    rolled_back: bool,
    seconds: u64,
}

pub(super) async fn run(args: &DemoArgs, clock: Clock, output: &Output) -> Result<Exit, Failure> {
    let begin = Instant::now();
    let mut config = WorldConfig::new(clock, args.seed);
    config.rps = f64::from(args.rps);
    let world = World::start(config).await.map_err(|e| Failure::new(Exit::Error, format!("cannot listen on loopback: {e}"), ""))?;
    let kubeconfig = Kubeconfig::write(&world)?;
    let controller = Controller::start(&world)?;
    let mut board = Board::new(&world, output, clock);
    board.say(&intro(&world, &kubeconfig));
    let [promoted, rolled_back] = tokio::select! {
        ended = play(&world, &controller, &mut board) => ended?,
        () = super::controller::signal() => return Err(Failure::new(Exit::Error, "stopped before the end", "")),
    };
    let ended = Ended { promoted, rolled_back, seconds: begin.elapsed().as_secs() };
    output.data("Demo", &ended, || summary(&ended, output))?;
    if args.keep {
        output.hint("\nthe world goes on until Ctrl-C");
        super::controller::signal().await;
    }
    controller.stop().await;
    if promoted && rolled_back {
        return Ok(Exit::Reached);
    }
    Err(Failure::new(Exit::Error, "the demo did not end as it should", "haldane demo --seed NUMBER, with another number"))
}

/// Both acts: whether v2 was promoted, and v3 rolled back.
async fn play(world: &World, controller: &Controller, board: &mut Board<'_>) -> Result<[bool; 2], Failure> {
    let good = Behaviour::default().with_errors(0.0007).with_latency(37.0, 165.0);
    board.say("\n1. v2 is a good build: as right as v1, and a little faster\n");
    world.deploy("v2", good.clone());
    let rollout: Rollout = serde_yaml::from_str(MANIFEST).map_err(|e| Failure::new(Exit::Error, e.to_string(), ""))?;
    world.apply(&rollout).await.map_err(refused)?;
    board.compare("v1", "v2");
    if !follow(board, controller, "v2", Phase::Promoted).await? {
        return Ok([false, false]);
    }
    board.say("\n2. v3 answers 200 to everything, as fast as before; its predictions have shifted\n");
    let drifting = good.with_classes(&[("legit", 0.62), ("review", 0.10), ("fraud", 0.28)]).with_scores(0.25, 1.0);
    world.deploy("v3", drifting);
    let mut next = rollout;
    next.spec.canary.subset = "v3".into();
    world.apply(&next).await.map_err(refused)?;
    board.compare("v2", "v3");
    let rolled_back = follow(board, controller, "v3", Phase::RolledBack).await?;
    if rolled_back {
        board.say(&alert(world).await);
    }
    Ok([true, rolled_back])
}

/// Shows an act until it has ended; true when it ended as it should.
async fn follow(board: &mut Board<'_>, controller: &Controller, subset: &str, wanted: Phase) -> Result<bool, Failure> {
    let (begin, [live, plain]) = (Instant::now(), PACE);
    let mut ticks = tokio::time::interval(if board.live() { live } else { plain });
    while begin.elapsed() < LONGEST_ACT {
        ticks.tick().await;
        if controller.has_ended() {
            return Err(Failure::new(Exit::Error, "the controller has ended", ""));
        }
        let status = board.draw();
        if is_about(&status, subset) && has_ended(&status) {
            board.clear();
            return Ok(status.phase == Some(wanted));
        }
    }
    board.clear();
    Ok(false)
}

/// Whether the status speaks of this version.
fn is_about(status: &RolloutStatus, subset: &str) -> bool {
    status.decision.as_ref().and_then(|d| d.canary.as_ref()).is_some_and(|c| c.subset == subset)
}

fn has_ended(status: &RolloutStatus) -> bool {
    matches!(status.phase, Some(Phase::Promoted | Phase::RolledBack | Phase::Aborted | Phase::Invalid))
}

fn intro(world: &World, kubeconfig: &Kubeconfig) -> String {
    let file = kubeconfig.0.display();
    format!(
        "A Kubernetes API, an Istio mesh, traffic and a Prometheus in this process;\nthe controller is the true one.\n\n  From a second \
         terminal:\n    export KUBECONFIG={file}\n    kubectl get rollouts.haldane.dev,virtualservices,pods -n {NAMESPACE}\n    kubectl \
         describe rollouts.haldane.dev {APP} -n {NAMESPACE}\n    haldane status {APP} -n {NAMESPACE}\n    haldane abort {APP} -n \
         {NAMESPACE} --reason 'I say so'\n  Prometheus: {}\n",
        world.prometheus().url()
    )
}

/// The alert, as the webhook got it.
async fn alert(world: &World) -> String {
    let rolled_back = || {
        let received = world.alerts().received();
        received.into_iter().rev().map(|d| d.text()).find(|text| text.to_lowercase().contains("rolled back"))
    };
    let mut count = world.alerts().subscribe();
    let deadline = tokio::time::sleep(Duration::from_secs(10));
    tokio::pin!(deadline);
    loop {
        if let Some(text) = rolled_back() {
            let lines: String = text.lines().map(|line| screen::row("", line)).collect();
            return format!("\nThe alert, as the webhook received it:\n{lines}");
        }
        tokio::select! {
            () = &mut deadline => return "\nNo alert has arrived within 10 s.\n".into(),
            _ = count.changed() => {}
        }
    }
}

fn summary(ended: &Ended, output: &Output) -> String {
    let word = |good: bool, yes: &str| {
        if good { output.paint(Tone::Good, yes) } else { output.paint(Tone::Bad, "NOT AS IT SHOULD") }
    };
    format!(
        "\n  {APP} v2   5 -> 20 -> 50 -> 100 %   {}\n  {APP} v3   5 %                     {}: all 200, predictions shifted\n  {} s \
         in all\n",
        word(ended.promoted, "PROMOTED"),
        word(ended.rolled_back, "ROLLED BACK"),
        ended.seconds
    )
}

fn refused(error: kube::Error) -> Failure {
    Failure::new(Exit::Error, format!("the simulated API server refuses the Rollout: {error}"), "")
}

/// The kubeconfig for a second terminal; the file goes with it.
struct Kubeconfig(PathBuf);

impl Kubeconfig {
    fn write(world: &World) -> Result<Self, Failure> {
        let port = world.api().url().rsplit(':').next().unwrap_or_default().to_owned();
        let path = std::env::temp_dir().join(format!("haldane-demo-{port}.kubeconfig"));
        let cannot = |e: std::io::Error| Failure::new(Exit::Error, format!("cannot write {}: {e}", path.display()), "set TMPDIR");
        // A file of that name is from a demo that was killed. `create_new` follows no link.
        let _ = std::fs::remove_file(&path);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(cannot)?;
        file.write_all(world.kubeconfig().as_bytes()).map_err(cannot)?;
        Ok(Self(path))
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The controller, as `haldane controller` runs it, over HTTP.
struct Controller {
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Controller {
    fn start(world: &World) -> Result<Self, Failure> {
        let mut config = world.kube_config();
        config.default_retry = false;
        let client = Client::try_from(config).map_err(refused)?;
        let handle = ConfigHandle::fixed(world.controller_config(LAG));
        let options = Options { namespaces: vec![NAMESPACE.into()], ..Options::default() };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let ended = controller::run(client, handle, options, async {
                let _ = stopped.await;
            });
            if let Err(error) = ended.await {
                tracing::error!(%error, "the controller has ended");
            }
        });
        Ok(Self { stop, task })
    }

    fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn the_manifest_of_the_demo_has_no_fault() {
        let rollout: Rollout = serde_yaml::from_str(MANIFEST).unwrap();
        let plan = Plan::parse(&rollout.spec).unwrap();
        assert_eq!(plan.steps.iter().map(|s| s.split.weight).collect::<Vec<_>>(), [5, 20, 50, 100]);
        assert_eq!(plan.analysis.metrics.len(), 3);
    }
}
