//! What an event says, so that its answer can be recognised: the run, the client, the number, and some ballast that follows
//! from them. The executor `echo` gives it back; nothing needs to be remembered to judge it.

use std::fmt::Write as _;

/// What an answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Exactly what was sent.
    Right,
    /// It answers an event of another client, or of another run.
    Foreign(String),
    /// It is this client's, and not what was sent.
    Wrong(String),
}

/// One client of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Author {
    pub(crate) run: String,
    pub(crate) client: String,
    /// How long a payload is at least.
    pub(crate) bytes: usize,
}

impl Author {
    /// The payload of this client's event `seq`.
    pub(crate) fn payload(&self, seq: u64) -> String {
        let mut text = format!("{}/{}/{seq}/", self.run, self.client);
        let mut ballast = seq;
        while text.len() < self.bytes {
            ballast = ballast.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            write!(text, "{:02x}", ballast >> 56).expect("a string takes everything");
        }
        text
    }

    /// Judges what came for event `seq`.
    pub(crate) fn judge(&self, seq: u64, payload: &[u8]) -> Verdict {
        let text = String::from_utf8_lossy(payload);
        if text == self.payload(seq) {
            return Verdict::Right;
        }
        let mut words = text.split('/');
        let author = (words.next(), words.next(), words.next().and_then(|seq| seq.parse::<u64>().ok()));
        match author {
            (Some(run), Some(client), Some(_)) if run != self.run || client != self.client => {
                Verdict::Foreign(text.into_owned())
            }
            _ => Verdict::Wrong(text.into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author(run: &str, client: &str) -> Author {
        Author { run: run.to_owned(), client: client.to_owned(), bytes: 64 }
    }

    #[test]
    fn only_the_very_payload_is_right() {
        let me = author("r", "c");
        let sent = me.payload(7);
        assert!(sent.len() >= 64);
        assert_eq!(me.judge(7, sent.as_bytes()), Verdict::Right);
        assert!(matches!(me.judge(8, sent.as_bytes()), Verdict::Wrong(_)), "of another event");
        assert!(matches!(me.judge(7, &sent.as_bytes()[1..]), Verdict::Foreign(_) | Verdict::Wrong(_)), "cut");
        let mut flipped = sent.into_bytes();
        *flipped.last_mut().unwrap() ^= 1;
        assert!(matches!(me.judge(7, &flipped), Verdict::Wrong(_)), "one bit");
        assert!(matches!(me.judge(7, b""), Verdict::Wrong(_)), "nothing");
    }

    #[test]
    fn what_is_anothers_is_foreign() {
        let me = author("r", "c");
        assert!(matches!(me.judge(7, author("r", "d").payload(7).as_bytes()), Verdict::Foreign(_)), "another client");
        assert!(matches!(me.judge(7, author("q", "c").payload(7).as_bytes()), Verdict::Foreign(_)), "another run");
    }
}
