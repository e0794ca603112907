//! The installation under test: a Kafka and a Redis of its own, two processes of each role, and the ways between them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, bail};
use nimbus_harness::TestCluster;
use nimbus_services::{Kafka, KafkaOptions, Redis, RedisOptions};
use serde::{Deserialize, Serialize};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use crate::{
    kind::Role,
    plan::OF_EACH,
    process::{Nimbus, PATIENCE},
    way::Way,
};

/// How many partitions; every process of a role has some.
pub(crate) const PARTITIONS: u32 = 4;

/// A process that ended although nobody had done anything to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Which process.
    pub name: String,
    /// How it ended.
    pub status: String,
}

/// All of it. Dropping it ends every process.
#[derive(Debug)]
pub(crate) struct Site {
    binary: PathBuf,
    logs: PathBuf,
    cluster: TestCluster,
    seats: Vec<Seat>,
    /// From clients to servers.
    pub(crate) clients: Way,
    /// From servers to Redis.
    pub(crate) redis_way: Way,
    redis: Arc<Mutex<Redis>>,
    kafka: Arc<Mutex<Kafka>>,
}

#[derive(Debug)]
struct Seat {
    role: Role,
    number: usize,
    process: Option<Nimbus>,
}

impl Seat {
    fn name(&self) -> String {
        format!("{}-{}", self.role.name(), self.number + 1)
    }
}

impl Site {
    /// Starts everything and waits until it is ready. Data and logs go into `directory`.
    pub(crate) async fn start(binary: &Path, directory: &Path, settings: &[(&str, String)]) -> anyhow::Result<Self> {
        let (kafka_dir, redis_dir) = (directory.join("kafka"), directory.join("redis"));
        let (kafka, redis) = spawn_blocking(move || {
            let kafka = Kafka::start(KafkaOptions::default().data_dir(kafka_dir))?;
            // Every change is with the operating system before it is answered, so that a killed one comes back with all of it.
            let options = RedisOptions::default().data_dir(redis_dir).line("appendonly yes");
            Ok::<_, nimbus_services::Error>((kafka, Redis::start(options)?))
        })
        .await??;
        let redis_address: SocketAddr = redis.address().parse()?;
        let cluster = TestCluster::new(&kafka.address(), &redis.address()).env("NIMBUS_PARTITIONS", PARTITIONS);
        let cluster = settings.iter().fold(cluster, |cluster, (name, value)| cluster.env(name, value));
        let mut site = Self {
            binary: binary.to_owned(),
            logs: directory.to_owned(),
            cluster,
            seats: Vec::new(),
            clients: Way::open(Vec::new()).await?,
            redis_way: Way::open(vec![redis_address]).await?,
            redis: Arc::new(Mutex::new(redis)),
            kafka: Arc::new(Mutex::new(kafka)),
        };
        for role in Role::ALL {
            for number in 0..OF_EACH {
                site.seats.push(Seat { role, number, process: None });
                site.up(role, number).await?;
            }
        }
        for (_, process) in site.processes() {
            process.until_ready().await?;
        }
        Ok(site)
    }

    fn seat(&mut self, role: Role, number: usize) -> &mut Seat {
        let found = self.seats.iter_mut().find(|seat| seat.role == role && seat.number == number);
        found.expect("every role has OF_EACH seats from the start on, and victims are below that")
    }

    fn running(&mut self, role: Role, number: usize) -> anyhow::Result<&mut Nimbus> {
        let seat = self.seat(role, number);
        let name = seat.name();
        seat.process.as_mut().with_context(|| format!("{name} does not run"))
    }

    /// Where the servers listen that run.
    pub(crate) fn servers(&self) -> Vec<SocketAddr> {
        self.seats.iter().filter_map(|seat| seat.process.as_ref()?.grpc).collect()
    }

    /// Everything of Nimbus that runs, by name.
    pub(crate) fn processes(&self) -> Vec<(String, &Nimbus)> {
        self.seats.iter().filter_map(|seat| Some((seat.name(), seat.process.as_ref()?))).collect()
    }

    /// The process ids of Kafka and Redis.
    pub(crate) fn services(&self) -> Vec<(String, u32)> {
        let kafka = self.kafka.lock().unwrap_or_else(PoisonError::into_inner).pid();
        let redis = self.redis.lock().unwrap_or_else(PoisonError::into_inner).pid();
        let both = [("kafka", kafka), ("redis", redis)];
        both.into_iter().filter_map(|(name, pid)| Some((name.to_owned(), pid?))).collect()
    }

    fn lead_clients(&self) {
        self.clients.lead_to(self.servers());
    }

    /// Starts a process that is down, and waits until it is up. Its groups may take it in only much later: not before they have missed
    /// one that was killed.
    pub(crate) async fn up(&mut self, role: Role, number: usize) -> anyhow::Result<()> {
        let cluster = match role {
            Role::Server => self.cluster.clone().env("NIMBUS_REDIS_ADDRESS", self.redis_way.address()),
            Role::Executor | Role::Router => self.cluster.clone(),
        };
        let name = self.seat(role, number).name();
        let log = self.logs.join(format!("{name}.log"));
        let process = Nimbus::start(&self.binary, role.name(), cluster.settings(), &log).await?;
        self.seat(role, number).process = Some(process);
        self.lead_clients();
        Ok(())
    }

    /// Starts a process that is down, and waits until it is ready, as whoever rolls does before the next one.
    pub(crate) async fn ready(&mut self, role: Role, number: usize) -> anyhow::Result<()> {
        self.up(role, number).await?;
        self.running(role, number)?.until_ready().await
    }

    /// kill -9.
    pub(crate) async fn kill(&mut self, role: Role, number: usize) -> anyhow::Result<()> {
        let seat = self.seat(role, number);
        let name = seat.name();
        seat.process.take().with_context(|| format!("{name} does not run"))?.kill().await?;
        self.lead_clients();
        Ok(())
    }

    /// SIGTERM, and waits for its end.
    pub(crate) async fn stop(&mut self, role: Role, number: usize) -> anyhow::Result<()> {
        let seat = self.seat(role, number);
        let name = seat.name();
        let process = seat.process.take().with_context(|| format!("{name} does not run"))?;
        // New clients go elsewhere from the first moment on, as behind any balancer that asks for readiness.
        self.lead_clients();
        process.stop().await
    }

    pub(crate) fn pause(&mut self, role: Role, number: usize) -> anyhow::Result<()> {
        self.running(role, number)?.pause()
    }

    pub(crate) fn resume(&mut self, role: Role, number: usize) -> anyhow::Result<()> {
        self.running(role, number)?.resume()
    }

    /// Waits until one process has all partitions of its role.
    pub(crate) async fn until_it_has_all(&mut self, role: Role, number: usize) -> anyhow::Result<()> {
        let sample = match role {
            Role::Executor => r#"nimbus_executor_partitions{lane="ordered"}"#,
            Role::Router => "nimbus_router_partitions",
            Role::Server => bail!("servers have no partitions"),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let owned = self.running(role, number)?.metric(sample).await?;
            if owned >= f64::from(PARTITIONS) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{sample} is still {owned} after {PATIENCE:?}: the partitions of a {} did not move", role.name());
            }
            sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Does something to Redis, on a thread that may wait for it.
    pub(crate) async fn redis(
        &self,
        what: impl FnOnce(&mut Redis) -> nimbus_services::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let redis = Arc::clone(&self.redis);
        Ok(spawn_blocking(move || what(&mut redis.lock().unwrap_or_else(PoisonError::into_inner))).await??)
    }

    /// Does something to Kafka.
    pub(crate) async fn kafka(
        &self,
        what: impl FnOnce(&mut Kafka) -> nimbus_services::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let kafka = Arc::clone(&self.kafka);
        Ok(spawn_blocking(move || what(&mut kafka.lock().unwrap_or_else(PoisonError::into_inner))).await??)
    }

    /// Sees who has ended by itself, and starts it again, as a supervisor would.
    pub(crate) async fn look(&mut self) -> anyhow::Result<Vec<Death>> {
        let mut gone = Vec::new();
        for seat in &mut self.seats {
            let name = seat.name();
            if let Some(process) = &mut seat.process
                && let Some(status) = process.ended()?
            {
                seat.process = None;
                gone.push((seat.role, seat.number, Death { name, status: status.to_string() }));
            }
        }
        let mut deaths = Vec::new();
        for (role, number, death) in gone {
            self.up(role, number).await?;
            deaths.push(death);
        }
        Ok(deaths)
    }
}
