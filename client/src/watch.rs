//! Changes as a stream that resumes itself on any member.

use futures::Stream;
use leasehold_ledger::state::Change;
use tonic::Streaming;

use crate::client::{ANSWER_BYTES_MAX, Client, send};
use crate::error::{Error, Refusal};
use crate::retry::{Failure, Repeat, judge};
use crate::system;
use crate::wire::v1;
use crate::wire::v1::watch_service_client::WatchServiceClient;

/// So many streams in a row may end without a change before that is an error.
const FRUITLESS_MAX: u32 = 30;

/// Every change after an index, in order, each once, without gaps. When its member fails it goes on with another.
///
/// One command may make several changes, which share its index. So a broken stream is opened again one below the last index
/// seen, and what was seen of that index is left out: all members keep the changes in the same order.
pub struct Watch {
    client: Client,
    /// Everything up to here was given.
    after: u64,
    /// The index of the last change and how many of it were given.
    last: Option<(u64, usize)>,
    stream: Option<Streaming<v1::WatchResponse>>,
    /// Who serves the stream.
    member: String,
    /// Streams in a row that ended without a change.
    fruitless: u32,
    /// How many changes of the last index are still to be left out.
    repeated: usize,
}

impl Watch {
    pub(crate) fn new(client: Client, after: u64) -> Watch {
        Watch { client, after, last: None, stream: None, member: String::new(), fruitless: 0, repeated: 0 }
    }

    /// An index up to which every change was given: a watch from here misses nothing. Changes above it may come again.
    pub fn position(&self) -> u64 {
        self.last.map_or(self.after, |(index, _)| index.saturating_sub(1).max(self.after))
    }

    /// The next change; waits for it, and finds another member as often as needed.
    ///
    /// Errors: [`Error::Refused`] when the journal does not reach back so far, or the token does not allow it;
    /// [`Error::Unavailable`] when no member served until the client's deadline. Calling again goes on without a gap.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let (opened, member) = self.open().await?;
                    self.member = member;
                    self.repeated = self.last.map_or(0, |(_, given)| given);
                    self.stream.insert(opened)
                }
            };
            match stream.message().await {
                Ok(Some(wire)) => {
                    let change = Change::try_from(wire)?;
                    if self.is_repeated(change.ledger_index) {
                        continue;
                    }
                    let given = match self.last {
                        Some((index, given)) if index == change.ledger_index => given + 1,
                        _ => 1,
                    };
                    self.last = Some((change.ledger_index, given));
                    self.fruitless = 0;
                    return Ok(change);
                }
                // The member stops: the next one goes on.
                Ok(None) => self.lost("the stream ended").await?,
                Err(status) => match judge(status) {
                    Failure::Refused(status) | Failure::Token(status) => {
                        self.stream = None;
                        return Err(Error::Refused(Refusal::from_status(&status)));
                    }
                    Failure::NotDone(last) | Failure::MaybeDone(last) => self.lost(&last).await?,
                },
            }
        }
    }

    /// The changes as a stream; it ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Change, Error>> + Send {
        futures::stream::unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(change) => Some((Ok(change), Some(watch))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    /// Turns to another member, slower each time that none gives a change.
    async fn lost(&mut self, why: &str) -> Result<(), Error> {
        self.stream = None;
        let caller = &self.client.caller;
        caller.endpoints.failed(&self.member);
        self.fruitless += 1;
        if self.fruitless > FRUITLESS_MAX {
            let attempts = std::mem::take(&mut self.fruitless);
            return Err(Error::Unavailable { attempts, last: why.to_owned() });
        }
        system::sleep(caller.back_off(self.fruitless)).await;
        Ok(())
    }

    async fn open(&self) -> Result<(Streaming<v1::WatchResponse>, String), Error> {
        let request = v1::WatchRequest { after: self.position() };
        let send = send!(WatchServiceClient, watch);
        self.client.caller.call_someone(Repeat::Read, self.client.patience, request, send).await
    }

    fn is_repeated(&mut self, ledger_index: u64) -> bool {
        match self.last {
            Some((last, _)) if ledger_index == last && self.repeated > 0 => {
                self.repeated -= 1;
                true
            }
            _ => false,
        }
    }
}
