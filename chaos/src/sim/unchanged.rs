//! Rows as JSON, each made once for as long as the row stays as it is: from one index to the next nine of ten do, and an hour has
//! ten thousand indices.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::world::json;

/// Rows of one kind, as they were last time.
#[derive(Debug)]
pub struct Unchanged<K, R> {
    last: BTreeMap<K, (R, Arc<Value>)>,
}

impl<K, R> Default for Unchanged<K, R> {
    fn default() -> Self {
        Unchanged { last: BTreeMap::new() }
    }
}

impl<K: Ord + Copy, R: Clone + PartialEq + Serialize> Unchanged<K, R> {
    /// These rows as the product writes them. What is not among them is forgotten.
    pub fn json<'a>(&mut self, rows: impl Iterator<Item = (K, &'a R)>) -> Vec<(K, Arc<Value>)>
    where
        R: 'a,
    {
        let mut last = std::mem::take(&mut self.last);
        for (id, row) in rows {
            let kept = last.remove(&id).filter(|(known, _)| known == row);
            self.last.insert(id, kept.unwrap_or_else(|| (row.clone(), Arc::new(json(row)))));
        }
        self.last.iter().map(|(id, (_, value))| (*id, value.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_made_again_only_when_it_is_another_and_forgotten_when_it_is_gone() {
        let mut rows = Unchanged::<u8, String>::default();
        let (first, second, other) = ("one".to_owned(), "two".to_owned(), "three".to_owned());
        let made = rows.json([(1, &first), (2, &second)].into_iter());
        let again = rows.json([(1, &first), (2, &other)].into_iter());
        assert!(Arc::ptr_eq(&made[0].1, &again[0].1));
        assert_eq!((*again[0].1).clone(), Value::from("one"));
        assert_eq!((*again[1].1).clone(), Value::from("three"));
        assert!(rows.json(std::iter::empty()).is_empty());
        assert!(!Arc::ptr_eq(&made[0].1, &rows.json(std::iter::once((1, &first)))[0].1));
    }
}
