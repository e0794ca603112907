//! What happens if nothing goes wrong any more: liveness, as something that must hold in every state.
//!
//! From a state the continuation always takes the first step, in the order of [`crate::action::ordinary`], that changes anything,
//! until none does. It is deterministic, so the continuations of all states form a forest; each state's distance to its
//! end is worked out once and kept.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ahash::RandomState;

use crate::{Gateway, action, world::World};

/// Steps after which a continuation counts as one that never ends.
pub const MOST_STEPS: u8 = 200;

/// Locks for the memory, so that the checker's threads seldom meet.
const SHARDS: usize = 64;

/// How a continuation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything is delivered, after so many steps.
    Delivered(u8),
    /// It came to rest, or not within [`MOST_STEPS`], and something is not delivered.
    Stuck,
}

impl End {
    const fn one_step_earlier(self) -> Self {
        match self {
            Self::Delivered(steps) if steps < MOST_STEPS => Self::Delivered(steps + 1),
            Self::Delivered(_) | Self::Stuck => Self::Stuck,
        }
    }
}

/// What is known of continuations, by the state that they begin with.
#[derive(Debug)]
pub struct Memory(Vec<Mutex<HashMap<u64, End>>>);

impl Default for Memory {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl Memory {
    fn shard(&self, key: u64) -> MutexGuard<'_, HashMap<u64, End>> {
        self.0[key as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: u64) -> Option<End> {
        self.shard(key).get(&key).copied()
    }

    /// The longest of all that end well.
    pub fn longest(&self) -> u8 {
        let all = self.0.iter().flat_map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().copied().collect::<Vec<_>>()
        });
        all.filter_map(|end| if let End::Delivered(steps) = end { Some(steps) } else { None }).max().unwrap_or(0)
    }
}

fn key(world: &World) -> u64 {
    RandomState::with_seeds(1, 2, 3, 4).hash_one(world)
}

/// The first step that changes anything, and where it leads.
pub fn next(gateway: &Gateway, world: &World) -> Option<(action::Action, World)> {
    let mut actions = Vec::new();
    action::ordinary(world, &gateway.bounds, gateway.bug, &mut actions);
    actions.into_iter().find_map(|action| {
        let mut next = world.clone();
        crate::step::step(&mut next, action, &gateway.bounds, gateway.bug);
        (next != *world).then_some((action, next))
    })
}

/// How the continuation of a state ends.
pub fn end(gateway: &Gateway, world: &World) -> End {
    let mut passed = vec![key(world)];
    if let Some(known) = gateway.memory.get(passed[0]) {
        return known;
    }
    let mut here = None;
    let mut end = loop {
        match next(gateway, here.as_ref().unwrap_or(world)) {
            None => {
                break if here.as_ref().unwrap_or(world).is_settled(&gateway.bounds) {
                    End::Delivered(0)
                } else {
                    End::Stuck
                };
            }
            Some(_) if passed.len() > MOST_STEPS as usize => break End::Stuck,
            Some((_, next)) => {
                let key = key(&next);
                if let Some(known) = gateway.memory.get(key) {
                    break known.one_step_earlier();
                }
                passed.push(key);
                here = Some(next);
            }
        }
    };
    // The last one that was passed is the one whose end is known.
    while let Some(key) = passed.pop() {
        gateway.memory.shard(key).insert(key, end);
        if !passed.is_empty() {
            end = end.one_step_earlier();
        }
    }
    end
}
