//! Settings from the environment, validated all at once.
