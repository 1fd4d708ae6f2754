//! Planted bugs (chaos-design §8): each is one small deviation at the place of the rule that it breaks, switched on at run
//! time by the chaos tool to see that its checkers bite.
//!
//! Without the feature `mutants` a [`mutant!`](crate::mutant) is the constant `false`, and its block is not compiled at all: no name of
//! one is in the product (architecture D1; `.ci/run` looks for them). With it, this switch is the one thing in the ledger that
//! is neither state nor entry; it is set once, before anything is applied.

/// Whether a planted bug is switched on: `mutant!("M09")`; or does something only then: `mutant!("M09", { … })`.
#[cfg(feature = "mutants")]
#[macro_export]
macro_rules! mutant {
    ($id:literal) => {
        $crate::mutants::is_planted(concat!("planted-bug/", $id))
    };
    ($id:literal, $body:block) => {
        if $crate::mutants::is_planted(concat!("planted-bug/", $id)) $body
    };
}

/// Whether a planted bug is switched on: never, in this build.
#[cfg(not(feature = "mutants"))]
#[macro_export]
macro_rules! mutant {
    ($id:literal) => {
        false
    };
    ($id:literal, $body:block) => {};
}

#[cfg(feature = "mutants")]
mod planted {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, OnceLock, PoisonError};

    static PLANTED: OnceLock<String> = OnceLock::new();
    static REMEMBERED: Mutex<BTreeMap<u64, Vec<u8>>> = Mutex::new(BTreeMap::new());

    /// Plants one bug for the rest of this process, by its id (`M09`).
    ///
    /// # Errors
    /// The id, if one was planted already.
    pub fn plant(id: &str) -> Result<(), String> {
        PLANTED.set(format!("planted-bug/{id}"))
    }

    /// Whether the bug of this name is the planted one. Not inlined: the names stay in the binary, for who looks for them there.
    #[inline(never)]
    pub fn is_planted(name: &str) -> bool {
        PLANTED.get().is_some_and(|planted| planted == name)
    }

    /// For bugs that keep something where the product keeps nothing: what is kept under a number, to be looked at and changed.
    pub fn remembered<T>(number: u64, look: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        look(REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner).entry(number).or_default())
    }
}

#[cfg(feature = "mutants")]
pub use planted::{is_planted, plant, remembered};
