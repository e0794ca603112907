//! Executor runtime and router; knows ports only.
