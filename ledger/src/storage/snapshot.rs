//! A snapshot: the sorted rows of a frozen view in checksummed chunks, then a trailer (architecture D3).
//!
//! The same bytes in simulation and production. A chunk is at most [`CHUNK_BYTES`] unless one row is larger.
//!
//! Chunk: version `01`, kind (`01` rows, `02` trailer), body, then xxh3-64 of all before it (8 bytes). Body of rows: for each
//! row the length of its key (4 bytes), key, length of its value (4 bytes), value. Body of the trailer: number of rows
//! (8 bytes), xxh3-128 of all row bodies in order (16 bytes). Numbers are big-endian.

use std::sync::Arc;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::disk::{DiskError, FrozenView, Row};
use crate::mutant;

/// Chunk size aimed at.
pub const CHUNK_BYTES: usize = 512 * 1024;

const FORMAT: u8 = 1;
const ROWS: u8 = 1;
const TRAILER: u8 = 2;
const SCAN_ROWS: usize = 256;
const CHECKSUM_BYTES: usize = 8;
const TRAILER_BYTES: usize = 24;

/// Reads a frozen view chunk by chunk. `next_chunk` gives encoded bytes with a checksum; the last one is the trailer with
/// row count and total hash; `None` after it.
pub struct SnapshotReader {
    view: Arc<dyn FrozenView>,
    /// Where the next scan begins.
    from: Vec<u8>,
    /// Rows scanned and not yet sent, the next one last.
    ahead: Vec<Row>,
    exhausted: bool,
    finished: bool,
    rows: u64,
    total: Xxh3,
}

impl SnapshotReader {
    /// From the first row on.
    pub fn new(view: Arc<dyn FrozenView>) -> SnapshotReader {
        SnapshotReader {
            view,
            from: Vec::new(),
            ahead: Vec::new(),
            exhausted: false,
            finished: false,
            rows: 0,
            total: Xxh3::new(),
        }
    }

    /// The next chunk.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, DiskError> {
        if self.finished {
            return Ok(None);
        }
        let (mut rows, mut bytes) = (Vec::new(), 2);
        while let Some((key, value)) = self.next_row()? {
            let size = 8 + key.len() + value.len();
            if !rows.is_empty() && bytes + size > CHUNK_BYTES - CHECKSUM_BYTES {
                self.ahead.push((key, value));
                break;
            }
            bytes += size;
            rows.push((key, value));
        }
        // As long as it gets: one that grew row by row would be copied at each doubling.
        let mut chunk = Vec::with_capacity(bytes + TRAILER_BYTES + CHECKSUM_BYTES);
        chunk.push(FORMAT);
        if rows.is_empty() {
            self.finished = true;
            chunk.push(TRAILER);
            chunk.extend_from_slice(&self.rows.to_be_bytes());
            chunk.extend_from_slice(&self.total.digest128().to_be_bytes());
        } else {
            chunk.push(ROWS);
            for (key, value) in &rows {
                put_bytes(&mut chunk, key);
                put_bytes(&mut chunk, value);
            }
            self.rows += rows.len() as u64;
            self.total.update(&chunk[2..]);
        }
        let checksum = xxh3_64(&chunk);
        chunk.extend_from_slice(&checksum.to_be_bytes());
        Ok(Some(chunk))
    }

    fn next_row(&mut self) -> Result<Option<Row>, DiskError> {
        if self.ahead.is_empty() && !self.exhausted {
            self.ahead = self.view.scan(&self.from, SCAN_ROWS)?;
            self.exhausted = self.ahead.len() < SCAN_ROWS;
            if let Some((last, _)) = self.ahead.last() {
                // The smallest key above the last one.
                self.from = last.clone();
                self.from.push(0);
            }
            // Planted bug: the table of keys is left out.
            mutant!("M07", { self.ahead.retain(|(key, _)| key.first() != Some(&super::keys::KEY)) });
            self.ahead.reverse();
        }
        Ok(self.ahead.pop())
    }
}

/// Why a snapshot was refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SnapshotError {
    /// A checksum, a length or the order is wrong.
    #[error("snapshot is damaged: {0}")]
    Damaged(String),
    /// The trailer did not come.
    #[error("snapshot is incomplete")]
    Incomplete,
}

/// Checks chunks one by one and gives their rows.
#[derive(Default)]
pub struct SnapshotWriter {
    last_key: Option<Vec<u8>>,
    rows: u64,
    total: Xxh3,
    finished: bool,
}

impl SnapshotWriter {
    /// The rows of one chunk; empty for the trailer.
    pub fn accept(&mut self, chunk: &[u8]) -> Result<Vec<Row>, SnapshotError> {
        if self.finished {
            return Err(damaged("a chunk follows the trailer"));
        }
        let length = chunk.len().checked_sub(CHECKSUM_BYTES).ok_or_else(|| damaged("a chunk is too short"))?;
        let (content, checksum) = chunk.split_at(length);
        if xxh3_64(content).to_be_bytes() != checksum {
            return Err(damaged("the checksum of a chunk is wrong"));
        }
        match content {
            [FORMAT, ROWS, body @ ..] => self.accept_rows(body),
            [FORMAT, TRAILER, body @ ..] => {
                let (rows, total) = body.split_first_chunk::<8>().ok_or_else(|| damaged("the trailer is too short"))?;
                if *rows != self.rows.to_be_bytes() {
                    return Err(damaged("the number of rows is wrong"));
                }
                if total != self.total.digest128().to_be_bytes() {
                    return Err(damaged("the hash of the rows is wrong"));
                }
                self.finished = true;
                Ok(Vec::new())
            }
            _ => Err(damaged("a chunk is of no known format")),
        }
    }

    /// After the last chunk: everything was there and agrees with the trailer.
    pub fn finish(self) -> Result<(), SnapshotError> {
        if self.finished { Ok(()) } else { Err(SnapshotError::Incomplete) }
    }

    fn accept_rows(&mut self, body: &[u8]) -> Result<Vec<Row>, SnapshotError> {
        let mut rows = Vec::new();
        let mut rest = body;
        while !rest.is_empty() {
            let key = take_bytes(&mut rest)?.to_vec();
            let value = take_bytes(&mut rest)?.to_vec();
            if self.last_key.as_ref().is_some_and(|last| *last >= key) {
                return Err(damaged("rows are not in order"));
            }
            self.last_key = Some(key.clone());
            rows.push((key, value));
        }
        self.rows += rows.len() as u64;
        self.total.update(body);
        Ok(rows)
    }
}

fn put_bytes(chunk: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("rows are far below 4 GiB: entries are bounded at the edge");
    chunk.extend_from_slice(&length.to_be_bytes());
    chunk.extend_from_slice(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], SnapshotError> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("a row is cut"))?;
    let (bytes, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(|| damaged("a row is cut"))?;
    *rest = after;
    Ok(bytes)
}

fn damaged(problem: &str) -> SnapshotError {
    SnapshotError::Damaged(problem.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::storage::disk::{Disk, RowChange};
    use crate::storage::memory::MemoryDisk;
    use futures::executor::block_on;

    fn disk(rows: u32, value_bytes: usize) -> MemoryDisk {
        let disk = MemoryDisk::default();
        let batch =
            (0..rows).map(|i| RowChange { key: i.to_be_bytes().to_vec(), value: Some(vec![i as u8; value_bytes]) }).collect();
        block_on(disk.write(batch, true)).unwrap();
        disk
    }

    fn chunks(disk: &MemoryDisk) -> Vec<Vec<u8>> {
        let mut reader = SnapshotReader::new(disk.freeze());
        std::iter::from_fn(|| reader.next_chunk().unwrap()).collect()
    }

    #[test]
    fn rows_come_back_in_bounded_chunks() {
        let disk = disk(3000, 1000);
        let chunks = chunks(&disk);
        assert!(chunks.len() > 5);
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES));
        let mut writer = SnapshotWriter::default();
        let rows: Vec<Row> = chunks.iter().flat_map(|chunk| writer.accept(chunk).unwrap()).collect();
        writer.finish().unwrap();
        assert_eq!(rows, disk.freeze().scan(&[], usize::MAX).unwrap());
    }

    #[test]
    fn an_empty_view_is_a_trailer() {
        let chunks = chunks(&MemoryDisk::default());
        assert_eq!(chunks.len(), 1);
        let mut writer = SnapshotWriter::default();
        assert!(writer.accept(&chunks[0]).unwrap().is_empty());
        writer.finish().unwrap();
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let chunks = chunks(&disk(4, 10));
        for number in 0..chunks.len() {
            for byte in 0..chunks[number].len() {
                let mut bad = chunks.clone();
                bad[number][byte] ^= 0x10;
                let mut writer = SnapshotWriter::default();
                let outcome = bad.iter().try_for_each(|chunk| writer.accept(chunk).map(drop));
                assert!(outcome.is_err(), "chunk {number} byte {byte}");
            }
        }
    }

    #[test]
    fn a_missing_or_repeated_chunk_is_found() {
        let chunks = chunks(&disk(3000, 1000));
        for number in 0..chunks.len() {
            let mut writer = SnapshotWriter::default();
            let mut fewer = chunks.clone();
            fewer.remove(number);
            let outcome = fewer.iter().try_for_each(|chunk| writer.accept(chunk).map(drop)).and_then(|()| writer.finish());
            assert!(outcome.is_err(), "without chunk {number}");
        }
        let mut writer = SnapshotWriter::default();
        writer.accept(&chunks[0]).unwrap();
        assert!(writer.accept(&chunks[0]).is_err());
    }
}
