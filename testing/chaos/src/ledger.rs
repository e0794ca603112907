//! The books of one client: what it sent, what came back, and what is wrong with that. Pure: the clock comes from outside.

use std::{collections::BTreeMap, ops::AddAssign};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::payload::Verdict;

/// What one client, or all of them, found. Everything but the first two is a violation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Events sent.
    pub sent: u64,
    /// Events that have their answer, each counted once.
    pub answered: u64,
    /// Events without an answer at the end.
    pub lost: u64,
    /// Answers to what was answered before.
    pub duplicated: u64,
    /// Answers that came after the answer to a later event.
    pub reordered: u64,
    /// Answers that belong to another client, or to another run.
    pub foreign: u64,
    /// Answers that do not say what was sent, that are errors, or that answer nothing that was sent.
    pub wrong: u64,
    /// Times that a client was told that it may have missed something.
    pub gaps: u64,
    /// Answers that settle nothing (of another outbox, or late).
    pub strays: u64,
    /// Clients that ended before they were told to.
    pub ended: u64,
}

impl Books {
    /// Everything that must not be, together.
    pub const fn violations(&self) -> u64 {
        let Self { sent: _, answered: _, lost, duplicated, reordered, foreign, wrong, gaps, strays, ended } = *self;
        lost + duplicated + reordered + foreign + wrong + gaps + strays + ended
    }
}

impl AddAssign for Books {
    fn add_assign(&mut self, other: Self) {
        let Self { sent, answered, lost, duplicated, reordered, foreign, wrong, gaps, strays, ended } = other;
        self.sent += sent;
        self.answered += answered;
        self.lost += lost;
        self.duplicated += duplicated;
        self.reordered += reordered;
        self.foreign += foreign;
        self.wrong += wrong;
        self.gaps += gaps;
        self.strays += strays;
        self.ended += ended;
    }
}

/// What an answer did to the books: when its event should have been sent, if that was open; and what is wrong, if anything.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) intended: Option<Instant>,
    pub(crate) violations: Vec<String>,
}

/// The books of one client whose events count from 1.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    books: Books,
    /// Events without an answer, and when each should have been sent.
    open: BTreeMap<u64, Instant>,
    /// The highest event that is answered.
    highest: u64,
}

impl Ledger {
    /// The next event is about to be sent, and should have been at `intended`. Returns its number.
    pub(crate) fn send(&mut self, intended: Instant) -> u64 {
        self.books.sent += 1;
        self.open.insert(self.books.sent, intended);
        self.books.sent
    }

    /// An answer came.
    pub(crate) fn answer(&mut self, seq: u64, verdict: Verdict) -> Entry {
        let mut violations = Vec::new();
        let intended = self.open.remove(&seq);
        if seq == 0 || seq > self.books.sent {
            self.books.wrong += 1;
            violations.push("it answers what was not sent".to_owned());
        } else if intended.is_none() {
            self.books.duplicated += 1;
            violations.push("it was answered before".to_owned());
        } else {
            self.books.answered += 1;
            if seq < self.highest {
                self.books.reordered += 1;
                violations.push(format!("{} was answered before it", self.highest));
            }
            self.highest = self.highest.max(seq);
        }
        match verdict {
            Verdict::Right => {}
            Verdict::Foreign(said) => {
                self.books.foreign += 1;
                violations.push(format!("it is somebody else's: {said}"));
            }
            Verdict::Wrong(said) => {
                self.books.wrong += 1;
                violations.push(format!("it says: {said}"));
            }
        }
        Entry { intended, violations }
    }

    pub(crate) const fn gap(&mut self) {
        self.books.gaps += 1;
    }

    pub(crate) const fn stray(&mut self) {
        self.books.strays += 1;
    }

    /// The client ended although nobody had told it to.
    pub(crate) const fn ended(&mut self) {
        self.books.ended += 1;
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.open.len()
    }

    /// When the oldest event that has no answer should have been sent.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        // Numbers are given in the order of time.
        self.open.values().next().copied()
    }

    /// The books as they are: nothing counts as lost yet.
    pub(crate) const fn books(&self) -> Books {
        self.books
    }

    /// Which events have no answer.
    pub(crate) fn open(&self) -> impl Iterator<Item = u64> {
        self.open.keys().copied()
    }

    /// Nothing comes any more: what is open is lost.
    pub(crate) fn close(&self) -> Books {
        Books { lost: self.open.len() as u64, ..self.books }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the books of three events say when these answers come.
    fn books(answers: &[(u64, Verdict)]) -> Books {
        let mut ledger = Ledger::default();
        for _ in 0..3 {
            ledger.send(Instant::now());
        }
        let mut found = 0;
        for (seq, verdict) in answers {
            found += ledger.answer(*seq, verdict.clone()).violations.len() as u64;
        }
        let books = ledger.close();
        assert_eq!(books.violations(), found + books.lost, "each violation is told as well as counted");
        books
    }

    fn right(seqs: &[u64]) -> Vec<(u64, Verdict)> {
        seqs.iter().map(|seq| (*seq, Verdict::Right)).collect()
    }

    const GOOD: Books = Books {
        sent: 3,
        answered: 3,
        lost: 0,
        duplicated: 0,
        reordered: 0,
        foreign: 0,
        wrong: 0,
        gaps: 0,
        strays: 0,
        ended: 0,
    };

    #[test]
    fn what_is_right_is_no_violation() {
        assert_eq!(books(&right(&[1, 2, 3])), GOOD);
        assert_eq!(GOOD.violations(), 0);
    }

    #[test]
    fn a_duplicate_is_counted_also_when_it_comes_late() {
        assert_eq!(books(&right(&[1, 1, 2, 3])), Books { duplicated: 1, ..GOOD });
        assert_eq!(books(&right(&[1, 2, 3, 1, 3])), Books { duplicated: 2, ..GOOD });
    }

    #[test]
    fn a_missing_one_is_counted_wherever_it_is() {
        assert_eq!(books(&right(&[1, 3])), Books { answered: 2, lost: 1, ..GOOD });
        assert_eq!(books(&right(&[2, 3])), Books { answered: 2, lost: 1, ..GOOD });
        assert_eq!(books(&right(&[1])), Books { answered: 1, lost: 2, ..GOOD });
        assert_eq!(books(&[]), Books { answered: 0, lost: 3, ..GOOD });
    }

    #[test]
    fn a_swapped_order_is_counted_and_nothing_counts_as_lost_for_it() {
        assert_eq!(books(&right(&[1, 3, 2])), Books { reordered: 1, ..GOOD });
        assert_eq!(books(&right(&[3, 2, 1])), Books { reordered: 2, ..GOOD });
    }

    #[test]
    fn a_foreign_answer_is_counted_and_so_is_a_wrong_one() {
        let foreign = Verdict::Foreign("r/d/2/".to_owned());
        assert_eq!(books(&[right(&[1]), vec![(2, foreign)], right(&[3])].concat()), Books { foreign: 1, ..GOOD });
        let wrong = Verdict::Wrong("?".to_owned());
        assert_eq!(books(&[right(&[1]), vec![(2, wrong)], right(&[3])].concat()), Books { wrong: 1, ..GOOD });
    }

    #[test]
    fn an_answer_to_nothing_is_wrong() {
        assert_eq!(books(&right(&[0, 1, 2, 3, 4])), Books { wrong: 2, ..GOOD });
    }

    #[test]
    fn everything_but_sent_and_answered_is_a_violation_and_all_is_added_up() {
        let mut ledger = Ledger::default();
        ledger.gap();
        ledger.stray();
        ledger.ended();
        assert_eq!(ledger.close(), Books { gaps: 1, strays: 1, ended: 1, ..Books::default() });
        let each = Books {
            sent: 1,
            answered: 1,
            lost: 1,
            duplicated: 1,
            reordered: 1,
            foreign: 1,
            wrong: 1,
            gaps: 1,
            strays: 1,
            ended: 1,
        };
        let mut sum = each;
        sum += each;
        assert_eq!((sum.violations(), sum.sent, sum.answered), (16, 2, 2));
    }
}
