//! Process-level test builder.
