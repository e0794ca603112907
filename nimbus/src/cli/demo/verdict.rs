//! Counts what the client has, line by line, against what it must have.

use std::{fmt, fs, io, path::Path};

use serde_json::Value;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    sent: u64,
    answered: u64,
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
        let mut answers = Vec::new();
        for line in fs::read_to_string(results)?.lines() {
            let entry: Value = serde_json::from_str(line)?;
            answers.push((entry["seq"].as_u64().unwrap_or_default(), entry["result"].as_u64()));
        }
        Ok(Self { recognised: summary["known"].as_u64().unwrap_or_default(), ..Self::of(&answers, sent) })
    }

    fn of(answers: &[(u64, Option<u64>)], sent: u64) -> Self {
        let mut times = vec![0_u64; usize::try_from(sent).unwrap_or(usize::MAX) + 1];
        let (mut wrong, mut out_of_order, mut highest) = (0, 0, 0);
        for (number, square) in answers {
            match usize::try_from(*number).ok().and_then(|index| times.get_mut(index)) {
                Some(count) if *number > 0 && *square == Some(number * number) => *count += 1,
                _ => wrong += 1,
            }
            if *number < highest {
                out_of_order += 1;
            }
            highest = highest.max(*number);
        }
        Self {
            sent,
            answered: answers.len() as u64,
            lost: times[1..].iter().filter(|count| **count == 0).count() as u64,
            repeated: times[1..].iter().map(|count| count.saturating_sub(1)).sum(),
            out_of_order,
            wrong,
            recognised: 0,
        }
    }

    pub(super) const fn is_good(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.out_of_order == 0 && self.wrong == 0
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

    fn squares(numbers: &[u64]) -> Vec<(u64, Option<u64>)> {
        numbers.iter().map(|number| (*number, Some(number * number))).collect()
    }

    #[test]
    fn the_verdict_can_fail_in_every_way() {
        assert!(Verdict::of(&squares(&[1, 2, 3]), 3).is_good());
        assert_eq!(Verdict::of(&squares(&[1, 3]), 3).lost, 1);
        assert_eq!(Verdict::of(&squares(&[1, 2, 3, 3]), 3).repeated, 1);
        assert_eq!(Verdict::of(&squares(&[1, 3, 2]), 3).out_of_order, 1);
        assert_eq!(Verdict::of(&squares(&[1, 2, 3, 4]), 3).wrong, 1);
        let failed = Verdict::of(&[(1, None), (2, Some(5))], 2);
        assert_eq!((failed.wrong, failed.lost), (2, 2));
        assert!(!failed.is_good() && failed.to_string().contains("WRONG"));
    }
}
