//! Which of two sessions is the newer one: case by case, and against a model that knows in which order they opened.

use std::cmp::Ordering;

use proptest::{collection::vec, prelude::*};

use super::support::*;
use crate::{
    OutboxId, SessionId,
    mailbox::{FORMER_SESSIONS, Made, Rival, Tenure},
};

fn rival(tenure: &Tenure) -> Rival<'_> {
    Rival { numbered: None, tenure }
}

fn numbered(number: u8, session_no: u64, tenure: &Tenure) -> Rival<'_> {
    Rival { numbered: Some((outbox(number), session_no)), tenure }
}

/// Sessions that opened one after the other in one memory.
fn line<const N: usize>(ids: [u128; N]) -> [Tenure; N] {
    let mut last = None;
    ids.map(|id| {
        let next = Tenure::begin(session(id), last.as_ref());
        last = Some(next.clone());
        next
    })
}

#[test]
fn a_session_that_took_its_client_over_is_the_newer_one_whatever_the_ids_say() {
    // The clock of the first one's server was ahead.
    let [old, new] = line([9, 1]);
    assert_eq!(rival(&new).compare(&rival(&old)), Some(Ordering::Greater));
    assert!(!rival(&old).stays(&rival(&new)), "the memory went back to the older one");
    assert!(rival(&new).stays(&rival(&old)));
    assert!(!rival(&old.again(None)).stays(&rival(&new)), "the older one was claimed again first");
    assert!(rival(&new.again(None)).stays(&rival(&old)));
}

#[test]
fn the_clients_own_number_goes_before_what_a_mailbox_decided() {
    // A Hello that was delayed, and came to a mailbox that had just lost what would have refused it.
    let current = Tenure::begin(session(1), None);
    let delayed = Tenure::begin(session(2), None);
    assert!(!numbered(1, 6, &delayed).stays(&numbered(1, 7, &current)));
    assert!(numbered(1, 8, &delayed).stays(&numbered(1, 7, &current)));
    // Of another outbox a number says nothing.
    assert!(numbered(2, 6, &delayed).stays(&numbered(1, 7, &current)));
}

#[test]
fn a_session_that_opened_after_the_loss_is_newer_than_what_was_before_it() {
    let before = Tenure::begin(session(9), None);
    let after = Tenure::begin(session(1), None);
    assert!(rival(&after).stays(&rival(&before)));
    // Also where the memory went back a little, and not to nothing.
    let [first, lost] = line([5, 9]);
    let after = Tenure::begin(session(1), Some(&first));
    assert!(rival(&after).stays(&rival(&lost)));
}

#[test]
fn what_neither_of_two_memories_knows_is_left_to_the_ids() {
    let [one, two] = [Tenure::begin(session(1), None), Tenure::begin(session(2), None)];
    assert_eq!(rival(&one).compare(&rival(&two)), None);
    assert!(rival(&two.again(None)).stays(&rival(&one)));
    assert!(!rival(&one.again(None)).stays(&rival(&two)));
    assert!(rival(&Tenure::unknown(session(2), None)).stays(&rival(&one)));
    assert!(!rival(&Tenure::unknown(session(1), None)).stays(&rival(&two)));
}

#[test]
fn what_was_found_when_a_claim_was_made_again_is_known_from_then_on() {
    let [one, two] = [Tenure::begin(session(1), None), Tenure::begin(session(2), None)];
    let again = two.again(Some(&one.again(None)));
    assert_eq!((again.session, again.made, &again.former[..]), (session(2), Made::Again, &[session(1)][..]));
    assert_eq!(again.again(Some(&again)), again, "where nothing was lost, nothing changes");
    assert_eq!(two.again(Some(&two)), two, "it still opened in this memory");
}

#[test]
fn a_build_that_writes_no_tenure_hides_none_of_those_before() {
    let [old, new] = line([9, 1]);
    let theirs = Tenure::unknown(session(0), Some(&new));
    assert!(rival(&theirs).stays(&rival(&new)) && rival(&theirs).stays(&rival(&old)));
}

#[test]
fn as_many_are_remembered_as_is_said() {
    let all = line::<12>(std::array::from_fn(|at| at as u128));
    let last = &all[11];
    let former: Vec<_> = (11 - FORMER_SESSIONS as u128..11).rev().map(session).collect();
    assert_eq!(last.former, former);
    assert_eq!(last.again(Some(&all[10])).former, former);
}

const SERVERS: usize = 3;

#[derive(Debug, Clone)]
enum Op {
    /// A session opens: its id says nothing about when. `told`: the server of the one before hears of it.
    Open { server: usize, id: u8, outbox: u8, told: bool },
    /// A session ends, and gives its client up.
    Close { server: usize },
    /// This is what a copy knows.
    Copy,
    /// The copy takes over, or nothing is left. Losses at once are not promised anything: does nothing until all servers
    /// have claimed again.
    Lose { everything: bool },
    /// A server finds that something was lost.
    Again { server: usize, told: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let server = || 0..SERVERS;
    prop_oneof![
        3 => (server(), any::<u8>(), 0..3_u8, any::<bool>())
            .prop_map(|(server, id, outbox, told)| Op::Open { server, id, outbox, told }),
        1 => server().prop_map(|server| Op::Close { server }),
        1 => Just(Op::Copy),
        2 => any::<bool>().prop_map(|everything| Op::Lose { everything }),
        4 => (server(), any::<bool>()).prop_map(|(server, told)| Op::Again { server, told }),
    ]
}

/// A claim, as the mailbox or a server knows it.
#[derive(Debug, Clone)]
struct Known {
    tenure: Tenure,
    numbered: Option<(OutboxId, u64)>,
    is_held: bool,
}

impl Known {
    fn rival(&self) -> Rival<'_> {
        Rival { numbered: self.numbered, tenure: &self.tenure }
    }
}

#[derive(Debug, Default)]
struct Small {
    memory: Option<Known>,
    copy: Option<Known>,
    servers: [Option<Known>; SERVERS],
    has_to_claim: [bool; SERVERS],
    opened: u128,
    /// The session that opened last, if it has not ended.
    live: Option<SessionId>,
}

impl Small {
    fn take(&mut self, known: Known, told: bool) {
        let former = self.memory.replace(known.clone()).filter(|former| former.is_held);
        for held in self.servers.iter_mut().filter(|_| told) {
            let is_former =
                |held: &mut Known| former.as_ref().is_some_and(|it| it.tenure.session == held.tenure.session);
            held.take_if(|held| is_former(held) && held.tenure.session != known.tenure.session);
        }
    }

    fn run(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Open { server, id, outbox: number, told } if self.opened < FORMER_SESSIONS as u128 => {
                self.opened += 1;
                let id = session(u128::from(id) << 8 | self.opened);
                let tenure = Tenure::begin(id, self.memory.as_ref().map(|before| &before.tenure));
                let numbered = (number > 0).then(|| (outbox(number), self.opened as u64));
                let known = Known { tenure, numbered, is_held: true };
                self.take(known.clone(), told);
                self.servers[server] = Some(known);
                self.live = Some(id);
            }
            Op::Open { .. } => {}
            Op::Close { server } => {
                let Some(closed) = self.servers[server].take() else { return Ok(()) };
                self.live.take_if(|live| *live == closed.tenure.session);
                if let Some(memory) = self.memory.as_mut().filter(|it| it.tenure.session == closed.tenure.session) {
                    memory.is_held = false;
                }
            }
            Op::Copy => self.copy = self.memory.clone(),
            Op::Lose { everything } if self.has_to_claim == [false; SERVERS] => {
                self.has_to_claim = [true; SERVERS];
                if everything {
                    self.copy = None;
                }
                self.memory = self.copy.clone();
            }
            Op::Lose { .. } => {}
            Op::Again { server, told } if self.has_to_claim[server] => {
                self.has_to_claim[server] = false;
                let Some(held) = self.servers[server].clone() else { return Ok(()) };
                let before = self.memory.as_ref();
                if before.is_some_and(|before| before.is_held && before.rival().stays(&held.rival())) {
                    prop_assert_ne!(self.live, Some(held.tenure.session), "the live session was superseded");
                    self.servers[server] = None;
                    return Ok(());
                }
                let tenure = held.tenure.again(before.map(|before| &before.tenure));
                let again = Known { tenure, ..held };
                self.take(again.clone(), told);
                self.servers[server] = Some(again);
            }
            Op::Again { .. } => {}
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn the_session_that_opened_last_holds_its_client_after_every_loss(ops in vec(op(), 0..60)) {
        let mut small = Small::default();
        for op in ops {
            small.run(op)?;
        }
        for server in 0..SERVERS {
            small.run(Op::Again { server, told: false })?;
        }
        if let Some(live) = small.live {
            let holder = small.memory.as_ref().filter(|it| it.is_held).map(|it| it.tenure.session);
            prop_assert_eq!(holder, Some(live));
        }
    }
}
