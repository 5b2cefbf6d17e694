//! Who asks a provider next: looks before history, a bounded number at once, and no tenant before the others. Pure: it is told the time, and
//! [`super::turns`] does what it says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lanes::Lane;

mod lanes;
mod pace;

use pace::Pace;

/// What a question is for. The first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Counts at the end of a window, which a decision waits for.
    Look,
    /// The newest scrapes, between two looks: what is plain is seen sooner.
    Glance,
    /// A query that a user wrote, at the same time.
    User,
    /// What a rollout must know before its first look.
    Start,
    /// More of a history of which some is in memory, until its newest hour is whole.
    Hour,
    /// Stable's history.
    Past,
}

impl Purpose {
    const ALL: [Self; 6] = [Self::Look, Self::Glance, Self::User, Self::Start, Self::Hour, Self::Past];
}

/// Who asks, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// Namespace of the Rollout; empty: a person at the command line.
    pub namespace: Arc<str>,
    /// Its name.
    pub rollout: Arc<str>,
    /// What for.
    pub purpose: Purpose,
}

/// Number of a question.
pub(super) type Ticket = u64;

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was answered.
    Answered,
    /// It failed, for reasons that say nothing of how busy the server is.
    Failed,
    /// 429 or 503: the server has too much to do.
    Busy {
        /// How long it is left alone.
        pause: Duration,
        /// It counts requests (429). Else one heavy query of a user's may be the reason, and slows users' queries alone.
        everyone: bool,
    },
}

/// A namespace that asked this long ago still counts when slots are shared.
const ABOUT: Duration = Duration::from_secs(60);

/// A question that was sent.
#[derive(Debug)]
struct Sent {
    ticket: Ticket,
    by: By,
    at: Duration,
}

/// The questions of one provider. Times are of one monotonic clock.
#[derive(Debug)]
pub(super) struct Queue {
    most: u32,
    /// For everything, and for users' queries beside.
    all: Pace,
    users: Pace,
    lanes: [Lane; Purpose::ALL.len()],
    waiting: BTreeMap<Ticket, By>,
    /// Few: as many as may be in flight.
    sent: Vec<Sent>,
    /// When each namespace asked last.
    about: BTreeMap<Arc<str>, Duration>,
    newest: Ticket,
}

impl Queue {
    /// At most so many at once.
    pub(super) fn new(most: u32) -> Self {
        let most = most.max(1);
        Self {
            most,
            all: Pace::new(most),
            users: Pace::new((most / 2).max(1)),
            lanes: Default::default(),
            waiting: BTreeMap::new(),
            sent: Vec::new(),
            about: BTreeMap::new(),
            newest: 0,
        }
    }

    /// A question that waits for its turn.
    pub(super) fn ask(&mut self, by: By, now: Duration) -> Ticket {
        self.newest += 1;
        let ticket = self.newest;
        self.about.retain(|_, last| now.saturating_sub(*last) < ABOUT);
        self.about.insert(by.namespace.clone(), now);
        self.lane(by.purpose).push(&by, ticket);
        self.waiting.insert(ticket, by);
        ticket
    }

    /// The question that is sent now; `None`: none may be.
    pub(super) fn next(&mut self, now: Duration) -> Option<Ticket> {
        if self.all.pause(now).is_some() || self.flying(|_| true) >= self.limit() {
            return None;
        }
        for purpose in Purpose::ALL {
            if self.pause_of(purpose, now).is_some() || !self.has_room(purpose) {
                continue;
            }
            while let Some(ticket) = self.pop(purpose) {
                // Whoever was forgotten is still in its lane.
                if let Some(by) = self.waiting.remove(&ticket) {
                    self.sent.push(Sent { ticket, by, at: now });
                    return Some(ticket);
                }
            }
        }
        None
    }

    /// Takes the first question of a purpose whose namespace may have one more.
    fn pop(&mut self, purpose: Purpose) -> Option<Ticket> {
        let mut full = Vec::new();
        for namespace in self.about.keys() {
            let of = |by: &By| by.namespace == *namespace;
            // Not every slot is one tenant's while others are about, and few are taken by its own queries.
            let all = self.about.len() > 1 && self.limit() > 1 && self.flying(of) + 1 >= self.limit();
            let own = purpose == Purpose::User && self.flying(|by| of(by) && by.purpose == purpose) >= (self.limit() / 4).max(1);
            if all || own {
                full.push(namespace.clone());
            }
        }
        self.lane(purpose).pop(|namespace| full.contains(namespace))
    }

    fn lane(&mut self, purpose: Purpose) -> &mut Lane {
        let [look, glance, user, start, hour, past] = &mut self.lanes;
        match purpose {
            Purpose::Look => look,
            Purpose::Glance => glance,
            Purpose::User => user,
            Purpose::Start => start,
            Purpose::Hour => hour,
            Purpose::Past => past,
        }
    }

    /// A quarter of the slots is kept for looks: a long answer to something else delays none. Another one is kept from glances, which come at
    /// each scrape of each rollout: whoever starts, and the past that others are judged by, is not crowded out.
    fn has_room(&self, purpose: Purpose) -> bool {
        let limit = self.limit();
        let others = limit.saturating_sub((limit / 4).max(1)).max(1);
        match purpose {
            Purpose::Look => true,
            Purpose::Glance if self.flying(|by| by.purpose == Purpose::Glance) >= (limit / 2).max(1) => false,
            Purpose::User if self.flying(|by| by.purpose == Purpose::User) >= self.users.limit() => false,
            _ => self.flying(|by| by.purpose != Purpose::Look) < others,
        }
    }

    fn flying(&self, of: impl Fn(&By) -> bool) -> u32 {
        u32::try_from(self.sent.iter().filter(|sent| of(&sent.by)).count()).unwrap_or(u32::MAX)
    }

    /// It ended, one way or the other.
    pub(super) fn ended(&mut self, ticket: Ticket, ending: Ending, now: Duration) {
        let Some(at) = self.sent.iter().position(|sent| sent.ticket == ticket) else { return };
        let Sent { by, at: sent, .. } = self.sent.swap_remove(at);
        let user = by.purpose == Purpose::User;
        match ending {
            Ending::Answered if user => self.users.grow(),
            Ending::Answered => self.all.grow(),
            Ending::Failed => {}
            Ending::Busy { pause, everyone } => {
                if user {
                    self.users.cut(sent, pause, now);
                }
                if everyone || !user {
                    self.all.cut(sent, pause, now);
                }
            }
        }
    }

    /// Whoever asked waits no longer, for its turn or for the answer.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
        self.sent.retain(|sent| sent.ticket != ticket);
    }

    /// How long until [`Queue::next`] may give something although nothing else happens.
    pub(super) fn pause(&self, now: Duration) -> Option<Duration> {
        self.all.pause(now).into_iter().chain(self.users.pause(now)).min()
    }

    /// How long nothing of this purpose is sent; `None`: it may be.
    pub(super) fn pause_of(&self, purpose: Purpose, now: Duration) -> Option<Duration> {
        let users = self.users.pause(now).filter(|_| purpose == Purpose::User);
        self.all.pause(now).into_iter().chain(users).max()
    }

    /// How many may be in flight now.
    pub(super) fn limit(&self) -> u32 {
        self.all.limit()
    }

    /// How many may be in flight where the server refuses nothing.
    pub(super) fn most(&self) -> u32 {
        self.most
    }
}

#[cfg(test)]
mod tests;
