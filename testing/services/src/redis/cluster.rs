//! A Redis cluster without replicas.
//!
//! Each node begins with a file that says who the others are and which slots each has, as a restarted node does. Introducing
//! them to one another (CLUSTER MEET) would leave it to gossip when all know all: two seconds mostly, a minute now and then.

use std::{fmt::Write as _, fs};

use rand::RngExt as _;

use super::{NAME, Ports, data, launch, wire};
use crate::{Error, Redis, RedisOptions, Result, home::Home, ports, wait};

/// Every key belongs to one of so many slots.
const SLOTS: usize = 16_384;

/// Where a node keeps what it knows of the cluster. Redis' own default.
pub(super) const NODES: &str = "nodes.conf";

/// The nodes of a cluster. Dropping it kills them.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

#[derive(Debug)]
struct Plan {
    id: String,
    ports: Ports,
    first: usize,
    last: usize,
}

impl RedisCluster {
    pub(super) fn start(count: usize) -> Result<Self> {
        debug_assert!((1..=SLOTS).contains(&count), "every node needs a slot");
        let cluster = ports::retry(false, || Self::launch(count))?;
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    fn launch(count: usize) -> Result<Self> {
        let plans: Vec<_> = (0..count).map(|index| Plan::make(index, count)).collect::<Result<_>>()?;
        let options = RedisOptions { cluster: true, ..RedisOptions::default() };
        let nodes = (0..count).map(|own| {
            let home = Home::open(None, "redis")?;
            let dir = data(&home);
            let written = fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join(NODES), nodes(&plans, own)));
            written.map_err(Error::io(format!("{} could not be written", dir.join(NODES).display())))?;
            let ports = plans[own].ports;
            let process = Some(launch(&options, ports, &home)?);
            Ok(Redis { options: options.clone(), ports, process, home })
        });
        Ok(Self { nodes: nodes.collect::<Result<_>>()? })
    }

    /// The nodes, to be killed, paused and restarted one by one. A restarted one answers at once, and takes commands two
    /// seconds later.
    pub fn nodes(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// `host:port` of every node, joined by commas.
    pub fn addresses(&self) -> String {
        self.nodes.iter().map(Redis::address).collect::<Vec<_>>().join(",")
    }

    /// A node takes commands two seconds after its start, when it has heard of the others.
    fn wait_until_ready(&self) -> Result<()> {
        for node in &self.nodes {
            let info = || {
                wire::ask(&node.address(), &["CLUSTER", "INFO"], super::ANSWER_LIMIT)
                    .map_err(Error::io("a node of the Redis cluster does not answer"))
            };
            let ready = wait::until(wait::PATIENCE, || Ok(info()?.contains("cluster_state:ok").then_some(())))?;
            if ready.is_none() {
                return Err(Error::TooSlow {
                    name: NAME,
                    what: "join the cluster",
                    limit: wait::PATIENCE,
                    log: info()?,
                });
            }
        }
        Ok(())
    }
}

impl Plan {
    fn make(index: usize, count: usize) -> Result<Self> {
        let id: [u8; 20] = rand::rng().random();
        let id = id.iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
        let [clients, bus, tls] = ports::free()?;
        let ports = Ports { clients, bus, tls };
        Ok(Self { id, ports, first: index * SLOTS / count, last: (index + 1) * SLOTS / count - 1 })
    }
}

/// The file of the node `own`. Each node is of an epoch of its own, or they would have to agree on that first.
fn nodes(plans: &[Plan], own: usize) -> String {
    let mut text = String::new();
    for (index, Plan { id, ports: Ports { clients, bus, .. }, first, last }) in plans.iter().enumerate() {
        let myself = if index == own { "myself," } else { "" };
        let epoch = index + 1;
        writeln!(text, "{id} 127.0.0.1:{clients}@{bus} {myself}master - 0 0 {epoch} connected {first}-{last}")
            .expect("text takes any text");
    }
    text + &format!("vars currentEpoch {} lastVoteEpoch 0\n", plans.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_node() {
        let plans: Vec<_> = (0..3).map(|index| Plan::make(index, 3).unwrap()).collect();
        assert_eq!((plans[0].first, plans[2].last), (0, SLOTS - 1));
        assert!(plans.windows(2).all(|pair| pair[0].last + 1 == pair[1].first));
        let text = nodes(&plans, 1);
        assert_eq!(text.matches("myself").count(), 1);
        assert!(text.lines().nth(1).unwrap().contains("myself,master - 0 0 2 connected 5461-10921"), "{text}");
    }
}
