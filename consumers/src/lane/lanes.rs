//! Which lane a name belongs to, now and for the events of before. Pure.
//!
//! Each lane passes over what is the other's. When an executor changes lanes, is new, or is gone after a restart, the
//! lanes of before and of now can each have passed an event over, each for the other to answer: accepted and never
//! answered. So each lane notes in its commits which names were jobs. Finding other ones after a restart, it sees to what
//! is its own by the old notes *or* the new ones, for all events that were there at that moment. An event that both then
//! answer costs a copy, of which the first stands.
//!
//! What this leaves out: processes with different executors that share a log at the same time. A job whose executor only
//! some of them have is to be sent only once all of them have it.

use std::collections::BTreeSet;

use nimbus_core::{EventName, Lane, Offset, Position};

use super::varint;

/// The first byte of the notes: how the rest is written.
const LAYOUT: u8 = 1;

/// In its place when there is nothing to read.
const NO_NOTES: u8 = 0;

/// Longer notes are left out: the answered jobs need the room in a commit's metadata.
const MAX_BYTES: usize = 1_024;

/// A name, shortened. Two names that share it are only looked at more often than needed.
type Short = u32;

/// The names of the jobs lane.
type Jobs = BTreeSet<Short>;

/// Which names were jobs when the events before a position were read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Earlier {
    jobs: Jobs,
    until: Position,
}

/// Which names are jobs, and which were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lanes {
    now: Jobs,
    earlier: Vec<Earlier>,
}

/// What a predecessor's commit says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inherited<'a> {
    pub(super) lanes: Lanes,
    /// The names changed since. The caller finds out where the log ends now and calls [`Lanes::changed_at`].
    pub(super) noted: Option<Noted>,
    /// What follows the notes.
    pub(super) rest: &'a [u8],
}

/// The names that a predecessor noted, which are not today's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Noted(Jobs);

/// Notes that this code did not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the notes in a commit cannot be read")]
pub(super) struct UnknownNotes;

/// FNV-1a. Kept in commits: it must never change.
fn short(name: &str) -> Short {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ Short::from(byte)).wrapping_mul(0x0100_0193))
}

impl Lanes {
    /// These names are jobs, and always were.
    pub(super) fn new<'a>(jobs: impl IntoIterator<Item = &'a EventName>) -> Self {
        Self { now: jobs.into_iter().map(|name| short(name.as_str())).collect(), earlier: Vec::new() }
    }

    /// Takes over a predecessor's notes. No notes at all: there was none, or they were too long.
    ///
    /// # Errors
    /// [`UnknownNotes`]: they are of another make.
    pub(super) fn inherit(self, notes: &[u8]) -> Result<Inherited<'_>, UnknownNotes> {
        let (layout, mut rest) = notes.split_first().unwrap_or((&NO_NOTES, notes));
        match *layout {
            NO_NOTES => return Ok(Inherited { lanes: self, noted: None, rest }),
            LAYOUT => {}
            _ => return Err(UnknownNotes),
        }
        let noted = read_jobs(&mut rest)?;
        let mut earlier = Vec::new();
        for _ in 0..number(&mut rest)? {
            let until = Position(number(&mut rest)?);
            earlier.push(Earlier { jobs: read_jobs(&mut rest)?, until });
        }
        let noted = (noted != self.now).then_some(Noted(noted));
        Ok(Inherited { lanes: Self { earlier, ..self }, noted, rest })
    }

    /// The names changed, and the log ended at `end` at that moment: nobody can have passed over anything beyond.
    pub(super) fn changed_at(&mut self, noted: Noted, end: Position) {
        self.earlier.push(Earlier { jobs: noted.0, until: end });
    }

    /// Whether only today's names count.
    pub(super) fn is_settled(&self) -> bool {
        self.earlier.is_empty()
    }

    /// Whether the event was for `lane` to answer by the notes of before.
    pub(super) fn was(&self, lane: Lane, name: &EventName, offset: Offset) -> bool {
        let name = short(name.as_str());
        let lane_of = |jobs: &Jobs| if jobs.contains(&name) { Lane::Jobs } else { Lane::Ordered };
        self.earlier.iter().any(|earlier| earlier.until.covers(offset) && lane_of(&earlier.jobs) == lane)
    }

    /// Everything before `position` is finished: what only concerned that is forgotten.
    pub(super) fn finished(&mut self, position: Position) {
        self.earlier.retain(|earlier| earlier.until > position);
    }

    /// The notes for a commit.
    pub(super) fn notes(&self) -> Vec<u8> {
        let mut notes = vec![LAYOUT];
        write_jobs(&mut notes, &self.now);
        varint::write(&mut notes, self.earlier.len() as u64);
        for earlier in &self.earlier {
            varint::write(&mut notes, earlier.until.0);
            write_jobs(&mut notes, &earlier.jobs);
        }
        if notes.len() > MAX_BYTES { vec![NO_NOTES] } else { notes }
    }
}

fn number(from: &mut &[u8]) -> Result<u64, UnknownNotes> {
    varint::read(from).ok_or(UnknownNotes)
}

fn read_jobs(from: &mut &[u8]) -> Result<Jobs, UnknownNotes> {
    let mut jobs = Jobs::new();
    for _ in 0..number(from)? {
        let (short, rest) = from.split_first_chunk().ok_or(UnknownNotes)?;
        jobs.insert(Short::from_le_bytes(*short));
        *from = rest;
    }
    Ok(jobs)
}

fn write_jobs(into: &mut Vec<u8>, jobs: &Jobs) {
    varint::write(into, jobs.len() as u64);
    jobs.iter().for_each(|short| into.extend(short.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<EventName> {
        names.iter().map(|name| EventName::try_new(name).unwrap()).collect()
    }

    fn lanes(jobs: &[&str]) -> Lanes {
        Lanes::new(&names(jobs))
    }

    /// The next life, with these jobs, on a log that ends at `end`.
    fn reborn(lanes: &Lanes, jobs: &[&str], end: u64) -> Lanes {
        let notes = lanes.notes();
        let mut inherited = self::lanes(jobs).inherit(&notes).unwrap();
        if let Some(noted) = inherited.noted {
            inherited.lanes.changed_at(noted, Position(end));
        }
        inherited.lanes
    }

    fn was(lanes: &Lanes, lane: Lane, name: &str, offset: u64) -> bool {
        lanes.was(lane, &EventName::try_new(name).unwrap(), Offset(offset))
    }

    #[test]
    fn names_that_did_not_change_need_no_second_look() {
        let first = lanes(&["a", "b"]);
        assert!(reborn(&first, &["b", "a"], 10).is_settled());
        assert!(lanes(&["a"]).inherit(&[]).unwrap().noted.is_none(), "the first of all");
    }

    #[test]
    fn a_name_that_changed_lanes_stays_with_the_old_one_for_what_was_there() {
        let second = reborn(&lanes(&["a"]), &["b"], 10);
        assert!(was(&second, Lane::Jobs, "a", 9) && !was(&second, Lane::Jobs, "a", 10));
        assert!(was(&second, Lane::Ordered, "b", 9) && !was(&second, Lane::Ordered, "b", 10));
        assert!(!was(&second, Lane::Jobs, "b", 9) && !was(&second, Lane::Ordered, "a", 9));
    }

    #[test]
    fn a_second_change_before_the_first_is_worked_off_keeps_both() {
        let mut third = reborn(&reborn(&lanes(&["a"]), &["b"], 10), &[], 20);
        assert!(was(&third, Lane::Jobs, "a", 9) && !was(&third, Lane::Jobs, "a", 10));
        assert!(was(&third, Lane::Jobs, "b", 19) && !was(&third, Lane::Jobs, "b", 20));
        third.finished(Position(10));
        assert!(!was(&third, Lane::Jobs, "a", 9) && was(&third, Lane::Jobs, "b", 19));
        third.finished(Position(20));
        assert!(third.is_settled());
    }

    #[test]
    fn too_many_names_are_not_noted() {
        let many: Vec<EventName> = (0..300).map(|n| EventName::try_new(&format!("n{n}")).unwrap()).collect();
        let notes = Lanes::new(&many).notes();
        assert!(notes.len() <= MAX_BYTES);
        assert!(lanes(&[]).inherit(&notes).unwrap().noted.is_none());
    }

    proptest! {
        #[test]
        fn foreign_notes_never_panic(notes: Vec<u8>) {
            let read = lanes(&["a"]).inherit(&notes).is_ok();
            prop_assert!(read || !notes.is_empty());
        }

        #[test]
        fn notes_come_back_whole(sets in proptest::collection::vec(proptest::collection::btree_set(any::<u32>(), 0..8), 1..5), rest: Vec<u8>) {
            let (now, earlier) = sets.split_first().unwrap();
            let earlier = (1..).zip(earlier).map(|(n, jobs)| Earlier { jobs: jobs.clone(), until: Position(n * 1_000_000) });
            let lanes = Lanes { now: now.clone(), earlier: earlier.collect() };
            let notes = [lanes.notes(), rest.clone()].concat();
            let today = Lanes { now: now.clone(), earlier: Vec::new() };
            prop_assert_eq!(today.inherit(&notes).unwrap(), Inherited { lanes, noted: None, rest: &rest });
        }
    }
}
