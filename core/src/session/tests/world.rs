//! A world around one session: a client, a log, a mailbox and a queue, each as simple as can be, that check everything
//! the session does.

use std::{collections::VecDeque, num::NonZeroU32, sync::Arc};

use bytes::Bytes;
use proptest_derive::Arbitrary;
use tokio::time::{Duration, Instant};
use ulid::Ulid;

use super::super::*;
use crate::{
    ClientId, ContentType, Event, EventName, Lane, Offset, OutboxId, PartKind, PrincipalId, ResultRecord,
    clock::UnixMillis,
    ports::{
        log::{LogError, Range, Stored},
        mailbox::Claimed,
    },
};

/// Something that can happen.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Step {
    /// The client sends its next event.
    Send,
    /// The client sends an accepted event once more.
    Repeat,
    /// The oldest append becomes durable.
    Durable,
    /// The disk is full: all appends that are out fail.
    Full,
    /// An accepted event is answered, behind `hole` records of other clients.
    Answer { hole: u8 },
    /// The notification of the last answers reaches the session, or is lost and noticed later.
    Notify { lost: bool },
    /// The session learns that it may have missed something.
    Missed,
    /// A read comes back.
    Page,
    /// The client takes what is in the queue.
    Read,
    /// The client acknowledges what it has taken.
    Ack,
    /// A second passes.
    Tick,
}

pub(super) struct World {
    session: Session,
    now: Now,
    window: usize,
    queue_messages: usize,

    // The client.
    next_to_send: u64,
    accepted: u64,
    taken: Position,
    received: Vec<u64>,
    half_closed: bool,

    // The log of events: what is durable, and what is on its way.
    appends: VecDeque<Vec<Event>>,
    durable: Vec<u64>,

    // The log of results, and how far its records were notified.
    results: Vec<Stored<ResultRecord>>,
    next_offset: u64,
    notified: usize,
    lost: bool,

    // The server.
    queue: VecDeque<Stored<ResultRecord>>,
    sent: Position,
    unacked: Vec<Position>,
    /// The read that is out, and the mailbox as it was when it was made: answers may be old when they come.
    fetch: Option<(Fetch, Vec<Stored<ResultRecord>>, Position)>,
    closed: Option<Close>,
}

pub(super) fn origin() -> Origin {
    Origin {
        client: ClientId::try_new("phone").unwrap(),
        principal: PrincipalId::try_new("anyone").unwrap(),
        outbox: OutboxId::new([7; 16]),
    }
}

pub(super) fn opened(start: u64, end: u64) -> Opened {
    Opened {
        claimed: Claimed {
            token: Bytes::from_static(b"token"),
            start: Position(start),
            known: false,
            answered: 0,
            previous: None,
            applied: Position(start),
        },
        range: Range { start: Position(0), end: Position(end) },
        floor: Position(0),
    }
}

pub(super) fn event(seq: u64) -> NewEvent {
    NewEvent {
        seq,
        name: EventName::try_new("sq"),
        payload: Bytes::from_static(b"7"),
        content_type: ContentType::default(),
        attributes: Vec::new(),
        deadline: None,
        traceparent: String::new(),
        edge_context: Bytes::new(),
    }
}

/// A session that has just been opened, and what it did.
pub(super) fn open(limits: Limits, hello: &Hello, opened: Opened) -> Result<(Session, Vec<Action>, Now), Close> {
    let now = Now { instant: Instant::now(), unix: UnixMillis(1_000) };
    let mut actions = Vec::new();
    let start =
        Start { dialect: Dialect::V1, limits, id: SessionId(Ulid(1)), origin: Arc::new(origin()), hello, opened };
    Session::open(start, now, &mut actions).map(|session| (session, actions, now))
}

pub(super) fn hello(window: u32) -> Hello {
    Hello { outbox: OutboxId::new([7; 16]), first_unaccepted: 1, resume: None, receive_window: window }
}

/// The FINAL answer to one event, at the offset of its sequence number.
pub(super) fn answer(seq: u64) -> Stored<ResultRecord> {
    let event = Event {
        origin: Arc::new(origin()),
        seq,
        name: EventName::try_new("sq").unwrap(),
        payload: Bytes::new(),
        content_type: ContentType::default(),
        attributes: Vec::new(),
        deadline: None,
        traceparent: String::new(),
        received: UnixMillis(0),
        replay_no: 0,
        refused: None,
        edge_context: Bytes::new(),
    };
    let offset = Offset(seq);
    Stored { offset, record: ResultRecord::answering(&event, offset, Lane::Ordered, PartKind::Final, UnixMillis(0)) }
}

impl World {
    pub(super) fn new(window: u32, queue_messages: usize) -> Self {
        assert!(NonZeroU32::new(window).is_some(), "0 stands for the default");
        let limits = Limits { queue_messages, max_in_flight: 8, ..Limits::default() };
        let (session, actions, now) = open(limits, &hello(window), opened(0, 0)).unwrap();
        let mut world = Self {
            session,
            now,
            window: window as usize,
            queue_messages,
            next_to_send: 1,
            accepted: 0,
            taken: Position(0),
            received: Vec::new(),
            half_closed: false,
            appends: VecDeque::new(),
            durable: Vec::new(),
            results: Vec::new(),
            next_offset: 0,
            notified: 0,
            lost: false,
            queue: VecDeque::new(),
            sent: Position(0),
            unacked: Vec::new(),
            fetch: None,
            closed: None,
        };
        world.carry_out(actions);
        world
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Send if self.session.wants_frames() && !self.half_closed => {
                self.next_to_send += 1;
                self.input(Input::Frame(ClientFrame::Event(event(self.next_to_send - 1))));
            }
            Step::Repeat if self.session.wants_frames() && self.accepted > 0 && !self.half_closed => {
                self.input(Input::Frame(ClientFrame::Event(event(self.accepted))));
            }
            Step::Durable => self.durable(),
            Step::Full => {
                while self.appends.pop_front().is_some() {
                    self.input(Input::Appended(Err(LogError::Full("no space".to_owned()))));
                }
            }
            Step::Answer { hole } => self.answer(hole),
            Step::Notify { lost } => self.notify(lost),
            Step::Missed => self.missed(),
            Step::Page => self.page(),
            Step::Read => self.read(),
            Step::Ack if !self.half_closed => self.input(Input::Frame(ClientFrame::Ack(self.taken))),
            Step::Tick => {
                self.now.instant += Duration::from_secs(1);
                if !self.half_closed {
                    self.input(Input::Frame(ClientFrame::Pong));
                }
                self.input(Input::Tick);
            }
            Step::Send | Step::Repeat | Step::Ack => {}
        }
    }

    /// Makes everything durable, answered, notified, read and acknowledged, half-closes, and expects a clean end.
    pub(super) fn finish_without_faults(&mut self) {
        for _ in 0..200 {
            self.durable();
            self.answer(0);
            self.missed();
            self.notify(false);
            self.page();
            self.read();
            self.step(Step::Ack);
        }
        assert_eq!(self.durable.len(), self.next_to_send as usize - 1, "what was sent became durable");
        assert_eq!(self.received, self.durable, "what became durable was answered, in order");
        self.half_closed = true;
        self.input(Input::HalfClosed);
        for _ in 0..10 {
            self.page();
            self.read();
        }
        assert_eq!(self.closed, Some(Close::complete()));
    }

    fn durable(&mut self) {
        if let Some(batch) = self.appends.pop_front() {
            self.durable.extend(batch.iter().map(|event| event.seq));
            self.input(Input::Appended(Ok(())));
        }
    }

    fn answer(&mut self, hole: u8) {
        let Some(&seq) = self.durable.get(self.results.len()) else { return };
        self.next_offset += u64::from(hole) + 1;
        let offset = Offset(self.next_offset);
        self.results.push(Stored { offset, ..answer(seq) });
    }

    fn notify(&mut self, lost: bool) {
        if self.notified < self.results.len() {
            let batch: Arc<[_]> = self.results[self.notified..].into();
            self.notified = self.results.len();
            if lost {
                self.lost = true;
            } else if self.lost {
                // The chain of offsets shows the break, and the session hears of it before what lies behind it.
                self.input_all([Input::Missed(Position::START), Input::Notified(batch)]);
                self.lost = false;
            } else {
                self.input(Input::Notified(batch));
            }
        }
    }

    fn missed(&mut self) {
        self.lost = false;
        self.input(Input::Missed(Position::START));
    }

    /// The mailbox holds every result, also those whose notification is still on its way.
    fn page(&mut self) {
        let Some((fetch, mailbox, end)) = self.fetch.take() else { return };
        let waiting = mailbox.iter().filter(|stored| !fetch.from.covers(stored.offset));
        let records: Vec<_> = waiting.take(fetch.max_records).cloned().collect();
        let complete = records.last() == mailbox.last() || records.len() < fetch.max_records;
        let through = match records.last() {
            Some(last) if !complete => last.offset.position_after(),
            _ => end,
        };
        self.set_queue();
        self.input(Input::Fetched { records, through, complete });
    }

    fn read(&mut self) {
        for stored in std::mem::take(&mut self.queue) {
            assert!(self.taken <= Position(stored.offset.0), "rising positions");
            self.taken = stored.offset.position_after();
            self.received.push(stored.record.seq);
        }
        self.set_queue();
        // The driver's round after the queue was taken: nothing happened, but there is room.
        self.settle();
    }

    fn set_queue(&mut self) {
        let bytes = self.queue.iter().map(|stored| stored.record.payload.len()).sum();
        self.session.set_queue(Queue { messages: self.queue.len(), bytes });
    }

    fn input(&mut self, input: Input) {
        self.input_all([input]);
    }

    fn input_all(&mut self, inputs: impl IntoIterator<Item = Input>) {
        let mut actions = Vec::new();
        for input in inputs {
            if let Input::Frame(ClientFrame::Ack(position)) = &input {
                self.unacked.retain(|sent| sent > position);
            }
            self.session.handle(input, &mut Unlimited, self.now, &mut actions);
        }
        self.carry_out(actions);
        self.settle();
    }

    fn settle(&mut self) {
        let mut actions = Vec::new();
        self.session.settle(&mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert!(self.closed.is_none(), "nothing follows the close, but {action:?}");
            match action {
                Action::Send(frame) => self.sent(frame),
                Action::Append(events) => {
                    let before = self.appends.back().and_then(|batch| batch.last()).map(|event| event.seq);
                    let mut expected = before.or(self.durable.last().copied()).unwrap_or(0);
                    for event in &events {
                        expected += 1;
                        assert_eq!(event.seq, expected, "appends have no gap and no repeat");
                    }
                    self.appends.push_back(events);
                }
                Action::Fetch(fetch) => {
                    assert!(self.fetch.is_none(), "one read at a time");
                    assert!(fetch.max_records > 0);
                    self.fetch = Some((fetch, self.results.clone(), Position(self.next_offset + 1)));
                }
                Action::Ack(position) => assert!(position <= self.taken, "only what the client acknowledged"),
                Action::Close(close) => self.closed = Some(close),
            }
        }
    }

    fn sent(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Accepted(seq) => {
                assert!(seq >= self.accepted, "cumulative");
                assert!(seq == 0 || self.durable.contains(&seq), "never ahead of the log");
                self.accepted = seq;
            }
            ServerFrame::Rejected(rejected) => {
                assert_eq!(rejected.reason, Reason::StorageFull);
                assert!(!self.durable.contains(&rejected.seq), "what is durable is not refused");
                self.next_to_send = rejected.seq;
            }
            ServerFrame::Delivery(stored) => {
                let position = stored.offset.position_after();
                assert!(position > self.sent, "once, in order");
                let skipped =
                    self.results.iter().filter(|one| !self.sent.covers(one.offset) && one.offset < stored.offset);
                assert_eq!(skipped.count(), 0, "nothing is skipped");
                self.sent = position;
                self.unacked.push(position);
                self.queue.push_back(Stored::clone(&stored));
                assert!(self.queue.len() <= self.queue_messages, "the queue keeps its bound");
                assert!(self.half_closed || self.unacked.len() <= self.window, "the credit is kept");
            }
            ServerFrame::Welcome(_) | ServerFrame::Ping(_) => {}
            ServerFrame::GoAway(reason) => panic!("nothing here makes the session leave: {reason:?}"),
        }
    }
}
