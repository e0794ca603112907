//! librdkafka's own mock of a broker, which answers requests with the errors that a test asks for.

use nimbus_core::{LogEpoch, Partition};
use prometheus_client::registry::Registry;
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, Producer},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::broker;
use crate::{Kafka, KafkaAdmin, KafkaConfig, metrics::Metrics, topic::Topic, topics::Verdict};

/// A cluster of one broker, as long as it lives.
pub(crate) struct Mock(BaseProducer);

impl Mock {
    pub(crate) fn new() -> Self {
        let mut config = ClientConfig::new();
        config.set("test.mock.num.brokers", "1").set("allow.auto.create.topics", "false");
        Self(config.create().unwrap())
    }

    /// Settings with topics of their own, which are made.
    pub(crate) fn config(&self, partitions: nimbus_core::PartitionCount) -> KafkaConfig {
        let cluster = self.0.client().mock_cluster().unwrap();
        let config = broker::config(&cluster.bootstrap_servers(), partitions);
        for topic in Topic::ALL {
            cluster.create_topic(config.topics.of(topic), partitions.0.get().cast_signed(), 1).unwrap();
        }
        config
    }

    pub(crate) fn open(config: &KafkaConfig, epoch: LogEpoch) -> Kafka {
        let verdict =
            Verdict { max_record_bytes: [config.max_record_bytes; 3], events_retention: None, findings: Vec::new() };
        let metrics = Metrics::register(&mut Registry::default());
        let admin = KafkaAdmin::try_new(config.clone()).unwrap();
        Kafka::start(config.clone(), admin, epoch, verdict, metrics).unwrap()
    }

    /// The next requests of this kind are answered with these errors, one each.
    pub(crate) fn answer(&self, requests: RDKafkaApiKey, errors: &[RDKafkaRespErr]) {
        self.0.client().mock_cluster().unwrap().request_errors(requests, errors);
    }

    /// This partition of events is led by that broker from now on, or by none.
    pub(crate) fn lead(&self, config: &KafkaConfig, partition: Partition, broker: Option<i32>) {
        let cluster = self.0.client().mock_cluster().unwrap();
        cluster.partition_leader(config.topics.of(Topic::Events), partition.0.cast_signed(), broker).unwrap();
    }

    /// Requests of this kind are answered well again.
    pub(crate) fn answer_well(&self, requests: RDKafkaApiKey) {
        self.0.client().mock_cluster().unwrap().clear_request_errors(requests);
    }
}
