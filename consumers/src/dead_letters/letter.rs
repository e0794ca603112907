//! A dead letter as it is listed: everything but its content, so that a long list fits into memory.

use std::{fmt, str::FromStr, sync::Arc};

use nimbus_core::{
    ClientId, EventName, Offset, Origin, OutboxId, Partition, PrincipalId, clock::UnixMillis, ports::log::Stored,
    result::DeadLetter,
};

/// Names a dead letter: its place in the log of dead letters, written `PARTITION:OFFSET`. Never given to another letter of
/// the same log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId {
    /// Which partition.
    pub partition: Partition,
    /// Where in it.
    pub offset: Offset,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition.0, self.offset)
    }
}

/// The text is no [`LetterId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a dead letter is named PARTITION:OFFSET, such as 3:41")]
pub struct InvalidLetterId;

impl FromStr for LetterId {
    type Err = InvalidLetterId;

    fn from_str(text: &str) -> Result<Self, InvalidLetterId> {
        // A number in any other form than the shown one would be a second name for the same letter.
        fn number<T: FromStr>(text: &str) -> Result<T, InvalidLetterId> {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            text.parse().ok().filter(|_| is_plain).ok_or(InvalidLetterId)
        }
        let (partition, offset) = text.split_once(':').ok_or(InvalidLetterId)?;
        // The last offset has no position behind it, so no record is there.
        let offset = number(offset).ok().filter(|offset| *offset < u64::MAX).ok_or(InvalidLetterId)?;
        Ok(Self { partition: Partition(number(partition)?), offset: Offset(offset) })
    }
}

/// What became of a dead letter so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterState {
    /// Nothing was done about it.
    Open,
    /// Its event was appended again.
    Replayed {
        /// The highest number under which it was.
        replay_no: u32,
        /// When that was.
        at: UnixMillis,
    },
    /// Nobody wants it any more.
    Purged {
        /// Since when.
        at: UnixMillis,
    },
}

/// One dead letter, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its name: the place of its oldest copy that is still in the log.
    pub id: LetterId,
    /// Places of further copies, rising: a crash before its answer was durable made its event fail once more.
    pub copies: Vec<Offset>,
    /// Whose event it was.
    pub origin: Arc<Origin>,
    /// The event's number in its outbox.
    pub seq: u64,
    /// The event's name.
    pub event: EventName,
    /// Above 0 when what failed was itself a replay.
    pub replay_no: u32,
    /// Why it failed.
    pub reason: String,
    /// How many attempts were made.
    pub attempts: u32,
    /// When it was given up.
    pub failed: UnixMillis,
    /// Size of the event's payload.
    pub payload_bytes: usize,
    /// What became of it.
    pub state: LetterState,
    /// The highest number under which this event was ever replayed, as far as the log still knows; 0 for never.
    pub last_replay_no: u32,
}

impl Letter {
    pub(super) fn new(partition: Partition, stored: &Stored<DeadLetter>) -> Self {
        let DeadLetter { event, failure, attempts, failed, .. } = &stored.record;
        Self {
            id: LetterId { partition, offset: stored.offset },
            copies: Vec::new(),
            origin: Arc::clone(&event.origin),
            seq: event.seq,
            event: event.name.clone(),
            replay_no: event.replay_no,
            reason: failure.reason.clone(),
            attempts: *attempts,
            failed: *failed,
            payload_bytes: event.payload.len(),
            state: LetterState::Open,
            last_replay_no: event.replay_no,
        }
    }

    /// Whether something remains to be done about it.
    pub fn is_open(&self) -> bool {
        self.state == LetterState::Open
    }

    /// Whether the letter, or a copy of it, lies there.
    pub fn is_at(&self, id: LetterId) -> bool {
        self.id == id || (self.id.partition == id.partition && self.copies.binary_search(&id.offset).is_ok())
    }
}

/// What makes two events the same one, however often it was sent, executed or replayed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    client: ClientId,
    principal: PrincipalId,
    outbox: OutboxId,
    seq: u64,
}

impl Identity {
    pub(super) fn new(origin: &Origin, seq: u64) -> Self {
        let Origin { client, principal, outbox } = origin;
        Self { client: client.clone(), principal: principal.clone(), outbox: *outbox, seq }
    }
}
