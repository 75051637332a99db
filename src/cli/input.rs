//! What comes from a file or from standard input in place of the command line: passwords, webhook
//! URLs, the cluster secret, certificates, templates.

use std::io::Read as _;
use std::path::Path;

use crate::base::file;
use crate::config::Secret;

use super::parse::Said;
use super::{Failure, Session};

/// Secrets are short; a wrong file name should not swallow a disk.
const LARGEST_SECRET: u64 = 4096;
/// Templates and bundles of certificates.
const LARGEST_TEXT: u64 = 256 * 1024;

/// The text of the file that a flag names; `-` is standard input.
///
/// # Errors
/// [`Failure::Failed`] when it cannot be read, is too large or is not text.
pub fn file(session: &mut Session<'_>, said: &Said, flag: &str) -> Result<Option<String>, Failure> {
    said.text(flag).map(|path| whole(session, flag, path, LARGEST_TEXT)).transpose()
}

/// A secret: from the flag `name`, with a warning, or from the file that `name-file` names. One
/// line break at the end is an editor's, not the secret's.
///
/// # Errors
/// [`Failure::Usage`] when both are given, [`Failure::Failed`] when the file cannot be read or is
/// empty.
pub fn secret(session: &mut Session<'_>, said: &Said, name: &str) -> Result<Option<Secret>, Failure> {
    let from_file = format!("{name}-file");
    match (said.text(name), said.text(&from_file)) {
        (Some(_), Some(_)) => Err(Failure::Usage(format!("--{name} and --{from_file} exclude each other"))),
        (None, None) => Ok(None),
        (Some(text), None) => {
            session.say(&format!(
                "warning: other users can read --{name} in the process list; --{from_file} FILE keeps it out of there (- is standard input)"
            ));
            filled(text, &format!("--{name}")).map(Some)
        }
        (None, Some(path)) => {
            let text = whole(session, &from_file, path, LARGEST_SECRET)?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            filled(text, &format!("--{from_file}")).map(Some)
        }
    }
}

/// The text of a file that an argument names; `-` is standard input.
///
/// # Errors
/// [`Failure::Failed`] when it cannot be read, is too large or is not text.
pub fn named(session: &mut Session<'_>, path: &str, bound: u64) -> Result<String, Failure> {
    if path == "-" {
        return standard(session, bound).map_err(Failure::Failed);
    }
    file::read_text(Path::new(path), bound).map_err(|e| Failure::of(&e))
}

fn filled(text: &str, flag: &str) -> Result<Secret, Failure> {
    if text.is_empty() {
        return Err(Failure::Failed(format!("{flag}: it is empty")));
    }
    if text.chars().any(char::is_control) {
        return Err(Failure::Failed(format!("{flag}: it must be one line of text")));
    }
    Ok(Secret::new(text))
}

fn whole(session: &mut Session<'_>, flag: &str, path: &str, bound: u64) -> Result<String, Failure> {
    if path != "-" {
        return file::read_text(Path::new(path), bound)
            .map_err(|e| Failure::Failed(format!("--{flag}: {}", crate::base::text::chain(&e))));
    }
    standard(session, bound).map_err(|why| Failure::Failed(format!("--{flag}: {why}")))
}

fn standard(session: &mut Session<'_>, bound: u64) -> Result<String, String> {
    let mut text = String::new();
    let read = (&mut *session.input).take(bound + 1).read_to_string(&mut text);
    let read = read.map_err(|e| format!("read standard input: {e}"))?;
    if read as u64 > bound {
        return Err(format!("standard input is larger than {bound} bytes"));
    }
    Ok(text)
}
