//! Whether looks keep up with their windows, and what would let them.

use std::time::Duration;

/// How much of the newest look counts.
const NEWEST: f64 = 0.3;
/// Parts of a window: from here on it is said that looks take long, and no longer below the other.
const LONG: f64 = 0.8;
const SHORT: f64 = 0.5;
/// Slots beyond those that would just do, and what their number is a multiple of: what is said changes seldom.
const SPARE: f64 = 1.25;
const EVEN: u32 = 4;

/// How long a look takes, from its first question to its last answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Keeping {
    took: Option<f64>,
    waited: f64,
    long: bool,
}

impl Keeping {
    /// Takes what one look took, and what of that it waited for its turns.
    pub(super) fn take(&mut self, took: Duration, waited: Duration, interval: Duration) {
        let part = |seconds: Duration| seconds.as_secs_f64() / interval.as_secs_f64().max(0.001);
        let mean = self.took.map_or(part(took), |before| before + NEWEST * (part(took) - before));
        self.waited = self.took.map_or(part(waited), |_| self.waited + NEWEST * (part(waited) - self.waited));
        self.took = Some(mean);
        self.long = mean > LONG || (self.long && mean > SHORT);
    }

    /// What would help, where looks take nearly as long as a window. `now` questions are in flight at once, `most` where the store refuses none.
    pub(super) fn note(&self, provider: &str, [now, most]: [u32; 2]) -> Option<String> {
        let took = self.took.filter(|_| self.long)?;
        if self.waited < took / 2.0 {
            return Some(format!(
                "a look takes nearly as long as a window, or longer: provider {provider} answers slowly; set a longer analysis.interval, or give it more room"
            ));
        }
        if now < most {
            return Some(format!(
                "a look takes nearly as long as a window, or longer: provider {provider} refuses more questions at once (HTTP 429 or 503); set a longer \
                 analysis.interval, or raise its limits"
            ));
        }
        // As many looks in one window take so many slots: their time goes down as slots go up.
        let enough = (f64::from(most) * took * SPARE).ceil() as u32; // a float cast saturates
        Some(format!(
            "a look takes nearly as long as a window, or longer, most of it waiting for its turn: set `concurrency: {}` for provider {provider} in \
             the controller's configuration (it is {most})",
            enough.div_ceil(EVEN).max(1) * EVEN
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeping(looks: &[(u64, u64)]) -> Keeping {
        let mut keeping = Keeping::default();
        for (took, waited) in looks {
            keeping.take(Duration::from_secs(*took), Duration::from_secs(*waited), Duration::from_secs(30));
        }
        keeping
    }

    #[test]
    fn looks_that_wait_for_their_turn_are_answered_with_the_concurrency_to_set() {
        assert_eq!(keeping(&[(2, 1); 20]).note("default", [8, 8]), None);
        let late = keeping(&[(50, 49); 20]).note("default", [8, 8]).unwrap();
        assert!(late.contains("set `concurrency: 20` for provider default") && late.contains("(it is 8)"), "{late}");
    }

    #[test]
    fn one_long_look_says_nothing_and_the_words_do_not_come_and_go() {
        let mut keeping = keeping(&[(2, 1), (2, 1), (40, 39)]);
        assert_eq!(keeping.note("default", [8, 8]), None);
        (0..20).for_each(|_| keeping.take(Duration::from_secs(29), Duration::from_secs(28), Duration::from_secs(30)));
        let said = keeping.note("default", [8, 8]);
        keeping.take(Duration::from_secs(20), Duration::from_secs(19), Duration::from_secs(30));
        assert!(said.is_some() && keeping.note("default", [8, 8]).is_some());
        (0..20).for_each(|_| keeping.take(Duration::from_secs(2), Duration::ZERO, Duration::from_secs(30)));
        assert_eq!(keeping.note("default", [8, 8]), None);
    }

    #[test]
    fn more_slots_are_no_help_where_the_store_refuses_or_is_slow_itself() {
        let refused = keeping(&[(50, 49); 20]).note("default", [2, 8]).unwrap();
        assert!(refused.contains("HTTP 429 or 503") && !refused.contains("concurrency"), "{refused}");
        let slow = keeping(&[(50, 1); 20]).note("default", [8, 8]).unwrap();
        assert!(slow.contains("answers slowly") && !slow.contains("concurrency"), "{slow}");
    }
}
