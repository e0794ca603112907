//! Describes a client, then starts it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    Client, Error, Outbox, State,
    connection::{self, Connector, Target},
    machine::{Machine, Options},
    outbox::Opened,
    shared::Shared,
};

/// How many deliveries may be received and not acknowledged, unless said otherwise.
pub const DEFAULT_RECEIVE_WINDOW: u32 = 128;
/// How long `connect` waits for its first session, unless said otherwise.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long after a gap an answer may take before it counts as lost, unless said otherwise.
pub const DEFAULT_UNKNOWN_AFTER: Duration = Duration::from_secs(60);

/// Longest client id, in bytes.
pub(crate) const MAX_CLIENT_ID_BYTES: usize = 128;
const SDK: &str = concat!("nimbus-client-rust/", env!("CARGO_PKG_VERSION"));

/// Describes a client. Made by [`Client::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    address: String,
    client_id: String,
    token: Option<String>,
    authority: Option<Vec<u8>>,
    outbox: Outbox,
    receive_window: u32,
    connect_timeout: Duration,
    unknown_after: Duration,
    connector: Option<Arc<dyn Connector>>,
    seed: Option<u64>,
}

impl Builder {
    pub(crate) fn new(address: String) -> Self {
        Self {
            address,
            client_id: String::new(),
            token: None,
            authority: None,
            outbox: Outbox::memory(),
            receive_window: DEFAULT_RECEIVE_WINDOW,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            unknown_after: DEFAULT_UNKNOWN_AFTER,
            connector: None,
            seed: None,
        }
    }

    /// Who the client is: 1 to 128 bytes of `[A-Za-z0-9._:@-]`. Required. One live session per client id, the newest
    /// wins.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// The token that the server wants to see, if it wants one.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Who may vouch for the server, as PEM: this authority and nobody else, in place of those that this machine trusts. The
    /// connection is then encrypted, also without `https://` in the address. With `http://`, or with a
    /// [`connector`](Self::connector), it is [`Error::Invalid`].
    pub fn authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(pem.into());
        self
    }

    /// Where events wait until they are accepted. Default: [`Outbox::memory`].
    pub fn outbox(mut self, outbox: Outbox) -> Self {
        self.outbox = outbox;
        self
    }

    /// How many deliveries may be received and not acknowledged: 1 or more, default [`DEFAULT_RECEIVE_WINDOW`]. The
    /// server may lower it. This bounds what the client holds in memory for the application.
    pub const fn receive_window(mut self, deliveries: u32) -> Self {
        self.receive_window = deliveries;
        self
    }

    /// How long [`connect`](Self::connect) waits for its first session. Default [`DEFAULT_CONNECT_TIMEOUT`].
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long after a [`Gap`](crate::Gap), counted in connected time, an answer that may have lain in it may take to
    /// show up before it counts as [`Outcome::Unknown`](crate::Outcome::Unknown). Default [`DEFAULT_UNKNOWN_AFTER`]; longer
    /// than the longest job, if none may be given up while it runs.
    pub const fn unknown_after(mut self, time: Duration) -> Self {
        self.unknown_after = time;
        self
    }

    /// Connects by other means than TCP. The address is then only what the server is called.
    pub fn connector(mut self, connector: Arc<dyn Connector>) -> Self {
        self.connector = Some(connector);
        self
    }

    /// For tests that have to come out the same each time: the waits between attempts, and the id of an outbox in memory,
    /// follow from this. Two clients of one seed share an outbox id, which must never happen where it matters.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts the client and waits for its first session, trying again meanwhile.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the time is up (retryable); [`Error::Refused`] or [`Error::Superseded`] when the server
    /// says no for good; those of [`start`](Self::start). The client has stopped then.
    pub async fn connect(self) -> Result<Client, Error> {
        let (timeout, address) = (self.connect_timeout, self.address.clone());
        let client = self.start().await?;
        let mut state = client.state();
        let live = state.wait_for(|state| matches!(state, State::Connected(_) | State::Failed(_)));
        let result = match tokio::time::timeout(timeout, live).await {
            Ok(Ok(state)) => match &*state {
                State::Failed(error) => Err(error.clone()),
                _ => Ok(()),
            },
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => {
                let why = match &*client.state().borrow() {
                    State::Waiting { why, .. } => why.clone(),
                    _ => "no answer in time".to_owned(),
                };
                Err(Error::Unreachable { address, why })
            }
        };
        if let Err(error) = result {
            // Waited for, so that the outbox file is free again.
            client.close().await;
            return Err(error);
        }
        Ok(client)
    }

    /// Starts the client without waiting for a session: for devices that begin offline. Events can be sent at once, as
    /// far as the outbox has room.
    ///
    /// Waits for the disk only. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what was described wrongly; [`Error::OutboxInUse`] (retryable), [`Error::OutboxForeign`],
    /// [`Error::OutboxDamaged`], [`Error::OutboxIo`] for an outbox file.
    pub async fn start(self) -> Result<Client, Error> {
        check_client_id(&self.client_id)?;
        if self.receive_window == 0 {
            return Err(Error::Invalid { what: "receive window is 0; give 1 or more".to_owned() });
        }
        let target = Target::try_new(&self.address, self.token.as_deref(), self.authority, self.connector)?;
        let fresh_id = self.seed.map_or_else(rand::random, |seed| u128::from(seed).to_be_bytes());
        let Opened { outbox_id, memory, journal, capacity } = self.outbox.open(&self.client_id, fresh_id).await?;
        let options = Options {
            client_id: self.client_id.clone(),
            outbox_id: Bytes::copy_from_slice(&outbox_id),
            sdk: SDK.to_owned(),
            receive_window: self.receive_window,
            unknown_after: self.unknown_after,
            keeps_records: journal.is_some(),
            seed: self.seed.unwrap_or_else(rand::random),
        };
        let outbox_id = options.outbox_id.clone();
        let keeps_records = options.keeps_records;
        let machine = Machine::new(options, memory, Instant::now());
        let shared = Arc::new(Shared::new(machine, capacity, keeps_records));
        let task = connection::spawn(Arc::clone(&shared), target, journal, &self.client_id);
        Ok(Client::new(shared, outbox_id, task))
    }
}

fn check_client_id(client_id: &str) -> Result<(), Error> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:@-".contains(&b);
    if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID_BYTES || !client_id.bytes().all(allowed) {
        let what = format!("client id `{client_id}`: give 1 to {MAX_CLIENT_ID_BYTES} bytes of [A-Za-z0-9._:@-]");
        return Err(Error::Invalid { what });
    }
    Ok(())
}
