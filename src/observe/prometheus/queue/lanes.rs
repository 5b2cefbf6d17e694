//! Questions of one purpose, in turn: namespace by namespace, in each Rollout by Rollout, and of each the oldest first.

use std::{collections::VecDeque, sync::Arc};

use super::{By, Ticket};

/// Takes turns: whoever had one goes to the end.
#[derive(Debug)]
struct Ring<T>(VecDeque<(Arc<str>, T)>);

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Default> Ring<T> {
    /// What is kept of this name, at the end of the ring where it is new.
    fn of(&mut self, name: &Arc<str>) -> Option<&mut T> {
        let at = self.0.iter().position(|(known, _)| known == name).unwrap_or(self.0.len());
        if at == self.0.len() {
            self.0.push_back((name.clone(), T::default()));
        }
        self.0.get_mut(at).map(|(_, of)| of)
    }

    /// Takes from the first that may have a turn. `take` also says whether there is more.
    fn turn<R>(&mut self, may: impl Fn(&Arc<str>) -> bool, take: impl FnOnce(&mut T) -> (Option<R>, bool)) -> Option<R> {
        let at = self.0.iter().position(|(name, _)| may(name))?;
        let (name, mut of) = self.0.remove(at)?;
        let (taken, more) = take(&mut of);
        if more {
            self.0.push_back((name, of));
        }
        taken
    }
}

/// The questions of one purpose.
#[derive(Debug, Default)]
pub(super) struct Lane(Ring<Ring<VecDeque<Ticket>>>);

impl Lane {
    /// Adds a question at the end of its Rollout's.
    pub(super) fn push(&mut self, by: &By, ticket: Ticket) {
        if let Some(own) = self.0.of(&by.namespace).and_then(|rollouts| rollouts.of(&by.rollout)) {
            own.push_back(ticket);
        }
    }

    /// Takes the next question of a namespace that is not `full`.
    pub(super) fn pop(&mut self, full: impl Fn(&Arc<str>) -> bool) -> Option<Ticket> {
        self.0.turn(
            |namespace| !full(namespace),
            |rollouts| {
                let taken = rollouts.turn(|_| true, |own| (own.pop_front(), !own.is_empty()));
                (taken, !rollouts.0.is_empty())
            },
        )
    }
}
