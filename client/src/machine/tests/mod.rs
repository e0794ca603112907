//! The machine against a world that does everything it may do, in random order.

mod steps;
mod world;

use proptest::prelude::*;

use self::world::World;

#[derive(Debug, Clone, Copy)]
enum Step {
    Send,
    Receive(u8),
    Keep,
    Connect,
    Disconnect,
    Stale,
    Leave(u8),
    Arrive(u8),
    Time(u16),
    Take(u8),
    Reject,
    Accept(u8, bool),
    Execute(u8),
    Job(u8),
    Deliver(u8),
    Repeat(u8),
    Ping,
    Crash(u8),
    Forget(u8),
    Restore(u8),
    Away(u8),
}

fn common() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Send),
        6 => (1u8..6).prop_map(Step::Receive),
        3 => Just(Step::Keep),
        4 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Stale),
        6 => (1u8..10).prop_map(Step::Leave),
        6 => (1u8..10).prop_map(Step::Arrive),
        3 => (0u16..400).prop_map(Step::Time),
        6 => (1u8..10).prop_map(Step::Take),
        1 => Just(Step::Reject),
        5 => (1u8..6, prop::bool::weighted(0.8)).prop_map(|(count, tells)| Step::Accept(count, tells)),
        5 => (1u8..4).prop_map(Step::Execute),
        3 => any::<u8>().prop_map(Step::Job),
        6 => (1u8..6).prop_map(Step::Deliver),
        1 => any::<u8>().prop_map(Step::Repeat),
        1 => Just(Step::Ping),
        1 => (0u8..6).prop_map(Step::Crash),
    ]
}

fn with_losses() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => common(),
        1 => any::<u8>().prop_map(Step::Forget),
        1 => any::<u8>().prop_map(Step::Restore),
        1 => any::<u8>().prop_map(Step::Away),
        2 => Just(Step::Disconnect),
    ]
}

/// The process dies before it has kept its first Welcome, though its events were accepted and answered.
fn dies_young() -> Vec<Step> {
    use Step::{Accept, Arrive, Away, Connect, Execute, Leave, Send, Take};
    vec![Send, Send, Send, Connect, Arrive(1), Leave(9), Take(9), Accept(9, false), Execute(2), Away(6)]
}

fn run(world: &mut World, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Send => world.app_sends(),
            Step::Receive(count) => (0..count).for_each(|_| _ = world.app_receives()),
            Step::Keep => world.keep(None),
            Step::Connect => world.connect(),
            Step::Disconnect => world.disconnect(),
            Step::Stale => world.stale_frame_arrives(),
            Step::Leave(count) => world.frames_leave(count.into()),
            Step::Arrive(count) => world.frames_arrive(count.into()),
            Step::Time(ms) => world.time_passes(std::time::Duration::from_millis(ms.into())),
            Step::Take(count) => world.server_takes(count.into()),
            Step::Reject => world.server_rejects_next(),
            Step::Accept(count, tells) => world.server_accepts(count.into(), tells),
            Step::Execute(count) => (0..count).for_each(|_| _ = world.server_executes()),
            Step::Job(pick) => _ = world.server_finishes_job(pick.into()),
            Step::Deliver(count) => world.server_delivers(count.into()),
            Step::Repeat(pick) => world.server_repeats(pick.into()),
            Step::Ping => world.server_pings(),
            Step::Crash(written) => world.crash(written.into()),
            Step::Forget(pick) => world.server_forgets(pick.into()),
            Step::Away(pick) => world.client_stays_away(pick.into()),
            Step::Restore(pick) => world.server_is_restored(pick.into()),
        }
    }
    world.settle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_event_has_one_answer_in_order_whatever_the_connection_does(
        steps in prop::collection::vec(common(), 0..400),
        file in any::<bool>(),
    ) {
        run(&mut World::new(file), steps);
    }

    #[test]
    fn what_a_server_lost_is_told_and_everything_else_arrives(
        steps in prop::collection::vec(with_losses(), 0..400),
        file in any::<bool>(),
        dies in prop::bool::weighted(0.1),
    ) {
        let opening = if dies { dies_young() } else { Vec::new() };
        run(&mut World::new(file), [opening, steps].concat());
    }
}
