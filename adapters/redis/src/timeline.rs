//! When the partition was how far: the age limit of the mailbox without a scan.
//!
//! Offsets rise with time, so "waited too long" is a position: how far the partition was, one window ago. A few marks per
//! window say that closely enough; a record waits at most a sixteenth of the window longer than it must. Pure.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use nimbus_core::{Position, clock::UnixMillis};

use crate::codec::{Reader, Unreadable, Writer};

const VERSION: u8 = 1;
const WHAT: &str = "a partition's timeline";

/// How many marks lie within a window.
const MARKS: u32 = 16;

/// Marks, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Timeline(VecDeque<(UnixMillis, Position)>);

impl Timeline {
    /// Everything before `position` had been applied by `now`. Says whether that left a mark.
    pub(crate) fn note(&mut self, now: UnixMillis, position: Position, window: Duration) -> bool {
        let due = self.0.back().is_none_or(|(at, _)| now.since(*at) >= window / MARKS);
        if due {
            self.0.push_back((now, position));
        }
        due
    }

    /// What has waited for longer than the window lies before this; takes its marks away.
    pub(crate) fn expire(&mut self, now: UnixMillis, window: Duration) -> Option<Position> {
        let mut through = None;
        while let Some((at, position)) = self.0.front()
            && now.since(*at) > window
        {
            through = Some(*position);
            self.0.pop_front();
        }
        through
    }

    /// Where to cut when there is no room: the older half of what is marked past the floor, or everything up to `applied`.
    pub(crate) fn press(&mut self, floor: Position, applied: Position) -> Position {
        // Marks that an earlier shortage cut at are still there, and nothing waits before them any more.
        while self.0.front().is_some_and(|(_, position)| *position <= floor) {
            self.0.pop_front();
        }
        let half = self.0.len() / 2;
        let mut through = applied;
        for _ in 0..half {
            if let Some((_, position)) = self.0.pop_front() {
                through = position;
            }
        }
        if half == 0 {
            self.0.clear();
        }
        through
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::new(VERSION);
        out.number(self.0.len() as u64);
        for (at, position) in &self.0 {
            out.number(at.0);
            out.position(*position);
        }
        out.0.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader::open(WHAT, VERSION, bytes)?;
        let count = reader.count()?;
        let marks = (0..count).map(|_| Ok((UnixMillis(reader.number()?), reader.position()?)));
        let marks = marks.collect::<Result<_, Unreadable>>()?;
        reader.end()?;
        Ok(Self(marks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(160);

    #[test]
    fn nothing_leaves_early_and_nothing_much_later_than_the_window() {
        let mut timeline = Timeline::default();
        let mut floor = Position::START;
        for now in 0..2_000 {
            timeline.note(UnixMillis(now), Position(now + 1), WINDOW);
            floor = timeline.expire(UnixMillis(now), WINDOW).unwrap_or(floor);
            assert!(floor.0 <= (now + 1).saturating_sub(160), "{floor} at {now} is too early");
            assert!(now < 172 || floor.0 + 172 > now, "{floor} at {now} is late");
            assert!(timeline.0.len() <= 18);
            assert_eq!(Timeline::decode(&timeline.encode()), Ok(timeline.clone()));
        }
    }

    #[test]
    fn pressure_takes_half_and_at_last_everything() {
        let mut timeline = Timeline::default();
        for mark in 0..4_u64 {
            timeline.note(UnixMillis(mark * 10), Position(mark), WINDOW);
        }
        // What was pressed is not written back: the floor, which is, says how far it got.
        let mut floor = Position::START;
        let pressed = (0..5).map(|_| {
            floor = timeline.clone().press(floor, Position(100));
            floor.0
        });
        assert_eq!(pressed.collect::<Vec<_>>(), [1, 2, 100, 100, 100]);
    }
}
