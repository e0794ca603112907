//! Records to put into logs. No two are alike, and between them every field has been something else than its default.

use bytes::Bytes;
use nimbus_core::{
    ClientId, ContentType, DeadLetter, Event, EventName, Failure, Lane, Mark, MarkKind, Offset, PartKind, ResultRecord,
    clock::UnixMillis, ports::log::LogRecord,
};

use crate::support::origin;

/// A kind of record that suites can make.
pub trait Sample: LogRecord {
    /// The `number`th record of a client. The same arguments give the same record.
    fn sample(client: &ClientId, number: u64) -> Self;
}

fn failure(number: u64) -> Failure {
    Failure { code: 3, reason: "INVALID_PAYLOAD".to_owned(), message: format!("number {number}, for people: ü") }
}

fn name(number: u64) -> EventName {
    EventName::try_new(&format!("event.{}", number % 3)).expect("it is within the alphabet")
}

impl Sample for Event {
    fn sample(client: &ClientId, number: u64) -> Self {
        let odd = number % 2 == 1;
        Self {
            origin: origin(client, "somebody", (number % 3) as u8),
            seq: number + 1,
            name: name(number),
            payload: Bytes::from(vec![number as u8; (number % 7) as usize * 50]),
            content_type: ContentType::new(if odd { "application/json" } else { "" }),
            attributes: if odd { vec![("key".to_owned(), number.to_string())] } else { Vec::new() },
            deadline: odd.then_some(UnixMillis(2_000_000_000_000 + number)),
            traceparent: if odd { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" } else { "" }.to_owned(),
            received: UnixMillis(1_700_000_000_000 + number),
            replay_no: (number % 5 == 4).into(),
            refused: (number % 4 == 3).then(|| Box::new(failure(number))),
            edge_context: Bytes::from(vec![7; (number % 4) as usize]),
        }
    }
}

impl Sample for ResultRecord {
    fn sample(client: &ClientId, number: u64) -> Self {
        let kinds = [PartKind::Final, PartKind::Part, PartKind::Log, PartKind::Error, PartKind::Progress];
        let kind = kinds[(number % 5) as usize];
        Self {
            origin: origin(client, "somebody", (number % 3) as u8),
            seq: number + 1,
            event_name: name(number),
            attempt: 1 + (number % 3) as u32,
            part_no: (number % 4) as u32,
            replay_no: (number % 6 == 5).into(),
            kind,
            lane: if number % 2 == 1 { Lane::Jobs } else { Lane::Ordered },
            payload: Bytes::from(vec![number as u8; (number % 7) as usize * 50]),
            content_type: ContentType::new(if number % 2 == 1 { "text/plain; charset=utf-8" } else { "" }),
            attributes: if number % 3 == 1 { vec![("a".to_owned(), String::new())] } else { Vec::new() },
            failure: (kind == PartKind::Error).then(|| Box::new(failure(number))),
            event_offset: Offset(number * 3),
            produced: UnixMillis(1_700_000_000_000 + number),
            edge_context: Bytes::from(vec![9; (number % 4) as usize]),
        }
    }
}

impl Sample for DeadLetter {
    fn sample(client: &ClientId, number: u64) -> Self {
        let letter = Self {
            event: Event::sample(client, number),
            failure: failure(number),
            attempts: 1 + (number % 9) as u32,
            event_offset: Offset(number * 3),
            failed: UnixMillis(1_700_000_000_000 + number),
            mark: None,
        };
        let at = UnixMillis(1_800_000_000_000 + number);
        match number % 5 {
            3 => letter.marked(Mark { kind: MarkKind::Replayed { replay_no: 1 + (number % 4) as u32 }, at }),
            4 => letter.marked(Mark { kind: MarkKind::Purged, at }),
            _ => letter,
        }
    }
}
