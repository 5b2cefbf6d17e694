//! Many independent pieces of work on all cores, in order.

use std::{
    num::NonZero,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

/// How often the caller hears how far it is.
const PACE: Duration = Duration::from_millis(200);

/// The results of `work(0)` to `work(count - 1)`, in that order however many cores there are. `progress` hears how many are done, now
/// and then.
pub fn all_of<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync, mut progress: impl FnMut(usize)) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get).min(count.max(1));
    let (next, done, gone) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let results: Mutex<Vec<Option<T>>> = Mutex::new((0..count).map(|_| None).collect());
    let one = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            let result = work(at);
            if let Some(slot) = results.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
                *slot = Some(result);
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let caller = thread::current();
        let waiting: Vec<_> = (0..cores).map(|_| scope.spawn(one)).collect();
        let gone = &gone;
        scope.spawn(move || {
            // A worker that panicked is reported by the scope.
            waiting.into_iter().for_each(|worker| drop(worker.join()));
            gone.store(true, Ordering::Release);
            caller.unpark();
        });
        while !gone.load(Ordering::Acquire) {
            thread::park_timeout(PACE);
            progress(done.load(Ordering::Relaxed));
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_complete() {
        let mut heard = 0;
        let squares = all_of(1000, |at| at * at, |done| heard = heard.max(done));
        assert_eq!(squares, (0..1000).map(|at| at * at).collect::<Vec<_>>());
        assert!(heard <= 1000);
        assert!(all_of(0, |at| at, |_| {}).is_empty());
    }
}
