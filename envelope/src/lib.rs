//! Stored form of events and results: domain types to protobuf bytes and back.
