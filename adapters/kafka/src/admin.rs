//! Makes the topics, and finds out what they are like.

use std::{collections::HashMap, sync::Arc, time::Duration};

use nimbus_core::LogEpoch;
use prometheus_client::registry::Registry;
use rdkafka::{
    admin::{
        AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
        TopicReplication,
    },
    config::RDKafkaLogLevel,
    consumer::Consumer,
    error::KafkaError,
    metadata::MetadataTopic,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};
use tokio::time::Instant;

use crate::{
    Finding, KafkaConfig, Kept, OpenError,
    blocking::ASK_LIMIT,
    client::{Asking, Observer, why},
    epoch, fault,
    metrics::Metrics,
    topic::Topic,
    topics::{Copies, Facts, Verdict, judge},
};

/// How long making topics may take, leaders included.
const CREATE_LIMIT: Duration = Duration::from_secs(15);
/// How often the brokers are asked whether new topics have leaders.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A connection for looking after the topics, before the logs are opened and for `doctor`. A cheap handle.
#[derive(Clone)]
pub struct KafkaAdmin {
    config: KafkaConfig,
    admin: Arc<AdminClient<Observer>>,
    client: Arc<Asking>,
}

/// Topics that are there and were judged: what [`Kafka::open_on`](crate::Kafka::open_on) needs.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) config: KafkaConfig,
    pub(crate) admin: KafkaAdmin,
    pub(crate) verdict: Verdict,
}

impl Prepared {
    /// What was found of the topics.
    pub fn findings(&self) -> &[Finding] {
        &self.verdict.findings
    }
}

impl std::fmt::Debug for KafkaAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaAdmin").field("topics", &self.config.topics).finish_non_exhaustive()
    }
}

fn asked<T>(client: &Asking, doing: impl Into<String>, outcome: Result<T, KafkaError>) -> Result<T, OpenError> {
    outcome.map_err(|source| why(client, doing.into(), source))
}

/// Runs what blocks on a blocking thread.
async fn off<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, OpenError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(OpenError::Refused { doing: doing.to_owned(), why: error.to_string() }),
    }
}

impl KafkaAdmin {
    /// Checks the settings and makes the clients. Asks no broker yet.
    ///
    /// # Errors
    /// [`OpenError::Config`] and [`OpenError::Property`].
    pub fn try_new(config: KafkaConfig) -> Result<Self, OpenError> {
        config.check()?;
        // What goes wrong here is told by the errors.
        let metrics = Metrics::register(&mut Registry::default());
        let mut settings = config.asking(&epoch::group(&config));
        // What it says of connections tells why a broker does not let it in.
        settings.set_log_level(RDKafkaLogLevel::Info);
        let wrong = |error: KafkaError| OpenError::Config(fault::settings(&error));
        let observer = Observer::new(metrics);
        let admin = Arc::new(settings.create_with_context(observer.clone()).map_err(wrong)?);
        let client = settings.create_with_context(observer).map_err(wrong)?;
        Ok(Self { config, admin, client: Arc::new(client) })
    }

    /// Makes the topics that are missing, and judges all three.
    ///
    /// # Errors
    /// [`OpenError`]; only [`OpenError::Unreachable`] is retryable.
    pub async fn prepare(&self) -> Result<Prepared, OpenError> {
        let verdict = self.verdict().await?;
        Ok(Prepared { config: self.config.clone(), admin: self.clone(), verdict })
    }

    /// Judges the topics; makes none.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare), and [`OpenError::Missing`].
    pub async fn inspect(&self) -> Result<Prepared, OpenError> {
        let verdict = self.judged(self.shapes().await?).await?;
        Ok(Prepared { config: self.config.clone(), admin: self.clone(), verdict })
    }

    /// Which of the topics are not there.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`] (retryable) and [`OpenError::Refused`].
    pub async fn missing(&self) -> Result<Vec<String>, OpenError> {
        let shapes = self.shapes().await?;
        let missing = Topic::ALL.into_iter().filter(|topic| shapes[topic.index()].is_none());
        Ok(missing.map(|topic| self.config.topics.of(topic).to_owned()).collect())
    }

    /// What is kept of the epoch with the topics of events and of results.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`] (retryable) and [`OpenError::Epoch`].
    pub async fn kept(&self) -> Result<Kept, OpenError> {
        let (client, config) = (Arc::clone(&self.client), self.config.clone());
        off("read the epoch", move || epoch::stored(&client, &config)).await
    }

    /// Keeps the epoch with both topics, whatever was there before. Durable when it returns.
    ///
    /// # Errors
    /// [`OpenError::Unreachable`] (retryable).
    pub async fn store_epoch(&self, epoch: LogEpoch) -> Result<(), OpenError> {
        let (client, config) = (Arc::clone(&self.client), self.config.clone());
        off("store the epoch", move || epoch::store(&client, &config, epoch)).await
    }

    async fn verdict(&self) -> Result<Verdict, OpenError> {
        let shapes = self.shapes().await?;
        let missing: Vec<Topic> = Topic::ALL.into_iter().filter(|topic| shapes[topic.index()].is_none()).collect();
        if missing.is_empty() {
            return self.judged(shapes).await;
        }
        self.create(&missing, Copies::choose(&self.config, self.brokers().await?)?).await?;
        let deadline = Instant::now() + CREATE_LIMIT;
        loop {
            let shapes = self.shapes().await?;
            if shapes.iter().all(|shape| shape.as_ref().is_some_and(|shape| shape.has_leaders)) {
                return self.judged(shapes).await;
            }
            if Instant::now() > deadline {
                let why = "their partitions have no leaders yet".to_owned();
                return Err(OpenError::Refused { doing: "make the topics".to_owned(), why });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn create(&self, missing: &[Topic], copies: Copies) -> Result<(), OpenError> {
        let retention = self.config.retention.as_millis().to_string();
        let max_bytes = self.config.max_record_bytes.to_string();
        let in_sync = copies.in_sync.map(|least| least.to_string());
        let new = |topic: &Topic| {
            let replication = TopicReplication::Fixed(copies.replicas.cast_signed());
            let topic =
                NewTopic::new(self.config.topics.of(*topic), self.config.partitions.0.get().cast_signed(), replication)
                    .set("cleanup.policy", "delete")
                    .set("retention.ms", &retention)
                    .set("retention.bytes", "-1")
                    .set("max.message.bytes", &max_bytes);
            match &in_sync {
                Some(least) => topic.set("min.insync.replicas", least),
                None => topic,
            }
        };
        let topics: Vec<_> = missing.iter().map(new).collect();
        let options = AdminOptions::new().operation_timeout(Some(CREATE_LIMIT)).request_timeout(Some(CREATE_LIMIT));
        let created = asked(&self.client, "make the topics", self.admin.create_topics(&topics, &options).await)?;
        for outcome in created {
            match outcome {
                // Another process was quicker.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(OpenError::Refused { doing: format!("make the topic {topic}"), why: code.to_string() });
                }
            }
        }
        Ok(())
    }

    /// How many brokers are in service.
    async fn brokers(&self) -> Result<usize, OpenError> {
        let (client, name) = (Arc::clone(&self.client), self.config.topics.events.clone());
        let look = move || asked(&client, "count the brokers", client.fetch_metadata(Some(&name), ASK_LIMIT));
        Ok(off("count the brokers", look).await?.brokers().len())
    }

    /// By [`Topic::index`]; `None`: there is no such topic.
    async fn shapes(&self) -> Result<[Option<Shape>; 3], OpenError> {
        let (client, names) = (Arc::clone(&self.client), self.config.topics.clone());
        let look = move || {
            let mut shapes = [None, None, None];
            for topic in Topic::ALL {
                let name = names.of(topic);
                let doing = format!("look at the topic {name}");
                let metadata = asked(&client, doing, client.fetch_metadata(Some(name), ASK_LIMIT))?;
                let found = metadata.topics().iter().find(|found| found.name() == name);
                shapes[topic.index()] = found.map(|found| Shape::of(name, found)).transpose()?.flatten();
            }
            Ok(shapes)
        };
        off("look at the topics", look).await
    }

    async fn judged(&self, shapes: [Option<Shape>; 3]) -> Result<Verdict, OpenError> {
        let names = self.names();
        // Before its settings are asked for, or the broker's word for it would be all that is said.
        if let Some((name, _)) = names.iter().zip(&shapes).find(|(_, shape)| shape.is_none()) {
            return Err(OpenError::Missing { topic: (*name).to_owned() });
        }
        let settings = self.settings().await?;
        let mut facts = Vec::with_capacity(names.len());
        for (name, shape) in names.into_iter().zip(shapes) {
            let missing = || OpenError::Missing { topic: name.to_owned() };
            let shape = shape.ok_or_else(missing)?;
            facts.push(shape.facts(settings.get(name).ok_or_else(missing)?));
        }
        let facts: [Facts; 3] =
            facts.try_into().map_err(|_| OpenError::Config("three topics are needed".to_owned()))?;
        judge(&self.config, &facts)
    }

    fn names(&self) -> [&str; 3] {
        Topic::ALL.map(|topic| self.config.topics.of(topic))
    }

    /// The largest record that each topic takes now, by [`Topic::index`]. Needs no runtime.
    pub(crate) async fn max_record_bytes(&self) -> Result<[usize; 3], OpenError> {
        let settings = self.settings().await?;
        let of = |name: &str| settings.get(name).map_or(usize::MAX, max_message_bytes);
        Ok(self.names().map(|name| of(name).min(self.config.max_record_bytes)))
    }

    /// What the topics are set to, by their names.
    async fn settings(&self) -> Result<HashMap<String, ConfigResource>, OpenError> {
        let resources = self.names().map(ResourceSpecifier::Topic);
        let options = AdminOptions::new().request_timeout(Some(ASK_LIMIT));
        let described =
            asked(&self.client, "read the topics' settings", self.admin.describe_configs(&resources, &options).await)?;
        let mut settings = HashMap::new();
        for resource in described {
            let refused = |why: RDKafkaErrorCode| OpenError::Refused {
                doing: "read the topics' settings".to_owned(),
                why: why.to_string(),
            };
            let resource = resource.map_err(refused)?;
            if let OwnedResourceSpecifier::Topic(name) = &resource.specifier {
                settings.insert(name.clone(), resource);
            }
        }
        Ok(settings)
    }
}

fn max_message_bytes(settings: &ConfigResource) -> usize {
    let text = settings.get("max.message.bytes").and_then(|entry| entry.value.as_deref());
    text.and_then(|value| value.parse().ok()).unwrap_or(1 << 20)
}

/// What the metadata say about a topic.
struct Shape {
    partitions: u32,
    replicas: usize,
    has_leaders: bool,
}

impl Shape {
    fn of(name: &str, topic: &MetadataTopic) -> Result<Option<Self>, OpenError> {
        use RDKafkaRespErr as Code;
        match topic.error() {
            None | Some(Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => {}
            Some(Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) => {
                return Ok(None);
            }
            Some(code) => {
                let why = RDKafkaErrorCode::from(code).to_string();
                return Err(OpenError::Refused { doing: format!("look at the topic {name}"), why });
            }
        }
        let partitions = topic.partitions();
        Ok((!partitions.is_empty()).then(|| Self {
            partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
            replicas: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
            has_leaders: partitions.iter().all(|partition| partition.leader() >= 0),
        }))
    }

    fn facts(&self, settings: &ConfigResource) -> Facts {
        let text = |name: &str| settings.get(name).and_then(|entry| entry.value.as_deref());
        let number = |name: &str| text(name).and_then(|value| value.parse::<i64>().ok());
        let limit = |name: &str| number(name).and_then(|value| u64::try_from(value).ok());
        Facts {
            partitions: self.partitions,
            replicas: self.replicas,
            cleanup_policy: text("cleanup.policy").unwrap_or("delete").to_owned(),
            retention: limit("retention.ms").map(Duration::from_millis),
            retention_bytes: limit("retention.bytes"),
            min_insync_replicas: limit("min.insync.replicas")
                .map_or(1, |least| u32::try_from(least).unwrap_or(u32::MAX)),
            max_message_bytes: max_message_bytes(settings),
        }
    }
}
