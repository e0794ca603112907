//! What an operator asks of a Redis before anything works on it.

use fred::{
    interfaces::{ClientLike as _, LuaInterface as _},
    types::{ClusterHash, CustomCommand, Value},
};
use nimbus_core::clock::UnixMillis;

use crate::{
    error::{Failure, RedisError},
    keys,
    store::RedisStore,
};

/// Writes nothing, and needs what all others need: that scripts with flags may run.
const TRY: &str = "#!lua flags=no-writes\nreturn 1\n";

impl RedisStore {
    /// One line for each primary: version, memory, persistence.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`] (retryable) and [`RedisError::Answer`].
    pub async fn summaries(&self) -> Result<Vec<String>, RedisError> {
        Ok(self.nodes().await?.iter().map(crate::checks::NodeInfo::summary).collect())
    }

    /// Loads every script, and runs one that does nothing. Returns how many there are.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`] (retryable) and [`RedisError::Answer`].
    pub async fn try_scripts(&self) -> Result<usize, RedisError> {
        self.load_and_run().await.map_err(RedisError::from)
    }

    async fn load_and_run(&self) -> Result<usize, Failure> {
        let client = &self.link.quick;
        let scripts = self.link.scripts.all();
        for script in &scripts {
            let hash: String = if self.link.cluster {
                client.script_load_cluster(script.text.as_str()).await?
            } else {
                client.script_load(script.text.as_str()).await?
            };
            if hash != script.hash {
                let name = script.name;
                return Err(Failure::Unavailable(format!("it took the script {name} for another one")));
            }
        }
        let key = keys::epoch(&self.config.key_prefix);
        let one: u64 = client.eval(TRY, key, Vec::<Value>::new()).await?;
        if one == 1 { Ok(scripts.len()) } else { Err(Failure::Unavailable(format!("a script said {one} for 1"))) }
    }

    /// What its clock shows; of a cluster, that of one node.
    ///
    /// # Errors
    /// [`RedisError::Unavailable`] (retryable) and [`RedisError::Answer`].
    pub async fn time(&self) -> Result<UnixMillis, RedisError> {
        let command = CustomCommand::new_static("TIME", ClusterHash::Random, false);
        let told: Result<Vec<u64>, _> = self.link.quick.custom(command, Vec::<Value>::new()).await;
        match told.map_err(Failure::from)?[..] {
            [seconds, micros] => Ok(UnixMillis(seconds * 1000 + micros / 1000)),
            _ => Err(RedisError::Answer("a time that is none".to_owned())),
        }
    }
}
