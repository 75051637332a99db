//! A command line against the table: which command, which arguments, which flags.
//!
//! Words come first, `qu check add http`, then arguments and flags in any order; `--` ends the
//! flags. Nothing is looked at but the line itself: no file, no environment. What the values mean
//! is the command's to say, with the help of [`Said`].

use std::ffi::OsString;
use std::fmt::Display;
use std::str::FromStr;

use lexopt::{Arg as Token, Parser};

use super::Failure;
use super::table::{self, COMMANDS, Command, Flag, GROUPS, Value, flags};

/// What a line asks for.
pub enum Line {
    /// Help on these words (a command, a group, or nothing: everything).
    Help(Vec<String>),
    /// The version.
    Version,
    /// The table itself, for tests and for the manual.
    Generate(String),
    /// A command.
    Run(&'static Command, Said),
}

/// What was said with a command.
#[derive(Debug, Default)]
pub struct Said {
    args: Vec<(&'static str, String)>,
    flags: Vec<(&'static str, String)>,
}

/// Reads a line, without the program's name.
///
/// # Errors
/// [`Failure::Usage`] with one line that names what is wrong, and what is near.
pub fn line(args: impl IntoIterator<Item = OsString>) -> Result<Line, Failure> {
    let mut parser = Parser::from_args(args);
    let mut path: Vec<&'static str> = Vec::new();
    let mut said = Said::default();
    loop {
        let found = table::command(&path);
        match parser.next().map_err(|e| usage(e.to_string()))? {
            None => break,
            Some(Token::Value(word)) => {
                let word = readable(word)?;
                match found {
                    None => path.push(next_word(&path, &word)?),
                    Some(command) => match further(&path, &said, &word) {
                        Some(next) => path.push(next),
                        None => said.argument(command, word)?,
                    },
                }
            }
            Some(Token::Long(name)) => {
                let shown = format!("--{name}");
                let name = name.to_owned();
                if name == flags::HELP.name {
                    return Ok(Line::Help(path.iter().map(|w| (*w).to_owned()).collect()));
                }
                if found.is_none() && path.is_empty() {
                    if name == flags::VERSION.name {
                        return Ok(Line::Version);
                    }
                    if name == "generate" {
                        return generate(&mut parser);
                    }
                }
                let flag = found.and_then(|c| c.flag(&name));
                let flag = flag.ok_or_else(|| unknown_flag(&path, found, &shown, &name))?;
                said.flag(flag, &mut parser)?;
            }
            Some(Token::Short(letter)) => {
                let is = |f: &Flag| f.letter == Some(letter);
                if is(&flags::HELP) {
                    return Ok(Line::Help(path.iter().map(|w| (*w).to_owned()).collect()));
                }
                if path.is_empty() && is(&flags::VERSION) {
                    return Ok(Line::Version);
                }
                let flag = found.and_then(|c| c.flags.iter().copied().find(|f| is(f)));
                let shown = format!("-{letter}");
                let flag = flag.ok_or_else(|| unknown_flag(&path, found, &shown, &shown))?;
                said.flag(flag, &mut parser)?;
            }
        }
    }
    let Some(command) = table::command(&path) else { return Err(incomplete(&path)) };
    said.complete(command)?;
    Ok(Line::Run(command, said))
}

impl Said {
    fn argument(&mut self, command: &'static Command, word: String) -> Result<(), Failure> {
        let last = command.args.last().filter(|a| a.many);
        let Some(arg) = command.args.get(self.args.len()).or(last) else {
            return Err(usage(format!("{:?} is one argument too many; usage: {}", word, command.usage())));
        };
        if !arg.words.is_empty() && !arg.words.contains(&word.as_str()) {
            return Err(usage(format!(
                "{:?} is none of {}; usage: {}",
                word,
                arg.words.join(", "),
                command.usage()
            )));
        }
        self.args.push((arg.name, word));
        Ok(())
    }

    fn flag(&mut self, flag: &'static Flag, parser: &mut Parser) -> Result<(), Failure> {
        let name = flag.name;
        let value = match flag.value {
            Value::MaybeWord(words) => maybe_word(words, parser)?,
            Value::None => match parser.optional_value() {
                Some(_) => return Err(usage(format!("--{name} takes no value"))),
                None => String::new(),
            },
            Value::Switch => match parser.optional_value().map(readable).transpose()? {
                None => "true".to_owned(),
                Some(v) if v == "true" || v == "false" => v,
                Some(v) => return Err(usage(format!("--{name}: {v:?} is neither true nor false"))),
            },
            Value::Text(_) | Value::File | Value::Directory | Value::Word(_) => {
                let value =
                    parser.value().map_err(|_| usage(format!("--{name} needs a value: {}", flag.shown())))?;
                readable(value)?
            }
        };
        if let Value::Word(words) | Value::MaybeWord(words) = flag.value
            && !words.contains(&value.as_str())
        {
            return Err(usage(format!("--{name}: {value:?} is none of {}", words.join(", "))));
        }
        if !flag.many && self.flags.iter().any(|(n, _)| *n == name) {
            return Err(usage(format!("--{name} is given twice")));
        }
        self.flags.push((name, value));
        Ok(())
    }

    fn complete(&self, command: &Command) -> Result<(), Failure> {
        match command.args.get(self.args.len()).filter(|a| !a.many) {
            None => Ok(()),
            Some(missing) => {
                Err(usage(format!("{} is missing; usage: {}", missing.shown(), command.usage())))
            }
        }
    }

    /// The argument of that name; empty when the table has none such.
    #[must_use]
    pub fn arg(&self, name: &str) -> &str {
        self.args.iter().find(|(n, _)| *n == name).map_or("", |(_, v)| v)
    }

    /// All arguments.
    pub fn args(&self) -> impl Iterator<Item = &str> {
        self.args.iter().map(|(_, v)| v.as_str())
    }

    /// The argument of that name, parsed.
    ///
    /// # Errors
    /// [`Failure::Usage`] with what its type says.
    pub fn parse_arg<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, Failure> {
        self.arg(name).parse().map_err(|e: T::Err| usage(e.to_string()))
    }

    /// Whether a flag is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|(n, _)| *n == name)
    }

    /// The value of a flag.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// The values of a flag that may be given several times.
    pub fn many<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(move |(n, _)| *n == name).map(|(_, v)| v.as_str())
    }

    /// A switch: on, off, or not given.
    #[must_use]
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.text(name).map(|v| v == "true")
    }

    /// The value of a flag, parsed.
    ///
    /// # Errors
    /// [`Failure::Usage`] with the flag and what its type says.
    pub fn parse<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, Failure> {
        let parsed = self.text(name).map(|v| v.parse().map_err(|e: T::Err| usage(format!("--{name}: {e}"))));
        parsed.transpose()
    }

    /// The value of a flag as a count, from 1 on.
    ///
    /// # Errors
    /// [`Failure::Usage`] with the flag and the value.
    pub fn number(&self, name: &str) -> Result<Option<u32>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let count: Option<u32> = text.parse().ok().filter(|n| *n > 0);
        count.map(Some).ok_or_else(|| usage(format!("--{name}: {text:?} is not a number from 1 on")))
    }

    /// A list separated by commas; an empty text is an empty list.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<Vec<String>> {
        let items =
            |v: &str| v.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect();
        self.text(name).map(items)
    }
}

fn usage(text: String) -> Failure {
    Failure::Usage(text)
}

fn readable(word: OsString) -> Result<String, Failure> {
    word.into_string().map_err(|w| usage(format!("{w:?} is not UTF-8")))
}

/// The value of a flag that may be left out: what follows counts when it is one of the words.
fn maybe_word(words: &'static [&'static str], parser: &mut Parser) -> Result<String, Failure> {
    if let Some(value) = parser.optional_value() {
        return readable(value);
    }
    let next = parser.try_raw_args().and_then(|mut raw| {
        let known = raw.peek().and_then(|w| w.to_str()).is_some_and(|w| words.contains(&w));
        if known { raw.next() } else { None }
    });
    next.map_or_else(|| Ok(words.first().map_or(String::new(), |w| (*w).to_owned())), readable)
}

fn generate(parser: &mut Parser) -> Result<Line, Failure> {
    let what = parser.value().map_err(|_| usage("--generate needs a value: table".into()))?;
    Ok(Line::Generate(readable(what)?))
}

/// A word that leads from one command to another below it, `qu silence` to `qu silence list`: only
/// before anything else was said.
fn further(path: &[&'static str], said: &Said, word: &str) -> Option<&'static str> {
    let first = said.args.is_empty() && said.flags.is_empty();
    table::next_words(path).into_iter().find(|next| first && *next == word)
}

/// The word that follows these, as the table has it.
fn next_word(path: &[&'static str], word: &str) -> Result<&'static str, Failure> {
    let known = table::next_words(path);
    if let Some(found) = known.iter().find(|k| **k == word) {
        return Ok(found);
    }
    let mut whole: Vec<&str> = path.to_vec();
    whole.push(word);
    let whole = whole.join(" ");
    Err(usage(match nearest(word, known.iter().copied()) {
        Some(near) => format!("unknown command {whole:?}; did you mean {near:?}?"),
        None if path.is_empty() => format!("unknown command {whole:?}; qu --help lists all"),
        None => format!("unknown command {whole:?}; qu {} knows {}", path.join(" "), known.join(", ")),
    }))
}

fn incomplete(path: &[&'static str]) -> Failure {
    if path.is_empty() {
        return Failure::NoCommand;
    }
    let known = table::next_words(path).join(", ");
    usage(format!("{:?} needs one more word: {known}", format!("qu {}", path.join(" "))))
}

/// A flag that this command does not have: of another command, mistyped, or in the wrong place.
fn unknown_flag(path: &[&'static str], found: Option<&Command>, shown: &str, name: &str) -> Failure {
    let exists = COMMANDS.iter().any(|c| c.flag(name).is_some());
    let Some(command) = found else {
        return usage(match (exists, path.is_empty()) {
            (true, _) => format!("{shown} comes after the command"),
            (false, true) => format!("unknown flag {shown}; qu --help lists the commands"),
            (false, false) => format!("unknown flag {shown} after {:?}", format!("qu {}", path.join(" "))),
        });
    };
    if exists {
        return usage(format!("{shown} does not apply to {:?}", command.name()));
    }
    let near = nearest(name, command.flags.iter().map(|f| f.name));
    usage(match near {
        Some(near) => format!("unknown flag {shown}; did you mean --{near}?"),
        None => format!("unknown flag {shown}; {} --help lists those of it", command.name()),
    })
}

/// The word that is at most a third of its letters away from what was typed, and nearest to it.
fn nearest<'a>(typed: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |w: &str| w.chars().count().max(3) / 3;
    let scored = words.map(|w| (distance(typed, w), w)).filter(|(d, w)| *d <= near(w));
    scored.min_by_key(|(d, _)| *d).map(|(_, w)| w)
}

/// How many letters to insert, delete, replace or swap with the next one (Damerau's distance, the
/// variant in which no letter is touched twice).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// The words of a help topic, as the table has them.
///
/// # Errors
/// [`Failure::Usage`] when there is no such command or group.
pub fn topic(words: &[String]) -> Result<Vec<&'static str>, Failure> {
    let mut path: Vec<&'static str> = Vec::new();
    for word in words {
        path.push(next_word(&path, word)?);
    }
    debug_assert!(
        path.is_empty() || table::command(&path).is_some() || GROUPS.iter().any(|g| g.path == path)
    );
    Ok(path)
}

#[cfg(test)]
mod tests;
