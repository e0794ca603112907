//! Counts what clients have, answer by answer, against what they must have.

use std::{collections::BTreeSet, fmt, fs, io, path::Path};

use serde_json::Value;

/// What was found about one client, or about all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) sent: u64,
    pub(super) answered: u64,
    lost: u64,
    repeated: u64,
    out_of_order: u64,
    wrong: u64,
    /// Answers that the SDK handed out a second time since the client was killed before it could acknowledge them.
    recognised: u64,
}

impl Verdict {
    /// Reads the results file of a client that has sent 1 to `sent`.
    pub(super) fn read(results: &Path, sent: u64, summary: Value) -> io::Result<Self> {
        let mut books = Books::default();
        books.sent(sent);
        for line in fs::read_to_string(results)?.lines() {
            let entry: Value = serde_json::from_str(line)?;
            books.answer(entry["seq"].as_u64().unwrap_or_default(), entry["result"].as_u64());
        }
        Ok(Self { recognised: summary["known"].as_u64().unwrap_or_default(), ..books.close() })
    }

    /// Takes in what was found about another client.
    pub(super) const fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.wrong += other.wrong;
        self.recognised += other.recognised;
    }

    pub(super) const fn is_good(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.out_of_order == 0 && self.wrong == 0
    }
}

/// The books of one client that sends the numbers from 1 on to `sq`: they remember only what is still open.
#[derive(Debug, Default)]
pub(super) struct Books {
    so_far: Verdict,
    /// All numbers up to this one are answered.
    answered_to: u64,
    /// Those beyond it that are answered.
    beyond: BTreeSet<u64>,
    highest: u64,
}

impl Books {
    /// The numbers up to this one were sent.
    pub(super) const fn sent(&mut self, number: u64) {
        self.so_far.sent = number;
    }

    pub(super) const fn outstanding(&self) -> u64 {
        self.so_far.sent.saturating_sub(self.so_far.answered)
    }

    /// An answer came.
    pub(super) fn answer(&mut self, number: u64, square: Option<u64>) {
        let is_right = (1..=self.so_far.sent).contains(&number) && square == number.checked_mul(number);
        self.so_far.answered += 1;
        if number < self.highest {
            self.so_far.out_of_order += 1;
        }
        self.highest = self.highest.max(number);
        if !is_right {
            self.so_far.wrong += 1;
        } else if number <= self.answered_to || !self.beyond.insert(number) {
            self.so_far.repeated += 1;
        }
        while self.beyond.remove(&(self.answered_to + 1)) {
            self.answered_to += 1;
        }
    }

    /// Something came that answers nothing of what was sent.
    pub(super) const fn stray(&mut self) {
        self.so_far.wrong += 1;
    }

    /// What was found, now that nothing comes any more.
    pub(super) fn close(self) -> Verdict {
        let lost = self.so_far.sent - self.answered_to - self.beyond.len() as u64;
        Verdict { lost, ..self.so_far }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, answered, lost, repeated, out_of_order, wrong, recognised } = self;
        writeln!(f, "   sent          {sent}")?;
        writeln!(f, "   answered      {answered}")?;
        writeln!(f, "   lost          {lost}")?;
        writeln!(f, "   repeated      {repeated}")?;
        writeln!(f, "   out of order  {out_of_order}")?;
        writeln!(f, "   wrong         {wrong}")?;
        if *recognised > 0 {
            writeln!(
                f,
                "   ({recognised} came again because the kill struck between keeping and acknowledging them; the client\n   \
                 knew them by their numbers)"
            )?;
        }
        let word = if self.is_good() { "Nothing was lost or repeated." } else { "THIS IS WRONG." };
        write!(f, "\n   {word}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(answers: &[(u64, Option<u64>)], sent: u64) -> Verdict {
        let mut books = Books::default();
        books.sent(sent);
        for (number, square) in answers {
            books.answer(*number, *square);
        }
        books.close()
    }

    fn squares(numbers: &[u64]) -> Vec<(u64, Option<u64>)> {
        numbers.iter().map(|number| (*number, Some(number * number))).collect()
    }

    #[test]
    fn the_verdict_can_fail_in_every_way() {
        assert!(verdict(&squares(&[1, 2, 3]), 3).is_good());
        assert_eq!(verdict(&squares(&[1, 3]), 3).lost, 1);
        assert_eq!(verdict(&squares(&[1, 2, 3, 3]), 3).repeated, 1);
        assert_eq!(verdict(&squares(&[1, 3, 2]), 3).out_of_order, 1);
        assert_eq!(verdict(&squares(&[1, 2, 3, 4]), 3).wrong, 1);
        let failed = verdict(&[(1, None), (2, Some(5))], 2);
        assert_eq!((failed.wrong, failed.lost), (2, 2));
        assert!(!failed.is_good() && failed.to_string().contains("WRONG"));
    }
}
