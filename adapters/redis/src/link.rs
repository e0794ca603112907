//! The connection: sends scripts, and takes their answers apart.
//!
//! No command is sent twice on its own: what was sent when a connection broke may have been carried out. Every caller
//! decides what a repetition means; for all of ours it is harmless, because a script compares before it writes. What a node of a
//! cluster has refused, because it is elsewhere, was not carried out: that is asked again ([`followed`]).

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fred::{
    clients::{Client, SubscriberClient},
    error::Error,
    interfaces::{ClientLike, LuaInterface},
    types::{
        Builder, Key, RespVersion, Value,
        config::{Config, ReconnectError, ReconnectPolicy, UnresponsiveConfig},
    },
};

use crate::{
    anew::Anew,
    config::RedisConfig,
    error::{Failure, RedisError, is_denial, is_no_script},
    metrics::RedisMetrics,
    moves::{follow_nothing, followed},
    pulse::Pulse,
    scripts::{Script, Scripts},
    tls::{self, Trust},
};

/// Commands that wait for a connection, or for an answer. Callers bound themselves: a router waits for each batch, sessions
/// claim one at a time; this only keeps a Redis that is away from gathering the claims of everybody. Beyond it a call is
/// refused as unavailable, and counted with the failures.
const MAX_WAITING: usize = 65_536;

/// Notifications between the socket and the subscription's own queue, which counts bytes too.
const BROADCAST: usize = 4_096;

/// Between two attempts to reconnect: milliseconds, doubled each time.
const RECONNECT_FIRST: u32 = 50;
const RECONNECT_MOST: u32 = 5_000;

pub(crate) struct Link {
    builder: Builder,
    /// How often a quiet connection is asked whether it is still there.
    pub(crate) keepalive: Duration,
    /// For what sessions wait for.
    pub(crate) quick: Client,
    /// For batches of the router, so that they do not hold up the others.
    pub(crate) bulk: Client,
    pub(crate) scripts: Scripts,
    pub(crate) metrics: RedisMetrics,
    pub(crate) cluster: bool,
    /// Of the two clients.
    pulse: Pulse,
    /// Of the one that reads.
    pub(crate) anew: Anew,
}

impl fmt::Debug for Link {
    /// Without the library's own view of the address: it has the password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("quick", &self.quick).field("bulk", &self.bulk).finish_non_exhaustive()
    }
}

impl Link {
    pub(crate) async fn connect(config: &RedisConfig, metrics: RedisMetrics) -> Result<Self, RedisError> {
        let (connection, trust) = config.connection()?;
        let cluster = connection.server.is_clustered();
        let mut builder = Builder::from_config(connection.clone());
        builder.set_policy(ReconnectPolicy::new_exponential(0, RECONNECT_FIRST, RECONNECT_MOST, 2));
        builder.with_performance_config(|performance| {
            performance.default_command_timeout = config.command_timeout;
            performance.broadcast_channel_capacity = BROADCAST;
        });
        builder.with_connection_config(|connection| {
            connection.connection_timeout = config.command_timeout.max(Duration::from_secs(1)) * 2;
            connection.internal_command_timeout = config.command_timeout.max(Duration::from_secs(1)) * 2;
            connection.max_command_attempts = 1;
            follow_nothing(connection);
            connection.tcp.nodelay = Some(true);
            connection.max_command_buffer_len = MAX_WAITING;
            // A primary that was made a replica keeps its connections; the address may lead to its successor by now.
            connection.reconnect_errors = vec![ReconnectError::ReadOnly];
            // A connection over which nothing was answered nor asked for this long; for the busy ones there is the pulse.
            connection.unresponsive = UnresponsiveConfig {
                max_timeout: Some(config.command_timeout * 2),
                interval: config.command_timeout / 2,
            };
        });
        let unreachable = |source| RedisError::Unreachable { url: config.shown_url(), source };
        let keepalive = config.command_timeout * 2;
        let mut clients = Vec::new();
        let mut pulse = Pulse::default();
        for _ in 0..2 {
            let client = builder.build().map_err(unreachable)?;
            match client.init().await {
                Ok(running) => pulse.feel(client.clone(), running, keepalive, metrics.clone()),
                Err(source) => return Err(refusal(config, connection, trust, source).await),
            }
            clients.push(client);
        }
        let [quick, bulk]: [Client; 2] = clients.try_into().expect("two were made");
        Ok(Self {
            anew: Anew::listen(&quick),
            pulse,
            builder,
            keepalive,
            quick,
            bulk,
            scripts: Scripts::new(),
            metrics,
            cluster,
        })
    }

    pub(crate) fn subscriber(&self) -> Result<SubscriberClient, Failure> {
        let mut builder = self.builder.clone();
        // The older protocol allows nothing else on a connection that is subscribed, not even to ask whether it lives.
        builder.with_config(|config| config.version = RespVersion::RESP3);
        Ok(builder.build_subscriber_client()?)
    }

    /// Runs a script. All keys are of one partition.
    pub(crate) async fn call(
        &self,
        client: &Client,
        script: &Script,
        keys: Vec<String>,
        arguments: Vec<Bytes>,
    ) -> Result<Answer, Failure> {
        let began = Instant::now();
        let keys: Vec<Key> = keys.into_iter().map(Key::from).collect();
        let arguments: Vec<Value> = arguments.into_iter().map(Value::Bytes).collect();
        let mut answer = followed(|| client.evalsha(script.hash.as_str(), keys.clone(), arguments.clone())).await;
        if answer.as_ref().is_err_and(is_no_script) {
            self.metrics.reloads.inc();
            answer = followed(|| client.eval(script.text.as_str(), keys.clone(), arguments.clone())).await;
        }
        self.metrics.observe(script.name, began.elapsed().as_secs_f64());
        answer.map(Answer).map_err(|error| {
            self.metrics.failures.inc();
            Failure::from(error)
        })
    }

    /// Leaves. Commands that wait for an answer fail.
    pub(crate) async fn close(&self) {
        self.pulse.stop();
        for client in [&self.quick, &self.bulk] {
            // It is going away, and so are we: nothing follows from a failure.
            drop(client.quit().await);
        }
    }
}

/// Why no connection came about, as far as that can be told.
async fn refusal(config: &RedisConfig, connection: Config, trust: Option<Trust>, source: Error) -> RedisError {
    let url = config.shown_url();
    if is_denial(&source) {
        return RedisError::Denied { url, source };
    }
    let limit = config.command_timeout;
    // It blocks, and a task that panicked has found nothing.
    let looked = tokio::task::spawn_blocking(move || tls::look(&connection, trust.as_ref(), limit)).await;
    match looked.ok().flatten() {
        Some(trouble) => RedisError::Tls { url, why: trouble.why, remedy: trouble.remedy },
        None => RedisError::Unreachable { url, source },
    }
}

/// What a script answered.
#[derive(Debug)]
pub(crate) struct Answer(Value);

impl Answer {
    fn odd(what: &str) -> Failure {
        Failure::Unavailable(format!("a script answered without {what}"))
    }

    pub(crate) fn list(self) -> Result<Answers, Failure> {
        match self.0 {
            Value::Array(values) => Ok(Answers(values.into_iter())),
            _ => Err(Self::odd("a list")),
        }
    }

    pub(crate) fn number(&self) -> Result<u64, Failure> {
        match &self.0 {
            Value::Integer(number) => u64::try_from(*number).ok(),
            other => other.as_bytes().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()),
        }
        .ok_or_else(|| Self::odd("a number"))
    }

    /// A number that is not there is `None`.
    pub(crate) fn number_if_any(&self) -> Result<Option<u64>, Failure> {
        if self.0.is_null() { Ok(None) } else { self.number().map(Some) }
    }

    pub(crate) fn bytes(self) -> Option<Bytes> {
        match self.0 {
            Value::Bytes(bytes) => Some(bytes),
            Value::String(text) => Some(text.into_inner()),
            _ => None,
        }
    }
}

/// The items of a list, one after another.
#[derive(Debug)]
pub(crate) struct Answers(std::vec::IntoIter<Value>);

impl Iterator for Answers {
    type Item = Answer;

    fn next(&mut self) -> Option<Answer> {
        self.0.next().map(Answer)
    }
}

impl Answers {
    /// The next item, which must be there (and may be nothing).
    pub(crate) fn item(&mut self) -> Result<Answer, Failure> {
        self.next().ok_or_else(|| Answer::odd("what was asked"))
    }
}

/// A number as an argument.
pub(crate) fn decimal(number: u64) -> Bytes {
    number.to_string().into()
}

/// A text as an argument.
pub(crate) fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
