//! Which letters are meant.

use nimbus_core::{ClientId, EventName, clock::UnixMillis};

use super::letter::Letter;

/// Which letters are meant: those for which everything that is said here holds. The default means all that are open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this client.
    pub client: Option<ClientId>,
    /// Of events with this name.
    pub event: Option<EventName>,
    /// That failed for exactly this reason.
    pub reason: Option<String>,
    /// That failed at this moment or later.
    pub since: Option<UnixMillis>,
    /// That failed before this moment.
    pub until: Option<UnixMillis>,
    /// Also those that were replayed or purged.
    pub settled: bool,
}

impl Filter {
    /// Whether it means this letter.
    pub fn matches(&self, letter: &Letter) -> bool {
        let Self { client, event, reason, since, until, settled } = self;
        client.as_ref().is_none_or(|client| *client == letter.origin.client)
            && event.as_ref().is_none_or(|event| *event == letter.event)
            && reason.as_ref().is_none_or(|reason| *reason == letter.reason)
            && since.is_none_or(|since| letter.failed >= since)
            && until.is_none_or(|until| letter.failed < until)
            && (*settled || letter.is_open())
    }
}
