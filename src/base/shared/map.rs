//! A map in order of its keys whose clones share what did not change.

use std::borrow::Borrow;
use std::fmt;
#[cfg(test)]
use std::ops::Index;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Sorted;

/// Like a `BTreeMap`; a clone costs a counter for each hundred of items.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    items: Sorted<(K, V)>,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> SharedMap<K, V> {
        SharedMap { items: Sorted::default() }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Nothing.
    #[must_use]
    pub fn new() -> SharedMap<K, V> {
        SharedMap::default()
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.items.get(|(k, _)| k.borrow().cmp(key)).map(|(_, value)| value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.items.get_mut(|(k, _)| k.cmp(key)).map(|(_, value)| value)
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Puts a value in; returns the one that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let item = (key.clone(), value);
        self.items.put(item, |(k, _)| k.cmp(&key)).map(|(_, old)| old)
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.items.take(|(k, _)| k.cmp(key)).map(|(_, value)| value)
    }

    /// All items, in order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter(self.items.iter())
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in order of their keys.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// Keeps what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let kept = self.items.iter().filter(|(k, v)| keep(k, v)).cloned();
        self.items = Sorted::from_sorted(kept.collect::<Vec<_>>());
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> SharedMap<K, V> {
    /// What is otherwise in `new`: key, value here, value there. What both share is not looked at.
    pub fn against<'a>(
        &'a self,
        new: &'a SharedMap<K, V>,
    ) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
        let both = self.items.against(&new.items, |(a, _), (b, _)| a.cmp(b));
        both.into_iter().filter_map(|(old, new)| {
            let key = old.or(new).map(|(key, _)| key)?;
            let (old, new) = (old.map(|(_, v)| v), new.map(|(_, v)| v));
            (old != new).then_some((key, old, new))
        })
    }
}

/// Items in order of their keys.
pub struct Iter<'a, K, V>(super::Iter<'a, (K, V)>);

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<(&'a K, &'a V)> {
        self.0.next().map(|(key, value)| (key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}

impl<'a, K: Ord + Clone, V: Clone> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> SharedMap<K, V> {
        let mut items: Vec<(K, V)> = items.into_iter().collect();
        // Stable: of equal keys the last one counts, as in any map.
        items.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut map = Vec::with_capacity(items.len());
        for item in items {
            match map.last_mut() {
                Some((last, value)) if *last == item.0 => *value = item.1,
                _ => map.push(item),
            }
        }
        SharedMap { items: Sorted::from_sorted(map) }
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for SharedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, items: I) {
        for (key, value) in items {
            self.insert(key, value);
        }
    }
}

impl<K: Ord + Clone, V: Clone, const N: usize> From<[(K, V); N]> for SharedMap<K, V> {
    fn from(items: [(K, V); N]) -> SharedMap<K, V> {
        items.into_iter().collect()
    }
}

#[cfg(test)]
impl<K: Ord + Clone, V: Clone> Index<&K> for SharedMap<K, V> {
    type Output = V;

    /// For keys that are known to be there.
    fn index(&self, key: &K) -> &V {
        match self.get(key) {
            Some(value) => value,
            None => panic!("no such key in a map of {} items", self.len()),
        }
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &SharedMap<K, V>) -> bool {
        self.len() == other.len() && self.against(other).next().is_none()
    }
}

impl<K: Ord + Clone, V: Clone + Eq> Eq for SharedMap<K, V> {}

impl<K: Ord + Clone + fmt::Debug, V: Clone + fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Clone + Serialize, V: Clone + Serialize> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.iter())
    }
}

impl<'de, K, V> Deserialize<'de> for SharedMap<K, V>
where
    K: Ord + Clone + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<SharedMap<K, V>, D::Error> {
        struct Items<K, V>(std::marker::PhantomData<(K, V)>);

        impl<'de, K, V> serde::de::Visitor<'de> for Items<K, V>
        where
            K: Ord + Clone + Deserialize<'de>,
            V: Clone + Deserialize<'de>,
        {
            type Value = SharedMap<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut from: A,
            ) -> Result<SharedMap<K, V>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = from.next_entry()? {
                    items.push(item);
                }
                Ok(items.into_iter().collect())
            }
        }

        d.deserialize_map(Items(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::rng::Rng;

    /// The order that [`Ordering`] gives is the one of the keys, in and between groups.
    fn whole(map: &SharedMap<u64, u64>) {
        let keys: Vec<u64> = map.keys().copied().collect();
        assert!(keys.windows(2).all(|w| w[0].cmp(&w[1]) == Ordering::Less), "{keys:?}");
        assert_eq!(keys.len(), map.len());
        assert_eq!(map.is_empty(), keys.is_empty());
    }

    #[test]
    fn whatever_is_done_to_it_it_is_the_map_that_the_library_has() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let range = 1 + rng.below(2000);
            let first = (0..rng.below(1000)).map(|_| (rng.below(range), rng.below(9))).collect::<Vec<_>>();
            let mut map: SharedMap<u64, u64> = first.iter().copied().collect();
            let mut model: BTreeMap<u64, u64> = first.into_iter().collect();
            let (mut held, mut held_model) = (map.clone(), model.clone());
            for step in 0..1500 {
                let (key, value) = (rng.below(range), rng.below(9));
                match rng.below(10) {
                    0..4 => assert_eq!(map.insert(key, value), model.insert(key, value)),
                    4..8 => assert_eq!(map.remove(&key), model.remove(&key)),
                    8 => {
                        assert_eq!(map.get(&key), model.get(&key));
                        if let Some(v) = map.get_mut(&key) {
                            *v += 1;
                            *model.get_mut(&key).unwrap() += 1;
                        }
                    }
                    _ if step % 97 == 0 => {
                        map.retain(|k, _| k % 3 != 0);
                        model.retain(|k, _| k % 3 != 0);
                    }
                    _ if step % 50 == 0 => (held, held_model) = (map.clone(), model.clone()),
                    _ => {}
                }
            }
            whole(&map);
            assert!(map.iter().eq(model.iter()), "seed {seed}");
            assert!(held.iter().eq(held_model.iter()), "a clone is not touched, seed {seed}");
            let differ: BTreeMap<u64, (Option<u64>, Option<u64>)> =
                held.against(&map).map(|(k, a, b)| (*k, (a.copied(), b.copied()))).collect();
            let keys = held_model.keys().chain(model.keys()).copied();
            let expected: BTreeMap<u64, (Option<u64>, Option<u64>)> = keys
                .map(|k| (k, (held_model.get(&k).copied(), model.get(&k).copied())))
                .filter(|(_, (a, b))| a != b)
                .collect();
            assert_eq!(differ, expected, "seed {seed}");
            assert_eq!(held == map, held_model == model);
        }
    }

    #[test]
    fn a_change_shares_all_but_one_group_and_only_that_is_looked_into() {
        let old: SharedMap<u64, u64> = (0..10_000).map(|n| (n, n)).collect();
        let mut new = old.clone();
        assert!(old.items.is_same(&new.items));
        new.insert(5000, 0);
        assert!(!old.items.is_same(&new.items));
        let looked = std::cell::Cell::new(0);
        let order = |(a, _): &(u64, u64), (b, _): &(u64, u64)| {
            looked.set(looked.get() + 1);
            a.cmp(b)
        };
        assert!(old.items.against(&new.items, order).len() <= super::super::MOST);
        assert!(looked.get() <= super::super::MOST);
        assert_eq!(old.against(&new).collect::<Vec<_>>(), [(&5000, Some(&5000), Some(&0))]);
        assert_eq!((old[&5000], new[&5000]), (5000, 0));
    }

    #[test]
    fn its_written_form_is_that_of_a_map() {
        let map = SharedMap::from([("b".to_owned(), 2), ("a".to_owned(), 1), ("b".to_owned(), 3)]);
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(text, r#"{"a":1,"b":3}"#);
        assert_eq!(serde_json::from_str::<SharedMap<String, i32>>(&text).unwrap(), map);
        assert_eq!(map.get("a"), Some(&1));
        assert_eq!(format!("{map:?}"), r#"{"a": 1, "b": 3}"#);
    }
}
