//! Bugs are planted one at a time, and the checker has to find each.

use std::time::Instant;

use nimbus_model::{
    Gateway,
    bounds::{Bounds, Fault},
    bug::Bug,
    continuation::Memory,
    promise,
};
use stateright::{Checker, HasDiscoveries, Model};

/// How many steps the shortest way to the broken promise takes.
fn depth(bug: Bug, bounds: Bounds, only: &'static str) -> Option<usize> {
    let began = Instant::now();
    let gateway = Gateway { bounds, bug: Some(bug), only: Some(only), memory: Memory::default() };
    let checker = gateway.checker().finish_when(HasDiscoveries::Any).target_state_count(1_500_000).spawn_bfs().join();
    let path = checker.discovery(only)?;
    let actions = path.into_actions();
    println!("{bug:?} ({}): {} steps, {} states, {:.1?}: {only}", bounds.name, actions.len(), checker.unique_state_count(), began.elapsed());
    if std::env::var_os("SHOW").is_some() { actions.iter().for_each(|action| println!("    {action:?}")); }
    Some(actions.len())
}

#[test]
fn each_is_found() {
    let all = [
        (Bug::SdkTakesEverything, Bounds { kinds: &[Fault::Wipe, Fault::Again], answers: [0, 1], faults: 2, ..Bounds::WIPE }, promise::ONCE),
        (Bug::BookmarkFromBeforeALoss, Bounds::BOOKMARKS_LAG, promise::NOTHING_SKIPPED),
        (Bug::NoReclaim, Bounds::LAG, promise::DELIVERS),
        (Bug::ReclaimWithoutRead, Bounds::LAG, promise::DELIVERS),
        (Bug::ReadBeforeReclaim, Bounds::LAG, promise::DELIVERS),
        (Bug::ReplicationLearnedLate, Bounds::LAG, promise::DELIVERS),
        (Bug::RouterNeverLooks, Bounds::LAG, promise::DELIVERS),
        (Bug::ApplyWithoutFence, Bounds { bookmarks: true, ..Bounds::ZOMBIE }, promise::NOTHING_SKIPPED),
        (Bug::NoGap, Bounds { answers: [0, 2], ..Bounds::LOG }, promise::NOTHING_SKIPPED),
    ];
    for (bug, bounds, only) in all {
        if depth(bug, bounds, only).is_none() { println!("{bug:?} ({}): NOT FOUND: {only}", bounds.name); }
    }
}
