//! What a restart needs to know, as it happens: the outbox file is a list of these.

use bytes::Bytes;
use nimbus_proto::v1;

use super::{inbox::Place, seqset::SeqSet};

/// One change of the client's memory.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    /// An attempt to connect begins under this number.
    Session { number: u64 },
    /// An event got its number.
    Event(v1::Event),
    /// Every event up to this one is durable on the server.
    Accepted { through: u64 },
    /// The first Welcome.
    Resume { token: Bytes, position: u64 },
    /// Everything before this position was acknowledged by the application.
    Position { position: u64 },
    /// The outcomes of these events were acknowledged by the application, both inclusive.
    Answered { first: u64, last: u64 },
    /// A gap was acknowledged by the application.
    Gap { token: Bytes, position: u64, suspects: u64 },
}

/// The client's memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Memory {
    pub(crate) session_no: u64,
    /// Every event up to this one is durable on the server.
    pub(crate) accepted: u64,
    /// The events after it, in order.
    pub(crate) events: std::collections::VecDeque<v1::Event>,
    pub(crate) place: Place,
}

impl Memory {
    /// Takes one record in. `Err` says what does not fit.
    pub(crate) fn apply(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Session { number } => {
                if number < self.session_no {
                    return Err(format!("session number {number} after {}", self.session_no));
                }
                self.session_no = number;
            }
            Record::Event(event) => {
                let expected = self.last_seq() + 1;
                if event.seq != expected {
                    return Err(format!("event {} where {expected} should be", event.seq));
                }
                self.events.push_back(event);
            }
            Record::Accepted { through } => {
                // A snapshot begins with what was accepted before its first event.
                let begins = self.accepted == 0 && self.events.is_empty();
                if through > self.last_seq() && !begins {
                    return Err(format!("event {through} accepted, but {} is the last", self.last_seq()));
                }
                while self.accepted < through && self.events.pop_front().is_some() {
                    self.accepted += 1;
                }
                self.accepted = self.accepted.max(through);
            }
            Record::Resume { token, position } => {
                self.place.token = Some(token);
                self.place.position = position;
            }
            Record::Position { position } => self.place.position = position,
            Record::Answered { first, last } => {
                if first == 0 || last < first {
                    return Err(format!("answers {first} to {last}"));
                }
                self.place.answered.insert_range(first, last);
            }
            Record::Gap { token, position, suspects } => {
                self.place.token = Some(token);
                self.place.position = position;
                self.place.suspects = suspects;
            }
        }
        Ok(())
    }

    /// The shortest list of records that makes this memory.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> Vec<Record> {
        snapshot(self.session_no, self.accepted, self.events.iter(), &self.place)
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.accepted + self.events.len() as u64
    }
}

/// The shortest list of records that makes a memory.
pub(crate) fn snapshot<'a>(
    session_no: u64,
    accepted: u64,
    events: impl Iterator<Item = &'a v1::Event>,
    place: &Place,
) -> Vec<Record> {
    let mut records = vec![Record::Session { number: session_no }];
    if accepted > 0 {
        records.push(Record::Accepted { through: accepted });
    }
    records.extend(events.cloned().map(Record::Event));
    if let Some(token) = &place.token {
        // A gap record says all that a resume record says.
        let (token, position, suspects) = (token.clone(), place.position, place.suspects);
        records.push(Record::Gap { token, position, suspects });
    }
    records.extend(SeqSet::ranges(&place.answered).map(|(first, last)| Record::Answered { first, last }));
    records
}
