//! The scheduling of clients against a simple model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn client(number: u8) -> ClientId {
    ClientId::try_new(&format!("client-{number}")).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    /// An event of this client is appended to the log.
    Append(u8),
    /// The reader takes this many events.
    Read(usize),
    /// Runs are started until none is left.
    Start,
    /// The nth run ends.
    End(usize),
    /// The log is read again, this many events at most.
    Scan(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..4).prop_map(Step::Append),
        3 => (1usize..8).prop_map(Step::Read),
        3 => Just(Step::Start),
        4 => any::<usize>().prop_map(Step::End),
        4 => (1usize..6).prop_map(Step::Scan),
    ]
}

/// A log of client numbers, read by the code under test; what ran, by client.
#[derive(Debug)]
struct World {
    clients: Clients<u64>,
    log: Vec<u8>,
    read: u64,
    scan_at: Option<Position>,
    runs: Vec<(ClientId, usize, VecDeque<u64>)>,
    ran: BTreeMap<u8, Vec<u64>>,
    limit: usize,
}

impl World {
    fn apply(&mut self, step: Step) {
        match step {
            Step::Append(number) => self.log.push(number),
            Step::Read(events) => {
                for _ in 0..events {
                    let Some(number) = self.log.get(self.read as usize) else { break };
                    let id = client(*number);
                    let expected = if self.clients.would_take(&id) { Offered::Taken } else { Offered::Left };
                    assert_eq!(self.clients.offer(&id, Offset(self.read), |_| self.read), expected);
                    self.read += 1;
                }
            }
            Step::Start => {
                while let Some((id, queue)) = self.clients.start() {
                    assert!(self.runs.iter().all(|(running, ..)| *running != id), "two runs of {id}");
                    assert!(!queue.is_empty() && queue.len() <= self.limit);
                    let number = self.log[queue[0] as usize];
                    self.ran.entry(number).or_default().extend(&queue);
                    self.runs.push((id, queue.len(), queue));
                }
            }
            Step::End(nth) if !self.runs.is_empty() => {
                let (id, events, queue) = self.runs.swap_remove(nth % self.runs.len());
                self.clients.ended(&id, events, queue);
            }
            Step::End(_) => {}
            Step::Scan(events) => {
                let Some(from) = self.scan_at.or_else(|| self.clients.begin_scan()) else { return };
                let next = (from.0 + events as u64).min(self.read);
                for offset in from.0..next {
                    let number = self.log[offset as usize];
                    self.clients.offer_again(&client(number), Offset(offset), true, |_| offset);
                }
                let goes_on = self.clients.scanned(Position(next), Position(self.read));
                self.scan_at = goes_on.then_some(Position(next));
            }
        }
        self.check();
    }

    /// What ran is a prefix of the client's events, in order, and nothing that has not run lies before a parked position
    /// without being in hand.
    fn check(&self) {
        for (number, ran) in &self.ran {
            let all = (0..self.log.len() as u64).filter(|offset| self.log[*offset as usize] == *number);
            assert!(all.zip(ran).all(|(expected, ran)| expected == *ran), "client {number} ran {ran:?}");
        }
        let parked = self.clients.slots.values().filter(|slot| slot.parked.is_some()).count();
        assert_eq!(parked, self.clients.parked());
        assert!(self.clients.slots.values().all(|slot| slot.held <= self.limit));
    }
}

proptest! {
    /// Whatever the interleaving: a client's events run once, in order, one run at a time, and when everything that
    /// can happen has happened, all of them have run.
    #[test]
    fn every_event_runs_once_and_in_order(limit in 1usize..5, steps in proptest::collection::vec(step(), 0..150)) {
        let mut world = World {
            clients: Clients::new(limit),
            log: Vec::new(),
            read: 0,
            scan_at: None,
            runs: Vec::new(),
            ran: BTreeMap::new(),
            limit,
        };
        for step in steps {
            world.apply(step);
        }
        for _ in 0..1_000 {
            for step in [Step::Read(100), Step::Start, Step::End(0), Step::Scan(3)] {
                world.apply(step);
            }
        }
        let ran: usize = world.ran.values().map(Vec::len).sum();
        prop_assert_eq!(ran, world.log.len(), "not everything ran");
        prop_assert!(world.clients.is_empty(), "{:?}", world.clients);
    }
}

#[test]
fn a_parked_client_holds_the_commit_at_its_first_event_in_the_log() {
    let mut clients = Clients::new(2);
    for offset in 0..5 {
        clients.offer(&client(1), Offset(offset), |_| offset);
    }
    assert_eq!(clients.parked_from(), Some(Position(2)));
    assert_eq!(clients.begin_scan(), None, "it has no room yet");
    let (id, queue) = clients.start().unwrap();
    assert_eq!(queue, [0, 1]);
    clients.ended(&id, 2, queue);
    assert_eq!(clients.begin_scan(), Some(Position(2)));
    assert_eq!(clients.begin_scan(), None, "one reading at a time");
}
