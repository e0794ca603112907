//! Deliveries on their way down: each position once, each answer once, gaps, acknowledgements.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use nimbus_proto::v1::{self, PartKind as Kind, delivery::Source};
use tokio::time::Instant;

use super::{
    Machine, Phase, Record,
    inbox::{GapMark, Inbox, Mark, Place},
    seqset::SeqSet,
};
use crate::{Answer, Body, Extra, ExtraKind, Failure, Gap, Incoming, Outcome, Part, PartKind, Push, Seq};

/// How long an acknowledgement may wait for company.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(50);
/// Entries of the inbox, in receive windows, at which the stream is not read for now. Above one window, since gaps and
/// unknown outcomes take no credit.
const FULL_AT_WINDOWS: usize = 2;

#[derive(Debug)]
pub(super) struct Downstream {
    inbox: Inbox,
    /// Everything up to this position was received, from whichever stream.
    received: u64,
    /// The newest token that a server gave; the inbox has the one that belongs to the acknowledged position.
    token: Bytes,
    /// Events whose outcome was received or decided; a superset of what the application has acknowledged.
    settled: SeqSet,
    /// Unsettled events up to this one may have lost their answer in a gap. 0 = none.
    suspects: u64,
    /// Events that were settled as unknown, so that a late answer is told apart from a duplicate.
    unknown: SeqSet,
    /// The highest attempt that parts were seen from, for unsettled events with parts.
    attempts: HashMap<u64, u32>,
    /// Events whose answer goes to a caller of its own, past the inbox.
    called: HashSet<u64>,
    call_answers: Vec<Answer>,
    /// Counts gaps: positions before and after one must not be compared, they may belong to different logs.
    gaps: u64,
}

impl Downstream {
    pub(super) fn new(place: Place) -> Self {
        Self {
            received: place.position,
            token: place.token.clone().unwrap_or_default(),
            settled: place.answered.clone(),
            suspects: place.suspects,
            unknown: SeqSet::default(),
            attempts: HashMap::new(),
            called: HashSet::new(),
            call_answers: Vec::new(),
            gaps: 0,
            inbox: Inbox::new(place),
        }
    }

    pub(super) const fn place(&self) -> &Place {
        self.inbox.place()
    }

    /// Whether a server has given this client a place before. One that begins with a gap is not kept, and not resumed
    /// from, before the application has acknowledged the gap: a crash in between would forget it.
    pub(super) const fn has_begun(&self) -> bool {
        self.inbox.place().token.is_some() || self.inbox.has_open_gap()
    }

    pub(super) fn begin(&mut self, token: Bytes, position: u64, records: &mut Vec<Record>) {
        self.received = position;
        self.token = token.clone();
        self.inbox.begin(token, position, records);
    }

    /// A server renewed the token of a place that holds.
    pub(super) fn renew_token(&mut self, token: Bytes, records: &mut Vec<Record>) {
        // With a gap open the acknowledged place belongs to the token before it.
        if token != self.token && !self.inbox.has_open_gap() {
            self.token = token.clone();
            self.inbox.begin(token, self.place().position, records);
        }
    }

    /// How many events have their outcome.
    pub(super) const fn settled(&self) -> u64 {
        self.settled.len()
    }

    /// Names the log that the acknowledged position belongs to; nothing while a gap is on its way to the application.
    pub(super) const fn log_no(&self) -> Option<u64> {
        if self.inbox.has_open_gap() { None } else { Some(self.gaps) }
    }

    pub(super) fn acknowledged_receipt(&self) -> u64 {
        self.inbox.acknowledged_receipt()
    }

    pub(super) fn take_freed(&mut self) {
        self.inbox.take_freed();
    }

    /// The last event that may have lost its answer in a gap; 0 when there is none.
    pub(super) const fn last_suspect(&self) -> u64 {
        self.suspects
    }

    /// Whether an accepted event may have lost its answer.
    pub(super) fn has_suspects(&self, accepted: u64) -> bool {
        self.suspects > 0 && self.settled.missing_through(self.suspects.min(accepted)).next().is_some()
    }

    /// The server cannot serve everything. `false` when what it lacks was received before. Every event that was ever sent
    /// may have had its answer there, also one that is not known to be accepted: sent again, it is a duplicate to the
    /// server, and the answer that was lost was its only one.
    pub(super) fn gap(&mut self, gap: Gap, token: Bytes, sent: u64) -> bool {
        // A token names the log that positions belong to: another one means that they began anew, perhaps lower.
        let same_log = token == self.token;
        if same_log && gap.to <= self.received {
            return false;
        }
        let from = if same_log { gap.from.max(self.received) } else { gap.from };
        self.token = token.clone();
        self.received = gap.to;
        self.suspects = self.suspects.max(sent);
        self.gaps += 1;
        let mark =
            Mark { position: Some(gap.to), gap: Some(GapMark { token, suspects: self.suspects }), ..Mark::default() };
        self.inbox.push(Incoming::Gap(Gap { from, to: gap.to }), mark);
        true
    }

    /// Suspects up to `through` are waited for no longer.
    pub(super) fn settle_suspects(&mut self, through: u64, records: &mut Vec<Record>) {
        if self.suspects == 0 {
            return;
        }
        let lost: Vec<u64> = self.settled.missing_through(self.suspects.min(through)).collect();
        for seq in lost {
            self.unknown.insert(seq);
            let answer =
                Answer { seq: Seq::new(seq), event_name: String::new(), attempt: 0, outcome: Outcome::Unknown };
            self.settle(answer, Mark::default(), records);
        }
        if through >= self.suspects {
            self.suspects = 0;
        }
    }

    fn settle(&mut self, answer: Answer, mark: Mark, records: &mut Vec<Record>) {
        let seq = answer.seq.get();
        self.settled.insert(seq);
        self.attempts.remove(&seq);
        if self.called.remove(&seq) {
            self.inbox.settle_now(seq, records);
            self.call_answers.push(answer);
        } else {
            self.inbox.push(Incoming::Answer(answer), Mark { settles: Some(seq), ..mark });
        }
    }

    fn delivery(&mut self, delivery: v1::Delivery, outbox_id: &Bytes, last_seq: u64, records: &mut Vec<Record>) {
        let position = delivery.position;
        if position <= self.received {
            // It was received on this or an earlier stream. Its credit comes back with whatever is acknowledged next.
            return;
        }
        self.received = position;
        let mark = Mark { position: Some(position), frames: 1, ..Mark::default() };
        if let Some((item, mark)) = self.judge(delivery, outbox_id, last_seq, mark, records) {
            self.inbox.push(item, mark);
        } else if !self.inbox.ends_at(position) {
            self.inbox.pass_over(position, 1, records);
        }
    }

    /// What is to be handed over of a delivery, if anything. An answer is put into the inbox right here.
    fn judge(
        &mut self,
        delivery: v1::Delivery,
        outbox_id: &Bytes,
        last_seq: u64,
        mark: Mark,
        records: &mut Vec<Record>,
    ) -> Option<(Incoming, Mark)> {
        let kind = delivery.kind();
        let body =
            Body { payload: delivery.payload, content_type: delivery.content_type, attributes: delivery.attributes };
        let result = match delivery.source? {
            Source::Push(push) => {
                return Some((Incoming::Push(Push { request_id: push.request_id, body }), mark));
            }
            Source::Result(result) => result,
        };
        let part_kind = match kind {
            Kind::Part => Some(PartKind::Part),
            Kind::Log => Some(PartKind::Log),
            Kind::Progress => Some(PartKind::Progress),
            Kind::Final | Kind::Error => None,
            // A kind of a newer server.
            Kind::Unspecified => return None,
        };
        let seq = result.seq;
        let ours = result.outbox_id == *outbox_id;
        if let Some(kind) = part_kind {
            let wanted = ours && result.replay_no == 0 && seq <= last_seq && !self.settled.contains(seq);
            if !wanted || self.called.contains(&seq) || !self.is_newest_attempt(seq, result.attempt) {
                return None;
            }
            let part = Part {
                seq: Seq::new(seq),
                event_name: result.event_name,
                attempt: result.attempt,
                part_no: result.part_no,
                kind,
                body,
            };
            return Some((Incoming::Part(part), mark));
        }
        let outcome = match kind {
            Kind::Final => Outcome::Final(body),
            _ => Outcome::Error(Failure::from(delivery.error.unwrap_or_default())),
        };
        let extra = if !ours {
            Some(ExtraKind::OtherOutbox)
        } else if result.replay_no > 0 {
            Some(ExtraKind::Replay)
        } else if self.unknown.contains(seq) {
            Some(ExtraKind::Late)
        } else {
            None
        };
        if let Some(kind) = extra {
            let (outbox_id, event_name) = (result.outbox_id, result.event_name);
            let extra = Extra { kind, outbox_id, seq: Seq::new(seq), event_name, outcome };
            return Some((Incoming::Extra(extra), mark));
        }
        if seq == 0 || seq > last_seq || self.settled.contains(seq) {
            return None;
        }
        // It says nothing about a suspect with a lower number, whichever lane it comes from: that one may be a job, and
        // nobody tells the lane of an event before it is answered.
        let answer = Answer { seq: Seq::new(seq), event_name: result.event_name, attempt: result.attempt, outcome };
        self.settle(answer, mark, records);
        None
    }

    fn is_newest_attempt(&mut self, seq: u64, attempt: u32) -> bool {
        let newest = self.attempts.entry(seq).or_default();
        *newest = attempt.max(*newest);
        attempt == *newest
    }
}

impl Machine {
    pub(super) fn delivery(&mut self, now: Instant, delivery: v1::Delivery) {
        if let Phase::Live(live) = &mut self.phase {
            live.delivered = live.delivered.max(delivery.position);
        }
        let last_seq = self.up.last_seq();
        self.down.delivery(delivery, &self.options.outbox_id, last_seq, &mut self.records);
        self.note_progress(now);
    }

    /// The server has sent everything before `position`.
    pub(super) fn bookmark(&mut self, now: Instant, position: u64) {
        if position > self.down.received {
            self.down.received = position;
            self.down.inbox.pass_over(position, 0, &mut self.records);
            self.note_progress(now);
        }
    }

    /// Hands the next item out, with its receipt.
    pub(crate) fn receive(&mut self) -> Option<(Incoming, u64)> {
        self.down.inbox.pop()
    }

    /// Whether [`receive`](Self::receive) has something.
    pub(crate) fn has_items(&self) -> bool {
        self.down.inbox.has_items()
    }

    /// Whether no frame should be read until the application has received something. A server keeps to the window, so
    /// this concerns what follows a goodbye: acknowledgements end there, and HTTP/2's flow control is all that is left.
    pub(crate) fn is_full(&self) -> bool {
        self.down.inbox.len() >= FULL_AT_WINDOWS * self.window() as usize
    }

    /// Whether everything that was received is acknowledged.
    pub(crate) fn inbox_is_clear(&self) -> bool {
        self.down.inbox.is_clear()
    }

    /// The receipt of the newest item that was handed out.
    pub(crate) fn last_receipt(&self) -> u64 {
        self.down.inbox.last_receipt()
    }

    /// The application is done with everything up to `receipt`.
    pub(crate) fn acknowledge(&mut self, now: Instant, receipt: u64) {
        self.down.inbox.acknowledge(receipt, &mut self.records);
        self.note_progress(now);
    }

    /// Makes acknowledgements due now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.dirty_until = Some(now);
    }

    /// The answer of this event goes to a caller of its own.
    pub(crate) fn expect_call(&mut self, seq: u64) {
        self.down.called.insert(seq);
    }

    /// The caller of its own is gone: its answer goes the usual way.
    pub(crate) fn forget_call(&mut self, seq: u64) {
        self.down.called.remove(&seq);
    }

    /// The caller of its own left in the moment that its answer came.
    pub(crate) fn return_call_answer(&mut self, answer: Answer) {
        self.down.inbox.push(Incoming::Answer(answer), Mark::default());
    }

    /// Answers for callers of their own.
    pub(crate) fn take_call_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.down.call_answers)
    }

    /// Whether enough was acknowledged to say so now.
    pub(super) fn handover_due(&self) -> bool {
        self.down.inbox.freed() >= (self.window() / 4).max(1)
    }

    fn window(&self) -> u32 {
        match &self.phase {
            Phase::Live(live) => live.window,
            Phase::Waiting { .. } | Phase::Opening { .. } | Phase::Ended(_) => self.options.receive_window,
        }
    }

    /// The Ack to send, if there is one: what was acknowledged and kept, but never more than this stream delivered, which
    /// the server would take for a fault.
    pub(super) fn due_ack(&self) -> Option<u64> {
        let Phase::Live(live) = &self.phase else { return None };
        let position = if self.recorded.log_no == Some(self.down.gaps) { self.recorded.position } else { 0 };
        let ack = position.min(live.delivered);
        (ack > live.acked).then_some(ack)
    }

    fn note_progress(&mut self, now: Instant) {
        let moved = self.down.place().position != self.recorded_position;
        if moved || self.down.inbox.freed() > 0 || !self.records.is_empty() {
            self.mark_dirty(now);
        }
    }
}
