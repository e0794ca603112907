//! The network between clients and servers: connections that take their time, are cut, or swallow what is sent.

mod wire;

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use futures_util::future::BoxFuture;
use nimbus_client::{Connection, Connector};
use tokio::{sync::mpsc, time::Instant};

use self::wire::{Line, Wire};
use crate::{dice::mix, life::Life, lock, world::World};

/// What servers get: a connection, or why there is none.
pub(crate) type Incoming = io::Result<Wire>;

/// Someone who takes connections.
#[derive(Debug)]
struct Listener {
    life: u64,
    connections: mpsc::UnboundedSender<Incoming>,
}

/// A connection that is open, or was until lately.
#[derive(Debug, Clone)]
struct Open {
    server: u64,
    client: u64,
    lines: [Weak<Mutex<Line>>; 2],
}

#[derive(Debug, Default)]
struct Inner {
    /// By server, in order.
    listeners: BTreeMap<usize, Listener>,
    open: BTreeMap<u64, Open>,
    count: u64,
}

#[derive(Debug)]
pub(crate) struct Network {
    world: Arc<World>,
    inner: Mutex<Inner>,
}

/// How long bytes take on one direction of one connection.
#[derive(Clone)]
pub(crate) struct Conditions {
    world: Arc<World>,
    line: u64,
}

impl fmt::Debug for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conditions").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Conditions {
    fn delay(&self) -> Duration {
        let world = &self.world;
        if world.is_calm() {
            return Duration::from_millis(1);
        }
        let number = mix(&[world.seed, self.line, world.elapsed().as_millis() as u64]);
        match number % 100 {
            0..50 => Duration::ZERO,
            50..95 => Duration::from_millis(number / 100 % 5),
            _ => Duration::from_millis(number / 100 % 300),
        }
    }
}

impl Network {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self { world: Arc::clone(world), inner: Mutex::default() })
    }

    /// A server takes connections from now on.
    pub(crate) fn listen(&self, server: usize, life: &Life) -> mpsc::UnboundedReceiver<Incoming> {
        let (connections, incoming) = mpsc::unbounded_channel();
        lock(&self.inner).listeners.insert(server, Listener { life: life.id, connections });
        incoming
    }

    pub(crate) fn stop_listening(&self, life: &Life) {
        lock(&self.inner).listeners.retain(|_, listener| listener.life != life.id);
    }

    /// Every connection of this incarnation is cut.
    pub(crate) fn cut_all(&self, life: u64) {
        let mut inner = lock(&self.inner);
        inner.listeners.retain(|_, listener| listener.life != life);
        let of = |open: &Open| open.server == life || open.client == life;
        let open: Vec<_> = inner.open.extract_if(.., |_, open| of(open)).collect();
        drop(inner);
        open.iter().for_each(|(_, open)| open.each(Line::cut));
    }

    /// Nothing gets through to or from this incarnation for a while.
    pub(crate) fn hold_all(&self, life: u64, until: Instant) {
        let lines: Vec<_> = {
            let inner = lock(&self.inner);
            let of = inner.open.values().filter(|open| open.server == life || open.client == life);
            of.flat_map(|open| open.lines.clone()).collect()
        };
        lines.iter().filter_map(Weak::upgrade).for_each(|line| lock(&line).hold(until));
    }

    /// Some connection, if there is one: it is cut, or swallows everything for a while.
    pub(crate) fn disturb(&self) {
        let mut inner = lock(&self.inner);
        inner.open.retain(|_, open| open.lines.iter().any(|line| line.strong_count() > 0));
        let ids: Vec<u64> = inner.open.keys().copied().collect();
        let Some(open) = self.world.dice.pick(&ids).and_then(|id| inner.open.get(id)).cloned() else { return };
        drop(inner);
        if self.world.dice.per_mille(500) {
            self.world.step("cut", open.server, open.client);
            open.each(Line::cut);
            return;
        }
        let until = Instant::now() + self.world.dice.millis(500, 60_000);
        self.world.step("swallow", open.server, open.client);
        // One direction, or both.
        let lines = if self.world.dice.per_mille(500) { &open.lines[..] } else { &open.lines[..1] };
        lines.iter().filter_map(Weak::upgrade).for_each(|line| lock(&line).hold(until));
    }

    async fn connect(self: Arc<Self>, client: u64) -> io::Result<Wire> {
        self.world.take_time().await;
        let mut inner = lock(&self.inner);
        let servers: Vec<usize> = inner.listeners.keys().copied().collect();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let server = *self.world.dice.pick(&servers).ok_or_else(refused)?;
        let listener = inner.listeners.get(&server).ok_or_else(refused)?;
        let (up, down) = (Arc::<Mutex<Line>>::default(), Arc::<Mutex<Line>>::default());
        let line = inner.count * 2;
        let end = |incoming: &Arc<Mutex<Line>>, outgoing: &Arc<Mutex<Line>>, line| Wire {
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
            conditions: Conditions { world: Arc::clone(&self.world), line },
            sleep: None,
        };
        let (theirs, mine) = (end(&up, &down, line), end(&down, &up, line + 1));
        listener.connections.send(Ok(theirs)).map_err(|_| refused())?;
        let open = Open { server: listener.life, client, lines: [Arc::downgrade(&up), Arc::downgrade(&down)] };
        let id = inner.count;
        inner.count += 1;
        inner.open.insert(id, open);
        drop(inner);
        self.world.step("connect", client, server as u64);
        Ok(mine)
    }
}

impl Open {
    fn each(&self, change: impl Fn(&mut Line)) {
        self.lines.iter().filter_map(Weak::upgrade).for_each(|line| change(&mut lock(&line)));
    }
}

/// How one client gets to a server: to any that takes connections.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) network: Arc<Network>,
    pub(crate) client: u64,
}

impl Connector for Dial {
    fn connect(&self) -> BoxFuture<'static, io::Result<Box<dyn Connection>>> {
        let connecting = Arc::clone(&self.network).connect(self.client);
        Box::pin(async move { Ok(Box::new(connecting.await?) as Box<dyn Connection>) })
    }
}
