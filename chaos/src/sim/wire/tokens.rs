//! Tokens of the simulated Keystone, as a project's clients hold them: kept until a node refuses them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leasehold_client::{TokenError, TokenSource};
use parking_lot::Mutex;

use super::super::cloud::SimCloud;

/// Between two attempts to log in.
const AGAIN: Duration = Duration::from_millis(500);

/// One user's tokens. Clones share the current one.
#[derive(Clone)]
pub struct Tokens {
    cloud: Arc<SimCloud>,
    user: &'static str,
    current: Arc<Mutex<Option<String>>>,
}

impl Tokens {
    /// Of a user, who has not logged in yet.
    pub fn new(cloud: Arc<SimCloud>, user: &'static str) -> Tokens {
        Tokens { cloud, user, current: Arc::default() }
    }

    /// A token that is not `refused`; asked for until there is one.
    pub async fn get(&self, refused: Option<&str>) -> String {
        loop {
            let known = self.current.lock().clone().filter(|token| Some(token.as_str()) != refused);
            if let Some(token) = known {
                return token;
            }
            match self.cloud.token(self.user) {
                Some(token) => *self.current.lock() = Some(token),
                None => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

#[async_trait]
impl TokenSource for Tokens {
    async fn token(&self, rejected: Option<&str>) -> Result<Option<String>, TokenError> {
        Ok(Some(self.get(rejected).await))
    }
}
