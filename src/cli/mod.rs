//! Layer 5: the person's side.
//!
//! A line is read against the table (`table.rs`, `parse.rs`), then the command's own function gives
//! it meaning, asks the daemon through `control`, and shows the answer (`show.rs`). Data goes to
//! standard output, in one piece at the end; everything else to standard error, one line each,
//! `qu: ...`. Output is never coloured. A reader that closes the pipe early is no error.
//!
//! Text from other machines (targets, peers, the daemon) is made harmless before it is shown.
//! The commands decide nothing: what a name means and whether a change may be made is the
//! daemon's to say.
#![forbid(unsafe_code)]

mod alert;
mod ask;
mod backup;
mod check;
mod cluster;
mod complete;
mod doctor;
mod editing;
mod help;
mod incident;
mod init;
mod input;
mod man;
mod node;
mod parse;
mod serve;
mod show;
mod silence;
mod status;
mod table;
mod trust;
mod wanted;
mod wiring;

use std::ffi::OsString;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use crate::base::text;
use parse::Line;

pub use init::{Made, NewNode};
pub use serve::{SandboxOptions, ServeOptions};

/// Why a command ends with a status other than zero.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Status 1: refused or failed.
    Failed(String),
    /// Status 2: wrong usage.
    Usage(String),
    /// Status 2: nothing was asked for; the overview is shown on standard error.
    NoCommand,
    /// Status 3: no quorum or no master just now, nothing changed, worth trying again.
    NotNow(String),
    /// Status 1: a file says something else than the cluster has. That was the question, so nothing
    /// is said on standard error.
    Differs,
    /// Whoever read our output has had enough: no error, status 0.
    Closed,
}

impl Failure {
    fn status(&self) -> u8 {
        match self {
            Failure::Closed => 0,
            Failure::Failed(_) | Failure::Differs => 1,
            Failure::Usage(_) | Failure::NoCommand => 2,
            Failure::NotNow(_) => 3,
        }
    }

    /// Status 1 with an error and all its causes.
    #[must_use]
    pub fn of(error: &dyn std::error::Error) -> Failure {
        Failure::Failed(text::chain(error))
    }
}

/// What a command may touch of the outside.
pub struct Session<'a> {
    /// Standard output: data.
    pub out: &'a mut dyn Write,
    /// Standard error: everything else.
    pub err: &'a mut dyn Write,
    /// Standard input.
    pub input: &'a mut dyn BufRead,
    /// Standard input is a terminal: somebody may be asked.
    pub terminal: bool,
    /// The environment; empty values count as unset.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Session<'_> {
    /// Data, as a whole.
    ///
    /// # Errors
    /// [`Failure::Closed`] when the reader has gone; [`Failure::Failed`] when it cannot be written.
    pub fn print(&mut self, data: &str) -> Result<(), Failure> {
        self.out.write_all(data.as_bytes()).and_then(|()| self.out.flush()).map_err(|e| match e.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Failed(format!("cannot write to standard output: {e}")),
        })
    }

    /// One line on standard error. Text from elsewhere is shown, not obeyed.
    pub fn say(&mut self, line: &str) {
        // Nobody is left to tell when standard error is gone.
        drop(writeln!(self.err, "qu: {}", text::harmless(line)));
    }

    /// A variable of the environment, as text.
    ///
    /// # Errors
    /// [`Failure::Usage`] when it is not UTF-8.
    pub fn variable(&self, name: &str) -> Result<Option<String>, Failure> {
        let value = (self.env)(name).filter(|v| !v.is_empty());
        let wrong = |v: OsString| Failure::Usage(format!("{name} is not UTF-8: {v:?}"));
        value.map(|v| v.into_string().map_err(wrong)).transpose()
    }
}

/// The whole program: arguments and environment of this process, its streams, its exit status.
#[must_use]
pub fn main() -> ExitCode {
    // Not locked: a daemon's threads may write too.
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let stdin = io::stdin();
    let terminal = stdin.is_terminal();
    let env = |name: &str| std::env::var_os(name);
    let mut session = Session { out: &mut out, err: &mut err, input: &mut stdin.lock(), terminal, env: &env };
    ExitCode::from(run(std::env::args_os().skip(1), &mut session))
}

/// One command line, without the program's name. Returns the exit status.
pub fn run(args: impl IntoIterator<Item = OsString>, session: &mut Session<'_>) -> u8 {
    let done = parse::line(args).and_then(|line| match line {
        Line::Help(path) => help::show(session, &path),
        Line::Version => session.print(&format!("qu {}\n", env!("CARGO_PKG_VERSION"))),
        Line::Generate(what) => help::generate(session, &what),
        Line::Run(command, said) => (command.run)(session, &said),
    });
    let Err(failure) = done else { return 0 };
    match &failure {
        Failure::Failed(why) | Failure::Usage(why) | Failure::NotNow(why) => session.say(why),
        Failure::NoCommand => drop(session.err.write_all(help::overview().as_bytes())),
        Failure::Closed | Failure::Differs => {}
    }
    failure.status()
}

#[cfg(test)]
mod tests;
