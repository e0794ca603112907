//! The broker's messages as records.

use nimbus_core::{
    Offset,
    ports::log::{LogError, Stored},
};
use rdkafka::{Message, message::BorrowedMessage};

use crate::topic::TopicRecord;

/// A message as a record.
///
/// # Errors
/// [`LogError::Damaged`], which names where it is.
pub(crate) fn decode<R: TopicRecord>(message: &BorrowedMessage<'_>) -> Result<Stored<R>, LogError> {
    let damaged = |what: String| LogError::Damaged(format!("{}: {what}", place(message)));
    let offset = u64::try_from(message.offset()).map_err(|_| damaged("its offset is negative".to_owned()))?;
    let value = message.payload().ok_or_else(|| damaged("it has no value".to_owned()))?;
    let record = R::decode(value).map_err(|error| damaged(error.to_string()))?;
    Ok(Stored { offset: Offset(offset), record })
}

/// Where a message is, for people.
pub(crate) fn place(message: &BorrowedMessage<'_>) -> String {
    format!("topic {} partition {} offset {}", message.topic(), message.partition(), message.offset())
}

/// What a message takes of the budget of a batch.
pub(crate) fn size(message: &BorrowedMessage<'_>) -> usize {
    message.key_len() + message.payload_len()
}
