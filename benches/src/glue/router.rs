//! The thread that takes results to the server: what one poll brings goes out in one PUBLISH.

use std::{io, thread, time::Duration};

use bytes::{Bytes, BytesMut};
use fred::{clients::Client, interfaces::PubsubInterface};
use rdkafka::{Message, consumer::BaseConsumer};
use tokio::runtime::Handle;

use super::{give_up, record};

/// It sleeps until something comes; this only bounds one sleep.
const NAP: Duration = Duration::from_secs(1);
/// Most bytes of one PUBLISH.
const MOST: usize = 4096 * record::BYTES;

/// Must be called within a runtime, which the connection to Redis lives in.
pub(crate) fn start(results: BaseConsumer, redis: Client, channel: String) -> io::Result<()> {
    let runtime = Handle::current();
    let run = move || -> ! {
        loop {
            let batch = poll(&results);
            if !batch.is_empty() {
                let published = runtime.block_on(redis.publish::<(), _, _>(channel.as_str(), batch));
                published.unwrap_or_else(|error| give_up(error));
            }
        }
    };
    thread::Builder::new().name("glue-router".to_owned()).spawn(run).map(drop)
}

/// Waits for one result, and takes all that are there.
fn poll(results: &BaseConsumer) -> Bytes {
    let mut batch = BytesMut::new();
    let mut next = results.poll(NAP);
    while let Some(result) = next {
        let result = result.unwrap_or_else(|error| give_up(error));
        batch.extend_from_slice(result.payload().unwrap_or_default());
        next = if batch.len() < MOST { results.poll(Duration::ZERO) } else { None };
    }
    batch.freeze()
}
