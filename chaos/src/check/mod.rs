//! The checkers: one property a file, each of which reads a [`Record`] and nothing else, and gives one [`Judgement`].
//!
//! They know nothing of the product but the names in its JSON: what a lease books, whether a plan fits and what a refusal
//! needs to be right are written a second time in [`model`], point by point and slowly, so that one mistake does not hide the
//! other. Each checker has hand-written histories beside it that make it fire, and one that passes.

mod applied;
pub mod bounded;
pub mod cancelled;
pub mod clean;
mod closed;
pub mod cloud;
pub mod committed;
mod crammed;
mod crowded;
pub mod double_booking;
mod downtimes;
pub mod early;
pub mod expire;
mod failed;
pub mod fencing;
pub mod followed;
mod foreign;
pub mod gentle;
pub mod hashes;
pub mod healing;
mod inquiries;
pub mod joined;
pub mod kept;
pub mod keys;
pub mod late;
mod leases;
pub mod lists;
pub mod liveness;
pub mod load;
pub mod lost;
pub mod model;
pub mod monotonic;
pub mod offers;
pub mod once;
pub mod order;
pub mod outcome;
mod paced;
pub mod preempt;
pub mod quota;
pub mod refused;
pub mod replay;
pub mod rows;
pub mod rules;
pub mod search;
pub mod series;
mod shown;
pub mod signed;
#[cfg(test)]
pub(crate) mod testing;
pub mod told;
mod unseen;
pub mod used;
pub mod waits;
pub mod wanted;
pub mod watch;
pub mod witness;

use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::report::Verdict;

/// So many pieces of evidence are kept of one checker; the others are counted.
const EVIDENCE_MAX: usize = 8;

/// What says that something happens in the end.
const IN_THE_END: [&str; 5] = ["A2", "A5", "A8", "V1", "V2"];

/// What one checker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Its name (docs/chaos.md).
    pub check: String,
    /// Whether the property held.
    pub verdict: Verdict,
    /// How many facts it looked at: nothing looked at proves nothing.
    pub looked_at: u64,
    /// What it saw: for each breach the lines and operations that show it.
    pub evidence: Vec<String>,
}

/// What all checkers say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// One for each.
    pub judgements: Vec<Judgement>,
}

impl Board {
    /// The worst of all.
    pub fn verdict(&self) -> Verdict {
        self.judgements.iter().map(|judgement| judgement.verdict).max().unwrap_or(Verdict::Unknown)
    }
}

/// A checker's notes while it looks.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    looked_at: u64,
    violations: Vec<String>,
    unknown: Vec<String>,
}

impl Sheet {
    /// One more fact was looked at.
    pub fn look(&mut self) {
        self.looked_at += 1;
    }

    /// The property did not hold.
    pub fn violation(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }

    /// It could not be told whether it held.
    pub fn unknown(&mut self, text: impl Into<String>) {
        self.unknown.push(text.into());
    }

    /// Looks at a fact that must hold.
    pub fn must(&mut self, holds: bool, text: impl FnOnce() -> String) {
        self.look();
        if !holds {
            self.violation(text());
        }
    }

    /// The judgement.
    pub fn close(self, check: &str) -> Judgement {
        let (verdict, mut evidence) = match (self.violations.is_empty(), self.unknown.is_empty()) {
            (false, _) => (Verdict::Violation, self.violations),
            (true, false) => (Verdict::Unknown, self.unknown),
            (true, true) => (Verdict::Pass, Vec::new()),
        };
        if evidence.len() > EVIDENCE_MAX {
            let more = evidence.len() - EVIDENCE_MAX;
            evidence.truncate(EVIDENCE_MAX);
            evidence.push(format!("and {more} more"));
        }
        Judgement { check: check.to_owned(), verdict, looked_at: self.looked_at, evidence }
    }
}

/// Judges a run.
pub fn judge(record: &Record) -> Board {
    let checks: &[fn(&Record) -> Judgement] = &[
        witness::judge,
        search::judge,
        watch::judge,
        followed::judge,
        double_booking::judge,
        kept::judge,
        refused::judge,
        quota::judge,
        series::judge,
        offers::judge,
        waits::judge,
        preempt::judge,
        expire::judge,
        joined::judge,
        hashes::judge,
        healing::judge,
        monotonic::judge,
        early::judge,
        late::judge,
        cancelled::judge,
        fencing::judge,
        signed::judge,
        once::judge,
        committed::judge,
        order::judge,
        clean::judge,
        gentle::judge,
        told::judge,
        liveness::commits,
        liveness::heals,
        bounded::judge,
        load::steady,
        load::sheds,
        lost::refuses,
        lost::rebuilds,
        crate::coverage::goals::judge,
    ];
    let judgements = checks.iter().map(|check| check(record));
    // A cluster that lost too much does nothing more, and is promised to do nothing wrong.
    let promised = |judgement: &Judgement| !record.plan.is_beyond() || !IN_THE_END.contains(&judgement.check.as_str());
    Board { judgements: judgements.filter(promised).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checkers and their models would share a mistake with the product whose code they used.
    #[test]
    fn no_checker_uses_the_product() {
        let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/check"))];
        let mut read = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("the folder of the checkers is there") {
                let path = entry.expect("an entry reads").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).expect("a source reads");
                for product in ["ledger", "node", "client"] {
                    let name = format!("leasehold_{product}");
                    assert!(!text.contains(&name), "{} uses {name}", path.display());
                }
                read += 1;
            }
        }
        assert!(read > 50, "{read} files");
    }

    #[test]
    fn the_worst_sheet_decides_and_evidence_is_bounded() {
        let mut board = Board::default();
        assert_eq!(board.verdict(), Verdict::Unknown, "nobody looked");
        board.judgements.push(Sheet::default().close("a"));
        assert_eq!(board.verdict(), Verdict::Pass);
        let mut sheet = Sheet::default();
        sheet.unknown("u");
        board.judgements.push(sheet.clone().close("b"));
        assert_eq!(board.verdict(), Verdict::Unknown);
        (0..20).for_each(|n| sheet.must(n % 2 == 0, || format!("{n}")));
        let judgement = sheet.close("c");
        assert_eq!((judgement.verdict, judgement.looked_at, judgement.evidence.len()), (Verdict::Violation, 20, 9));
        board.judgements.push(judgement);
        assert_eq!(board.verdict(), Verdict::Violation);
    }
}
