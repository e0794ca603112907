//! Authenticators: nobody is asked, or static tokens.

use std::fmt;

use async_trait::async_trait;
use nimbus_core::{
    ClientId, PrincipalId,
    ports::authenticator::{AuthError, Authenticator, Credentials},
};
use subtle::ConstantTimeEq;

/// The principal of every caller while no tokens are configured.
pub const ANYONE: &str = "anyone";

/// Lets every caller use every client id. For loopback listeners.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

#[async_trait]
impl Authenticator for AllowAll {
    async fn authenticate(&self, _: &Credentials, _: &ClientId) -> Result<PrincipalId, AuthError> {
        Ok(PrincipalId::try_new(ANYONE).expect("a constant that is a valid id"))
    }
}

/// Which client ids a principal may use: one id, or everything that begins with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientPattern {
    /// Exactly this one.
    Exact(String),
    /// Everything that begins so; the empty prefix is every client id.
    Prefix(String),
}

impl ClientPattern {
    /// Reads a pattern: a client id, or a prefix followed by `*`.
    pub fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    fn matches(&self, client: &ClientId) -> bool {
        match self {
            Self::Exact(id) => client.as_str() == id,
            Self::Prefix(prefix) => client.as_str().starts_with(prefix),
        }
    }
}

/// One token and what it is good for.
#[derive(Clone)]
pub struct StaticToken {
    /// Who has it.
    pub principal: PrincipalId,
    /// The token itself.
    pub token: String,
    /// The client ids it may use.
    pub clients: Vec<ClientPattern>,
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken")
            .field("principal", &self.principal)
            .field("token", &"(hidden)")
            .field("clients", &self.clients)
            .finish()
    }
}

/// A fixed list of tokens. Compared in constant time, every one of them, so that timing tells nothing.
#[derive(Debug, Clone)]
pub struct StaticTokens {
    tokens: Vec<StaticToken>,
}

impl StaticTokens {
    /// Takes over the list.
    pub fn new(tokens: Vec<StaticToken>) -> Self {
        Self { tokens }
    }
}

#[async_trait]
impl Authenticator for StaticTokens {
    async fn authenticate(&self, credentials: &Credentials, client: &ClientId) -> Result<PrincipalId, AuthError> {
        let shown = credentials.bearer.as_deref().ok_or(AuthError::Unauthenticated)?;
        let mut found = None;
        for known in &self.tokens {
            if bool::from(known.token.as_bytes().ct_eq(shown.as_bytes())) {
                found = Some(known);
            }
        }
        let known = found.ok_or(AuthError::Unauthenticated)?;
        if known.clients.iter().any(|pattern| pattern.matches(client)) {
            Ok(known.principal.clone())
        } else {
            Err(AuthError::Forbidden(client.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> StaticTokens {
        let token = |principal: &str, token: &str, clients: &[&str]| StaticToken {
            principal: PrincipalId::try_new(principal).unwrap(),
            token: token.to_owned(),
            clients: clients.iter().map(|text| ClientPattern::new(text)).collect(),
        };
        StaticTokens::new(vec![token("fleet", "s3cret", &["car-*", "depot"]), token("ops", "other", &["*"])])
    }

    async fn ask(bearer: Option<&str>, client: &str) -> Result<PrincipalId, AuthError> {
        let credentials = Credentials { bearer: bearer.map(str::to_owned) };
        tokens().authenticate(&credentials, &ClientId::try_new(client).unwrap()).await
    }

    #[tokio::test]
    async fn a_token_opens_its_own_client_ids_only() {
        assert_eq!(ask(Some("s3cret"), "car-7").await.unwrap().as_str(), "fleet");
        assert_eq!(ask(Some("s3cret"), "depot").await.unwrap().as_str(), "fleet");
        let forbidden = ask(Some("s3cret"), "depot-2").await;
        assert_eq!(forbidden, Err(AuthError::Forbidden(ClientId::try_new("depot-2").unwrap())));
        assert_eq!(ask(Some("other"), "depot-2").await.unwrap().as_str(), "ops");
    }

    #[tokio::test]
    async fn no_token_or_a_wrong_one_says_the_same() {
        assert_eq!(ask(None, "car-7").await, Err(AuthError::Unauthenticated));
        assert_eq!(ask(Some("s3cre"), "car-7").await, Err(AuthError::Unauthenticated));
        assert_eq!(ask(Some("s3crets"), "car-7").await, Err(AuthError::Unauthenticated));
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        assert!(!format!("{:?}", tokens()).contains("s3cret"));
        let credentials = Credentials { bearer: Some("s3cret".to_owned()) };
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }
}
