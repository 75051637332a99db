//! Help, from the table.

use std::fmt::Write as _;

use super::parse::{self, Said};
use super::table::{self, COMMANDS, Command, Flag, GROUPS, facts, flags};
use super::{Failure, Session};

/// Lines of help are not longer than this.
const WIDTH: usize = 90;

/// `qu help [command...]`.
pub fn run(session: &mut Session<'_>, said: &Said) -> Result<(), Failure> {
    let words: Vec<String> = said.args().map(str::to_owned).collect();
    show(session, &words)
}

/// Help on a command, a group, or everything.
pub fn show(session: &mut Session<'_>, words: &[String]) -> Result<(), Failure> {
    let path = parse::topic(words)?;
    let text = match (table::command(&path), path.is_empty()) {
        (Some(command), _) => of_command(command),
        (None, true) => overview(),
        (None, false) => of_group(&path),
    };
    session.print(&text)
}

/// What there is, in one screen or two.
pub fn overview() -> String {
    let mut text = String::from(
        "qu: watches HTTP, TCP and ICMP endpoints from several hosts that vote\n\nusage: qu <command> [arguments] [flags]\n\ncommands:\n",
    );
    columns(&mut text, COMMANDS.iter().map(|c| (c.path.join(" "), c.short.to_owned())));
    text.push_str("\nflags:\n");
    columns(&mut text, [&flags::HELP, &flags::VERSION].into_iter().map(|f| (f.shown(), f.doc.to_owned())));
    text.push_str("\nexit status:\n");
    columns(&mut text, facts::STATUSES.iter().map(|(n, what)| (n.to_string(), (*what).to_owned())));
    text.push_str("\nqu help <command> or qu <command> --help says more; so does man qu.\n");
    text
}

fn of_group(path: &[&str]) -> String {
    let words = path.join(" ");
    let short = GROUPS.iter().find(|g| g.path == path).map_or("", |g| g.short);
    let mut text = format!("{short}.\n\nusage: qu {words} <command> [arguments] [flags]\n\ncommands:\n");
    let inside = COMMANDS.iter().filter(|c| c.path.starts_with(path));
    columns(&mut text, inside.map(|c| (c.usage().replace(" [flags]", ""), c.short.to_owned())));
    let _ = write!(text, "\nqu help {words} <command> says more.\n");
    text
}

fn of_command(command: &Command) -> String {
    let mut text = format!("{}.\n\nusage: {}\n", command.short, command.usage());
    if !command.long.is_empty() {
        let _ = write!(text, "\n{}", wrapped(command.long, ""));
    }
    let below: Vec<&Command> = COMMANDS.iter().filter(|c| is_below(c, command)).collect();
    if !below.is_empty() {
        text.push_str("\nfurther commands:\n");
        columns(&mut text, below.iter().map(|c| (c.usage().replace(" [flags]", ""), c.short.to_owned())));
    }
    text.push_str("\nflags:\n");
    let all = command.flags.iter().copied().chain([&flags::HELP]);
    columns(&mut text, all.map(|f| (f.shown(), described(f))));
    if !command.examples.is_empty() {
        text.push_str("\nexamples:\n");
        for example in command.examples {
            let _ = writeln!(text, "  {example}");
        }
    }
    text
}

fn is_below(other: &Command, command: &Command) -> bool {
    other.path.len() > command.path.len() && other.path.starts_with(command.path)
}

fn described(flag: &Flag) -> String {
    match flag.default {
        "" => flag.doc.to_owned(),
        default => format!("{} (default: {default})", flag.doc),
    }
}

/// Two columns, the second one wrapped; a first one that is too wide gets a line of its own.
fn columns(text: &mut String, rows: impl Iterator<Item = (String, String)>) {
    const WIDEST: usize = 32;
    let rows: Vec<(String, String)> = rows.collect();
    let width = rows.iter().map(|(left, _)| left.chars().count()).filter(|w| *w <= WIDEST).max().unwrap_or(0);
    for (left, right) in rows {
        let indent = " ".repeat(width + 4);
        let right = wrapped(&right, &indent);
        if left.chars().count() > WIDEST {
            let _ = write!(text, "  {left}\n{right}");
        } else {
            let _ = write!(text, "  {left:width$}  {}", right.trim_start());
        }
    }
}

/// Words in lines of at most [`WIDTH`] characters, each begun with `indent`.
fn wrapped(words: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut used = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && indent.len() + used + 1 + length > WIDTH {
            text.push('\n');
            used = 0;
        }
        if used == 0 {
            text.push_str(indent);
        } else {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text.push('\n');
    text
}

/// `qu --generate table`: every command, flag, variable, setting and status, one a line, fields
/// separated by tabs, for whoever checks the manual against it.
pub fn generate(session: &mut Session<'_>, what: &str) -> Result<(), Failure> {
    if what != "table" {
        return Err(Failure::Usage(format!("--generate: {what:?} is none of table")));
    }
    let mut text = String::new();
    for command in COMMANDS {
        let _ = writeln!(text, "command\t{}\t{}\t{}", command.name(), command.usage(), command.short);
        for flag in command.flags {
            let _ = writeln!(text, "flag\t{}\t{}\t{}", command.name(), flag.shown(), described(flag));
        }
        for example in command.examples {
            let _ = writeln!(text, "example\t{}\t{example}", command.name());
        }
    }
    for flag in [&flags::HELP, &flags::VERSION] {
        let _ = writeln!(text, "flag\tqu\t{}\t{}", flag.shown(), flag.doc);
    }
    for (name, meaning) in facts::ENVIRONMENT {
        let _ = writeln!(text, "env\t{name}\t{meaning}");
    }
    for (name, _, meaning) in facts::SETTINGS {
        let _ = writeln!(text, "setting\t{name}\t{meaning}");
    }
    for (status, meaning) in facts::STATUSES {
        let _ = writeln!(text, "status\t{status}\t{meaning}");
    }
    session.print(&text)
}
