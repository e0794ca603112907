//! What `nimbus client` and `nimbus load` use when no flag says otherwise.

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

raw_section!(RawClient, "NIMBUS_CLIENT_", { addr: ADDR, token: TOKEN });

/// What client commands use when no flag says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// The server, as host:port.
    pub addr: String,
    /// The token to show.
    pub token: Option<Secret>,
}

impl ClientConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawClient::read(reading.environment());
        Self {
            addr: reading.value(&ADDR, raw.addr, value::host_and_port),
            token: reading.optional(&TOKEN, raw.token, |text| {
                if text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    Ok(Secret::from(text.to_owned()))
                } else {
                    Err("has a space or a character that is not ASCII".to_owned())
                }
            }),
        }
    }
}
