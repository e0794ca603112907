//! The rules all together: a small world of devices, executors, a router and two servers runs at random against the
//! mailbox, and a model that only knows the log says what every device must have got.
//!
//! What must hold for each device (one outbox of one client of one principal) while its client id stays in one hand: every
//! event that the log answers is handed out exactly once, on the ordered lane in order, none skipped; and never a
//! record of another principal, whatever happens.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;

use super::support::*;
use crate::{
    Lane, Offset, Origin, OutboxId, PartKind, Partition, Position, ResultRecord, ServerId,
    clock::UnixMillis,
    mailbox::{
        ApplyOutcome, ClaimChange, Fold, Granted, LogStarts, MailboxLimits, PartitionMailbox, PartitionSnapshot,
        Verdict,
    },
    ports::{
        log::{Batch, Range, Stored},
        mailbox::{Claim, ClaimError, ClaimKind, MailboxAck, Page},
        notifier::Notification,
    },
};

#[derive(Debug, Clone)]
enum Op {
    /// A device sends an event: its lane.
    Send {
        device: usize,
        lane: Lane,
    },
    /// An executor answers: the next open event of the ordered lane, or the `pick`th open job.
    Answer {
        device: usize,
        lane: Lane,
        pick: usize,
    },
    /// A zombie answers something once more.
    Again {
        device: usize,
        pick: usize,
    },
    /// A part of some event.
    Part {
        device: usize,
        pick: usize,
    },
    /// The answer to a replayed dead letter.
    Replay {
        device: usize,
        pick: usize,
    },
    /// The log has a hole (aborted or erased records).
    SkipOffsets {
        count: u64,
    },
    /// The router applies some of what is new; `back` begins further back than it has to; `lost` loses the notifications.
    Route {
        count: usize,
        back: u64,
        lost: bool,
    },
    /// The router jumps ahead, which must be refused.
    RouteAhead {
        skip: u64,
    },
    Connect {
        device: usize,
        server: usize,
        welcome_lost: bool,
    },
    /// An old Hello arrives late.
    DelayedHello {
        device: usize,
        server: usize,
    },
    Disconnect {
        device: usize,
    },
    /// The session reads its mailbox, some records at a time.
    Catch {
        device: usize,
        records: usize,
    },
    Ack {
        device: usize,
    },
    Tick {
        millis: u64,
    },
    Snapshot,
    Restart,
    /// A server compares its chain with the mailbox's head.
    Repair {
        server: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let device = || 0..DEVICES.len();
    let lane = || prop_oneof![3 => Just(Lane::Ordered), 1 => Just(Lane::Jobs)];
    prop_oneof![
        12 => (device(), lane()).prop_map(|(device, lane)| Op::Send { device, lane }),
        12 => (device(), lane(), 0..8_usize).prop_map(|(device, lane, pick)| Op::Answer { device, lane, pick }),
        4 => (device(), 0..64_usize).prop_map(|(device, pick)| Op::Again { device, pick }),
        2 => (device(), 0..64_usize).prop_map(|(device, pick)| Op::Part { device, pick }),
        1 => (device(), 0..64_usize).prop_map(|(device, pick)| Op::Replay { device, pick }),
        1 => (1..5_u64).prop_map(|count| Op::SkipOffsets { count }),
        10 => (1..6_usize, 0..4_u64, prop::bool::weighted(0.1))
            .prop_map(|(count, back, lost)| Op::Route { count, back, lost }),
        1 => (1..5_u64).prop_map(|skip| Op::RouteAhead { skip }),
        6 => (device(), 0..SERVERS.len(), prop::bool::weighted(0.2))
            .prop_map(|(device, server, welcome_lost)| Op::Connect { device, server, welcome_lost }),
        1 => (device(), 0..SERVERS.len()).prop_map(|(device, server)| Op::DelayedHello { device, server }),
        2 => device().prop_map(|device| Op::Disconnect { device }),
        6 => (device(), 1..5_usize).prop_map(|(device, records)| Op::Catch { device, records }),
        3 => device().prop_map(|device| Op::Ack { device }),
        2 => (0..6_000_u64).prop_map(|millis| Op::Tick { millis }),
        1 => Just(Op::Snapshot),
        1 => Just(Op::Restart),
        2 => (0..SERVERS.len()).prop_map(|server| Op::Repair { server }),
    ]
}

/// Client, principal, outbox. Two devices of one principal share a client, a third one takes it over.
const DEVICES: [(&str, &str, u8); 5] =
    [("c", "alice", 1), ("c", "alice", 2), ("c", "bob", 3), ("d", "alice", 1), ("e", "carol", 5)];
const SERVERS: [&str; 2] = ["s1", "s2"];

const LIMITS: MailboxLimits = MailboxLimits {
    client_records: 6,
    client_bytes: 1_200,
    partition_bytes: 2_000,
    window: Duration::from_secs(10),
    retention: Duration::from_secs(3_600),
};

/// One event, as its device and the executors know it.
#[derive(Debug)]
struct Event {
    lane: Lane,
    answered: bool,
}

#[derive(Debug)]
struct Session {
    id: u128,
    server: usize,
    /// Goes live once it has read all that waits.
    live: bool,
}

#[derive(Debug)]
struct Device {
    origin: Arc<Origin>,
    session_no: u64,
    session: Option<Session>,
    events: Vec<Event>,
    /// Events of its earlier outboxes.
    ghosts: Vec<(Arc<Origin>, u64, Lane)>,
    /// The device's memory: token and position, once a Welcome arrived.
    memory: Option<(Bytes, Position)>,
    /// Where the model says its outbox begins.
    start: Option<Position>,
    /// Terminal answers in the order in which they were handed over.
    got: Vec<u64>,
}

#[derive(Debug, Default)]
struct Server {
    last: Position,
}

struct World {
    log: Vec<Stored<ResultRecord>>,
    end: u64,
    mailbox: PartitionMailbox,
    snapshot: Option<PartitionSnapshot>,
    journal: Vec<ClaimChange>,
    devices: Vec<Device>,
    servers: Vec<Server>,
    sessions: u128,
    now: UnixMillis,
}

impl World {
    fn new() -> Self {
        let device = |(client, principal, outbox): &(&str, &str, u8)| Device {
            origin: origin(client, principal, *outbox),
            session_no: 0,
            session: None,
            events: Vec::new(),
            ghosts: Vec::new(),
            memory: None,
            start: None,
            got: Vec::new(),
        };
        Self {
            log: Vec::new(),
            end: 0,
            mailbox: mailbox(LIMITS),
            snapshot: None,
            journal: Vec::new(),
            devices: DEVICES.iter().map(device).collect(),
            servers: SERVERS.iter().map(|_| Server::default()).collect(),
            sessions: 0,
            now: NOW,
        }
    }

    fn append(&mut self, record: ResultRecord) {
        self.log.push(Stored { offset: Offset(self.end), record });
        self.end += 1;
    }

    /// A batch of up to `count` records from `from` on.
    fn batch(&self, from: Position, count: usize) -> Batch<ResultRecord> {
        let rest: Vec<_> = self.log.iter().filter(|stored| !from.covers(stored.offset)).cloned().collect();
        let records: Arc<[_]> = rest.iter().take(count).cloned().collect();
        let all = records.len() == rest.len();
        let next = match records.last() {
            Some(last) if !all => last.offset.position_after(),
            _ => Position(self.end).max(from),
        };
        Batch { partition: Partition(0), from, records, next, provisional: None }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Send { device, lane } => {
                // Only a connected device can send, and an append needs the claim.
                if self.devices[device].session.is_some() {
                    self.devices[device].events.push(Event { lane, answered: false });
                }
            }
            Op::Answer { device, lane, pick } => self.answer(device, lane, pick),
            Op::Again { device, pick } => {
                self.derive(device, pick, true, |seq, origin, lane| record(origin, seq, PartKind::Error, lane));
            }
            Op::Part { device, pick } => {
                self.derive(device, pick, false, |seq, origin, lane| record(origin, seq, PartKind::Part, lane));
            }
            Op::Replay { device, pick } => self.derive(device, pick, true, |seq, origin, lane| ResultRecord {
                replay_no: 1,
                ..record(origin, seq, PartKind::Final, lane)
            }),
            Op::SkipOffsets { count } => self.end += count,
            Op::Route { count, back, lost } => {
                let from = Position(self.mailbox.applied().0.saturating_sub(back));
                self.route(from, count, lost);
            }
            Op::RouteAhead { skip } => {
                let from = Position(self.mailbox.applied().0 + skip);
                let applied = self.mailbox.applied();
                let outcome = self.mailbox.apply(&self.batch(from, 9), self.now);
                assert!(matches!(outcome, ApplyOutcome::Hole { applied: at } if at == applied));
            }
            Op::Connect { device, server, welcome_lost } => self.connect(device, server, welcome_lost),
            Op::DelayedHello { device, server } => self.delayed_hello(device, server),
            Op::Disconnect { device } => {
                if let Some(session_id) = self.devices[device].session.take().map(|it| it.id) {
                    let client = self.devices[device].origin.client.clone();
                    self.mailbox.release(&client, session(session_id), self.now);
                }
            }
            Op::Catch { device, records } => self.catch_up(device, records),
            Op::Ack { device } => {
                let device = &self.devices[device];
                if let (Some(at), Some((_, position))) = (&device.session, &device.memory) {
                    let ack = MailboxAck {
                        client: device.origin.client.clone(),
                        session: session(at.id),
                        position: *position,
                    };
                    assert_eq!(self.mailbox.ack(&ack, self.now), None);
                }
            }
            Op::Tick { millis } => {
                self.now.0 += millis;
                let starts = LogStarts { events: Position::START, results: Position::START };
                self.mailbox.sweep(self.now, starts);
            }
            Op::Snapshot => self.snapshot = Some(self.mailbox.snapshot()),
            Op::Restart => self.restart(),
            Op::Repair { server } => self.repair(server),
        }
    }

    fn answer(&mut self, device: usize, lane: Lane, pick: usize) {
        let device = &mut self.devices[device];
        let open: Vec<usize> = (0..device.events.len())
            .filter(|at| device.events[*at].lane == lane && !device.events[*at].answered)
            .collect();
        let pick = match lane {
            Lane::Ordered => 0,
            Lane::Jobs => pick % open.len().max(1),
        };
        if let Some(at) = open.get(pick) {
            device.events[*at].answered = true;
            let record = record(&device.origin, *at as u64 + 1, PartKind::Final, lane);
            self.append(record);
        }
    }

    fn derive(
        &mut self,
        device: usize,
        pick: usize,
        answered: bool,
        make: impl Fn(u64, &Arc<Origin>, Lane) -> ResultRecord,
    ) {
        let device = &self.devices[device];
        let events = device.events.iter().zip(1..).filter(|(event, _)| event.answered || !answered);
        let current = events.map(|(event, seq)| (&device.origin, seq, event.lane));
        let known: Vec<_> =
            current.chain(device.ghosts.iter().map(|(origin, seq, lane)| (origin, *seq, *lane))).collect();
        if !known.is_empty() {
            let (origin, seq, lane) = known[pick % known.len()];
            let record = make(seq, origin, lane);
            self.append(record);
        }
    }

    fn route(&mut self, from: Position, count: usize, lost: bool) {
        let batch = self.batch(from, count);
        let folded = match self.mailbox.apply(&batch, self.now) {
            ApplyOutcome::Folded(folded) => folded,
            ApplyOutcome::Hole { applied } => panic!("a batch from {from} was refused at {applied}"),
        };
        for (server, notification) in folded.notifications {
            if !lost {
                self.notify(&server, notification);
            }
        }
    }

    fn notify(&mut self, server: &ServerId, notification: Notification) {
        let Notification::Results { previous, last, clients, .. } = notification else { panic!("{notification:?}") };
        let at = SERVERS.iter().position(|name| *name == server.as_str()).unwrap();
        let unbroken = self.servers[at].last == previous;
        self.servers[at].last = last;
        if !unbroken {
            self.reread(at);
            return;
        }
        for results in clients {
            let on_server = |device: &Device| {
                device.origin.client == results.client
                    && device.session.as_ref().is_some_and(|session| session.server == at && session.live)
            };
            let owner = self.devices.iter().position(on_server);
            if let Some(owner) = owner {
                for stored in results.results.iter() {
                    self.hand_over(owner, stored);
                }
            }
        }
    }

    /// Something was missed: every session of the server reads its mailbox again.
    fn reread(&mut self, server: usize) {
        for device in 0..self.devices.len() {
            if self.devices[device].session.as_ref().is_some_and(|session| session.server == server) {
                self.catch_up(device, usize::MAX);
            }
        }
    }

    fn repair(&mut self, server: usize) {
        let head = self.mailbox.head(&super::support::server(SERVERS[server]));
        if head.notified != self.servers[server].last {
            self.servers[server].last = head.notified;
            self.reread(server);
        }
    }

    fn claim(&self, device: usize, server: usize, session_no: u64, session_id: u128) -> Claim {
        let device = &self.devices[device];
        Claim {
            client: device.origin.client.clone(),
            principal: device.origin.principal.clone(),
            server: super::support::server(SERVERS[server]),
            session: session(session_id),
            kind: ClaimKind::Sdk {
                outbox: device.origin.outbox,
                session_no,
                token: device.memory.as_ref().map(|(token, _)| token.clone()),
            },
            log_end: Position(self.end),
        }
    }

    fn connect(&mut self, device: usize, server: usize, welcome_lost: bool) {
        self.sessions += 1;
        let id = self.sessions;
        self.devices[device].session_no += 1;
        let claim = self.claim(device, server, self.devices[device].session_no, id);
        let mut token = [0; 16];
        token[..8].copy_from_slice(&(id as u64).to_le_bytes());
        let Granted { claimed, change, .. } = match self.mailbox.claim(&claim, token, self.now) {
            Ok(granted) => granted,
            Err(ClaimError::WrongToken) => return self.devices[device].lose_hold(),
            Err(error) => panic!("{error}"),
        };
        self.journal.push(change);
        let (client, principal) = (claim.client.clone(), claim.principal.clone());
        for (at, other) in self.devices.iter_mut().enumerate() {
            if other.origin.client != client {
                continue;
            }
            if other.origin.principal != principal {
                other.lose_hold();
            } else if at != device {
                other.session = None;
            }
        }
        let device = &mut self.devices[device];
        let start = *device.start.get_or_insert(claimed.start);
        assert_eq!(claimed.start, start, "the outbox began elsewhere");
        if welcome_lost {
            // The device knows nothing; the session lives on at the server for a while, and then goes.
            device.session = None;
            self.mailbox.release(&client, session(id), self.now);
            return;
        }
        let from = device.memory.as_ref().map_or(claimed.start, |(_, position)| *position);
        device.memory = Some((claimed.token, from));
        device.session = Some(Session { id, server, live: false });
    }

    fn delayed_hello(&mut self, device: usize, server: usize) {
        let Some(older) = self.devices[device].session_no.checked_sub(1).filter(|older| *older > 0) else { return };
        // It was sent when the device was as it is now, but for the number.
        let claim = self.claim(device, server, older, u128::MAX);
        if self.devices[device].start.is_some() {
            assert!(self.mailbox.claim(&claim, [0; 16], self.now).is_err(), "a delayed Hello took the client over");
        }
    }

    fn catch_up(&mut self, device: usize, records: usize) {
        loop {
            let Some((_, from)) = self.devices[device].memory.clone() else { return };
            if self.devices[device].session.is_none() {
                return;
            }
            let client = self.devices[device].origin.client.clone();
            match self.mailbox.read(&client, from, records, usize::MAX) {
                Page::Records { records: page, through, .. } => {
                    assert!(through >= from);
                    let done = through >= self.mailbox.applied();
                    for stored in &page {
                        self.hand_over(device, stored);
                    }
                    self.devices[device].advance(through);
                    if let Some(session) = &mut self.devices[device].session {
                        session.live = done;
                    }
                    if done || records != usize::MAX {
                        return;
                    }
                }
                Page::BelowFloor { floor } => self.scan(device, from, floor),
            }
        }
    }

    /// Reads the log directly, as a server does for positions below the floor.
    fn scan(&mut self, device: usize, from: Position, to: Position) {
        assert!(from < to, "a floor at or before the position that it refuses");
        let (origin, seen) = (Arc::clone(&self.devices[device].origin), self.devices[device].answered());
        let prefix = (1..).take_while(|seq| seen.contains(seq)).last().unwrap_or(0);
        let mut fold = Fold::seeded(origin.outbox, prefix, seen.into_iter().filter(|seq| *seq > prefix));
        let mut fresh = Vec::new();
        for stored in &self.log {
            let mine =
                stored.record.origin.client == origin.client && stored.record.origin.principal == origin.principal;
            let within = !from.covers(stored.offset) && to.covers(stored.offset);
            if mine && within && fold.admit(stored.offset, &stored.record, self.now) == Verdict::Fresh {
                fresh.push(stored.clone());
            }
        }
        for stored in &fresh {
            self.hand_over(device, stored);
        }
        self.devices[device].advance(to);
    }

    fn hand_over(&mut self, device: usize, stored: &Stored<ResultRecord>) {
        let device = &mut self.devices[device];
        let Some((_, position)) = &mut device.memory else { return };
        if position.covers(stored.offset) {
            return;
        }
        *position = stored.offset.position_after();
        let record = &stored.record;
        assert_eq!(record.origin.client, device.origin.client);
        assert_eq!(record.origin.principal, device.origin.principal, "a record crossed principals");
        if record.origin.outbox == device.origin.outbox && record.kind.is_terminal() && record.replay_no == 0 {
            assert!(!device.got.contains(&record.seq), "event {} was answered twice", record.seq);
            device.got.push(record.seq);
        }
    }

    fn restart(&mut self) {
        self.mailbox = PartitionMailbox::new(Partition(0), LIMITS);
        if let Some(snapshot) = self.snapshot.clone() {
            self.mailbox.restore(snapshot);
        }
        for change in self.journal.clone() {
            self.mailbox.replay(change);
        }
        self.mailbox.open(Range { start: Position::START, end: Position(self.end) });
        for server in &mut self.servers {
            *server = Server::default();
        }
        for device in &mut self.devices {
            device.session = None;
        }
    }

    /// Everything is applied, every device comes back and reads.
    fn settle(&mut self) {
        self.route(self.mailbox.applied(), usize::MAX, false);
        (0..SERVERS.len()).for_each(|server| self.repair(server));
        for device in 0..self.devices.len() {
            if self.devices[device].start.is_some() {
                self.connect(device, 0, false);
                self.catch_up(device, 3);
                self.catch_up(device, usize::MAX);
                self.devices[device].check(&self.log);
            }
        }
    }
}

impl Device {
    /// The client id is another principal's now: this device starts anew, with a new outbox, when it comes back. The
    /// answers to its old one still come.
    fn lose_hold(&mut self) {
        self.session = None;
        if self.start.take().is_some() {
            let origin = Arc::clone(&self.origin);
            self.ghosts
                .extend(self.events.drain(..).zip(1..).map(|(event, seq)| (Arc::clone(&origin), seq, event.lane)));
            let next = OutboxId::new(origin.outbox.as_bytes().map(|byte| byte.wrapping_add(16)));
            self.origin = Arc::new(Origin { outbox: next, ..(*origin).clone() });
            self.memory = None;
            self.session_no = 0;
            self.got.clear();
        }
    }

    fn advance(&mut self, to: Position) {
        if let Some((_, position)) = &mut self.memory {
            *position = to.max(*position);
        }
    }

    fn answered(&self) -> BTreeSet<u64> {
        self.got.iter().copied().collect()
    }

    fn check(&self, log: &[Stored<ResultRecord>]) {
        let Some(start) = self.start.filter(|_| self.session.is_some()) else { return };
        let mut expected = Vec::new();
        for stored in log.iter().filter(|stored| !start.covers(stored.offset)) {
            let record = &stored.record;
            let answers = record.origin == self.origin && record.kind.is_terminal() && record.replay_no == 0;
            if answers && !expected.contains(&record.seq) {
                expected.push(record.seq);
            }
        }
        assert_eq!(self.got, expected, "device {:?} from {start}", self.origin);
        let ordered: Vec<_> =
            self.got.iter().filter(|seq| self.events[**seq as usize - 1].lane == Lane::Ordered).collect();
        assert!(ordered.is_sorted(), "{ordered:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_handed_out_once_in_order_and_to_its_owner_only(ops in prop::collection::vec(op(), 1..160)) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        world.settle();
    }
}
