//! One state: everything that the parts know, and how little of it they share.

use crate::{
    bounds::Bounds,
    bug::Bug,
    device::{Breach, Device},
    ids::{CLIENTS, Client, Position, ROUTERS, SERVERS, Server, SessionId},
    log::Log,
    mailbox::{Folded, Mailbox},
    server::{ServerState, Which},
    session::{Session, Stage},
};

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The results log.
    pub log: Log,
    /// Redis.
    pub mailbox: Mailbox,
    /// Counts failovers and losses.
    pub replication: u8,
    /// What a replica that fell behind holds.
    pub replica: Option<Mailbox>,
    /// What each router has read and folded on, if anything. Sorted: which is which makes no difference.
    pub routers: [Option<Folded>; ROUTERS],
    /// By server.
    pub servers: [ServerState; SERVERS],
    /// By client.
    pub devices: [Device; CLIENTS],
    /// Sorted by id.
    pub sessions: Vec<Session>,
    /// Answers that executors have still to give, by client.
    pub answers: [u8; CLIENTS],
    /// Faults that may still happen.
    pub faults: u8,
    /// What must never happen and did.
    pub breach: Option<Breach>,
}

impl World {
    /// Everything is new, nobody is connected.
    pub fn new(bounds: &Bounds, bug: Option<Bug>) -> Self {
        let mailbox = Mailbox::new(1, 0);
        let server = ServerState::new(Which::default());
        let mut world = Self {
            log: Log::default(),
            mailbox,
            replication: 0,
            replica: None,
            routers: [None; ROUTERS],
            servers: [server.clone(), server],
            devices: [Device::default(); CLIENTS],
            sessions: Vec::new(),
            answers: bounds.answers,
            faults: bounds.faults,
            breach: None,
        };
        Server::all().for_each(|server| world.start(server, bug));
        world
    }

    /// A server process begins: it has subscribed, and looked which Redis there is.
    pub fn start(&mut self, server: Server, bug: Option<Bug>) {
        let knows = if bug == Some(Bug::ReplicationLearnedLate) { Which::default() } else { self.which() };
        *self.server_mut(server) = ServerState::new(knows);
    }

    /// Which Redis there is.
    pub fn which(&self) -> Which {
        Which { replication: Some(self.replication), born: self.remembers().then_some(self.mailbox.born) }
    }

    /// Whether Redis has a memory of the partition.
    pub const fn remembers(&self) -> bool {
        self.mailbox.born != 0
    }

    /// A client's device.
    pub fn device(&self, client: Client) -> &Device {
        &self.devices[client.index()]
    }

    /// The same, to be changed.
    pub fn device_mut(&mut self, client: Client) -> &mut Device {
        &mut self.devices[client.index()]
    }

    /// The same of a server.
    pub fn server_mut(&mut self, server: Server) -> &mut ServerState {
        &mut self.servers[server.index()]
    }

    /// One session, if it is there.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    /// The same, to be changed.
    pub fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    /// Whether the client still listens to this session.
    pub fn is_attached(&self, id: SessionId) -> bool {
        let device = self.device(id.client);
        device.connected && device.no == id.no
    }

    /// Notes the first thing that went wrong.
    pub fn note(&mut self, breach: Option<Breach>) {
        self.breach = self.breach.or(breach);
    }

    /// The client's stream is gone. A session that is opening goes on and finds out at its end.
    pub fn detach(&mut self, client: Client) {
        let device = self.device_mut(client);
        device.connected = false;
        let id = SessionId { client, no: device.no };
        let acked = device.position.unwrap_or_default();
        if let Some(session) = self.session_mut(id)
            && matches!(session.stage, Stage::Open(_))
        {
            session.stage = Stage::Leaving { acked };
        }
    }

    /// Ends a session whose client is told to go, or is gone already.
    pub fn end(&mut self, id: SessionId) {
        if self.is_attached(id) {
            self.detach(id.client);
        }
        if let Some(session) = self.session_mut(id)
            && !matches!(session.stage, Stage::Leaving { .. })
        {
            session.stage = Stage::Leaving { acked: 0 };
        }
    }

    /// A session is told that a newer one took over. Terminal in the SDK: the newest one must never hear it.
    pub fn supersede(&mut self, id: SessionId) {
        if self.is_attached(id) {
            self.note(Some(Breach::NewestTurnedAway));
        }
        self.end(id);
    }

    /// Whether all is well once nothing moves any more: everything is delivered, and every client is as far as the log is, so
    /// that floors do not overtake those who have nothing to wait for (rule 15).
    pub fn is_settled(&self, bounds: &Bounds) -> bool {
        let end = self.log.end();
        let lags_behind = |client| bounds.has(client) && self.device(client).position != Some(end);
        self.is_delivered(bounds) && !(bounds.bookmarks && Client::all().any(lags_behind))
    }

    /// Whether everything that was answered has reached its client, or was announced as lost.
    pub fn is_delivered(&self, bounds: &Bounds) -> bool {
        Client::all().filter(|client| bounds.has(*client)).all(|client| {
            let device = self.device(client);
            let came = |offset: Position, seq| offset < device.excused || device.is_settled(seq);
            device.connected && self.log.of(client).all(|(offset, record)| came(offset, record.seq))
        })
    }

    /// Whether no client believes to have something that it neither has nor was told to be lost.
    pub fn skips_nothing(&self) -> bool {
        Client::all().all(|client| {
            let device = self.device(client);
            let passed = device.excused..device.position.unwrap_or_default();
            self.log.of(client).all(|(offset, record)| !passed.contains(&offset) || device.is_settled(record.seq))
        })
    }

    /// Whether every GAP that was told is one: it ends no further than where the log begins.
    pub fn gaps_are_real(&self) -> bool {
        let is_real = |device: &Device| device.gap_to.is_none_or(|to: Position| to <= self.log.start);
        self.devices.iter().all(is_real)
    }

    /// Whether the mailbox holds everything between its floors and what is applied: every first answer to an event.
    pub fn mailbox_is_complete(&self) -> bool {
        Client::all().all(|client| {
            let holding = &self.mailbox.clients[client.index()];
            let served = self.mailbox.floor.max(holding.floor)..self.mailbox.applied;
            let firsts = self.log.scan(client, 0, 0);
            firsts.iter().all(|offset| !served.contains(&offset) || holding.waiting.contains(offset))
        })
    }
}
