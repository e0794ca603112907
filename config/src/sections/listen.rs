//! Where the server listens, who it is, and whether it may do without protection.

use std::net::{IpAddr, SocketAddr};

use nimbus_core::ServerId;

use super::raw_section;
use crate::{Setting, reading::Reading, value};

/// Loopback: a first run must not open a port to the network.
pub(crate) const LISTEN_ADDR: Setting = Setting::new("NIMBUS_LISTEN_ADDR", "127.0.0.1").example("0.0.0.0");
/// The port of the original service: existing clients know it.
pub(crate) const PORT: Setting = Setting::new("NIMBUS_PORT", "50051");
/// Made anew at each start: two servers with one id would steal each other's notifications.
pub(crate) const SERVER_ID: Setting = Setting::new("NIMBUS_SERVER_ID", "").example("gateway-1");
/// Off: anyone could take any client id.
pub(crate) const INSECURE: Setting = Setting::new("NIMBUS_INSECURE", "false");

raw_section!(RawListen, "NIMBUS_", {
    listen_addr: LISTEN_ADDR,
    port: PORT,
    server_id: SERVER_ID,
    insecure: INSECURE,
});

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// The address of the gRPC listener. Port 0 takes any free port.
    pub address: SocketAddr,
    /// Who this server is; `None` means made anew at each start.
    pub server_id: Option<ServerId>,
    /// Whether any caller may take any client id from anywhere.
    pub insecure: bool,
}

impl ListenConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let raw = RawListen::read(reading.environment());
        let ip: IpAddr = reading.value(&LISTEN_ADDR, raw.listen_addr, value::ip);
        let port = reading.value(&PORT, raw.port, value::integer(0..=u16::MAX));
        let server_id = |text: &str| ServerId::try_new(text).map_err(|error| format!("is no server id: {error}"));
        Self {
            address: SocketAddr::new(ip, port),
            server_id: reading.optional(&SERVER_ID, raw.server_id, server_id),
            insecure: reading.value(&INSECURE, raw.insecure, value::boolean),
        }
    }
}
