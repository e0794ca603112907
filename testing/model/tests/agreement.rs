//! The model against the real rules: random runs through both, and no difference.

#![allow(clippy::unwrap_used, reason = "a test: what is not there is a failure")]

use std::sync::Arc;

use bytes::Bytes;
use nimbus_core::{
    ClientId, EventName, Lane, Offset, Origin, OutboxId, PartKind, Partition, Position, PrincipalId, ResultRecord,
    ServerId,
    clock::UnixMillis,
    mailbox::{ApplyOutcome, MailboxLimits, PartitionMailbox, TOKEN_BYTES},
    ports::{
        log::{Batch, Range, Stored},
        mailbox::{Claim, ClaimKind, Claimed, MailboxAck, Page as RealPage},
        notifier::Notification,
    },
    session as real,
};
use nimbus_model::{
    ids::{Client, Server},
    log::{Log, Offsets, Record},
    mailbox::{Mailbox, Owner, Page, Results},
    session::{Downstream, Fetched, Mode},
};
use proptest::prelude::*;
use ulid::Ulid;

const NOW: UnixMillis = UnixMillis(1);

fn client_id(client: Client) -> ClientId {
    ClientId::try_new(&format!("c{}", client.0)).unwrap()
}

fn server_id(server: Server) -> ServerId {
    ServerId::try_new(&format!("s{}", server.0)).unwrap()
}

fn session_id(client: Client, no: u8) -> nimbus_core::SessionId {
    nimbus_core::SessionId(Ulid(u128::from(client.0) * 1000 + u128::from(no)))
}

fn origin(client: Client) -> Arc<Origin> {
    let principal = PrincipalId::try_new("anyone").unwrap();
    Arc::new(Origin { client: client_id(client), principal, outbox: OutboxId::new([client.0; 16]) })
}

fn stored(offset: u8, record: Record) -> Stored<ResultRecord> {
    let record = ResultRecord {
        origin: origin(record.client),
        seq: record.seq.into(),
        event_name: EventName::try_new("sq").unwrap(),
        attempt: 1,
        part_no: 0,
        replay_no: 0,
        kind: PartKind::Final,
        lane: Lane::Ordered,
        payload: Bytes::new(),
        content_type: Default::default(),
        attributes: Vec::new(),
        failure: None,
        event_offset: Offset(0),
        produced: NOW,
        edge_context: Bytes::new(),
    };
    Stored { offset: Offset(offset.into()), record }
}

fn offsets<'a>(records: impl IntoIterator<Item = &'a Stored<ResultRecord>>) -> Offsets {
    let mut found = Offsets::default();
    records.into_iter().for_each(|stored| found.insert(stored.offset.0 as u8));
    found
}

#[derive(Debug, Clone)]
enum Op {
    Answer { client: u8 },
    Again { pick: u8 },
    Apply { records: u8 },
    Claim { client: u8, server: u8, back: u8 },
    Release { client: u8, back: u8 },
    Ack { client: u8, back: u8, position: u8 },
    Read { client: u8, from: u8, most: usize },
    SkipTo { ahead: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    let client = || 0..2_u8;
    // Mostly the newest session, sometimes an older one.
    let back = || prop_oneof![3 => Just(0_u8), 1 => 1..3_u8];
    prop_oneof![
        4 => client().prop_map(|client| Op::Answer { client }),
        1 => (0..16_u8).prop_map(|pick| Op::Again { pick }),
        4 => (1..4_u8).prop_map(|records| Op::Apply { records }),
        3 => (client(), 0..2_u8, back()).prop_map(|(client, server, back)| Op::Claim { client, server, back }),
        1 => (client(), back()).prop_map(|(client, back)| Op::Release { client, back }),
        2 => (client(), back(), 0..16_u8).prop_map(|(client, back, position)| Op::Ack { client, back, position }),
        3 => (client(), 0..16_u8, 1..4_usize).prop_map(|(client, from, most)| Op::Read { client, from, most }),
        1 => (0..3_u8).prop_map(|ahead| Op::SkipTo { ahead }),
    ]
}

struct Both {
    log: Log,
    model: Mailbox,
    real: PartitionMailbox,
    no: [u8; 2],
}

impl Both {
    fn step(&mut self, op: Op) {
        match op {
            Op::Answer { .. } | Op::Again { .. } if self.log.end() == 15 => {}
            Op::Answer { client } => {
                let client = Client(client);
                self.log.records.push(Record { client, seq: self.log.answered(client) + 1 });
            }
            Op::Again { pick } => {
                let copy = self.log.records.get(pick as usize).copied();
                self.log.records.extend(copy);
            }
            Op::Apply { records } => self.apply(records),
            Op::Claim { client, server, back } => self.claim(Client(client), Server(server), back),
            Op::Release { client, back } => {
                let (client, no) = (Client(client), self.no[client as usize].saturating_sub(back));
                let really = self.real.release(&client_id(client), session_id(client, no), NOW);
                assert_eq!(self.model.release(client, no, None), really);
            }
            Op::Ack { client, back, position } => {
                let (client, no) = (Client(client), self.no[client as usize].saturating_sub(back));
                self.model.ack(client, no, position);
                let ack = MailboxAck {
                    client: client_id(client),
                    session: session_id(client, no),
                    position: Position(position.into()),
                };
                assert_eq!(self.real.ack(&ack, NOW), None);
            }
            Op::Read { client, from, most } => self.read(Client(client), from, most),
            Op::SkipTo { ahead } => {
                let start = self.model.applied + ahead;
                if ahead > 0 && start <= self.log.end() {
                    self.model.skip_to(start, None);
                    self.real.skip_to(Position(start.into()));
                }
            }
        }
        assert_eq!(u64::from(self.model.applied), self.real.applied().0);
        for server in Server::all() {
            let notified = self.real.head(&server_id(server)).notified;
            assert_eq!(u64::from(self.model.notified[server.index()]), notified.0);
        }
    }

    fn apply(&mut self, records: u8) {
        let from = self.model.applied;
        let records = records.min(self.log.end() - from);
        let mut folded = self.model.load();
        let mut modelled = self.model.apply(&mut folded, &self.log, records);
        modelled.sort_by_key(|(server, _)| *server);
        let batch = Batch {
            partition: Partition(0),
            from: Position(from.into()),
            records: (from..from + records).map(|offset| stored(offset, self.log.at(offset))).collect(),
            next: Position((from + records).into()),
            provisional: None,
        };
        let ApplyOutcome::Folded(really) = self.real.apply(&batch, NOW) else { panic!("a hole at {from}") };
        let mut told: Vec<_> = really.notifications.into_iter().map(told).collect();
        told.sort_by_key(|(server, _)| *server);
        assert_eq!(modelled, told);
    }

    fn claim(&mut self, client: Client, server: Server, back: u8) {
        self.no[client.index()] += u8::from(back == 0);
        let no = self.no[client.index()].saturating_sub(back).max(1);
        let modelled = self.model.claim(client, Owner { server, no }, self.log.end(), None);
        let claim = Claim {
            client: client_id(client),
            principal: PrincipalId::try_new("anyone").unwrap(),
            server: server_id(server),
            session: session_id(client, no),
            kind: ClaimKind::Sdk { outbox: OutboxId::new([client.0; 16]), session_no: no.into(), token: None },
            log_end: Position(self.log.end().into()),
        };
        let really = self.real.claim(&claim, [0; TOKEN_BYTES], NOW);
        match (modelled, really) {
            (Ok(former), Ok(granted)) => {
                let former = former.map(|former| (server_id(former.server), session_id(client, former.no)));
                assert_eq!(former, granted.claimed.previous);
                assert_eq!(u64::from(self.model.clients[client.index()].start), granted.claimed.start.0);
            }
            (Err(_), Err(_)) => {}
            (modelled, really) => panic!("{modelled:?}, {really:?}"),
        }
    }

    fn read(&mut self, client: Client, from: u8, most: usize) {
        let really = self.real.read(&client_id(client), Position(from.into()), most, usize::MAX);
        let really = match really {
            RealPage::Records { records, through, complete } => {
                Page::Records { records: offsets(&records), through: through.0 as u8, complete }
            }
            RealPage::BelowFloor { .. } => Page::BelowFloor,
        };
        assert_eq!(self.model.read(client, from, most, None), really);
    }
}

fn told((server, notification): (ServerId, Notification)) -> (Server, Results) {
    let Notification::Results { previous, last, clients, .. } = notification else { panic!("{notification:?}") };
    let mut results = Results { previous: previous.0 as u8, last: last.0 as u8, clients: Default::default() };
    for one in clients {
        let client = Client::all().find(|client| client_id(*client) == one.client).unwrap();
        results.clients[client.index()] = offsets(one.results.iter());
    }
    (Server::all().find(|name| server_id(*name) == server).unwrap(), results)
}

#[derive(Debug, Clone)]
enum Input {
    Notified { records: u8, skip: u8 },
    Missed,
    Fetched { records: u8, hidden: u8 },
    Bookmark { position: u8 },
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => (1..3_u8, 0..2_u8).prop_map(|(records, skip)| Input::Notified { records, skip }),
        1 => Just(Input::Missed),
        4 => (0..4_u8, 0..3_u8).prop_map(|(records, hidden)| Input::Fetched { records, hidden }),
        1 => (0..16_u8).prop_map(|position| Input::Bookmark { position }),
    ]
}

/// What the real session sent, and whether a read is out.
#[derive(Default)]
struct Heard {
    sent: Offsets,
    is_reading: bool,
}

impl Heard {
    fn take(&mut self, actions: &mut Vec<real::Action>) -> Offsets {
        self.sent = Offsets::default();
        for action in actions.drain(..) {
            match action {
                real::Action::Send(real::ServerFrame::Delivery(stored)) => self.sent.insert(stored.offset.0 as u8),
                real::Action::Fetch(_) => self.is_reading = true,
                _ => {}
            }
        }
        self.sent
    }
}

fn open(start: u8, actions: &mut Vec<real::Action>) -> (real::Session, real::Now) {
    let now = real::Now { instant: tokio::time::Instant::now(), unix: NOW };
    let position = Position(start.into());
    let resume = real::Resume { position, answered: start.into(), answered_beyond: Vec::new(), foreign_epoch: false };
    let origin = origin(Client(0));
    let hello = real::Hello { outbox: origin.outbox, first_unaccepted: 1, resume: Some(resume), receive_window: 0 };
    let claimed =
        Claimed { token: Bytes::new(), start: position, known: true, answered: 0, previous: None, applied: position };
    let range = Range { start: Position(0), end: Position(15) };
    let opened = real::Opened { claimed, range, floor: Position(0) };
    let start = real::Start {
        dialect: real::Dialect::V1,
        limits: real::Limits::default(),
        id: session_id(Client(0), 1),
        origin,
        hello: &hello,
        opened,
    };
    (real::Session::open(start, now, actions).unwrap(), now)
}

fn run_session(start: u8, inputs: Vec<Input>) {
    let log = Log { records: (0..15).map(|n| Record { client: Client(0), seq: n + 1 }).collect(), start: 0 };
    let mut actions = Vec::new();
    let (mut session, now) = open(start, &mut actions);
    let mut heard = Heard::default();
    heard.take(&mut actions);
    let mut model = Downstream::new(start, start);
    let mut told = start;
    for input in inputs {
        let (modelled, input) = match input {
            Input::Notified { records, skip } => {
                let from = (told + skip).min(15);
                told = (from + records).min(15);
                let batch: Arc<[_]> = (from..told).map(|offset| stored(offset, log.at(offset))).collect();
                (model.notified(offsets(batch.iter()), &log), real::Input::Notified(batch))
            }
            Input::Missed => {
                model.missed(None);
                (Offsets::default(), real::Input::Missed(Position::START))
            }
            Input::Fetched { .. } if !heard.is_reading => continue,
            Input::Fetched { records, hidden } => {
                let end = (model.sent + records).min(15);
                let found: Vec<_> = (model.sent..end).map(|offset| stored(offset, log.at(offset))).collect();
                let page = Fetched { records: offsets(&found), through: end, complete: hidden == 0 };
                heard.is_reading = false;
                let through = Position(end.into());
                let input = real::Input::Fetched { records: found, through, complete: page.complete };
                (model.fetched(page, &log, None), input)
            }
            Input::Bookmark { position } => {
                model.bookmark(position);
                (Offsets::default(), real::Input::Bookmark(Position(position.into())))
            }
        };
        session.handle(input, &mut real::Unlimited, now, &mut actions);
        session.settle(&mut actions);
        assert_eq!(heard.take(&mut actions), modelled);
        assert_eq!(session.sent().0, u64::from(model.sent));
        assert_eq!(heard.is_reading, matches!(model.mode, Mode::Fetching { .. }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_mailbox_does_what_the_rules_do(ops in prop::collection::vec(op(), 1..80)) {
        let mut real = PartitionMailbox::new(Partition(0), MailboxLimits::default());
        real.open(Range { start: Position(0), end: Position(0) });
        let mut both = Both { log: Log::default(), model: Mailbox::new(1, 0), real, no: [0; 2] };
        ops.into_iter().for_each(|op| both.step(op));
    }

    #[test]
    fn the_session_does_what_the_machine_does(start in 0..3_u8, inputs in prop::collection::vec(input(), 1..60)) {
        run_session(start, inputs);
    }
}
