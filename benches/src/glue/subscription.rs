//! The server's ear: what comes over its channel goes to the streams.

use std::sync::Arc;

use fred::{
    clients::SubscriberClient,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::Message,
};
use tokio::sync::broadcast::Receiver;

use super::{give_up, lines::Lines, record::Record};

pub(crate) async fn start(redis: SubscriberClient, channel: &str, lines: Arc<Lines>) -> anyhow::Result<()> {
    let messages = redis.message_rx();
    redis.init().await?;
    redis.subscribe(channel).await?;
    tokio::spawn(listen(redis, messages, lines));
    Ok(())
}

/// Until the process ends. The connection lives as long as its client.
async fn listen(_redis: SubscriberClient, mut messages: Receiver<Message>, lines: Arc<Lines>) {
    loop {
        // What was overtaken in here is lost, and so is the load.
        let message = messages.recv().await.unwrap_or_else(|error| give_up(error));
        let bytes = message.value.into_bytes().unwrap_or_else(|| give_up("a message that is not ours"));
        lines.answer(Record::read_all(&bytes));
    }
}
