//! Every interleaving within some bounds.

use std::time::Instant;

use nimbus_model::{Gateway, bounds::Bounds};
use stateright::{Checker, Model};

fn check(bounds: Bounds) {
    let began = Instant::now();
    let checker = Gateway::new(bounds).checker().threads(2).timeout(std::time::Duration::from_secs(12)).spawn_bfs().join();
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
        println!("{name}:");
        println!("{:?}", path.last_state());
        path.into_actions().iter().for_each(|action| println!("  {action:?}"));
    }
}

#[test]
fn each_bound() {
    for bounds in Bounds::TESTED { check(*bounds); }
}
