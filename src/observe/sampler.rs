//! One task for each rollout under way: asks Prometheus at window ends, at its own pace, and shows the newest [`Look`].
//!
//! A pass of the controller never waits for it: it reads [`Sampler::newest`], and is woken when there is a new one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::{sync::watch, task::AbortHandle};

use crate::clock::Clock;
use crate::observe::prometheus::Prometheus;
use crate::record::Window;
use crate::seen::{Brief, Look};

mod age;
mod ask;
mod calibrate;
pub mod checkup;
mod preflight;
pub mod record;
mod run;
mod thresholds;
mod unanswered;

use run::{Answer, Run};

/// Counted windows that are kept until they are asked for.
const MOST_COUNTED: usize = 256;

/// Where the metrics come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The provider that the Rollout names.
    Found(Arc<Prometheus>),
    /// It is not in the configuration.
    NotFound {
        /// Name in the Rollout.
        name: String,
        /// Names in the configuration.
        known: Vec<String>,
    },
    /// It is there, and its settings cannot be used.
    Unusable {
        /// Name in the Rollout.
        name: String,
        /// The setting, and what is wrong with it.
        why: String,
    },
}

impl Source {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Found(one), Self::Found(two)) => Arc::ptr_eq(one, two),
            (Self::NotFound { name, known }, Self::NotFound { name: other, known: others }) => name == other && known == others,
            (Self::Unusable { name, why }, Self::Unusable { name: other, why: now }) => name == other && why == now,
            _ => false,
        }
    }
}

/// Samples the metrics of one run of one rollout until it is dropped. The evidence of the first brief is where it continues from; a new run
/// (a start, a retry) gets a new sampler.
#[derive(Debug)]
pub struct Sampler {
    brief: watch::Sender<Brief>,
    source: watch::Sender<Source>,
    looks: watch::Receiver<Option<Look>>,
    counted: Arc<Mutex<Vec<Window>>>,
    asked: Arc<Mutex<Option<Asked>>>,
    task: AbortHandle,
}

/// When the newest look was asked for, and when it was judged, by the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What was asked: `Look`, `Glance`, `Own` (users' queries) or `Preflight`.
    pub what: &'static str,
    /// When it was asked for.
    pub at: Timestamp,
    /// When the answer was there.
    pub answered: Timestamp,
    /// When it was judged.
    pub judged: Timestamp,
}

impl Sampler {
    /// Starts the task. `wake` is called after each new look. Must be called within a tokio runtime.
    pub fn spawn(source: Source, clock: Clock, brief: Brief, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let (brief, briefs) = watch::channel(brief);
        let (source, sources) = watch::channel(source);
        let (publish, looks) = watch::channel(None);
        let counted = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::new(Mutex::new(None));
        let (noted, newest) = (counted.clone(), asked.clone());
        let task = tokio::spawn(async move {
            work(clock, briefs, sources, |look, windows, asked| {
                note(&noted, windows);
                if let Some(asked) = asked {
                    let judged = Asked { judged: clock.now(), ..asked };
                    *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(judged);
                }
                publish.send_replace(Some(look));
                wake();
            })
            .await;
        });
        Self { brief, source, looks, counted, asked, task: task.abort_handle() }
    }

    /// Tells what is watched now: another step, other pods. The evidence in it is not news: it came from here.
    pub fn tell(&self, brief: Brief) {
        self.brief.send_if_modified(|known| {
            let brief = Brief { evidence: known.evidence.clone(), resume_after: known.resume_after, ..brief };
            let differs = *known != brief;
            *known = brief;
            differs
        });
    }

    /// Tells where the metrics come from now. Another provider is preflighted again.
    pub fn set_source(&self, source: Source) {
        self.source.send_if_modified(|known| {
            let differs = !known.is(&source);
            *known = source;
            differs
        });
    }

    /// The newest look, if there is one yet. Its `key` says to which step it belongs.
    pub fn newest(&self) -> Option<Look> {
        self.looks.borrow().clone()
    }

    /// The windows that were counted in steps and not asked for before.
    pub fn counted(&self) -> Vec<Window> {
        std::mem::take(&mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// When the newest look was asked for, unless somebody has been here since.
    pub fn asked(&self) -> Option<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A receiver that changes with every look.
    pub fn looks(&self) -> watch::Receiver<Option<Look>> {
        self.looks.clone()
    }

    /// False when the task has ended, which only a fault in it can bring about: start another one.
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps what nobody has asked for yet; the oldest go first.
fn note(counted: &Mutex<Vec<Window>>, windows: Vec<Window>) {
    let mut known = counted.lock().unwrap_or_else(PoisonError::into_inner);
    known.extend(windows);
    let more = known.len().saturating_sub(MOST_COUNTED);
    known.drain(..more);
}

/// Ends when the sampler is dropped.
async fn work(
    clock: Clock,
    mut briefs: watch::Receiver<Brief>,
    mut sources: watch::Receiver<Source>,
    publish: impl Fn(Look, Vec<Window>, Option<Asked>),
) {
    let first = briefs.borrow_and_update().clone();
    let mut source = sources.borrow_and_update().clone();
    let mut run = Run::new(first, clock.now());
    // Stable's past is asked for beside everything else: nothing waits for its turn.
    let mut past: Option<BoxFuture<'static, Answer>> = None;
    loop {
        let brief = briefs.borrow_and_update().clone();
        run.adopt(brief, clock.now());
        let now = sources.borrow_and_update().clone();
        if !source.is(&now) {
            (source, past) = (now, None);
            run.forget_provider();
        }
        let prometheus = match &source {
            Source::Found(prometheus) => prometheus.clone(),
            Source::NotFound { name, known } => {
                if run.provider_not_found(name, known) {
                    show(&mut run, &publish);
                }
                if changed(&mut briefs, &mut sources, None).await { continue } else { return }
            }
            Source::Unusable { name, why } => {
                if run.provider_unusable(name, why) {
                    show(&mut run, &publish);
                }
                if changed(&mut briefs, &mut sources, None).await { continue } else { return }
            }
        };
        let Some((job, mut wait)) = run.next(&prometheus, &clock) else {
            if run.nothing_to_measure() {
                show(&mut run, &publish);
            }
            if changed(&mut briefs, &mut sources, None).await { continue } else { return }
        };
        if let Some((job, later)) = run.next_of_past(&prometheus, &clock).filter(|_| past.is_none()) {
            if later.is_zero() {
                past = Some(run.ask(&prometheus, &clock, job).boxed());
            } else {
                wait = wait.min(later);
            }
        }
        if !wait.is_zero() {
            tokio::select! {
                biased;
                answer = of(&mut past) => {
                    past = None;
                    if run.take(answer, &prometheus, &clock) {
                        show(&mut run, &publish);
                    }
                }
                goes_on = changed(&mut briefs, &mut sources, Some(wait)) => if !goes_on { return },
            }
            continue;
        }
        let (key, at) = (run.key(), clock.now());
        let asked = run.ask(&prometheus, &clock, job);
        tokio::pin!(asked);
        let mut piece = None;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut asked => break Some(answer),
                answer = of(&mut past) => (past, piece) = (None, Some(answer)),
                told = briefs.changed() => match told {
                    Err(_) => return,
                    // The answer would be of another step. Any other change is taken up after it.
                    Ok(()) if briefs.borrow().key != key => break None,
                    Ok(()) => {}
                },
            }
        };
        let answered = clock.now();
        if answer.is_none() {
            briefs.mark_changed();
        }
        let mut shows = false;
        for answer in piece.into_iter().chain(answer) {
            shows |= run.take(answer, &prometheus, &clock);
        }
        if shows {
            run.asked = Some(Asked { what: job.name(), at, answered, judged: answered });
            show(&mut run, &publish);
        }
    }
}

/// What was asked of the past, if anything was.
async fn of(past: &mut Option<BoxFuture<'static, Answer>>) -> Answer {
    match past {
        Some(past) => past.await,
        None => std::future::pending().await,
    }
}

fn show(run: &mut Run, publish: &impl Fn(Look, Vec<Window>, Option<Asked>)) {
    let look = run.look();
    let windows = run.traced(&look);
    publish(look, windows, run.asked.take());
}

/// Waits for a change, at most so long. False when nothing can change any more.
async fn changed(briefs: &mut watch::Receiver<Brief>, sources: &mut watch::Receiver<Source>, most: Option<Duration>) -> bool {
    let sleep = async {
        match most {
            // In pieces: the wall clock may be set meanwhile.
            Some(most) => tokio::time::sleep(most.min(Duration::from_secs(30))).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        told = briefs.changed() => told.is_ok(),
        told = sources.changed() => told.is_ok(),
        () = sleep => true,
    }
}

#[cfg(test)]
mod tests;
