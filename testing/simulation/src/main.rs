//! Runs seeds.

fn main() {
    let seed: u64 = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let count: u64 = std::env::args().nth(2).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for seed in seed..seed + count {
        println!("{:?}", nimbus_simulation::run(seed, None, count == 1));
    }
}
