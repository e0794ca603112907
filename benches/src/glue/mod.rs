//! The limit that distributed Nimbus is measured against: the same parts, joined with the least code, and no guarantee at all.
//!
//! The server produces the events of each stream to a topic (idempotent, `acks=all`); a thread consumes them, squares, and
//! produces to a second topic; another thread polls the results and publishes what one poll brought in one PUBLISH; the
//! server is subscribed and answers the streams. All of it in one process. Forgotten is everything else: no commits, no
//! dedup, no mailbox, no resume, no limits, no other server. Order is what falls out of one partition per client. Whatever
//! goes wrong with Kafka or Redis ends the process: half a glue measures nothing.
//!
//! [`nats`] is the same on NATS JetStream.

mod kafka;
mod lines;
pub(crate) mod nats;
mod original;
mod record;
mod router;
mod subscription;
mod v1;
mod worker;

#[cfg(test)]
mod tests;

use std::{fmt::Display, net::SocketAddr, sync::Arc};

use anyhow::Context;
use fred::{
    clients::{Client, SubscriberClient},
    interfaces::ClientLike,
    types::{
        Builder,
        config::{Config, ServerConfig},
    },
};
use nimbus_core::ClientId;

pub(crate) use self::kafka::remove_topics;
use self::{kafka::Producer, lines::Lines, record::Record};
use crate::edge;

/// Messages between the socket of the subscription and its task. Far more than a load has outstanding.
const SUBSCRIBED: usize = 65_536;
/// What a process ends with whose Kafka or Redis failed.
const EXIT_IO: i32 = 74;

/// Where the parts are, and what this glue calls its own.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Parts {
    /// Kafka, host:port.
    #[arg(long)]
    pub(crate) kafka: String,
    /// Redis, host:port.
    #[arg(long)]
    pub(crate) redis: String,
    /// In front of the names of its two topics, which it makes and leaves, and the name of its channel. Default: a random one.
    #[arg(long, default_value_t = random_prefix())]
    pub(crate) prefix: String,
}

impl Parts {
    pub(crate) fn events(&self) -> String {
        format!("{}-events", self.prefix)
    }

    pub(crate) fn results(&self) -> String {
        format!("{}-results", self.prefix)
    }
}

/// So that no two starts have a name in common.
fn random_prefix() -> String {
    format!("glue-{:016x}", rand::random::<u64>())
}

/// Where events go.
#[derive(Debug, Clone)]
enum Events {
    Kafka(Producer),
    Nats(Arc<nats::Publisher>),
}

/// The side of the server: where events go, and who waits for their answers.
#[derive(Debug, Clone)]
pub(crate) struct Glue {
    events: Events,
    lines: Arc<Lines>,
}

/// Serves until the process ends. `listening` is told the address.
pub(crate) async fn serve(parts: &Parts, listening: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let (events, results) = (parts.events(), parts.results());
    kafka::make_topics(&parts.kafka, &[&events, &results]).await?;
    let lines = Arc::new(Lines::default());
    let redis = redis(&parts.redis)?;
    let subscriber: SubscriberClient = redis.build_subscriber_client()?;
    subscription::start(subscriber, &parts.prefix, Arc::clone(&lines)).await?;
    let publisher: Client = redis.build()?;
    publisher.init().await.with_context(|| format!("Redis at {}", parts.redis))?;
    router::start(kafka::consumer(&parts.kafka, &results)?, publisher, parts.prefix.clone())?;
    worker::start(kafka::consumer(&parts.kafka, &events)?, kafka::producer(&parts.kafka, &results)?)?;
    let glue = Glue { events: Events::Kafka(kafka::producer(&parts.kafka, &events)?), lines };
    glue.serve(listening).await
}

/// Connections to one Redis.
pub(crate) fn redis(address: &str) -> anyhow::Result<Builder> {
    let (host, port) = address.rsplit_once(':').context("Redis: host:port is wanted")?;
    let server = ServerConfig::new_centralized(host, port.parse().context("the port of Redis")?);
    let mut builder = Builder::from_config(Config { server, ..Config::default() });
    builder.with_performance_config(|performance| performance.broadcast_channel_capacity = SUBSCRIBED);
    Ok(builder)
}

impl Glue {
    async fn serve(self, listening: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
        edge::serve(original::Service::new(self.clone()), v1::Service::new(self), listening).await
    }

    /// Hands on what a stream has sent. Answers come over its line.
    async fn send(&self, line: u64, client: &ClientId, records: &[Record]) {
        self.lines.sent(line, records.len());
        match &self.events {
            Events::Kafka(events) => {
                let partition = kafka::partition_of(client);
                for record in records {
                    events.send(partition, client.as_str().as_bytes(), record);
                }
            }
            Events::Nats(events) => {
                for record in records {
                    events.send(record, None).await;
                }
            }
        }
    }
}

fn give_up(error: impl Display) -> ! {
    eprintln!("glue: {error}");
    std::process::exit(EXIT_IO)
}
