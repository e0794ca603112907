//! Everything that can happen next.

use crate::{
    bounds::{Bounds, Fault},
    bug::Bug,
    ids::{Client, Position, Router, Server, SessionId},
    session::{Mode, Stage},
    world::World,
};

/// One step of one part. What a part does without looking at another one is one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// An answer lands in the results log.
    Answer(Client),
    /// A client that is not connected says Hello; the server registers the session and looks at the log's range.
    Connect(Client, Server),
    /// The session is put into the registry. A step of its own only where a bug has moved it.
    Register(SessionId),
    /// The session claims its client.
    Claim(SessionId),
    /// The session opens: Welcome, and a read is out.
    Open(SessionId),
    /// The mailbox answers the read, or the log where the mailbox cannot.
    Read(SessionId),
    /// The session takes what was read.
    Take(SessionId),
    /// The session pings: "everything before this is yours".
    Ping(SessionId),
    /// A session whose client is gone gives it up and ends.
    Release(SessionId),
    /// A router reads what it folds on.
    Load(Router),
    /// A router brings so many records in, if nothing changed since it read.
    Apply(Router, u8),
    /// An idle router finds the mailbox elsewhere.
    Look(Router),
    /// A server takes the oldest message of its channel.
    Deliver(Server),
    /// A second has passed on a server: it compares its chain with the mailbox, and tells the mailbox what its clients have. If
    /// it finds another Redis, everything is claimed again.
    Check(Server),
    /// The server accepts the other Redis, and all sessions read.
    Accept(Server),
    /// Whoever comes first gives an empty Redis a place to begin.
    Begin(Position),
    /// Redis fails over to the replica that fell behind.
    Failover,
    /// Something goes wrong: at a server, at a client, or at a position.
    Fault(Fault, u8),
}

/// Adds everything that can happen.
pub fn all(world: &World, bounds: &Bounds, bug: Option<Bug>, actions: &mut Vec<Action>) {
    ordinary(world, bounds, bug, actions);
    let may_answer = |client: &Client| world.answers[client.index()] > 0 && world.device(*client).position.is_some();
    actions.extend(Client::all().filter(may_answer).map(Action::Answer));
    if world.replica.is_some() {
        actions.push(Action::Failover);
    }
    if world.faults > 0 {
        bounds.kinds.iter().for_each(|fault| faults(world, *fault, actions));
    }
}

/// Adds what happens if nothing goes wrong any more and no more events come, in the order in which a fault-free continuation
/// prefers it.
pub fn ordinary(world: &World, bounds: &Bounds, bug: Option<Bug>, actions: &mut Vec<Action>) {
    if !world.remembers() {
        // Any place will do. The latest first: the least is in the mailbox then.
        actions.extend((world.log.start..=world.log.end()).rev().map(Action::Begin));
    }
    for server in Server::all() {
        let state = &world.servers[server.index()];
        // While the check is out, the dispatcher takes nothing.
        if state.accepting.is_none() && !state.channel.is_empty() {
            actions.push(Action::Deliver(server));
        }
    }
    if world.remembers() {
        // Before the sessions: one that was told of what a new Redis does not hold yet reads again until it does.
        routers(world, bounds, bug, actions);
    }
    for session in &world.sessions {
        let state = &world.servers[session.server.index()];
        let is_known = matches!(bug, Some(Bug::ReadOfAnUnknownRedis | Bug::ReadBeforeReclaim))
            || state.accepting.is_none() && !state.knows.differs_from(world.which());
        sessions(session, world.remembers(), is_known, bug, actions);
    }
    for server in Server::all() {
        if world.servers[server.index()].accepting.is_some() {
            actions.push(Action::Accept(server));
        } else if world.remembers() && bounds.checks {
            actions.push(Action::Check(server));
        }
    }
    for session in &world.sessions {
        if bounds.bookmarks && matches!(session.stage, Stage::Open(_)) {
            actions.push(Action::Ping(session.id));
        }
    }
    for client in Client::all().filter(|client| bounds.has(*client) && !world.device(*client).connected) {
        actions.extend(Server::all().map(|server| Action::Connect(client, server)));
    }
}

fn sessions(
    session: &crate::session::Session,
    remembers: bool,
    is_known: bool,
    bug: Option<Bug>,
    actions: &mut Vec<Action>,
) {
    let id = session.id;
    let is_live = matches!(&session.stage, Stage::Open(down) if down.mode == Mode::Live);
    let may_claim = match bug {
        Some(Bug::ReadBeforeClaim) => is_live,
        _ => matches!(session.stage, Stage::Opening { .. }),
    };
    if may_claim && !session.claimed && remembers {
        actions.push(Action::Claim(id));
    }
    let may_register = match bug {
        Some(Bug::RegisterLast) => is_live,
        _ => session.claimed,
    };
    if may_register && !session.registered {
        actions.push(Action::Register(id));
    }
    match &session.stage {
        Stage::Opening { .. } => {
            let is_claimed = session.claimed || bug == Some(Bug::ReadBeforeClaim);
            if is_claimed && (session.registered || bug == Some(Bug::RegisterLast)) {
                actions.push(Action::Open(id));
            }
        }
        Stage::Open(down) => match down.mode {
            Mode::Fetching { answer: None, .. } if remembers && is_known => actions.push(Action::Read(id)),
            Mode::Fetching { answer: Some(_), .. } => actions.push(Action::Take(id)),
            Mode::Fetching { .. } | Mode::Live => {}
        },
        Stage::Leaving { .. } => actions.push(Action::Release(id)),
    }
}

fn routers(world: &World, bounds: &Bounds, bug: Option<Bug>, actions: &mut Vec<Action>) {
    for router in Router::all().take(bounds.routers) {
        let Some(folded) = &world.routers[router.index()] else {
            actions.push(Action::Load(router));
            continue;
        };
        if folded.applied < world.log.start {
            actions.push(Action::Load(router));
            continue;
        }
        let left = world.log.end() - folded.applied;
        let has_moved = world.mailbox.has_moved(folded);
        let most = if has_moved && bug != Some(Bug::ApplyWithoutFence) { 1 } else { bounds.batch };
        actions.extend((1..=left.min(most)).rev().map(|records| Action::Apply(router, records)));
        if left == 0 && has_moved && bug != Some(Bug::RouterNeverLooks) {
            actions.push(Action::Look(router));
        }
    }
}

fn faults(world: &World, fault: Fault, actions: &mut Vec<Action>) {
    let at = |places: &mut dyn Iterator<Item = u8>, actions: &mut Vec<Action>| {
        actions.extend(places.map(|place| Action::Fault(fault, place)));
    };
    let waiting = |most: usize| {
        Server::all().filter(move |server| world.servers[server.index()].channel.len() > most).map(|server| server.0)
    };
    match fault {
        Fault::Cut => at(&mut Client::all().filter(|it| world.device(*it).connected).map(|it| it.0), actions),
        Fault::Crash => at(&mut Server::all().map(|server| server.0), actions),
        Fault::Resubscribe => at(&mut waiting(0), actions),
        Fault::Lose | Fault::Repeat => at(&mut waiting(0), actions),
        Fault::Late => at(&mut waiting(1), actions),
        Fault::Lag if world.replica.is_none() && world.remembers() => at(&mut (0..1), actions),
        Fault::Wipe if world.remembers() => at(&mut (0..1), actions),
        Fault::Lag | Fault::Wipe => {}
        Fault::Again => at(&mut world.log.records.iter().enumerate().map(|(offset, _)| offset as u8), actions),
        Fault::Retain => at(&mut (world.log.start + 1..=world.log.end()), actions),
        Fault::Trim if world.remembers() => at(&mut (world.mailbox.floor + 1..=world.mailbox.applied), actions),
        Fault::Trim => {}
    }
}
