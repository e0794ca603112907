//! What each step does.

use std::mem;

use crate::{
    action::Action,
    bounds::{Bounds, Fault},
    bug::Bug,
    device::Breach,
    ids::{Client, Position, Router, Server, SessionId},
    log::Offsets,
    mailbox::{Mailbox, Owner, Page, Results},
    server::{Head, Notice, Repair},
    session::{Downstream, Fetched, Mode, Session, Stage},
    world::World,
};

/// Does one step.
pub fn step(world: &mut World, action: Action, bounds: &Bounds, bug: Option<Bug>) {
    Step { world, bounds, bug }.run(action);
    world.routers[..bounds.routers].sort_unstable();
}

/// Where everything begins.
pub fn begin(bounds: &Bounds, bug: Option<Bug>) -> World {
    let mut world = World::new(bounds, bug);
    if bounds.begun {
        let id = SessionId { client: Client(1), no: 1 };
        let opening = [Action::Connect(id.client, Server(0)), Action::Claim(id), Action::Open(id)];
        let live = [Action::Read(id), Action::Take(id), Action::Load(Router(0))];
        opening.into_iter().chain(live).for_each(|action| step(&mut world, action, bounds, bug));
        if let Some(session) = world.session_mut(id) {
            session.registered = true;
        }
    }
    world
}

struct Step<'a> {
    world: &'a mut World,
    bounds: &'a Bounds,
    bug: Option<Bug>,
}

impl Step<'_> {
    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn run(&mut self, action: Action) {
        match action {
            Action::Answer(client) => {
                let seq = self.world.log.answered(client) + 1;
                self.world.answers[client.index()] -= 1;
                self.world.log.records.push(crate::log::Record { client, seq });
            }
            Action::Connect(client, server) => self.connect(client, server),
            Action::Register(id) => {
                if let Some(session) = self.world.session_mut(id) {
                    session.registered = true;
                }
            }
            Action::Claim(id) => self.claim(id),
            Action::Open(id) => self.open(id),
            Action::Read(id) => self.read(id),
            Action::Take(id) => self.take(id),
            Action::Ping(id) => self.ping(id),
            Action::Release(id) => self.release(id),
            Action::Load(router) => self.load(router),
            Action::Apply(router, records) => self.apply(router, records),
            Action::Look(router) => self.world.routers[router.index()] = None,
            Action::Deliver(server) => self.deliver(server),
            Action::Check(server) => self.check(server),
            Action::Accept(server) => self.accept(server),
            Action::Begin(at) => self.world.mailbox = Mailbox::new(self.world.replication + 1, at),
            Action::Failover => {
                if let Some(replica) = self.world.replica.take() {
                    self.world.mailbox = replica;
                    self.world.replication += 1;
                }
            }
            Action::Fault(fault, place) => {
                self.world.faults -= 1;
                self.fault(fault, place);
            }
        }
    }

    fn connect(&mut self, client: Client, server: Server) {
        let range = (self.world.log.start, self.world.log.end());
        let device = self.world.device_mut(client);
        device.no += 1;
        device.connected = true;
        let session = Session {
            id: SessionId { client, no: device.no },
            server,
            registered: !matches!(self.bug, Some(Bug::ClaimBeforeRegister | Bug::RegisterLast)),
            claimed: false,
            stage: Stage::Opening { missed: false, notified: 0 },
            from: device.position,
            answered: device.answered(),
            range,
        };
        let at = self.world.sessions.partition_point(|other| other.id < session.id);
        self.world.sessions.insert(at, session);
    }

    fn claim(&mut self, id: SessionId) {
        let Some(session) = self.world.session(id) else { return };
        let (by, log_end) = (Owner { server: session.server, no: id.no }, session.range.1);
        match self.world.mailbox.claim(id.client, by, log_end, self.bug) {
            Ok(former) => {
                let start = self.world.mailbox.clients[id.client.index()].start;
                let born = self.world.which().born;
                let known = &mut self.world.server_mut(by.server).knows.born;
                *known = known.or(born);
                if let Some(session) = self.world.session_mut(id) {
                    session.claimed = true;
                    session.from.get_or_insert(start);
                }
                self.supersede(id, former);
            }
            Err(_) => {
                if self.world.is_attached(id) {
                    self.world.note(Some(Breach::NewestTurnedAway));
                    self.world.detach(id.client);
                }
                self.world.sessions.retain(|session| session.id != id);
            }
        }
    }

    /// Tells the session that lost the client, here or elsewhere.
    fn supersede(&mut self, id: SessionId, former: Option<Owner>) {
        let Some(former) = former else { return };
        let lost = SessionId { client: id.client, no: former.no };
        if self.world.session(id).is_some_and(|session| session.server == former.server) {
            self.world.supersede(lost);
        } else {
            self.world.server_mut(former.server).channel.push_back(Notice::Superseded(lost));
        }
    }

    fn open(&mut self, id: SessionId) {
        let is_attached = self.world.is_attached(id);
        let Some(session) = self.world.session(id) else { return };
        let Stage::Opening { missed, notified } = session.stage else { return };
        let (asked, answered) = (session.from.unwrap_or(session.range.1), session.answered);
        let position = asked.max(session.range.0);
        let mut down = Downstream::new(position, answered);
        if missed {
            down.missed(self.bug);
        }
        down.notified = down.notified.max(notified);
        if is_attached {
            let is_gap = asked < position && !self.has(Bug::NoGap);
            let lost: Vec<u8> = self.world.log.of(id.client).filter(|it| it.0 < position).map(|it| it.1.seq).collect();
            let device = self.world.device_mut(id.client);
            device.welcomed(position);
            if is_gap {
                device.gap(position, lost.into_iter());
            }
        }
        if let Some(session) = self.world.session_mut(id) {
            session.stage = if is_attached { Stage::Open(down) } else { Stage::Leaving { acked: 0 } };
            // Of no more use, and states that differ in nothing else are one.
            (session.from, session.answered, session.range) = (None, 0, (0, 0));
        }
    }

    fn read(&mut self, id: SessionId) {
        let Some(session) = self.world.session(id) else { return };
        let Stage::Open(mut down) = session.stage else { return };
        let Mode::Fetching { again, .. } = down.mode else { return };
        let log = &self.world.log;
        let fetched = match self.world.mailbox.read(id.client, down.sent, self.bounds.page as usize, self.bug) {
            Page::Records { records, through, complete } => Fetched { records, through, complete },
            // It asks for what the log has lost: the session ends, and the next one says GAP.
            Page::BelowFloor if down.sent < log.start => return self.world.end(id),
            Page::BelowFloor => {
                let records = log.scan(id.client, down.sent, down.answered);
                Fetched { records, through: log.end(), complete: true }
            }
        };
        down.mode = Mode::Fetching { again, answer: Some(fetched) };
        self.set(id, down);
    }

    fn take(&mut self, id: SessionId) {
        let Some(session) = self.world.session(id) else { return };
        let Stage::Open(mut down) = session.stage else { return };
        let Mode::Fetching { answer: Some(fetched), .. } = down.mode else { return };
        let sent = down.fetched(fetched, &self.world.log, self.bug);
        self.set(id, down);
        self.send(id, sent);
    }

    fn set(&mut self, id: SessionId, down: Downstream) {
        if let Some(session) = self.world.session_mut(id) {
            session.stage = Stage::Open(down);
        }
    }

    /// What is sent arrives: an open session's client is there.
    fn send(&mut self, id: SessionId, records: Offsets) {
        for offset in records.iter() {
            let record = self.world.log.at(offset);
            let bug = self.bug;
            let breach = self.world.device_mut(id.client).delivered(id, offset, record, bug);
            self.world.note(breach);
        }
    }

    fn ping(&mut self, id: SessionId) {
        let Some(session) = self.world.session(id) else { return };
        let Stage::Open(mut down) = session.stage else { return };
        // The server's own is 0 unless a bug keeps it.
        down.bookmark(down.bookmark.max(self.world.servers[session.server.index()].bookmark));
        self.set(id, down);
        self.world.device_mut(id.client).bookmark(id, down.sent);
    }

    fn ack(&mut self, id: SessionId, position: Position) {
        self.world.mailbox.ack(id.client, id.no, position);
    }

    fn release(&mut self, id: SessionId) {
        let Some(session) = self.world.session(id) else { return };
        if let Stage::Leaving { acked } = session.stage
            && self.bounds.acks
        {
            self.ack(id, acked);
        }
        let is_owner = self.world.mailbox.clients[id.client.index()].owner.is_some_and(|owner| owner.no == id.no);
        let changed = self.world.mailbox.release(id.client, id.no, self.bug);
        self.world.note((changed && !is_owner).then_some(Breach::StaleWrite));
        self.world.sessions.retain(|session| session.id != id);
    }

    fn load(&mut self, router: Router) {
        let start = self.world.log.start;
        if self.world.mailbox.applied < start {
            self.world.mailbox.skip_to(start, self.bug);
            self.world.servers.iter_mut().for_each(|server| server.channel.push_back(Notice::MayHaveMissed));
        }
        self.world.routers[router.index()] = Some(self.world.mailbox.load());
    }

    fn apply(&mut self, router: Router, records: u8) {
        let Some(mut folded) = self.world.routers[router.index()] else { return };
        if self.world.mailbox.has_moved(&folded) {
            if !self.has(Bug::ApplyWithoutFence) {
                self.world.routers[router.index()] = None;
                return;
            }
            self.world.note(Some(Breach::StaleWrite));
        }
        let told = self.world.mailbox.apply(&mut folded, &self.world.log, records);
        self.world.routers[router.index()] = Some(folded);
        for (server, results) in told {
            self.world.server_mut(server).channel.push_back(Notice::Results(results));
        }
    }

    fn deliver(&mut self, server: Server) {
        match self.world.server_mut(server).channel.pop_front() {
            Some(Notice::Results(results)) => {
                let bug = self.bug;
                if self.world.server_mut(server).chained(&results, bug) == Repair::Sessions {
                    // Before the results are handed out: a session must not send what lies behind a hole.
                    self.repair(server);
                }
                self.hand_out(server, &results);
            }
            Some(Notice::Superseded(id)) => self.world.supersede(id),
            Some(Notice::MayHaveMissed) => {
                self.world.server_mut(server).missed();
                self.repair(server);
            }
            None => {}
        }
    }

    fn hand_out(&mut self, server: Server, results: &Results) {
        let whole_server = self.has(Bug::WholeServerTold);
        for client in Client::all() {
            let records = results.clients[client.index()];
            let hears = |session: &&Session| session.server == server && session.listens();
            let theirs = |session: &&Session| session.id.client == client || whole_server;
            let ids: Vec<SessionId> =
                self.world.sessions.iter().filter(hears).filter(theirs).map(|session| session.id).collect();
            for id in ids.into_iter().filter(|_| !records.is_empty()) {
                self.notify(id, records);
            }
        }
    }

    fn notify(&mut self, id: SessionId, records: Offsets) {
        let log = mem::take(&mut self.world.log);
        let mut sent = Offsets::default();
        if let Some(session) = self.world.session_mut(id) {
            match &mut session.stage {
                Stage::Opening { notified, .. } => *notified = records.end().max(*notified),
                Stage::Open(down) => sent = down.notified(records, &log),
                Stage::Leaving { .. } => {}
            }
        }
        self.world.log = log;
        self.send(id, sent);
    }

    /// Every session of the server reads its mailbox.
    fn repair(&mut self, server: Server) {
        for session in self.world.sessions.iter_mut().filter(|it| it.server == server && it.listens()) {
            match &mut session.stage {
                Stage::Opening { missed, .. } => *missed = true,
                Stage::Open(down) => down.missed(self.bug),
                Stage::Leaving { .. } => {}
            }
        }
    }

    fn check(&mut self, server: Server) {
        let which = self.world.which();
        let knows = &mut self.world.server_mut(server).knows;
        let differs = mem::replace(knows, which).differs_from(which);
        if differs && !self.has(Bug::NoReclaim) {
            match self.has(Bug::ReadBeforeReclaim) {
                true => self.repair(server),
                false => self.claim_again(server),
            }
            self.world.server_mut(server).accepting = Some(which);
            return;
        }
        let mailbox = &self.world.mailbox;
        let head = Head { applied: mailbox.applied, notified: mailbox.notified[server.index()] };
        let bug = self.bug;
        if self.world.server_mut(server).checked(head, bug) == Repair::Sessions {
            self.repair(server);
        }
        self.hand_out_bookmark(server);
        if self.bounds.acks {
            self.flush_acks(server);
        }
    }

    /// To the sessions that are live by now: for all others it would come too early.
    fn hand_out_bookmark(&mut self, server: Server) {
        if self.has(Bug::BookmarkFromBeforeALoss) && self.bounds.bookmarks {
            return;
        }
        let bookmark = mem::take(&mut self.world.server_mut(server).bookmark);
        for session in self.world.sessions.iter_mut().filter(|it| it.server == server && self.bounds.bookmarks) {
            if let Stage::Open(down) = &mut session.stage
                && down.mode == Mode::Live
                && down.sent < bookmark
            {
                down.bookmark = down.bookmark.max(bookmark);
            }
        }
    }

    fn flush_acks(&mut self, server: Server) {
        let open = |session: &&Session| session.server == server && matches!(session.stage, Stage::Open(_));
        for id in self.world.sessions.iter().filter(open).map(|session| session.id).collect::<Vec<_>>() {
            let position = self.world.device(id.client).position.unwrap_or_default();
            self.ack(id, position);
        }
    }

    /// Everything that sessions of this server hold is claimed again, one session per client: the newest.
    fn claim_again(&mut self, server: Server) {
        let held = self.world.sessions.iter().filter(|session| session.server == server && session.claimed);
        let held: Vec<SessionId> = held.map(|session| session.id).collect();
        for (at, id) in held.iter().enumerate() {
            if held.get(at + 1).is_some_and(|next| next.client == id.client) {
                continue;
            }
            let holding = &self.world.mailbox.clients[id.client.index()];
            let is_held_by_a_newer = holding.owner.is_some() && holding.session_no > id.no;
            let log_end = self.world.session(*id).and_then(|session| session.from).unwrap_or_default();
            let by = Owner { server, no: id.no };
            let claimed = match is_held_by_a_newer {
                true => Err(crate::mailbox::Stale),
                false => self.world.mailbox.claim(id.client, by, log_end, self.bug),
            };
            match claimed {
                Ok(former) => self.supersede(*id, former),
                Err(_) => self.world.supersede(*id),
            }
        }
    }

    fn accept(&mut self, server: Server) {
        if self.has(Bug::ReadBeforeReclaim) {
            self.claim_again(server);
        }
        let bug = self.bug;
        let state = self.world.server_mut(server);
        state.knows = state.accepting.take().unwrap_or(state.knows);
        if bug != Some(Bug::ChannelKeptOverALoss) {
            // The connection is made anew: what was told of another Redis does not come any more.
            state.channel.clear();
        }
        state.missed();
        if !matches!(self.bug, Some(Bug::ReclaimWithoutRead | Bug::ReadBeforeReclaim)) {
            self.repair(server);
        }
    }

    fn fault(&mut self, fault: Fault, place: u8) {
        let (server, client) = (Server(place), Client(place));
        match fault {
            Fault::Cut => self.world.detach(client),
            Fault::Crash => {
                let gone = self.world.sessions.iter().filter(|session| session.server == server);
                for id in gone.map(|session| session.id).collect::<Vec<_>>() {
                    self.world.end(id);
                }
                self.world.sessions.retain(|session| session.server != server);
                self.world.start(server, self.bug);
            }
            Fault::Lose => drop(self.world.server_mut(server).channel.pop_front()),
            Fault::Repeat => {
                let channel = &mut self.world.server_mut(server).channel;
                channel.extend(channel.front().copied());
            }
            Fault::Late => self.world.server_mut(server).channel.swap(0, 1),
            Fault::Resubscribe => {
                let state = self.world.server_mut(server);
                state.channel.clear();
                state.channel.push_back(Notice::MayHaveMissed);
            }
            Fault::Lag => self.world.replica = Some(self.world.mailbox.clone()),
            Fault::Wipe => {
                self.world.mailbox = Mailbox::lost();
                self.world.replication += 1;
                self.world.replica = None;
            }
            Fault::Again => {
                let copy = self.world.log.at(place);
                self.world.log.records.push(copy);
            }
            Fault::Retain => self.world.log.start = place,
            Fault::Trim => self.world.mailbox.trim(place),
        }
    }
}
