//! What makes a record that record: to notice that a log was replaced by another one (delivery rules, identities).

use nimbus_core::ResultRecord;

/// Names a record by what it answers, and when: not by how it is encoded, which may change with a version. Not secret, not
/// against forgery.
pub fn fingerprint(record: &ResultRecord) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    let origin = &record.origin;
    for text in [origin.client.as_str(), origin.principal.as_str(), record.event_name.as_str()] {
        hash.number(text.len() as u64);
        hash.bytes(text.as_bytes());
    }
    hash.bytes(origin.outbox.as_bytes());
    let numbers = [record.seq, record.attempt.into(), record.part_no.into(), record.replay_no.into()];
    numbers.into_iter().chain([record.event_offset.0, record.produced.0]).for_each(|number| hash.number(number));
    hash.0
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
    use nimbus_contracts::Sample as _;
    use nimbus_core::ClientId;

    use super::*;

    /// It is stored: another value here is another log, for every deployment.
    #[test]
    fn a_fingerprint_never_changes_and_tells_records_apart() {
        let client = ClientId::try_new("c").unwrap();
        let mut all: Vec<_> = (0..500).map(|number| fingerprint(&ResultRecord::sample(&client, number))).collect();
        assert_eq!(all[0], 12_605_349_482_216_440_748);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 500);
    }
}
