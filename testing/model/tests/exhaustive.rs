//! Every interleaving within some bounds.

use std::time::Instant;

use nimbus_model::{
    Gateway,
    bounds::{Bounds, Fault},
};
use stateright::{Checker, Model};

fn check(bounds: Bounds) {
    let began = Instant::now();
    let checker = Gateway::new(bounds).checker().threads(2).timeout(std::time::Duration::from_secs(15)).spawn_bfs().join();
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
        for (state, action) in path.into_vec() {
            println!("  {action:?}");
            if action.is_none() { println!("{state:#?}"); }
        }
    }
    checker.assert_properties();
}

#[test]
fn tiny() {
    let base = Bounds { name: "base", answers: [1, 1], kinds: &[Fault::Cut], faults: 0, batch: 2, page: 1, routers: 1, begun: true, acks: false, bookmarks: false };
    check(base);
    check(Bounds { name: "acks", acks: true, ..base });
    check(Bounds { name: "bookmarks", bookmarks: true, ..base });
    check(Bounds { name: "2 0", answers: [2, 0], ..base });
    check(Bounds { name: "2 1", answers: [2, 1], ..base });
    check(Bounds { name: "1 1 cut", faults: 1, ..base });
    check(Bounds { name: "1 1 lose late", kinds: &[Fault::Lose, Fault::Late, Fault::Repeat], faults: 1, ..base });
    check(Bounds { name: "1 1 wipe lag", kinds: &[Fault::Lag, Fault::Wipe], faults: 1, ..base });
}
