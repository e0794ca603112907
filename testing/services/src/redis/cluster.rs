//! A Redis cluster.
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
    /// Those with slots first, then the replicas.
    nodes: Vec<Redis>,
    ids: Vec<String>,
    primaries: usize,
}

#[derive(Debug)]
struct Plan {
    id: String,
    ports: Ports,
    role: Role,
}

#[derive(Debug)]
enum Role {
    /// Has these slots.
    Primary { first: usize, last: usize },
    /// Copies the node of this number.
    Replica { of: usize },
}

impl RedisCluster {
    pub(super) fn start(count: usize, replicas: usize) -> Result<Self> {
        debug_assert!((1..=SLOTS).contains(&count), "every node needs a slot");
        debug_assert!(replicas <= count, "a node is copied by one more, not by several");
        let cluster = ports::retry(false, || Self::launch(count, replicas))?;
        cluster.wait_until_ready()?;
        cluster.nodes[count..].iter().try_for_each(Redis::wait_until_copied)?;
        Ok(cluster)
    }

    fn launch(count: usize, replicas: usize) -> Result<Self> {
        let primaries = (0..count).map(|index| Plan::primary(index, count));
        let plans: Vec<_> =
            primaries.chain((0..replicas).map(|of| Plan::make(Role::Replica { of }))).collect::<Result<_>>()?;
        let options = RedisOptions { cluster: true, ..RedisOptions::default() };
        let nodes = (0..plans.len()).map(|own| {
            let home = Home::open(None, "redis")?;
            let dir = data(&home);
            let written = fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join(NODES), nodes(&plans, own)));
            written.map_err(Error::io(format!("{} could not be written", dir.join(NODES).display())))?;
            let ports = plans[own].ports;
            let process = Some(launch(&options, ports, &home)?);
            Ok(Redis { options: options.clone(), ports, process, home })
        });
        let ids = plans.iter().map(|plan| plan.id.clone()).collect();
        Ok(Self { nodes: nodes.collect::<Result<_>>()?, ids, primaries: count })
    }

    /// In which slot a key is.
    ///
    /// # Errors
    /// No node answers.
    pub fn slot_of(&self, key: &str) -> Result<u16> {
        let slot = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", key])?;
        slot.parse().map_err(|error| Error::io(format!("{slot} is no slot"))(std::io::Error::other(error)))
    }

    /// On which node a slot began, and the next one with slots.
    pub fn way_of(&self, slot: u16) -> (usize, usize) {
        let count = self.primaries;
        let from = (0..count).rfind(|index| index * SLOTS / count <= usize::from(slot)).unwrap_or(0);
        (from, (from + 1) % count)
    }

    /// Begins to move a slot: from now on one node asks for what is not there any more at the other.
    ///
    /// # Errors
    /// A node refused.
    pub fn begin_to_move(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        let slot = slot.to_string();
        self.nodes[to].ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.ids[from]])?;
        self.nodes[from].ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.ids[to]]).map(|_| ())
    }

    /// Moves up to `most` keys of a slot whose move has begun. Returns how many moved.
    ///
    /// # Errors
    /// A node refused.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize, most: usize) -> Result<usize> {
        let found = self.nodes[from].ask(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), &most.to_string()])?;
        let keys: Vec<_> = found.lines().collect();
        if !keys.is_empty() {
            let port = self.nodes[to].ports.clients.to_string();
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(&keys);
            self.nodes[from].ask(&words)?;
        }
        Ok(keys.len())
    }

    /// Ends the move of a slot that has no keys any more at its former node: all others go to the new one.
    ///
    /// # Errors
    /// A node refused.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        for node in [to, from] {
            self.nodes[node].ask(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &self.ids[to]])?;
        }
        Ok(())
    }

    /// The nodes, those with slots first and then the replicas, to be killed, paused and restarted one by one. A restarted one answers at once, and takes commands two
    /// seconds later.
    pub fn nodes(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// As clients take it: the first node, and all others as more ways in.
    pub fn url(&self) -> String {
        let mut addresses = self.nodes.iter().map(Redis::address);
        let first = addresses.next().unwrap_or_default();
        format!(
            "redis-cluster://{first}?{}",
            addresses.map(|node| format!("node={node}")).collect::<Vec<_>>().join("&")
        )
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
    fn primary(index: usize, count: usize) -> Result<Self> {
        Self::make(Role::Primary { first: index * SLOTS / count, last: (index + 1) * SLOTS / count - 1 })
    }

    fn make(role: Role) -> Result<Self> {
        let id: [u8; 20] = rand::rng().random();
        let id = id.iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
        let [clients, bus, tls] = ports::free()?;
        let ports = Ports { clients, bus, tls };
        Ok(Self { id, ports, role })
    }
}

/// The file of the node `own`. Each node is of an epoch of its own, or they would have to agree on that first.
fn nodes(plans: &[Plan], own: usize) -> String {
    let mut text = String::new();
    for (index, Plan { id, ports: Ports { clients, bus, .. }, role }) in plans.iter().enumerate() {
        let myself = if index == own { "myself," } else { "" };
        let (role, epoch, slots) = match role {
            Role::Primary { first, last } => ("master -".to_owned(), index + 1, format!(" {first}-{last}")),
            Role::Replica { of } => (format!("slave {}", plans[*of].id), of + 1, String::new()),
        };
        writeln!(text, "{id} 127.0.0.1:{clients}@{bus} {myself}{role} 0 0 {epoch} connected{slots}")
            .expect("text takes any text");
    }
    text + &format!("vars currentEpoch {} lastVoteEpoch 0\n", plans.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_node() {
        let mut plans: Vec<_> = (0..3).map(|index| Plan::primary(index, 3).unwrap()).collect();
        let slots = |plan: &Plan| match plan.role {
            Role::Primary { first, last } => (first, last),
            Role::Replica { .. } => panic!("it has slots"),
        };
        assert_eq!((slots(&plans[0]).0, slots(&plans[2]).1), (0, SLOTS - 1));
        assert!(plans.windows(2).all(|pair| slots(&pair[0]).1 + 1 == slots(&pair[1]).0));
        plans.push(Plan::make(Role::Replica { of: 2 }).unwrap());
        let text = nodes(&plans, 1);
        assert!(text.lines().nth(3).unwrap().ends_with(&format!("slave {} 0 0 3 connected", plans[2].id)), "{text}");
        assert_eq!(text.matches("myself").count(), 1);
        assert!(text.lines().nth(1).unwrap().contains("myself,master - 0 0 2 connected 5461-10921"), "{text}");
    }
}
