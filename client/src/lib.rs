//! Rust SDK: connect, send, receive, resume.
