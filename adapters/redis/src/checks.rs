//! Whether Redis is set up so that what is put there stays there.

use std::collections::HashMap;

use fred::{
    clients::Client,
    interfaces::{ClientLike, ClusterInterface},
};

use crate::error::{Failure, Finding, RedisError};

/// Functions flags in scripts, sharded channels.
const OLDEST: (u32, u32) = (7, 0);

/// What one node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NodeInfo(HashMap<String, String>);

impl NodeInfo {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.trim().split_once(':'));
        Self(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether it takes writes.
    pub(crate) fn is_primary(&self) -> bool {
        self.get("role") == "master"
    }

    /// Which version it is, and what it does with what it is given.
    pub(crate) fn summary(&self) -> String {
        let maxmemory = match self.get("maxmemory") {
            "0" => "no maxmemory".to_owned(),
            bytes => format!("maxmemory {bytes} bytes with policy {}", self.get("maxmemory_policy")),
        };
        let file = if self.get("aof_enabled") == "1" { "an append-only file" } else { "no append-only file" };
        let (version, replicas) = (self.get("redis_version"), self.get("connected_slaves"));
        format!("version {version}, {maxmemory}, {file}, replicas: {replicas}")
    }

    /// Changes when the node takes over from another, or loses its memory of whom it copies.
    pub(crate) fn replication_id(&self) -> String {
        format!("{}/{}", self.get("run_id"), self.get("master_replid"))
    }

    /// What is not right with it, the fatal first.
    pub(crate) fn findings(&self, as_cluster: bool) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut add = |is_fatal, message: String, remedy: &str| {
            found.push(Finding { is_fatal, message, remedy: remedy.to_owned() });
        };
        let version = self.get("redis_version");
        let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
        if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST {
            add(true, format!("it is version {version}, and 7.0 is the oldest that will do"), "upgrade redis");
        }
        if !self.is_primary() {
            let message = format!("its role is {}, and only a primary takes writes", self.get("role"));
            add(true, message, "give the address of the primary");
        }
        let policy = self.get("maxmemory_policy");
        if self.get("maxmemory") != "0" && policy != "noeviction" {
            let message = format!("maxmemory-policy is {policy}: it would throw away mailboxes and who owns them");
            add(true, message, "run CONFIG SET maxmemory-policy noeviction, and put it into redis.conf");
        }
        match (self.get("cluster_enabled"), as_cluster) {
            ("1", false) => {
                add(true, "it is part of a cluster".to_owned(), "use redis-cluster:// or set the cluster flag")
            }
            ("0", true) => {
                add(true, "it is not part of a cluster".to_owned(), "use redis:// or clear the cluster flag")
            }
            _ => {}
        }
        if self.get("maxmemory") == "0" {
            let message = "maxmemory is not set: a full machine ends redis instead of refusing writes".to_owned();
            add(false, message, "set maxmemory below what the machine has, with the policy noeviction");
        }
        if self.get("aof_enabled") == "0" && self.get("connected_slaves") == "0" {
            let message = "it has neither an append-only file nor a replica: after a crash mailboxes are filled again from \
                           the results log, and resume tokens are forgotten";
            add(false, message.to_owned(), "set appendonly yes, or add a replica");
        }
        found
    }
}

/// What every primary says of itself.
pub(crate) async fn nodes(client: &Client, cluster: bool) -> Result<Vec<NodeInfo>, Failure> {
    if !cluster {
        return Ok(vec![NodeInfo::parse(&client.info::<String>(None).await?)]);
    }
    let routing = client.cached_cluster_state();
    let mut primaries = routing.map(|routing| routing.unique_primary_nodes()).unwrap_or_default();
    primaries.sort();
    let mut nodes = Vec::with_capacity(primaries.len());
    for primary in primaries {
        nodes.push(NodeInfo::parse(&client.with_cluster_node(primary).info::<String>(None).await?));
    }
    Ok(nodes)
}

/// Refuses a Redis that would lose what it is given.
pub(crate) fn refuse_unfit(nodes: &[NodeInfo], cluster: bool) -> Result<(), RedisError> {
    let mut found = nodes.iter().flat_map(|node| node.findings(cluster));
    match found.find(|finding| finding.is_fatal) {
        Some(finding) => Err(RedisError::Unfit(finding)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.2.4\r\nrole:master\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n\
                        cluster_enabled:0\r\naof_enabled:1\r\nmaster_replid:abc\r\nrun_id:r\r\nconnected_slaves:0\r\n";

    #[test]
    fn what_would_lose_mailboxes_is_refused_with_its_remedy() {
        let good = NodeInfo::parse(GOOD);
        assert!(refuse_unfit(std::slice::from_ref(&good), false).is_ok());
        assert_eq!(good.findings(false).len(), 1, "maxmemory only");
        let cases = [
            ("maxmemory:0", "maxmemory:100", "noeviction"),
            ("7.2.4", "6.2.1", "upgrade"),
            ("role:master", "role:slave", "primary"),
            ("cluster_enabled:0", "cluster_enabled:1", "redis-cluster://"),
        ];
        for (from, to, remedy) in cases {
            let bad = NodeInfo::parse(&GOOD.replace(from, to));
            let error = refuse_unfit(&[good.clone(), bad], false).unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
        let evicting = GOOD.replace("maxmemory:0", "maxmemory:9").replace("allkeys-lru", "noeviction");
        assert!(refuse_unfit(&[NodeInfo::parse(&evicting)], false).is_ok());
        assert!(refuse_unfit(&[good], true).is_err());
    }
}
