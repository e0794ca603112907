//! Integration tests over the real binary, and the lint over crate dependencies.
