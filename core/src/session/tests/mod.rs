//! The session against a simple world: what it must do with single inputs, and what must hold under random ones.

mod rules;
mod world;

use proptest::prelude::*;

use self::world::{Step, World};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_048, ..ProptestConfig::default() })]

    /// Under any interleaving: results come once, in order and within the client's credit; accepts never run ahead of
    /// the log; and once faults stop, everything outstanding arrives and a half-closed stream ends with OK.
    #[test]
    fn delivers_everything_once_in_order_within_credit(
        window in 1u32..6,
        queue in 1usize..5,
        steps in prop::collection::vec(any::<Step>(), 0..120),
    ) {
        let mut world = World::new(window, queue);
        for step in steps {
            world.step(step);
        }
        world.finish_without_faults();
    }
}
