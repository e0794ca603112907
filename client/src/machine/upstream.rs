//! Events on their way up: their numbers, what may be sent, and when they are forgotten.

use std::{collections::VecDeque, time::Duration};

use nimbus_proto::v1;
use tokio::time::Instant;

use super::{Live, Machine, Phase, Record};
use crate::{Error, Event};

/// Wait after a refusal that names no time.
const DEFAULT_HOLD: Duration = Duration::from_millis(100);

/// The outbox: every event that is not accepted, in order.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Every event up to this one is durable on the server.
    accepted: u64,
    /// The events after it.
    events: VecDeque<v1::Event>,
    recorded_accept: u64,
    /// Every event up to this one may have reached a server, on whichever stream.
    sent: u64,
    /// Room in the outbox that was freed since it was taken.
    freed: usize,
    /// What this server said.
    pub(super) max_payload_bytes: Option<u32>,
}

impl Upstream {
    pub(super) fn new(accepted: u64, events: VecDeque<v1::Event>) -> Self {
        // Which of them an earlier process had sent is not known.
        let sent = accepted + events.len() as u64;
        Self { accepted, events, recorded_accept: accepted, sent, freed: 0, max_payload_bytes: None }
    }

    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) const fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(super) fn last_seq(&self) -> u64 {
        self.accepted + self.events.len() as u64
    }

    pub(super) fn everything_accepted(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn events(&self) -> impl Iterator<Item = &v1::Event> {
        self.events.iter()
    }

    /// The event to send.
    pub(super) fn take(&mut self, seq: u64) -> Option<v1::Event> {
        let index = usize::try_from(seq.checked_sub(self.accepted + 1)?).ok()?;
        let event = self.events.get(index).cloned();
        self.sent = self.sent.max(seq);
        event
    }

    pub(super) fn take_unrecorded_accept(&mut self) -> Option<u64> {
        let news = self.accepted > self.recorded_accept;
        self.recorded_accept = self.accepted;
        news.then_some(self.accepted)
    }

    fn accept(&mut self, through: u64) {
        let count = usize::try_from(through.saturating_sub(self.accepted)).unwrap_or(usize::MAX);
        let count = count.min(self.events.len());
        self.events.drain(..count);
        self.accepted += count as u64;
        self.freed += count;
    }
}

impl Live {
    /// Goes back to the event that was refused: the server discards everything else until it comes again.
    pub(super) fn rejected(&mut self, now: Instant, rejected: &v1::Rejected, up: &Upstream) {
        if rejected.seq <= up.accepted() || rejected.seq >= self.next_to_send {
            return;
        }
        self.next_to_send = rejected.seq;
        let hold = match rejected.retry_after_ms {
            0 => DEFAULT_HOLD,
            ms => Duration::from_millis(u64::from(ms)),
        };
        self.hold_until = Some(now + hold);
    }
}

impl Machine {
    /// Gives the event its number. Who calls this bounds how many are not accepted.
    ///
    /// # Errors
    /// [`Error::Invalid`], or what the machine ended with.
    pub(crate) fn send(&mut self, event: Event) -> Result<u64, Error> {
        if let Phase::Ended(reason) = &self.phase {
            return Err(reason.clone().unwrap_or(Error::Closed));
        }
        if self.finishing {
            return Err(Error::Closed);
        }
        event.check(self.max_payload_bytes())?;
        let mut event = event.0;
        let seq = self.up.last_seq() + 1;
        event.seq = seq;
        if self.options.keeps_records {
            self.record_urgently(Record::Event(event.clone()));
        }
        self.up.events.push_back(event);
        Ok(seq)
    }

    /// Everything up to `through` is durable on the server.
    pub(super) fn accepted(&mut self, now: Instant, through: u64) {
        if through > self.up.last_seq() {
            let error = Error::OutboxOutdated { accepted: through, last: self.up.last_seq() };
            self.phase = Phase::Ended(Some(error));
            return;
        }
        // Suspects that are accepted only now need their time too. No other event prolongs it, or whoever goes on sending
        // would wait for ever.
        let new_suspects = self.up.accepted < through && self.up.accepted < self.down.last_suspect();
        self.up.accept(through);
        if new_suspects {
            self.patience = self.options.unknown_after;
        }
        if let Phase::Live(live) = &mut self.phase {
            if new_suspects {
                live.suspects_until = now + self.patience;
            }
            live.next_to_send = live.next_to_send.max(self.up.accepted + 1);
        }
    }

    /// The last event that is durable on the server.
    pub(crate) const fn accepted_seq(&self) -> u64 {
        self.up.accepted
    }

    /// Room in the outbox that was freed since the last call.
    pub(crate) const fn take_freed_room(&mut self) -> usize {
        std::mem::replace(&mut self.up.freed, 0)
    }

    fn max_payload_bytes(&self) -> usize {
        let known = self.up.max_payload_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        known.unwrap_or(crate::event::MAX_PAYLOAD_BYTES)
    }
}
