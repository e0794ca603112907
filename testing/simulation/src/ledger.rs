//! The books: what clients sent, what became durable, what was answered; and whether that is what was promised.
//!
//! The first entry that does not fit is the violation of the run. It is looked for at every port call and every delivery.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use nimbus_client::{Answer, Client, Error, Extra, ExtraKind, Incoming, Outcome};
use nimbus_consumers::{JOBS_GROUP, ORDERED_GROUP};
use nimbus_core::{
    Event, Lane, Partition, Position, ResultRecord,
    ports::{
        log::Stored,
        mailbox::{Claim, ClaimKind, Claimed},
    },
};
use tokio::sync::Notify;

use crate::{
    life::Life,
    lock,
    log::Booked,
    work::{Expected, Work},
    world::World,
};

/// Names an outbox; the client's name is part of it, and each has a client of its own.
pub(crate) type Outbox = [u8; 16];

/// One client memory.
#[derive(Debug)]
struct Book {
    client: String,
    /// `None` once its memory is gone: nobody waits for its answers any more.
    handle: Option<Client>,
    sent: Vec<Work>,
    /// Which of its events are in the log.
    durable: BTreeSet<u64>,
    /// Every event up to this is in the log.
    durable_to: u64,
    /// What the SDK last said is durable.
    accepted: u64,
    answered: BTreeSet<u64>,
    /// The last answer of the ordered lane.
    last_ordered: u64,
}

impl Book {
    fn work(&self, seq: u64) -> Option<&Work> {
        self.sent.get(usize::try_from(seq.checked_sub(1)?).ok()?)
    }

    fn lane_of(&self, seq: u64) -> Option<Lane> {
        self.work(seq).map(Work::lane)
    }
}

/// An event in the log, as far as commits are concerned.
#[derive(Debug)]
struct Logged {
    end: Position,
    outbox: Outbox,
    seq: u64,
    lane: Lane,
}

#[derive(Debug, Default)]
struct Books {
    outboxes: BTreeMap<Outbox, Book>,
    events: BTreeMap<Partition, Vec<Logged>>,
    /// Events with a durable terminal record.
    settled: BTreeSet<(Outbox, u64)>,
    /// By group and partition: how many events were found settled behind a commit.
    checked: BTreeMap<(String, Partition), usize>,
    violation: Option<String>,
    /// Clients whose session a dead incarnation of theirs took over: its Hello was on its way for longer than it lived, and
    /// nothing tells the mailbox that another outbox with a higher number is not a newer one.
    evicted: BTreeSet<String>,
    /// A client was ended, and that is excused.
    is_one_gone: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
    /// A violation, or an answer.
    pub(crate) changed: Notify,
}

impl Ledger {
    fn wrong(&self, books: &mut Books, what: impl FnOnce() -> String) {
        books.violation.get_or_insert_with(what);
        self.changed.notify_waiters();
    }

    /// Notes a violation that somebody else found.
    pub(crate) fn violated(&self, what: String) {
        self.wrong(&mut lock(&self.books), || what);
    }

    pub(crate) fn violation(&self) -> Option<String> {
        lock(&self.books).violation.clone()
    }

    /// A client begins a new memory; an earlier one of the same client is gone.
    pub(crate) fn opened(&self, name: &str, handle: &Client) -> Outbox {
        let outbox: Outbox = handle.outbox_id().as_ref().try_into().unwrap_or_default();
        let book = Book {
            client: name.to_owned(),
            handle: Some(handle.clone()),
            sent: Vec::new(),
            durable: BTreeSet::new(),
            durable_to: 0,
            accepted: 0,
            answered: BTreeSet::new(),
            last_ordered: 0,
        };
        lock(&self.books).outboxes.insert(outbox, book);
        outbox
    }

    pub(crate) fn abandoned(&self, outbox: Outbox) {
        let handle = lock(&self.books).outboxes.get_mut(&outbox).and_then(|book| book.handle.take());
        // Outside of the lock: it is the client that ends.
        drop(handle);
    }

    pub(crate) fn sent(&self, outbox: Outbox, seq: u64, work: Work) {
        let mut books = lock(&self.books);
        let Some(book) = books.outboxes.get_mut(&outbox) else { return };
        book.sent.push(work);
        let (client, count) = (book.client.clone(), book.sent.len() as u64);
        if count != seq {
            self.wrong(&mut books, || format!("{client}: event {count} was given number {seq}"));
        }
    }

    /// Whatever the SDK takes for durable is in the log.
    pub(crate) fn check_accepted(&self, world: &World) {
        let mut books = lock(&self.books);
        let mut early = None;
        for book in books.outboxes.values_mut() {
            let Some(handle) = &book.handle else { continue };
            let accepted = handle.accepted_seq();
            if accepted > book.durable_to && early.is_none() {
                early = Some((book.client.clone(), accepted, book.durable_to));
            }
            book.accepted = accepted;
        }
        if let Some((client, accepted, durable)) = early {
            let at = world.elapsed();
            self.wrong(&mut books, || {
                format!("{client}: event {accepted} was accepted at {at:?}, and the log has only those up to {durable}")
            });
        }
    }

    fn event_landed(&self, partition: Partition, stored: &Stored<Event>) {
        let mut books = lock(&self.books);
        let (event, outbox) = (&stored.record, *stored.record.origin.outbox.as_bytes());
        let Some(book) = books.outboxes.get_mut(&outbox) else {
            return self.wrong(&mut books, || format!("an event of an outbox that nobody has: {:?}", event.origin));
        };
        let work = book.work(event.seq).cloned();
        let same = work.as_ref().is_some_and(|work| {
            work.name() == event.name.as_str()
                && work.payload() == event.payload
                && book.client == event.origin.client.as_str()
                && principal_of(&book.client) == event.origin.principal.as_str()
        });
        book.durable.insert(event.seq);
        while book.durable.remove(&(book.durable_to + 1)) {
            book.durable_to += 1;
        }
        if !same {
            return self.wrong(&mut books, || format!("what was appended is not what was sent: {event:?}, {work:?}"));
        }
        let lane = work.map_or(Lane::Ordered, |work| work.lane());
        let logged = Logged { end: stored.offset.position_after(), outbox, seq: event.seq, lane };
        books.events.entry(partition).or_default().push(logged);
    }

    fn result_landed(&self, stored: &Stored<ResultRecord>) {
        let record = &stored.record;
        if record.kind.is_terminal() {
            lock(&self.books).settled.insert((*record.origin.outbox.as_bytes(), record.seq));
        }
    }

    /// Nothing is committed past that is not durably answered.
    pub(crate) fn committed(&self, group: &str, partition: Partition, position: Position) {
        let lane = match group {
            ORDERED_GROUP => Lane::Ordered,
            JOBS_GROUP => Lane::Jobs,
            _ => return,
        };
        let mut books = lock(&self.books);
        let Books { events, settled, checked, .. } = &mut *books;
        let from = checked.entry((group.to_owned(), partition)).or_default();
        let rest = events.get(&partition).map(|events| &events[*from..]).unwrap_or_default();
        let mut open = None;
        for event in rest.iter().take_while(|event| event.end <= position) {
            if event.lane == lane && !settled.contains(&(event.outbox, event.seq)) {
                open = Some(event.seq);
                break;
            }
            *from += 1;
        }
        if let Some(seq) = open {
            self.wrong(&mut books, || {
                format!("{group} committed {position} of partition {partition}, past event {seq}, which has no answer")
            });
        }
    }

    pub(crate) fn claimed(&self, world: &World, claim: &Claim, claimed: &Claimed) {
        let mut books = lock(&self.books);
        let client = claim.client.as_str();
        if let ClaimKind::Sdk { outbox, .. } = &claim.kind
            && books.outboxes.get(outbox.as_bytes()).is_some_and(|book| book.handle.is_none())
        {
            books.evicted.insert(client.to_owned());
        }
        if claim.principal.as_str() != principal_of(client) {
            self.wrong(&mut books, || format!("{client} was claimed for {}", claim.principal));
        }
        drop(books);
        world.step("claimed", 0, claimed.answered);
    }

    /// Whether a client was ended for good. Nobody acknowledges what waits for it: it goes when the mailbox' window has passed.
    pub(crate) fn is_one_gone(&self) -> bool {
        lock(&self.books).is_one_gone
    }

    /// The client ended by itself.
    pub(crate) fn ended(&self, name: &str, outbox: Outbox, error: &Error) {
        if matches!(error, Error::Superseded { .. }) && lock(&self.books).evicted.contains(name) {
            lock(&self.books).is_one_gone = true;
            self.abandoned(outbox);
            self.changed.notify_waiters();
        } else if lock(&self.books).outboxes.get(&outbox).is_some_and(|book| book.handle.is_some()) {
            self.violated(format!("{name} was ended: {error}"));
        }
    }

    /// The application got something.
    pub(crate) fn received(&self, world: &World, outbox: Outbox, incoming: &Incoming) {
        match incoming {
            Incoming::Answer(answer) => self.answered(world, outbox, answer),
            Incoming::Gap(gap) => {
                self.violated(format!("{}: a gap {gap:?}, and the log is whole", self.client_of(outbox)));
            }
            Incoming::Extra(extra) => self.extra(outbox, extra),
            Incoming::Part(_) => world.step("part", 0, 0),
            other => self.violated(format!("nobody asked for {other:?}")),
        }
    }

    fn client_of(&self, outbox: Outbox) -> String {
        lock(&self.books).outboxes.get(&outbox).map(|book| book.client.clone()).unwrap_or_default()
    }

    fn answered(&self, world: &World, outbox: Outbox, answer: &Answer) {
        let seq = answer.seq.get();
        {
            let mut books = lock(&self.books);
            let Some(book) = books.outboxes.get_mut(&outbox) else { return };
            let client = book.client.clone();
            let Some(work) = book.work(seq).cloned() else {
                return self.wrong(&mut books, || format!("{client}: an answer to event {seq}, which was never sent"));
            };
            let fresh = book.answered.insert(seq);
            let ordered = work.lane() == Lane::Ordered;
            let last = book.last_ordered;
            let mut between = last + 1..seq;
            let skipped = ordered.then(|| between.find(|seq| book.lane_of(*seq) == Some(Lane::Ordered))).flatten();
            if ordered {
                book.last_ordered = last.max(seq);
            }
            if !fresh {
                self.wrong(&mut books, || format!("{client}: event {seq} was answered twice"));
            } else if ordered && seq < last {
                self.wrong(&mut books, || format!("{client}: event {seq} was answered after event {last}"));
            } else if let Some(skipped) = skipped {
                self.wrong(&mut books, || format!("{client}: event {seq} was answered before event {skipped}"));
            } else if !fits(&work, &answer.outcome) {
                self.wrong(&mut books, || format!("{client}: event {seq} ({work:?}) has the wrong answer: {answer:?}"));
            }
        }
        self.changed.notify_waiters();
        world.step("answer", mix_outbox(outbox), seq);
        world.note(|| format!("  {} got {seq}", self.client_of(outbox)));
    }

    fn extra(&self, outbox: Outbox, extra: &Extra) {
        let mut books = lock(&self.books);
        let theirs: Outbox = extra.outbox_id.as_ref().try_into().unwrap_or_default();
        let same_client = match (books.outboxes.get(&outbox), books.outboxes.get(&theirs)) {
            (Some(mine), Some(theirs)) => mine.client == theirs.client,
            _ => false,
        };
        if extra.kind != ExtraKind::OtherOutbox || !same_client {
            self.wrong(&mut books, || format!("an answer that nobody waits for: {extra:?}"));
        }
    }

    /// What is still open, in words; `None` when every event that somebody waits for is answered.
    pub(crate) fn open(&self) -> Option<String> {
        let books = lock(&self.books);
        let mut open = books.outboxes.values().filter_map(|book| {
            let handle = book.handle.as_ref()?;
            let missing = (1..=book.sent.len() as u64).find(|seq| !book.answered.contains(seq))?;
            let (client, sent, durable, accepted) = (&book.client, book.sent.len(), book.durable_to, book.accepted);
            let state = handle.state().borrow().clone();
            Some(format!(
                "{client}: event {missing} of {sent} has no answer ({durable} durable, {accepted} accepted; {state:?})"
            ))
        });
        open.next()
    }

    /// How many events were answered.
    pub(crate) fn answers(&self) -> u64 {
        lock(&self.books).outboxes.values().map(|book| book.answered.len() as u64).sum()
    }
}

fn fits(work: &Work, outcome: &Outcome) -> bool {
    match (work.expected(), outcome) {
        (Expected::Final(payload), Outcome::Final(body)) => payload.as_bytes() == body.payload,
        (Expected::Error, Outcome::Error(_)) => true,
        _ => false,
    }
}

fn mix_outbox(outbox: Outbox) -> u64 {
    let numbers: Vec<u64> = outbox.iter().map(|byte| u64::from(*byte)).collect();
    crate::dice::mix(&numbers)
}

/// To whom a client id belongs.
pub(crate) fn principal_of(client: &str) -> String {
    format!("owner-of-{client}")
}

impl Booked for Event {
    fn book(life: &Life, partition: Partition, stored: &Stored<Self>) {
        life.world.ledger.event_landed(partition, stored);
        life.world.step("event", stored.record.seq, stored.offset.0);
    }
}

impl Booked for ResultRecord {
    fn book(life: &Life, _: Partition, stored: &Stored<Self>) {
        life.world.ledger.result_landed(stored);
        life.world.step("result", stored.record.seq, stored.offset.0);
    }
}

impl Booked for nimbus_core::DeadLetter {
    fn book(life: &Life, _: Partition, stored: &Stored<Self>) {
        life.world.step("dead letter", stored.record.event.seq, stored.offset.0);
    }
}
