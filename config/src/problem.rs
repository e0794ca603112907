//! What is wrong with a configuration, in words that say what to do. Nothing here ever holds the value of a secret.

use std::fmt;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Full name of the variable, or the file's name.
    pub name: String,
    /// What is wrong, beginning in lower case.
    pub wrong: String,
    /// What to do; mostly a right value.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.name, self.wrong, self.remedy)
    }
}

/// Something odd that is no reason to refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Full name of the variable.
    pub name: String,
    /// What is odd, and what to do.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

/// Every problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// In the order of `.env.example`, then unknown names. Never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{count} configuration {noun}")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
