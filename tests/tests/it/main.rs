//! Tests over the real binary, each with a server of its own.

mod admin;
mod bad_input;
mod bad_input_original;
mod cli;
mod cli_client;
mod crash;
mod disk;
mod distributed;
mod dlq;
mod ledger;
mod load_files;
mod logs;
mod many_streams;
mod original_clients;
mod sessions;
mod shutdown;
mod tls;
mod unary;
