//! YAML as this program's files use it: text in, fields out, and for every value the line and
//! column when something is wrong with it.
//!
//! A file is described by a [`Shape`]: which fields may be where. Reading is one pass that takes
//! every single value as the text that stands in the file (so that `name: 1e3` stays `1e3`) and
//! refuses unknown and doubled fields. The parser tells places only in its errors; to find the
//! place of a value that turns out to be wrong later, the text is parsed once more and made to
//! fail there. That costs time only when there is an error to tell.
//!
//! Nothing here knows what the fields mean, and no message ever contains a value.

mod locate;
mod read;
pub(crate) mod scan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use crate::base::text::{harmless, shorten};

/// The largest file that is read, bytes.
pub const LARGEST_FILE: usize = 64 * 1024 * 1024;
/// No message is longer than this, characters: it must fit a log line.
const LONGEST_MESSAGE: usize = 500;

/// What is wrong in a file, and where: `cluster.yaml:41:5: unknown field ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// As the caller named the file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// One line, without secrets.
    pub message: String,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

impl std::error::Error for YamlError {}

/// What may be in one place of a file.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A single value.
    Text,
    /// A list of single values.
    Texts,
    /// Fields with names.
    Fields(&'static [Field]),
    /// A list of things with fields; the first word is what one of them is called.
    Items(&'static str, &'static Shape),
}

/// A field that a file may have.
#[derive(Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    pub shape: Shape,
}

/// A field with a single value.
pub(crate) const fn text(name: &'static str) -> Field {
    Field { name, shape: Shape::Text }
}

/// A field with a list of single values.
pub(crate) const fn texts(name: &'static str) -> Field {
    Field { name, shape: Shape::Texts }
}

/// What was found in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A single value, as it stands in the file.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// Fields in the order of the file.
    Fields(Vec<(&'static str, Value)>),
}

/// One step from the top of a file to a value: the n-th entry of a mapping or list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub index: usize,
    /// The name of the field, or the word for an item; none for a single value in a list.
    pub name: Option<&'static str>,
    /// The step goes into a list of items.
    pub item: bool,
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    file: &'t str,
    text: &'t str,
    root: Vec<(&'static str, Value)>,
}

impl<'t> Document<'t> {
    /// Reads a whole file.
    ///
    /// # Errors
    /// What is not YAML, too large, or not of this shape.
    pub fn read(file: &'t str, text: &'t str, shape: &'static Shape) -> Result<Document<'t>, YamlError> {
        if text.len() > LARGEST_FILE {
            let why = format!("larger than {} MiB; that is no configuration", LARGEST_FILE / 1024 / 1024);
            return Err(error(file, scan::At::TOP, &why));
        }
        if text.lines().all(|l| l.trim().is_empty() || l.starts_with('#')) {
            return Err(error(file, scan::At::TOP, "the file is empty"));
        }
        scan::scan(text).map_err(|(at, why)| error(file, at, &why))?;
        match read::read(text, shape) {
            Ok(root) => Ok(Document { file, text, root }),
            Err(failed) => Err(error(file, failed.at, &failed.sentence(text))),
        }
    }

    /// The top of the file.
    pub fn top<'d>(&'d self) -> Part<'d> {
        Part { document: self, path: Vec::new(), label: String::new(), fields: &self.root }
    }
}

fn error(file: &str, at: scan::At, message: &str) -> YamlError {
    YamlError {
        file: file.to_owned(),
        line: at.line,
        column: at.column,
        message: shorten(&harmless(message), LONGEST_MESSAGE),
    }
}

/// Fields that belong together: the whole file, `settings`, one check.
#[derive(Clone, Debug)]
pub(crate) struct Part<'d> {
    document: &'d Document<'d>,
    path: Vec<usize>,
    label: String,
    fields: &'d [(&'static str, Value)],
}

impl<'d> Part<'d> {
    /// ` in check "web"`; nothing at the top.
    fn inside(&self) -> String {
        if self.label.is_empty() { String::new() } else { format!(" in {}", self.label) }
    }

    /// `check "web"`, as messages name it.
    pub fn label(&self) -> &str {
        &self.label
    }

    fn entry(&self, field: &str) -> Option<(usize, &'d Value)> {
        self.fields.iter().enumerate().find(|(_, (name, _))| *name == field).map(|(n, (_, v))| (n, v))
    }

    /// The names of the fields that are there, empty ones too.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|(name, _)| *name)
    }

    /// A single value; nothing when the field is missing or empty.
    pub fn text(&self, field: &str) -> Option<&'d str> {
        match self.entry(field) {
            Some((_, Value::Text(text))) => Some(text),
            _ => None,
        }
    }

    /// A single value that must be there.
    pub fn need(&self, field: &str) -> Result<&'d str, YamlError> {
        self.text(field).ok_or_else(|| self.missing(field))
    }

    /// The error that a field is missing (or empty).
    pub fn missing(&self, field: &str) -> YamlError {
        match self.entry(field) {
            Some(_) => self.wrong(field, "has no value"),
            None => self.error(&format!("missing field {field:?}{}", self.inside())),
        }
    }

    /// A single value read as what it must be. The message of the value's own kind is shown.
    pub fn parse<T: FromStr>(&self, field: &str) -> Result<Option<T>, YamlError>
    where
        T::Err: fmt::Display,
    {
        self.text(field)
            .map(|text| text.parse().map_err(|e: T::Err| self.bad(field, &e.to_string())))
            .transpose()
    }

    /// A value that must be there, read likewise.
    pub fn parse_needed<T: FromStr>(&self, field: &str) -> Result<T, YamlError>
    where
        T::Err: fmt::Display,
    {
        self.need(field)?.parse().map_err(|e: T::Err| self.bad(field, &e.to_string()))
    }

    /// `true` or `false`.
    pub fn yes_or_no(&self, field: &str) -> Result<Option<bool>, YamlError> {
        match self.text(field) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => {
                Err(self.bad(field, &format!("{:?} is neither true nor false", shorten(other, 60))))
            }
        }
    }

    /// A number from `least` to `most`.
    pub fn number(&self, field: &str, least: u64, most: u64) -> Result<Option<u64>, YamlError> {
        let Some(text) = self.text(field) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u64>().ok().filter(|n| digits && (least..=most).contains(n));
        number.map(Some).ok_or_else(|| {
            self.bad(field, &format!("{:?} is not a number from {least} to {most}", shorten(text, 60)))
        })
    }

    /// A list of single values, each with the error to make when it is bad. Empty when the field
    /// is missing.
    pub fn texts(&self, field: &str) -> Vec<(&'d str, Element<'_, 'd>)> {
        let Some((n, Value::List(list))) = self.entry(field) else { return Vec::new() };
        let name = self.fields.get(n).map_or("", |(name, _)| name);
        let element = |(at, v): (usize, &'d Value)| {
            let text = if let Value::Text(text) = v { text.as_str() } else { "" };
            (text, Element { part: self, field: name, path: [n, at] })
        };
        list.iter().enumerate().map(element).collect()
    }

    /// The fields below a field; none at all when it is missing or empty.
    pub fn part(&self, field: &'static str) -> Option<Part<'d>> {
        let (n, Value::Fields(fields)) = self.entry(field)? else { return None };
        let path = self.below(&[n]);
        Some(Part { document: self.document, path, label: field.to_owned(), fields })
    }

    /// The items below a field; `kind` is what one is called.
    pub fn items(&self, field: &str, kind: &'static str) -> Vec<Part<'d>> {
        let Some((n, Value::List(list))) = self.entry(field) else { return Vec::new() };
        let item = |(at, v): (usize, &'d Value)| {
            let fields: &'d [_] = if let Value::Fields(fields) = v { fields } else { &[] };
            let known = fields.iter().filter_map(|(name, v)| match v {
                Value::Text(text) => Some((*name, text.as_str())),
                _ => None,
            });
            let label = label(kind, at, known);
            Part { document: self.document, path: self.below(&[n, at]), label, fields }
        };
        list.iter().enumerate().map(item).collect()
    }

    fn below(&self, steps: &[usize]) -> Vec<usize> {
        self.path.iter().chain(steps).copied().collect()
    }

    /// Where the part begins.
    pub fn line(&self) -> usize {
        locate::value(self.document.text, &self.path).line
    }

    /// An error about the whole part.
    pub fn error(&self, message: &str) -> YamlError {
        let at = locate::value(self.document.text, &self.path);
        error(self.document.file, at, message)
    }

    /// An error at a field's value (or at the part, when the field is not there):
    /// `"interval" in check "web": WHY`.
    pub fn bad(&self, field: &str, why: &str) -> YamlError {
        let message = format!("{field:?}{}: {why}", self.inside());
        match self.entry(field) {
            Some((n, _)) => {
                let at = locate::value(self.document.text, &self.below(&[n]));
                error(self.document.file, at, &message)
            }
            None => self.error(&message),
        }
    }

    /// An error at a field's name: `"smtp_host" in alert "ops" WHY`.
    pub fn wrong(&self, field: &str, why: &str) -> YamlError {
        let message = format!("{field:?}{} {why}", self.inside());
        match self.entry(field) {
            Some((n, _)) => {
                let at = locate::key(self.document.text, &self.below(&[n]));
                error(self.document.file, at, &message)
            }
            None => self.error(&message),
        }
    }
}

/// One value of a list.
#[derive(Clone, Debug)]
pub(crate) struct Element<'p, 'd> {
    part: &'p Part<'d>,
    field: &'static str,
    path: [usize; 2],
}

impl Element<'_, '_> {
    /// An error at this value: `"alert_ids" in check "web": WHY`.
    pub fn bad(&self, why: &str) -> YamlError {
        let at = locate::value(self.part.document.text, &self.part.below(&self.path));
        let message = format!("{:?}{}: {why}", self.field, self.part.inside());
        error(self.part.document.file, at, &message)
    }
}

/// `check "web"`, `peer <id>`, or `item 3 of the checks` where nothing better is known.
fn label<'v>(
    kind: &'static str,
    index: usize,
    known: impl Iterator<Item = (&'static str, &'v str)>,
) -> String {
    let mut id = None;
    for (field, text) in known {
        match field {
            "name" if !text.is_empty() => return format!("{kind} {:?}", shorten(text, 100)),
            "id" | "node_id" => id = Some(text),
            _ => {}
        }
    }
    match id {
        Some(id) if !id.is_empty() => format!("{kind} {}", shorten(id, 40)),
        _ => format!("{kind} number {}", index + 1),
    }
}
