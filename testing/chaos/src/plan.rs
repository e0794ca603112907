//! What happens and when: rounds of all kinds in an order, with victims and durations, that the seed alone decides.

use std::time::Duration;

use serde::Serialize;

use crate::{Kind, dice::Dice};

/// How many processes of each role there are.
pub(crate) const OF_EACH: usize = 2;

/// How long nothing is done before a fault: long enough to see that all is well, and never the same.
const QUIET: (Duration, Duration) = (Duration::from_millis(2_000), Duration::from_millis(5_000));

/// Lets what is under way go on for as long as the plan says.
pub(crate) async fn last(time: Duration) {
    // sleep: how long harm lasts is what a plan is about; nothing is concluded from its end
    tokio::time::sleep(time).await;
}

/// One fault to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Counts from 1.
    pub number: usize,
    /// What is done.
    pub kind: Kind,
    /// To which of the processes of its role, from 0.
    pub victim: usize,
    /// How long it is quiet before.
    #[serde(rename = "quiet_ms", serialize_with = "millis")]
    pub quiet: Duration,
    /// How long the harm lasts.
    #[serde(rename = "hold_ms", serialize_with = "millis")]
    pub hold: Duration,
}

impl Step {
    /// Its kind, and its victim if it has one, for a person.
    pub fn title(&self) -> String {
        if self.kind.has_victim() { format!("{} {}", self.kind, self.victim + 1) } else { self.kind.to_string() }
    }
}

fn millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u128(duration.as_millis())
}

/// The faults that a seed stands for; it never ends.
#[derive(Debug)]
pub struct Plan {
    dice: Dice,
    kinds: Vec<Kind>,
    round: Vec<Kind>,
    number: usize,
}

impl Plan {
    /// The plan of a seed over these kinds, of which there is at least one. Each round has every kind once.
    ///
    /// # Panics
    /// Never, if there is a kind.
    pub fn new(seed: u64, kinds: &[Kind]) -> Self {
        assert!(!kinds.is_empty(), "a plan needs a kind of fault");
        let mut kinds = kinds.to_vec();
        // The order in which somebody writes them decides nothing.
        kinds.sort_unstable();
        kinds.dedup();
        Self { dice: Dice::new(seed), kinds, round: Vec::new(), number: 0 }
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.round.is_empty() {
            self.round.clone_from(&self.kinds);
            self.dice.shuffle(&mut self.round);
        }
        let kind = self.round.pop()?;
        self.number += 1;
        let victim = usize::try_from(self.dice.below(OF_EACH as u64)).unwrap_or_default();
        let quiet = self.dice.duration(QUIET.0, QUIET.1);
        let (least, most) = kind.hold();
        Some(Step { number: self.number, kind, victim, quiet, hold: self.dice.duration(least, most) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_always_makes_the_same_plan_and_another_seed_another() {
        let plan = |seed| Plan::new(seed, &Kind::ALL).take(100).collect::<Vec<_>>();
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
        let reversed: Vec<_> = Kind::ALL.into_iter().rev().collect();
        assert_eq!(plan(1), Plan::new(1, &reversed).take(100).collect::<Vec<_>>());
    }

    #[test]
    fn every_round_has_every_kind_once() {
        let steps: Vec<_> = Plan::new(3, &Kind::ALL).take(3 * Kind::ALL.len()).collect();
        for round in steps.chunks(Kind::ALL.len()) {
            let kinds: BTreeSet<_> = round.iter().map(|step| step.kind).collect();
            assert_eq!(kinds.len(), Kind::ALL.len());
        }
    }

    #[test]
    fn every_process_becomes_a_victim() {
        let victims: BTreeSet<_> = Plan::new(3, &[Kind::KillRouter]).take(20).map(|step| step.victim).collect();
        assert_eq!(victims.len(), OF_EACH);
    }
}
