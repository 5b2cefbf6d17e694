//! `haldane demo`: the true controller against a simulated cluster, mesh and Prometheus, in one process. A good version is promoted, then
//! a bad one is rolled back, by the strategy that was asked for.

mod acts;
mod board;

use std::{io::Write, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde::Serialize;
use serde_json::json;
use tokio::{sync::oneshot, time::Instant};

use super::{
    Exit, Failure,
    output::{Output, Tone},
};
use crate::{
    api::{Phase, Reason, Rollout, RolloutStatus},
    clock::Clock,
    command::{Request, Verb, annotation},
    config::ConfigHandle,
    controller::{self, Options},
    sim::{APP, NAMESPACE, RouteKind, World, WorldConfig},
    view::wrapped,
};
use acts::{Act, Begin, Story};
use board::Board;

/// How far behind now a window ends: one scrape.
const LAG: Duration = Duration::from_secs(1);
/// An act that takes longer has gone wrong.
const LONGEST_ACT: Duration = Duration::from_secs(240);
/// How often the board is drawn, on a terminal and elsewhere.
const PACE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How the versions are rolled out
    #[arg(long, value_name = "STRATEGY", value_enum, default_value_t)]
    strategy: Story,
    /// What splits the requests, and what tells the versions apart
    #[arg(long, value_name = "ROUTE", value_enum, default_value_t)]
    route: Route,
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

/// What splits the requests, and what tells the versions apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Route {
    /// A VirtualService and the subsets of one Service
    #[default]
    Virtualservice,
    /// A VirtualService and a Service for each version
    Services,
    /// An HTTPRoute and a Service for each version
    Httproute,
    /// A GRPCRoute and a Service for each version
    Grpcroute,
}

impl Route {
    fn kind(self) -> RouteKind {
        match self {
            Self::Virtualservice => RouteKind::Subsets,
            Self::Services => RouteKind::Services,
            Self::Httproute => RouteKind::HttpRoute,
            Self::Grpcroute => RouteKind::GrpcRoute,
        }
    }
}

/// How the demo ended, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    /// Some version was.
    promoted: bool,
    /// Some version was.
    rolled_back: bool,
    acts: Vec<ActEnded>,
    seconds: u64,
}

/// How one act ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ActEnded {
    canary: &'static str,
    /// Absent: it had not ended after four minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    as_it_should: bool,
}

pub(super) async fn run(args: &DemoArgs, clock: Clock, output: &Output) -> Result<Exit, Failure> {
    let begin = Instant::now();
    let mut config = WorldConfig::new(clock, args.seed);
    config.rps = f64::from(args.rps);
    config.cohorts = args.strategy.cohorts();
    config.route = args.route.kind();
    let world = World::start(config).await.map_err(|e| Failure::new(Exit::Error, format!("cannot listen on loopback: {e}"), ""))?;
    let kubeconfig = Kubeconfig::write(&world)?;
    let controller = Controller::start(&world)?;
    let mut board = Board::new(&world, output, clock);
    board.say(&intro(&world, args.route.kind(), &kubeconfig));
    let acts = args.strategy.acts();
    let played = tokio::select! {
        played = play(args, &acts, &world, &controller, &mut board) => played?,
        () = super::controller::signal() => return Err(Failure::new(Exit::Error, "stopped before the end", "")),
    };
    let any = |phase: Phase| played.iter().any(|act| act.phase == Some(phase) && act.as_it_should);
    let all = played.len() == acts.len() && played.iter().all(|act| act.as_it_should);
    let seconds = begin.elapsed().as_secs();
    let ended = Ended { promoted: any(Phase::Promoted), rolled_back: any(Phase::RolledBack), acts: played, seconds };
    output.data("Demo", &ended, || summary(&acts, &ended, output))?;
    if args.keep {
        output.hint("\nthe world runs until Ctrl-C");
        super::controller::signal().await;
    }
    controller.stop().await;
    if all {
        return Ok(Exit::Reached);
    }
    Err(Failure::new(Exit::Error, "the demo did not end as it should", "haldane demo --seed NUMBER, with another number"))
}

/// All acts, up to the first that does not end as it should.
async fn play(
    args: &DemoArgs,
    acts: &[Act],
    world: &World,
    controller: &Controller,
    board: &mut Board<'_>,
) -> Result<Vec<ActEnded>, Failure> {
    let kind = args.route.kind();
    let mut rollout: Rollout =
        serde_yaml::from_str(&args.strategy.manifest(kind)).map_err(|e| Failure::new(Exit::Error, e.to_string(), ""))?;
    let mut played = Vec::new();
    for (number, act) in (1..).zip(acts) {
        board.say(&format!("\n{number}. {}\n", act.title));
        let [stable, canary] = act.arms;
        let epoch = world.status().epoch;
        match &act.begin {
            Begin::Deploy(behaviour) => {
                world.deploy(canary, behaviour.as_ref().clone());
                rollout.spec.canary = rollout.spec.canary.destination().other(kind.arm(APP, canary)).into();
                world.apply(&rollout).await.map_err(refused)?;
            }
            Begin::Command(verb, reason) => order(world, *verb, None, reason).await?,
        }
        board.compare(stable, canary);
        let phase = follow(act, (kind, epoch), world, board, controller).await?;
        let seen = world.served().get(canary).is_some_and(|served| served.requests > 0);
        let as_it_should = phase == Some(act.ends) && !(act.unseen && seen);
        played.push(ActEnded { canary, phase, as_it_should });
        if !as_it_should {
            break;
        }
        if matches!(act.ends, Phase::RolledBack | Phase::Failed) && number == acts.len() {
            board.say(&alert(world, &kind.arm(APP, canary), board.columns()).await);
        }
    }
    Ok(played)
}

/// A command, as the command line writes it.
async fn order(world: &World, verb: Verb, step: Option<String>, reason: &str) -> Result<(), Failure> {
    let status = world.status();
    let uid = world.rollout().and_then(|rollout| rollout.metadata.uid);
    let request = Request {
        id: Some(format!("{verb}-{}", status.epoch)),
        uid,
        epoch: Some(status.epoch),
        step,
        reason: Some(reason.to_owned()),
        by: Some("the demo".to_owned()),
        force: false,
    };
    let (key, value) = annotation(verb, &request);
    let api: Api<Rollout> = Api::default_namespaced(world.client());
    let patch = json!({ "metadata": { "annotations": { key: value } } });
    api.patch(APP, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ()).map_err(refused)
}

/// Shows an act until it has ended, and says how. A question for a person is answered; the canary turns when its step has come.
async fn follow(
    act: &Act,
    (kind, epoch): (RouteKind, i64),
    world: &World,
    board: &mut Board<'_>,
    controller: &Controller,
) -> Result<Option<Phase>, Failure> {
    let (begin, [live, plain]) = (Instant::now(), PACE);
    let mut ticks = tokio::time::interval(if board.live() { live } else { plain });
    let (canary, mut turns) = (act.arms[1], act.turns.as_ref());
    while begin.elapsed() < LONGEST_ACT {
        ticks.tick().await;
        if controller.has_ended() {
            return Err(Failure::new(Exit::Error, "the controller has ended", ""));
        }
        let status = board.draw();
        if let Some((_, behaviour)) = turns.take_if(|(step, _)| status.step.as_ref().is_some_and(|now| now.name == *step)) {
            world.behave(canary, behaviour.clone());
        }
        if let Some(step) = asked(&status) {
            board.say(&format!("          $ haldane promote {APP} -n {NAMESPACE} --step {step}\n"));
            order(world, Verb::Promote, Some(step), "looks good").await?;
        }
        if status.epoch > epoch && is_about(&status, &kind.arm(APP, canary)) && has_ended(&status) {
            board.end();
            return Ok(status.phase);
        }
    }
    board.clear();
    Ok(None)
}

/// The step that waits for a person, once for each question.
fn asked(status: &RolloutStatus) -> Option<String> {
    let asked = status.decision.as_ref().filter(|decision| decision.reason == Reason::ApprovalRequired)?;
    let answered = status.handled.get(Verb::Promote.name()).is_some_and(|id| *id == format!("{}-{}", Verb::Promote, status.epoch));
    let command = asked.next.split("--step ").nth(1)?;
    let step = command.split(['`', ' ']).next()?;
    (!answered && status.phase == Some(Phase::Paused)).then(|| step.to_owned())
}

/// Whether the status speaks of this version.
fn is_about(status: &RolloutStatus, version: &str) -> bool {
    status.decision.as_ref().and_then(|d| d.canary.as_ref()).is_some_and(|c| c.name == version)
}

fn has_ended(status: &RolloutStatus) -> bool {
    matches!(status.phase, Some(Phase::Promoted | Phase::Passed | Phase::Failed | Phase::RolledBack | Phase::Aborted | Phase::Invalid))
}

fn intro(world: &World, kind: RouteKind, kubeconfig: &Kubeconfig) -> String {
    let (file, routes) = (kubeconfig.0.display(), kind.plural());
    format!(
        "A Kubernetes API, an Istio mesh, traffic and a Prometheus in this process;\nthe controller is the true one.\n\n  From a second \
         terminal:\n    export KUBECONFIG={file}\n    kubectl get rollouts.haldane.dev,{routes},pods -n {NAMESPACE}\n    kubectl \
         describe rollouts.haldane.dev {APP} -n {NAMESPACE}\n    haldane watch {APP} -n {NAMESPACE}\n    haldane abort {APP} -n \
         {NAMESPACE} --reason 'I say so'\n  Prometheus: {}\n",
        world.prometheus().url()
    )
}

/// The alert, as the webhook got it.
async fn alert(world: &World, canary: &str, columns: usize) -> String {
    let begins = ["Rolled back", "Failed"].map(|word| format!("{word}: {NAMESPACE}/{APP} {canary}"));
    let taken_back = || {
        let received = world.alerts().received();
        received.into_iter().rev().map(|d| d.text()).find(|text| begins.iter().any(|begin| text.contains(begin)))
    };
    let mut count = world.alerts().subscribe();
    let deadline = tokio::time::sleep(Duration::from_secs(10));
    tokio::pin!(deadline);
    loop {
        if let Some(text) = taken_back() {
            let first = wrapped("", text.lines().next().unwrap_or_default(), columns);
            return format!("\nThe webhook received this, and the rest of the above:\n{first}");
        }
        tokio::select! {
            () = &mut deadline => return "\nNo alert has arrived within 10 s.\n".into(),
            _ = count.changed() => {}
        }
    }
}

fn summary(acts: &[Act], ended: &Ended, output: &Output) -> String {
    let width = acts.iter().map(|act| act.path.chars().count()).max().unwrap_or_default();
    let mut text = "\n".to_owned();
    for (act, played) in acts.iter().zip(&ended.acts) {
        let word = match (played.as_it_should, act.ends) {
            (false, _) => output.paint(Tone::Bad, "UNEXPECTED RESULT"),
            (true, Phase::Promoted) => output.paint(Tone::Good, "PROMOTED"),
            (true, Phase::Passed) => output.paint(Tone::Good, "PASSED"),
            (true, Phase::Failed) => output.paint(Tone::Good, "FAILED"),
            (true, _) => output.paint(Tone::Good, "ROLLED BACK"),
        };
        let remark = if played.as_it_should { act.remark } else { "" };
        text += &format!("  {APP} {}   {:width$}   {word}{remark}\n", played.canary, act.path);
    }
    text + &format!("  {} s in all\n", ended.seconds)
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
