//! THE list of commands and flags, each said once.
//!
//! Parsing, `--help`, shell completion and the check that the manual is complete all follow from
//! [`COMMANDS`], [`GROUPS`] and the facts beside them; no other place of the program knows a flag's
//! name but the command that reads it. The types are here, the rows in `commands.rs`, the flags in
//! `flags.rs`, and what is not a command but belongs in the manual too in `facts.rs`.

pub mod commands;
pub mod facts;
pub mod flags;

use super::parse::Said;
use super::{Failure, Session};

pub use commands::{COMMANDS, GROUPS};

/// What runs a command.
pub type Run = fn(&mut Session<'_>, &Said) -> Result<(), Failure>;

/// One command.
pub struct Command {
    /// The words after `qu`.
    pub path: &'static [&'static str],
    /// What must follow, in order.
    pub args: &'static [Arg],
    /// What may follow, anywhere.
    pub flags: &'static [&'static Flag],
    /// One line: what it does.
    pub short: &'static str,
    /// Paragraphs: what an operator should know beyond that. May be empty.
    pub long: &'static str,
    /// Command lines that work, one a line, without the prompt.
    pub examples: &'static [&'static str],
    /// What runs it.
    pub run: Run,
}

/// Words that need another word after them.
pub struct Group {
    /// The words after `qu`.
    pub path: &'static [&'static str],
    /// One line: what its commands are about.
    pub short: &'static str,
}

/// A positional argument.
pub struct Arg {
    /// Its name in help and errors, without brackets.
    pub name: &'static str,
    /// May be left out, and may be several: only for the last one.
    pub many: bool,
    /// The only words that it may be; empty: anything.
    pub words: &'static [&'static str],
}

/// A flag, for all commands that have it.
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    /// One-letter form.
    pub letter: Option<char>,
    /// What follows it.
    pub value: Value,
    /// May be given several times.
    pub many: bool,
    /// One line: what it does.
    pub doc: &'static str,
    /// What holds when it is not given, as text; empty: nothing worth saying.
    pub default: &'static str,
}

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    None,
    /// Nothing, or `=true`, or `=false`.
    Switch,
    /// A text, called so in help.
    Text(&'static str),
    /// The name of a file; `-` is standard input.
    File,
    /// The name of a directory.
    Directory,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or nothing, which means the first.
    MaybeWord(&'static [&'static str]),
}

impl Command {
    /// `qu check add http`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("qu {}", self.path.join(" "))
    }

    /// `qu check add http <name> <url> [flags]`.
    #[must_use]
    pub fn usage(&self) -> String {
        let mut text = self.name();
        for arg in self.args {
            text.push(' ');
            text.push_str(&arg.shown());
        }
        if !self.flags.is_empty() {
            text.push_str(" [flags]");
        }
        text
    }

    /// The flag of that name, if this command has it.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().copied().find(|f| f.name == name)
    }
}

impl Arg {
    /// `<name>`, `on|off`, `[command...]`.
    #[must_use]
    pub fn shown(&self) -> String {
        match (self.many, self.words) {
            (true, _) => format!("[{}...]", self.name),
            (false, []) => format!("<{}>", self.name),
            (false, words) => words.join("|"),
        }
    }
}

impl Flag {
    /// `--interval DURATION`, `-y, --yes`, `--starttls[=true|false]`.
    #[must_use]
    pub fn shown(&self) -> String {
        let letter = self.letter.map_or(String::new(), |c| format!("-{c}, "));
        let value = match self.value {
            Value::None => String::new(),
            Value::Switch => "[=true|false]".to_owned(),
            Value::Text(what) => format!(" {what}"),
            Value::File => " FILE".to_owned(),
            Value::Directory => " DIR".to_owned(),
            Value::Word(words) => format!(" {}", words.join("|")),
            Value::MaybeWord(words) => format!(" [{}]", words.join("|")),
        };
        format!("{letter}--{}{value}", self.name)
    }
}

/// The command with exactly these words.
#[must_use]
pub fn command(path: &[&str]) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.path == path)
}

/// The group with exactly these words; no words at all are `qu` itself, which is none.
#[must_use]
pub fn group(path: &[&str]) -> Option<&'static Group> {
    GROUPS.iter().find(|g| g.path == path)
}

/// The words that may follow these, in the table's order, each once.
#[must_use]
pub fn next_words(path: &[&str]) -> Vec<&'static str> {
    let mut words: Vec<&'static str> = Vec::new();
    for command in COMMANDS {
        let follows = command.path.len() > path.len() && command.path.starts_with(path);
        let word = command.path.get(path.len()).copied().filter(|_| follows);
        if let Some(word) = word.filter(|w| !words.contains(w)) {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests;
