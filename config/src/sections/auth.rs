//! Static tokens: which principal shows which token, and which client ids it may use.
//!
//! One grammar for the variable and the file: an entry is `principal token pattern…`, separated by spaces; entries are
//! separated by `;` or a line break; `#` begins a comment line. A pattern is a client id, or the beginning of one and `*`.

use std::{collections::HashSet, fmt, fs};

use nimbus_core::{ClientId, PrincipalId};

use super::{listen, listen::ListenConfig, raw_section, tls};
use crate::{Setting, environment, reading::Reading, setting::Display};

/// No tokens: then only a loopback listener is allowed.
pub(crate) const TOKENS: Setting = Setting::new("NIMBUS_AUTH_TOKENS", "")
    .example("'alice a-long-random-token phone-* tablet-7'")
    .display(Display::Secret);
/// No file.
pub(crate) const TOKENS_FILE: Setting =
    Setting::new("NIMBUS_AUTH_TOKENS_FILE", "").example("/run/secrets/nimbus-tokens");

raw_section!(RawAuth, "NIMBUS_AUTH_", { tokens: TOKENS, tokens_file: TOKENS_FILE });

/// Shorter tokens can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// Text that never appears in a log: `Debug` hides it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Which client ids a principal may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientPattern {
    /// This one.
    Exact(ClientId),
    /// Every one that begins like this; empty means every one.
    Prefix(String),
}

impl ClientPattern {
    /// Whether a client id fits.
    pub fn matches(&self, client: &ClientId) -> bool {
        match self {
            Self::Exact(id) => id == client,
            Self::Prefix(prefix) => client.as_str().starts_with(prefix),
        }
    }
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticToken {
    /// Who shows it.
    pub principal: PrincipalId,
    /// What is shown.
    pub token: Secret,
    /// What it is good for. Not empty.
    pub clients: Vec<ClientPattern>,
}

/// Who may use which client ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthConfig {
    /// Every token. Empty: any caller may use any client id.
    pub tokens: Vec<StaticToken>,
}

impl AuthConfig {
    pub(crate) fn read(reading: &mut Reading<'_>, listen: &ListenConfig, is_encrypted: bool) -> Self {
        let raw = RawAuth::read(reading.environment());
        let both = raw.tokens.is_some() && raw.tokens_file.is_some();
        let from_variable = reading.optional(&TOKENS, raw.tokens, tokens);
        let from_file = reading.optional(&TOKENS_FILE, raw.tokens_file, |path| {
            let path = environment::path(path)?;
            let text = fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
            tokens(&text).map_err(|wrong| format!("is a file in which {wrong}"))
        });
        // A secret that was not filled in must not pass for "no tokens wanted".
        reading.refuse_empty(&[&TOKENS, &TOKENS_FILE]);
        if both && reading.are_sound(&[&TOKENS, &TOKENS_FILE]) {
            let remedy = "keep one of the two".to_owned();
            reading.problem_with_remedy(&TOKENS, format!("is set, and so is {}", TOKENS_FILE.name), remedy);
        }
        let auth = Self { tokens: from_variable.or(from_file).unwrap_or_default() };
        auth.check_exposure(reading, listen, is_encrypted);
        auth
    }

    fn check_exposure(&self, reading: &mut Reading<'_>, listen: &ListenConfig, is_encrypted: bool) {
        if listen.address.ip().is_loopback() || !reading.are_sound(&[&TOKENS, &TOKENS_FILE, &listen::INSECURE]) {
            return;
        }
        let address = listen.address.ip();
        match (self.tokens.is_empty(), listen.insecure) {
            (true, false) => reading.problem_with_remedy(
                &listen::LISTEN_ADDR,
                format!("\"{address}\" can be reached from other machines, where anyone could take any client id"),
                format!(
                    "set {} (or {}), or listen on 127.0.0.1, or say {}=true if that is what you want",
                    TOKENS.name,
                    TOKENS_FILE.name,
                    listen::INSECURE.name
                ),
            ),
            (true, true) => reading.warn(
                listen::INSECURE.name,
                "any caller may take any client id, from any machine that reaches this one",
            ),
            (false, _) if is_encrypted => {}
            (false, _) => reading.warn(
                listen::LISTEN_ADDR.name,
                format!(
                    "tokens and payloads cross the network unencrypted: set {} and {}, or put a proxy that speaks TLS in front",
                    tls::CERT_FILE.name,
                    tls::KEY_FILE.name
                ),
            ),
        }
    }
}

fn tokens(text: &str) -> Result<Vec<StaticToken>, String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let entries = lines.flat_map(|line| line.split(';')).map(str::trim).filter(|entry| !entry.is_empty());
    let mut seen = HashSet::new();
    let mut tokens = Vec::new();
    for (index, entry) in entries.enumerate() {
        let token = token(entry).map_err(|wrong| format!("entry {} {wrong}", index + 1))?;
        if !seen.insert(token.token.clone()) {
            return Err(format!("entry {} repeats the token of another entry", index + 1));
        }
        tokens.push(token);
    }
    if tokens.is_empty() { Err("there is no entry".to_owned()) } else { Ok(tokens) }
}

fn token(entry: &str) -> Result<StaticToken, String> {
    let mut words = entry.split_whitespace();
    let (Some(principal), Some(token)) = (words.next(), words.next()) else {
        return Err("is not `principal token pattern…`".to_owned());
    };
    // Words may stand in the wrong order, so no word of an entry is ever told.
    let principal = PrincipalId::try_new(principal).map_err(|_| "does not begin with a principal")?;
    if token.len() < MIN_TOKEN_BYTES {
        return Err(format!("has a token of fewer than {MIN_TOKEN_BYTES} characters"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)) {
        return Err("has a token with a character outside [A-Za-z0-9._~+/=-]".to_owned());
    }
    let clients: Vec<_> = words.map(pattern).collect::<Result<_, _>>()?;
    if clients.is_empty() {
        return Err("names no client id; write a pattern such as phone-* (or * for all) behind the token".to_owned());
    }
    Ok(StaticToken { principal, token: Secret(token.to_owned()), clients })
}

fn pattern(word: &str) -> Result<ClientPattern, String> {
    let wrong = || "has a client id pattern outside [A-Za-z0-9._:@-] with `*` at its end".to_owned();
    match word.strip_suffix('*') {
        Some("") => Ok(ClientPattern::Prefix(String::new())),
        Some(prefix) => {
            ClientId::try_new(prefix).map(|_| ClientPattern::Prefix(prefix.to_owned())).map_err(|_| wrong())
        }
        None => ClientId::try_new(word).map(ClientPattern::Exact).map_err(|_| wrong()),
    }
}
