//! What is sent and what must come back: made once, so that neither costs an allocation per event.

use bytes::Bytes;

use crate::Weighted;

/// How many different inputs there are. Their squares fit into 32 bits.
const INPUTS: u64 = 4096;

/// Inputs by event number, and their right answers. With several kinds of events, a number and the stream decide the kind, so
/// that an event that is sent again is the same event.
#[derive(Debug)]
pub(crate) struct Inputs {
    payloads: Vec<Bytes>,
    kinds: Vec<Kind>,
    /// Of all kinds.
    weight: u64,
}

#[derive(Debug)]
struct Kind {
    name: Bytes,
    /// Of this kind and those before it.
    weight: u64,
    answers: Answers,
}

#[derive(Debug)]
enum Answers {
    Squares(Vec<Bytes>),
    Inputs,
    /// Not known beforehand.
    Any,
}

impl Inputs {
    /// `kinds`: at least one.
    pub(crate) fn new(kinds: &[Weighted], payload_bytes: usize) -> Self {
        let payloads = (0..INPUTS)
            .map(|seq| {
                let mut text = number(seq).to_string().into_bytes();
                // Blanks before a number are still JSON.
                if let Some(missing) = payload_bytes.checked_sub(text.len()) {
                    text.splice(0..0, std::iter::repeat_n(b' ', missing));
                }
                text.into()
            })
            .collect();
        let mut weight = 0;
        let kinds = kinds.iter().map(|kind| {
            weight += u64::from(kind.weight);
            let answers = match kind.name.as_str() {
                "sq" => Answers::Squares((0..INPUTS).map(|seq| square(seq).to_string().into()).collect()),
                "echo" => Answers::Inputs,
                _ => Answers::Any,
            };
            Kind { name: Bytes::copy_from_slice(kind.name.as_bytes()), weight, answers }
        });
        let kinds = kinds.collect();
        Self { payloads, kinds, weight }
    }

    fn kind(&self, stream: u64, seq: u64) -> &Kind {
        let at = if self.kinds.len() == 1 { 0 } else { scattered(stream << 40 ^ seq) % self.weight };
        self.kinds.iter().find(|kind| at < kind.weight).unwrap_or(&self.kinds[0])
    }

    pub(crate) fn name(&self, stream: u64, seq: u64) -> Bytes {
        self.kind(stream, seq).name.clone()
    }

    pub(crate) fn payload(&self, seq: u64) -> Bytes {
        self.payloads[index(seq)].clone()
    }

    pub(crate) fn is_right(&self, stream: u64, seq: u64, payload: &[u8]) -> bool {
        match &self.kind(stream, seq).answers {
            Answers::Squares(squares) => squares[index(seq)] == payload,
            Answers::Inputs => self.payloads[index(seq)] == payload,
            Answers::Any => true,
        }
    }

    /// The original protocol carries numbers.
    pub(crate) fn is_right_number(&self, stream: u64, seq: u64, input: i32, result: i32) -> bool {
        let squares = matches!(self.kind(stream, seq).answers, Answers::Squares(_));
        input == number(seq) && (!squares || result == square(seq))
    }
}

/// The input of an event.
pub(crate) const fn number(seq: u64) -> i32 {
    // Not 0, whose square hides a result that was never set.
    (seq % INPUTS) as i32 + 2
}

const fn square(seq: u64) -> i32 {
    number(seq) * number(seq)
}

const fn index(seq: u64) -> usize {
    (seq % INPUTS) as usize
}

/// As good as a random number, and always the same one: the finish of SplitMix64.
const fn scattered(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(name: &str, payload_bytes: usize) -> Inputs {
        Inputs::new(&[Weighted { name: name.to_owned(), weight: 1 }], payload_bytes)
    }

    #[test]
    fn a_wrong_answer_is_found() {
        let inputs = only("sq", 64);
        assert_eq!(inputs.payload(10).len(), 64);
        assert!(inputs.payload(10).ends_with(b" 12"));
        assert!(inputs.is_right(0, 10, b"144"));
        assert!(!inputs.is_right(0, 10, b"143"));
        assert!(inputs.is_right_number(0, 10, 12, 144));
        assert!(!inputs.is_right_number(0, 10, 12, 0));
        assert!(!inputs.is_right_number(0, 10, 13, 169));
        assert!(!only("echo", 0).is_right(0, 10, b"144"));
        assert!(only("delay", 0).is_right(0, 10, b"whatever"));
    }

    #[test]
    fn kinds_come_by_their_weights_and_each_has_its_own_answers() {
        let weighted = |name: &str, weight| Weighted { name: name.to_owned(), weight };
        let inputs = Inputs::new(&[weighted("sq", 3), weighted("echo", 1)], 0);
        let squares = (0..8_000).filter(|number| inputs.name(number % 8, number / 8) == "sq").count();
        assert!((5_800..6_200).contains(&squares), "{squares} of 8000");
        for seq in 0..100 {
            let answer = if inputs.name(5, seq) == "sq" { square(seq) } else { number(seq) };
            assert!(inputs.is_right(5, seq, answer.to_string().as_bytes()), "{seq}");
        }
        let same = (0..100).filter(|seq| inputs.name(1, *seq) == inputs.name(2, *seq)).count();
        assert!(same < 90, "streams do not send the same kinds at the same time: {same}");
    }
}
