//! The mailbox of one partition: owner, fold, floors, what waits. `nimbus_core::mailbox` and the scripts of `adapters/redis`,
//! reduced to one outbox and one principal per client.
//!
//! `tests/mailbox.rs` holds it against the real rules. Each function is one atomic step of the store.

use crate::{
    bug::Bug,
    ids::{CLIENTS, Client, Position, SERVERS, Server},
    log::{Log, Offsets},
};

/// The session that holds a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Where it lives.
    pub server: Server,
    /// Its number.
    pub no: u8,
}

/// What is remembered of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Holding {
    /// Who is told of its results.
    pub owner: Option<Owner>,
    /// The highest session number that claimed it; 0 = none.
    pub session_no: u8,
    /// Where its outbox began.
    pub start: Position,
    /// The fold: every event up to this one is answered.
    pub answered: u8,
    /// Complete for this client from here on (and from the partition's floor on).
    pub floor: Position,
    /// What waits.
    pub waiting: Offsets,
}

/// The shared state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    /// Names one memory of the partition; 0 = there is none.
    pub born: u8,
    /// How far the log is folded in.
    pub applied: Position,
    /// Complete from here on.
    pub floor: Position,
    /// By client.
    pub clients: [Holding; CLIENTS],
    /// The `last` of the newest notification, by server.
    pub notified: [Position; SERVERS],
}

/// A claim was refused: a higher number was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale;

/// What is folded in on a router's side: read before, written if nothing changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Folded {
    /// Which memory it was read from.
    pub born: u8,
    /// How far it was.
    pub applied: Position,
    /// The fold of each client.
    pub answered: [u8; CLIENTS],
}

/// What a server is told of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Results {
    /// The `last` of the notification before.
    pub previous: Position,
    /// Past the last record in it.
    pub last: Position,
    /// By client.
    pub clients: [Offsets; CLIENTS],
}

/// A page of a client's mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Page {
    /// Served from the mailbox.
    Records {
        /// In order.
        records: Offsets,
        /// Complete up to here.
        through: Position,
        /// Nothing was held back.
        complete: bool,
    },
    /// The log has to serve.
    BelowFloor,
}

impl Mailbox {
    /// A memory that begins at `at`, with its floor there (rule 16).
    pub fn new(born: u8, at: Position) -> Self {
        Self { born, applied: at, floor: at, clients: Default::default(), notified: [0; SERVERS] }
    }

    /// No memory at all.
    pub fn lost() -> Self {
        Self::new(0, 0)
    }

    /// Takes a client over; newest wins. Who held it until now.
    pub fn claim(
        &mut self,
        client: Client,
        by: Owner,
        log_end: Position,
        bug: Option<Bug>,
    ) -> Result<Option<Owner>, Stale> {
        let holding = &mut self.clients[client.index()];
        if by.no < holding.session_no && bug != Some(Bug::OlderClaimsWin) {
            return Err(Stale);
        }
        if holding.session_no == 0 {
            holding.start = log_end;
        }
        holding.session_no = by.no;
        Ok(holding.owner.replace(by).filter(|former| former.no != by.no))
    }

    /// Gives a client up if session `no` holds it (rule 19). Says whether anything changed.
    pub fn release(&mut self, client: Client, no: u8, bug: Option<Bug>) -> bool {
        let owner = &mut self.clients[client.index()].owner;
        let is_held = owner.is_some_and(|owner| owner.no == no || bug == Some(Bug::ReleaseWithoutCompare));
        if is_held {
            *owner = None;
        }
        is_held
    }

    /// Trims what a client has, on the word of the session that holds it (rule 22). Says whether anything changed.
    pub fn ack(&mut self, client: Client, no: u8, position: Position) -> bool {
        let applied = self.applied;
        let holding = &mut self.clients[client.index()];
        if holding.owner.is_none_or(|owner| owner.no != no) {
            return false;
        }
        holding.trim(position.min(applied))
    }

    /// Leaves what lies before `to` to the log (rule 14).
    pub fn trim(&mut self, to: Position) {
        self.floor = self.floor.max(to);
        self.clients.iter_mut().for_each(|holding| holding.waiting.trim_before(to));
    }

    /// Goes on where the log begins now, with the floor there (rule 16).
    pub fn skip_to(&mut self, start: Position, bug: Option<Bug>) {
        self.applied = start;
        if bug != Some(Bug::SkipWithoutFloor) {
            self.floor = self.floor.max(start);
        }
        if bug == Some(Bug::SkipUncounted) {
            return;
        }
        // As if the notification of what is gone had been sent and lost: nobody's chain reaches it until it is repaired.
        for server in Server::all() {
            let owns = self.clients.iter().any(|holding| holding.owner.is_some_and(|owner| owner.server == server));
            let notified = &mut self.notified[server.index()];
            if owns || *notified > 0 {
                *notified = start;
            }
        }
    }

    /// Reads what waits for a client.
    pub fn read(&self, client: Client, from: Position, most: usize, bug: Option<Bug>) -> Page {
        let holding = &self.clients[client.index()];
        if from < self.floor.max(holding.floor) && bug != Some(Bug::FloorsIgnored) {
            return Page::BelowFloor;
        }
        let all = holding.waiting.from(from);
        let mut records = Offsets::default();
        all.iter().take(most).for_each(|offset| records.insert(offset));
        let complete = records == all;
        Page::Records { records, through: if complete { self.applied.max(from) } else { records.end() }, complete }
    }

    /// What a router reads before it folds.
    pub fn load(&self) -> Folded {
        Folded { born: self.born, applied: self.applied, answered: self.clients.map(|holding| holding.answered) }
    }

    /// Whether the script refuses what was folded on this.
    pub fn has_moved(&self, folded: &Folded) -> bool {
        (folded.born, folded.applied) != (self.born, self.applied)
    }

    /// Writes a batch of `records` from where `folded` is, and names what each server is told (rules 10 to 12).
    pub fn apply(&mut self, folded: &mut Folded, log: &Log, records: u8) -> Vec<(Server, Results)> {
        let mut told: [Option<Results>; SERVERS] = [None; SERVERS];
        for offset in folded.applied..folded.applied + records {
            let record = log.at(offset);
            let answered = &mut folded.answered[record.client.index()];
            if record.seq <= *answered {
                continue;
            }
            *answered = record.seq;
            let holding = &mut self.clients[record.client.index()];
            holding.waiting.insert(offset);
            if let Some(owner) = holding.owner {
                let empty = Results { previous: 0, last: 0, clients: Default::default() };
                let results = told[owner.server.index()].get_or_insert(empty);
                results.last = offset + 1;
                results.clients[record.client.index()].insert(offset);
            }
        }
        for (holding, answered) in self.clients.iter_mut().zip(folded.answered) {
            holding.answered = answered;
        }
        folded.applied += records;
        self.applied = folded.applied;
        let told = Server::all().zip(told).filter_map(|(server, results)| results.map(|results| (server, results)));
        let chain = |(server, results): (Server, Results)| {
            let previous = std::mem::replace(&mut self.notified[server.index()], results.last);
            (server, Results { previous, ..results })
        };
        told.map(chain).collect()
    }
}

impl Holding {
    /// The floor rises no further than past what was really taken away, as in the embedded mailbox. The script for Redis raises
    /// it to `through`, which is the safer side.
    fn trim(&mut self, through: Position) -> bool {
        let mut left = self.waiting;
        left.trim_before(through);
        let trimmed = self.waiting.without(left);
        self.waiting = left;
        self.floor = self.floor.max(trimmed.end());
        !trimmed.is_empty()
    }
}
