//! Every interleaving within the bounds, and no promise broken in any state.
//!
//! `make model` sets `NIMBUS_MODEL=large` and checks the larger bounds too; the name of one of them checks
//! only that one.

use std::time::Instant;

use nimbus_model::{Gateway, bounds::Bounds};
use stateright::{Checker, Model};

fn check(bounds: Bounds) {
    let began = Instant::now();
    let checker = Gateway::new(bounds).checker().threads(2).spawn_bfs().join();
    println!(
        "{}: {} states, {} steps, depth {}, longest continuation {}, {:.1?}",
        bounds.name,
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        checker.model().memory.longest(),
        began.elapsed(),
    );
    for (name, path) in checker.discoveries() {
        println!("{name}, in {:#?}", path.last_state());
        path.into_actions().iter().for_each(|action| println!("  {action:?}"));
    }
    assert!(checker.is_done() && checker.discoveries().is_empty(), "{}: a promise was broken", bounds.name);
}

#[test]
fn every_state_within_the_bounds_keeps_every_promise() {
    let larger = std::env::var("NIMBUS_MODEL").unwrap_or_default();
    let is_asked_for = |bounds: &&Bounds| larger == "large" || larger == bounds.name;
    let asked_for: Vec<_> = Bounds::LARGE.iter().filter(is_asked_for).collect();
    // One that is asked for by its name is all that is checked.
    let usual = if larger.is_empty() || larger == "large" { Bounds::TESTED } else { &[] };
    assert!(
        !usual.is_empty() || !asked_for.is_empty(),
        "NIMBUS_MODEL is neither `large` nor the name of a larger bound"
    );
    usual.iter().chain(asked_for).for_each(|bounds| check(*bounds));
}
