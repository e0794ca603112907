//! How to reach Redis, and how much to keep there. Plain values; where they come from is `nimbus-config`'s concern.

use std::{fmt, path::PathBuf, time::Duration};

use fred::types::config::Config;
use nimbus_core::mailbox::MailboxLimits;

use crate::{error::RedisError, notifier::QueueLimits, tls::Trust};

/// Which keys and channels, where.
#[derive(Clone)]
pub struct RedisConfig {
    /// `host:port`, `redis://[user:password@]host:port[/db]`, `rediss://…` for TLS; `redis-cluster://…` and
    /// `rediss-cluster://…` for a cluster, with more nodes as `?node=host:port`.
    pub url: String,
    /// `url` names nodes of a cluster, whatever its scheme says.
    pub cluster: bool,
    /// With `rediss://`: the only authorities that may vouch for Redis, PEM. Default: those that this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// What every key begins with. Default [`Self::KEY_PREFIX`].
    pub key_prefix: String,
    /// What every channel begins with. Default [`Self::CHANNEL_PREFIX`].
    pub channel_prefix: String,
    /// How much waits for clients.
    pub limits: MailboxLimits,
    /// How much waits for a server that does not read its notifications.
    pub queue: QueueLimits,
    /// How long a command may take before its outcome counts as unknown. Default [`Self::COMMAND_TIMEOUT`].
    pub command_timeout: Duration,
    /// Of how many clients of one partition a router keeps the fold in memory; the others it reads again when they have
    /// results. Default [`Self::CACHED_CLIENTS`].
    pub cached_clients: usize,
}

impl RedisConfig {
    /// As earlier versions named it.
    pub const KEY_PREFIX: &'static str = "nimbus";
    /// As earlier versions named it.
    pub const CHANNEL_PREFIX: &'static str = "nimbus-events";
    /// Far beyond what a healthy Redis needs; far below what a client waits for.
    pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
    /// Some 10 MiB a partition with usual clients.
    pub const CACHED_CLIENTS: usize = 16_384;

    /// Everything but the address as by default.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            cluster: false,
            ca_file: None,
            key_prefix: Self::KEY_PREFIX.to_owned(),
            channel_prefix: Self::CHANNEL_PREFIX.to_owned(),
            limits: MailboxLimits::default(),
            queue: QueueLimits::default(),
            command_timeout: Self::COMMAND_TIMEOUT,
            cached_clients: Self::CACHED_CLIENTS,
        }
    }

    /// The address as it may be shown: without a password.
    pub fn shown_url(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").map_or(("", self.url.as_str()), |(s, r)| (s, r));
        let shown = rest.rsplit_once('@').map_or_else(|| rest.to_owned(), |(_, host)| format!("***@{host}"));
        if scheme.is_empty() { shown } else { format!("{scheme}://{shown}") }
    }

    /// As the Redis library has it, and whom it trusts if it speaks TLS. Reads the file of authorities.
    pub(crate) fn connection(&self) -> Result<(Config, Option<Trust>), RedisError> {
        let refused = |why: String| RedisError::Address { url: self.shown_url(), why };
        for (what, prefix) in [("key", &self.key_prefix), ("channel", &self.channel_prefix)] {
            // The only braces of a key name the partition: they decide on the node.
            if prefix.is_empty() || prefix.contains(['{', '}', ' ']) {
                return Err(refused(format!("the {what} prefix is empty or has a brace or a space in it")));
            }
        }
        let mut url = if self.url.contains("://") { self.url.clone() } else { format!("redis://{}", self.url) };
        let known = ["redis://", "rediss://", "redis-cluster://", "rediss-cluster://"];
        let what = "it is not host:port, redis://, rediss:// or redis-cluster://";
        if !known.iter().any(|scheme| url.starts_with(scheme)) {
            return Err(refused(what.to_owned()));
        }
        if self.cluster && !url.contains("-cluster://") {
            url = url.replacen("://", "-cluster://", 1);
        }
        let is_encrypted = url.starts_with("rediss");
        if is_encrypted {
            // Whom to trust is decided here: the library would trust this machine's authorities, and fail without any.
            url = url.replacen("rediss", "redis", 1);
        }
        // The library's own words may repeat the address, password and all.
        let mut config = Config::from_url(&url).map_err(|_| refused(what.to_owned()))?;
        if !is_encrypted {
            return Ok((config, None));
        }
        let trust = Trust::load(self.ca_file.as_deref())?;
        config.tls = Some(trust.connector().into());
        Ok((config, Some(trust)))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &self.shown_url())
            .field("cluster", &self.cluster)
            .field("ca_file", &self.ca_file)
            .field("key_prefix", &self.key_prefix)
            .field("channel_prefix", &self.channel_prefix)
            .field("limits", &self.limits)
            .field("queue", &self.queue)
            .field("command_timeout", &self.command_timeout)
            .field("cached_clients", &self.cached_clients)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in ["redis://:hush@h:1", "rediss://me:hu@sh@h:1/3", "me:hush@h:1", "http://:hush@h", ":hush@"] {
            let config = RedisConfig::new(url);
            let shown = format!("{config:?} {}", config.shown_url());
            assert!(!shown.contains("hush") && !shown.contains("hu@sh") && shown.contains("***@"), "{shown}");
            if let Err(error) = config.connection() {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains("hush"), "{shown}");
            }
        }
    }

    #[test]
    fn addresses_are_understood_as_people_write_them() {
        let server = |url: &str, cluster| RedisConfig { cluster, ..RedisConfig::new(url) }.connection().unwrap().0;
        assert!(server("h:6379", false).server.is_centralized());
        assert!(server("redis://h", false).server.is_centralized());
        assert!(server("rediss://u:p@h:7/2", false).uses_tls());
        assert!(server("h:6379", true).server.is_clustered());
        assert!(server("redis-cluster://a:1?node=b:2", false).server.is_clustered());
        assert!(server("rediss-cluster://a:1", true).uses_tls());
        let braces = RedisConfig { key_prefix: "a{b}".to_owned(), ..RedisConfig::new("h:1") };
        assert!(braces.connection().unwrap_err().to_string().contains("key prefix"));
        assert!(RedisConfig::new("http://h:1").connection().is_err());
    }

    #[test]
    fn a_file_of_authorities_that_is_none_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let (missing, empty) = (directory.path().join("missing.pem"), directory.path().join("empty.pem"));
        std::fs::write(&empty, "not a certificate").unwrap();
        for file in [missing, empty] {
            let config = RedisConfig { ca_file: Some(file.clone()), ..RedisConfig::new("rediss://h:1") };
            let error = config.connection().unwrap_err().to_string();
            assert!(error.contains(file.to_str().unwrap()), "{error}");
        }
    }
}
