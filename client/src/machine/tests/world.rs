//! A server, a network and an application around one machine, in the simplest form that follows the delivery rules. Every
//! step checks what must hold; [`World::settle`] ends with everything connected and checks that everything arrived.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use nimbus_proto::v1::{
    self, PartKind, ResumeOutcome, client_frame::Kind as Up, delivery::Source, server_frame::Kind as Down,
};
use tokio::time::Instant;

use crate::{
    Event, Incoming, Outcome,
    machine::{Loss, Machine, Memory, Options, Record},
};

pub(super) const WINDOW: u32 = 8;
pub(super) const MAX_IN_FLIGHT: u64 = 6;
pub(super) const UNKNOWN_AFTER: Duration = Duration::from_secs(60);
const PING_INTERVAL_MS: u32 = 1_000_000;
/// Where the outbox begins in the results log.
const START: u64 = 100;

/// One record of the results log.
#[derive(Debug, Clone)]
struct Stored {
    position: u64,
    seq: u64,
    kind: PartKind,
    payload: Bytes,
}

/// The server's side of one stream.
#[derive(Debug)]
struct Session {
    /// The next event that it takes.
    expected: u64,
    /// Events taken and not accepted.
    taken: VecDeque<v1::Event>,
    /// The last event accepted on this stream, and the last that the client was told of.
    durable: u64,
    told: u64,
    /// Deliveries began here.
    began: u64,
    /// Everything before this was sent.
    cursor: u64,
    /// Positions sent and not acknowledged.
    unacked: VecDeque<u64>,
    acked: u64,
    delivered: u64,
    discarding: bool,
    goodbye: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) machine: Machine,
    options: Options,
    now: Instant,
    // The client's disk.
    disk: Memory,
    // The network: frames under way, and what is left of older streams.
    up: VecDeque<v1::ClientFrame>,
    down: VecDeque<v1::ServerFrame>,
    stale: VecDeque<(u64, v1::ServerFrame)>,
    generation: Option<u64>,
    // The server.
    session: Option<Session>,
    events: BTreeMap<u64, Bytes>,
    accepted: u64,
    /// The ordered lane has passed everything up to this event.
    executed: u64,
    results: Vec<Stored>,
    /// Which event was answered at which position, also where retention took the answer away.
    answers: BTreeMap<u64, u64>,
    next_position: u64,
    floor: u64,
    log_no: u8,
    /// Which log the outbox began in, once the server has seen it.
    began_in: Option<u8>,
    reject_next: bool,
    last_session_no: u64,
    // The application.
    sent: BTreeMap<u64, Bytes>,
    sends: u64,
    outcomes: BTreeMap<u64, Outcome>,
    parts: BTreeSet<u64>,
    last_answer: u64,
    gaps: u64,
    losses: u64,
    /// Connected time since something was lost.
    connected: Duration,
}

impl World {
    pub(super) fn new(keeps_records: bool) -> Self {
        let options = Options {
            client_id: "device-1".to_owned(),
            outbox_id: Bytes::from_static(&[7; 16]),
            sdk: String::new(),
            receive_window: WINDOW,
            unknown_after: UNKNOWN_AFTER,
            keeps_records,
            seed: 1,
        };
        let now = Instant::now();
        Self {
            machine: Machine::new(options.clone(), Memory::default(), now),
            options,
            now,
            disk: Memory::default(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            stale: VecDeque::new(),
            generation: None,
            session: None,
            events: BTreeMap::new(),
            accepted: 0,
            executed: 0,
            results: Vec::new(),
            answers: BTreeMap::new(),
            next_position: START,
            floor: 0,
            log_no: 0,
            began_in: None,
            reject_next: false,
            last_session_no: 0,
            sent: BTreeMap::new(),
            sends: 0,
            outcomes: BTreeMap::new(),
            parts: BTreeSet::new(),
            last_answer: 0,
            gaps: 0,
            losses: 0,
            connected: Duration::ZERO,
        }
    }

    // The application.

    pub(super) fn app_sends(&mut self) {
        // The capacity of the outbox, which the handle watches.
        if self.machine.unaccepted() >= 20 {
            return;
        }
        self.sends += 1;
        let payload = Bytes::from(self.sends.to_string());
        let seq = self.machine.send(Event::new("sq", payload.clone())).unwrap();
        self.sent.insert(seq, payload);
    }

    /// Receives as `recv` does: what was handed out before is acknowledged.
    pub(super) fn app_receives(&mut self) -> bool {
        let receipt = self.machine.last_receipt();
        self.machine.acknowledge(self.now, receipt);
        let Some((item, _)) = self.machine.receive() else { return false };
        match item {
            Incoming::Answer(answer) => {
                let seq = answer.seq.get();
                match &answer.outcome {
                    Outcome::Final(body) => {
                        assert_eq!(body.payload, squared(&self.sent[&seq]), "the answer to {seq} is another one's");
                    }
                    Outcome::Unknown => {
                        assert!(self.losses > 0, "{seq} is unknown though nothing was lost");
                        // Whatever else was answered: it may be a job that still runs.
                        assert!(self.connected >= UNKNOWN_AFTER, "{seq} is unknown before its time");
                    }
                    Outcome::Error(_) => panic!("{answer:?}"),
                }
                if !is_job(seq) && answer.outcome != Outcome::Unknown {
                    assert!(seq > self.last_answer, "{seq} after {}", self.last_answer);
                    self.last_answer = seq;
                }
                let before = self.outcomes.insert(seq, answer.outcome);
                assert!(before.is_none(), "{seq} has two outcomes");
            }
            Incoming::Part(part) => {
                let seq = part.seq.get();
                assert!(self.sent.contains_key(&seq));
                // Each has one part; a log that was restored and a client that was restarted bring it again.
                assert!(self.parts.insert(seq) || self.losses > 0, "the part of {seq} came twice");
            }
            Incoming::Gap(_) => {
                assert!(self.losses > 0, "a gap though nothing was lost");
                self.gaps += 1;
            }
            Incoming::Extra(extra) => assert!(self.losses > 0, "{extra:?}"),
            Incoming::Push(push) => panic!("{push:?}"),
        }
        true
    }

    // The client's disk.

    /// Keeps records if they are due, all of them or, when the process dies in the middle, some.
    pub(super) fn keep(&mut self, only: Option<usize>) {
        let (records, checkpoint) = self.machine.take_records();
        if !self.options.keeps_records {
            assert!(records.is_empty());
        }
        let count = only.map_or(records.len(), |only| only.min(records.len()));
        let whole = count == records.len();
        for record in records.into_iter().take(count) {
            self.disk.apply(record).unwrap();
        }
        if whole {
            self.machine.recorded(checkpoint);
            if self.options.keeps_records {
                // What a rewrite of the file would leave is what is in it.
                let mut rewritten = Memory::default();
                self.machine.snapshot().into_iter().for_each(|record| rewritten.apply(record).unwrap());
                assert_eq!(rewritten, self.disk);
            }
        }
    }

    /// `kill -9`, with a part of the last write on disk, and a new process on the same file.
    pub(super) fn crash(&mut self, written: usize) {
        if !self.options.keeps_records {
            return;
        }
        self.keep(Some(written));
        self.disconnect();
        self.stale.clear();
        let file = self.disk.snapshot();
        let mut memory = Memory::default();
        file.into_iter().for_each(|record: Record| memory.apply(record).unwrap());
        // What was acknowledged and kept never comes again; everything else may, in order.
        self.outcomes.retain(|seq, _| memory.place.answered.contains(*seq));
        self.parts.clear();
        self.last_answer = 0;
        let last = memory.last_seq();
        self.sent.retain(|seq, _| *seq <= last);
        assert_eq!(self.sent.len() as u64, last, "an event on disk was never sent");
        self.now += Duration::from_secs(1);
        self.machine = Machine::new(self.options.clone(), memory, self.now);
    }

    // The network.

    pub(super) fn connect(&mut self) {
        if !self.machine.should_connect(self.now) {
            return;
        }
        let generation = self.machine.begin_connect(self.now);
        self.keep(None);
        self.generation = Some(generation);
        self.up.clear();
        self.down.clear();
        let hello = self.machine.next_frame(self.now, generation).unwrap();
        assert!(self.machine.next_frame(self.now, generation).is_none(), "something before the welcome");
        let Some(Up::Hello(hello)) = hello.kind else { panic!("{hello:?}") };
        self.server_welcomes(&hello);
    }

    pub(super) fn disconnect(&mut self) {
        let Some(generation) = self.generation.take() else { return };
        // What is under way may still come, long after.
        self.stale.extend(self.down.drain(..).map(|frame| (generation, frame)));
        self.up.clear();
        self.session = None;
        self.machine.lost(self.now, generation, Loss::Retry { after: Duration::ZERO, why: String::new() });
    }

    pub(super) fn stale_frame_arrives(&mut self) {
        if let Some((generation, frame)) = self.stale.pop_front() {
            self.machine.frame(self.now, generation, frame);
        }
    }

    pub(super) fn frames_leave(&mut self, count: usize) {
        let Some(generation) = self.generation else { return };
        for _ in 0..count {
            let Some(frame) = self.machine.next_frame(self.now, generation) else { return };
            if let Some(Up::Event(event)) = &frame.kind
                && self.options.keeps_records
            {
                assert!(self.disk.last_seq() >= event.seq, "{} was sent before it was kept", event.seq);
            }
            self.up.push_back(frame);
        }
    }

    pub(super) fn frames_arrive(&mut self, count: usize) {
        let Some(generation) = self.generation else { return };
        for _ in 0..count {
            // As the connection task does.
            if self.machine.is_full() {
                return;
            }
            let Some(frame) = self.down.pop_front() else { return };
            self.machine.frame(self.now, generation, frame);
        }
    }

    pub(super) fn time_passes(&mut self, time: Duration) {
        self.now += time;
        if self.losses > 0 && self.generation.is_some() {
            self.connected += time;
        }
        self.machine.tick(self.now);
        if self.generation.is_some_and(|generation| !self.machine.wants_stream(generation)) {
            self.disconnect();
        }
    }

    // The server.

    fn server_welcomes(&mut self, hello: &v1::Hello) {
        assert!(hello.session_no > self.last_session_no, "the session number did not rise");
        self.last_session_no = hello.session_no;
        let token = Bytes::copy_from_slice(&[self.log_no]);
        let (outcome, gap, position) = match &hello.resume {
            None => match self.began_in {
                None => (ResumeOutcome::New, None, START),
                Some(log_no) if log_no != self.log_no || START < self.floor => {
                    let to = if log_no == self.log_no { self.floor } else { self.next_position };
                    (ResumeOutcome::Gap, Some(v1::Gap { from: START, to }), to)
                }
                Some(_) => (ResumeOutcome::Resumed, None, START),
            },
            Some(resume) if resume.token != token || resume.position < self.floor => {
                let to = if resume.token == token { self.floor } else { self.next_position };
                (ResumeOutcome::Gap, Some(v1::Gap { from: resume.position, to }), to)
            }
            Some(resume) => (ResumeOutcome::Resumed, None, resume.position),
        };
        self.began_in.get_or_insert(self.log_no);
        // A server that lost its tail continues where the client says.
        self.accepted = self.accepted.max(hello.first_unaccepted - 1);
        let accepted_seq = hello.first_unaccepted - 1;
        self.session = Some(Session {
            expected: accepted_seq + 1,
            taken: VecDeque::new(),
            durable: 0,
            told: 0,
            began: position,
            cursor: position,
            unacked: VecDeque::new(),
            acked: 0,
            delivered: 0,
            discarding: false,
            goodbye: false,
        });
        self.down.push_back(down(Down::Welcome(v1::Welcome {
            accepted_seq,
            resume_outcome: outcome as i32,
            gap,
            resume_token: token,
            position,
            limits: Some(v1::Limits {
                max_payload_bytes: 1000,
                max_in_flight: MAX_IN_FLIGHT as u32,
                receive_window: WINDOW,
            }),
            ping_interval_ms: PING_INTERVAL_MS,
            ..v1::Welcome::default()
        })));
    }

    pub(super) fn server_takes(&mut self, count: usize) {
        for _ in 0..count {
            let Some(session) = &mut self.session else { return };
            let Some(frame) = self.up.pop_front() else { return };
            match frame.kind.unwrap() {
                Up::Event(event) => {
                    assert!(!session.goodbye, "an event after goodbye");
                    if session.discarding && event.seq != session.expected {
                        continue;
                    }
                    assert_eq!(event.seq, session.expected, "a hole");
                    session.discarding = false;
                    if std::mem::take(&mut self.reject_next) {
                        session.discarding = true;
                        let seq = event.seq;
                        self.down.push_back(down(Down::Rejected(v1::Rejected {
                            seq,
                            retry_after_ms: 20,
                            ..v1::Rejected::default()
                        })));
                        continue;
                    }
                    session.expected += 1;
                    session.taken.push_back(event);
                    assert!(session.taken.len() as u64 <= MAX_IN_FLIGHT, "more in flight than allowed");
                }
                Up::Ack(ack) => {
                    assert!(ack.position > session.acked, "an ack that says nothing");
                    assert!(ack.position <= session.delivered, "an ack beyond what was sent");
                    let acked = self.results.iter().filter(|stored| {
                        stored.kind == PartKind::Final
                            && stored.position > session.began
                            && stored.position <= ack.position
                    });
                    for stored in acked {
                        assert!(self.outcomes.contains_key(&stored.seq), "{} was acked unseen", stored.seq);
                    }
                    session.acked = ack.position;
                    while session.unacked.front().is_some_and(|first| *first <= ack.position) {
                        session.unacked.pop_front();
                    }
                }
                Up::Pong(_) => {}
                Up::Goodbye(_) => session.goodbye = true,
                Up::Hello(_) => panic!("a second hello"),
            }
        }
    }

    pub(super) fn server_rejects_next(&mut self) {
        self.reject_next = true;
    }

    /// Makes events durable; they are as good as accepted, whether or not the client hears of it.
    pub(super) fn server_accepts(&mut self, count: usize, tells: bool) {
        let Some(session) = &mut self.session else { return };
        for event in session.taken.drain(..count.min(session.taken.len())) {
            session.durable = event.seq;
            if let Some(before) = self.events.insert(event.seq, event.payload.clone()) {
                assert_eq!(before, event.payload, "number {} was used twice", event.seq);
            }
        }
        self.accepted = self.accepted.max(session.durable);
        if tells && session.durable > session.told {
            session.told = session.durable;
            self.down.push_back(down(Down::Accepted(v1::Accepted { up_to_seq: session.told })));
        }
    }

    /// The ordered lane takes its next event; `false` when there is none.
    pub(super) fn server_executes(&mut self) -> bool {
        let Some(seq) = (self.executed + 1..=self.accepted).find(|seq| !is_job(*seq)) else { return false };
        self.executed = seq;
        // Lost with the tail of the log.
        if self.events.contains_key(&seq) {
            self.server_answers(seq);
        }
        true
    }

    /// One of the open jobs ends; `false` when there is none.
    pub(super) fn server_finishes_job(&mut self, pick: usize) -> bool {
        let answered: BTreeSet<u64> = self.answers.values().copied().collect();
        let open: Vec<u64> =
            self.events.keys().copied().filter(|seq| is_job(*seq) && !answered.contains(seq)).collect();
        if !open.is_empty() {
            self.server_answers(open[pick % open.len()]);
        }
        !open.is_empty()
    }

    fn server_answers(&mut self, seq: u64) {
        let payload = squared(&self.events[&seq]);
        for kind in [PartKind::Progress, PartKind::Final] {
            // Not dense.
            self.next_position += 1 + seq % 3;
            let position = self.next_position;
            self.results.push(Stored { position, seq, kind, payload: payload.clone() });
        }
        self.answers.insert(self.next_position, seq);
    }

    pub(super) fn server_delivers(&mut self, count: usize) {
        let Some(session) = &mut self.session else { return };
        for _ in 0..count {
            if !session.goodbye && session.unacked.len() >= WINDOW as usize {
                return;
            }
            let next = self.results.iter().find(|stored| stored.position > session.cursor);
            let Some(stored) = next else { return };
            session.cursor = stored.position;
            session.delivered = stored.position;
            session.unacked.push_back(stored.position);
            self.down.push_back(delivery(stored, &self.options.outbox_id));
        }
    }

    /// What no server should do.
    pub(super) fn server_repeats(&mut self, pick: usize) {
        let Some(session) = &self.session else { return };
        let sent: Vec<&Stored> = self.results.iter().filter(|stored| stored.position <= session.cursor).collect();
        if session.delivered > 0 && !sent.is_empty() {
            let stored = sent[pick % sent.len()];
            if stored.position <= session.delivered {
                self.down.push_back(delivery(stored, &self.options.outbox_id));
            }
        }
    }

    pub(super) fn server_pings(&mut self) {
        if let Some(session) = &self.session {
            self.down.push_back(down(Down::Ping(v1::Ping { bookmark: session.cursor })));
        }
    }

    /// Retention takes results away that were not delivered, perhaps.
    pub(super) fn server_forgets(&mut self, pick: usize) {
        if self.session.is_some() || self.results.is_empty() {
            return;
        }
        let floor = self.results[pick % self.results.len()].position;
        self.results.retain(|stored| stored.position > floor);
        self.floor = self.floor.max(floor);
        self.losses += 1;
    }

    /// The log is an older one now: what came after its backup is gone, and positions begin anew.
    pub(super) fn server_is_restored(&mut self, pick: usize) {
        if self.session.is_some() || self.results.is_empty() {
            return;
        }
        let cut = self.results[pick % self.results.len()].position;
        self.results.retain(|stored| stored.position < cut);
        self.answers.retain(|position, _| *position < cut);
        let answered = || self.answers.values().copied();
        self.executed = answered().filter(|seq| !is_job(*seq)).max().unwrap_or(0);
        self.accepted = answered().max().unwrap_or(0);
        self.events.retain(|seq, _| *seq <= self.accepted);
        let answers_end = self.answers.keys().next_back().copied().unwrap_or(START);
        self.next_position = self.results.last().map_or(answers_end, |stored| stored.position.max(answers_end));
        self.floor = self.floor.min(self.next_position);
        self.log_no = self.log_no.wrapping_add(1);
        self.losses += 1;
    }

    /// The process dies and the device is away until the server has lost something.
    pub(super) fn client_stays_away(&mut self, pick: usize) {
        self.crash(pick % 3);
        self.disconnect();
        if pick.is_multiple_of(2) {
            self.server_forgets(pick);
        } else {
            self.server_is_restored(pick);
        }
    }

    /// Lets everything happen that is still to happen, then checks that everything did.
    pub(super) fn settle(&mut self) {
        self.reject_next = false;
        // The longest wait before a connect.
        self.time_passes(Duration::from_secs(31));
        let mut quiet = 0;
        for round in 0.. {
            assert!(round < 10_000, "it never settles: {self:#?}");
            self.connect();
            self.frames_leave(100);
            self.server_takes(100);
            self.server_accepts(100, true);
            while self.server_executes() || self.server_finishes_job(0) {}
            self.server_delivers(100);
            self.frames_arrive(100);
            let received = self.app_receives();
            self.keep(None);
            self.time_passes(Duration::from_millis(60));
            let outstanding = self.machine.unaccepted() + self.machine.unanswered();
            if outstanding == 0 && !received && !self.machine.has_items() {
                break;
            }
            assert!(round < 500 || self.losses > 0, "it takes too long: {self:#?}");
            quiet = if received { 0 } else { quiet + 1 };
            if quiet > 20 {
                // Whoever waits for an answer that was lost waits for this.
                self.time_passes(UNKNOWN_AFTER);
            }
        }
        // With nothing left to hand over, a bookmark is the place to resume from.
        self.connect();
        self.server_pings();
        self.frames_arrive(100);
        self.keep(None);
        let mut memory = Memory::default();
        self.machine.snapshot().into_iter().for_each(|record| memory.apply(record).unwrap());
        if let Some(session) = &self.session {
            assert_eq!(memory.place.position, session.cursor);
        }
        let answered: BTreeSet<u64> = self.outcomes.keys().copied().collect();
        let sent: BTreeSet<u64> = self.sent.keys().copied().collect();
        assert_eq!(answered, sent);
        if self.losses == 0 {
            assert!(self.outcomes.values().all(|outcome| matches!(outcome, Outcome::Final(_))));
            assert_eq!(self.gaps, 0);
        }
    }
}

/// What the executor of this event declares; the client does not know.
const fn is_job(seq: u64) -> bool {
    seq.is_multiple_of(3)
}

fn squared(payload: &Bytes) -> Bytes {
    Bytes::from([b"square of ", &payload[..]].concat())
}

fn down(kind: Down) -> v1::ServerFrame {
    v1::ServerFrame { kind: Some(kind) }
}

fn delivery(stored: &Stored, outbox_id: &Bytes) -> v1::ServerFrame {
    let lane = if is_job(stored.seq) { v1::Lane::Jobs } else { v1::Lane::Ordered } as i32;
    let (outbox_id, seq) = (outbox_id.clone(), stored.seq);
    let result = v1::ResultOf { outbox_id, seq, attempt: 1, lane, ..v1::ResultOf::default() };
    down(Down::Delivery(v1::Delivery {
        position: stored.position,
        source: Some(Source::Result(result)),
        kind: stored.kind as i32,
        payload: stored.payload.clone(),
        ..v1::Delivery::default()
    }))
}
