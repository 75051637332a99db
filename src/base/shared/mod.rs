//! Sorted collections whose clones share what did not change.
//!
//! Model: the items lie in groups of some dozens, each group behind a counter of its own. A clone
//! costs a counter for each group; a change copies the one group that it is in, when somebody else
//! holds it too. What differs between two clones is found by looking into the groups that are not
//! the same one, so a configuration of ten thousand checks is followed at the price of a hundred
//! pointers and of what changed.
//!
//! * Items are in strict order, in each group and from group to group; no group is empty.
//! * A group has at most `MOST` items.
//!
//! The order is the caller's, and must be the same at every call: [`map::SharedMap`] keeps it by
//! type, and is what nearly everybody wants.
//!
//! Left out: ranges, and changing many items at once in less than one copy for each group.

pub mod map;

use std::cmp::Ordering;
use std::sync::Arc;

/// Items in one group at most.
const MOST: usize = 96;

/// Items in an order that the caller gives.
#[derive(Clone)]
pub struct Sorted<T> {
    groups: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for Sorted<T> {
    fn default() -> Sorted<T> {
        Sorted { groups: Vec::new(), len: 0 }
    }
}

impl<T: Clone> Sorted<T> {
    /// These items, which are in strict order.
    #[must_use]
    pub fn from_sorted(items: impl IntoIterator<Item = T>) -> Sorted<T> {
        let mut sorted = Sorted::default();
        let mut group = Vec::new();
        for item in items {
            if group.len() == MOST {
                sorted.groups.push(Arc::new(std::mem::take(&mut group)));
            }
            if group.capacity() == 0 {
                group.reserve_exact(MOST);
            }
            group.push(item);
            sorted.len += 1;
        }
        if !group.is_empty() {
            group.shrink_to_fit();
            sorted.groups.push(Arc::new(group));
        }
        sorted
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { groups: self.groups.iter(), group: [].iter(), left: self.len }
    }

    /// The group that has the item or would get it, and where in it; `order` tells how an item
    /// stands to the one that is looked for.
    fn find(&self, order: &impl Fn(&T) -> Ordering) -> (usize, Result<usize, usize>) {
        let after = self.groups.partition_point(|g| g.first().is_some_and(|first| order(first).is_le()));
        let at = after.saturating_sub(1);
        (at, self.groups.get(at).map_or(Err(0), |group| group.binary_search_by(order)))
    }

    /// The item for which `order` says "equal".
    pub fn get(&self, order: impl Fn(&T) -> Ordering) -> Option<&T> {
        let (group, at) = self.find(&order);
        self.groups.get(group)?.get(at.ok()?)
    }

    /// The same, to be changed in place; its order must stay.
    pub fn get_mut(&mut self, order: impl Fn(&T) -> Ordering) -> Option<&mut T> {
        let (group, at) = self.find(&order);
        Arc::make_mut(self.groups.get_mut(group)?).get_mut(at.ok()?)
    }

    /// Puts an item in, in place of an equal one, which is returned.
    pub fn put(&mut self, item: T, order: impl Fn(&T) -> Ordering) -> Option<T> {
        let (at, place) = self.find(&order);
        let Some(shared) = self.groups.get_mut(at) else {
            self.groups.push(Arc::new(vec![item]));
            self.len = 1;
            return None;
        };
        let group = Arc::make_mut(shared);
        match place {
            Ok(place) => return group.get_mut(place).map(|old| std::mem::replace(old, item)),
            Err(place) => group.insert(place, item),
        }
        self.len += 1;
        if group.len() > MOST {
            // What comes in order goes on at the end: then full groups are left behind.
            let last = at + 1 == self.groups.len();
            self.split(at, if last { MOST } else { MOST / 2 });
        }
        None
    }

    fn split(&mut self, at: usize, keep: usize) {
        let Some(shared) = self.groups.get_mut(at) else { return };
        let group = Arc::make_mut(shared);
        let rest = group.split_off(keep);
        group.shrink_to_fit();
        self.groups.insert(at + 1, Arc::new(rest));
    }

    /// Takes the item out for which `order` says "equal".
    pub fn take(&mut self, order: impl Fn(&T) -> Ordering) -> Option<T> {
        let (at, place) = self.find(&order);
        let place = place.ok()?;
        let group = Arc::make_mut(self.groups.get_mut(at)?);
        let gone = group.remove(place);
        self.len -= 1;
        if group.is_empty() {
            self.groups.remove(at);
        } else {
            self.join(at);
        }
        Some(gone)
    }

    /// Two neighbours that together fill half a group become one.
    fn join(&mut self, at: usize) {
        let size = |n: usize| self.groups.get(n).map_or(MOST, |g| g.len());
        let first = if size(at) + size(at + 1) <= MOST / 2 {
            at
        } else if at > 0 && size(at - 1) + size(at) <= MOST / 2 {
            at - 1
        } else {
            return;
        };
        let second = self.groups.remove(first + 1);
        if let Some(group) = self.groups.get_mut(first) {
            Arc::make_mut(group).extend(second.iter().cloned());
        }
    }

    /// Where this one and `new` may differ: each item that is only here, only there, or in both.
    /// Groups that both share are not looked into; `order` is the order of all items.
    pub fn against<'a>(
        &'a self,
        new: &'a Sorted<T>,
        order: impl Fn(&T, &T) -> Ordering,
    ) -> Vec<(Option<&'a T>, Option<&'a T>)> {
        let mut found = Vec::new();
        let (mut here, mut there) = (Cursor::at(&self.groups), Cursor::at(&new.groups));
        loop {
            if here.skip_shared(&mut there) {
                continue;
            }
            match (here.item(), there.item()) {
                (None, None) => return found,
                (Some(a), Some(b)) => match order(a, b) {
                    Ordering::Less => found.push((here.next(), None)),
                    Ordering::Greater => found.push((None, there.next())),
                    Ordering::Equal => found.push((here.next(), there.next())),
                },
                (Some(_), None) => found.push((here.next(), None)),
                (None, Some(_)) => found.push((None, there.next())),
            }
        }
    }

    /// Whether both are the very same groups; false says nothing.
    #[must_use]
    pub fn is_same(&self, other: &Sorted<T>) -> bool {
        self.groups.len() == other.groups.len()
            && self.groups.iter().zip(&other.groups).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// A place in the groups, always at an item or at the end.
struct Cursor<'a, T> {
    groups: &'a [Arc<Vec<T>>],
    at: usize,
}

impl<'a, T> Cursor<'a, T> {
    fn at(groups: &'a [Arc<Vec<T>>]) -> Cursor<'a, T> {
        Cursor { groups, at: 0 }
    }

    fn item(&self) -> Option<&'a T> {
        self.groups.first()?.get(self.at)
    }

    fn next(&mut self) -> Option<&'a T> {
        let item = self.item();
        self.at += 1;
        if self.groups.first().is_some_and(|g| self.at >= g.len()) {
            self.groups = self.groups.get(1..).unwrap_or_default();
            self.at = 0;
        }
        item
    }

    /// Both stand at the beginning of the same group: both go past it.
    fn skip_shared(&mut self, other: &mut Cursor<'a, T>) -> bool {
        match (self.groups, other.groups, self.at, other.at) {
            ([a, rest @ ..], [b, others @ ..], 0, 0) if Arc::ptr_eq(a, b) => {
                (self.groups, other.groups) = (rest, others);
                true
            }
            _ => false,
        }
    }
}

/// Items in order.
pub struct Iter<'a, T> {
    groups: std::slice::Iter<'a, Arc<Vec<T>>>,
    group: std::slice::Iter<'a, T>,
    left: usize,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        loop {
            if let Some(item) = self.group.next() {
                self.left -= 1;
                return Some(item);
            }
            self.group = self.groups.next()?.iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}
