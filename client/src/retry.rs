//! Sends a request until it is answered, refused or out of time; always the same message, so always the same key.
//!
//! What may be sent again follows from what is known: a server that says UNAVAILABLE has not done it; a lost connection or
//! DEADLINE_EXCEEDED may have done it, and then only a key, or a request that changes nothing, makes a repetition safe.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Request, Response, Status};

use crate::endpoints::Endpoints;
use crate::error::{Error, Refusal};
use crate::system::{self, Deadline, System};
use crate::token::TokenSource;
use crate::{Key, metadata};

const BACK_OFF_FIRST: Duration = Duration::from_millis(20);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// Codes of refusals that are of one attempt alone: they are not stored with the key, and an attempt before, admitted when rights,
/// quota, room, cloud or clock stood otherwise, may still be carried out.
const UNSTORED: [&str; 11] = [
    "compute_host_not_found",
    "conflict",
    "flavor_not_found",
    "forbidden",
    "hold_refused",
    "key_expired",
    "no_room",
    "quota_exceeded",
    "token_invalid",
    "token_missing",
    "too_many_keys",
];

/// Whether a request may be sent again when it may have been done already.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Repeat {
    /// It changes nothing.
    Read,
    /// Its key keeps it from happening twice.
    Keyed(Key),
    /// Only when it was surely not done.
    Once,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// All attempts together.
    pub overall: Duration,
    /// One attempt, so that a node that hangs does not use up the whole time.
    pub attempt: Duration,
}

/// What calls share.
pub(crate) struct Caller {
    pub endpoints: Endpoints,
    pub tokens: Arc<dyn TokenSource>,
    pub system: Arc<dyn System>,
}

/// What an attempt that brought no answer means.
pub(crate) enum Failure {
    /// Decided.
    Refused(Status),
    /// Surely not done.
    NotDone(String),
    /// Sent, and nothing is known of it.
    MaybeDone(String),
    /// The token was not accepted.
    Token(Status),
}

impl Caller {
    /// Calls until there is an answer. `send` makes one attempt on a member.
    pub(crate) async fn call<M, T, F, Sent>(&self, repeat: Repeat, patience: Patience, message: M, send: F) -> Result<T, Error>
    where
        M: Clone,
        F: Fn(Channel, Request<M>) -> Sent,
        Sent: Future<Output = Result<Response<T>, Status>>,
    {
        Ok(self.call_someone(repeat, patience, message, send).await?.0)
    }

    /// As [`Caller::call`]; also tells which member answered, which is not the one to ask next when it gave a hint.
    pub(crate) async fn call_someone<M, T, F, Sent>(
        &self,
        repeat: Repeat,
        patience: Patience,
        message: M,
        send: F,
    ) -> Result<(T, String), Error>
    where
        M: Clone,
        F: Fn(Channel, Request<M>) -> Sent,
        Sent: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Deadline::after(patience.overall);
        let (mut attempts, mut maybe_done, mut rejected) = (0u32, false, None::<String>);
        loop {
            // A Keystone that hangs takes from the same time as the members.
            let token = match system::at_most(deadline.left(), self.tokens.token(rejected.as_deref())).await {
                Some(token) => token?,
                None => {
                    return Err(given_up(
                        repeat,
                        attempts,
                        maybe_done,
                        "no token was got in time; does Keystone answer?".to_owned(),
                    ));
                }
            };
            let (address, channel) = self.endpoints.current();
            let attempt = patience.attempt.min(deadline.left());
            let mut request = Request::new(message.clone());
            put_token(request.metadata_mut(), token.as_deref())?;
            attempts += 1;
            let failure = match system::at_most(attempt, send(channel, request)).await {
                Some(Ok(response)) => {
                    self.follow_hint(response.metadata());
                    return Ok((response.into_inner(), address));
                }
                Some(Err(status)) => {
                    let failure = judge(status);
                    if let Failure::NotDone(_) | Failure::MaybeDone(_) = failure {
                        self.endpoints.failed(&address);
                    }
                    failure
                }
                None => {
                    self.endpoints.failed(&address);
                    Failure::MaybeDone(format!("no answer from {address} within {} ms", attempt.as_millis()))
                }
            };
            let last = match failure {
                // One new token per call: if that is refused too, it is not for its age.
                Failure::Token(_) if token.is_some() && rejected.is_none() => {
                    rejected = token;
                    continue;
                }
                Failure::Refused(status) | Failure::Token(status) => {
                    self.follow_hint(status.metadata());
                    if let (true, Repeat::Keyed(key), true) = (maybe_done, repeat, unstored(&status)) {
                        return Err(Error::OutcomeUnknown { key: Some(key), attempts, last: status.message().to_owned() });
                    }
                    return Err(Error::Refused(Refusal::from_status(&status)));
                }
                Failure::NotDone(last) => last,
                Failure::MaybeDone(last) => {
                    if let Repeat::Once = repeat {
                        return Err(Error::OutcomeUnknown { key: None, attempts, last });
                    }
                    maybe_done = true;
                    last
                }
            };
            let pause = self.back_off(attempts);
            if pause >= deadline.left() {
                return Err(given_up(repeat, attempts, maybe_done, last));
            }
            system::sleep(pause).await;
        }
    }

    fn follow_hint(&self, metadata: &MetadataMap) {
        if let Some(leader) = metadata.get(metadata::LEADER).and_then(|value| value.to_str().ok()) {
            self.endpoints.hinted(leader);
        }
    }

    /// Doubles from attempt to attempt; between half and all of it, so that clients do not come back together.
    pub(crate) fn back_off(&self, attempts: u32) -> Duration {
        let full = BACK_OFF_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(BACK_OFF_MAX);
        let half_ms = u128::max(full.as_millis() / 2, 1);
        full / 2 + Duration::from_millis(u64::try_from(self.system.random() % half_ms).unwrap_or(0))
    }
}

/// The time is up.
fn given_up(repeat: Repeat, attempts: u32, maybe_done: bool, last: String) -> Error {
    match repeat {
        Repeat::Keyed(key) if maybe_done => Error::OutcomeUnknown { key: Some(key), attempts, last },
        Repeat::Keyed(_) | Repeat::Read | Repeat::Once => Error::Unavailable { attempts, last },
    }
}

fn put_token(metadata: &mut MetadataMap, token: Option<&str>) -> Result<(), Error> {
    if let Some(token) = token {
        let value = MetadataValue::try_from(token).map_err(|_| {
            Error::Setup(
                "the token holds characters that cannot be sent; is it a whole Keystone token without line breaks?".to_owned(),
            )
        })?;
        metadata.insert(metadata::TOKEN, value);
    }
    Ok(())
}

/// Servers mark what they have decided with a code; whatever has none was made on the way.
pub(crate) fn judge(status: Status) -> Failure {
    let told = || if status.message().is_empty() { format!("{:?}", status.code()) } else { status.message().to_owned() };
    if status.metadata().contains_key(metadata::REJECTION) {
        return match status.code() {
            Code::Unavailable => Failure::NotDone(told()),
            Code::DeadlineExceeded => Failure::MaybeDone(told()),
            Code::Unauthenticated => Failure::Token(status),
            _ => Failure::Refused(status),
        };
    }
    if came_from_connecting(&status) {
        return Failure::NotDone(told());
    }
    let made_here = std::error::Error::source(&status).is_some();
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded => Failure::MaybeDone(told()),
        _ if made_here => Failure::MaybeDone(told()),
        _ => Failure::Refused(status),
    }
}

/// Whether the refusal is of this attempt alone. All others are stored with the key, so that an attempt still on its way meets them,
/// or would be refused alike whenever it comes.
fn unstored(status: &Status) -> bool {
    let code = status.metadata().get(metadata::REJECTION).and_then(|code| code.to_str().ok());
    code.is_some_and(|code| UNSTORED.contains(&code))
}

fn came_from_connecting(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use leasehold_ledger::model::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::error::RefusalKind;
    use crate::system::RealSystem;
    use crate::token::FixedToken;

    fn told(code: Code, rejection: &'static str) -> Status {
        let mut status = Status::new(code, rejection);
        status.metadata_mut().insert(metadata::REJECTION, MetadataValue::from_static(rejection));
        status
    }

    /// What comes of a call with a key whose attempts meet these, one after the other.
    async fn meets(statuses: Vec<Status>) -> Error {
        let endpoints = Endpoints::new(&["a:1".to_owned()], None, true).unwrap();
        let caller = Caller { endpoints, tokens: Arc::new(FixedToken("t".to_owned())), system: Arc::new(RealSystem) };
        let repeat = Repeat::Keyed(Key { id: Uuid::from_u128(1), valid_until: Timestamp(1) });
        let patience = Patience { overall: Duration::from_secs(60), attempt: Duration::from_secs(10) };
        let statuses = Mutex::new(statuses.into_iter());
        let send = |_, _: Request<()>| {
            let next = statuses.lock().unwrap().next().expect("no more attempts than these");
            async { Err::<Response<()>, Status>(next) }
        };
        caller.call(repeat, patience, (), send).await.unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_of_one_attempt_alone_says_nothing_of_the_one_before() {
        let unknown = || told(Code::DeadlineExceeded, "outcome_unknown");
        let of_this_attempt = [
            told(Code::FailedPrecondition, "no_room"),
            told(Code::FailedPrecondition, "quota_exceeded"),
            told(Code::FailedPrecondition, "key_expired"),
            told(Code::FailedPrecondition, "conflict"),
            told(Code::NotFound, "flavor_not_found"),
            told(Code::PermissionDenied, "forbidden"),
        ];
        for refused in of_this_attempt {
            let alone = meets(vec![refused.clone()]).await;
            assert!(matches!(alone, Error::Refused(_)), "{alone:?}");
            let second = meets(vec![unknown(), refused]).await;
            assert!(matches!(second, Error::OutcomeUnknown { key: Some(_), attempts: 2, .. }), "{second:?}");
        }
        let token = || told(Code::Unauthenticated, "token_invalid");
        let second = meets(vec![unknown(), token(), token()]).await;
        assert!(matches!(second, Error::OutcomeUnknown { attempts: 3, .. }), "{second:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_is_stored_with_the_key_is_the_answer() {
        let second = meets(vec![told(Code::DeadlineExceeded, "outcome_unknown"), told(Code::InvalidArgument, "invalid")]).await;
        assert!(matches!(&second, Error::Refused(refusal) if refusal.kind == RefusalKind::Invalid), "{second:?}");
    }
}
