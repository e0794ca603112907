//! Reads the results topic and prints each answer as the line of a table: where a database writer would begin.
//!
//! `cargo run -p nimbus-kafka --example read_results -- 127.0.0.1:9092 nimbus-results-v1`. A group of its own keeps its
//! place, so that it neither disturbs Nimbus nor is disturbed. Its offset is stored when the row is: after a crash rows come
//! again, and the key (client, outbox, seq, replay_no) makes the first one stand.

use nimbus_core::ResultRecord;
use nimbus_envelope::Envelope as _;
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let brokers = arguments.next().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "nimbus-results-v1".to_owned());
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("group.id", "results-to-database");
    settings.set("isolation.level", "read_committed").set("enable.auto.commit", "false");
    settings.set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = settings.create()?;
    consumer.subscribe(&[&topic])?;
    for message in consumer.iter() {
        let message = message?;
        let result = ResultRecord::decode(message.payload().ok_or("a record without a value")?)?;
        if result.kind.is_terminal() {
            let (client, outbox) = (&result.origin.client, result.origin.outbox);
            let (seq, replay_no, failed) = (result.seq, result.replay_no, result.failure.is_some());
            println!("{client}\t{outbox}\t{seq}\t{replay_no}\t{}\t{failed}\t{:?}", result.event_name, result.payload);
        }
        consumer.commit_message(&message, CommitMode::Async)?;
    }
    Ok(())
}
