//! Whatever is scraped, missed, restarted, doubled or late: no more is counted than was served.

use proptest::prelude::*;

use super::*;

proptest! {
    /// Whatever is scraped or missed, all windows together never hold more than the counters gained, and of both arms the same looks.
    #[test]
    fn no_request_is_counted_twice(gains in prop::collection::vec((0u32..50, 0u32..50, any::<bool>(), any::<bool>()), 1..40)) {
        let mut tracker = tracker();
        let scope = scope();
        let (mut v1, mut v2) = (1000.0, 100.0);
        let (mut seen1, mut seen2) = ((-1, v1), (-1, v2));
        tracker.look(&plain(0, v1, v2), &scope, t(0));
        let (mut sum1, mut sum2) = (0, 0);
        let mut all_counted = true;
        for (index, (a, b, scraped1, scraped2)) in gains.iter().enumerate() {
            let at = 30 * (index as i64 + 1);
            v1 += f64::from(*a);
            v2 += f64::from(*b);
            if *scraped1 { seen1 = (at - 1, v1); }
            if *scraped2 { seen2 = (at - 1, v2); }
            let now = reading(vec![requests("v1", "200", &[seen1]), requests("v2", "200", &[seen2])], vec![up("v1", &[(seen1.0, 1.0)]), up("v2", &[(seen2.0, 1.0)])]);
            match tracker.look(&now, &scope, t(at)) {
                Outcome::Counted(deltas) => {
                    sum1 += deltas.requests(Side::Stable);
                    sum2 += deltas.requests(Side::Canary);
                    prop_assert!(deltas.end.duration_since(deltas.start) <= SignedDuration::from_secs(300));
                }
                Outcome::Baseline => all_counted = false,
                Outcome::Dropped(_) => {}
            }
            prop_assert!(sum1 as f64 <= v1 - 1000.0 && sum2 as f64 <= v2 - 100.0);
            if all_counted && *scraped1 && *scraped2 {
                prop_assert_eq!((sum1 as f64, sum2 as f64), (v1 - 1000.0, v2 - 100.0), "everything up to a complete look is counted once");
            }
        }
    }
}

/// What happens to the canary's pod, or to what the store says of it, before a scrape.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Nothing,
    /// The process restarts.
    Restart,
    /// The store answers one less for this sample of all requests, or of the errors.
    Dip(bool),
    /// The proxy forgets the errors, if there was none for three scrapes.
    Forget,
    /// The scrape fails.
    Missed,
    /// All series get another label from here on.
    Rename,
    /// The store does not answer these series at the look after this scrape.
    Hidden,
    /// The newest sample comes after the look.
    Late,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => Just(Event::Nothing),
        1 => Just(Event::Restart),
        2 => any::<bool>().prop_map(Event::Dip),
        2 => Just(Event::Forget),
        1 => Just(Event::Missed),
        1 => Just(Event::Rename),
        1 => Just(Event::Hidden),
        2 => Just(Event::Late),
    ]
}

/// One pod's counters of requests and errors as the store has them.
#[derive(Default)]
struct Stored {
    /// Requests and errors of the process. No errors: the series does not exist.
    now: [f64; 2],
    idle: u32,
    served: [f64; 2],
    label: usize,
    series: BTreeMap<(usize, bool), Vec<(i64, f64)>>,
    ups: Vec<(i64, f64)>,
}

impl Stored {
    fn scrape(&mut self, second: i64, gain: [u32; 2], event: Event) {
        match event {
            Event::Restart => self.now = [0.0; 2],
            Event::Forget if self.idle >= 3 => self.now[1] = 0.0,
            Event::Rename => self.label += 1,
            _ => {}
        }
        for (which, gain) in gain.into_iter().enumerate() {
            self.now[which] += f64::from(gain);
            self.served[which] += f64::from(gain);
        }
        self.idle = if gain[1] > 0 { 0 } else { self.idle + 1 };
        self.ups.push((second, f64::from(u8::from(event != Event::Missed))));
        if event == Event::Missed {
            return;
        }
        for errors in [false, true] {
            let value = self.now[usize::from(errors)];
            let value = if event == Event::Dip(errors) { (value - 1.0).max(0.0) } else { value };
            if self.now[usize::from(errors)] > 0.0 {
                self.series.entry((self.label, errors)).or_default().push((second, value));
            }
        }
    }

    /// What is answered at this second, of the six seconds before.
    fn answer(&self, version: &str, second: i64, event: Event) -> (Vec<Series>, Vec<(i64, f64)>) {
        let newest = if event == Event::Late { second - 1 } else { second };
        let within = |samples: &[(i64, f64)]| -> Vec<(i64, f64)> {
            samples.iter().filter(|(at, _)| *at > second - 6 && *at <= newest).copied().collect()
        };
        let all = self.series.iter().filter(|(_, samples)| event != Event::Hidden && !within(samples).is_empty());
        let series = all.map(|((label, errors), samples)| {
            let mut series = requests(version, if *errors { "500" } else { "200" }, &within(samples));
            series.labels.insert("build", label.to_string());
            series
        });
        (series.collect(), within(&self.ups))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Restarts, dips, evictions, renamed labels, gaps, hidden and late samples: what is counted was served, and where nothing of that
    /// happened it is all of it.
    #[test]
    fn no_more_is_counted_than_was_served(scrapes in prop::collection::vec((0u32..40, 0u32..3, event()), 20..120)) {
        let mut tracker = tracker();
        let mut pods = [Stored::default(), Stored::default()];
        pods.iter_mut().for_each(|pod| pod.now = [5_000.0, 20.0]);
        let mut sums = [(0_u64, 0_u64); 2];
        let mut at_begin: Option<[[f64; 2]; 2]> = None;
        let quiet = scrapes.iter().all(|(_, _, event)| matches!(event, Event::Nothing | Event::Late));
        for (second, (requests, errors, event)) in (1..).zip(&scrapes) {
            pods[0].scrape(second, [20, 1], Event::Nothing);
            pods[1].scrape(second, [*requests, *errors], *event);
            if second % 5 != 0 {
                continue;
            }
            let answers = [("v1", Event::Nothing), ("v2", *event)].into_iter().zip(&pods).map(|((version, event), pod)| pod.answer(version, second, event));
            let (series, ups): (Vec<_>, Vec<_>) = answers.unzip();
            let ups = vec![up("v1", &ups[0]), up("v2", &ups[1])];
            match tracker.look(&reading(series.concat(), ups), &scope(), t(second)) {
                Outcome::Baseline => at_begin = at_begin.or(Some([pods[0].served, pods[1].served])),
                counted @ Outcome::Counted(_) => {
                    for (sum, window) in sums.iter_mut().zip(events(&counted)) {
                        *sum = (sum.0 + window.0, sum.1 + window.1);
                    }
                }
                Outcome::Dropped(_) => {}
            }
            let Some(begin) = at_begin else { continue };
            for ((pod, begin), (total, bad)) in pods.iter().zip(begin).zip(sums) {
                // A late or dipping sample of the first look counts from the one before it; a series with up to four events that gets another
                // label is not known again, because a value so small says nothing about where it came from.
                let renames = scrapes.iter().take(second as usize).filter(|(_, _, event)| *event == Event::Rename).count();
                let slack = [80.0, 4.0 + 4.0 * renames as f64];
                let served = [pod.served[0] - begin[0] + slack[0], pod.served[1] - begin[1] + slack[1]];
                prop_assert!((total - bad) as f64 <= served[0] && bad as f64 <= served[1], "{total} and {bad} of {served:?} at {second}");
            }
            if quiet && *event == Event::Nothing {
                let begin = begin[1];
                let counted = sums[1];
                prop_assert!((counted.0 - counted.1) as f64 >= pods[1].served[0] - begin[0], "{counted:?}");
            }
        }
    }
}
