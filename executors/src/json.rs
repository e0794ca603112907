//! JSON in and out, with refusals that tell the sender what to send instead.

use nimbus_core::{
    ContentType, Event, Reason,
    ports::executor::{ExecutorError, Output},
};
use serde::{Serialize, de::DeserializeOwned};

/// The media type of JSON, made once per executor: making it allocates, cloning it does not.
pub(crate) fn media_type() -> ContentType {
    ContentType::new("application/json")
}

/// Refuses an event that says it is something else than JSON. Saying nothing is allowed.
pub(crate) fn check_media_type(event: &Event) -> Result<(), ExecutorError> {
    let said = event.content_type.as_str();
    let essence = said.split(';').next().unwrap_or("").trim();
    if essence.is_empty() || essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(refusal(event, &format!("takes application/json, not {said}")))
}

/// Reads the payload as `T`; `example` is shown to a sender whose payload is something else.
pub(crate) fn parse<T: DeserializeOwned>(event: &Event, example: &str) -> Result<T, ExecutorError> {
    check_media_type(event)?;
    serde_json::from_slice(&event.payload)
        .map_err(|error| refusal(event, &format!("takes JSON such as {example}: {error}")))
}

/// Writes `value` as a JSON result.
pub(crate) fn output(value: &impl Serialize, media_type: &ContentType) -> Result<Output, ExecutorError> {
    let text = serde_json::to_vec(value).map_err(|error| ExecutorError::Poison(error.to_string()))?;
    Ok(Output::new(text, media_type.clone()))
}

/// "This payload can never work", in words for the sender.
pub(crate) fn refusal(event: &Event, what: &str) -> ExecutorError {
    ExecutorError::rejected(Reason::InvalidPayload, format!("{} {what}", event.name))
}
