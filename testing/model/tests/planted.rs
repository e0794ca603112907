//! Bugs are planted one at a time, and the checker has to find each by what it does to clients: a model that cannot fail proves
//! nothing.

use std::time::Instant;

use nimbus_model::{
    Gateway,
    bounds::{Bounds, Fault},
    bug::Bug,
    continuation::Memory,
    promise,
};
use stateright::{Checker, HasDiscoveries, Model};

/// How many steps the way to the broken promise takes, the shortest there is.
fn depth(bug: Bug, bounds: Bounds, only: &'static str) -> Option<usize> {
    let began = Instant::now();
    let gateway = Gateway { bounds, bug: Some(bug), only: Some(only), memory: Memory::default() };
    let checker = gateway.checker().finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let steps = checker.discovery(only).map(|path| path.into_actions().len());
    let states = checker.unique_state_count();
    println!("{bug:?}, {}: {steps:?} steps, {states} states, {:.1?}: {only}", bounds.name, began.elapsed());
    steps
}

fn found(bug: Bug, bounds: Bounds, promises: &[&'static str]) {
    for only in promises {
        assert!(depth(bug, bounds, only).is_some(), "{bug:?} does not break \"{only}\"");
    }
}

const DELIVERS: &[&str] = &[promise::DELIVERS];
const SKIPPED: &[&str] = &[promise::NOTHING_SKIPPED];

#[test]
fn the_order_of_an_opening() {
    found(Bug::RegisterLast, Bounds::CALM, DELIVERS);
    found(Bug::ReadBeforeClaim, Bounds::CALM, DELIVERS);
    found(Bug::LiveWithoutHighestNotified, Bounds::CALM, DELIVERS);
    found(Bug::LiveWithoutHighestNotified, Bounds { answers: [2, 0], ..Bounds::CALM }, SKIPPED);
}

/// What counts is that both come before the read: then whatever was told in between is read.
#[test]
fn a_claim_before_the_registration_harms_nobody_as_long_as_the_read_comes_last() {
    for bounds in [Bounds::CALM, Bounds::LAG, Bounds { faults: 1, ..Bounds::RECONNECTS }] {
        let gateway = Gateway { bug: Some(Bug::ClaimBeforeRegister), ..Gateway::new(bounds) };
        let checker = gateway.checker().spawn_bfs().join();
        assert!(checker.discoveries().is_empty(), "{}", bounds.name);
    }
}

#[test]
fn ownership() {
    found(Bug::ReleaseWithoutCompare, Bounds::SESSIONS, &[promise::NO_STALE_WRITE, promise::DELIVERS]);
    found(Bug::OlderClaimsWin, Bounds::SESSIONS, &[promise::NEWEST_STAYS]);
}

#[test]
fn the_fence_of_apply() {
    found(Bug::ApplyWithoutFence, Bounds::ZOMBIE, &[promise::NO_STALE_WRITE, promise::COMPLETE_MAILBOX]);
    let resumed = Bounds { answers: [2, 0], ..Bounds::LAG };
    found(Bug::ApplyWithoutFence, resumed, SKIPPED);
}

#[test]
fn notifications() {
    let two = Bounds { answers: [0, 2], alone: true, ..Bounds::BUS };
    found(Bug::BrokenChainIgnored, two, SKIPPED);
    found(Bug::FirstOfAChainTrusted, two, SKIPPED);
    found(Bug::OverdueIgnored, Bounds::BUS, DELIVERS);
    found(Bug::MissedWhileReadingForgotten, Bounds::BUS, DELIVERS);
    found(Bug::BookmarkAheadOfChain, Bounds::BOOKMARKS, SKIPPED);
    found(Bug::WholeServerTold, Bounds::CALM, &[promise::RIGHT_CLIENT]);
}

#[test]
fn a_redis_that_lost_something() {
    for bounds in [Bounds::LAG, Bounds::WIPE] {
        found(Bug::NoReclaim, bounds, DELIVERS);
        found(Bug::ReclaimWithoutRead, bounds, DELIVERS);
        found(Bug::ReadBeforeReclaim, bounds, DELIVERS);
        found(Bug::RouterNeverLooks, bounds, DELIVERS);
    }
    found(Bug::ReplicationLearnedLate, Bounds::LAG, DELIVERS);
    found(Bug::ChannelKeptOverALoss, Bounds::BOOKMARKS_LAG_CUT, SKIPPED);
    found(Bug::ReadOfAnUnknownRedis, Bounds::BOOKMARKS_LAG_CUT, SKIPPED);
    found(Bug::BookmarkFromBeforeALoss, Bounds::BOOKMARKS_LAG, SKIPPED);
    let again = Bounds { kinds: &[Fault::Wipe, Fault::Again], answers: [0, 1], faults: 2, alone: true, ..Bounds::WIPE };
    found(Bug::SdkTakesEverything, again, &[promise::ONCE]);
}

#[test]
fn floors_and_gaps() {
    found(Bug::FloorsIgnored, Bounds::LOG, DELIVERS);
    found(Bug::SkipWithoutFloor, Bounds::LOG, &[promise::COMPLETE_MAILBOX]);
    found(Bug::SkipUncounted, Bounds::BOOKMARKS_RETENTION, SKIPPED);
    found(Bug::NoGap, Bounds { answers: [0, 2], alone: true, ..Bounds::LOG }, SKIPPED);
}
