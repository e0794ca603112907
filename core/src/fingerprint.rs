//! What makes a record that record: to notice that a log was replaced by another one (delivery rules, identities).

use crate::ResultRecord;

impl ResultRecord {
    /// Names the record by what it answers, and when: not by how it is encoded, which may change with a version. The same in
    /// every version of Nimbus. Not secret, not against forgery.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
        let origin = &self.origin;
        for text in [origin.client.as_str(), origin.principal.as_str(), self.event_name.as_str()] {
            hash.number(text.len() as u64);
            hash.bytes(text.as_bytes());
        }
        hash.bytes(origin.outbox.as_bytes());
        let numbers = [self.seq, self.attempt.into(), self.part_no.into(), self.replay_no.into()];
        numbers.into_iter().chain([self.event_offset.0, self.produced.0]).for_each(|number| hash.number(number));
        hash.0
    }
}

/// FNV-1a of 64 bits.
struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{
        ClientId, ContentType, Event, EventName, Lane, Offset, Origin, OutboxId, PartKind, PrincipalId,
        clock::UnixMillis,
    };

    fn record(seq: u64) -> ResultRecord {
        let origin = Origin {
            client: ClientId::try_new("c").unwrap(),
            principal: PrincipalId::try_new("p").unwrap(),
            outbox: OutboxId::new([1; 16]),
        };
        let event = Event {
            origin: Arc::new(origin),
            seq,
            name: EventName::try_new("sq").unwrap(),
            payload: Bytes::new(),
            content_type: ContentType::default(),
            attributes: Vec::new(),
            deadline: None,
            traceparent: String::new(),
            received: UnixMillis(7),
            replay_no: 0,
            refused: None,
            edge_context: Bytes::new(),
        };
        ResultRecord::answering(&event, Offset(seq), Lane::Ordered, PartKind::Final, UnixMillis(9))
    }

    /// It is stored: another value here is another log, for every deployment.
    #[test]
    fn a_fingerprint_never_changes_and_tells_records_apart() {
        let mut all: Vec<_> = (0..500).map(|seq| record(seq).fingerprint()).collect();
        assert_eq!(all[0], 10_315_437_688_540_138_314);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 500);
    }
}
