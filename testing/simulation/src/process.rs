//! Servers, executors and routers: started, stopped in good order, killed, and held up.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use nimbus_consumers::{
    Catalogue, ExecutorConfig, ExecutorMetrics, ExecutorPorts, RouterConfig, RouterMetrics, RouterPorts, run_executors,
    run_router,
};
use nimbus_core::{DeadLetter, Event, PrincipalId, ResultRecord, ServerId};
use nimbus_server::{
    Edge, EdgeConfig, EdgePorts, Metrics,
    auth::{ClientPattern, StaticToken, StaticTokens},
};
use prometheus_client::registry::Registry;
use tokio::{task::JoinHandle, time::Instant};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Bus, SimNotifier},
    ledger::principal_of,
    life::{Births, Life},
    log::{LogStore, SimLog},
    mailbox::{MailboxStore, SimMailbox},
    network::Network,
    work::executors,
    world::{JumpyClock, World},
};

/// How long a server may take to let its streams go.
const DRAIN: Duration = Duration::from_secs(2);

/// What outlives every process.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) world: Arc<World>,
    pub(crate) events: Arc<LogStore<Event>>,
    pub(crate) results: Arc<LogStore<ResultRecord>>,
    dead_letters: Arc<LogStore<DeadLetter>>,
    pub(crate) mailbox: Arc<MailboxStore>,
    bus: Arc<Bus>,
    pub(crate) network: Arc<Network>,
    pub(crate) births: Births,
}

impl Backend {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        let results = LogStore::new(world.plan.partitions);
        let bus = Bus::new(world);
        Arc::new(Self {
            events: LogStore::new(world.plan.partitions),
            dead_letters: LogStore::new(world.plan.partitions),
            mailbox: MailboxStore::new(world, &results, &bus),
            results,
            bus,
            network: Network::new(world),
            births: Births::default(),
            world: Arc::clone(world),
        })
    }

    /// The groups take everybody of this incarnation for dead once they have heard nothing for long enough.
    fn expire_later(self: &Arc<Self>, life: u64) {
        let backend = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(backend.world.plan.session_timeout).await;
            backend.events.expire(life);
            backend.results.expire(life);
            backend.world.step("expired", life, 0);
        });
    }
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Server,
    Executor,
    Router,
}

/// One process, in its present incarnation.
#[derive(Debug)]
pub(crate) struct Process {
    backend: Arc<Backend>,
    role: Role,
    number: usize,
    life: Arc<Life>,
    clock: Arc<JumpyClock>,
    stop: CancellationToken,
    edge: Option<Edge>,
    task: JoinHandle<()>,
}

/// The token that a client shows.
pub(crate) fn token_of(client: &str) -> String {
    format!("token-of-{client}")
}

pub(crate) fn client_name(number: usize) -> String {
    format!("client-{number}")
}

impl Process {
    pub(crate) fn start(backend: &Arc<Backend>, role: Role, number: usize) -> Self {
        let life = Life::new(backend.births.next(), &backend.world);
        let (clock, stop) = (JumpyClock::new(), CancellationToken::new());
        backend.world.step("start", life.id, number as u64);
        let mut edge = None;
        let task = match role {
            Role::Server => {
                let made = make_edge(backend, &life, &clock, number);
                edge = Some(made.clone());
                tokio::spawn(serve(Arc::clone(backend), Arc::clone(&life), made, number, stop.clone()))
            }
            Role::Executor => {
                tokio::spawn(execute(Arc::clone(backend), Arc::clone(&life), Arc::clone(&clock), stop.clone()))
            }
            Role::Router => {
                tokio::spawn(route(Arc::clone(backend), Arc::clone(&life), Arc::clone(&clock), stop.clone()))
            }
        };
        Self { backend: Arc::clone(backend), role, number, life, clock, stop, edge, task }
    }

    /// First nothing gets out any more, then its tasks end as far as they are in hand.
    pub(crate) fn kill(&self) {
        self.backend.world.step("kill", self.life.id, 0);
        self.life.kill();
        self.backend.network.cut_all(self.life.id);
        self.task.abort();
        self.backend.expire_later(self.life.id);
    }

    /// A new incarnation in place of this one, which was killed or has ended.
    pub(crate) fn again(&self) -> Self {
        Self::start(&self.backend, self.role, self.number)
    }

    pub(crate) fn is_down(&self) -> bool {
        self.life.is_dead() || self.task.is_finished()
    }

    /// In good order.
    pub(crate) async fn end(&mut self) {
        self.backend.world.step("stop", self.life.id, 0);
        if let Some(edge) = &self.edge {
            self.backend.network.stop_listening(&self.life);
            edge.drain(DRAIN).await;
        }
        self.stop.cancel();
        // What did not end by itself is noticed there.
        drop((&mut self.task).await);
        self.backend.network.cut_all(self.life.id);
        self.life.kill();
        // What it still had to say to its groups may have stayed unsaid.
        self.backend.expire_later(self.life.id);
    }

    /// Stands still, and goes on later as if nothing had happened.
    pub(crate) fn stand_still(&self, time: Duration) {
        self.backend.world.step("zombie", self.life.id, time.as_millis() as u64);
        let until = Instant::now() + time;
        self.life.hold(until);
        self.backend.network.hold_all(self.life.id, until);
        if time > self.backend.world.plan.session_timeout {
            self.backend.expire_later(self.life.id);
        }
    }

    pub(crate) fn jump_clock(&self, millis: i64) {
        self.backend.world.step("clock", self.life.id, millis.unsigned_abs());
        self.clock.jump(millis);
    }
}

fn make_edge(backend: &Backend, life: &Arc<Life>, clock: &Arc<JumpyClock>, number: usize) -> Edge {
    let plan = &backend.world.plan;
    let name = match plan.servers_keep_their_names {
        true => format!("server-{number}"),
        false => format!("server-{number}-{}", life.id),
    };
    let token = |number| {
        let client = client_name(number);
        let principal = PrincipalId::try_new(&principal_of(&client)).ok()?;
        Some(StaticToken { principal, token: token_of(&client), clients: vec![ClientPattern::Exact(client)] })
    };
    let ports = EdgePorts {
        events: SimLog::new(life, &backend.events),
        results: SimLog::new(life, &backend.results),
        mailbox: SimMailbox::new(life, &backend.mailbox, Arc::clone(clock) as _),
        notifier: SimNotifier::new(life, &backend.bus),
        authenticator: Arc::new(StaticTokens::new((0..plan.clients).filter_map(token).collect())),
        clock: Arc::clone(clock) as _,
    };
    let mut config = EdgeConfig::new(ServerId::try_new(&name).expect("made of letters, digits and dashes"));
    config.limits.queue_messages = plan.queue_messages;
    config.limits.max_in_flight = plan.max_in_flight;
    Edge::new(ports, config, Metrics::register(&mut Registry::default()))
}

async fn serve(backend: Arc<Backend>, life: Arc<Life>, edge: Edge, number: usize, stop: CancellationToken) {
    let connections = UnboundedReceiverStream::new(backend.network.listen(number, &life));
    if let Err(error) = edge.serve_connections(connections, stop).await {
        backend.world.ledger.violated(format!("a server ended: {error}"));
    }
}

fn at_least_one(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN)
}

async fn execute(backend: Arc<Backend>, life: Arc<Life>, clock: Arc<JumpyClock>, stop: CancellationToken) {
    let world = &backend.world;
    let ports = ExecutorPorts {
        events: SimLog::new(&life, &backend.events),
        results: SimLog::new(&life, &backend.results),
        dead_letters: SimLog::new(&life, &backend.dead_letters),
        clock,
    };
    let config = ExecutorConfig {
        max_in_hand: at_least_one(world.plan.max_in_hand),
        max_in_hand_per_client: at_least_one(world.plan.max_in_hand_per_client),
        unknown_grace: Duration::from_secs(1),
        commit_interval: Duration::from_millis(200),
        drain_limit: Duration::from_secs(3),
        ..ExecutorConfig::default()
    };
    let catalogue = Arc::new(Catalogue::try_new(executors(world.seed)).expect("names that differ"));
    let metrics = ExecutorMetrics::register(&mut Registry::default());
    if let Err(error) = run_executors(ports, catalogue, config, metrics, (), stop).await {
        world.ledger.violated(format!("the executors ended: {error}"));
    }
}

async fn route(backend: Arc<Backend>, life: Arc<Life>, clock: Arc<JumpyClock>, stop: CancellationToken) {
    let world = &backend.world;
    let ports = RouterPorts {
        results: SimLog::new(&life, &backend.results),
        mailbox: SimMailbox::new(&life, &backend.mailbox, clock),
    };
    let config = RouterConfig {
        max_batch: at_least_one(world.plan.max_batch),
        drain_limit: Duration::from_secs(2),
        ..RouterConfig::default()
    };
    let metrics = RouterMetrics::register(&mut Registry::default());
    if let Err(error) = run_router(ports, config, metrics, (), stop).await {
        world.ledger.violated(format!("a router ended: {error}"));
    }
}
