//! How long a pod takes for its answers, by how many requests it gets.

/// Busiest that a pod is taken to be: beyond, requests would pile up without end.
const BUSIEST: f64 = 0.95;
/// Loads, as parts of the usual one, at which a cache misses twice as often as one that is always asked: a quarter.
const HALF_WARM: f64 = 0.25;

/// Durations as a function of the load per pod, 1 being the usual one: stable's before a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// How much longer a pod without any load takes than one with the usual load: its caches are cold. 0: load makes nothing colder.
    pub cold_cache: f64,
    /// Part of the time that a pod is busy at the usual load: requests queue, or wait for larger batches. 0: nothing queues.
    pub queueing: f64,
}

impl Load {
    /// Durations at this load, as a multiple of those at the usual one.
    pub fn slower(&self, load: f64) -> f64 {
        let cold = |load: f64| HALF_WARM / (HALF_WARM + load);
        let misses = (cold(load) - cold(1.0)) / (1.0 - cold(1.0));
        let waits = (1.0 - self.queueing) / (1.0 - (self.queueing * load).min(BUSIEST));
        (1.0 + self.cold_cache * misses) * waits
    }
}

/// A pod that is slower at first, and less so with time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColdStart {
    /// Durations of its first requests, as a multiple of later ones.
    pub latency: f64,
    /// Seconds in which the excess falls to 1/e.
    pub fades: f64,
}

impl ColdStart {
    /// Durations so many seconds after its first request, as a multiple of later ones.
    pub fn slower(&self, seconds: f64) -> f64 {
        1.0 + (self.latency - 1.0) * (-seconds.max(0.0) / self.fades).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_with_little_to_do_is_colder_and_one_with_much_to_do_queues() {
        let (cold, queue) = (Load { cold_cache: 0.5, queueing: 0.0 }, Load { cold_cache: 0.0, queueing: 0.5 });
        assert_eq!((cold.slower(1.0), queue.slower(1.0), Load::default().slower(0.1)), (1.0, 1.0, 1.0));
        assert!((cold.slower(0.0) - 1.5).abs() < 1e-12 && cold.slower(0.05) > 1.35 && cold.slower(3.0) < 1.0);
        assert!((queue.slower(0.0) - 0.5).abs() < 1e-12 && (queue.slower(1.5) - 2.0).abs() < 1e-12);
        assert!(queue.slower(100.0) <= 10.0 + 1e-9, "it does not wait for ever");
    }

    #[test]
    fn a_cold_start_fades() {
        let start = ColdStart { latency: 2.0, fades: 60.0 };
        assert_eq!(start.slower(0.0), 2.0);
        assert!((start.slower(60.0) - 1.368).abs() < 1e-3 && start.slower(600.0) < 1.001);
    }
}
