//! One table: ordered rows, each with the hash of its stored bytes.

use std::collections::BTreeMap;

/// A value and the hash of its row as stored, 0 while it waits to be encoded at the end of its entry. In an allocation of its
/// own: nodes of the tree are half empty.
#[derive(Clone, Debug)]
pub(super) struct Row<V> {
    pub value: V,
    pub hash: u128,
}

/// Rows by key.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, Box<Row<V>>>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { rows: BTreeMap::new() }
    }
}

impl<K: Ord, V> Table<K, V> {
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.rows.get(key).map(|row| &row.value)
    }

    pub fn row_mut(&mut self, key: &K) -> Option<&mut Row<V>> {
        self.rows.get_mut(key).map(Box::as_mut)
    }

    pub fn hash(&self, key: &K) -> u128 {
        self.rows.get(key).map_or(0, |row| row.hash)
    }

    /// Puts a value and gives what was there.
    pub fn insert(&mut self, key: K, value: V, hash: u128) -> Option<V> {
        self.rows.insert(key, Box::new(Row { value, hash })).map(|row| row.value)
    }

    /// Fills an empty table at once, which is faster than row by row, and leaves the nodes of the tree full.
    pub fn load(&mut self, rows: Vec<(K, Box<Row<V>>)>) {
        assert!(self.rows.is_empty(), "what is there would be lost");
        self.rows = rows.into_iter().collect();
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.rows.remove(key).map(|row| row.value)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> + '_ {
        self.rows.values().map(|row| &row.value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &Row<V>)> + '_ {
        self.rows.iter().map(|(key, row)| (key, row.as_ref()))
    }

    pub fn first(&self) -> Option<(&K, &V)> {
        self.rows.first_key_value().map(|(key, row)| (key, &row.value))
    }

    pub fn range(&self, range: impl std::ops::RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> + '_ {
        self.rows.range(range).map(|(key, row)| (key, &row.value))
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }
}
