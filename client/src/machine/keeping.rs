//! What an outbox file is to keep, and what may be done once it has.

use tokio::time::Instant;

use super::{Checkpoint, Machine, Record, record};

impl Machine {
    pub(super) fn record_urgently(&mut self, record: Record) {
        if self.options.keeps_records {
            self.records.push(record);
            self.urgent = true;
        }
    }

    /// Whether records are due now.
    pub(crate) fn records_due(&self, now: Instant) -> bool {
        self.urgent || self.handover_due() || self.dirty_until.is_some_and(|until| until <= now)
    }

    /// What is to be kept. Everything in it must be kept before [`recorded`](Self::recorded) is called.
    pub(crate) fn take_records(&mut self) -> (Vec<Record>, Checkpoint) {
        let position = self.down.place().position;
        let mut records = std::mem::take(&mut self.records);
        if let Some(through) = self.up.take_unrecorded_accept() {
            records.push(Record::Accepted { through });
        }
        if position != self.recorded_position {
            records.push(Record::Position { position });
            self.recorded_position = position;
        }
        if !self.options.keeps_records {
            records.clear();
        }
        self.dirty_until = None;
        self.down.take_freed();
        let checkpoint = Checkpoint {
            last_seq: self.up.last_seq(),
            position,
            log_no: self.down.log_no(),
            receipt: self.down.acknowledged_receipt(),
            must_sync: std::mem::take(&mut self.urgent),
        };
        (records, checkpoint)
    }

    /// The records up to this checkpoint are kept.
    pub(crate) const fn recorded(&mut self, checkpoint: Checkpoint) {
        self.recorded = checkpoint;
    }

    /// The last event that is kept.
    pub(crate) const fn recorded_seq(&self) -> u64 {
        self.recorded.last_seq
    }

    /// The last receipt whose acknowledgement is kept.
    pub(crate) const fn recorded_receipt(&self) -> u64 {
        self.recorded.receipt
    }

    /// Everything that a restart needs, for a file to begin with. No records may be waiting.
    pub(crate) fn snapshot(&self) -> Vec<Record> {
        record::snapshot(self.session_no, self.up.accepted(), self.up.events(), self.down.place())
    }
}
