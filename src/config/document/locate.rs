//! Places of values: the text is parsed once more and made to fail at the value that is wanted,
//! since the parser tells places only in its errors.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::scan::At;

/// Where the value is that these steps lead to; the top when they lead nowhere.
pub(super) fn value(text: &str, path: &[usize]) -> At {
    place(text, path, Goal::Value)
}

/// Where the name of the field is that these steps lead to.
pub(super) fn key(text: &str, path: &[usize]) -> At {
    place(text, path, Goal::Key)
}

/// What the thing that these steps lead to is called: its `name`, `id`, `node_id`, as far as they
/// can be read.
pub(super) fn names(text: &str, path: &[usize]) -> Vec<(&'static str, String)> {
    let found = RefCell::default();
    // It always ends in an error, or the path leads nowhere: either way `found` tells.
    drop(Walk { path, goal: Goal::Names(&found) }.deserialize(serde_yaml::Deserializer::from_str(text)));
    found.take()
}

fn place(text: &str, path: &[usize], goal: Goal<'_>) -> At {
    let failed = Walk { path, goal }.deserialize(serde_yaml::Deserializer::from_str(text)).err();
    failed.and_then(|e| e.location()).map_or(At::TOP, |l| At { line: l.line(), column: l.column() })
}

#[derive(Clone, Copy)]
enum Goal<'g> {
    Value,
    Key,
    Names(&'g RefCell<Vec<(&'static str, String)>>),
}

/// Goes along a path; fails at its end.
#[derive(Clone, Copy)]
struct Walk<'p, 'g> {
    path: &'p [usize],
    goal: Goal<'g>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        match (self.path, self.goal) {
            ([], Goal::Value | Goal::Key) => from.deserialize_any(Stop),
            _ => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list or fields")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return Err(A::Error::custom("found")) };
        for _ in 0..*first {
            from.next_element::<IgnoredAny>()?;
        }
        from.next_element_seed(Walk { path: rest, ..self })?;
        Err(A::Error::custom("found"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let Some((first, rest)) = self.path.split_first() else { return self.collect(from) };
        for _ in 0..*first {
            from.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if rest.is_empty() && matches!(self.goal, Goal::Key) {
            from.next_key_seed(Walk { path: &[], goal: Goal::Key })?;
        } else {
            from.next_key::<IgnoredAny>()?;
            from.next_value_seed(Walk { path: rest, ..self })?;
        }
        Err(A::Error::custom("found"))
    }
}

impl Walk<'_, '_> {
    fn collect<'de, A: MapAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        while let Some(name) = from.next_key::<String>()? {
            let word = ["name", "id", "node_id"].into_iter().find(|w| *w == name);
            if let (Some(word), Goal::Names(found)) = (word, self.goal) {
                let text = from.next_value::<String>()?;
                found.borrow_mut().push((word, text));
            } else {
                from.next_value::<IgnoredAny>()?;
            }
        }
        Err(A::Error::custom("found"))
    }
}

/// Accepts nothing, so that the parser fails right here.
struct Stop;

impl Visitor<'_> for Stop {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("nothing")
    }
}
