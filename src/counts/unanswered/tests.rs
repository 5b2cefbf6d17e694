use super::*;

fn t(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn series(flags: &str, instance: &str, samples: &[(i64, f64)]) -> Series {
    let code = if flags == "-" { "200" } else { "503" };
    let labels = [("response_flags", flags), ("response_code", code), ("instance", instance), ("destination_workload", "unknown")];
    Series { labels: labels.into(), samples: samples.iter().map(|(second, value)| (t(*second), *value)).collect() }
}

fn flags(of: &[(&str, u64)]) -> ByFlags {
    of.iter().map(|(flags, count)| ((*flags).to_owned(), *count)).collect()
}

#[test]
fn what_was_there_at_the_first_look_is_where_counting_goes_on_from_and_what_comes_later_began_at_zero() {
    let mut all = Unanswered::default();
    all.look(&[series("UH", "a", &[(0, 500.0)])], t(0));
    all.look(&[series("UH", "a", &[(30, 510.0)]), series("NC", "b", &[(30, 7.0)])], t(30));
    assert_eq!(all.between(t(0), t(30)), flags(&[("UH", 10), ("NC", 7)]));
    assert_eq!(all.between(t(30), t(60)), ByFlags::new());
}

#[test]
fn a_window_over_several_looks_has_what_all_of_them_found() {
    let mut all = Unanswered::default();
    for (at, value) in [(0, 1.0), (30, 3.0), (60, 3.0), (90, 8.0)] {
        all.look(&[series("UH", "a", &[(at, value)])], t(at));
    }
    assert_eq!(all.between(t(0), t(90)), flags(&[("UH", 7)]));
    assert_eq!(all.between(t(30), t(90)), flags(&[("UH", 5)]));
}

#[test]
fn a_series_that_is_away_for_a_while_goes_on_from_its_last_value() {
    let mut all = Unanswered::default();
    all.look(&[series("UH", "a", &[(0, 500.0)])], t(0));
    all.look(&[], t(30));
    all.look(&[series("UH", "a", &[(60, 504.0)])], t(60));
    assert_eq!(all.between(t(0), t(60)), flags(&[("UH", 4)]));
}

#[test]
fn a_fall_by_one_is_no_restart_and_a_fall_to_little_is_one() {
    let mut all = Unanswered::default();
    all.look(&[series("UH", "a", &[(0, 500.0)])], t(0));
    all.look(&[series("UH", "a", &[(30, 499.0)])], t(30));
    all.look(&[series("UH", "a", &[(60, 502.0)])], t(60));
    assert_eq!(all.between(t(0), t(60)), flags(&[("UH", 2)]));
    all.look(&[series("UH", "a", &[(90, 3.0)])], t(90));
    assert_eq!(all.between(t(60), t(90)), flags(&[("UH", 3)]));
}

#[test]
fn what_was_answered_is_not_counted() {
    let mut all = Unanswered::default();
    all.look(&[], t(0));
    all.look(&[series("-", "a", &[(30, 500.0)])], t(30));
    assert_eq!(all.between(t(0), t(30)), ByFlags::new());
}

#[test]
fn the_background_is_what_half_and_nine_tenths_of_the_windows_before_do_not_exceed() {
    let steady: Vec<(i64, f64)> = (0..=60).map(|k| (k * 30, 60.0 * k as f64)).collect();
    let found = Background::of(&[series("UH", "a", &steady)], t(0), t(1800), Duration::from_secs(30));
    assert_eq!(found, Background { usual: 2.0, most: 2.0 });
    assert_eq!(Background::of(&[], t(0), t(1800), Duration::from_secs(30)), Background::default());
}

#[test]
fn an_attempt_that_was_rolled_back_hides_nothing_of_the_next_one() {
    let attempt = [(600, 0.0), (630, 750.0), (660, 1500.0), (690, 1500.0), (1800, 1500.0)];
    let found = Background::of(&[series("UH", "a", &attempt)], t(0), t(1800), Duration::from_secs(30));
    assert_eq!(found, Background::default());
}

/// Windows of thirty seconds: stable's, the canary's and nobody's requests. Gives what was charged in each.
fn charged(blame: &mut Blame, part: f64, background: f64, windows: &[(u64, u64, u64)]) -> Vec<u64> {
    let background = Background { usual: background, most: 1.2 * background };
    let mut take = |(stable, canary, lost): &(u64, u64, u64)| {
        let unanswered = flags(&[("UH", *lost)]);
        blame.take(part, background, Seen { seconds: 30.0, stable: *stable, canary: *canary, unanswered: &unanswered })
    };
    windows.iter().map(&mut take).collect()
}

fn at(part: f64, background: f64, windows: &[(u64, u64, u64)]) -> Vec<u64> {
    charged(&mut Blame::default(), part, background, windows)
}

#[test]
fn all_that_a_dead_canary_loses_is_its_own_from_the_first_window_on() {
    let mut blame = Blame::default();
    assert_eq!(charged(&mut blame, 0.25, 0.0, &[(750, 0, 250), (760, 0, 240)]), [250, 240]);
    assert_eq!(blame.charge(), Some(&Charge { flags: vec!["UH".into()], requests: 490, stable: 1510, newest: 240, silent: true }));
    assert_eq!(at(0.05, 0.0, &[(2850, 0, 150)]), [150]);
    assert_eq!(at(1.0, 0.0, &[(0, 0, 400)]), [400], "nobody else is there");
}

#[test]
fn with_few_requests_two_looks_are_enough_for_a_canary_that_answers_none() {
    assert_eq!(at(0.25, 0.0, &[(9, 0, 3), (9, 0, 3)]), [0, 6]);
    assert_eq!(at(0.05, 0.0, &[(57, 0, 3), (57, 0, 3)]), [0, 6]);
    assert_eq!(at(0.05, 0.0, &[(19, 0, 1), (19, 0, 1)]), [0, 0], "one request each says nothing");
}

#[test]
fn a_background_that_was_there_before_the_raise_belongs_to_nobody() {
    let steady = [(2850, 150, 300), (2850, 150, 310), (2840, 160, 290)];
    assert_eq!(at(0.05, 10.0, &steady), [0, 0, 0]);
    assert_eq!(at(0.05, 10.0, &[(2850, 0, 450)]), [150], "what came on top does not");
}

#[test]
fn a_blip_while_the_canary_has_its_share_belongs_to_nobody() {
    // A pod of stable restarts: stable lacks what was lost.
    assert_eq!(at(0.25, 0.0, &[(700, 250, 50), (600, 250, 150), (750, 250, 0)]), [0, 0, 0]);
    assert_eq!(at(0.05, 0.0, &[(2850, 143, 200)]), [0]);
}

#[test]
fn a_blip_while_proxies_lag_or_clients_go_around_the_route_belongs_to_nobody() {
    assert_eq!(at(0.05, 0.0, &[(28_500, 1380, 120)]), [0], "a tenth of its share is missing");
    // A fifth of all requests goes straight to stable, in every window: that is what the canary usually gets.
    let around = [(29_000, 1200, 0), (29_000, 1200, 0), (28_700, 1195, 300)];
    assert_eq!(at(0.05, 0.0, &around), [0, 0, 0]);
}

#[test]
fn a_canary_that_dies_later_is_charged_in_spite_of_a_blip_before() {
    let windows = [(700, 250, 50), (750, 250, 0), (740, 260, 0), (750, 0, 250)];
    assert_eq!(at(0.25, 0.0, &windows), [0, 0, 0, 250]);
}

#[test]
fn what_a_third_of_the_proxies_do_not_find_is_the_canary_s() {
    assert_eq!(at(0.25, 0.0, &[(7500, 1667, 833), (7500, 1667, 833)]), [833, 833]);
}

#[test]
fn a_cohort_is_charged_only_where_nobody_of_it_was_ever_answered() {
    assert_eq!(at(0.0, 0.0, &[(900, 0, 50), (900, 0, 60)]), [0, 110]);
    assert_eq!(at(0.0, 0.0, &[(900, 0, 0), (900, 0, 60), (900, 0, 60)]), [0, 0, 0], "it did not begin with the raise");
    assert_eq!(at(0.0, 0.0, &[(900, 3, 50), (900, 0, 60)]), [0, 0]);
}

#[test]
fn what_was_sent_to_the_canary_by_name_is_its_own_from_the_first_window_and_three_without_an_answer_are_a_dead_canary() {
    let mut blame = Blame::default();
    let mut take = |canary, lost: &[(&str, u64)]| {
        let unanswered = flags(lost);
        let more = blame.take_own(blame::Seen { seconds: 30.0, stable: 900, canary, unanswered: &unanswered });
        (more, blame.charge().cloned())
    };
    assert_eq!(take(100, &[]), (0, None));
    let (more, charge) = take(98, &[("UF", 2)]);
    assert_eq!((more, charge.map(|c| (c.requests, c.silent))), (2, Some((2, false))), "some of them");
    let (more, charge) = take(0, &[("UH", 2)]);
    assert_eq!((more, charge.map(|c| (c.requests, c.silent))), (2, Some((4, false))), "two say nothing yet");
    let (more, charge) = take(0, &[("UH", 40)]);
    let charge = charge.unwrap();
    assert_eq!((more, charge.requests, charge.newest, charge.silent), (40, 44, 40, true));
    assert_eq!((charge.flags.as_slice(), charge.stable), (&["UH".to_owned(), "UF".to_owned()][..], 2700), "while stable answered");
    let (more, charge) = take(100, &[]);
    assert_eq!((more, charge.map(|c| (c.newest, c.silent))), (0, Some((0, false))), "it answers again");
}

proptest::proptest! {
    #[test]
    fn of_a_canary_that_answers_its_share_none_is_ever_counted(
        part in 0.01..0.5_f64, all in 1_u64..1_000_000, more in -0.03..0.5_f64, lost in 0_u64..2_000_000, before in 0_u64..1_000_000,
    ) {
        let canary = ((part * all as f64 * (1.0 + more)).ceil() as u64).min(all);
        let (stable, lost) = (all - canary, flags(&[("UH", lost)]));
        proptest::prop_assume!(Blame::can_be_none(stable as f64, canary as f64, part));
        let mut blame = Blame::default();
        // What it usually gets may have been learned before.
        let clean = Seen { seconds: 30.0, stable: before, canary: (before as f64 * part / 2.0) as u64, unanswered: &ByFlags::new() };
        proptest::prop_assert_eq!(blame.take(part, Background::default(), clean), 0);
        proptest::prop_assert!(blame.is_clear());
        let seen = Seen { seconds: 30.0, stable, canary, unanswered: &lost };
        proptest::prop_assert_eq!(blame.take(part, Background::default(), seen), 0);
    }
}
