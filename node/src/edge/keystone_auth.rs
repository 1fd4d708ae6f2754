//! Keystone token → [`Actor`], with a cache that is bounded, honours expiry and never keeps a token itself.
//!
//! When Keystone cannot be asked, a token that is not in the cache is not accepted: nothing is known of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leasehold_ledger::model::{ProjectId, UserId};
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::auth::{AuthError, Authenticator};
use crate::config::{self, AuthSection, CloudSection, Secret};
use crate::openstack::keystone::{KeystoneOptions, TokenFacts, TokenSource};
use crate::operations::Actor;
use crate::seams::{Clock, Mono, Seams};

/// Tokens remembered at most.
const CACHED_MAX: u64 = 10_000;
/// The longest a validated token may be trusted without asking again, whatever is configured.
const CACHED_TIME_MAX: Duration = Duration::from_secs(config::CACHE_S_MAX);
/// A token that Keystone does not know is not asked about again for so long.
const INVALID_TIME: Duration = Duration::from_secs(10);
/// Tokens that Keystone is asked about at a time. Callers beyond are told to come again, so that a slow Keystone holds up
/// those whose token it is asked about, and nobody whose token is known.
const ASKED_MAX: usize = 256;
/// Longest token; a Fernet token has some 200 bytes, a signed one of JWS some 600.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// SHA-256 of a token: the cache holds nothing that could be used.
type Fingerprint = [u8; 32];

#[derive(Clone)]
struct Cached {
    /// `None`: not valid.
    actor: Option<Arc<Actor>>,
    /// On the monotonic clock.
    until: Mono,
}

/// Asks Keystone, and remembers for a while what it said.
pub struct KeystoneAuth {
    keystone: Arc<TokenSource>,
    clock: Arc<dyn Clock>,
    cached: Cache<Fingerprint, Cached>,
    cached_time: Duration,
    asking: Semaphore,
}

impl KeystoneAuth {
    /// As configured. Nothing is called before the first token is to be checked.
    ///
    /// # Errors
    /// When the service user's part of the configuration is no good.
    pub fn new(cloud: &CloudSection, auth: &AuthSection, seams: &Seams) -> Result<KeystoneAuth, config::Error> {
        let keystone = TokenSource::new(KeystoneOptions::from_config(cloud)?, seams.http.clone(), seams.clock.clone());
        Ok(KeystoneAuth::with(Arc::new(keystone), seams.clock.clone(), Duration::from_secs(auth.cache_s)))
    }

    fn with(keystone: Arc<TokenSource>, clock: Arc<dyn Clock>, cached_time: Duration) -> KeystoneAuth {
        let (cached, cached_time) = (Cache::new(CACHED_MAX), cached_time.min(CACHED_TIME_MAX));
        KeystoneAuth { keystone, clock, cached, cached_time, asking: Semaphore::new(ASKED_MAX) }
    }

    async fn ask(&self, token: &str) -> Result<Cached, AuthError> {
        let busy = |_| AuthError::Unavailable("Keystone is slow, and too many tokens wait for it".to_owned());
        let _permit = self.asking.try_acquire().map_err(busy)?;
        // The answer holds from before the question.
        let asked_at = self.clock.mono();
        let facts = self.keystone.validate(&Secret::new(token)).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            tracing::warn!(error = format!("{error}{cause}"), "a token could not be checked");
            AuthError::Unavailable(error.to_string())
        })?;
        Ok(match facts.and_then(|facts| Some((actor(&facts)?, facts.expires_at_ms))) {
            Some((actor, expires_at_ms)) => {
                let left = Duration::from_millis(expires_at_ms.saturating_sub(self.clock.wall_ms()));
                Cached { actor: Some(Arc::new(actor)), until: asked_at.after(left.min(self.cached_time)) }
            }
            None => Cached { actor: None, until: asked_at.after(INVALID_TIME.min(self.cached_time)) },
        })
    }
}

#[async_trait]
impl Authenticator for KeystoneAuth {
    async fn authenticate(&self, token: Option<&str>) -> Result<Actor, AuthError> {
        let token = token.map(str::trim).filter(|token| !token.is_empty()).ok_or(AuthError::Missing)?;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Invalid);
        }
        let fingerprint: Fingerprint = Sha256::digest(token.as_bytes()).into();
        let known = match self.cached.get(&fingerprint) {
            Some(cached) if self.clock.mono() < cached.until => cached,
            Some(_) | None => {
                // Ten callers with one new token ask ten times at most, once each: Keystone takes that.
                let answered = self.ask(token).await?;
                self.cached.insert(fingerprint, answered.clone());
                answered
            }
        };
        known.actor.as_deref().cloned().ok_or(AuthError::Invalid)
    }

    fn for_cloud(&self, token: Option<&str>) -> Option<Secret> {
        token.map(str::trim).filter(|token| !token.is_empty()).map(Secret::new)
    }
}

/// `None` for a token without a project: it can own nothing here.
fn actor(facts: &TokenFacts) -> Option<Actor> {
    Some(Actor {
        user_id: UserId(facts.user_id.clone()),
        project_id: ProjectId(facts.project_id.clone()?),
        roles: facts.roles.iter().map(|role| role.to_lowercase()).collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::openstack::keystone::fake::{FakeKeystone, issued, status, valid};

    fn auth(keystone: &Arc<FakeKeystone>) -> (KeystoneAuth, Arc<dyn Clock>) {
        let (source, clock) = keystone.source();
        (KeystoneAuth::with(source, clock.clone(), CACHED_TIME_MAX), clock)
    }

    #[tokio::test(start_paused = true)]
    async fn a_valid_token_is_asked_about_once_in_five_minutes() {
        let keystone = FakeKeystone::new(vec![
            issued("s", 36_000),
            valid("u", "p", &["Member", "reader"], 3600),
            valid("u", "p", &[], 3600),
        ]);
        let (auth, clock) = auth(&keystone);
        let actor = auth.authenticate(Some(" theirs ")).await.unwrap();
        assert_eq!((actor.user_id.0.as_str(), actor.project_id.0.as_str()), ("u", "p"));
        assert!(actor.roles.contains("member") && actor.roles.contains("reader") && !actor.is_admin());
        clock.sleep(Duration::from_secs(297)).await;
        assert_eq!(auth.authenticate(Some("theirs")).await.unwrap(), actor);
        assert_eq!(keystone.calls().len(), 2);
        clock.sleep(Duration::from_secs(5)).await;
        assert!(auth.authenticate(Some("theirs")).await.unwrap().roles.is_empty());
        assert_eq!(keystone.calls().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_not_trusted_beyond_its_own_expiry() {
        let keystone = FakeKeystone::new(vec![issued("s", 36_000), valid("u", "p", &[], 60), status(404)]);
        let (auth, clock) = auth(&keystone);
        auth.authenticate(Some("theirs")).await.unwrap();
        clock.sleep(Duration::from_secs(61)).await;
        assert_eq!(auth.authenticate(Some("theirs")).await, Err(AuthError::Invalid));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_token_is_refused_from_memory_but_only_for_a_moment() {
        let keystone = FakeKeystone::new(vec![issued("s", 36_000), status(404), valid("u", "p", &[], 60)]);
        let (auth, clock) = auth(&keystone);
        assert_eq!(auth.authenticate(Some("x")).await, Err(AuthError::Invalid));
        assert_eq!(auth.authenticate(Some("x")).await, Err(AuthError::Invalid));
        assert_eq!(keystone.calls().len(), 2);
        clock.sleep(INVALID_TIME).await;
        assert!(auth.authenticate(Some("x")).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn while_keystone_is_down_only_remembered_tokens_are_accepted() {
        let keystone = FakeKeystone::new(vec![issued("s", 36_000), valid("u", "p", &[], 3600), status(503)]);
        let (auth, clock) = auth(&keystone);
        auth.authenticate(Some("known")).await.unwrap();
        assert!(matches!(auth.authenticate(Some("new")).await, Err(AuthError::Unavailable(_))));
        assert!(auth.authenticate(Some("known")).await.is_ok());
        clock.sleep(CACHED_TIME_MAX).await;
        assert!(matches!(auth.authenticate(Some("known")).await, Err(AuthError::Unavailable(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn while_keystone_is_slow_known_tokens_pass_and_new_ones_do_not_pile_up() {
        let keystone = FakeKeystone::new(vec![issued("s", 36_000), valid("u", "p", &[], 3600)]);
        let (auth, _) = auth(&keystone);
        auth.authenticate(Some("known")).await.unwrap();
        let _waiting = auth.asking.try_acquire_many(u32::try_from(ASKED_MAX).unwrap()).unwrap();
        assert!(matches!(auth.authenticate(Some("new")).await, Err(AuthError::Unavailable(_))));
        assert!(auth.authenticate(Some("known")).await.is_ok());
        assert_eq!(keystone.calls().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn no_token_a_giant_one_and_one_without_a_project_are_refused() {
        let mut unscoped = valid("u", "p", &[], 3600).unwrap();
        unscoped.body = String::from_utf8(unscoped.body.to_vec()).unwrap().replace("\"project\"", "\"other\"").into();
        let keystone = FakeKeystone::new(vec![issued("s", 36_000), Ok(unscoped)]);
        let (auth, _) = auth(&keystone);
        assert_eq!(auth.authenticate(None).await, Err(AuthError::Missing));
        assert_eq!(auth.authenticate(Some("  ")).await, Err(AuthError::Missing));
        assert_eq!(auth.authenticate(Some(&"x".repeat(TOKEN_BYTES_MAX + 1))).await, Err(AuthError::Invalid));
        assert!(keystone.calls().is_empty());
        assert_eq!(auth.authenticate(Some("unscoped")).await, Err(AuthError::Invalid));
    }
}
