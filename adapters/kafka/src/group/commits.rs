//! Commits on their way, in order: one request at a time, and behind it the newest of each partition.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use nimbus_core::{
    Partition,
    ports::log::{Committed, LogError},
};
use rdkafka::types::RDKafkaErrorCode;

use crate::fault;

/// Until a commit that failed for a passing reason is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// After so many failures in a row whoever flushes is told; it is tried on.
const TELL_AFTER: u32 = 20;

/// So often in a row a commit is tried again that was made for a generation of the group which has passed. The member gets to know the
/// new one with the answer to its join, in moments; without another try the group would seem further behind than it is, until the next commit
/// of each partition that it keeps. A member that the group really went on without loses its partitions meanwhile, and these are forgotten.
const GENERATIONS: u32 = 10;

#[derive(Debug, Default)]
pub(super) struct Commits {
    waiting: BTreeMap<Partition, Committed>,
    in_flight: BTreeMap<Partition, Committed>,
    /// In flight, and not to be sent again whatever comes of it: the partition is another member's.
    forgotten: BTreeSet<Partition>,
    /// How many commits were made, how many of them the request in flight stands for, and up to which all are settled.
    made: u64,
    sent: u64,
    settled: u64,
    /// The last failure, and up to which commit it reached.
    failure: Option<(u64, LogError)>,
    failures_in_a_row: u32,
    generations_in_a_row: u32,
    not_before: Option<Instant>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Stored,
    /// It is tried again.
    Again,
    Lost,
}

impl Commits {
    pub(super) fn add(&mut self, partition: Partition, committed: Committed) {
        self.waiting.insert(partition, committed);
        self.made += 1;
    }

    /// How many commits were made so far.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// Whether the first `made` commits are durable. `None`: not known yet.
    pub(super) fn outcome(&self, made: u64) -> Option<Result<(), LogError>> {
        match &self.failure {
            Some((upto, error)) if *upto >= made => Some(Err(error.clone())),
            _ if self.settled >= made => Some(Ok(())),
            _ => None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    pub(super) fn involve(&self, partition: Partition) -> bool {
        self.waiting.contains_key(&partition) || self.in_flight.contains_key(&partition)
    }

    /// What is to be sent now, if nothing is on its way.
    pub(super) fn send(&mut self, now: Instant) -> Option<&BTreeMap<Partition, Committed>> {
        let early = self.not_before.is_some_and(|instant| now < instant);
        if self.waiting.is_empty() || !self.in_flight.is_empty() || early {
            return None;
        }
        self.in_flight = std::mem::take(&mut self.waiting);
        self.sent = self.made;
        self.not_before = None;
        Some(&self.in_flight)
    }

    /// The request in flight has ended.
    pub(super) fn ended(&mut self, outcome: Result<(), RDKafkaErrorCode>, now: Instant) -> Ended {
        let sent = std::mem::take(&mut self.in_flight);
        let forgotten = std::mem::take(&mut self.forgotten);
        if sent.is_empty() {
            return Ended::Stored;
        }
        let Err(code) = outcome else {
            self.settled = self.sent;
            self.failures_in_a_row = 0;
            self.generations_in_a_row = 0;
            self.failure = None;
            self.settle();
            return Ended::Stored;
        };
        let error = LogError::Unavailable(format!("a commit failed: {code}"));
        let outlived = code == RDKafkaErrorCode::IllegalGeneration && self.generations_in_a_row < GENERATIONS;
        if outlived {
            self.generations_in_a_row += 1;
        }
        if outlived || fault::is_passing(code) {
            for (partition, committed) in sent.into_iter().filter(|(partition, _)| !forgotten.contains(partition)) {
                self.waiting.entry(partition).or_insert(committed);
            }
            self.settle();
            self.failures_in_a_row += 1;
            self.not_before = Some(now + RETRY);
            if self.failures_in_a_row >= TELL_AFTER {
                self.failure = Some((self.sent, error));
            }
            return Ended::Again;
        }
        // The group has gone on without this member, or does not let it: what was committed is done again by the next.
        self.generations_in_a_row = 0;
        self.settled = self.sent;
        self.failure = Some((self.sent, error));
        self.settle();
        Ended::Lost
    }

    /// Nobody may commit for this partition any more.
    pub(super) fn forget(&mut self, partition: Partition) {
        self.waiting.remove(&partition);
        if self.in_flight.contains_key(&partition) {
            self.forgotten.insert(partition);
        }
        self.settle();
    }

    /// What was forgotten is nobody's to wait for.
    fn settle(&mut self) {
        if self.is_idle() {
            self.settled = self.made;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use nimbus_core::Position;

    use super::*;

    const P0: Partition = Partition(0);
    const P1: Partition = Partition(1);

    fn at(position: u64) -> Committed {
        Committed { position: Position(position), metadata: Bytes::new() }
    }

    #[test]
    fn one_request_at_a_time_and_the_newest_behind_it() {
        let (mut commits, now) = (Commits::default(), Instant::now());
        commits.add(P0, at(1));
        assert_eq!(commits.send(now).unwrap()[&P0], at(1));
        commits.add(P0, at(2));
        commits.add(P0, at(3));
        assert!(commits.send(now).is_none());
        assert_eq!(commits.ended(Ok(()), now), Ended::Stored);
        assert!(matches!(commits.outcome(1), Some(Ok(()))));
        assert!(commits.outcome(3).is_none());
        assert_eq!(commits.send(now).unwrap()[&P0], at(3));
        commits.ended(Ok(()), now);
        assert!(matches!(commits.outcome(3), Some(Ok(()))));
        assert!(commits.is_idle());
    }

    #[test]
    fn a_passing_failure_is_tried_again_but_never_over_a_newer_one() {
        let (mut commits, now) = (Commits::default(), Instant::now());
        commits.add(P0, at(1));
        commits.send(now).unwrap();
        commits.add(P0, at(2));
        assert_eq!(commits.ended(Err(RDKafkaErrorCode::NotCoordinator), now), Ended::Again);
        assert!(commits.send(now).is_none(), "not at once");
        assert_eq!(commits.send(now + RETRY).unwrap()[&P0], at(2));
    }

    #[test]
    fn nobody_waits_for_what_was_forgotten() {
        for outcome in [Ok(()), Err(RDKafkaErrorCode::NotCoordinator), Err(RDKafkaErrorCode::IllegalGeneration)] {
            let (mut commits, now) = (Commits::default(), Instant::now());
            commits.add(P1, at(5));
            commits.send(now).unwrap();
            commits.add(P0, at(6));
            commits.forget(P0);
            assert!(commits.outcome(2).is_none(), "the first one is on its way");
            commits.forget(P1);
            commits.ended(outcome, now);
            assert!(commits.is_idle(), "what was given away is not sent again");
            assert!(commits.outcome(2).is_some());
        }
    }

    #[test]
    fn what_was_forgotten_on_its_way_is_not_sent_behind_the_next_owners() {
        let (mut commits, now) = (Commits::default(), Instant::now());
        commits.add(P0, at(1));
        commits.add(P1, at(2));
        commits.send(now).unwrap();
        commits.forget(P1);
        commits.ended(Err(RDKafkaErrorCode::NotCoordinator), now);
        let again = commits.send(now + RETRY).unwrap();
        assert_eq!(again.keys().collect::<Vec<_>>(), [&P0]);
        // It is this member's again, and what it commits now counts.
        commits.add(P1, at(3));
        commits.ended(Err(RDKafkaErrorCode::NotCoordinator), now);
        assert_eq!(commits.send(now + RETRY).unwrap()[&P1], at(3));
    }

    /// The group was dealt anew while the commit was on its way. What this member keeps is still its to commit.
    #[test]
    fn a_commit_for_the_generation_before_is_tried_again_for_what_is_kept_and_not_for_ever() {
        let (mut commits, mut now) = (Commits::default(), Instant::now());
        for round in 1..3 {
            commits.add(P0, at(round));
            commits.add(P1, at(round));
            assert_eq!(commits.send(now).unwrap().len(), 2);
            commits.forget(P1);
            assert_eq!(commits.ended(Err(RDKafkaErrorCode::IllegalGeneration), now), Ended::Again);
            for _ in 1..GENERATIONS {
                now += RETRY;
                assert_eq!(commits.send(now).unwrap().keys().collect::<Vec<_>>(), [&P0]);
                assert!(commits.outcome(commits.made()).is_none());
                assert_eq!(commits.ended(Err(RDKafkaErrorCode::IllegalGeneration), now), Ended::Again);
            }
            now += RETRY;
            commits.send(now).unwrap();
            if round == 1 {
                assert_eq!(commits.ended(Ok(()), now), Ended::Stored, "and then all begins anew");
            } else {
                assert_eq!(commits.ended(Err(RDKafkaErrorCode::IllegalGeneration), now), Ended::Lost);
            }
            assert!(commits.is_idle());
        }
    }

    #[test]
    fn a_commit_that_came_too_late_is_lost_and_told() {
        let (mut commits, now) = (Commits::default(), Instant::now());
        commits.add(P0, at(1));
        commits.send(now).unwrap();
        assert_eq!(commits.ended(Err(RDKafkaErrorCode::UnknownMemberId), now), Ended::Lost);
        assert!(matches!(commits.outcome(1), Some(Err(LogError::Unavailable(_)))));
        commits.add(P0, at(2));
        commits.send(now).unwrap();
        commits.ended(Ok(()), now);
        assert!(matches!(commits.outcome(2), Some(Ok(()))));
    }
}
