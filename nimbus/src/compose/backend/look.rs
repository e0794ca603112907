//! Looks at an installation on Kafka and Redis, and changes nothing.

use std::sync::Arc;

use nimbus_config::Config;
use nimbus_consumers::{JOBS_GROUP, ORDERED_GROUP, ROUTER_GROUP};
use nimbus_core::{
    ClientId, LogEpoch, Partition, Position,
    clock::{SystemClock, UnixMillis},
    ports::log::{Log, LogRecord},
};
use nimbus_kafka::{Kafka, KafkaAdmin};
use nimbus_redis::{ClientView, LogBeginning, PortMetrics, RedisMetrics, RedisStore};
use prometheus_client::registry::Registry;
use ulid::Ulid;

use super::distributed::{kafka_failure, redis_failure};
use crate::{
    compose::{
        settings,
        view::{ClientReport, GroupView, PartitionView},
    },
    exit::{Exit, Failure, OrExit, tell},
};

/// Who reads which log.
const OF_EVENTS: &[&str] = &[ORDERED_GROUP, JOBS_GROUP];
const OF_RESULTS: &[&str] = &[ROUTER_GROUP];

/// Every partition of the three topics.
pub(crate) async fn topics(config: &Config) -> Result<Vec<PartitionView>, Failure> {
    let (kafka, _) = open(config).await?;
    let all = all_partitions(&kafka, config).await;
    kafka.close().await.or_exit(Exit::Io)?;
    all
}

async fn all_partitions(kafka: &Kafka, config: &Config) -> Result<Vec<PartitionView>, Failure> {
    let (events, results, dead_letters) = (kafka.events(), kafka.results(), kafka.dead_letters());
    let names = &config.kafka;
    let mut all = Vec::new();
    for partition in kafka.partitions().all() {
        all.push(look(&*events, &names.events_topic, partition, OF_EVENTS).await?);
    }
    for partition in kafka.partitions().all() {
        all.push(look(&*results, &names.results_topic, partition, OF_RESULTS).await?);
    }
    for partition in kafka.partitions().all() {
        all.push(look(&*dead_letters, &names.dlq_topic, partition, &[]).await?);
    }
    Ok(all)
}

/// The logs, whose topics are not made if they are missing, and the epoch that is kept with them.
async fn open(config: &Config) -> Result<(Kafka, Option<LogEpoch>), Failure> {
    let kafka_config = settings::kafka(config, "tools");
    let admin = KafkaAdmin::try_new(kafka_config).map_err(kafka_failure)?;
    let prepared = admin.inspect().await.map_err(kafka_failure)?;
    let epoch = admin.kept().await.map_err(kafka_failure)?.epoch();
    // Nothing of what is asked for here depends on it.
    let any = epoch.unwrap_or(LogEpoch(Ulid::nil()));
    let kafka = Kafka::open_on(prepared, any, &mut Registry::default()).map_err(kafka_failure)?;
    Ok((kafka, epoch))
}

async fn look<R: LogRecord>(
    log: &dyn Log<R>,
    topic: &str,
    partition: Partition,
    readers: &[&str],
) -> Result<PartitionView, Failure> {
    // Commits first: a lag that is too large for a moment is better than one below zero.
    let committed =
        if readers.is_empty() { Vec::new() } else { log.committed(partition).await.or_exit(Exit::Unavailable)? };
    let range = log.range(partition).await.or_exit(Exit::Unavailable)?;
    let group = |name: &&str| {
        let found = committed.iter().find(|(group, _)| group.as_str() == *name).map(|(_, position)| *position);
        let from = found.unwrap_or(range.start).max(range.start);
        GroupView { group: (*name).to_owned(), committed: found, lag: range.end.0.saturating_sub(from.0) }
    };
    Ok(PartitionView {
        topic: topic.to_owned(),
        partition,
        start: range.start,
        end: range.end,
        groups: readers.iter().map(group).collect(),
    })
}

/// One client; `None` when nothing was ever heard of it.
pub(crate) async fn client(config: &Config, client: &ClientId) -> Result<Option<ClientReport>, Failure> {
    let redis = RedisStore::connect(settings::redis(config), RedisMetrics::default()).await.map_err(redis_failure)?;
    let found = match open(config).await {
        Ok((kafka, epoch)) => {
            let found = report(config, client, &redis, &kafka, epoch).await;
            kafka.close().await.or_exit(Exit::Io)?;
            found
        }
        Err(failure) => Err(failure),
    };
    redis.close().await;
    found
}

async fn report(
    config: &Config,
    client: &ClientId,
    redis: &RedisStore,
    kafka: &Kafka,
    in_kafka: Option<LogEpoch>,
) -> Result<Option<ClientReport>, Failure> {
    let in_redis = redis.epoch().await.map_err(redis_failure)?;
    let Some(epoch) = in_kafka.or(in_redis) else { return Ok(None) };
    if in_redis != Some(epoch) {
        tell("nimbus: redis and kafka do not speak of the same log; `nimbus doctor` says more");
    }
    let beginning = Arc::new(LogBeginning::new(kafka.results()));
    let clock = Arc::new(SystemClock);
    let ports = redis.ports(epoch, kafka.partitions(), clock, beginning, PortMetrics::default());
    let view = ports.mailbox.inspect(client).await.or_exit(Exit::Unavailable)?;
    if !view.is_known() {
        return Ok(None);
    }
    let since = view.owner.as_ref().map_or(view.touched, |(_, session)| UnixMillis(session.0.timestamp_ms()));
    Ok(Some(ClientReport {
        client: client.to_string(),
        principal: view.principal.as_ref().map(ToString::to_string),
        owner: view.owner.as_ref().map(|(server, session)| (server.to_string(), session.to_string())),
        since: (since.0 > 0).then_some(since),
        outbox: view.outbox.map(|(outbox, session_no)| (outbox.to_string(), session_no)),
        answered: view.answered.iter().map(|(outbox, seq)| (outbox.to_string(), *seq)).collect(),
        batches: view.waiting,
        records: view.records,
        more_records: view.records >= ClientView::MOST_COUNTED,
        last: view.last,
        floor: view.floor,
        kept: view.kept.filter(|kept| *kept > Position::START),
        applied: view.applied,
        events: look(&*kafka.events(), &config.kafka.events_topic, view.partition, OF_EVENTS).await?,
        results: look(&*kafka.results(), &config.kafka.results_topic, view.partition, OF_RESULTS).await?,
    }))
}
