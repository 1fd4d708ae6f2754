//! The journal that watch streams run on: what each entry changed, for those who follow. Its rows stay as they are stored and
//! are decoded when somebody reads them: there are many, each with a whole lease, and few are ever read.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::change::Recorder;
use super::{Change, ChangeSubject, JournalError, State};
use crate::model::{Host, HostId, Lease, LeaseId, ProjectId, Timestamp};
use crate::storage::codec::{CodecError, check_version, decode, encode};
use crate::storage::keys::RowId;

/// Rows of the journal that are kept; older ones go as new ones come.
pub const JOURNAL_ROWS_MAX: usize = 16_384;

/// What decoding errors call a row.
const WHAT: &str = "change";

/// A [`Change`] as it is stored.
#[derive(Clone, Debug)]
pub(super) struct JournalRow(Box<[u8]>);

impl JournalRow {
    /// A row as it was read. What is behind its version is known to be what was written by its hash alone.
    pub fn stored(bytes: &[u8]) -> Result<JournalRow, CodecError> {
        check_version(WHAT, bytes)?;
        Ok(JournalRow(bytes.into()))
    }

    fn written(ledger_index: u64, at: Timestamp, subject: Subject<'_>) -> JournalRow {
        JournalRow(encode(&Written { ledger_index, at, subject }).into())
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The change that stands under an index.
    fn change(&self, index: u64) -> Result<Change, CodecError> {
        let change: Change = decode(WHAT, &self.0)?;
        if change.ledger_index == index {
            return Ok(change);
        }
        let problem = format!("it stands under index {index} and is of index {}", change.ledger_index);
        Err(CodecError { what: WHAT, problem, newer: false })
    }

    /// The lease it shows, and no more of it.
    fn lease_id(&self) -> Result<Option<LeaseId>, CodecError> {
        match decode::<Glance>(WHAT, &self.0)?.subject {
            SubjectGlance::Lease(lease) => Ok(Some(lease.id)),
            SubjectGlance::LeaseRemoved(_) | SubjectGlance::Host(_) | SubjectGlance::HostRemoved(_) => Ok(None),
        }
    }
}

/// [`Change`], of what the state holds.
#[derive(Serialize)]
struct Written<'a> {
    ledger_index: u64,
    at: Timestamp,
    subject: Subject<'a>,
}

/// [`ChangeSubject`], of what the state holds.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Subject<'a> {
    Lease(&'a Lease),
    LeaseRemoved { lease_id: LeaseId, project_id: &'a ProjectId },
    Host(&'a Host),
    HostRemoved(HostId),
}

/// The part of a [`Change`] that says which lease it shows.
#[derive(Deserialize)]
struct Glance {
    subject: SubjectGlance,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum SubjectGlance {
    Lease(LeaseGlance),
    LeaseRemoved(IgnoredAny),
    Host(IgnoredAny),
    HostRemoved(IgnoredAny),
}

#[derive(Deserialize)]
struct LeaseGlance {
    id: LeaseId,
}

impl State {
    /// Writes what the entry changed, and drops what is too much.
    pub(super) fn write_journal(&mut self, recorder: &mut Recorder) {
        let (ledger_index, at) = (self.meta.ledger_index, self.meta.clock);
        let mut rows = Vec::with_capacity(recorder.leases.len() + recorder.hosts.len());
        for (id, seen_by) in &recorder.leases {
            match (self.leases.row_mut(id).filter(|row| row.value.visible()), seen_by) {
                (Some(row), _) => {
                    row.value.ledger_index = ledger_index;
                    rows.push(JournalRow::written(ledger_index, at, Subject::Lease(&row.value)));
                }
                (None, Some(project_id)) => {
                    rows.push(JournalRow::written(ledger_index, at, Subject::LeaseRemoved { lease_id: *id, project_id }));
                }
                (None, None) => {}
            }
        }
        for id in &recorder.hosts {
            let subject = self.hosts.get(id).map_or(Subject::HostRemoved(*id), Subject::Host);
            rows.push(JournalRow::written(ledger_index, at, subject));
        }
        for (place, row) in (0u32..).zip(rows) {
            recorder.rows.insert(RowId::Change(ledger_index, place), 0);
            self.changes.insert((ledger_index, place), row, 0);
        }
        while self.changes.len() > JOURNAL_ROWS_MAX {
            let Some((index, place)) = self.changes.first().map(|(key, _)| *key) else { break };
            let hash = self.changes.hash(&(index, place));
            recorder.rows.entry(RowId::Change(index, place)).or_insert(hash);
            self.changes.remove(&(index, place));
            // The meta row is touched by every entry, so this is written with it.
            self.meta.journal_from = index;
        }
    }

    /// The lease as the first entry from `index` on left it that changed it into something `wanted`; `None` when there is none,
    /// or the journal does not reach back to it.
    ///
    /// # Errors
    /// A row does not decode.
    pub fn lease_as_left(&self, id: LeaseId, index: u64, wanted: impl Fn(&Lease) -> bool) -> Result<Option<Lease>, CodecError> {
        // Nothing has changed it since: whoever waits for a change asks after every entry.
        if let Some(lease) = self.lease(id).filter(|lease| lease.visible() && lease.ledger_index <= index) {
            return Ok((lease.ledger_index == index && wanted(lease)).then(|| lease.clone()));
        }
        for ((at, _), row) in self.changes.range((index, 0)..) {
            if row.lease_id()? == Some(id)
                && let ChangeSubject::Lease(lease) = row.change(*at)?.subject
                && wanted(&lease)
            {
                return Ok(Some(*lease));
            }
        }
        Ok(None)
    }

    /// Changes with an index above `after`, oldest first, at most `limit`. The changes of one index stay together, so there
    /// may be more than `limit` when the first index alone has more: watching on from the last index misses nothing.
    ///
    /// # Errors
    /// The journal does not reach back to `after`; a row does not decode.
    pub fn changes_after(&self, after: u64, limit: usize) -> Result<Vec<Change>, JournalError> {
        if after < self.meta.journal_from {
            return Err(JournalError::TooOld { oldest: self.meta.journal_from });
        }
        let mut found = Vec::new();
        let mut of_index = Vec::new();
        // Whole indexes, unless the first one alone is longer than the limit.
        for ((index, _), row) in self.changes.range((after.saturating_add(1), 0)..) {
            if of_index.last().is_some_and(|(last, _)| last != index) {
                found.append(&mut of_index);
            }
            if !found.is_empty() && found.len() + of_index.len() >= limit {
                of_index.clear();
                break;
            }
            of_index.push((*index, row));
        }
        found.append(&mut of_index);
        Ok(found.into_iter().map(|(index, row)| row.change(index)).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::crowd::{Random, crowded};
    use crate::storage::codec::VERSION;

    #[test]
    fn a_row_is_stored_as_its_change_would_be() {
        let state = crowded(5, 40, &mut Random(3));
        let mut seen = 0;
        for ((index, _), row) in state.changes.iter() {
            let change = row.value.change(*index).unwrap();
            assert_eq!(encode(&change), row.value.bytes());
            let shown = match &change.subject {
                ChangeSubject::Lease(lease) => Some(lease.id),
                ChangeSubject::LeaseRemoved { .. } | ChangeSubject::Host(_) | ChangeSubject::HostRemoved(_) => None,
            };
            assert_eq!(row.value.lease_id().unwrap(), shown);
            seen += usize::from(shown.is_some());
        }
        assert!(seen > 0, "no lease was shown");
        let removed = Subject::LeaseRemoved { lease_id: LeaseId(uuid::Uuid::nil()), project_id: &ProjectId("p".into()) };
        for row in
            [JournalRow::written(7, Timestamp(3), removed), JournalRow::written(7, Timestamp(3), Subject::HostRemoved(HostId(1)))]
        {
            assert_eq!(encode(&row.change(7).unwrap()), row.bytes());
            assert_eq!(row.lease_id().unwrap(), None);
            assert!(row.change(8).unwrap_err().problem.contains("index 7"), "it is held against its key");
        }
    }

    #[test]
    fn a_row_of_a_newer_build_is_refused_as_it_is_read() {
        assert!(JournalRow::stored(&[VERSION + 1, 0x80]).unwrap_err().newer);
        assert!(!JournalRow::stored(&[]).unwrap_err().newer);
    }

    #[test]
    fn changes_come_in_whole_entries() {
        let mut state = State::default();
        let rows = [(1, 0), (1, 1), (1, 2), (2, 0), (4, 0), (4, 1), (5, 0)];
        for (index, place) in rows {
            let row = JournalRow::written(index, Timestamp(0), Subject::HostRemoved(HostId(u64::from(place))));
            state.changes.insert((index, place), row, 0);
        }
        let indexes = |after, limit| -> Vec<u64> {
            state.changes_after(after, limit).unwrap().iter().map(|change| change.ledger_index).collect()
        };
        assert_eq!(indexes(0, 1), [1, 1, 1], "the first one is whole, however long");
        assert_eq!(indexes(0, 3), [1, 1, 1]);
        assert_eq!(indexes(0, 4), [1, 1, 1, 2]);
        assert_eq!(indexes(0, 5), [1, 1, 1, 2], "no half of an entry");
        assert_eq!(indexes(1, 3), [2, 4, 4]);
        assert_eq!(indexes(0, 100).len(), rows.len());
        assert!(indexes(5, 1).is_empty());
        state.meta.journal_from = 2;
        assert!(matches!(state.changes_after(1, 9), Err(JournalError::TooOld { oldest: 2 })));
    }
}
