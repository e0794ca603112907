//! Whether the gRPC listener speaks TLS, and who it then is.

use std::{path::PathBuf, time::Duration};

use super::raw_section;
use crate::{Setting, reading::Reading, value};

/// None: then connections are not encrypted.
pub(crate) const CERT_FILE: Setting = Setting::new("NIMBUS_TLS_CERT_FILE", "").example("/etc/nimbus/tls/tls.crt");
/// None.
pub(crate) const KEY_FILE: Setting = Setting::new("NIMBUS_TLS_KEY_FILE", "").example("/etc/nimbus/tls/tls.key");
/// Whoever renews certificates does it days before the old one ends.
pub(crate) const RELOAD_INTERVAL: Setting = Setting::new("NIMBUS_TLS_RELOAD_INTERVAL", "1m");

raw_section!(RawTls, "NIMBUS_TLS_", {
    cert_file: CERT_FILE,
    key_file: KEY_FILE,
    reload_interval: RELOAD_INTERVAL,
});

/// Who the gRPC listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM: the certificate, and those between it and its authority.
    pub cert_file: PathBuf,
    /// PEM: its private key.
    pub key_file: PathBuf,
    /// How often both are read again.
    pub reload_interval: Duration,
}

impl TlsConfig {
    /// `None`: no TLS.
    pub(crate) fn read(reading: &mut Reading<'_>) -> Option<Self> {
        let raw = RawTls::read(reading.environment());
        let cert_file = reading.optional(&CERT_FILE, raw.cert_file, value::file);
        let key_file = reading.optional(&KEY_FILE, raw.key_file, value::file);
        let range = Duration::from_millis(100)..=Duration::from_secs(24 * 3_600);
        let reload_interval = reading.value(&RELOAD_INTERVAL, raw.reload_interval, value::duration(range));
        // What was not filled in must not pass for "not encrypted".
        reading.refuse_empty(&[&CERT_FILE, &KEY_FILE]);
        match (cert_file, key_file) {
            (Some(cert_file), Some(key_file)) => Some(Self { cert_file, key_file, reload_interval }),
            (None, None) => None,
            (Some(_), None) => missing(reading, &KEY_FILE, &CERT_FILE),
            (None, Some(_)) => missing(reading, &CERT_FILE, &KEY_FILE),
        }
    }
}

fn missing(reading: &mut Reading<'_>, setting: &'static Setting, other: &Setting) -> Option<TlsConfig> {
    if reading.are_sound(&[&CERT_FILE, &KEY_FILE]) {
        reading.problem(setting, format!("is missing, and {} is set", other.name));
    }
    None
}
