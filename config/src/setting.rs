//! What the code knows about one environment variable: name, default, a right example, and how it may be shown.

/// One setting. Its meaning, unit and advice stand in `.env.example`, which a test holds against these.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// Full name of the environment variable.
    pub name: &'static str,
    /// The default as text; empty when there is none.
    pub default: &'static str,
    /// A right value, for error messages.
    pub example: &'static str,
    /// How its value may be shown.
    pub display: Display,
    /// Who reads it.
    pub scope: Scope,
}

/// How a value may be shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// As it is.
    Plain,
    /// Never, not even in part.
    Secret,
    /// Without the credentials that an address may carry (`scheme://user:password@host`).
    Address,
}

/// Who reads a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The server, in every mode.
    Server,
    /// `nimbus client` and `nimbus load`.
    Client,
    /// Distributed mode: checked and shown, but without effect in embedded mode.
    Distributed,
}

impl Setting {
    /// A setting of the server whose default is its best example.
    pub(crate) const fn new(name: &'static str, default: &'static str) -> Self {
        Self { name, default, example: default, display: Display::Plain, scope: Scope::Server }
    }

    pub(crate) const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    pub(crate) const fn display(self, display: Display) -> Self {
        Self { display, ..self }
    }

    pub(crate) const fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// `text` as people may see it.
    pub(crate) fn shown(&self, text: &str) -> String {
        match self.display {
            _ if text.is_empty() => String::new(),
            Display::Plain => text.to_owned(),
            Display::Secret => "(hidden)".to_owned(),
            Display::Address => without_credentials(text),
        }
    }
}

fn without_credentials(address: &str) -> String {
    // The last `@` ends the credentials: a password may contain one that nobody escaped.
    let Some((credentials, host)) = address.rsplit_once('@') else {
        return address.to_owned();
    };
    let scheme = credentials.split_once("://").map_or("", |(scheme, _)| scheme);
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}(hidden)@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_an_address_are_hidden_also_with_an_unescaped_at_sign() {
        assert_eq!(without_credentials("redis://u:p@ss@host:6379/1"), "redis://(hidden)@host:6379/1");
        assert_eq!(without_credentials("u:p@host:1"), "(hidden)@host:1");
        assert_eq!(without_credentials("host:1"), "host:1");
    }
}
