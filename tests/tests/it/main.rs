//! Tests over the real binary, each with a server of its own.

mod admin;
mod bad_input;
mod bad_input_original;
mod many_streams;
mod sessions;
mod unary;
