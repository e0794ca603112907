//! Which frame goes up next: what keeps the session alive first, then events, and a goodbye last.

use nimbus_proto::v1::{self, client_frame::Kind as Up};
use tokio::time::Instant;

use super::{MAX_ANSWERED_BEYOND, Machine, Phase};

impl Machine {
    /// The next frame for the stream of this generation, if there is one now.
    pub(crate) fn next_frame(&mut self, now: Instant, generation: u64) -> Option<v1::ClientFrame> {
        if !self.wants_stream(generation) {
            return None;
        }
        let kind = match &mut self.phase {
            Phase::Opening { hello_sent, .. } => {
                if std::mem::replace(hello_sent, true) {
                    return None;
                }
                Up::Hello(self.hello())
            }
            Phase::Live(_) => self.next_live_frame(now)?,
            Phase::Waiting { .. } | Phase::Ended(_) => return None,
        };
        Some(v1::ClientFrame { kind: Some(kind) })
    }

    fn next_live_frame(&mut self, now: Instant) -> Option<Up> {
        let ack = self.due_ack();
        let everything_accepted = self.up.everything_accepted();
        let sendable = if self.options.keeps_records { self.recorded.last_seq } else { self.up.last_seq() };
        let Phase::Live(live) = &mut self.phase else { return None };
        if live.pongs > 0 {
            live.pongs -= 1;
            return Some(Up::Pong(v1::Pong {}));
        }
        if let Some(position) = ack {
            live.acked = position;
            return Some(Up::Ack(v1::Ack { position }));
        }
        if live.leaving.is_some() || live.goodbye_sent {
            return None;
        }
        let may_send = live.hold_until.is_none_or(|until| until <= now)
            && live.next_to_send <= sendable
            && live.next_to_send - self.up.accepted() <= live.max_in_flight;
        if may_send {
            let event = self.up.take(live.next_to_send)?;
            live.next_to_send += 1;
            return Some(Up::Event(event));
        }
        // Only now: a refused event could not be sent again after it.
        if self.finishing && everything_accepted {
            live.goodbye_sent = true;
            return Some(Up::Goodbye(v1::Goodbye {}));
        }
        None
    }

    fn hello(&self) -> v1::Hello {
        let place = self.down.place();
        let resume = place.token.as_ref().map(|token| v1::Resume {
            token: token.clone(),
            position: place.position,
            answered: place.answered.through(),
            answered_beyond: place.answered.beyond().take(MAX_ANSWERED_BEYOND).collect(),
        });
        v1::Hello {
            client_id: self.options.client_id.clone(),
            outbox_id: self.options.outbox_id.clone(),
            session_no: self.session_no,
            first_unaccepted: self.up.accepted() + 1,
            resume,
            receive_window: self.options.receive_window,
            sdk: self.options.sdk.clone(),
        }
    }
}
