//! The glue on NATS JetStream instead: what one would build who has neither Kafka nor Redis.
//!
//! The server publishes the events of each stream to a stream of JetStream; a worker pulls them, squares, and publishes to a
//! second one; the server hears that one with an ordered consumer and answers the streams. Every publish has its
//! acknowledgement, many at a time; events are acknowledged in batches, after their results have theirs. Both streams keep
//! what they have in files that NATS does not sync, as is its default. The rest is forgotten here as well.

mod listener;
mod publisher;
mod worker;

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use async_nats::jetstream::{
    Context, Message,
    consumer::{AckPolicy, pull, push},
    context::ContextBuilder,
    stream,
};

pub(crate) use self::publisher::Publisher;
use super::{Events, Glue, give_up, lines::Lines, record::Record};

/// Most messages that one pull asks for, so that none waits for the next one; and most that are handed on in one piece.
const BATCH: usize = 1024;
/// Most publishes whose acknowledgement has not come. Far more than a load has outstanding.
const OUTSTANDING: usize = 65_536;
/// Most events that are delivered and not acknowledged.
const UNACKNOWLEDGED: i64 = 65_536;

/// Where NATS is, and what this glue calls its own.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Parts {
    /// NATS with JetStream, host:port.
    #[arg(long)]
    pub(crate) nats: String,
    /// In front of the names of its two streams, which it makes and leaves. Default: a random one.
    #[arg(long, default_value_t = super::random_prefix())]
    pub(crate) prefix: String,
}

/// Serves until the process ends. `listening` is told the address.
pub(crate) async fn serve(parts: &Parts, listening: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let [events, results] = ["events", "results"].map(|what| format!("{}-{what}", parts.prefix));
    // A connection each, as if they were two processes.
    let (server, worker) = (connect(&parts.nats).await?, connect(&parts.nats).await?);
    let lines = Arc::new(Lines::default());
    let heard = make_stream(&server, &results).await?.create_consumer(live(&server)).await?;
    listener::start(heard.messages().await?, Arc::clone(&lines));
    let pulled = make_stream(&worker, &events).await?.create_consumer(in_batches()).await?;
    let pulled = pulled.stream().max_messages_per_batch(BATCH).messages().await?;
    worker::start(pulled, Publisher::start(worker, results));
    let glue = Glue { events: Events::Nats(Arc::new(Publisher::start(server, events))), lines };
    glue.serve(listening).await
}

async fn connect(address: &str) -> anyhow::Result<Context> {
    let client = async_nats::connect(address).await.with_context(|| format!("NATS at {address}"))?;
    // Else it would wait for what is stored while far less is outstanding than the largest load has.
    let builder = ContextBuilder::new().max_ack_inflight(OUTSTANDING).backpressure_on_inflight(true);
    Ok(builder.build(client))
}

/// A stream whose one subject has its name.
async fn make_stream(jetstream: &Context, name: &str) -> anyhow::Result<stream::Stream> {
    let config = stream::Config { name: name.to_owned(), ..stream::Config::default() };
    jetstream.create_stream(config).await.with_context(|| format!("stream {name}"))
}

/// Everything that is stored, in order, as soon as it is.
fn live(jetstream: &Context) -> push::OrderedConfig {
    push::OrderedConfig { deliver_subject: jetstream.client().new_inbox(), ..push::OrderedConfig::default() }
}

/// Everything that is stored, in order; who acknowledges one has done all before it.
fn in_batches() -> pull::Config {
    pull::Config {
        durable_name: Some("worker".to_owned()),
        ack_policy: AckPolicy::All,
        max_ack_pending: UNACKNOWLEDGED,
        ..pull::Config::default()
    }
}

fn record(message: &Message) -> Record {
    Record::read(&message.payload).unwrap_or_else(|| give_up("a stream has a message that is not ours"))
}
