//! What is in force, and where it came from: the content of `nimbus config`.

use crate::{environment::Source, setting::Setting};

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// Which setting.
    pub setting: &'static Setting,
    /// Its value as people may see it; empty when it is not set and has no default.
    pub shown: String,
    /// Where it came from.
    pub source: Source,
}
