//! Bugs are planted one at a time, and the checker has to find each.

use std::time::{Duration, Instant};

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
    let checker = gateway.checker().finish_when(HasDiscoveries::Any).timeout(Duration::from_secs(20)).spawn_bfs().join();
    let path = checker.discovery(only)?;
    let actions = path.into_actions();
    println!("{bug:?} ({}): {} steps, {} states, {:.1?}: {only}", bounds.name, actions.len(), checker.unique_state_count(), began.elapsed());
    if std::env::var_os("SHOW").is_some() { actions.iter().for_each(|action| println!("    {action:?}")); }
    Some(actions.len())
}

#[test]
fn each_is_found() {
    let bookmarks_lag = Bounds { name: "bookmarks, lag", kinds: &[Fault::Lag], ..Bounds::BOOKMARKS };
    let all = [
        (Bug::RegisterLast, Bounds::CALM, promise::NOTHING_SKIPPED),
        (Bug::ReadBeforeClaim, Bounds::CALM, promise::DELIVERS),
        (Bug::LiveWithoutHighestNotified, Bounds::CALM, promise::DELIVERS),
        (Bug::LiveWithoutHighestNotified, Bounds::CALM, promise::NOTHING_SKIPPED),
        (Bug::MissedWhileReadingForgotten, Bounds::BUS, promise::DELIVERS),
        (Bug::ReleaseWithoutCompare, Bounds::SESSIONS, promise::NO_STALE_WRITE),
        (Bug::ReleaseWithoutCompare, Bounds::SESSIONS, promise::DELIVERS),
        (Bug::OlderClaimsWin, Bounds::SESSIONS, promise::NEWEST_STAYS),
        (Bug::ApplyWithoutFence, Bounds::ZOMBIE, promise::NOTHING_SKIPPED),
        (Bug::ApplyWithoutFence, Bounds::ZOMBIE, promise::COMPLETE_MAILBOX),
        (Bug::ApplyWithoutFence, Bounds::CALM, promise::NO_STALE_WRITE),
        (Bug::RouterNeverLooks, Bounds::REDIS, promise::DELIVERS),
        (Bug::BrokenChainIgnored, Bounds { answers: [2, 0], ..Bounds::BUS }, promise::NOTHING_SKIPPED),
        (Bug::FirstOfAChainTrusted, Bounds { answers: [2, 0], ..Bounds::BUS }, promise::NOTHING_SKIPPED),
        (Bug::OverdueIgnored, Bounds::BUS, promise::DELIVERS),
        (Bug::BookmarkAheadOfChain, Bounds::BOOKMARKS, promise::NOTHING_SKIPPED),
        (Bug::NoReclaim, Bounds::REDIS, promise::DELIVERS),
        (Bug::ReclaimWithoutRead, Bounds::REDIS, promise::DELIVERS),
        (Bug::ReadBeforeReclaim, Bounds::REDIS, promise::DELIVERS),
        (Bug::ReplicationLearnedLate, Bounds::REDIS, promise::DELIVERS),
        (Bug::FloorsIgnored, Bounds::LOG, promise::NOTHING_SKIPPED),
        (Bug::SkipWithoutFloor, Bounds::LOG, promise::COMPLETE_MAILBOX),
        (Bug::NoGap, Bounds::LOG, promise::NOTHING_SKIPPED),
        (Bug::WholeServerTold, Bounds::CALM, promise::RIGHT_CLIENT),
        (Bug::SdkTakesEverything, Bounds::BUS, promise::ONCE),
        (Bug::ClaimBeforeRegister, bookmarks_lag, promise::NOTHING_SKIPPED),
    ];
    for (bug, bounds, only) in all {
        if depth(bug, bounds, only).is_none() { println!("{bug:?} ({}): NOT FOUND: {only}", bounds.name); }
    }
}
