//! gRPC edge: streams to sessions; knows ports only.
