use super::*;
use crate::counts::Pod;

const PACE: i64 = 5;

fn t(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).unwrap()
}

fn begin() -> Begin {
    Begin { since: t(-100_000), scrape: Duration::from_secs(5) }
}

/// A series of a pod that is scraped `phase` milliseconds after each fifth second, up to `now`; `value` by seconds.
fn series(pod: &str, code: &str, phase: i64, now: i64, value: impl Fn(f64) -> Option<f64>) -> Series {
    let version = pod.split('-').next().unwrap();
    let labels = [("job", "proxies"), ("instance", pod), ("pod", pod), ("destination_workload", version), ("response_code", code)];
    let times = (-4..100).map(|scrape| scrape * 1000 * PACE + phase).filter(|time| *time <= now);
    let samples = times.filter_map(|time| Some((t(time), value(time as f64 / 1000.0)?))).collect();
    Series { labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), samples }
}

fn scope(pods: &[&str], by_pod: bool) -> Scope {
    let pod = |name: &&str| {
        let side = if name.starts_with("v1") { Side::Stable } else { Side::Canary };
        ((*name).to_owned(), Pod { side, created: t(-1_000_000), ready_since: Some(t(-900_000)) })
    };
    Scope {
        label: "destination_workload".into(),
        stable: "v1".into(),
        canary: "v2".into(),
        namespace: "ml".into(),
        pod_jobs: BTreeSet::new(),
        pods: pods.iter().map(pod).collect(),
        by_pod,
        named: by_pod,
        needs_stable: true,
        warm_up: Duration::ZERO,
        aside: BTreeSet::new(),
    }
}

/// So many a second since ever, and so many since `from`.
fn steady(rate: f64) -> impl Fn(f64) -> Option<f64> {
    move |second| Some((rate * (second + 1000.0)).floor())
}

fn since(from: f64, rate: f64) -> impl Fn(f64) -> Option<f64> {
    move |second| (second > from).then(|| (rate * (second - from)).floor())
}

fn take(series: &[Series], scope: &Scope, now: i64) -> (Option<Glance>, Timestamp) {
    Glances::default().take(series, scope, begin(), t(now))
}

#[test]
fn errors_that_begin_with_their_series_are_seen_at_the_first_scrape_that_has_them() {
    // The canary is scraped at 1 s, stable at 2 s; errors begin at 18 s.
    let now = 22_300;
    let all = [
        series("v1-a", "200", 2_000, now, steady(80.0)),
        series("v2-a", "200", 1_000, now, steady(10.0)),
        series("v2-a", "500", 1_000, now, since(18.0, 10.0)),
    ];
    let (glance, next) = take(&all, &scope(&["v1-a", "v2-a"], true), now);
    let glance = glance.unwrap();
    assert_eq!(glance.canary, [Gained { total: 80, bad: 30 }], "3 s of errors, 5 s of the others");
    assert_eq!(glance.stable, [Gained { total: 800, bad: 0 }], "from the scrape before to the scrape after");
    assert_eq!((glance.at, glance.seconds, glance.ready), (t(21_000), 5.0, 1));
    assert_eq!(next, t(27_250), "just after stable's next scrape that is not before the canary's");
}

#[test]
fn nothing_of_the_canary_counts_before_stable_was_scraped_too() {
    // Both fail from 18 s on; the canary is scraped at 21 s, stable at 19 s and then at 24 s.
    let (pods, errors) = (scope(&["v1-a", "v2-a"], true), |pod, phase, now| series(pod, "500", phase, now, since(18.0, 10.0)));
    let at = |now| {
        let all = [
            series("v1-a", "200", 4_000, now, steady(80.0)),
            errors("v1-a", 4_000, now),
            series("v2-a", "200", 1_000, now, steady(10.0)),
            errors("v2-a", 1_000, now),
        ];
        take(&all, &pods, now).0.unwrap()
    };
    assert_eq!((at(22_000).at, at(22_000).canary[0].bad), (t(16_000), 0), "what is newer than stable's scrape waits");
    let both = at(24_500);
    assert_eq!((both.at, both.canary[0].bad), (t(21_000), 30));
    assert_eq!(both.stable, [Gained { total: 860, bad: 60 }], "all that stable had meanwhile");
}

#[test]
fn a_scrape_is_taken_once() {
    let (pods, now) = (scope(&["v1-a", "v2-a"], true), 22_300);
    let all = [series("v1-a", "200", 2_000, now, steady(80.0)), series("v2-a", "200", 1_000, now, steady(10.0))];
    let mut glances = Glances::default();
    assert!(glances.take(&all, &pods, begin(), t(now)).0.is_some());
    assert_eq!(glances.take(&all, &pods, begin(), t(now + 100)).0, None);
}

#[test]
fn what_is_late_or_fell_or_came_back_says_nothing() {
    let (pods, now) = (scope(&["v1-a", "v2-a"], true), 22_300);
    let stable = || series("v1-a", "200", 2_000, now, steady(80.0));
    // A store that has the errors of a scrape and not yet its requests.
    let late = [stable(), series("v2-a", "200", 1_000, 16_500, steady(10.0)), series("v2-a", "500", 1_000, now, steady(1.0))];
    assert_eq!(take(&late, &pods, now).0.unwrap().at, t(16_000));
    let fell = |second: f64| Some(if second > 17.0 { 3.0 } else { 5000.0 });
    let fallen = [stable(), series("v2-a", "200", 1_000, now, fell)];
    assert_eq!(take(&fallen, &pods, now).0, None);
    // A counter of yesterday is exported again.
    let back = |second: f64| (second > 17.0).then_some(90_000.0);
    let again = [stable(), series("v2-a", "200", 1_000, now, steady(10.0)), series("v2-a", "500", 1_000, now, back)];
    assert_eq!(take(&again, &pods, now).0, None);
    let gap = |second: f64| (!(7.0..=17.0).contains(&second)).then_some(90.0);
    let hole = [stable(), series("v2-a", "200", 1_000, now, steady(10.0)), series("v2-a", "500", 1_000, now, gap)];
    assert_eq!(take(&hole, &pods, now).0, None);
}

#[test]
fn what_came_before_the_weight_or_while_a_pod_warms_up_does_not_count() {
    let now = 22_300;
    let all = [series("v1-a", "200", 2_000, now, steady(80.0)), series("v2-a", "200", 1_000, now, steady(10.0))];
    let mut pods = scope(&["v1-a", "v2-a"], true);
    let later = Begin { since: t(17_000), ..begin() };
    assert_eq!(Glances::default().take(&all, &pods, later, t(now)).0, None);
    pods.warm_up = Duration::from_secs(920);
    assert_eq!(take(&all, &pods, now).0, None);
    pods.warm_up = Duration::from_secs(910);
    assert!(take(&all, &pods, now).0.is_some());
}

#[test]
fn foreign_pods_and_pods_that_are_not_ready_are_left_out_and_a_pod_counted_twice_ends_it() {
    let now = 22_300;
    let mut all = vec![
        series("v1-a", "200", 2_000, now, steady(80.0)),
        series("v2-a", "200", 1_000, now, steady(10.0)),
        series("v2-z", "500", 1_000, now, steady(10.0)),
    ];
    let mut pods = scope(&["v1-a", "v2-a", "v2-b"], true);
    let glance = take(&all, &pods, now).0.unwrap();
    assert_eq!((glance.canary.as_slice(), glance.ready), ([Gained { total: 50, bad: 0 }].as_slice(), 2));
    pods.pods.get_mut("v2-a").unwrap().ready_since = None;
    assert_eq!(take(&all, &pods, now).0, None);
    let mut twin = series("v1-a", "200", 2_000, now, steady(80.0));
    twin.labels.insert("job", "others");
    all.push(twin);
    assert_eq!(take(&all, &scope(&["v1-a", "v2-a"], true), now).0, None);
}

#[test]
fn a_gateway_counts_both_arms_at_the_same_moment() {
    let now = 21_200;
    let at_gateway = |version: &str, code: &str, value: &dyn Fn(f64) -> Option<f64>| {
        let mut one = series(version, code, 1_000, now, value);
        one.labels.insert("instance", "gateway:15020");
        one.labels.insert("pod", "gateway");
        one
    };
    let all =
        [at_gateway("v1-a", "200", &steady(80.0)), at_gateway("v2-a", "200", &steady(10.0)), at_gateway("v2-a", "503", &since(18.0, 10.0))];
    let (glance, next) = take(&all, &scope(&["v1-a", "v2-a", "v2-b"], false), now);
    let glance = glance.unwrap();
    assert_eq!((glance.canary, glance.stable), (vec![Gained { total: 80, bad: 30 }], vec![Gained { total: 400, bad: 0 }]));
    assert_eq!((glance.by_pod, glance.ready, next), (false, 2, t(26_250)));
}

#[test]
fn a_store_that_is_late_is_not_asked_more_often() {
    let (pods, newest) = (scope(&["v1-a", "v2-a"], true), 22_300);
    let all = [series("v1-a", "200", 2_000, newest, steady(80.0)), series("v2-a", "200", 1_000, newest, steady(10.0))];
    for late in [0, 7_000, 33_000] {
        let wait = take(&all, &pods, newest + late).1.duration_since(t(newest + late)).as_millis();
        assert!((2_500..7_500).contains(&wait), "{wait} ms after {late}");
    }
}
