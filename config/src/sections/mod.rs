//! The sections: for each its settings, its raw form as envy reads it, and its typed form.

pub(crate) mod auth;
pub(crate) mod client;
pub(crate) mod distributed;
pub(crate) mod executor;
pub(crate) mod listen;
pub(crate) mod session;
pub(crate) mod shutdown;
pub(crate) mod storage;
pub(crate) mod telemetry;
pub(crate) mod tls;

use crate::setting::Setting;

/// The settings of every section, in the order of `.env.example`.
pub(crate) const ALL: &[&[&Setting]] = &[
    listen::RawListen::SETTINGS,
    tls::RawTls::SETTINGS,
    auth::RawAuth::SETTINGS,
    telemetry::RawLog::SETTINGS,
    telemetry::RawAdmin::SETTINGS,
    shutdown::RawShutdown::SETTINGS,
    storage::RawData::SETTINGS,
    storage::RawPartitions::SETTINGS,
    storage::RawMailbox::SETTINGS,
    session::RawSession::SETTINGS,
    executor::RawExecutor::SETTINGS,
    client::RawClient::SETTINGS,
    distributed::RawKafka::SETTINGS,
    distributed::RawRedis::SETTINGS,
];

/// What the names of the sections begin with.
pub(crate) const PREFIXES: &[&str] = &[
    listen::RawListen::PREFIX,
    tls::RawTls::PREFIX,
    auth::RawAuth::PREFIX,
    telemetry::RawLog::PREFIX,
    telemetry::RawAdmin::PREFIX,
    shutdown::RawShutdown::PREFIX,
    storage::RawData::PREFIX,
    storage::RawPartitions::PREFIX,
    storage::RawMailbox::PREFIX,
    session::RawSession::PREFIX,
    executor::RawExecutor::PREFIX,
    client::RawClient::PREFIX,
    distributed::RawKafka::PREFIX,
    distributed::RawRedis::PREFIX,
];

/// Declares the raw form of a section: one optional string per setting, read by envy under the section's prefix.
///
/// Optional strings, because envy stops at the first value that it cannot parse and then names the field without its
/// prefix; with these it cannot fail, and the section's own validation says everything at once.
macro_rules! raw_section {
    ($name:ident, $prefix:literal, { $($field:ident: $setting:ident),+ $(,)? }) => {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        pub(crate) struct $name { $(pub(crate) $field: Option<String>,)+ }

        impl $name {
            pub(crate) const PREFIX: &str = $prefix;
            pub(crate) const SETTINGS: &[&crate::Setting] = &[$(&$setting),+];

            pub(crate) fn read(environment: &crate::Environment) -> Self {
                // Exact names only: envy would also take `NIMBUS_port`, and `NIMBUS_NIMBUS_PORT`.
                let names: Vec<&str> = Self::SETTINGS.iter().map(|setting| setting.name).collect();
                let raw = envy::prefixed(Self::PREFIX).from_iter(environment.pairs(&names));
                raw.expect("optional strings take any text")
            }
        }
    };
}
pub(crate) use raw_section;
