//! Settings from the environment, validated all at once.
//!
//! Text comes in through [`Environment`] (the process's environment and a `.env` file, or a list of pairs in tests), is
//! sorted by envy into one raw struct of optional strings per section, and becomes typed sections in [`Config`]. Every
//! problem of a start is reported together, each with the full variable name, what is wrong and a right example.
//!
//! Left out on purpose: no command-line flags (one place to set things), no reload, no global state. Adapters do not see
//! this crate: the composition root maps its sections to each crate's own configuration.
//!
//! Worst case: a mistyped name of a setting is an error and not a shrug, see [`unknown`](mod@unknown).

mod effective;
mod environment;
mod problem;
mod reading;
mod sections;
mod setting;
pub mod unknown;
mod value;

#[cfg(test)]
mod tests;

pub use effective::EffectiveSetting;
pub use environment::{Environment, Source};
pub use problem::{ConfigError, Problem, Warning};
pub use sections::{
    auth::{AuthConfig, ClientPattern, Secret, StaticToken},
    client::ClientConfig,
    distributed::{KafkaConfig, RedisConfig},
    executor::ExecutorConfig,
    listen::ListenConfig,
    session::SessionConfig,
    shutdown::ShutdownConfig,
    storage::{MailboxConfig, StorageConfig},
    telemetry::{LogFormat, TelemetryConfig},
    tls::TlsConfig,
};
pub use setting::{Display, Scope, Setting};

use reading::Reading;

/// Every setting there is, in the order of `.env.example`.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    sections::ALL.iter().flat_map(|section| section.iter().copied())
}

/// Everything that a server can be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where it listens, and who may reach it.
    pub listen: ListenConfig,
    /// Who may use which client ids.
    pub auth: AuthConfig,
    /// Logs, metrics and the admin endpoint.
    pub telemetry: TelemetryConfig,
    /// How it ends.
    pub shutdown: ShutdownConfig,
    /// The embedded log.
    pub storage: StorageConfig,
    /// Who the gRPC listener is; `None`: it speaks no TLS.
    pub tls: Option<TlsConfig>,
    /// What waits for clients.
    pub mailbox: MailboxConfig,
    /// Limits of a session.
    pub session: SessionConfig,
    /// The executor runtime.
    pub executor: ExecutorConfig,
    /// What `nimbus client` and `nimbus load` use when no flag says otherwise.
    pub client: ClientConfig,
    /// Checked and shown; nothing reads it in embedded mode.
    pub kafka: KafkaConfig,
    /// Checked and shown; nothing reads it in embedded mode.
    pub redis: RedisConfig,
}

/// A configuration, and what a person should know about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The validated settings.
    pub config: Config,
    /// What is odd but no reason to refuse. Contains no secret.
    pub warnings: Vec<Warning>,
    /// Each setting with its value (secrets hidden) and where it came from, in the order of `.env.example`.
    pub effective: Vec<EffectiveSetting>,
}

/// Reads and validates everything.
///
/// # Errors
/// [`ConfigError`] with every problem there is; not retryable. No secret appears in it.
pub fn load(environment: &Environment) -> Result<Loaded, ConfigError> {
    let mut reading = Reading::new(environment);
    let listen = ListenConfig::read(&mut reading);
    let tls = TlsConfig::read(&mut reading);
    let config = Config {
        auth: AuthConfig::read(&mut reading, &listen, tls.is_some()),
        telemetry: TelemetryConfig::read(&mut reading),
        shutdown: ShutdownConfig::read(&mut reading),
        storage: StorageConfig::read(&mut reading),
        mailbox: MailboxConfig::read(&mut reading),
        session: SessionConfig::read(&mut reading),
        executor: ExecutorConfig::read(&mut reading),
        client: ClientConfig::read(&mut reading),
        kafka: KafkaConfig::read(&mut reading),
        redis: RedisConfig::read(&mut reading),
        listen,
        tls,
    };
    unknown::check(&mut reading);
    let (config, warnings, effective) = reading.finish(config)?;
    Ok(Loaded { config, warnings, effective })
}

/// Some of the settings, and what a person should know about their names.
#[derive(Debug, Clone)]
pub struct LoadedPart<T> {
    /// The validated settings.
    pub config: T,
    /// What is odd but no reason to refuse, unknown names of any kind among it. Contains no secret.
    pub warnings: Vec<Warning>,
}

/// Reads what a client command needs and no other value, so that a server's mistake does not stop a client.
///
/// # Errors
/// [`ConfigError`] with every problem of the `NIMBUS_CLIENT_*` settings.
pub fn load_client(environment: &Environment) -> Result<LoadedPart<ClientConfig>, ConfigError> {
    load_part(environment, ClientConfig::read)
}

/// Reads what the tools for a data directory need and no other value.
///
/// # Errors
/// [`ConfigError`] with every problem of the `NIMBUS_DATA_*` settings and `NIMBUS_PARTITIONS`.
pub fn load_storage(environment: &Environment) -> Result<LoadedPart<StorageConfig>, ConfigError> {
    load_part(environment, StorageConfig::read)
}

fn load_part<T>(
    environment: &Environment,
    read: impl FnOnce(&mut Reading<'_>) -> T,
) -> Result<LoadedPart<T>, ConfigError> {
    let mut reading = Reading::new(environment);
    let config = read(&mut reading);
    unknown::warn(&mut reading);
    let (config, warnings, _) = reading.finish(config)?;
    Ok(LoadedPart { config, warnings })
}
