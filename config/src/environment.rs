//! Where settings come from: the process's environment, and a `.env` file beneath it.
//!
//! The real environment wins over the file, name by name. A value that is not UTF-8 is kept as such and reported, never a
//! panic. Only names that begin with `NIMBUS_` are looked at.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use crate::{problem::Problem, unknown::is_service_address};

/// What every name of ours begins with.
pub(crate) const PREFIX: &str = "NIMBUS_";

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The `.env` file.
    File,
    /// The process's environment.
    Environment,
}

impl Source {
    /// As people see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File => ".env",
            Self::Environment => "environment",
        }
    }
}

/// A value as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    NotUnicode,
}

/// The settings of one start, as text. Holds secrets, so `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, (Value, Source)>,
    problems: Vec<Problem>,
    service_addresses: Vec<String>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("names", &self.values.keys()).finish_non_exhaustive()
    }
}

impl Environment {
    /// The process's environment above the file `.env` in the working directory, if there is one. (Not in the directories
    /// above it: a setting that nobody sees is worse than none.)
    pub fn of_process() -> Self {
        Self::layered(std::env::vars_os(), Some(Path::new(".env")))
    }

    /// Exactly these pairs, for tests.
    pub fn of_pairs<K: Into<OsString>, V: Into<OsString>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::layered(pairs.into_iter().map(|(name, value)| (name.into(), value.into())), None)
    }

    /// `vars` above the file at `dotenv`. A file that is not there is no problem; one that cannot be read is.
    pub fn layered(vars: impl IntoIterator<Item = (OsString, OsString)>, dotenv: Option<&Path>) -> Self {
        let mut environment = Self::default();
        if let Some(path) = dotenv {
            environment.read_file(path);
        }
        for (name, value) in vars {
            // A name that is not UTF-8 is none of ours; replacement characters make it an unknown one.
            let name = name.to_string_lossy().into_owned();
            let value = value.into_string().map_or(Value::NotUnicode, Value::Text);
            environment.insert(name, value, Source::Environment);
        }
        environment
    }

    fn insert(&mut self, name: String, value: Value, source: Source) {
        if !name.starts_with(PREFIX) {
            return;
        }
        // Kubernetes gives every pod the addresses of its services: for one named `nimbus`, NIMBUS_PORT=tcp://….
        // Nobody chose that value, so what lies beneath it (the file, the default) stays.
        if let Value::Text(text) = &value
            && is_service_address(&name, text)
        {
            if crate::settings().any(|setting| setting.name == name) {
                self.service_addresses.push(name);
            }
            return;
        }
        self.values.insert(name, (value, source));
    }

    fn read_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        let text = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let remedy = "make it readable, or remove it".to_owned();
                return self.problems.push(Problem { name, wrong: format!("cannot be read: {error}"), remedy });
            }
        };
        let Ok(text) = String::from_utf8(text) else {
            let remedy = "save it as UTF-8 text".to_owned();
            return self.problems.push(Problem { name, wrong: "is not UTF-8".to_owned(), remedy });
        };
        let text = text.trim_start_matches('\u{feff}');
        for pair in dotenvy::from_read_iter(text.as_bytes()) {
            match pair {
                Ok((key, value)) => self.insert(key, Value::Text(value), Source::File),
                // The error holds the line, and the line may hold a secret: only its number is told.
                Err(error) => self.problems.push(Problem {
                    name: name.clone(),
                    wrong: match line_of(&error, text) {
                        Some(line) => format!("line {line} is not NAME=value"),
                        None => "a line is not NAME=value".to_owned(),
                    },
                    remedy: "write for example NIMBUS_PORT=50051, and put a value with spaces into 'quotes'".to_owned(),
                }),
            }
        }
    }

    /// The text values of these names, for envy.
    pub(crate) fn pairs<'a>(&'a self, names: &'a [&'a str]) -> impl Iterator<Item = (String, String)> + 'a {
        names.iter().filter_map(|name| match self.values.get(*name) {
            Some((Value::Text(text), _)) => Some(((*name).to_owned(), text.clone())),
            Some((Value::NotUnicode, _)) | None => None,
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&(Value, Source)> {
        self.values.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(crate) fn service_addresses(&self) -> &[String] {
        &self.service_addresses
    }
}

fn line_of(error: &dotenvy::Error, text: &str) -> Option<usize> {
    let dotenvy::Error::LineParse(broken, _) = error else { return None };
    let first = broken.lines().next()?.trim();
    text.lines().position(|line| line.trim() == first).map(|index| index + 1)
}

/// A path as a setting.
pub(crate) fn path(text: &str) -> Result<PathBuf, String> {
    if text.chars().any(char::is_control) {
        return Err("has a control character in it".to_owned());
    }
    Ok(PathBuf::from(text))
}
