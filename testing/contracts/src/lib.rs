//! Contract suites: one for each port, run by every adapter.
