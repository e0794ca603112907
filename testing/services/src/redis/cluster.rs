//! A Redis cluster without replicas: the nodes are introduced to one another, and each gets its share of the slots.

use crate::{Error, Redis, RedisOptions, Result, redis::wire, wait};

/// Every key belongs to one of so many slots.
const SLOTS: usize = 16_384;

const NAME: &str = "the Redis cluster";

/// The nodes of a cluster. Dropping it kills them.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    pub(super) fn start(count: usize) -> Result<Self> {
        let options = RedisOptions { cluster: true, ..RedisOptions::default() };
        let nodes: Vec<_> = (0..count).map(|_| Redis::start(options.clone())).collect::<Result<_>>()?;
        let cluster = Self { nodes };
        for (index, node) in cluster.nodes.iter().enumerate() {
            let (first, last) = (index * SLOTS / count, (index + 1) * SLOTS / count - 1);
            ask(node, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
            // Nodes that claim to be of the same age argue about it first.
            ask(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
        }
        if let Some((first, others)) = cluster.nodes.split_first() {
            for other in others {
                let [port, bus] = [other.ports.clients, other.ports.bus].map(|port| port.to_string());
                ask(first, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus])?;
            }
        }
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// The nodes, to be killed, paused and restarted one by one.
    pub fn nodes(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// `host:port` of every node, joined by commas.
    pub fn addresses(&self) -> String {
        self.nodes.iter().map(Redis::address).collect::<Vec<_>>().join(",")
    }

    fn wait_until_ready(&self) -> Result<()> {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        let is_ready = |info: &str| {
            let has = |wanted: &str| info.lines().any(|line| line.trim() == wanted);
            has("cluster_state:ok") && has("cluster_slots_ok:16384") && has(&known)
        };
        for node in &self.nodes {
            let ready = wait::until(wait::PATIENCE, || Ok(is_ready(&ask(node, &["CLUSTER", "INFO"])?).then_some(())))?;
            if ready.is_none() {
                let answer = ask(node, &["CLUSTER", "INFO"])?;
                return Err(Error::Answer {
                    name: NAME,
                    answer: format!("not ready within {:?}: {answer}", wait::PATIENCE),
                });
            }
        }
        Ok(())
    }
}

fn ask(node: &Redis, words: &[&str]) -> Result<String> {
    let answer = wire::ask(&node.address(), words, super::ANSWER_LIMIT);
    answer.map_err(|error| Error::Answer { name: NAME, answer: format!("{}: {error}", words.join(" ")) })
}
