use proptest::prelude::*;

use super::*;

fn by(namespace: &str, rollout: &str, purpose: Purpose) -> By {
    By { namespace: namespace.into(), rollout: rollout.into(), purpose }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const NOW: Duration = Duration::from_secs(100);

/// A queue in which these wait, with the names by which they are told apart.
struct Waiting {
    queue: Queue,
    names: BTreeMap<Ticket, String>,
}

impl Waiting {
    fn new(most: u32) -> Self {
        Self { queue: Queue::new(most), names: BTreeMap::new() }
    }

    fn ask(&mut self, namespace: &str, rollout: &str, purpose: Purpose, times: usize) {
        for _ in 0..times {
            let ticket = self.queue.ask(by(namespace, rollout, purpose), NOW);
            self.names.insert(ticket, format!("{namespace}/{rollout} {purpose:?}"));
        }
    }

    /// Sends all that may be sent.
    fn send(&mut self) -> Vec<(Ticket, &str)> {
        let sent: Vec<Ticket> = std::iter::from_fn(|| self.queue.next(NOW)).collect();
        sent.into_iter().map(|ticket| (ticket, self.names[&ticket].as_str())).collect()
    }

    /// The order in which all are sent, one at a time.
    fn order(&mut self) -> Vec<&str> {
        let mut order = Vec::new();
        while let Some(ticket) = self.queue.next(NOW) {
            self.queue.ended(ticket, Ending::Answered, NOW);
            order.push(ticket);
        }
        order.into_iter().map(|ticket| self.names[&ticket].as_str()).collect()
    }
}

#[test]
fn looks_go_before_users_queries_and_history_goes_last() {
    let mut waiting = Waiting::new(8);
    for purpose in [Purpose::Past, Purpose::Start, Purpose::User, Purpose::Look] {
        waiting.ask("a", "m", purpose, 1);
    }
    assert_eq!(waiting.order(), ["a/m Look", "a/m User", "a/m Start", "a/m Past"]);
}

#[test]
fn a_history_of_which_some_is_in_memory_is_read_on_before_others_begin() {
    let mut waiting = Waiting::new(8);
    (0..4).for_each(|index| waiting.ask("a", &format!("waits-{index}"), Purpose::Past, 1));
    waiting.ask("b", "began", Purpose::Hour, 1);
    assert_eq!(waiting.order().first(), Some(&"b/began Hour"));
}

#[test]
fn namespaces_take_turns_and_in_each_of_them_the_rollouts() {
    let mut waiting = Waiting::new(8);
    waiting.ask("a", "one", Purpose::Look, 3);
    waiting.ask("a", "two", Purpose::Look, 1);
    waiting.ask("b", "three", Purpose::Look, 2);
    let expected = ["a/one Look", "b/three Look", "a/two Look", "b/three Look", "a/one Look", "a/one Look"];
    assert_eq!(waiting.order(), expected);
}

#[test]
fn no_more_are_in_flight_than_the_limit_and_history_leaves_room_for_looks() {
    let mut waiting = Waiting::new(8);
    waiting.ask("a", "m", Purpose::Past, 20);
    assert_eq!(waiting.send().len(), 6);
    waiting.ask("a", "n", Purpose::Look, 20);
    let sent = waiting.send();
    assert_eq!(sent.iter().map(|(_, name)| *name).collect::<Vec<_>>(), ["a/n Look", "a/n Look"]);
    let first = sent[0].0;
    waiting.queue.ended(first, Ending::Failed, NOW);
    assert_eq!(waiting.send().len(), 1);
}

#[test]
fn glances_of_many_rollouts_leave_slots_for_whoever_starts_and_for_history() {
    let mut waiting = Waiting::new(8);
    waiting.ask("a", "m", Purpose::Glance, 20);
    assert_eq!(waiting.send().len(), 4);
    waiting.ask("a", "n", Purpose::Start, 1);
    waiting.ask("a", "o", Purpose::Past, 5);
    waiting.ask("a", "p", Purpose::Look, 1);
    let names: Vec<String> = waiting.send().into_iter().map(|(_, name)| name.to_owned()).collect();
    assert_eq!(names, ["a/p Look", "a/n Start", "a/o Past"]);
}

#[test]
fn history_goes_on_wherever_looks_leave_room() {
    for most in 1..=8 {
        let mut waiting = Waiting::new(most);
        waiting.ask("a", "m", Purpose::Past, 1);
        assert_eq!(waiting.send().len(), 1, "{most}");
    }
}

#[test]
fn a_tenant_s_own_queries_take_few_slots_and_leave_others_theirs() {
    let mut waiting = Waiting::new(8);
    waiting.ask("heavy", "m", Purpose::User, 20);
    assert_eq!(waiting.send().len(), 2);
    waiting.ask("other", "m", Purpose::User, 1);
    waiting.ask("other", "m", Purpose::Look, 1);
    let names: Vec<String> = waiting.send().into_iter().map(|(_, name)| name.to_owned()).collect();
    assert_eq!(names, ["other/m Look", "other/m User"]);
}

#[test]
fn no_namespace_has_every_slot_while_another_one_asks_too() {
    let mut waiting = Waiting::new(4);
    waiting.ask("other", "m", Purpose::Look, 1);
    let (ticket, _) = waiting.send()[0];
    waiting.queue.ended(ticket, Ending::Answered, NOW);
    waiting.ask("many", "m", Purpose::Look, 20);
    assert_eq!(waiting.send().len(), 3);
    waiting.ask("other", "m", Purpose::Look, 1);
    assert_eq!(waiting.send().first().map(|(_, name)| *name), Some("other/m Look"));

    let mut alone = Waiting::new(4);
    alone.ask("many", "m", Purpose::Look, 20);
    assert_eq!(alone.send().len(), 4);
}

#[test]
fn a_busy_server_is_left_alone_then_asked_half_as_much_and_slowly_more_again() {
    let mut queue = Queue::new(8);
    let send = |queue: &mut Queue, now: Duration| {
        for _ in 0..20 {
            queue.ask(by("a", "m", Purpose::Look), now);
        }
        std::iter::from_fn(|| queue.next(now)).collect::<Vec<Ticket>>()
    };
    let sent = send(&mut queue, NOW);
    assert_eq!(sent.len(), 8);
    for ticket in sent {
        queue.ended(ticket, Ending::Busy { pause: ms(2000), everyone: true }, NOW + ms(1));
    }
    assert_eq!(queue.limit(), 4, "one refusal of all that was in flight counts");
    assert_eq!(queue.next(NOW + ms(1999)), None);
    assert_eq!(queue.pause(NOW + ms(1)), Some(ms(2000)));
    let again = send(&mut queue, NOW + ms(2001));
    assert_eq!(again.len(), 4);
    queue.ended(again[0], Ending::Busy { pause: ms(500), everyone: false }, NOW + ms(2100));
    assert_eq!(queue.limit(), 2);
    let mut answers = 0;
    while queue.limit() < 8 {
        let now = NOW + ms(4000);
        queue.ask(by("a", "m", Purpose::Look), now);
        let waiting = std::iter::from_fn(|| queue.next(now)).collect::<Vec<Ticket>>();
        for ticket in again.iter().copied().chain(waiting) {
            queue.ended(ticket, Ending::Answered, now);
        }
        answers += 1;
        assert!(answers < 200, "it never grew");
    }
    assert!(answers > 5, "it grew at once");
}

#[test]
fn a_server_that_refuses_again_and_again_is_left_alone_for_longer() {
    let mut queue = Queue::new(8);
    let mut now = NOW;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let ticket = queue.ask(by("a", "m", Purpose::Look), now);
        assert_eq!(queue.next(now), Some(ticket));
        now += ms(1);
        queue.ended(ticket, Ending::Busy { pause: ms(500), everyone: false }, now);
        let pause = queue.pause_of(Purpose::Look, now).unwrap();
        pauses.push(pause.as_millis());
        now += pause + ms(1);
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
}

#[test]
fn a_user_s_query_that_is_too_heavy_for_the_server_slows_nothing_else() {
    let mut queue = Queue::new(8);
    let ticket = queue.ask(by("a", "m", Purpose::User), NOW);
    assert_eq!(queue.next(NOW), Some(ticket));
    queue.ended(ticket, Ending::Busy { pause: ms(500), everyone: false }, NOW);
    queue.ask(by("a", "m", Purpose::User), NOW);
    let look = queue.ask(by("b", "m", Purpose::Look), NOW);
    assert_eq!((queue.limit(), queue.next(NOW)), (8, Some(look)));
    assert_eq!(queue.next(NOW), None, "users' queries pause");
    assert!(queue.next(NOW + ms(500)).is_some());
}

#[test]
fn what_is_forgotten_is_not_sent_and_leaves_its_slot() {
    let mut queue = Queue::new(1);
    let [one, two, three] = ["x", "y", "z"].map(|rollout| queue.ask(by("a", rollout, Purpose::Look), NOW));
    queue.forget(two);
    assert_eq!(queue.next(NOW), Some(one));
    queue.forget(one);
    assert_eq!(queue.next(NOW), Some(three));
}

/// One sampler: when its window ended, and how many questions of the look are left.
#[derive(Clone, Copy)]
struct Sampler {
    due: u64,
    left: u32,
}

/// Plays `rollouts` samplers with windows of 30 s for ten minutes against a server that takes 200 ms for each answer, and gives how late the
/// latest look was, in milliseconds. History of others is always waiting.
fn latest(rollouts: u64, questions: u32, concurrency: u32) -> u64 {
    const WINDOW: u64 = 30_000;
    const ANSWER: u64 = 200;
    let mut queue = Queue::new(concurrency);
    let mut samplers: Vec<Sampler> = (0..rollouts).map(|index| Sampler { due: index * WINDOW / rollouts, left: questions }).collect();
    let mut of: BTreeMap<Ticket, usize> = BTreeMap::new();
    let mut flying: BTreeMap<(u64, Ticket), Option<usize>> = BTreeMap::new();
    let (mut due, mut worst) = (samplers.iter().enumerate().map(|(index, s)| (s.due, index)).collect::<std::collections::BTreeSet<_>>(), 0);
    queue.ask(by("past", "p", Purpose::Past), ms(0));
    for now in (0..600_000).step_by(10) {
        while let Some((key, who)) = flying.first_key_value().map(|(key, who)| (*key, *who)).filter(|((end, _), _)| *end <= now) {
            flying.remove(&key);
            queue.ended(key.1, Ending::Answered, ms(now));
            let Some(index) = who else {
                queue.ask(by("past", "p", Purpose::Past), ms(now));
                continue;
            };
            let sampler = &mut samplers[index];
            sampler.left -= 1;
            if sampler.left == 0 {
                worst = worst.max(now - sampler.due);
                *sampler = Sampler { due: sampler.due + WINDOW, left: questions };
                due.insert((sampler.due, index));
            } else {
                of.insert(queue.ask(by(&format!("ns-{}", index % 7), &index.to_string(), Purpose::Look), ms(now)), index);
            }
        }
        while let Some((at, index)) = due.first().copied().filter(|(at, _)| *at <= now) {
            due.remove(&(at, index));
            of.insert(queue.ask(by(&format!("ns-{}", index % 7), &index.to_string(), Purpose::Look), ms(now)), index);
        }
        while let Some(ticket) = queue.next(ms(now)) {
            flying.insert((now + ANSWER, ticket), of.remove(&ticket));
        }
    }
    worst
}

#[test]
fn a_thousand_rollouts_are_never_later_than_a_window_where_the_slots_suffice() {
    // Two questions in 30 s of each are 67 a second; a slot gives 5. The largest part of a slot's time is left to looks.
    let late = latest(1000, 2, 16);
    assert!(late < 2_000, "{late} ms");
    assert!(latest(500, 2, 8) < 2_000);
    // Eight slots give 40 answers a second: too few, and each window is later than the one before.
    assert!(latest(1000, 2, 8) > 30_000);
}

proptest! {
    #[test]
    fn whatever_is_asked_is_sent_once_and_never_more_than_the_limit(
        asks in prop::collection::vec((0_usize..3, 0_usize..3, 0_usize..4), 1..60),
        most in 1_u32..10,
        endings in prop::collection::vec(0_u8..4, 60),
    ) {
        let mut queue = Queue::new(most);
        let mut now = NOW;
        let mut left: std::collections::BTreeSet<Ticket> = asks
            .iter()
            .map(|(namespace, rollout, purpose)| queue.ask(by(&namespace.to_string(), &rollout.to_string(), Purpose::ALL[*purpose]), now))
            .collect();
        let mut flying = Vec::new();
        let mut ending = endings.into_iter().cycle();
        for _ in 0..1000 {
            while let Some(ticket) = queue.next(now) {
                prop_assert!(left.remove(&ticket), "sent twice");
                flying.push(ticket);
            }
            prop_assert!(flying.len() <= most as usize);
            if flying.is_empty() && left.is_empty() {
                return Ok(());
            }
            // Longer than any pause.
            now += ms(31_000);
            match (flying.pop(), ending.next()) {
                (Some(ticket), Some(0)) => queue.ended(ticket, Ending::Busy { pause: ms(300), everyone: true }, now),
                (Some(ticket), Some(1)) => queue.ended(ticket, Ending::Failed, now),
                (Some(ticket), Some(2)) => queue.forget(ticket),
                (Some(ticket), _) => queue.ended(ticket, Ending::Answered, now),
                (None, _) => {}
            }
        }
        prop_assert!(false, "{} never had a turn", left.len());
    }
}
