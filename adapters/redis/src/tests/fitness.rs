//! fitness
