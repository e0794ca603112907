//! A worker's share of its lane's gauges.

use crate::metrics::LaneMeters;

/// This worker's share of the lane's gauges; given back when it ends, in whatever way.
pub(super) struct Gauges {
    meters: LaneMeters,
    in_hand: usize,
    parked: usize,
}

impl Gauges {
    pub(super) fn new(meters: LaneMeters) -> Self {
        Self { meters, in_hand: 0, parked: 0 }
    }

    pub(super) fn set(&mut self, in_hand: usize, parked: usize) {
        if in_hand != self.in_hand {
            self.meters.in_hand.inc_by(difference(in_hand, self.in_hand));
            self.in_hand = in_hand;
        }
        if parked != self.parked {
            self.meters.parked.inc_by(difference(parked, self.parked));
            self.parked = parked;
        }
    }
}

fn difference(now: usize, before: usize) -> i64 {
    let signed = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    signed(now) - signed(before)
}

impl Drop for Gauges {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}
