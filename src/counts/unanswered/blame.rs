//! Whose requests that no workload answered are. They carry no name, so two things must agree: they were not there before the raise, and the
//! canary lacks as many of its share. While a pod of stable restarts the canary has all of its share, and they belong to nobody.

use super::{Background, ByFlags};

/// Log of the factor by which the canary must explain them better than anybody else.
const DECISIVE: f64 = 6.907_755_278_982_137;
/// A share may be so much more or less than programmed without a meaning: clients outside of the mesh, proxies that lag.
const TOLERANCE: f64 = 0.1;
/// A canary with this part of its share, of a share of at most [`SMALL`], has lost none that could be proved; of one up to [`HALF`] all of it.
const NEARLY: f64 = 0.97;
const SMALL: f64 = 0.3;
const HALF: f64 = 0.5;
/// Of so many requests that the canary should have had none: then two looks say it, whatever the odds.
const FEW: f64 = 3.0;
/// Canary requests that must be expected before what it usually gets is taken for its share.
const KNOWN: f64 = 50.0;

/// One window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen<'a> {
    /// Its length.
    pub seconds: f64,
    /// Requests that stable answered.
    pub stable: u64,
    /// Requests that the canary answered.
    pub canary: u64,
    /// Requests that no workload answered.
    pub unanswered: &'a ByFlags,
}

/// What was counted against the canary since its present share was set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// Requests that no workload answered and that were its own, by response flags, the most frequent first.
    pub flags: Vec<String>,
    /// How many, in all windows.
    pub requests: u64,
    /// Requests that stable answered meanwhile.
    pub stable: u64,
    /// How many in the newest window.
    pub newest: u64,
    /// The canary answered none in the newest window.
    pub silent: bool,
}

/// Decides it for one share of the canary, window by window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Blame {
    /// Canary's and all requests of windows in which nothing was wrong.
    clean: (f64, f64),
    /// Stable's, canary's and nobody's requests since something was.
    open: (f64, f64, f64),
    /// Of the last of these, counted against the canary.
    charged: u64,
    flags: ByFlags,
    windows: u32,
    /// Windows in a row in which requests stayed unanswered and the canary answered none; of those sent to it by name, such requests.
    silent: u32,
    charge: Charge,
}

impl Blame {
    /// What is charged so far; `None`: nothing.
    pub fn charge(&self) -> Option<&Charge> {
        Some(&self.charge).filter(|charge| charge.requests > 0)
    }

    /// Nothing is charged, and nothing is in doubt.
    pub fn is_clear(&self) -> bool {
        self.silent == 0 && self.open == Default::default() && self.charge.requests == 0
    }

    /// Whether a canary that answered as many can have none of the requests of this window, however many stayed unanswered, that
    /// [`Blame::take`] would count against it. `part` is what it should have of all.
    pub fn can_be_none(stable: f64, canary: f64, part: f64) -> bool {
        let least = if part <= SMALL { NEARLY } else { 1.0 };
        canary > 0.0 && part > 0.0 && part <= HALF && canary >= least * part * (stable + canary)
    }

    /// Takes a window. `part` is what the canary should have of all requests (0 to 1); 0: some users come by a match, how many is not known.
    /// Gives the requests of this window, and of those before it that were not clear yet, that count against the canary.
    pub fn take(&mut self, part: f64, background: Background, seen: Seen<'_>) -> u64 {
        let (stable, canary) = (seen.stable as f64, seen.canary as f64);
        let unanswered: u64 = seen.unanswered.values().sum();
        self.windows = self.windows.saturating_add(1);
        self.charge.silent = seen.canary == 0;
        self.charge.newest = 0;
        let lost = unanswered as f64 - background.usual * seen.seconds;
        if unanswered == 0 || unanswered as f64 <= background.most * seen.seconds || lost < 0.5 {
            self.silent = 0;
            self.clean = (self.clean.0 + canary, self.clean.1 + stable + canary);
            return 0;
        }
        self.silent = if seen.canary == 0 { self.silent.saturating_add(1) } else { 0 };
        self.open = (self.open.0 + stable, self.open.1 + canary, self.open.2 + lost);
        for (flags, count) in seen.unanswered {
            *self.flags.entry(flags.clone()).or_default() += count;
        }
        let total = self.open.0 + self.open.1 + self.open.2;
        let owed = if part > 0.0 {
            let known = self.clean.1 * part >= KNOWN;
            let usual = if known { (self.clean.0 / self.clean.1).clamp(0.5 * part, part) } else { part };
            let nobody = distance(self.open.1, total, usual);
            let own = distance(self.open.1 + self.open.2, total, usual);
            let nothing_of_it = self.silent >= 2 && self.open.1 == 0.0 && usual * total >= FEW && self.open.2 >= FEW;
            if nobody <= own {
                // Whoever lost them, it was not the canary.
                (self.open, self.charged) = (Default::default(), 0);
                self.flags.clear();
                return 0;
            }
            if nobody - own < DECISIVE && !nothing_of_it {
                return 0;
            }
            // A canary that answers none has lost them all; else as many as it lacks.
            if self.open.1 == 0.0 { self.open.2 } else { (usual * total - self.open.1).clamp(0.0, self.open.2) }
        } else {
            // Nobody who fits the match was ever answered.
            let never = self.silent >= 2 && self.silent == self.windows && self.open.2 >= FEW;
            if never { self.open.2 } else { 0.0 }
        };
        // A float cast saturates.
        self.owe(owed.round() as u64)
    }

    /// Takes a window of requests that were sent to the canary by name: those that stayed unanswered are its own, whatever came before.
    pub fn take_own(&mut self, seen: Seen<'_>) -> u64 {
        let lost: u64 = seen.unanswered.values().sum();
        self.silent = if seen.canary == 0 { self.silent.saturating_add(u32::try_from(lost).unwrap_or(u32::MAX)) } else { 0 };
        self.charge.newest = 0;
        self.charge.silent = f64::from(self.silent) >= FEW;
        if lost == 0 && self.charge.requests == 0 {
            return 0;
        }
        self.open = (self.open.0 + seen.stable as f64, self.open.1 + seen.canary as f64, self.open.2 + lost as f64);
        for (flags, count) in seen.unanswered {
            *self.flags.entry(flags.clone()).or_default() += count;
        }
        self.owe(self.charged + lost)
    }

    /// So many of what is open are the canary's. Gives those that were not charged yet.
    fn owe(&mut self, owed: u64) -> u64 {
        let more = owed.saturating_sub(self.charged);
        self.charged = self.charged.max(owed);
        if more > 0 {
            self.charge.requests += more;
            self.charge.newest = more;
            self.charge.stable = self.open.0 as u64;
            let mut flags: Vec<(&String, &u64)> = self.flags.iter().collect();
            flags.sort_by(|one, two| two.1.cmp(one.1));
            self.charge.flags = flags.into_iter().map(|(flags, _)| flags.clone()).collect();
        }
        more
    }
}

/// How far `count` of `total` is from the share, as the exponent of its chance (Chernoff); 0 within the tolerance.
fn distance(count: f64, total: f64, share: f64) -> f64 {
    let seen = count / total.max(f64::EPSILON);
    let expected = seen.clamp(share * (1.0 - TOLERANCE), (share * (1.0 + TOLERANCE)).min(1.0));
    let term = |p: f64, q: f64| if p <= 0.0 { 0.0 } else { p * (p / q.max(1e-12)).ln() };
    (total * (term(seen, expected) + term(1.0 - seen, 1.0 - expected))).max(0.0)
}
