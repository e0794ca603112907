//! The `nimbus` binary.
fn main() {}
