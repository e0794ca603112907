//! Embedded backend: segment log, consumer groups and mailbox in one directory.
