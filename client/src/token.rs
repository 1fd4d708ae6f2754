//! Where tokens come from.

use async_trait::async_trait;

/// No token could be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TokenError(pub String);

/// Gives the token that goes with every request.
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// A token, or `None` to send none. `rejected` is one that a server has just refused: give another, if there is one.
    async fn token(&self, rejected: Option<&str>) -> Result<Option<String>, TokenError>;
}

/// Sends no token: for clusters without authentication.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoToken;

#[async_trait]
impl TokenSource for NoToken {
    async fn token(&self, _rejected: Option<&str>) -> Result<Option<String>, TokenError> {
        Ok(None)
    }
}

/// Always the same token.
#[derive(Clone)]
pub struct FixedToken(pub String);

impl std::fmt::Debug for FixedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FixedToken(…)")
    }
}

#[async_trait]
impl TokenSource for FixedToken {
    async fn token(&self, _rejected: Option<&str>) -> Result<Option<String>, TokenError> {
        Ok(Some(self.0.clone()))
    }
}
