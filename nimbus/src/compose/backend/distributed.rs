//! Kafka for the logs, Redis for mailboxes, ownership and notifications.

use std::sync::Arc;

use nimbus_config::Config;
use nimbus_consumers::{Evidence, evidence};
use nimbus_core::{
    LogEpoch,
    clock::Clock,
    ports::{log::ResultLog, mailbox::Mailbox as _},
};
use nimbus_kafka::{Kafka, KafkaAdmin, OpenError};
use nimbus_redis::{
    LogBeginning, MailboxMetrics, NotifierMetrics, PortMetrics, RedisError, RedisMailbox, RedisMetrics, RedisStore,
};
use prometheus_client::registry::Registry;
use tracing::{info, warn};
use ulid::Ulid;

use super::{
    Backend,
    epoch::{Decision, decide, is_same},
    watch::Watch,
};
use crate::{
    compose::{Ports, Role, settings},
    exit::{Exit, Failure, OrExit},
};

pub(super) async fn open(
    role: Role,
    config: &Config,
    clock: Arc<dyn Clock>,
    registry: &mut Registry,
) -> Result<Backend, Failure> {
    let kafka_config = settings::kafka(config, role.name());
    let admin = KafkaAdmin::try_new(kafka_config).map_err(kafka_failure)?;
    let prepared = admin.prepare().await.map_err(kafka_failure)?;
    let redis =
        RedisStore::connect(settings::redis(config), RedisMetrics::register(registry)).await.map_err(redis_failure)?;
    for finding in redis.findings().await.map_err(redis_failure)? {
        warn!(what = finding.message, remedy = finding.remedy, "redis could be safer");
    }
    let metrics =
        PortMetrics { mailbox: MailboxMetrics::register(registry), notifier: NotifierMetrics::register(registry) };
    let offered = LogEpoch(Ulid::generate());
    let in_redis = redis.epoch().await.map_err(redis_failure)?;
    let kept = admin.kept().await.map_err(kafka_failure)?;

    let epoch = match decide(kept.epoch(), in_redis) {
        Decision::Compare(epoch) => epoch,
        Decision::New => redis.get_or_put_epoch(offered).await.map_err(redis_failure)?,
    };
    let kafka = Kafka::open_on(prepared, epoch, registry).map_err(kafka_failure)?;
    let partitions = kafka.partitions();
    let beginning = Arc::new(LogBeginning::new(kafka.results()));
    let adapters = redis.ports(epoch, partitions, Arc::clone(&clock), beginning, metrics);
    if kept.is_torn() || !is_same(all_evidence(&*kafka.results(), &adapters.mailbox).await?) {
        let new = redis.replace_epoch(epoch, offered).await.map_err(redis_failure)?;
        admin.store_epoch(new).await.map_err(kafka_failure)?;
        let message = format!(
            "the topics are not the ones that they were: one was made anew, or cut. The log has a new epoch now \
             ({new}, was {epoch}), and clients that come back are told of a gap: start again"
        );
        return Err(Failure::new(Exit::Unavailable, message));
    }
    if in_redis != Some(epoch) {
        let put = match in_redis {
            Some(other) => redis.replace_epoch(other, epoch).await,
            None => redis.get_or_put_epoch(epoch).await,
        };
        let put = put.map_err(redis_failure)?;
        if put != epoch {
            let message = format!("two processes made log epochs at once ({put} and {epoch}); start this one again");
            return Err(Failure::new(Exit::Unavailable, message));
        }
    }
    if kept.epoch() != Some(epoch) {
        admin.store_epoch(epoch).await.map_err(kafka_failure)?;
    }
    info!(%epoch, partitions = partitions.len(), "kafka and redis are open");

    let watch = Watch { admin, epoch, role, kafka: kafka.clone(), mailbox: adapters.mailbox.clone(), clock };
    Ok(Backend {
        events: kafka.events(),
        results: kafka.results(),
        dead_letters: kafka.dead_letters(),
        mailbox: Arc::new(adapters.mailbox),
        notifier: Arc::new(adapters.notifier),
        upkeep: Some(Box::new(move |stop| Box::pin(watch.run(stop)))),
        close: Box::new(move || {
            Box::pin(async move {
                let closed = kafka.close().await;
                redis.close().await;
                Ok(closed?)
            })
        }),
    })
}

/// The logs alone, without Redis, for commands that start nothing. Makes no topics.
pub(crate) async fn logs(config: &Config) -> Result<Ports, Failure> {
    let kafka_config = settings::kafka(config, "tools");
    let admin = KafkaAdmin::try_new(kafka_config).map_err(kafka_failure)?;
    let prepared = admin.inspect().await.map_err(kafka_failure)?;
    let none =
        || Failure::new(Exit::Usage, "no role of nimbus has worked on these topics yet: there is nothing to see");
    let epoch = admin.kept().await.map_err(kafka_failure)?.epoch().ok_or_else(none)?;
    let kafka = Kafka::open_on(prepared, epoch, &mut Registry::default()).map_err(kafka_failure)?;
    Ok(Ports {
        events: kafka.events(),
        dead_letters: kafka.dead_letters(),
        close: Box::new(move || Box::pin(async move { Ok(kafka.close().await?) })),
    })
}

/// What the log holds where Redis got to.
async fn all_evidence(results: &ResultLog, mailbox: &RedisMailbox) -> Result<Vec<Evidence>, Failure> {
    let mut all = Vec::new();
    for partition in results.partitions().all() {
        let landmark = mailbox.landmark(partition).await.or_exit(Exit::Unavailable)?;
        all.push(evidence(results, partition, landmark).await.or_exit(Exit::Unavailable)?);
    }
    Ok(all)
}

pub(crate) fn kafka_failure(error: OpenError) -> Failure {
    let exit = match &error {
        OpenError::Unreachable { .. } => Exit::Unavailable,
        _ => Exit::Usage,
    };
    let advice = match &error {
        OpenError::Partitions { .. } => " (the setting is NIMBUS_PARTITIONS)",
        OpenError::Unreachable { .. } => " (the setting is NIMBUS_KAFKA_BROKERS)",
        OpenError::Property { .. } | OpenError::NotLetIn { .. } => " (the setting is NIMBUS_KAFKA_PROPERTIES)",
        _ => "",
    };
    Failure::new(exit, format!("{error}{advice}"))
}

pub(crate) fn redis_failure(error: RedisError) -> Failure {
    let exit = match &error {
        RedisError::Unreachable { .. } | RedisError::Unavailable(_) | RedisError::Answer(_) => Exit::Unavailable,
        RedisError::Address { .. }
        | RedisError::Denied { .. }
        | RedisError::Tls { .. }
        | RedisError::Authorities { .. }
        | RedisError::Unfit(_) => Exit::Usage,
    };
    let advice = match &error {
        RedisError::Authorities { .. } => " (the setting is NIMBUS_REDIS_CA_FILE)",
        RedisError::Unavailable(_) | RedisError::Answer(_) | RedisError::Unfit(_) => "",
        _ => " (the setting is NIMBUS_REDIS_ADDRESS)",
    };
    Failure::new(exit, format!("{error}{advice}"))
}
