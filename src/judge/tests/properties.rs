//! What holds for any counts.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pods_that_are_merged_before_they_are_counted_change_nothing(
        windows in prop::collection::vec(prop::collection::vec((0u64..3000, 0.0..=0.05f64), 4), 1..20),
    ) {
        use crate::counts::{Delta, Deltas, Family, Side};
        // Two pods of each arm, as the mesh counts them; and the same requests as if one pod of each arm had had them.
        let errors = [metrics().remove(0)];
        let (mut apart, mut merged) = (Evidence::new(&errors, 30.0), Evidence::new(&errors, 30.0));
        for evidence in [&mut apart, &mut merged] {
            evidence.calibrate(&errors, &history(120), &[step(0.05)], 2);
            evidence.begin_step(&errors, &step(0.05));
        }
        for (k, pods) in windows.iter().enumerate() {
            let counted = |of: &[(Side, &str, usize)]| {
                let delta = |side: Side, pod: &str, code: &str, count: u64| Delta {
                    family: Family::Requests,
                    side,
                    pod: pod.to_owned(),
                    labels: [("response_code".to_owned(), code.to_owned())].into(),
                    bounds: vec![f64::INFINITY],
                    counts: vec![count],
                };
                let both = of.iter().flat_map(|(side, pod, at)| {
                    let (n, p) = pods[*at];
                    let bad = (n as f64 * p) as u64;
                    [delta(*side, pod, "200", n - bad), delta(*side, pod, "503", bad)]
                });
                let deltas = Deltas { start: window(k as i64, Sample::new(), Sample::new()).start, end: window(k as i64, Sample::new(), Sample::new()).end, of: both.collect(), dips: 0, mixed: None };
                deltas.window(&errors, 0.05, [2, 2])
            };
            let names = [(Side::Stable, "a", 0), (Side::Stable, "b", 1), (Side::Canary, "c", 2), (Side::Canary, "d", 3)];
            apart.add(&errors, &step(0.05), &counted(&names));
            merged.add(&errors, &step(0.05), &counted(&names.map(|(side, _, at)| (side, if side == Side::Stable { "a" } else { "c" }, at))));
        }
        prop_assert_eq!(apart, merged);
    }

    #[test]
    fn merging_pods_and_adding_an_empty_class_change_nothing(
        counts in prop::collection::vec((0u64..3000, 0u64..3000, 0u64..50, 0u64..300, 0u64..300, 0u64..20), 1..30),
    ) {
        // Two pods that are summed before the window is built are the same window: only sums enter. An empty class adds a column of zeros.
        let (mut plain, mut with) = (calibrated(), calibrated());
        for (k, (a, b, c, d, e, f)) in counts.into_iter().enumerate() {
            let arm = |x: u64, y: u64, z: u64| {
                let classes = BTreeMap::from([("cat".to_owned(), x), ("dog".to_owned(), y), ("bird".to_owned(), z)]);
                let total = x + y + z;
                BTreeMap::from([("errorRate".to_owned(), Counts::Events { total, bad: z.min(total) }), ("drift".to_owned(), Counts::Classes(classes))])
            };
            let (stable, canary) = (arm(a, b, c), arm(d, e, f));
            let empty = |mut sample: Sample| {
                if let Some(Counts::Classes(map)) = sample.get_mut("drift") {
                    map.insert("fish".into(), 0);
                }
                sample
            };
            plain.add(&metrics(), &step(0.05), &window(k as i64, stable.clone(), canary.clone()));
            with.add(&metrics(), &step(0.05), &window(k as i64, empty(stable), empty(canary)));
        }
        prop_assert_eq!(plain, with);
    }

    #[test]
    fn counts_up_to_a_billion_leave_finite_evidence(
        counts in prop::collection::vec((0u64..1_000_000_000, 0.0..=1.0f64, 0u64..1_000_000_000, 0.0..=1.0f64), 1..40), history_windows in prop::sample::select(vec![0usize, 30]),
    ) {
        let mut evidence = Evidence::new(&metrics(), 30.0);
        evidence.calibrate(&metrics(), &history(history_windows), &[step(0.05), step(0.5)], 2);
        evidence.begin_step(&metrics(), &step(0.05));
        for (k, (a, p, b, q)) in counts.into_iter().enumerate() {
            let arm = |n: u64, p: f64| sample(n, p, p * 0.4, &[("cat", p), ("dog", 1.0 - p)]);
            evidence.add(&metrics(), &step(0.05), &window(k as i64, arm(a, p), arm(b, q)));
        }
        for terms in [step(0.05), step(1.0)] {
            evidence.begin_step(&metrics(), &terms);
            let judgement = evidence.told(&metrics(), &terms);
            prop_assert!(judgement.fail_evidence.is_finite());
            let json = serde_json::to_string(&evidence).unwrap();
            prop_assert_eq!(serde_json::from_str::<Evidence>(&json).unwrap(), evidence.clone());
            prop_assert!(serde_json::to_string(&judgement).is_ok());
        }
    }
}
