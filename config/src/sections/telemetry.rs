//! Logs, and the admin endpoint with liveness, readiness and metrics.

use std::net::SocketAddr;

use super::raw_section;
use crate::{Setting, reading::Reading, value};

/// Says what happens to the server, not to each event.
pub(crate) const LOG: Setting = Setting::new("NIMBUS_LOG", "info").example("info,nimbus_server=debug");
/// For eyes; collectors want `json`.
pub(crate) const LOG_FORMAT: Setting = Setting::new("NIMBUS_LOG_FORMAT", "text").example("json");
/// Loopback: metrics tell more than a stranger should know.
pub(crate) const ADMIN_ADDR: Setting = Setting::new("NIMBUS_ADMIN_ADDR", "127.0.0.1:9464");
/// Off: the admin endpoint asks nobody who they are.
pub(crate) const ADMIN_PUBLIC: Setting = Setting::new("NIMBUS_ADMIN_PUBLIC", "false").example("true");

raw_section!(RawLog, "NIMBUS_", { log: LOG, log_format: LOG_FORMAT });
raw_section!(RawAdmin, "NIMBUS_ADMIN_", { addr: ADMIN_ADDR, public: ADMIN_PUBLIC });

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs, metrics and the admin endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Which log lines are written: a level, or `target=level` separated by commas. Its full grammar is checked when
    /// logging starts.
    pub log: String,
    /// What they look like.
    pub log_format: LogFormat,
    /// Where the admin endpoint listens; `None` switches it off.
    pub admin_address: Option<SocketAddr>,
}

impl TelemetryConfig {
    pub(crate) fn read(reading: &mut Reading<'_>) -> Self {
        let log = RawLog::read(reading.environment());
        let admin = RawAdmin::read(reading.environment());
        let config = Self {
            log: reading.value(&LOG, log.log, filter),
            log_format: reading.value(&LOG_FORMAT, log.log_format, |text| match text {
                "text" => Ok(LogFormat::Text),
                "json" => Ok(LogFormat::Json),
                _ => Err("is neither text nor json".to_owned()),
            }),
            admin_address: reading.value(&ADMIN_ADDR, admin.addr, value::socket_or_off),
        };
        let public = reading.value(&ADMIN_PUBLIC, admin.public, value::boolean);
        if let Some(address) = config.admin_address
            && !address.ip().is_loopback()
            && !public
            && reading.are_sound(&[&ADMIN_ADDR, &ADMIN_PUBLIC])
        {
            let wrong =
                format!("\"{address}\" can be reached from other machines, and the admin endpoint has no login");
            let remedy =
                format!("listen on 127.0.0.1, or say {}=true if only trusted ones reach it", ADMIN_PUBLIC.name);
            reading.problem_with_remedy(&ADMIN_ADDR, wrong, remedy);
        }
        config
    }
}

fn filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |text: &str| LEVELS.contains(&text.to_ascii_lowercase().as_str());
    let is_target = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    let is_right = |part: &str| match part.trim().rsplit_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(part.trim()),
    };
    if text.split(',').all(is_right) {
        Ok(text.to_owned())
    } else {
        Err("is no list of levels (off, error, warn, info, debug, trace) and target=level".to_owned())
    }
}
