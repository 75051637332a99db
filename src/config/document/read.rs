//! The reading pass: a shape drives the parser, fields come out.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::scan::At;
use super::{Field, Shape, Step, Value, locate};
use crate::base::text::shorten;

/// Why a text could not be read, and where.
#[derive(Debug)]
pub(super) struct Failed {
    pub at: At,
    problem: Problem,
    path: Vec<Step>,
    /// What was expected at the end of the path.
    shape: &'static Shape,
}

#[derive(Clone, Debug)]
enum Problem {
    Unknown(String),
    Twice(&'static str),
    Shape,
    Key,
    TooMuch,
    Syntax(String),
}

/// What the pass keeps beside the parser: errors of the parser carry a place and a text, and the
/// text is not good enough.
struct Context {
    path: RefCell<Vec<Step>>,
    shape: Cell<&'static Shape>,
    problem: RefCell<Option<Problem>>,
    /// Bytes of values that may still come. Without aliases no text yields more than it has.
    budget: Cell<usize>,
}

impl Context {
    fn fail<E: serde::de::Error>(&self, problem: Problem) -> E {
        *self.problem.borrow_mut() = Some(problem);
        E::custom("")
    }

    fn spend<E: serde::de::Error>(&self, bytes: usize) -> Result<(), E> {
        match self.budget.get().checked_sub(bytes) {
            Some(left) => {
                self.budget.set(left);
                Ok(())
            }
            None => Err(self.fail(Problem::TooMuch)),
        }
    }
}

/// Reads a text of this shape, which is one with fields.
pub(super) fn read(text: &str, shape: &'static Shape) -> Result<Vec<(&'static str, Value)>, Failed> {
    let context = Context {
        path: RefCell::default(),
        shape: Cell::new(shape),
        problem: RefCell::default(),
        // An escape of two bytes can stand for a character of three.
        budget: Cell::new(text.len().saturating_mul(2).saturating_add(64)),
    };
    let parser = serde_yaml::Deserializer::from_str(text);
    match (Reader { context: &context, shape }).deserialize(parser) {
        Ok(Value::Fields(fields)) => Ok(fields),
        Ok(_) => Ok(Vec::new()),
        Err(e) => {
            let at = e.location().map_or(At::TOP, |l| At { line: l.line(), column: l.column() });
            let problem = context.problem.take().unwrap_or_else(|| Problem::Syntax(syntax(&e.to_string())));
            Err(Failed { at, problem, path: context.path.take(), shape: context.shape.get() })
        }
    }
}

/// What the parser says, without the places: `P at line 3 column 2, C at line 1 column 1`.
fn syntax(said: &str) -> String {
    if said.contains("more than one document") {
        return "more than one document; a file holds one".to_owned();
    }
    let part = |p: &str| p.split(" at line ").next().unwrap_or(p).trim().to_owned();
    let (problem, context) = said.split_once(", ").unwrap_or((said, ""));
    match part(context) {
        empty if empty.is_empty() => part(problem),
        context => format!("{}, {context}", part(problem)),
    }
}

/// Reads a value of one shape.
#[derive(Clone, Copy)]
struct Reader<'c> {
    context: &'c Context,
    shape: &'static Shape,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        self.context.shape.set(self.shape);
        // As an option first: that tells an empty value from the text "null".
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    /// Called by the parser for one purpose: to describe a mismatch of shapes.
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        *self.context.problem.borrow_mut() = Some(Problem::Shape);
        f.write_str("another shape")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(match self.shape {
            Shape::Text => Value::Null,
            // `checks:` with nothing below it is what is left when the last one is deleted.
            Shape::Texts | Shape::Items(..) => Value::List(Vec::new()),
            Shape::Fields(_) => Value::Fields(Vec::new()),
        })
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.shape {
            Shape::Text => from.deserialize_str(self),
            Shape::Texts | Shape::Items(..) => from.deserialize_seq(self),
            Shape::Fields(_) => from.deserialize_map(self),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.context.spend(text.len())?;
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let (word, inner): (_, &'static Shape) = match self.shape {
            Shape::Items(word, shape) => (Some(*word), shape),
            _ => (None, &Shape::Text),
        };
        let mut list = Vec::new();
        loop {
            let step = Step { index: list.len(), name: word, item: word.is_some() };
            self.context.path.borrow_mut().push(step);
            let next = from.next_element_seed(Reader { context: self.context, shape: inner })?;
            self.context.path.borrow_mut().pop();
            self.context.shape.set(self.shape);
            self.context.spend(1)?;
            match next {
                Some(value) => list.push(value),
                None => return Ok(Value::List(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let known: &'static [Field] = if let Shape::Fields(known) = self.shape { known } else { &[] };
        let mut fields: Vec<(&'static str, Value)> = Vec::new();
        while let Some(field) = from.next_key_seed(Key { context: self.context, known, have: &fields })? {
            let step = Step { index: fields.len(), name: Some(field.name), item: false };
            self.context.path.borrow_mut().push(step);
            let value = from.next_value_seed(Reader { context: self.context, shape: &field.shape })?;
            self.context.path.borrow_mut().pop();
            self.context.shape.set(self.shape);
            fields.push((field.name, value));
        }
        Ok(Value::Fields(fields))
    }
}

/// Reads the name of a field: one that is known and was not there yet.
struct Key<'c, 'h> {
    context: &'c Context,
    known: &'static [Field],
    have: &'h [(&'static str, Value)],
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = &'static Field;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<&'static Field, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, '_> {
    type Value = &'static Field;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        *self.context.problem.borrow_mut() = Some(Problem::Key);
        f.write_str("the name of a field")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<&'static Field, E> {
        self.context.spend(name.len())?;
        let Some(field) = self.known.iter().find(|f| f.name == name) else {
            return Err(self.context.fail(Problem::Unknown(shorten(name, 60))));
        };
        if self.have.iter().any(|(have, _)| *have == name) {
            return Err(self.context.fail(Problem::Twice(field.name)));
        }
        Ok(field)
    }
}

impl Failed {
    /// The sentence; the text is searched once more for the name of the item.
    pub fn sentence(&self, text: &str) -> String {
        let inside = self.inside(text).map(|i| format!(" in {i}")).unwrap_or_default();
        match &self.problem {
            Problem::Unknown(name) => format!(
                "unknown field {name:?}{inside}; written by a newer qu? upgrade this node, or remove the field"
            ),
            Problem::Twice(name) => format!("field {name:?} is there twice{inside}; remove one"),
            Problem::Key => format!("a list or mapping stands where a field's name should be{inside}"),
            Problem::TooMuch => "values are repeated by aliases (*), which are not allowed here".to_owned(),
            Problem::Syntax(why) => format!("not valid YAML: {why}"),
            Problem::Shape => format!("{} {}", self.subject(&inside), self.wanted()),
        }
    }

    fn subject(&self, inside: &str) -> String {
        match self.path.last() {
            None => "the file".to_owned(),
            Some(Step { item: true, .. }) => inside.trim_start_matches(" in ").to_owned(),
            Some(Step { name: Some(field), .. }) => format!("{field:?}{inside}"),
            Some(Step { index, .. }) => {
                let field = self.path.iter().rev().find_map(|s| s.name).unwrap_or("");
                format!("value {} of {field:?}{inside}", index + 1)
            }
        }
    }

    fn wanted(&self) -> &'static str {
        match self.shape {
            Shape::Text => "must be a single value, not a list or fields",
            Shape::Texts => "must be a list, like [one, two]",
            Shape::Items(..) => "must be a list; each item begins with a dash",
            Shape::Fields(_) => "must have fields, like \"name: value\"",
        }
    }

    /// What surrounds the place: the item, or the field with fields of its own.
    fn inside(&self, text: &str) -> Option<String> {
        if let Some(at) = self.path.iter().rposition(|s| s.item) {
            let upto: Vec<usize> = self.path.iter().take(at + 1).map(|s| s.index).collect();
            let Step { index, name, .. } = self.path.get(at)?;
            let known = locate::names(text, &upto);
            let known = known.iter().map(|(n, v)| (*n, v.as_str()));
            return Some(super::label(name.unwrap_or("item"), *index, known));
        }
        // The path ends with the field that is wrong itself when its shape is.
        let outer = match self.problem {
            Problem::Shape => self.path.split_last().map_or(&[][..], |(_, outer)| outer),
            _ => &self.path[..],
        };
        outer.last().and_then(|s| s.name).map(str::to_owned)
    }
}
