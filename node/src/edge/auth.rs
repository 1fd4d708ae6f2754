//! Token → [`Actor`], for both edges. Keystone's implementation is `keystone_auth.rs`; [`NoAuth`] is for loopback only.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use async_trait::async_trait;
use leasehold_ledger::model::{ProjectId, UserId};

use crate::config::Secret;
use crate::operations::Actor;

/// Why a token does not name an actor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is none.
    #[error("no token: send a Keystone token in X-Auth-Token (gRPC: metadata x-auth-token)")]
    Missing,
    /// Keystone does not know it, it has expired or was revoked, or it is not scoped to a project.
    #[error("the token is not valid: it is unknown, expired, revoked or not scoped to a project; get a new one")]
    Invalid,
    /// Keystone cannot be asked, so nothing is known of the token.
    #[error("tokens cannot be checked now: {0}")]
    Unavailable(String),
}

/// Says who holds a token.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The actor behind `token`; `None` when the request carries none.
    async fn authenticate(&self, token: Option<&str>) -> Result<Actor, AuthError>;

    /// The token with which the services of the cloud may be called in the caller's name, if his is one of Keystone's.
    fn for_cloud(&self, token: Option<&str>) -> Option<Secret>;
}

/// Believes everybody: the token names the project (or `noauth`), and the caller is its admin.
///
/// Made only for addresses on loopback, so that a configuration mistake cannot open a cloud.
#[derive(Clone, Copy, Debug)]
pub struct NoAuth {
    loopback: (),
}

/// Authentication is switched off on an address that others can reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("noauth is for loopback only, and {0} is not; listen on 127.0.0.1 or [::1], or configure Keystone")]
pub struct NotLoopback(pub SocketAddr);

impl NoAuth {
    /// The project of a caller that names none, and the user of all.
    pub const NAME: &'static str = "noauth";

    /// For edges that listen on these addresses, all of which must be on loopback.
    pub fn new(listening: &[SocketAddr]) -> Result<NoAuth, NotLoopback> {
        match listening.iter().find(|address| !address.ip().is_loopback()) {
            Some(address) => Err(NotLoopback(*address)),
            None => Ok(NoAuth { loopback: () }),
        }
    }
}

#[async_trait]
impl Authenticator for NoAuth {
    async fn authenticate(&self, token: Option<&str>) -> Result<Actor, AuthError> {
        let NoAuth { loopback: () } = self;
        let project = token.map(str::trim).filter(|token| !token.is_empty()).unwrap_or(NoAuth::NAME);
        Ok(Actor {
            user_id: UserId(NoAuth::NAME.to_owned()),
            project_id: ProjectId(project.to_owned()),
            roles: BTreeSet::from(["admin".to_owned(), "member".to_owned(), "reader".to_owned()]),
        })
    }

    fn for_cloud(&self, _: Option<&str>) -> Option<Secret> {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn noauth_is_refused_where_others_can_reach_it() {
        let loopback: Vec<SocketAddr> = vec!["127.0.0.1:1234".parse().unwrap(), "[::1]:1235".parse().unwrap()];
        assert!(NoAuth::new(&loopback).is_ok());
        let open: SocketAddr = "0.0.0.0:1234".parse().unwrap();
        assert_eq!(NoAuth::new(&[loopback[0], open]).unwrap_err(), NotLoopback(open));
    }

    #[tokio::test]
    async fn noauth_takes_the_token_for_the_project() {
        let noauth = NoAuth::new(&[]).unwrap();
        let named = noauth.authenticate(Some("p1")).await.unwrap();
        assert_eq!(named.project_id, ProjectId("p1".into()));
        assert!(named.is_admin());
        assert_eq!(noauth.authenticate(None).await.unwrap().project_id, ProjectId("noauth".into()));
        assert!(noauth.for_cloud(Some("p1")).is_none());
    }
}
