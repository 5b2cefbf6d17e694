//! What a sampler asks, and what comes back.

use std::time::Duration;

use jiff::Timestamp;

use super::super::calibrate::{Piece, Wanted};
use super::super::preflight::{Found, Trouble};
use super::super::thresholds::Sighting;
use super::super::unanswered::Sought;
use crate::counts::{Reading, Series};
use crate::observe::prometheus::QueryError;

/// What is asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::sampler) enum Job {
    Preflight(Timestamp),
    Calibrate(Timestamp),
    Look(Timestamp),
    /// The users' queries, at the time of a look.
    Own(Timestamp),
    /// Errors of the newest scrapes, before their window ends.
    Glance,
}

impl Job {
    /// In one word.
    pub(in crate::observe::sampler) fn name(self) -> &'static str {
        match self {
            Self::Preflight(_) => "Preflight",
            Self::Calibrate(_) => "Calibrate",
            Self::Look(_) => "Look",
            Self::Own(_) => "Own",
            Self::Glance => "Glance",
        }
    }
}

/// What came back.
pub(in crate::observe::sampler) enum Answer {
    Preflight(Result<Found, Trouble>),
    Calibrate(Wanted, Result<Option<Piece>, QueryError>),
    Look {
        at: Timestamp,
        /// End of what was asked for: the newest scrapes are in it where that is later.
        end: Timestamp,
        reading: Result<Reading, QueryError>,
        sought: Sought,
        /// How long it took, and what of that it waited for its turn.
        took: Duration,
        waited: Duration,
    },
    Own(Timestamp, Vec<Sighting>),
    Glance(Timestamp, Result<Vec<Series>, QueryError>),
}

impl Answer {
    /// How long the server asks to be left alone.
    pub(super) fn pause(&self) -> Duration {
        let error = match self {
            Self::Preflight(Err(Trouble::Query(error)))
            | Self::Calibrate(_, Err(error))
            | Self::Look { reading: Err(error), .. }
            | Self::Glance(_, Err(error)) => Some(error),
            _ => None,
        };
        error.and_then(QueryError::pause).unwrap_or_default()
    }
}
