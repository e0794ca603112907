//! Benchmarks: baselines measured in the same run as Nimbus.
