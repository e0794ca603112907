//! Which log epoch is in use: the one that was put first.
//!
//! An emptied Redis forgets it with everything else. A process that finds it missing puts its own again; one that finds
//! another there must not go on, or half of the deployment would work on other keys than the rest.

use fred::{interfaces::LuaInterface as _, types::Value};
use nimbus_core::LogEpoch;
use ulid::Ulid;

use crate::{command::command, error::Failure, keys, link::Link, moves::followed};

/// Replaces the epoch, if it still is the one that was read.
const REPLACE: &str = "#!lua\nlocal now = redis.call('GET', KEYS[1])\nif now == ARGV[1] then\n  \
                       redis.call('SET', KEYS[1], ARGV[2])\n  return ARGV[2]\nend\nreturn now\n";

/// The epoch that is there, if one is.
pub(crate) async fn current(link: &Link, prefix: &str) -> Result<Option<LogEpoch>, Failure> {
    let found: Option<String> = command(&link.quick, "GET", vec![keys::epoch(prefix).into()]).await?;
    found.map(|found| parse(&found)).transpose()
}

/// The epoch that a process works with, and where the one that all agree on is kept.
#[derive(Debug, Clone)]
pub(crate) struct EpochKey {
    key: String,
    epoch: LogEpoch,
}

impl EpochKey {
    pub(crate) fn new(prefix: &str, epoch: LogEpoch) -> Self {
        Self { key: keys::epoch(prefix), epoch }
    }

    /// Puts the epoch if there is none; returns the one that is there.
    pub(crate) async fn get_or_put(&self, link: &Link) -> Result<LogEpoch, Failure> {
        let (key, own) = (self.key.as_str(), self.epoch.to_string());
        command::<Value, _>(&link.quick, "SET", vec![key.into(), own.into(), "NX".into()]).await?;
        let found: Option<String> = command(&link.quick, "GET", vec![key.into()]).await?;
        parse(&found.unwrap_or_default())
    }

    /// Whether the epoch that is there, or was put just now, is this one.
    pub(crate) async fn hold(&self, link: &Link) -> Result<bool, Failure> {
        Ok(self.get_or_put(link).await? == self.epoch)
    }

    /// As [`hold`](Self::hold); another one is a failure.
    pub(crate) async fn insist(&self, link: &Link) -> Result<(), Failure> {
        self.expect(self.get_or_put(link).await?)
    }

    /// What was found has to be this one.
    pub(crate) fn expect(&self, found: LogEpoch) -> Result<(), Failure> {
        if found == self.epoch {
            return Ok(());
        }
        let own = self.epoch;
        let why = format!("log epoch {found} is in use, and this process works with {own}: it has to be started again");
        Err(Failure::Unavailable(why))
    }

    /// Puts another epoch in the place of this one, unless somebody else did; returns the one that is there then.
    pub(crate) async fn replace(&self, link: &Link, new: LogEpoch) -> Result<LogEpoch, Failure> {
        let arguments = vec![self.epoch.to_string(), new.to_string()];
        let eval = || link.quick.eval::<Option<String>, _, _, _>(REPLACE, self.key.as_str(), arguments.clone());
        match followed(eval).await? {
            Some(found) => parse(&found),
            // Redis was emptied meanwhile.
            None => Self { key: self.key.clone(), epoch: new }.get_or_put(link).await,
        }
    }
}

fn parse(text: &str) -> Result<LogEpoch, Failure> {
    let parsed = Ulid::from_string(text);
    parsed.map(LogEpoch).map_err(|_| Failure::Unavailable(format!("{text:?} where the log epoch should be")))
}
