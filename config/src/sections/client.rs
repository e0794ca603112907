//! What `nimbus client` and `nimbus load` use when no flag says otherwise.

use std::path::PathBuf;

use super::{auth::Secret, raw_section};
use crate::{
    Setting,
    reading::Reading,
    setting::{Display, Scope},
    value,
};

/// Where `nimbus dev` listens.
pub(crate) const ADDR: Setting = Setting::new("NIMBUS_CLIENT_ADDR", "127.0.0.1:50051").scope(Scope::Client);
/// A server without tokens asks for none.
pub(crate) const TOKEN: Setting = Setting::new("NIMBUS_CLIENT_TOKEN", "")
    .example("the-token-of-your-principal")
    .display(Display::Secret)
    .scope(Scope::Client);

/// None: whoever this machine trusts.
pub(crate) const CA_FILE: Setting =
    Setting::new("NIMBUS_CLIENT_CA_FILE", "").example("/etc/nimbus/tls/ca.crt").scope(Scope::Client);

raw_section!(RawClient, "NIMBUS_CLIENT_", { addr: ADDR, token: TOKEN, ca_file: CA_FILE });

/// What client commands use when no flag says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// The server, as host:port, perhaps with a scheme in front.
    pub addr: String,
    /// The token to show.
    pub token: Option<Secret>,
    /// PEM: who may vouch for a server that speaks TLS. `None`: whoever this machine trusts.
    pub ca_file: Option<PathBuf>,
}

impl ClientConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawClient::read(reading.environment());
        Self {
            addr: reading.value(&ADDR, raw.addr, value::server),
            token: reading.optional(&TOKEN, raw.token, |text| {
                if text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    Ok(Secret::from(text.to_owned()))
                } else {
                    Err("has a space or a character that is not ASCII".to_owned())
                }
            }),
            ca_file: reading.optional(&CA_FILE, raw.ca_file, value::file),
        }
    }
}
