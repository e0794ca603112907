//! A cluster of brokers that are its controllers as well.
//!
//! Most of them must run, or nothing is decided: with two of three gone the third one neither leads nor follows anything
//! new, and a node that is restarted is ready only when another one is there.

use super::{KafkaOptions, Seat, spawn, wire};
use crate::{Kafka, Result, home::Home, ports};

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
        ports::retry(false, || Self::launch(count))
    }

    fn launch(count: usize) -> Result<Self> {
        let options = KafkaOptions::default().heap_mib(HEAP_MIB).short_lived();
        let taken = (0..count).map(|_| ports::free()).collect::<Result<Vec<[u16; 2]>>>()?;
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
        for node in &mut nodes {
            let address = node.address();
            let knows_all = || wire::brokers(&address, wire::ANSWER_LIMIT).is_ok_and(|brokers| brokers.len() == count);
            if let Some(process) = &mut node.process {
                process.wait_until_ready(knows_all)?;
            }
        }
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
