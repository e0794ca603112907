//! Domain records as protobuf, field by field, in the order of their numbers. The numbers are those of `envelope.proto`.

use nimbus_core::{
    DeadLetter, Event, Failure, Lane, Mark, MarkKind, Origin, PartKind, ResultRecord, clock::UnixMillis,
};
use nimbus_proto::stored::{dead_letter_mark, result_envelope};

use crate::{
    VERSION,
    wire::{Message, Sink, bytes, message, number, signed, text},
};

impl Message for Event {
    fn write<S: Sink>(&self, sink: &mut S) {
        number(sink, 1, u64::from(VERSION));
        message(sink, 2, &*self.origin);
        number(sink, 3, self.seq);
        text(sink, 4, self.name.as_str());
        bytes(sink, 5, &self.payload);
        text(sink, 6, self.content_type.as_str());
        for attribute in &self.attributes {
            message(sink, 7, attribute);
        }
        number(sink, 8, self.deadline.map_or(0, deadline_millis));
        text(sink, 9, &self.traceparent);
        number(sink, 10, self.received.0);
        number(sink, 11, u64::from(self.replay_no));
        if let Some(refused) = &self.refused {
            message(sink, 12, &**refused);
        }
        bytes(sink, 13, &self.edge_context);
    }
}

/// 0 says "none" on disk, so a deadline at the very beginning of time is moved by a millisecond: just as much past.
fn deadline_millis(deadline: UnixMillis) -> u64 {
    deadline.0.max(1)
}

impl Message for Origin {
    fn write<S: Sink>(&self, sink: &mut S) {
        text(sink, 1, self.client.as_str());
        text(sink, 2, self.principal.as_str());
        bytes(sink, 3, self.outbox.as_bytes());
    }
}

impl Message for ResultRecord {
    fn write<S: Sink>(&self, sink: &mut S) {
        number(sink, 1, u64::from(VERSION));
        message(sink, 2, &*self.origin);
        number(sink, 3, self.seq);
        text(sink, 4, self.event_name.as_str());
        number(sink, 5, u64::from(self.attempt));
        number(sink, 6, u64::from(self.part_no));
        number(sink, 7, u64::from(self.replay_no));
        signed(sink, 8, kind(self.kind) as i32);
        signed(sink, 9, lane(self.lane) as i32);
        bytes(sink, 10, &self.payload);
        text(sink, 11, self.content_type.as_str());
        for attribute in &self.attributes {
            message(sink, 12, attribute);
        }
        if let Some(failure) = &self.failure {
            message(sink, 13, &**failure);
        }
        number(sink, 14, self.event_offset.0);
        number(sink, 15, self.produced.0);
        bytes(sink, 16, &self.edge_context);
    }
}

impl Message for DeadLetter {
    fn write<S: Sink>(&self, sink: &mut S) {
        number(sink, 1, u64::from(VERSION));
        message(sink, 2, &self.event);
        message(sink, 3, &self.failure);
        number(sink, 4, u64::from(self.attempts));
        number(sink, 5, self.event_offset.0);
        number(sink, 6, self.failed.0);
        if let Some(mark) = &self.mark {
            message(sink, 7, mark);
        }
    }
}

impl Message for Mark {
    fn write<S: Sink>(&self, sink: &mut S) {
        let (kind, replay_no) = match self.kind {
            MarkKind::Replayed { replay_no } => (dead_letter_mark::Kind::Replayed, replay_no),
            MarkKind::Purged => (dead_letter_mark::Kind::Purged, 0),
        };
        signed(sink, 1, kind as i32);
        number(sink, 2, u64::from(replay_no));
        number(sink, 3, self.at.0);
    }
}

impl Message for Failure {
    fn write<S: Sink>(&self, sink: &mut S) {
        signed(sink, 1, self.code);
        text(sink, 2, &self.reason);
        text(sink, 3, &self.message);
    }
}

impl Message for (String, String) {
    fn write<S: Sink>(&self, sink: &mut S) {
        text(sink, 1, &self.0);
        text(sink, 2, &self.1);
    }
}

fn kind(kind: PartKind) -> result_envelope::Kind {
    match kind {
        PartKind::Part => result_envelope::Kind::Part,
        PartKind::Log => result_envelope::Kind::Log,
        PartKind::Progress => result_envelope::Kind::Progress,
        PartKind::Final => result_envelope::Kind::Final,
        PartKind::Error => result_envelope::Kind::Error,
    }
}

fn lane(lane: Lane) -> result_envelope::Lane {
    match lane {
        Lane::Ordered => result_envelope::Lane::Ordered,
        Lane::Jobs => result_envelope::Lane::Jobs,
    }
}
