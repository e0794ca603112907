//! A cluster of brokers that are its controllers as well.
//!
//! Most of them must run, or nothing is decided: with two of three gone the third one neither leads nor follows anything
//! new, and a node that is restarted is ready only when another one is there.

use super::{KafkaOptions, Seat, serves, spawn};
use crate::{Kafka, Result, home::Home, ports, process::wait_until_ready};

/// Three of them share the machine of one. They serve a test, not a company.
const HEAP_MIB: u32 = 256;

/// The nodes of a cluster. Dropping it kills them.
#[derive(Debug)]
pub struct KafkaCluster {
    nodes: Vec<Kafka>,
}

impl KafkaCluster {
    pub(super) fn start(count: usize) -> Result<Self> {
        debug_assert!(count > 0, "a cluster has nodes");
        ports::retry(false, || {
            let taken = (0..count).map(|_| ports::free()).collect::<Result<Vec<[u16; 2]>>>()?;
            Self::launch(&taken)
        })
    }

    fn launch(taken: &[[u16; 2]]) -> Result<Self> {
        let options = KafkaOptions::default().heap_mib(HEAP_MIB).short_lived();
        let controllers: Vec<_> = taken.iter().map(|[_, controller]| *controller).collect();
        let nodes = taken.iter().enumerate().map(|(own, [broker, _])| {
            let seat = Seat { own, broker: *broker, secured: None, controllers: controllers.clone() };
            Ok(Kafka { options: options.clone(), seat, process: None, home: Home::open(None, "kafka")? })
        });
        let mut nodes = nodes.collect::<Result<Vec<_>>>()?;
        // All of them before the first is waited for: none serves alone.
        for node in &mut nodes {
            node.process = Some(spawn(&node.options, &node.seat, &node.home)?);
        }
        let addresses: Vec<_> = nodes.iter().map(Kafka::address).collect();
        let mut processes: Vec<_> = nodes.iter_mut().filter_map(|node| node.process.as_mut()).collect();
        // Together, not in turn: a node that has ended is an answer of its own, whichever would be waited for.
        wait_until_ready(&mut processes, |processes| {
            let knows_all = |brokers: &[u16]| brokers.len() == addresses.len();
            processes.iter().zip(&addresses).all(|(process, address)| serves(process, address, knows_all))
        })?;
        Ok(Self { nodes })
    }

    /// The nodes, to be killed, paused and restarted one by one.
    pub fn nodes(&mut self) -> &mut [Kafka] {
        &mut self.nodes
    }

    /// `host:port` of every node, joined by commas. The same over restarts.
    pub fn addresses(&self) -> String {
        self.nodes.iter().map(Kafka::address).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, kafka};

    #[test]
    fn a_node_whose_port_was_taken_is_told_from_a_slow_one() {
        if let Err(error) = kafka::prepare() {
            return crate::shared::skip(&format!("needs Kafka: {error}"));
        }
        let [broker, first, second, other, third] = ports::free().unwrap();
        let failed = KafkaCluster::launch(&[[broker, first], [broker, second], [other, third]]).map(|_| ());
        let Err(Error::Ended { log, .. }) = failed else { panic!("{failed:?}") };
        assert!(log.contains("Address already in use"), "{log}");
    }
}
