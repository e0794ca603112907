//! Logs, metrics registry and the admin HTTP endpoint.
