//! The thread that does the work: events in, squares out, each to the partition that it came from.

use std::{io, thread, time::Duration};

use rdkafka::{Message, consumer::BaseConsumer};

use super::{give_up, kafka::Producer, record::Record};

/// It sleeps until something comes; this only bounds one sleep.
const NAP: Duration = Duration::from_secs(1);

pub(crate) fn start(events: BaseConsumer, results: Producer) -> io::Result<()> {
    let run = move || -> ! {
        loop {
            let Some(event) = events.poll(NAP) else { continue };
            let event = event.unwrap_or_else(|error| give_up(error));
            let record = event.payload().and_then(Record::read);
            let mut record = record.unwrap_or_else(|| give_up("the topic of events has a record that is not ours"));
            record.square();
            results.send(event.partition(), event.key().unwrap_or_default(), &record);
        }
    };
    thread::Builder::new().name("glue-worker".to_owned()).spawn(run).map(drop)
}
